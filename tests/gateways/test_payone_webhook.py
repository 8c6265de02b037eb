from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    ForgeryError,
    Notice,
    OperationKind,
    Outcome,
    Pending,
    RawMessage,
)
from billing.money import Money
from gateways.payone_webhook import PROOF_HEADERS, STALE_AFTER
from tests.gateways.payone_samples import (
    CREDENTIALS,
    PAYMENT_ID,
    answering,
    body,
    error,
    event,
    gateway,
    made,
    money,
    signed,
    state,
)
from tests.gateways.samples import AMOUNT
from tests.gateways.test_payone_signing import W1, W1_SIGNATURE

ID = "6f1b7c1e-0001"
PART = Money(1000, "EUR")


def read(message: RawMessage) -> Notice:
    return gateway(answering(b"")).read_notification(message)


def refused(message: RawMessage) -> str:
    with pytest.raises(ForgeryError) as caught:
        read(message)
    return str(caught.value)


def refund(code: int = 8, status: str = "REFUNDED", mark: str = "key=T-1", minor: int = 1000) -> dict[str, Any]:
    references = {"merchantReference": "INV-2025-11", "merchantParameters": mark}
    return {
        "id": "4454999290_2",
        **state(code, status),
        "refundOutput": {"amountOfMoney": money(minor), "references": references},
    }


# --- what is believed ---------------------------------------------------------------------------------


def test_a_signed_event_is_news_of_its_payment() -> None:
    assert read(signed(event())) == Notice(ID, "T-1", PAYMENT_ID, Approved(PAYMENT_ID, AMOUNT))


def test_an_event_is_never_the_last_word() -> None:
    assert not gateway(answering(b"")).abilities.notification_is_truth


def test_the_worked_example_is_believed() -> None:
    headers = {"X-GCS-Signature": W1_SIGNATURE, "X-GCS-KeyId": "whk-0001"}
    notice = read(RawMessage("POST", "", headers, W1, "T-1"))
    assert notice.outcome == Approved(PAYMENT_ID, Money(1999, "EUR"))


def test_the_key_is_in_the_event_even_where_the_address_does_not_prove_it() -> None:
    assert read(signed(event(), proven_key="")).key == "T-1"


def test_the_address_tells_the_key_where_the_event_does_not() -> None:
    assert read(signed(event(payment=made(mark="")))).key == "T-1"
    assert read(signed(event(payment=made(mark="order=4711")))).key == "T-1"


@pytest.mark.parametrize(("key_id", "secret"), [("whk-0001", "webhook_secret"), ("whk-0002", "webhook_secret_2")])
def test_the_old_key_and_the_new_one_are_both_believed_while_keys_change(key_id: str, secret: str) -> None:
    assert read(signed(event(), key_id=key_id, secret=CREDENTIALS[secret])).key == "T-1"


@pytest.mark.parametrize("name", ["x-gcs-signature", "X-GCS-SIGNATURE", "X-Gcs-Signature"])
def test_the_case_of_a_headers_name_does_not_matter(name: str) -> None:
    message = signed(event())
    headers = {name: f" {message.headers['x-gcs-signature']} ", "X-GCS-KeyId": "whk-0001"}
    assert read(replace(message, headers=headers)).key == "T-1"


def test_what_proves_an_event_is_named_so_that_it_can_be_kept() -> None:
    message = signed(event())
    kept = {name: value for name, value in message.headers.items() if name in {n.lower() for n in PROOF_HEADERS}}
    assert read(replace(message, headers=kept)) == read(message)


# --- what is not ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (replace(signed(event()), headers={}), "not signed"),
        (replace(signed(event()), headers={"X-GCS-Signature": "x"}), "not signed"),
        (replace(signed(event()), body=body(event()) + b"\n"), "does not fit"),
        (replace(signed(event()), body=body(event()).replace(b"2500", b"9500")), "does not fit"),
        (signed(event(), key_id="whk-0009"), "a key this account does not have"),
        (signed(event(), key_id="whk-0002"), "does not fit"),
        (signed(event(), secret="another"), "does not fit"),
        (replace(signed(event()), method="GET"), "POST only"),
        (signed(event(), proven_key="T-2"), "another order"),
        (signed(event(merchantId="Another")), "another account"),
        (signed(event(apiVersion="v2")), "another version"),
        (signed(event(created="2025-06-05T03:39:42+02:00")), "stale"),
        (signed(event(created="2025-06-06T13:44:44Z")), "stale"),
        (signed(event(created="2025-06-06T13:39:43")), "no offset"),
        (signed(event(created="yesterday")), "when it happened"),
        (signed(event(created=None)), "when it happened"),
        (signed(event(created="0001-01-01T00:00:00+23:59")), "when it happened"),
        (signed(b"<html>"), "cannot be placed"),
        (signed(b"[]"), "cannot be placed"),
    ],
)
def test_what_proves_nothing_is_not_believed(message: RawMessage, reason: str) -> None:
    told = refused(message)
    assert reason in told
    assert not any(CREDENTIALS[name] in told for name in CREDENTIALS if "secret" in name)


@pytest.mark.parametrize(
    "created", ["2025-06-05T03:39:43+02:00", "2025-06-06T13:44:43Z", "2025-06-06T13:39:43.1234567Z"]
)
def test_the_last_delivery_and_a_clock_a_little_ahead_are_still_fresh(created: str) -> None:
    assert read(signed(event(created=created))).identity == ID


def test_an_account_without_webhook_keys_believes_nothing() -> None:
    without = dict.fromkeys((name for name in CREDENTIALS if name.startswith("webhook")), "")
    with pytest.raises(ForgeryError):
        gateway(answering(b""), **without).read_notification(signed(event()))


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=40), st.text(max_size=12))
def test_bytes_nobody_signed_are_a_forgery(content: bytes, claimed: str, key_id: str) -> None:
    headers = {"X-GCS-Signature": claimed, "X-GCS-KeyId": key_id or "whk-0001"}
    refused(RawMessage("POST", "", headers, content, "T-1"))


@settings(deadline=None)
@given(st.data())
def test_a_changed_event_is_a_forgery(data: st.DataObject) -> None:
    message = signed(event())
    start = data.draw(st.integers(0, len(message.body) - 1))
    end = data.draw(st.integers(start + 1, len(message.body)))
    refused(replace(message, body=message.body[:start] + message.body[end:]))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_signed_bytes_are_news_or_a_forgery_and_nothing_breaks(content: bytes) -> None:
    refused(signed(content))


shapes = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["CAPTURED", PAYMENT_ID, 9, 8, 61]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["id", "status", "statusOutput", "statusCode", "paymentOutput", "references", "refundOutput"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(shapes, st.sampled_from(["payment", "refund", "token", "paymentLink"]))
def test_a_signed_event_of_any_shape_is_at_least_a_reason_to_ask(carried: object, name: str) -> None:
    notice = read(signed({**event(), "payment": None, name: carried}))
    assert (notice.identity, notice.key) == (ID, "T-1")
    assert notice.outcome is None or isinstance(notice.outcome, Outcome)


# --- what it tells --------------------------------------------------------------------------------------


def test_two_copies_of_an_event_are_one_piece_of_news() -> None:
    again = replace(signed(event()), headers={**signed(event()).headers, "retry-count": "3"})
    assert read(again) == read(signed(event()))
    assert read(signed(event(id="6f1b7c1e-0002"))).identity != ID


def test_an_event_without_an_id_is_known_by_its_bytes() -> None:
    first, second = event(id=None), event(id=None, type="payment.created")
    assert read(signed(first)).identity == read(signed(first)).identity != read(signed(second)).identity


@pytest.mark.parametrize(
    ("kind", "code", "status", "expected"),
    [
        ("payment.pending_capture", 5, "PENDING_CAPTURE", Approved(PAYMENT_ID, AMOUNT, captured=False)),
        ("payment.captured", 9, "CAPTURED", Approved(PAYMENT_ID, AMOUNT)),
        ("payment.redirected", 46, "REDIRECTED", Pending(PAYMENT_ID, evidence="PAYONE reports the state REDIRECTED")),
        (
            "payment.capture_requested",
            91,
            "CAPTURE_REQUESTED",
            Pending(PAYMENT_ID, evidence="PAYONE reports the state CAPTURE_REQUESTED"),
        ),
        ("payment.rejected_capture", 93, "REJECTED_CAPTURE", Approved(PAYMENT_ID, AMOUNT, captured=False)),
    ],
)
def test_a_payment_is_told_as_it_stands(kind: str, code: int, status: str, expected: Outcome) -> None:
    assert read(signed(event(kind, payment=made(code, status)))) == Notice(ID, "T-1", PAYMENT_ID, expected)


def test_a_decline_is_told_with_its_reason() -> None:
    payment = made(2, "REJECTED", errors=[error("30511001")])
    notice = read(signed(event("payment.rejected", payment=payment)))
    assert notice.outcome == Declined("30511001", DeclineClass.RETRY_LATER, "", PAYMENT_ID)


def test_a_capture_of_its_own_is_the_payments_way_to_become_money() -> None:
    notice = read(signed(event(payment=made(9, id="4454999290_1"))))
    assert notice == Notice(ID, "T-1", PAYMENT_ID, Approved(PAYMENT_ID, AMOUNT))


def test_a_refund_is_told_beside_the_payment() -> None:
    notice = read(signed(event("payment.refunded", refund=refund())))
    assert notice == Notice(ID, "T-1", PAYMENT_ID, Approved(PAYMENT_ID, PART), OperationKind.REFUND)


def test_a_refund_that_was_refused_is_told_as_a_no() -> None:
    notice = read(signed(event("payment.rejected", refund=refund(83, "REJECTED"))))
    assert notice.operation is OperationKind.REFUND
    assert isinstance(notice.outcome, Declined)


def test_an_operation_on_its_way_is_only_a_reason_to_ask() -> None:
    notice = read(signed(event("refund.refund_requested", refund=refund(81, "REFUND_REQUESTED"))))
    assert (notice.operation, type(notice.outcome)) == (None, Pending)


def test_a_cancellation_is_told_as_what_followed_the_payment() -> None:
    notice = read(signed(event("payment.cancelled", payment=made(6, "CANCELLED", id="4454999290_1"))))
    assert notice == Notice(ID, "T-1", PAYMENT_ID, Approved(PAYMENT_ID, AMOUNT), OperationKind.REVERSAL)


def test_a_test_from_the_portal_is_about_no_payment() -> None:
    message = signed(event("payment.test", payment=made(9, id="9999_9", mark="")), proven_key="")
    assert read(message) == Notice(ID, "")


@pytest.mark.parametrize(
    "values",
    [
        event("token.created", token={"id": "x"}),
        event("paymentlink.paid", payment=None, paymentLink={"paymentLinkId": "x"}),
        event(payment=[]),
        event(payment=made(9, "REJECTED")),
        event("payment.refunded", refund=refund(9, "CAPTURED")),
    ],
)
def test_a_signed_event_nobody_understands_is_a_reason_to_ask(values: dict[str, Any]) -> None:
    assert read(signed(values)) == Notice(ID, "T-1")


def test_news_in_a_list_of_one_is_read_too() -> None:
    assert read(signed(body([event()]))) == read(signed(event()))


def test_a_list_of_two_is_no_event() -> None:
    refused(signed(body([event(), event()])))


# --- the check of our address ---------------------------------------------------------------------------

HEADER = "x-gcs-webhooks-endpoint-verification"


def challenge(method: str, headers: dict[str, str]) -> str | None:
    return gateway(answering(b"")).answer_challenge(RawMessage(method, "", headers, b""))


def test_a_check_of_our_address_reads_back_its_own_words() -> None:
    assert challenge("GET", {HEADER: "abc-123"}) == "abc-123"
    assert challenge("GET", {HEADER.upper(): " abc-123 "}) == "abc-123"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {HEADER: "abc"}),
        ("GET", {}),
        ("GET", {HEADER: ""}),
        ("GET", {HEADER: "x" * 201}),
        ("GET", {HEADER: "a b"}),
    ],
)
def test_nothing_else_is_read_back(method: str, headers: dict[str, str]) -> None:
    assert challenge(method, headers) is None


def test_the_oldest_fresh_event_is_older_than_the_last_delivery() -> None:
    assert timedelta(minutes=10, hours=1 + 2 + 8 + 24) < STALE_AFTER
