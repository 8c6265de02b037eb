from __future__ import annotations

import pytest

from billing.gateway import ConfigurationError
from gateways.settings import address, count, delays, entered, is_loopback, limit, words, yes_or_no

MANDATORY, OPTIONAL, SECRETS = ("endpoint", "key"), {"settle_s": "90"}, frozenset({"key"})
GIVEN = {"endpoint": "https://bank.example", "key": "sesame"}


def test_what_was_left_out_has_its_default() -> None:
    assert entered("bank", GIVEN, MANDATORY, OPTIONAL, SECRETS).read("settle_s", count) == 90
    assert entered("bank", {**GIVEN, "settle_s": "5"}, MANDATORY, OPTIONAL, SECRETS).read("settle_s", count) == 5


def test_what_must_be_there_is_named_where_it_is_not() -> None:
    with pytest.raises(ConfigurationError, match=r"^bank needs the setting key$") as caught:
        entered("bank", {**GIVEN, "key": ""}, MANDATORY, OPTIONAL, SECRETS)
    assert caught.value.setting == "key"


def test_what_nobody_knows_is_named_with_what_is_known() -> None:
    with pytest.raises(ConfigurationError, match=r"^bank has no setting ky; it knows endpoint, key, settle_s$"):
        entered("bank", {**GIVEN, "ky": "x"}, MANDATORY, OPTIONAL, SECRETS)


def test_a_value_that_is_refused_is_shown_unless_it_is_a_secret() -> None:
    given = entered("bank", {**GIVEN, "settle_s": "soon"}, MANDATORY, OPTIONAL, SECRETS)
    with pytest.raises(ConfigurationError, match=r"^bank setting settle_s cannot be 'soon': it is a whole number"):
        given.read("settle_s", count)
    with pytest.raises(ConfigurationError, match=r"^bank setting key cannot be: it is yes or no$") as caught:
        given.read("key", yes_or_no)
    assert caught.value.setting == "key"
    assert "sesame" not in repr(given)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("999999999", 999_999_999)])
def test_a_count_is_written_in_plain_digits(text: str, number: int) -> None:
    assert count(text) == number == limit(text)


@pytest.mark.parametrize(
    "text", ["", "0", "000", "-1", "+1", "1.5", "1e3", " 1", "1\n", "1_000", "1000000000", "\u0663", "\u00b2", "\uff11"]
)
def test_nothing_else_is_a_count(text: str) -> None:
    """Python's own numbers may be written in Arabic or wide digits too, and a superscript is a digit to it."""
    with pytest.raises(ValueError, match=r"^it is a whole number above zero$"):
        count(text)


def test_no_limit_is_written_as_nothing() -> None:
    assert limit("") is None


def test_waits_are_listed_in_their_order_and_may_be_the_same() -> None:
    assert delays(" 10,10, 60 ,5,") == (10, 10, 60, 5)
    assert words("CC, ELV,CC,") == ("CC", "ELV")


@pytest.mark.parametrize(
    ("text", "told"), [("", "a list of seconds"), (" , ", "a list of seconds"), ("5,x", "a whole")]
)
def test_a_list_of_waits_has_nothing_else_in_it(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^it is {told}"):
        delays(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bank.example", "write it like https://a.example"),
        ("ftp://bank.example", "write it like https://a.example"),
        ("https://", "write it like https://a.example"),
        ("https://me:sesame@bank.example", "no user, password or fragment belongs in it"),
        ("https://bank.example#top", "no user, password or fragment belongs in it"),
        ("http://bank.example", "only https may carry payments to another machine"),
    ],
)
def test_an_address_that_payments_must_not_go_to_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"^{told}$"):
        address(text, "https://a.example")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_may_be_spoken_to_plainly(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("localhost.example")
