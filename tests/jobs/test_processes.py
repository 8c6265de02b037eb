"""The command as a process: it serves until it is told to stop, and then ends well."""

from __future__ import annotations

import os
import signal
import subprocess

import httpx
import pytest

from tests.jobs.conftest import TURNUS, Shell


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_ends_well_and_says_nothing(lite: Shell, number: signal.Signals) -> None:
    with subprocess.Popen(
        [TURNUS, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        port = line.split(" port ")[1].split(";")[0]
        assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json() == {"status": "ok"}
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
