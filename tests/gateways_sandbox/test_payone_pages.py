"""Tokenization form and script, tokens, hosted checkout, mandates (reference sections 6, 9 and 13)."""

import base64
import hashlib
import re
from typing import Any

import pytest

from tests.gateways_sandbox.payone_wire import CARD, CHALLENGED, DECLINED, RETURN_URL, Payone, location, order, payment
from tests.gateways_sandbox.wire import complaint, eventually, headline

TYPED = {"number": CARD, "expiry": "12/30", "cvc": "123", "holder": "Erika Beispiel"}
IBAN = "DE89370400440532013000"


def opened(payone: Payone, **body: Any) -> Any:
    said = payone.post("hostedtokenizations", body)
    assert said.status == 200
    return said.json


def submitted(payone: Payone, session: Any, **changes: str) -> Any:
    return payone.http.post(session["hostedTokenizationUrl"], data=TYPED | changes).json()


def paid(payone: Payone, session: Any, **card: Any) -> Any:
    given = payment(more={"hostedTokenizationId": session["hostedTokenizationId"]}, **card)
    return payone.post("payments", given)


def test_a_session_leads_from_the_form_to_a_payment(payone: Payone) -> None:
    session = opened(payone, locale="de_DE")
    session_id = session["hostedTokenizationId"]
    assert re.fullmatch(r"[0-9a-f]{32}", session_id)
    assert session["hostedTokenizationUrl"].endswith(f":{session['partialRedirectUrl'].partition(':')[2]}")
    assert payone.get(f"hostedtokenizations/{session_id}").json == {}
    form = payone.http.get(session["hostedTokenizationUrl"])
    assert form.status_code == 200
    assert "x-frame-options" not in form.headers
    assert "Kartennummer" in form.text
    assert paid(payone, session).error == (400, "INVALID_VALUE", "hostedTokenizationId")
    assert submitted(payone, session) == {"success": True, "hostedTokenizationId": session_id}
    assert submitted(payone, session, number="1")["success"]
    found = payone.get(f"hostedtokenizations/{session_id}").json
    token = found["token"]
    assert (found["tokenStatus"], token["isTemporary"], token["paymentProductId"]) == ("CREATED", False, 1)
    without_cvv = token["card"]["data"]["cardWithoutCvv"]
    assert (token["card"]["alias"], without_cvv["expiryDate"]) == ("401200XXXXXX0026", "1230")
    assert without_cvv["cardholderName"] == "Erika Beispiel"
    said = paid(payone, session)
    assert (said.status, said.json["creationOutput"]["token"]) == (201, token["id"])
    assert paid(payone, session).error == (400, "INVALID_VALUE", "hostedTokenizationId")
    assert payone.http.get(session["hostedTokenizationUrl"]).status_code == 410
    assert payone.pay(token["id"]).status == 201


@pytest.mark.parametrize(
    ("session", "typed", "permanent"),
    [
        ({}, {"store_permanently": "false"}, False),
        ({"askConsumerConsent": True}, {}, False),
        ({"askConsumerConsent": True}, {"store": "on", "store_permanently": "false"}, True),
    ],
)
def test_who_stores_the_card_decides_how_long_the_token_lives(
    payone: Payone, session: dict[str, Any], typed: dict[str, str], permanent: bool
) -> None:
    found = opened(payone, **session)
    submitted(payone, found, **typed)
    token = payone.get(f"hostedtokenizations/{found['hostedTokenizationId']}").json["token"]
    assert token["isTemporary"] is not permanent
    assert payone.pay(token["id"]).status == 201
    again = payone.pay(token["id"])
    path = "cardPaymentMethodSpecificInput.token"
    assert again.status == 201 if permanent else again.error == (400, "INVALID_VALUE", path)


def test_an_account_without_stored_cards_has_temporary_tokens_alone(payone: Payone) -> None:
    payone.settings(alias_manager=False, temporary_token_lifetime_s=0.0)
    session = opened(payone)
    submitted(payone, session)
    token = payone.get(f"hostedtokenizations/{session['hostedTokenizationId']}").json["token"]
    assert token["isTemporary"] is True
    assert payone.pay(token["id"]).status == 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": "4012000033330027"}, "Please check the card number."),
        ({"number": "123"}, "Please check the card number."),
        ({"expiry": "13/30"}, "Please check the date until which the card is valid (MM/YY)."),
        ({"expiry": "12/20"}, "Please check the date until which the card is valid (MM/YY)."),
        ({"cvc": "1"}, "Please check the security code."),
        ({"cvc": ""}, "Please check the security code."),
        ({"token": "none"}, "These card details could not be used. Please start again."),
    ],
)
def test_a_failed_submission_ends_the_session(payone: Payone, changes: dict[str, str], message: str) -> None:
    session = opened(payone)
    assert submitted(payone, session, **changes) == {"success": False, "error": {"message": message}}
    assert submitted(payone, session)["success"] is False
    assert payone.get(f"hostedtokenizations/{session['hostedTokenizationId']}").json == {}


def test_stored_cards_are_offered_and_the_unusable_named(payone: Payone) -> None:
    payone.tokens({"token": "t", "card": CARD, "expiry": "1230"}, {"token": "old", "card": CARD, "expiry": "0120"})
    session = opened(payone, tokens="t, old,none")
    assert (session["invalidTokens"], session["expiredCardTokens"]) == (["none"], ["old"])
    form = payone.http.get(session["hostedTokenizationUrl"]).text
    assert '{"t": "401200XXXXXX0026"}' in form
    assert submitted(payone, session, token="t")["success"]
    found = payone.get(f"hostedtokenizations/{session['hostedTokenizationId']}").json
    assert (found["token"]["id"], found["tokenStatus"]) == ("t", "UNCHANGED")


def test_sessions_end_and_unknown_ones_are_missing(payone: Payone) -> None:
    payone.settings(session_lifetime_s=0.0)
    session = opened(payone)
    assert payone.get(f"hostedtokenizations/{session['hostedTokenizationId']}").status == 404
    assert payone.get("hostedtokenizations/none").status == 404
    assert payone.http.get(session["hostedTokenizationUrl"]).status_code == 410
    assert submitted(payone, session)["success"] is False
    assert payone.http.get(f"{session['hostedTokenizationUrl']}x").status_code == 404
    assert payone.post("hostedtokenizations", {"locale": "de_DE_x"}).error == (400, "INVALID_VALUE", "locale")


def test_the_script_may_be_loaded_by_any_shop_and_is_what_its_integrity_says(payone: Payone) -> None:
    session = opened(payone)
    script = payone.http.get(f"{payone.base}/hostedtokenization/js/client/tokenizer.min.js")
    assert script.headers["access-control-allow-origin"] == "*"
    assert session["sri"] == "sha384-" + base64.b64encode(hashlib.sha384(script.content).digest()).decode()
    for word in ("initialize", "useToken", "submitTokenization", "setAmount", "destroy", "validationCallback"):
        assert word in script.text
    assert payone.http.get(f"{payone.base}/hostedtokenization/js/client/form.js").status_code == 200
    payone.settings(session_sri=False)
    assert "sri" not in opened(payone)


def test_tokens_are_made_shown_and_removed(payone: Payone) -> None:
    given = {"cardNumber": CARD, "expiryDate": "1230", "cvv": "123", "cardholderName": "Erika"}
    body = {"paymentProductId": 1, "card": {"data": {"card": given}}}
    made = payone.post("tokens", body)
    assert (made.status, made.json["isNewToken"], made.json["card"]["cardNumber"]) == (201, True, "401200XXXXXX0026")
    known = payone.post("tokens", body)
    assert (known.status, known.json["token"], known.json["isNewToken"]) == (200, made.json["token"], False)
    path = f"tokens/{made.json['token']}"
    assert payone.get(path).json["isTemporary"] is False
    removed = payone.call("DELETE", path, content_type="application/json")
    assert (removed.status, removed.text) == (204, "")
    for method in ("GET", "DELETE"):
        assert payone.call(method, path).error == (404, "UNKNOWN_TOKEN_ID", "tokenId")


@pytest.mark.parametrize(
    ("change", "name"),
    [({"cardNumber": "123"}, "cardNumber"), ({"expiryDate": "0000"}, "expiryDate"), ({"cvv": "12345678"}, "cvv")],
)
def test_no_token_is_made_of_a_wrong_card(payone: Payone, change: dict[str, str], name: str) -> None:
    given = {"cardNumber": CARD, "expiryDate": "1230", "cvv": "123"} | change
    said = payone.post("tokens", {"paymentProductId": 1, "card": {"data": {"card": given}}})
    assert said.error == (400, "INVALID_VALUE", f"card.data.card.{name}")


def test_ten_thousand_test_tokens_are_stored_at_once(payone: Payone) -> None:
    many = [{"token": f"t-{number}", "card": CARD, "expiry": "1230"} for number in range(10_000)]
    answer = payone.tokens(*many)
    assert answer.json() == {"stored": 10_000}
    assert answer.elapsed.total_seconds() < 3
    (shown,) = payone.control("profiles?token=t-9999")["profiles"]
    assert shown["card"]["alias"] == "401200XXXXXX0026"


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ({"card": "123", "expiry": "1230"}, "token 2: cardNumber is wrong"),
        ({"card": CARD, "expiry": "1330"}, "token 2: expiryDate is wrong"),
        ({"card": CARD, "expiry": "1230", "colour": "red"}, "token 2: unknown key 'colour'"),
        (
            {"card": CARD, "expiry": "1230", "token": "a,b"},
            "token 2: token must have at most 50 printable characters and no comma",
        ),
        ("t", "token 2: is not a JSON object of texts"),
    ],
)
def test_one_wrong_test_token_stores_none(payone: Payone, token: Any, sentence: str) -> None:
    answer = payone.tokens({"token": "good", "card": CARD, "expiry": "1230"}, token)
    assert (answer.status_code, answer.json()["error"]) == (400, sentence)
    assert payone.control("profiles?token=good")["profiles"] == []


# ---- hosted checkout


def checkout(payone: Payone, key: str = "", mode: str = "SALE", **specific: Any) -> tuple[str, Any]:
    body = {
        "order": order(),
        "hostedCheckoutSpecificInput": {"returnUrl": RETURN_URL, **specific},
        "cardPaymentMethodSpecificInput": {"authorizationMode": mode},
    }
    said = payone.post("hostedcheckouts", body, key)
    assert said.status == 200
    return str(said.json["redirectUrl"]), said.json


def typed(number: str = CARD, action: str = "pay", cvc: str = "123") -> dict[str, str]:
    return {"number": number, "expiry": "12/30", "cvc": cvc, "action": action}


def test_a_checkout_is_paid_on_its_page(payone: Payone) -> None:
    page, said = checkout(payone, "attempt-9", isRecurring=True)
    fresh = payone.get(f"hostedcheckouts/{said['hostedCheckoutId']}").json
    assert fresh == {"status": "IN_PROGRESS", "createdPaymentOutput": {"paymentStatusCategory": "STATUS_UNKNOWN"}}
    assert payone.get(f"payments/{said['hostedCheckoutId']}_0").status == 404
    back = payone.http.post(page, data=typed())
    assert location(back) == {"o": "1", "hostedCheckoutId": said["hostedCheckoutId"], "RETURNMAC": said["RETURNMAC"]}
    found = payone.get(f"hostedcheckouts/{said['hostedCheckoutId']}").json
    assert (found["status"], found["createdPaymentOutput"]["paymentStatusCategory"]) == (
        "PAYMENT_CREATED",
        "SUCCESSFUL",
    )
    assert found["createdPaymentOutput"]["payment"]["id"] == f"{said['hostedCheckoutId']}_0"
    output = found["createdPaymentOutput"]["payment"]["paymentOutput"]["cardPaymentMethodSpecificOutput"]
    assert payone.get(f"tokens/{output['token']}").status == 200
    assert payone.ledger("attempt-9") == [("sale", 1999, "booked")]
    assert headline(payone.http.get(page)) == "This page is closed"


def test_a_declined_customer_tries_another_card_on_the_same_page(payone: Payone) -> None:
    page, said = checkout(payone)
    again = payone.http.post(page, data=typed(DECLINED))
    assert complaint(again) == "The payment was declined. Please try again or use another card."
    challenged = payone.http.post(page, data=typed(CHALLENGED))
    assert headline(challenged) == "3-D Secure"
    assert payone.http.post(page, data={"action": "refuse"}).status_code == 200
    assert headline(payone.http.post(page, data=typed(CHALLENGED))) == "3-D Secure"
    assert location(payone.http.post(page, data={"action": "confirm"}))["hostedCheckoutId"] == said["hostedCheckoutId"]
    assert payone.ledger() == [("sale", 1999, "declined"), ("sale", 1999, "declined"), ("sale", 1999, "booked")]


def test_tries_on_a_checkout_end_and_customers_may_leave(payone: Payone) -> None:
    page, said = checkout(payone, allowedNumberOfPaymentAttempts=1)
    assert payone.http.post(page, data=typed(DECLINED)).status_code == 303
    found = payone.get(f"hostedcheckouts/{said['hostedCheckoutId']}").json
    assert (found["status"], found["createdPaymentOutput"]["paymentStatusCategory"]) == ("PAYMENT_CREATED", "REJECTED")
    page, said = checkout(payone, locale="de_DE")
    assert headline(payone.http.get(page)) == "Zahlung"
    assert payone.http.post(page, data=typed(action="cancel")).status_code == 303
    assert payone.get(f"hostedcheckouts/{said['hostedCheckoutId']}").json["status"] == "CANCELLED_BY_CONSUMER"
    assert payone.get("hostedcheckouts/1").status == 404


@pytest.mark.parametrize(
    "form", [typed("123"), typed("4012000033330027"), typed(cvc="1"), {**typed(), "expiry": "1"}, {"action": "x"}, {}]
)
def test_what_a_customer_mistypes_costs_nothing(payone: Payone, form: dict[str, str]) -> None:
    page, _ = checkout(payone)
    said = payone.http.post(page, data=form)
    assert said.status_code == 200
    assert bool(complaint(said)) == ("number" in form)
    assert payone.ledger() == []


# ---- mandates


def mandate(**more: Any) -> dict[str, Any]:
    customer = {"bankAccountIban": {"iban": IBAN}, "contactDetails": {"emailAddress": "e@example.org"}}
    named = {"customerReference": "c-1", "recurrenceType": "RECURRING", "signatureType": "UNSIGNED"}
    return {**named, "customer": customer, **more}


def test_a_mandate_pays_until_it_is_blocked_or_revoked(payone: Payone) -> None:
    made = payone.post("mandates", mandate(uniqueMandateReference="m-1"))
    assert (made.status, made.json["mandate"]["status"]) == (201, "ACTIVE")
    assert IBAN not in made.text
    specific = {"paymentProductId": 771, "paymentProduct771SpecificInput": {"existingUniqueMandateReference": "m-1"}}
    body = {"order": order(), "sepaDirectDebitPaymentMethodSpecificInput": specific}
    said = payone.post("payments", body, "debit-1")
    assert (said.status, said.status_code) == (201, 91)
    eventually(lambda: payone.code_of(said.id) == 9)
    assert payone.ledger("debit-1") == [("sale", 1999, "booked")]
    assert payone.operate(said.id, "refund").status == 201
    for what, status in [("block", 200), ("block", 400), ("unblock", 200), ("unblock", 400)]:
        assert payone.post(f"mandates/m-1/{what}").status == status
    for what, status in [("revoke", 200), ("revoke", 400), ("block", 400), ("unblock", 400)]:
        assert payone.post(f"mandates/m-1/{what}").status == status
    assert payone.get("mandates/m-1").json["mandate"]["status"] == "REVOKED"
    assert payone.post("payments", body).status == 400


def test_mandates_are_checked(payone: Payone) -> None:
    wrong = mandate(customer={"bankAccountIban": {"iban": "DE00"}})
    assert payone.post("mandates", wrong).error == (400, "INVALID_VALUE", "customer.bankAccountIban.iban")
    assert payone.post("mandates", {}).error[:2] == (400, "PARAMETER_NOT_FOUND_IN_REQUEST")
    assert payone.get("mandates/none").status == 404
    assert [payone.post(f"mandates/none/{what}").status for what in ("block", "unblock", "revoke")] == [404, 404, 400]
