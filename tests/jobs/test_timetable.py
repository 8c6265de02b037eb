"""Ticks may be late, doubled or lost; the rows say what is done, and each day's run is begun once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select

from billing.clock import ManualClock
from billing.models import Idempotency, Run, RunState, new_row, table
from billing.services.answering import KEPT_S
from billing.services.context import Context
from billing.services.founding import AccountFacts, found
from billing.services.leaving import Leaving
from billing.store import after_s
from jobs.scheduler import _Waker, scheduled
from jobs.settings import Settings
from jobs.timetable import work_of_the_hour
from jobs.wiring import open_context, open_courier, open_mailer
from tests.scenarios.stage import MERCHANT, PLANS, SECRET

VIENNA = ZoneInfo("Europe/Vienna")


@dataclass
class Office:
    """An engine whose time of day is moved by hand."""

    ctx: Context
    settings: Settings
    clock: ManualClock

    async def found(self, reference: str, timezone: str) -> int:
        """Set up one more merchant, whose gateway is never reached."""
        credentials = {"endpoint": "http://127.0.0.1:9/x", "merchant_id": "90001", "password": "x"}
        accounts = (AccountFacts("main", "mpay24", credentials),)
        facts = replace(MERCHANT, reference=reference, timezone=timezone, accounts=accounts, plans=PLANS)
        return await found(self.ctx, facts)

    async def tick(self, now: datetime) -> None:
        self.clock.instant = now
        await work_of_the_hour(self.ctx, self.settings)

    async def runs(self) -> list[tuple[Any, ...]]:
        run = table(Run)
        columns = select(run.c.merchant_id, run.c.on_day, run.c.state, run.c.business_at).order_by(run.c.id)
        async with self.ctx.store.read() as session:
            return [tuple(row) for row in await session.execute(columns)]


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with opened(database_url) as office:
        yield office


@asynccontextmanager
async def opened(database_url: str) -> AsyncIterator[Office]:
    settings = Settings(_env_file=None, database_url=database_url, secret_key=SECRET, run_hour=2, dun_hour=9)
    clock = ManualClock(datetime(2027, 1, 1, tzinfo=UTC))
    async with open_context(settings, clock) as ctx:
        yield Office(ctx, settings, clock)


@pytest.mark.parametrize(
    "night",
    [date(2027, 3, 28), date(2027, 10, 31), date(2028, 2, 29)],
    ids=["spring: there is no two o'clock", "autumn: two o'clock comes twice", "a leap day"],
)
async def test_each_day_has_one_run_from_its_hour_on_whatever_the_clocks_do(office: Office, night: date) -> None:
    merchant_id = await office.found("gym", "Europe/Vienna")
    now = datetime(night.year, night.month, night.day, tzinfo=UTC) - timedelta(hours=3)
    for _ in range(18):
        await office.tick(now)
        now += timedelta(minutes=30)
    days = [(merchant, day) for merchant, day, _, _ in await office.runs()]
    assert days == [(merchant_id, night - timedelta(days=1)), (merchant_id, night)]
    hour = (await office.runs())[-1][3].astimezone(VIENNA)
    assert (hour.date(), hour.hour) == (night, 3 if night.month == 3 else 2)


async def test_every_merchant_has_its_own_night(office: Office) -> None:
    for name, zone in (("tokyo", "Asia/Tokyo"), ("vienna", "Europe/Vienna"), ("la", "America/Los_Angeles")):
        await office.found(name, zone)
    begun: list[tuple[int, int]] = []
    for hour in range(36):
        await office.tick(datetime(2027, 6, 1, tzinfo=UTC) + timedelta(hours=hour))
        if len(await office.runs()) > len(begun):
            begun += sorted((row[0], hour) for row in (await office.runs())[len(begun) :])
    # At midnight UTC it is nine in the morning in Tokyo, two in Vienna, and five in the afternoon in Los Angeles.
    assert begun == [(1, 0), (2, 0), (3, 0), (3, 9), (1, 17), (2, 24), (3, 33)]


async def test_two_ticks_at_once_begin_one_run(database_url: str) -> None:
    now = datetime(2027, 1, 5, 3, tzinfo=UTC)
    async with opened(database_url) as one, opened(database_url) as other:
        await one.found("gym", "Europe/Vienna")
        await asyncio.gather(*(office.tick(now) for office in (one, other, one, other)))
        assert [(row[1], row[2]) for row in await one.runs()] == [(date(2027, 1, 5), RunState.FINISHED)]


async def test_a_run_that_was_left_unfinished_is_joined_at_any_hour(office: Office) -> None:
    merchant_id = await office.found("gym", "Europe/Vienna")
    began = datetime(2027, 1, 4, 1, 30, tzinfo=UTC)
    row = new_row(Run, merchant_id=merchant_id, on_day=date(2027, 1, 4), business_at=began)
    async with office.ctx.store.write() as session:
        await session.execute(insert(table(Run)).values(**row | {"state": RunState.RUNNING, "started_at": began}))
    await office.tick(datetime(2027, 1, 4, 22, 30, tzinfo=UTC))
    assert [row[2] for row in await office.runs()] == [RunState.FINISHED]
    await office.tick(datetime(2027, 1, 4, 22, 45, tzinfo=UTC))
    assert len(await office.runs()) == 1


async def test_before_its_hour_a_night_is_not_begun(office: Office) -> None:
    await office.found("gym", "Europe/Vienna")
    await office.tick(datetime(2027, 1, 4, 23, 30, tzinfo=UTC))
    [(_, day, _, _)] = await office.runs() or [(0, None, 0, 0)]
    assert day is None


async def test_a_tick_that_comes_while_work_is_going_on_starts_nothing() -> None:
    begun, go_on = 0, asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        await go_on.wait()

    running: set[asyncio.Task[None]] = set()
    wake = _Waker("work", work, running, Leaving())
    for _ in range(3):
        await wake()
        await asyncio.sleep(0)
    assert (begun, len(running)) == (1, 1)
    go_on.set()
    await asyncio.gather(*running)
    await wake()
    await asyncio.gather(*running)
    assert begun == 2


async def test_work_that_fails_does_not_stop_the_clock() -> None:
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        raise RuntimeError("a bad night")

    running: set[asyncio.Task[None]] = set()
    wake = _Waker("work", work, running, Leaving())
    for _ in range(2):
        await wake()
        await asyncio.gather(*running)
    assert begun == 2


async def test_the_timetable_begins_and_ends_without_leaving_anything_behind(office: Office) -> None:
    before = asyncio.all_tasks()
    settings = office.settings
    async with (
        open_mailer(settings) as mailer,
        open_courier(settings) as courier,
        scheduled(office.ctx, settings, mailer, courier),
    ):
        pass
    assert asyncio.all_tasks() == before


async def test_answers_of_the_api_are_forgotten_two_days_later(office: Office) -> None:
    merchant_id = await office.found("gym", "Europe/Vienna")
    kept = {"merchant_id": merchant_id, "digest": "0" * 64, "claim": "c"}
    async with office.ctx.store.write() as session:
        for key, age_s in (("old", KEPT_S + 60), ("young", 24 * 3600)):
            times = {"lease_until": after_s(), "created_at": after_s(-age_s)}
            await session.execute(insert(table(Idempotency)).values(key=key, **kept, **times))
    await office.tick(datetime(2026, 11, 25, 0, 0, tzinfo=UTC))
    async with office.ctx.store.read() as session:
        left = (await session.execute(select(table(Idempotency).c.key))).scalars().all()
    assert left == ["young"]


async def test_nothing_is_begun_by_who_is_leaving() -> None:
    async def work() -> None:
        raise AssertionError

    leaving, running = Leaving(), set[asyncio.Task[None]]()
    leaving.tell()
    await _Waker("work", work, running, leaving)()
    assert running == set()
