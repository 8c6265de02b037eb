"""Kill and stop processes of ours, day after day, at every hop and at random instants, and audit what is left."""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.crash.audit import complaints, read
from tests.crash.hops import ANY, TAKEN, Cue
from tests.crash.trial import Instant, Trial

# So many deaths by plan in one night, and in one noon.
PLANNED: Final = 24
HOPS_OF_A_PART: Final = 60
# Dying by chance is mostly done at night, since a noon without customers is only the same once more.
NIGHTLY_SHARE: Final = 4
PART_S: Final = 1.5
TRIES_MAX: Final = 3

Deaths = Cue | Instant
# A hop, and whether it is one of the day.
Place = tuple[str, bool]
WORST: Final[tuple[Place, ...]] = (("mpay24: before the request", False), ("charging._claim: after commit", False))


class FailedError(AssertionError):
    """Something is not as it must be; the message says what, and how to come to it again."""


@dataclass
class Plan:
    """Cues that are still to be given, in the order of the work.

    One that was not reached is among the first of the next day, before others have used up what is due.
    """

    waiting: deque[Cue]
    missed: Counter[Cue] = field(default_factory=Counter)

    def of_a_day(self, count: int) -> list[Cue]:
        day = sorted(self.waiting, key=lambda cue: cue not in self.missed)[:count]
        for cue in day:
            self.waiting.remove(cue)
        return day

    def give_back(self, cue: Cue) -> None:
        self.missed[cue] += 1
        if self.missed[cue] < TRIES_MAX:
            self.waiting.append(cue)


def cues(passed: list[str], times: int) -> Iterator[Cue]:
    """Return a cue for every hop, and for the later times that it is passed."""
    for name, count in Counter(passed).items():
        yield from (Cue(name, nth) for nth in range(1, min(count, times) + 1))
    yield Cue(TAKEN, 1)


@dataclass(frozen=True, slots=True)
class Result:
    """What a campaign did, and what it found, which is nothing if every promise was kept."""

    seed: int
    days: int
    kills: int
    stalls: int
    hops: frozenset[str]
    unreached: frozenset[str]
    left_to_a_person: int
    complaint: str


@dataclass
class Campaign:
    """What is done to the engine on trial, and what came of it."""

    trial: Trial
    seed: int
    by_chance: int = 1
    tell: Callable[[str], None] = lambda _: None
    nights: Plan = field(default_factory=lambda: Plan(deque()))
    noons: Plan = field(default_factory=lambda: Plan(deque()))
    days: int = 0
    rehearsed: frozenset[str] = frozenset()
    left_to_a_person: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311 - it must be possible to do it again

    @property
    def kills(self) -> int:
        return self.trial.killed.total()

    @property
    def stalls(self) -> int:
        return self.trial.stopped.total()

    def result(self, complaint: str = "") -> Result:
        hops = frozenset(self.trial.killed) - {ANY, Instant.name}
        counts = (self.seed, self.days, self.kills, self.stalls)
        return Result(*counts, hops, self.rehearsed - hops, self.left_to_a_person, complaint)

    async def fight(self, *, kills_min: int = 0, times: int = 1, stalls: int = 0) -> None:
        """Kill at every hop, then by chance until there were enough deaths; audit every evening."""
        night, noon = await self.trial.rehearse()
        self.rehearsed = frozenset([*night, *noon, TAKEN])
        self.nights, self.noons = Plan(deque(cues(night, times))), Plan(deque(cues(noon, times)))
        while self.nights.waiting or self.noons.waiting or self.kills < kills_min:
            await self._day()
        for place in self._stalls(night, noon, stalls):
            await self._stalled_day(place)

    async def _day(self) -> None:
        await self.trial.begin_day()
        for cue in [*self.nights.of_a_day(PLANNED), *self._by_chance()]:
            await self._die(self.nights, cue, self.trial.night)
        await self.trial.night()
        for cue in [*self.noons.of_a_day(PLANNED), *self._by_chance()[::NIGHTLY_SHARE]]:
            await self._die(self.noons, cue, self.trial.noon)
        await self.trial.noon()
        await self._evening()

    async def _die(self, plan: Plan, cue: Deaths, part: Any) -> None:
        kills = self.kills
        await part(cue)
        if self.kills == kills and isinstance(cue, Cue) and cue.name != ANY:
            plan.give_back(cue)

    def _by_chance(self) -> list[Deaths]:
        hops = [Cue(ANY, self.random.randint(1, HOPS_OF_A_PART)) for _ in range(self.by_chance)]
        return [*hops, *(Instant(self.random.uniform(0, PART_S)) for _ in range(self.by_chance))]

    async def _evening(self) -> None:
        await self.trial.clear_up()
        await self._audit()
        self.days += 1
        self.tell(f"seed {self.seed}: {self.days} days, {self.kills} kills, {self.stalls} stalls")

    async def _audit(self) -> None:
        trial = self.trial
        books = await read(trial.ctx, trial.gateways.values(), trial.http, today=trial.day, letters=trial.post.letters)
        self.left_to_a_person = len(books.left_to_a_person())
        found = complaints(books)
        if found:
            history = "\n".join(map(str, trial.history))
            raise FailedError(f"seed {self.seed}, day {trial.day}:\n" + "\n".join(found) + f"\nafter\n{history}")

    def _stalls(self, night: list[str], noon: list[str], count: int) -> list[Place]:
        """Choose where to stand still: the worst places first, then others outside a transaction by lot."""
        places = [(name, by_day) for by_day, part in ((False, night), (True, noon)) for name in dict.fromkeys(part)]
        others = [place for place in places if "before commit" not in place[0] and place not in WORST]
        self.random.shuffle(others)
        return [*WORST, *others][:count]

    async def _stalled_day(self, place: Place) -> None:
        name, by_day = place
        await self.trial.begin_day()
        if by_day:
            await self.trial.night()
        await self.trial.stand_still(Cue(name, 1, signal.SIGSTOP), by_day=by_day)
        await self.trial.noon()
        await self._evening()
