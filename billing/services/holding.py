"""What we still hold of a payment: counted from the postings and the operations, and stored nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import RowMapping, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing import ledger
from billing.gateway import OperationKind
from billing.ledger import Account
from billing.models import Operation, Posting, Task, table
from billing.money import Money
from billing.payments import OPEN, AttemptState
from billing.services.tasking import end_tasks

_operation, _posting, _task = table(Operation), table(Posting), table(Task)

_GOING: Final = (*OPEN, AttemptState.APPROVED)


@dataclass(frozen=True, slots=True)
class Holding:
    """What came in by one payment, and what of it may still be given back."""

    came_in: Money
    left: Money


async def holding_of(
    session: AsyncSession, attempt: RowMapping | dict[str, Any], payment_id: str = "", besides: int | None = None
) -> Holding:
    """Return what we hold of an attempt's payment, or of a second one under its key that `payment_id` names.

    What is on its way back counts as gone, save the operation `besides`. Money that a bank took back,
    or that left in a way the operations do not tell, is gone by the ledger. The attempt must be locked.
    """
    postings = await _postings(session, attempt)
    operations = [row for row in await _operations(session, attempt) if row["id"] != besides]
    came_in = sum(row.amount_minor for row in postings if _is_of(attempt["key"], payment_id, row.group_key))
    gone = _sum(row for row in operations if row["payment_id"] == payment_id)
    under_way = _sum(row for row in operations if row["state"] in OPEN)
    held = sum(row.amount_minor for row in postings) - under_way
    left = max(0, min(came_in - gone, held))
    return Holding(Money(came_in, attempt["currency"]), Money(left, attempt["currency"]))


async def credit_of(session: AsyncSession, currency: str, **about: int) -> Money:
    """Return how much of the money of a customer or an attempt stands as the customer's credit."""
    mine = [_posting.c[name] == value for name, value in about.items()]
    mine += [_posting.c.account == Account.CUSTOMER_CREDIT, _posting.c.currency == currency]
    owing = (await session.execute(select(func.sum(_posting.c.amount_minor)).where(*mine))).scalar()
    return Money(-int(owing or 0), currency)


async def end_surplus(session: AsyncSession, attempt_id: int, currency: str) -> None:
    """Ask nobody any more about a surplus once nothing of it is left."""
    if await credit_of(session, currency, attempt_id=attempt_id) > Money(0, currency):
        return
    name = f"att_{attempt_id}"
    mine = or_(_task.c.subject == name, _task.c.subject.startswith(f"{name}/", autoescape=True))
    subjects = (await session.execute(select(_task.c.subject).where(mine))).scalars().all()
    await end_tasks(session, ["surplus", "amount"], subjects)


def second_payment(key: str, gateway_id: str) -> str:
    """Return the name under which a second payment under one key is posted."""
    return f"{key}:{gateway_id}"


def _is_of(key: str, payment_id: str, group_key: str) -> bool:
    if payment_id:
        return group_key == ledger.payment_key(second_payment(key, payment_id))
    own = ledger.payment_key(key)
    return group_key == own or group_key.startswith(f"{own}/")


def _sum(operations: Iterable[RowMapping]) -> int:
    return sum(row["amount_minor"] for row in operations)


async def _postings(session: AsyncSession, attempt: RowMapping | dict[str, Any]) -> Sequence[Any]:
    mine = [_posting.c.attempt_id == attempt["id"], _posting.c.currency == attempt["currency"]]
    query = select(_posting.c.group_key, _posting.c.amount_minor)
    return (await session.execute(query.where(*mine, _posting.c.account == Account.GATEWAY))).all()


async def _operations(session: AsyncSession, attempt: RowMapping | dict[str, Any]) -> Sequence[RowMapping]:
    """Return what has taken, or is about to take, money away from an attempt's payments."""
    mine = [_operation.c.attempt_id == attempt["id"], _operation.c.currency == attempt["currency"]]
    going = [_operation.c.kind != OperationKind.CAPTURE, _operation.c.state.in_(_GOING)]
    return (await session.execute(select(_operation).where(*mine, *going))).mappings().all()
