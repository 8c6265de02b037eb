"""Misfortune on demand."""

import time
from typing import Any

import httpx
import pytest

from tests.gateways_sandbox.conftest import Receiver
from tests.gateways_sandbox.wire import VISA, Sandbox, complaint, eventually, order


@pytest.fixture
def customer(sandbox: Sandbox) -> Sandbox:
    sandbox.profiles({"customer_id": "c-1", "kind": "CC", "expiry": "4012"})
    return sandbox


@pytest.mark.parametrize(
    ("fault", "rows"), [("drop_before_booking", []), ("drop_after_booking", [("sale", 2500, "booked")])]
)
def test_a_dropped_connection_has_booked_or_not_as_its_name_says(
    customer: Sandbox, fault: str, rows: list[tuple[str, int, str]]
) -> None:
    customer.faults({"fault": fault, "times": 1})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        customer.charge("t", "c-1")
    assert customer.ledger("t") == rows
    assert customer.state("t") == ("BILLED" if rows else "NOT_FOUND")
    assert customer.charge("t", "c-1").code == "OK PROFILE_USED"


@pytest.mark.parametrize(
    ("fault", "http", "booked"),
    [
        ("http_500", 500, 0),
        ("http_429", 429, 0),
        ("http_503", 503, 0),
        ("fault", 500, 0),
        ("unauthorized", 401, 0),
        ("garbage", 200, 1),
    ],
)
def test_a_bad_answer_comes_before_or_after_booking(customer: Sandbox, fault: str, http: int, booked: int) -> None:
    customer.faults({"fault": fault, "times": 1})
    said = customer.charge("t", "c-1")
    assert said.http == http
    assert len(customer.ledger("t")) == booked
    if fault == "fault":
        assert said.fault[0] == "SOAP-ENV:Client"
    elif fault == "unauthorized":
        assert "<title>401 Unauthorized</title>" in said.raw
    else:
        assert "Envelope" not in said.raw


@pytest.mark.parametrize("rule", [{"fault": "delay_ms", "ms": 300}, {"fault": "delay_ms:300"}])
def test_a_delay_waits_and_then_goes_on(customer: Sandbox, rule: dict[str, Any]) -> None:
    customer.faults(rule)
    begun = time.monotonic()
    assert customer.charge("t", "c-1").code == "OK PROFILE_USED"
    assert time.monotonic() - begun >= 0.3


def test_a_client_that_gave_up_during_a_delay_is_charged_all_the_same(customer: Sandbox) -> None:
    customer.faults({"fault": "delay_ms", "ms": 3000, "match": {"operation": "AcceptPayment"}})
    patient, customer.http = customer.http, httpx.Client(timeout=httpx.Timeout(60, read=0.1))
    with pytest.raises(httpx.ReadTimeout):
        customer.charge("t", "c-1")
    customer.http.close()
    customer.http = patient
    assert customer.state("t") == "NOT_FOUND"
    eventually(lambda: customer.ledger("t") == [("sale", 2500, "booked")])


def test_a_push_can_overtake_the_answer(customer: Sandbox, receiver: Receiver) -> None:
    customer.faults({"fault": "delay_answer_ms", "ms": 2000})
    customer.http.timeout = httpx.Timeout(60, read=0.5)
    with pytest.raises(httpx.ReadTimeout):
        customer.charge("t", "c-1", receiver.element)
    customer.http.timeout = httpx.Timeout(60)
    assert receiver.wait_for(2) == ["RESERVED", "BILLED"]


@pytest.mark.parametrize(
    ("code", "err_no", "has_transaction"),
    [
        ("DECLINED", "1", True),
        ("BLOCKED", "2", True),
        ("EXTERNAL_ERROR", "100", True),
        ("INTERNAL_ERROR", None, True),
        ("PROFILE_NOT_FOUND", "20", False),
        ("MERCHANT_LOCKED", "4", False),
        ("ACCESS_DENIED", "3", False),
        ("SOMETHING_NEW", None, False),
    ],
)
def test_a_forced_decline_carries_its_code(
    customer: Sandbox, code: str, err_no: str | None, has_transaction: bool
) -> None:
    customer.faults({"match": {"profile": "c-1"}, "fault": f"decline:{code}", "text": "because"})
    said = customer.charge("t", "c-1")
    assert (said.code, said.text("errNo"), said.text("errText")) == (f"ERROR {code}", err_no, "because")
    assert (said.mpay_tid > 0) is has_transaction
    assert customer.ledger("t") == [("sale", 2500, "declined")] * has_transaction


def test_a_forced_decline_of_a_reversal_leaves_the_reservation(customer: Sandbox) -> None:
    mpay_tid = customer.reserve("t")
    customer.faults({"match": {"operation": "ManualReverse", "reference": "t"}, "fault": "decline:INTERNAL_ERROR"})
    said = customer.call("ManualReverse", f"<mpayTID>{mpay_tid}</mpayTID>")
    assert (said.code, said.text("transaction/tStatus")) == ("ERROR INTERNAL_ERROR", "FAILED")
    assert customer.ledger("t") == [("authorisation", 2500, "reserved")]


def test_a_question_is_refused_only_by_a_rule_that_names_it(customer: Sandbox) -> None:
    customer.charge("t", "c-1")
    customer.faults({"fault": "decline:ACCESS_DENIED"})
    assert customer.state("t") == "BILLED"
    customer.faults({"match": {"operation": "TransactionStatus"}, "fault": "decline:INTERNAL_ERROR"})
    assert customer.call("TransactionStatus", "<tid>t</tid>").code == "ERROR INTERNAL_ERROR"
    customer.faults({"match": {"operation": "SelectPayment", "reference": "p*"}, "fault": "decline:MERCHANT_LOCKED"})
    said = customer.call("SelectPayment", f"<mdxi>{order('p-1')}</mdxi>")
    assert (said.code, said.text("location")) == ("ERROR MERCHANT_LOCKED", "")


def test_a_try_on_a_page_is_declined_too(customer: Sandbox) -> None:
    customer.faults({"match": {"reference": "p", "operation": "PaymentPage"}, "fault": "decline:BLOCKED", "times": 1})
    page = customer.page(order("p"))
    card = {"action": "pay", "type": "CC", "number": VISA, "cvc": "123", "expiry": "05/40"}
    assert complaint(customer.submit(page, **card))
    assert not complaint(customer.submit(page, **card))
    assert customer.ledger("p") == [("sale", 2500, "declined"), ("sale", 2500, "booked")]


def test_a_silenced_charge_is_not_told(customer: Sandbox, receiver: Receiver) -> None:
    customer.faults({"match": {"reference": "quiet"}, "fault": "no_notification"})
    customer.charge("quiet", "c-1", receiver.element)
    customer.charge("loud", "c-1", receiver.element)
    receiver.wait_for(2)
    assert {found["TID"] for found in receiver.parameters()} == {"loud"}


def test_a_duplicate_is_told_word_for_word_again(customer: Sandbox, receiver: Receiver) -> None:
    customer.faults({"fault": "duplicate_notification", "times": 1})
    customer.charge("t", "c-1", receiver.element)
    assert receiver.wait_for(4) == ["RESERVED", "RESERVED", "BILLED", "BILLED"]
    assert len(set(receiver.paths)) == 2


def test_a_late_push_comes_after_those_of_later_calls(customer: Sandbox, receiver: Receiver) -> None:
    customer.faults({"match": {"reference": "late"}, "fault": "late_notification", "ms": 3000})
    customer.charge("late", "c-1", receiver.element)
    customer.charge("prompt", "c-1", receiver.element)
    receiver.wait_for(4)
    assert [found["TID"] for found in receiver.parameters()] == ["prompt", "prompt", "late", "late"]


def test_an_answer_can_come_in_another_order_and_with_strangers(customer: Sandbox) -> None:
    customer.faults({"fault": "reorder_answer"})
    assert customer.charge("t", "c-1").names() == ["mpayTID", "returnCode", "status"]
    customer.faults({"fault": "extra_elements"})
    names = customer.charge("t", "c-1").names()
    assert names == ["newInVersion", "status", "returnCode", "detail", "mpayTID", "newAtTheEnd"]


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({}, True),
        ({"operation": "AcceptPayment"}, True),
        ({"operation": "Accept*"}, True),
        ({"operation": "AcceptWithdraw"}, False),
        ({"reference": "t-*"}, True),
        ({"reference": "t-"}, False),
        ({"profile": "c-1", "amount_minor": 2500, "currency": "EUR"}, True),
        ({"profile": "c-1", "amount_minor": 2501}, False),
        ({"amount_minor": "25*"}, True),
        ({"currency": "CHF"}, False),
    ],
)
def test_a_rule_acts_on_the_calls_it_matches(customer: Sandbox, match: dict[str, Any], hit: bool) -> None:
    customer.faults({"match": match, "fault": "decline:DECLINED"})
    assert customer.charge("t-1", "c-1").code == ("ERROR DECLINED" if hit else "OK PROFILE_USED")


def test_the_first_rule_of_a_kind_wins_and_is_used_up(customer: Sandbox) -> None:
    customer.faults(
        {"match": {"reference": "t"}, "fault": "decline:DECLINED", "times": 1},
        {"match": {}, "fault": "decline:BLOCKED", "times": 2},
        {"match": {}, "fault": "reorder_answer"},
    )
    assert customer.charge("t", "c-1").code == "ERROR DECLINED"
    assert customer.control("faults")[0] == {"match": {}, "fault": "decline:BLOCKED", "times": 2}
    assert customer.charge("t", "c-1").code == "ERROR BLOCKED"
    assert customer.charge("t", "c-1").code == "ERROR BLOCKED"
    assert customer.charge("t", "c-1").code == "OK PROFILE_USED"
    assert customer.control("faults") == [{"match": {}, "fault": "reorder_answer"}]
    assert customer.faults().json() == []


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"fault": "explode"}, "rule 2 has the unknown fault 'explode'"),
        ({}, "rule 2 has the unknown fault ''"),
        ("x", "rule 2 is not a JSON object"),
        ({"fault": "garbage", "colour": 1}, "rule 2 has the unknown key 'colour'"),
        ({"fault": "decline"}, "rule 2: decline needs a code, as in decline:DECLINED"),
        ({"fault": "garbage:x"}, "rule 2: garbage takes nothing after a colon"),
        ({"fault": "delay_ms"}, 'rule 2: delay_ms needs "ms", a whole number not below 0'),
        ({"fault": "delay_ms:fast"}, 'rule 2: delay_ms needs "ms", a whole number not below 0'),
        ({"fault": "garbage", "times": 0}, "rule 2: times must be a whole number from 1"),
        ({"fault": "garbage", "match": []}, "rule 2: match must be a JSON object"),
        ({"fault": "garbage", "match": {"tid": "x"}}, "rule 2: match has the unknown key 'tid'"),
        ({"fault": "garbage", "match": {"profile": 7}}, "rule 2: profile cannot be 7"),
        ({"fault": "garbage", "match": {"operation": "Pay"}}, "rule 2: there is no operation 'Pay'"),
        ({"fault": "garbage", "text": 1}, "rule 2: text must be a text"),
    ],
)
def test_a_malformed_rule_changes_nothing(sandbox: Sandbox, rule: Any, sentence: str) -> None:
    sandbox.faults({"fault": "suspend"})
    answer = sandbox.faults({"fault": "garbage"}, rule)
    assert (answer.status_code, answer.json()["error"]) == (400, sentence)
    assert sandbox.control("faults") == [{"match": {}, "fault": "suspend"}]
