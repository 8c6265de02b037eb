"""Notifications: verified, stored raw, answered, and only then settled."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from billing import invoices, ledger
from billing.events import EventType, of_operation
from billing.gateway import (
    Approved,
    Declined,
    ForgeryError,
    Gateway,
    Notice,
    NotSent,
    OperationKind,
    Outcome,
    Question,
    RawMessage,
    Unknown,
)
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
from billing.payments import IN_DOUBT, OPEN, AttemptState, found_out, state_named_by
from billing.services import cases
from billing.services.cases import operation_key
from billing.services.consenting import is_fulfilled
from billing.services.context import Context, Moment, moments
from billing.services.holding import end_surplus
from billing.services.operating import settle_operation_within
from billing.services.posting import Posted, post_once
from billing.services.refusing import ConflictError
from billing.services.settling import News, settle_within
from billing.services.tasking import NewTask, end_tasks, raise_tasks
from billing.services.telling import NewEvent, tell
from billing.services.wording import words_for
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
        if (wanted := gateway.answer_challenge(message)) is not None:
            return Heard(200, wanted)
        try:
            notice = gateway.read_notification(_proven(ctx, account_id, proof, message))
        except ForgeryError as error:
            await _keep_forgery(session, account_id, message, str(error))
            ctx.meters.notification(NotificationState.FORGED)
            return Heard(400, gateway.acknowledge(accepted=False))
        notification_id = await _keep(session, account_id, notice, message, gateway.abilities.proof_headers)
        ctx.meters.notification(NotificationState.RECEIVED)
        return Heard(200, gateway.acknowledge(accepted=True), notification_id)


async def settle_notification(ctx: Context, notification_id: int) -> NotificationState:
    """Take a stored notification into the books; one that cannot be understood stays visible as open work.

    Where a notification is no more than a hint, the gateway is asked first, outside any transaction.
    """
    try:
        truth = await _ask_for_truth(ctx, notification_id)
        return await _settle_by(ctx, notification_id, partial(_act, truth=truth))
    except OperationalError:
        raise  # the database was busy or away, and the next look finds it as it is
    except Exception as error:  # noqa: BLE001 - one that breaks us must not keep us from all that come after it
        reason = words_for(error)

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
        ctx.meters.notification(state)
        return state


async def _ask_a_person(ctx: Context, session: AsyncSession, row: RowMapping, reason: str) -> None:
    account = table(GatewayAccount)
    query = select(account.c.merchant_id).where(account.c.id == row["gateway_account_id"])
    merchant_id = (await session.execute(query)).scalar_one()
    moment = (await moments(ctx, session, [merchant_id]))[merchant_id]
    task = NewTask(merchant_id, "notification", f"not_{row['id']}", f"a notification is not understood: {reason}")
    await raise_tasks(session, [task], moment.now)


async def take_once_more(ctx: Context, session: AsyncSession, notification_id: int) -> None:
    """Let a notification that could not be understood be settled again; raise `ConflictError` for any other."""
    mine = _notification.c.id == notification_id
    state = (await session.execute(ctx.store.lock(select(_notification.c.state).where(mine)))).scalar_one()
    if state not in (NotificationState.OPEN, NotificationState.RECEIVED):
        raise ConflictError(f"it is {state}: only what could not be understood is taken once more")
    again = {"state": NotificationState.RECEIVED, "settled_at": None}
    await session.execute(update(_notification).where(mine).values(**again))
    await end_tasks(session, ["notification"], [f"not_{notification_id}"])


async def settle_waiting(ctx: Context) -> int:
    """Settle notifications that were stored but not acted on, because the process died in between."""
    waiting = select(_notification.c.id).where(_notification.c.state == NotificationState.RECEIVED)
    async with ctx.store.read() as session:
        ids = [row.id for row in await session.execute(waiting.order_by(_notification.c.id).limit(PAGE))]
    for place, id_ in enumerate(ids):
        if ctx.leaving:
            return place
        await settle_notification(ctx, id_)
    return len(ids)


def _proven(ctx: Context, account_id: int, proof: str, message: RawMessage) -> RawMessage:
    key = message.proven_key if ctx.links.proves(account_id, message.proven_key, proof) else ""
    return replace(message, proven_key=key)


async def _keep(
    session: AsyncSession, account_id: int, notice: Notice, message: RawMessage, proofs: frozenset[str]
) -> int:
    """Store the news once, counting its copies."""
    digest = hashlib.sha256(f"{notice.key}\0{notice.identity}".encode()).hexdigest()
    row = _row(account_id, digest, message, NotificationState.RECEIVED, "") | {"headers": _kept(message, proofs)}
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
        headers=_kept(message),
        body=message.body,
        proven_key=message.proven_key[:30],
        state=state,
        reason=reason,
    ) | {"received_at": after_s()}


def _kept(message: RawMessage, proofs: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the headers worth keeping, and those without which it could not be verified again."""
    wanted = _KEPT_HEADERS | proofs
    return {name: value[:200] for name, value in message.headers.items() if name.lower() in wanted}


# --- acting on one ----------------------------------------------------------

_Acted = tuple[NotificationState, str, int | None]
_Act = Callable[[Context, AsyncSession, RowMapping], Awaitable[_Acted]]


async def _ask_for_truth(ctx: Context, notification_id: int) -> Outcome | None:
    """Return what the gateway says of what a notification hints at, or nothing where it need not be asked."""
    async with ctx.store.read() as session:
        query = select(_notification).where(_notification.c.id == notification_id)
        row = (await session.execute(query)).mappings().one()
        gateway, notice, attempt = await _read(ctx, session, row)
        if attempt is None or not _is_hint(gateway, notice):
            return None
        if not await _is_worth_asking(session, notice, attempt):
            return None
    return found_out(await gateway.find(_question(notice, attempt)))


def _is_hint(gateway: Gateway, notice: Notice) -> bool:
    """Answer whether only asking tells what a notice means; where that is rationed, it speaks for itself."""
    can = gateway.abilities
    return not can.notification_is_truth or (notice.outcome is None and can.asking.budget is None)


async def _is_worth_asking(session: AsyncSession, notice: Notice, attempt: RowMapping) -> bool:
    """Answer whether it may be news: a charge's own answer that may come any moment says it as well."""
    if notice.operation is not None:
        rows = await _operations(session, attempt["id"], notice.operation)
        return not rows or notice.operation in _TAKEN_BACK or _is_another(rows, notice.outcome)
    if await _answer_is_near(session, attempt["id"]):
        return False
    return not _says_nothing_new(notice, attempt) or await _tells_of_a_profile(session, notice, attempt["id"])


def _says_nothing_new(notice: Notice, attempt: RowMapping) -> bool:
    if notice.outcome is None or state_named_by(notice.outcome) != attempt["state"]:
        return False
    return not isinstance(notice.outcome, Approved) or notice.outcome.captured == bool(attempt["captured"])


async def _tells_of_a_profile(session: AsyncSession, notice: Notice, attempt_id: int) -> bool:
    """Answer whether it names the profile that the customer allowed us to keep, and that we have not heard of."""
    told = isinstance(notice.outcome, Approved) and notice.outcome.profile is not None
    return told and await is_fulfilled(session, attempt_id) is False


def _question(notice: Notice, attempt: RowMapping) -> Question:
    amount = Money(attempt["amount_minor"], attempt["currency"])
    if notice.operation is not None and isinstance(notice.outcome, Approved):
        amount = notice.outcome.amount
    gateway_id = notice.gateway_id or attempt["gateway_id"]
    return Question(attempt["key"], amount, gateway_id, attempt["asks"], operation=notice.operation)


async def _read(ctx: Context, session: AsyncSession, row: RowMapping) -> tuple[Gateway, Notice, RowMapping | None]:
    gateway = (await ctx.gateways.of(session, [row["gateway_account_id"]]))[row["gateway_account_id"]]
    known = (row["method"], row["query"], row["headers"], row["body"], row["proven_key"], row["received_at"])
    notice = gateway.read_notification(RawMessage(*known))
    return gateway, notice, await _attempt_of(session, row["gateway_account_id"], notice)


async def _act(ctx: Context, session: AsyncSession, row: RowMapping, truth: Outcome | None = None) -> _Acted:
    gateway, notice, attempt = await _read(ctx, session, row)
    if attempt is None:
        return NotificationState.OPEN, f"no attempt has the key {notice.key!r}", None
    if _is_hint(gateway, notice):
        return await _act_on_truth(ctx, session, attempt, notice, truth)
    if notice.outcome is None:
        await _ask_soon(session, attempt["id"])
        return NotificationState.OPEN, "it says nothing we understand; the gateway is asked", attempt["id"]
    if notice.operation:
        return await _hear_of_operation(ctx, session, attempt, notice, notice.operation)
    if isinstance(notice.outcome, Declined) and await _answer_is_near(session, attempt["id"]):
        return NotificationState.RECEIVED, "", attempt["id"]
    await settle_within(ctx, session, [News(attempt["id"], notice.outcome)])
    return NotificationState.SETTLED, "", attempt["id"]


async def _act_on_truth(
    ctx: Context, session: AsyncSession, attempt: RowMapping, notice: Notice, truth: Outcome | None
) -> _Acted:
    """Settle what the gateway said when it was asked; what it could not say is asked about on schedule.

    What was not worth asking when it was read, and is by now, waits for the next look.
    """
    settled = (NotificationState.SETTLED, "", attempt["id"])
    if notice.operation and await _ask_about_operation_soon(session, attempt["id"], notice.operation):
        return settled
    if truth is None:
        near = notice.operation is None and await _answer_is_near(session, attempt["id"])
        waits = near or await _is_worth_asking(session, notice, attempt)
        return (NotificationState.RECEIVED, "", attempt["id"]) if waits else settled
    if isinstance(truth, Unknown | NotSent):
        await _ask_soon(session, attempt["id"])
        return settled if attempt["state"] in IN_DOUBT else (NotificationState.OPEN, truth.reason, attempt["id"])
    if notice.operation:
        return await _hear_of_operation(ctx, session, attempt, replace(notice, outcome=truth), notice.operation)
    await settle_within(ctx, session, [News(attempt["id"], _in_full(truth, notice))])
    return settled


def _in_full(truth: Outcome, notice: Notice) -> Outcome:
    """Add what only the notification told of, a profile or the reason of a no; it is no money, and was verified."""
    if isinstance(truth, Approved) and isinstance(notice.outcome, Approved) and truth.profile is None:
        return replace(truth, profile=notice.outcome.profile)
    return notice.outcome if isinstance(truth, Declined) and isinstance(notice.outcome, Declined) else truth


async def _operations(session: AsyncSession, attempt_id: int, kind: OperationKind) -> list[Any]:
    ours = (_operation.c.attempt_id == attempt_id) & (_operation.c.kind == kind)
    columns = (_operation.c.id, _operation.c.state, _operation.c.amount_minor)
    return list((await session.execute(select(*columns).where(ours))).all())


def _may_be_about(ctx: Context, operation: Any, outcome: Approved) -> bool:
    """Answer whether news can be about an operation of ours: not if it never left and the amount is another."""
    has_left = operation.state != AttemptState.CREATED or ctx.ask_first
    return has_left or operation.amount_minor == outcome.amount.minor


async def _ask_about_operation_soon(session: AsyncSession, attempt_id: int, kind: OperationKind) -> bool:
    """Let our own open operation be asked about at once, and answer whether there is one."""
    waiting = (_operation.c.attempt_id == attempt_id) & (_operation.c.kind == kind) & _operation.c.state.in_(OPEN)
    asked = update(_operation).where(waiting).values(ask_at=after_s()).returning(_operation.c.id)
    return (await session.execute(asked)).scalar() is not None


async def _answer_is_near(session: AsyncSession, attempt_id: int) -> bool:
    """Answer whether the charge's own answer may come any moment: it says better why it was declined."""
    under_way = (_attempt.c.state == AttemptState.SENT) & (_attempt.c.lease_until > after_s())
    query = select(_attempt.c.id).where(_attempt.c.id == attempt_id, under_way)
    return (await session.execute(query)).scalar() is not None


async def _attempt_of(session: AsyncSession, account_id: int, notice: Notice) -> RowMapping | None:
    """Return the attempt a notice is about: by our key, or where it names none, by the gateway's own id."""
    named = _attempt.c.key == notice.key if notice.key else _attempt.c.gateway_id == (notice.gateway_id or None)
    mine = select(_attempt).where(_attempt.c.gateway_account_id == account_id, named)
    return (await session.execute(mine.order_by(_attempt.c.id).limit(1))).mappings().one_or_none()


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
    rows = await _operations(session, attempt["id"], kind)
    waiting = [row.id for row in rows if row.state in OPEN and _may_be_about(ctx, row, notice.outcome)]
    if waiting:
        await settle_operation_within(ctx, session, waiting[0], notice.outcome)
    elif not any(row.state == AttemptState.APPROVED for row in rows) or kind in _TAKEN_BACK:
        await _record_foreign(ctx, session, attempt, notice.outcome, kind)
    elif _is_another(rows, notice.outcome):
        amount = notice.outcome.amount
        reason = f"a {kind} of {amount.major} {amount.currency} that is none of those we know; compare with the gateway"
        return NotificationState.OPEN, reason, attempt["id"]
    return done


def _is_another(rows: Sequence[Any], outcome: Outcome | None) -> bool:
    """Answer whether the news tells of more than what was done already; some gateways tell the sum of all there was."""
    known = [row.amount_minor for row in rows if row.state == AttemptState.APPROVED]
    return isinstance(outcome, Approved) and bool(known) and outcome.amount.minor not in (*known, sum(known))


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
    operation_id = await _insert_foreign(session, attempt, outcome, kind, moment)
    if operation_id is not None:
        news = of_operation(kind)
        told = [NewEvent(attempt["merchant_id"], news, "op", operation_id, moment.now)] if news else []
        await tell(ctx, session, await _undo(session, attempt, outcome, kind, moment, told))


async def _insert_foreign(
    session: AsyncSession, attempt: RowMapping, outcome: Approved, kind: OperationKind, moment: Moment
) -> int | None:
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
    made: int | None = (await session.execute(once)).scalar()
    return made


async def _undo(
    session: AsyncSession,
    attempt: RowMapping,
    outcome: Approved,
    kind: OperationKind,
    moment: Moment,
    told: list[NewEvent],
) -> list[NewEvent]:
    """Take a payment out of the books again, reopen what it paid, tell a person, and return what others are told.

    Money that paid nothing, because it was a surplus or only a part of it went back, reopens nothing. A
    verification goes back in any case, which is nobody else's news.
    """
    paid = select(_allocation).where(_allocation.c.attempt_id == attempt["id"], _allocation.c.position == 0)
    allocation = (await session.execute(paid)).mappings().one()
    if allocation["verification_id"] is not None:
        await _let_verification_go(session, allocation["verification_id"], moment)
        return []
    about = (attempt["merchant_id"], attempt["customer_id"], moment.today, moment.now)
    key, invoice_id = operation_key(attempt["key"], kind, 0), allocation["invoice_id"]
    unpaid = outcome.amount == await _settled_by(session, attempt)
    group = ledger.taken_back(key, outcome.amount)
    if unpaid and await _reopen(session, invoice_id):
        about_invoice = (EventType.INVOICE_REOPENED, "inv", invoice_id)
        told = [*told, NewEvent(attempt["merchant_id"], *about_invoice, moment.now)]
    if not unpaid:
        group = ledger.refund(key, outcome.amount, Account.CUSTOMER_CREDIT)
    await post_once(session, [Posted(group, *about, invoice_id if unpaid else None, attempt["id"])])
    await end_surplus(session, attempt["id"], outcome.amount.currency)
    reason = f"{kind} of {outcome.amount.major} {outcome.amount.currency} on {attempt['key']}"
    reason += "; the invoice is open again" if unpaid else "; no invoice is open again by it"
    task = NewTask(attempt["merchant_id"], kind, f"inv_{invoice_id}", reason)
    await raise_tasks(session, [task], moment.now)
    return told


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


async def _reopen(session: AsyncSession, invoice_id: int) -> bool:
    """Let an invoice be owed again, and answer whether it was paid."""
    state = (await session.execute(select(_invoice.c.state).where(_invoice.c.id == invoice_id))).scalar_one()
    if state != InvoiceState.PAID:
        return False
    change = {"state": move(invoices.MOVES, InvoiceState.PAID, InvoiceState.OPEN), "paid_at": None}
    await session.execute(update(_invoice).where(_invoice.c.id == invoice_id).values(**change))
    return True
