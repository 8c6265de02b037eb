"""Customers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field
from sqlalchemy import RowMapping, func
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Customer, table
from billing.services import registering
from billing.web.api.bodies import PLAIN, Given, Name, Named, Page, ShortReference, Shown, example
from billing.web.api.calls import Answer, Changing, Listing, Making, Showing
from billing.web.api.paging import PlainPaged, list_page

router = APIRouter(tags=["customers"])

_customer = table(Customer)
_CUSTOMER: Final[dict[str, Any]] = {
    "reference": "C1001",
    "name": "Anna Huber",
    "salutation": "Liebe Frau Huber",
    "email": "anna.huber@example.net",
    "language": "de",
    "country": "AT",
}


def _mail(address: str) -> str:
    """Refuse what no mail server would take; whether somebody reads it only a mail can tell."""
    local, at, domain = address.rpartition("@")
    if not (at and local and domain) or any(letter.isspace() for letter in address) or "@" in local:
        raise ValueError("an address is written like name@example.com")
    return address


Email = Annotated[str, Field(max_length=254), PLAIN, AfterValidator(_mail)]
Language = Annotated[
    str, Field(pattern=r"^([a-z]{2}(-[A-Z]{2})?)?$", description="Of mails and pages; empty: the merchant's.")
]
Salutation = Annotated[str, Field(max_length=100), PLAIN]
Country = Annotated[str, Field(pattern=r"^([A-Z]{2})?$")]


class NewCustomer(Given):
    """A customer to be."""

    model_config = Given.model_config | example(**_CUSTOMER)
    reference: ShortReference
    name: Name
    email: Email
    salutation: Salutation = ""
    language: Language = ""
    country: Country = ""


class CustomerChange(Given):
    """What is to be changed of a customer; what is left out stays."""

    model_config = Given.model_config | example(email="anna@example.net")
    name: Name | None = None
    email: Email | None = None
    salutation: Salutation | None = None
    language: Language | None = None
    country: Country | None = None


class ShownCustomer(Shown):
    """Who pays."""

    model_config = Shown.model_config | example(**_CUSTOMER)
    reference: str
    name: str
    salutation: str
    email: str
    language: str
    country: str


def show_customer(row: RowMapping | dict[str, Any]) -> ShownCustomer:
    """Return a customer as callers see it."""
    return ShownCustomer(**{name: row[name] for name in ShownCustomer.model_fields})


@router.get("/customers", response_model=Page[ShownCustomer])
async def list_customers(
    call: Listing,
    paging: PlainPaged,
    email: Annotated[str, Query(max_length=254, description="Only with this address."), PLAIN] = "",
) -> Response:
    """List the customers."""
    mine = registering.CUSTOMERS.where(_customer.c.merchant_id == call.merchant_id)
    if email:
        # The index is of addresses in small letters.
        small = func.lower(_customer.c.email) == func.lower(email)
        mine = mine.where(small, _customer.c.email == email)
    return await list_page(call, paging, mine, show_customer, _customer.c.id)


@router.post("/customers", status_code=201, response_model=ShownCustomer)
async def register_customer(call: Making, body: NewCustomer) -> Response:
    """Register a customer."""

    async def effect(session: AsyncSession) -> Answer:
        row = await registering.register(session, call.merchant_id, body.model_dump())
        return Answer(show_customer(row), 201, f"/customers/{body.reference}")

    return await call.once(effect)


@router.get("/customers/{customer}", response_model=ShownCustomer)
async def get_customer(call: Showing, customer: Named) -> Response:
    """Show one customer."""
    async with call.ctx.store.read() as session:
        return call.show(show_customer(await registering.find_customer(session, call.merchant_id, customer)))


@router.patch("/customers/{customer}", response_model=ShownCustomer)
async def change_customer(call: Changing, customer: Named, body: CustomerChange) -> Response:
    """Change what is known of a customer."""

    async def effect(session: AsyncSession) -> Answer:
        row = await registering.find_customer(session, call.merchant_id, customer, call.ctx)
        call.expect(show_customer(row))
        changed = {name: value for name, value in body.model_dump(exclude_unset=True).items() if value is not None}
        await registering.change_customer(session, row["id"], changed)
        return Answer(show_customer(dict(row) | changed))

    return await call.once(effect)
