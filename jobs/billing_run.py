"""Issue and charge what is due: one run for each merchant and day, shared by whoever joins it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import ColumnElement, RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.models import (
    OPEN_RUN_STATES,
    Attempt,
    CatchUp,
    Decision,
    Invoice,
    Merchant,
    NumberSeries,
    Run,
    RunState,
    Subscription,
    table,
)
from billing.payments import AttemptState
from billing.services.braking import Watch, is_under_way, watch_over
from billing.services.charging import charge_ready, is_unsent
from billing.services.context import Context, Moment, moments
from billing.services.invoicing import RunScope, is_due, issue_page
from billing.services.recalling import recall_issued
from billing.services.recovering import try_unsent_again
from billing.services.running import RunStateError, begin, make_run, open_run_of
from billing.services.telling import NewEvent, tell
from billing.store import after_s, insert_unless
from billing.subscriptions import SubscriptionState
from jobs.abreast import abreast

_run, _merchant, _subscription = table(Run), table(Merchant), table(Subscription)
_invoice, _attempt, _decision, _series = table(Invoice), table(Attempt), table(Decision), table(NumberSeries)

_log = structlog.get_logger("turnus.run")

SHARED_LOOK_S: Final = 0.05
"""How often a process that has nothing to do looks at what others have in their hands."""


ISSUERS: Final = 2
"""How many pages a process has in its hands at once: one is reckoned while PostgreSQL writes the other."""


class RunRefusedError(ValueError):
    """A run that must not be: a day in the future for a live merchant."""


@dataclass(slots=True)
class Report:
    """What one run did, in numbers. `skipped` were due and set aside; `unknown` are in doubt and asked about.

    `state` is the run's own, and `stopped` says why one is held back. `left` says that this process was told to end
    before the run was over.
    """

    run_id: int | None = None
    merchant: str = ""
    on: date | None = None
    due: int = 0
    invoiced: int = 0
    charged: int = 0
    declined: int = 0
    pending: int = 0
    unknown: int = 0
    not_sent: int = 0
    refused: int = 0
    waiting: int = 0
    skipped: int = 0
    seconds: float = 0.0
    state: str = ""
    stopped: str = ""
    left: bool = False


@dataclass(slots=True)
class Progress:
    """What is shown while a run goes on; silent unless somebody listens."""

    due: Callable[[int], None] = field(default=lambda _: None)
    issued: Callable[[int], None] = field(default=lambda _: None)
    settled: Callable[[int], None] = field(default=lambda _: None)


async def run_all(
    ctx: Context,
    on: date | None = None,
    progress: Progress | None = None,
    merchant: str | None = None,
    *,
    once: bool = False,
    at_most_s: float = inf,
) -> list[Report]:
    """Run every merchant's night, or join the one that is going on; missed nights are caught up.

    Several merchants are worked on at once, and one whose night fails stops no other; the failure is raised at the end.
    With `once` a day that has had its run gets no other, however many machines ask at the same time. Whoever comes
    again works on a merchant's run for `at_most_s`, and leaves the rest for then.
    Raises `RunRefusedError` before anything is changed if the day is in the future for a live merchant.
    """
    days = await merchants_on(ctx, on, merchant)
    work = partial(_run_merchant, ctx, progress or Progress(), once=once, at_most_s=at_most_s)
    nights = await abreast(partial(work, row, moment) for row, moment in days)
    return [report for night in nights for report in night]


async def plan_all(ctx: Context, merchant: str | None = None) -> list[Report]:
    """Plan each merchant's run of today, which then waits for approval; one that is there already is told as it is."""
    planned = []
    for row, moment in await merchants_on(ctx, None, merchant):
        run = await _join(ctx, dict(row) | {"run_approval": True}, moment, once=True)
        if run is not None:
            await begin(ctx, row, run)
            planned.append(await _report(ctx, run["id"], row))
    return planned


async def foresee(ctx: Context, on: date | None = None, merchant: str | None = None) -> list[Report]:
    """Return what runs would do, changing nothing: how many subscriptions are due on the day."""
    reports = []
    for row, moment in await merchants_on(ctx, on, merchant):
        async with ctx.store.read() as session:
            due = await _count_due(session, row["id"], moment.today)
        reports.append(Report(merchant=row["reference"], on=moment.today, due=due))
    return reports


async def merchants_on(ctx: Context, on: date | None, merchant: str | None) -> list[tuple[RowMapping, Moment]]:
    """Return each merchant, or the one named, with the moment that is meant; raise `RunRefusedError` where none is."""
    async with ctx.store.read() as session:
        query = select(_merchant).order_by(_merchant.c.id)
        if merchant:
            query = query.where(_merchant.c.reference == merchant)
        rows = (await session.execute(query)).mappings().all()
        if merchant and not rows:
            raise RunRefusedError(f"there is no merchant {merchant!r}")
        times = await moments(ctx, session, [row["id"] for row in rows])
    return [(row, _moment_of(row, times[row["id"]], on)) for row in rows]


def _moment_of(merchant: RowMapping, moment: Moment, on: date | None) -> Moment:
    if on is None or on == moment.today:
        return moment
    if on > moment.today and merchant["live"]:
        raise RunRefusedError(f"{on} is in the future, and merchant {merchant['reference']!r} is live")
    return Moment(moment.timezone, datetime.combine(on, time(2), ZoneInfo(moment.timezone)))


async def _run_merchant(
    ctx: Context, progress: Progress, merchant: RowMapping, moment: Moment, *, once: bool, at_most_s: float
) -> list[Report]:
    """Run the merchant's day; one of an earlier day that was left unfinished is finished first."""
    reports: list[Report] = []
    until = monotonic() + at_most_s
    while not ctx.leaving:
        started = monotonic()
        run = await _join(ctx, merchant, moment, once=once)
        if run is None:
            break
        with structlog.contextvars.bound_contextvars(run=run["id"], merchant=merchant["reference"]):
            run = await begin(ctx, merchant, run)
            if run["state"] == RunState.RUNNING:
                await _work(ctx, _scope(run, merchant), Moment(moment.timezone, run["business_at"]), progress, until)
            reports.append(await _report(ctx, run["id"], merchant))
            reports[-1].seconds = round(monotonic() - started, 3)
            reports[-1].left = bool(ctx.leaving) and reports[-1].state == RunState.RUNNING
            _tell(ctx, reports[-1])
        if run["on_day"] >= moment.today or reports[-1].state in OPEN_RUN_STATES:
            break
    return reports


def _tell(ctx: Context, report: Report) -> None:
    """Count and log what was done."""
    ctx.meters.run(report.state)
    numbers = {name: value for name, value in asdict(report).items() if value and name not in ("run_id", "merchant")}
    _log.info("run", **numbers)


async def _join(
    ctx: Context, merchant: RowMapping | dict[str, Any], moment: Moment, *, once: bool
) -> RowMapping | None:
    """Return the merchant's open run, whoever began it, or make one of today; nothing where the day has had its own."""
    state = RunState.PLANNED if merchant["run_approval"] else RunState.RUNNING
    async with ctx.store.write() as session:
        found = await open_run_of(ctx, session, merchant["id"])
        if found is not None or (once and await _has_had_run(session, merchant["id"], moment.today)):
            return found
        return await make_run(ctx, session, merchant["id"], moment, state=state)


async def _has_had_run(session: AsyncSession, merchant_id: int, on: date) -> bool:
    return bool(await _count(session, (_run.c.merchant_id == merchant_id) & (_run.c.on_day >= on)))


def _scope(run: RowMapping, merchant: RowMapping) -> RunScope:
    return RunScope(
        run_id=run["id"],
        merchant_id=merchant["id"],
        on=run["on_day"],
        now=run["business_at"],
        prefix=f"{merchant['number_prefix']}-{run['on_day'].year}-",
        catch_up=CatchUp(merchant["catch_up"]),
    )


async def _work(ctx: Context, scope: RunScope, moment: Moment, progress: Progress, until: float) -> None:
    """Work on the run, with whoever else does, until nothing of it is left, somebody holds it back or time is over.

    What another process has in its hands is waited for, since it may die with it; but not longer than a claim lasts.
    """
    async with ctx.store.write() as session:
        await _end_canceled(ctx, session, scope)
        await _begin_series(session, scope)
        progress.due(await _count_due(session, scope.merchant_id, scope.on))
        watch = await watch_over(ctx, session, scope.run_id, scope.merchant_id, moment.now)
    await try_unsent_again(ctx, scope.merchant_id, moment, scope.run_id)
    useful_at = monotonic()
    while True:
        if await _issue_and_charge(ctx, scope, watch, progress, until):
            useful_at = monotonic()
        if ctx.leaving or await _finish(ctx, scope, watch) or monotonic() > min(until, useful_at + ctx.lease_s):
            return
        await ctx.leaving.wait(SHARED_LOOK_S)


async def open_scope(ctx: Context, merchant: RowMapping, moment: Moment) -> RunScope:
    """Begin or join the merchant's run of the day, and return what a page needs to know of it."""
    run = await _join(ctx, merchant, moment, once=False)
    if run is None:
        raise RunRefusedError(f"merchant {merchant['reference']!r} has had its run")
    scope = _scope(run, merchant)
    async with ctx.store.write() as session:
        await _begin_series(session, scope)
    return scope


async def issue_due(ctx: Context, scope: RunScope, heard: Callable[[int], None]) -> None:
    """Issue everything that is due; `heard` is told of each page how many subscriptions were decided about."""

    async def issue() -> None:
        while not ctx.leaving and (issued := await issue_page(ctx, scope)):
            heard(issued.invoiced + issued.skipped.total())

    async with asyncio.TaskGroup() as issuing:
        for _ in range(1 if ctx.store.is_sqlite else ISSUERS):
            issuing.create_task(issue())


async def _issue_and_charge(ctx: Context, scope: RunScope, watch: Watch, progress: Progress, until: float) -> bool:
    """Take what can be taken, stage by stage, and answer whether that was anything."""
    done = 0

    def issued(count: int) -> None:
        nonlocal done
        done += count
        progress.issued(count)

    def settled(states: Counter[AttemptState]) -> None:
        nonlocal done
        done += states.total()
        progress.settled(states.total())

    await issue_due(ctx, scope, issued)
    if ctx.ask_first:
        await recall_issued(ctx, scope.run_id)
    await charge_ready(ctx, scope.merchant_id, settled, watch, at_most_s=until - monotonic())
    return done > 0


async def _end_canceled(ctx: Context, session: AsyncSession, scope: RunScope) -> None:
    """End subscriptions that were canceled and whose paid days are over."""
    over = (_subscription.c.state == SubscriptionState.CANCELED) & (_subscription.c.ended_on <= scope.on)
    mine = over & (_subscription.c.merchant_id == scope.merchant_id)
    ended = update(_subscription).where(mine).values(state=SubscriptionState.ENDED).returning(_subscription.c.id)
    ids = (await session.execute(ended)).scalars().all()
    about = (scope.merchant_id, EventType.SUBSCRIPTION_ENDED, "sub")
    await tell(ctx, session, [NewEvent(*about, id_, scope.now) for id_ in ids])


async def _begin_series(session: AsyncSession, scope: RunScope) -> None:
    row = {"merchant_id": scope.merchant_id, "prefix": scope.prefix, "next_value": 1}
    await session.execute(insert_unless(session, _series, ["merchant_id", "prefix"]), [row])


async def _count_due(session: AsyncSession, merchant_id: int, on: date) -> int:
    due = (_subscription.c.merchant_id == merchant_id) & (_subscription.c.next_due_on <= on)
    found: int = (await session.execute(select(func.count()).where(due))).scalar_one()
    return found


async def _finish(ctx: Context, scope: RunScope, watch: Watch) -> bool:
    """Finish the run where nothing of it is left, and answer whether it is over or held back.

    As long as another process may still invoice, charge or hear of a charge the run goes on, for its brakes and
    its pauses hold only what belongs to a running run.
    """
    async with ctx.store.write() as session:
        query = ctx.store.lock(select(_run.c.state).where(_run.c.id == scope.run_id))
        if (await session.execute(query)).scalar_one() != RunState.RUNNING:
            return True
        if await _is_anything_left(session, scope, watch):
            return False
        change: dict[str, Any] = {"state": RunState.FINISHED, "finished_at": ctx.clock.now()}
        change["slice_passed_at"] = func.coalesce(_run.c.slice_passed_at, after_s())
        await session.execute(update(_run).where(_run.c.id == scope.run_id).values(**change))
        return True


async def _is_anything_left(session: AsyncSession, scope: RunScope, watch: Watch) -> bool:
    return await is_due(session, scope) or await is_unsent(session, watch) or await is_under_way(session, scope.run_id)


async def report_on(ctx: Context, run_id: int) -> tuple[Report, RowMapping]:
    """Return what a run did so far, and the run; raise `RunStateError` where there is none."""
    async with ctx.store.read() as session:
        query = select(_merchant).join(_run, _run.c.merchant_id == _merchant.c.id).where(_run.c.id == run_id)
        merchant = (await session.execute(query)).mappings().one_or_none()
        if merchant is None:
            raise RunStateError(f"there is no run {run_id}")
        run = (await session.execute(select(_run).where(_run.c.id == run_id))).mappings().one()
    return await _report(ctx, run_id, merchant), run


async def _report(ctx: Context, run_id: int, merchant: RowMapping) -> Report:
    """Count what the run left, from the rows themselves."""
    async with ctx.store.read() as session:
        run = (await session.execute(select(_run).where(_run.c.id == run_id))).mappings().one()
        invoiced = await _count(session, _invoice.c.run_id == run["id"])
        skipped = await _count(session, _decision.c.run_id == run["id"])
        grouped = select(_attempt.c.state, func.count()).where(_attempt.c.run_id == run["id"])
        states = Counter({row[0]: row[1] for row in await session.execute(grouped.group_by(_attempt.c.state))})
    return Report(
        run_id=run["id"],
        merchant=merchant["reference"],
        on=run["on_day"],
        due=invoiced + skipped,
        invoiced=invoiced,
        charged=states[AttemptState.APPROVED],
        declined=states[AttemptState.DECLINED],
        pending=states[AttemptState.PENDING],
        unknown=states[AttemptState.UNKNOWN] + states[AttemptState.SENT],
        not_sent=states[AttemptState.NOT_SENT],
        refused=states[AttemptState.REFUSED],
        waiting=states[AttemptState.CREATED],
        skipped=skipped,
        state=run["state"],
        stopped=run["stopped_reason"] or "",
    )


async def _count(session: AsyncSession, where: ColumnElement[bool]) -> int:
    found: int = (await session.execute(select(func.count()).where(where))).scalar_one()
    return found
