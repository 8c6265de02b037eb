from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.clock import Clock, ManualClock, SystemClock, day_in

MIDNIGHT = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)


def test_the_system_clock_is_aware_and_in_utc_and_never_runs_backwards() -> None:
    clock: Clock = SystemClock()
    first, second = clock.now(), clock.now()

    assert first.tzinfo is UTC
    assert first <= second


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(MIDNIGHT)

    assert clock.now() == clock.now() == MIDNIGHT
    clock.advance(timedelta(days=31))
    assert clock.now() == datetime(2026, 4, 1, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "instant", "day"),
    [
        ("Europe/Vienna", "2026-02-28T22:59:59+00:00", "2026-02-28"),
        ("Europe/Vienna", "2026-02-28T23:00:00+00:00", "2026-03-01"),
        ("Europe/Vienna", "2026-06-30T22:00:00+00:00", "2026-07-01"),
        ("UTC", "2026-02-28T23:59:59+00:00", "2026-02-28"),
        ("America/New_York", "2026-03-01T04:59:59+00:00", "2026-02-28"),
        ("Pacific/Auckland", "2026-12-31T11:00:00+00:00", "2027-01-01"),
    ],
)
def test_the_day_is_the_merchants_own(zone: str, instant: str, day: str) -> None:
    assert day_in(zone, datetime.fromisoformat(instant)) == date.fromisoformat(day)
