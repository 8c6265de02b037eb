"""Captures, cancels and refunds (reference section 8), and what time and testers do to payments."""

from typing import Any

import pytest

from tests.gateways_sandbox.payone_wire import CARD, Payone
from tests.gateways_sandbox.wire import eventually

Step = tuple[str, dict[str, Any], int]
ALL: dict[str, Any] = {}


def part(amount: int) -> dict[str, Any]:
    return {"amountOfMoney": {"amount": amount, "currencyCode": "EUR"}}


def settled(payone: Payone, payment_id: str, code: int) -> None:
    eventually(lambda: payone.code_of(payment_id) == code)


@pytest.mark.parametrize(
    "steps",
    [
        [("capture", {"amount": 500}, 201), ("capture", ALL, 201), ("capture", ALL, 400)],
        [("capture", {"amount": 500}, 201), ("capture", {"amount": 1500}, 400)],
        [("capture", {"amount": 500, "isFinal": True}, 201), ("capture", {"amount": 1}, 400)],
        [("capture", ALL, 201), ("capture", ALL, 400)],
        [("cancel", ALL, 200), ("capture", ALL, 400)],
        [("capture", ALL, 201), ("refund", ALL, 201), ("capture", ALL, 400)],
        [("cancel", part(999), 200), ("capture", ALL, 201)],
        [("cancel", part(999), 200), ("cancel", part(1000), 200), ("cancel", part(1), 400)],
        [("cancel", part(999), 200), ("cancel", part(1001), 400)],
        [("capture", {"amount": 1500}, 201), ("cancel", part(500), 400), ("cancel", part(499), 200)],
        [("capture", ALL, 201), ("cancel", ALL, 400)],
        [("capture", ALL, 201), ("refund", ALL, 201), ("cancel", ALL, 400)],
        [("cancel", ALL, 200), ("cancel", ALL, 400)],
        [("capture", ALL, 201), ("refund", part(1), 201), ("refund", part(1998), 201), ("refund", part(1), 400)],
        [("capture", {"amount": 500}, 201), ("refund", part(501), 400), ("refund", part(500), 201)],
        [("refund", ALL, 400)],
        [("cancel", ALL, 200), ("refund", ALL, 400)],
        [("capture", {"amount": 0}, 400), ("cancel", part(0), 400), ("cancel", part(-1), 400)],
        [("complete", ALL, 500)],
    ],
)
def test_what_is_allowed_when(payone: Payone, steps: list[Step]) -> None:
    payment_id = payone.reserve()
    for what, body, status in steps:
        said = payone.operate(payment_id, what, body)
        assert said.status == status, (what, said.text)
        if status == 400 and body != part(0) and body != part(-1) and body != {"amount": 0}:
            assert said.json["errors"][0]["message"] == "ACTION_NOT_ALLOWED_ON_TRANSACTION"


@pytest.mark.parametrize("what", ["capture", "cancel", "refund", "complete", "subsequent"])
def test_nothing_follows_on_a_payment_that_does_not_exist(payone: Payone, what: str) -> None:
    body = {"order": {"amountOfMoney": {"amount": 1, "currencyCode": "EUR"}}}
    assert payone.operate("9999999999_0", what, body).error == (404, "UNKNOWN_PAYMENT_ID", "paymentId")


def test_a_capture_is_accepted_first_and_done_later(payone: Payone) -> None:
    payone.settings(settle_delay_s=60.0)
    payment_id = payone.reserve()
    references = {"operationReferences": {"merchantReference": "op-1"}}
    said = payone.operate(payment_id, "capture", {"amount": 500, **references})
    assert said.json["id"] == payment_id.replace("_0", "_1")
    assert (said.json["status"], said.json["statusOutput"]) == ("CAPTURE_REQUESTED", {"statusCode": 91})
    assert said.json["captureOutput"]["operationReferences"] == {"merchantReference": "op-1"}
    assert payone.ledger() == [("authorisation", 1999, "reserved"), ("capture", 500, "pending")]
    assert payone.move(payment_id, "9").json() == {"gateway_id": payment_id, "state": "9"}
    assert payone.ledger() == [("authorisation", 1999, "reserved"), ("capture", 500, "booked")]
    (listed,) = payone.get(f"payments/{payment_id}/captures").json["captures"]
    assert listed["statusOutput"]["statusCode"] == 9
    operations = payone.get(f"payments/{payment_id}/details").json["Operations"]
    assert [(o["id"][-2:], o["statusOutput"]["statusCode"]) for o in operations] == [("_0", 5), ("_1", 9)]


def test_time_settles_a_capture_and_the_reservation_with_it(payone: Payone) -> None:
    payment_id = payone.reserve()
    payone.operate(payment_id, "capture")
    settled(payone, payment_id, 9)
    assert payone.ledger() == [("authorisation", 1999, "captured"), ("capture", 1999, "booked")]


def test_a_cancel_is_wrapped_and_looks_authorised_until_it_is_done(payone: Payone) -> None:
    payone.settings(settle_delay_s=60.0)
    payment_id = payone.reserve()
    said = payone.operate(payment_id, "cancel")
    assert (said.status, said.id) == (200, payment_id.replace("_0", "_1"))
    assert said.payment["statusOutput"] == {
        "statusCode": 61,
        "statusCategory": "PENDING_MERCHANT",
        "isAuthorized": True,
        "isCancellable": False,
        "isRefundable": False,
    }
    assert said.payment["paymentOutput"]["acquiredAmount"]["amount"] == 0
    assert payone.ledger() == [("authorisation", 1999, "reserved"), ("reversal", 1999, "pending")]
    payone.move(said.id, "6")
    assert payone.ledger() == [("authorisation", 1999, "reversed"), ("reversal", 1999, "reversed")]
    found = payone.get(f"payments/{payment_id}").payment
    assert (found["status"], found["statusOutput"]["isAuthorized"]) == ("CANCELLED", False)
    assert found["paymentOutput"]["cardPaymentMethodSpecificOutput"]["authorisationCode"] == ""


def test_a_cancel_refused_later_leaves_the_reservation(payone: Payone) -> None:
    payone.settings(settle_delay_s=60.0)
    payment_id = payone.reserve()
    payone.operate(payment_id, "cancel")
    payone.move(payment_id, "63")
    assert payone.code_of(payment_id) == 5
    assert payone.ledger() == [("authorisation", 1999, "reserved"), ("reversal", 1999, "declined")]
    assert payone.operate(payment_id, "cancel").status == 200


def test_refunds_count_when_they_are_done(payone: Payone) -> None:
    payment_id = payone.reserve(authorizationMode="SALE")
    payone.settings(settle_delay_s=60.0)
    said = payone.operate(payment_id, "refund", part(999), key="refund-1")
    assert (said.status, said.json["status"]) == (201, "REFUND_REQUESTED")
    assert said.json["statusOutput"]["isCancellable"] is False
    assert "isAuthorized" not in said.json["statusOutput"]
    totals = said.json["refundOutput"]["cardRefundMethodSpecificOutput"]
    assert totals == {"totalAmountPaid": 1999, "totalAmountRefunded": 0}
    assert payone.rows()[1]["idempotence_key"] == "refund-1"
    payone.move(said.json["id"], "8")
    (listed,) = payone.get(f"payments/{payment_id}/refunds").json["refunds"]
    assert listed["refundOutput"]["cardRefundMethodSpecificOutput"]["totalAmountRefunded"] == 999
    assert payone.code_of(payment_id) == 9
    rest = payone.operate(payment_id, "refund")
    assert payone.code_of(payment_id) == 81
    payone.move(rest.json["id"], "8")
    assert payone.code_of(payment_id) == 8
    assert payone.ledger() == [("sale", 1999, "booked"), ("refund", 999, "booked"), ("refund", 1000, "booked")]


@pytest.mark.parametrize(
    ("amount", "what", "code", "after", "state"),
    [
        (1309, "capture", 93, 5, "declined"),
        (1209, "capture", 92, 92, "pending"),
        (1303, "refund", 83, 9, "declined"),
        (1203, "refund", 82, 82, "pending"),
    ],
)
def test_special_amounts_go_wrong_or_stay_open(
    payone: Payone, amount: int, what: str, code: int, after: int, state: str
) -> None:
    payment_id = payone.reserve(amount, authorizationMode="SALE" if what == "refund" else "PRE_AUTHORIZATION")
    payone.operate(payment_id, what)
    settled(payone, payment_id, after)
    listed = payone.get(f"payments/{payment_id}/{what}s").json[f"{what}s"]
    assert [entry["statusOutput"]["statusCode"] for entry in listed] == [code]
    assert payone.ledger()[-1] == (what, amount, state)


def test_a_refund_need_not_wait_for_the_capture(payone: Payone) -> None:
    payone.settings(settle_delay_s=60.0)
    payment_id = payone.reserve()
    capture = payone.operate(payment_id, "capture").json["id"]
    refund = payone.operate(payment_id, "refund").json["id"]
    payone.move(refund, "8")
    payone.move(capture, "9")
    assert payone.ledger()[1:] == [("capture", 1999, "booked"), ("refund", 1999, "booked")]
    assert payone.code_of(payment_id) == 8


def test_a_sale_lists_the_capture_it_has_in_it(payone: Payone) -> None:
    payment_id = payone.reserve(authorizationMode="SALE")
    (listed,) = payone.get(f"payments/{payment_id}/captures").json["captures"]
    assert (listed["id"], listed["status"]) == (payment_id, "CAPTURED")
    assert payone.get(f"payments/{payment_id}/refunds").json == {"refunds": []}


def test_the_currency_of_a_refund_is_the_payments(payone: Payone) -> None:
    payment_id = payone.reserve(authorizationMode="SALE")
    said = payone.operate(payment_id, "refund", {"amountOfMoney": {"amount": 1, "currencyCode": "USD"}})
    assert said.error == (400, "INVALID_VALUE", "amountOfMoney.currencyCode")


def test_what_is_left_open_is_decided_by_a_move(payone: Payone) -> None:
    payone.tokens({"token": "t", "card": CARD, "expiry": "1230"})
    ends = {"9": ("sale", 1999, "booked"), "5": ("authorisation", 1999, "reserved"), "2": ("sale", 1999, "declined")}
    for state, row in ends.items():
        payone.faults({"fault": "suspend", "times": 1})
        said = payone.pay("t", key=f"k-{state}")
        assert said.status_code == 51
        assert payone.ledger(f"k-{state}") == [("sale", 1999, "pending")]
        payone.move(said.id, "52")
        assert payone.code_of(said.id) == 52
        payone.move(said.id, state)
        assert payone.ledger(f"k-{state}") == [row]


def test_a_reservation_can_lapse_and_other_moves_are_refused(payone: Payone) -> None:
    payment_id = payone.reserve()
    for state in ("9", "2", "nonsense", "77"):
        assert payone.move(payment_id, state).status_code == 409
    assert payone.move("4700000000_0", "9").status_code == 404
    payone.move(payment_id, "6")
    assert payone.ledger() == [("authorisation", 1999, "reversed"), ("reversal", 1999, "reversed")]
    assert payone.move(payment_id, "6").status_code == 409
