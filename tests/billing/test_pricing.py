from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import Money, MoneyError
from billing.periods import Interval, Period, Unit
from billing.pricing import Line, Terms, forecast, line_for

MONTHLY = Interval(Unit.MONTH)
PERIOD = Period(date(2026, 11, 1), date(2026, 12, 1))

terms = st.builds(
    Terms,
    unit=st.builds(Money, st.integers(1, 10**12), st.just("EUR")),
    interval=st.just(MONTHLY),
    tax_rate_bp=st.integers(0, 10_000),
    tax_included=st.booleans(),
)


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.mark.parametrize(
    ("unit", "rate_bp", "included", "quantity", "net", "tax"),
    [
        (4900, 2000, True, 1, 4083, 817),
        (4900, 2000, True, 3, 12250, 2450),
        (4900, 2000, False, 1, 4900, 980),
        (2500, 0, True, 1, 2500, 0),
        (2500, 0, False, 2, 5000, 0),
        (1, 1900, True, 1, 1, 0),
        (100, 10_000, True, 1, 50, 50),
    ],
)
def test_a_line_has_net_and_tax_of_the_whole_quantity(
    unit: int, rate_bp: int, included: bool, quantity: int, net: int, tax: int
) -> None:
    line = line_for("Team, monthly", Terms(eur(unit), MONTHLY, rate_bp, included), quantity, PERIOD)

    assert line == Line("Team, monthly", quantity, eur(unit), eur(net), eur(tax), rate_bp, PERIOD)


def test_a_price_that_names_no_rate_has_no_tax() -> None:
    assert line_for("any", Terms(eur(10**9), MONTHLY), 1, PERIOD).tax == eur(0)


@given(terms, st.integers(1, 10_000))
def test_net_and_tax_make_the_total_to_the_minor_unit(asked: Terms, quantity: int) -> None:
    line = line_for("any", asked, quantity, PERIOD)

    assert line.total == line.net + line.tax
    assert line.net.minor >= 0
    assert line.tax.minor >= 0
    assert (line.total if asked.tax_included else line.net) == asked.unit * quantity


@pytest.mark.parametrize("minor", [0, -4900])
def test_a_price_of_nothing_or_less_cannot_be_asked(minor: int) -> None:
    with pytest.raises(MoneyError, match="more than zero"):
        Terms(eur(minor), MONTHLY)


@pytest.mark.parametrize("rate_bp", [-1, 10_001])
def test_a_tax_rate_outside_nothing_and_all_is_refused(rate_bp: int) -> None:
    with pytest.raises(MoneyError, match="basis points"):
        Terms(eur(1), MONTHLY, rate_bp)


@pytest.mark.parametrize("quantity", [0, -1])
def test_a_quantity_below_one_is_refused(quantity: int) -> None:
    with pytest.raises(MoneyError, match="at least 1"):
        line_for("any", Terms(eur(1), MONTHLY), quantity, PERIOD)


def test_what_is_foreseen_begins_after_the_trial_and_keeps_the_last_of_a_month() -> None:
    lines = forecast("Pro", Terms(Money(1000, "EUR"), MONTHLY), 2, date(2026, 1, 17), 14, 3)
    assert [line.period.start for line in lines] == [date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)]
    assert {line.total for line in lines} == {Money(2000, "EUR")}


@pytest.mark.parametrize(("first_on", "trial_days"), [(date(9999, 12, 1), 0), (date(2026, 1, 1), 10**9)])
def test_nothing_is_foreseen_past_the_end_of_the_calendar(first_on: date, trial_days: int) -> None:
    with pytest.raises(ValueError, match="the calendar ends"):
        forecast("Pro", Terms(Money(1000, "EUR"), MONTHLY), 1, first_on, trial_days, 2)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 400), st.integers(1, 24))
def test_what_is_foreseen_follows_without_a_gap(first_on: date, trial_days: int, count: int) -> None:
    lines = forecast("Pro", Terms(Money(1000, "EUR"), MONTHLY), 1, first_on, trial_days, count)
    assert len(lines) == count
    assert all(one.period.end == after.period.start for one, after in pairwise(lines))
