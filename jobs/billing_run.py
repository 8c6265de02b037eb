"""Issue and charge what is due: one run for each merchant and day, shared by whoever joins it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from time import monotonic
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import (
    Attempt,
    CatchUp,
    Decision,
    Invoice,
    Merchant,
    NumberSeries,
    Run,
    RunState,
    Subscription,
    new_row,
    table,
)
from billing.payments import AttemptState
from billing.services.charging import charge_ready
from billing.services.context import Context, Moment, moments
from billing.services.invoicing import RunScope, issue_page
from billing.services.recovering import try_unsent_again
from billing.store import insert_unless
from billing.subscriptions import SubscriptionState

_run, _merchant, _subscription = table(Run), table(Merchant), table(Subscription)
_invoice, _attempt, _decision, _series = table(Invoice), table(Attempt), table(Decision), table(NumberSeries)


class RunRefusedError(ValueError):
    """A run that must not be: a day in the future for a live merchant."""


@dataclass(slots=True)
class Report:
    """What one run did, in numbers. `skipped` were due and set aside; `unknown` are in doubt and asked about."""

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
) -> list[Report]:
    """Run every merchant's night, or join the one that is going on; missed nights are caught up.

    With `once` a day that has had its run gets no other, however many machines ask at the same time.
    Raises `RunRefusedError` before anything is changed if the day is in the future for a live merchant.
    """
    days = await merchants_on(ctx, on, merchant)
    reports = [await _run_merchant(ctx, row, moment, progress or Progress(), once=once) for row, moment in days]
    return [report for of_merchant in reports for report in of_merchant]


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
    ctx: Context, merchant: RowMapping, moment: Moment, progress: Progress, *, once: bool
) -> list[Report]:
    """Run the merchant's day; one of an earlier day that was left unfinished is finished first."""
    reports: list[Report] = []
    while True:
        started = monotonic()
        run = await _join(ctx, merchant, moment, once=once)
        if run is None:
            return reports
        if run["state"] == RunState.RUNNING:
            await _work(ctx, _scope(run, merchant), Moment(moment.timezone, run["business_at"]), progress)
            await _finish(ctx, run["id"])
        reports.append(await _report(ctx, run, merchant))
        reports[-1].seconds = round(monotonic() - started, 3)
        if run["on_day"] >= moment.today or run["state"] != RunState.RUNNING:
            return reports


async def _join(ctx: Context, merchant: RowMapping, moment: Moment, *, once: bool) -> RowMapping | None:
    """Return the merchant's open run, whoever began it, or begin one for the day.

    Another process may end the open run just when we have seen that there is one; then we look again.
    """
    open_states = (RunState.PLANNED, RunState.RUNNING, RunState.PAUSED)
    mine = (_run.c.merchant_id == merchant["id"]) & _run.c.state.in_(open_states)
    one_open = f"state IN {tuple(map(str, open_states))}"
    row = new_row(Run, merchant_id=merchant["id"], on_day=moment.today, business_at=moment.now)
    row |= {"state": RunState.RUNNING, "started_at": ctx.clock.now()}
    while True:
        async with ctx.store.write() as session:
            await session.execute(ctx.store.lock(select(_merchant.c.id).where(_merchant.c.id == merchant["id"])))
            over = once and await _has_had_run(session, merchant["id"], moment.today)
            if not over:
                await session.execute(insert_unless(session, _run, ["merchant_id"], where=one_open), [row])
            found = (await session.execute(select(_run).where(mine))).mappings().one_or_none()
        if found is not None or over:
            return found


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


async def _work(ctx: Context, scope: RunScope, moment: Moment, progress: Progress) -> None:
    """Do the stages of a night: each takes its work from rows, so whoever comes goes on where it stands."""
    async with ctx.store.write() as session:
        await _end_canceled(session, scope)
        await _begin_series(session, scope)
        progress.due(await _count_due(session, scope.merchant_id, scope.on))
    await try_unsent_again(ctx, scope.merchant_id, moment, scope.run_id)
    while issued := await issue_page(ctx, scope):
        progress.issued(issued.invoiced + issued.skipped.total())
    await charge_ready(ctx, scope.merchant_id, lambda states: progress.settled(states.total()))


async def _end_canceled(session: AsyncSession, scope: RunScope) -> None:
    """End subscriptions that were canceled and whose paid days are over."""
    over = (_subscription.c.state == SubscriptionState.CANCELED) & (_subscription.c.ended_on <= scope.on)
    mine = over & (_subscription.c.merchant_id == scope.merchant_id)
    await session.execute(update(_subscription).where(mine).values(state=SubscriptionState.ENDED))


async def _begin_series(session: AsyncSession, scope: RunScope) -> None:
    row = {"merchant_id": scope.merchant_id, "prefix": scope.prefix, "next_value": 1}
    await session.execute(insert_unless(session, _series, ["merchant_id", "prefix"]), [row])


async def _count_due(session: AsyncSession, merchant_id: int, on: date) -> int:
    due = (_subscription.c.merchant_id == merchant_id) & (_subscription.c.next_due_on <= on)
    found: int = (await session.execute(select(func.count()).where(due))).scalar_one()
    return found


async def _finish(ctx: Context, run_id: int) -> None:
    """Finish the run, unless somebody paused or ended it meanwhile."""
    async with ctx.store.write() as session:
        running = (_run.c.id == run_id) & (_run.c.state == RunState.RUNNING)
        change = {"state": RunState.FINISHED, "finished_at": ctx.clock.now()}
        await session.execute(update(_run).where(running).values(**change))


async def _report(ctx: Context, run: RowMapping, merchant: RowMapping) -> Report:
    """Count what the run left, from the rows themselves."""
    async with ctx.store.read() as session:
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
    )


async def _count(session: AsyncSession, where: ColumnElement[bool]) -> int:
    found: int = (await session.execute(select(func.count()).where(where))).scalar_one()
    return found
