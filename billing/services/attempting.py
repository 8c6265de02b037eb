"""Open attempts, each with what it pays and the right to collect it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import insert_many, next_ids
from billing.models import Allocation, Attempt, ChargeRight, OwedKind, new_row, table
from billing.money import Money
from billing.payments import AttemptState, Channel, Initiator, attempt_key

_attempt = table(Attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAttempt:
    """One try to collect an invoice or a verification."""

    merchant_id: int
    customer_id: int
    gateway_account_id: int
    owed_key: str
    number: int
    amount: Money
    business_at: datetime
    profile_id: int | None = None
    run_id: int | None = None
    initiator: Initiator = Initiator.MERCHANT
    channel: Channel = Channel.NIGHT
    invoice_id: int | None = None
    verification_id: int | None = None
    state: AttemptState = AttemptState.CREATED

    @property
    def key(self) -> str:
        """Our reference at the gateway."""
        return attempt_key(self.owed_key, self.number)


async def open_attempts(session: AsyncSession, attempts: Sequence[NewAttempt]) -> dict[str, int]:
    """Write the attempts with their charge rights and return their ids by key.

    Raises `IntegrityError` where somebody else holds the right to one of the owed things: nothing
    of this transaction may then stay.
    """
    if not attempts:
        return {}
    opened = list(zip(await next_ids(session, _attempt, len(attempts)), attempts, strict=True))
    await insert_many(session, _attempt, [_attempt_row(id_, attempt) for id_, attempt in opened])
    await insert_many(session, table(ChargeRight), [_right_row(id_, attempt) for id_, attempt in opened])
    await insert_many(session, table(Allocation), [_allocation_row(id_, attempt) for id_, attempt in opened])
    return {attempt.key: id_ for id_, attempt in opened}


def _attempt_row(attempt_id: int, attempt: NewAttempt) -> dict[str, Any]:
    return new_row(
        Attempt,
        id=attempt_id,
        merchant_id=attempt.merchant_id,
        customer_id=attempt.customer_id,
        gateway_account_id=attempt.gateway_account_id,
        profile_id=attempt.profile_id,
        run_id=attempt.run_id,
        initiator=attempt.initiator,
        channel=attempt.channel,
        owed_key=attempt.owed_key,
        number=attempt.number,
        key=attempt.key,
        amount_minor=attempt.amount.minor,
        currency=attempt.amount.currency,
        state=attempt.state,
        business_at=attempt.business_at,
        created_at=attempt.business_at,
    )


def _right_row(attempt_id: int, attempt: NewAttempt) -> dict[str, Any]:
    if attempt.invoice_id is not None:
        return {"owed_kind": OwedKind.INVOICE, "owed_id": attempt.invoice_id, "attempt_id": attempt_id}
    return {"owed_kind": OwedKind.VERIFICATION, "owed_id": attempt.verification_id, "attempt_id": attempt_id}


def _allocation_row(attempt_id: int, attempt: NewAttempt) -> dict[str, Any]:
    return {
        "attempt_id": attempt_id,
        "position": 0,
        "invoice_id": attempt.invoice_id,
        "verification_id": attempt.verification_id,
        "amount_minor": attempt.amount.minor,
    }
