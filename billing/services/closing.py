"""Close an invoice that no charge has paid: take it back, or book that it was paid past every gateway.

Both take the charge right like everybody else. The invoice is locked behind its subscription, as whoever opens an
attempt on it locks it; an attempt that has not left is withdrawn, and one that has forbids the closing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import ledger
from billing.events import of_invoice
from billing.invoices import MOVES, InvoiceState
from billing.ledger import Group
from billing.lifecycle import move
from billing.models import Attempt, ChargeRight, Invoice, ManualPayment, OwedKind, table
from billing.money import Money
from billing.payments import AttemptState
from billing.services import changing
from billing.services.changing import Held
from billing.services.context import Context, Moment, moments
from billing.services.posting import Posted, post
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.tasking import end_tasks
from billing.services.telling import NewEvent, tell

_invoice, _right, _attempt = table(Invoice), table(ChargeRight), table(Attempt)

ENDED_BY_CLOSING: Final = ("unpaid", "unsendable", "unstorable")
"""What a person need not be asked about an invoice that is closed."""


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice that is locked, with its subscription, its merchant's time, and what the verbs work with."""

    row: RowMapping
    subscription: Held | None
    moment: Moment
    ctx: Context

    @property
    def state(self) -> InvoiceState:
        """Where it stands."""
        return InvoiceState(self.row["state"])

    def money(self, column: str) -> Money:
        """Return one of its amounts."""
        return Money(self.row[column], self.row["currency"])


async def locked_bill(ctx: Context, session: AsyncSession, merchant_id: int, invoice_id: int) -> Bill:
    """Lock an invoice behind its subscription; raise `MissingError` where there is none."""
    mine = select(_invoice).where(_invoice.c.id == invoice_id, _invoice.c.merchant_id == merchant_id)
    row: RowMapping | None = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no invoice inv_{invoice_id}")
    subscription = None
    if row["subscription_id"] is not None:
        subscription = await changing.locked_by_id(ctx, session, merchant_id, row["subscription_id"])
    row = (await session.execute(ctx.store.lock(mine))).mappings().one()
    return Bill(row, subscription, (await moments(ctx, session, [merchant_id]))[merchant_id], ctx)


async def void(session: AsyncSession, bill: Bill) -> None:
    """Take an open invoice back: nobody owes it any more, and its number stays used.

    An unsent attempt is withdrawn; with one under way it is a `ConflictError`. Money that comes in all the same is
    the customer's credit and a task. The subscription gets its access back if nothing else is overdue, and its
    period counts as billed. The pay-link tells that there is nothing to pay; mails that ask for money are dropped.
    """
    if bill.state == InvoiceState.VOID:
        return
    state = move(MOVES, bill.state, InvoiceState.VOID)
    await _take_right(session, bill)
    group = ledger.void(bill.row["key"], bill.money("net_minor"), bill.money("tax_minor"))
    await _close(session, bill, group, bill.moment.today, state)


async def pay_by_hand(session: AsyncSession, bill: Bill, amount: Money, paid_on: date, proof: str, by: str) -> None:
    """Book that an invoice was paid in full past every gateway, as `by` says, who knows it by the proof.

    An unsent attempt is withdrawn; with one under way it is a `ConflictError`, since that may collect the same
    money once more. The customer is not written to. The subscription gets its access back if nothing else is
    overdue.
    """
    if bill.state not in (InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE):
        raise ConflictError(f"it is {bill.state}: there is nothing to pay")
    if amount != bill.money("total_minor"):
        total = bill.money("total_minor")
        raise UnfitError("amount", f"an invoice is paid in full: {total.minor} minor units of {total.currency}")
    if not bill.row["issued_on"] <= paid_on <= bill.moment.today:
        raise UnfitError("paid_on", "it is between the day of the invoice and today")
    await _take_right(session, bill)
    about: dict[str, Any] = {"invoice_id": bill.row["id"], "merchant_id": bill.row["merchant_id"], "paid_on": paid_on}
    about |= {"proof": proof, "recorded_by": by, "recorded_at": bill.moment.now}
    await session.execute(insert(table(ManualPayment)).values(**about))
    state = move(MOVES, bill.state, InvoiceState.PAID)
    group = ledger.paid_outside(bill.row["key"], amount)
    await _close(session, bill, group, paid_on, state, paid_at=bill.moment.now)


async def _take_right(session: AsyncSession, bill: Bill) -> None:
    """See to it that nobody collects the invoice, or raise who does."""
    mine = (_right.c.owed_kind == OwedKind.INVOICE) & (_right.c.owed_id == bill.row["id"])
    attempt_id = (await session.execute(select(_right.c.attempt_id).where(mine))).scalar()
    if attempt_id is None:
        return
    unsent = (_attempt.c.id == attempt_id) & (_attempt.c.state == AttemptState.CREATED)
    gone = update(_attempt).where(unsent).values(state=AttemptState.WITHDRAWN, decided_at=bill.moment.now)
    if (await session.execute(gone.returning(_attempt.c.id))).scalar() is None:
        raise ConflictError(f"att_{attempt_id} is under way: what becomes of it comes first")
    await session.execute(delete(_right).where(mine))


async def _close(
    session: AsyncSession, bill: Bill, group: Group, booked_on: date, state: InvoiceState, **more: Any
) -> None:
    row, moment = bill.row, bill.moment
    values = {"state": state, "next_step": None, "next_step_on": None} | more
    await session.execute(update(_invoice).where(_invoice.c.id == row["id"]).values(**values))
    await post(session, [Posted(group, row["merchant_id"], row["customer_id"], booked_on, moment.now, row["id"])])
    await end_tasks(session, ENDED_BY_CLOSING, [f"inv_{row['id']}"])
    if bill.subscription is not None:
        await changing.regain(session, bill.subscription)
    if news := of_invoice(bill.state, state):
        await tell(bill.ctx, session, [NewEvent(row["merchant_id"], news, "inv", row["id"], moment.now)])
