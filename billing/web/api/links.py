"""Pay-links: made, made anew, taken out of use. Its address opens a payment, so only who makes one is told it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.invoices import InvoiceState
from billing.models import Customer, PayLink, table
from billing.services import closing
from billing.services.closing import Bill
from billing.services.messaging import Owed, live_link, reissue_link
from billing.services.refusing import ConflictError, MissingError
from billing.web.api.bodies import Instant, InvoiceName, LinkName, Page, Shown, example, number_in
from billing.web.api.calls import Answer, Call, Changing, Listing, Making, Showing
from billing.web.api.invoices import InvoicePath
from billing.web.api.paging import Paged, list_page

router = APIRouter(tags=["pay-links"])

_link, _customer = table(PayLink), table(Customer)
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "link_5",
    "customer": "C1001",
    "invoice": "inv_12",
    "verification": None,
    "created_at": "2026-11-25T09:30:00Z",
    "expires_at": "2026-12-09T23:00:00Z",
    "superseded_at": None,
}
_LINKS: Final = select(_link, _customer.c.reference.label("customer")).join_from(_link, _customer)

LinkPath = Annotated[LinkName, Path()]


class ShownLink(Shown):
    """A pay-link. It works until it expires or is superseded."""

    model_config = Shown.model_config | example(**_EXAMPLE)
    id: str
    customer: str
    invoice: str | None
    verification: str | None
    created_at: Instant
    expires_at: Instant
    superseded_at: Instant | None


class OpenedLink(ShownLink):
    """A pay-link with its address; whoever has that can pay the bill, and nothing else."""

    model_config = Shown.model_config | example(**_EXAMPLE, url="https://pay.example/p/AAAA")
    url: str


def show_link(row: RowMapping) -> ShownLink:
    """Return a link as callers see it, without its address."""
    return ShownLink(**_known(row))


def _known(row: RowMapping) -> dict[str, Any]:
    times = {name: row[name] for name in ("customer", "created_at", "expires_at", "superseded_at")}
    invoice, verification = row["invoice_id"], row["verification_id"]
    names = {
        "invoice": f"inv_{invoice}" if invoice else None,
        "verification": f"ver_{verification}" if verification else None,
    }
    return {"id": f"link_{row['id']}"} | names | times


@router.get("/pay-links", response_model=Page[ShownLink])
async def list_links(
    call: Listing,
    paging: Paged,
    invoice: Annotated[InvoiceName | None, Query(description="Only those to this.")] = None,
) -> Response:
    """List the pay-links, without their addresses."""
    mine = _LINKS.where(_link.c.merchant_id == call.merchant_id)
    if invoice is not None:
        mine = mine.where(_link.c.invoice_id == number_in(invoice))
    return await list_page(call, paging, mine, show_link, _link.c.id, _link.c.created_at)


@router.post("/invoices/{invoice}/pay-links", status_code=201, response_model=OpenedLink)
async def make_link(call: Making, invoice: InvoicePath) -> Response:
    """Give an open invoice a pay-link; one that works already is prolonged."""

    async def effect(session: AsyncSession) -> Answer:
        bill = await _open_bill(call, session, number_in(invoice))
        return await _opened(call, session, await live_link(session, _owed(bill), bill.moment.now))

    return await call.once(effect)


@router.get("/pay-links/{link}", response_model=ShownLink)
async def get_link(call: Showing, link: LinkPath) -> Response:
    """Show one pay-link, without its address."""
    async with call.ctx.store.read() as session:
        return call.show(show_link(await _found(call, session, number_in(link))))


@router.post("/pay-links/{link}/reissue", status_code=201, response_model=OpenedLink)
async def reissue(call: Making, link: LinkPath) -> Response:
    """Take a link out of use, and make another one to the same invoice."""

    async def effect(session: AsyncSession) -> Answer:
        bill = await _open_bill(call, session, await _invoice_of(call, session, number_in(link)))
        return await _opened(call, session, await reissue_link(session, _owed(bill), bill.moment.now))

    return await call.once(effect)


@router.post("/pay-links/{link}/revoke", response_model=ShownLink)
async def revoke(call: Changing, link: LinkPath) -> Response:
    """Take a link out of use; a page of the gateway's that it has opened already can still be paid on."""
    number = number_in(link)

    async def effect(session: AsyncSession) -> Answer:
        bill = await closing.locked_bill(call.ctx, session, call.merchant_id, await _invoice_of(call, session, number))
        call.expect(show_link(await _found(call, session, number)))
        mine = (_link.c.id == number) & _link.c.superseded_at.is_(None)
        await session.execute(update(_link).where(mine).values(superseded_at=bill.moment.now))
        return Answer(show_link(await _found(call, session, number)))

    return await call.once(effect)


def _owed(bill: Bill) -> Owed:
    return Owed(bill.row["merchant_id"], bill.row["customer_id"], bill.row["id"])


async def _open_bill(call: Call, session: AsyncSession, invoice_id: int) -> Bill:
    bill = await closing.locked_bill(call.ctx, session, call.merchant_id, invoice_id)
    if bill.state != InvoiceState.OPEN:
        raise ConflictError(f"inv_{invoice_id} is {bill.state}: there is nothing to pay")
    return bill


async def _invoice_of(call: Call, session: AsyncSession, number: int) -> int:
    invoice_id: int | None = (await _found(call, session, number))["invoice_id"]
    if invoice_id is None:
        raise ConflictError("it renews a stored profile: `turnus renew` makes another one")
    return invoice_id


async def _opened(call: Call, session: AsyncSession, number: int) -> Answer:
    row = await _found(call, session, number)
    shown = OpenedLink(**_known(row), url=call.ctx.links.pay(number))
    return Answer(shown, 201, f"/pay-links/link_{number}")


async def _found(call: Call, session: AsyncSession, number: int) -> RowMapping:
    mine = (_link.c.id == number) & (_link.c.merchant_id == call.merchant_id)
    row = (await session.execute(_LINKS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no pay-link link_{number}")
    return row
