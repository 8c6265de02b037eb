"""Say in sentences why a subscription, invoice or attempt was or was not billed."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Allocation, Attempt, Decision, Invoice, Subscription, Task, table
from billing.money import Money
from billing.payments import AttemptState
from billing.services.context import Context

_subscription, _invoice, _attempt = table(Subscription), table(Invoice), table(Attempt)
_decision, _task, _allocation = table(Decision), table(Task), table(Allocation)

_ID: Final = re.compile(r"(sub|inv|att)_(\d+)")


class UnknownIdError(LookupError):
    """Nothing has this id."""


async def explain(ctx: Context, name: str) -> list[str]:
    """Return the story of `sub_12`, `inv_34`, `att_56`, a subscription's reference, an invoice's number or a key."""
    async with ctx.store.read() as session:
        for of, tell, where in _candidates(name):
            row = (await session.execute(select(of).where(where).limit(1))).mappings().one_or_none()
            if row is not None:
                return [each async for each in tell(session, row)]
    raise UnknownIdError(
        f"nothing is called {name!r}: give sub_12, inv_34, att_56, a reference, an invoice number or a key"
    )


def _candidates(name: str) -> list[tuple[Table, Any, ColumnElement[bool]]]:
    kinds = {"sub": (_subscription, _of_subscription), "inv": (_invoice, _of_invoice), "att": (_attempt, _of_attempt)}
    if match := _ID.fullmatch(name):
        of, tell = kinds[match[1]]
        return [(of, tell, of.c.id == int(match[2]))]
    return [
        (_subscription, _of_subscription, _subscription.c.reference == name),
        (_invoice, _of_invoice, _invoice.c.number == name),
        (_attempt, _of_attempt, _attempt.c.key == name),
    ]


async def _of_subscription(session: AsyncSession, row: RowMapping) -> Any:
    yield f"Subscription {row['reference']} (sub_{row['id']}) is {row['state']}, counted from {row['anchor_on']}."
    if row["next_due_on"]:
        yield f"Its period number {row['next_period']} falls due on {row['next_due_on']}."
    else:
        yield f"It is not billed while it is {row['state']}" + (
            ", because dunning paused it." if row["paused_by_dunning"] else "."
        )
    for decision in await _all(session, _decision, _decision.c.subscription_id == row["id"], _decision.c.run_id):
        yield f"Run {decision['run_id']} set it aside: {decision['reason']}, {decision['detail']}."
    for invoice in await _all(session, _invoice, _invoice.c.subscription_id == row["id"], _invoice.c.id):
        async for sentence in _of_invoice(session, invoice):
            yield sentence
    async for sentence in _tasks(session, f"sub_{row['id']}"):
        yield sentence


async def _of_invoice(session: AsyncSession, row: RowMapping) -> Any:
    amount = _amount(row["total_minor"], row["currency"])
    yield f"Invoice {row['number']} (inv_{row['id']}) of {row['issued_on']} over {amount} is {row['state']}."
    mine = select(_allocation.c.attempt_id).where(_allocation.c.invoice_id == row["id"])
    for attempt in await _all(session, _attempt, _attempt.c.id.in_(mine), _attempt.c.number):
        async for sentence in _of_attempt(session, attempt):
            yield sentence
    if row["next_step"]:
        yield f"The next step is to {row['next_step']} on {row['next_step_on']}."
    async for sentence in _tasks(session, f"inv_{row['id']}"):
        yield sentence


_BECAUSE: Final = {
    AttemptState.CREATED: "waits to be sent",
    AttemptState.SENT: "was sent, and its answer is not in yet",
    AttemptState.APPROVED: "was approved",
    AttemptState.DECLINED: "was declined",
    AttemptState.REFUSED: "was refused because of us, not the customer",
    AttemptState.PENDING: "waits for the bank or the customer",
    AttemptState.UNKNOWN: "is in doubt",
    AttemptState.NOT_SENT: "never reached the gateway",
    AttemptState.WITHDRAWN: "was withdrawn before it was sent",
}


async def _of_attempt(session: AsyncSession, row: RowMapping) -> Any:
    what = f"Attempt {row['number']} (att_{row['id']}, {row['key']}) by {row['initiator']} through {row['channel']}"
    why = ", ".join(each for each in (row["decline_code"], row["evidence"]) if each)
    yield f"{what} {_BECAUSE[AttemptState(row['state'])]}" + (f": {why}." if why else ".")
    if row["ask_at"]:
        yield f"The gateway was asked {row['asks']} times, and is asked next at {row['ask_at']:%Y-%m-%d %H:%M:%S} UTC."
    async for sentence in _tasks(session, f"att_{row['id']}"):
        yield sentence


async def _tasks(session: AsyncSession, subject: str) -> Any:
    for task in await _all(session, _task, _task.c.subject == subject, _task.c.id):
        yield f"A person was asked ({task['kind']}, {task['state']}): {task['reason']}."


async def _all(session: AsyncSession, of: Table, where: ColumnElement[bool], order: Any) -> list[RowMapping]:
    return list((await session.execute(select(of).where(where).order_by(order))).mappings())


def _amount(minor: int, currency: str) -> str:
    return f"{Money(minor, currency).major} {currency}"
