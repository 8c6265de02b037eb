"""Cards: the hosted form, 3-D Secure, and later charges without the holder (reference section 12)."""

import base64
import json
import re
from typing import Any

import pytest

from tests.gateways_sandbox.computop_wire import (
    ASKS_BANK,
    DECLINED,
    EXPIRED,
    INSUFFICIENT,
    MASTERCARD,
    SHOP,
    VISA,
    WANTS_AUTHENTICATION,
    Computop,
    Said,
    packed,
)
from tests.gateways_sandbox.conftest import Hook
from tests.gateways_sandbox.wire import complaint, eventually, headline


def card_of(said: Said) -> Any:
    return json.loads(base64.b64decode(said["card"]))


def file_of(said: Said) -> dict[str, str]:
    """Return what a merchant keeps of a first payment."""
    card = card_of(said)
    return {"PCNr": card["number"], "schemeReferenceID": said["schemeReferenceID"], **card}


def test_a_first_payment_puts_a_card_on_file_and_it_is_charged_again_and_again(computop: Computop, hook: Hook) -> None:
    page = computop.form(TransID="FIRST", RefNr="R-1", URLNotify=hook.url, Custom="a=1|b=2", Plain="<p>")
    back = computop.type_card(page)
    assert back.status_code == 200
    assert (f'action="{SHOP}/ok"' in back.text, "&lt;p&gt;" in back.text) == (True, True)
    assert re.findall('name="([ab])" value="([12])"', back.text) == [("a", "1"), ("b", "2")]
    said = computop.returned(back)
    assert (said["Status"], said.code, said["RefNr"]) == ("OK", "00000000", "R-1")
    assert re.fullmatch("0[0-9]{12}111", card_of(said)["number"])
    assert (card_of(said)["brand"], card_of(said)["expiryDate"]) == ("VISA", "203112")
    assert computop.notified(hook.got[0][1]) == said.pairs
    for number in (1, 2):
        later = computop.charge(file_of(said), TransID=f"LATER-{number}", RefNr=f"R{number}", Amount="500")
        assert (later["Status"], later.code, later["RefNr"]) == ("OK", "00000000", f"R{number}")
        assert (later["schemeReferenceID"], "mac" in later.pairs) == (said["schemeReferenceID"], False)
        assert computop.ledger(f"LATER-{number}") == [("sale", 500, "booked")]
    assert {row["profile"] for row in computop.rows()} == {card_of(said)["number"]}
    assert len(hook.got) == 1


def test_the_form_needs_no_script_and_shows_no_more_than_it_must(computop: Computop) -> None:
    page = computop.http.get(computop.form(Language="de"))
    assert headline(page) == "Zahlung mit Karte"
    assert "19,90 EUR bezahlen" in page.text
    assert "<script" not in page.text
    assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("number", "4111111111111112", "card number"),
        ("number", "", "card number"),
        ("number", "6011000990139424", "card number"),
        ("expiry", "13/31", "valid"),
        ("cvc", "12", "security code"),
        ("holder", " E ", "name"),
    ],
)
def test_what_cannot_be_right_is_asked_again_and_is_no_try(
    computop: Computop, field: str, value: str, sentence: str
) -> None:
    computop.settings(card_tries_max=1)
    page = computop.form()
    assert sentence in complaint(computop.type_card(page, **{field: value}))
    assert computop.ledger() == []
    assert computop.returned(computop.type_card(page, number="4111 1111 1111 1111", expiry="1231")).code == "00000000"


def test_a_declined_card_may_be_followed_by_another_and_is_told_once(computop: Computop, hook: Hook) -> None:
    page = computop.form(URLNotify=hook.url)
    assert "declined" in complaint(computop.type_card(page, DECLINED))
    assert computop.call("inquire24", TransID="INV-1")["LastStatus"] == "AUTHORIZE_REQUEST"
    said = computop.returned(computop.type_card(page, MASTERCARD))
    assert computop.ledger() == [("sale", 1990, "declined"), ("sale", 1990, "booked")]
    assert (said["Status"], said["XID"], card_of(said)["brand"]) == ("OK", computop.rows()[1]["xid"], "MasterCard")
    assert len(hook.got) == 1


def test_after_the_last_try_the_browser_goes_to_the_failure_address(computop: Computop) -> None:
    page = computop.form()
    for _ in range(2):
        computop.type_card(page, DECLINED)
    said = computop.returned(computop.type_card(page, INSUFFICIENT))
    assert (said["Status"], said.code, said.body) == ("FAILED", "21000313", f"{SHOP}/failed")
    assert computop.ledger() == [("sale", 1990, "declined")] * 3


def test_a_customer_may_cancel(computop: Computop) -> None:
    assert computop.returned(computop.press(computop.form(), "cancel")).code == "21000053"


@pytest.mark.parametrize("number", [ASKS_BANK, WANTS_AUTHENTICATION])
def test_a_card_that_asks_for_it_is_confirmed_at_the_bank(computop: Computop, number: str) -> None:
    page = computop.form()
    bank = computop.type_card(page, number)
    assert headline(bank) == "3-D Secure"
    assert headline(computop.type_card(page, VISA)) == "3-D Secure"
    assert computop.ledger() == []
    assert computop.returned(computop.press(page, "confirm")).code == "00000000"
    assert computop.ledger() == [("sale", 1990, "booked")]


def test_who_refuses_at_the_bank_may_use_another_card(computop: Computop) -> None:
    computop.settings(card_tries_max=2)
    page = computop.form()
    computop.type_card(page, ASKS_BANK)
    assert "declined" in complaint(computop.press(page, "decline"))
    computop.type_card(page, ASKS_BANK)
    assert computop.returned(computop.press(page, "decline")).code == "22060200"


def test_a_page_left_at_the_bank_times_out(computop: Computop) -> None:
    computop.settings(page_life_s=0.3)
    page = computop.form()
    computop.type_card(page, ASKS_BANK)
    eventually(lambda: computop.ledger())
    assert computop.returned(computop.http.get(page)).code == "22060051"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (VISA, "00000000"),
        (MASTERCARD, "00000000"),
        ("375000000000007", "00000000"),
        (ASKS_BANK, "00000000"),
        (DECLINED, "21000100"),
        (EXPIRED, "21000110"),
        (INSUFFICIENT, "21000313"),
        ("4000000003430008", "21000343"),
        ("4000000001210006", "21000121"),
        (WANTS_AUTHENTICATION, "22060200"),
    ],
)
def test_a_card_on_file_acts_as_its_number_says(computop: Computop, number: str, code: str) -> None:
    said = computop.charge(computop.on_file(number))
    assert (said.code, said["Status"]) == (code, "OK" if code == "00000000" else "FAILED")
    assert computop.ledger("INV-1") == [("sale", 1990, "booked" if code == "00000000" else "declined")]


def test_a_card_is_over_when_its_month_is(computop: Computop) -> None:
    stored = computop.on_file(VISA, "202001")
    assert computop.charge(stored).code == "21000110"
    assert computop.charge(stored | {"expiryDate": "203101"}).code == "00000000"


def test_a_reference_of_another_card_or_of_none_is_refused(computop: Computop) -> None:
    visa, master = computop.on_file(VISA), computop.on_file(MASTERCARD)
    mixed = visa | {"schemeReferenceID": master["schemeReferenceID"]}
    assert computop.charge(mixed).code == "40160F11"
    computop.settings(check_scheme_reference=False)
    assert computop.charge(mixed).code == "00000000"


def test_a_payment_without_consent_gives_no_right_to_charge_later(computop: Computop) -> None:
    said = computop.returned(computop.type_card(computop.form(credentialOnFile=None)))
    assert computop.charge(file_of(said)).code == "40160F11"


def test_an_unknown_pseudo_number_is_declined(computop: Computop) -> None:
    stored = computop.on_file() | {"PCNr": "0999999999999111"}
    assert computop.charge(stored).code == "21000130"


def test_simulation_mode_decides_over_the_card(computop: Computop) -> None:
    assert computop.charge(computop.on_file(DECLINED), OrderDesc="Test:0000").code == "00000000"
    assert computop.charge(computop.on_file(VISA), OrderDesc="Test:0356 x").code == "21000356"
    page = computop.form(OrderDesc="Test:0000")
    assert computop.returned(computop.type_card(page, ASKS_BANK)).code == "00000000"


def test_an_account_may_mask_numbers_in_its_answers(computop: Computop) -> None:
    computop.settings(card_number="masked")
    assert card_of(computop.charge(computop.on_file()))["number"] == "411111XXXXXX1111"


def test_without_automatic_capture_money_is_only_reserved(computop: Computop) -> None:
    said = computop.charge(computop.on_file(), Capture="MANUAL")
    assert (said["Status"], said.code) == ("AUTHORIZED", "00000000")
    assert computop.standing(said["PayID"]) == ("AUTHORIZED", "1990", "0", "0")
    page = computop.returned(computop.type_card(computop.form(Capture=None, TransID="INV-2")))
    assert page["Status"] == "AUTHORIZED"
    assert computop.ledger() == [("authorisation", 1990, "reserved")] * 2


def test_an_unscheduled_charge_needs_no_plan(computop: Computop) -> None:
    why = packed({"type": {"unscheduled": "MIT"}, "initialPayment": False, "useCase": "ucof"})
    assert computop.charge(computop.on_file(), credentialOnFile=why).code == "00000000"


def test_a_suspended_charge_is_pending_until_it_is_moved(computop: Computop) -> None:
    computop.faults({"fault": "suspend", "times": 1})
    said = computop.charge(computop.on_file(), ReqId="q-1")
    assert (said["Status"], said.code[0]) == ("PENDING", "6")
    assert computop.ledger() == [("sale", 1990, "pending")]
    assert computop.standing(said["PayID"]) == ("PENDING", "0", "0", "0")
    assert computop.move(said["PayID"], "settled").json()["state"] == "paid"
    assert computop.ledger() == [("sale", 1990, "booked")]
    assert computop.charge(computop.on_file(), ReqId="q-1")["PayID"] == said["PayID"]


# ---- cards that a tester puts on file


def test_a_tester_gets_and_may_choose_the_references(computop: Computop) -> None:
    stored = computop.on_file(MASTERCARD, brand="MasterCard", scheme_reference="chosen-1")
    assert (stored["schemeReferenceID"], stored["masked"]) == ("chosen-1", "555555XXXXXX4444")
    assert re.fullmatch("0[0-9]{12}444", stored["PCNr"])
    computop.on_file(MASTERCARD, scheme_reference="chosen-2")
    shown = computop.control(f"profiles?card={stored['PCNr']}")["profiles"]
    assert [card["schemeReferenceID"] for card in shown] == ["chosen-1", "chosen-2"]
    assert MASTERCARD not in str(shown)
    assert computop.control("profiles?card=0")["profiles"] == []


@pytest.mark.parametrize(
    "card",
    [
        {},
        1,
        {"number": "4111111111111112", "expiry": "203112"},
        {"number": VISA, "expiry": "1231"},
        {"number": VISA, "expiry": "203112", "brand": "AMEX"},
        {"number": VISA, "expiry": "203112", "holder": "\ud800\ud800"},
        {"number": VISA, "expiry": "203112", "scheme_reference": "a b"},
        {"number": VISA, "expiry": "203112", "colour": "red"},
        {"number": VISA, "expiry": 203112},
    ],
)
def test_an_unusable_card_is_refused_with_a_sentence_and_none_is_stored(computop: Computop, card: object) -> None:
    content = json.dumps([{"number": MASTERCARD, "expiry": "203112"}, card])
    said = computop.http.post(f"{computop.base}/_sandbox/profiles", content=content)
    assert said.status_code == 400
    assert said.json()["error"].startswith("card 2 ")
    known = computop.on_file(MASTERCARD)["PCNr"]
    assert len(computop.control(f"profiles?card={known}")["profiles"]) == 1
