"""What a merchant has that did not begin yesterday, for pages to show: made by the database around one night's charges.

Of everything that goes wrong there is a little, whatever the size: the first of each kind has the first id.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, String, case, cast, insert, literal, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.gateway import OperationKind
from billing.invoices import InvoiceState
from billing.models import (
    ActorKind,
    Allocation,
    Attempt,
    AuditEntry,
    Customer,
    Decision,
    DeliveryState,
    Event,
    GatewayAccount,
    Invoice,
    Message,
    MessageState,
    Notification,
    NotificationState,
    Operation,
    Plan,
    Price,
    Run,
    RunState,
    Subscription,
    Task,
    TaskState,
    TestClock,
    WebhookDelivery,
    WebhookEndpoint,
    new_row,
    table,
)
from billing.payments import AttemptState
from billing.periods import Interval, Unit
from billing.services.context import Context
from jobs.bench_world import MERCHANT, NOW, TODAY, copy_rows, settle_down

MONTHS_RUN: Final = 24
MONTHS_INVOICED: Final = 2
NEXT_NIGHT: Final = Interval(Unit.MONTH).boundary(TODAY, 1)

_customer, _subscription, _invoice, _attempt = table(Customer), table(Subscription), table(Invoice), table(Attempt)
_allocation, _operation, _message, _task = table(Allocation), table(Operation), table(Message), table(Task)
_run, _decision, _notification, _entry = table(Run), table(Decision), table(Notification), table(AuditEntry)
_event, _delivery, _endpoint = table(Event), table(WebhookDelivery), table(WebhookEndpoint)
_account, _plan, _price, _clock = table(GatewayAccount), table(Plan), table(Price), table(TestClock)


async def grow_old(ctx: Context, merchant_id: int) -> None:
    """Give the merchant years of runs and records, two more months of invoices, and a little of all that goes wrong.

    Its clock is moved on to the morning on which everybody is due again and nobody is billed yet.
    """
    async with ctx.store.write() as session:
        await _run_before(session, merchant_id)
        await _invoice_before(session)
        await _fail_a_few(session)
        await _refund_some(session)
        await _ask_people(session, merchant_id)
        await _record(session, merchant_id)
        await _hear(session)
        await _tell(ctx, session, merchant_id)
        await session.execute(update(_clock).values(now_at=NOW + (NEXT_NIGHT - TODAY)))
    await settle_down(ctx.store)


async def _run_before(session: AsyncSession, merchant_id: int) -> None:
    """Let there have been a run every month, each of which set one subscription in a hundred aside.

    The night's own run, which is the first there is, becomes the last: the idle ones were the day before.
    """
    night = (await session.execute(select(_run).order_by(_run.c.id).limit(1))).mappings().one()
    idle = update(_run).where(_run.c.id != night["id"])
    await session.execute(idle.values(on_day=TODAY - timedelta(days=1)))
    about = {"plan": night["plan"], "state": RunState.FINISHED, "merchant_id": merchant_id}
    about |= {"business_at": NOW, "started_at": NOW, "finished_at": NOW + timedelta(minutes=20)}
    days = [Interval(Unit.MONTH).boundary(TODAY, -months) for months in range(1, MONTHS_RUN + 1)]
    await session.execute(insert(_run), [new_row(Run, **about, on_day=day) for day in days])
    decision = {"reason": "needs_approval", "detail": "2 periods", "decided_at": NOW}
    one_in_a_hundred = _subscription.c.id % 100 == _run.c.id % 100
    ids = {"run_id": _run.c.id, "subscription_id": _subscription.c.id}
    await copy_rows(session, _decision, decision, one_in_a_hundred, **ids)


async def _invoice_before(session: AsyncSession) -> None:
    """Let the periods before have been invoiced in their own runs, and nearly all have been paid."""
    kept = ("merchant_id", "customer_id", "subscription_id", "period_start", "period_end")
    shown = ("kind", "title", "currency", "net_minor", "tax_minor", "total_minor")
    for months in range(1, MONTHS_INVOICED + 1):
        day = Interval(Unit.MONTH).boundary(TODAY, -months)
        run_id = (await session.execute(select(_run.c.id).where(_run.c.on_day == day))).scalar_one()
        state = case(
            (_invoice.c.id % 1000 == 1, literal(InvoiceState.VOID, String)),
            (_invoice.c.id % 1000 == 2, literal(InvoiceState.UNCOLLECTIBLE, String)),
            else_=literal(InvoiceState.PAID, String),
        )
        name = literal(f"BEFORE{months}-") + cast(_invoice.c.id, String)
        varying: dict[str, Any] = {column: _invoice.c[column] for column in (*kept, *shown)}
        varying |= {"key": name, "number": name, "state": state, "tries": literal(1)}
        varying |= {"period_number": _invoice.c.period_number - months}
        unpaid = (_invoice.c.id % 1000).in_((1, 2))
        varying |= {"paid_at": case((unpaid, null()), else_=literal(NOW, _invoice.c.paid_at.type))}
        of_this_night = _invoice.c.issued_on == TODAY
        before = {"run_id": run_id, "issued_on": day}
        await copy_rows(session, _invoice, before, of_this_night, _invoice.c.period_number >= months, **varying)


async def _fail_a_few(session: AsyncSession) -> None:
    """Let a few charges be in doubt, a few not final, and a few mails not deliverable."""
    for place, state in ((1, AttemptState.UNKNOWN), (2, AttemptState.PENDING)):
        change = {"state": state, "ask_at": NOW, "evidence": "no answer"}
        await session.execute(update(_attempt).where(_attempt.c.id % 1000 == place).values(**change))
    failed = update(_message).where(_message.c.id % 500 == 1)
    await session.execute(failed.values(state=MessageState.FAILED, error="no such mailbox"))


async def _refund_some(session: AsyncSession) -> None:
    """Let one payment in a hundred have been given back, and a few be owed back still."""
    for each, place, state in ((100, 3, AttemptState.APPROVED), (1000, 4, AttemptState.CREATED)):
        refund = new_row(Operation, kind=OperationKind.REFUND, state=state, reason="asked for", created_at=NOW)
        varying: dict[str, Any] = {name: _attempt.c[name] for name in ("amount_minor", "currency")}
        varying |= {"attempt_id": _attempt.c.id, "key": _attempt.c.key + literal("-REF1")}
        await copy_rows(session, _operation, refund, _attempt.c.id % each == place, **varying)


async def _ask_people(session: AsyncSession, merchant_id: int) -> None:
    """Let one invoice in ten have been a task, and one in a hundred be one still."""
    waits = _invoice.c.id % 100 == 1
    task = {"merchant_id": merchant_id, "kind": "unpaid", "reason": "the last step was taken", "created_at": NOW}
    state = case((waits, literal(TaskState.OPEN, String)), else_=literal(TaskState.DONE, String))
    done_at = case((waits, null()), else_=literal(NOW, _task.c.done_at.type))
    about = {"subject": _named("inv_", _invoice.c.id), "state": state, "done_at": done_at}
    await copy_rows(session, _task, task, _invoice.c.id % 10 == 1, **about)


async def _record(session: AsyncSession, merchant_id: int) -> None:
    """Let every customer have been registered through the API."""
    entry = new_row(AuditEntry, merchant_id=merchant_id, at=NOW, actor_kind=ActorKind.KEY, actor="shop (tk_bench)")
    entry |= {"verb": "register_customer", "detail": {}}
    subject = {"subject": _customer.c.reference}
    await copy_rows(session, _entry, entry, **subject)


async def _hear(session: AsyncSession) -> None:
    """Let the gateway have told of every charge, and a few times so that nobody understood it."""
    news = new_row(Notification, method="POST", body=b"{}", received_at=NOW, settled_at=NOW)
    state = case(
        (_attempt.c.id % 1000 == 1, literal(NotificationState.OPEN, String)),
        else_=literal(NotificationState.SETTLED, String),
    )
    varying = {"gateway_account_id": _attempt.c.gateway_account_id, "attempt_id": _attempt.c.id, "state": state}
    varying |= {"digest": _named("bench ", _attempt.c.id)}
    await copy_rows(session, _notification, news, **varying)


async def _tell(ctx: Context, session: AsyncSession, merchant_id: int) -> None:
    """Let somebody have been told of every invoice."""
    endpoint = new_row(WebhookEndpoint, merchant_id=merchant_id, url="https://shop.example/turnus", created_at=NOW)
    endpoint |= {"sealed_secret": ctx.vault.seal("whsec_bench")}
    made = insert(_endpoint).values(endpoint).returning(_endpoint.c.id)
    endpoint_id = (await session.execute(made)).scalar_one()
    event = {"merchant_id": merchant_id, "type": EventType.INVOICE_ISSUED, "data": "{}"}
    event |= {"happened_at": NOW, "created_at": NOW}
    # Thirty-two digits, as every event's name has.
    names = {"uid": _named("evt_" + "0" * 16, 10**15 + _invoice.c.id), "subject": _named("inv_", _invoice.c.id)}
    await copy_rows(session, _event, event, **names)
    delivery = new_row(WebhookDelivery, endpoint_id=endpoint_id, state=DeliveryState.DELIVERED, next_try_at=NOW)
    delivery |= {"delivered_at": NOW, "tried_at": NOW, "status": 204}
    await copy_rows(session, _delivery, delivery, event_id=_event.c.id)


def _named(prefix: str, id_column: ColumnElement[int]) -> ColumnElement[str]:
    return literal(prefix) + cast(id_column, String)


async def names_in(session: AsyncSession) -> dict[str, str]:
    """Return what each kind of thing is called in the addresses of pages, for one that has something to show."""
    declined = _attempt.c.state == AttemptState.DECLINED
    charge = (
        select(
            _customer.c.reference.label("customer"),
            _customer.c.name.label("name"),
            _customer.c.email.label("email"),
            _subscription.c.reference.label("subscription"),
            _invoice.c.number.label("invoice"),
            _attempt.c.key.label("attempt"),
        )
        .join_from(_attempt, _customer, _customer.c.id == _attempt.c.customer_id)
        .join(_allocation, _allocation.c.attempt_id == _attempt.c.id)
        .join(_invoice, _invoice.c.id == _allocation.c.invoice_id)
        .join(_subscription, _subscription.c.id == _invoice.c.subscription_id)
        .order_by(case((declined, 0), else_=1), _attempt.c.id)
        .limit(1)
    )
    found = dict((await session.execute(charge)).mappings().one())
    sold = select(_plan.c.reference.label("plan"), _price.c.reference.label("price")).join_from(_price, _plan)
    found |= dict((await session.execute(sold.limit(1))).mappings().one())
    at = select(_account.c.reference.label("account"), _account.c.gateway).limit(1)
    found |= dict((await session.execute(at)).mappings().one())
    found |= {"merchant": MERCHANT, "doubt": "att_1", "task": "task_1", "notification": "not_1", "mail": "msg_1"}
    return found | {"run": "run_1", "hook": "hook_1", "event": f"evt_{10**15 + 1:032}"}
