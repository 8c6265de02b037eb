from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.dunning import (
    DEFAULT_LADDER,
    Ladder,
    Rung,
    Step,
    StepKind,
    begun_as_if,
    can_retry,
    next_step,
    steps_ahead,
)
from billing.gateway import DeclineClass

BEGUN = date(2026, 2, 27)
RETRY = Step(StepKind.RETRY, date(2026, 3, 2))
REMIND = Step(StepKind.REMIND, date(2026, 3, 6))
PAUSE = Step(StepKind.PAUSE, date(2026, 3, 13))

ladders = st.lists(st.builds(Rung, st.sampled_from(StepKind), st.integers(1, 60)), max_size=8).map(tuple)
days = st.dates(date(2026, 1, 1), date(2026, 12, 31))


@pytest.mark.parametrize(
    ("decline", "again"),
    [
        (DeclineClass.RETRY_LATER, True),
        (DeclineClass.NEEDS_CUSTOMER, False),
        (DeclineClass.NEEDS_NEW_PROFILE, False),
        (DeclineClass.NEVER, False),
        (None, False),
    ],
)
def test_a_profile_is_charged_again_only_where_time_alone_can_help(decline: DeclineClass | None, again: bool) -> None:
    assert can_retry(decline) == again


def test_every_decline_class_has_been_thought_of() -> None:
    assert len(DeclineClass) == 4


@pytest.mark.parametrize(
    ("after", "retry", "steps"),
    [
        (BEGUN, True, [RETRY, REMIND, PAUSE]),
        (BEGUN, False, [REMIND, PAUSE]),
        (RETRY.on - timedelta(days=1), True, [RETRY, REMIND, PAUSE]),
        (RETRY.on, True, [REMIND, PAUSE]),
        (REMIND.on, True, [PAUSE]),
        (PAUSE.on, True, []),
    ],
)
def test_the_default_ladder_retries_reminds_and_pauses(after: date, retry: bool, steps: list[Step]) -> None:
    assert steps_ahead(DEFAULT_LADDER, BEGUN, after, retry=retry) == steps
    assert next_step(DEFAULT_LADDER, BEGUN, after, retry=retry) == (steps[0] if steps else None)


@given(ladders, days, days, st.booleans())
def test_steps_come_in_the_order_of_their_days_and_after_the_day_asked_for(
    ladder: Ladder, begun_on: date, after: date, retry: bool
) -> None:
    steps = steps_ahead(ladder, begun_on, after, retry=retry)

    assert [step.on for step in steps] == sorted(step.on for step in steps)
    assert all(step.on > after for step in steps)
    assert retry or all(step.kind != StepKind.RETRY for step in steps)


@given(ladders, days, st.booleans())
def test_climbing_step_by_step_meets_every_day_of_the_ladder_once(ladder: Ladder, begun_on: date, retry: bool) -> None:
    met, day = [], begun_on
    while step := next_step(ladder, begun_on, day, retry=retry):
        day = step.on
        met.append(day)

    assert met == sorted({step.on for step in steps_ahead(ladder, begun_on, begun_on, retry=retry)})


@pytest.mark.parametrize(("today", "moved_by"), [(RETRY.on, 0), (RETRY.on + timedelta(days=9), 9), (BEGUN, 0)])
def test_a_step_that_comes_late_moves_the_rest_of_the_ladder(today: date, moved_by: int) -> None:
    assert begun_as_if(BEGUN, RETRY.on, today) == BEGUN + timedelta(days=moved_by)


@given(days, st.integers(0, 90))
def test_days_on_which_nobody_dunned_do_not_make_two_steps_fall_on_one_day(begun_on: date, late_by: int) -> None:
    first = steps_ahead(DEFAULT_LADDER, begun_on, begun_on, retry=True)[0]
    today = first.on + timedelta(days=late_by)
    following = next_step(DEFAULT_LADDER, begun_as_if(begun_on, first.on, today), today, retry=True)

    assert following is not None
    assert following.on - today == timedelta(days=4)
