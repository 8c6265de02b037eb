from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.gateway import Approved, Declined, ForgeryError, Notice, OperationKind, Pending
from billing.money import Money
from tests.gateways.paymentz_samples import (
    CREDENTIALS,
    PAYMENT_ID,
    TOKEN,
    Brand,
    callback,
    gateway,
    message,
    proof,
)
from tests.gateways.samples import AMOUNT

KEY = CREDENTIALS["secret_key"]


def read(content: Any, proven_key: str = "T-1", **config: str) -> Notice:
    return gateway(Brand(b""), **config).read_notification(message(content, proven_key))


@pytest.mark.parametrize("proven_key", ["T-1", ""])
def test_a_signed_callback_is_news_with_or_without_a_proven_address(proven_key: str) -> None:
    assert read(callback(), proven_key) == Notice(
        "54301/capturesuccess", "T-1", PAYMENT_ID, Approved(PAYMENT_ID, AMOUNT)
    )


@pytest.mark.parametrize(
    ("short", "checksum"), [("Y", "af76c47771713868e5298b354d0b3e82"), ("N", "be7234cbf575cd11621077b39caac23d")]
)
def test_the_worked_vectors_of_callbacks_are_believed(short: str, checksum: str) -> None:
    told = {"paymentId": "54279", "merchantTransactionId": "ORDER-1001", "amount": "50.00", "currency": "EUR"}
    status = "capturesuccess" if short == "Y" else "authfailed"
    notice = read({**told, "transactionStatus": short, "status": status, "checksum": checksum}, "ORDER-1001")
    assert (notice.key, notice.gateway_id) == ("ORDER-1001", "54279")
    assert isinstance(notice.outcome, Approved if short == "Y" else Declined)


@pytest.mark.parametrize("field", ["paymentId", "merchantTransactionId", "amount", "transactionStatus", "checksum"])
def test_a_callback_with_one_signed_value_changed_is_a_forgery(field: str) -> None:
    for value in ("1", "", None):
        with pytest.raises(ForgeryError):
            read({**callback(), field: value}, "")


def test_the_amount_is_verified_as_it_is_written() -> None:
    with pytest.raises(ForgeryError):
        read({**callback(), "amount": "25.0"})
    raw = json.dumps(callback()).replace('"25.00"', "25.00").encode()
    assert read(raw).outcome == Approved(PAYMENT_ID, AMOUNT)


def test_the_checksum_may_be_in_capitals() -> None:
    assert read({**callback(), "checksum": callback()["checksum"].upper()}).outcome == Approved(PAYMENT_ID, AMOUNT)


def test_a_callback_about_another_payment_than_its_address_is_a_forgery() -> None:
    with pytest.raises(ForgeryError, match="another payment"):
        read(callback(), "T-2")


def signed_by(status: str, short: str, signed: str) -> dict[str, Any]:
    return {**callback(status, short), "checksum": proof(PAYMENT_ID, "T-1", "25.00", signed, KEY)}


def test_a_signature_over_the_long_status_counts_only_where_that_is_set() -> None:
    told = signed_by("capturesuccess", "Y", "capturesuccess")
    with pytest.raises(ForgeryError):
        read(told)
    assert read(told, accept_long_signature="yes").outcome == Approved(PAYMENT_ID, AMOUNT)
    assert read(callback(), accept_long_signature="yes").outcome == Approved(PAYMENT_ID, AMOUNT)
    assert read(told, callback_status_form="long").outcome == Approved(PAYMENT_ID, AMOUNT)
    with pytest.raises(ForgeryError):
        read(callback(), callback_status_form="long")


# --- a cancel without a proof ---------------------------------------------------------------------------


def null_keyed(short: str, status: str) -> dict[str, Any]:
    return {**callback(status, short), "checksum": proof(PAYMENT_ID, "T-1", "25.00", short, "null")}


@pytest.mark.parametrize("told", [null_keyed("C", "cancelled"), {**callback("cancelled", "C"), "checksum": ""}])
def test_an_unsigned_cancel_at_a_proven_address_is_only_a_reason_to_ask(told: dict[str, Any]) -> None:
    notice = read(told)
    assert (notice.key, notice.gateway_id, notice.outcome, notice.operation) == ("T-1", "", None, None)
    with pytest.raises(ForgeryError):
        read(told, "")


@pytest.mark.parametrize("told", [null_keyed("Y", "capturesuccess"), null_keyed("N", "authfailed")])
def test_nothing_else_is_heard_without_a_proof(told: dict[str, Any]) -> None:
    for content in (told, {**told, "checksum": ""}):
        with pytest.raises(ForgeryError):
            read(content)


def test_a_cancel_with_a_wrong_proof_is_a_forgery() -> None:
    with pytest.raises(ForgeryError):
        read({**callback("cancelled", "C"), "checksum": "0" * 32})


# --- what it says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "short", "operation"),
    [
        ("reversed", "C", OperationKind.REFUND),
        ("reversed", "Y", OperationKind.REFUND),
        ("chargeback", "C", OperationKind.CHARGEBACK),
        ("authcancelled", "C", OperationKind.REVERSAL),
    ],
)
def test_what_took_the_money_back_is_an_operation(status: str, short: str, operation: OperationKind) -> None:
    notice = read(callback(status, short))
    assert (notice.operation, notice.outcome) == (operation, Approved(PAYMENT_ID, AMOUNT))


@pytest.mark.parametrize(("status", "short"), [("authstarted", "P"), ("authstarted", "3D"), ("capturestarted", "P")])
def test_an_intermediate_result_is_pending(status: str, short: str) -> None:
    assert isinstance(read(callback(status, short)).outcome, Pending)


@pytest.mark.parametrize("config", [{}, {"repeat_via": "token"}])
def test_a_registration_in_a_callback_is_no_profile_since_later_charges_show_it_too(config: dict[str, str]) -> None:
    assert read(callback(registrationId=TOKEN), **config).outcome == Approved(PAYMENT_ID, AMOUNT)


def test_money_that_is_not_ours_is_told_as_the_money_it_is() -> None:
    assert read(callback(amount="1.00", currency="CHF")).outcome == Approved(PAYMENT_ID, Money(100, "CHF"))


def test_a_signed_callback_that_is_not_understood_is_a_reason_to_ask() -> None:
    for told in (callback("unheard"), callback(currency="EURO"), callback(paymentId="-")):
        notice = read(told)
        assert (notice.key, notice.outcome) == ("T-1", None)


def test_two_copies_are_one_news_and_two_statuses_are_two() -> None:
    first, again, later = read(callback()), read(callback(remark="again")), read(callback("settled"))
    assert first.identity == again.identity != later.identity


def test_a_form_is_heard_as_well_as_json_also_with_the_names_of_a_browsers_return() -> None:
    told = {"trackingid": PAYMENT_ID, "desc": "T-1", "amount": "25.00", "currency": "EUR", "status": "N"}
    checksum = proof(PAYMENT_ID, "T-1", "25.00", "N", KEY)
    body = urlencode({**told, "resultCode": "10001", "resultDescription": "Expired card", "checksum": checksum})
    notice = read(body.encode())
    assert (notice.key, notice.gateway_id) == ("T-1", PAYMENT_ID)
    assert isinstance(notice.outcome, Declined)
    assert (notice.outcome.code, notice.outcome.text) == ("10001", "Expired card")


@pytest.mark.parametrize("body", [b"", b"x", b"a=1&a=2", b'{"a":1,"a":2}', b"[]", b"a=\xff", b'{"a":"\\ud800"}'])
def test_what_cannot_be_read_is_a_forgery(body: bytes) -> None:
    with pytest.raises(ForgeryError):
        read(body)


def test_only_a_post_is_a_callback() -> None:
    with pytest.raises(ForgeryError):
        gateway(Brand(b"")).read_notification(message(callback(), method="GET"))


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.text(max_size=9), st.text(max_size=9)).map(lambda d: json.dumps(d).encode())
)
def test_no_bytes_break_it_and_none_are_believed(body: bytes) -> None:
    with pytest.raises(ForgeryError):
        read(body)


def test_the_answer_to_a_callback_is_a_word_and_there_is_no_challenge() -> None:
    account = gateway(Brand(b""))
    assert (account.acknowledge(accepted=True), account.acknowledge(accepted=False)) == ("OK", "not accepted")
    assert account.answer_challenge(message(callback(), method="GET")) is None
