from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods import Interval, IntervalError, Period, Unit

intervals = st.builds(Interval, st.sampled_from(Unit), st.integers(1, 24))
days = st.dates(date(2000, 1, 1), date(2100, 12, 31))
numbers = st.integers(-40, 40)


@pytest.mark.parametrize("count", [0, -1])
@pytest.mark.parametrize("unit", Unit)
def test_an_interval_of_nothing_cannot_be_made(unit: Unit, count: int) -> None:
    with pytest.raises(IntervalError, match="at least 1"):
        Interval(unit, count)


@pytest.mark.parametrize(
    ("interval", "anchor", "boundaries"),
    [
        (Interval(Unit.DAY, 10), "2026-02-20", "2026-03-02 2026-03-12"),
        (Interval(Unit.WEEK), "2026-12-28", "2027-01-04 2027-01-11"),
        (Interval(Unit.WEEK, 2), "2024-02-20", "2024-03-05 2024-03-19"),
        (Interval(Unit.MONTH), "2026-01-31", "2026-02-28 2026-03-31 2026-04-30 2026-05-31"),
        (Interval(Unit.MONTH), "2027-12-30", "2028-01-30 2028-02-29 2028-03-30"),
        (Interval(Unit.MONTH, 3), "2026-11-30", "2027-02-28 2027-05-30"),
        (Interval(Unit.YEAR), "2024-02-29", "2025-02-28 2026-02-28 2027-02-28 2028-02-29"),
        (Interval(Unit.YEAR, 4), "2096-02-29", "2100-02-28 2104-02-29"),
    ],
)
def test_a_short_month_borrows_a_day_and_gives_it_back(interval: Interval, anchor: str, boundaries: str) -> None:
    expected = [date.fromisoformat(day) for day in boundaries.split()]

    assert [interval.boundary(date.fromisoformat(anchor), n + 1) for n in range(len(expected))] == expected


@given(intervals, days, numbers)
def test_periods_meet_without_gap_or_overlap(interval: Interval, anchor: date, number: int) -> None:
    this, following = interval.period(anchor, number), interval.period(anchor, number + 1)

    assert this.end == following.start
    assert this.start < this.end
    assert this.last_day in this
    assert this.end not in this
    assert following.start == this.last_day + timedelta(days=1)


@given(intervals, days)
def test_the_first_period_begins_on_the_anchor(interval: Interval, anchor: date) -> None:
    assert interval.period(anchor, 0).start == anchor


@given(intervals, days, days)
def test_every_day_is_in_the_period_whose_number_it_has(interval: Interval, anchor: date, day: date) -> None:
    assert day in interval.period(anchor, interval.number_on(anchor, day))


@given(intervals, days, days)
def test_the_period_from_a_day_on_is_the_first_that_begins_no_earlier(
    interval: Interval, anchor: date, day: date
) -> None:
    number = interval.number_from(anchor, day)

    assert interval.boundary(anchor, number) >= day > interval.boundary(anchor, number - 1)


@given(intervals, days, numbers)
def test_a_boundary_has_the_number_it_was_counted_with(interval: Interval, anchor: date, number: int) -> None:
    boundary = interval.boundary(anchor, number)

    assert interval.number_on(anchor, boundary) == number == interval.number_from(anchor, boundary)


@given(intervals, days, st.integers(1, 40))
def test_a_day_before_the_anchor_has_a_negative_number(interval: Interval, anchor: date, before: int) -> None:
    assert interval.number_on(anchor, anchor - timedelta(days=before)) < 0


def test_a_period_is_half_open() -> None:
    period = Period(date(2026, 1, 31), date(2026, 2, 28))

    assert date(2026, 1, 31) in period
    assert date(2026, 2, 27) in period
    assert date(2026, 2, 28) not in period
    assert date(2026, 1, 30) not in period
    assert period.last_day == date(2026, 2, 27)
