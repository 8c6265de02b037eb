"""Send a request again under its own key, on wires where that is how to ask what became of it.

The gateway answers with what became of the first request, or makes the charge if that one never arrived. So
before a request is repeated it is looked at once more, whether the charge is still wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Any

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import Asking, Charge, Gateway, NotSent, Outcome, PresentCharge, Unknown
from billing.invoices import InvoiceState
from billing.models import (
    AccountState,
    Allocation,
    Attempt,
    Checkout,
    GatewayAccount,
    Invoice,
    Verification,
    VerificationState,
    table,
)
from billing.payments import IN_DOUBT, Initiator
from billing.services.charging import charge_details, charge_of
from billing.services.context import Context
from billing.services.presenting import unseal_request
from billing.store import after_s

_attempt, _allocation, _checkout = table(Attempt), table(Allocation), table(Checkout)
_invoice, _verification, _account = table(Invoice), table(Verification), table(GatewayAccount)


def is_repeatable(row: RowMapping) -> bool:
    """Answer whether it was a request of ours that charges, and not a page on which the customer pays."""
    return row["initiator"] == Initiator.MERCHANT or row["sealed_fields"] is not None


async def repeat(ctx: Context, gateway: Gateway, attempt_id: int, deadline: float) -> Outcome:
    """Repeat the attempt's request, unless it is no longer wanted, or can no longer be told from a second charge.

    Past the deadline, a reading of the monotonic clock, somebody else may be at it, and nothing is sent.
    """
    async with ctx.store.read() as session:
        request = await _look_again(ctx, session, attempt_id, gateway.abilities.asking)
    if isinstance(request, _Unwanted):
        by_key = gateway.abilities.asking.by_key and not request.may_be_wanted_again
        return NotSent(request.reason) if by_key else Unknown(request.reason)
    if monotonic() > deadline:
        return Unknown("the question came too late to be asked")
    send = gateway.charge(request) if isinstance(request, Charge) else gateway.charge_present(request)
    answer = await send
    if isinstance(answer, NotSent):
        return Unknown(f"the gateway could not be asked: {answer.reason}")
    return answer


@dataclass(frozen=True, slots=True)
class _Unwanted:
    """Why a request is not repeated."""

    reason: str
    may_be_wanted_again: bool = False


async def _look_again(
    ctx: Context, session: AsyncSession, attempt_id: int, asking: Asking
) -> Charge | PresentCharge | _Unwanted:
    row = (await session.execute(_standing().where(_attempt.c.id == attempt_id))).mappings().one()
    if row["state"] not in IN_DOUBT:
        return _Unwanted("it is settled meanwhile", True)
    remembered = asking.repeat_s is None if row["remembered"] is None else row["remembered"]
    if not remembered:
        return _Unwanted("the gateway has forgotten the key, so the same request could charge again", True)
    if row["account_state"] != AccountState.OPEN:
        return _Unwanted("the gateway account is stopped", True)
    if row["invoice_state"] != InvoiceState.OPEN and row["verification_state"] != VerificationState.OPEN:
        return _Unwanted("nothing is owed any more")
    if row["initiator"] == Initiator.MERCHANT:
        [details] = await charge_details(session, [attempt_id])
        return charge_of(ctx, details)
    return unseal_request(ctx, row["sealed_fields"])


def _standing() -> Any:
    """Ask where an attempt, its account and what it pays stand now."""
    return (
        select(
            _attempt.c.initiator,
            _attempt.c.state,
            (_attempt.c.repeat_until > after_s()).label("remembered"),
            _account.c.state.label("account_state"),
            _invoice.c.state.label("invoice_state"),
            _verification.c.state.label("verification_state"),
            _checkout.c.sealed_fields,
        )
        .join_from(_attempt, _allocation)
        .join(_account, _account.c.id == _attempt.c.gateway_account_id)
        .join(_invoice, _invoice.c.id == _allocation.c.invoice_id, isouter=True)
        .join(_verification, _verification.c.id == _allocation.c.verification_id, isouter=True)
        .join(_checkout, _checkout.c.attempt_id == _attempt.c.id, isouter=True)
        .where(_allocation.c.position == 0)
    )
