"""Captures, reversals and refunds: what a payment still owes, done once and tracked until it is confirmed."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    ScalarSelect,
    Table,
    and_,
    case,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from billing import ledger
from billing.events import of_operation
from billing.gateway import (
    Approved,
    Asking,
    Booked,
    Declined,
    Gateway,
    MisuseError,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    Question,
    Refused,
    Unknown,
)
from billing.ledger import Account
from billing.models import Allocation, Attempt, Operation, Verification, VerificationState, new_row, table
from billing.money import Money
from billing.payments import OPEN, AttemptState, absorb, found_out
from billing.services import cases
from billing.services.cases import operation_key
from billing.services.context import Context, Moment, moments
from billing.services.holding import end_surplus, holding_of
from billing.services.messaging import NewMessage, queue
from billing.services.posting import Posted, post_once
from billing.services.refusing import ConflictError
from billing.services.tasking import NewTask, end_tasks, raise_tasks
from billing.services.telling import NewEvent, tell
from billing.services.wording import words_for
from billing.store import PAGE, after_s

_operation, _attempt = table(Operation), table(Attempt)
_allocation, _verification = table(Allocation), table(Verification)

# A reversal that fails is tried again after these waits, and then a person is asked.
RETRY_DELAYS_S: Final = (0, 60, 600, 3600, 6 * 3600, 24 * 3600)
# Sending counts as the first look, so this is the second question, at least ten minutes after it.
LOOKS_MIN: Final = 2
SILENCE_S: Final = 600
PERSON_WAITS_S: Final = 10.0
"""So long somebody who looks at a page waits for a place; then it is done by the next look at what is owed."""
# After so many looks, a good day after it was sent, a person is asked as well.
LOOKS_BEFORE_A_PERSON: Final = 6
_GIVING_BACK: Final = (OperationKind.REFUND, OperationKind.CREDIT)
_ASKABLE: Final = (AttemptState.SENT, AttemptState.PENDING, AttemptState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Errand:
    """A claimed operation; past its deadline somebody else may be at it, and nothing is sent or asked."""

    row: RowMapping
    gateway: Gateway
    booked: Booked
    deadline: float


async def run_operations(ctx: Context, attempt_id: int | None = None) -> Counter[str]:
    """Do what is owed and ask about what is in doubt, of all attempts or of one; count them by state.

    Each leaves when its account has a place for it, one after the other, and no account waits for another's. What got
    no place in time is handed back for whoever comes next; with an attempt a person waits, and not for long.
    """
    done: Counter[str] = Counter()
    full: set[int] = set()
    wait_s = inf if attempt_id is None else PERSON_WAITS_S
    wanted = _is_due() if attempt_id is None else _is_due() & (_operation.c.attempt_id == attempt_id)
    while not ctx.leaving:
        errands = await _claim(ctx, wanted & _attempt.c.gateway_account_id.not_in(full))
        if errands is None:
            break
        work = (_do_all(ctx, mine, wait_s, done) for mine in _by_account(errands))
        for left in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(left, BaseException):
                raise left
            full.update(errand.row["gateway_account_id"] for errand in left)
    return done


def _by_account(errands: Sequence[_Errand]) -> list[list[_Errand]]:
    found: defaultdict[int, list[_Errand]] = defaultdict(list)
    for errand in errands:
        found[errand.row["gateway_account_id"]].append(errand)
    return list(found.values())


async def _do_all(ctx: Context, errands: Sequence[_Errand], wait_s: float, done: Counter[str]) -> Sequence[_Errand]:
    """Do each of an account's when there is a place for it; hand back and return those for which there was none."""
    places = ctx.gateways.places(errands[0].row["gateway_account_id"])
    for number, errand in enumerate(errands):
        if monotonic() > errand.deadline:
            continue
        if not await ctx.take_place(places, min(errand.deadline, monotonic() + wait_s)):
            await _hand_back(ctx, errands[number:])
            return errands[number:]
        try:
            outcome = await _do(ctx, errand)
        finally:
            places.leave()
        state = await settle_operation(ctx, errand.row["id"], outcome)
        done[f"{errand.row['kind']} {state}"] += 1
    return ()


async def ask_now(ctx: Context, operation_id: int) -> None:
    """Ask the next question about an operation now; raise `ConflictError` where there is none, or one is under way."""
    async with ctx.store.write() as session:
        attempt_id = await bring_forward(session, _operation, _operation.c.id == operation_id, _operation.c.attempt_id)
    await run_operations(ctx, attempt_id)


async def bring_forward(
    session: AsyncSession, of: Table, wanted: ColumnElement[bool], told: ColumnElement[int] | None = None
) -> int:
    """Make the next question about one thing in doubt due now, and return its id, or what else of it is to be told."""
    waits = of.c.state.in_((AttemptState.PENDING, AttemptState.UNKNOWN)) & of.c.ask_at.is_not(None)
    is_free = of.c.lease_until.is_(None) | (of.c.lease_until <= after_s())
    due = update(of).where(wanted, waits, is_free).values(ask_at=after_s())
    found = (await session.execute(due.returning(of.c.id if told is None else told))).scalar()
    if found is None:
        raise ConflictError(
            "the gateway cannot be asked now: no question is left, one is under way, or a customer is still paying"
        )
    return int(found)


async def settle_operation(ctx: Context, operation_id: int, outcome: Outcome) -> AttemptState:
    """Take news of an operation into the books: the one door for it, as `settling` is for attempts."""
    async with ctx.store.write() as session:
        return await settle_operation_within(ctx, session, operation_id, outcome)


async def settle_operation_within(
    ctx: Context, session: AsyncSession, operation_id: int, outcome: Outcome
) -> AttemptState:
    """Do the same inside a transaction that somebody else has opened."""
    row = await locked_operation(ctx, session, operation_id)
    held = AttemptState(row["state"])
    state = absorb(AttemptState.SENT if held == AttemptState.CREATED else held, outcome)
    if held in OPEN or state != held:
        await _write(session, row, state, outcome)
    if state != held:
        await _follow(ctx, session, row, outcome)
    if state in _ASKABLE and row["asks"] >= LOOKS_BEFORE_A_PERSON:
        await _despair(ctx, session, row, outcome)
    return state


async def _claim(ctx: Context, wanted: ColumnElement[bool]) -> Sequence[_Errand] | None:
    """Take a page of operations that are to be sent or asked about, under a lease; None where there is none.

    Their attempts are locked with them, so that the last look at what we hold is not overtaken by news. What
    was sent by somebody who did not come back is a doubt: an answer to a question cannot refuse it any more.
    """
    claimed_at = monotonic()
    async with ctx.store.write() as session:
        due = select(_operation.c.id).join_from(_operation, _attempt, _attempt.c.id == _operation.c.attempt_id)
        due = due.where(wanted).order_by(_operation.c.id).limit(PAGE)
        ids = [row.id for row in await session.execute(ctx.store.claim(due, _operation, _attempt))]
        if not ids:
            return None
        looked_at = [(row, await _look_again(session, row)) for row in await _details(session, ids)]
        gateways = await ctx.gateways.of(session, {row["gateway_account_id"] for row, _ in looked_at})
        await _withdraw(session, [row["id"] for row, booked in looked_at if booked is None])
        going = [(row, booked) for row, booked in looked_at if booked is not None]
        await _lease(ctx, session, [row["id"] for row, _ in going])
    found = [(row, gateways[row["gateway_account_id"]], booked) for row, booked in going]
    return [_Errand(*each, claimed_at + ctx.lease_s - each[1].abilities.timeout_s) for each in found]


async def _lease(ctx: Context, session: AsyncSession, ids: Sequence[int]) -> None:
    values: dict[str, Any] = {
        "state": case(
            (_operation.c.state == AttemptState.CREATED, AttemptState.SENT),
            (_operation.c.state == AttemptState.SENT, AttemptState.UNKNOWN),
            else_=_operation.c.state,
        ),
        "sent_at": case((_operation.c.state == AttemptState.CREATED, after_s()), else_=_operation.c.sent_at),
        "lease_until": after_s(ctx.lease_s),
        "ask_at": after_s(ctx.lease_s),
        "asks": _operation.c.asks + 1,
    }
    await session.execute(update(_operation).where(_operation.c.id.in_(ids)).values(**values))


async def _hand_back(ctx: Context, errands: Sequence[_Errand]) -> None:
    """Let others do and ask at once what this process has claimed and not begun, while its claim lasts."""
    claims = [(errand.row["id"], errand.row["asks"] + 1) for errand in errands]
    new = [errand.row["id"] for errand in errands if errand.row["state"] == AttemptState.CREATED]
    asked = [errand.row["id"] for errand in errands if errand.row["state"] != AttemptState.CREATED]
    ours: dict[str, Any] = {"lease_until": None, "asks": _operation.c.asks - 1}
    still = tuple_(_operation.c.id, _operation.c.asks).in_(claims) & (_operation.c.lease_until > after_s())
    mine = update(_operation).where(still)
    waits = {"state": AttemptState.CREATED, "sent_at": None, "ask_at": None}
    async with ctx.store.write() as session:
        fresh = mine.where(_operation.c.id.in_(new), _operation.c.state == AttemptState.SENT)
        await session.execute(fresh.values(**ours, **waits))
        doubtful = mine.where(_operation.c.id.in_(asked), _operation.c.state.in_(_ASKABLE))
        await session.execute(doubtful.values(**ours, ask_at=after_s()))


async def _look_again(session: AsyncSession, row: RowMapping) -> Booked | None:
    """Return the payment as the gateway has booked it, or nothing where we do not hold what is to be given back.

    A bank may have taken the money back since it was decided to give it back. A verification is not looked
    at: what it took is owed in any case.
    """
    paid, given_back_minor = Money(row["payment_minor"], row["currency"]), int(row["given_back_minor"])
    if row["kind"] == OperationKind.REFUND and row["verification_id"] is None:
        attempt = {"id": row["attempt_id"], "key": row["attempt_key"], "currency": row["currency"]}
        holding = await holding_of(session, attempt, row["payment_id"], besides=row["id"])
        paid = holding.came_in
        if row["state"] == AttemptState.CREATED and holding.left.minor < row["amount_minor"]:
            return None
    return Booked(row["attempt_key"], row["named"], paid, given_back_minor)


async def _withdraw(session: AsyncSession, ids: Sequence[int]) -> None:
    gone = {"state": AttemptState.WITHDRAWN, "evidence": "we do not hold that much of it any more"}
    mine = update(_operation).where(_operation.c.id.in_(ids))
    await session.execute(mine.values(**gone, decided_at=after_s(), ask_at=None))


def _is_due() -> ColumnElement[bool]:
    fresh = and_(
        _operation.c.state == AttemptState.CREATED,
        or_(_operation.c.ask_at.is_(None), _operation.c.ask_at <= after_s()),
    )
    return or_(fresh, _operation.c.state.in_(_ASKABLE) & (_operation.c.ask_at <= after_s()))


async def _details(session: AsyncSession, ids: Sequence[int]) -> Sequence[RowMapping]:
    query = (
        select(
            *_operation.c,
            _attempt.c.key.label("attempt_key"),
            case((_operation.c.payment_id == "", _attempt.c.gateway_id), else_=_operation.c.payment_id).label("named"),
            _attempt.c.amount_minor.label("payment_minor"),
            _attempt.c.gateway_account_id,
            _attempt.c.merchant_id,
            _attempt.c.customer_id,
            _attempt.c.captured,
            _attempt.c.business_at,
            _allocation.c.verification_id,
            _allocation.c.invoice_id,
            _settled_before().label("settled_before"),
            _given_back("done", _operation.c.kind).label("settled_minor"),
            _given_back("back", *_GIVING_BACK).label("given_back_minor"),
            after_s().label("db_now"),
        )
        .join_from(_operation, _attempt, _attempt.c.id == _operation.c.attempt_id)
        .join(_allocation, _allocation.c.attempt_id == _attempt.c.id)
        .where(_operation.c.id.in_(ids), _allocation.c.position == 0)
        .order_by(_operation.c.id)
    )
    rows: Sequence[RowMapping] = (await session.execute(query)).mappings().all()
    return rows


def _settled_before() -> ScalarSelect[int]:
    """Count the operations like this one on the payment that are known to be done."""
    other = _operation.alias("other")
    alike = [other.c[name] == _operation.c[name] for name in ("attempt_id", "payment_id", "kind", "amount_minor")]
    query = select(func.count()).where(other.c.state == AttemptState.APPROVED, *alike)
    return query.correlate(_operation).scalar_subquery()


def _given_back(name: str, *kinds: Any) -> Any:
    """Add up the operations of these kinds on the payment that are known to be done."""
    other = _operation.alias(name)
    mine = [other.c[name] == _operation.c[name] for name in ("attempt_id", "payment_id")]
    mine += [other.c.state == AttemptState.APPROVED, other.c.kind.in_(kinds)]
    total = select(func.coalesce(func.sum(other.c.amount_minor), 0)).where(*mine)
    return total.correlate(_operation).scalar_subquery()


async def _do(ctx: Context, errand: _Errand) -> Outcome:
    """Send the operation once; what was sent before, or may have been before a restore, is asked about."""
    asks = errand.row["state"] != AttemptState.CREATED
    claim_lasts_s = errand.deadline + errand.gateway.abilities.timeout_s - monotonic()
    try:
        async with asyncio.timeout(claim_lasts_s):
            known = await _ask(ctx, errand) if asks or ctx.ask_first else NotSent("it is new")
            return known if asks or not isinstance(known, NotSent) else await _send(errand)
    except MisuseError as error:
        reason = words_for(error)
        return Unknown(reason) if asks else NotSent(reason)
    except Exception as error:  # noqa: BLE001 - money may have moved, so whatever broke is a doubt
        return Unknown(words_for(error))


async def _ask(ctx: Context, errand: _Errand) -> Outcome:
    """Ask what became of it. A gateway that rejects our question has said nothing about the operation."""
    found = found_out(await errand.gateway.find(_question(errand.row)))
    if isinstance(found, NotSent) and errand.row["state"] != AttemptState.CREATED and _is_early(ctx, errand):
        return Unknown(f"{found.reason}, which is too early to believe")
    return found


def _is_early(ctx: Context, errand: _Errand) -> bool:
    """Answer whether "nothing there" comes too early: giving back twice is dear."""
    return errand.row["asks"] < LOOKS_MIN or may_be_under_way(ctx, errand.row, errand.gateway.abilities.asking)


def may_be_under_way(ctx: Context, row: RowMapping, asking: Asking) -> bool:
    """Answer whether the gateway may not know of an operation yet that was sent in the last moment of its claim."""
    if row["sent_at"] is None:
        return False
    waited_s = (row["db_now"] - row["sent_at"]).total_seconds()
    return bool(waited_s < max(SILENCE_S, ctx.lease_s + asking.settle_s))


async def _send(errand: _Errand) -> Outcome:
    row, gateway, booked = errand.row, errand.gateway, errand.booked
    amount = Money(row["amount_minor"], row["currency"])
    match OperationKind(row["kind"]):
        case OperationKind.CAPTURE:
            return await gateway.capture(booked, amount, row["key"])
        case OperationKind.REVERSAL:
            return await gateway.reverse(booked, row["key"])
        case _:
            return await gateway.refund(booked, amount, row["key"])


def _question(row: RowMapping) -> Question:
    return Question(
        key=row["attempt_key"],
        amount=Money(row["amount_minor"], row["currency"]),
        gateway_id=row["named"],
        asked=row["asks"],
        operation=OperationKind(row["kind"]),
        operation_key=row["key"],
        settled_before=row["settled_before"],
        settled_minor=int(row["settled_minor"]),
    )


async def locked_operation(ctx: Context, session: AsyncSession, operation_id: int) -> RowMapping:
    """Lock the operation behind its attempt and all that one pays, as everywhere, and read them."""
    attempt_id = (
        await session.execute(select(_operation.c.attempt_id).where(_operation.c.id == operation_id))
    ).scalar_one()
    await cases.load(ctx, session, [attempt_id])
    await session.execute(ctx.store.lock(select(_operation.c.id).where(_operation.c.id == operation_id)))
    return (await _details(session, [operation_id]))[0]


async def _write(session: AsyncSession, row: RowMapping, state: AttemptState, outcome: Outcome) -> None:
    in_doubt = state in (AttemptState.UNKNOWN, AttemptState.PENDING)
    waits = RETRY_DELAYS_S[min(row["asks"], len(RETRY_DELAYS_S) - 1)]
    values: dict[str, Any] = {
        "state": state,
        "lease_until": None,
        "ask_at": after_s(waits) if in_doubt else None,
        "evidence": _evidence(outcome),
        "gateway_id": outcome.gateway_id if isinstance(outcome, Approved) else "",
        "decided_at": None if in_doubt else after_s(),
    }
    await session.execute(update(_operation).where(_operation.c.id == row["id"]).values(**values))


def _evidence(outcome: Outcome) -> str:
    match outcome:
        case Approved():
            return ""
        case Declined():
            return f"{outcome.code} {outcome.text}".strip()
        case Refused():
            return f"{outcome.code}: {outcome.reason}"
        case NotSent() | Unknown():
            return outcome.reason
        case _:
            return outcome.evidence


async def _moment(ctx: Context, session: AsyncSession, row: RowMapping) -> Moment:
    return (await moments(ctx, session, [row["merchant_id"]]))[row["merchant_id"]].not_before(row["business_at"])


async def _despair(ctx: Context, session: AsyncSession, row: RowMapping, outcome: Outcome) -> None:
    """Ask a person about an operation that many questions have not settled; the gateway is asked on and on."""
    amount = Money(row["amount_minor"], row["currency"])
    what = f"{row['kind']} {row['key']} of {amount.major} {amount.currency} on the payment {row['named']}"
    reason = f"{what}, key {row['attempt_key']}: asked {row['asks']} times, last heard: {_evidence(outcome)}"
    task = NewTask(row["merchant_id"], "doubt", f"op_{row['id']}", reason)
    await raise_tasks(session, [task], (await _moment(ctx, session, row)).now)


async def _follow(ctx: Context, session: AsyncSession, row: RowMapping, outcome: Outcome) -> None:
    moment = await _moment(ctx, session, row)
    if not isinstance(outcome, Pending | Unknown):
        await end_tasks(session, ["doubt"], [f"op_{row['id']}"])
    if isinstance(outcome, Approved):
        await _confirm(ctx, session, row, moment)
    elif isinstance(outcome, Declined | Refused | NotSent):
        await _owe_again(session, row, moment, outcome)


async def _confirm(ctx: Context, session: AsyncSession, row: RowMapping, moment: Moment) -> None:
    """Book what was done, and let a verification go once its amount is free again."""
    kind = OperationKind(row["kind"])
    if kind == OperationKind.CAPTURE:
        await session.execute(update(_attempt).where(_attempt.c.id == row["attempt_id"]).values(captured=True))
        return
    if row["verification_id"] is not None:
        await _release(session, row, moment)
    else:
        group = ledger.refund(row["key"], Money(row["amount_minor"], row["currency"]), Account.CUSTOMER_CREDIT)
        await post_once(session, [_posted(row, moment, group)])
        await end_surplus(session, row["attempt_id"], row["currency"])
        if news := of_operation(kind):
            await tell(ctx, session, [NewEvent(row["merchant_id"], news, "op", row["id"], moment.now)])


async def _release(session: AsyncSession, row: RowMapping, moment: Moment) -> None:
    """End a verification: money that was really booked goes out of the books again, and the customer is told."""
    amount = Money(row["amount_minor"], row["currency"])
    if row["kind"] == OperationKind.REFUND or row["captured"]:
        groups = (ledger.held(row["attempt_key"], amount), ledger.released(row["attempt_key"], amount))
        await post_once(session, [_posted(row, moment, group) for group in groups])
    mine = _verification.c.id == row["verification_id"]
    change = {"state": VerificationState.RELEASED, "released_at": moment.now}
    await session.execute(update(_verification).where(mine).values(**change))
    cause, context = f"ver_{row['verification_id']}", {"verification_id": row["verification_id"]}
    message = NewMessage(row["merchant_id"], row["customer_id"], cause, "renewed", moment.now, context)
    await queue(session, [message])


def _posted(row: RowMapping, moment: Moment, group: ledger.Group) -> Posted:
    about = (row["merchant_id"], row["customer_id"], moment.today, moment.now)
    return Posted(group, *about, row["invoice_id"], row["attempt_id"])


async def _owe_again(session: AsyncSession, row: RowMapping, moment: Moment, outcome: Outcome) -> None:
    """Owe it again, until it has failed so often that a person is asked."""
    number = row["tries"] + 1
    if number >= len(RETRY_DELAYS_S):
        reason = f"{row['kind']} fails: {_evidence(outcome)}"
        task = NewTask(row["merchant_id"], "operation", f"op_{row['id']}", reason)
        await raise_tasks(session, [task], moment.now)
        return
    wait_s = 0 if number == 1 else RETRY_DELAYS_S[number]
    amount = Money(row["amount_minor"], row["currency"])
    again: dict[str, Any] = {"payment_id": row["payment_id"], "reason": row["reason"], "tries": number}
    again |= {"attempt_id": row["attempt_id"], "created_at": moment.now}
    await owe(session, row["attempt_key"], _kind_after(row, outcome), amount, wait_s, **again)


async def owe(
    session: AsyncSession, key: str, kind: OperationKind, amount: Money, wait_s: float, *, attempt_id: int, **more: Any
) -> int:
    """Owe an operation on an attempt that is locked and has none open; return its id.

    Its key is derived, so that after a restore from a backup it is the same again.
    """
    before = select(func.count()).where(_operation.c.attempt_id == attempt_id)
    number = (await session.execute(before)).scalar_one() + 1
    row = new_row(
        Operation,
        attempt_id=attempt_id,
        kind=kind,
        key=operation_key(key, kind, number),
        amount_minor=amount.minor,
        currency=amount.currency,
        **more,
    )
    del row["ask_at"]
    made = insert(_operation).values(**row, ask_at=after_s(wait_s)).returning(_operation.c.id)
    return int((await session.execute(made)).scalar_one())


def _kind_after(row: RowMapping, outcome: Outcome) -> OperationKind:
    """Return what to try next: a reservation that was booked meanwhile needs a refund, and the other way round."""
    kind = OperationKind(row["kind"])
    if kind == OperationKind.CAPTURE or not isinstance(outcome, Declined):
        return kind
    if kind == OperationKind.REVERSAL:
        return OperationKind.REFUND
    # A reversal knows no amount, so it stands in for a refund only where all of the payment goes back.
    whole = row["amount_minor"] == row["payment_minor"] and not row["payment_id"] and not row["given_back_minor"]
    return OperationKind.REVERSAL if whole else kind
