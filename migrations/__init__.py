"""The schema's history, and the way to bring a database to a point in it."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from billing.store import Store


async def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database forward to a revision, in one transaction; where it is there already, do nothing."""
    await _run(url, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, revision: str) -> None:
    """Take a database back to a revision, in one transaction; what the later ones stored is lost."""
    await _run(url, lambda config: command.downgrade(config, revision))


async def current(url: str) -> str | None:
    """Return the revision a database is at, or nothing for a database without our tables."""
    store = Store(url)
    try:
        async with store.read() as session:
            return await (await session.connection()).run_sync(_revision)
    finally:
        await store.close()


async def is_current(url: str) -> bool:
    """Answer whether a database has the schema that this code was written for."""
    return await current(url) == head()


async def fits(session: AsyncSession) -> bool:
    """Answer whether a database has our schema or a later one, which lets us work beside its own code."""
    revision = await (await session.connection()).run_sync(_revision)
    scripts = ScriptDirectory.from_config(configuration())
    earlier = {script.revision for script in scripts.walk_revisions()} - {scripts.get_current_head()}
    return revision is not None and revision not in earlier


def head() -> str | None:
    """Return the newest revision there is."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the installed package, with an open connection to work on."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "migrations:")
    config.set_main_option("path_separator", "os")
    return config


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    """Open the one transaction in which a schema is changed.

    SQLite changes a table by copying it, so it must not watch foreign keys meanwhile. Two machines
    that upgrade one database at once take turns: SQLite has one writer, PostgreSQL an advisory lock.
    """
    store = Store(url)
    try:
        if store.is_sqlite:
            _ignore_foreign_keys(store.engine)
        async with store.engine.begin() as connection:
            if not store.is_sqlite:
                await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('turnus migrations'))")
            yield connection
    finally:
        await store.close()


async def _run(url: str, step: Callable[[Config], None]) -> None:
    async with connected(url) as connection:
        await connection.run_sync(lambda sync: _quietly(step, configuration(sync)))


def _quietly(step: Callable[[Config], None], config: Config) -> None:
    """Take a step without what SQLAlchemy says of indexes over expressions: it cannot read them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index")
        step(config)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _ignore_foreign_keys(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def switch_off(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=OFF")
        cursor.close()
