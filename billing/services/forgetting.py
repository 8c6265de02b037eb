"""Forget a stored profile: here at once, and at its gateway as soon as that answers. Forget who a customer is."""

from __future__ import annotations

from typing import Any, Final

import structlog
from sqlalchemy import RowMapping, Select, String, cast, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.gateway import Approved, Outcome, Unknown
from billing.invoices import InvoiceState
from billing.models import (
    Attempt,
    Customer,
    Invoice,
    Mandate,
    Message,
    MessageState,
    PayLink,
    Profile,
    ProfileState,
    Subscription,
    Verification,
    table,
)
from billing.payments import OPEN
from billing.services.charging import profile_of
from billing.services.context import Context, moments
from billing.services.refusing import ConflictError, MissingError
from billing.services.tasking import NewTask, end_tasks, raise_tasks
from billing.services.telling import NewEvent, tell
from billing.services.wording import words_for
from billing.subscriptions import SubscriptionState

_profile, _customer, _attempt = table(Profile), table(Customer), table(Attempt)
_subscription, _invoice, _message = table(Subscription), table(Invoice), table(Message)
_mandate, _link, _verification = table(Mandate), table(PayLink), table(Verification)
FORGOTTEN: Final = "Forgotten customer"
_log = structlog.get_logger("turnus.forgetting")


async def forget(ctx: Context, session: AsyncSession, merchant_id: int, profile_id: int) -> None:
    """Let a profile be charged no more; what is due next is asked for by mail, with a link.

    Raises `ConflictError` while an attempt on it is open, sent or not: it may still collect what is owed. The
    subscriptions are locked, so that no run is just about to open one. A task stays open until the gateway, where
    it can, has deleted the profile as well.
    """
    row = await find_profile(session, merchant_id, profile_id)
    theirs = select(_subscription.c.id).where(_subscription.c.profile_id == profile_id)
    await session.execute(ctx.store.lock(theirs.order_by(_subscription.c.id)))
    waiting = select(_attempt.c.id).where(_attempt.c.profile_id == profile_id, _attempt.c.state.in_(OPEN)).limit(1)
    if (open_id := (await session.execute(waiting)).scalar()) is not None:
        raise ConflictError(f"att_{open_id} is under way on it; forget it when that is over")
    if row["state"] == ProfileState.FORGOTTEN:
        return
    await session.execute(update(_profile).where(_profile.c.id == profile_id).values(state=ProfileState.FORGOTTEN))
    now = (await moments(ctx, session, [merchant_id]))[merchant_id].now
    gateway = (await ctx.gateways.of(session, [row["gateway_account_id"]]))[row["gateway_account_id"]]
    if gateway.abilities.forget:
        reason = f"{gateway.abilities.title} has not confirmed yet that it deleted the stored profile: do it there"
        await raise_tasks(session, [NewTask(merchant_id, "forget", f"pro_{profile_id}", reason)], now)
    await tell(ctx, session, [NewEvent(merchant_id, EventType.PROFILE_FORGOTTEN, "pro", profile_id, now)])


async def forget_at_gateway(ctx: Context, merchant_id: int, profile_id: int) -> None:
    """Let the gateway delete a profile that is forgotten here, and end the task about that once it has."""
    async with ctx.store.read() as session:
        row = await find_profile(session, merchant_id, profile_id)
        gateway = (await ctx.gateways.of(session, [row["gateway_account_id"]]))[row["gateway_account_id"]]
    if not gateway.abilities.forget or row["state"] != ProfileState.FORGOTTEN:
        return
    try:
        outcome: Outcome = await gateway.forget(profile_of(ctx, row))
    except Exception as error:  # noqa: BLE001 - whatever it is, the profile is still stored there, and the task says so
        outcome = Unknown(words_for(error))
    if not isinstance(outcome, Approved):
        _log.warning("a profile was not forgotten at its gateway", profile=f"pro_{profile_id}", said=repr(outcome))
        return
    async with ctx.store.write() as session:
        await end_tasks(session, ["forget"], [f"pro_{profile_id}"])


async def forget_customer(ctx: Context, session: AsyncSession, customer: RowMapping) -> list[int]:
    """Forget who a customer is, and return the profiles that were forgotten with it, which their gateways still store.

    Name, address, salutation and every address that was written to go; so do the network addresses of consents. What
    stays is what the law wants kept, under the reference alone: invoices, payments, postings and the consents' words.
    The customer must be locked; raises `ConflictError` while something of theirs still runs or is owed.
    """
    await _check_over(session, customer["id"])
    theirs = (_profile.c.customer_id == customer["id"]) & (_profile.c.state != ProfileState.FORGOTTEN)
    profiles = (await session.execute(select(_profile.c.id).where(theirs).order_by(_profile.c.id))).scalars().all()
    for profile_id in profiles:
        await forget(ctx, session, customer["merchant_id"], profile_id)
    await _blank(ctx, session, customer)
    return list(profiles)


async def _check_over(session: AsyncSession, customer_id: int) -> None:
    """Raise what has to end before its customer can be forgotten."""
    running = (_subscription.c.customer_id == customer_id) & (_subscription.c.state != SubscriptionState.ENDED)
    if (name := await _first(session, select(_subscription.c.reference).where(running))) is not None:
        raise ConflictError(f"the subscription {name} has not ended; cancel it now first")
    owed = (_invoice.c.customer_id == customer_id) & (_invoice.c.state == InvoiceState.OPEN)
    if (name := await _first(session, select(_invoice.c.number).where(owed))) is not None:
        raise ConflictError(f"the invoice {name} is open; what becomes of it comes first")
    sent = (_attempt.c.customer_id == customer_id) & _attempt.c.state.in_(OPEN)
    if (name := await _first(session, select(_attempt.c.key).where(sent))) is not None:
        raise ConflictError(f"the attempt {name} is under way; what becomes of it comes first")


async def _blank(ctx: Context, session: AsyncSession, customer: RowMapping) -> None:
    """Take out of the rows what says who it was."""
    id_, now = customer["id"], (await moments(ctx, session, [customer["merchant_id"]]))[customer["merchant_id"]].now
    nobody = {"name": FORGOTTEN, "email": "", "salutation": ""}
    await session.execute(update(_customer).where(_customer.c.id == id_).values(**nobody))
    await session.execute(update(_mandate).where(_mandate.c.customer_id == id_).values(address=""))
    invoices = select(_invoice.c.id).where(_invoice.c.customer_id == id_)
    renewals = select(_verification.c.id).where(_verification.c.customer_id == id_)
    theirs = _link.c.invoice_id.in_(invoices) | _link.c.verification_id.in_(renewals)
    await session.execute(update(_link).where(theirs, _link.c.superseded_at.is_(None)).values(superseded_at=now))
    waiting = (_message.c.customer_id == id_) & (_message.c.state == MessageState.QUEUED)
    await session.execute(update(_message).where(waiting).values(state=MessageState.DROPPED))
    # A message is one for each recipient, so that its own id keeps it apart from others without one.
    nameless = {"recipient": "forgotten-" + cast(_message.c.id, String), "error": ""}
    await session.execute(update(_message).where(_message.c.customer_id == id_).values(**nameless))


async def _first(session: AsyncSession, query: Select[Any]) -> str | None:
    found: str | None = (await session.execute(query.limit(1))).scalar()
    return found


async def find_profile(session: AsyncSession, merchant_id: int, profile_id: int) -> RowMapping:
    """Return a profile of a customer of the merchant; raise `MissingError` where there is none."""
    query = select(_profile).join_from(_profile, _customer, _customer.c.id == _profile.c.customer_id)
    mine = (_profile.c.id == profile_id) & (_customer.c.merchant_id == merchant_id)
    row: RowMapping | None = (await session.execute(query.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no profile pro_{profile_id}")
    return row
