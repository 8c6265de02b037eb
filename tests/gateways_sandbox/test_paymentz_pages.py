"""What a customer sees: the hosted page, the bank's question, and the way back to the shop."""

import re

import httpx
import pytest

from tests.gateways_sandbox.paymentz_wire import (
    BROKEN,
    CHALLENGED,
    CHALLENGED_DECLINED,
    DECLINED,
    LOST,
    PENDING,
    RETURN_URL,
    PaymentZ,
    md5,
    sent_back,
)
from tests.gateways_sandbox.wire import complaint, eventually, headline


def test_the_page_shows_the_amount_and_works_without_scripts(paymentz: PaymentZ) -> None:
    page = paymentz.http.get(paymentz.open("t-1", orderDescription="<b>A & B</b>"))
    assert "50.00 EUR" in page.text
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in page.text
    assert re.findall(r'<input name="(\w+)"', page.text) == ["number", "expiry", "cvc", "holder"]
    assert re.findall(r'<button[^>]* value="(\w+)"', page.text) == ["pay", "cancel"]
    assert "<script" not in page.text
    assert page.headers["x-frame-options"] == "DENY"


def test_the_page_shows_what_the_merchant_wants_shown(paymentz: PaymentZ) -> None:
    page = paymentz.http.get(paymentz.open("t-1", TMPL_AMOUNT="55.00", TMPL_CURRENCY="USD"))
    assert "55.00 USD" in page.text


def test_a_paid_page_sends_the_browser_back_with_a_signed_form(paymentz: PaymentZ) -> None:
    back = paymentz.pay(paymentz.open("t-1"))
    form = sent_back(back)
    assert "<button>Back to the shop</button>" in back.text
    assert form["trackingid"] == form["paymentId"]
    assert form["desc"] == form["merchantTransactionId"] == "t-1"
    assert (form["status"], form["resultCode"], form["amount"], form["currency"]) == ("Y", "00001", "50.00", "EUR")
    assert (form["cardBin"], form["cardLast4Digits"], form["paymentBrand"]) == ("400000", "0051", "VISA")
    assert form["checksum"] == md5(form["paymentId"], "t-1", "50.00", "Y", paymentz.key)
    assert "registrationId" not in form
    status = paymentz.http.get(paymentz.base + form["resourcePath"], headers={"authtoken": paymentz.token}).json()
    assert (status["paymentId"], status["status"]) == (form["paymentId"], "capturesuccess")
    assert paymentz.ledger("t-1") == [("sale", 5000, "booked")]


def test_an_initial_without_card_data_at_the_merchant_can_be_repeated(paymentz: PaymentZ) -> None:
    page = paymentz.open("t-1", recurringType="INITIAL", createRegistration="true")
    form = sent_back(paymentz.pay(page))
    assert form["registrationId"] == form["token"]
    found = paymentz.ask_by_reference("t-1").json
    assert (found["recurringType"], found["registrationId"]) == ("INITIAL", form["registrationId"])
    assert paymentz.repeat(form["paymentId"], "r-1").code == "00001"
    token = form["registrationId"]
    by_token = paymentz.token_fields(token, merchantTransactionId="r-2", recurringType="REPEATED")
    assert paymentz.post(f"paywithtoken/{token}", by_token).code == "00001"


def test_a_preauthorisation_on_the_page_is_held(paymentz: PaymentZ) -> None:
    form = sent_back(paymentz.pay(paymentz.open("t-1", transactionType="PREAUTH")))
    assert paymentz.state(form["paymentId"]) == "authsuccessful"
    assert paymentz.reverse(form["paymentId"]).code == "00006"


def test_an_open_page_is_pending_and_books_nothing(paymentz: PaymentZ) -> None:
    paymentz.open("t-1")
    found = paymentz.ask_by_reference("t-1")
    assert (found.json["status"], found.short, paymentz.ledger()) == ("begun", "P", [])
    assert paymentz.repeat(found.id, "r-1").code == "20008"


def test_after_a_decline_another_card_may_be_tried(paymentz: PaymentZ) -> None:
    page = paymentz.open("t-1")
    declined = paymentz.pay(page, number=DECLINED)
    assert complaint(declined).startswith("The payment was declined.")
    assert paymentz.ask_by_reference("t-1").json["status"] == "begun"
    assert sent_back(paymentz.pay(page))["status"] == "Y"
    assert paymentz.ledger("t-1") == [("sale", 5000, "declined"), ("sale", 5000, "booked")]


def test_the_last_declined_try_fails_the_payment(paymentz: PaymentZ) -> None:
    page = paymentz.open("t-1")
    pages = [paymentz.pay(page, number=DECLINED) for _ in range(3)]
    form = sent_back(pages[-1])
    assert (form["status"], form["resultCode"]) == ("N", "10001")
    assert form["checksum"] == md5(form["paymentId"], "t-1", "50.00", "N", paymentz.key)
    assert sent_back(paymentz.pay(page))["status"] == "N"
    assert paymentz.ledger("t-1") == [("sale", 5000, "declined")] * 3


@pytest.mark.parametrize(
    "wrong", [{"number": "4000 0000 0000 0052"}, {"number": ""}, {"expiry": "1230"}, {"cvc": "1"}, {"expiry": "13/30"}]
)
def test_a_mistyped_card_is_not_a_try(paymentz: PaymentZ, wrong: dict[str, str]) -> None:
    page = paymentz.open("t-1")
    for _ in range(4):
        assert complaint(paymentz.pay(page, **wrong)).startswith("Please check")
    assert paymentz.ledger() == []
    assert sent_back(paymentz.pay(page, number="4000 0000 0000 0051", expiry="12 / 2030"))["status"] == "Y"


def test_a_cancelling_customer_goes_back_with_a_signed_word(paymentz: PaymentZ) -> None:
    form = sent_back(paymentz.submit(paymentz.open("t-1"), action="cancel"))
    assert form["status"] == "C"
    assert form["checksum"] == md5(form["paymentId"], "t-1", "50.00", "C", paymentz.key)
    assert (paymentz.state(form["paymentId"]), paymentz.ledger()) == ("cancelled", [])


def test_an_abandoned_page_is_cancelled_in_the_end(paymentz: PaymentZ) -> None:
    paymentz.settings(page_lifetime_s=0.0)
    page = paymentz.open("t-1")
    eventually(lambda: paymentz.ask_by_reference("t-1").json["status"] == "cancelled")
    assert sent_back(paymentz.pay(page))["status"] == "C"


def test_the_same_form_leads_to_the_same_page_and_another_with_its_id_is_refused(paymentz: PaymentZ) -> None:
    page = paymentz.open("t-1")
    assert paymentz.open("t-1") == page
    url = f"{paymentz.base}/transaction/Checkout"
    other = paymentz.http.post(url, data=paymentz.checkout_fields("t-1", "51.00"))
    assert (other.status_code, "Duplicate" in other.text) == (400, True)
    paymentz.pay(page)
    assert sent_back(paymentz.http.post(url, data=paymentz.checkout_fields("t-1")))["status"] == "Y"
    assert paymentz.purchase("t-1").code == "20006"
    assert len(paymentz.ledger()) == 1


@pytest.mark.parametrize(
    "name",
    "memberId totype amount currency merchantTransactionId merchantRedirectUrl orderDescription checksum".split(),
)
def test_a_form_without_a_required_field_opens_no_page(paymentz: PaymentZ, name: str) -> None:
    fields = paymentz.checkout_fields("t-1")
    del fields[name]
    said = paymentz.http.post(f"{paymentz.base}/transaction/Checkout", data=fields)
    assert (said.status_code, headline(said)) == (400, "This payment cannot be made")
    assert paymentz.ask_by_reference("t-1").code == "20003"


@pytest.mark.parametrize(
    "wrong",
    [
        {"checksum": "0" * 32},
        {"totype": "other"},
        {"memberId": "1"},
        {"merchantTransactionId": "t-2"},
        {"recurringType": "REPEATED"},
        {"paymentMode": "SEPA"},
        {"terminalid": "1"},
        {"amount": "51.00"},
    ],
)
def test_a_form_that_does_not_fit_the_account_opens_no_page(paymentz: PaymentZ, wrong: dict[str, str]) -> None:
    fields = paymentz.checkout_fields("t-1") | wrong
    said = paymentz.http.post(f"{paymentz.base}/transaction/Checkout", data=fields)
    assert said.status_code == 400
    assert paymentz.ask_by_reference("t-1").code == "20003"


def test_recurring_on_the_page_can_be_switched_off(paymentz: PaymentZ) -> None:
    paymentz.settings(hosted_initial=False)
    fields = paymentz.checkout_fields("t-1", recurringType="INITIAL")
    assert paymentz.http.post(f"{paymentz.base}/transaction/Checkout", data=fields).status_code == 400


# ---- the bank's question


def test_a_card_that_asks_for_it_is_challenged_before_it_is_booked(paymentz: PaymentZ) -> None:
    challenge = paymentz.pay(paymentz.open("t-1"), number=CHALLENGED)
    assert headline(challenge) == "3-D Secure"
    assert re.findall(r'<button[^>]* value="(\w+)"', challenge.text) == ["approve", "decline", "cancel"]
    assert (paymentz.ask_by_reference("t-1").short, paymentz.ledger()) == ("3D", [])
    form = sent_back(paymentz.submit(str(challenge.url), outcome="approve"))
    assert (form["status"], form["eci"]) == ("Y", "05")
    assert paymentz.ledger("t-1") == [("sale", 5000, "booked")]


@pytest.mark.parametrize(("number", "outcome"), [(CHALLENGED, "decline"), (CHALLENGED_DECLINED, "approve")])
def test_a_failed_challenge_leaves_the_page_open_for_another_card(
    paymentz: PaymentZ, number: str, outcome: str
) -> None:
    challenge = paymentz.pay(paymentz.open("t-1"), number=number)
    page = paymentz.submit(str(challenge.url), outcome=outcome)
    assert complaint(page).startswith("The payment was declined.")
    assert paymentz.ask_by_reference("t-1").short == "P"
    assert sent_back(paymentz.pay(str(page.url)))["status"] == "Y"


def test_a_challenge_can_be_cancelled(paymentz: PaymentZ) -> None:
    challenge = paymentz.pay(paymentz.open("t-1"), number=CHALLENGED)
    assert sent_back(paymentz.submit(str(challenge.url), outcome="cancel"))["status"] == "C"


def test_a_rest_answer_redirects_to_the_bank_and_the_browser_comes_back(paymentz: PaymentZ) -> None:
    said = paymentz.purchase("t-1", merchantRedirectUrl=RETURN_URL, **{"card.number": CHALLENGED})
    redirect = said.json["redirect"]
    assert (said.code, said.short, redirect["method"]) == ("00002", "3D", "POST")
    parameters = {entry["name"]: entry["value"] for entry in redirect["parameters"]}
    assert set(parameters) == {"PaReq", "MD", "TermUrl"}
    assert headline(paymentz.submit(redirect["url"], **parameters)) == "3-D Secure"
    back = paymentz.http.get(redirect["url"], params={"outcome": "decline"})
    assert sent_back(back)["status"] == "N"
    assert paymentz.state(said.id) == "authfailed"
    assert paymentz.ledger("t-1") == [("sale", 5000, "declined")]


def test_a_rest_payment_in_3d_needs_an_address_to_come_back_to(paymentz: PaymentZ) -> None:
    assert paymentz.purchase("t-1", **{"card.number": CHALLENGED}).code == "20001"
    assert paymentz.purchase("t-1", attemptThreeD="direct", **{"card.number": CHALLENGED}).code == "00001"
    assert paymentz.purchase("t-2", attemptThreeD="only3D", merchantRedirectUrl=RETURN_URL).short == "3D"


def test_the_bank_may_decide_by_itself(paymentz: PaymentZ) -> None:
    paymentz.settings(acs_auto="approve")
    assert sent_back(paymentz.pay(paymentz.open("t-1"), number=CHALLENGED))["status"] == "Y"


def test_a_customer_who_never_answers_the_bank_has_failed(paymentz: PaymentZ) -> None:
    paymentz.settings(page_lifetime_s=0.0)
    said = paymentz.purchase("t-1", merchantRedirectUrl=RETURN_URL, **{"card.number": CHALLENGED})
    eventually(lambda: paymentz.state(said.id) == "authfailed")


# ---- triggers and rules on the page


def test_a_page_tells_of_a_pending_payment(paymentz: PaymentZ) -> None:
    paymentz.settings(pending_delay_s=60.0)
    page = paymentz.open("t-1")
    assert sent_back(paymentz.pay(page, number=PENDING))["status"] == "P"
    assert sent_back(paymentz.pay(page))["status"] == "P"
    assert paymentz.ledger() == [("sale", 5000, "pending")]


def test_a_page_may_be_lost_after_the_money_moved(paymentz: PaymentZ) -> None:
    page = paymentz.open("t-1")
    with pytest.raises(httpx.RemoteProtocolError):
        paymentz.pay(page, number=LOST)
    assert paymentz.ledger() == [("sale", 5000, "booked")]
    assert sent_back(paymentz.http.get(page))["status"] == "Y"


def test_a_page_may_break_before_the_money_moved(paymentz: PaymentZ) -> None:
    page = paymentz.open("t-1")
    assert paymentz.pay(page, number=BROKEN).status_code == 500
    assert sent_back(paymentz.pay(page))["status"] == "Y"


def test_a_rule_declines_a_try_on_the_page(paymentz: PaymentZ) -> None:
    rule = {"fault": "decline:10001", "match": {"operation": "PaymentPage", "reference": "t-*"}, "times": 1}
    assert paymentz.faults(rule).status_code == 200
    page = paymentz.open("t-1")
    assert complaint(paymentz.pay(page, number=CHALLENGED)).startswith("The payment was declined.")
    assert sent_back(paymentz.pay(page))["status"] == "Y"


def test_there_is_no_page_nobody_opened(paymentz: PaymentZ) -> None:
    for path in ("/transaction/pay/x", "/transaction/acs/x"):
        assert paymentz.http.get(paymentz.base + path).status_code == 404
