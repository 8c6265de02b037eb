from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods import Interval, Unit
from billing.subscriptions import (
    BILLABLE,
    SubscriptionState,
    ends_on,
    going_on,
    next_due_on,
    period_after_import,
    period_on_resuming,
)

MONTHLY = Interval(Unit.MONTH)
ANCHOR = date(2026, 1, 31)

intervals = st.builds(Interval, st.sampled_from(Unit), st.integers(1, 12))
days = st.dates(date(2020, 1, 1), date(2040, 12, 31))
numbers = st.integers(0, 60)


@pytest.mark.parametrize("state", BILLABLE)
def test_a_subscription_that_is_billed_falls_due_when_its_next_period_begins(state: SubscriptionState) -> None:
    assert next_due_on(state, MONTHLY, ANCHOR, 1) == date(2026, 2, 28)


@pytest.mark.parametrize("state", sorted(set(SubscriptionState) - set(BILLABLE)))
def test_a_subscription_that_is_not_billed_never_falls_due(state: SubscriptionState) -> None:
    assert next_due_on(state, MONTHLY, ANCHOR, 1) is None


@pytest.mark.parametrize(
    ("billed_until", "number"),
    [(None, 0), ("2025-12-24", 0), ("2026-01-31", 0), ("2026-02-28", 1), ("2026-03-31", 2), ("2027-01-31", 12)],
)
def test_an_imported_subscription_goes_on_where_it_was_billed_until(billed_until: str | None, number: int) -> None:
    day = date.fromisoformat(billed_until) if billed_until else None

    assert period_after_import(MONTHLY, ANCHOR, day) == number


def test_a_day_inside_a_period_is_refused_with_the_boundaries_around_it() -> None:
    with pytest.raises(
        ValueError, match="2026-03-15 is inside a period; its periods begin on 2026-02-28 and 2026-03-31"
    ):
        period_after_import(MONTHLY, ANCHOR, date(2026, 3, 15))


@given(intervals, days, numbers)
def test_what_is_billed_until_a_boundary_is_not_billed_again_and_nothing_is_left_out(
    interval: Interval, anchor: date, number: int
) -> None:
    assert period_after_import(interval, anchor, interval.boundary(anchor, number)) == number


@pytest.mark.parametrize(
    ("next_period", "today", "number"),
    [
        (2, "2026-02-15", 2),
        (2, "2026-03-31", 2),
        (2, "2026-04-01", 3),
        (2, "2026-04-30", 3),
        (0, "2025-06-01", 0),
    ],
)
def test_a_subscription_resumes_with_the_first_period_after_its_pause(
    next_period: int, today: str, number: int
) -> None:
    assert period_on_resuming(MONTHLY, ANCHOR, next_period, date.fromisoformat(today)) == number


@given(intervals, days, numbers, days)
def test_resuming_bills_no_period_twice_and_no_day_of_the_pause(
    interval: Interval, anchor: date, next_period: int, today: date
) -> None:
    number = period_on_resuming(interval, anchor, next_period, today)

    assert number >= next_period
    assert number == next_period or interval.boundary(anchor, number) >= today


@pytest.mark.parametrize(
    ("next_period", "today", "overdue", "state"),
    [
        (0, "2026-01-30", False, "trialing"),
        (0, "2026-01-30", True, "trialing"),
        (0, "2026-01-31", False, "active"),
        (1, "2026-01-30", False, "active"),
        (1, "2026-02-01", True, "past_due"),
    ],
)
def test_a_subscription_that_goes_on_stands_where_what_there_is_of_it_says(
    next_period: int, today: str, overdue: bool, state: str
) -> None:
    assert going_on(ANCHOR, next_period, date.fromisoformat(today), overdue=overdue) == state


@pytest.mark.parametrize(
    ("next_period", "today", "end"),
    [(1, "2026-02-10", "2026-02-28"), (1, "2026-02-28", "2026-02-28"), (1, "2026-03-05", "2026-03-05")],
)
def test_a_canceled_subscription_ends_when_its_billed_days_do_but_never_in_the_past(
    next_period: int, today: str, end: str
) -> None:
    assert ends_on(MONTHLY, ANCHOR, next_period, date.fromisoformat(today)) == date.fromisoformat(end)
