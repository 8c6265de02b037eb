"""The clock: business time that test clocks move, and the one reader of the time of day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    """Something that can say what time it is; read once, at an entrance, and passed down as `now`."""

    def now(self) -> datetime:
        """Return the present instant, aware and in UTC."""
        ...


class SystemClock:
    """The time of day of this machine."""

    def now(self) -> datetime:
        """Return the present instant, aware and in UTC."""
        return datetime.now(UTC)


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved, for tests and simulations."""

    instant: datetime

    def now(self) -> datetime:
        """Return the instant the clock was last set to."""
        return self.instant

    def advance(self, step: timedelta) -> None:
        """Move the clock forward by the step."""
        self.instant += step


def day_in(zone: str, now: datetime) -> date:
    """Return the calendar day it is in the time zone at the instant."""
    return now.astimezone(ZoneInfo(zone)).date()
