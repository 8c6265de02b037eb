from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError

from billing.clock import SystemClock
from billing.models import Merchant, Task, TestClock, table
from billing.store import DatabaseUrlError, Store, after_s, bare_url, insert_unless

CLOCK = table(TestClock)
START = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


async def add(store: Store, *names: str) -> None:
    async with store.write() as session:
        await session.execute(insert(CLOCK), [{"name": name, "now_at": START} for name in names])


async def names(store: Store) -> list[str]:
    async with store.read() as session:
        return list(await session.scalars(select(CLOCK.c.name).order_by(CLOCK.c.name)))


async def test_what_was_written_is_there_afterwards(store: Store) -> None:
    await add(store, "one", "two")

    assert await names(store) == ["one", "two"]


async def test_an_exception_takes_everything_back(store: Store) -> None:
    async def fail_halfway() -> None:
        async with store.write() as session:
            await session.execute(insert(CLOCK).values(name="one", now_at=START))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_halfway()

    assert await names(store) == []


async def test_a_reader_sees_nothing_of_a_writer_and_does_not_wait_for_it(store: Store) -> None:
    async with store.write() as session:
        await session.execute(insert(CLOCK).values(name="one", now_at=START))
        async with asyncio.timeout(60):
            assert await names(store) == []

    assert await names(store) == ["one"]


async def test_a_reader_sees_one_moment_whatever_is_written_between_two_looks(store: Store) -> None:
    count = select(func.count()).select_from(table(TestClock))
    async with store.read() as reading:
        before = (await reading.execute(count)).scalar_one()
        async with store.write() as writing:
            await writing.execute(insert(table(TestClock)).values(name="late", now_at=SystemClock().now()))
        assert (await reading.execute(count)).scalar_one() == before
    async with store.read() as reading:
        assert (await reading.execute(count)).scalar_one() == before + 1


async def test_many_writers_at_once_lose_nothing(store: Store) -> None:
    await add(store, "one")

    async def advance() -> None:
        async with store.write() as session:
            held = await session.scalar(store.lock(select(CLOCK.c.now_at)))
            assert held is not None
            await session.execute(update(CLOCK).values(now_at=held + SECOND))

    await asyncio.gather(*(advance() for _ in range(40)))

    async with store.read() as session:
        assert await session.scalar(select(CLOCK.c.now_at)) == START + 40 * SECOND


async def test_two_processes_on_one_database_lose_nothing(store: Store, database_url: str) -> None:
    other = Store(database_url)
    await add(store, "one")

    async def advance(process: Store) -> None:
        for _ in range(10):
            async with process.write() as session:
                held = await session.scalar(process.lock(select(CLOCK.c.now_at)))
                assert held is not None
                await session.execute(update(CLOCK).values(now_at=held + SECOND))

    try:
        await asyncio.gather(advance(store), advance(other))
    finally:
        await other.close()

    async with store.read() as session:
        assert await session.scalar(select(CLOCK.c.now_at)) == START + 20 * SECOND


async def test_no_row_is_claimed_twice_and_none_is_left(store: Store) -> None:
    await add(store, *(f"{number:02}" for number in range(20)))
    claimed: list[int] = []

    async def claim() -> None:
        due = store.claim(select(CLOCK.c.id).where(CLOCK.c.now_at == START).order_by(CLOCK.c.id).limit(5))
        async with store.write() as session:
            page = list(await session.scalars(due))
            await session.execute(update(CLOCK).where(CLOCK.c.id.in_(page)).values(now_at=START + SECOND))
        claimed.extend(page)

    await asyncio.gather(*(claim() for _ in range(4)))

    assert len(claimed) == len(set(claimed)) == 20


async def test_a_claim_passes_over_what_another_holds(store: Store) -> None:
    await add(store, "one", "two")
    first = select(CLOCK.c.name).order_by(CLOCK.c.id).limit(1)
    if store.is_sqlite:
        assert store.claim(first) is first  # its one writer holds everything
        return

    async with store.write() as session, store.write() as other, asyncio.timeout(60):
        assert await session.scalar(store.claim(first)) == "one"
        assert await other.scalar(store.claim(first)) == "two"


@pytest.mark.parametrize("seconds", [0, 90, -90, 0.5])
async def test_machine_time_is_the_databases_own(store: Store, seconds: float) -> None:
    async with store.read() as session:
        now, moved = (await session.execute(select(after_s(), after_s(seconds)))).one()

    assert now.tzinfo is UTC
    assert abs(moved - now - timedelta(seconds=seconds)) < timedelta(milliseconds=50)
    assert abs(now - SystemClock().now()) < timedelta(seconds=30)


async def test_machine_time_can_be_stored_compared_and_counted_from_a_column(store: Store) -> None:
    await add(store, "one")
    async with store.write() as session:
        await session.execute(update(CLOCK).values(now_at=after_s(func.length(CLOCK.c.name) * 20)))
    async with store.read() as session:
        late = await session.scalars(select(CLOCK.c.name).where(CLOCK.c.now_at > after_s(50)))
        early = await session.scalars(select(CLOCK.c.name).where(CLOCK.c.now_at > after_s(70)))

        assert (late.all(), early.all()) == (["one"], [])


async def test_an_instant_comes_back_in_utc_whatever_it_went_in_as(store: Store) -> None:
    vienna = timezone(timedelta(hours=1))
    async with store.write() as session:
        await session.execute(insert(CLOCK).values(name="one", now_at=START.astimezone(vienna)))
    async with store.read() as session:
        found = await session.scalar(select(CLOCK.c.now_at))

    assert found is not None
    assert found == START
    assert found.tzinfo is UTC


async def test_a_naive_instant_is_refused(store: Store) -> None:
    with pytest.raises(StatementError, match="a naive instant cannot be stored"):
        async with store.write() as session:
            await session.execute(insert(CLOCK).values(name="one", now_at=START.replace(tzinfo=None)))


async def test_rows_that_are_taken_are_left_out_and_the_others_are_not(store: Store) -> None:
    await add(store, "one")
    rows = [{"name": name, "now_at": START} for name in ("one", "two")]
    async with store.write() as session:
        await session.execute(insert_unless(session, CLOCK, ["name"]), rows)

    assert await names(store) == ["one", "two"]


async def ask_for_a_look(store: Store) -> int:
    """Raise the same task unless it is open already, and count what there is."""
    task = {"merchant_id": 1, "kind": "look", "subject": "INV-1", "reason": "", "state": "open", "created_at": START}
    async with store.write() as session:
        await session.execute(insert_unless(session, table(Task), ["kind", "subject"], "state = 'open'"), [task])
        return int(await session.scalar(select(func.count()).select_from(table(Task))) or 0)


async def test_only_a_row_that_the_predicate_picks_is_in_the_way(store: Store) -> None:
    async with store.write() as session:
        session.add(
            Merchant(id=1, reference="n", name="N", legal_name="N", number_prefix="N", mail_from="n@example.org")
        )

    assert await ask_for_a_look(store) == 1
    assert await ask_for_a_look(store) == 1
    async with store.write() as session:
        await session.execute(update(table(Task)).values(state="done"))
    assert await ask_for_a_look(store) == 2


async def test_leaving_out_what_is_taken_forgives_no_other_mistake(store: Store) -> None:
    await add(store, "one")
    with pytest.raises(IntegrityError):
        async with store.write() as session:
            await session.execute(insert_unless(session, CLOCK, ["name"]).values(id=1, name="two", now_at=START))


async def open_new(file: Path) -> None:
    store = Store(f"sqlite+aiosqlite:///{file}")
    try:
        async with store.write() as session:
            await session.execute(text("CREATE TABLE IF NOT EXISTS t (a INTEGER)"))
    finally:
        await store.close()


async def test_the_first_connections_to_a_new_sqlite_file_wait_for_each_other(tmp_path: Path) -> None:
    for number in range(25):
        await asyncio.gather(*(open_new(tmp_path / f"{number}.db") for _ in range(4)))


async def test_a_new_sqlite_file_that_another_writes_is_waited_for(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "new.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    opening = asyncio.create_task(open_new(tmp_path / "new.db"))
    await asyncio.sleep(0.2)
    assert not opening.done()

    other.execute("COMMIT")
    await opening
    other.close()


async def test_sqlite_outlives_a_power_cut_and_watches_references(store: Store) -> None:
    if not store.is_sqlite:
        return
    async with store.read() as session:
        found = {
            name: (await session.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "TURNUS_DATABASE_URL is no database address"),
        ("turnus.db", "TURNUS_DATABASE_URL is no database address"),
        ("mysql://root:secret@localhost/turnus", "TURNUS_DATABASE_URL names 'mysql'"),
        ("postgresql+asyncpg://root:secret@localhost/turnus", "TURNUS_DATABASE_URL names 'postgresql\\+asyncpg'"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_clear_line_without_the_password(url: str, reason: str) -> None:
    with pytest.raises(DatabaseUrlError, match=reason) as refused:
        Store(url)

    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///turnus.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:///turnus.db", "sqlite+aiosqlite"),
        ("postgresql://localhost/turnus", "postgresql+psycopg"),
        ("postgresql+psycopg://localhost/turnus", "postgresql+psycopg"),
    ],
)
async def test_the_driver_need_not_be_named(url: str, driver: str) -> None:
    store = Store(url)

    assert store.engine.url.drivername == driver
    assert store.is_sqlite == driver.startswith("sqlite")
    await store.close()


async def test_the_server_gives_up_who_vanished_in_a_transaction_within_a_minute(store: Store) -> None:
    if not store.is_sqlite:
        async with store.write() as session:
            shown = await session.execute(text("SHOW idle_in_transaction_session_timeout"))
            assert shown.scalar_one() == "1min"


def test_an_address_is_shown_without_its_password() -> None:
    assert bare_url("postgresql://turnus:secret@db/turnus") == "postgresql://turnus:***@db/turnus"


@pytest.mark.parametrize(("asked", "held"), [("", "10"), ("?connect_timeout=3", "3")])
async def test_a_vanished_database_host_is_given_up_when_the_address_says_so_or_after_ten_seconds(
    asked: str, held: str
) -> None:
    store = Store(f"postgresql+psycopg://turnus@db.example/turnus{asked}")
    told: dict[str, Any] = {}

    @event.listens_for(store.engine.sync_engine, "do_connect")
    def refuse(_: object, __: object, ___: object, parameters: dict[str, Any]) -> None:
        told.update(parameters)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with store.read() as session:
            await session.execute(text("SELECT 1"))
    assert str(told["connect_timeout"]) == held
    assert {"keepalives_idle", "tcp_user_timeout"} <= set(told)
