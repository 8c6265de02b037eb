"""The tester's side: profiles, settings, reset, and sentences for mistakes."""

from typing import Any

import pytest

from tests.gateways_sandbox.wire import VISA, Sandbox


def test_ten_thousand_profiles_are_stored_at_once(sandbox: Sandbox) -> None:
    many = [{"customer_id": f"c-{number}", "kind": "CC", "expiry": "4012"} for number in range(10_000)]
    answer = sandbox.profiles(*many)
    assert answer.json() == {"stored": 10_000}
    assert answer.elapsed.total_seconds() < 5
    assert sandbox.call("ListProfiles", "<size>1</size>").text("all") == "10000"


def test_a_stored_profile_replaces_the_one_before(sandbox: Sandbox) -> None:
    sandbox.profiles({"customer_id": "c", "kind": "PAYPAL"})
    sandbox.profiles({"customer_id": "c", "kind": "CC", "expiry": "4012", "identifier": VISA, "name": "Jo"})
    (profile,) = sandbox.control("profiles?customer_id=c")["profiles"]
    assert (profile["kind"], profile["brand"], profile["identifier"]) == ("CC", "VISA", "************1111")


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        ({"kind": "PAYPAL"}, "profile 2: customer_id must have 1 to 32 printable characters"),
        ({"customer_id": "c", "kind": "CASH"}, "profile 2: kind must be CC, ELV or PAYPAL"),
        ({"customer_id": "c", "kind": "CC"}, "profile 2: expiry must be YYMM"),
        ({"customer_id": "c", "kind": "CC", "expiry": "4013"}, "profile 2: EXPIRY_NOT_CORRECT"),
        ({"customer_id": "c", "kind": "ELV", "iban": "AT00"}, "profile 2: INVALID_IBAN"),
        ({"customer_id": "c", "kind": "PAYPAL", "colour": "red"}, "profile 2: unknown key 'colour'"),
        ({"customer_id": 7, "kind": "PAYPAL"}, "profile 2: is not a JSON object of texts"),
    ],
)
def test_one_wrong_profile_stores_none(sandbox: Sandbox, profile: dict[str, str], sentence: str) -> None:
    answer = sandbox.profiles({"customer_id": "good", "kind": "PAYPAL"}, profile)
    assert (answer.status_code, answer.json()["error"]) == (400, sentence)
    assert sandbox.control("profiles?customer_id=good")["profiles"] == []


def test_a_reset_empties_everything_but_settings_and_numbers(sandbox: Sandbox) -> None:
    sandbox.settings(default_language="DE")
    sandbox.profiles({"customer_id": "c", "kind": "PAYPAL"})
    sandbox.faults({"fault": "delay_ms", "ms": 1})
    before = sandbox.charge("t", "c").mpay_tid
    sandbox.reset()
    assert sandbox.ledger() == []
    assert sandbox.control("faults") == []
    assert sandbox.control("log") == {"exchanges": [], "status_calls": {}, "over_budget": []}
    assert sandbox.control("profiles?customer_id=c")["profiles"] == []
    assert sandbox.control("settings")["default_language"] == "DE"
    assert sandbox.card("t", "4012").mpay_tid > before


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"colour": "red"}, "there is no setting 'colour'"),
        ({"automatic_clearing": "no"}, "automatic_clearing must be true or false"),
        ({"min_amount": 1.5}, "min_amount must be a whole number, not below 0"),
        ({"push_retry_delay_s": -1}, "push_retry_delay_s must be a number, not below 0"),
        ({"active_payment_types": ["CC", "GOLD"]}, "active_payment_types cannot be 'GOLD'"),
        ({"profile_mode": "loose"}, "profile_mode cannot be 'loose'"),
        ({"default_orderdesc": None}, "default_orderdesc must be a text"),
        ([], "settings are one JSON object of names and values"),
    ],
)
def test_a_wrong_setting_changes_none(sandbox: Sandbox, wanted: Any, sentence: str) -> None:
    mixed = {"default_language": "DE", **wanted} if wanted else wanted
    answer = sandbox.http.put(f"{sandbox.base}/_sandbox/settings", json=mixed)
    assert (answer.status_code, answer.json()["error"]) == (400, sentence)
    assert sandbox.control("settings")["default_language"] == "EN"


def test_limits_are_settings(sandbox: Sandbox) -> None:
    assert sandbox.settings(**{"max_length.tid": 4, "min_amount": 2501}).status_code == 200
    assert sandbox.card("tid-5", "4012").code == "ERROR TID_NOT_CORRECT"
    assert sandbox.card("tid4", "4012").code == "ERROR INVALID_AMOUNT"


def test_the_log_tells_what_was_asked_and_nothing_that_was_carried(sandbox: Sandbox) -> None:
    sandbox.card("l-1", "4001", "<cvc>987</cvc>")
    sandbox.post(b"<broken")
    log = sandbox.control("log")
    assert [(e["operation"], e["reference"], e["result"]) for e in log["exchanges"]] == [
        ("AcceptPayment", "l-1", "DECLINED"),
        ("-", "", "fault"),
    ]
    assert VISA not in str(log)
    assert "987" not in str(log["exchanges"][0]["result"])


def test_the_ledger_row_has_the_words_auditors_know(sandbox: Sandbox) -> None:
    sandbox.profiles({"customer_id": "c", "kind": "PAYPAL"})
    mpay_tid = sandbox.charge("t", "c").mpay_tid
    (row,) = sandbox.control("ledger")["transactions"]
    at = row.pop("at")
    assert at.endswith("Z")
    assert row == {
        "gateway": "mpay24",
        "reference": "t",
        "gateway_id": str(mpay_tid),
        "kind": "sale",
        "amount_minor": 2500,
        "currency": "EUR",
        "state": "booked",
        "profile": "c",
    }
