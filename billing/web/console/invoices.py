"""Invoices: what each period owes, how it is collected, and what can be done about it by hand."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import RowMapping, Select, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.invoices import InvoiceState
from billing.models import (
    Allocation,
    Attempt,
    Customer,
    Invoice,
    InvoiceLine,
    ManualPayment,
    PayLink,
    Posting,
    Role,
    Subscription,
    table,
)
from billing.money import Money
from billing.services import closing, messaging
from billing.services.closing import Bill
from billing.services.messaging import Owed
from billing.services.recounting import Of
from billing.services.refusing import ConflictError, MissingError
from billing.web.console.desk import Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Values, amount, day, day_in
from billing.web.console.gate import Section
from billing.web.console.stories import period_in, told

router = Section("Invoices", "/invoices")

_invoice, _customer, _subscription, _line = table(Invoice), table(Customer), table(Subscription), table(InvoiceLine)
_posting, _manual, _link = table(Posting), table(ManualPayment), table(PayLink)
_attempt, _allocation = table(Attempt), table(Allocation)

Number = Annotated[str, Path(max_length=40)]
ROWS_MAX: Final = 100

_INVOICES: Final = (
    select(
        _invoice,
        _customer.c.reference.label("customer"),
        _customer.c.name.label("customer_name"),
        _subscription.c.reference.label("subscription"),
    )
    .join_from(_invoice, _customer, _customer.c.id == _invoice.c.customer_id)
    .join(_subscription, _subscription.c.id == _invoice.c.subscription_id, isouter=True)
)


@router.page("/invoices", Role.VIEWER)
async def list_invoices(desk: Seated) -> Response:
    """Show the invoices, newest first, by state, day of issue or customer."""
    asked = {name: desk.asked(name) for name in ("state", "day", "customer")}
    query = _INVOICES.where(_invoice.c.merchant_id == desk.merchant_id)
    if asked["state"] in set(InvoiceState):
        # Named in the statement itself, so that the indexes of what is open, and of what is rare, serve it.
        query = query.where(_invoice.c.state == literal_column(f"'{asked['state']}'"))
    if (on := day_in(asked["day"])) is not None:
        query = query.where(_invoice.c.issued_on == on)
    if asked["customer"]:
        theirs = (_customer.c.merchant_id == desk.merchant_id) & (_customer.c.reference == asked["customer"])
        query = query.where(theirs)
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, query, _invoice.c.id)
    return desk.show("invoices.html", part=part, asked=asked, states=list(InvoiceState))


@router.page("/invoices/{invoice}", Role.VIEWER)
async def show_invoice(desk: Seated, invoice: Number) -> Response:
    """Show one invoice with its lines, its links, its postings and its story."""
    return await _shown(desk, invoice)


@router.action("/invoices/{invoice}/link", Role.OPERATOR)
async def make_link(desk: Seated, invoice: Number) -> Response:
    """Give an open invoice a pay-link, or prolong the one that works, and show its address."""
    return await _linked(desk, invoice, "make_link")


@router.action("/invoices/{invoice}/link/reissue", Role.OPERATOR)
async def reissue_link(desk: Seated, invoice: Number) -> Response:
    """Take the links of an open invoice out of use, and show the address of another one."""
    return await _linked(desk, invoice, "reissue_link")


@router.action("/invoices/{invoice}/link/revoke", Role.OPERATOR)
async def revoke_links(desk: Seated, invoice: Number) -> Response:
    """Take the links to an invoice out of use; a page that one has opened at a gateway can still be paid on."""
    async with desk.ctx.store.write() as session:
        bill = await _locked(desk, session, invoice)
        await messaging.supersede(session, [_owed(bill)], bill.moment.now)
        await desk.note(session, "revoke_link", f"inv_{bill.row['id']}")
    return desk.done(f"/invoices/{invoice}", "The pay-link opens nothing any more.")


@router.action("/invoices/{invoice}/void", Role.OPERATOR)
async def void_invoice(desk: Seated, invoice: Number) -> Response:
    """Take an open invoice back: nobody owes it any more."""

    async def effect(session: AsyncSession, _: Values) -> None:
        bill = await _locked(desk, session, invoice)
        await closing.void(session, bill)
        await desk.note(session, "void_invoice", f"inv_{bill.row['id']}", number=invoice)

    draft = await desk.attempt(Form.of().blank(), effect)
    if draft.is_wrong:
        return await _shown(desk, invoice, draft)
    return desk.done(f"/invoices/{invoice}", f"{invoice} is taken back. Nobody owes it any more.")


@router.page("/invoices/{invoice}/paid", Role.OPERATOR)
async def ask_payment(desk: Seated, invoice: Number) -> Response:
    """Ask how an invoice was paid elsewhere."""
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, invoice)
    draft = _payment_form(row).blank(amount=_major(row), paid_on=desk.writer.today.isoformat())
    return desk.show("invoice_paid.html", draft=draft, row=row)


@router.action("/invoices/{invoice}/paid", Role.OPERATOR)
async def pay_by_hand(desk: Seated, invoice: Number) -> Response:
    """Book that an invoice was paid in full past every gateway."""
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, invoice)

    async def effect(session: AsyncSession, values: Values) -> None:
        bill = await _locked(desk, session, invoice)
        about = (values["amount"], values["paid_on"], values["proof"], desk.actor.name[:100])
        await closing.pay_by_hand(session, bill, *about)
        await desk.note(session, "pay_by_hand", f"inv_{bill.row['id']}", number=invoice, proof=values["proof"])

    draft = await desk.attempt(_payment_form(row).read(desk.typed), effect)
    if draft.is_wrong:
        return desk.show("invoice_paid.html", draft=draft, row=row)
    return desk.done(f"/invoices/{invoice}", f"{invoice} is booked as paid. Nobody is charged or written to for it.")


def _payment_form(row: RowMapping) -> Form:
    currency = row["currency"]
    hint = "The whole of it: an invoice is paid in full."
    return Form.of(
        Field("amount", "Amount", "number", hint, read=amount(currency), affix=currency, chars_max=20),
        Field("paid_on", "Day of the payment", "date", read=day),
        Field("proof", "How you know of it", hint="Such as: bank statement 47, line 3."),
    )


def _major(row: RowMapping) -> str:
    return str(Money(row["total_minor"], row["currency"]).major)


async def _linked(desk: Seated, number: str, verb: str) -> Response:
    """Give an open invoice a link, and show its address once."""
    async with desk.ctx.store.write() as session:
        bill = await _locked(desk, session, number)
        if bill.state != InvoiceState.OPEN:
            raise ConflictError(f"{number} is {bill.state}: there is nothing to pay")
        give = messaging.live_link if verb == "make_link" else messaging.reissue_link
        link_id = await give(session, _owed(bill), bill.moment.now)
        await desk.note(session, verb, f"link_{link_id}", invoice=f"inv_{bill.row['id']}")
    crumb = (desk.url(f"/invoices/{number}"), number)
    return desk.show("link.html", title="Pay-link", link=desk.ctx.links.pay(link_id), crumb=crumb, is_mailed=False)


def _owed(bill: Bill) -> Owed:
    return Owed(bill.row["merchant_id"], bill.row["customer_id"], bill.row["id"])


async def _locked(desk: Seated, session: AsyncSession, number: str) -> Bill:
    row = await _found(desk, session, number)
    return await closing.locked_bill(desk.ctx, session, desk.merchant_id, row["id"])


async def _found(desk: Seated, session: AsyncSession, number: str) -> RowMapping:
    mine = (_invoice.c.merchant_id == desk.merchant_id) & (_invoice.c.number == number)
    row: RowMapping | None = (await session.execute(_INVOICES.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no invoice {number!r}")
    return row


async def _shown(desk: Seated, number: str, draft: Draft | None = None) -> Response:
    known: dict[str, Any] = {}
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, number)
        for name, query in _parts_of(row).items():
            known[name] = (await session.execute(query.limit(ROWS_MAX))).mappings().all()
        known["story"] = await told(desk, session, Of.INVOICE, row)
    known["period"] = period_in(desk, row["period_start"], row["period_end"]) if row["period_start"] else ""
    return desk.show("invoice.html", row=row, draft=draft or Form.of().blank(), **known)


def _parts_of(row: RowMapping) -> dict[str, Select[Any]]:
    """Return a query for each part of an invoice's page."""
    collecting = select(_attempt).join_from(_attempt, _allocation, _allocation.c.attempt_id == _attempt.c.id)
    is_live = _link.c.superseded_at.is_(None)
    return {
        "lines": select(_line).where(_line.c.invoice_id == row["id"]).order_by(_line.c.position),
        "postings": select(_posting)
        .where(_posting.c.invoice_id == row["id"])
        .order_by(_posting.c.posted_at, _posting.c.group_key, _posting.c.position),
        "by_hand": select(_manual).where(_manual.c.invoice_id == row["id"]),
        "links": select(_link).where(_link.c.invoice_id == row["id"], is_live).order_by(_link.c.id.desc()),
        "attempts": collecting.where(_allocation.c.invoice_id == row["id"]).order_by(_attempt.c.id.desc()),
    }
