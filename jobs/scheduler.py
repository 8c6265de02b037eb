"""An alarm clock that remembers nothing: a tick wakes a task, and the task looks at our rows.

Ticks may be late, doubled or lost; several machines may each have one. What a tick finds done already
costs a statement or two, and what it finds undone is done by whoever claims it first.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from billing.services.announcing import Sender, announce
from billing.services.context import Context
from billing.services.leaving import Leaving
from billing.services.outbox import Postman, deliver
from jobs.reconcile import reconcile
from jobs.settings import Settings
from jobs.timetable import work_of_the_hour

_log = structlog.get_logger("turnus.scheduler")

RECONCILE_EVERY_S = 15
DELIVER_EVERY_S = 5
TIMETABLE_EVERY_S = 60

Work = Callable[[], Awaitable[object]]


@asynccontextmanager
async def scheduled(ctx: Context, settings: Settings, postman: Postman, sender: Sender) -> AsyncIterator[None]:
    """Keep the timetable while the block lasts; work that is under way at the end is let finish."""
    scheduler = AsyncIOScheduler()
    running: set[asyncio.Task[None]] = set()
    for name, every_s, work in _ticks(ctx, settings, postman, sender):
        wake = _Waker(name, work, running, ctx.leaving)
        scheduler.add_job(wake, IntervalTrigger(seconds=every_s), id=name, coalesce=True, misfire_grace_time=None)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)
        await asyncio.gather(*running)


def _ticks(ctx: Context, settings: Settings, postman: Postman, sender: Sender) -> list[tuple[str, int, Work]]:
    return [
        ("timetable", TIMETABLE_EVERY_S, lambda: work_of_the_hour(ctx, settings)),
        ("reconcile", RECONCILE_EVERY_S, lambda: reconcile(ctx, send=True)),
        ("deliver", DELIVER_EVERY_S, lambda: deliver(ctx, postman)),
        ("announce", DELIVER_EVERY_S, lambda: announce(ctx, sender)),
    ]


class _Waker:
    """Starts a task unless the one before is still at work; the scheduler itself never waits for it."""

    def __init__(self, name: str, work: Work, running: set[asyncio.Task[None]], leaving: Leaving) -> None:
        self._name = name
        self._leaving = leaving
        self._work = work
        self._running = running
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        if not self._leaving and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._do())
            self._running.add(self._task)
            self._task.add_done_callback(self._running.discard)

    async def _do(self) -> None:
        with structlog.contextvars.bound_contextvars(work=self._name, work_id=str(uuid.uuid4())):
            try:
                await self._work()
            except Exception:  # noqa: BLE001 - one night that fails must not stop the clock
                _log.exception("work failed")
