"""The command as a process: it serves until it is told to stop, and ends clearly where the disk is full."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.jobs.conftest import TURNUS, Shell, row
from tests.scenarios.stage import SECRET


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_ends_well_and_says_nothing(lite: Shell, number: signal.Signals) -> None:
    with subprocess.Popen(
        [TURNUS, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        port = line.split(" port ")[1].split(";")[0]
        assert "the first admin is made at" in process.stderr.readline()
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).json() == {"status": "ready", "failed": []}
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_a_full_disk_is_one_clear_line_and_the_next_run_goes_on(lite: Shell) -> None:
    """No file may be written beyond half of what the database has, so that the run breaks off while it issues."""
    lite.set_up(accent='""\nbrakes = {failed_percent = 0}')
    lite.enrol(*(row(number) for number in range(1, 301)))
    file = Path(lite.setting("DATABASE_URL").removeprefix("sqlite+aiosqlite:///"))
    limit = file.stat().st_size // 1024

    command = f"ulimit -f {limit}; exec {TURNUS} run --on 2060-01-31"
    full = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (full.returncode, full.stdout) == (1, ""), full.stderr
    [line] = full.stderr.splitlines()
    assert line.startswith("turnus: the database failed: ")
    assert line.endswith("; nothing is lost, start it again")

    report = lite("run", "--on", "2060-01-31", "--json").json
    assert (report["due"], report["invoiced"], report["not_sent"]) == (300, 300, 300)
    assert lite("doctor").status == 0


def test_a_database_host_that_takes_connections_and_never_answers_is_one_clear_line(bare: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql+psycopg://turnus@127.0.0.1:{silent.getsockname()[1]}/turnus?connect_timeout=2"
        bare.set(SECRET_KEY=SECRET, DATABASE_URL=address)
        said = bare.apart("run")

    assert (said.status, said.out) == (2, "")
    assert "cannot be used: connection timeout expired" in said.err
    assert said.err.count("\n") == 1
