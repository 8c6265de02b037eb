from __future__ import annotations

import pytest

from billing.gateway import AfterNothing, Asking, ConfigurationError, Gateway, Input
from gateways.computop_settings import DEFAULTS, MANDATORY, read_settings
from gateways.registry import open_gateway
from tests.gateways.computop_samples import CREDENTIALS, cards, gateway

SECRETS = (CREDENTIALS["encryption_password"], CREDENTIALS["hmac_password"])


async def test_the_registry_opens_it() -> None:
    opened: Gateway = open_gateway("computop", CREDENTIALS)
    assert opened.abilities.title == "Computop"
    await opened.close()


def test_an_account_without_cards_only_sells_by_payback_pay() -> None:
    can = gateway().abilities
    assert (can.ways, can.hosted_page, can.refund, can.partial_refund) == (("payback_pay",), True, True, True)
    lacks = (can.charge, can.charge_present, can.renews_profile, can.capture, can.reverse, can.pay_out, can.forget)
    assert not any((*lacks, can.card_form, can.notification_is_truth, can.stores("payback_pay")))
    assert (can.currencies, can.least_minor) == (frozenset({"EUR"}), {"payback_pay": 100})
    assert can.inputs == (Input("payback_pay", "payback_number", "[0-9]{10}"),)
    assert can.asking == Asking((5, 30, 120, 600, 3600), 90, None, AfterNothing.SAME_KEY, True, 300 * 86400)


def test_an_account_with_cards_stores_and_charges_them_too() -> None:
    can = cards().abilities
    assert can.ways == ("payback_pay", "card")
    assert all((can.charge, can.renews_profile, can.capture, can.reverse, can.stores("card")))
    assert not can.stores("payback_pay")


@pytest.mark.parametrize("name", MANDATORY)
def test_a_missing_setting_is_named(name: str) -> None:
    for without in ({**CREDENTIALS, name: ""}, {key: CREDENTIALS[key] for key in CREDENTIALS if key != name}):
        with pytest.raises(ConfigurationError, match=name):
            read_settings(without)


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"hmac_pasword.*endpoint.*page_life_s"):
        read_settings({**CREDENTIALS, "hmac_pasword": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("endpoint", "www.computop-paygate.com"),
        ("endpoint", "ftp://www.computop-paygate.com"),
        ("endpoint", "http://www.computop-paygate.com"),
        ("endpoint", "https://user:pass@www.computop-paygate.com"),
        ("endpoint", "https://www.computop-paygate.com?x=1"),
        ("merchant_id", "DEMO&SHOP"),
        ("merchant_id", "DEMO*SHOP"),
        ("merchant_id", "x" * 31),
        ("cipher", "des"),
        ("dialect", "v12"),
        ("card_on_file", "true"),
        ("series", "weekly"),
        ("recurring_days", "0"),
        ("recurring_until", "31.12.2099"),
        ("customer_group", "known"),
        ("is_bound", ""),
        ("device_id", "a&b"),
        ("device_id", "x" * 51),
        ("language", "it"),
        ("least_minor", "1.5"),
        ("timeout_s", "0"),
        ("timeout_s", "nan"),
        ("connect_timeout_s", "soon"),
        ("in_flight_max", "-1"),
        ("per_second_max", "0"),
        ("ask_delays_s", ""),
        ("ask_delays_s", "5,x"),
        ("settle_s", "0"),
        ("page_life_s", "15m"),
    ],
)
def test_a_malformed_setting_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"setting {name} ") as caught:
        read_settings({**CREDENTIALS, name: value})
    assert repr(value) in str(caught.value)
    assert all(secret not in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize(
    ("name", "value", "cipher"),
    [
        ("encryption_password", "abc", "blowfish"),
        ("encryption_password", "x" * 57, "blowfish"),
        ("encryption_password", "seventeen-letters", "aes"),
        ("encryption_password", " k3Y-8rTq!mZ0wPx", "blowfish"),
        ("hmac_password", "secret\u00fc", "blowfish"),
        ("hmac_password", "secret\n", "blowfish"),
    ],
)
def test_a_password_that_cannot_work_is_named_and_never_shown(name: str, value: str, cipher: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        read_settings({**CREDENTIALS, name: value, "cipher": cipher})
    assert value not in str(caught.value)


@pytest.mark.parametrize("length", [16, 24, 32])
def test_aes_takes_its_three_lengths_of_password(length: int) -> None:
    assert read_settings({**CREDENTIALS, "encryption_password": "x" * length, "cipher": "aes"}).cipher == "aes"


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8080/", "http://[::1]", "http://localhost"])
def test_a_simulator_on_this_machine_may_speak_plainly(endpoint: str) -> None:
    settings = read_settings({**CREDENTIALS, "endpoint": endpoint})
    assert (settings.endpoint, settings.is_local) == (endpoint.rstrip("/"), True)


def test_the_defaults_are_settings_that_work() -> None:
    settings = read_settings(CREDENTIALS)
    assert (settings.cipher, settings.dialect, settings.card_on_file, settings.page_life_s) == (
        "blowfish",
        "v11",
        False,
        900,
    )
    assert read_settings({**CREDENTIALS, **DEFAULTS}) == settings
    assert not settings.is_local


def test_settings_shown_to_people_show_no_password() -> None:
    assert all(secret not in repr(read_settings(CREDENTIALS)) for secret in SECRETS)
