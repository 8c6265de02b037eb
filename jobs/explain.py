"""Say in sentences why something was or was not billed, what is in doubt, and what was given back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import AfterNothing, Asking
from billing.models import (
    AccountState,
    Allocation,
    Attempt,
    Checkout,
    Decision,
    GatewayAccount,
    Invoice,
    Notification,
    Operation,
    Run,
    Subscription,
    Task,
    table,
)
from billing.money import Money
from billing.payments import IN_DOUBT, OPEN, AttemptState
from billing.services.context import Context

_subscription, _invoice, _attempt, _operation = table(Subscription), table(Invoice), table(Attempt), table(Operation)
_decision, _task, _allocation, _run = table(Decision), table(Task), table(Allocation), table(Run)
_account, _checkout, _notification = table(GatewayAccount), table(Checkout), table(Notification)

_ID: Final = re.compile(r"(sub|inv|att|op)_(\d{1,18})")
Story = AsyncIterator[str]


class UnknownIdError(LookupError):
    """Nothing has this id."""


async def explain(ctx: Context, name: str, merchant_id: int | None = None) -> list[str]:
    """Return the story of `sub_12`, `inv_34`, `att_56`, `op_78`, a reference, an invoice's number or a key.

    With a merchant nothing of another one is told.
    """
    async with ctx.store.read() as session:
        for of, tell, where in _candidates(name):
            mine = where if merchant_id is None else where & _is_of(of, merchant_id)
            row = (await session.execute(select(of).where(mine).limit(1))).mappings().one_or_none()
            if row is not None:
                return [each async for each in tell(ctx, session, row)]
    raise UnknownIdError(
        f"nothing is called {name!r}: give sub_12, inv_34, att_56, op_78, a reference, an invoice number or a key"
    )


def _is_of(of: Table, merchant_id: int) -> ColumnElement[bool]:
    """Say that a row is a merchant's; an operation is whose its attempt is."""
    if of is _operation:
        return _operation.c.attempt_id.in_(select(_attempt.c.id).where(_attempt.c.merchant_id == merchant_id))
    return of.c.merchant_id == merchant_id


def _candidates(name: str) -> list[tuple[Table, Any, ColumnElement[bool]]]:
    kinds = {
        "sub": (_subscription, _of_subscription),
        "inv": (_invoice, _of_invoice),
        "att": (_attempt, _of_attempt),
        "op": (_operation, _of_operation),
    }
    if match := _ID.fullmatch(name):
        of, tell = kinds[match[1]]
        return [(of, tell, of.c.id == int(match[2]))]
    return [
        (_subscription, _of_subscription, _subscription.c.reference == name),
        (_invoice, _of_invoice, _invoice.c.number == name),
        (_attempt, _of_attempt, _attempt.c.key == name),
        (_operation, _of_operation, _operation.c.key == name),
    ]


# --- subscriptions and invoices ---------------------------------------------


async def _of_subscription(ctx: Context, session: AsyncSession, row: RowMapping) -> Story:
    yield f"Subscription {row['reference']} (sub_{row['id']}) is {row['state']}, counted from {row['anchor_on']}."
    if row["next_due_on"]:
        yield f"Its period number {row['next_period']} falls due on {row['next_due_on']}."
    else:
        yield f"It is not billed while it is {row['state']}" + (
            ", because dunning paused it." if row["paused_by_dunning"] else "."
        )
    if row["skipped_periods"]:
        yield f"It was paused over {row['skipped_periods']} periods, which were never billed."
    for decision in await _all(session, _decision, _decision.c.subscription_id == row["id"], _decision.c.run_id):
        [run] = await _all(session, _run, _run.c.id == decision["run_id"], _run.c.id)
        detail = f"{decision['reason']}, {decision['detail']}" if decision["detail"] else decision["reason"]
        yield f"Run {run['id']} of {run['on_day']} set it aside: {detail}."
    for invoice in await _all(session, _invoice, _invoice.c.subscription_id == row["id"], _invoice.c.id):
        async for sentence in _of_invoice(ctx, session, invoice):
            yield sentence
    async for sentence in _tasks(session, f"sub_{row['id']}"):
        yield sentence


async def _of_invoice(ctx: Context, session: AsyncSession, row: RowMapping) -> Story:
    amount = _amount(row["total_minor"], row["currency"])
    yield f"Invoice {row['number']} (inv_{row['id']}) of {row['issued_on']} over {amount} is {row['state']}."
    mine = select(_allocation.c.attempt_id).where(_allocation.c.invoice_id == row["id"])
    for attempt in await _all(session, _attempt, _attempt.c.id.in_(mine), _attempt.c.number):
        async for sentence in _of_attempt(ctx, session, attempt):
            yield sentence
    if row["next_step"]:
        yield f"The next step is to {row['next_step']} on {row['next_step_on']}."
    async for sentence in _tasks(session, f"inv_{row['id']}"):
        yield sentence


# --- attempts and operations ------------------------------------------------

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


async def _of_attempt(ctx: Context, session: AsyncSession, row: RowMapping) -> Story:
    what = f"Attempt {row['number']} (att_{row['id']}, {row['key']}) by {row['initiator']} through {row['channel']}"
    yield _sentence(what, row, row["decline_code"], row["evidence"])
    [account] = await _all(session, _account, _account.c.id == row["gateway_account_id"], _account.c.id)
    yield _where(row, account)
    if row["state"] == AttemptState.CREATED and account["state"] == AccountState.STOPPED:
        yield f"It is not sent while the account is stopped: {account['stopped_reason']}."
    if row["state"] in IN_DOUBT:
        gateways = await ctx.gateways.of(session, [account["id"]])
        async for sentence in _of_doubt(session, row, gateways[account["id"]].abilities.asking):
            yield sentence
    async for sentence in _heard(session, row["id"]):
        yield sentence
    for operation in await _all(session, _operation, _operation.c.attempt_id == row["id"], _operation.c.id):
        async for sentence in _of_operation(ctx, session, operation):
            yield sentence
    async for sentence in _tasks(session, f"att_{row['id']}"):
        yield sentence


def _sentence(what: str, row: RowMapping, *because: str) -> str:
    why = ", ".join(each for each in because if each)
    return f"{what} {_BECAUSE[AttemptState(row['state'])]}" + (f": {why}." if why else ".")


def _where(row: RowMapping, account: RowMapping) -> str:
    called = f", where it is called {row['gateway_id']}" if row["gateway_id"] else ""
    sent = f"sent at {row['sent_at']:%Y-%m-%d %H:%M:%S} UTC" if row["sent_at"] else "not sent by us"
    amount = _amount(row["amount_minor"], row["currency"])
    reserved = "" if row["captured"] or row["state"] != AttemptState.APPROVED else ", and is only reserved so far"
    return f"It was for {amount} at {account['gateway']} ({account['reference']}){called}, {sent}{reserved}."


async def _of_doubt(session: AsyncSession, row: RowMapping, asking: Asking) -> Story:
    """Tell how the doubt is being resolved: how often it was asked, when next, and by which means."""
    yield _asked(row)
    if asking.by_key:
        yield "It is asked about by our key, or by the gateway's own id where that is known."
    else:
        yield "The gateway cannot be asked by our key: the same request under the same key is the question."
    if row["repeat_until"]:
        until = f"{row['repeat_until']:%Y-%m-%d %H:%M:%S} UTC"
        yield f"The gateway remembers the key until {until}; after that a repeated request could charge again."
    if asking.after_nothing == AfterNothing.PERSON:
        yield "Where the gateway knows nothing of it, a person decides."
    for page in await _all(session, _checkout, _checkout.c.attempt_id == row["id"], _checkout.c.attempt_id):
        yield f"The customer can pay on a page until {page['closes_at']:%Y-%m-%d %H:%M:%S} UTC."
    yield f"A person who knows better says `turnus settle att_{row['id']}`."


def _asked(row: Mapping[Any, Any]) -> str:
    times = {0: "not been asked yet", 1: "been asked once"}.get(row["asks"], f"been asked {row['asks']} times")
    if row["ask_at"]:
        return f"The gateway has {times}, and is asked next at {row['ask_at']:%Y-%m-%d %H:%M:%S} UTC."
    if row["state"] == AttemptState.SENT and row["lease_until"]:
        return f"The gateway has {times}; its sender has until {row['lease_until']:%Y-%m-%d %H:%M:%S} UTC."
    return f"The gateway has {times}, and is not asked again."


async def _heard(session: AsyncSession, attempt_id: int) -> Story:
    rows = await _all(session, _notification, _notification.c.attempt_id == attempt_id, _notification.c.id)
    for row in rows:
        why = f": {row['reason']}" if row["reason"] else ""
        yield f"Notification not_{row['id']} of {row['received_at']:%Y-%m-%d %H:%M:%S} UTC is {row['state']}{why}."


_KINDS: Final = {
    "capture": "The capture",
    "reversal": "The reversal",
    "refund": "The refund",
    "credit": "The credit",
    "chargeback": "The chargeback",
    "returned_debit": "The returned debit",
}


async def _of_operation(_: Context, session: AsyncSession, row: RowMapping) -> Story:
    of = f" of the payment {row['payment_id']}" if row["payment_id"] else ""
    amount = _amount(row["amount_minor"], row["currency"])
    what = f"{_KINDS[row['kind']]} of {amount} (op_{row['id']}, {row['key']}){of} after att_{row['attempt_id']}"
    yield _sentence(what, row, row["evidence"])
    if row["reason"]:
        yield f"It was wanted because: {row['reason']}."
    if row["state"] in OPEN and row["asks"]:
        # Sending counts as the first look.
        yield _asked({**row, "asks": row["asks"] - 1})
    async for sentence in _tasks(session, f"op_{row['id']}"):
        yield sentence


async def _tasks(session: AsyncSession, subject: str) -> Story:
    mine = (_task.c.subject == subject) | _task.c.subject.startswith(f"{subject}/", autoescape=True)
    for task in await _all(session, _task, mine, _task.c.id):
        yield f"A person was asked ({task['kind']}, {task['state']}): {task['reason']}."


async def _all(session: AsyncSession, of: Table, where: ColumnElement[bool], order: Any) -> list[RowMapping]:
    return list((await session.execute(select(of).where(where).order_by(order))).mappings())


def _amount(minor: int, currency: str) -> str:
    return f"{Money(minor, currency).major} {currency}"
