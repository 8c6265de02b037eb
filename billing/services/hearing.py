"""Notifications: verified, stored raw, answered, and only then settled."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from billing import invoices, ledger
from billing.gateway import Approved, Declined, ForgeryError, Notice, OperationKind, RawMessage
from billing.invoices import InvoiceState
from billing.ledger import Account
from billing.lifecycle import move
from billing.models import (
    Allocation,
    Attempt,
    GatewayAccount,
    Invoice,
    Notification,
    NotificationState,
    Operation,
    Posting,
    Verification,
    VerificationState,
    new_row,
    table,
)
from billing.money import Money
from billing.payments import OPEN, AttemptState
from billing.services import cases
from billing.services.cases import operation_key
from billing.services.context import Context, Moment, moments
from billing.services.operating import settle_operation_within
from billing.services.posting import Posted, post_once
from billing.services.settling import News, settle_within
from billing.services.tasking import NewTask, raise_tasks
from billing.store import PAGE, after_s, insert_unless

_notification, _attempt, _operation = table(Notification), table(Attempt), table(Operation)
_invoice, _allocation = table(Invoice), table(Allocation)

BODY_BYTES_MAX: Final = 64 * 1024
FORGED_PER_HOUR_MAX: Final = 100
_KEPT_HEADERS: Final = frozenset({"content-type", "user-agent", "date"})
_TAKEN_BACK: Final = (OperationKind.CHARGEBACK, OperationKind.RETURNED_DEBIT)


@dataclass(frozen=True, slots=True)
class Heard:
    """What to answer a gateway, and the notification to settle afterwards."""

    status: int
    body: str
    notification_id: int | None = None


async def receive(ctx: Context, account_id: int, proof: str, message: RawMessage) -> Heard:
    """Verify and store a notification, and say what to answer; nothing else happens yet.

    `message.proven_key` comes in as the key in the address, and is believed only with our proof of it.
    """
    if len(message.body) + len(message.query) > BODY_BYTES_MAX:
        return Heard(413, "too large")
    async with ctx.store.write() as session:
        gateway = (await ctx.gateways.of(session, [account_id])).get(account_id)
        if gateway is None:
            return Heard(404, "no such account")
        try:
            notice = gateway.read_notification(_proven(ctx, account_id, proof, message))
        except ForgeryError as error:
            await _keep_forgery(session, account_id, message, str(error))
            return Heard(400, gateway.acknowledge(accepted=False))
        notification_id = await _keep(session, account_id, notice, message)
        return Heard(200, gateway.acknowledge(accepted=True), notification_id)


async def settle_notification(ctx: Context, notification_id: int) -> NotificationState:
    """Take a stored notification into the books; one that cannot be understood stays visible as open work."""
    try:
        return await _settle_by(ctx, notification_id, _act)
    except OperationalError:
        raise  # the database was busy or away, and the next look finds it as it is
    except Exception as error:  # noqa: BLE001 - one that breaks us must not keep us from all that come after it
        reason = f"{type(error).__name__}: {getattr(error, 'orig', error)}"

        async def give_up(*_: object) -> _Acted:
            return NotificationState.OPEN, reason, None

        return await _settle_by(ctx, notification_id, give_up)


async def _settle_by(ctx: Context, notification_id: int, act: _Act) -> NotificationState:
    async with ctx.store.write() as session:
        mine = select(_notification).where(_notification.c.id == notification_id)
        row = (await session.execute(ctx.store.lock(mine))).mappings().one()
        if row["state"] != NotificationState.RECEIVED:
            return NotificationState(row["state"])
        state, reason, attempt_id = await act(ctx, session, row)
        if state == NotificationState.RECEIVED:
            return state
        change = {"state": state, "reason": reason, "attempt_id": attempt_id, "settled_at": after_s()}
        await session.execute(update(_notification).where(_notification.c.id == notification_id).values(**change))
        if state == NotificationState.OPEN:
            await _ask_a_person(ctx, session, row, reason)
        return state


async def _ask_a_person(ctx: Context, session: AsyncSession, row: RowMapping, reason: str) -> None:
    account = table(GatewayAccount)
    query = select(account.c.merchant_id).where(account.c.id == row["gateway_account_id"])
    merchant_id = (await session.execute(query)).scalar_one()
    moment = (await moments(ctx, session, [merchant_id]))[merchant_id]
    task = NewTask(merchant_id, "notification", f"not_{row['id']}", f"a notification is not understood: {reason}")
    await raise_tasks(session, [task], moment.now)


async def settle_waiting(ctx: Context) -> int:
    """Settle notifications that were stored but not acted on, because the process died in between."""
    waiting = select(_notification.c.id).where(_notification.c.state == NotificationState.RECEIVED)
    async with ctx.store.read() as session:
        ids = [row.id for row in await session.execute(waiting.order_by(_notification.c.id).limit(PAGE))]
    for id_ in ids:
        await settle_notification(ctx, id_)
    return len(ids)


def _proven(ctx: Context, account_id: int, proof: str, message: RawMessage) -> RawMessage:
    key = message.proven_key if ctx.links.proves(account_id, message.proven_key, proof) else ""
    return RawMessage(message.method, message.query, message.headers, message.body, key)


async def _keep(session: AsyncSession, account_id: int, notice: Notice, message: RawMessage) -> int:
    """Store the news once, counting its copies."""
    digest = hashlib.sha256(f"{notice.key}\0{notice.identity}".encode()).hexdigest()
    row = _row(account_id, digest, message, NotificationState.RECEIVED, "")
    once = insert_unless(session, _notification, ["gateway_account_id", "digest"])
    made = (await session.execute(once.values(**row).returning(_notification.c.id))).scalar()
    if made is not None:
        return int(made)
    mine = (_notification.c.gateway_account_id == account_id) & (_notification.c.digest == digest)
    again = update(_notification).where(mine).values(copies=_notification.c.copies + 1)
    return int((await session.execute(again.returning(_notification.c.id))).scalar_one())


async def _keep_forgery(session: AsyncSession, account_id: int, message: RawMessage, reason: str) -> None:
    """Keep a forgery for the operator to see, but not so many that they fill the disk."""
    recent = (_notification.c.state == NotificationState.FORGED) & (_notification.c.received_at > after_s(-3600))
    if (await session.execute(select(func.count()).where(recent))).scalar_one() >= FORGED_PER_HOUR_MAX:
        return
    raw = hashlib.sha256(b"forged\0" + message.query.encode() + b"\0" + message.body).hexdigest()
    row = _row(account_id, raw, message, NotificationState.FORGED, reason)
    once = insert_unless(session, _notification, ["gateway_account_id", "digest"])
    await session.execute(once.values(**row))


def _row(account_id: int, digest: str, message: RawMessage, state: NotificationState, reason: str) -> dict[str, Any]:
    return new_row(
        Notification,
        gateway_account_id=account_id,
        digest=digest,
        method=message.method,
        query=message.query,
        headers=_kept(message.headers),
        body=message.body,
        proven_key=message.proven_key[:30],
        state=state,
        reason=reason,
    ) | {"received_at": after_s()}


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:200] for name, value in headers.items() if name.lower() in _KEPT_HEADERS}


# --- acting on one ----------------------------------------------------------

_Acted = tuple[NotificationState, str, int | None]
_Act = Callable[[Context, AsyncSession, RowMapping], Awaitable[_Acted]]


async def _act(ctx: Context, session: AsyncSession, row: RowMapping) -> _Acted:
    gateway = (await ctx.gateways.of(session, [row["gateway_account_id"]]))[row["gateway_account_id"]]
    raw = RawMessage(row["method"], row["query"], row["headers"], row["body"], row["proven_key"])
    notice = gateway.read_notification(raw)
    attempt = await _attempt_of(session, row["gateway_account_id"], notice.key)
    if attempt is None:
        return NotificationState.OPEN, f"no attempt has the key {notice.key!r}", None
    if notice.outcome is None:
        await _ask_soon(session, attempt["id"])
        return NotificationState.OPEN, "it says nothing we understand; the gateway is asked", attempt["id"]
    if notice.operation:
        return await _hear_of_operation(ctx, session, attempt, notice, notice.operation)
    if isinstance(notice.outcome, Declined) and await _answer_is_near(session, attempt["id"]):
        return NotificationState.RECEIVED, "", attempt["id"]
    if gateway.abilities.notification_is_truth:
        await settle_within(ctx, session, [News(attempt["id"], notice.outcome)])
    else:
        await _ask_soon(session, attempt["id"])
    return NotificationState.SETTLED, "", attempt["id"]


async def _answer_is_near(session: AsyncSession, attempt_id: int) -> bool:
    """Answer whether the charge's own answer may come any moment: it says better why it was declined."""
    under_way = (_attempt.c.state == AttemptState.SENT) & (_attempt.c.lease_until > after_s())
    query = select(_attempt.c.id).where(_attempt.c.id == attempt_id, under_way)
    return (await session.execute(query)).scalar() is not None


async def _attempt_of(session: AsyncSession, account_id: int, key: str) -> RowMapping | None:
    mine = (_attempt.c.gateway_account_id == account_id) & (_attempt.c.key == key)
    return (await session.execute(select(_attempt).where(mine))).mappings().one_or_none()


async def _ask_soon(session: AsyncSession, attempt_id: int) -> None:
    """Let the gateway be asked at once, where the attempt is still in doubt."""
    in_doubt = _attempt.c.state.in_((AttemptState.PENDING, AttemptState.UNKNOWN))
    await session.execute(update(_attempt).where(_attempt.c.id == attempt_id, in_doubt).values(ask_at=after_s()))


async def _hear_of_operation(
    ctx: Context, session: AsyncSession, attempt: RowMapping, notice: Notice, kind: OperationKind
) -> _Acted:
    """Confirm our own operation, or record one that was made elsewhere."""
    done = (NotificationState.SETTLED, "", attempt["id"])
    if not isinstance(notice.outcome, Approved):
        return NotificationState.OPEN, f"news of a {kind} that is no success", attempt["id"]
    await _hear_of_payment(ctx, session, attempt["id"], notice, kind)
    ours = (_operation.c.attempt_id == attempt["id"]) & (_operation.c.kind == kind)
    rows = (await session.execute(select(_operation.c.id, _operation.c.state).where(ours))).all()
    waiting = [row.id for row in rows if row.state in OPEN]
    if waiting:
        await settle_operation_within(ctx, session, waiting[0], notice.outcome)
    elif not any(row.state == AttemptState.APPROVED for row in rows) or kind in _TAKEN_BACK:
        await _record_foreign(ctx, session, attempt, notice.outcome, kind)
    return done


async def _hear_of_payment(
    ctx: Context, session: AsyncSession, attempt_id: int, notice: Notice, kind: OperationKind
) -> None:
    """Lock the payment with all it pays; what was done to one we had not heard of says that it was made."""
    case = (await cases.load(ctx, session, [attempt_id]))[attempt_id]
    if case.state != AttemptState.APPROVED and isinstance(notice.outcome, Approved):
        captured = kind != OperationKind.REVERSAL
        payment = Approved(notice.outcome.gateway_id, case.amount, captured=captured)
        await settle_within(ctx, session, [News(attempt_id, payment)])


async def _record_foreign(
    ctx: Context, session: AsyncSession, attempt: RowMapping, outcome: Approved, kind: OperationKind
) -> None:
    """Record what a bank, or somebody in the gateway's own console, did to a payment of ours."""
    moment = (await moments(ctx, session, [attempt["merchant_id"]]))[attempt["merchant_id"]]
    moment = moment.not_before(attempt["business_at"])
    if await _insert_foreign(session, attempt, outcome, kind, moment):
        await _undo(session, attempt, outcome, kind, moment)


async def _insert_foreign(
    session: AsyncSession, attempt: RowMapping, outcome: Approved, kind: OperationKind, moment: Moment
) -> bool:
    row = new_row(
        Operation,
        attempt_id=attempt["id"],
        kind=kind,
        key=operation_key(attempt["key"], kind, 0),
        amount_minor=outcome.amount.minor,
        currency=outcome.amount.currency,
        state=AttemptState.APPROVED,
        gateway_id=outcome.gateway_id,
        created_at=moment.now,
        decided_at=moment.now,
    )
    once = insert_unless(session, _operation, ["key"]).values(**row).returning(_operation.c.id)
    return (await session.execute(once)).scalar() is not None


async def _undo(
    session: AsyncSession, attempt: RowMapping, outcome: Approved, kind: OperationKind, moment: Moment
) -> None:
    """Take a payment out of the books again, reopen what it paid, and tell a person.

    Money that paid nothing, because it was a surplus or only a part of it went back, reopens nothing.
    """
    paid = select(_allocation).where(_allocation.c.attempt_id == attempt["id"], _allocation.c.position == 0)
    allocation = (await session.execute(paid)).mappings().one()
    if allocation["verification_id"] is not None:
        await _let_verification_go(session, allocation["verification_id"], moment)
        return
    about = (attempt["merchant_id"], attempt["customer_id"], moment.today, moment.now)
    key, invoice_id = operation_key(attempt["key"], kind, 0), allocation["invoice_id"]
    unpaid = outcome.amount == await _settled_by(session, attempt)
    group = ledger.taken_back(key, outcome.amount)
    if unpaid:
        await _reopen(session, invoice_id)
    else:
        group = ledger.refund(key, outcome.amount, Account.CUSTOMER_CREDIT)
    await post_once(session, [Posted(group, *about, invoice_id if unpaid else None, attempt["id"])])
    reason = f"{kind} of {outcome.amount.major} {outcome.amount.currency} on {attempt['key']}"
    reason += "; the invoice is open again" if unpaid else "; no invoice is open again by it"
    task = NewTask(attempt["merchant_id"], kind, f"inv_{invoice_id}", reason)
    await raise_tasks(session, [task], moment.now)


async def _settled_by(session: AsyncSession, attempt: RowMapping) -> Money:
    """Return how much of what is owed to us the payment still settles."""
    posting = table(Posting)
    mine = (posting.c.attempt_id == attempt["id"]) & (posting.c.account == Account.RECEIVABLE)
    query = select(func.sum(posting.c.amount_minor)).where(mine, posting.c.currency == attempt["currency"])
    return Money(-int((await session.execute(query)).scalar() or 0), attempt["currency"])


async def _let_verification_go(session: AsyncSession, verification_id: int, moment: Moment) -> None:
    verification = table(Verification)
    change = {"state": VerificationState.RELEASED, "released_at": moment.now}
    await session.execute(update(verification).where(verification.c.id == verification_id).values(**change))


async def _reopen(session: AsyncSession, invoice_id: int) -> None:
    state = (await session.execute(select(_invoice.c.state).where(_invoice.c.id == invoice_id))).scalar_one()
    if state == InvoiceState.PAID:
        change = {"state": move(invoices.MOVES, InvoiceState.PAID, InvoiceState.OPEN), "paid_at": None}
        await session.execute(update(_invoice).where(_invoice.c.id == invoice_id).values(**change))
