"""A run as a thing: planned with who and how much, approved where that is wanted, held back, let go on, aborted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Numeric,
    RowMapping,
    Select,
    case,
    cast,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from billing.brakes import Load, why_not_begin
from billing.dunning import StepKind
from billing.lifecycle import MoveError
from billing.models import (
    OPEN_RUN_STATES,
    Allocation,
    Attempt,
    ChargeRight,
    GatewayAccount,
    Invoice,
    Merchant,
    Message,
    MessageState,
    Price,
    Profile,
    ProfileState,
    Run,
    RunState,
    Subscription,
    Task,
    TaskState,
    new_row,
    table,
)
from billing.payments import AttemptState
from billing.services.braking import brakes_of, hold, voice_of
from billing.services.context import Context, Moment, moments
from billing.store import after_s
from billing.subscriptions import Collection

_run, _attempt, _invoice, _allocation = table(Run), table(Attempt), table(Invoice), table(Allocation)
_merchant = table(Merchant)
_subscription, _price, _profile, _account = table(Subscription), table(Price), table(Profile), table(GatewayAccount)

Word = Callable[[Context, AsyncSession, int, str], Awaitable[Any]]
"""What a person may say of a run: who says so, or why, is the last of what it takes."""

RECENT_DAYS: Final = 40
"""How far back a run is compared with others: a monthly rhythm is in it, whatever the month."""


class RunStateError(MoveError):
    """A run that cannot be told to do this now; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run sets out to do: charges by account and currency, and invoices that are mailed with a link."""

    loads: Mapping[str, Load]
    links: int

    def as_json(self) -> dict[str, Any]:
        """Return the plan as it is kept."""
        return {"loads": {name: asdict(load) for name, load in self.loads.items()}, "links": self.links}


def plan_in(row: RowMapping) -> Plan:
    """Return the plan a run was begun with."""
    kept = row["plan"] or {"loads": {}, "links": 0}
    return Plan({name: Load(**load) for name, load in kept["loads"].items()}, kept["links"])


async def make_plan(session: AsyncSession, merchant_id: int, on: date) -> Plan:
    """Return what a run on the day would charge and mail, in one statement; the tax of net prices is rounded in sum."""
    rows = (await session.execute(_due_by_account(merchant_id, on))).mappings().all()
    loads = {
        f"{row['reference']} {row['currency']}": Load(int(row["charges"]), int(row["amount_minor"]))
        for row in rows
        if row["reference"]
    }
    return Plan(loads, sum(int(row["charges"]) for row in rows if not row["reference"]))


def _due_by_account(merchant_id: int, on: date) -> Select[Any]:
    """Return a query that first counts what is due at each price, so that money is reckoned once for all of it."""
    chargeable = (_subscription.c.collection == Collection.CHARGE) & (_profile.c.state == ProfileState.ACTIVE)
    keys = (_subscription.c.price_id, case((chargeable, _profile.c.gateway_account_id), else_=None).label("account_id"))
    counts = (func.count().label("charges"), func.sum(_subscription.c.quantity).label("quantity"))
    due = (
        select(*keys, *counts)
        .join_from(_subscription, _profile, _profile.c.id == _subscription.c.profile_id, isouter=True)
        .where(_subscription.c.merchant_id == merchant_id, _subscription.c.next_due_on <= on)
        .group_by(*keys)
        .subquery()
    )
    unit = cast(_price.c.amount_minor, Numeric(38, 0)) * due.c.quantity
    gross = case((_price.c.tax_included.is_(True), unit), else_=unit * (10000 + _price.c.tax_rate_bp) / 10000)
    sums = (func.sum(due.c.charges).label("charges"), func.sum(gross).label("amount_minor"))
    return (
        select(_account.c.reference, _price.c.currency, *sums)
        .join_from(due, _price, _price.c.id == due.c.price_id)
        .join(_account, _account.c.id == due.c.account_id, isouter=True)
        .group_by(_account.c.reference, _price.c.currency)
    )


async def begin(ctx: Context, merchant: RowMapping, run: RowMapping) -> RowMapping:
    """Give a run that has just been made its plan, and hold it back where the plan is strange; return the run.

    A run that waits for approval is only planned. The plan is kept, and the next runs are compared with it.
    """
    async with ctx.store.write() as session:
        return await begin_within(ctx, session, merchant, run["id"])


async def begin_within(ctx: Context, session: AsyncSession, merchant: RowMapping, run_id: int) -> RowMapping:
    """Do so inside a transaction that somebody else has opened."""
    mine = ctx.store.lock(select(_run).where(_run.c.id == run_id))
    row: RowMapping = (await session.execute(mine)).mappings().one()
    if row["plan"] is not None:
        return row
    plan = await make_plan(session, merchant["id"], row["on_day"])
    await session.execute(update(_run).where(_run.c.id == row["id"]).values(plan=plan.as_json()))
    before = await largest_recently(session, merchant["id"], row["on_day"], row["id"])
    voice = await voice_of(ctx, session, merchant["id"], merchant["country"])
    reason = why_not_begin(brakes_of(merchant["brakes"]), plan.loads, before, voice)
    if reason and row["state"] == RunState.RUNNING:
        await hold(session, row["id"], merchant["id"], reason, row["business_at"])
    begun: RowMapping = (await session.execute(mine)).mappings().one()
    return begun


async def start_within(
    ctx: Context, session: AsyncSession, merchant: RowMapping, moment: Moment, state: RunState, by: str
) -> RowMapping:
    """Make the merchant's run of today by a person's word, planned or running, with its plan; return it.

    A running one is taken up by the next tick of the timetable. Raises `RunStateError` where a run is open.
    """
    other = await open_run_of(ctx, session, merchant["id"])
    if other is not None:
        raise RunStateError(f"run {other['id']} is {other['state']}: a merchant has one run at a time")
    approved = {"approved_by": by[:100], "approved_at": after_s()} if state == RunState.RUNNING else {}
    run = await make_run(ctx, session, merchant["id"], moment, state=state, **approved)
    return await begin_within(ctx, session, merchant, run["id"])


async def open_run_of(ctx: Context, session: AsyncSession, merchant_id: int) -> RowMapping | None:
    """Return the merchant's open run, whoever began it.

    Where there is none, nobody else makes one before the caller's transaction is over.
    """
    await session.execute(ctx.store.lock(select(_merchant.c.id).where(_merchant.c.id == merchant_id)))
    query = select(_run).where(_run.c.merchant_id == merchant_id, is_open())
    return (await session.execute(query)).mappings().one_or_none()


async def make_run(ctx: Context, session: AsyncSession, merchant_id: int, moment: Moment, **facts: Any) -> RowMapping:
    """Make the merchant's run of today, which has no plan yet; `open_run_of` has said that there is none."""
    row = new_row(Run, merchant_id=merchant_id, on_day=moment.today, business_at=moment.now)
    row |= {"started_at": ctx.clock.now()} | facts
    made: RowMapping = (await session.execute(insert(_run).values(**row).returning(_run))).mappings().one()
    return made


def is_open() -> ColumnElement[bool]:
    """Say of a run that it is not over, in the words of the index that finds it."""
    return _run.c.state.in_([literal_column(f"'{state}'") for state in OPEN_RUN_STATES])


async def largest_recently(session: AsyncSession, merchant_id: int, on: date, apart_from: int = 0) -> dict[str, Load]:
    """Return the most that one of the finished runs shortly before the day charged, by account and currency."""
    since = on - timedelta(days=RECENT_DAYS)
    recent = (_run.c.merchant_id == merchant_id) & (_run.c.on_day >= since) & (_run.c.id != apart_from)
    rows = await session.execute(select(_run.c.plan).where(recent, _run.c.state == RunState.FINISHED))
    largest: dict[str, Load] = {}
    for row in rows.mappings():
        for name, load in plan_in(row).loads.items():
            seen = largest.get(name, Load(0, 0))
            largest[name] = Load(max(seen.charges, load.charges), max(seen.amount_minor, load.amount_minor))
    return largest


async def approve_within(ctx: Context, session: AsyncSession, run_id: int, by: str) -> None:
    """Let a planned run begin; raise `RunStateError` where it is not waiting for that.

    This and the three that follow do it in the caller's transaction.
    """
    change = {"state": RunState.RUNNING, "approved_by": by, "approved_at": after_s()}
    await _change(ctx, session, run_id, (RunState.PLANNED,), change, "it does not wait for approval")


async def pause_within(ctx: Context, session: AsyncSession, run_id: int, reason: str) -> None:
    """Hold a running run back; what has left is settled, and nothing more is issued or sent."""
    change = {"state": RunState.PAUSED, "stopped_reason": reason}
    await _change(ctx, session, run_id, (RunState.RUNNING,), change, "it is not running")


async def resume_within(ctx: Context, session: AsyncSession, run_id: int, by: str) -> None:
    """Let a held run go on, with the word of a person instead of its first slice; its mails go out too."""
    change = {
        "state": RunState.RUNNING,
        "stopped_reason": None,
        "slice_passed_at": after_s(),
        "approved_by": by,
        "approved_at": after_s(),
    }
    await _change(ctx, session, run_id, (RunState.PAUSED,), change, "it is not paused")


async def abort_within(ctx: Context, session: AsyncSession, run_id: int, reason: str) -> int:
    """End a run for good: withdraw what has not been sent, and write to nobody about its declines.

    What was not invoiced is due as before. What was invoiced and not charged is charged by the next run from the
    merchant's next day on. Returns how many charges were withdrawn.
    """
    change = {"state": RunState.ABORTED, "stopped_reason": reason, "finished_at": ctx.clock.now()}
    run = await _change(ctx, session, run_id, OPEN_RUN_STATES, change, "it is over")
    await _drop_mails(session, run_id)
    return await withdraw_unsent(ctx, session, run)


def verb_of(word: Word) -> str:
    """Return what a word on a run is called in the audit log."""
    return f"{word.__name__.removesuffix('_within')}_run"


async def _change(
    ctx: Context,
    session: AsyncSession,
    run_id: int,
    states: tuple[RunState, ...],
    change: dict[str, Any],
    refusal: str,
) -> RowMapping:
    """Change a run that is in one of the states, and close the task that asked for it."""
    mine = ctx.store.lock(select(_run).where(_run.c.id == run_id))
    row: RowMapping | None = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise RunStateError(f"there is no run {run_id}")
    if row["state"] not in states:
        raise RunStateError(f"run {run_id} is {row['state']}: {refusal}")
    await session.execute(update(_run).where(_run.c.id == run_id).values(**change))
    task = table(Task)
    asked = (task.c.kind == "run") & (task.c.subject == f"run_{run_id}") & (task.c.state == TaskState.OPEN)
    await session.execute(update(task).where(asked).values(state=TaskState.DONE, done_at=after_s()))
    return row


async def _drop_mails(session: AsyncSession, run_id: int) -> None:
    """Take back the mails about declines that wait; whoever was charged still gets a receipt."""
    message = table(Message)
    mine = (message.c.run_id == run_id) & (message.c.state == MessageState.QUEUED) & (message.c.step == "declined")
    dropped = {"state": MessageState.DROPPED, "error": "the run was aborted"}
    await session.execute(update(message).where(mine).values(**dropped))


async def withdraw_unsent(ctx: Context, session: AsyncSession, run: RowMapping) -> int:
    """Withdraw the unsent charges of a run that is locked and aborted; each invoice is tried again the day after."""
    today = (await moments(ctx, session, [run["merchant_id"]]))[run["merchant_id"]].today
    retry_on = max(today, run["on_day"]) + timedelta(days=1)
    unsent = (_attempt.c.run_id == run["id"]) & (_attempt.c.state == AttemptState.CREATED)
    gone = update(_attempt).where(unsent).values(state=AttemptState.WITHDRAWN).returning(_attempt.c.id)
    ids = [row.id for row in await session.execute(gone)]
    if ids:
        right = table(ChargeRight)
        await session.execute(right.delete().where(right.c.attempt_id.in_(ids)))
        paid_for = select(_allocation.c.invoice_id).where(_allocation.c.attempt_id.in_(ids))
        again = {"next_step": StepKind.RETRY, "next_step_on": retry_on}
        await session.execute(update(_invoice).where(_invoice.c.id.in_(paid_for)).values(**again))
    return len(ids)
