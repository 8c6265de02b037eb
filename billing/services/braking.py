"""Watch a run while it charges: a small first slice, then every so many answers, and stop it where they are strange."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.brakes import Brakes, Tally, Voice, why_stop
from billing.gateway import Approved, Declined, Outcome, Pending
from billing.mail import english_in
from billing.models import Attempt, GatewayAccount, Merchant, Run, RunState, table
from billing.payments import AttemptState
from billing.services.context import Context
from billing.services.tasking import NewTask, raise_tasks
from billing.store import after_s

_run, _attempt, _account, _merchant = table(Run), table(Attempt), table(GatewayAccount), table(Merchant)
_FINE: Final = (AttemptState.APPROVED, AttemptState.PENDING)
_UNANSWERED: Final = (AttemptState.SENT, AttemptState.WITHDRAWN)


def brakes_of(thresholds: Mapping[str, int] | None) -> Brakes:
    """Return a merchant's brakes: ours, but for the thresholds that differ."""
    return Brakes(**(thresholds or {}))


class Verdict(Enum):
    """What a look at a run says: charge more, wait for answers that are under way, or charge nothing more."""

    GO = auto()
    WAIT = auto()
    STOP = auto()


@dataclass(slots=True)
class Watch:
    """One process's eye on one run; the first slice is judged by the rows that all processes share.

    `aside` holds the attempts that a restored database cannot ask about now: nobody waits for those. `on_trial` is
    whether the first slice has not been seen to have passed. What a gateway turned away because it is too busy says
    nothing, so as many more are charged in the slice (`turned_away`); what other processes met is not known to be that.
    """

    run_id: int
    merchant_id: int
    brakes: Brakes
    titles: Mapping[int, str]
    now: datetime
    window: dict[int, Tally] = field(default_factory=lambda: defaultdict(Tally))
    aside: set[int] = field(default_factory=set)
    on_trial: bool = True
    turned_away: int = 0
    _away_before: dict[int, int] = field(default_factory=dict)

    def begin(self, ctx: Context, account_ids: Iterable[int]) -> None:
        """Reckon from now on with what these accounts turn away."""
        for account_id in account_ids:
            self._away_before.setdefault(account_id, _turned_away(ctx, account_id))

    async def allowance(self, ctx: Context, session: AsyncSession) -> int | None:
        """Return how many more charges may be claimed now, None for any number; locks the run while it is on trial."""
        mine = select(_run.c.state, _run.c.slice_passed_at).where(_run.c.id == self.run_id)
        row = (await session.execute(mine)).one()
        if row.state != RunState.RUNNING:
            return 0
        if row.slice_passed_at is not None:
            self.on_trial = False
            return None
        await session.execute(ctx.store.lock(mine))
        taken = sum((await _count(session, self.run_id)).values())
        return max(self.brakes.slice_charges + self.turned_away - taken, 0)

    def note(self, account_id: int, outcome: Outcome) -> None:
        """Remember how a charge went."""
        self.window[account_id] += _tally(outcome)

    async def look(self, ctx: Context) -> Verdict:
        """Judge what is known by now."""
        async with ctx.store.write() as session:
            mine = ctx.store.lock(select(_run).where(_run.c.id == self.run_id))
            row = (await session.execute(mine)).mappings().one()
            if row["state"] != RunState.RUNNING:
                return Verdict.STOP
            if row["slice_passed_at"] is not None:
                self.on_trial = False
                return await self._judge(session, self._window(ctx))
            return await self._judge_slice(ctx, session)

    async def _judge_slice(self, ctx: Context, session: AsyncSession) -> Verdict:
        """Judge the first slice once everything in it is answered; it is passed when it was whole, or at the end."""
        if await is_under_way(session, self.run_id):
            return Verdict.WAIT
        counts = await _count(session, self.run_id)
        tallies = self._tallies(ctx, counts)
        verdict = await self._judge(session, self._named(tallies))
        if verdict is not Verdict.GO:
            return verdict
        self.turned_away = sum(tally.turned_away for tally in tallies.values())
        if sum(counts.values()) < self.brakes.slice_charges + self.turned_away:
            return Verdict.WAIT
        await session.execute(update(_run).where(_run.c.id == self.run_id).values(slice_passed_at=after_s()))
        self._begin_window(ctx)
        return Verdict.GO

    def is_due(self) -> bool:
        """Answer whether enough answers came in since the last look to judge them by themselves."""
        return sum(tally.answered for tally in self.window.values()) >= self.brakes.slice_charges

    def _window(self, ctx: Context) -> Mapping[str, Tally]:
        """Return how charges went since the last window, and begin the next."""
        tallies = self._named(self._less_turned_away(ctx, self.window))
        self._begin_window(ctx)
        return tallies

    def _begin_window(self, ctx: Context) -> None:
        self.window.clear()
        self._away_before = {account_id: _turned_away(ctx, account_id) for account_id in self._away_before}

    def _tallies(self, ctx: Context, counts: Mapping[tuple[int, str], int]) -> Mapping[int, Tally]:
        found: dict[int, Tally] = defaultdict(Tally)
        for (account_id, state), count in counts.items():
            found[account_id] += _tally_of(state, count)
        return self._less_turned_away(ctx, found)

    def _less_turned_away(self, ctx: Context, tallies: Mapping[int, Tally]) -> Mapping[int, Tally]:
        away = {id_: _turned_away(ctx, id_) - before for id_, before in self._away_before.items()}
        return {id_: tally.less_turned_away(max(away.get(id_, 0), 0)) for id_, tally in tallies.items()}

    def _named(self, tallies: Mapping[int, Tally]) -> Mapping[str, Tally]:
        return {self.titles.get(id_, str(id_)): tally for id_, tally in tallies.items()}

    async def _judge(self, session: AsyncSession, tallies: Mapping[str, Tally]) -> Verdict:
        reason = why_stop(self.brakes, tallies)
        if reason:
            await hold(session, self.run_id, self.merchant_id, reason, self.now)
        return Verdict.STOP if reason else Verdict.GO


async def watch_over(ctx: Context, session: AsyncSession, run_id: int, merchant_id: int, now: datetime) -> Watch:
    """Return an eye on a run."""
    thresholds = (await session.execute(select(_merchant.c.brakes).where(_merchant.c.id == merchant_id))).scalar_one()
    titles = {each["id"]: title for each, title in await _accounts(ctx, session, merchant_id)}
    return Watch(run_id, merchant_id, brakes_of(thresholds), titles, now)


async def voice_of(ctx: Context, session: AsyncSession, merchant_id: int, country: str) -> Voice:
    """Return how reasons are told to a merchant's people."""
    titles = {each["reference"]: title for each, title in await _accounts(ctx, session, merchant_id)}
    return Voice(titles, english_in(country))


async def _accounts(ctx: Context, session: AsyncSession, merchant_id: int) -> list[tuple[RowMapping, str]]:
    """Return the merchant's accounts, each with what people call it."""
    columns = select(_account.c.id, _account.c.reference, _account.c.gateway)
    rows = (await session.execute(columns.where(_account.c.merchant_id == merchant_id))).mappings()
    return [(row, ctx.gateways.account_title(row["reference"], row["gateway"])) for row in rows]


async def hold(session: AsyncSession, run_id: int, merchant_id: int, reason: str, now: datetime) -> None:
    """Hold a running run back, say why, and ask a person."""
    running = (_run.c.id == run_id) & (_run.c.state == RunState.RUNNING)
    change = {"state": RunState.PAUSED, "stopped_reason": reason}
    held = update(_run).where(running).values(**change).returning(_run.c.id)
    if (await session.execute(held)).scalar() is not None:
        await raise_tasks(session, [NewTask(merchant_id, "run", f"run_{run_id}", reason)], now)


async def is_under_way(session: AsyncSession, run_id: int) -> bool:
    """Answer whether a sender may still be at work; one that never came back is waited for no longer than its claim."""
    sent = (_attempt.c.run_id == run_id) & (_attempt.c.state == AttemptState.SENT)
    query = select(_attempt.c.id).where(sent, _attempt.c.lease_until > after_s()).limit(1)
    return (await session.execute(query)).scalar() is not None


async def _count(session: AsyncSession, run_id: int) -> dict[tuple[int, str], int]:
    """Count the run's attempts that were claimed, by account and state."""
    columns = select(_attempt.c.gateway_account_id, _attempt.c.state, func.count().label("n"))
    mine = (_attempt.c.run_id == run_id) & (_attempt.c.state != AttemptState.CREATED)
    rows: Any = await session.execute(columns.where(mine).group_by(_attempt.c.gateway_account_id, _attempt.c.state))
    return {(row.gateway_account_id, row.state): row.n for row in rows}


def _turned_away(ctx: Context, account_id: int) -> int:
    return ctx.gateways.places(account_id).pace.turned_away


def _tally(outcome: Outcome) -> Tally:
    if isinstance(outcome, Approved | Pending):
        return Tally(charged=1)
    return Tally(declined=1) if isinstance(outcome, Declined) else Tally(failed=1)


def _tally_of(state: str, count: int) -> Tally:
    """Say what attempts in a state count for; one whose sender died has no answer yet, good or bad."""
    if state in _UNANSWERED:
        return Tally()
    if state in _FINE:
        return Tally(charged=count)
    return Tally(declined=count) if state == AttemptState.DECLINED else Tally(failed=count)
