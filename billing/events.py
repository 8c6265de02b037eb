"""What is told to those who listen: the kinds of event, which change is which, and what an answer to one means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from billing.gateway import OperationKind
from billing.invoices import InvoiceState
from billing.payments import AttemptState
from billing.subscriptions import SubscriptionState


class EventType(StrEnum):
    """Everything that is told; a name is never given another meaning."""

    SUBSCRIPTION_STARTED = "subscription.started"
    SUBSCRIPTION_ACTIVATED = "subscription.activated"
    SUBSCRIPTION_CHANGED = "subscription.changed"
    SUBSCRIPTION_PAST_DUE = "subscription.past_due"
    SUBSCRIPTION_PAUSED = "subscription.paused"
    SUBSCRIPTION_RESUMED = "subscription.resumed"
    SUBSCRIPTION_CANCELED = "subscription.canceled"
    SUBSCRIPTION_REINSTATED = "subscription.reinstated"
    SUBSCRIPTION_ENDED = "subscription.ended"
    INVOICE_ISSUED = "invoice.issued"
    INVOICE_PAID = "invoice.paid"
    INVOICE_VOID = "invoice.void"
    INVOICE_UNCOLLECTIBLE = "invoice.uncollectible"
    INVOICE_REOPENED = "invoice.reopened"
    ATTEMPT_APPROVED = "attempt.approved"
    ATTEMPT_DECLINED = "attempt.declined"
    PROFILE_STORED = "profile.stored"
    PROFILE_RENEWED = "profile.renewed"
    PROFILE_FAILED = "profile.failed"
    PROFILE_FORGOTTEN = "profile.forgotten"
    REFUND_MADE = "refund.made"
    CHARGEBACK_RECEIVED = "chargeback.received"
    DEBIT_RETURNED = "debit.returned"
    WEBHOOK_TEST = "webhook.test"


_S, _T = SubscriptionState, EventType

_ENTERED: Final = MappingProxyType(
    {
        _S.TRIALING: _T.SUBSCRIPTION_ACTIVATED,
        _S.ACTIVE: _T.SUBSCRIPTION_ACTIVATED,
        _S.PAST_DUE: _T.SUBSCRIPTION_PAST_DUE,
        _S.PAUSED: _T.SUBSCRIPTION_PAUSED,
        _S.CANCELED: _T.SUBSCRIPTION_CANCELED,
        _S.ENDED: _T.SUBSCRIPTION_ENDED,
    }
)
_LEFT: Final = MappingProxyType({_S.PAUSED: _T.SUBSCRIPTION_RESUMED, _S.CANCELED: _T.SUBSCRIPTION_REINSTATED})
_INVOICE: Final = MappingProxyType(
    {
        InvoiceState.OPEN: _T.INVOICE_REOPENED,
        InvoiceState.PAID: _T.INVOICE_PAID,
        InvoiceState.VOID: _T.INVOICE_VOID,
        InvoiceState.UNCOLLECTIBLE: _T.INVOICE_UNCOLLECTIBLE,
    }
)
_ATTEMPT: Final = MappingProxyType(
    {AttemptState.APPROVED: _T.ATTEMPT_APPROVED, AttemptState.DECLINED: _T.ATTEMPT_DECLINED}
)
_OPERATION: Final = MappingProxyType(
    {
        OperationKind.REFUND: _T.REFUND_MADE,
        OperationKind.CREDIT: _T.REFUND_MADE,
        OperationKind.CHARGEBACK: _T.CHARGEBACK_RECEIVED,
        OperationKind.RETURNED_DEBIT: _T.DEBIT_RETURNED,
    }
)


def of_subscription(held: SubscriptionState, now: SubscriptionState) -> EventType:
    """Return what the move of a subscription is called, or that it changed where it stands as it stood."""
    if now == held:
        return _T.SUBSCRIPTION_CHANGED
    goes_on = now in (_S.TRIALING, _S.ACTIVE, _S.PAST_DUE)
    return _LEFT[held] if goes_on and held in _LEFT else _ENTERED[now]


def of_invoice(held: InvoiceState, now: InvoiceState) -> EventType | None:
    """Return what the move of an invoice is called; one that stands as it stood is no news."""
    return None if now == held else _INVOICE.get(now)


def of_attempt(held: AttemptState, now: AttemptState) -> EventType | None:
    """Return what the end of an attempt is called, where it says something about the customer's money."""
    return None if now == held else _ATTEMPT.get(now)


def of_operation(kind: OperationKind) -> EventType | None:
    """Return what an operation that was done is called; captures and reversals are our own business."""
    return _OPERATION.get(kind)


# --- what an answer means ---------------------------------------------------

RETRY_DELAYS_S: Final = (5, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
"""How long after each try the next one is made: the schedule that the specification suggests, a good three days."""

FAILING_S_MAX: Final = 3 * 24 * 3600
"""An endpoint that has taken nothing for so long is switched off, and a person is told."""

WAIT_S_MAX: Final = 24 * 3600
_REST_S_MAX: Final = 60
_GONE: Final = 410
_BUSY: Final = (429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a try: delivered, or tried again after `wait_s`, or given up where that is empty.

    For `rest_s` nothing else is sent to the endpoint either; one that is `gone` gets nothing any more.
    """

    delivered: bool = False
    wait_s: int | None = None
    rest_s: int = 0
    gone: bool = False


def judge(status: int | None, tries: int, retry_after_s: int | None = None) -> Verdict:
    """Judge a try by its status, which is empty where no answer came, and by how many were made with it."""
    if status is not None and 200 <= status < 300:
        return Verdict(delivered=True)
    if status == _GONE:
        return Verdict(wait_s=RETRY_DELAYS_S[0], gone=True)
    asked_s = min(retry_after_s or 0, WAIT_S_MAX) if status in _BUSY else 0
    if tries > len(RETRY_DELAYS_S):
        return Verdict(rest_s=asked_s)
    wait_s = max(RETRY_DELAYS_S[tries - 1], asked_s)
    is_away = status is None or status in _BUSY
    return Verdict(wait_s=wait_s, rest_s=max(asked_s, min(wait_s, _REST_S_MAX)) if is_away else 0)
