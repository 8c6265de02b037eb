"""Callbacks: when they come, what they say, and how often they are repeated."""

from typing import Any

import pytest

from tests.gateways_sandbox.conftest import Hook
from tests.gateways_sandbox.paymentz_wire import CHALLENGED, DECLINED, RETURN_URL, PaymentZ, md5
from tests.gateways_sandbox.wire import eventually


def got(hook: Hook, *statuses: str) -> list[dict[str, Any]]:
    """Wait until callbacks have come with these long statuses, and return all that came."""
    eventually(lambda: [event["status"] for event in hook.events()] == list(statuses))
    return hook.events()


def tried(paymentz: PaymentZ) -> list[tuple[str, int]]:
    return [(entry["status"], entry["attempts"]) for entry in paymentz.control("log")["callbacks"]]


def settled(paymentz: PaymentZ) -> list[tuple[str, int]]:
    """Wait until nothing is owed any more; return status and tries of each callback."""
    eventually(lambda: all(status != "PENDING" for status, _ in tried(paymentz)))
    return tried(paymentz)


def is_signed(paymentz: PaymentZ, event: dict[str, Any], status: str) -> bool:
    subjects = (event["paymentId"], event["merchantTransactionId"], event["amount"], status)
    return bool(event["checksum"] == md5(*subjects, paymentz.key))


def test_a_paid_page_is_called_back_with_the_documented_body(paymentz: PaymentZ, hook: Hook) -> None:
    form = paymentz.open("t-1", notificationUrl=hook.url, recurringType="INITIAL", createRegistration="true")
    paymentz.pay(form)
    (event,) = got(hook, "capturesuccess")
    headers = hook.got[0][0]
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert is_signed(paymentz, event, "Y")
    found = paymentz.ask_by_reference("t-1").json
    assert len(event.pop("bankReferenceId")) == 12
    assert len(event.pop("timestamp")) == 19
    del event["checksum"]
    assert event == {
        "paymentId": found["paymentId"],
        "status": "capturesuccess",
        "transactionStatus": "Y",
        "paymentBrand": "VISA",
        "paymentMode": "CC",
        "firstName": "",
        "lastName": "",
        "amount": "50.00",
        "currency": "EUR",
        "descriptor": "A plan",
        "merchantTransactionId": "t-1",
        "remark": "Transaction succeeded",
        "tmpl_amount": "50.00",
        "tmpl_currency": "EUR",
        "result": {"code": "00001", "description": "Transaction succeeded"},
        "customer": {"email": "", "id": ""},
        "card": {
            "bin": "400000",
            "last4Digits": "0051",
            "lastFourDigits": "0051",
            "expiryMonth": "12",
            "expiryYear": "2030",
        },
        "eci": "",
        "registrationId": found["registrationId"],
        "terminalId": "9901",
    }


def test_intermediate_and_final_results_of_a_page_are_called_back_in_order(paymentz: PaymentZ, hook: Hook) -> None:
    challenge = paymentz.pay(paymentz.open("t-1", notificationUrl=hook.url), number=CHALLENGED)
    got(hook, "authstarted")
    paymentz.submit(str(challenge.url), outcome="approve")
    events = got(hook, "authstarted", "capturesuccess")
    assert [is_signed(paymentz, event, event["transactionStatus"]) for event in events] == [True, True]
    assert [event["transactionStatus"] for event in events] == ["3D", "Y"]


@pytest.mark.parametrize(("action", "status", "short"), [("cancel", "cancelled", "C"), ("pay", "authfailed", "N")])
def test_an_unhappy_end_of_a_page_is_called_back(
    paymentz: PaymentZ, hook: Hook, action: str, status: str, short: str
) -> None:
    paymentz.settings(page_tries_max=1)
    page = paymentz.open("t-1", notificationUrl=hook.url)
    if action == "cancel":
        paymentz.submit(page, action=action)
    else:
        paymentz.pay(page, number=DECLINED)
    (event,) = got(hook, status)
    assert (event["transactionStatus"], is_signed(paymentz, event, short)) == (short, True)


def test_a_declined_try_that_leaves_the_page_open_is_not_called_back(paymentz: PaymentZ, hook: Hook) -> None:
    page = paymentz.open("t-1", notificationUrl=hook.url)
    paymentz.pay(page, number=DECLINED)
    paymentz.pay(page)
    got(hook, "capturesuccess")


def test_an_immediate_answer_is_called_back_only_where_that_is_set(paymentz: PaymentZ, hook: Hook) -> None:
    paymentz.purchase("t-1", notificationUrl=hook.url)
    assert settled(paymentz) == []
    paymentz.settings(callback_on_sync=True)
    held = paymentz.purchase("t-2", notificationUrl=hook.url, paymentType="PA").id
    got(hook, "authsuccessful")
    paymentz.capture(held)
    got(hook, "authsuccessful", "capturesuccess")


def test_what_happens_after_the_answer_is_called_back(paymentz: PaymentZ, hook: Hook) -> None:
    parent = paymentz.on_file("c-1")["paymentId"]
    child = paymentz.repeat(parent, "r-1", notificationUrl=hook.url).id
    paymentz.move(child, "settled")
    got(hook, "settled")  # callbacks do not wait for each other, so a later one may overtake
    paymentz.move(child, "chargeback")
    events = got(hook, "settled", "chargeback")
    assert [event["transactionStatus"] for event in events] == ["Y", "C"]


def test_a_payout_and_a_pending_payment_are_called_back(paymentz: PaymentZ, hook: Hook) -> None:
    payment_id = paymentz.purchase("t-1", "5.07", notificationUrl=hook.url).id
    (event,) = got(hook, "capturesuccess")
    assert event["paymentId"] == payment_id
    paymentz.post("payout", paymentz.payout_fields("p-1", paymentId=payment_id, notificationUrl=hook.url))
    got(hook, "capturesuccess", "payoutsuccessful")


def test_a_rest_challenge_is_called_back(paymentz: PaymentZ, hook: Hook) -> None:
    more = {"merchantRedirectUrl": RETURN_URL, "notificationUrl": hook.url, "card.number": CHALLENGED}
    url = paymentz.purchase("t-1", **more).json["redirect"]["url"]
    paymentz.submit(url, outcome="approve")
    got(hook, "capturesuccess")


def test_the_long_status_may_be_signed(paymentz: PaymentZ, hook: Hook) -> None:
    paymentz.settings(callback_status_form="long")
    paymentz.pay(paymentz.open("t-1", notificationUrl=hook.url))
    (event,) = got(hook, "capturesuccess")
    assert is_signed(paymentz, event, "capturesuccess")


def test_a_callback_is_repeated_until_somebody_takes_it(paymentz: PaymentZ, hook: Hook) -> None:
    paymentz.settings(callback_retry_delays=["0.01", "0.01", "0.01"])
    hook.answers = [500, 302, 201]
    paymentz.pay(paymentz.open("t-1", notificationUrl=hook.url))
    events = got(hook, "capturesuccess", "capturesuccess", "capturesuccess")
    assert events[0] == events[1] == events[2]
    assert settled(paymentz) == [("OK", 3)]


def test_a_callback_is_given_up_after_the_last_repeat(paymentz: PaymentZ, hook: Hook) -> None:
    assert paymentz.control("settings")["callback_retry_delays"] == ["30", "120", "600"]
    paymentz.settings(callback_retry_delays=["0.01", "0.01"])
    hook.answers = [500] * 3
    paymentz.pay(paymentz.open("t-1", notificationUrl=hook.url))
    eventually(lambda: len(hook.got) == 3)
    assert settled(paymentz) == [("FAILURE", 3)]


def test_no_callback_leaves_this_machine(paymentz: PaymentZ) -> None:
    paymentz.pay(paymentz.open("t-1", notificationUrl="https://shop.example/hook"))
    assert settled(paymentz) == [("FAILURE", 0)]


@pytest.mark.parametrize(("fault", "count"), [("no_notification", 0), ("duplicate_notification", 2)])
def test_a_rule_silences_or_doubles_callbacks(paymentz: PaymentZ, hook: Hook, fault: str, count: int) -> None:
    paymentz.faults({"fault": fault, "match": {"operation": "PaymentPage"}})
    paymentz.pay(paymentz.open("t-1", notificationUrl=hook.url))
    eventually(lambda: len(hook.got) == count)
    assert settled(paymentz) == [("OK", 1)] * count


def test_a_rule_delays_a_callback_past_the_next(paymentz: PaymentZ, hook: Hook) -> None:
    paymentz.faults({"fault": "late_notification", "ms": 3000, "match": {"operation": "PaymentPage"}, "times": 1})
    challenge = paymentz.pay(paymentz.open("t-1", notificationUrl=hook.url), number=CHALLENGED)
    paymentz.submit(str(challenge.url), outcome="approve")
    got(hook, "capturesuccess", "authstarted")
