"""How fast requests may leave for one gateway account: what it takes is found out, and never more than it allows.

A gateway that is too busy says so (429, 503) or says nothing in time. Then half as many requests are under way as
before, nothing leaves for a moment, and with every round of good answers there is room for one more again.

The instants here are readings of one clock that only goes forward, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import Final

WAIT_S_MAX: Final = 60.0
"""No gateway keeps us waiting longer by one answer, whatever it asks for."""

_PAUSE_S: Final = 0.25
_PAUSE_DOUBLINGS: Final = 6
_SLOWEST: Final = 1 / 16


class Sign(Enum):
    """What the end of a request says about how busy its gateway is."""

    FINE = auto()
    BUSY = auto()
    LATE = auto()
    NOTHING = auto()


@dataclass(slots=True)
class Pace:
    """How many requests of an account may be under way now (`in_flight`), and when the next of them may leave.

    `per_second_max` is for a gateway that limits how many come in a second, None for one that does not. How often the
    gateway said that it is too busy is counted (`turned_away`); what it says nothing to in time is no such word.
    """

    in_flight_max: int = 250
    per_second_max: float | None = None
    in_flight: int = field(init=False)
    per_second: float | None = field(init=False)
    turned_away: int = field(default=0, init=False)
    _under_way: int = 0
    _good: int = 0
    _cuts: int = 0
    _cut_at: float = -inf
    _opens_at: float = -inf
    _next_at: float = -inf

    def __post_init__(self) -> None:
        self.in_flight, self.per_second = self.in_flight_max, self.per_second_max

    def opens_in_s(self, now: float) -> float:
        """Return how long the next request must wait, whatever is under way; 0 where it may leave now."""
        return max(0.0, self._opens_at - now, self._next_at - now)

    def admit(self, now: float) -> None:
        """Reckon with a request that leaves now; one that came late does not hold up the next."""
        if self.per_second is not None:
            gap_s = 1 / self.per_second
            self._next_at = max(self._next_at, now - gap_s) + gap_s

    def leave(self) -> None:
        """Note that a request is under way."""
        self._under_way += 1

    def come_back(self, left_at: float, now: float, sign: Sign, wait_s: float | None = None) -> None:
        """Note the end of a request, and what it says; `wait_s` is what a busy gateway asked for, if anything."""
        self.turned_away += sign is Sign.BUSY
        if sign in (Sign.BUSY, Sign.LATE):
            self._slow_down(left_at, now, wait_s)
        elif sign is Sign.FINE:
            self._speed_up()
        self._under_way -= 1

    def _slow_down(self, left_at: float, now: float, wait_s: float | None) -> None:
        """Cut once for all that was under way together: what left before the last cut says nothing about it.

        The pause is our own where the gateway asks for less, or it would be met at once with what it just refused.
        """
        pause_s = 0.0
        if left_at >= self._cut_at:
            pause_s = _PAUSE_S * 2 ** min(self._cuts, _PAUSE_DOUBLINGS)
            self.in_flight = max(1, min(self.in_flight, self._under_way) // 2)
            if self.per_second is not None and self.per_second_max is not None:
                self.per_second = max(self.per_second / 2, self.per_second_max * _SLOWEST)
            self._cut_at, self._good, self._cuts = now, 0, self._cuts + 1
        self._opens_at = max(self._opens_at, now + max(pause_s, min(wait_s or 0.0, WAIT_S_MAX)))

    def _speed_up(self) -> None:
        """Make room for one more after as many good answers as there was room for."""
        self._good += 1
        if self._good < self.in_flight:
            return
        self.in_flight = min(self.in_flight + 1, self.in_flight_max)
        if self.per_second is not None and self.per_second_max is not None:
            self.per_second = min(self.per_second + self.per_second_max * _SLOWEST, self.per_second_max)
        self._good = self._cuts = 0
