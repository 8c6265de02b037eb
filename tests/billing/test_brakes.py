from __future__ import annotations

from dataclasses import replace

import pytest

from billing.brakes import Brakes, Load, Tally, Voice, why_not_begin, why_stop

BRAKES = Brakes(least_charges=10, declined_percent=50, failed_percent=20, growth_percent=100)
USUAL = {"main EUR": Load(100, 250_000)}
VOICE = Voice({"main": "mPAY24 (main)"}, "en-IE")


@pytest.mark.parametrize(
    "planned",
    [
        {},
        {"main EUR": Load(200, 500_000)},
        {"main EUR": Load(1, 1)},
        {"main EUR": Load(100, 250_000), "other EUR": Load(10_000, 99_000_000)},
    ],
)
def test_a_run_like_others_begins(planned: dict[str, Load]) -> None:
    assert why_not_begin(BRAKES, planned, USUAL, VOICE) == ""


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (
            Load(201, 250_000),
            "201 charges in EUR are due through mPAY24 (main), and no recent run had more than 100",
        ),
        (
            Load(100, 500_001),
            "€5,000.01 is due through mPAY24 (main), and no recent run had more than €2,500.00",
        ),
    ],
)
def test_more_than_the_growth_allowed_needs_a_word(load: Load, says: str) -> None:
    assert why_not_begin(BRAKES, {"main EUR": load}, USUAL, VOICE) == says


def test_growth_is_judged_only_against_runs_that_say_something() -> None:
    assert why_not_begin(BRAKES, {"main EUR": Load(500, 1)}, {"main EUR": Load(9, 9)}, VOICE) == ""
    assert why_not_begin(replace(BRAKES, growth_percent=0), {"main EUR": Load(9999, 1)}, USUAL, VOICE) == ""


def test_absolute_limits_hold_without_any_run_before() -> None:
    few, little = replace(BRAKES, charges_max=10), replace(BRAKES, amount_minor_max=1000)
    said = "11 charges in EUR are due through mPAY24 (main), and 10 are the most allowed in one run"
    assert why_not_begin(few, {"main EUR": Load(11, 1)}, {}, VOICE) == said
    assert why_not_begin(few, {"main EUR": Load(10, 99_999)}, {}, VOICE) == ""
    said = "€10.01 is due through a, and €10.00 is the most allowed in one run"
    assert why_not_begin(little, {"a EUR": Load(1, 1001)}, {}, VOICE) == said
    assert why_not_begin(little, {"a EUR": Load(1, 1000)}, {}, VOICE) == ""


def test_an_amount_is_written_the_way_the_merchants_people_write_it() -> None:
    brakes, planned = replace(BRAKES, amount_minor_max=1_000_000), {"main EUR": Load(1, 1_234_567)}
    assert why_not_begin(brakes, planned, {}, replace(VOICE, locale="en-DE")).startswith("12.345,67")


@pytest.mark.parametrize(
    ("tally", "says"),
    [
        (Tally(charged=100), ""),
        (Tally(charged=5, declined=5), ""),
        (Tally(charged=4, declined=6), "6 of 10 charges through main were declined"),
        (Tally(charged=8, failed=2), ""),
        (Tally(charged=7, failed=3), "3 of 10 charges through main were refused, not sent or left in doubt"),
        (Tally(declined=9), ""),
        (Tally(failed=9), ""),
        (Tally(declined=5, failed=5), "5 of 10 charges through main were refused, not sent or left in doubt"),
    ],
)
def test_rates_stop_a_run_once_there_are_enough_answers(tally: Tally, says: str) -> None:
    assert why_stop(BRAKES, {"main": tally}) == says


@pytest.mark.parametrize(
    ("tally", "says"),
    [
        (Tally(charged=10, turned_away=100), ""),
        (Tally(charged=1, turned_away=19), ""),
        (Tally(charged=1, turned_away=20), "20 of 21 charges through main were turned away, since it is too busy"),
        (Tally(turned_away=10), "10 of 10 charges through main were turned away, since it is too busy"),
        (Tally(turned_away=9), ""),
        (Tally(declined=9, turned_away=9), ""),
        (
            Tally(charged=7, failed=3, turned_away=9),
            "3 of 10 charges through main were refused, not sent or left in doubt",
        ),
        (Tally(charged=4, declined=6, turned_away=9), "6 of 10 charges through main were declined"),
    ],
)
def test_what_is_turned_away_is_passed_over_while_something_comes_through(tally: Tally, says: str) -> None:
    assert why_stop(BRAKES, {"main": tally}) == says


def test_only_what_failed_can_have_been_turned_away() -> None:
    assert Tally(1, 2, 3).less_turned_away(2) == Tally(1, 2, 1, 2)
    assert Tally(1, 2, 3).less_turned_away(9) == Tally(1, 2, 0, 3)
    assert Tally(1, 2, 3).less_turned_away(0) == Tally(1, 2, 3)


def test_one_bad_account_stops_a_run_whose_others_go_well() -> None:
    tallies = {"a": Tally(charged=1000), "b": Tally(failed=10)}
    assert why_stop(BRAKES, tallies) == "10 of 10 charges through b were refused, not sent or left in doubt"


def test_a_threshold_of_zero_is_switched_off() -> None:
    none = replace(BRAKES, declined_percent=0, failed_percent=0)
    assert why_stop(none, {"a": Tally(declined=50, failed=50)}) == ""
    assert why_stop(none, {"a": Tally(turned_away=50)}) == ""


def test_tallies_add_up() -> None:
    assert Tally(1, 2, 3, 4) + Tally(10, 20, 30, 40) == Tally(11, 22, 33, 44)


def test_an_amount_in_no_currency_is_told_as_it_is() -> None:
    reason = why_not_begin(Brakes(amount_minor_max=10), {"main XXQ": Load(1, 20)}, {}, VOICE)

    assert reason == "20 XXQ is due through mPAY24 (main), and 10 XXQ is the most allowed in one run"
