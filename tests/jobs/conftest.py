"""The command in this process, in a folder and an environment of its own, on a fresh database of either kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from jobs.cli import main
from tests.conftest import Databases
from tests.contract.sandbox import Sandbox
from tests.scenarios.conftest import sandbox, simulators
from tests.scenarios.stage import SECRET

__all__ = ["sandbox", "simulators"]


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on standard output."""
        [line] = self.out.splitlines()
        return json.loads(line)

    @property
    def refusal(self) -> str:
        """The one line that bad input gets."""
        assert (self.status, self.out) == (2, ""), self
        [line] = self.err.splitlines()
        return line


@dataclass
class Shell:
    """A person at a terminal."""

    folder: Path
    environment: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]

    def __call__(self, *words: str | Path) -> Said:
        self.captured.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        structlog.reset_defaults()
        said = self.captured.readouterr()
        return Said(int(str(ended.value.code)), said.out, said.err)

    def apart(self, *words: str) -> Said:
        """Do the same in a process of its own."""
        done = subprocess.run([TURNUS, *words], capture_output=True, text=True, timeout=60, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def set(self, **settings: str) -> None:
        for name, value in settings.items():
            self.environment.setenv(f"TURNUS_{name}", value)

    def setting(self, name: str) -> str:
        return os.environ[f"TURNUS_{name}"]

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    def set_up(self, sandbox: Sandbox | None = None, **changes: str) -> Path:
        """Migrate, and set up a merchant at the sandbox, or at an address where nobody listens."""
        credentials = dict(sandbox.credentials) if sandbox else {"endpoint": "http://127.0.0.1:9/x"}
        path = self.write("merchant.toml", setup_text(credentials, **changes))
        assert self("setup", path).status == 0
        return path

    def enrol(self, *rows: str, header: str = "") -> Said:
        return self("import", self.write("people.csv", "\n".join([header or HEADER, *rows])))


TURNUS = Path(sys.executable).with_name("turnus")
HEADER = "customer,name,email,subscription,price,anchor_on,billed_until,account,profile"
ROW = "C1,Anna Huber,anna@example.net,S1,solo/monthly,2026-01-31,2026-01-31,main,C1"


def row(number: int, day: str = "2060-01-31") -> str:
    return f"C{number},Anna Huber,anna{number}@example.net,S{number},solo/monthly,{day},{day},main,C{number}"


def setup_text(credentials: dict[str, str], **changes: str) -> str:
    """A merchant's file; `changes` replace one line each, by the name it begins with."""
    secret = {"merchant_id": "90001", "password": "x"} | credentials
    lines = [
        "[merchant]",
        'reference = "gym"',
        'name = "Turnhalle"',
        'legal_name = "Turnhalle GmbH"',
        'number_prefix = "TH"',
        'mail_from = "billing@gym.example"',
        "live = false",
        'timezone = "Europe/Vienna"',
        'accent = ""',
        "[[gateway_account]]",
        'reference = "main"',
        'gateway = "mpay24"',
        "[gateway_account.credentials]",
        *(f'{name} = "{value}"' for name, value in secret.items()),
        "[[plan]]",
        'reference = "solo"',
        'name = "Solo"',
        "[[plan.price]]",
        'reference = "monthly"',
        'title = "Solo, monthly"',
        'amount = "25.00"',
        'currency = "EUR"',
        'every = "1 month"',
        'tax = "20%"',
    ]
    for name, value in changes.items():
        [place] = [number for number, line in enumerate(lines) if line.startswith(f"{name} = ")]
        lines[place] = f"{name} = {value}" if value else ""
    return "\n".join(lines) + "\n"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell that knows nothing of Turnus yet, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TURNUS_")]:
        monkeypatch.delenv(name)
    return Shell(folder, monkeypatch, capsys)


@pytest.fixture
def shell(bare: Shell, database_url: str) -> Shell:
    """A shell with a secret key and a migrated database, once on each kind."""
    bare.set(SECRET_KEY=SECRET, DATABASE_URL=database_url)
    return bare


@pytest.fixture
def lite(bare: Shell, databases: Databases, tmp_path: Path) -> Shell:
    """The same on SQLite alone, for what is the same on both."""
    with databases.migrated("sqlite", tmp_path) as address:
        bare.set(SECRET_KEY=SECRET, DATABASE_URL=address)
    return bare
