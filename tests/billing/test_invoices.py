from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices import MOVES, InvoiceState, number
from billing.lifecycle import MoveError, move


@pytest.mark.parametrize(
    ("prefix", "value", "written"),
    [("NA-2026-", 42, "NA-2026-00042"), ("", 1, "00001"), ("R", 99_999, "R99999"), ("R", 100_000, "R100000")],
)
def test_a_number_is_written_with_its_series(prefix: str, value: int, written: str) -> None:
    assert number(prefix, value) == written


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_two_values_of_a_series_never_give_one_number(one: int, other: int) -> None:
    assert (number("NA-", one) == number("NA-", other)) == (one == other)


def test_a_paid_invoice_is_open_again_after_a_chargeback_and_nothing_else() -> None:
    assert move(MOVES, InvoiceState.PAID, InvoiceState.OPEN) == InvoiceState.OPEN
    with pytest.raises(MoveError):
        move(MOVES, InvoiceState.PAID, InvoiceState.VOID)


def test_an_invoice_given_up_can_still_be_paid() -> None:
    assert move(MOVES, InvoiceState.UNCOLLECTIBLE, InvoiceState.PAID) == InvoiceState.PAID
