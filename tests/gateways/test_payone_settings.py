from __future__ import annotations

import pytest

from billing.gateway import ConfigurationError, Gateway
from gateways.payone_settings import DEFAULTS, MANDATORY, read_settings
from gateways.registry import open_gateway
from tests.gateways.payone_samples import CREDENTIALS

SECRETS = [name for name in CREDENTIALS if "secret" in name]


async def test_the_registry_opens_it_with_a_clock_of_its_own() -> None:
    gateway: Gateway = open_gateway("payone", CREDENTIALS)
    assert gateway.abilities.title == "PAYONE"
    await gateway.close()


@pytest.mark.parametrize("name", MANDATORY)
def test_a_missing_setting_is_named(name: str) -> None:
    for without in ({**CREDENTIALS, name: ""}, {key: CREDENTIALS[key] for key in CREDENTIALS if key != name}):
        with pytest.raises(ConfigurationError, match=name):
            read_settings(without)


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"api_sekret.*endpoint.*webhook_secret_5.*series"):
        read_settings({**CREDENTIALS, "api_sekret": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "payment.payone.com"),
        ("endpoint", "ftp://payment.payone.com"),
        ("endpoint", "http://payment.payone.com"),
        ("endpoint", "https://user:pass@payment.payone.com"),
        ("endpoint", "https://payment.payone.com/v2/Me"),
        ("endpoint", "https://payment.payone.com?x=1"),
        ("merchant_id", "My PSPID"),
        ("merchant_id", "../v1"),
        ("api_key_id", "a b"),
        ("api_key_id", "a:b"),
        ("webhook_key_id", "a b"),
        ("automatic_capture", "true"),
        ("series", "weekly"),
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
        ("page_life_s", "90"),
        ("page_life_s", "10800"),
        ("page_tries_max", "11"),
        ("page_tries_max", "0"),
        ("currencies", "EUR,EURO"),
    ],
)
def test_a_malformed_setting_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        read_settings({**CREDENTIALS, name: value})
    assert repr(value) in str(caught.value)
    assert not any(CREDENTIALS[secret] in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"webhook_secret": ""}, "webhook_key_id and webhook_secret together"),
        ({"webhook_key_id_2": ""}, "webhook_key_id_2 and webhook_secret_2 together"),
        ({"webhook_key_id_2": "whk-0001"}, "webhook_key_id_2 repeats"),
        ({"api_secret": " blank"}, "api_secret begins or ends with a blank"),
        ({"webhook_secret_2": "blank\n"}, "webhook_secret_2 begins or ends with a blank"),
    ],
)
def test_a_secret_is_never_shown_in_what_is_wrong_with_it(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        read_settings({**CREDENTIALS, **settings})
    assert "blank\n" not in str(caught.value)


def test_every_webhook_key_is_kept_under_its_own_id() -> None:
    settings = read_settings({**CREDENTIALS, "webhook_key_id_5": "whk-5", "webhook_secret_5": "s5"})
    assert settings.webhook_secrets == {
        "whk-0001": CREDENTIALS["webhook_secret"],
        "whk-0002": CREDENTIALS["webhook_secret_2"],
        "whk-5": "s5",
    }


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8080", "http://[::1]", "http://localhost/"])
def test_a_simulator_on_this_machine_may_speak_plainly(endpoint: str) -> None:
    assert read_settings({**CREDENTIALS, "endpoint": endpoint}).endpoint == endpoint.rstrip("/")


def test_the_defaults_are_settings_that_work() -> None:
    settings = read_settings(CREDENTIALS)
    assert (settings.automatic_capture, settings.series) == (True, "unscheduled")
    assert read_settings({**CREDENTIALS, **DEFAULTS}) == settings


def test_settings_shown_to_people_do_not_show_a_secret() -> None:
    shown = repr(read_settings(CREDENTIALS))
    assert not any(CREDENTIALS[secret] in shown for secret in SECRETS)
