"""Run `turnus bench` with a PostgreSQL of our own: `python -m tests.benchmark`, options as there."""

from __future__ import annotations

import subprocess
import sys

from tests import postgres

# What the tests switch off for speed, an operator has on.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "256MB"}

COMMAND = "from jobs.cli import main; main()"


def main(words: list[str]) -> int:
    with postgres.running(DURABLE) as address:
        command = [sys.executable, "-P", "-c", COMMAND, "bench", "--database", address, *words]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
