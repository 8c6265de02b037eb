from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import Money
from billing.tax import tax_on, tax_within

euros = st.builds(Money, st.integers(0, 10**15), st.just("EUR"))
rates = st.integers(0, 10_000)


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.mark.parametrize(
    ("gross", "rate_bp", "tax"),
    [(12000, 2000, 2000), (4900, 2000, 817), (11900, 1900, 1900), (990, 0, 0), (0, 2000, 0)],
)
def test_the_tax_in_a_gross_amount(gross: int, rate_bp: int, tax: int) -> None:
    assert tax_within(eur(gross), rate_bp) == eur(tax)


@pytest.mark.parametrize(
    ("net", "rate_bp", "tax"), [(10000, 2000, 2000), (4083, 2000, 817), (25, 1000, 2), (35, 1000, 4), (990, 0, 0)]
)
def test_the_tax_on_a_net_amount(net: int, rate_bp: int, tax: int) -> None:
    assert tax_on(eur(net), rate_bp) == eur(tax)


@given(euros, rates)
def test_tax_taken_out_of_what_it_was_put_on_is_the_same_tax(net: Money, rate_bp: int) -> None:
    tax = tax_on(net, rate_bp)

    assert tax_within(net + tax, rate_bp) == tax


@given(euros, rates)
def test_tax_is_never_more_than_the_amount_it_is_in(gross: Money, rate_bp: int) -> None:
    assert eur(0) <= tax_within(gross, rate_bp) <= gross
