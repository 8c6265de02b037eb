"""What no gateway answers any more, a person decides: it enters by the same door as every other news."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import RowMapping, Table, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import Approved, NotSent
from billing.models import Attempt, GatewayAccount, Operation, table
from billing.money import Money, MoneyError
from billing.payments import IN_DOUBT, AttemptState
from billing.services import cases
from billing.services.auditing import Actor, audit_about
from billing.services.cases import Case, Record
from billing.services.context import Context
from billing.services.operating import locked_operation, may_be_under_way, settle_operation_within
from billing.services.settling import News, settle_within

_attempt, _operation, _account = table(Attempt), table(Operation), table(GatewayAccount)

_NAME: Final = re.compile(r"(att|op)_(\d{1,18})")
_ID_CHARS_MAX: Final = 64
PROOF_CHARS_MAX: Final = 1000


class DecisionError(ValueError):
    """Something a person may not decide, or not yet; the message says why, and nothing was changed."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a person found out, how, and who it was.

    With a `gateway_id` it was booked: over the amount asked for, or over another `amount` in major units, and
    `reserved` if the money is not captured yet. Without, nothing was booked and nothing will be.
    """

    proof: str
    by: str
    gateway_id: str = ""
    amount: str = ""
    reserved: bool = False

    def __str__(self) -> str:
        what = f"booked as {self.gateway_id}" if self.gateway_id else "not booked"
        return f"settled by hand by {self.by}: {what}; proof: {self.proof}"


async def decide(ctx: Context, name: str, word: Word, actor: Actor | None = None) -> AttemptState:
    """Settle the doubt about an attempt or an operation by a person's word, and return its state now.

    Raises `DecisionError` where it is not in doubt, where somebody may still be at it, and for "not booked"
    as long as the gateway itself could not be believed. What the gateway says later still corrects it.
    """
    async with ctx.store.write() as session:
        state = await decide_within(ctx, session, name, word)
        await audit_about(ctx, session, actor, "settle_doubt", name, state=state, word=str(word))
        return state


async def decide_within(ctx: Context, session: AsyncSession, name: str, word: Word) -> AttemptState:
    """Do the same inside a transaction that somebody else has opened."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise DecisionError(f"{name!r} names nothing that can be in doubt: give att_12 or op_34")
    settle = _settle_attempt if match[1] == "att" else _settle_operation
    return await settle(ctx, session, int(match[2]), _checked(word))


def _checked(word: Word) -> Word:
    word = replace(word, proof=word.proof.strip(), by=word.by.strip(), gateway_id=word.gateway_id.strip())
    if not word.proof or len(word.proof) > PROOF_CHARS_MAX:
        raise DecisionError(f"--proof: say in at most {PROOF_CHARS_MAX} characters how you know it")
    if not word.by:
        raise DecisionError("--by: say who you are")
    if len(word.gateway_id) > _ID_CHARS_MAX:
        raise DecisionError(f"--approved: an id of a gateway has at most {_ID_CHARS_MAX} characters")
    if not word.gateway_id and (word.amount or word.reserved):
        raise DecisionError("--not-booked: what was not booked has no amount and is not reserved")
    return word


# --- attempts ---------------------------------------------------------------


async def _settle_attempt(ctx: Context, session: AsyncSession, attempt_id: int, word: Word) -> AttemptState:
    await _exists(session, _attempt, "att", attempt_id)
    await cases.load(ctx, session, [attempt_id])
    # Read again under the locks: a page may have opened while we waited for them.
    case = (await cases.load(ctx, session, [attempt_id]))[attempt_id]
    _check_doubt(case.name, case.attempt, case.heard_at)
    outcome = await _booked(ctx, session, case, word) if word.gateway_id else _not_booked(case, word)
    await settle_within(ctx, session, [News(attempt_id, outcome)])
    return await _keep(session, _attempt, attempt_id, word)


async def _booked(ctx: Context, session: AsyncSession, case: Case, word: Word) -> Approved:
    """Return what was booked. One payment at a gateway is the proof of one attempt only."""
    account_id = case.attempt["gateway_account_id"]
    await session.execute(ctx.store.lock(select(_account.c.id).where(_account.c.id == account_id)))
    same = (_attempt.c.gateway_account_id == account_id) & (_attempt.c.gateway_id == word.gateway_id)
    query = select(_attempt.c.id).where(same, _attempt.c.id != case.attempt["id"]).limit(1)
    if (other := (await session.execute(query)).scalar()) is not None:
        raise DecisionError(f"--approved: {word.gateway_id} is the payment of att_{other}")
    return Approved(word.gateway_id, _amount(case, word), captured=not word.reserved)


def _amount(case: Case, word: Word) -> Money:
    if not word.amount:
        return case.amount
    try:
        amount = Money.parse(word.amount, case.amount.currency)
    except MoneyError as error:
        raise DecisionError(f"--amount: {error}") from None
    if not amount > amount * 0:
        raise DecisionError(f"--amount: {word.amount} is nothing that could have been booked")
    return amount


def _not_booked(case: Case, word: Word) -> NotSent:
    """Return that nothing was booked, once the gateway must know by itself what was."""
    if case.page_open:
        raise DecisionError(f"the customer can still pay on the page of {case.name}: wait until it has closed")
    held = case.attempt
    sent_at = held["lease_until"] if case.state == AttemptState.SENT else held["sent_at"]
    if sent_at is None:
        raise DecisionError(f"nobody has asked the gateway about {case.name} yet: run `turnus reconcile` first")
    wait_s = case.asking.settle_s - (case.heard_at - sent_at).total_seconds()
    if wait_s > 0:
        raise DecisionError(f"the gateway itself may not know yet what became of {case.name}: wait {wait_s:.0f} s")
    return NotSent(str(word))


# --- operations -------------------------------------------------------------


async def _settle_operation(ctx: Context, session: AsyncSession, operation_id: int, word: Word) -> AttemptState:
    await _exists(session, _operation, "op", operation_id)
    row = await locked_operation(ctx, session, operation_id)
    _check_doubt(f"op_{operation_id}", row, row["db_now"])
    if word.amount or word.reserved:
        raise DecisionError(f"op_{operation_id} has the amount it has")
    gateways = await ctx.gateways.of(session, [row["gateway_account_id"]])
    asking = gateways[row["gateway_account_id"]].abilities.asking
    if not word.gateway_id and may_be_under_way(ctx, row, asking):
        raise DecisionError(f"the gateway itself may not know yet what became of op_{operation_id}: wait some minutes")
    amount = Money(row["amount_minor"], row["currency"])
    outcome = Approved(word.gateway_id, amount) if word.gateway_id else NotSent(str(word))
    await settle_operation_within(ctx, session, operation_id, outcome)
    return await _keep(session, _operation, operation_id, word)


# --- both -------------------------------------------------------------------


async def _exists(session: AsyncSession, of: Table, kind: str, id_: int) -> None:
    if (await session.execute(select(of.c.id).where(of.c.id == id_))).scalar() is None:
        raise DecisionError(f"there is no {kind}_{id_}")


def _check_doubt(name: str, row: RowMapping | Record, now: datetime) -> None:
    """Refuse what is not in doubt, and what somebody may be at: who sends it, or asks about it just now."""
    if row["state"] not in IN_DOUBT:
        raise DecisionError(f"{name} is not in doubt: it is {row['state']}")
    lease_until = row["lease_until"]
    if lease_until is not None and lease_until > now:
        wait = (lease_until - now) // timedelta(seconds=1) + 1
        raise DecisionError(f"somebody may be at {name} just now: wait {wait} s")


async def _keep(session: AsyncSession, of: Table, id_: int, word: Word) -> AttemptState:
    """Write down who said it and why, beside what came of it."""
    mine = update(of).where(of.c.id == id_).values(evidence=str(word)).returning(of.c.state)
    return AttemptState((await session.execute(mine)).scalar_one())
