"""Purchases, REPEATEDs, registered cards, duplicates and triggers."""

import threading
from typing import Any

import httpx
import pytest

from tests.gateways_sandbox.paymentz_wire import (
    BROKEN,
    CHALLENGED,
    CHALLENGED_DECLINED,
    DECLINED,
    GOOD,
    LOST,
    PENDING,
    RETURN_URL,
    Answer,
    PaymentZ,
)
from tests.gateways_sandbox.wire import eventually


def test_a_purchase_is_answered_as_the_published_sample(paymentz: PaymentZ) -> None:
    said = paymentz.purchase("t-1", **{"card.expiryMonth": "7", "card.holder": "John Doe"})
    found = said.json
    assert int(found.pop("paymentId")) > 0
    assert len(found.pop("timestamp")) == len("2018-06-01 16:31:36")
    assert found == {
        "paymentBrand": "VISA",
        "paymentType": "DB",
        "paymentMode": "CC",
        "amount": "50.00",
        "currency": "EUR",
        "descriptor": "A plan",
        "result": {"code": "00001", "description": "Transaction succeeded"},
        "card": {
            "bin": "400000",
            "last4Digits": "0051",
            "holder": "John Doe",
            "expiryMonth": "07",
            "expiryYear": "2030",
        },
        "transactionStatus": "Y",
        "merchantTransactionId": "t-1",
        "remark": "Transaction succeeded",
        "tmpl_amount": "50.00",
        "tmpl_currency": "EUR",
    }
    assert paymentz.ledger("t-1") == [("sale", 5000, "booked")]


def test_a_preauthorisation_is_held_and_not_taken(paymentz: PaymentZ) -> None:
    assert paymentz.state(paymentz.reserve("t-1")) == "authsuccessful"
    assert paymentz.ledger("t-1") == [("authorisation", 5000, "reserved")]


@pytest.mark.parametrize(
    "name",
    [
        "authentication.memberId",
        "authentication.checksum",
        "merchantTransactionId",
        "amount",
        "currency",
        "orderDescriptor",
        "paymentType",
        "paymentMode",
        "paymentBrand",
        "card.number",
        "card.expiryMonth",
        "card.expiryYear",
        "card.cvv",
    ],
)
def test_a_purchase_without_a_required_field_books_nothing_and_uses_up_no_id(paymentz: PaymentZ, name: str) -> None:
    fields = paymentz.purchase_fields("t-1")
    del fields[name]
    said = paymentz.post("payments", fields)
    assert (said.code in {"20001", "20002"}, said.id, said.short) == (True, "-", "N")
    assert paymentz.ledger() == []
    assert paymentz.purchase("t-1").code == "00001"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"amount": "50"}, "20001"),
        ({"amount": "50.1"}, "20001"),
        ({"amount": "0.00"}, "20001"),
        ({"amount": "-1.00"}, "20001"),
        ({"amount": "1,00"}, "20001"),
        ({"amount": "123456789.00"}, "20005"),
        ({"amount": "1.50", "currency": "JPY"}, "20001"),
        ({"currency": "eur"}, "20001"),
        ({"paymentType": "CP"}, "20001"),
        ({"paymentMode": "SEPA"}, "20008"),
        ({"paymentBrand": "PLASTIC"}, "20001"),
        ({"card.number": "4000000000000052"}, "20001"),
        ({"card.expiryMonth": "13"}, "20001"),
        ({"card.expiryYear": "30"}, "20001"),
        ({"card.cvv": "12"}, "20001"),
        ({"merchantRedirectUrl": "javascript:alert(1)"}, "20001"),
        ({"recurringType": "SOMETIMES"}, "20001"),
        ({"attemptThreeD": "4D"}, "20001"),
        ({"authentication.terminalId": "1"}, "20008"),
    ],
)
def test_a_malformed_purchase_is_refused(paymentz: PaymentZ, changed: dict[str, str], code: str) -> None:
    amount = changed.get("amount", "50.00")
    said = paymentz.post("payments", paymentz.purchase_fields("t-1", amount) | changed)
    assert (said.code, said.id) == (code, "-")
    assert paymentz.ledger() == []


def test_an_id_has_at_most_a_hundred_characters(paymentz: PaymentZ) -> None:
    assert paymentz.purchase("x" * 101).code == "20001"
    assert paymentz.purchase("x" * 100).code == "00001"


def test_yen_have_two_decimals_on_the_wire_and_none_in_the_ledger(paymentz: PaymentZ) -> None:
    assert paymentz.purchase("t-1", "100.00", currency="JPY").json["amount"] == "100.00"
    assert paymentz.ledger() == [("sale", 100, "booked")]


def test_mastercard_has_one_name(paymentz: PaymentZ) -> None:
    assert paymentz.purchase("t-1", paymentBrand="MASTER CARD").json["paymentBrand"] == "MC"


def test_a_terminal_must_be_named_where_there_are_several(paymentz: PaymentZ) -> None:
    paymentz.settings(terminals=["1:EUR:*:recurring", "2:EUR:VISA:once", "3:USD:*:once"])
    assert paymentz.purchase("t-1", **{"authentication.terminalId": "UNKNOWN"}).code == "20001"
    assert paymentz.purchase("t-1", **{"authentication.terminalId": "3"}).code == "20008"
    assert paymentz.purchase("t-1", **{"authentication.terminalId": "2"}).code == "00001"
    assert paymentz.purchase("t-2", paymentBrand="MC").code == "00001"
    assert paymentz.purchase("t-3", currency="USD").code == "00001"
    assert paymentz.purchase("t-4", currency="USD", recurringType="INITIAL").code == "20008"


# ---- what triggers make of it


def test_a_declined_card_has_an_id_and_a_failed_status(paymentz: PaymentZ) -> None:
    said = paymentz.purchase("t-1", **{"card.number": DECLINED})
    assert (said.code, said.short) == ("10001", "N")
    assert paymentz.state(said.id) == "authfailed"
    assert paymentz.ledger("t-1") == [("sale", 5000, "declined")]


def test_an_expired_card_is_declined_in_words(paymentz: PaymentZ) -> None:
    said = paymentz.purchase("t-1", **{"card.expiryYear": "2020"})
    assert (said.code, said.json["result"]["description"]) == ("10001", "Expired card")


@pytest.mark.parametrize(
    ("amount", "number", "end", "state"),
    [
        ("5.07", GOOD, "capturesuccess", "booked"),
        ("5.08", GOOD, "authfailed", "declined"),
        ("5.00", PENDING, "capturesuccess", "booked"),
    ],
)
def test_a_pending_payment_is_decided_later(paymentz: PaymentZ, amount: str, number: str, end: str, state: str) -> None:
    said = paymentz.purchase("t-1", amount, **{"card.number": number})
    assert (said.code, said.short) == ("00002", "P")
    eventually(lambda: paymentz.state(said.id) == end)
    assert [row[2] for row in paymentz.ledger("t-1")] == [state]


@pytest.mark.parametrize(("amount", "number"), [("5.06", GOOD), ("5.00", LOST)])
def test_an_answer_is_lost_after_the_money_moved(paymentz: PaymentZ, amount: str, number: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        paymentz.purchase("t-1", amount, **{"card.number": number})
    assert paymentz.ask_by_reference("t-1").json["status"] == "capturesuccess"


def test_a_server_fails_before_the_money_moved(paymentz: PaymentZ) -> None:
    said = paymentz.purchase("t-1", **{"card.number": BROKEN})
    assert (said.status, said.code) == (500, "500")
    assert paymentz.ask_by_reference("t-1").code == "20003"
    assert paymentz.purchase("t-1").code == "00001"


def test_a_web_page_may_come_for_an_answer(paymentz: PaymentZ) -> None:
    said = paymentz.purchase("t-1", "5.09")
    assert (said.status, said.text[:6]) == (200, "<html>")
    assert paymentz.ledger("t-1") == [("sale", 509, "booked")]


# ---- duplicates


def test_an_id_is_used_up_for_ever_even_by_a_decline(paymentz: PaymentZ) -> None:
    first = paymentz.purchase("t-1", **{"card.number": DECLINED})
    said = paymentz.purchase("t-1")
    assert (said.code, said.short, said.id) == ("20006", "N", first.id)
    assert "status" not in said.json
    assert len(paymentz.ledger()) == 1


@pytest.mark.parametrize(("policy", "code"), [("reject_dash", "20006"), ("replay", "00001")])
def test_a_duplicate_may_be_answered_in_other_ways(paymentz: PaymentZ, policy: str, code: str) -> None:
    paymentz.settings(duplicate_policy=policy)
    first = paymentz.purchase("t-1")
    said = paymentz.purchase("t-1")
    assert (said.code, said.id) == (code, "-" if policy == "reject_dash" else first.id)
    assert len(paymentz.ledger()) == 1


def test_of_requests_at_once_with_one_id_exactly_one_is_processed(paymentz: PaymentZ) -> None:
    parent = paymentz.on_file("p-1")["paymentId"]
    paymentz.settings(processing_ms=50)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(paymentz.repeat(parent, "t-1"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said.code for said in answers) == ["00001"] + ["20006"] * 5
    assert len({said.id for said in answers}) == 1
    assert paymentz.ledger() == [("sale", 999, "booked")]


# ---- INITIAL and REPEATED


def initial(paymentz: PaymentZ, reference: str = "i-1", **more: str) -> Answer:
    return paymentz.purchase(reference, recurringType="INITIAL", **more)


def test_a_repeated_charges_the_card_of_its_initial_under_an_id_of_its_own(paymentz: PaymentZ) -> None:
    parent = initial(paymentz)
    said = paymentz.repeat(parent.id, "r-1")
    assert (said.code, said.short, said.json["merchantTransactionId"]) == ("00001", "Y", "r-1")
    assert said.id != parent.id
    assert said.json["card"] == parent.json["card"]
    assert paymentz.ask(said.id).json["recurringType"] == "REPEATED"
    assert paymentz.ask(parent.id).json["recurringType"] == "INITIAL"
    (_, row) = paymentz.control("ledger")["transactions"]
    assert (row["gateway_id"], row["profile"], row["amount_minor"]) == (said.id, parent.id, 999)


@pytest.mark.parametrize(
    "more",
    [
        {"card.number": GOOD},
        {"card.cvv": "123"},
        {"merchantRedirectUrl": RETURN_URL},
        {"paymentType": "PA"},
        {"paymentId": "1"},
        {"merchantTransactionId": ""},
    ],
)
def test_a_repeated_of_the_wrong_form_is_refused(paymentz: PaymentZ, more: dict[str, str]) -> None:
    said = paymentz.repeat(initial(paymentz).id, "r-1", **more)
    assert (said.code, said.id) == ("20001", "-")
    assert paymentz.ledger("r-1") == []


def test_the_route_and_the_checksum_of_a_repeated_are_settings(paymentz: PaymentZ) -> None:
    parent = initial(paymentz).id
    by_own = paymentz.signed(paymentz.repeated_fields(parent, "r-1"), "r-1", "9.99")
    del by_own["authentication.checksum"]
    by_own = paymentz.signed({}, "r-1", "9.99") | by_own
    in_body = paymentz.repeated_fields(parent, "r-1", paymentId=parent)
    assert paymentz.post(f"payments/{parent}", by_own).code == "20002"
    assert paymentz.post("payments", in_body).code == "20008"
    paymentz.settings(repeat_checksum_subject="own", repeat_route="body")
    assert paymentz.post(f"payments/{parent}", by_own).code == "20008"
    assert paymentz.post("payments", in_body).code == "20002"
    assert paymentz.post("payments", by_own | {"paymentId": parent}).code == "00001"
    paymentz.settings(repeat_checksum_subject="either", repeat_route="either")
    assert paymentz.repeat(parent, "r-2").code == "00001"


@pytest.mark.parametrize("reason", ["no initial", "declined", "reversed", "currency", "a child", "none"])
def test_a_repeated_needs_a_usable_initial(paymentz: PaymentZ, reason: str) -> None:
    parent, more, code = "1", {"currency": "USD"} if reason == "currency" else {}, "20008"
    if reason == "no initial":
        parent = paymentz.purchase("i-1").id
    elif reason == "declined":
        parent = initial(paymentz, **{"card.number": DECLINED}).id
    elif reason == "reversed":
        parent = initial(paymentz, paymentType="PA").id
        paymentz.reverse(parent)
    elif reason == "none":
        code = "20003"
    else:
        parent = initial(paymentz).id
        if reason == "a child":
            parent = paymentz.repeat(parent, "r-0").id
    said = paymentz.repeat(parent, "r-1", **more)
    assert (said.code, said.id) == (code, "-")


def test_a_refunded_initial_can_be_repeated_and_a_charged_back_one_cannot(paymentz: PaymentZ) -> None:
    refunded, held = initial(paymentz), initial(paymentz, "i-2", paymentType="PA")
    assert paymentz.refund(refunded.id).code == "00005"
    assert paymentz.repeat(refunded.id, "r-1").code == "00001"
    assert paymentz.repeat(held.id, "r-2").code == "00001"
    stored = paymentz.on_file("i-3")["paymentId"]
    assert paymentz.move(stored, "chargeback").status_code == 200
    assert paymentz.repeat(stored, "r-3").code == "20008"


def test_an_initial_in_3d_is_usable_once_the_challenge_succeeded(paymentz: PaymentZ) -> None:
    said = initial(paymentz, merchantRedirectUrl=RETURN_URL, **{"card.number": CHALLENGED})
    assert said.short == "3D"
    assert paymentz.repeat(said.id, "r-1").code == "20008"
    paymentz.http.post(said.json["redirect"]["url"], data={"outcome": "approve"})
    repeated = paymentz.repeat(said.id, "r-1")
    assert (repeated.code, "redirect" in repeated.json) == ("00001", False)


@pytest.mark.parametrize(("amount", "code", "short"), [("5.05", "10001", "N"), ("5.07", "00002", "P")])
def test_amounts_trigger_on_a_repeated_too(paymentz: PaymentZ, amount: str, code: str, short: str) -> None:
    said = paymentz.repeat(initial(paymentz).id, "r-1", amount)
    assert (said.code, said.short) == (code, short)


# ---- profiles of tests


def test_a_card_on_file_is_charged_by_both_references(paymentz: PaymentZ) -> None:
    found = paymentz.on_file("c-1", customer_id="c")
    assert paymentz.control("profiles?reference=c-1")["profiles"] == [found]
    token = found["registrationId"]
    assert paymentz.repeat(found["paymentId"], "r-1").code == "00001"
    by_token = paymentz.token_fields(token, merchantTransactionId="r-2", recurringType="REPEATED")
    assert paymentz.post(f"paywithtoken/{token}", by_token).code == "00001"
    assert paymentz.ledger() == [("sale", 999, "booked")] * 2


def test_a_test_chooses_the_references_of_a_card(paymentz: PaymentZ) -> None:
    chosen = {"payment_id": "777", "registration_id": "A" * 32}
    for _ in range(2):
        found = paymentz.on_file("c-1", **chosen)
        assert (found["paymentId"], found["registrationId"]) == ("777", "A" * 32)
    assert paymentz.repeat("777", "r-1").code == "00001"


@pytest.mark.parametrize(
    ("card", "more", "words"),
    [
        (DECLINED, {}, "Transaction declined"),
        (CHALLENGED_DECLINED, {}, "Transaction declined"),
        (GOOD, {"expiry": "01/2020"}, "Expired card"),
        (GOOD, {"declines": "Insufficient funds"}, "Insufficient funds"),
    ],
)
def test_a_card_on_file_may_decline(paymentz: PaymentZ, card: str, more: dict[str, str], words: str) -> None:
    said = paymentz.repeat(paymentz.on_file("c-1", card, **more)["paymentId"], "r-1")
    assert (said.code, said.short, said.json["result"]["description"]) == ("10001", "N", words)


def test_a_card_on_file_may_decline_later(paymentz: PaymentZ) -> None:
    parent = paymentz.on_file("c-1", approvals="2", declines="Insufficient funds")["paymentId"]
    codes = [paymentz.repeat(parent, f"r-{number}").code for number in range(4)]
    assert codes == ["00001", "00001", "10001", "10001"]


def test_many_cards_are_put_on_file_at_once(paymentz: PaymentZ) -> None:
    said = paymentz.profiles(*({"reference": f"c-{number}", "card": GOOD} for number in range(2000)))
    assert said.json()["stored"] == 2000
    assert len({profile["paymentId"] for profile in said.json()["profiles"]}) == 2000


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        ({"card": GOOD}, "profile 2: reference is missing"),
        ({"reference": "x"}, "profile 2: card is missing"),
        ({"reference": "x", "card": "4000000000000052"}, "profile 2: Missing or malformed field: card.number"),
        ({"reference": "x", "card": GOOD, "expiry": "1/30"}, "profile 2: expiry cannot be used"),
        ({"reference": "x", "card": GOOD, "colour": "red"}, "profile 2: unknown key 'colour'"),
        ({"reference": "x", "card": 4}, "profile 2: is not a JSON object of texts"),
    ],
)
def test_one_wrong_profile_stores_none(paymentz: PaymentZ, profile: dict[str, Any], sentence: str) -> None:
    said = paymentz.profiles({"reference": "good", "card": GOOD}, profile)
    assert (said.status_code, said.json()["error"]) == (400, sentence)
    assert paymentz.control("profiles?reference=good")["profiles"] == []


# ---- registered cards


def registered(paymentz: PaymentZ, **more: str) -> Answer:
    fields = {
        name: value for name, value in paymentz.purchase_fields("x").items() if name.startswith(("card", "payment"))
    }
    return paymentz.post("registrations", paymentz.signed(fields | more, GOOD))


def test_a_purchase_registers_its_card_only_when_it_succeeds(paymentz: PaymentZ) -> None:
    declined = paymentz.purchase("t-1", createRegistration="true", **{"card.number": DECLINED})
    assert "registrationId" not in declined.json
    said = paymentz.purchase("t-2", createRegistration="true")
    assert len(said.json["registrationId"]) == 32
    assert paymentz.ask(said.id).json["registrationId"] == said.json["registrationId"]


def test_a_card_registered_twice_for_one_customer_has_one_token(paymentz: PaymentZ) -> None:
    one = {"customer.customerId": "c"}
    first = paymentz.purchase("t-1", createRegistration="true", **one).json["registrationId"]
    assert registered(paymentz, **one).json["registrationId"] == first
    assert registered(paymentz, **{"customer.customerId": "d"}).json["registrationId"] != first
    paymentz.settings(dedupe_tokens=False)
    assert registered(paymentz, **one).json["registrationId"] != first


def test_a_registered_card_is_listed_paid_with_and_deleted(paymentz: PaymentZ) -> None:
    said = registered(paymentz, **{"customer.customerId": "c"})
    assert (said.code, said.json["memberId"], said.json["paymentBrand"]) == ("00001", paymentz.member, "VISA")
    token = said.json["registrationId"]
    listed = paymentz.post("getCardsAndAccounts", paymentz.signed({"customer.customerId": "c"})).json
    assert [(card["registrationId"], card["last4Digits"]) for card in listed["cards"]] == [(token, "0051")]
    paid = paymentz.post(f"paywithtoken/{token}", paymentz.token_fields(token))
    assert (paid.code, paid.json["merchantTransactionId"]) == ("00001", f"RG-{paid.id}")
    other_path = paymentz.token_fields(token, merchantTransactionId="t-1")
    assert paymentz.post(f"registrations/{token}", other_path).json["merchantTransactionId"] == "t-1"
    delete = paymentz.signed({"paymentType": "DL"}, token)
    assert paymentz.post(f"paywithtoken/{token}", delete).json["registrationId"] == token
    for fields in (delete, paymentz.token_fields(token)):
        refused = paymentz.post(f"paywithtoken/{token}", fields)
        assert (refused.code, refused.id) == ("20008", "-")


def test_a_token_may_need_the_security_code_where_the_customer_is_there(paymentz: PaymentZ) -> None:
    paymentz.settings(token_requires_cvv=True)
    token = registered(paymentz).json["registrationId"]
    fields = paymentz.token_fields(token)
    assert paymentz.post(f"paywithtoken/{token}", fields).code == "20001"
    assert paymentz.post(f"paywithtoken/{token}", fields | {"card.cvv": "123"}).code == "00001"
    assert paymentz.post(f"paywithtoken/{token}", fields | {"recurringType": "REPEATED"}).code == "00001"


def test_a_token_payment_with_an_id_used_before_is_a_duplicate(paymentz: PaymentZ) -> None:
    token = registered(paymentz).json["registrationId"]
    fields = paymentz.token_fields(token, merchantTransactionId="t-1")
    first = paymentz.post(f"paywithtoken/{token}", fields)
    again = paymentz.post(f"paywithtoken/{token}", fields)
    assert (again.code, again.id) == ("20006", first.id)
