"""Invoices with their lines: shown, taken back, paid past every gateway."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlalchemy import RowMapping, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.dunning import StepKind
from billing.invoices import InvoiceState
from billing.models import Customer, Invoice, InvoiceLine, ManualPayment, Subscription, table
from billing.services import closing
from billing.services.refusing import MissingError
from billing.web.api.bodies import PLAIN, Amount, Given, Instant, InvoiceName, Page, Shown, example, number_in
from billing.web.api.calls import Answer, Changing, Listing, MovingMoney, Showing
from billing.web.api.paging import PlainPaged, list_page

router = APIRouter(tags=["invoices"])

_invoice, _customer, _subscription = table(Invoice), table(Customer), table(Subscription)
_line, _manual = table(InvoiceLine), table(ManualPayment)
_MONEY: Final[dict[str, Any]] = {"amount_minor": 4900, "currency": "EUR"}
_LINE: Final[dict[str, Any]] = {
    "text": "Team, monthly",
    "quantity": 1,
    "unit": _MONEY,
    "net": {"amount_minor": 4083, "currency": "EUR"},
    "tax": {"amount_minor": 817, "currency": "EUR"},
    "total": _MONEY,
    "tax_rate_bp": 2000,
}
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "inv_12",
    "number": "NA-2026-00012",
    "customer": "C1001",
    "subscription": "S1001",
    "title": "Team, monthly",
    "state": "paid",
    "net": _LINE["net"],
    "tax": _LINE["tax"],
    "total": _MONEY,
    "issued_on": "2026-11-25",
    "period_start": "2026-11-25",
    "period_end": "2026-12-25",
    "paid_at": "2026-11-25T01:10:00Z",
    "tries": 1,
    "next_step": None,
    "next_step_on": None,
}
_PAYMENT: Final[dict[str, Any]] = {"amount": _MONEY, "paid_on": "2026-11-25", "proof": "bank statement 47, line 3"}
INVOICES: Final = (
    select(_invoice, _customer.c.reference.label("customer"), _subscription.c.reference.label("subscription"))
    .join_from(_invoice, _customer, _customer.c.id == _invoice.c.customer_id)
    .join(_subscription, _subscription.c.id == _invoice.c.subscription_id, isouter=True)
)

InvoicePath = Annotated[InvoiceName, Path()]


class ShownInvoice(Shown):
    """What a period owes. `next_step` is what dunning does next, and when."""

    model_config = Shown.model_config | example(**_EXAMPLE)
    id: str
    number: str
    customer: str
    subscription: str | None
    title: str
    state: InvoiceState
    net: Amount
    tax: Amount
    total: Amount
    issued_on: date
    period_start: date | None
    period_end: date | None
    paid_at: Instant | None
    tries: int
    next_step: StepKind | None
    next_step_on: date | None


class ShownLine(Shown):
    """One line of an invoice; net and tax make the total."""

    model_config = Shown.model_config | example(**_LINE)
    text: str
    quantity: int
    unit: Amount
    net: Amount
    tax: Amount
    total: Amount
    tax_rate_bp: int


class ShownPayment(Shown):
    """Money that came in past every gateway."""

    model_config = Shown.model_config | example(paid_on="2026-11-25", proof=_PAYMENT["proof"], recorded_by="tk_5f0c")
    paid_on: date
    proof: str
    recorded_by: str


class WholeInvoice(ShownInvoice):
    """An invoice with its lines, and with how it was paid where that was past every gateway."""

    model_config = Shown.model_config | example(**_EXAMPLE, lines=[_LINE], paid_by_hand=None)
    lines: list[ShownLine]
    paid_by_hand: ShownPayment | None


class NewPayment(Given):
    """A payment past every gateway: to the bank, or in cash."""

    model_config = Given.model_config | example(**_PAYMENT)
    amount: Annotated[Amount, Field(description="The total: an invoice is paid in full.")]
    paid_on: date
    proof: Annotated[str, Field(min_length=1, max_length=200, description="How you know of it."), PLAIN]


def show_invoice(row: RowMapping) -> ShownInvoice:
    """Return an invoice as callers see it."""
    return ShownInvoice(**_known(row))


def _known(row: RowMapping) -> dict[str, Any]:
    money = _amounts(row, row["currency"], ("net", "tax", "total"))
    plain = {name: row[name] for name in ShownInvoice.model_fields if name not in (*money, "id")}
    return {"id": f"inv_{row['id']}"} | money | plain


def _show_line(row: RowMapping, currency: str) -> ShownLine:
    money = _amounts(row, currency, ("unit", "net", "tax", "total"))
    return ShownLine(**money, text=row["text"], quantity=row["quantity"], tax_rate_bp=row["tax_rate_bp"])


def _amounts(row: RowMapping, currency: str, names: Sequence[str]) -> dict[str, Any]:
    return {name: Amount.of(row[f"{name}_minor"], currency) for name in names}


@router.get("/invoices", response_model=Page[ShownInvoice])
async def list_invoices(
    call: Listing,
    paging: PlainPaged,
    state: Annotated[InvoiceState | None, Query(description="Only those that stand here.")] = None,
    customer: Annotated[str, Query(max_length=32, description="Only this customer's."), PLAIN] = "",
    subscription: Annotated[str, Query(max_length=40, description="Only this subscription's."), PLAIN] = "",
) -> Response:
    """List the invoices, without their lines."""
    mine = INVOICES.where(_invoice.c.merchant_id == call.merchant_id)
    if state is not None:
        # Named in the statement itself, so that the indexes of what is open, and of what is rare, serve it.
        mine = mine.where(_invoice.c.state == literal_column(f"'{state}'"))
    if customer:
        mine = mine.where(_customer.c.reference == customer)
    if subscription:
        mine = mine.where(_subscription.c.reference == subscription)
    return await list_page(call, paging, mine, show_invoice, _invoice.c.id)


@router.get("/invoices/{invoice}", response_model=WholeInvoice)
async def get_invoice(call: Showing, invoice: InvoicePath) -> Response:
    """Show one invoice with its lines."""
    async with call.ctx.store.read() as session:
        return call.show(await whole_invoice(session, call.merchant_id, number_in(invoice)))


@router.post("/invoices/{invoice}/void", response_model=WholeInvoice)
async def void_invoice(call: Changing, invoice: InvoicePath) -> Response:
    """Take an open invoice back: nobody owes it any more. While a charge is under way it cannot be."""

    async def effect(session: AsyncSession) -> Answer:
        bill = await closing.locked_bill(call.ctx, session, call.merchant_id, number_in(invoice))
        call.expect(await whole_invoice(session, call.merchant_id, bill.row["id"]))
        await closing.void(session, bill)
        return Answer(await whole_invoice(session, call.merchant_id, bill.row["id"]))

    return await call.once(effect)


@router.post("/invoices/{invoice}/payments", status_code=201, response_model=WholeInvoice)
async def pay_invoice_by_hand(call: MovingMoney, invoice: InvoicePath, body: NewPayment) -> Response:
    """Book that an invoice was paid in full past every gateway; nobody is charged for it or written to any more."""

    async def effect(session: AsyncSession) -> Answer:
        bill = await closing.locked_bill(call.ctx, session, call.merchant_id, number_in(invoice))
        about = (body.amount.money, body.paid_on, body.proof, f"tk_{call.caller.prefix}")
        await closing.pay_by_hand(session, bill, *about)
        shown = await whole_invoice(session, call.merchant_id, bill.row["id"])
        return Answer(shown, 201, f"/invoices/{invoice}")

    return await call.once(effect)


async def whole_invoice(session: AsyncSession, merchant_id: int, invoice_id: int) -> WholeInvoice:
    """Return an invoice with its lines; raise `MissingError` where there is none."""
    mine = (_invoice.c.id == invoice_id) & (_invoice.c.merchant_id == merchant_id)
    row = (await session.execute(INVOICES.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no invoice inv_{invoice_id}")
    lines = await session.execute(select(_line).where(_line.c.invoice_id == invoice_id).order_by(_line.c.position))
    paid = await session.execute(select(_manual).where(_manual.c.invoice_id == invoice_id))
    by_hand = paid.mappings().one_or_none()
    return WholeInvoice(
        **_known(row),
        lines=[_show_line(line, row["currency"]) for line in lines.mappings()],
        paid_by_hand=by_hand and ShownPayment(**{name: by_hand[name] for name in ShownPayment.model_fields}),
    )
