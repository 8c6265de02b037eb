"""What an account takes is found out by what comes back, and no time has to pass for it here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from billing.pace import WAIT_S_MAX, Pace, Sign


def under_way(pace: Pace, count: int) -> None:
    for _ in range(count):
        pace.leave()


def good_answers(pace: Pace, count: int, now: float = 100.0) -> None:
    for _ in range(count):
        pace.leave()
        pace.come_back(now, now, Sign.FINE)


def cut(pace: Pace, flying: int, now: float, wait_s: float | None = None) -> None:
    """Let so many requests be under way, of which one finds the gateway busy."""
    under_way(pace, flying)
    pace.come_back(now, now, Sign.BUSY, wait_s)
    for _ in range(flying - 1):
        pace.come_back(now, now, Sign.NOTHING)


def test_an_account_begins_with_all_that_it_allows_and_waits_for_nothing() -> None:
    pace = Pace(8)
    assert (pace.in_flight, pace.opens_in_s(0.0)) == (8, 0.0)


def test_a_busy_sign_halves_what_was_under_way() -> None:
    pace = Pace(250)
    cut(pace, 20, 1.0)
    assert pace.in_flight == 10


def test_a_busy_sign_halves_the_limit_where_more_was_under_way() -> None:
    pace = Pace(8)
    cut(pace, 20, 1.0)
    assert pace.in_flight == 4


def test_what_was_under_way_together_is_cut_once() -> None:
    """All of a round is turned away; only what left after the cut says whether the cut was enough."""
    pace = Pace(16)
    under_way(pace, 16)
    for number in range(16):
        pace.come_back(0.5, 1.0 + number / 100, Sign.BUSY)
    assert pace.in_flight == 8

    cut(pace, 8, 2.0)
    assert pace.in_flight == 4


def test_one_may_always_be_under_way() -> None:
    pace = Pace(4)
    for now in range(1, 9):
        cut(pace, 1, float(now))
    assert pace.in_flight == 1


def test_a_round_of_good_answers_makes_room_for_one_more() -> None:
    pace = Pace(8)
    cut(pace, 8, 1.0)
    good_answers(pace, 3)
    assert pace.in_flight == 4
    good_answers(pace, 1)
    assert pace.in_flight == 5
    good_answers(pace, 5)
    assert pace.in_flight == 6


def test_there_is_never_more_room_than_the_account_allows() -> None:
    pace = Pace(2)
    good_answers(pace, 20)
    assert pace.in_flight == 2


def test_failures_that_say_nothing_of_load_change_nothing() -> None:
    pace = Pace(8)
    cut(pace, 8, 1.0)
    under_way(pace, 9)
    for _ in range(9):
        pace.come_back(2.0, 3.0, Sign.NOTHING)
    assert (pace.in_flight, pace.opens_in_s(3.0)) == (4, 0.0)


def test_nothing_leaves_before_the_instant_that_the_gateway_asked_for() -> None:
    pace = Pace(8)
    cut(pace, 8, 10.0, wait_s=7.0)
    assert pace.opens_in_s(10.0) == 7.0
    assert pace.opens_in_s(16.0) == 1.0
    assert pace.opens_in_s(17.0) == 0.0


def test_a_late_answer_of_the_same_round_can_ask_for_more_time_and_never_for_less() -> None:
    pace = Pace(8)
    under_way(pace, 3)
    pace.come_back(1.0, 2.0, Sign.BUSY, 7.0)
    pace.come_back(1.0, 2.5, Sign.BUSY, 1.0)
    assert pace.opens_in_s(2.0) == 7.0
    pace.come_back(1.0, 3.0, Sign.BUSY, 9.0)
    assert pace.opens_in_s(2.0) == 10.0


def test_no_gateway_keeps_us_waiting_for_hours() -> None:
    pace = Pace(8)
    cut(pace, 8, 0.0, wait_s=86_400.0)
    assert pace.opens_in_s(0.0) == WAIT_S_MAX


def test_a_gateway_that_refuses_and_asks_for_no_pause_gets_one_all_the_same() -> None:
    pace = Pace(8)
    cut(pace, 8, 10.0, wait_s=0.0)
    assert pace.opens_in_s(10.0) == 0.25


def test_a_gateway_that_does_not_say_how_long_is_left_alone_longer_each_time_and_never_long() -> None:
    pace, pauses = Pace(8), []
    for now in range(0, 2000, 100):
        cut(pace, 1, float(now))
        pauses.append(pace.opens_in_s(float(now)))
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 16.0

    good_answers(pace, 1, 3000.0)
    cut(pace, 1, 4000.0)
    assert pace.opens_in_s(4000.0) == 0.25


def test_requests_leave_at_the_rate_of_the_account_and_of_lost_time_one_is_made_up() -> None:
    pace = Pace(8, per_second_max=4.0)
    for now in (0.0, 100.0):
        pace.admit(now)
        assert pace.opens_in_s(now) == 0.0
        pace.admit(now)
        assert pace.opens_in_s(now) == 0.25
        assert pace.opens_in_s(now + 0.25) == 0.0


def test_a_slow_loop_still_reaches_the_rate() -> None:
    """Each request comes a little late; what is late by less than a gap is not added up."""
    pace, now = Pace(8, per_second_max=4.0), 0.0
    for _ in range(40):
        now += pace.opens_in_s(now) + 0.001
        pace.admit(now)
    assert now < 10.1


def test_the_rate_is_halved_and_comes_back_too_and_never_beyond_what_is_allowed() -> None:
    pace = Pace(2, per_second_max=16.0)
    cut(pace, 2, 1.0)
    assert pace.per_second == 8.0
    good_answers(pace, 3)
    assert pace.per_second == 10.0
    good_answers(pace, 40)
    assert pace.per_second == 16.0


def test_the_rate_never_comes_to_a_stop() -> None:
    pace = Pace(8, per_second_max=16.0)
    for now in range(1, 30):
        cut(pace, 1, float(now))
    assert pace.per_second == 1.0


@given(
    st.integers(1, 300),
    st.lists(st.tuples(st.sampled_from(Sign), st.floats(0, 5), st.none() | st.floats(0, 1e6)), max_size=200),
)
def test_whatever_comes_back_something_may_leave_within_a_minute(
    most: int, heard: list[tuple[Sign, float, float | None]]
) -> None:
    pace, now = Pace(most, per_second_max=float(most)), 0.0
    for sign, took_s, wait_s in heard:
        pace.admit(now)
        pace.leave()
        left_at, now = now, now + took_s
        pace.come_back(left_at, now, sign, wait_s)
        assert 1 <= pace.in_flight <= most
        assert pace.opens_in_s(now) <= WAIT_S_MAX + 0.001
