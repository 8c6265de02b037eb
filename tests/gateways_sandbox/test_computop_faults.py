"""Misfortune on this wire, and what a restart leaves."""

import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateways_sandbox.computop_wire import Computop
from tests.gateways_sandbox.conftest import Hook
from tests.gateways_sandbox.wire import Sandbox, eventually


@pytest.mark.parametrize(("fault", "booked"), [("drop_before_booking", 0), ("drop_after_booking", 1)])
def test_an_answer_is_lost_before_or_after_the_booking(computop: Computop, fault: str, booked: int) -> None:
    stored = computop.on_file()
    computop.faults({"fault": fault, "times": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        computop.charge(stored)
    assert len(computop.ledger()) == booked
    found = computop.call("inquire24", TransID="INV-1")
    assert found["Status"] == ("OK" if booked else "FAILED")


def test_an_answer_may_be_an_error_page_or_nonsense(computop: Computop) -> None:
    envelope = computop.envelope(computop.text({"TransID": "INV-1"}))
    computop.faults({"fault": "http_500", "times": 1}, {"fault": "garbage", "times": 1})
    assert computop.http.post(f"{computop.base}/inquire24.aspx", data=envelope).status_code == 500
    assert b"Len=" not in computop.http.post(f"{computop.base}/inquire24.aspx", data=envelope).content
    assert computop.http.post(f"{computop.base}/inquire24.aspx", data=envelope).content.startswith(b"Len=")


def test_an_account_may_lose_its_access(computop: Computop) -> None:
    stored = computop.on_file()
    computop.faults({"fault": "unauthorized", "match": {"operation": "Direct", "profile": stored["PCNr"]}})
    said = computop.charge(stored)
    assert (said.is_clear, said.code, computop.ledger()) == (True, "40010007", [])


def test_an_answer_may_come_in_another_order_and_case_with_names_unknown(computop: Computop) -> None:
    stored = computop.on_file()
    computop.faults({"fault": "reorder_answer"}, {"fault": "extra_elements"})
    said = computop.charge(stored)
    assert (said["Status"], said.code, said["futurefield"]) == ("OK", "00000000", "a=b=c")
    assert next(iter(said.pairs)) == "future_note"


def test_a_rule_matches_a_call_by_what_it_carries(computop: Computop) -> None:
    stored = computop.on_file()
    match: dict[str, Any] = {"reference": "INV-*", "amount_minor": 500, "currency": "EUR", "merchant_reference": "R-1"}
    computop.faults({"fault": "decline:0301", "match": match | {"profile": stored["PCNr"]}})
    assert computop.charge(stored, Amount="500", RefNr="R-1").code == "21000301"
    assert computop.charge(stored, Amount="501", RefNr="R-1").code == "00000000"
    computop.faults({"fault": "decline:24490302"})
    assert computop.charge(stored).code == "24490302"


def test_a_question_fails_only_where_a_rule_names_it(computop: Computop) -> None:
    pay_id = computop.charge(computop.on_file())["PayID"]
    computop.faults({"fault": "decline:0396"})
    assert computop.inquire(pay_id).code == "00000000"
    computop.faults({"fault": "decline:0396", "match": {"operation": "Inquire"}})
    assert computop.inquire(pay_id).code == "21000396"


def test_a_fault_of_another_wire_is_refused(computop: Computop) -> None:
    said = computop.faults({"fault": "fault"})
    assert (said.status_code, said.json()["error"]) == (400, "rule 1 has the unknown fault 'fault'")


def test_what_was_called_is_logged_without_what_it_carried(computop: Computop) -> None:
    computop.charge(computop.on_file())
    computop.charge(computop.on_file(), Amount="x")
    computop.post("direct.aspx", {})
    log = computop.control("log")["exchanges"]
    assert [(entry["operation"], entry["reference"], entry["result"]) for entry in log] == [
        ("Direct", "INV-1", "00000000"),
        ("Direct", "INV-1", "40110005"),
        ("Direct", "", "40100003"),
    ]


def test_nothing_is_lost_by_a_kill(tmp_path: Path, hook: Hook) -> None:
    first = Sandbox(tmp_path)
    before = Computop(first)
    before.settings(notify_minute_s=0.5, sale_status="AUTHORIZED")
    hook.answers = [500]
    stored, page = before.on_file(), before.wallet(TransID="OPEN")
    charged = before.charge(stored, ReqId="q-1")
    paid = before.returned(before.press(before.wallet(URLNotify=hook.url, TransID="PAID"), "confirm"))
    rows = before.rows()
    first.process.send_signal(signal.SIGKILL)
    first.close()

    second = Sandbox(tmp_path)
    after = Computop(second)
    assert (after.base, after.rows()) == (before.base, rows)
    assert after.charge(stored, ReqId="q-1")["PayID"] == charged["PayID"]
    eventually(lambda: len(hook.got) == 2)
    assert hook.got[0][1] == hook.got[1][1]
    assert after.returned(after.press(page, "confirm"))["Status"] == "AUTHORIZED"
    assert after.inquire(paid["PayID"], "PAID")["AmountCap"] == "1990"
    after.close()
    before.close()
    assert second.close() == 0


def test_the_credentials_are_printed_and_visibly_false(computop: Computop) -> None:
    assert computop.credentials == {
        "endpoint": computop.base,
        "merchant_id": "SANDBOX_SHOP",
        "encryption_password": "sandbox-enc-pass",
        "hmac_password": "sandbox-hmac-pass",
        "cipher": "blowfish",
    }
