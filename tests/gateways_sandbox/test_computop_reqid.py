"""ReqIds: a final action is answered again, an open one is processed like new (reference section 8)."""

import threading

import pytest

from tests.gateways_sandbox.computop_wire import ASKS_BANK, DECLINED, SHOP, Computop
from tests.gateways_sandbox.conftest import Hook
from tests.gateways_sandbox.wire import eventually

SAME = ("PayID", "XID", "TransID", "Status", "Code")


def test_a_final_charge_is_answered_again_and_not_repeated(computop: Computop) -> None:
    stored = computop.on_file()
    first = computop.charge(stored, ReqId="q-1")
    again = computop.charge(stored, ReqId="q-1", TransID="OTHER", Amount="1")
    assert [again[name] for name in SAME] == [first[name] for name in SAME]
    assert computop.ledger() == [("sale", 1990, "booked")]
    assert computop.charge(stored, ReqId="q-2")["PayID"] != first["PayID"]


def test_a_decline_is_final_too(computop: Computop) -> None:
    declined, fine = computop.on_file(DECLINED), computop.on_file()
    assert computop.charge(declined, ReqId="q-1").code == "21000100"
    assert computop.charge(fine, ReqId="q-1").code == "21000100"
    assert computop.charge(fine, ReqId="q-2").code == "00000000"


def test_a_rejected_request_leaves_its_id_free(computop: Computop) -> None:
    stored = computop.on_file()
    assert computop.charge(stored, ReqId="q-1", Amount="x").code == "40110005"
    assert computop.charge(stored, ReqId="q-1").code == "00000000"


def test_a_credit_is_given_once(computop: Computop) -> None:
    pay_id = computop.charge(computop.on_file())["PayID"]
    first = computop.follow("credit", pay_id, 500, ReqId="q-1")
    again = computop.follow("credit", pay_id, 500, ReqId="q-1")
    assert [again[name] for name in SAME] == [first[name] for name in SAME]
    assert computop.standing(pay_id)[3] == "500"


def test_the_scope_is_the_merchant_over_all_endpoints(computop: Computop) -> None:
    said = computop.charge(computop.on_file(), ReqId="q-1")
    credit = computop.follow("credit", said["PayID"], ReqId="q-1")
    assert (credit["XID"], credit["TransID"]) == (said["XID"], "INV-1")
    assert computop.ledger() == [("sale", 1990, "booked")]


def test_a_final_sale_goes_straight_back_and_nobody_is_told_again(computop: Computop, hook: Hook) -> None:
    first = computop.pay(URLNotify=hook.url, ReqId="q-1")
    again = computop.returned(computop.browse("PaybackPay", computop.sale(ReqId="q-1", URLNotify=hook.url)))
    assert again.body == f"{SHOP}/ok"
    assert [again[name] for name in (*SAME, "MAC")] == [first[name] for name in (*SAME, "MAC")]
    assert len(hook.got) == 1


def test_an_open_sale_does_not_keep_a_second_one_from_being_paid(computop: Computop) -> None:
    first, second = computop.wallet(ReqId="q-1"), computop.wallet(ReqId="q-1")
    pay_ids = {computop.returned(computop.press(page, "confirm"))["PayID"] for page in (first, second)}
    assert len(pay_ids) == 2
    assert computop.ledger() == [("sale", 1990, "booked")] * 2
    again = computop.returned(computop.browse("PaybackPay", computop.sale(ReqId="q-1")))
    assert again["PayID"] == computop.rows()[0]["gateway_id"]


def test_two_calls_in_flight_are_both_processed(computop: Computop) -> None:
    stored = computop.on_file()
    computop.faults({"fault": "delay_ms", "ms": 500})
    other = threading.Thread(target=lambda: computop.charge(stored, ReqId="q-1"))
    other.start()
    computop.charge(stored, ReqId="q-1")
    other.join()
    assert computop.ledger() == [("sale", 1990, "booked")] * 2


@pytest.mark.parametrize(("number", "is_final"), [(ASKS_BANK, False), ("", True)])
def test_a_timeout_is_final_unless_it_is_one_at_the_bank(computop: Computop, number: str, is_final: bool) -> None:
    computop.settings(page_life_s=0.3)
    page = computop.form(ReqId="q-1")
    computop.type_card(page, number)
    eventually(lambda: computop.ledger())
    computop.settings(page_life_s=60.0)
    said = computop.browse("payssl", computop.sale(MsgVer="2.0", ReqId="q-1"))
    assert (said.status_code == 200) is is_final


def test_a_year_later_an_id_is_forgotten(computop: Computop) -> None:
    computop.settings(req_id_memory_s=0.0)
    stored = computop.on_file()
    assert len({computop.charge(stored, ReqId="q-1")["PayID"] for _ in range(2)}) == 2


def test_names_used_before_are_refused_only_where_the_account_says_so(computop: Computop) -> None:
    stored = computop.on_file()
    computop.charge(stored, RefNr="R-1")
    assert computop.charge(stored, RefNr="R-1").code == "00000000"
    computop.settings(refuse_duplicates=True)
    assert computop.charge(stored).code == "40170002"
    assert computop.charge(stored, TransID="INV-2", RefNr="R-1").code == "40170032"
    assert computop.charge(stored, TransID="INV-2", RefNr="R-2").code == "00000000"
    assert computop.returned(computop.browse("PaybackPay", computop.sale())).code == "40170002"
