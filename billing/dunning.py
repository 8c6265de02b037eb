"""What a decline means, and what is done about an open invoice day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from billing.gateway import DeclineClass


class StepKind(StrEnum):
    """What a step of the ladder does."""

    RETRY = "retry"
    REMIND = "remind"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a ladder, so many days after the invoice first failed to be paid."""

    kind: StepKind
    after_days: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step with its day."""

    kind: StepKind
    on: date


Ladder = tuple[Rung, ...]

DEFAULT_LADDER: Final[Ladder] = (
    Rung(StepKind.RETRY, 3),
    Rung(StepKind.REMIND, 7),
    Rung(StepKind.PAUSE, 14),
)


def can_retry(decline: DeclineClass | None) -> bool:
    """Answer whether charging the same profile again by ourselves makes sense."""
    return decline == DeclineClass.RETRY_LATER


def steps_ahead(ladder: Ladder, begun_on: date, after: date, *, retry: bool) -> list[Step]:
    """Return the steps still to come after a day, in order; retries only where one makes sense."""
    rungs = sorted(ladder, key=lambda rung: rung.after_days)
    steps = (Step(rung.kind, begun_on + timedelta(days=rung.after_days)) for rung in rungs)
    return [step for step in steps if step.on > after and (retry or step.kind != StepKind.RETRY)]


def next_step(ladder: Ladder, begun_on: date, after: date, *, retry: bool) -> Step | None:
    """Return the first step after a day, or nothing when the ladder is at its end."""
    return next(iter(steps_ahead(ladder, begun_on, after, retry=retry)), None)


def begun_as_if(begun_on: date, planned_on: date, today: date) -> date:
    """Return the day the ladder counts from, moved by as much as the step planned for a day comes late.

    Days on which nobody dunned must not make a reminder and the last step fall on one day.
    """
    return begun_on + max(today - planned_on, timedelta())
