"""Backup and restore with the commands that `docs/operating.md` says, on both databases, and the night after that."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from billing.clock import SystemClock
from tests import postgres
from tests.conftest import Databases
from tests.contract.sandbox import Sandbox
from tests.jobs.conftest import Shell, row
from tests.jobs.test_command import booked, stored

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"
FIRST, SECOND, THIRD = "2060-01-31", "2060-02-29", "2060-03-31"


def documented(name: str) -> str:
    """Return the commands that the manual gives under a name."""
    [block] = re.findall(rf"^```sh {name}\n(.+?)^```$", OPERATING.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(block)


def do(name: str, **where: str) -> None:
    """Carry out what the manual says."""
    done = subprocess.run(
        ["/bin/sh", "-euc", documented(name)],
        env=os.environ | where,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def plain(url: str) -> str:
    """Return the address as the database's own programs want it."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return str(address.database)
    return address.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def programs(dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's own programs, of the server's version."""
    if dialect == "postgresql" and "TURNUS_TEST_DATABASE_URL" not in os.environ:
        monkeypatch.setenv("PATH", f"{postgres.installed(tmp_path)}{os.pathsep}{os.environ['PATH']}")
    needed = {"sqlite": ["sqlite3"], "postgresql": ["pg_dump", "pg_restore"]}[dialect]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} is not installed")


@pytest.fixture
def restored(databases: Databases, dialect: str, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database to restore to."""
    folder = tmp_path / "restored"
    folder.mkdir()
    with databases.empty(dialect, folder) as address:
        yield address


@pytest.mark.usefixtures("programs")
def test_a_restored_database_charges_nobody_again_who_was_charged_since_the_backup(
    shell: Shell, sandbox: Sandbox, dialect: str, restored: str, tmp_path: Path
) -> None:
    shell.set_up(sandbox)
    stored(sandbox, *range(1, 5))
    shell.enrol(*map(row, range(1, 5)))
    assert shell("run", "--on", FIRST, "--json").json["charged"] == 4

    backup_at = SystemClock().now() - timedelta(seconds=1)
    backup = str(tmp_path / "backup")
    where = {"DATABASE": plain(shell.setting("DATABASE_URL")), "BACKUP": backup, "RESTORED": plain(restored)}
    with closing(_reader(where["DATABASE"]) if dialect == "sqlite" else _Nobody()):
        do(f"backup-{dialect}", **where)
    assert shell("run", "--on", SECOND, "--json").json["charged"] == 4
    before = booked(sandbox)
    assert len(before) == 8

    do(f"restore-{dialect}", **where)
    shell.set(DATABASE_URL=restored, RESTORED=backup_at.isoformat())
    assert shell("migrate").status == 0
    assert shell("doctor").status == 0
    again = shell("run", "--on", SECOND, "--json")
    assert (again.json["invoiced"], again.json["charged"]) == (4, 4)
    assert booked(sandbox) == before, "what was charged since the backup was asked about, and not charged again"

    assert shell("doctor").status == 0
    shell.set(RESTORED="false")
    assert shell("run", "--on", THIRD, "--json").json["charged"] == 4
    assert set(Counter(entry["reference"] for entry in booked(sandbox)).values()) == {1}
    assert shell("doctor").status == 0


class _Nobody:
    def close(self) -> None:
        """Let go of nothing."""


def _reader(path: str) -> sqlite3.Connection:
    """Keep the database open, so that its write-ahead log has what the file itself has not."""
    connection = sqlite3.connect(path)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM attempt").fetchone()
    assert Path(f"{path}-wal").exists()
    return connection
