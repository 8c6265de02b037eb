"""The hosted pages, as a shopper without scripts goes through them (reference section 2.5)."""

import re
from xml.sax.saxutils import escape

import pytest

from tests.gateways_sandbox.conftest import Receiver
from tests.gateways_sandbox.wire import MONEY, VISA, Sandbox, complaint, eventually, headline, order

BACK = {
    "Success": "http://shop.test/ok?order=7&x=%2F",
    "Error": "http://shop.test/err",
    "Cancel": "http://shop.test/no",
}
CARD = {"action": "pay", "type": "CC", "number": VISA, "cvc": "123"}


def filtered(*pairs: str, enable: str = "true") -> str:
    payments = "".join(f"<Payment {pair}/>" for pair in pairs)
    return f'<PaymentTypes Enable="{enable}">{payments}</PaymentTypes>'


def choices(text: str) -> list[str]:
    return re.findall(r'name="type" value="([^"]+)"', text)


def test_an_open_page_is_no_transaction(sandbox: Sandbox) -> None:
    page = sandbox.page(order("p"))
    assert re.fullmatch(re.escape(sandbox.base) + "/app/bin/checkout/payment/[0-9a-f]{32}", page)
    assert sandbox.http.get(page).status_code == 200
    assert sandbox.state("p") == "NOT_FOUND"
    assert sandbox.ledger() == []


def test_a_payment_closes_the_page_and_goes_back_to_exactly_the_given_address(sandbox: Sandbox) -> None:
    page = sandbox.page(order("p", urls=BACK))
    answer = sandbox.submit(page, **CARD, expiry="05/40")
    assert (answer.status_code, answer.headers["Location"]) == (303, BACK["Success"])
    assert sandbox.ledger("p") == [("sale", 2500, "booked")]
    for again in (sandbox.http.get(page), sandbox.submit(page, **CARD, expiry="05/40")):
        assert (again.status_code, headline(again)) == (410, "This page is closed")
    assert sandbox.ledger("p") == [("sale", 2500, "booked")]


def test_the_tid_is_appended_to_the_address_only_if_the_account_wants_it(sandbox: Sandbox) -> None:
    sandbox.settings(return_append_tid=True)
    answer = sandbox.submit(sandbox.page(order("p 1", urls=BACK)), **CARD, expiry="05/40")
    assert answer.headers["Location"] == f"{BACK['Success']}&TID=p+1"


def test_each_failed_try_has_its_own_number_and_push_and_another_is_allowed(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    page = sandbox.page(order("p", urls={"Confirmation": receiver.url}))
    first = sandbox.submit(page, **CARD, expiry="01/40")
    assert (first.status_code, complaint(first)[:25]) == (200, "The payment was declined.")
    second = sandbox.submit(page, **CARD, expiry="02/40")
    assert "Karte abgelaufen (card expired)." in complaint(second)
    assert sandbox.submit(page, **CARD, expiry="05/40").status_code == 200
    states = receiver.wait_for(4)
    assert sorted(states) == ["BILLED", "ERROR", "ERROR", "RESERVED"]
    assert states.index("RESERVED") < states.index("BILLED")
    numbers = [found["MPAYTID"] for found in receiver.parameters()]
    assert len(set(numbers)) == 3
    assert {found["TID"] for found in receiver.parameters()} == {"p"}
    assert sandbox.ledger("p") == [("sale", 2500, "declined")] * 2 + [("sale", 2500, "booked")]


@pytest.mark.parametrize(("action", "ledger"), [("confirm", "booked"), ("refuse", "declined")])
def test_a_late_month_leads_to_authentication(sandbox: Sandbox, action: str, ledger: str) -> None:
    page = sandbox.page(order("p", urls=BACK))
    asked = sandbox.submit(page, **CARD, expiry="06/40")
    assert headline(asked) == "3-D Secure"
    assert headline(sandbox.http.get(page)) == "3-D Secure"
    assert sandbox.state("p") == "REDIRECTED"
    answer = sandbox.submit(page, action=action)
    assert sandbox.ledger("p") == [("sale", 2500, ledger)]
    assert answer.status_code == (303 if action == "confirm" else 200)
    if action == "refuse":
        assert complaint(answer)
        assert sandbox.submit(page, **CARD, expiry="05/40").status_code == 303


def test_paypal_is_confirmed_on_a_page_of_its_own(sandbox: Sandbox) -> None:
    page = sandbox.page(order("p", urls=BACK))
    asked = sandbox.submit(page, action="pay", type="PAYPAL")
    assert headline(asked) == "Confirm your payment"
    assert sandbox.submit(page, action="confirm").status_code == 303
    assert sandbox.ledger("p") == [("sale", 2500, "booked")]


@pytest.mark.parametrize(
    ("iban", "status", "row"),
    [
        ("AT77 1400 0001 2345 6789", 303, "booked"),
        ("DE09100100101234567890", 200, "declined"),
        ("DE25100100101234567893", 303, "pending"),
    ],
)
def test_direct_debit_acts_by_its_account(sandbox: Sandbox, iban: str, status: int, row: str) -> None:
    page = sandbox.page(order("p", urls=BACK))
    assert sandbox.submit(page, action="pay", type="ELV", iban=iban).status_code == status
    assert sandbox.ledger("p") == [("sale", 2500, row)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": "CC", "number": "4444333322221112", "expiry": "05/40", "cvc": "123"}, "card number"),
        ({"type": "CC", "number": VISA, "expiry": "5/2040", "cvc": "123"}, "MM/YY"),
        ({"type": "CC", "number": VISA, "expiry": "13/40", "cvc": "123"}, "MM/YY"),
        ({"type": "CC", "number": VISA, "expiry": "05/40", "cvc": ""}, "security code"),
        ({"type": "ELV", "iban": "DE00"}, "IBAN"),
        ({"type": "GOLD"}, "choose how to pay"),
        ({}, "choose how to pay"),
    ],
)
def test_a_typing_mistake_is_no_try(sandbox: Sandbox, fields: dict[str, str], words: str) -> None:
    answer = sandbox.submit(sandbox.page(order("p")), action="pay", **fields)
    assert answer.status_code == 200
    assert words in complaint(answer)
    assert sandbox.ledger("p") == []


def test_a_page_offers_what_the_order_allows(sandbox: Sandbox) -> None:
    assert choices(sandbox.http.get(sandbox.page(order("p"))).text) == ["CC", "ELV", "PAYPAL"]
    only = filtered('Type="PAYPAL"', 'Type="CC" Brand="VISA"', 'Type="SOFORT"')
    page = sandbox.page(order("p", types=only))
    assert choices(sandbox.http.get(page).text) == ["CC", "PAYPAL", "SOFORT"]
    refused = sandbox.submit(page, action="pay", type="CC", number="5555444433331111", expiry="05/40", cvc="123")
    assert "brand" in complaint(refused)
    blocked = filtered('Type="ELV"', enable="false")
    assert choices(sandbox.http.get(sandbox.page(order("p", types=blocked))).text) == ["CC", "PAYPAL"]


def test_cancelling_closes_the_page_and_books_nothing(sandbox: Sandbox) -> None:
    page = sandbox.page(order("p", urls=BACK))
    answer = sandbox.submit(page, action="cancel")
    assert (answer.status_code, answer.headers["Location"]) == (303, BACK["Cancel"])
    assert sandbox.http.get(page).status_code == 410
    assert sandbox.ledger("p") == []


def test_an_expired_page_says_so_and_books_nothing(sandbox: Sandbox) -> None:
    sandbox.settings(paypage_lifetime_s=0)
    page = sandbox.page(order("p"))
    for answer in (sandbox.http.get(page), sandbox.submit(page, **CARD, expiry="05/40")):
        assert (answer.status_code, headline(answer)) == (410, "This page has expired")
    assert sandbox.ledger("p") == []


def test_a_shopper_who_never_comes_back_has_failed_when_the_page_expires(sandbox: Sandbox) -> None:
    sandbox.settings(paypage_lifetime_s=0)
    payment = f'<payment xsi:type="etp:PaymentPAYPAL">{MONEY}</payment>'
    sandbox.call("AcceptPayment", f"<tid>w</tid><pType>PAYPAL</pType>{payment}")
    eventually(lambda: sandbox.state("w") == "ERROR")
    assert sandbox.ledger("w") == [("sale", 2500, "declined")]


def test_an_unknown_page_is_not_found(sandbox: Sandbox) -> None:
    assert sandbox.http.get(f"{sandbox.base}/app/bin/checkout/payment/{'0' * 32}").status_code == 404


def test_after_too_many_tries_the_page_gives_up_if_the_account_says_so(sandbox: Sandbox) -> None:
    sandbox.settings(page_tries_max=2)
    page = sandbox.page(order("p", urls=BACK))
    assert sandbox.submit(page, **CARD, expiry="01/40").status_code == 200
    answer = sandbox.submit(page, **CARD, expiry="01/40")
    assert (answer.status_code, answer.headers["Location"]) == (303, BACK["Error"])


def test_a_page_speaks_german_and_shows_amounts_the_german_way(sandbox: Sandbox) -> None:
    shown = sandbox.http.get(sandbox.page(order("p", language="DE"))).text
    assert '<html lang="de">' in shown
    assert "25,00 EUR bezahlen" in shown
    other = sandbox.http.get(sandbox.page(order("p", language="FR"))).text
    assert '<html lang="en">' in other


def test_a_page_cannot_be_framed_nor_filled_with_markup(sandbox: Sandbox) -> None:
    page = sandbox.http.get(sandbox.page(order(escape("<script>x</script>"))))
    assert page.headers["X-Frame-Options"] == "DENY"
    assert "<script>" not in page.text


# ---- profiles made on pages


def test_paying_with_use_profile_stores_and_then_replaces_the_profile(sandbox: Sandbox) -> None:
    for expiry, status, kept in (("05/40", "CREATED", "4005"), ("05/41", "UPDATED", "4105")):
        sandbox.submit(sandbox.page(order("p")), **CARD, expiry=expiry)
        found = sandbox.call("TransactionStatus", "<tid>p</tid>").parameters()
        assert (found["PROFILE_STATUS"], found["PROFILE_ID"]) == (status, "")
        (profile,) = sandbox.control("profiles?customer_id=c-1")["profiles"]
        assert profile["expiry"] == kept
    assert sandbox.charge("next", "c-1").code == "OK PROFILE_USED"


def test_a_declined_try_stores_no_profile(sandbox: Sandbox) -> None:
    sandbox.submit(sandbox.page(order("p")), **CARD, expiry="01/40")
    assert sandbox.call("TransactionStatus", "<tid>p</tid>").parameters()["PROFILE_STATUS"] == "ERROR"
    assert sandbox.control("profiles?customer_id=c-1")["profiles"] == []


def test_without_use_profile_nothing_is_stored(sandbox: Sandbox) -> None:
    sandbox.submit(sandbox.page(order("p", customer='<Customer Id="c-1">J</Customer>')), **CARD, expiry="05/40")
    assert sandbox.call("TransactionStatus", "<tid>p</tid>").parameters()["PROFILE_STATUS"] == "IGNORED"
    assert sandbox.control("profiles?customer_id=c-1")["profiles"] == []


def test_a_profile_page_stores_without_paying(sandbox: Sandbox) -> None:
    document = "<Profile><CustomerID>c-7</CustomerID><URL><Success>http://shop.test/ok</Success></URL></Profile>"
    said = sandbox.call("CreateProfile", f"<mdxi>{escape(document)}</mdxi>")
    assert said.code == "OK REDIRECT"
    answer = sandbox.submit(said.location, **CARD, expiry="05/40")
    assert (answer.status_code, answer.headers["Location"]) == (303, "http://shop.test/ok")
    assert len(sandbox.control("profiles?customer_id=c-7")["profiles"]) == 1
    assert sandbox.ledger() == []


# ---- steps of AcceptPayment


@pytest.mark.parametrize(
    ("action", "back", "row"),
    [("confirm", "http://shop.test/ok", "booked"), ("refuse", "http://shop.test/err", "declined")],
)
def test_a_redirected_payment_is_confirmed_or_refused(sandbox: Sandbox, action: str, back: str, row: str) -> None:
    payment = f'<payment xsi:type="etp:PaymentPAYPAL">{MONEY}</payment>'
    urls = "<successURL>http://shop.test/ok</successURL><errorURL>http://shop.test/err</errorURL>"
    said = sandbox.call("AcceptPayment", f"<tid>r</tid><pType>PAYPAL</pType>{payment}{urls}")
    answer = sandbox.submit(said.location, action=action)
    assert (answer.status_code, answer.headers["Location"]) == (303, back)
    assert sandbox.ledger("r") == [("sale", 2500, row)]
    assert sandbox.submit(said.location, action="confirm").status_code == 410
    assert len(sandbox.ledger("r")) == 1


def test_an_authenticated_customer_is_stored_and_told_as_validated(sandbox: Sandbox, receiver: Receiver) -> None:
    data = f"<validate>true</validate><brand>VISA</brand><identifier>{VISA}</identifier><expiry>4012</expiry>"
    part = f'<paymentData xsi:type="etp:PaymentDataCC">{data}</paymentData>'
    said = sandbox.call("CreateCustomer", f"<pType>CC</pType>{part}<customerID>c-5</customerID>{receiver.element}")
    sandbox.submit(said.location, action="confirm")
    assert receiver.wait_for(1) == ["VALIDATED"]
    assert receiver.parameters()[0]["PROFILE_STATUS"] == "CREATED"
    assert len(sandbox.control("profiles?customer_id=c-5")["profiles"]) == 1
    assert sandbox.ledger() == []
