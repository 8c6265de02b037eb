"""Rules that make calls go wrong, what the process remembers, and that no input breaks it."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateways_sandbox.paymentz_wire import REST, PaymentZ, sent_back
from tests.gateways_sandbox.wire import Sandbox, eventually

LOOSE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(
    "merchantTransactionId amount currency orderDescriptor paymentType paymentMode paymentBrand card.number card "
    "number cvv card.expiryMonth card.expiryYear recurringType paymentId idType notificationUrl merchantRedirectUrl "
    "pagination.fromdate pagination.pageno authToken authentication authentication.memberId x".split()
)
WORDS = st.sampled_from("DB PA CP RF RV IN DL PO REPEATED INITIAL MID PID EUR 50.00 true 4000000000000051".split())
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=12)
PATHS = st.sampled_from(
    "payments payments/5400001 payments/x inquiry refund/1 getTransactionList payout registrations registrations/x "
    "paywithtoken/x getCardsAndAccounts authToken partnerAuthToken regenerateToken".split()
)
KNOWN = {200, 404}


@pytest.mark.parametrize(
    ("fault", "booked"), [("drop_before_booking", False), ("drop_after_booking", True), ("garbage", True)]
)
def test_an_answer_is_lost_before_or_after_booking(paymentz: PaymentZ, fault: str, booked: bool) -> None:
    parent = paymentz.on_file("c-1")["paymentId"]
    paymentz.faults({"fault": fault, "match": {"operation": "Repeated", "profile": parent}, "times": 1})
    if fault == "garbage":
        assert paymentz.repeat(parent, "r-1").text.startswith("<html>")
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            paymentz.repeat(parent, "r-1")
    assert (paymentz.ask_by_reference("r-1").code == "00026") is booked
    assert paymentz.repeat(parent, "r-1").code == ("20006" if booked else "00001")
    assert paymentz.ledger() == [("sale", 999, "booked")]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("http_500", 500, "500"), ("unauthorized", 401, "401"), ("decline:20007", 200, "20007")],
)
def test_a_call_goes_wrong_as_the_rule_says_and_moves_no_money(
    paymentz: PaymentZ, fault: str, status: int, code: str
) -> None:
    paymentz.faults({"fault": fault, "match": {"amount_minor": 5000, "currency": "EUR"}, "times": 1})
    said = paymentz.purchase("t-1")
    assert (said.status, said.code) == (status, code)
    assert [row for row in paymentz.ledger() if row[2] == "booked"] == []


def test_a_rule_refuses_a_refund_and_leaves_it_possible(paymentz: PaymentZ) -> None:
    payment_id = paymentz.purchase("t-1").id
    paymentz.faults({"fault": "decline:10001", "text": "Not today", "match": {"operation": "Refund"}, "times": 1})
    assert paymentz.refund(payment_id).json["result"] == {"code": "10001", "description": "Not today"}
    assert paymentz.refund(payment_id).code == "00005"


def test_an_answer_may_be_reordered_and_have_strange_keys(paymentz: PaymentZ) -> None:
    plain = list(paymentz.purchase("t-0").json)
    paymentz.faults({"fault": "reorder_answer"}, {"fault": "extra_elements"})
    keys = list(paymentz.purchase("t-1").json)
    assert keys == ["sandboxExtra", *reversed(plain), "zSandboxExtra"]


def test_a_delay_is_waited_for(paymentz: PaymentZ) -> None:
    paymentz.faults({"fault": "delay_ms:2000", "match": {"reference": "t-1"}})
    with pytest.raises(httpx.ReadTimeout):
        paymentz.http.post(
            f"{paymentz.base}{REST}payments",
            data=paymentz.purchase_fields("t-1"),
            headers={"authtoken": paymentz.token},
            timeout=httpx.Timeout(60, read=0.1),
        )
    assert paymentz.purchase("t-2").code == "00001"
    eventually(lambda: paymentz.ledger("t-1"))


def test_this_wire_has_no_soap_faults(paymentz: PaymentZ) -> None:
    assert paymentz.faults({"fault": "fault"}).status_code == 400
    assert paymentz.faults({"fault": "garbage", "match": {"operation": "AcceptPayment"}}).status_code == 400


def test_the_log_tells_what_was_asked_and_nothing_that_was_carried(paymentz: PaymentZ) -> None:
    paymentz.purchase("t-1")
    paymentz.post("payments", {}, authtoken="x")
    log = paymentz.control("log")
    shown = [(entry["operation"], entry["reference"], entry["result"]) for entry in log["exchanges"]]
    assert shown[-2:] == [("Payment", "t-1", "00001"), ("-", "", "401")]
    assert paymentz.key not in str(log)
    assert "4000000000000051" not in str(log)


def test_a_reset_empties_everything_but_settings_numbers_and_expired_tokens(paymentz: PaymentZ) -> None:
    old = paymentz.token
    paymentz.http.post(f"{paymentz.base}/_sandbox/expire-tokens")
    paymentz.log_in()
    paymentz.settings(page_tries_max=7)
    payment_id = paymentz.purchase("t-1").id
    paymentz.faults({"fault": "garbage"})
    paymentz.reset()
    assert (paymentz.ledger(), paymentz.control("faults")) == ([], [])
    assert paymentz.control("settings")["page_tries_max"] == 7
    assert int(paymentz.purchase("t-1").id) > int(payment_id)
    assert paymentz.post("inquiry", {}, authtoken=old).status == 401


def test_the_command_tells_visibly_false_credentials(paymentz: PaymentZ) -> None:
    found = paymentz.credentials
    assert list(found) == "endpoint member_id partner_id username secret_key terminal_id to_type".split()
    assert found["endpoint"] == paymentz.base
    assert found["member_id"].startswith("99")
    assert all("sandbox" in found[name] for name in ("username", "secret_key", "to_type"))


def test_nothing_is_lost_by_a_kill(tmp_path: Path) -> None:
    first = Sandbox(tmp_path)
    before = PaymentZ(first)
    before.log_in()
    stored = before.on_file("c-1", approvals="2", declines="Stolen")
    before.repeat(stored["paymentId"], "r-1")
    challenge = before.pay(before.open("t-1"), number="4000000000000002")
    page, rows = before.open("t-2"), before.control("ledger")
    first.process.send_signal(signal.SIGKILL)
    before.close()
    first.close()

    second = Sandbox(tmp_path)
    after = PaymentZ(second)
    after.token = before.token
    assert (after.base, after.control("ledger")) == (before.base, rows)
    assert after.repeat(stored["paymentId"], "r-1").code == "20006"
    assert [after.repeat(stored["paymentId"], f"r-{number}").code for number in (2, 3)] == ["00001", "10001"]
    assert sent_back(after.submit(str(challenge.url), outcome="approve"))["status"] == "Y"
    assert sent_back(after.pay(page))["status"] == "Y"
    after.close()
    assert second.close() == 0


# ---- whatever is sent


@LOOSE
@given(PATHS, st.binary(max_size=200), st.sampled_from(("application/json", "application/x-www-form-urlencoded", "x")))
def test_arbitrary_bytes_are_refused_and_never_booked(paymentz: PaymentZ, path: str, body: bytes, kind: str) -> None:
    assert paymentz.send(path, body, kind).status in KNOWN
    assert paymentz.ledger() == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount": 1e99999999999999999999}',
        b'{"amount": 1e99999999}',
        b'{"amount": NaN}',
        b'{"amount": ' + b"9" * 5000 + b"}",
        b'{"merchantTransactionId": "\\ud800", "amount": "\\udfff"}',
        b"[" * 100_000,
        b'{"x":' * 50_000 + b"1" + b"}" * 50_000,
        b"x=1&" * 10_000,
        b" " * 200_001,
    ],
)
def test_monstrous_bodies_are_refused(paymentz: PaymentZ, body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        said = paymentz.send("payments", body, kind)
        assert (said.status, said.code) == (200, "20001")


def test_half_a_character_is_hashed_and_stored_as_a_question_mark(paymentz: PaymentZ) -> None:
    fields = paymentz.purchase_fields("t-?") | {"merchantTransactionId": "t-\ud800"}
    assert paymentz.send("payments", json.dumps(fields).encode(), "application/json").code == "00001"


@LOOSE
@given(PATHS, st.dictionaries(NAMES, VALUES, max_size=8))
def test_arbitrary_objects_are_refused_and_never_booked(paymentz: PaymentZ, path: str, body: Any) -> None:
    assert paymentz.send(path, json.dumps(body).encode(), "application/json").status in KNOWN
    assert paymentz.ledger() == []


@LOOSE
@given(
    st.dictionaries(NAMES, st.text(max_size=12) | WORDS, min_size=1, max_size=3),
    st.sampled_from(("application/json", "application/xml")),
)
def test_a_changed_purchase_books_only_what_was_signed(
    paymentz: PaymentZ, changed: dict[str, str], accept: str
) -> None:
    fields = paymentz.purchase_fields("t-1") | changed
    said = paymentz.send("payments", json.dumps(fields).encode(), "application/json", Accept=accept)
    assert said.status in {200, 401}
    assert paymentz.ledger() in ([], [("sale", 5000, "booked")], [("authorisation", 5000, "reserved")])
    paymentz.reset()


@LOOSE
@given(st.text(max_size=30))
def test_any_signed_id_is_taken_and_found_again(paymentz: PaymentZ, reference: str) -> None:
    said = paymentz.purchase(reference)
    assert said.code == ("00001" if reference.strip() else "20001")
    if reference.strip():
        assert paymentz.ask_by_reference(reference).id == said.id
    paymentz.reset()


@LOOSE
@given(st.binary(max_size=200))
def test_arbitrary_forms_never_break_a_page(paymentz: PaymentZ, body: bytes) -> None:
    page = paymentz.open("t-1")
    assert paymentz.http.post(page, content=b"action=pay&" + body).status_code == 200
    assert paymentz.http.post(f"{paymentz.base}/transaction/Checkout", content=body).status_code == 400
    assert paymentz.ledger() == []


@LOOSE
@given(VALUES.filter(lambda sent: sent != []))
def test_arbitrary_rules_and_profiles_are_refused_with_a_sentence(paymentz: PaymentZ, sent: object) -> None:
    for path in ("faults", "profiles"):
        body = json.dumps(sent).encode()
        answer = paymentz.http.post(f"{paymentz.base}/_sandbox/{path}", content=body)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
