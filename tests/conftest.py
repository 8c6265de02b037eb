"""Databases for tests: SQLite and PostgreSQL, each test with a fresh one of either kind, in memory if possible."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

import migrations
from billing.store import Store
from tests import postgres

DIALECTS = ("sqlite", "postgresql")
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - only folders with names of their own are made in it
ROOM_BYTES: Final = 2 * 1024**3


def pytest_configure() -> None:
    """Let all that tests write be in memory: every commit would wait for the disk, and no test cuts the power."""
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def pytest_collection_finish() -> None:
    """Let the collector pass over what is there before the first test: ten thousand tests and all that is imported."""
    gc.collect()
    gc.freeze()


def _has_room(folder: Path) -> bool:
    """Answer whether a folder can be written to, holds enough, and lets the server's programs run."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC and shutil.disk_usage(folder).free > ROOM_BYTES


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server on which tests make databases, all with a name of this session."""

    address: URL
    connection: psycopg.Connection
    prefix: str
    numbers: Iterator[int]

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Make a database like the template and give its address; drop it afterwards.

        Its files are copied, where the server would by itself write each page of them to its log as well.
        """
        name = f"{self.prefix}_{next(self.numbers)}"
        self.connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield self.address.set(database=name).render_as_string(hide_password=False)
        finally:
            self.connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """The server that TURNUS_TEST_DATABASE_URL names, else one of our own."""
    given = os.environ.get("TURNUS_TEST_DATABASE_URL")
    if given:
        yield from _server(given)
    else:
        with postgres.running() as address:
            yield from _server(address)


def _server(address: str) -> Iterator[Server]:
    url = make_url(address)
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        yield Server(url, connection, f"turnus_test_{secrets.token_hex(4)}", count())


def _migrate(address: str) -> None:
    """Bring a database to our schema, also for a fixture that runs in a loop already: in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrations.upgrade(address)).result()


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: Server) -> Iterator[str]:
    """The name of a database with our tables, to copy from."""
    with postgresql.database() as address:
        _migrate(address)
        yield str(make_url(address).database)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with our tables, to copy from."""
    path = tmp_path_factory.mktemp("template") / "turnus.db"
    _migrate(_sqlite(path))
    return path


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Databases:
    """Make databases; the server is started only when a test wants one on it."""
    return Databases(request)


@dataclass(frozen=True)
class Databases:
    """Makes databases of either kind, each gone when its `with` ends."""

    request: pytest.FixtureRequest

    def empty(self, dialect: str, folder: Path) -> AbstractContextManager[str]:
        """Make a database without any table and give its address."""
        if dialect == "sqlite":
            return nullcontext(_sqlite(folder / "empty.db"))
        server: Server = self.request.getfixturevalue("postgresql")
        return server.database()

    def migrated(self, dialect: str, folder: Path) -> AbstractContextManager[str]:
        """Make a database with our tables and nothing in them, and give its address."""
        template = self.request.getfixturevalue(f"migrated_{dialect}")
        if dialect == "sqlite":
            return nullcontext(_sqlite(Path(shutil.copy(template, folder))))
        server: Server = self.request.getfixturevalue("postgresql")
        return server.database(template)


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Run the test once on each kind of database."""
    return str(request.param)


@pytest.fixture
def database_url(databases: Databases, dialect: str, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh database with our tables and nothing in them."""
    with databases.migrated(dialect, tmp_path) as address:
        yield address


@pytest.fixture
def empty_database_url(databases: Databases, dialect: str, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table."""
    with databases.empty(dialect, tmp_path) as address:
        yield address


@pytest.fixture
def lite_url(databases: Databases, tmp_path: Path) -> Iterator[str]:
    """A fresh SQLite file with our tables, for what does not depend on the kind of database."""
    with databases.migrated("sqlite", tmp_path) as address:
        yield address


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """Transactions on a fresh database."""
    opened = Store(database_url)
    yield opened
    await opened.close()


def _sqlite(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
