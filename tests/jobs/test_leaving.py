"""Real processes that are told to end in the middle of it: nothing is charged twice, and nothing waits for a lease."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.contract.sandbox import Sandbox
from tests.jobs.conftest import TURNUS, Shell, row
from tests.jobs.test_command import booked, stored

PEOPLE = 40
SLOW = {"fault": "delay_answer_ms", "operation": "AcceptPayment"}


def prepare(shell: Shell, sandbox: Sandbox) -> None:
    shell.set(IN_FLIGHT_MAX="5", LEASE_S="60")
    shell.set_up(sandbox)
    stored(sandbox, *range(1, PEOPLE + 1))
    shell.enrol(*(row(number) for number in range(1, PEOPLE + 1)))


def start(*words: str) -> subprocess.Popen[str]:
    command = [str(TURNUS), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_run_that_is_told_to_end_in_the_middle_answers_for_what_left_and_hands_back_the_rest(
    shell: Shell, sandbox: Sandbox
) -> None:
    prepare(shell, sandbox)
    sandbox.fault(SLOW["fault"], times=PEOPLE, ms=300, operation=SLOW["operation"])
    with start("run", "--on", "2060-01-31", "--json") as process:
        wait_until(lambda: len(booked(sandbox)) >= 7)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)

    report = json.loads(out)
    assert (process.returncode, err) == (0, "")
    left = report["runs"][0]
    assert (left["left"], left["state"], left["unknown"]) == (True, "running", 0)
    assert left["charged"] == len(booked(sandbox))
    assert 7 <= left["charged"] < PEOPLE

    sandbox.http.post("/_sandbox/faults", json=[]).raise_for_status()
    again = shell("run", "--on", "2060-01-31", "--json")
    assert again.status == 0
    assert again.json["charged"] == PEOPLE
    assert set(Counter(entry["reference"] for entry in booked(sandbox)).values()) == {1}
    assert len(booked(sandbox)) == PEOPLE
    assert shell("doctor").status == 0


def test_a_second_signal_cuts_off_what_is_under_way_and_leases_take_care_of_it(lite: Shell, sandbox: Sandbox) -> None:
    prepare(lite, sandbox)
    lite.set(LEASE_S="35")
    sandbox.fault(SLOW["fault"], times=PEOPLE, ms=20_000, operation=SLOW["operation"])
    with start("run", "--on", "2060-01-31", "--json") as process:
        wait_until(lambda: len(booked(sandbox)) >= 5)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (1, "")
    assert err == "turnus: cut off while something was under way; leases take care of it\n"
    assert len(booked(sandbox)) == 5
    assert lite("doctor").status == 0


def test_a_server_that_is_told_to_end_answers_the_request_that_is_under_way(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    key = lite("keys", "create", "--name", "shop", "--scope", "write", "--json").json["key"]
    sandbox.fault("delay_ms", ms=3000)
    with start("serve", "--port", "0", "--no-scheduler") as process, ThreadPoolExecutor() as threads:
        assert process.stderr is not None
        port = process.stderr.readline().split(" port ")[1].split(";")[0]
        assert "the first admin is made at" in process.stderr.readline()
        address = f"http://127.0.0.1:{port}/api/v1/accounts/main/test"
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "once"}
        call = threads.submit(httpx.post, address, headers=headers, trust_env=False, timeout=60)
        wait_until(lambda: sandbox.http.get("/_sandbox/faults").json() == [])
        process.send_signal(signal.SIGTERM)
        answer = call.result(60)
        assert (answer.status_code, answer.json()["works"]) == (200, True), answer.text
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
