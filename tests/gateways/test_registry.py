from __future__ import annotations

import pytest

from billing.gateway import ConfigurationError, Gateway
from gateways.mpay24_settings import DEFAULTS, read_settings
from gateways.registry import open_gateway
from tests.gateways.samples import CREDENTIALS


async def test_a_known_gateway_is_opened() -> None:
    gateway: Gateway = open_gateway("mpay24", CREDENTIALS)
    assert gateway.abilities.title == "mPAY24"
    await gateway.close()


def test_an_unknown_gateway_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'stripe'.*mpay24"):
        open_gateway("stripe", {})


@pytest.mark.parametrize("name", ["endpoint", "merchant_id", "password"])
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        open_gateway("mpay24", {**CREDENTIALS, name: ""})


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"pasword.*endpoint.*settle_s"):
        open_gateway("mpay24", {**CREDENTIALS, "pasword": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "gateway.example"),
        ("endpoint", "ftp://gateway.example/"),
        ("endpoint", "http://gateway.example/"),
        ("endpoint", "https://user:secret@gateway.example/"),
        ("merchant_id", "u92883"),
        ("merchant_id", "9288"),
        ("automatic_clearing", "true"),
        ("ways", ""),
        ("ways", "CC,CARD"),
        ("timeout_s", "0"),
        ("timeout_s", "nan"),
        ("timeout_s", "soon"),
        ("connect_timeout_s", "-1"),
        ("in_flight_max", "0"),
        ("in_flight_max", "1.5"),
        ("per_second_max", "0"),
        ("ask_delays_s", ""),
        ("ask_delays_s", "10,x"),
        ("settle_s", "-1"),
        ("page_life_s", ""),
        ("currencies", "EUR,EURO"),
        ("default_language", "XX"),
    ],
)
def test_a_malformed_setting_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        open_gateway("mpay24", {**CREDENTIALS, name: value})
    assert repr(value) in str(caught.value)
    assert CREDENTIALS["password"] not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8080/x", "http://[::1]/x", "http://localhost/x"])
def test_a_simulator_on_this_machine_may_speak_plainly(endpoint: str) -> None:
    assert read_settings({**CREDENTIALS, "endpoint": endpoint}).endpoint == endpoint


def test_the_defaults_are_settings_that_work() -> None:
    settings = read_settings(CREDENTIALS)
    assert (settings.automatic_clearing, settings.ways) == (True, ("CC", "ELV", "PAYPAL"))
    assert settings.ask_delays_s == (10, 120, 1800)
    assert read_settings({**CREDENTIALS, **DEFAULTS}) == settings


def test_settings_shown_to_people_do_not_show_the_password() -> None:
    assert CREDENTIALS["password"] not in repr(read_settings(CREDENTIALS))
