from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from billing.gateway import (
    Approved,
    Booked,
    Checkout,
    ConfigurationError,
    DeclineClass,
    Declined,
    Gateway,
    Input,
    Mandate,
    MisuseError,
    NotSent,
    OperationKind,
    OrderLine,
    Outcome,
    Payer,
    Payout,
    Pending,
    PresentCharge,
    ProfileReference,
    Refused,
    ReturnUrls,
    Unknown,
    UnsupportedError,
)
from billing.money import Money
from gateways.computop import Computop, open_account
from gateways.computop_codes import DECLINES, MEANINGS, Meaning, meaning
from tests.gateways.computop_samples import (
    AMOUNT,
    BOOKED,
    CARD,
    CHARGE,
    CHECKOUT,
    CREDENTIALS,
    KEY,
    NOTIFY,
    NUMBER,
    ORDER,
    PAY_ID,
    PAYER,
    PROFILE,
    PSEUDO,
    QUESTION,
    RETURNS,
    SCHEME,
    amounts,
    answering,
    cards,
    decoded,
    gateway,
    pairs,
    plain,
    posted,
    result,
    sealed,
    sent,
)
from tests.gateways.samples import Wire
from tests.gateways.sockets import refusing

PART = Money(500, "EUR")
CARD_ORDER = replace(CHECKOUT, ways=("card", "payback_pay"), inputs={}, store=ProfileReference("C-7"))
REFUND = replace(QUESTION, gateway_id=PAY_ID, amount=PART, operation=OperationKind.REFUND, operation_key="CRN-1")


async def charged(text: str) -> Outcome:
    return await cards(answering(text)).charge(CHARGE)


async def refunded(text: str) -> Outcome:
    return await gateway(answering(text)).refund(BOOKED, PART, "CRN-1")


async def found(text: str, opened: Callable[..., Computop] = gateway, **question: Any) -> Outcome:
    return await opened(answering(text)).find(replace(QUESTION, **question))


async def opened_page(**changes: Any) -> Checkout:
    checkout = await gateway().open_checkout(replace(CHECKOUT, **changes))
    assert isinstance(checkout, Checkout)
    return checkout


# --- a sale by PAYBACK PAY ------------------------------------------------------------------------------


async def test_a_sale_is_posted_by_the_customer_and_nothing_is_sent_from_here() -> None:
    wire = Wire(b"")
    checkout = await gateway(wire).open_checkout(CHECKOUT)
    assert isinstance(checkout, Checkout)
    assert (checkout.url, checkout.life_s) == ("https://paygate.example/PaybackPay.aspx", 900)
    assert set(checkout.posted) == {"MerchantID", "Len", "Data"}
    assert wire.requests == []


async def test_a_sale_has_every_field_it_must_have() -> None:
    text = plain(dict((await opened_page()).posted))
    names = [pair.partition("=")[0] for pair in text.split("&")]
    mandatory = """MerchantID TransID Amount Currency MAC URLSuccess URLFailure URLNotify VatList ArticleList AccountId
        IsBound CustomerGroup sdCountryCode"""
    assert set(mandatory.split()) <= set(names)
    assert len(names) == len(set(names))
    assert "orderdesc" not in text.lower()


async def test_a_sale_says_what_it_is_for() -> None:
    told = posted(await opened_page())
    wanted = {
        "TransID": KEY,
        "ReqId": KEY,
        "Amount": "1990",
        "Currency": "EUR",
        "MAC": "5D478801F261AE771392D5DD8916E14A01FAFC6DFE20BB1E7FED1D3AD12BDA07",
        "URLSuccess": RETURNS.success,
        "URLFailure": RETURNS.error,
        "URLNotify": NOTIFY,
        "Response": "encrypt",
        "Language": "de",
        "AccountId": NUMBER,
        "IsBound": "false",
        "CustomerGroup": "KNOWN",
        "CustomerID": "",
        "sdCountryCode": "DE",
    }
    assert {name: told.text(name) for name in wanted} == wanted
    assert decoded(told.text("VatList")) == {"vatItems": [{"rate": "19", "amount": 1990}]}
    assert decoded(told.text("ArticleList"))["items"][0]["description"] == "Abo Plus"


async def test_the_current_dialect_is_spoken_where_it_is_set() -> None:
    told = posted(
        await gateway(dialect="current", device_id="pixel-1", customer_group="UNKNOWN").open_checkout(CHECKOUT)
    )
    assert decoded(told.text("VatList")) == {"items": [{"rate": 19, "amount": 318}]}
    assert decoded(told.text("ArticleList"))["items"][0]["name"] == "Abo Plus"
    assert (told.text("DeviceID"), told.text("CustomerGroup")) == ("pixel-1", "UNKNOWN")


async def test_a_bound_account_asks_for_the_membership_as_well() -> None:
    bound = gateway(is_bound="yes")
    assert bound.abilities.inputs[1] == Input("payback_pay", "payback_membership", "[A-Za-z0-9]{1,64}")
    with pytest.raises(MisuseError, match="payback_membership"):
        await bound.open_checkout(CHECKOUT)
    told = posted(await bound.open_checkout(replace(CHECKOUT, inputs={**CHECKOUT.inputs, "payback_membership": "M1"})))
    assert (told.text("IsBound"), told.text("CustomerID")) == ("true", "M1")


async def test_a_language_paybacks_page_lacks_is_the_accounts_own() -> None:
    changed = replace(CHECKOUT, payer=replace(PAYER, language="it"))
    assert posted(await gateway(language="en").open_checkout(changed)).text("Language") == "en"


@pytest.mark.parametrize("number", ["", "208765432", "20876543210", "208765432x", "\u0662" * 10, "2087654321\n"])
async def test_a_sale_without_a_payback_number_is_never_opened(number: str) -> None:
    for inputs in ({"payback_number": number}, {}):
        with pytest.raises(MisuseError, match="payback_number") as caught:
            await gateway().open_checkout(replace(CHECKOUT, inputs=inputs))
        assert not number or number not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": Money(99, "EUR")},
        {"amount": Money(1990, "CHF")},
        {
            "amount": Money(10**10, "EUR"),
            "order": replace(ORDER, lines=(OrderLine("A", 1, Money(10**10, "EUR"), PART),)),
        },
        {"payer": Payer("C-7", "Jenny")},
        {"order": replace(ORDER, lines=())},
        {"store": PROFILE},
        {"reserve_only": True},
        {"key": "INV/1"},
        {"key": "x" * 31},
        {"ways": ("payback_pay", "card")},
    ],
)
async def test_a_sale_that_computop_would_refuse_is_never_opened(changes: dict[str, Any]) -> None:
    with pytest.raises(MisuseError):
        await opened_page(**changes)


@pytest.mark.parametrize(
    "address",
    [
        f"https://shop.example/{'x' * 240}",
        "https://shop.example/ok?o=1",
        "https://shop.example/ok?",
        "https://shop.example/ok#x",
        "https://shop.example:8443/ok",
        "https://shop.example:x/ok",
        "http://shop.example/ok",
        "http://127.0.0.1:8000/ok",
        "https:///ok",
        "https://shop.example/a&b",
        "shop",
    ],
)
async def test_an_address_computop_does_not_take_is_named_and_not_shown(address: str) -> None:
    changed: dict[str, dict[str, Any]] = {
        "URLSuccess": {"returns": replace(RETURNS, success=address)},
        "URLFailure": {"returns": replace(RETURNS, error=address)},
        "URLNotify": {"notify_url": address},
    }
    for name, changes in changed.items():
        with pytest.raises(MisuseError, match=name) as caught:
            await opened_page(**changes)
        assert address not in str(caught.value)


async def test_a_simulator_on_this_machine_is_given_plain_addresses_of_this_machine_only() -> None:
    here = gateway(endpoint="http://127.0.0.1:9000")
    urls = ReturnUrls("http://127.0.0.1:8000/ok", "http://localhost:8000/no", "")
    local = replace(CHECKOUT, returns=urls, notify_url="http://[::1]:8000/n")
    assert posted(await here.open_checkout(local)).text("URLSuccess") == urls.success
    with pytest.raises(MisuseError, match="URLNotify"):
        await here.open_checkout(replace(local, notify_url="http://shop.example/n"))


# --- the card form ---------------------------------------------------------------------------------------


async def test_a_card_that_is_to_be_stored_is_announced_on_the_card_form() -> None:
    checkout = await cards().open_checkout(CARD_ORDER)
    assert isinstance(checkout, Checkout)
    assert checkout.url == "https://paygate.example/payssl.aspx"
    told = posted(checkout)
    assert decoded(told.text("credentialOnFile")) == {
        "type": {"unscheduled": "CIT"},
        "initialPayment": True,
        "useCase": "ucof",
    }
    wanted = {"Capture": "AUTO", "MsgVer": "2.0", "Amount": "1990", "ReqId": KEY, "Response": "encrypt"}
    assert {name: told.text(name) for name in wanted} == wanted
    assert told.text("UserData") == f"1990*EUR*{told.text('MAC')}"


async def test_a_verification_only_reserves() -> None:
    assert posted(await cards().open_checkout(replace(CARD_ORDER, reserve_only=True))).text("Capture") == "MANUAL"


async def test_a_card_that_is_not_to_be_stored_is_not_announced() -> None:
    told = posted(await cards().open_checkout(replace(CARD_ORDER, store=None)))
    assert (told.text("credentialOnFile"), told.text("UserData")) == ("", "")


async def test_the_way_chosen_first_decides_the_page_and_payback_pay_is_the_first_of_the_account() -> None:
    for ways in ((), ("payback_pay", "card")):
        checkout = await cards().open_checkout(replace(CHECKOUT, ways=ways))
        assert isinstance(checkout, Checkout)
        assert checkout.url.endswith("/PaybackPay.aspx")


# --- a charge of a stored card ----------------------------------------------------------------------------


async def test_a_stored_card_is_charged_by_the_merchant_citing_its_first_payment() -> None:
    wire = answering(result(card="e30=", schemeReferenceID=SCHEME))
    assert await cards(wire).charge(CHARGE) == Approved(PAY_ID, AMOUNT)
    [request] = wire.requests
    assert (request.method, str(request.url)) == ("POST", "https://paygate.example/direct.aspx")
    told = sent(request)
    assert decoded(told.text("card")) == CARD
    assert decoded(told.text("credentialOnFile")) == {
        "type": {"unscheduled": "MIT"},
        "initialPayment": False,
        "useCase": "ucof",
    }
    wanted = {"schemeReferenceID": SCHEME, "ReqId": KEY, "TransID": KEY, "Capture": "AUTO", "MsgVer": "2.0"}
    assert {name: told.text(name) for name in wanted} == wanted
    assert told.text("URLNotify") == ""


async def test_a_recurring_series_says_its_rhythm() -> None:
    wire = answering(result())
    await cards(wire, series="recurring", recurring_until="2027-12-31").charge(CHARGE)
    assert decoded(sent(wire.requests[0]).text("credentialOnFile")) == {
        "type": {"recurring": {"recurringFrequency": 30, "recurringExpiryDate": "2027-12-31"}},
        "initialPayment": False,
    }


async def test_a_card_without_a_holder_is_charged_under_the_payers_name() -> None:
    wire = answering(result())
    nameless = replace(PROFILE, reference='{"number":"0123456789012111","expiryDate":"203002"}')
    await cards(wire).charge(replace(CHARGE, profile=nameless, payer=replace(PAYER, name="x" * 50)))
    assert decoded(sent(wire.requests[0]).text("card"))["cardholderName"] == "x" * 45


@pytest.mark.parametrize(
    "profile",
    [
        replace(PROFILE, mandate=Mandate()),
        replace(PROFILE, reference="C-7"),
        replace(PROFILE, reference="[" * 100_000),
        replace(PROFILE, reference="[]"),
        replace(PROFILE, reference=PROFILE.reference.replace(PSEUDO, "4111111111111111")),
        replace(PROFILE, reference=PROFILE.reference.replace("203002", "0230")),
        replace(PROFILE, reference=PROFILE.reference.replace(f'"{PSEUDO}"', "1")),
    ],
)
async def test_what_is_no_stored_card_with_its_first_payment_is_never_charged(profile: ProfileReference) -> None:
    wire = answering(result())
    with pytest.raises(MisuseError) as caught:
        await cards(wire).charge(replace(CHARGE, profile=profile))
    assert "4111" not in str(caught.value)
    assert wire.requests == []


async def test_an_authorised_charge_is_only_reserved() -> None:
    assert await charged(result(status="AUTHORIZED")) == Approved(PAY_ID, AMOUNT, captured=False)


async def test_an_answer_in_clear_counts_like_an_encrypted_one() -> None:
    clear = Wire((result() + "\r\n").encode())
    assert await cards(clear).charge(CHARGE) == Approved(PAY_ID, AMOUNT)


async def test_names_in_any_case_and_order_and_strange_fields_change_nothing() -> None:
    told = [pair.partition("=") for pair in result().split("&")]
    text = "&".join(f"{name.upper()}={value}" for name, _, value in reversed(told))
    assert await charged(f"{text}&new=1&new=2&RefNr=a&refnr=b&bare") == Approved(PAY_ID, AMOUNT)


@pytest.mark.parametrize(
    "text",
    [
        result(key="INV-1001-2"),
        result(mid="OTHER"),
        result(PayID=""),
        result(PayID="../x"),
        result(TransID=""),
        result(status="FAILED"),
        result(status="NEW"),
        result(status=""),
        result(code="20000000"),
        result(code="0000000"),
        result(code=""),
        result(code="000000000"),
        result(code="01000000"),
        result("22000305", "OK"),
        result("21500985", "AUTHORIZE_REQUEST"),
        result() + "&code=22000305",
        "",
    ],
)
async def test_an_answer_that_is_incomplete_or_contradicts_itself_is_a_doubt(text: str) -> None:
    assert isinstance(await charged(text), Unknown)


@pytest.mark.parametrize("status", ["PENDING", "AUTHORIZE_REQUEST"])
async def test_an_open_payment_is_pending(status: str) -> None:
    assert await charged(result(status=status)) == Pending(PAY_ID, evidence=f"Computop reports the state {status}")
    undecided = "Computop answered 62000001, which is not decided yet"
    assert await charged(result("62000001", status)) == Pending(PAY_ID, evidence=undecided)


@pytest.mark.parametrize("module", ["100", "3F0", "289"])
@pytest.mark.parametrize(
    ("detail", "decline"),
    [
        ("0053", DeclineClass.NEEDS_CUSTOMER),
        ("0200", DeclineClass.NEEDS_CUSTOMER),
        ("0305", DeclineClass.RETRY_LATER),
        ("0313", DeclineClass.RETRY_LATER),
        ("013C", DeclineClass.RETRY_LATER),
        ("9999", DeclineClass.RETRY_LATER),
        ("0314", DeclineClass.NEEDS_NEW_PROFILE),
        ("0333", DeclineClass.NEEDS_NEW_PROFILE),
        ("0130", DeclineClass.NEEDS_NEW_PROFILE),
        ("0343", DeclineClass.NEVER),
        ("014A", DeclineClass.NEVER),
    ],
)
async def test_a_decline_is_told_by_its_detail_whatever_the_module(
    detail: str, decline: DeclineClass, module: str
) -> None:
    code = f"2{module}{detail}"
    assert await charged(result(code, "FAILED")) == Declined(code, decline, "told", PAY_ID)


@pytest.mark.parametrize("detail", MEANINGS)
async def test_every_listed_detail_has_one_outcome(detail: str) -> None:
    kind = {Meaning.DOUBT: Unknown, Meaning.OURS: Refused, Meaning.THIS_PAYMENT: Refused}.get(
        MEANINGS[detail], Declined
    )
    outcome = await charged(result(f"2100{detail}", "FAILED"))
    assert isinstance(outcome, kind)
    if isinstance(outcome, Declined):
        assert outcome.decline is DECLINES[MEANINGS[detail]]


def test_the_severity_decides_where_the_detail_is_not_listed() -> None:
    told = {severity: meaning(f"{severity}1009999") for severity in "024567A"}
    doubts = dict.fromkeys("057A", Meaning.DOUBT)
    assert told == {**doubts, "2": Meaning.LATER, "4": Meaning.OURS, "6": Meaning.PENDING}


@pytest.mark.parametrize("code", ["40160003", "40010007", "40120F01", "40100005"])
async def test_a_rejection_of_our_request_is_never_held_against_the_customer(code: str) -> None:
    answer = Wire(pairs(Status="FAILED", Code=code, Description="x").encode())
    assert await cards(answer).charge(CHARGE) == Refused(code, "x")


async def test_a_mistyped_payback_number_does_not_stop_the_account() -> None:
    assert await charged(result("40160F04", "FAILED")) == Declined(
        "40160F04", DeclineClass.NEEDS_CUSTOMER, "told", PAY_ID
    )


# --- what became of a payment -------------------------------------------------------------------------------


async def test_a_payment_is_asked_about_by_its_payid_where_that_is_known_and_else_by_our_key() -> None:
    for gateway_id, page in (("", "inquire24.aspx"), (PAY_ID, "inquire.aspx")):
        wire = answering(amounts(1990, 1990))
        assert await gateway(wire).find(replace(QUESTION, gateway_id=gateway_id)) == Approved(PAY_ID, AMOUNT)
        [request] = wire.requests
        assert str(request.url) == f"https://paygate.example/{page}"
        assert (sent(request).text("PayID"), sent(request).text("TransID")) == (gateway_id, KEY)
        assert len(sent(request).text("MAC")) == 64


@pytest.mark.parametrize("last", ["FAILED", "OK", "AUTHORIZED", "CAPTURE_WAITING", "", "anything"])
async def test_money_that_was_taken_is_ours_whatever_the_last_step_says(last: str) -> None:
    assert await found(amounts(1990, 1990, 500, last=last)) == Approved(PAY_ID, AMOUNT)


async def test_a_payment_given_back_whole_is_undone() -> None:
    undone = Approved(PAY_ID, AMOUNT, undone=OperationKind.REFUND)
    assert await found(amounts(1990, 1990, 1990)) == undone


async def test_money_that_is_not_ours_is_told_as_the_money_it_is() -> None:
    assert await found(amounts(1990, 1000, Currency="CHF")) == Approved(PAY_ID, Money(1000, "CHF"))


async def test_a_sale_nobody_has_confirmed_is_pending() -> None:
    assert await found(amounts(last="AUTHORIZE_REQUEST")) == Pending(
        PAY_ID, evidence="Computop reports the state AUTHORIZE_REQUEST"
    )


async def test_a_reservation_is_only_one_where_the_account_reserves() -> None:
    text = amounts(1990, last="AUTHORIZED")
    assert await found(text, cards) == Approved(PAY_ID, AMOUNT, captured=False)
    assert isinstance(await found(text), Pending)
    assert isinstance(await found(amounts(1990, last="CAPTURE_REQUEST"), cards), Pending)
    assert isinstance(await found(amounts(1990, 500, last="CAPTURE_REQUEST"), cards), Pending)


async def test_a_reservation_that_is_gone_was_let_go() -> None:
    undone = Approved(PAY_ID, AMOUNT, captured=False, undone=OperationKind.REVERSAL)
    assert await found(amounts(last="OK"), cards) == undone
    assert isinstance(await found(amounts(last="OK")), Unknown)
    assert isinstance(await found(amounts(last="AUTHORIZED"), cards), Unknown)


@pytest.mark.parametrize("page", [False, True])
async def test_a_sale_that_failed_is_declined_and_its_page_takes_no_second_try(page: bool) -> None:
    outcome = await found(amounts(last="FAILED"), page=page)
    assert outcome == Declined("FAILED", DeclineClass.RETRY_LATER, "an inquiry names no reason", PAY_ID)
    assert not gateway().abilities.page_outlives_decline


async def test_a_payment_computop_does_not_know_was_never_sent_unless_its_page_is_still_open() -> None:
    unknown = result("23F00061", "FAILED", PayID="")
    assert isinstance(await found(unknown), NotSent)
    assert isinstance(await found(unknown, page=True), Pending)


@pytest.mark.parametrize(
    "text",
    [
        amounts(1990, 1990, AmountCap=""),
        amounts(1990, 1990, AmountAuth="x"),
        amounts(1990, 1990, AmountCred="-1"),
        amounts(1990, 1990, 1991),
        amounts(1990, 1990, Currency="EURO"),
        amounts(1990, 1990, TransID="INV-1001-2"),
        amounts(1990, 1990, PayID="f" * 32),
        amounts(1990, 1990, PayID=""),
        amounts(last="OK"),
        amounts(last=""),
        result("23F00051", "FAILED"),
        result("23F00305", "FAILED"),
        result("63F00001", "PENDING"),
        result(code=""),
    ],
)
async def test_an_inquiry_that_tells_too_little_is_a_doubt(text: str) -> None:
    assert isinstance(await found(text, gateway_id=PAY_ID), Unknown)


@pytest.mark.parametrize("operation", [None, OperationKind.REFUND])
async def test_a_question_that_is_rejected_says_nothing_of_what_was_asked(operation: OperationKind | None) -> None:
    outcome = await found(result("40120F01", "FAILED"), gateway_id=PAY_ID, operation=operation)
    assert outcome == Unknown("Computop answered the question with 40120F01", PAY_ID)


async def test_a_question_that_never_left_says_nothing_of_the_payment() -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    assert isinstance(await gateway(Wire(down)).find(QUESTION), Unknown)


# --- what follows -------------------------------------------------------------------------------------------


async def test_a_refund_is_a_credit_with_a_key_of_its_own() -> None:
    wire = answering(result(key="CRN-1001-1"))
    assert await gateway(wire).refund(BOOKED, PART, "CRN-1001-1") == Approved(PAY_ID, PART)
    [request] = wire.requests
    assert str(request.url) == "https://paygate.example/credit.aspx"
    told = sent(request)
    wanted = {"PayID": PAY_ID, "TransID": "CRN-1001-1", "ReqId": "CRN-1001-1", "Amount": "500", "Currency": "EUR"}
    assert {name: told.text(name) for name in wanted} == wanted
    assert told.text("MAC").startswith("85371DEE5F113D41")


@pytest.mark.parametrize(
    ("booked", "amount"),
    [
        (BOOKED, Money(1991, "EUR")),
        (replace(BOOKED, given_back_minor=1491), PART),
        (BOOKED, Money(500, "CHF")),
        (BOOKED, Money(0, "EUR")),
        (Booked(KEY, "", AMOUNT), PART),
        (Booked(KEY, "a&b", AMOUNT), PART),
    ],
)
async def test_a_refund_that_cannot_be_is_never_sent(booked: Booked, amount: Money) -> None:
    wire = answering(result())
    with pytest.raises(MisuseError):
        await gateway(wire).refund(booked, amount, "CRN-1")
    assert wire.requests == []


async def test_a_refund_of_more_than_is_left_says_what_is_left() -> None:
    with pytest.raises(MisuseError, match=r"of INV-1001-1 only 4\.99 EUR is left to give back"):
        await gateway().refund(replace(BOOKED, given_back_minor=1491), PART, "CRN-1")


@pytest.mark.parametrize("detail", ["0062", "0076", "0068", "0072", "0051", "0709"])
async def test_an_operation_with_another_in_the_way_is_asked_about_and_no_final_no(detail: str) -> None:
    assert isinstance(await refunded(result(f"23F0{detail}", "FAILED", key="CRN-1")), Unknown)


@pytest.mark.parametrize("detail", ["0061", "0063", "0069", "0074", "0081", "0600", "0601"])
async def test_a_no_about_one_payment_does_not_stop_the_account(detail: str) -> None:
    outcome = await refunded(result(f"23F0{detail}", "FAILED", key="CRN-1"))
    assert outcome == Declined(f"23F0{detail}", DeclineClass.NEVER, "told", PAY_ID)


@pytest.mark.parametrize(
    "text", [result(), result(key="CRN-1", PayID="f" * 32), result(key="CRN-1", PayID=""), result(key="CRN-1", code="")]
)
async def test_an_answer_about_something_else_says_nothing_of_the_refund(text: str) -> None:
    assert isinstance(await refunded(text), Unknown)


async def test_a_refund_is_found_by_what_was_given_back_beyond_what_is_known() -> None:
    asked = await gateway(answering(amounts(1990, 1990, 500, "FAILED"))).find(REFUND)
    assert asked == Approved(PAY_ID, PART)
    wire = answering(amounts(1990, 1990, 700))
    assert isinstance(await gateway(wire).find(replace(REFUND, settled_minor=201)), NotSent)
    assert await gateway(wire).find(replace(REFUND, settled_minor=200)) == Approved(PAY_ID, PART)
    waiting = answering(amounts(1990, 1990, 0, "PENDING"))
    assert isinstance(await gateway(waiting).find(REFUND), Pending)
    assert isinstance(await gateway(answering(amounts(1990, 1990, 500, Currency="CHF"))).find(REFUND), Unknown)


async def test_a_capture_is_found_by_what_was_taken() -> None:
    capture = replace(REFUND, operation=OperationKind.CAPTURE)
    assert await cards(answering(amounts(1990, 500))).find(capture) == Approved(PAY_ID, PART)
    assert isinstance(await cards(answering(amounts(1990, 499))).find(capture), NotSent)


async def test_a_capture_takes_a_part_of_a_reservation_and_never_more_than_it() -> None:
    wire = answering(result(key="C-1"))
    assert await cards(wire).capture(BOOKED, PART, "C-1") == Approved(PAY_ID, PART)
    assert str(wire.requests[0].url).endswith("/capture.aspx")
    with pytest.raises(MisuseError):
        await cards(wire).capture(BOOKED, Money(1991, "EUR"), "C-2")


def in_turn(*texts: str) -> Wire:
    answers = iter(texts)
    return Wire(lambda _: httpx.Response(200, content=sealed(next(answers))))


async def test_a_reservation_is_let_go_after_asking_whether_it_is_one() -> None:
    wire = in_turn(amounts(1990, last="AUTHORIZED"), result(key="V-1"))
    assert await cards(wire).reverse(BOOKED, "V-1") == Approved(PAY_ID, AMOUNT)
    assert [request.url.path for request in wire.requests] == ["/inquire.aspx", "/reverse.aspx"]
    assert (sent(wire.requests[1]).text("TransID"), sent(wire.requests[1]).text("Amount")) == ("V-1", "1990")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (amounts(1990, 1990), Declined),
        (amounts(1990, 1990, 500), Declined),
        (amounts(1990, last="CAPTURE_REQUEST"), Pending),
        (amounts(), Approved),
        (result("23F00040", "FAILED"), Unknown),
        ("", Unknown),
    ],
)
async def test_what_is_no_reservation_is_never_reversed(text: str, kind: type[Outcome]) -> None:
    wire = in_turn(text)
    outcome = await cards(wire).reverse(BOOKED, "V-1")
    assert isinstance(outcome, kind)
    assert len(wire.requests) == 1
    if isinstance(outcome, Declined):
        assert outcome.decline is DeclineClass.NEVER


async def test_a_question_that_never_left_reverses_nothing() -> None:
    def down(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silence")

    wire = Wire(down)
    assert isinstance(await cards(wire).reverse(BOOKED, "V-1"), Unknown)
    assert len(wire.requests) == 1


# --- what it cannot do ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda g: g.charge(CHARGE),
        lambda g: g.capture(BOOKED, AMOUNT, "C-1"),
        lambda g: g.reverse(BOOKED, "V-1"),
        lambda g: g.forget(PROFILE),
        lambda g: g.open_card_form(PAYER),
        lambda g: g.pay_out(Payout("P-1", AMOUNT, PAYER, PROFILE, NOTIFY)),
        lambda g: g.charge_present(PresentCharge(KEY, AMOUNT, PAYER, ORDER, "card", {}, RETURNS, NOTIFY)),
    ],
)
async def test_a_verb_that_payback_pay_lacks_says_so_before_anything_is_sent(
    call: Callable[[Gateway], Awaitable[object]],
) -> None:
    wire = answering(result())
    with pytest.raises(UnsupportedError) as caught:
        await call(gateway(wire))
    assert PSEUDO not in str(caught.value)
    assert wire.requests == []


# --- credentials and the network ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [result("23F00061", "FAILED"), amounts()])
async def test_credentials_that_may_ask_work(text: str) -> None:
    wire = answering(text)
    await gateway(wire).check()
    assert str(wire.requests[0].url).endswith("/inquire24.aspx")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"Status=FAILED&Code=40160003&Description=x", "40160003"),
        (sealed(result("40120F01", "FAILED")), "40120F01"),
        (b"<html>", "no code"),
        (b"Len=8&Data=00", "cannot be read"),
    ],
)
async def test_credentials_that_do_not_work_are_one_clear_error(answer: bytes, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        await gateway(Wire(answer)).check()
    assert CREDENTIALS["encryption_password"] not in str(caught.value)


async def test_a_connection_that_is_refused_proves_that_nothing_was_sent() -> None:
    with refusing() as url:
        here = open_account({**CREDENTIALS, "endpoint": url})
        assert isinstance(await here.refund(BOOKED, PART, "CRN-1"), NotSent)
        with pytest.raises(ConfigurationError, match="no answer"):
            await here.check()
        await here.close()


@pytest.mark.parametrize("status", [302, 404, 500, 503])
async def test_any_other_http_status_is_a_doubt(status: int) -> None:
    wire = Wire(sealed(result(key="CRN-1")), status)
    assert isinstance(await gateway(wire).refund(BOOKED, PART, "CRN-1"), Unknown)


ANY_BYTES = st.binary(max_size=300) | st.binary(max_size=80).map(lambda raw: b"Len=8&Data=" + raw.hex().encode())


@settings(deadline=None)
@given(ANY_BYTES)
async def test_no_bytes_break_it_and_none_make_money(content: bytes) -> None:
    account = cards(Wire(content))
    for outcome in (
        await account.charge(CHARGE),
        await account.refund(BOOKED, PART, "R"),
        await account.find(QUESTION),
    ):
        assert not isinstance(outcome, Approved | Declined)


_VALUES = st.sampled_from(
    ["", "0", "1", "1990", "1991", "-1", "OK", "FAILED", "AUTHORIZED", "00000000", "23F00061", KEY, PAY_ID]
)
_NAMES = ("PayID", "TransID", "Status", "Code", "LastStatus", "AmountAuth", "AmountCap", "AmountCred", "Currency")


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(_NAMES), _VALUES))
async def test_no_answer_is_money_that_it_does_not_name(values: dict[str, str]) -> None:
    outcome = await found(pairs(**values), cards)
    if isinstance(outcome, Approved):
        named = values["AmountCap"] if outcome.captured else values["AmountAuth"]
        assert str(outcome.amount.minor) == named
        assert (values["Code"], values["TransID"]) == ("00000000", KEY)


# --- redaction ----------------------------------------------------------------------------------------------


async def test_no_secret_number_or_name_reaches_the_log() -> None:
    clear = result("22000305", "FAILED", card=PSEUDO, PCNr=PSEUDO, cardholderName="Doe", AccountId=NUMBER, MAC="5D47")
    clear = clear.replace("told", CREDENTIALS["hmac_password"])
    with capture_logs() as logs:
        account = cards(Wire(clear.encode()))
        outcome = await account.charge(CHARGE)
        await account.open_checkout(CHECKOUT)
    told = "\n".join(map(repr, logs)) + repr(outcome)
    assert "direct.aspx" in told
    for secret in (
        PSEUDO,
        "Doe",
        NUMBER,
        "5D47",
        "D63BBBBD",
        *(CREDENTIALS[name] for name in CREDENTIALS if "pass" in name),
    ):
        assert secret not in told
