"""Creating payments (reference sections 7, 11, 14 and 15)."""

from typing import Any

import pytest

from tests.gateways_sandbox.payone_wire import CARD, CHALLENGED, DECLINED, RETURN_URL, Payone, location, order, payment
from tests.gateways_sandbox.wire import eventually

BLOCK = "cardPaymentMethodSpecificInput"
CLEAR = {"cardNumber": CARD, "expiryDate": "1230", "cvv": "123", "cardholderName": "Erika Beispiel"}
SECURE = {"redirectionData": {"returnUrl": RETURN_URL}, "skipAuthentication": False}


def clear(number: str, **card: Any) -> Any:
    return payment(card={**CLEAR, "cardNumber": number}, returnUrl=RETURN_URL, threeDSecure=SECURE, **card)


@pytest.fixture
def shop(payone: Payone) -> Payone:
    payone.tokens(
        {"token": "good", "card": CARD, "expiry": "1230", "holder": "Erika", "first_transaction": "4711000001_0"},
        {"token": "bad", "card": DECLINED, "expiry": "1230"},
        {"token": "soft", "card": "4321450000000068", "expiry": "1230"},
        {"token": "old", "card": CARD, "expiry": "0120"},
    )
    return payone


def test_a_stored_card_is_charged_without_the_customer(shop: Payone) -> None:
    said = shop.pay("good", key="attempt-1", schemeReferenceData="123", authorizationMode="SALE")
    assert (said.status, said.status_code, said.payment["status"]) == (201, 9, "CAPTURED")
    created = {"externalReference": "good", "token": "good", "isNewToken": False, "tokenizationSucceeded": False}
    assert said.json["creationOutput"] == created
    assert "merchantAction" not in said.json
    output = said.payment["paymentOutput"]
    assert output["acquiredAmount"] == {"amount": 1999, "currencyCode": "EUR"}
    card = output["cardPaymentMethodSpecificOutput"]
    assert card["threeDSecureResults"]["eci"] == "9"
    assert card["card"]["cardNumber"] == "************0026"
    assert (card["initialSchemeTransactionId"], len(card["schemeReferenceData"])) == ("123", 12)
    (row,) = shop.rows()
    assert row.pop("at").endswith("Z")
    assert row == {
        "gateway": "payone",
        "reference": "attempt-1",
        "gateway_id": said.id,
        "kind": "sale",
        "amount_minor": 1999,
        "currency": "EUR",
        "state": "booked",
        "profile": "good",
        "merchant_reference": "order-1",
        "merchant_parameters": "",
        "idempotence_key": "attempt-1",
    }


def test_without_a_sale_the_money_is_only_reserved(shop: Payone) -> None:
    said = shop.pay("good")
    assert said.payment["statusOutput"] == {
        "statusCode": 5,
        "statusCategory": "PENDING_MERCHANT",
        "isAuthorized": True,
        "isCancellable": True,
        "isRefundable": False,
    }
    assert shop.ledger() == [("authorisation", 1999, "reserved")]


def test_a_decline_is_a_402_that_carries_the_payment(shop: Payone) -> None:
    said = shop.pay("bad")
    assert (said.status, said.code, said.status_code, said.payment["status"]) == (402, "30051001", 2, "REJECTED")
    assert said.payment["statusOutput"]["errors"][0]["code"] == "9999"
    assert said.payment["paymentOutput"]["acquiredAmount"]["amount"] == 0
    assert shop.code_of(said.id) == 2
    assert shop.ledger() == [("authorisation", 1999, "declined")]


def test_the_amount_that_is_declined_as_a_sale_is_accepted_as_a_reservation(shop: Payone) -> None:
    assert shop.pay("good", 1302, authorizationMode="SALE").code == "30511001"
    assert shop.pay("good", 1302).status == 201
    assert shop.pay("good", 0).status_code == 5


def test_an_expired_card_is_declined_with_its_own_code(shop: Payone) -> None:
    shop.settings(reattempt_instructions=True)
    said = shop.pay("old")
    assert said.code == "30331001"
    output = said.payment["paymentOutput"]["cardPaymentMethodSpecificOutput"]
    assert output["reattemptInstructions"] == {"indicator": "updateBeforeRetry"}


@pytest.mark.parametrize(
    ("number", "http", "code", "eci", "flow"),
    [
        ("4330264936344675", 201, 5, "5", "frictionless"),
        ("4450213273993630", 201, 5, "6", "frictionless"),
        ("4259701590936889", 201, 5, "7", "frictionless"),
        ("4469362473905800", 402, 2, "91", "frictionless"),
        ("4337328333414325", 402, 2, "91", "frictionless"),
        (CARD, 201, 5, "5", "frictionless"),
    ],
)
def test_frictionless_results_decide_at_once(
    payone: Payone, number: str, http: int, code: int, eci: str, flow: str
) -> None:
    said = payone.post("payments", clear(number))
    assert (said.status, said.status_code) == (http, code)
    secure = said.payment["paymentOutput"]["cardPaymentMethodSpecificOutput"]["threeDSecureResults"]
    assert (secure["eci"], secure["flow"]) == (eci, flow)
    if code == 2:
        assert [e["errorCode"] for e in said.json["errors"]] == ["40001134", "50001111"]


@pytest.mark.parametrize(
    ("number", "action", "code", "eci"),
    [
        (CHALLENGED, "confirm", 5, "5"),
        (CHALLENGED, "refuse", 2, "91"),
        ("4839645466321180", "confirm", 5, "6"),
        ("5148904639667695", "confirm", 5, "7"),
        ("4450022237973103", "confirm", 2, "91"),
    ],
)
def test_a_challenge_is_answered_on_a_page_and_the_customer_sent_back(
    payone: Payone, number: str, action: str, code: int, eci: str
) -> None:
    said = payone.post("payments", clear(number))
    assert (said.status, said.status_code, said.payment["status"]) == (201, 46, "REDIRECTED")
    action_given = said.json["merchantAction"]
    assert action_given["actionType"] == "REDIRECT"
    page = action_given["redirectData"]["redirectURL"]
    assert page.startswith(f"{payone.base}/v1/redirect/handlerequest/")
    assert payone.ledger() == []
    shown = payone.http.get(page)
    assert (shown.status_code, shown.headers["x-frame-options"]) == (200, "DENY")
    assert "19.99 EUR" in shown.text
    back = payone.http.post(page, data={"action": action})
    assert back.headers["location"].startswith(f"{RETURN_URL}&")
    assert location(back) == {
        "o": "1",
        "paymentId": said.id,
        "RETURNMAC": action_given["redirectData"]["RETURNMAC"],
    }
    details = payone.get(f"payments/{said.id}/details")
    assert (details.status, details.status_code) == (200, code)
    secure = details.payment["paymentOutput"]["cardPaymentMethodSpecificOutput"]["threeDSecureResults"]
    assert (secure["eci"], secure["flow"]) == (eci, "challenge")
    if code == 2:
        assert details.payment["statusOutput"]["errors"][0]["id"] == "AUTHENTICATION_FAILURE"
    assert payone.http.post(page, data={"action": "confirm"}).status_code == 410
    assert len(payone.ledger()) == 1


def test_a_challenge_nobody_answers_ends_as_failed(payone: Payone) -> None:
    payone.settings(challenge_lifetime_s=0.05)
    said = payone.post("payments", clear(CHALLENGED))
    assert eventually_code(payone, said.id, 2)
    assert payone.get(f"payments/{said.id}").payment["statusOutput"]["errors"][0]["errorCode"] == "40001134"


def eventually_code(payone: Payone, payment_id: str, code: int) -> bool:
    return bool(eventually(lambda: payone.code_of(payment_id) == code))


@pytest.mark.parametrize(
    "card",
    [
        {"threeDSecure": {**SECURE, "skipAuthentication": True}},
        {"transactionChannel": "MOTO"},
        {"unscheduledCardOnFileRequestor": "merchantInitiated"},
    ],
)
def test_some_payments_are_never_challenged(payone: Payone, card: dict[str, Any]) -> None:
    body = clear(CHALLENGED)
    body[BLOCK] |= card
    assert payone.post("payments", body).status_code == 5


def test_a_challenge_can_be_required_of_any_card(shop: Payone) -> None:
    required = {**SECURE, "challengeIndicator": "challenge-required"}
    said = shop.post("payments", payment(token="good", threeDSecure=required))
    assert said.status_code == 46
    assert "token" not in said.json["creationOutput"]


def test_an_issuer_declines_after_the_challenge_it_asked_for(shop: Payone) -> None:
    required = {**SECURE, "challengeIndicator": "challenge-required"}
    said = shop.post("payments", payment(token="bad", threeDSecure=required))
    shop.http.post(said.json["merchantAction"]["redirectData"]["redirectURL"], data={"action": "confirm"})
    found = shop.get(f"payments/{said.id}").payment["statusOutput"]
    assert (found["statusCode"], found["errors"][0]["errorCode"]) == (2, "30051001")


def test_a_soft_decline_ends_when_the_customer_has_authenticated(shop: Payone) -> None:
    assert shop.pay("soft").code == "40001139"
    skipping = payment(token="soft", threeDSecure={**SECURE, "skipSoftDecline": True})
    assert shop.post("payments", skipping).code == "40001139"
    said = shop.post("payments", payment(token="soft", threeDSecure=SECURE))
    assert said.status_code == 46
    shop.http.post(said.json["merchantAction"]["redirectData"]["redirectURL"], data={"action": "confirm"})
    assert shop.code_of(said.id) == 5
    assert shop.pay("soft").status_code == 5


def test_an_account_may_insist_that_the_first_payment_is_cited(shop: Payone) -> None:
    shop.settings(mit_without_reference="soft_decline")
    assert shop.pay("good").code == "40001139"
    assert shop.pay("good", schemeReferenceData="123456789012").status == 201


def test_the_first_of_a_subscription_makes_a_token_by_itself(payone: Payone) -> None:
    first = {"isRecurring": True, "recurring": {"recurringPaymentSequenceIndicator": "first"}}
    said = payone.post("payments", clear(CARD, **first))
    created = said.json["creationOutput"]
    assert (created["isNewToken"], created["tokenizationSucceeded"]) == (True, True)
    later = payone.post("payments", payment(token=created["token"], isRecurring=True, transactionChannel="ECOMMERCE"))
    assert later.payment["paymentOutput"]["cardPaymentMethodSpecificOutput"]["threeDSecureResults"]["eci"] == "9"
    challenged = payone.post("payments", clear(CHALLENGED, tokenize=True))
    page = challenged.json["merchantAction"]["redirectData"]["redirectURL"]
    payone.http.post(page, data={"action": "confirm"})
    output = payone.get(f"payments/{challenged.id}/details").payment["paymentOutput"]
    assert payone.get(f"tokens/{output['cardPaymentMethodSpecificOutput']['token']}").status == 200


def test_a_later_payment_needs_only_the_first(shop: Payone) -> None:
    first = shop.pay("good").id
    body = {"order": order(500), "subsequentcardPaymentMethodSpecificInput": {"subsequentType": "Recurring"}}
    for earlier in (first, "4711000001_0"):
        said = shop.post(f"payments/{earlier}/subsequent", body)
        assert (said.status, said.status_code) == (201, 5)
    assert shop.post("payments/4700009999_0/subsequent", body).error[:2] == (404, "UNKNOWN_PAYMENT_ID")
    negative = shop.post(f"payments/{first}/subsequent", {"order": order(-1)})
    assert negative.error == (400, "INVALID_VALUE", "order.amountOfMoney.amount")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"order": None}, (400, "PARAMETER_NOT_FOUND_IN_REQUEST", "order")),
        ({"order": {}}, (400, "PARAMETER_NOT_FOUND_IN_REQUEST", "order.amountOfMoney")),
        ({"order": []}, (400, "INVALID_DATA", "order")),
        ({"order": order(-1)}, (400, "INVALID_VALUE", "order.amountOfMoney.amount")),
        ({"order": order(10**12)}, (400, "INVALID_VALUE", "order.amountOfMoney.amount")),
        ({"order": order(19.99)}, (400, "INVALID_DATA", "order.amountOfMoney.amount")),
        ({"order": order(True)}, (400, "INVALID_DATA", "order.amountOfMoney.amount")),
        ({"order": order(1, "x" * 41)}, (400, "INVALID_VALUE", "order.references.merchantReference")),
        (
            {"order": {"amountOfMoney": {"amount": 1, "currencyCode": "EURO"}}},
            (400, "INVALID_VALUE", "order.amountOfMoney.currencyCode"),
        ),
        ({BLOCK: None}, (400, "PARAMETER_NOT_FOUND_IN_REQUEST", BLOCK)),
        ({BLOCK: {}}, (400, "PARAMETER_NOT_FOUND_IN_REQUEST", f"{BLOCK}.token")),
        ({BLOCK: {"token": "none"}}, (404, "UNKNOWN_TOKEN_ID", f"{BLOCK}.token")),
        ({BLOCK: {"token": "good", "tokenize": True}}, (400, "INVALID_VALUE", f"{BLOCK}.tokenize")),
        ({BLOCK: {"token": "good", "card": CLEAR}}, (400, "INVALID_VALUE", f"{BLOCK}.card")),
        ({BLOCK: {"token": "good", "authorizationMode": "TAKE"}}, (400, "INVALID_VALUE", f"{BLOCK}.authorizationMode")),
        ({BLOCK: {"token": "good", "returnUrl": "/back"}}, (400, "INVALID_VALUE", f"{BLOCK}.returnUrl")),
        (
            {BLOCK: {"token": "good", "threeDSecure": {"redirectionData": {}}}},
            (400, "PARAMETER_NOT_FOUND_IN_REQUEST", f"{BLOCK}.threeDSecure.redirectionData.returnUrl"),
        ),
        (
            {BLOCK: {"token": "good", "isRecurring": True, "unscheduledCardOnFileRequestor": "merchantInitiated"}},
            (400, "INVALID_VALUE", f"{BLOCK}.unscheduledCardOnFileRequestor"),
        ),
        (
            {BLOCK: {"token": "good", "paymentProductId": 3}},
            (400, "CARDNUMBER_PAYMENTPRODUCTID_MISMATCH", f"{BLOCK}.paymentProductId"),
        ),
        (
            {BLOCK: {"token": "good", "paymentProductId": 999}},
            (400, "UNKNOWN_PRODUCT_ID", f"{BLOCK}.paymentProductId"),
        ),
        ({BLOCK: {"card": {**CLEAR, "cardNumber": "123"}}}, (400, "INVALID_VALUE", f"{BLOCK}.card.cardNumber")),
        (
            {BLOCK: {"card": {**CLEAR, "cardNumber": "4444333322221111"}}},
            (400, "INVALID_VALUE", f"{BLOCK}.card.cardNumber"),
        ),
        ({"hostedTokenizationId": "0" * 32, BLOCK: {}}, (400, "INVALID_VALUE", "hostedTokenizationId")),
        ({"feedbacks": {"webhooksUrls": ["x"]}}, (400, "INVALID_VALUE", "feedbacks.webhooksUrls[0]")),
    ],
)
def test_what_cannot_be_accepted_is_refused_by_name(
    shop: Payone, change: dict[str, Any], error: tuple[int, str, str]
) -> None:
    said = shop.post("payments", payment(token="good") | change)
    assert said.error == error
    assert said.json["status"] == error[0]
    assert shop.ledger() == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000, b'{"a": NaN', b"<xml/>"])
def test_a_body_that_is_no_object_is_refused(payone: Payone, body: bytes) -> None:
    assert payone.post("payments", body).error[:2] == (400, "SCHEMA_VALIDATION_FAILED")


def test_types_are_read_with_tolerance_and_strange_fields_ignored(shop: Payone) -> None:
    device = {"browserData": {"colorDepth": "24", "javaEnabled": "false", "screenHeight": 1080}}
    customer = {"device": device, "contactDetails": {"emailAddress": "e" * 100}, "nickname": [1]}
    body = payment(
        token="good", isRecurring="true", more={"order": order("1999", customer=customer), "extra": {"a": 1}}
    )
    said = shop.post("payments", body)
    assert said.status == 201
    assert said.payment["paymentOutput"]["amountOfMoney"]["amount"] == 1999


def test_no_card_number_is_kept_or_told(payone: Payone) -> None:
    said = payone.post("payments", clear(CARD, tokenize=True))
    token = said.json["creationOutput"]["token"]
    everything = said.text + payone.get(f"tokens/{token}").text + str(payone.control("log")) + str(payone.rows())
    assert CARD not in everything
    assert "401200XXXXXX0026" in everything


def test_ids_come_in_two_forms_and_are_found_in_each(shop: Payone) -> None:
    shop.settings(id_format="digits")
    said = shop.pay("good")
    assert (len(said.id), said.id[:6], said.id[-3:]) == (19, "900000", "000")
    number = said.id[6:16]
    for form in (said.id, number, f"{number}_0"):
        assert shop.code_of(form) == 5
    shop.operate(said.id, "capture")
    assert shop.get(f"payments/{said.id}").id == said.id
    assert [row["gateway_id"][-3:] for row in shop.rows()] == ["000", "001"]
    for strange in (f"{number}_7", "1", "9999999999_0", "x", f"{number}_"):
        assert shop.get(f"payments/{strange}").error == (404, "UNKNOWN_PAYMENT_ID", "paymentId")
