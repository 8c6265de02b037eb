"""Gather what happened to a customer, a subscription, an invoice or an attempt, newest first, whoever then tells it.

Each kind of event is read by one statement that asks for no more than is shown, so a story costs the same however
long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, String, cast, false, func, literal, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import (
    Allocation,
    Attempt,
    AuditEntry,
    Checkout,
    Customer,
    Decision,
    GatewayAccount,
    Invoice,
    Mandate,
    Message,
    Notification,
    Operation,
    PayLink,
    Posting,
    Profile,
    Run,
    Subscription,
    Task,
    Verification,
    table,
)

_customer, _subscription, _invoice, _attempt = table(Customer), table(Subscription), table(Invoice), table(Attempt)
_allocation, _operation, _posting, _message = table(Allocation), table(Operation), table(Posting), table(Message)
_notification, _checkout, _mandate, _link = table(Notification), table(Checkout), table(Mandate), table(PayLink)
_verification, _profile, _task, _entry = table(Verification), table(Profile), table(Task), table(AuditEntry)
_decision, _run, _account = table(Decision), table(Run), table(GatewayAccount)

_means = (_profile.c.kind, _profile.c.brand, _profile.c.last4, _profile.c.expires_on)

SIZE: Final = 40


class Kind(StrEnum):
    """What an event is; of what happened at one instant, the earlier here came first."""

    PROFILE = "profile"
    STARTED = "started"
    CANCELED = "canceled"
    SET_ASIDE = "set_aside"
    BOOKED = "booked"
    PAID = "paid"
    ATTEMPT = "attempt"
    OPENED = "opened"
    CONSENT = "consent"
    OPERATION = "operation"
    NOTIFICATION = "notification"
    MAIL = "mail"
    LINK = "link"
    LINK_OVER = "link_over"
    RENEWED = "renewed"
    VERIFICATION = "verification"
    RELEASED = "released"
    TASK = "task"
    TASK_DONE = "task_done"
    DONE = "done"


class Of(StrEnum):
    """What a story is about."""

    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"
    INVOICE = "invoice"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with the row that knows of it."""

    at: datetime
    kind: Kind
    row: RowMapping


@dataclass(frozen=True, slots=True)
class Story:
    """Some events, newest first; `before` is where the older ones go on, if there are any."""

    events: Sequence[Event]
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Scope:
    """The ids of all that belongs to the story, each as a query."""

    merchant_id: int
    customer_id: int
    subscriptions: Select[Any]
    invoices: Select[Any]
    attempts: Select[Any]
    verifications: Select[Any]
    profiles: Select[Any]
    name: str = ""

    @property
    def links(self) -> Select[Any]:
        """The pay-links to what belongs to it; two queries, as no index serves one condition for both kinds."""
        mine = select(_link.c.id).where(_link.c.merchant_id == self.merchant_id)
        to = (_link.c.invoice_id.in_(self.invoices), _link.c.verification_id.in_(self.verifications))
        return select(union_all(*(mine.where(each) for each in to)).subquery().c.id)

    @property
    def names(self) -> Select[Any]:
        """What is written of it in messages, tasks and the audit log."""
        operations = select(_operation.c.id).where(_operation.c.attempt_id.in_(self.attempts))
        prefixed = {
            "sub_": self.subscriptions,
            "inv_": self.invoices,
            "att_": self.attempts,
            "op_": operations,
            "ver_": self.verifications,
            "pro_": self.profiles,
            "link_": self.links,
        }
        parts = [_named(prefix, ids) for prefix, ids in prefixed.items()]
        return select(union_all(select(literal(self.name)), *parts).subquery().c[0])


async def recount(
    session: AsyncSession, of: Of, row: RowMapping, *, size: int = SIZE, before: datetime | None = None
) -> Story:
    """Return the last events of a thing, or those before an instant; what happened at one instant stays together."""
    scope = _scope(of, row)
    found: list[Event] = []
    for kind, query, at in _sources(scope):
        asked = query.add_columns(at.label("happened_at")).where(at.is_not(None))
        asked = asked.where(at < before) if before is not None else asked
        rows = (await session.execute(asked.order_by(at.desc()).limit(size + 1))).mappings()
        found += [Event(each["happened_at"], kind, each) for each in rows]
    found.sort(key=lambda event: (event.at, _RANK[event.kind]), reverse=True)
    last = found[size - 1].at if len(found) > size else None
    shown = [event for event in found if last is None or event.at >= last]
    return Story(shown, last if len(shown) < len(found) else None)


_RANK: Final = {kind: rank for rank, kind in enumerate(Kind)}


def _scope(of: Of, row: RowMapping) -> _Scope:
    return {
        Of.CUSTOMER: _of_customer,
        Of.SUBSCRIPTION: _of_subscription,
        Of.INVOICE: _of_invoice,
        Of.ATTEMPT: _of_attempt,
    }[of](row)


def _of_customer(row: RowMapping) -> _Scope:
    def theirs(of: Any) -> Select[Any]:
        return select(of.c.id).where(of.c.customer_id == row["id"])

    return _Scope(
        row["merchant_id"],
        row["id"],
        subscriptions=theirs(_subscription),
        invoices=theirs(_invoice),
        attempts=theirs(_attempt),
        verifications=theirs(_verification),
        profiles=theirs(_profile),
        name=row["reference"],
    )


def _of_subscription(row: RowMapping) -> _Scope:
    invoices = select(_invoice.c.id).where(_invoice.c.subscription_id == row["id"])
    profiles = select(_profile.c.id).where(_profile.c.id == row["profile_id"])
    renewing = (_verification.c.customer_id == row["customer_id"]) & (_verification.c.profile_id == row["profile_id"])
    own = select(_subscription.c.id).where(_subscription.c.id == row["id"])
    about = (own, invoices, _collecting(invoices), select(_verification.c.id).where(renewing), profiles)
    return _Scope(row["merchant_id"], row["customer_id"], *about, name=row["reference"])


def _of_invoice(row: RowMapping) -> _Scope:
    own = select(_invoice.c.id).where(_invoice.c.id == row["id"])
    about = (_none(_subscription), own, _collecting(own), _none(_verification), _none(_profile))
    return _Scope(row["merchant_id"], row["customer_id"], *about)


def _of_attempt(row: RowMapping) -> _Scope:
    mine = _allocation.c.attempt_id == row["id"]
    invoices = select(_allocation.c.invoice_id).where(mine, _allocation.c.invoice_id.is_not(None))
    verifications = select(_allocation.c.verification_id).where(mine, _allocation.c.verification_id.is_not(None))
    own = select(_attempt.c.id).where(_attempt.c.id == row["id"])
    about = (_none(_subscription), invoices, own, verifications, _none(_profile))
    return _Scope(row["merchant_id"], row["customer_id"], *about)


def _none(of: Any) -> Select[Any]:
    return select(of.c.id).where(false())


def _collecting(invoices: Select[Any]) -> Select[Any]:
    return select(_allocation.c.attempt_id).where(_allocation.c.invoice_id.in_(invoices))


def _named(prefix: str, ids: Select[Any]) -> Select[Any]:
    found = ids.subquery()
    return select(literal(prefix) + cast(found.c[0], String))


_Source = tuple[Kind, Select[Any], ColumnElement[Any]]


def _sources(scope: _Scope) -> Iterator[_Source]:
    """Yield a query for each kind of event, with the column that says when it happened."""
    yield from _of_subscribing(scope)
    yield from _of_owing(scope)
    yield from _of_collecting(scope)
    yield from _of_storing(scope)
    yield from _of_people(scope)


def _of_subscribing(scope: _Scope) -> Iterator[_Source]:
    mine = select(_subscription).where(_subscription.c.id.in_(scope.subscriptions))
    yield Kind.STARTED, mine, _subscription.c.created_at
    yield Kind.CANCELED, mine, _subscription.c.canceled_at
    skipped = select(_decision, _run.c.on_day).join_from(_decision, _run, _run.c.id == _decision.c.run_id)
    yield Kind.SET_ASIDE, skipped.where(_decision.c.subscription_id.in_(scope.subscriptions)), _decision.c.decided_at


def _of_owing(scope: _Scope) -> Iterator[_Source]:
    """Yield what was booked of invoices apart from payments, and that they were paid."""
    apart = or_(*(_posting.c.group_key.startswith(f"{word}:") for word in ("issue", "void", "outside", "taken-back")))
    booked = select(_posting.c.group_key, *_invoice.c).join_from(_posting, _invoice)
    mine = booked.where(_posting.c.invoice_id.in_(scope.invoices), _posting.c.position == 0, apart)
    yield Kind.BOOKED, mine, _posting.c.posted_at
    yield Kind.PAID, select(_invoice).where(_invoice.c.id.in_(scope.invoices)), _invoice.c.paid_at
    links = select(_link, _invoice.c.number).join_from(_link, _invoice, isouter=True).where(_link.c.id.in_(scope.links))
    yield Kind.LINK, links, _link.c.created_at
    yield Kind.LINK_OVER, links, _link.c.superseded_at


def _of_collecting(scope: _Scope) -> Iterator[_Source]:
    attempts = select(_attempt, _account.c.gateway, *_means)
    attempts = attempts.join_from(_attempt, _account, _account.c.id == _attempt.c.gateway_account_id)
    attempts = attempts.join(_profile, _profile.c.id == _attempt.c.profile_id, isouter=True)
    mine = attempts.where(_attempt.c.id.in_(scope.attempts))
    yield Kind.ATTEMPT, mine, func.coalesce(_attempt.c.decided_at, _attempt.c.created_at)
    opened = mine.join(_checkout, _checkout.c.attempt_id == _attempt.c.id).add_columns(_checkout.c.pay_link_id)
    yield Kind.OPENED, opened, _attempt.c.created_at
    given = select(_mandate.c.language, _mandate.c.given_at).where(_mandate.c.attempt_id.in_(scope.attempts))
    yield Kind.CONSENT, given, _mandate.c.given_at
    operations = select(_operation, _attempt.c.key.label("attempt")).join_from(_operation, _attempt)
    yield Kind.OPERATION, operations.where(_operation.c.attempt_id.in_(scope.attempts)), _operation.c.created_at
    columns = [each for each in _notification.c if each.name not in ("body", "headers", "query")]
    heard = select(*columns, _account.c.gateway).join_from(_notification, _account)
    yield Kind.NOTIFICATION, heard.where(_notification.c.attempt_id.in_(scope.attempts)), _notification.c.received_at


def _of_storing(scope: _Scope) -> Iterator[_Source]:
    profiles = select(_profile, _account.c.gateway).join_from(_profile, _account)
    mine = profiles.where(_profile.c.id.in_(scope.profiles))
    yield Kind.PROFILE, mine, _profile.c.created_at
    yield Kind.RENEWED, mine, _profile.c.renewed_at
    verified = select(_verification).where(_verification.c.id.in_(scope.verifications))
    yield Kind.VERIFICATION, verified, _verification.c.created_at
    yield Kind.RELEASED, verified, _verification.c.released_at


def _of_people(scope: _Scope) -> Iterator[_Source]:
    theirs = _message.c.customer_id == scope.customer_id
    yield Kind.MAIL, select(_message).where(theirs, _message.c.cause.in_(scope.names)), _message.c.business_at
    asked = (_task.c.merchant_id == scope.merchant_id) & _task.c.subject.in_(scope.names)
    yield Kind.TASK, select(_task).where(asked), _task.c.created_at
    yield Kind.TASK_DONE, select(_task).where(asked), _task.c.done_at
    done = (_entry.c.merchant_id == scope.merchant_id) & _entry.c.subject.in_(scope.names)
    yield Kind.DONE, select(_entry).where(done), _entry.c.at
