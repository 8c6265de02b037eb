"""The life of a subscription, and the questions people ask of one."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from billing.periods import Interval


class SubscriptionState(StrEnum):
    """Where a subscription stands."""

    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    CANCELED = "canceled"
    ENDED = "ended"


class Collection(StrEnum):
    """How a subscription's invoices are collected: by charging the profile, or by a pay-link each time.

    A link turns into charging when a customer pays by means that are stored, and so agrees to the next charges.
    """

    CHARGE = "charge"
    LINK = "link"


_S = SubscriptionState

# Canceled means: runs to the end of the period that is paid for, and is not renewed.
MOVES: Final = MappingProxyType(
    {
        _S.TRIALING: frozenset({_S.ACTIVE, _S.PAST_DUE, _S.PAUSED, _S.CANCELED, _S.ENDED}),
        _S.ACTIVE: frozenset({_S.PAST_DUE, _S.PAUSED, _S.CANCELED, _S.ENDED}),
        _S.PAST_DUE: frozenset({_S.ACTIVE, _S.PAUSED, _S.CANCELED, _S.ENDED}),
        _S.PAUSED: frozenset({_S.TRIALING, _S.ACTIVE, _S.PAST_DUE, _S.CANCELED, _S.ENDED}),
        _S.CANCELED: frozenset({_S.TRIALING, _S.ACTIVE, _S.PAST_DUE, _S.ENDED}),
        _S.ENDED: frozenset(),
    }
)

BILLABLE: Final = (_S.TRIALING, _S.ACTIVE, _S.PAST_DUE)


def next_due_on(state: SubscriptionState, interval: Interval, anchor_on: date, next_period: int) -> date | None:
    """Return the day the next period falls due, or nothing for a subscription that is not billed."""
    return interval.boundary(anchor_on, next_period) if state in BILLABLE else None


def going_on(anchor_on: date, next_period: int, today: date, *, overdue: bool) -> SubscriptionState:
    """Return where a subscription stands that is billed, from what there is of it and what it owes."""
    if next_period == 0 and anchor_on > today:
        return _S.TRIALING
    return _S.PAST_DUE if overdue else _S.ACTIVE


def ends_on(interval: Interval, anchor_on: date, next_period: int, today: date) -> date:
    """Return the first day after those that were billed, at which a subscription ends that is not renewed.

    What is due and not billed yet is not billed any more; nothing ends before today.
    """
    return max(today, interval.boundary(anchor_on, next_period))


def period_after_import(interval: Interval, anchor_on: date, billed_until: date | None) -> int:
    """Return the number of the first period that is not billed yet.

    `billed_until` is the first day that is not billed; it must be a boundary of the
    subscription, else `ValueError` names the two boundaries around it.
    """
    if billed_until is None or billed_until <= anchor_on:
        return 0
    number = interval.number_from(anchor_on, billed_until)
    if interval.boundary(anchor_on, number) != billed_until:
        before, after = interval.boundary(anchor_on, number - 1), interval.boundary(anchor_on, number)
        raise ValueError(f"{billed_until} is inside a period; its periods begin on {before} and {after}")
    return number


def period_on_resuming(interval: Interval, anchor_on: date, next_period: int, today: date) -> int:
    """Return the number of the period that a paused subscription is billed for next.

    Days of a pause are not billed, and neither is the rest of a period in which it ends: the first
    period that begins on the day or later is, but never one that was billed before.
    """
    return max(next_period, interval.number_from(anchor_on, today))
