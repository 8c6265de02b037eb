"""The calendar of billing: half-open periods counted from an anchor day."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum


class IntervalError(ValueError):
    """An interval that cannot be billed, such as every 0 months."""


class Unit(StrEnum):
    """What an interval is counted in."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Interval:
    """How long one period lasts: a count of days, weeks, months or years."""

    unit: Unit
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise IntervalError(f"an interval counts at least 1 {self.unit}, not {self.count}")

    def boundary(self, anchor: date, number: int) -> date:
        """Return the day on which the period with the number begins; period 0 begins on the anchor.

        A month that is too short borrows its last day, and the next one gives
        it back, because every boundary is counted from the anchor.
        """
        steps = self.count * number
        match self.unit:
            case Unit.DAY:
                return anchor + timedelta(days=steps)
            case Unit.WEEK:
                return anchor + timedelta(weeks=steps)
            case Unit.MONTH:
                return _months_after(anchor, steps)
            case Unit.YEAR:
                return _months_after(anchor, 12 * steps)

    def period(self, anchor: date, number: int) -> Period:
        """Return the billing period with the given number; the first is number 0.

        Every boundary is counted from the anchor, never from the boundary before
        it. A subscription begun on 31 January therefore renews on 28 February
        and again on 31 March: a short month borrows a day and gives it back.
        """
        return Period(self.boundary(anchor, number), self.boundary(anchor, number + 1))

    def number_on(self, anchor: date, day: date) -> int:
        """Return the number of the period that contains the day, negative before the anchor."""
        number = self._guess(anchor, day)
        return number if self.boundary(anchor, number) <= day else number - 1

    def number_from(self, anchor: date, day: date) -> int:
        """Return the number of the first period that begins on the day or later."""
        number = self.number_on(anchor, day)
        return number if self.boundary(anchor, number) == day else number + 1

    def _guess(self, anchor: date, day: date) -> int:
        """Return the number wanted or the one after it, which begins later in the same month."""
        if self.unit in (Unit.DAY, Unit.WEEK):
            return (day - anchor).days // (self.count * (7 if self.unit is Unit.WEEK else 1))
        months = (day.year - anchor.year) * 12 + day.month - anchor.month
        return months // (self.count * (12 if self.unit is Unit.YEAR else 1))


@dataclass(frozen=True, slots=True)
class Period:
    """Days paid for, `[start, end)`: the end is the first day of the next period."""

    start: date
    end: date

    @property
    def last_day(self) -> date:
        """The last day that belongs to the period."""
        return self.end - timedelta(days=1)

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end


def _months_after(anchor: date, months: int) -> date:
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return date(year, month + 1, min(anchor.day, monthrange(year, month + 1)[1]))
