"""Subscriptions, and what people do with one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Customer, Subscription, table
from billing.periods import Interval, Unit
from billing.services import changing
from billing.services.changing import SUBSCRIPTIONS, Held, When
from billing.services.starting import NewSubscription as Wanted
from billing.services.starting import start
from billing.subscriptions import Collection, SubscriptionState
from billing.web.api.bodies import (
    PLAIN,
    Given,
    Instant,
    Named,
    Page,
    ProfileName,
    Reference,
    Shown,
    example,
    number_in,
)
from billing.web.api.calls import Answer, Call, Changing, Listing, Making, Showing
from billing.web.api.paging import Paged, list_page

router = APIRouter(tags=["subscriptions"])

_subscription, _customer = table(Subscription), table(Customer)
_EXAMPLE: Final[dict[str, Any]] = {
    "reference": "S1001",
    "customer": "C1001",
    "price": "team/monthly-2027",
    "quantity": 3,
    "collection": "link",
    "profile": None,
    "account": None,
    "state": "active",
    "anchor_on": "2026-12-01",
    "billed_until": "2027-01-01",
    "next_due_on": "2027-01-01",
    "paused_by_dunning": False,
    "created_at": "2026-11-25T09:30:00Z",
    "canceled_at": None,
    "ended_on": None,
}

PriceName = Annotated[str, Field(max_length=81, description="Written `plan/price`."), PLAIN]
Quantity = Annotated[int, Field(ge=1, le=1_000_000)]


class NewSubscription(Given):
    """A subscription to be: charged to `profile`, or without one paid by link, first of all at `account`."""

    model_config = Given.model_config | example(
        reference="S1001", customer="C1001", price="team/monthly-2027", quantity=3
    )
    reference: Reference
    customer: Annotated[str, Field(max_length=32), PLAIN]
    price: PriceName
    quantity: Quantity = 1
    profile: ProfileName | None = None
    account: Annotated[str, Field(max_length=40), PLAIN] = ""
    begins_on: Annotated[date | None, Field(description="What periods are counted from, after a trial; today.")] = None
    billed_until: Annotated[date | None, Field(description="The first day nobody has billed yet.")] = None

    def wanted(self) -> Wanted:
        """Return it as the engine knows it."""
        values = self.model_dump(exclude={"profile"})
        return Wanted(profile_id=number_in(self.profile) if self.profile else None, **values)


class SubscriptionChange(Given):
    """What the next invoice is to bill. What is left out stays."""

    model_config = Given.model_config | example(quantity=5)
    quantity: Quantity | None = None
    price: PriceName | None = None


class Cancellation(Given):
    """When it takes effect."""

    model_config = Given.model_config | example(when="period_end")
    when: When = When.PERIOD_END


class ShownSubscription(Shown):
    """A customer on a price. `billed_until` is the first day that is not billed yet."""

    model_config = Shown.model_config | example(**_EXAMPLE)
    reference: str
    customer: str
    price: str
    quantity: int
    collection: Collection
    profile: str | None
    account: str | None
    state: SubscriptionState
    anchor_on: date
    billed_until: date
    next_due_on: date | None
    paused_by_dunning: bool
    created_at: Instant
    canceled_at: Instant | None
    ended_on: date | None


def show_subscription(row: RowMapping) -> ShownSubscription:
    """Return a subscription as callers see it."""
    interval = Interval(Unit(row["interval_unit"]), row["interval_count"])
    made = ("profile", "billed_until")
    return ShownSubscription(
        profile=f"pro_{row['profile_id']}" if row["profile_id"] else None,
        billed_until=interval.boundary(row["anchor_on"], row["next_period"]),
        **{name: row[name] for name in ShownSubscription.model_fields if name not in made},
    )


@router.get("/subscriptions", response_model=Page[ShownSubscription])
async def list_subscriptions(
    call: Listing,
    paging: Paged,
    state: Annotated[SubscriptionState | None, Query(description="Only those that stand here.")] = None,
    customer: Annotated[str, Query(max_length=32, description="Only this customer's."), PLAIN] = "",
) -> Response:
    """List the subscriptions."""
    mine = SUBSCRIPTIONS.where(_subscription.c.merchant_id == call.merchant_id)
    if state is not None:
        mine = mine.where(_subscription.c.state == state)
    if customer:
        mine = mine.where(_customer.c.reference == customer)
    return await list_page(call, paging, mine, show_subscription, _subscription.c.id, _subscription.c.created_at)


@router.post("/subscriptions", status_code=201, response_model=ShownSubscription)
async def start_subscription(call: Making, body: NewSubscription) -> Response:
    """Start a subscription; its first period is invoiced by the next run that finds it due."""

    async def effect(session: AsyncSession) -> Answer:
        await start(call.ctx, session, call.merchant_id, body.wanted())
        return Answer(await _shown(call, session, body.reference), 201, f"/subscriptions/{body.reference}")

    return await call.once(effect)


@router.get("/subscriptions/{subscription}", response_model=ShownSubscription)
async def get_subscription(call: Showing, subscription: Named) -> Response:
    """Show one subscription."""
    async with call.ctx.store.read() as session:
        return call.show(await _shown(call, session, subscription))


@router.patch("/subscriptions/{subscription}", response_model=ShownSubscription)
async def change_subscription(call: Changing, subscription: Named, body: SubscriptionChange) -> Response:
    """Bill another quantity or price from the next invoice on; the price must have the same interval and currency."""

    async def verb(session: AsyncSession, held: Held) -> None:
        if body.quantity is not None:
            await changing.change_quantity(session, held, body.quantity)
        if body.price is not None:
            await changing.change_price(session, held, body.price)

    return await _do(call, subscription, verb)


@router.post("/subscriptions/{subscription}/pause", response_model=ShownSubscription)
async def pause_subscription(call: Changing, subscription: Named) -> Response:
    """Bill no further period until it is resumed; what is invoiced stays owed."""
    return await _do(call, subscription, changing.pause)


@router.post("/subscriptions/{subscription}/resume", response_model=ShownSubscription)
async def resume_subscription(call: Changing, subscription: Named) -> Response:
    """Bill again, from the first period that begins today or later."""
    return await _do(call, subscription, changing.resume)


@router.post("/subscriptions/{subscription}/cancel", response_model=ShownSubscription)
async def cancel_subscription(call: Changing, subscription: Named, body: Cancellation) -> Response:
    """Renew it no more, and end it when the billed days are over, or now; what is invoiced stays owed."""

    async def verb(session: AsyncSession, held: Held) -> None:
        await changing.cancel(session, held, body.when)

    return await _do(call, subscription, verb)


@router.post("/subscriptions/{subscription}/undo-cancellation", response_model=ShownSubscription)
async def undo_cancellation(call: Changing, subscription: Named) -> Response:
    """Renew a canceled one again, while its billed days last."""
    return await _do(call, subscription, changing.undo_cancellation)


async def _do(call: Call, reference: str, verb: Callable[[AsyncSession, Held], Awaitable[None]]) -> Response:
    """Do something with one subscription while it is locked."""

    async def effect(session: AsyncSession) -> Answer:
        held = await changing.locked(call.ctx, session, call.merchant_id, reference)
        call.expect(show_subscription(held.row))
        await verb(session, held)
        return Answer(await _shown(call, session, reference))

    return await call.once(effect)


async def _shown(call: Call, session: AsyncSession, reference: str) -> ShownSubscription:
    return show_subscription(await changing.find_subscription(session, call.merchant_id, reference))
