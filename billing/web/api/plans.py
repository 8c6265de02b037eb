"""Plans and their prices."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Plan, Price, table
from billing.periods import Interval, Unit
from billing.pricing import Terms
from billing.services import cataloguing
from billing.services.refusing import UnfitError
from billing.web.api.bodies import Amount, Given, Instant, Name, Named, Page, Reference, Shown, example
from billing.web.api.calls import Answer, Changing, Listing, Making, Showing
from billing.web.api.paging import PlainPaged, list_page

router = APIRouter(tags=["plans"])

_plan, _price = table(Plan), table(Price)
_PLAN: dict[str, Any] = {"reference": "team", "name": "Team"}
_PRICE: dict[str, Any] = {
    "reference": "monthly-2027",
    "title": "Team, monthly",
    "amount": {"amount_minor": 4900, "currency": "EUR"},
    "interval_unit": "month",
    "interval_count": 1,
    "tax_rate_bp": 2000,
    "tax_included": True,
    "trial_days": 14,
}


class NewPlan(Given):
    """A plan to be."""

    model_config = Given.model_config | example(**_PLAN)
    reference: Reference
    name: Name


class PlanChange(Given):
    """What can be changed of a plan."""

    model_config = Given.model_config | example(name="Team and friends")
    name: Name


class ShownPlan(Shown):
    """What is sold; one that is archived to nobody new."""

    model_config = Shown.model_config | example(**_PLAN, archived_at=None)
    reference: str
    name: str
    archived_at: Instant | None


class NewPrice(Given):
    """A price to be. It is never changed: what costs something else is another price."""

    model_config = Given.model_config | example(**_PRICE)
    reference: Reference
    title: Annotated[Name, Field(description="What customers read on invoices.")]
    amount: Amount
    interval_unit: Unit = Unit.MONTH
    interval_count: Annotated[int, Field(ge=1, le=1000)] = 1
    tax_rate_bp: Annotated[int, Field(ge=0, le=10_000, description="In basis points: 2000 is 20 %.")] = 0
    tax_included: bool = True
    trial_days: Annotated[int, Field(ge=0, le=3650)] = 0

    def terms(self) -> Terms:
        """Return what is charged for a period, or raise which field makes no sense."""
        if self.amount.amount_minor < 1:
            raise UnfitError("amount.amount_minor", "a price is more than nothing")
        try:
            interval = Interval(self.interval_unit, self.interval_count)
            return Terms(self.amount.money, interval, self.tax_rate_bp, self.tax_included)
        except ValueError as error:
            raise UnfitError("amount", str(error)) from None


class ShownPrice(Shown):
    """An amount with its interval; elsewhere it is named `plan/price`. One that is retired is sold to nobody new."""

    model_config = Shown.model_config | example(plan="team", **_PRICE, retired_at=None)
    plan: str
    reference: str
    title: str
    amount: Amount
    interval_unit: Unit
    interval_count: int
    tax_rate_bp: int
    tax_included: bool
    trial_days: int
    retired_at: Instant | None


def show_plan(row: RowMapping) -> ShownPlan:
    """Return a plan as callers see it."""
    return ShownPlan(**{name: row[name] for name in ShownPlan.model_fields})


def show_price(row: RowMapping) -> ShownPrice:
    """Return a price as callers see it."""
    return ShownPrice(
        amount=Amount.of(row["amount_minor"], row["currency"]),
        **{name: row[name] for name in ShownPrice.model_fields if name != "amount"},
    )


@router.get("/plans", response_model=Page[ShownPlan])
async def list_plans(call: Listing, paging: PlainPaged) -> Response:
    """List the plans."""
    mine = cataloguing.PLANS.where(_plan.c.merchant_id == call.merchant_id)
    return await list_page(call, paging, mine, show_plan, _plan.c.id)


@router.post("/plans", status_code=201, response_model=ShownPlan)
async def add_plan(call: Making, body: NewPlan) -> Response:
    """Add a plan."""

    async def effect(session: AsyncSession) -> Answer:
        row = await cataloguing.add_plan(session, call.merchant_id, body.reference, body.name)
        return Answer(show_plan(row), 201, f"/plans/{body.reference}")

    return await call.once(effect)


@router.get("/plans/{plan}", response_model=ShownPlan)
async def get_plan(call: Showing, plan: Named) -> Response:
    """Show one plan."""
    async with call.ctx.store.read() as session:
        return call.show(show_plan(await cataloguing.find_plan(session, call.merchant_id, plan)))


@router.patch("/plans/{plan}", response_model=ShownPlan)
async def change_plan(call: Changing, plan: Named, body: PlanChange) -> Response:
    """Give a plan another name."""

    async def effect(session: AsyncSession) -> Answer:
        row = await cataloguing.find_plan(session, call.merchant_id, plan, call.ctx)
        call.expect(show_plan(row))
        await cataloguing.rename_plan(session, row["id"], body.name)
        return Answer(show_plan(await cataloguing.find_plan(session, call.merchant_id, plan)))

    return await call.once(effect)


@router.get("/plans/{plan}/prices", response_model=Page[ShownPrice])
async def list_prices(call: Listing, plan: Named, paging: PlainPaged) -> Response:
    """List the prices of a plan."""
    async with call.ctx.store.read() as session:
        found = await cataloguing.find_plan(session, call.merchant_id, plan)
    mine = cataloguing.PRICES.where(_price.c.plan_id == found["id"])
    return await list_page(call, paging, mine, show_price, _price.c.id)


@router.post("/plans/{plan}/prices", status_code=201, response_model=ShownPrice)
async def add_price(call: Making, plan: Named, body: NewPrice) -> Response:
    """Add a price to a plan."""

    async def effect(session: AsyncSession) -> Answer:
        found = await cataloguing.find_plan(session, call.merchant_id, plan)
        about = (body.reference, body.title, body.terms(), body.trial_days)
        row = await cataloguing.add_price(session, found, *about)
        return Answer(show_price(row), 201, f"/plans/{plan}/prices/{body.reference}")

    return await call.once(effect)


@router.get("/plans/{plan}/prices/{price}", response_model=ShownPrice)
async def get_price(call: Showing, plan: Named, price: Named) -> Response:
    """Show one price."""
    async with call.ctx.store.read() as session:
        return call.show(show_price(await cataloguing.find_price(session, call.merchant_id, plan, price)))
