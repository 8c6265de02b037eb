"""The demo, and the folder it prepares: real processes, killed and doubled, and a ledger that anyone can audit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.demo_gateways import GATEWAYS
from jobs.demo_people import people
from tests.conftest import Databases
from tests.contract.sandbox import running
from tests.jobs.conftest import TURNUS, Shell, bare

__all__ = ["bare"]

CUSTOMERS = 200
KEYS = [
    "customers",
    "nights",
    "invoiced",
    "charged",
    "declined",
    "mailed",
    "recovered",
    "profiles_renewed",
    "verifications_reversed",
    "doctor_breaches",
]


@dataclass(frozen=True)
class Place:
    """A prepared folder, with the simulators running on it, and a shell that has its environment."""

    folder: Path
    shell: Shell
    addresses: dict[str, str]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [TURNUS, *words],
            cwd=self.folder,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ledger(self) -> list[dict[str, Any]]:
        """Return what all gateways have on record."""
        books = [httpx.get(f"{each}/_sandbox/ledger", trust_env=False).json() for each in self.addresses.values()]
        return [row for book in books for row in book["transactions"]]

    def slow_down(self, ms: int) -> None:
        for name, address in self.addresses.items():
            fault = {"match": {"operation": GATEWAYS[name].charge}, "fault": "delay_ms", "ms": ms}
            httpx.post(f"{address}/_sandbox/faults", json=[fault], trust_env=False).raise_for_status()

    def check_that_each_was_charged_once(self) -> None:
        """Every invoice that is charged by night has one transaction at one gateway, and nobody else has any."""
        rows = [row for row in self.ledger() if row["reference"].startswith("INV-")]
        assert set(Counter(row["reference"] for row in rows).values()) == {1}
        assert set(Counter(row["reference"].rpartition("-")[0] for row in rows).values()) == {1}
        assert len(rows) == len([each for each in people(CUSTOMERS, date(2026, 12, 1)) if each.gateway != "computop"])
        assert sum(row["state"] == "booked" for row in rows) > len(rows) * 0.7


@contextmanager
def turnus_sandbox(folder: Path) -> Iterator[str]:
    """Run `turnus sandbox` on a folder; it must end by itself, and well, when told to."""
    process = subprocess.Popen([TURNUS, "sandbox", "--state-dir", folder, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = json.loads(process.stdout.readline())
        yield str(line["gateways"]["mpay24"]["base_url"])
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdout.close()


@pytest.fixture
def place(bare: Shell, databases: Databases, dialect: str, tmp_path: Path) -> Iterator[Place]:
    """Prepare a folder on either kind of database, and start the simulators on it."""
    folder = tmp_path / "prepared"
    with databases.empty(dialect, tmp_path) as address:
        if dialect == "postgresql":
            bare.set(DATABASE_URL=address)
        prepared = bare("demo", "--prepare", folder, "--customers", str(CUSTOMERS), "--json").json
        bare.set(**{name.removeprefix("TURNUS_"): value for name, value in prepared.items()})
        with running(folder) as gateways:
            yield Place(folder, bare, {name: each["base_url"] for name, each in gateways.items()})


def test_the_demo_recovers_money_over_http_and_breaks_no_promise(bare: Shell) -> None:
    done = bare.apart("demo", "--no-serve", "--json", "--customers", "25")
    assert done.status == 0, done.err
    summary = json.loads(done.out.splitlines()[-1])
    assert list(summary) == KEYS
    assert (summary["customers"], summary["nights"], summary["doctor_breaches"]) == (25, 6, 0)
    assert summary["invoiced"] >= 25 * 3
    assert summary["charged"] + summary["recovered"] <= summary["invoiced"]
    assert min(summary[key] for key in KEYS[:-1]) > 0
    assert list(bare.folder.iterdir()) == []


@pytest.mark.parametrize("runs", [2, 4])
def test_runs_at_once_share_the_night_and_one_more_charges_nobody(place: Place, runs: int) -> None:
    place.slow_down(100)
    place.shell.set(IN_FLIGHT_MAX="8")
    started = [place.start("run", "--json") for _ in range(runs)]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * runs, said
    place.check_that_each_was_charged_once()

    again = place.shell("run", "--json").json
    assert {again[key] for key in ("due", "invoiced", "charged", "declined", "unknown")} == {0}
    place.check_that_each_was_charged_once()
    assert place.shell("doctor").status == 0


def test_a_run_that_is_killed_is_finished_by_the_next_ones_and_charges_each_once(place: Place) -> None:
    place.slow_down(700)
    place.shell.set(IN_FLIGHT_MAX="8", LEASE_S="6")
    killed = place.start("run", "--json")
    try:
        wait_until(lambda: len(place.ledger()) >= 10)
    finally:
        killed.kill()
        killed.communicate()
    assert len(place.ledger()) < CUSTOMERS
    place.slow_down(0)

    assert place.shell("run").status == 0
    settled = place.shell("reconcile", "--wait", "60", "--json").json
    assert settled["in_doubt"] == 0
    # What the dead one had claimed and never sent is free again, and goes out with the next run.
    assert place.shell("run").status == 0
    place.check_that_each_was_charged_once()
    assert place.shell("doctor").status == 0


def test_preparing_refuses_a_database_that_has_a_merchant_and_changes_nothing(bare: Shell) -> None:
    settings = dict(line.split("=", 1) for line in bare("demo", "--prepare", "first", "--customers", "1").out.split())
    before = (bare.folder / "first" / "turnus.db").read_bytes()
    bare.set(DATABASE_URL=settings["TURNUS_DATABASE_URL"])
    assert bare("demo", "--prepare", "other").refusal.endswith(
        "has a merchant already; the demo wants a database of its own"
    )
    assert (bare.folder / "first" / "turnus.db").read_bytes() == before
    assert list((bare.folder / "other").iterdir()) == []


def test_the_sandbox_comes_back_on_the_port_and_with_the_profiles_of_its_folder(bare: Shell) -> None:
    bare("demo", "--prepare", "here", "--customers", "3")
    port = json.loads((bare.folder / "here" / "sandbox.json").read_text())["ports"]["mpay24"]
    with turnus_sandbox(bare.folder / "here") as address:
        assert address == f"http://127.0.0.1:{port}"
        [theirs] = [each for each in people(3, date(2026, 12, 1)) if each.gateway == "mpay24"]
        asked = f"{address}/_sandbox/profiles?customer_id={theirs.subscriber.customer}"
        profiles = httpx.get(asked, trust_env=False).json()["profiles"]
        assert len(profiles) == 1


def test_the_sandbox_refuses_a_folder_in_one_line(bare: Shell) -> None:
    said = bare.apart("sandbox", "--state-dir", "/proc/nowhere")
    assert (said.status, said.out) == (2, "")
    assert said.err == "sandbox: the state folder /proc/nowhere cannot be used: No such file or directory\n"


def wait_until(enough: Any) -> None:
    for _ in range(600):
        if enough():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")
