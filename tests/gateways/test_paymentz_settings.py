from __future__ import annotations

import pytest

from billing.gateway import ConfigurationError
from gateways.paymentz_settings import DEFAULTS, read_settings
from gateways.registry import open_gateway
from tests.gateways.paymentz_samples import CREDENTIALS


async def test_the_registry_opens_it() -> None:
    gateway = open_gateway("paymentz", CREDENTIALS)
    assert gateway.abilities.title == "PaymentZ"
    await gateway.close()


@pytest.mark.parametrize("name", ["endpoint", "member_id", "partner_id", "username", "secret_key", "to_type"])
def test_a_missing_setting_is_named(name: str) -> None:
    for credentials in ({**CREDENTIALS, name: ""}, {k: v for k, v in CREDENTIALS.items() if k != name}):
        with pytest.raises(ConfigurationError, match=name):
            read_settings(credentials)


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"accept_null_key.*endpoint.*max_refunds"):
        read_settings({**CREDENTIALS, "accept_null_key": "yes"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "brand.example"),
        ("endpoint", "http://brand.example"),
        ("endpoint", "https://u:p@brand.example"),
        ("endpoint", "https://brand.example/transactionServices"),
        ("member_id", "1|2"),
        ("to_type", "two words"),
        ("terminal_id", "1 2"),
        ("currencies", "EUR,EURO"),
        ("automatic_capture", "1"),
        ("request_format", "xml"),
        ("token_ttl_s", "inf"),
        ("mid_inquiry_checksum", "either"),
        ("not_found_code", ""),
        ("repeat_via", "card"),
        ("repeat_route", "query"),
        ("repeat_checksum_subject", "either"),
        ("repeat_parent_states", "paid"),
        ("repeat_parent_states", ""),
        ("token_path", "tokens"),
        ("hosted_recurring_field", ""),
        ("callback_status_form", "both"),
        ("default_redirect_method", "PUT"),
        ("max_refunds", "0"),
        ("timeout_s", "soon"),
        ("in_flight_max", "1.5"),
        ("per_second_max", "1.5"),
        ("ask_delays_s", ""),
        ("settle_s", "-1"),
    ],
)
def test_a_malformed_setting_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        read_settings({**CREDENTIALS, name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("secret", [" SIMKEY", "SIMKEY\n", "null"])
def test_a_malformed_secret_is_named_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="secret_key") as caught:
        read_settings({**CREDENTIALS, "secret_key": secret})
    assert repr(secret) not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8080", "http://[::1]", "http://localhost/"])
def test_a_simulator_on_this_machine_may_speak_plainly(endpoint: str) -> None:
    assert read_settings({**CREDENTIALS, "endpoint": endpoint}).endpoint == endpoint.rstrip("/")


def test_the_defaults_are_those_of_the_reference() -> None:
    settings = read_settings(CREDENTIALS)
    assert read_settings({**CREDENTIALS, **DEFAULTS, "terminal_id": CREDENTIALS["terminal_id"]}) == settings
    assert (settings.request_format, settings.token_refresh_margin_s, settings.use_regenerate) == ("form", 300, False)
    assert (settings.repeat_route, settings.repeat_checksum_subject, settings.by_token) == ("path", "parent", False)
    assert (settings.callback_status_form, settings.accept_long_signature) == ("short", False)
    assert (settings.max_refunds, settings.timeout_s, settings.connect_timeout_s) == (1, 60, 10)
    assert settings.ask_delays_s[:5] == (1, 2, 4, 8, 16)


def test_settings_shown_to_people_do_not_show_the_key() -> None:
    assert CREDENTIALS["secret_key"] not in repr(read_settings(CREDENTIALS))
