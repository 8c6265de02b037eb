"""Say in sentences why something was or was not billed: how it stands, what of it is open, and what happened."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import AfterNothing, Asking
from billing.invoices import InvoiceState
from billing.models import (
    AccountState,
    Allocation,
    Attempt,
    Checkout,
    GatewayAccount,
    Invoice,
    Operation,
    Subscription,
    table,
)
from billing.money import Money
from billing.payments import IN_DOUBT, OPEN, AttemptState
from billing.services.context import Context
from billing.services.recounting import Of
from billing.web.console.plain import plain_story

_subscription, _invoice, _attempt, _operation = table(Subscription), table(Invoice), table(Attempt), table(Operation)
_account, _checkout, _allocation = table(GatewayAccount), table(Checkout), table(Allocation)

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
    owed = (_invoice.c.subscription_id == row["id"]) & _invoice.c.state.in_(_OWED)
    for invoice in await _all(session, _invoice, owed, _invoice.c.id):
        async for sentence in _invoice_now(ctx, session, invoice):
            yield sentence
    for line in await plain_story(ctx, session, Of.SUBSCRIPTION, row):
        yield line


async def _of_invoice(ctx: Context, session: AsyncSession, row: RowMapping) -> Story:
    async for sentence in _invoice_now(ctx, session, row):
        yield sentence
    for line in await plain_story(ctx, session, Of.INVOICE, row):
        yield line


_OWED: Final = (InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE)


async def _invoice_now(ctx: Context, session: AsyncSession, row: RowMapping) -> Story:
    """Tell how an invoice stands, with the attempt to collect it that is under way, and the next step."""
    amount = _amount(row["total_minor"], row["currency"])
    yield f"Invoice {row['number']} (inv_{row['id']}) of {row['issued_on']} over {amount} is {row['state']}."
    mine = _attempt.c.id.in_(select(_allocation.c.attempt_id).where(_allocation.c.invoice_id == row["id"]))
    for attempt in await _all(session, _attempt, mine & _attempt.c.state.in_(OPEN), _attempt.c.number):
        async for sentence in _attempt_now(ctx, session, attempt):
            yield sentence
    if row["next_step"]:
        yield f"The next step is to {row['next_step']} on {row['next_step_on']}."


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
    async for sentence in _attempt_now(ctx, session, row):
        yield sentence
    for line in await plain_story(ctx, session, Of.ATTEMPT, row):
        yield line


async def _attempt_now(ctx: Context, session: AsyncSession, row: RowMapping) -> Story:
    """Tell how an attempt stands, and how a doubt about it or its operations is resolved."""
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
    under_way = (_operation.c.attempt_id == row["id"]) & _operation.c.state.in_(OPEN)
    for operation in await _all(session, _operation, under_way, _operation.c.id):
        for sentence in _operation_now(operation):
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


_KINDS: Final = {
    "capture": "The capture",
    "reversal": "The reversal",
    "refund": "The refund",
    "credit": "The credit",
    "chargeback": "The chargeback",
    "returned_debit": "The returned debit",
}


async def _of_operation(ctx: Context, session: AsyncSession, row: RowMapping) -> Story:
    for sentence in _operation_now(row):
        yield sentence
    [attempt] = await _all(session, _attempt, _attempt.c.id == row["attempt_id"], _attempt.c.id)
    for line in await plain_story(ctx, session, Of.ATTEMPT, attempt):
        yield line


def _operation_now(row: RowMapping) -> Iterator[str]:
    of = f" of the payment {row['payment_id']}" if row["payment_id"] else ""
    amount = _amount(row["amount_minor"], row["currency"])
    what = f"{_KINDS[row['kind']]} of {amount} (op_{row['id']}, {row['key']}){of} after att_{row['attempt_id']}"
    yield _sentence(what, row, row["evidence"])
    if row["reason"]:
        yield f"It was wanted because: {row['reason']}."
    if row["state"] in OPEN and row["asks"]:
        # Sending counts as the first look.
        yield _asked({**row, "asks": row["asks"] - 1})


async def _all(session: AsyncSession, of: Table, where: ColumnElement[bool], order: Any) -> list[RowMapping]:
    return list((await session.execute(select(of).where(where).order_by(order))).mappings())


def _amount(minor: int, currency: str) -> str:
    return f"{Money(minor, currency).major} {currency}"
