"""Attempts to collect, what follows a payment, and money given back."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.gateway import DeclineClass, OperationKind
from billing.models import Allocation, Attempt, Customer, GatewayAccount, Operation, table
from billing.payments import AttemptState, Channel, Initiator
from billing.services.operating import run_operations
from billing.services.refunding import Payment, owe_back
from billing.services.refusing import MissingError
from billing.web.api.bodies import (
    PLAIN,
    Amount,
    AttemptName,
    Given,
    Instant,
    InvoiceName,
    OperationName,
    Page,
    Reason,
    Shown,
    example,
    number_in,
)
from billing.web.api.calls import Answer, Call, GivingBack, Listing, Showing
from billing.web.api.paging import Paged, list_page

router = APIRouter(tags=["attempts"])

_attempt, _operation, _allocation = table(Attempt), table(Operation), table(Allocation)
_customer, _account = table(Customer), table(GatewayAccount)
_MONEY: Final[dict[str, Any]] = {"amount_minor": 4900, "currency": "EUR"}
_ATTEMPT: Final[dict[str, Any]] = {
    "id": "att_12",
    "key": "INV-ABCDEFGHIJKLMNOP-1",
    "customer": "C1001",
    "account": "mpay24-main",
    "profile": "pro_3",
    "invoice": "inv_12",
    "verification": None,
    "initiator": "merchant",
    "channel": "night",
    "amount": _MONEY,
    "state": "approved",
    "gateway_id": "5007",
    "decline_code": "",
    "decline_class": None,
    "evidence": "",
    "created_at": "2026-11-25T01:00:00Z",
    "decided_at": "2026-11-25T01:00:02Z",
}
_OPERATION: Final[dict[str, Any]] = {
    "id": "op_34",
    "attempt": "att_12",
    "kind": "refund",
    "amount": {"amount_minor": 1230, "currency": "EUR"},
    "state": "created",
    "gateway_id": "",
    "reason": "two days without service",
    "evidence": "",
    "created_at": "2026-11-25T10:00:00Z",
    "decided_at": None,
}
_SECOND: Final = "The gateway's id of a second payment under the same key, where there was one."
_PAYS: Final = (_allocation.c.attempt_id == _attempt.c.id) & (_allocation.c.position == 0)
ATTEMPTS: Final = (
    select(
        _attempt,
        _customer.c.reference.label("customer"),
        _account.c.reference.label("account"),
        _allocation.c.invoice_id,
        _allocation.c.verification_id,
    )
    .join_from(_attempt, _customer, _customer.c.id == _attempt.c.customer_id)
    .join(_account, _account.c.id == _attempt.c.gateway_account_id)
    .join(_allocation, _PAYS, isouter=True)
)
OPERATIONS: Final = select(_operation).join_from(_operation, _attempt, _attempt.c.id == _operation.c.attempt_id)

AttemptPath = Annotated[AttemptName, Path()]


class ShownAttempt(Shown):
    """One try to collect. `key` is what the gateway knows it by, `gateway_id` what the gateway calls it."""

    model_config = Shown.model_config | example(**_ATTEMPT)
    id: str
    key: str
    customer: str
    account: str
    profile: str | None
    invoice: str | None
    verification: str | None
    initiator: Initiator
    channel: Channel
    amount: Amount
    state: AttemptState
    gateway_id: str
    decline_code: str
    decline_class: DeclineClass | None
    evidence: str
    created_at: Instant
    decided_at: Instant | None


class ShownOperation(Shown):
    """A capture, reversal, refund, credit, chargeback or returned debit of a payment."""

    model_config = Shown.model_config | example(**_OPERATION)
    id: str
    attempt: str
    kind: OperationKind
    amount: Amount
    state: AttemptState
    gateway_id: str
    reason: str
    evidence: str
    created_at: Instant
    decided_at: Instant | None


class NewRefund(Given):
    """Money to give back: `amount`, or all that is left of the payment."""

    model_config = Given.model_config | example(amount=_OPERATION["amount"], reason=_OPERATION["reason"])
    amount: Amount | None = None
    reason: Reason = ""
    payment: Annotated[str, Field(max_length=64, description=_SECOND), PLAIN] = ""


def show_attempt(row: RowMapping) -> ShownAttempt:
    """Return an attempt as callers see it."""
    named = {name: _name(prefix, row[f"{name}_id"]) for name, prefix in _NAMED}
    made = {"id": f"att_{row['id']}", "amount": Amount.of(row["amount_minor"], row["currency"])} | named
    return ShownAttempt(**made, **{name: row[name] for name in ShownAttempt.model_fields if name not in made})


_NAMED: Final = (("profile", "pro"), ("invoice", "inv"), ("verification", "ver"))


def _name(prefix: str, number: int | None) -> str | None:
    return None if number is None else f"{prefix}_{number}"


def show_operation(row: RowMapping) -> ShownOperation:
    """Return an operation as callers see it."""
    made = {"id": f"op_{row['id']}", "attempt": f"att_{row['attempt_id']}"}
    money = {"amount": Amount.of(row["amount_minor"], row["currency"])}
    plain = {n: row[n] for n in ShownOperation.model_fields if n not in made | money}
    return ShownOperation(**made, **money, **plain)


@router.get("/attempts", response_model=Page[ShownAttempt])
async def list_attempts(
    call: Listing,
    paging: Paged,
    state: Annotated[AttemptState | None, Query(description="Only those that stand here.")] = None,
    customer: Annotated[str, Query(max_length=32, description="Only this customer's."), PLAIN] = "",
    invoice: Annotated[InvoiceName | None, Query(description="Only those that collect this.")] = None,
) -> Response:
    """List the attempts to collect."""
    mine = ATTEMPTS.where(_attempt.c.merchant_id == call.merchant_id)
    if state is not None:
        mine = mine.where(_attempt.c.state == state)
    if customer:
        mine = mine.where(_customer.c.reference == customer)
    if invoice is not None:
        mine = mine.where(_allocation.c.invoice_id == number_in(invoice))
    return await list_page(call, paging, mine, show_attempt, _attempt.c.id, _attempt.c.created_at)


@router.get("/attempts/{attempt}", response_model=ShownAttempt)
async def get_attempt(call: Showing, attempt: AttemptPath) -> Response:
    """Show one attempt."""
    async with call.ctx.store.read() as session:
        return call.show(show_attempt(await _attempt_named(call, session, attempt)))


@router.post("/attempts/{attempt}/refunds", status_code=201, response_model=ShownOperation)
async def give_back(call: GivingBack, attempt: AttemptPath, body: NewRefund) -> Response:
    """Give back money of a payment, at most what came in and has not gone back yet.

    The answer tells of the operation that is owed; it is sent at once, and its address tells what became of it.
    """

    async def effect(session: AsyncSession) -> Answer:
        row = await _attempt_named(call, session, attempt)
        amount = body.amount.money if body.amount is not None else None
        payment = Payment(row["id"], body.payment)
        operation_id = await owe_back(call.ctx, session, payment, amount, body.reason)
        shown = show_operation(await _operation_named(call, session, f"op_{operation_id}"))
        return Answer(shown, 201, f"/operations/op_{operation_id}")

    return await call.once(effect, then=partial(run_operations, call.ctx, number_in(attempt)))


@router.get("/operations", response_model=Page[ShownOperation])
async def list_operations(
    call: Listing,
    paging: Paged,
    kind: Annotated[OperationKind | None, Query(description="Only these: refunds, chargebacks and so on.")] = None,
    state: Annotated[AttemptState | None, Query(description="Only those that stand here.")] = None,
    attempt: Annotated[AttemptName | None, Query(description="Only those of this payment.")] = None,
) -> Response:
    """List what followed payments: refunds, reversals, captures, chargebacks, returned debits."""
    mine = OPERATIONS.where(_attempt.c.merchant_id == call.merchant_id)
    if kind is not None:
        mine = mine.where(_operation.c.kind == kind)
    if state is not None:
        mine = mine.where(_operation.c.state == state)
    if attempt is not None:
        mine = mine.where(_operation.c.attempt_id == number_in(attempt))
    return await list_page(call, paging, mine, show_operation, _operation.c.id, _operation.c.created_at)


@router.get("/operations/{operation}", response_model=ShownOperation)
async def get_operation(call: Showing, operation: Annotated[OperationName, Path()]) -> Response:
    """Show one operation."""
    async with call.ctx.store.read() as session:
        return call.show(show_operation(await _operation_named(call, session, operation)))


async def _attempt_named(call: Call, session: AsyncSession, name: str) -> RowMapping:
    mine = (_attempt.c.id == number_in(name)) & (_attempt.c.merchant_id == call.merchant_id)
    row = (await session.execute(ATTEMPTS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no attempt {name}")
    return row


async def _operation_named(call: Call, session: AsyncSession, name: str) -> RowMapping:
    mine = (_operation.c.id == number_in(name)) & (_attempt.c.merchant_id == call.merchant_id)
    row = (await session.execute(OPERATIONS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no operation {name}")
    return row
