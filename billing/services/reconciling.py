"""Ask the gateways what became of attempts in doubt, on a schedule that respects what each wire allows."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import AfterNothing, Asking, Gateway, NotSent, Outcome, Question, Unknown
from billing.models import Attempt, Checkout, table
from billing.money import Money
from billing.payments import IN_DOUBT, AttemptState
from billing.services.context import Context
from billing.services.operating import bring_forward
from billing.services.repeating import is_repeatable, repeat
from billing.services.settling import News, settle
from billing.services.wording import words_for
from billing.store import PAGE, after_s

_attempt, _checkout = table(Attempt), table(Checkout)


async def ask_about_doubts(ctx: Context) -> Counter[AttemptState]:
    """Ask about every attempt whose question is due, and settle the answers; return what they were.

    Each account is asked as much at once as it takes, and none waits for another. What an account had no
    place for in time is not asked now, and no question is spent on it.
    """
    found: Counter[AttemptState] = Counter()
    full: set[int] = set()
    while not ctx.leaving:
        questions = await _claim(ctx, _is_due() & _attempt.c.gateway_account_id.not_in(full))
        if not questions:
            break
        work = (_ask_all(ctx, mine) for mine in _by_account(questions))
        for done in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
            found += done[0]
            full.update(doubt.row["gateway_account_id"] for doubt in done[1])
    return found


async def ask_about(ctx: Context, attempt_id: int) -> None:
    """Ask about one attempt whose question is due, such as when its customer has just come back."""
    questions = await _claim(ctx, _is_due() & (_attempt.c.id == attempt_id))
    await settle(ctx, [await _ask(ctx, each) for each in questions])


async def ask_now(ctx: Context, attempt_id: int) -> None:
    """Ask the next question about an attempt now; raise `ConflictError` where none is left, or one is under way.

    It is the question that would have come later, and not one more: a gateway lets itself be asked so often only.
    """
    async with ctx.store.write() as session:
        page_open = exists().where(_checkout.c.attempt_id == _attempt.c.id, _checkout.c.closes_at > after_s())
        await bring_forward(session, _attempt, (_attempt.c.id == attempt_id) & ~page_open)
    await ask_about(ctx, attempt_id)


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
    wire allows no new request after it, a person decides.
    """
    if not isinstance(outcome, NotSent):
        return outcome
    if seconds_since_sent < asking.settle_s:
        return Unknown(f"the gateway knows nothing after {seconds_since_sent:.0f} s, which is too early to believe")
    if asking.after_nothing == AfterNothing.PERSON:
        return Unknown(f"the gateway knows nothing, and a person decides: {outcome.reason}")
    return outcome


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A claimed attempt to be asked about; past its deadline somebody else may be at it."""

    row: RowMapping
    gateway: Gateway
    deadline: float


def _by_account(doubts: Sequence[_Doubt]) -> list[list[_Doubt]]:
    found: defaultdict[int, list[_Doubt]] = defaultdict(list)
    for doubt in doubts:
        found[doubt.row["gateway_account_id"]].append(doubt)
    return list(found.values())


async def _ask_all(ctx: Context, doubts: Sequence[_Doubt]) -> tuple[Counter[AttemptState], Sequence[_Doubt]]:
    """Ask an account about each doubt when it has a place, and settle the answers; return what was not asked."""
    places = ctx.gateways.places(doubts[0].row["gateway_account_id"])
    asking: list[asyncio.Task[News]] = []
    for doubt in doubts:
        if not await ctx.take_place(places, doubt.deadline):
            break
        asking.append(asyncio.create_task(_ask(ctx, doubt)))
        asking[-1].add_done_callback(lambda _: places.leave())
    unasked = doubts[len(asking) :]
    handing_back = asyncio.create_task(_hand_back(ctx, unasked))
    found = await settle(ctx, await asyncio.gather(*asking))
    # Only now may it fail: what was asked is answered all the same.
    await handing_back
    return found, unasked


async def _hand_back(ctx: Context, doubts: Sequence[_Doubt]) -> None:
    """Let what was not asked be asked about again, while our claim on it lasts."""
    if not doubts:
        return
    claims = [(doubt.row["id"], doubt.row["asks"] + 1) for doubt in doubts]
    ours = tuple_(_attempt.c.id, _attempt.c.asks).in_(claims) & (_attempt.c.lease_until > after_s())
    unspent = {"asks": _attempt.c.asks - 1, "ask_at": after_s(), "lease_until": None}
    async with ctx.store.write() as session:
        await session.execute(update(_attempt).where(ours, _attempt.c.state.in_(IN_DOUBT)).values(**unspent))


async def _ask(ctx: Context, doubt: _Doubt) -> News:
    try:
        outcome = await _find_out(ctx, doubt)
    except Exception as error:  # noqa: BLE001 - an adapter that breaks has settled nothing
        outcome = Unknown(words_for(error))
    return News(doubt.row["id"], outcome)


async def _find_out(ctx: Context, doubt: _Doubt) -> Outcome:
    """Ask; where the gateway knows nothing of a request of ours, or cannot be asked, repeat that where it is safe."""
    asking = doubt.gateway.abilities.asking
    question = _question(doubt.row, asking)
    repeatable = is_repeatable(doubt.row)
    if asking.by_key or question.gateway_id:
        found = believe(await doubt.gateway.find(question), asking, _seconds_since_sent(doubt.row))
        repeatable &= asking.after_nothing == AfterNothing.SAME_KEY and isinstance(found, NotSent)
    elif doubt.row["closes_at"] is None:
        found = NotSent("nobody ever had the address of the page, so nobody can have paid on it")
    else:
        found = Unknown("a page of which the gateway gave us no number cannot be asked about")
    return await repeat(ctx, doubt.gateway, doubt.row["id"], doubt.deadline) if repeatable else found


def _question(row: RowMapping, asking: Asking) -> Question:
    """Ask by the gateway's id where it is known, but about a hosted page by our key while that may be asked.

    Several tries may have been made on a page, and the id we heard of need not be that of the payment.
    """
    hosted = row["closes_at"] is not None and row["sealed_fields"] is None
    by_key = hosted and asking.by_key and (asking.budget is None or row["asks"] < asking.budget)
    return Question(
        key=row["key"],
        amount=Money(row["amount_minor"], row["currency"]),
        gateway_id="" if by_key else row["gateway_id"],
        asked=row["asks"],
        page=hosted and row["closes_at"] > row["db_now"],
    )


def _seconds_since_sent(row: RowMapping) -> float:
    """Return how long ago it was sent at the latest: one whose sender never came back, by the end of its lease."""
    at = row["lease_until"] if row["state"] == AttemptState.SENT else row["sent_at"]
    return float((row["db_now"] - (at or row["db_now"])).total_seconds())


async def _claim(ctx: Context, wanted: ColumnElement[bool]) -> Sequence[_Doubt]:
    """Count a question before it is asked, so that a crash can only make us ask less than is allowed.

    Until the lease is over the question may be under way, and nobody decides by hand what it may just bring about.
    """
    claimed_at = monotonic()
    async with ctx.store.write() as session:
        due = select(_attempt.c.id).where(wanted).order_by(_attempt.c.id).limit(PAGE)
        ids = [row.id for row in await session.execute(ctx.store.claim(due))]
        if not ids:
            return []
        rows = await _details(session, ids)
        await _count(ctx, session, ids)
        gateways = await ctx.gateways.of(session, {row["gateway_account_id"] for row in rows})
    found = [(row, gateways[row["gateway_account_id"]]) for row in rows]
    return [_Doubt(row, asked, claimed_at + ctx.lease_s - asked.abilities.timeout_s) for row, asked in found]


def _is_due() -> ColumnElement[bool]:
    """A sender that died leaves its attempt `sent` until the lease runs out; the others have a time of their own."""
    abandoned = (_attempt.c.state == AttemptState.SENT) & (_attempt.c.lease_until <= after_s())
    waiting = _attempt.c.state.in_((AttemptState.PENDING, AttemptState.UNKNOWN)) & (_attempt.c.ask_at <= after_s())
    return or_(abandoned, waiting)


async def _details(session: AsyncSession, ids: list[int]) -> Sequence[RowMapping]:
    query = (
        select(_attempt, _checkout.c.closes_at, _checkout.c.sealed_fields, after_s().label("db_now"))
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
    values: dict[str, Any] = {"asks": _attempt.c.asks + 1, "ask_at": after_s(ctx.lease_s)}
    values["lease_until"] = after_s(ctx.lease_s)
    await session.execute(update(_attempt).where(mine).values(**values, sent_at=never_dated))
