from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.gateway import Approved, DeclineClass, Declined, NotSent, Outcome, Pending, Refused, Unknown
from billing.money import Money
from billing.payments import (
    IN_DOUBT,
    MOVES,
    OPEN,
    AttemptState,
    absorb,
    attempt_key,
    found_out,
    owed_key,
    state_named_by,
)

S = AttemptState
NAMED: list[tuple[Outcome, AttemptState]] = [
    (Approved("1", Money(2500, "EUR")), S.APPROVED),
    (Refused("ACCESS_DENIED", "wrong password"), S.REFUSED),
    (Pending(redirect="https://gateway.example/page"), S.PENDING),
    (NotSent("connection refused"), S.NOT_SENT),
    (Unknown("timed out"), S.UNKNOWN),
    *((Declined("EXPIRED", decline), S.DECLINED) for decline in DeclineClass),
]

outcomes = st.sampled_from([outcome for outcome, _ in NAMED])
states = st.sampled_from(AttemptState)


@pytest.mark.parametrize(("outcome", "state"), NAMED)
def test_every_answer_names_a_state(outcome: Outcome, state: AttemptState) -> None:
    assert state_named_by(outcome) == state


@pytest.mark.parametrize(("outcome", "state"), NAMED)
def test_the_first_answer_to_what_was_sent_is_taken_as_it_is(outcome: Outcome, state: AttemptState) -> None:
    assert absorb(S.SENT, outcome) == state


@pytest.mark.parametrize(
    ("held", "outcome", "after"),
    [
        (S.PENDING, Unknown("timed out"), S.PENDING),
        (S.UNKNOWN, Unknown("timed out again"), S.UNKNOWN),
        (S.UNKNOWN, Pending(), S.PENDING),
        (S.UNKNOWN, NotSent("nothing there"), S.NOT_SENT),
        (S.UNKNOWN, Refused("ACCESS_DENIED", "the question was refused, not the charge"), S.UNKNOWN),
        (S.DECLINED, Pending(), S.DECLINED),
        (S.NOT_SENT, Declined("DECLINED", DeclineClass.RETRY_LATER), S.NOT_SENT),
        (S.CREATED, Declined("DECLINED", DeclineClass.RETRY_LATER), S.CREATED),
    ],
)
def test_news_that_changes_nothing_leaves_the_state_held(
    held: AttemptState, outcome: Outcome, after: AttemptState
) -> None:
    assert absorb(held, outcome) == after


@pytest.mark.parametrize("held", [S.PENDING, S.UNKNOWN, S.DECLINED, S.NOT_SENT, S.REFUSED, S.WITHDRAWN])
def test_a_late_truth_turns_what_was_given_up_into_a_payment(held: AttemptState) -> None:
    assert absorb(held, NAMED[0][0]) == S.APPROVED


@given(st.lists(st.tuples(outcomes, st.booleans())))
def test_nothing_that_is_heard_takes_an_approval_back(news: list[tuple[Outcome, bool]]) -> None:
    held = S.APPROVED
    for outcome, page_open in news:
        held = absorb(held, outcome, page_open=page_open)

    assert held == S.APPROVED


@given(states, outcomes, st.booleans())
def test_hearing_the_same_news_twice_changes_nothing_more(
    held: AttemptState, outcome: Outcome, page_open: bool
) -> None:
    once = absorb(held, outcome, page_open=page_open)

    assert absorb(once, outcome, page_open=page_open) == once


@given(states, outcomes, st.booleans())
def test_news_never_makes_a_move_that_is_not_listed(held: AttemptState, outcome: Outcome, page_open: bool) -> None:
    after = absorb(held, outcome, page_open=page_open)

    assert after == held or after in MOVES[held]


@given(st.permutations([outcome for outcome, _ in NAMED]))
def test_an_approval_wins_in_whatever_order_the_news_of_a_charge_comes(news: list[Outcome]) -> None:
    held = S.SENT
    for outcome in news:
        held = absorb(held, outcome)

    assert held == S.APPROVED


@given(outcomes.filter(lambda outcome: not isinstance(outcome, Approved)))
def test_a_failed_try_on_an_open_page_is_not_the_end(outcome: Outcome) -> None:
    assert absorb(S.PENDING, outcome, page_open=True) == S.PENDING


@pytest.mark.parametrize(
    ("outcome", "after"),
    [
        (Approved("1", Money(2500, "EUR")), S.APPROVED),
        (Declined("DECLINED", DeclineClass.NEEDS_CUSTOMER), S.DECLINED),
        (NotSent("the page is over and nothing is booked"), S.NOT_SENT),
    ],
)
def test_a_page_is_left_by_success_at_once_and_by_failure_when_it_is_over(
    outcome: Outcome, after: AttemptState
) -> None:
    assert absorb(S.PENDING, outcome) == after


def test_what_is_in_doubt_is_open_and_what_is_over_is_neither() -> None:
    assert set(OPEN) - set(IN_DOUBT) == {S.CREATED}
    assert not {S.APPROVED, S.DECLINED, S.REFUSED, S.NOT_SENT, S.WITHDRAWN} & set(OPEN)


@given(st.sampled_from(["INV", "VER"]), st.lists(st.text() | st.integers(), min_size=1), st.integers(1, 999_999_999))
def test_a_key_fits_every_wire(kind: str, parts: list[str | int], number: int) -> None:
    owed = owed_key(kind, *parts)

    assert len(owed) <= 24
    assert re.fullmatch(r"[A-Z0-9-]{1,30}", attempt_key(owed, number))


def test_a_key_is_the_same_after_any_restore() -> None:
    assert attempt_key(owed_key("INV", "a1b2", 7, "period"), 2) == attempt_key(owed_key("INV", "a1b2", 7, "period"), 2)
    assert owed_key("INV", "a1b2", 7, "period") == "INV-3CZWKFHXYRBNSEM7"


@given(st.lists(st.tuples(st.text("ab", min_size=1), st.integers(0, 999)), min_size=2, unique=True))
def test_two_owed_things_never_share_a_key(things: list[tuple[str, int]]) -> None:
    assert len({owed_key("INV", *thing) for thing in things}) == len(things)


@pytest.mark.parametrize("answer", [outcome for outcome, _ in NAMED])
def test_only_a_rejected_question_has_told_nothing(answer: Outcome) -> None:
    assert isinstance(found_out(answer), Unknown) == isinstance(answer, Refused | Unknown)
    assert isinstance(answer, Refused) or found_out(answer) == answer
