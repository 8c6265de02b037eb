"""The back office: captures, refunds, reversals, questions, lists, payouts, and time made to pass."""

import pytest

from tests.gateways_sandbox.paymentz_wire import DECLINED, GOOD, PaymentZ, md5
from tests.gateways_sandbox.wire import eventually


def test_a_reservation_is_captured_once_whole_or_in_part(paymentz: PaymentZ) -> None:
    held = paymentz.reserve("t-1")
    assert paymentz.capture(held, "50.01").code == "20005"
    said = paymentz.capture(held, "20.00", paymentId=held)
    assert said.json["result"] == {"code": "00004", "description": "Transaction captured successfully"}
    assert set(said.json) == {"paymentId", "result", "timestamp"}
    again = paymentz.capture(held, "20.00")
    assert (again.code, again.id, "transactionStatus" in again.json) == ("20004", held, False)
    assert paymentz.state(held) == "capturesuccess"
    assert paymentz.ledger("t-1") == [("authorisation", 5000, "captured"), ("capture", 2000, "booked")]


@pytest.mark.parametrize("path", ["payments", "refund"])
def test_a_payment_is_refunded_once_whole_or_in_part(paymentz: PaymentZ, path: str) -> None:
    payment_id = paymentz.purchase("t-1").id
    assert paymentz.refund(payment_id, "50.01", path).code == "20005"
    said = paymentz.refund(payment_id, "20.00", path).json
    shown = (said["paymentId"], said["status"], said["transactionStatus"], said["amount"], said["result"]["code"])
    assert shown == (payment_id, "reversed", "C", "20.00", "00005")
    assert paymentz.refund(payment_id, "20.00", path).code == "20004"
    assert paymentz.ledger("t-1") == [("sale", 5000, "booked"), ("refund", 2000, "booked")]


def test_no_more_is_refunded_than_was_captured(paymentz: PaymentZ) -> None:
    held = paymentz.reserve("t-1")
    assert paymentz.refund(held).code == "20004"
    paymentz.capture(held, "20.00")
    assert paymentz.refund(held, "20.01").code == "20005"
    assert paymentz.refund(held, "20.00").code == "00005"


def test_a_refund_may_take_its_time_or_wait_for_the_settlement(paymentz: PaymentZ) -> None:
    paymentz.settings(refund_async=True, refund_requires_settled=True, refund_delay_s=60.0)
    payment_id = paymentz.purchase("t-1").id
    assert paymentz.refund(payment_id).code == "20004"
    paymentz.move(payment_id, "settled")
    said = paymentz.refund(payment_id)
    assert (said.json["status"], said.short) == ("markedforreversal", "P")
    assert paymentz.ledger("t-1")[1:] == [("refund", 5000, "pending")]
    assert paymentz.move(payment_id, "reversed").status_code == 200
    assert paymentz.ledger("t-1")[1:] == [("refund", 5000, "booked")]


def test_a_reservation_is_reversed_as_a_whole_and_once(paymentz: PaymentZ) -> None:
    held = paymentz.reserve("t-1")
    assert paymentz.reverse(held, amount="20.00").code == "20001"
    said = paymentz.reverse(held)
    assert (said.code, said.json["status"], said.short) == ("00006", "authcancelled", "C")
    assert [paymentz.reverse(held).code, paymentz.capture(held).code] == ["20004"] * 2
    assert paymentz.ledger("t-1") == [("authorisation", 5000, "reversed"), ("reversal", 5000, "reversed")]
    assert paymentz.reverse(paymentz.purchase("t-2").id).code == "20004"


@pytest.mark.parametrize("payment_id", ["1", "x", "99999999999999999999", "\u0664"])
def test_a_payment_that_does_not_exist_is_not_found(paymentz: PaymentZ, payment_id: str) -> None:
    for said in (paymentz.capture(payment_id), paymentz.reverse(payment_id), paymentz.ask(payment_id)):
        assert (said.status, said.code, set(said.json)) == (200, "20003", {"result", "timestamp"})


def test_the_body_cannot_name_another_payment_than_the_path(paymentz: PaymentZ) -> None:
    assert paymentz.capture(paymentz.reserve("t-1"), paymentId="1").code == "20001"
    assert paymentz.post("payments/1", {"paymentType": "XX"}).code == "20001"


def test_an_inquiry_finds_a_payment_by_either_id_whatever_became_of_it(paymentz: PaymentZ) -> None:
    names = {"customer.givenName": "J", "customer.surname": "D"}
    payment_id = paymentz.purchase("t-1", **{"card.number": DECLINED, **names}).id
    found = paymentz.ask(payment_id).json
    assert paymentz.ask_by_reference("t-1").json | {"timestamp": ""} == found | {"timestamp": ""}
    del found["timestamp"]
    assert found == {
        "paymentId": payment_id,
        "status": "authfailed",
        "transactionStatus": "N",
        "paymentBrand": "VISA",
        "paymentMode": "CC",
        "firstName": "J",
        "lastName": "D",
        "amount": "50.00",
        "currency": "EUR",
        "descriptor": "A plan",
        "result": {"code": "00026", "description": "Your record found successfully"},
        "card": {"bin": "400000", "last4Digits": "0101", "holder": "", "expiryMonth": "12", "expiryYear": "2030"},
        "customer": {"email": "a@b.example"},
        "merchantTransactionId": "t-1",
        "remark": "Transaction declined",
        "tmpl_amount": "50.00",
        "tmpl_currency": "EUR",
        "eci": "",
    }


def test_an_inquiry_by_the_merchants_id_has_several_spellings(paymentz: PaymentZ) -> None:
    paymentz.purchase("t-1")
    in_path = paymentz.signed({"paymentType": "IN", "idType": "MID"}, "t-1")
    assert paymentz.post("payments/t-1", in_path).code == "00026"
    four = {"amount": "50.00", "authentication.checksum": md5(paymentz.member, paymentz.key, "t-1", "50.00")}
    assert paymentz.ask_by_reference("t-1", **four).code == "00026"
    paymentz.settings(mid_inquiry_checksum="three")
    assert paymentz.ask_by_reference("t-1", **four).code == "20002"
    paymentz.settings(mid_inquiry_checksum="four")
    assert paymentz.ask_by_reference("t-1").code == "20002"
    assert paymentz.ask_by_reference("t-1", idType="XID").code == "20001"


# ---- the list


def listed(paymentz: PaymentZ, **more: str) -> list[str]:
    dates = {"pagination.fromdate": "01/01/2020", "pagination.todate": "31/12/9999"}
    said = paymentz.post("getTransactionList", paymentz.signed(dates | more))
    return [str(entry["merchantTransactionId"]) for entry in said.json["transaction"]]


def test_payments_are_listed_newest_first_a_page_at_a_time(paymentz: PaymentZ) -> None:
    for number in range(12):
        paymentz.purchase(f"t-{number}")
    assert listed(paymentz) == [f"t-{number}" for number in range(11, 1, -1)]
    assert listed(paymentz, **{"pagination.pageno": "2"}) == ["t-1", "t-0"]
    assert listed(paymentz, **{"pagination.pageno": "3", "pagination.records": "5"}) == ["t-1", "t-0"]
    assert listed(paymentz, **{"pagination.todate": "01/01/2020"}) == []
    assert listed(paymentz, status="settled") == []


def test_an_entry_of_the_list_tells_what_was_captured_and_refunded(paymentz: PaymentZ) -> None:
    held = paymentz.reserve("t-1")
    paymentz.capture(held, "20.00")
    paymentz.refund(held, "5.00")
    fields = {"pagination.fromdate": "01/01/2020", "pagination.todate": "31/12/2999"}
    (entry,) = paymentz.post("getTransactionList", paymentz.signed(fields)).json["transaction"]
    amounts = [entry[name] for name in ("amount", "captureamount", "refundamount", "payoutamount")]
    assert amounts == ["50.00", "20.00", "5.00", "0.00"]
    assert entry["systemPaymentId"] == held


@pytest.mark.parametrize(
    "wrong",
    [
        {"pagination.fromdate": "2020-01-01"},
        {"pagination.fromdate": "31/02/2020"},
        {"pagination.todate": ""},
        {"pagination.pageno": "0"},
        {"pagination.records": "1001"},
    ],
)
def test_a_malformed_list_request_is_refused(paymentz: PaymentZ, wrong: dict[str, str]) -> None:
    fields = {"pagination.fromdate": "01/01/2020", "pagination.todate": "31/12/2999"} | wrong
    assert paymentz.post("getTransactionList", paymentz.signed(fields)).code == "20001"


# ---- payouts


@pytest.mark.parametrize(
    ("amount", "end", "state"), [("5.00", "payoutsuccessful", "booked"), ("5.05", "payoutfailed", "declined")]
)
def test_a_payout_is_under_way_and_then_decided(paymentz: PaymentZ, amount: str, end: str, state: str) -> None:
    payment_id = paymentz.purchase("t-1").id
    said = paymentz.post("payout", paymentz.payout_fields("p-1", amount, paymentId=payment_id))
    assert (said.json["status"], said.short, said.json["amount"]) == ("payoutstarted", "P", amount)
    eventually(lambda: paymentz.state(said.id) == end)
    assert [(row[0], row[2]) for row in paymentz.ledger("p-1")] == [("payout", state)]


def test_payouts_do_not_exceed_what_was_captured(paymentz: PaymentZ) -> None:
    payment_id = paymentz.purchase("t-1").id
    assert paymentz.post("payout", paymentz.payout_fields("p-1", "30.00", paymentId=payment_id)).code == "00002"
    said = paymentz.post("payout", paymentz.payout_fields("p-2", "20.01", paymentId=payment_id))
    assert (said.code, said.id) == ("20005", "-")
    paymentz.settings(limit_payout_to_parent=False)
    assert paymentz.post("payout", paymentz.payout_fields("p-2", "20.01", paymentId=payment_id)).code == "00002"
    assert paymentz.post("payout", paymentz.payout_fields("p-2", "1.00", paymentId=payment_id)).code == "20006"


def test_a_payout_needs_a_card_or_a_payment_that_was_taken(paymentz: PaymentZ) -> None:
    held = paymentz.reserve("t-1")
    assert paymentz.post("payout", paymentz.payout_fields("p-1", paymentId=held)).code == "20004"
    assert paymentz.post("payout", paymentz.payout_fields("p-1", paymentId="1")).code == "20003"
    assert paymentz.post("payout", paymentz.payout_fields("p-1")).code == "20001"
    assert paymentz.post("payout", paymentz.payout_fields("p-1", paymentType="DB")).code == "20001"
    assert paymentz.post("payout", paymentz.payout_fields("p-1", cardNumber=GOOD)).code == "00002"


# ---- time


def test_time_settles_a_payment_and_lets_a_reservation_lapse(paymentz: PaymentZ) -> None:
    paymentz.settings(settle_after_s=0.0, preauth_ttl_s=0.0)
    payment_id, held = paymentz.purchase("t-1").id, paymentz.reserve("t-2")
    eventually(lambda: (paymentz.state(payment_id), paymentz.state(held)) == ("settled", "authcancelled"))
    assert paymentz.ledger("t-2") == [("authorisation", 5000, "reversed"), ("reversal", 5000, "reversed")]


def test_a_refund_in_the_providers_console_and_a_chargeback_are_booked(paymentz: PaymentZ) -> None:
    refunded, charged_back = paymentz.purchase("t-1").id, paymentz.purchase("t-2").id
    assert paymentz.move(refunded, "reversed").json() == {"gateway_id": refunded, "state": "reversed"}
    paymentz.move(charged_back, "settled")
    assert paymentz.move(charged_back, "chargeback").status_code == 200
    assert paymentz.ledger("t-1") == [("sale", 5000, "booked"), ("refund", 5000, "booked")]
    assert paymentz.ledger("t-2") == [("sale", 5000, "booked"), ("chargeback", 5000, "booked")]
    paymentz.settings(short_status_after_refund="N")
    assert paymentz.ask(refunded).short == "N"


def test_a_suspended_payment_waits_for_the_tester(paymentz: PaymentZ) -> None:
    paymentz.faults({"fault": "suspend"})
    payment_id, held = paymentz.purchase("t-1").id, paymentz.reserve("t-2")
    assert paymentz.state(payment_id) == "authstarted"
    assert paymentz.move(payment_id, "authsuccessful").status_code == 409
    assert paymentz.move(payment_id, "capturesuccess").status_code == 200
    assert paymentz.move(held, "authsuccessful").status_code == 200
    assert paymentz.ledger() == [("sale", 5000, "booked"), ("authorisation", 5000, "reserved")]


@pytest.mark.parametrize("state", ["chargeback", "begun", "nowhere", "authfailed"])
def test_no_payment_moves_where_the_life_cycle_does_not_lead(paymentz: PaymentZ, state: str) -> None:
    payment_id = paymentz.purchase("t-1").id
    assert paymentz.move(payment_id, state).status_code == 409
    assert paymentz.move("1", "settled").status_code == 404
    assert paymentz.state(payment_id) == "capturesuccess"
