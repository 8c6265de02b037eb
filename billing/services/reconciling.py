"""Ask the gateways what became of attempts in doubt, on a schedule that respects what each wire allows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import AfterNothing, Asking, Gateway, NotSent, Outcome, Question, Unknown
from billing.models import Attempt, Checkout, table
from billing.money import Money
from billing.payments import IN_DOUBT, AttemptState
from billing.services.context import Context
from billing.services.settling import News, settle
from billing.store import PAGE, after_s

_attempt, _checkout = table(Attempt), table(Checkout)


async def ask_about_doubts(ctx: Context) -> Counter[AttemptState]:
    """Ask about every attempt whose question is due, and settle the answers; return what they were."""
    found: Counter[AttemptState] = Counter()
    while questions := await _claim(ctx):
        found += await settle(ctx, await asyncio.gather(*(_ask(gateway, row) for gateway, row in questions)))
    return found


async def doubts_left(ctx: Context) -> tuple[int, float | None]:
    """Return how many attempts are in doubt, and in how many seconds the first of them is asked about."""
    next_at = func.min(func.coalesce(_attempt.c.ask_at, _attempt.c.lease_until))
    query = select(func.count(), next_at.label("next_at"), after_s().label("db_now"))
    async with ctx.store.read() as session:
        row = (await session.execute(query.where(_attempt.c.state.in_(IN_DOUBT)))).one()
    return row[0], None if row.next_at is None else max(0.0, (row.next_at - row.db_now).total_seconds())


def believe(outcome: Outcome, asking: Asking, seconds_since_sent: float) -> Outcome:
    """Return what may be concluded from an answer to a question.

    "Nothing there" counts only once the gateway has had the time it needs to know; and where the
    wire does not allow a new key after it, a person decides.
    """
    if not isinstance(outcome, NotSent):
        return outcome
    if seconds_since_sent < asking.settle_s:
        return Unknown(f"nothing there after {seconds_since_sent:.0f} s, which is too early to believe")
    if asking.after_nothing != AfterNothing.NEW_KEY:
        return Unknown(f"the gateway knows nothing, and a person decides: {outcome.reason}")
    return outcome


async def _ask(gateway: Gateway, row: RowMapping) -> News:
    asking = gateway.abilities.asking
    try:
        outcome = await gateway.find(_question(row, asking))
    except Exception as error:  # noqa: BLE001 - an adapter that breaks has settled nothing
        outcome = Unknown(f"{type(error).__name__}: {error}")
    return News(row["id"], believe(outcome, asking, _seconds_since_sent(row)))


def _question(row: RowMapping, asking: Asking) -> Question:
    """Ask by the gateway's id where it is known, but about a page by our key while that may be asked.

    Several tries may have been made on a page, and the id we heard of need not be that of the payment.
    """
    by_key = row["closes_at"] is not None and (asking.budget is None or row["asks"] < asking.budget)
    return Question(
        key=row["key"],
        amount=Money(row["amount_minor"], row["currency"]),
        gateway_id="" if by_key else row["gateway_id"],
        asked=row["asks"],
        page=row["closes_at"] is not None and row["closes_at"] > row["db_now"],
    )


def _seconds_since_sent(row: RowMapping) -> float:
    """Return how long ago it was sent at the latest: one whose sender never came back, by the end of its lease."""
    at = row["lease_until"] if row["state"] == AttemptState.SENT else row["sent_at"]
    return float((row["db_now"] - (at or row["db_now"])).total_seconds())


async def _claim(ctx: Context) -> Sequence[tuple[Gateway, RowMapping]]:
    """Count a question before it is asked, so that a crash can only make us ask less than is allowed."""
    async with ctx.store.write() as session:
        due = select(_attempt.c.id).where(_is_due()).order_by(_attempt.c.id).limit(PAGE)
        ids = [row.id for row in await session.execute(ctx.store.claim(due))]
        if not ids:
            return []
        rows = await _details(session, ids)
        await _count(ctx, session, ids)
        gateways = await ctx.gateways.of(session, {row["gateway_account_id"] for row in rows})
    return [(gateways[row["gateway_account_id"]], row) for row in rows]


def _is_due() -> ColumnElement[bool]:
    """A sender that died leaves its attempt `sent` until the lease runs out; the others have a time of their own."""
    abandoned = (_attempt.c.state == AttemptState.SENT) & (_attempt.c.lease_until <= after_s())
    waiting = _attempt.c.state.in_((AttemptState.PENDING, AttemptState.UNKNOWN)) & (_attempt.c.ask_at <= after_s())
    return or_(abandoned, waiting)


async def _details(session: AsyncSession, ids: list[int]) -> Sequence[RowMapping]:
    query = (
        select(_attempt, _checkout.c.closes_at, after_s().label("db_now"))
        .join_from(_attempt, _checkout, isouter=True)
        .where(_attempt.c.id.in_(ids))
        .order_by(_attempt.c.id)
    )
    rows: Sequence[RowMapping] = (await session.execute(query)).mappings().all()
    return rows


async def _count(ctx: Context, session: AsyncSession, ids: list[int]) -> None:
    mine = _attempt.c.id.in_(ids)
    abandoned = mine & (_attempt.c.state == AttemptState.SENT)
    change = {"state": AttemptState.UNKNOWN, "evidence": "whoever sent it did not come back"}
    await session.execute(update(_attempt).where(abandoned).values(**change, sent_at=_attempt.c.lease_until))
    never_dated = func.coalesce(_attempt.c.sent_at, after_s())
    values: dict[str, Any] = {"asks": _attempt.c.asks + 1, "ask_at": after_s(ctx.lease_s), "lease_until": None}
    await session.execute(update(_attempt).where(mine).values(**values, sent_at=never_dated))
