"""Issue what is due: invoices, lines, numbers, postings and the first attempts, a page at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, exists, select, update
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from billing import invoices, ledger
from billing.bulk import insert_many, next_ids, update_many
from billing.dunning import Ladder, next_step
from billing.events import EventType
from billing.models import (
    CatchUp,
    Decision,
    Invoice,
    InvoiceLine,
    NumberSeries,
    Price,
    Profile,
    ProfileState,
    Run,
    RunState,
    Subscription,
    new_row,
    table,
)
from billing.money import Money
from billing.payments import owed_key
from billing.periods import Interval, Unit
from billing.pricing import Line, Terms, line_for
from billing.services.attempting import NewAttempt, open_attempts
from billing.services.context import Context
from billing.services.messaging import invite_to_pay
from billing.services.posting import Posted, post
from billing.services.tasking import NewTask, raise_tasks
from billing.services.telling import NewEvent, tell
from billing.store import PAGE, Store, insert_unless
from billing.subscriptions import Collection, SubscriptionState

_subscription, _price, _profile = table(Subscription), table(Price), table(Profile)
_invoice, _decision = table(Invoice), table(Decision)

# What a bill is made of.
_SUBSCRIPTION: Final = "id uid customer_id profile_id collection state quantity anchor_on next_period".split()
_PRICE: Final = "title interval_unit interval_count amount_minor currency tax_rate_bp tax_included".split()

# What a database says of values it cannot hold; SQLite's driver says it in Python's own word.
_UNSTORABLE: Final = (IntegrityError, DataError, OverflowError)


@dataclass(frozen=True, slots=True)
class RunScope:
    """What a page needs to know of its run and merchant."""

    run_id: int
    merchant_id: int
    on: date
    now: datetime
    prefix: str
    catch_up: CatchUp


@dataclass(frozen=True, slots=True)
class Issued:
    """What became of one page: how many invoices, and how many subscriptions were set aside for which reason."""

    invoiced: int
    skipped: Counter[str]

    def __bool__(self) -> bool:
        return bool(self.invoiced or self.skipped)


@dataclass(frozen=True, slots=True)
class _Bill:
    """A due subscription with the line its period has and the key of what it owes."""

    row: RowMapping
    line: Line
    key: str
    chargeable: bool


class _SetAsideError(Exception):
    """A subscription that cannot be billed as it is; the reason is a word for the decision."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class _HeldBackError(Exception):
    """A run that somebody has held back or ended while a page was reckoned: nothing of the page may stay."""


async def issue_page(ctx: Context, scope: RunScope) -> Issued:
    """Invoice a page of due subscriptions, oldest period first; nothing left to do is an empty answer.

    A subscription that makes the page fail is tried alone and then set aside with its reason,
    so that it never takes its innocent neighbours with it.
    """
    try:
        async with ctx.store.write() as session:
            if not await _is_running(session, scope.run_id):
                return Issued(0, Counter())
            rows = await _due(ctx.store, session, scope)
            return await _issue(ctx, session, scope, rows)
    except _HeldBackError:
        return Issued(0, Counter())
    except _UNSTORABLE:
        return await _issue_one_by_one(ctx, scope)


async def _is_running(session: AsyncSession, run_id: int) -> bool:
    """Answer whether nobody has held the run back or ended it meanwhile."""
    return (await session.execute(_state_of(run_id))).scalar() == RunState.RUNNING


async def is_kept_running(ctx: Context, session: AsyncSession, run_id: int) -> bool:
    """Answer whether nobody has held the run back or ended it, and keep it so until the transaction ends.

    Whoever ends it then finds all that is to be withdrawn.
    """
    held: str | None = (await session.execute(ctx.store.lock(_state_of(run_id)))).scalar()
    return held == RunState.RUNNING


def _state_of(run_id: int) -> Select[str]:
    run = table(Run)
    return select(run.c.state).where(run.c.id == run_id)


async def is_due(session: AsyncSession, scope: RunScope) -> bool:
    """Answer whether anything is left to invoice, be it in the hands of another process."""
    mine = (_subscription.c.merchant_id == scope.merchant_id) & (_subscription.c.next_due_on <= scope.on)
    found = await session.execute(select(_subscription.c.id).where(mine, _is_undecided(scope)).limit(1))
    return found.scalar() is not None


async def _issue_one_by_one(ctx: Context, scope: RunScope) -> Issued:
    """Issue each subscription of the page in a transaction of its own."""
    async with ctx.store.read() as session:
        ids = [row["id"] for row in await _due(ctx.store, session, scope, claim=False)]
    invoiced, skipped = 0, Counter[str]()
    for subscription_id in ids:
        issued = await _issue_alone(ctx, scope, subscription_id)
        invoiced += issued.invoiced
        skipped += issued.skipped
    return Issued(invoiced, skipped)


async def _issue_alone(ctx: Context, scope: RunScope, subscription_id: int) -> Issued:
    only = _subscription.c.id == subscription_id
    try:
        async with ctx.store.write() as session:
            return await _issue(ctx, session, scope, await _due(ctx.store, session, scope, only))
    except _HeldBackError:
        return Issued(0, Counter())
    except _UNSTORABLE as error:
        reason = _SetAsideError("unstorable", str(getattr(error, "orig", error)))
        async with ctx.store.write() as session:
            return await _set_aside(session, scope, {subscription_id: reason})


async def _due(
    store: Store, session: AsyncSession, scope: RunScope, *where: Any, claim: bool = True
) -> Sequence[RowMapping]:
    query = _due_query(scope.merchant_id, scope.on).where(_is_undecided(scope), *where)
    query = query.order_by(_subscription.c.next_due_on, _subscription.c.id).limit(PAGE)
    if claim:
        query = store.claim(query, _subscription)
    rows: Sequence[RowMapping] = (await session.execute(query)).mappings().all()
    return rows


def _is_undecided(scope: RunScope) -> ColumnElement[bool]:
    """Say that the run has not set the subscription aside."""
    return ~exists().where(_decision.c.run_id == scope.run_id, _decision.c.subscription_id == _subscription.c.id)


def _due_query(merchant_id: int, on: date) -> Select[Any]:
    query = select(
        *(_subscription.c[name] for name in _SUBSCRIPTION),
        *(_price.c[name] for name in _PRICE),
        _profile.c.gateway_account_id,
        _profile.c.state.label("profile_state"),
    )
    query = query.join_from(_subscription, _price).join(
        _profile, _profile.c.id == _subscription.c.profile_id, isouter=True
    )
    return query.where(_subscription.c.merchant_id == merchant_id, _subscription.c.next_due_on <= on)


async def _issue(ctx: Context, session: AsyncSession, scope: RunScope, rows: Sequence[RowMapping]) -> Issued:
    bills, aside = _reckon(scope, rows)
    if bills:
        await _write(ctx, session, scope, bills)
    skipped = await _set_aside(session, scope, aside) if aside else Issued(0, Counter())
    return Issued(len(bills), skipped.skipped)


def _reckon(scope: RunScope, rows: Iterable[RowMapping]) -> tuple[list[_Bill], dict[int, _SetAsideError]]:
    bills, aside = [], {}
    for row in rows:
        try:
            bills.append(_bill(scope, row))
        except _SetAsideError as reason:
            aside[row["id"]] = reason
    return bills, aside


def _bill(scope: RunScope, row: RowMapping) -> _Bill:
    """Return the bill for the subscription's next period, or raise why there is none."""
    try:
        line = _line(row["quantity"], row["anchor_on"], row["next_period"], *(row[name] for name in _PRICE))
    except (ValueError, OverflowError) as error:
        raise _SetAsideError("unpriceable", str(error)) from None
    if scope.catch_up == CatchUp.APPROVAL and line.period.end <= scope.on:
        raise _SetAsideError("needs_approval", f"more than one period is due since {line.period.start}")
    chargeable = row["collection"] == Collection.CHARGE and row["profile_state"] == ProfileState.ACTIVE
    return _Bill(row, line, owed_key("INV", row["uid"], row["next_period"]), chargeable)


@lru_cache(4096)
def _line(quantity: int, anchor_on: date, number: int, *price: Any) -> Line:
    """Return the line of a period: everyone who began on one day and pays one price has the same."""
    row = dict(zip(_PRICE, price, strict=True))
    terms = terms_of(row)
    return line_for(row["title"], terms, quantity, terms.interval.period(anchor_on, number))


def terms_of(row: RowMapping | dict[str, Any]) -> Terms:
    """Return the terms in a row that carries a price; raise `ValueError` where they make no sense."""
    interval = Interval(Unit(row["interval_unit"]), row["interval_count"])
    unit = Money(row["amount_minor"], row["currency"])
    return Terms(unit, interval, row["tax_rate_bp"], row["tax_included"])


async def _write(ctx: Context, session: AsyncSession, scope: RunScope, bills: list[_Bill]) -> None:
    """Write a page; whoever else issues for the merchant waits for the numbers, so they are taken late."""
    await update_many(session, _subscription, [_advanced(bill) for bill in bills])
    issued = list(zip(await next_ids(session, _invoice, len(bills)), bills, strict=True))
    lines = [_line_row(id_, bill.line) for id_, bill in issued]
    groups = [_posted(scope, id_, bill) for id_, bill in issued]
    attempts = [_attempt(scope, id_, bill) for id_, bill in issued if bill.chargeable]
    rows = [_invoice_row(ctx, scope, id_, bill) for id_, bill in issued]
    if not await is_kept_running(ctx, session, scope.run_id):  # locked as late as the numbers, and held no longer
        raise _HeldBackError
    first = await _take_numbers(session, scope, len(bills))
    for place, row in enumerate(rows):
        row["number"] = invoices.number(scope.prefix, first + place)
    await insert_many(session, _invoice, rows)
    await insert_many(session, table(InvoiceLine), lines)
    await post(session, groups)
    await open_attempts(session, attempts)
    invited = [(id_, bill.row["customer_id"]) for id_, bill in issued if not bill.chargeable]
    await invite_to_pay(session, scope.merchant_id, invited, scope.now)
    await tell(ctx, session, [event for id_, bill in issued for event in _news(scope, id_, bill)])


def _news(scope: RunScope, invoice_id: int, bill: _Bill) -> Iterator[NewEvent]:
    yield NewEvent(scope.merchant_id, EventType.INVOICE_ISSUED, "inv", invoice_id, scope.now)
    if bill.row["state"] == SubscriptionState.TRIALING:
        yield NewEvent(scope.merchant_id, EventType.SUBSCRIPTION_ACTIVATED, "sub", bill.row["id"], scope.now)


def _advanced(bill: _Bill) -> dict[str, Any]:
    """Return where the subscription stands after its next period."""
    row = bill.row
    state = SubscriptionState.ACTIVE if row["state"] == SubscriptionState.TRIALING else row["state"]
    return {
        "id": row["id"],
        "next_period": row["next_period"] + 1,
        "next_due_on": bill.line.period.end,
        "state": state,
    }


async def _take_numbers(session: AsyncSession, scope: RunScope, count: int) -> int:
    """Take numbers from the series, which this transaction holds until it ends; a rollback gives them back."""
    series = table(NumberSeries)
    mine = (series.c.merchant_id == scope.merchant_id) & (series.c.prefix == scope.prefix)
    statement = update(series).where(mine).values(next_value=series.c.next_value + count).returning(series.c.next_value)
    after: int = (await session.execute(statement)).scalar_one()
    return after - count


def _invoice_row(ctx: Context, scope: RunScope, invoice_id: int, bill: _Bill) -> dict[str, Any]:
    """Return the invoice, which has no number yet."""
    line = bill.line
    return new_row(
        Invoice,
        id=invoice_id,
        merchant_id=scope.merchant_id,
        customer_id=bill.row["customer_id"],
        subscription_id=bill.row["id"],
        run_id=scope.run_id,
        period_number=bill.row["next_period"],
        period_start=line.period.start,
        period_end=line.period.end,
        key=bill.key,
        title=line.text,
        currency=line.total.currency,
        net_minor=line.net.minor,
        tax_minor=line.tax.minor,
        total_minor=line.total.minor,
        issued_on=scope.on,
        **(_CHARGED if bill.chargeable else _dunned(ctx.ladder, scope.on)),
    )


_CHARGED: Final = {"tries": 1}


def _dunned(ladder: Ladder, on: date) -> dict[str, Any]:
    """Return the columns of an invoice that a person has to pay: reminders begin to count at once."""
    step = next_step(ladder, on, on, retry=False)
    day = {"next_step": step.kind, "next_step_on": step.on} if step else {}
    return {"dunned_since": on, "tries": 0} | day


def _line_row(invoice_id: int, line: Line) -> dict[str, Any]:
    return new_row(
        InvoiceLine,
        invoice_id=invoice_id,
        position=0,
        text=line.text,
        quantity=line.quantity,
        unit_minor=line.unit.minor,
        net_minor=line.net.minor,
        tax_minor=line.tax.minor,
        total_minor=line.total.minor,
        tax_rate_bp=line.tax_rate_bp,
    )


def _posted(scope: RunScope, invoice_id: int, bill: _Bill) -> Posted:
    group = ledger.issue(bill.key, bill.line.net, bill.line.tax)
    return Posted(group, scope.merchant_id, bill.row["customer_id"], scope.on, scope.now, invoice_id)


def _attempt(scope: RunScope, invoice_id: int, bill: _Bill) -> NewAttempt:
    return NewAttempt(
        merchant_id=scope.merchant_id,
        customer_id=bill.row["customer_id"],
        gateway_account_id=bill.row["gateway_account_id"],
        profile_id=bill.row["profile_id"],
        run_id=scope.run_id,
        owed_key=bill.key,
        number=1,
        amount=bill.line.total,
        invoice_id=invoice_id,
        business_at=scope.now,
    )


async def _set_aside(session: AsyncSession, scope: RunScope, aside: dict[int, _SetAsideError]) -> Issued:
    """Record why subscriptions were not billed, and ask a person for each."""
    about = {"run_id": scope.run_id, "decided_at": scope.now}
    decisions = [
        new_row(Decision, subscription_id=id_, reason=e.reason, detail=e.detail, **about) for id_, e in aside.items()
    ]
    # Two who try one page row by row may find the same out.
    await session.execute(insert_unless(session, _decision), decisions)
    tasks = [NewTask(scope.merchant_id, e.reason, f"sub_{id_}", e.detail) for id_, e in aside.items()]
    await raise_tasks(session, tasks, scope.now)
    return Issued(0, Counter(error.reason for error in aside.values()))
