"""Captures, reversals and refunds: what a payment still owes, done once and tracked until it is confirmed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, ScalarSelect, and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import ledger
from billing.gateway import (
    Approved,
    Booked,
    Declined,
    Gateway,
    MisuseError,
    NotSent,
    OperationKind,
    Outcome,
    Question,
    Refused,
    Unknown,
)
from billing.ledger import Account
from billing.models import Allocation, Attempt, Operation, Verification, VerificationState, new_row, table
from billing.money import Money
from billing.payments import AttemptState, absorb
from billing.services import cases
from billing.services.cases import operation_key
from billing.services.context import Context, Moment, moments
from billing.services.messaging import NewMessage, queue
from billing.services.posting import Posted, post_once
from billing.services.tasking import NewTask, raise_tasks
from billing.store import PAGE, after_s

_operation, _attempt = table(Operation), table(Attempt)
_allocation, _verification = table(Allocation), table(Verification)

# A reversal that fails is tried again after these waits, and then a person is asked.
RETRY_DELAYS_S: Final = (0, 60, 600, 3600, 6 * 3600, 24 * 3600)
# Sending counts as the first look, so this is the second question, at least ten minutes after it.
LOOKS_MIN: Final = 2
_ASKABLE: Final = (AttemptState.SENT, AttemptState.PENDING, AttemptState.UNKNOWN)


async def run_operations(ctx: Context) -> Counter[str]:
    """Do what is owed and ask about what is in doubt; return how many operations came to which state."""
    done: Counter[str] = Counter()
    while claimed := await _claim(ctx):
        for gateway, row in claimed:
            done[f"{row['kind']} {await settle_operation(ctx, row['id'], await _do(gateway, row))}"] += 1
    return done


async def settle_operation(ctx: Context, operation_id: int, outcome: Outcome) -> AttemptState:
    """Take news of an operation into the books: the one door for it, as `settling` is for attempts."""
    async with ctx.store.write() as session:
        return await settle_operation_within(ctx, session, operation_id, outcome)


async def settle_operation_within(
    ctx: Context, session: AsyncSession, operation_id: int, outcome: Outcome
) -> AttemptState:
    """Do the same inside a transaction that somebody else has opened."""
    row = await _locked(ctx, session, operation_id)
    held = AttemptState(row["state"])
    state = absorb(AttemptState.SENT if held == AttemptState.CREATED else held, outcome)
    await _write(session, row, state, outcome)
    if state != held:
        await _follow(ctx, session, row, outcome)
    return state


async def _claim(ctx: Context) -> Sequence[tuple[Gateway, RowMapping]]:
    """Take a page of operations that are to be sent or asked about, under a lease."""
    async with ctx.store.write() as session:
        due = select(_operation.c.id).where(_is_due()).order_by(_operation.c.id).limit(PAGE)
        ids = [row.id for row in await session.execute(ctx.store.claim(due))]
        if not ids:
            return []
        rows = await _details(session, ids)
        lease = {"lease_until": after_s(ctx.lease_s), "ask_at": after_s(ctx.lease_s), "asks": _operation.c.asks + 1}
        mine = _operation.c.id.in_(ids)
        await session.execute(update(_operation).where(mine).values(state=AttemptState.SENT, **lease))
        gateways = await ctx.gateways.of(session, {row["gateway_account_id"] for row in rows})
    return [(gateways[row["gateway_account_id"]], row) for row in rows]


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
            _attempt.c.gateway_id.label("payment_id"),
            _attempt.c.amount_minor.label("payment_minor"),
            _attempt.c.gateway_account_id,
            _attempt.c.merchant_id,
            _attempt.c.customer_id,
            _attempt.c.captured,
            _attempt.c.business_at,
            _allocation.c.verification_id,
            _allocation.c.invoice_id,
            _settled_before().label("settled_before"),
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
    alike = [other.c[name] == _operation.c[name] for name in ("attempt_id", "kind", "amount_minor")]
    query = select(func.count()).where(other.c.state == AttemptState.APPROVED, *alike)
    return query.correlate(_operation).scalar_subquery()


async def _do(gateway: Gateway, row: RowMapping) -> Outcome:
    """Send the operation once; what was sent before is only asked about."""
    try:
        if row["state"] == AttemptState.CREATED:
            return await _send(gateway, row)
        return _believe(await gateway.find(_question(row)), row)
    except MisuseError as error:
        return NotSent(f"{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - money may have moved, so whatever broke is a doubt
        return Unknown(f"{type(error).__name__}: {error}")


def _believe(found: Outcome, row: RowMapping) -> Outcome:
    """Return what may be concluded: the first "nothing there" comes too early, and giving back twice is dear."""
    if isinstance(found, NotSent) and row["asks"] < LOOKS_MIN:
        return Unknown(f"{found.reason}, which is too early to believe")
    return found


async def _send(gateway: Gateway, row: RowMapping) -> Outcome:
    amount = Money(row["amount_minor"], row["currency"])
    booked = Booked(row["attempt_key"], row["payment_id"], Money(row["payment_minor"], row["currency"]))
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
        gateway_id=row["payment_id"],
        asked=row["asks"],
        operation=OperationKind(row["kind"]),
        operation_key=row["key"],
        settled_before=row["settled_before"],
    )


async def _locked(ctx: Context, session: AsyncSession, operation_id: int) -> RowMapping:
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


async def _follow(ctx: Context, session: AsyncSession, row: RowMapping, outcome: Outcome) -> None:
    moment = (await moments(ctx, session, [row["merchant_id"]]))[row["merchant_id"]].not_before(row["business_at"])
    if isinstance(outcome, Approved):
        await _confirm(session, row, moment)
    elif isinstance(outcome, Declined | Refused | NotSent):
        await _owe_again(session, row, moment, outcome)


async def _confirm(session: AsyncSession, row: RowMapping, moment: Moment) -> None:
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
    kind = _kind_after(row, outcome)
    wait_s = 0 if number == 1 else RETRY_DELAYS_S[number]
    again = new_row(
        Operation,
        attempt_id=row["attempt_id"],
        kind=kind,
        key=operation_key(row["attempt_key"], kind, number + 1),
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        tries=number,
        created_at=moment.now,
    )
    del again["ask_at"]
    await session.execute(insert(_operation).values(**again, ask_at=after_s(wait_s)))


def _kind_after(row: RowMapping, outcome: Outcome) -> OperationKind:
    """Return what to try next: a reservation that was booked meanwhile needs a refund, and the other way round."""
    kind = OperationKind(row["kind"])
    if kind == OperationKind.CAPTURE or not isinstance(outcome, Declined):
        return kind
    return OperationKind.REFUND if kind == OperationKind.REVERSAL else OperationKind.REVERSAL
