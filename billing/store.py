"""The database: one engine, transactions that read or write, and the words in which the two dialects differ."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, event, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.util import await_only

from billing.models.base import Instant

PAGE = 500

# A database host that has vanished answers nothing, not even no: what waits for it learns of it within a minute.
# An address may name others (`?connect_timeout=5`); these are libpq's words, seconds but for the last, which is ms.
_VANISHED: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
}

# As long as any other wait for the writer of a SQLite file; the switch of a new one takes milliseconds.
_TURN_S: Final = 0.02
_TURNS: Final = 1500

_GIVEN_UP: Final = (
    "SELECT set_config('idle_in_transaction_session_timeout', '60s', false), "
    "set_config('tcp_keepalives_idle', '20', false), set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '50s', false)"
)

# Groups of millions fit into memory, and the compiling of a statement costs more than it gains.
_FOR_SCANS: Final = text("SELECT set_config('work_mem', '256MB', true), set_config('jit', 'off', true)")


class DatabaseUrlError(ValueError):
    """A database address that cannot be used; the message names the setting."""


class machine_time(FunctionElement[datetime]):  # noqa: N801
    """The database's own clock, plus some seconds: it rules leases and when to ask or try again."""

    type = Instant()
    inherit_cache = True
    name = "machine_time"


@compiles(machine_time, "postgresql")
def _postgresql_time(element: machine_time, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


@compiles(machine_time, "sqlite")
def _sqlite_time(element: machine_time, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', (({seconds}) || ' seconds'))"


def after_s(seconds: Any = 0) -> machine_time:
    """Return the instant so many seconds from now, by the database's clock."""
    return machine_time(seconds)


class Store:
    """Transactions on one database.

    SQLite takes one writer at a time: a writing transaction begins with the write lock, and writers
    of this process queue for it here instead of in the database's busy wait.
    """

    def __init__(self, url: str) -> None:
        self.engine = _open(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock()
        one_moment = {"begin": "DEFERRED"} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**one_moment)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction that is committed at the end, or rolled back by an exception."""
        async with AsyncExitStack() as stack:
            if self.is_sqlite:
                await stack.enter_async_context(self._writer)
            session = await stack.enter_async_context(AsyncSession(self.engine, expire_on_commit=False))
            async with session.begin():
                yield session

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction for reading; all of its statements see the database as it was at one moment."""
        async with AsyncSession(self._reading, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def scan(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction for reading through whole tables: its statements may take more memory than others."""
        async with self.read() as session:
            if not self.is_sqlite:
                await session.execute(_FOR_SCANS)
            yield session

    def claim(self, statement: Select[Any], *of: Table) -> Select[Any]:
        """Lock the rows a statement picks, all or those of some tables, passing over what others hold.

        No lock here is against a mere reference to the row, or every posting about an invoice would
        wait for whoever looks at the invoice, and now and then for ever.
        """
        if self.is_sqlite:
            return statement
        return statement.with_for_update(skip_locked=True, key_share=True, of=of or None)

    def lock(self, statement: Select[Any], *of: Table) -> Select[Any]:
        """Lock the rows a statement picks, all or those of some tables, waiting for what others hold."""
        return statement if self.is_sqlite else statement.with_for_update(key_share=True, of=of or None)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def insert_unless(session: AsyncSession, into: Table, columns: Sequence[str] = (), where: str | None = None) -> Any:
    """Return an insert that leaves out rows whose columns are taken by another row (one that `where` picks).

    Without columns it is whatever the table holds unique, in a partitioned one together with what it is divided by.
    """
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    index_where = None if where is None else text(where)
    return insert(into).on_conflict_do_nothing(index_elements=columns or None, index_where=index_where)


def bare_url(url: str) -> str:
    """Return a database address without its password, fit for a message."""
    return make_url(url).render_as_string(hide_password=True)


def _open(url: str) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUrlError(
            "TURNUS_DATABASE_URL is no database address: write sqlite+aiosqlite:///FILE or postgresql+psycopg://..."
        ) from None
    if parsed.drivername in {"sqlite", "sqlite+aiosqlite"}:
        if parsed.database in {None, "", ":memory:"}:
            raise DatabaseUrlError("TURNUS_DATABASE_URL names no file; what is in memory would end with each command")
        return _open_sqlite(parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False))
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        address = parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        ours = {name: value for name, value in _VANISHED.items() if name not in parsed.query}
        engine = create_async_engine(
            address, pool_size=10, max_overflow=20, pool_pre_ping=True, hide_parameters=True, connect_args=ours
        )
        event.listen(engine.sync_engine, "connect", _prepare_postgresql)
        return engine
    raise DatabaseUrlError(f"TURNUS_DATABASE_URL names {parsed.drivername!r}; Turnus runs on SQLite and PostgreSQL")


def _open_sqlite(url: str) -> AsyncEngine:
    file = make_url(url).database
    if file and not Path(file).parent.is_dir():
        raise DatabaseUrlError(f"TURNUS_DATABASE_URL: {bare_url(url)} cannot be used: there is no such folder")
    engine = create_async_engine(url, connect_args={"timeout": 30}, pool_size=5, max_overflow=15, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_postgresql(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Let the server give up a host of ours that has vanished, or all others wait for what it had locked.

    By itself the server would notice after two hours.
    """
    cursor = connection.cursor()
    cursor.execute(_GIVEN_UP)
    cursor.close()
    connection.commit()


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Let SQLAlchemy, and not the driver, say when a transaction begins.

    A commit must outlive a power cut, or an attempt already sent would come up as unsent: hence FULL.
    """
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: DBAPICursor) -> None:
    """Let readers and the writer of a file work side by side.

    The file keeps this, so only the first connection switches. Two first ones are refused at once where
    everything else would wait its turn (SQLite does not call its busy handler here), so the waiting is ours.
    """
    for left in reversed(range(_TURNS)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not left:
                raise
            await_only(asyncio.sleep(_TURN_S))
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'IMMEDIATE')}")
