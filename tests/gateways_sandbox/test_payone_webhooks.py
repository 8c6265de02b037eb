"""Webhooks as the provider sends them (reference section 12)."""

import hmac
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest

from tests.gateways_sandbox.conftest import Hook
from tests.gateways_sandbox.payone_wire import CARD, DECLINED, Payone, payment
from tests.gateways_sandbox.wire import eventually


def mac(secret: str, body: bytes) -> str:
    return b64encode(hmac.new(secret.encode(), body, sha256).digest()).decode()


@pytest.fixture
def shop(payone: Payone, hook: Hook) -> Payone:
    payone.settings(webhook_urls=[hook.url], webhook_first_retry_s=0.01)
    payone.tokens({"token": "t", "card": CARD, "expiry": "1230"}, {"token": "bad", "card": DECLINED, "expiry": "1230"})
    return payone


def test_an_event_is_signed_over_its_raw_body(shop: Payone, hook: Hook) -> None:
    said = shop.pay("t", authorizationMode="SALE")
    (event,) = hook.wait_for("payment.captured")
    headers, body = hook.got[0]
    assert headers["x-gcs-keyid"] == shop.credentials["webhook_key_id"]
    assert headers["x-gcs-signature"] == mac(shop.credentials["webhook_secret"], body)
    assert headers["retry-count"] == "0"
    assert (event["apiVersion"], event["merchantId"], event["payment"]["id"]) == ("v1", shop.merchant, said.id)
    assert event["payment"]["statusOutput"]["statusCode"] == 9
    assert event["payment"]["paymentOutput"]["references"]["merchantReference"] == "order-1"


@pytest.mark.parametrize(
    ("steps", "types"),
    [
        ([], "payment.pending_capture"),
        (["capture"], "payment.pending_capture payment.capture_requested payment.captured"),
        (["cancel"], "payment.pending_capture payment.cancelled"),
        (
            ["capture", "refund"],
            "payment.pending_capture payment.capture_requested payment.captured refund.refund_requested "
            "payment.refunded",
        ),
    ],
)
def test_each_change_is_told(shop: Payone, hook: Hook, steps: list[str], types: str) -> None:
    payment_id = shop.pay("t").id
    for step in steps:
        shop.operate(payment_id, step)
    events = {event["type"]: event for event in hook.wait_for(*types.split())}
    assert len({event["id"] for event in events.values()}) == len(events)
    if "refund" in steps:
        refund = events["payment.refunded"]["refund"]
        assert (refund["id"][-2:], refund["statusOutput"]["statusCode"]) == ("_2", 8)
        assert refund["refundOutput"]["cardRefundMethodSpecificOutput"]["totalAmountRefunded"] == 1999
    if "cancel" in steps:
        cancelled = events["payment.cancelled"]["payment"]
        assert (cancelled["id"][-2:], cancelled["statusOutput"]["statusCode"]) == ("_1", 6)
        assert cancelled["paymentOutput"]["acquiredAmount"]["amount"] == 0


def test_declines_and_redirections_are_told_too(shop: Payone, hook: Hook) -> None:
    shop.pay("bad")
    secure = {"challengeIndicator": "challenge-required", "redirectionData": {"returnUrl": "https://shop.example/"}}
    shop.post("payments", payment(token="t", threeDSecure=secure))
    hook.wait_for("payment.rejected", "payment.redirected")


def test_what_is_not_taken_is_sent_again_unchanged_until_patience_ends(shop: Payone, hook: Hook) -> None:
    hook.answers = [500, 301, 404, 204]
    shop.pay("t")
    eventually(lambda: len(hook.got) == 4)
    assert [headers["retry-count"] for headers, _ in hook.got] == ["0", "1", "2", "3"]
    assert len({body for _, body in hook.got}) == 1
    shop.settings(webhook_retries_max=1)
    hook.answers = [500, 500, 500]
    shop.pay("t")
    eventually(lambda: [e["status"] for e in shop.control("log")["events"]] == ["OK", "FAILURE"])
    assert len(hook.got) == 6


def test_a_new_key_ends_the_old_one_at_once(shop: Payone, hook: Hook) -> None:
    shop.settings(webhook_key_id="key-2", webhook_secret="another")
    shop.pay("t")
    hook.wait_for("payment.pending_capture")
    headers, body = hook.got[0]
    assert (headers["x-gcs-keyid"], headers["x-gcs-signature"]) == ("key-2", mac("another", body))


@pytest.mark.parametrize(
    ("fault", "count"), [("no_notification", 0), ("duplicate_notification", 2), ("late_notification", 1)]
)
def test_events_can_be_withheld_doubled_or_late(shop: Payone, hook: Hook, fault: str, count: int) -> None:
    shop.faults({"fault": fault, "times": 1} | ({"ms": 50} if fault.startswith("late") else {}))
    shop.pay("t", 1000)
    shop.pay("t", 2000)
    hook.wait_for(*["payment.pending_capture"] * (count + 1))
    amounts = [event["payment"]["paymentOutput"]["amountOfMoney"]["amount"] for event in hook.events()]
    assert sorted(amounts) == [1000] * count + [2000]
    assert len({event["id"] for event in hook.events() if event["payment"]["paymentOutput"]}) == min(count, 1) + 1


def test_a_payment_may_name_its_own_addresses(shop: Payone, hook: Hook) -> None:
    shop.settings(webhook_urls=["https://elsewhere.example/"])
    feedbacks = {"feedbacks": {"webhooksUrls": [hook.url, f"{hook.url}2"]}}
    shop.post("payments", payment(token="t", more=feedbacks))
    first, second = hook.wait_for("payment.pending_capture", "payment.pending_capture")
    assert first == second
    shop.pay("t")
    eventually(lambda: shop.control("log")["events"][-1]["status"] == "FAILURE")


def test_an_address_can_be_made_to_prove_itself_first(shop: Payone, hook: Hook) -> None:
    shop.settings(webhook_verification=True)
    hook.echoes = False
    shop.pay("t")
    eventually(lambda: len(hook.asked) >= 2)
    assert hook.got == []
    hook.echoes = True
    hook.wait_for("payment.pending_capture")
    asked = len(hook.asked)
    assert hook.asked[-1]["x-gcs-webhooks-endpoint-verification"]
    shop.pay("t")
    hook.wait_for("payment.pending_capture", "payment.pending_capture")
    assert len(hook.asked) == asked


def test_the_secret_can_be_checked_by_its_hash(shop: Payone) -> None:
    key, right = shop.credentials["webhook_key_id"], mac(shop.credentials["webhook_secret"], b"")
    tries: list[tuple[Any, str]] = [
        ({"key": key, "secret": right}, "Valid"),
        ({"key": key, "secret": shop.credentials["webhook_secret"]}, "Invalid"),
        ({"key": "other", "secret": right}, "Invalid"),
        ({"key": key, "secret": "ü"}, "Invalid"),
    ]
    for sent, result in tries:
        said = shop.post("webhooks/validateCredentials", sent)
        assert (said.status, said.json) == (200, {"result": result})


def test_a_test_event_can_be_asked_for(shop: Payone, hook: Hook) -> None:
    assert shop.post("webhooks/sendtest").status == 204
    assert shop.post("webhooks/sendtest", {"url": hook.url}).status == 204
    for event in hook.wait_for("payment.test", "payment.test"):
        assert event["payment"]["id"] == "9999_9"
    assert shop.post("webhooks/sendtest", {"url": "https://shop.example/"}).error == (400, "INVALID_VALUE", "url")
