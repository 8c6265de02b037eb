import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateways_sandbox.wire import ROOT, VISA, Sandbox, order

COMMAND = [sys.executable, "-m", "gateways.sandbox"]


def test_the_first_line_names_address_and_obviously_false_credentials(sandbox: Sandbox) -> None:
    assert sandbox.base.startswith("http://127.0.0.1:")
    assert sandbox.credentials["endpoint"] == f"{sandbox.base}/app/bin/etpproxy_v15"
    assert sandbox.credentials["merchant_id"].startswith("9")
    assert len(sandbox.credentials["merchant_id"]) == 5
    assert "sandbox" in sandbox.credentials["password"]


def test_nothing_booked_is_lost_by_a_kill(tmp_path: Path) -> None:
    first = Sandbox(tmp_path)
    first.profiles({"customer_id": "c-1", "kind": "CC", "expiry": "4012"})
    first.settings(default_language="DE")
    tids = [first.charge(f"t-{number}", "c-1").mpay_tid for number in range(20)]
    page = first.page(order("p-1"))
    rows = first.control("ledger")
    first.process.send_signal(signal.SIGKILL)
    assert first.close() == -signal.SIGKILL

    second = Sandbox(tmp_path)
    assert second.base == first.base
    assert second.control("ledger") == rows
    assert second.control("settings")["default_language"] == "DE"
    assert second.charge("t-20", "c-1").mpay_tid == max(tids) + 1
    assert second.http.get(page).status_code == 200
    paid = second.submit(page, action="pay", type="CC", number=VISA, expiry="05/40", cvc="123")
    assert paid.status_code == 200
    assert second.close() == 0


def test_rules_outlive_a_kill_with_the_times_they_have_left(tmp_path: Path) -> None:
    first = Sandbox(tmp_path)
    first.profiles({"customer_id": "c-1", "kind": "CC", "expiry": "4012"})
    first.faults({"fault": "decline:DECLINED", "times": 2})
    first.charge("t-1", "c-1")
    first.process.kill()
    first.close()
    second = Sandbox(tmp_path)
    assert second.control("faults") == [{"match": {}, "fault": "decline:DECLINED", "times": 1}]
    second.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    sandbox = Sandbox(tmp_path)
    sandbox.process.send_signal(number)
    assert sandbox.process.wait(60) == 0
    sandbox.close()


def test_it_stops_when_its_parent_is_gone(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    assert sandbox.process.stdin is not None
    sandbox.process.stdin.close()
    assert sandbox.process.wait(60) == 0
    sandbox.close()


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = run("--state-dir", str(tmp_path), "--ports", str(port))
    assert said.returncode == 2
    assert said.stdout == ""
    assert said.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in said.stderr


@pytest.mark.parametrize("kind", ["a file", "a foreign database", "a torn port list"])
def test_an_unusable_state_folder_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "state"
    if kind == "a file":
        folder.write_text("x")
    else:
        folder.mkdir()
        name = "mpay24.db" if kind == "a foreign database" else "sandbox.json"
        (folder / name).write_text("{ this is nothing of ours " * 100)
    said = run("--state-dir", str(folder))
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert "state" in said.stderr


def test_two_simulators_cannot_share_a_folder(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    said = run("--state-dir", str(tmp_path), "--ports", "1")
    assert said.returncode == 2
    assert "locked" in said.stderr
    assert sandbox.close() == 0


def test_without_json_people_can_read_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--state-dir", str(tmp_path), "--exit-with-parent"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.communicate(timeout=60)
    assert first.startswith("mpay24 listens at http://127.0.0.1:")


def test_it_listens_on_the_loopback_address_alone(sandbox: Sandbox) -> None:
    port = int(sandbox.base.rpartition(":")[2])
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))


def test_ports_are_remembered_in_the_state_folder(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    kept = json.loads((tmp_path / "sandbox.json").read_text())
    assert sandbox.base.endswith(f":{kept['ports']['mpay24']}")
    sandbox.close()


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
