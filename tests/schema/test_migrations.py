from __future__ import annotations

import ast
import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Connection, DateTime, text

import migrations
from billing.models import Scope, metadata
from billing.models.base import Instant
from billing.services.keying import make_key
from billing.store import Store
from tests.billing.services.support import lose_after, make_world
from tests.conftest import Databases
from tests.schema.facts import facts

HISTORY = [script.revision for script in reversed(list(ScriptDirectory("migrations").walk_revisions()))]
VERSIONS = sorted(Path("migrations/versions").glob("2*.py"))


async def facts_of(url: str) -> set[str]:
    store = Store(url)
    try:
        async with store.read() as session:
            return await (await session.connection()).run_sync(facts)
    finally:
        await store.close()


async def test_migrations_from_empty_agree_with_the_models(database_url: str) -> None:
    async with migrations.connected(database_url) as connection:
        await connection.run_sync(lambda sync: command.check(migrations.configuration(sync)))


async def test_migrations_make_the_same_checks_and_index_predicates_as_the_models(
    database_url: str, empty_database_url: str
) -> None:
    async with migrations.connected(empty_database_url) as connection:
        await connection.run_sync(metadata.create_all)

    assert await facts_of(database_url) == await facts_of(empty_database_url)


async def test_every_step_can_be_taken_back_and_again(empty_database_url: str) -> None:
    before = await facts_of(empty_database_url)
    for revision in HISTORY:
        await migrations.upgrade(empty_database_url, revision)
        after = await facts_of(empty_database_url)
        await migrations.downgrade(empty_database_url, "-1")
        assert await facts_of(empty_database_url) == before
        await migrations.upgrade(empty_database_url, revision)
        assert await facts_of(empty_database_url) == after
        before = after


async def test_keys_lose_a_scope_that_older_code_does_not_know_and_those_without_another_end(database_url: str) -> None:
    store = Store(database_url)
    world = await make_world(store)
    for scopes in ([Scope.SETUP], [Scope.READ, Scope.SETUP], [Scope.WRITE]):
        await make_key(world.ctx, world.merchant_id, "shop", scopes)
    await store.close()
    await migrations.downgrade(database_url, HISTORY[HISTORY.index("set_up_by_api") - 1])
    query = text("SELECT scopes, revoked_at IS NULL AS is_good FROM api_key ORDER BY id")
    async with migrations.connected(database_url) as connection:
        keys = [(row.scopes, bool(row.is_good)) for row in await connection.execute(query)]
    assert keys == [("read", False), ("read", True), ("write", True)]


async def test_what_is_in_the_books_survives_the_way_back_and_again(database_url: str) -> None:
    store = Store(database_url)
    world = await make_world(store, 3)
    world.bank.on("P2", lose_after)
    await world.run()
    await world.clear_up()
    before = await world.everything()
    await store.close()

    await migrations.downgrade(database_url, HISTORY[HISTORY.index("refer_to_an_owner") - 1])
    await migrations.upgrade(database_url)

    assert len(before["posting"]) >= 6
    assert await world.everything() == before
    assert await world.breaches() == []
    await store.close()


async def test_a_database_without_tables_has_no_revision(empty_database_url: str) -> None:
    assert await migrations.current(empty_database_url) is None
    assert not await migrations.is_current(empty_database_url)


async def test_a_migrated_database_is_current_and_migrating_again_changes_nothing(database_url: str) -> None:
    before = await facts_of(database_url)

    await migrations.upgrade(database_url)

    assert await migrations.is_current(database_url)
    assert await facts_of(database_url) == before


async def test_two_machines_that_migrate_at_once_do_it_once(empty_database_url: str) -> None:
    await asyncio.gather(migrations.upgrade(empty_database_url), migrations.upgrade(empty_database_url))

    assert await migrations.is_current(empty_database_url)


async def test_an_upgrade_that_breaks_leaves_nothing_behind(empty_database_url: str) -> None:
    async def break_halfway() -> None:
        async with migrations.connected(empty_database_url) as connection:
            await connection.run_sync(_upgrade_then_fail)

    with pytest.raises(ZeroDivisionError):
        await break_halfway()

    assert await facts_of(empty_database_url) == set()
    assert await migrations.current(empty_database_url) is None


def _upgrade_then_fail(connection: Connection) -> None:
    command.upgrade(migrations.configuration(connection), "head")
    raise ZeroDivisionError


async def test_foreign_keys_are_watched_again_after_migrating(database_url: str) -> None:
    store = Store(database_url)
    try:
        async with store.read() as session:
            watched = await session.scalar(text("PRAGMA foreign_keys")) if store.is_sqlite else 1
    finally:
        await store.close()

    assert watched == 1


def test_the_source_tree_and_the_installed_command_see_the_same_history() -> None:
    source_tree = ScriptDirectory.from_config(Config("alembic.ini"))

    assert source_tree.get_current_head() == migrations.head()
    assert [HISTORY[-1]] == source_tree.get_heads()


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_says_why_in_its_first_line_and_needs_nothing_of_ours(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }

    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}-\d{4}_[a-z0-9_]+", path.stem)
    assert (ast.get_docstring(tree) or "").partition("\n")[0].endswith(".")
    assert imported <= {"__future__", "sqlalchemy", "alembic"}


def test_ids_and_amounts_have_64_bits() -> None:
    columns = [column for table in metadata.tables.values() for column in table.columns]
    wide = [column for column in columns if column.foreign_keys or re.search(r"(^|_)(id|minor)$", column.name)]

    assert [
        str(column) for column in wide if type(column.type) is not BigInteger and column.type.python_type is int
    ] == []


def test_every_instant_is_stored_aware() -> None:
    columns = [column for table in metadata.tables.values() for column in table.columns]

    assert [str(c) for c in columns if c.name.endswith("_at") and not isinstance(c.type, Instant)] == []
    assert [str(c) for c in columns if isinstance(c.type, DateTime)] == []


_DIES = """
import asyncio, os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
import migrations

left = int(sys.argv[3])

@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, *_):
    global left
    left -= statement.startswith(("CREATE", "ALTER", "INSERT INTO _alembic", "DROP", "UPDATE alembic_version"))
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(migrations.upgrade(sys.argv[1], sys.argv[2]))
"""


def upgrade_and_die(url: str, revision: str, at: int) -> bool:
    """Upgrade in a process of its own that is killed after so many changes; answer whether it lived to be."""
    done = subprocess.run([sys.executable, "-c", _DIES, url, revision, str(at)], capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


@pytest.mark.parametrize("at", [1, 12, 24])
async def test_a_machine_that_dies_while_migrating_leaves_the_old_schema_and_the_next_one_does_it_all(
    empty_database_url: str, migrated: set[str], at: int
) -> None:
    assert upgrade_and_die(empty_database_url, HISTORY[0], at)
    assert await facts_of(empty_database_url) == set()

    await migrations.upgrade(empty_database_url, HISTORY[0])
    first = await facts_of(empty_database_url)
    assert upgrade_and_die(empty_database_url, "head", 2)
    assert await facts_of(empty_database_url) == first

    await migrations.upgrade(empty_database_url)
    assert await migrations.is_current(empty_database_url)
    assert await facts_of(empty_database_url) == migrated


@pytest.fixture
def migrated(databases: Databases, dialect: str, tmp_path: Path) -> set[str]:
    """What is in a database that was migrated without any trouble."""
    with databases.migrated(dialect, tmp_path) as address:
        return asyncio.run(facts_of(address))
