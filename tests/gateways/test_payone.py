from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from billing.gateway import (
    Address,
    AfterNothing,
    Approved,
    Booked,
    CardForm,
    Checkout,
    ConfigurationError,
    DeclineClass,
    Declined,
    Mandate,
    MisuseError,
    NotSent,
    OperationKind,
    Outcome,
    Payout,
    Pending,
    ProfileNews,
    ProfileReference,
    Refused,
    ReturnUrls,
    Unknown,
)
from billing.money import Money
from gateways.payone import REPEATABLE_S, Payone
from gateways.payone_answers import family, head
from gateways.payone_cards import StoredCard
from gateways.payone_codes import CODES, DECLINES, DOUBTS, INSTRUCTIONS, REFUSALS, Meaning, decline_class
from gateways.payone_json import UnreadableError
from tests.gateways.payone_samples import (
    BOOKED,
    CHARGE,
    CHECKOUT,
    CREDENTIALS,
    FORM_ID,
    KNOWN,
    PAYMENT_ID,
    PROFILE,
    QUESTION,
    TOKEN,
    answering,
    body,
    created,
    declined,
    error,
    failure,
    gateway,
    made,
    money,
    operation,
    present,
    state,
)
from tests.gateways.samples import AMOUNT, NOTIFY, PAYER, RETURNS, Wire
from tests.gateways.sockets import refusing

PART = Money(1000, "EUR")
CARD = {
    "token": TOKEN,
    "paymentProductId": 3,
    "schemeReferenceData": "997766554433",
    "card": {"cardNumber": "************1111", "expiryDate": "0230"},
}
STORED = ProfileNews(
    TOKEN, "", "card", "MASTERCARD", "1111", date(2030, 2, 28), Mandate("", None, PAYMENT_ID, "997766554433")
)


async def charged(content: bytes, status: int = 201, **config: str) -> Outcome:
    return await gateway(answering(content, status), **config).charge(CHARGE)


async def found(values: object, status: int = 200, **question: Any) -> Outcome:
    return await gateway(answering(body(values), status)).find(replace(KNOWN, **question))


def sent(wire: Wire) -> dict[str, Any]:
    [request] = wire.requests
    loaded: dict[str, Any] = json.loads(request.content)
    return loaded


async def sent_by(call: Callable[[Payone], Awaitable[object]], **config: str) -> dict[str, Any]:
    wire = answering(b"{}")
    await call(gateway(wire, **config))
    return sent(wire)


# --- a charge: what counts as yes -----------------------------------------------------------------


async def test_a_captured_payment_is_money() -> None:
    assert await charged(created(9)) == Approved(PAYMENT_ID, AMOUNT)


@pytest.mark.parametrize("code", [5, 56])
async def test_an_authorised_payment_is_only_reserved(code: int) -> None:
    assert await charged(created(code, "PENDING_CAPTURE")) == Approved(PAYMENT_ID, AMOUNT, captured=False)


@pytest.mark.parametrize("code", [91, 92, 99, 4])
async def test_a_capture_under_way_is_not_yet_money(code: int) -> None:
    outcome = await charged(created(code, "CAPTURE_REQUESTED"))
    assert isinstance(outcome, Pending)
    assert (outcome.gateway_id, outcome.redirect) == (PAYMENT_ID, "")


@pytest.mark.parametrize("code", CODES)
async def test_every_status_code_has_one_meaning(code: int) -> None:
    meaning, names = CODES[code]
    outcome = await charged(created(code, names[0]))
    kinds = {
        Meaning.OPEN: Pending,
        Meaning.FAILED: Declined,
        Meaning.RESERVED: Approved,
        Meaning.PAID: Approved,
        Meaning.RELEASED: Approved,
        Meaning.REFUNDED: Approved,
    }
    assert isinstance(outcome, kinds[meaning])
    if isinstance(outcome, Approved):
        assert outcome.captured == (meaning in (Meaning.PAID, Meaning.REFUNDED))
        assert (outcome.undone is not None) == (meaning in (Meaning.RELEASED, Meaning.REFUNDED))


async def test_a_code_nobody_knows_is_read_by_its_name_where_that_is_plain() -> None:
    assert await charged(created(98, "CAPTURED")) == Approved(PAYMENT_ID, AMOUNT)
    assert isinstance(await charged(created(98, "REDIRECTED")), Pending)
    assert isinstance(await charged(created(98, "REJECTED")), Unknown)


@pytest.mark.parametrize("values", [made(9, amount="1"), {**made(9), "new": [1, {"a": None}], "sessionDetails": None}])
async def test_unknown_fields_change_nothing(values: dict[str, Any]) -> None:
    answer: dict[str, Any] = {"creationOutput": {"isNewToken": False}, "x": [[]], "payment": values}
    answer["merchantAction"] = None
    assert await charged(body(answer)) == Approved(PAYMENT_ID, AMOUNT)


async def test_numbers_written_as_text_are_numbers() -> None:
    answer = made(9)
    answer["statusOutput"]["statusCode"] = "9"
    answer["paymentOutput"]["amountOfMoney"]["amount"] = "2500"
    assert await charged(body({"payment": answer})) == Approved(PAYMENT_ID, AMOUNT)


async def test_money_that_is_not_ours_is_told_as_the_money_it_is() -> None:
    answer = made(9)
    answer["paymentOutput"]["amountOfMoney"] = money(1, "CHF")
    assert await charged(body({"payment": answer})) == Approved(PAYMENT_ID, Money(1, "CHF"))


async def test_the_payment_is_named_by_its_first_number_in_either_format() -> None:
    assert await charged(created(9, id="4454999290_2")) == Approved(PAYMENT_ID, AMOUNT)
    assert await charged(created(9, id="9000004454999290001")) == Approved("9000004454999290000", AMOUNT)
    assert family("9000004454999290001") == family("4454999290_1") == ("4454999290", 1)
    assert family("9000014454999290012") == ("14454999290", 12)
    assert head("9000014454999290012") == "9000014454999290000"


@pytest.mark.parametrize("number", ["", "_", "x_0", "1_", "12", "1_0_0", "\u0663_0", "9" * 20])
def test_anything_else_is_no_payment_number(number: str) -> None:
    with pytest.raises(UnreadableError):
        family(number)


# --- what counts as no ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [402, 400, 201])
@pytest.mark.parametrize("code", DECLINES)
async def test_every_decline_has_a_class_whatever_status_carries_it(code: str, status: int) -> None:
    assert await charged(declined(code), status) == Declined(code, DECLINES[code], "", PAYMENT_ID)


async def test_the_first_reason_we_know_counts() -> None:
    outcome = await charged(declined("50001111", "40001134", "30511001"), 402)
    assert outcome == Declined("40001134", DeclineClass.NEEDS_CUSTOMER, "", PAYMENT_ID)


@pytest.mark.parametrize("codes", [(), ("50001111",), ("99999999",)])
async def test_a_no_without_a_reason_we_know_is_tried_again_later(codes: tuple[str, ...]) -> None:
    outcome = await charged(declined(*codes), 402)
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.RETRY_LATER
    assert outcome.code == (codes[0] if codes else "REJECTED")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("30001100", DeclineClass.NEVER),
        ("30001180", DeclineClass.NEVER),
        ("30001181", None),
        ("30341001", DeclineClass.NEVER),
        ("30651001", DeclineClass.NEEDS_CUSTOMER),
        ("30611001", DeclineClass.RETRY_LATER),
        ("3061100", None),
        ("", None),
    ],
)
def test_codes_that_no_list_names_are_read_by_their_pattern(code: str, expected: DeclineClass | None) -> None:
    assert decline_class(code) is expected


@pytest.mark.parametrize("indicator", INSTRUCTIONS)
async def test_the_networks_instruction_overrules_the_list(indicator: str) -> None:
    card = {"reattemptInstructions": {"indicator": indicator, "frozenPeriod": 24}}
    outcome = await charged(declined("30511001", card=card), 402)
    assert outcome == Declined("30511001", INSTRUCTIONS[indicator], "", PAYMENT_ID)


@pytest.mark.parametrize("code", ["40001139", "50001087"])
async def test_a_bank_that_wants_the_customer_gets_no_second_silent_try(code: str) -> None:
    card = {"reattemptInstructions": {"indicator": "retryLater"}}
    outcome = await charged(declined(code, card=card), 402)
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_CUSTOMER


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_reason_in_the_merchants_account_is_not_held_against_the_customer(code: str) -> None:
    assert await charged(declined(code), 402) == Refused(code, REFUSALS[code], PAYMENT_ID)


@pytest.mark.parametrize("code", DOUBTS)
async def test_an_order_that_may_be_paid_already_is_a_doubt(code: str) -> None:
    outcome = await charged(declined("30511001", code), 402)
    assert isinstance(outcome, Unknown)
    assert outcome.gateway_id == PAYMENT_ID


@pytest.mark.parametrize("code", ["9007", "9002", "anything"])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejection_of_our_key_stops_the_account(code: str, status: int) -> None:
    outcome = await charged(failure(error(code, "ACCESS_TO_MERCHANT_NOT_ALLOWED")), status)
    assert isinstance(outcome, Refused)
    assert outcome.code == "ACCESS_TO_MERCHANT_NOT_ALLOWED"
    assert all(CREDENTIALS[name] not in outcome.reason for name in CREDENTIALS if "secret" in name)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("order.amountOfMoney.amount", None),
        ("cardPaymentMethodSpecificInput.returnUrl", None),
        ("cardPaymentMethodSpecificInput.tokenize", None),
        ("", None),
        ("hostedTokenizationId", DeclineClass.NEEDS_CUSTOMER),
        ("cardPaymentMethodSpecificInput.card.cvv", DeclineClass.NEEDS_CUSTOMER),
        ("cardPaymentMethodSpecificInput.token", DeclineClass.NEEDS_NEW_PROFILE),
    ],
)
async def test_a_rejected_field_is_ours_unless_the_customer_filled_it(
    field: str, expected: DeclineClass | None
) -> None:
    outcome = await charged(failure(error("50001111", "INVALID_VALUE", field)), 400)
    if expected is None:
        assert isinstance(outcome, Refused)
    else:
        assert isinstance(outcome, Declined)
        assert outcome.decline is expected


async def test_what_is_on_file_of_a_customer_is_their_matter_only_when_they_pay_themselves() -> None:
    """By night it is a person's task, and nobody is mailed; a single customer's row stops no account."""
    said = failure(error("50001111", "INVALID_VALUE", "order.customer.contactDetails.emailAddress"))
    away = await charged(said, 400)
    assert isinstance(away, NotSent)
    assert away.lasting
    assert "emailAddress" in away.reason
    there = await gateway(answering(said, 400)).charge_present(present())
    assert isinstance(there, Declined)
    assert there.decline is DeclineClass.NEEDS_CUSTOMER


async def test_one_mistake_of_ours_among_the_customers_is_our_mistake() -> None:
    both = failure(error("1", "INVALID_VALUE", "order.customer"), error("1", "INVALID_VALUE", "order.amountOfMoney"))
    assert isinstance(await charged(both, 400), Refused)


async def test_a_token_that_is_gone_needs_a_new_profile() -> None:
    outcome = await charged(failure(error("1", "UNKNOWN_TOKEN_ID", "cardPaymentMethodSpecificInput.token")), 404)
    assert outcome == Declined("UNKNOWN_TOKEN_ID", DeclineClass.NEEDS_NEW_PROFILE)


@pytest.mark.parametrize(("status", "content"), [(404, b""), (404, b"\n"), (405, b"<html>"), (413, b""), (415, b"")])
async def test_an_address_without_a_service_behind_it_is_our_mistake(status: int, content: bytes) -> None:
    assert isinstance(await charged(content, status), Refused)


# --- what says nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["1409", "30001002"])
async def test_a_first_request_that_still_runs_is_a_doubt_and_not_a_no(code: str) -> None:
    outcome = await charged(failure(error(code)), 409)
    assert isinstance(outcome, Unknown)
    assert "first request" in outcome.reason


@pytest.mark.parametrize("status", [409, 410, 429, 500, 502, 503])
@pytest.mark.parametrize("retriable", [True, False])
async def test_a_failure_of_the_platform_is_a_doubt_even_where_it_calls_itself_retriable(
    status: int, retriable: bool
) -> None:
    assert isinstance(await charged(failure(error("30511001", retriable=retriable)), status), Unknown)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"<html>",
        b"\xff",
        b"{" * 100000,
        b'{"payment":' * 50000,
        b'{"payment":{"id":"4454999290_0"}}',
        b'{"payment":[]}',
        b'{"payment":null}',
        created(9)[:-1],
        created(9)[:-2] + b',"id":"4454999290_0"}}',
        created(9, id="77"),
        created(9, id=""),
        created(9, "REJECTED"),
        created(2, "CAPTURED"),
        created(98, "SOMETHING_NEW"),
        created(98, ""),
        created(9, statusOutput={"statusCode": True}),
        created(9, statusOutput={"statusCode": 9.0}),
        created(9, statusOutput={"statusCode": "9 "} | {"statusCode": "nine"}),
        created(9, statusOutput=[]),
        body({"payment": {**made(9), "status": ["CAPTURED"]}}),
        created(9, paymentOutput={}),
        created(9, paymentOutput={"amountOfMoney": {"amount": 2500}}),
        created(9, paymentOutput={"amountOfMoney": {"amount": -1, "currencyCode": "EUR"}}),
        created(9, paymentOutput={"amountOfMoney": {"amount": 25.0, "currencyCode": "EUR"}}),
        created(9, paymentOutput={"amountOfMoney": {"amount": 2500, "currencyCode": "EURO"}}),
        created(9, mark="key=T-2"),
        body({"payment": made(9), "merchantAction": {"actionType": "REDIRECT"}}),
        body({"payment": made(46, "REDIRECTED"), "merchantAction": {"actionType": "SHOW_FORM"}}),
        body({"payment": made(46, "REDIRECTED"), "merchantAction": {"actionType": "REDIRECT"}}),
        body(
            {
                "payment": made(46, "REDIRECTED"),
                "merchantAction": {"actionType": "REDIRECT", "redirectData": {"redirectURL": "javascript:x"}},
            }
        ),
        body(
            {
                "payment": made(46, "REDIRECTED"),
                "merchantAction": {"actionType": "REDIRECT", "redirectData": {"redirectURL": "https://["}},
            }
        ),
    ],
)
async def test_an_incomplete_or_contradictory_answer_says_nothing(content: bytes) -> None:
    assert isinstance(await charged(content), Unknown)


@pytest.mark.parametrize("status", [400, 402, 500])
async def test_a_yes_under_an_error_status_says_nothing(status: int) -> None:
    assert isinstance(await charged(created(9), status), Unknown)
    assert isinstance(await charged(created(46, "REDIRECTED"), status), Unknown)


@pytest.mark.parametrize("status", [400, 402, 403, 404])
@pytest.mark.parametrize(
    "content", [b"{}", b'{"errors":[]}', b"<html>blocked</html>", b'{"errors":{}}', b'{"errors":[1]}']
)
async def test_a_no_without_any_reason_says_nothing(content: bytes, status: int) -> None:
    assert isinstance(await charged(content, status), Unknown)


async def test_a_lost_answer_is_a_doubt_and_is_not_asked_for_again() -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("nothing came")

    wire = Wire(lost)
    assert isinstance(await gateway(wire).charge(CHARGE), Unknown)
    assert len(wire.requests) == 1


async def test_a_refused_connection_sent_nothing() -> None:
    with refusing() as address:
        account = gateway(None, endpoint=address.removesuffix("/door"))  # type: ignore[arg-type]
        assert isinstance(await account.charge(CHARGE), NotSent)
        await account.close()


@settings(deadline=None, max_examples=40)
@given(st.binary(min_size=1).filter(bytes.strip), st.sampled_from([200, 201, 400, 402, 403, 404, 409, 500]))
async def test_no_answer_breaks_the_adapter_and_none_invents_money(content: bytes, status: int) -> None:
    for outcome in await everything(content, status):
        assert isinstance(outcome, Unknown | Refused)


FIELDS_SEEN = {
    "payment", "paymentResult", "id", "status", "statusOutput", "statusCode", "errors", "errorCode", "paymentOutput",
    "amountOfMoney", "amount", "currencyCode", "Operations", "merchantAction", "token", "references", "errorId",
    "merchantParameters", "hostedCheckoutId", "createdPaymentOutput", "propertyName", "refundOutput",
}  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["CAPTURED", PAYMENT_ID, 9, 8]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(sorted(FIELDS_SEEN)), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([200, 201, 400, 402, 403, 404, 409, 500]))
async def test_no_json_breaks_the_adapter(data: st.DataObject, status: int) -> None:
    content = body(data.draw(st.dictionaries(st.sampled_from(sorted(FIELDS_SEEN)), values, max_size=6)))
    for outcome in await everything(content, status):
        assert isinstance(outcome, Outcome | Checkout | StoredCard | CardForm)


async def everything(content: bytes, status: int) -> list[object]:
    """Give one answer to every verb."""
    with capture_logs():
        return await verbs(gateway(answering(content, status)))


async def verbs(account: Payone) -> list[object]:
    refund = replace(KNOWN, operation=OperationKind.REFUND, operation_key="R-1")
    return [
        await account.charge(CHARGE),
        await account.charge_present(present()),
        await account.open_checkout(CHECKOUT),
        await account.find(KNOWN),
        await account.find(refund),
        await account.find(replace(KNOWN, gateway_id="4454999290")),
        await account.capture(BOOKED, PART, "C-1"),
        await account.reverse(BOOKED, "V-1"),
        await account.refund(BOOKED, PART, "R-1"),
        await account.forget(PROFILE),
        await account.open_card_form(PAYER),
        await account.read_token_form(FORM_ID),
    ]


@settings(deadline=None)
@given(st.data())
async def test_a_damaged_answer_never_becomes_another_decision(data: st.DataObject) -> None:
    whole = created(9)
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    outcome = await charged(whole[:start] + whole[end:])
    assert isinstance(outcome, Approved | Unknown)


# --- a customer who is away ---------------------------------------------------------------------------


async def test_a_charge_cites_the_payment_that_began_the_series_and_asks_nobody() -> None:
    card = (await sent_by(lambda g: g.charge(CHARGE)))["cardPaymentMethodSpecificInput"]
    assert card == {
        "authorizationMode": "SALE",
        "transactionChannel": "ECOMMERCE",
        "token": TOKEN,
        "unscheduledCardOnFileRequestor": "merchantInitiated",
        "unscheduledCardOnFileSequenceIndicator": "subsequent",
        "schemeReferenceData": "123456789012",
        "threeDSecure": {"skipAuthentication": True, "skipSoftDecline": True},
    }


async def test_a_scheduled_series_uses_its_own_words_and_never_both() -> None:
    for call in (lambda g: g.charge(CHARGE), lambda g: g.charge_present(present(PROFILE))):
        card = (await sent_by(call, series="recurring"))["cardPaymentMethodSpecificInput"]
        assert card["isRecurring"] is True
        assert not any(name.startswith("unscheduled") for name in card)
        place = card["recurring"]["recurringPaymentSequenceIndicator"]
        assert place == ("recurring" if "token" in card else "first")


async def test_an_account_that_captures_later_only_reserves() -> None:
    card = (await sent_by(lambda g: g.charge(CHARGE), automatic_capture="no"))["cardPaymentMethodSpecificInput"]
    assert card["authorizationMode"] == "FINAL_AUTHORIZATION"


async def test_the_order_keeps_its_reference_and_each_try_has_its_own_key() -> None:
    wire = answering(b"{}")
    account = gateway(wire)
    await account.charge(CHARGE)
    await account.charge(replace(CHARGE, key="T-2"))
    first, second = (json.loads(request.content)["order"]["references"] for request in wire.requests)
    assert first["merchantReference"] == second["merchantReference"] == "INV-2025-11"
    assert (first["merchantParameters"], second["merchantParameters"]) == ("key=T-1", "key=T-2")
    assert [request.headers["x-gcs-idempotence-key"] for request in wire.requests] == ["T-1", "T-2"]


async def test_the_same_charge_again_is_the_same_request() -> None:
    wire = answering(b"{}")
    account = gateway(wire)
    await account.charge(CHARGE)
    await account.charge(CHARGE)
    first, second = wire.requests
    assert first.content == second.content
    assert first.headers["x-gcs-idempotence-key"] == second.headers["x-gcs-idempotence-key"]


async def test_a_challenge_nobody_can_answer_is_waited_for_without_an_address() -> None:
    assert await charged(created(46, "REDIRECTED")) == Pending(
        PAYMENT_ID, evidence="PAYONE reports the state REDIRECTED"
    )


async def test_every_event_of_the_payment_comes_to_its_own_address() -> None:
    assert (await sent_by(lambda g: g.charge(CHARGE)))["feedbacks"] == {"webhooksUrls": [NOTIFY]}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            Address("Hauptstr. 1\n", "1010", "Wien", "at"),
            {"street": "Hauptstr. 1", "zip": "1010", "city": "Wien", "countryCode": "AT"},
        ),
        (Address(street="x" * 60, country="AUT"), {"street": "x" * 50}),
        (Address(), None),
    ],
)
async def test_an_address_is_cut_to_what_fits_and_left_out_where_it_says_nothing(
    address: Address, expected: dict[str, str] | None
) -> None:
    charge = replace(CHARGE, payer=replace(PAYER, address=address))
    customer = (await sent_by(lambda g: g.charge(charge)))["order"]["customer"]
    assert customer.get("billingAddress") == expected
    assert customer["contactDetails"] == {"emailAddress": "jenny@example.com"}


@pytest.mark.parametrize(
    ("language", "expected"), [("de-AT", "de_AT"), ("de", "de_DE"), ("en", "en_GB"), ("xx", None), ("deutsch", None)]
)
async def test_a_language_is_written_as_the_platform_writes_it(language: str, expected: str | None) -> None:
    charge = replace(CHARGE, payer=replace(PAYER, language=language))
    assert (await sent_by(lambda g: g.charge(charge)))["order"]["customer"].get("locale") == expected


# --- a customer who is there ------------------------------------------------------------------------


async def test_a_card_from_the_frame_pays_and_may_lead_to_the_bank() -> None:
    action = {"actionType": "REDIRECT", "redirectData": {"RETURNMAC": "0", "redirectURL": "https://b.example/x"}}
    answer = body({"merchantAction": action, "payment": made(46, "REDIRECTED")})
    outcome = await gateway(answering(answer)).charge_present(present())
    assert outcome == Pending(PAYMENT_ID, redirect="https://b.example/x", until_s=1800)


async def test_a_card_that_is_to_be_kept_is_authenticated_and_begins_a_series() -> None:
    request = await sent_by(lambda g: g.charge_present(present(PROFILE)))
    card = request["cardPaymentMethodSpecificInput"]
    assert request["hostedTokenizationId"] == FORM_ID
    assert request["order"]["references"]["merchantParameters"] == "key=T-1&store=yes"
    assert (card["unscheduledCardOnFileRequestor"], card["unscheduledCardOnFileSequenceIndicator"]) == (
        "cardholderInitiated",
        "first",
    )
    assert card["threeDSecure"] == {
        "skipAuthentication": False,
        "challengeIndicator": "challenge-required",
        "redirectionData": {"returnUrl": RETURNS.success},
    }
    assert card["returnUrl"] == RETURNS.success
    assert "token" not in card


async def test_a_card_that_is_not_kept_begins_nothing() -> None:
    card = (await sent_by(lambda g: g.charge_present(present())))["cardPaymentMethodSpecificInput"]
    assert not any(name.startswith("unscheduled") for name in card)
    assert "challengeIndicator" not in card["threeDSecure"]


async def test_a_stored_card_is_chosen_by_the_customer() -> None:
    request = await sent_by(lambda g: g.charge_present(present(token=TOKEN)))
    card = request["cardPaymentMethodSpecificInput"]
    assert (card["token"], card["unscheduledCardOnFileSequenceIndicator"]) == (TOKEN, "subsequent")
    assert "hostedTokenizationId" not in request


async def test_the_browser_is_described_in_the_types_the_contract_wants() -> None:
    device = (await sent_by(lambda g: g.charge_present(present())))["order"]["customer"]["device"]
    assert device == {
        "acceptHeader": "text/html",
        "userAgent": "Mozilla/5.0",
        "locale": "de_AT",
        "timezoneOffsetUtcMinutes": "-120",
        "ipAddress": "131.130.70.8",
        "browserData": {
            "colorDepth": 24,
            "javaEnabled": False,
            "javaScriptEnabled": True,
            "screenHeight": "1080",
            "screenWidth": "1920",
        },
    }


async def test_a_kept_card_is_told_with_what_a_later_charge_must_cite() -> None:
    outcome = await gateway(answering(created(9, card=CARD))).charge_present(present(PROFILE))
    assert outcome == Approved(PAYMENT_ID, AMOUNT, profile=STORED)


async def test_a_token_told_beside_the_payment_is_one_too() -> None:
    answer = body({"creationOutput": {"token": TOKEN}, "payment": made(9, card={**CARD, "token": None})})
    outcome = await gateway(answering(answer)).charge_present(present(PROFILE))
    assert outcome == Approved(PAYMENT_ID, AMOUNT, profile=STORED)


async def test_a_payment_whose_card_was_not_kept_is_a_payment() -> None:
    outcome = await gateway(answering(created(9))).charge_present(present(PROFILE))
    assert outcome == Approved(PAYMENT_ID, AMOUNT, profile_failed=True)


async def test_a_payment_that_was_to_keep_nothing_tells_of_no_profile() -> None:
    assert await gateway(answering(created(9, card=CARD))).charge_present(present()) == Approved(PAYMENT_ID, AMOUNT)
    assert await charged(created(9, card=CARD)) == Approved(PAYMENT_ID, AMOUNT)


@pytest.mark.parametrize("expiry", ["", "1330", "0030", "3", "13/30"])
async def test_a_date_of_expiry_that_is_none_is_not_known(expiry: str) -> None:
    card = {**CARD, "card": {"cardNumber": "x", "expiryDate": expiry}}
    outcome = await gateway(answering(created(9, card=card))).charge_present(present(PROFILE))
    assert isinstance(outcome, Approved)
    assert outcome.profile == replace(STORED, last4="", expires_on=None)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"token": ""}, "either"),
        ({"token": TOKEN, "card_form": FORM_ID}, "either"),
        ({"card_form": "../x"}, "card_form"),
        ({"token": TOKEN, "card_number": "4111111111111111"}, "card_number"),
        ({"token": TOKEN, "timezone_offset_minutes": "UTC"}, "timezone_offset_minutes"),
        ({"token": TOKEN, "color_depth": "deep"}, "color_depth"),
        ({"token": TOKEN, "java_enabled": "true"}, "java_enabled"),
        ({"token": TOKEN, "screen_height": "-1"}, "screen_height"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_sent(fields: dict[str, str], told: str) -> None:
    wire = answering(b"")
    with pytest.raises(MisuseError, match=told) as caught:
        await gateway(wire).charge_present(present(None, **fields))
    assert wire.requests == []
    assert not any(value in str(caught.value) for value in fields.values() if value)


async def test_a_method_it_does_not_have_is_named() -> None:
    with pytest.raises(MisuseError, match="PAYPAL"):
        await gateway(answering(b"")).charge_present(replace(present(), method="PAYPAL"))


# --- what must not be sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "charge",
    [
        replace(CHARGE, key=""),
        replace(CHARGE, key="T 1"),
        replace(CHARGE, key="K" * 31),
        replace(CHARGE, key="T-1\r\nX-GCS-Evil: 1"),
        replace(CHARGE, amount=Money(0, "EUR")),
        replace(CHARGE, amount=Money(-1, "EUR")),
        replace(CHARGE, amount=Money(10**12, "EUR")),
        replace(CHARGE, amount=Money(100, "CHF")),
        replace(CHARGE, order=replace(CHARGE.order, reference="")),
        replace(CHARGE, order=replace(CHARGE.order, reference="x" * 41)),
        replace(CHARGE, payer=replace(PAYER, reference="x" * 51)),
        replace(CHARGE, notify_url="https://shop.example/" + "x" * 325),
        replace(CHARGE, notify_url="/notify"),
        replace(CHARGE, profile=ProfileReference("")),
        replace(CHARGE, profile=ProfileReference("../payments")),
    ],
)
async def test_what_payone_would_refuse_is_not_sent(charge: Any) -> None:
    wire = answering(b"")
    with pytest.raises(MisuseError):
        await gateway(wire, currencies="EUR").charge(charge)
    assert wire.requests == []


async def test_an_address_to_come_back_to_must_fit() -> None:
    far = ReturnUrls("https://shop.example/" + "x" * 200, RETURNS.error, RETURNS.cancel)
    with pytest.raises(MisuseError, match="return"):
        await gateway(answering(b"")).charge_present(replace(present(), returns=far))


async def test_nothing_is_paid_out() -> None:
    account = gateway(answering(b""))
    assert not account.abilities.pay_out
    with pytest.raises(MisuseError):
        await account.pay_out(Payout("P-1", AMOUNT, PAYER, PROFILE, NOTIFY))


@pytest.mark.parametrize("number", ["", "../x", "4454999290", "4454999290_0/refund", "x_0"])
async def test_an_operation_on_nothing_is_not_sent(number: str) -> None:
    wire = answering(b"")
    booked = Booked("T-1", number, AMOUNT)
    for call in (gateway(wire).refund(booked, PART, "R-1"), gateway(wire).reverse(booked, "V-1")):
        with pytest.raises(MisuseError):
            await call
    assert wire.requests == []


async def test_a_part_is_taken_in_the_payments_own_currency_and_never_nothing() -> None:
    for amount in (Money(10, "CHF"), Money(0, "EUR")):
        with pytest.raises(MisuseError):
            await gateway(answering(b"")).refund(BOOKED, amount, "R-1")
        with pytest.raises(MisuseError):
            await gateway(answering(b"")).capture(BOOKED, amount, "C-1")


# --- the hosted page ------------------------------------------------------------------------------------

PAGE = {"hostedCheckoutId": "4454999290", "RETURNMAC": "0", "redirectUrl": "https://pay.example/checkout/1"}


async def test_a_page_is_opened_and_can_be_asked_about() -> None:
    outcome = await gateway(answering(body(PAGE), 200), page_life_s="600").open_checkout(CHECKOUT)
    assert outcome == Checkout("https://pay.example/checkout/1", 600, "4454999290")


async def test_a_page_closes_when_we_think_it_does_and_offers_cards_only() -> None:
    hosted = (await sent_by(lambda g: g.open_checkout(CHECKOUT), page_life_s="600"))["hostedCheckoutSpecificInput"]
    assert hosted["sessionTimeout"] == 10
    assert hosted["returnUrl"] == RETURNS.success
    assert hosted["paymentProductFilters"] == {"restrictTo": {"products": [1, 2, 3, 117, 125, 130, 132, 3012]}}
    assert hosted["cardPaymentMethodSpecificInput"] == {"tokenizationMode": "noTokenization"}
    assert "isNewUnscheduledCardOnFileSeries" not in hosted


async def test_a_page_that_renews_a_profile_begins_a_series() -> None:
    order = replace(CHECKOUT, store=PROFILE)
    request = await sent_by(lambda g: g.open_checkout(order))
    assert request["hostedCheckoutSpecificInput"]["isNewUnscheduledCardOnFileSeries"] is True
    assert request["hostedCheckoutSpecificInput"]["cardPaymentMethodSpecificInput"] == {
        "tokenizationMode": "createAlways"
    }
    assert request["order"]["references"]["merchantParameters"] == "key=T-1&store=yes"
    scheduled = await sent_by(lambda g: g.open_checkout(order), series="recurring")
    assert scheduled["hostedCheckoutSpecificInput"]["isRecurring"] is True


async def test_a_page_that_only_verifies_reserves() -> None:
    order = replace(CHECKOUT, reserve_only=True)
    request = await sent_by(lambda g: g.open_checkout(order))
    assert request["cardPaymentMethodSpecificInput"]["authorizationMode"] == "FINAL_AUTHORIZATION"


async def test_a_way_it_does_not_offer_is_named() -> None:
    with pytest.raises(MisuseError, match="paypal"):
        await gateway(answering(b"")).open_checkout(replace(CHECKOUT, ways=("card", "paypal")))


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (body({**PAGE, "redirectUrl": ""}), 200, Unknown),
        (body({**PAGE, "hostedCheckoutId": "4454999290_0"}), 200, Unknown),
        (b"{}", 200, Unknown),
        (failure(error("1", "INVALID_VALUE", "hostedCheckoutSpecificInput.locale")), 400, Refused),
        (failure(error("9007", "ACCESS_TO_MERCHANT_NOT_ALLOWED")), 403, Refused),
        (failure(error("1")), 500, Unknown),
    ],
)
async def test_a_page_that_was_not_opened_is_no_page(content: bytes, status: int, expected: type[Outcome]) -> None:
    assert isinstance(await gateway(answering(content, status)).open_checkout(CHECKOUT), expected)


async def on_page(values: dict[str, Any], page: bool, status: int = 200) -> Outcome:
    return await found(values, status, gateway_id="4454999290", page=page)


async def test_a_payment_on_the_page_is_the_payment() -> None:
    answer = {
        "status": "PAYMENT_CREATED",
        "createdPaymentOutput": {"payment": made(9, mark="key=T-1&store=yes", card=CARD)},
    }
    for page in (True, False):
        assert await on_page(answer, page) == Approved(PAYMENT_ID, AMOUNT, profile=STORED)


@pytest.mark.parametrize("status", ["IN_PROGRESS", "CANCELLED_BY_CONSUMER"])
async def test_a_page_nobody_paid_on_is_open_until_its_life_is_over(status: str) -> None:
    answer = {"status": status, "createdPaymentOutput": {"paymentStatusCategory": "STATUS_UNKNOWN"}}
    assert await on_page(answer, page=True) == Pending(evidence=f"PAYONE reports the page as {status}")
    assert isinstance(await on_page(answer, page=False), NotSent)


async def test_a_failed_try_on_an_open_page_is_only_evidence() -> None:
    payment = made(2, "REJECTED", errors=[error("30511001")])
    answer = {"status": "PAYMENT_CREATED", "createdPaymentOutput": {"payment": payment}}
    tried = await on_page(answer, page=True)
    assert isinstance(tried, Pending)
    assert "30511001" in tried.evidence
    assert isinstance(await on_page(answer, page=False), Declined)


@pytest.mark.parametrize("values", [{}, {"status": "PAYMENT_CREATED"}, {"status": "NEW"}])
async def test_a_page_in_a_state_nobody_knows_says_nothing(values: dict[str, Any]) -> None:
    assert isinstance(await on_page(values, page=False), Unknown)


async def test_a_page_that_can_no_longer_be_read_says_nothing() -> None:
    answer = {"errors": [error("50001130", "UNKNOWN_PAYMENT_ID")]}
    assert isinstance(await on_page(answer, page=False, status=404), Unknown)


# --- questions ------------------------------------------------------------------------------------------


async def test_a_question_without_a_number_is_not_put() -> None:
    wire = answering(b"")
    outcome = await gateway(wire).find(QUESTION)
    assert isinstance(outcome, Unknown)
    assert "same key" in outcome.reason
    assert wire.requests == []


@pytest.mark.parametrize("number", ["../tokens", "4454999290_0/refund", "a b", "\u0663"])
async def test_a_question_about_no_number_of_payones_is_not_put(number: str) -> None:
    wire = answering(b"")
    with pytest.raises(MisuseError):
        await gateway(wire).find(replace(KNOWN, gateway_id=number))
    assert wire.requests == []


@pytest.mark.parametrize("mark", ["", "key", "key=T 1", "a=1&" * 20, "key=" + "K" * 31, "order=4711"])
async def test_words_that_are_not_ours_are_nobodys(mark: str) -> None:
    assert await found(made(9, mark=mark)) == Approved(PAYMENT_ID, AMOUNT)


async def test_repeating_ends_before_the_key_is_forgotten() -> None:
    assert 3600 < REPEATABLE_S < 24 * 3600


async def test_nothing_there_is_only_said_where_it_is_certain() -> None:
    asking = gateway(answering(b"")).abilities.asking
    assert (asking.after_nothing, asking.by_key, asking.repeat_s) == (AfterNothing.SAME_KEY, False, REPEATABLE_S)


async def test_a_payment_is_found_as_it_stands() -> None:
    assert await found(made(9)) == Approved(PAYMENT_ID, AMOUNT)
    assert await found(made(9, id="4454999290_1")) == Approved(PAYMENT_ID, AMOUNT)
    assert isinstance(await found(made(46, "REDIRECTED")), Pending)


async def test_a_decline_is_found_with_its_reasons() -> None:
    answer = made(2, "REJECTED", errors=[error("40001134", "AUTHENTICATION_FAILURE"), error("50001111")])
    expected = Declined("40001134", DeclineClass.NEEDS_CUSTOMER, "AUTHENTICATION_FAILURE", PAYMENT_ID)
    assert await found(answer) == expected
    assert isinstance(await found(answer, page=True), Pending)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (failure(error("50001130", "UNKNOWN_PAYMENT_ID", "paymentId")), 404),
        (failure(error("9007")), 403),
        (failure(error("30511001")), 402),
        (b"", 404),
        (b"<html>", 200),
        (created(9), 200),
        (body(made(9, id="4454999291_0")), 200),
        (body(made(9, mark="key=T-2")), 200),
        (body(made(9)), 500),
        (body(made(9)), 202),
    ],
)
async def test_a_question_that_was_not_answered_says_nothing(content: bytes, status: int) -> None:
    assert isinstance(await gateway(answering(content, status)).find(KNOWN), Unknown)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([operation(2, 8, "REFUNDED", 2500)], OperationKind.REFUND),
        ([operation(2, 8, "REFUNDED", 1000), operation(3, 8, "REFUNDED", 1500)], OperationKind.REFUND),
        ([operation(2, 8, "REFUNDED", 1000)], None),
        ([operation(2, 81, "REFUND_REQUESTED", 2500)], None),
        ([operation(2, 83, "REJECTED", 2500)], None),
        ([operation(0, 9, "CAPTURED", 2500)], None),
    ],
)
async def test_only_all_of_the_money_given_back_undoes_a_payment(
    operations: list[dict[str, Any]], expected: OperationKind | None
) -> None:
    assert await found(made(9, Operations=operations)) == Approved(PAYMENT_ID, AMOUNT, undone=expected)


async def test_a_payment_given_back_or_let_go_is_found_undone() -> None:
    assert await found(made(8, "REFUNDED")) == Approved(PAYMENT_ID, AMOUNT, undone=OperationKind.REFUND)
    gone = Approved(PAYMENT_ID, AMOUNT, captured=False, undone=OperationKind.REVERSAL)
    assert await found(made(6, "CANCELLED")) == gone


# --- what follows a payment -----------------------------------------------------------------------------


def follow_up(number: int, code: int, status: str, output: str, minor: int = 1000, **more: Any) -> dict[str, Any]:
    return {"id": f"4454999290_{number}", **state(code, status), output: {"amountOfMoney": money(minor)}, **more}


async def test_a_capture_is_on_its_way_until_it_is_booked() -> None:
    wire = answering(body(follow_up(1, 91, "CAPTURE_REQUESTED", "captureOutput")))
    outcome = await gateway(wire).capture(BOOKED, PART, "C-1")
    assert outcome == Pending(PAYMENT_ID, evidence="PAYONE reports the state CAPTURE_REQUESTED 91")
    assert sent(wire) == {"amount": 1000, "operationReferences": {"merchantReference": "C-1"}}
    done = answering(body(follow_up(1, 9, "CAPTURED", "captureOutput")))
    assert await gateway(done).capture(BOOKED, PART, "C-1") == Approved(PAYMENT_ID, PART)


async def test_a_cancellation_is_wrapped_and_lets_go_of_everything() -> None:
    wire = answering(body({"payment": follow_up(1, 61, "CANCELLED", "paymentOutput", 2500)}), 200)
    assert await gateway(wire).reverse(BOOKED, "V-1") == Pending(
        PAYMENT_ID, evidence="PAYONE reports the state CANCELLED 61"
    )
    assert sent(wire)["amountOfMoney"] == money(2500)
    done = answering(body({"payment": follow_up(1, 6, "CANCELLED", "paymentOutput", 2500)}), 200)
    assert await gateway(done).reverse(BOOKED, "V-1") == Approved(PAYMENT_ID, AMOUNT)


async def test_a_refund_says_how_much_and_is_on_its_way() -> None:
    wire = answering(body(follow_up(2, 81, "REFUND_REQUESTED", "refundOutput")))
    outcome = await gateway(wire).refund(BOOKED, PART, "R-1")
    assert outcome == Pending(PAYMENT_ID, evidence="PAYONE reports the state REFUND_REQUESTED 81")
    assert sent(wire)["amountOfMoney"] == money(1000)
    assert wire.requests[0].headers["x-gcs-idempotence-key"] == "R-1"


@pytest.mark.parametrize(("code", "kind"), [(92, "capture"), (82, "refund"), (62, "cancel")])
async def test_an_operation_the_platform_does_not_know_about_is_asked_about(code: int, kind: str) -> None:
    output = {"capture": "captureOutput", "refund": "refundOutput", "cancel": "paymentOutput"}[kind]
    names = {92: "CAPTURE_REQUESTED", 82: "REFUND_REQUESTED", 62: "CANCELLED"}
    answer = follow_up(1, code, names[code], output, 2500)
    account = gateway(answering(body({"payment": answer} if kind == "cancel" else answer)))
    calls = {
        "capture": account.capture(BOOKED, AMOUNT, "X-1"),
        "refund": account.refund(BOOKED, AMOUNT, "X-1"),
        "cancel": account.reverse(BOOKED, "X-1"),
    }
    outcomes = {name: await call for name, call in calls.items()}
    outcome = outcomes[kind]
    assert isinstance(outcome, Pending)
    assert "does not know" in outcome.evidence


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (failure(error("50001127", "ACTION_NOT_ALLOWED_ON_TRANSACTION")), 400),
        (failure(error("50001129", message="ACTION_NOT_ALLOWED_ON_TRANSACTION")), 400),
        (failure(error("50001130", "UNKNOWN_PAYMENT_ID", "paymentId")), 404),
        (failure(error("1", "ANYTHING")), 409),
        (failure(error("50001111", "INVALID_VALUE", "amountOfMoney.amount")), 400),
        (failure(error("30511001"), refundResult={"id": "1"}), 402),
    ],
)
async def test_a_no_to_an_operation_speaks_of_that_payment_only(content: bytes, status: int) -> None:
    outcome = await gateway(answering(content, status)).refund(BOOKED, PART, "R-1")
    assert isinstance(outcome, Declined)
    assert (outcome.decline, outcome.gateway_id) == (DeclineClass.NEVER, PAYMENT_ID)


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (failure(error("1409")), 409, Unknown),
        (failure(error("9007")), 403, Refused),
        (failure(error("1", "SCHEMA_VALIDATION_FAILED")), 400, Refused),
        (failure(error("30511001")), 402, Declined),
        (failure(error("1")), 503, Unknown),
        (b"", 404, Refused),
        (b"{}", 409, Unknown),
        (b"{}", 201, Unknown),
        (body(follow_up(2, 81, "REFUND_REQUESTED", "refundOutput", 999)), 201, Unknown),
        (body(follow_up(2, 9, "CAPTURED", "refundOutput")), 201, Unknown),
        (body({**follow_up(2, 81, "REFUND_REQUESTED", "refundOutput"), "id": "4454999291_2"}), 201, Unknown),
    ],
)
async def test_an_operation_in_doubt_is_not_called_decided(
    content: bytes, status: int, expected: type[Outcome]
) -> None:
    outcome = await gateway(answering(content, status)).refund(BOOKED, PART, "R-1")
    assert isinstance(outcome, expected)


async def test_an_operation_that_was_refused_later_is_a_no() -> None:
    answer = answering(body(follow_up(2, 83, "REJECTED", "refundOutput")))
    assert await gateway(answer).refund(BOOKED, PART, "R-1") == Declined(
        "83", DeclineClass.NEVER, "REJECTED", PAYMENT_ID
    )


async def asked_about(kind: OperationKind, payment: dict[str, Any], amount: Money = PART) -> Outcome:
    return await found(payment, operation=kind, operation_key="R-1", amount=amount)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([operation(2, 8, "REFUNDED")], Approved(PAYMENT_ID, PART)),
        (
            [operation(2, 81, "REFUND_REQUESTED")],
            Pending(PAYMENT_ID, evidence="PAYONE reports the state REFUND_REQUESTED 81"),
        ),
        ([operation(2, 83, "REJECTED")], Declined("83", DeclineClass.NEVER, "REJECTED", PAYMENT_ID)),
        ([operation(2, 8, "REFUNDED", key="R-0")], NotSent("PAYONE lists no refund")),
        ([operation(1, 9, "CAPTURED")], NotSent("PAYONE lists no refund")),
        ([], NotSent("PAYONE lists no refund")),
    ],
)
async def test_a_refund_is_found_by_its_own_key(entries: list[dict[str, Any]], expected: Outcome) -> None:
    assert await asked_about(OperationKind.REFUND, made(9, Operations=entries)) == expected


async def test_a_refund_that_does_not_say_whose_it_is_stays_a_doubt() -> None:
    nameless = made(9, Operations=[operation(2, 8, "REFUNDED", key="")])
    assert isinstance(await asked_about(OperationKind.REFUND, nameless), Unknown)
    assert isinstance(await asked_about(OperationKind.REFUND, nameless, Money(999, "EUR")), NotSent)
    assert isinstance(await asked_about(OperationKind.REFUND, made(9)), Unknown)


async def test_what_can_happen_only_once_is_also_known_by_its_effect() -> None:
    nothing: dict[str, Any] = {"Operations": []}
    reversal, capture = OperationKind.REVERSAL, OperationKind.CAPTURE
    assert isinstance(await asked_about(reversal, made(9, **nothing)), Declined)
    assert await asked_about(reversal, made(6, "CANCELLED", **nothing), AMOUNT) == Approved(PAYMENT_ID, AMOUNT)
    assert await asked_about(capture, made(9, **nothing), AMOUNT) == Approved(PAYMENT_ID, AMOUNT)
    assert isinstance(await asked_about(capture, made(6, "CANCELLED", **nothing)), Declined)
    assert isinstance(await asked_about(capture, made(5, "PENDING_CAPTURE", **nothing)), NotSent)
    assert isinstance(await asked_about(OperationKind.CHARGEBACK, made(9, **nothing)), Unknown)


# --- tokens and the card form -----------------------------------------------------------------------------

SHOWN = {
    "id": TOKEN,
    "paymentProductId": 1,
    "isTemporary": False,
    "card": {"data": {"cardWithoutCvv": {"cardNumber": "411111XXXXXX1111", "expiryDate": "0330"}}},
}
VISA = ProfileNews(TOKEN, "", "card", "VISA", "1111", date(2030, 3, 31))


async def test_a_forgotten_token_is_gone_and_can_be_forgotten_twice() -> None:
    gone = Approved("", Money(0, "EUR"))
    assert await gateway(answering(b"", 204)).forget(PROFILE) == gone
    unknown = failure(error("1", "UNKNOWN_TOKEN_ID", "tokenId"))
    assert await gateway(answering(unknown, 404)).forget(PROFILE) == gone


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [(b"", 404, Refused), (failure(error("9007")), 403, Refused), (b"", 200, Unknown), (b"{}", 503, Unknown)],
)
async def test_a_token_that_was_not_deleted_is_not_called_gone(
    content: bytes, status: int, expected: type[Outcome]
) -> None:
    assert isinstance(await gateway(answering(content, status)).forget(PROFILE), expected)


async def test_a_card_form_is_opened_for_a_frame() -> None:
    answer = {"hostedTokenizationId": FORM_ID, "hostedTokenizationUrl": "https://pay.example/form", "sri": "sha384-x"}
    wire = answering(body(answer), 200)
    assert await gateway(wire).open_card_form(PAYER) == CardForm(
        FORM_ID,
        "https://pay.example/form",
        "https://payment.example/hostedtokenization/js/client/tokenizer.min.js",
        "tokenizer",
        "sha384-x",
    )
    assert sent(wire)["locale"] == "de_AT"
    assert sent(wire)["askConsumerConsent"] is False


async def test_a_card_form_that_was_not_opened_is_an_outcome() -> None:
    assert isinstance(await gateway(answering(b"{}", 200)).open_card_form(PAYER), Unknown)
    assert isinstance(await gateway(answering(failure(error("9007")), 403)).open_card_form(PAYER), Refused)


async def test_what_was_typed_into_the_form_is_read_with_whether_it_lasts() -> None:
    answer = body({"token": SHOWN, "tokenStatus": "CREATED"})
    assert await gateway(answering(answer, 200)).read_token_form(FORM_ID) == StoredCard(VISA, temporary=False)
    assert await gateway(answering(body(SHOWN), 200)).read_token(PROFILE) == StoredCard(VISA, temporary=False)
    assert isinstance(await gateway(answering(b"{}", 200)).read_token_form(FORM_ID), Pending)
    assert isinstance(await gateway(answering(b"[]", 200)).read_token_form(FORM_ID), Unknown)


# --- the check -----------------------------------------------------------------------------------------


async def test_a_connection_that_works_passes_the_check() -> None:
    wire = answering(body({"result": "OK"}), 200)
    await gateway(wire).check()
    assert wire.requests[0].method == "GET"
    assert wire.requests[0].url.path == "/v2/MyPSPID/services/testconnection"


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (failure(error("9007")), 403, "A1B2C3D4E5F60718"),
        (failure(error("1")), 500, "HTTP 500"),
        (b"", 404, "cannot be reached"),
        (b"<html>", 200, "cannot be reached"),
    ],
)
async def test_what_is_wrong_with_the_account_is_one_sentence(content: bytes, status: int, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        await gateway(answering(content, status)).check()
    assert CREDENTIALS["api_secret"] not in str(caught.value)


# --- signatures and logs ----------------------------------------------------------------------------------


async def test_a_request_is_signed_with_the_wall_clocks_date_and_its_own_key() -> None:
    wire = answering(created(9))
    await gateway(wire).find(KNOWN)
    [request] = wire.requests
    assert request.headers["date"] == "Fri, 06 Jun 2025 13:39:43 GMT"
    assert request.headers["authorization"] == (
        "GCS v1HMAC:A1B2C3D4E5F60718:eJXiZggvpmFGdd5/YNenFSjFLxNmmCxKjsHfLGDG1Sk="
    )
    assert "content-type" not in request.headers


async def test_evidence_of_an_unreadable_answer_shows_no_secret() -> None:
    noise = b'{"cardNumber":"4111 1111 1111 1111","token":"tok-1","x":"zR9kq3Vw7uXn1mT5yB8cD2eF4gH6jK0pLsQaWxNvMrU="'
    outcome = await charged(noise)
    assert isinstance(outcome, Unknown)
    assert not any(secret in outcome.reason for secret in ("4111", "tok-1", "zR9kq"))


async def test_the_message_of_an_error_is_told_to_people_without_what_they_must_not_read() -> None:
    told = error("50001111", "INVALID_VALUE", "order.amountOfMoney", message="4111111111111111 is no amount")
    outcome = await charged(failure(told), 400)
    assert isinstance(outcome, Refused)
    assert "order.amountOfMoney" in outcome.reason
    assert "4111" not in outcome.reason


async def test_no_log_shows_a_secret_of_a_payment() -> None:
    answer = created(9, card={**CARD, "threeDSecureResults": {"cavv": "AAABBB", "xid": "xyz-xid"}})
    with capture_logs() as logs:
        await gateway(answering(answer)).charge_present(present(PROFILE))
        await gateway(answering(answer)).charge(CHARGE)
    told = "\n".join(map(repr, logs))
    assert "T-1" in told
    for secret in (TOKEN, FORM_ID, "proof=", "shop.example", "jenny@", "Hauptstra", "131.130", "Mozilla", "AAABBB",
                   "xyz-xid", "997766554433", CREDENTIALS["api_secret"], "v1HMAC"):  # fmt: skip
        assert secret not in told
