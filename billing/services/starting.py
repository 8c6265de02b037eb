"""Start a subscription of a customer who is known: charged to a stored profile, or paid by a link each time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.models import Customer, GatewayAccount, Profile, ProfileState, Subscription, new_row, table
from billing.periods import Interval, Unit
from billing.services.cataloguing import price_named
from billing.services.context import Context, moments
from billing.services.refusing import ConflictError, UnfitError
from billing.services.telling import NewEvent, tell
from billing.subscriptions import Collection, going_on, period_after_import

_customer, _profile, _subscription = table(Customer), table(Profile), table(Subscription)
_account = table(GatewayAccount)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """A subscription to be.

    Periods are counted from `begins_on`, which is today where it is left out, after the price's trial.
    `billed_until` is the first day that somebody else has not billed yet. Without a profile it is paid by
    link, first of all at `account` where that is given.
    """

    reference: str
    customer: str
    price: str
    quantity: int = 1
    profile_id: int | None = None
    account: str = ""
    begins_on: date | None = None
    billed_until: date | None = None


async def start(ctx: Context, session: AsyncSession, merchant_id: int, wanted: NewSubscription) -> None:
    """Start a subscription; its first period is invoiced by the next run that finds it due.

    Raises `UnfitError` naming what of it cannot be, and `ConflictError` where its reference is taken.
    """
    moment = (await moments(ctx, session, [merchant_id]))[merchant_id]
    await _check_reference(session, merchant_id, wanted.reference)
    customer_id = await _customer_named(session, merchant_id, wanted.customer)
    price = await price_named(session, merchant_id, wanted.price)
    days = _days(wanted, price, moment.today)
    paid = await _collection(ctx, session, merchant_id, customer_id, wanted)
    row = new_row(
        Subscription,
        merchant_id=merchant_id,
        customer_id=customer_id,
        price_id=price["id"],
        reference=wanted.reference,
        uid=secrets.token_hex(16),
        quantity=wanted.quantity,
        created_at=moment.now,
    )
    made = insert(_subscription).values(row | days | paid).returning(_subscription.c.id)
    started = (merchant_id, EventType.SUBSCRIPTION_STARTED, "sub", (await session.execute(made)).scalar_one())
    await tell(ctx, session, [NewEvent(*started, moment.now)])


async def _check_reference(session: AsyncSession, merchant_id: int, reference: str) -> None:
    mine = (_subscription.c.merchant_id == merchant_id) & (_subscription.c.reference == reference)
    if (await session.execute(select(_subscription.c.id).where(mine))).scalar() is not None:
        raise ConflictError(f"there is a subscription {reference!r} already")


async def _customer_named(session: AsyncSession, merchant_id: int, reference: str) -> int:
    mine = (_customer.c.merchant_id == merchant_id) & (_customer.c.reference == reference)
    found: int | None = (await session.execute(select(_customer.c.id).where(mine))).scalar()
    if found is None:
        raise UnfitError("customer", f"there is no customer {reference!r}")
    return found


def _days(wanted: NewSubscription, price: RowMapping, today: date) -> dict[str, Any]:
    """Return from when on what is billed, or raise which day cannot be."""
    interval = Interval(Unit(price["interval_unit"]), price["interval_count"])
    begins_on = wanted.begins_on or today
    if begins_on < today and wanted.billed_until is None:
        raise UnfitError("begins_on", "it is in the past: say with `billed_until` what is billed already")
    try:
        number = period_after_import(interval, begins_on, wanted.billed_until)
        if number == 0:
            begins_on += timedelta(days=price["trial_days"])
        due_on = interval.boundary(begins_on, number)
    except (ValueError, OverflowError) as error:
        raise UnfitError("billed_until" if wanted.billed_until else "begins_on", str(error)) from None
    state = going_on(begins_on, number, today, overdue=False)
    return {"anchor_on": begins_on, "next_period": number, "next_due_on": due_on, "state": state}


async def _collection(
    ctx: Context, session: AsyncSession, merchant_id: int, customer_id: int, wanted: NewSubscription
) -> dict[str, Any]:
    if wanted.profile_id is None:
        account_id = await _account_named(session, merchant_id, wanted.account) if wanted.account else None
        return {"collection": Collection.LINK, "profile_id": None, "preferred_account_id": account_id}
    if wanted.account:
        raise UnfitError("account", "a profile names its account; leave one of them out")
    mine = (_profile.c.id == wanted.profile_id) & (_profile.c.customer_id == customer_id)
    profile = (await session.execute(select(_profile).where(mine))).mappings().one_or_none()
    if profile is None or profile["state"] != ProfileState.ACTIVE:
        raise UnfitError("profile", f"{wanted.customer!r} has no profile pro_{wanted.profile_id} that can be charged")
    account_id = profile["gateway_account_id"]
    abilities = (await ctx.gateways.of(session, [account_id]))[account_id].abilities
    if not abilities.charge:
        raise UnfitError("profile", f"{abilities.title} cannot charge a profile; leave it out to collect by link")
    return {"collection": Collection.CHARGE, "profile_id": profile["id"], "preferred_account_id": account_id}


async def _account_named(session: AsyncSession, merchant_id: int, reference: str) -> int:
    mine = (_account.c.merchant_id == merchant_id) & (_account.c.reference == reference)
    found: int | None = (await session.execute(select(_account.c.id).where(mine))).scalar()
    if found is None:
        raise UnfitError("account", f"there is no gateway account {reference!r}")
    return found
