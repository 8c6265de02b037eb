"""Credits, captures, reversals and questions (reference sections 6, 10 and 11), and the provider's own doing."""

import pytest

from tests.gateways_sandbox.computop_wire import Computop
from tests.gateways_sandbox.conftest import Hook

UNKNOWN = "f" * 32


@pytest.fixture
def paid(computop: Computop, hook: Hook) -> str:
    """Return the PayID of a sale in the wallet whose notification was taken."""
    return computop.pay(URLNotify=hook.url)["PayID"]


@pytest.fixture
def reserved(computop: Computop) -> str:
    return computop.charge(computop.on_file(), Capture="MANUAL")["PayID"]


def test_credits_add_up_to_what_was_taken_and_no_further(computop: Computop, paid: str) -> None:
    first = computop.follow("credit", paid, 500, RefNr="R-9", ReqId="q-9")
    assert (first["mid"], first["PayID"], first["TransID"]) == (computop.merchant, paid, "CRN-1")
    assert (first["Status"], first.code, "mac" in first.pairs) == ("OK", "00000000", False)
    assert computop.follow("credit", paid, 1491, TransID="CRN-2").code == "23F00601"
    assert computop.standing(paid) == ("FAILED", "1990", "1990", "500")
    assert computop.follow("credit", paid, 1490, TransID="CRN-3").code == "00000000"
    assert computop.standing(paid) == ("OK", "1990", "1990", "1990")
    assert computop.ledger("INV-1") == [("sale", 1990, "booked"), ("refund", 500, "booked"), ("refund", 1490, "booked")]
    row = computop.rows()[1]
    assert (row["gateway_id"], row["xid"], row["trans_id"]) == (paid, first["XID"], "CRN-1")
    assert (row["ref_nr"], row["req_id"]) == ("R-9", "q-9")


def test_the_refusals_of_a_credit_book_nothing(computop: Computop, paid: str) -> None:
    declined = computop.returned(computop.press(computop.wallet(TransID="INV-2"), "decline"))["PayID"]
    computop.settings(credit_waits_for_notification=False)
    before = computop.ledger()
    assert computop.follow("credit", UNKNOWN).code == "23F00600"
    assert computop.follow("credit", declined).code == "23F00069"
    assert computop.follow("credit", paid, Currency="USD").code == "40160006"
    assert computop.follow("credit", paid, 0).code == "40110005"
    assert computop.follow("credit", "short").code == "40110001"
    assert computop.ledger() == before


def test_a_credit_waits_until_the_notification_was_answered(computop: Computop, hook: Hook) -> None:
    computop.settings(notify_minute_s=0.05)
    hook.answers = [500]
    pay_id = computop.pay(URLNotify=hook.url)["PayID"]
    assert computop.follow("credit", pay_id).code == "23F00062"
    computop.settings(credit_waits_for_notification=False)
    assert computop.follow("credit", pay_id, 1).code == "00000000"


def test_a_payment_of_which_nobody_was_told_cannot_be_credited(computop: Computop, hook: Hook) -> None:
    computop.faults({"fault": "no_notification"})
    assert computop.follow("credit", computop.pay(URLNotify=hook.url)["PayID"]).code == "23F00062"


def test_a_rule_declines_a_credit_which_leaves_the_sale_as_it_was(computop: Computop, paid: str) -> None:
    computop.faults({"fault": "decline:0952", "match": {"operation": "Credit"}, "times": 1})
    assert computop.follow("credit", paid).code == "23F00952"
    assert computop.standing(paid) == ("FAILED", "1990", "1990", "0")
    assert computop.ledger() == [("sale", 1990, "booked"), ("refund", 1990, "declined")]
    assert computop.follow("credit", paid).code == "00000000"


# ---- cards


def test_a_reservation_is_captured_in_parts_and_no_further(computop: Computop, reserved: str) -> None:
    assert computop.follow("capture", reserved, 2000).code == "21000074"
    assert computop.follow("capture", reserved, 1000).code == "00000000"
    assert computop.standing(reserved) == ("OK", "1990", "1000", "0")
    assert computop.follow("capture", reserved, 991).code == "21000074"
    assert computop.follow("capture", reserved, 990).code == "00000000"
    assert computop.follow("capture", reserved, 1).code == "21000072"
    rows = [("authorisation", 1990, "captured"), ("capture", 1000, "booked"), ("capture", 990, "booked")]
    assert computop.ledger("INV-1") == rows


def test_a_reversal_undoes_whatever_the_last_step_was(computop: Computop, reserved: str) -> None:
    computop.follow("capture", reserved)
    computop.follow("credit", reserved, 700)
    assert computop.follow("reverse", reserved, 700).code == "00000000"
    assert computop.standing(reserved) == ("OK", "1990", "1990", "0")
    assert computop.follow("reverse", reserved, 1000).code == "40160005"
    assert computop.follow("reverse", reserved, 1990).code == "00000000"
    assert computop.standing(reserved) == ("OK", "1990", "0", "0")
    assert computop.follow("reverse", reserved, 1990).code == "00000000"
    assert computop.standing(reserved) == ("OK", "0", "0", "0")
    assert computop.follow("reverse", reserved, 1990).code == "21000069"
    states = [(kind, state) for kind, _, state in computop.ledger()]
    assert states[:3] == [("authorisation", "reversed"), ("capture", "reversed"), ("refund", "reversed")]
    assert states[3:] == [("reversal", "reversed")] * 3


def test_a_sale_taken_at_once_can_be_reversed_too(computop: Computop) -> None:
    said = computop.charge(computop.on_file())
    assert computop.follow("reverse", said["PayID"]).code == "00000000"
    assert computop.ledger()[0] == ("sale", 1990, "reversed")
    assert computop.follow("credit", said["PayID"]).code == "21000069"
    assert computop.follow("capture", said["PayID"]).code == "21000069"


def test_a_pending_charge_cannot_be_reversed(computop: Computop) -> None:
    computop.faults({"fault": "suspend", "times": 1})
    pay_id = computop.charge(computop.on_file())["PayID"]
    assert computop.follow("reverse", pay_id).code == "21000709"


def test_the_wallet_knows_neither_capture_nor_reversal(computop: Computop, paid: str) -> None:
    assert computop.follow("capture", paid).code == "23F00081"
    assert computop.follow("reverse", paid).code == "23F00081"
    assert computop.follow("capture", UNKNOWN).code[4:] == "0061"


# ---- questions


def test_a_question_is_answered_about_itself_and_about_the_payment(computop: Computop, paid: str) -> None:
    said = computop.inquire(paid)
    assert (said["MID"], said["PayID"], said["TransID"]) == (computop.merchant, paid, "INV-1")
    assert (said["Status"], said.code, said["LastStatus"]) == ("OK", "00000000", "OK")
    assert (said["Currency"], said["XID"]) == ("EUR", computop.rows()[0]["xid"])
    computop.follow("credit", paid, 1, TransID="CRN-7")
    assert computop.inquire(paid, "CRN-7")["AmountCred"] == "1"
    assert computop.call("inquire24", TransID="CRN-7")["PayID"] == paid


def test_an_open_sale_is_known_with_nothing_taken(computop: Computop) -> None:
    computop.wallet()
    said = computop.call("inquire24", TransID="INV-1")
    assert (said.code, said["LastStatus"]) == ("00000000", "AUTHORIZE_REQUEST")
    assert (said["AmountAuth"], said["AmountCap"], said["AmountCred"]) == ("0", "0", "0")


def test_what_does_not_fit_together_is_unknown(computop: Computop, paid: str) -> None:
    for said in (computop.inquire(UNKNOWN), computop.inquire(paid, "OTHER"), computop.call("inquire24", TransID="X")):
        assert (said["Status"], said.code[0], said.code[4:]) == ("FAILED", "2", "0061")
        assert "laststatus" not in said.pairs
    assert computop.call("inquire", TransID="INV-1").code == "40100001"


def test_of_several_payments_under_one_name_the_newest_is_told(computop: Computop, paid: str) -> None:
    computop.wallet()
    assert computop.call("inquire24", TransID="INV-1")["LastStatus"] == "AUTHORIZE_REQUEST"
    assert computop.standing(paid)[0] == "OK"


# ---- what the provider does by itself


def test_the_console_gives_the_rest_back_and_a_bank_fetches_all(computop: Computop, paid: str) -> None:
    computop.follow("credit", paid, 500)
    assert computop.move(paid, "refunded").status_code == 200
    assert computop.standing(paid) == ("OK", "1990", "1990", "1990")
    assert computop.move(paid, "refunded").status_code == 409
    assert computop.move(paid, "charged_back").status_code == 200
    assert computop.move(paid, "charged_back").status_code == 409
    assert computop.ledger()[2:] == [("refund", 1490, "booked"), ("chargeback", 1990, "booked")]
    assert {row["reference"] for row in computop.rows()} == {"INV-1"}


@pytest.mark.parametrize(
    ("state", "code"), [("settled", "00000000"), ("declined", "23F00100"), ("expired", "23F00051")]
)
def test_an_open_sale_is_moved_to_its_end_and_told(computop: Computop, hook: Hook, state: str, code: str) -> None:
    page = computop.wallet(URLNotify=hook.url, AccountId="1234567801")
    pay_id = computop.call("inquire24", TransID="INV-1")["PayID"]
    assert computop.move(pay_id, state).status_code == 200
    assert computop.returned(computop.http.get(page)).code == code
    hook.wait_until(1)
    assert computop.notified(hook.got[0][1])["code"] == code
    assert computop.move(pay_id, state).status_code == 409


def test_a_move_of_nothing_or_nowhere_is_refused(computop: Computop, paid: str) -> None:
    assert computop.move(UNKNOWN, "settled").status_code == 404
    assert computop.move(paid, "elsewhere").status_code == 409
