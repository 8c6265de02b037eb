"""A page of attempts with everything around them, locked, changed in memory, and written back at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import among, update_many
from billing.events import EventType, of_attempt, of_invoice, of_subscription
from billing.gateway import Asking, Checkout, OperationKind, Pending, ProfileNews
from billing.invoices import InvoiceState
from billing.ledger import Group
from billing.models import (
    Allocation,
    Attempt,
    ChargeRight,
    GatewayAccount,
    Invoice,
    Operation,
    Price,
    Subscription,
    Verification,
    new_row,
    table,
)
from billing.models import Checkout as CheckoutRow
from billing.money import Money
from billing.payments import AttemptState
from billing.services.context import Context, Moment, moments
from billing.services.messaging import NewMessage, Owed, give_links, queue
from billing.services.posting import Posted, post, post_once
from billing.services.profiling import ProfileChange, change_profiles
from billing.services.tasking import NewTask, end_tasks, raise_tasks
from billing.services.telling import NewEvent, tell
from billing.store import after_s
from billing.subscriptions import SubscriptionState

_attempt, _allocation, _invoice = table(Attempt), table(Allocation), table(Invoice)
_subscription, _verification, _checkout = table(Subscription), table(Verification), table(CheckoutRow)

Record = dict[str, Any]

# How long after a hosted page has closed a payment on it may still become known.
PAGE_MARGIN_S = 60

# What a person need not be asked any more once an attempt is over, and once an invoice is paid.
_ENDED_BY_KNOWING = ("doubt", "unsettled")
_ENDED_BY_PAYING = ("unpaid", "unsendable", "unstorable", "amount")

# What settling may change; everything else about these rows is fixed when they are written.
_CHANGEABLE = {
    _attempt: ("state", "gateway_id", "captured", "decline_code", "decline_class", "evidence", "decided_at", "sent_at"),
    _invoice: ("state", "paid_at", "dunned_since", "next_step", "next_step_on"),
    _subscription: ("state", "next_period", "next_due_on", "skipped_periods", "paused_by_dunning"),
    _verification: ("state", "authorised_at", "released_at"),
}


@dataclass(slots=True)
class Case:
    """One attempt with what it pays. The records are shared: two attempts on one invoice see each other's changes.

    Each record remembers as `held` the state in which it was read.
    """

    attempt: Record
    invoices: list[tuple[Record, Money]]
    verification: Record | None
    subscriptions: dict[int, Record]
    page_closes_in_s: float | None
    hosted: bool
    page_outlives_decline: bool
    asking: Asking
    moment: Moment
    heard_at: datetime
    ask_in_s: float | None = None

    @property
    def state(self) -> AttemptState:
        """The state held now."""
        return AttemptState(self.attempt["state"])

    @property
    def amount(self) -> Money:
        """What the attempt is meant to collect."""
        return Money(self.attempt["amount_minor"], self.attempt["currency"])

    @property
    def page_open(self) -> bool:
        """Whether the customer can still pay on a page of the gateway's, or may have done so at the last moment."""
        return self.page_closes_in_s is not None and self.page_closes_in_s + PAGE_MARGIN_S > 0

    @property
    def may_be_tried_again(self) -> bool:
        """Whether a failed try is not the end, because the hosted page takes several under one key."""
        return self.hosted and self.page_open and self.page_outlives_decline

    @property
    def name(self) -> str:
        """The public id of the attempt."""
        return f"att_{self.attempt['id']}"


@dataclass(slots=True)
class Effects:
    """What follows from the news of a page, gathered so that each kind is one statement."""

    freed: list[int] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    posted_once: list[Posted] = field(default_factory=list)
    messages: list[NewMessage] = field(default_factory=list)
    owed: list[tuple[Owed, datetime]] = field(default_factory=list)
    tasks: list[tuple[NewTask, datetime]] = field(default_factory=list)
    operations: list[Record] = field(default_factory=list)
    profiles: list[ProfileChange] = field(default_factory=list)
    stopped: dict[int, tuple[str, datetime]] = field(default_factory=dict)
    paid_late: list[int] = field(default_factory=list)
    challenges: list[tuple[int, Pending]] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    paid: list[str] = field(default_factory=list)
    news: list[NewEvent] = field(default_factory=list)

    def post(self, case: Case, group: Group, invoice_id: int | None = None) -> None:
        """Post a group about the case."""
        about = (case.attempt["merchant_id"], case.attempt["customer_id"], case.moment.today, case.moment.now)
        self.posted.append(Posted(group, *about, invoice_id, case.attempt["id"]))

    def post_once(self, case: Case, group: Group) -> None:
        """Post a group that may have been posted when the same news came before."""
        about = (case.attempt["merchant_id"], case.attempt["customer_id"], case.moment.today, case.moment.now)
        self.posted_once.append(Posted(group, *about, attempt_id=case.attempt["id"]))

    def mail(self, case: Case, step: str, **context: Any) -> None:
        """Queue a mail caused by the case."""
        attempt = case.attempt
        context = {"attempt_id": attempt["id"]} | context
        about = (attempt["merchant_id"], attempt["customer_id"], case.name, step, case.moment.now)
        self.messages.append(NewMessage(*about, context, attempt["run_id"]))

    def ask_a_person(self, case: Case, kind: str, subject: str, reason: str) -> None:
        """Raise a task about the case."""
        self.tasks.append((NewTask(case.attempt["merchant_id"], kind, subject, reason), case.moment.now))

    def owe(self, case: Case, kind: OperationKind, amount: Money, number: int = 1) -> None:
        """Owe an operation on the payment: a capture, a reversal or a refund."""
        row = new_row(
            Operation,
            attempt_id=case.attempt["id"],
            kind=kind,
            key=operation_key(case.attempt["key"], kind, number),
            amount_minor=amount.minor,
            currency=amount.currency,
            state=AttemptState.CREATED,
            created_at=case.moment.now,
        )
        del row["ask_at"]
        self.operations.append(row)

    def store_profile(self, case: Case, news: ProfileNews, *, again: bool = False) -> None:
        """Make or renew the customer's profile, and charge it from now on."""
        attempt = case.attempt
        self.profiles.append(
            ProfileChange(
                attempt_id=attempt["id"],
                merchant_id=attempt["merchant_id"],
                customer_id=attempt["customer_id"],
                gateway_account_id=attempt["gateway_account_id"],
                news=news,
                replaced_id=attempt["profile_id"],
                subscription_ids=tuple(case.subscriptions),
                now=case.moment.now,
                again=again,
            )
        )


def operation_key(key: str, kind: OperationKind, number: int) -> str:
    """Return our reference for an operation, such as `INV-...-1-REV1`."""
    return f"{key}-{kind[:3].upper()}{number}"


async def load(
    ctx: Context, session: AsyncSession, attempt_ids: Collection[int], renewing: Collection[int] = ()
) -> dict[int, Case]:
    """Lock and read the attempts and what they pay, in the one lock order of the house.

    Attempts that are `renewing` a profile will change all the subscriptions that are charged to it.
    """
    about = await _about(session, attempt_ids)
    served = {row["subscription_id"] for row in about} | await _sharing_a_profile(session, renewing)
    subscriptions = await _locked_subscriptions(ctx, session, served)
    invoices = await _locked(ctx, session, _invoice, {row["invoice_id"] for row in about})
    verifications = await _locked(ctx, session, _verification, {row["verification_id"] for row in about})
    attempts = await _locked(ctx, session, _attempt, attempt_ids)
    times = await moments(ctx, session, {record["merchant_id"] for record in attempts.values()})
    gateways = await ctx.gateways.of(session, {record["gateway_account_id"] for record in attempts.values()})
    cases: dict[int, Case] = {}
    for row in about:
        record = attempts[row["attempt_id"]]
        can = gateways[record["gateway_account_id"]].abilities
        case = cases.setdefault(
            record["id"],
            Case(
                attempt=record,
                invoices=[],
                verification=verifications.get(row["verification_id"]),
                subscriptions={},
                page_closes_in_s=_seconds(row["closes_at"], row["db_now"]) if row["sealed_url"] else None,
                hosted=row["closes_at"] is not None and row["sealed_fields"] is None,
                page_outlives_decline=can.page_outlives_decline,
                asking=can.asking,
                moment=times[record["merchant_id"]].not_before(record["business_at"]),
                heard_at=row["db_now"],
            ),
        )
        if row["invoice_id"]:
            case.invoices.append((invoices[row["invoice_id"]], Money(row["amount_minor"], record["currency"])))
        if row["subscription_id"]:
            case.subscriptions[row["subscription_id"]] = subscriptions[row["subscription_id"]]
    return cases


async def save(ctx: Context, session: AsyncSession, cases: Iterable[Case], effects: Effects) -> None:
    """Write everything back: a constant number of statements for a page."""
    cases = list(cases)
    await _write_attempts(session, cases)
    await _write(session, _invoice, _unique(invoice for case in cases for invoice, _ in case.invoices))
    await _write(session, _subscription, _unique(s for case in cases for s in case.subscriptions.values()))
    await _write(session, _verification, _unique(case.verification for case in cases if case.verification))
    await _free(session, effects.freed)
    await _withdraw_unsent(session, effects.paid_late)
    await post(session, effects.posted)
    await post_once(session, effects.posted_once)
    if effects.operations:
        await session.execute(insert(table(Operation)).values(ask_at=after_s()), effects.operations)
    changed = await change_profiles(ctx, session, effects.profiles)
    await _keep_challenges(ctx, session, effects.challenges)
    await _stop_accounts(session, effects.stopped)
    await _write_to_people(session, effects)
    await tell(ctx, session, [*_moves(cases), *effects.news, *changed])


async def _about(session: AsyncSession, attempt_ids: Collection[int]) -> Sequence[Any]:
    query = (
        select(
            _allocation.c.attempt_id,
            _allocation.c.invoice_id,
            _allocation.c.verification_id,
            _allocation.c.amount_minor,
            _invoice.c.subscription_id,
            _checkout.c.closes_at,
            _checkout.c.sealed_url,
            _checkout.c.sealed_fields,
            after_s().label("db_now"),
        )
        .join_from(_allocation, _invoice, isouter=True)
        .join(_checkout, _checkout.c.attempt_id == _allocation.c.attempt_id, isouter=True)
        .where(among(_allocation.c.attempt_id, attempt_ids))
        .order_by(_allocation.c.attempt_id, _allocation.c.position)
    )
    return (await session.execute(query)).mappings().all()


async def _sharing_a_profile(session: AsyncSession, attempt_ids: Collection[int]) -> set[int]:
    if not attempt_ids:
        return set()
    query = select(_subscription.c.id).join(_attempt, _attempt.c.profile_id == _subscription.c.profile_id)
    return {row.id for row in await session.execute(query.where(_attempt.c.id.in_(attempt_ids)))}


async def _locked(ctx: Context, session: AsyncSession, of: Table, ids: Iterable[int | None]) -> dict[int, Record]:
    wanted = {id_ for id_ in ids if id_ is not None}
    if not wanted:
        return {}
    rows = await session.execute(ctx.store.lock(select(of).where(among(of.c.id, wanted)).order_by(of.c.id)))
    return {row["id"]: dict(row) | {"held": row["state"]} for row in rows.mappings()}


async def _locked_subscriptions(ctx: Context, session: AsyncSession, ids: Iterable[int | None]) -> dict[int, Record]:
    """Lock subscriptions and add their prices' intervals, which say where a resumed one goes on."""
    records = await _locked(ctx, session, _subscription, ids)
    price = table(Price)
    columns = select(price.c.id, price.c.interval_unit, price.c.interval_count)
    prices = await session.execute(columns.where(price.c.id.in_({r["price_id"] for r in records.values()})))
    intervals = {row.id: (row.interval_unit, row.interval_count) for row in prices}
    for record in records.values():
        record["interval_unit"], record["interval_count"] = intervals[record["price_id"]]
    return records


def address_of(page: Checkout | Pending) -> str:
    """Return where a customer is to go as one text: an address, or one with the fields that are posted to it."""
    url = page.url if isinstance(page, Checkout) else page.redirect
    return json.dumps({"url": url, "posted": dict(page.posted)}) if page.posted else url


def _seconds(until: datetime | None, now: datetime) -> float | None:
    return None if until is None else (until - now).total_seconds()


def _unique(records: Iterable[Record]) -> list[Record]:
    return list({record["id"]: record for record in records}.values())


async def _write(session: AsyncSession, into: Table, records: list[Record]) -> None:
    await update_many(session, into, [_changed(into, record) for record in records])


def _changed(into: Table, record: Record) -> Record:
    return {name: record[name] for name in ("id", *_CHANGEABLE[into])}


async def _write_attempts(session: AsyncSession, cases: list[Case]) -> None:
    """Write attempts back; the claim is over, and those in doubt are asked about next by the database's clock."""
    decided = [_changed(_attempt, case.attempt) for case in cases if case.ask_in_s is None]
    await update_many(session, _attempt, decided, ", lease_until = NULL, ask_at = NULL")
    columns = _CHANGEABLE[_attempt]
    values: dict[str, Any] = {name: bindparam(f"b_{name}") for name in columns}
    values |= {"lease_until": None, "ask_at": after_s(bindparam("b_ask_in_s"))}
    doubted = [
        {"b_id": case.attempt["id"], "b_ask_in_s": case.ask_in_s}
        | {f"b_{name}": case.attempt[name] for name in columns}
        for case in cases
        if case.ask_in_s is not None
    ]
    if doubted:
        await session.execute(update(_attempt).where(_attempt.c.id == bindparam("b_id")).values(**values), doubted)


async def _free(session: AsyncSession, attempt_ids: list[int]) -> None:
    if attempt_ids:
        right = table(ChargeRight)
        await session.execute(delete(right).where(among(right.c.attempt_id, attempt_ids)))


async def _withdraw_unsent(session: AsyncSession, invoice_ids: list[int]) -> None:
    """Withdraw attempts that wait to collect an invoice which a late truth has paid."""
    if not invoice_ids:
        return
    waiting = (
        select(_attempt.c.id)
        .join_from(_attempt, _allocation)
        .where(_allocation.c.invoice_id.in_(invoice_ids), _attempt.c.state == AttemptState.CREATED)
    )
    ids = [row.id for row in await session.execute(waiting)]
    if ids:
        # Whoever was claiming one while we looked has sent it, and keeps the right until that is settled.
        unsent = update(_attempt).where(_attempt.c.id.in_(ids), _attempt.c.state == AttemptState.CREATED)
        gone = await session.execute(unsent.values(state=AttemptState.WITHDRAWN).returning(_attempt.c.id))
        await _free(session, [row.id for row in gone])


async def _keep_challenges(ctx: Context, session: AsyncSession, challenges: list[tuple[int, Pending]]) -> None:
    """Keep where the bank's own question is asked, so that a second click leads back to it."""
    for attempt_id, asked in challenges:
        page = {"sealed_url": ctx.vault.seal(address_of(asked)), "closes_at": after_s(asked.until_s or 0)}
        await session.execute(update(_checkout).where(_checkout.c.attempt_id == attempt_id).values(**page))


async def _stop_accounts(session: AsyncSession, stopped: dict[int, tuple[str, datetime]]) -> None:
    account = table(GatewayAccount)
    for account_id, (reason, now) in stopped.items():
        still_open = (account.c.id == account_id) & (account.c.state == "open")
        change = {"state": "stopped", "stopped_reason": reason, "stopped_at": now}
        await session.execute(update(account).where(still_open).values(**change))


def _moves(cases: Iterable[Case]) -> Iterator[NewEvent]:
    """Return what has become of the attempts, the invoices they pay and the subscriptions they serve, each once."""
    return iter(dict.fromkeys(event for case in cases for event in _moves_of(case)))


def _moves_of(case: Case) -> Iterator[NewEvent]:
    if news := of_attempt(AttemptState(case.attempt["held"]), case.state):
        yield _news(case, news, "att", case.attempt)
    for invoice, _ in case.invoices:
        if moved := of_invoice(InvoiceState(invoice["held"]), InvoiceState(invoice["state"])):
            yield _news(case, moved, "inv", invoice)
    for subscription in case.subscriptions.values():
        held, now = SubscriptionState(subscription["held"]), SubscriptionState(subscription["state"])
        if held != now:
            yield _news(case, of_subscription(held, now), "sub", subscription)


def _news(case: Case, news: EventType, kind: str, record: Record) -> NewEvent:
    return NewEvent(case.attempt["merchant_id"], news, kind, record["id"], case.moment.now)


async def _write_to_people(session: AsyncSession, effects: Effects) -> None:
    """Queue mails with the links they carry, raise tasks, and end those that this news has resolved."""
    for now in sorted({now for _, now in effects.owed}):
        await give_links(session, [owed for owed, of in effects.owed if of == now], now)
    await queue(session, effects.messages)
    if effects.tasks:
        await raise_tasks(session, [task for task, _ in effects.tasks], max(now for _, now in effects.tasks))
    await end_tasks(session, _ENDED_BY_KNOWING, effects.known)
    await end_tasks(session, _ENDED_BY_PAYING, effects.paid)
