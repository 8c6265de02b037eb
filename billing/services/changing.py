"""What people do with a subscription: change, pause, resume, cancel, undo.

Each verb works on a subscription that is locked (`locked`), so that it meets no run in the middle of billing it
and no other verb. None of them touches money: what is invoiced stays owed, and what is on its way stays on it.
To take an invoice back is another thing (`closing`), and to give money back as well (`refunding`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import RowMapping, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import subscriptions
from billing.events import of_subscription
from billing.invoices import InvoiceState
from billing.lifecycle import move
from billing.models import Attempt, Customer, GatewayAccount, Invoice, Plan, Price, Subscription, table
from billing.payments import AttemptState
from billing.periods import Interval, Unit
from billing.services.cataloguing import price_named
from billing.services.context import Context, Moment, moments
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.telling import NewEvent, tell
from billing.subscriptions import BILLABLE, MOVES, SubscriptionState

_subscription, _customer, _price, _plan = table(Subscription), table(Customer), table(Price), table(Plan)
_invoice, _attempt, _account = table(Invoice), table(Attempt), table(GatewayAccount)
_S = SubscriptionState

SUBSCRIPTIONS: Final = (
    select(
        _subscription,
        _customer.c.reference.label("customer"),
        (_plan.c.reference + "/" + _price.c.reference).label("price"),
        _customer.c.name.label("customer_name"),
        _price.c.title,
        _price.c.amount_minor,
        _price.c.currency,
        _price.c.interval_unit,
        _price.c.interval_count,
        _price.c.tax_rate_bp,
        _price.c.tax_included,
        _account.c.reference.label("account"),
    )
    .join_from(_subscription, _customer, _customer.c.id == _subscription.c.customer_id)
    .join(_price, _price.c.id == _subscription.c.price_id)
    .join(_plan, _plan.c.id == _price.c.plan_id)
    .join(_account, _account.c.id == _subscription.c.preferred_account_id, isouter=True)
)


class When(StrEnum):
    """When a cancellation takes effect."""

    PERIOD_END = "period_end"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Held:
    """A subscription that is locked, its merchant's time, and what the verbs work with."""

    row: RowMapping
    moment: Moment
    ctx: Context

    @property
    def state(self) -> SubscriptionState:
        """Where it stands."""
        return _S(self.row["state"])

    @property
    def interval(self) -> Interval:
        """How long its periods are."""
        return Interval(Unit(self.row["interval_unit"]), self.row["interval_count"])


async def find_subscription(session: AsyncSession, merchant_id: int, reference: str) -> RowMapping:
    """Return a subscription with its customer and price; raise `MissingError` where there is none."""
    mine = (_subscription.c.merchant_id == merchant_id) & (_subscription.c.reference == reference)
    row: RowMapping | None = (await session.execute(SUBSCRIPTIONS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no subscription {reference!r}")
    return row


async def locked(ctx: Context, session: AsyncSession, merchant_id: int, reference: str) -> Held:
    """Lock a subscription for one of the verbs; raise `MissingError` where there is none.

    It is read once more when it is locked: what it is joined with may have changed while we waited.
    """
    mine = (_subscription.c.merchant_id == merchant_id) & (_subscription.c.reference == reference)
    await session.execute(ctx.store.lock(select(_subscription.c.id).where(mine)))
    row = await find_subscription(session, merchant_id, reference)
    return Held(row, (await moments(ctx, session, [merchant_id]))[merchant_id], ctx)


async def locked_by_id(ctx: Context, session: AsyncSession, merchant_id: int, subscription_id: int) -> Held:
    """Do the same for the subscription with an id."""
    mine = (_subscription.c.merchant_id == merchant_id) & (_subscription.c.id == subscription_id)
    reference = (await session.execute(select(_subscription.c.reference).where(mine))).scalar_one()
    return await locked(ctx, session, merchant_id, reference)


async def change_quantity(session: AsyncSession, held: Held, quantity: int) -> None:
    """Let another quantity be billed, from the next invoice on.

    Periods are billed in advance: what is invoiced keeps its quantity, and so does a charge that has not left
    yet. Periods that are due and not invoiced yet get the new one.
    """
    _refuse_at_the_end(held)
    await _write(session, held, quantity=quantity)


async def change_price(session: AsyncSession, held: Held, name: str) -> None:
    """Let another price be billed, of this plan or another, from the next invoice on.

    It must have the same interval, since periods are counted from the anchor in it, and the same currency, which
    is the one the customer agreed to. Open invoices and unsent attempts stay as they are. A trial goes on.
    """
    _refuse_at_the_end(held)
    price = await price_named(session, held.row["merchant_id"], name)
    for column in ("interval_unit", "interval_count", "currency"):
        if price[column] != held.row[column]:
            was, what = held.row[column], column.replace("_", " ")
            raise UnfitError("price", f"its {what} is {price[column]}, and must be {was} as before")
    await _write(session, held, price_id=price["id"])


async def pause(session: AsyncSession, held: Held) -> None:
    """Bill no further period until it is resumed; days of the pause are not billed later either.

    Open invoices stay owed and are dunned, and unsent attempts leave: they are of days before the pause. One that
    dunning has paused is now paused by the merchant, so that paying alone does not end it.
    """
    await _move(session, held, _S.PAUSED, next_due_on=None, paused_by_dunning=False)


async def resume(session: AsyncSession, held: Held) -> None:
    """Bill again, from the first period that begins today or later; one that is not paused stays as it is.

    The rest of a period in which a pause ends is free. Open invoices stay owed: with a declined one it is past due.
    """
    if held.state in BILLABLE:
        return
    if held.state != _S.PAUSED:
        raise ConflictError(f"it is {held.state}: only what is paused can be resumed")
    row, today = held.row, held.moment.today
    number = subscriptions.period_on_resuming(held.interval, row["anchor_on"], row["next_period"], today)
    skipped = row["skipped_periods"] + number - row["next_period"]
    await _go_on(session, held, number, skipped_periods=skipped, paused_by_dunning=False)


async def cancel(session: AsyncSession, held: Held, when: When) -> None:
    """Renew it no more, and end it when the days that were billed are over, or now.

    What is due and not invoiced yet is not invoiced any more. Open invoices stay owed and are dunned, and unsent
    attempts leave, also for one that ends now: days that were billed are not given back by this.
    """
    row, today = held.row, held.moment.today
    end = subscriptions.ends_on(held.interval, row["anchor_on"], row["next_period"], today)
    if when == When.NOW or end <= today:
        await _end(session, held, today, held.moment.now)
    elif held.state != _S.CANCELED:
        more: dict[str, Any] = {"canceled_at": held.moment.now, "ended_on": end, "paused_by_dunning": False}
        await _move(session, held, _S.CANCELED, next_due_on=None, **more)


async def undo_cancellation(session: AsyncSession, held: Held) -> None:
    """Renew a canceled one again, while the days that were billed last; one that is not canceled stays as it is.

    It is billed on where it was, so no period is left out. Open invoices stay owed: with a declined one it is past
    due.
    """
    if held.state in BILLABLE:
        return
    if held.state != _S.CANCELED:
        raise ConflictError(f"it is {held.state}: there is no cancellation to undo")
    if held.row["ended_on"] <= held.moment.today:
        raise ConflictError("its billed days are over: start another one")
    await _go_on(session, held, held.row["next_period"], canceled_at=None, ended_on=None)


async def regain(session: AsyncSession, held: Held) -> None:
    """Give access back to one that waited for payment, now that it owes nothing overdue any more.

    One that the merchant has paused or canceled meanwhile stays as it is.
    """
    paused = held.state == _S.PAUSED and bool(held.row["paused_by_dunning"])
    if not (paused or held.state == _S.PAST_DUE):
        return
    waiting = (_invoice.c.subscription_id == held.row["id"]) & (_invoice.c.state == InvoiceState.OPEN)
    overdue = select(_invoice.c.id).where(waiting, _invoice.c.dunned_since.is_not(None)).limit(1)
    if (await session.execute(overdue)).scalar() is not None:
        return
    if paused:
        await resume(session, held)
    else:
        await _move(session, held, _S.ACTIVE)


def _refuse_at_the_end(held: Held) -> None:
    if held.state in (_S.CANCELED, _S.ENDED):
        raise ConflictError(f"it is {held.state}: nothing more will be invoiced")


async def _end(session: AsyncSession, held: Held, today: date, now: datetime) -> None:
    canceled_at = held.row["canceled_at"] or now
    more: dict[str, Any] = {"canceled_at": canceled_at, "paused_by_dunning": False}
    if held.state != _S.ENDED:
        await _move(session, held, _S.ENDED, next_due_on=None, ended_on=today, **more)


async def _go_on(session: AsyncSession, held: Held, number: int, **more: Any) -> None:
    """Bill the period with the number next."""
    anchor_on = held.row["anchor_on"]
    overdue = await _is_overdue(session, held.row["id"])
    state = subscriptions.going_on(anchor_on, number, held.moment.today, overdue=overdue)
    due_on = subscriptions.next_due_on(state, held.interval, anchor_on, number)
    await _move(session, held, state, next_period=number, next_due_on=due_on, **more)


async def _is_overdue(session: AsyncSession, subscription_id: int) -> bool:
    """Answer whether a charge was declined that is still owed."""
    declined = exists().where(_attempt.c.owed_key == _invoice.c.key, _attempt.c.state == AttemptState.DECLINED)
    mine = (_invoice.c.subscription_id == subscription_id) & (_invoice.c.state == InvoiceState.OPEN)
    return (await session.execute(select(_invoice.c.id).where(mine, declined).limit(1))).scalar() is not None


async def _move(session: AsyncSession, held: Held, to: SubscriptionState, **more: Any) -> None:
    await _write(session, held, state=move(MOVES, held.state, to), **more)


async def _write(session: AsyncSession, held: Held, **values: Any) -> None:
    """Change the row, and tell of it; what is as it was is no change."""
    row, now = held.row, held.moment.now
    if all(row[name] == value for name, value in values.items()):
        return
    await session.execute(update(_subscription).where(_subscription.c.id == row["id"]).values(**values))
    news = of_subscription(held.state, _S(values.get("state", held.state)))
    await tell(held.ctx, session, [NewEvent(row["merchant_id"], news, "sub", row["id"], now)])
