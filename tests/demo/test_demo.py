"""The demo, and the folder it prepares: real processes, killed and doubled, and a ledger that anyone can audit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Databases

TURNUS = Path(sys.executable).with_name("turnus")
CUSTOMERS = 40
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
    """A prepared folder, with the simulators running on it."""

    folder: Path
    environment: dict[str, str]
    address: str

    def turnus(self, *words: str) -> subprocess.CompletedProcess[str]:
        return turnus(*words, cwd=self.folder, environment=self.environment)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [TURNUS, *words],
            cwd=self.folder,
            env=plain() | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ledger(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = httpx.get(f"{self.address}/_sandbox/ledger", trust_env=False).json()[
            "transactions"
        ]
        return rows

    def slow_down(self, ms: int) -> None:
        fault = {"match": {"operation": "AcceptPayment"}, "fault": "delay_ms", "ms": ms}
        httpx.post(f"{self.address}/_sandbox/faults", json=[fault], trust_env=False).raise_for_status()

    def check_that_each_was_charged_once(self) -> None:
        """Every customer has one transaction on the gateway's ledger, and no key stands there twice."""
        rows = self.ledger()
        assert set(Counter(row["reference"] for row in rows).values()) == {1}
        assert sorted(row["profile"] for row in rows) == [f"C{number:07d}" for number in range(1, CUSTOMERS + 1)]
        assert sum(row["state"] == "booked" for row in rows) > CUSTOMERS * 0.7


def plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TURNUS_")}


def turnus(
    *words: str | Path, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TURNUS, *words],
        cwd=cwd,
        env=plain() | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def simulators(folder: Path) -> Iterator[str]:
    """Run `turnus sandbox` on a folder; it must end by itself, and well, when told to."""
    process = subprocess.Popen([TURNUS, "sandbox", "--state-dir", folder, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = json.loads(process.stdout.readline())
        yield str(line["gateways"]["mpay24"]["base_url"])
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        process.stdout.close()


@pytest.fixture
def place(databases: Databases, dialect: str, tmp_path: Path) -> Iterator[Place]:
    """Prepare a folder on either kind of database, and start the simulators on it."""
    folder = tmp_path / "prepared"
    with databases.empty(dialect, tmp_path) as address:
        own = {"TURNUS_DATABASE_URL": address} if dialect == "postgresql" else {}
        done = turnus(
            "demo", "--prepare", folder, "--customers", str(CUSTOMERS), "--json", cwd=tmp_path, environment=own
        )
        assert done.returncode == 0, done.stderr
        environment = json.loads(done.stdout)
        with simulators(folder) as base_url:
            yield Place(folder, environment, base_url)


def test_the_demo_recovers_money_over_http_and_breaks_no_promise(tmp_path: Path) -> None:
    done = turnus("demo", "--no-serve", "--json", "--customers", "25", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert list(summary) == KEYS
    assert (summary["customers"], summary["nights"], summary["doctor_breaches"]) == (25, 6, 0)
    assert summary["invoiced"] >= 25 * 3
    assert summary["charged"] + summary["recovered"] <= summary["invoiced"]
    assert min(summary[key] for key in KEYS[:-1]) > 0
    assert list(tmp_path.iterdir()) == []


def test_two_runs_at_once_share_the_night_and_a_third_charges_nobody(place: Place) -> None:
    place.slow_down(100)
    place.environment["TURNUS_IN_FLIGHT_MAX"] = "4"
    both = [place.start("run", "--json") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    place.check_that_each_was_charged_once()

    again = json.loads(place.turnus("run", "--json").stdout)
    assert {again[key] for key in ("due", "invoiced", "charged", "declined", "unknown")} == {0}
    place.check_that_each_was_charged_once()
    assert place.turnus("doctor").returncode == 0


def test_a_run_that_is_killed_is_finished_by_the_next_ones_and_charges_each_once(place: Place) -> None:
    place.slow_down(700)
    place.environment.update(TURNUS_IN_FLIGHT_MAX="8", TURNUS_LEASE_S="6")
    killed = place.start("run", "--json")
    try:
        wait_until(lambda: len(place.ledger()) >= 10)
    finally:
        killed.kill()
        killed.communicate()
    assert len(place.ledger()) < CUSTOMERS
    place.slow_down(0)

    assert place.turnus("run", "--json").returncode == 0
    settled = json.loads(place.turnus("reconcile", "--wait", "60", "--json").stdout)
    assert settled["in_doubt"] == 0
    # What the dead one had claimed and never sent is free again, and goes out with the next run.
    assert place.turnus("run", "--json").returncode == 0
    place.check_that_each_was_charged_once()
    assert place.turnus("doctor").returncode == 0


def test_preparing_refuses_a_database_that_has_a_merchant_and_changes_nothing(tmp_path: Path) -> None:
    first = turnus("demo", "--prepare", "first", "--customers", "1", cwd=tmp_path)
    assert first.returncode == 0
    settings = dict(line.split("=", 1) for line in first.stdout.splitlines())
    before = (tmp_path / "first" / "turnus.db").read_bytes()
    done = turnus("demo", "--prepare", "other", cwd=tmp_path, environment=settings)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.endswith("has a merchant already; the demo wants a database of its own")
    assert (tmp_path / "first" / "turnus.db").read_bytes() == before
    assert list((tmp_path / "other").iterdir()) == []


def test_the_sandbox_refuses_a_folder_in_one_line(tmp_path: Path) -> None:
    done = turnus("sandbox", "--state-dir", "/proc/nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sandbox: the state folder /proc/nowhere cannot be used: No such file or directory\n"


def wait_until(enough: Any) -> None:
    for _ in range(600):
        if enough():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")
