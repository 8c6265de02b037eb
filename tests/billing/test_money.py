from __future__ import annotations

from fractions import Fraction

import pytest
from babel.numbers import parse_decimal
from hypothesis import given
from hypothesis import strategies as st

from billing.money import _CODES, Money, MoneyError, exponent

NBSP = "\N{NO-BREAK SPACE}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
QUOTE = "\N{RIGHT SINGLE QUOTATION MARK}"
MINOR_MAX = 2**63 - 1

currencies = st.sampled_from(sorted(_CODES))
minors = st.integers(-MINOR_MAX, MINOR_MAX)
amounts = st.builds(Money, minors, currencies)
euros = st.builds(Money, minors, st.just("EUR"))


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.mark.parametrize(
    ("currency", "decimals"), [("EUR", 2), ("CHF", 2), ("JPY", 0), ("HUF", 2), ("KWD", 3), ("CLF", 4)]
)
def test_a_currency_has_the_decimals_of_iso_4217(currency: str, decimals: int) -> None:
    assert exponent(currency) == decimals


@pytest.mark.parametrize("currency", ["", "eur", "EURO", "XXX", "€"])
def test_an_unknown_currency_is_refused_wherever_it_turns_up(currency: str) -> None:
    with pytest.raises(MoneyError, match="unknown currency"):
        exponent(currency)
    with pytest.raises(MoneyError, match="unknown currency"):
        Money(1, currency)


@pytest.mark.parametrize("minor", [1.0, True, "1", None, Fraction(1)])
def test_an_amount_is_never_anything_but_a_whole_number(minor: object) -> None:
    with pytest.raises(MoneyError, match="whole number"):
        Money(minor, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("49", "EUR", 4900),
        ("49.00", "EUR", 4900),
        ("49,00", "EUR", 4900),
        (" 49,5 ", "EUR", 4950),
        ("-0.01", "EUR", -1),
        ("0", "EUR", 0),
        ("+7", "EUR", 700),
        ("12345678901234567890123456789.01", "EUR", 1234567890123456789012345678901),
        ("1200", "JPY", 1200),
        ("1.234", "KWD", 1234),
    ],
)
def test_an_amount_is_read_in_major_units(text: str, currency: str, minor: int) -> None:
    assert Money.parse(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("", "EUR"),
        ("fifty", "EUR"),
        ("1,234.50", "EUR"),
        ("49 EUR", "EUR"),
        ("49.001", "EUR"),
        ("49.5", "JPY"),
        ("NaN", "EUR"),
        ("Infinity", "EUR"),
        ("1_000", "EUR"),
        ("1e3", "EUR"),
        ("٤٩", "EUR"),
        ("1.000", "EUR"),
        ("1,000", "EUR"),
        (".50", "EUR"),
        ("5.", "EUR"),
    ],
)
def test_a_text_that_is_not_clearly_an_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(MoneyError, match=r"is not an amount|more decimals"):
        Money.parse(text, currency)


@given(amounts)
def test_an_amount_written_in_major_units_is_read_back(amount: Money) -> None:
    assert Money.parse(str(amount.major), amount.currency) == amount


@given(amounts, st.sampled_from(["de-AT", "de-DE", "de-CH", "en-GB", "en-US", "fr-FR"]))
def test_an_amount_shown_in_a_locale_still_has_every_digit(amount: Money, locale: str) -> None:
    shown = amount.show(locale)
    number = "".join(sign for sign in shown if sign.isdigit() or sign in f".,{QUOTE}{NARROW}").strip(f".{QUOTE}")

    assert " " not in shown
    assert parse_decimal(number, locale.replace("-", "_")) == abs(amount.major)


@pytest.mark.parametrize(
    ("amount", "locale", "shown"),
    [
        (eur(4900), "de-AT", f"€{NBSP}49,00"),
        (eur(4900), "de-DE", f"49,00{NBSP}€"),
        (eur(123456), "en-GB", "€1,234.56"),
        (eur(-990), "en-US", "-€9.90"),
        (Money(1200, "JPY"), "en-US", "¥1,200"),
        (Money(1234, "KWD"), "en-GB", f"KWD{NBSP}1.234"),
        (Money(5000, "HUF"), "de-AT", f"HUF{NBSP}50,00"),
    ],
)
def test_an_amount_is_shown_as_readers_there_expect_it(amount: Money, locale: str, shown: str) -> None:
    assert amount.show(locale) == shown


@given(euros, st.lists(st.integers(0, 10_000), min_size=1, max_size=12).filter(any))
def test_shares_add_up_to_the_whole_and_none_is_off_by_more_than_a_unit(amount: Money, weights: list[int]) -> None:
    shares = amount.split(weights)

    assert sum((share.minor for share in shares), 0) == amount.minor
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share.minor - Fraction(amount.minor * weight, sum(weights))) <= 1


@given(euros, st.lists(st.integers(0, 3), min_size=1, max_size=8).filter(any))
def test_a_share_without_weight_is_nothing_and_no_share_changes_sides(amount: Money, weights: list[int]) -> None:
    for share, weight in zip(amount.split(weights), weights, strict=True):
        assert share.minor * amount.minor >= 0
        assert weight or not share


@pytest.mark.parametrize(
    ("minor", "weights", "shares"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (2, [0, 1, 1, 1], [0, 1, 1, 0]),
        (0, [1, 2], [0, 0]),
    ],
)
def test_what_rounding_leaves_over_goes_to_the_first_shares(minor: int, weights: list[int], shares: list[int]) -> None:
    assert eur(minor).split(weights) == [eur(share) for share in shares]


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [2, -1], [-1, -2]])
def test_shares_need_a_weight(weights: list[int]) -> None:
    with pytest.raises(MoneyError, match="weights"):
        eur(100).split(weights)


@given(euros, st.integers(0, 100_000), st.integers(1, 100_000))
def test_a_portion_is_rounded_half_to_even(amount: Money, numerator: int, denominator: int) -> None:
    assert amount.portion(numerator, denominator) == eur(round(Fraction(amount.minor * numerator, denominator)))


@pytest.mark.parametrize(("minor", "half"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2)])
def test_a_half_goes_to_the_even_neighbour(minor: int, half: int) -> None:
    assert eur(minor).portion(1, 2) == eur(half)


@given(euros, euros, st.integers(-100, 100))
def test_amounts_are_reckoned_like_whole_numbers(one: Money, other: Money, count: int) -> None:
    assert (one + other).minor == one.minor + other.minor
    assert one - other == one + -other
    assert (one * count).minor == one.minor * count
    assert bool(one) == (one.minor != 0)
    assert (one < other, one <= other, one > other, one >= other) == (
        one.minor < other.minor,
        one.minor <= other.minor,
        one.minor > other.minor,
        one.minor >= other.minor,
    )


@pytest.mark.parametrize("sign", ["__add__", "__sub__", "__lt__", "__le__", "__gt__", "__ge__"])
def test_two_currencies_never_meet_unnoticed(sign: str) -> None:
    with pytest.raises(MoneyError, match="cannot mix EUR and CHF"):
        getattr(eur(1), sign)(Money(1, "CHF"))


def test_the_same_number_in_two_currencies_is_not_the_same_amount() -> None:
    assert eur(1) != Money(1, "CHF")
