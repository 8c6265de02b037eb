from __future__ import annotations

import asyncio
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
    AfterNothing,
    Approved,
    Checkout,
    ConfigurationError,
    DeclineClass,
    Declined,
    Mandate,
    MisuseError,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    ProfileNews,
    ProfileReference,
    Refused,
    Unknown,
    UnsupportedError,
)
from billing.money import Money, exponent
from gateways.paymentz import Paymentz, open_account
from gateways.paymentz_codes import BANK_CODES, LONG, REASONS, REJECTIONS, SHORT, STEPS, State, decline_class
from gateways.paymentz_wire import UnreadableError, money, written
from tests.gateways.paymentz_samples import (
    BASE,
    BOOKED,
    CHARGE,
    CHECKOUT,
    CREDENTIALS,
    JWT,
    KNOWN,
    PARENT,
    PAYMENT_ID,
    PAYOUT,
    PROFILE,
    QUESTION,
    STORED,
    TOKEN,
    Brand,
    gateway,
    inquiry,
    logged_in,
    made,
    present,
    rejected,
    response,
    result,
)
from tests.gateways.samples import AMOUNT, NOTIFY, PAYER, RETURNS
from tests.gateways.sockets import refusing

PART = Money(1000, "EUR")
HTML = b"<html><body>Service unavailable</body></html>"
NEWS = ProfileNews(PAYMENT_ID, "", "card", "VISA", "0051", date(2032, 7, 31), Mandate(first_transaction=PAYMENT_ID))


async def charged(answer: Any, status: int = 200, **config: str) -> Outcome:
    return await gateway(Brand(response(answer, status)), **config).charge(CHARGE)


async def found(answer: Any, **question: Any) -> Outcome:
    return await gateway(Brand(answer)).find(replace(KNOWN, **question))


async def sent_by(call: Callable[[Paymentz], Awaitable[object]], **config: str) -> tuple[str, dict[str, str]]:
    brand = Brand(made())
    await call(gateway(brand, **config))
    return brand.path(), brand.sent()


# --- the token ----------------------------------------------------------------------------------------


async def test_many_charges_at_once_need_one_token() -> None:
    brand = Brand(made())
    account = gateway(brand)
    await asyncio.gather(*(account.charge(CHARGE) for _ in range(50)))
    assert (len(brand.logins), len(brand.requests)) == (1, 50)
    assert {request.headers["authtoken"] for request in brand.requests} == {JWT}
    assert "authtoken" not in brand.logins[0].headers


async def test_a_failure_to_get_a_token_is_shared_by_all_who_waited_for_it() -> None:
    brand = Brand(made(), token=HTML)
    account = gateway(brand)
    outcomes = await asyncio.gather(*(account.charge(CHARGE) for _ in range(50)))
    assert all(isinstance(outcome, NotSent) for outcome in outcomes)
    assert (len(brand.logins), brand.requests) == (1, [])


async def test_a_token_is_renewed_before_it_expires() -> None:
    brand, now = Brand(made()), [0.0]
    account = gateway(brand, monotonic=lambda: now[0])
    for now[0], logins in ((0.0, 1), (3299.0, 1), (3300.0, 2), (6599.0, 2), (6600.0, 3)):
        await account.charge(CHARGE)
        assert len(brand.logins) == logins


@pytest.mark.parametrize("locked", [response(result("401"), 401), response(HTML, 401), response(result("401"), 200)])
async def test_a_rejected_token_is_fetched_anew_and_the_call_repeated_once(locked: httpx.Response) -> None:
    tokens = iter(["old", "new"])
    brand = Brand(locked, made(), token=lambda _: logged_in(next(tokens)))
    assert await gateway(brand).charge(CHARGE) == Approved(PAYMENT_ID, AMOUNT)
    assert [request.headers["authtoken"] for request in brand.requests] == ["old", "new"]


async def test_an_error_of_the_server_repeats_nothing_even_if_it_speaks_of_the_token() -> None:
    brand = Brand(response(result("401"), 500))
    assert isinstance(await gateway(brand).charge(CHARGE), Unknown)
    assert len(brand.requests) == 1


async def test_many_charges_with_one_rejected_token_fetch_one_new_one() -> None:
    tokens = iter(["old", "new"])
    brand = Brand(made(), token=lambda _: logged_in(next(tokens)))
    account = gateway(brand)
    await account.charge(CHARGE)
    brand.answers[:] = [response(result("401"), 401)] * 10 + [response(made())]
    outcomes = await asyncio.gather(*(account.charge(CHARGE) for _ in range(10)))
    assert set(outcomes) == {Approved(PAYMENT_ID, AMOUNT)}
    assert len(brand.logins) == 2


async def test_a_gateway_that_rejects_its_own_token_stops_the_account() -> None:
    brand = Brand(response(result("401"), 401))
    assert isinstance(await gateway(brand).charge(CHARGE), Refused)
    assert len(brand.requests) == 2


@pytest.mark.parametrize("answer", [result("401", "wrong key"), response(HTML, 401)])
async def test_wrong_credentials_stop_the_account_and_send_nothing(answer: Any) -> None:
    brand = Brand(made(), token=answer)
    outcome = await gateway(brand).charge(CHARGE)
    assert isinstance(outcome, Refused)
    assert brand.requests == []
    assert isinstance(await gateway(brand).find(QUESTION), Unknown)


@pytest.mark.parametrize("token", ["", " ", "line\nbreak", "tök"])
async def test_what_no_header_can_carry_is_no_token(token: str) -> None:
    brand = Brand(made(), token=logged_in(token))
    assert isinstance(await gateway(brand).charge(CHARGE), NotSent)
    assert brand.requests == []


async def test_without_a_token_nothing_was_sent_and_nothing_can_be_asked() -> None:
    with refusing() as address:
        nowhere = open_account({**CREDENTIALS, "endpoint": address.removesuffix("/door")})
        charged = await nowhere.charge(CHARGE)
        assert isinstance(charged, NotSent)
        assert "no connection was made" in charged.reason
        assert isinstance(await nowhere.find(QUESTION), Unknown)
        with pytest.raises(ConfigurationError):
            await nowhere.check()
        await nowhere.close()


async def test_a_page_instead_of_an_answer_is_a_doubt_and_the_next_call_has_a_fresh_token() -> None:
    brand = Brand(HTML, inquiry())
    account = gateway(brand)
    assert isinstance(await account.charge(CHARGE), Unknown)
    assert isinstance(await account.find(QUESTION), Approved)
    assert (len(brand.logins), len(brand.requests)) == (2, 2)


async def test_an_old_token_can_be_regenerated_where_that_is_wanted() -> None:
    brand, now = Brand(made()), [0.0]
    account = gateway(brand, use_regenerate="yes", monotonic=lambda: now[0])
    await account.charge(CHARGE)
    now[0] = 3400.0
    await account.charge(CHARGE)
    assert [request.url.path for request in brand.logins] == [
        f"{BASE}/authToken",
        "/fraudServices/REST/v1/regenerateToken",
    ]
    assert b"authToken=eyJ0" in brand.logins[1].content
    assert CREDENTIALS["secret_key"].encode() not in brand.logins[1].content


async def test_a_token_that_cannot_be_regenerated_is_asked_for_anew() -> None:
    def answer(request: httpx.Request) -> Any:
        return HTML if "regenerate" in request.url.path else logged_in()

    brand, now = Brand(made(), token=answer), [0.0]
    account = gateway(brand, use_regenerate="yes", monotonic=lambda: now[0])
    await account.charge(CHARGE)
    now[0] = 3400.0
    assert await account.charge(CHARGE) == Approved(PAYMENT_ID, AMOUNT)
    assert len(brand.logins) == 3


class Slow(httpx.AsyncBaseTransport):
    """Answers the token call at once, or never, and every other call never."""

    def __init__(self, *, token: bool) -> None:
        self._token = token

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._token and request.url.path.endswith("/authToken"):
            return response(logged_in())
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_token_that_does_not_come_in_half_the_time_sends_nothing() -> None:
    assert isinstance(await gateway(Slow(token=False), timeout_s="0.05").charge(CHARGE), NotSent)


async def test_an_answer_that_does_not_come_in_time_is_a_doubt() -> None:
    assert isinstance(await gateway(Slow(token=True), timeout_s="0.05").charge(CHARGE), Unknown)


async def test_the_check_asks_for_a_fresh_token_and_nothing_else() -> None:
    brand = Brand(made())
    account = gateway(brand)
    await account.check()
    await account.check()
    assert (len(brand.logins), brand.requests) == (2, [])


@pytest.mark.parametrize("told", [result("401"), HTML, {**logged_in(), "memberId": "11345"}])
async def test_a_check_that_fails_says_what_to_look_at_and_no_secret(told: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await gateway(Brand(made(), token=told)).check()
    assert CREDENTIALS["secret_key"] not in str(caught.value)


# --- what is sent -------------------------------------------------------------------------------------


async def test_a_charge_repeats_the_initial_payment_under_the_attempts_own_key() -> None:
    path, sent = await sent_by(lambda g: g.charge(CHARGE))
    assert path == f"{BASE}/payments/{PARENT}"
    assert sent["recurringType"] == "REPEATED"
    assert sent["merchantTransactionId"] == "T-1"
    assert sent["paymentType"] == "DB"
    assert sent["notificationUrl"] == NOTIFY
    assert "merchantRedirectUrl" not in sent


async def test_the_worked_vectors_of_repeated_payments_are_met() -> None:
    charge = replace(CHARGE, key="SUB-2", amount=Money(999, "EUR"))
    _, sent = await sent_by(lambda g: g.charge(charge))
    assert sent["authentication.checksum"] == "2e3d68e97193c23cc2cf6513bdef07fe"
    _, sent = await sent_by(lambda g: g.charge(charge), repeat_checksum_subject="own")
    assert sent["authentication.checksum"] == "d4fcde8c77b59dfc16d81f9cee639562"


async def test_the_parent_may_stand_in_the_body() -> None:
    path, sent = await sent_by(lambda g: g.charge(CHARGE), repeat_route="body")
    assert (path, sent["paymentId"]) == (f"{BASE}/payments", PARENT)


@pytest.mark.parametrize("route", ["paywithtoken", "registrations"])
async def test_a_stored_registration_can_be_what_is_charged(route: str) -> None:
    charge = replace(CHARGE, profile=ProfileReference("RG-ABC123"), amount=Money(5000, "EUR"))
    path, sent = await sent_by(lambda g: g.charge(charge), repeat_via="token", token_path=route)
    assert path == f"{BASE}/{route}/RG-ABC123"
    assert sent["authentication.checksum"] == "945e39ab03b0a57a1c8b7dff4f8cef2a"
    assert sent["recurringType"] == "REPEATED"


async def test_without_automatic_capture_every_payment_is_only_held() -> None:
    for call in (lambda g: g.charge(CHARGE), lambda g: g.charge_present(present())):
        _, sent = await sent_by(call, automatic_capture="no")
        assert sent["paymentType"] == "PA"
    page = await opened(automatic_capture="no")
    assert page.posted["transactionType"] == "PREAUTH"


async def test_bodies_may_be_json_in_either_shape() -> None:
    brand = Brand(made())
    await gateway(brand, request_format="json_flat").charge(CHARGE)
    await gateway(brand, request_format="json_nested").charge(CHARGE)
    flat, nested = (json.loads(request.content) for request in brand.requests)
    assert flat["authentication.memberId"] == nested["authentication"]["memberId"] == "11344"
    assert flat["amount"] == nested["amount"] == "25.00"
    assert {request.headers["content-type"] for request in brand.requests} == {"application/json"}


async def test_a_present_charge_tells_the_bank_of_the_browser_and_asks_to_come_back_by_get() -> None:
    charge = present(user_agent="Mozilla/5.0", java_enabled="no", screen_width="1920")
    path, sent = await sent_by(lambda g: g.charge_present(charge))
    assert path == f"{BASE}/paywithtoken/{TOKEN}"
    assert sent["deviceDetails.user_Agent"] == "Mozilla/5.0"
    assert sent["deviceDetails.browserJavaEnabled"] == "false"
    assert sent["customer.ip"] == PAYER.ip
    assert (sent["merchantRedirectUrl"], sent["redirectMethod"]) == (RETURNS.success, "GET")
    assert "recurringType" not in sent


@pytest.mark.parametrize("token", ["", "4000000000000051", "../payments", "a b"])
async def test_no_card_number_and_no_strange_path_is_sent_for_a_registration(token: str) -> None:
    brand = Brand(made())
    with pytest.raises(MisuseError) as caught:
        await gateway(brand).charge_present(present(token=token))
    assert brand.requests == brand.logins == []
    assert "4000000000000051" not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda g: g.charge(replace(CHARGE, profile=ProfileReference("-/-"))),
        lambda g: g.charge(replace(CHARGE, amount=Money(1, "CHF"))),
        lambda g: g.charge_present(present(cvv="123")),
        lambda g: g.charge_present(replace(present(), method="paypal")),
        lambda g: g.open_checkout(replace(CHECKOUT, ways=("card", "paypal"))),
        lambda g: g.capture(BOOKED, AMOUNT + PART, "C-1"),
        lambda g: g.capture(replace(BOOKED, gateway_id=""), AMOUNT, "C-1"),
        lambda g: g.refund(BOOKED, AMOUNT + PART, "R-1"),
        lambda g: g.refund(replace(BOOKED, given_back_minor=1000), PART, "R-1"),
        lambda g: g.refund(BOOKED, Money(0, "EUR"), "R-1"),
        lambda g: g.pay_out(replace(PAYOUT, profile=ProfileReference(""))),
        lambda g: g.open_card_form(PAYER),
        lambda g: g.forget(PROFILE),
    ],
)
async def test_what_must_not_be_sent_is_raised_before_anything_is(
    call: Callable[[Paymentz], Awaitable[object]],
) -> None:
    brand = Brand(made())
    with pytest.raises(MisuseError):
        await call(gateway(brand, currencies="EUR"))
    assert brand.requests == brand.logins == []


# --- amounts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (2500, "EUR", "25.00"),
        (5, "EUR", "0.05"),
        (100, "JPY", "100.00"),
        (1230, "KWD", "1.23"),
        (12300, "CLF", "1.23"),
        (9_999_999_999, "EUR", "99999999.99"),
    ],
)
def test_amounts_always_have_two_decimals_and_mean_the_same_money(minor: int, currency: str, text: str) -> None:
    assert written(Money(minor, currency)) == text
    assert money(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    "amount", [Money(1234, "KWD"), Money(0, "EUR"), Money(-1, "EUR"), Money(10**10, "EUR"), Money(10**8, "JPY")]
)
def test_an_amount_that_two_decimals_cannot_say_is_not_sent(amount: Money) -> None:
    with pytest.raises(MisuseError):
        written(amount)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("50", "EUR"),
        ("50.1", "EUR"),
        ("50,00", "EUR"),
        ("-1.00", "EUR"),
        ("0.50", "JPY"),
        ("1.00", "EURO"),
        ("", "EUR"),
    ],
)
def test_an_amount_that_is_not_written_so_is_not_read(text: str, currency: str) -> None:
    with pytest.raises(UnreadableError):
        money(text, currency)


@given(st.integers(1, 10**12), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_whatever_is_sent_reads_back_as_the_same_money(minor: int, currency: str) -> None:
    amount = Money(minor, currency)
    try:
        text = written(amount)
    except MisuseError:
        assert (minor * 100) % 10 ** exponent(currency) or minor * 100 // 10 ** exponent(currency) >= 10**10
    else:
        assert money(text, currency) == amount


# --- the hosted page ----------------------------------------------------------------------------------


async def opened(order: Any = CHECKOUT, **config: str) -> Checkout:
    brand = Brand(made())
    page = await gateway(brand, **config).open_checkout(order)
    assert brand.requests == brand.logins == []
    assert isinstance(page, Checkout)
    return page


async def test_opening_the_page_sends_nothing_and_gives_a_signed_form() -> None:
    page = await opened(page_life_s="600")
    assert (page.url, page.life_s, page.gateway_id) == ("https://brand.example/transaction/Checkout", 600, "")
    assert page.posted["merchantTransactionId"] == "T-1"
    assert page.posted["TMPL_AMOUNT"] == page.posted["amount"] == "25.00"
    assert not {"recurringType", "createRegistration", "transactionType"} & set(page.posted)
    assert CREDENTIALS["secret_key"] not in str(page)


async def test_a_page_that_stores_begins_a_series() -> None:
    page = await opened(replace(CHECKOUT, store=PROFILE))
    assert (page.posted["recurringType"], page.posted["createRegistration"]) == ("INITIAL", "true")
    named = await opened(
        replace(CHECKOUT, store=PROFILE), hosted_recurring_field="REC", hosted_registration_field="REG"
    )
    assert (named.posted["REC"], named.posted["REG"]) == ("INITIAL", "true")
    assert "REC" not in (await opened(replace(CHECKOUT, store=PROFILE), hosted_initial="no")).posted
    assert not gateway(Brand(b""), hosted_initial="no").abilities.renews_profile


@pytest.mark.parametrize(
    ("config", "store", "held"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"automatic_capture": "no"}, True, False),
        ({"repeat_via": "token"}, True, True),
        ({"repeat_parent_states": "authcancelled,settled"}, True, True),
    ],
)
async def test_a_small_authorisation_is_held_unless_letting_go_would_end_the_profile(
    config: dict[str, str], store: bool, held: bool
) -> None:
    order = replace(CHECKOUT, reserve_only=True, store=PROFILE if store else None)
    assert ("transactionType" in (await opened(order, **config)).posted) is held


# --- what counts as yes -------------------------------------------------------------------------------


async def test_a_paid_answer_is_money() -> None:
    assert await charged(made()) == Approved(PAYMENT_ID, AMOUNT)


async def test_money_that_is_not_ours_is_told_as_the_money_it_is() -> None:
    assert await charged(made(amount="100.00", currency="JPY")) == Approved(PAYMENT_ID, Money(100, "JPY"))


@pytest.mark.parametrize("told", [{}, {"paymentType": "PA"}, {"status": "authsuccessful"}])
async def test_a_held_amount_is_only_reserved(told: dict[str, str]) -> None:
    outcome = await charged(made(**told), automatic_capture="no")
    assert outcome == Approved(PAYMENT_ID, AMOUNT, captured=False)


async def test_the_answer_says_whether_it_was_taken_whatever_was_asked_for() -> None:
    assert await charged(made(paymentType="DB"), automatic_capture="no") == Approved(PAYMENT_ID, AMOUNT)
    assert await charged(made(status="authsuccessful")) == Approved(PAYMENT_ID, AMOUNT, captured=False)


@pytest.mark.parametrize(
    "answer",
    [
        made(code="00026"),
        made(code=""),
        made("", "00001"),
        made("X"),
        made(status="unheard"),
        made(amount=""),
        made(amount="25"),
        made(currency="EURO"),
        made(paymentId="-"),
        made(paymentId=""),
        made(paymentId="1/2"),
        made(paymentId=PARENT),
        made(merchantTransactionId="T-2"),
        made(code="20006"),
        {**made(), "result": "00001"},
        result("00001"),
        {},
    ],
)
async def test_an_answer_that_is_not_wholly_a_yes_is_a_doubt(answer: dict[str, Any]) -> None:
    assert isinstance(await charged(answer), Unknown)


@pytest.mark.parametrize(
    "content",
    [
        HTML,
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"a":1,"a":2}',
        b'{"a.b":"1","a":{"b":"2"}}',
        b'{"a":NaN}',
        b"[" * 9999,
        b'{"a":"\\ud800"}',
    ],
)
async def test_what_cannot_be_read_is_a_doubt(content: bytes) -> None:
    assert isinstance(await charged(content), Unknown)


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_an_error_of_the_server_is_a_doubt_whatever_it_says(status: int) -> None:
    assert isinstance(await charged(made(), status), Unknown)
    assert isinstance(await charged(made("N", "10001"), status), Unknown)


async def test_a_yes_with_another_http_status_is_a_doubt() -> None:
    assert isinstance(await charged(made(), 202), Unknown)


async def test_numbers_in_an_answer_keep_their_digits() -> None:
    content = json.dumps(made()).replace('"25.00"', "25.00").replace(f'"{PAYMENT_ID}"', PAYMENT_ID).encode()
    assert await charged(content) == Approved(PAYMENT_ID, AMOUNT)


# --- what counts as no --------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["10001", "20007"])
async def test_a_no_of_the_bank_is_a_decline(code: str) -> None:
    outcome = await charged(made("N", code, "Insufficient funds"))
    assert outcome == Declined(code, DeclineClass.RETRY_LATER, "Insufficient funds", PAYMENT_ID)


@pytest.mark.parametrize("status", ["authfailed", "failed", "capturefailed"])
async def test_the_long_status_says_no_whatever_the_code(status: str) -> None:
    outcome = await charged(made("N", "99999", "Card expired", status=status))
    assert outcome == Declined(status, DeclineClass.NEEDS_NEW_PROFILE, "Card expired", PAYMENT_ID)


@pytest.mark.parametrize(("code", "expected"), BANK_CODES.items())
async def test_the_banks_own_code_has_a_class(code: str, expected: DeclineClass) -> None:
    answer = {**made("N"), **result("10001", "Transaction failed", bankCode=code)}
    assert await charged(answer) == Declined(code, expected, "Transaction failed", PAYMENT_ID)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Insufficient funds", DeclineClass.RETRY_LATER),
        ("Card reported STOLEN", DeclineClass.NEVER),
        ("Expired card", DeclineClass.NEEDS_NEW_PROFILE),
        ("Cardholder authentication required", DeclineClass.NEEDS_CUSTOMER),
        ("3D authentication failed", DeclineClass.NEEDS_CUSTOMER),
        ("Do not honour", DeclineClass.RETRY_LATER),
        ("", DeclineClass.RETRY_LATER),
    ],
)
def test_words_of_a_decline_have_a_class_and_others_are_tried_later(text: str, expected: DeclineClass) -> None:
    assert decline_class("", text) is expected
    assert {decline for _, decline in REASONS} == set(DeclineClass)


async def test_a_cancelled_payment_needs_the_customer() -> None:
    outcome = await charged(made("C", "10001"))
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_CUSTOMER


@pytest.mark.parametrize("payment_id", ["-", PAYMENT_ID, ""])
@pytest.mark.parametrize(
    ("code", "text"), [("20006", ""), ("99", "Duplicate transaction"), ("10001", "Already exists")]
)
async def test_a_duplicate_is_asked_about_and_never_a_decline(code: str, text: str, payment_id: str) -> None:
    outcome = await charged(rejected(code, text, payment_id))
    assert isinstance(outcome, Unknown)
    assert outcome.gateway_id == ""


async def test_a_replayed_answer_is_the_answer() -> None:
    assert await charged(made()) == Approved(PAYMENT_ID, AMOUNT)


@pytest.mark.parametrize("code", ["20001", "20006", "30000", "500"])
async def test_a_no_with_a_payment_and_a_code_that_is_not_the_banks_is_a_doubt(code: str) -> None:
    outcome = await charged(made("N", code))
    assert isinstance(outcome, Unknown)
    assert outcome.gateway_id == ""


@pytest.mark.parametrize(("code", "expected"), REJECTIONS.items())
async def test_a_rejection_without_a_payment_is_of_us_or_of_the_profile(code: str, expected: Any) -> None:
    outcome = await charged(rejected(code, "why"))
    if expected is None:
        assert outcome == Refused(code, f"PaymentZ rejects the request: {code} why")
    else:
        assert outcome == Declined(code, expected, "why")


async def test_a_terminal_that_is_not_usable_is_no_customers_fault() -> None:
    assert isinstance(await charged(rejected("20008", "Terminal is not flagged for recurring")), Refused)
    outcome = await charged(rejected("20008", "recurring, terminal or registration not usable"))
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_NEW_PROFILE


@pytest.mark.parametrize("code", ["30000", "500", "00001", ""])
async def test_a_rejection_nobody_listed_is_a_doubt(code: str) -> None:
    assert isinstance(await charged(rejected(code)), Unknown)
    assert isinstance(await charged(rejected(code), 400), Unknown)


# --- the customer's turn ------------------------------------------------------------------------------

PARAMETERS = [{"name": "PaReq", "value": "eJx"}, {"name": "MD", "value": "1"}]
ACS = {"url": "https://acs.example/step?x=1", "method": "POST", "target": "_self", "parameters": PARAMETERS}


async def paid(answer: Any, store: ProfileReference | None = None, **config: str) -> Outcome:
    return await gateway(Brand(answer), **config).charge_present(present(store))


@pytest.mark.parametrize("short", ["3D", "P"])
async def test_the_banks_question_is_posted_by_the_customers_browser(short: str) -> None:
    assert await paid(made(short, "00002", redirect=ACS)) == Pending(
        PAYMENT_ID, redirect="https://acs.example/step?x=1", until_s=1800, posted={"PaReq": "eJx", "MD": "1"}
    )


async def test_a_redirect_without_parameters_is_just_opened() -> None:
    outcome = await paid(made("P", "00002", redirect={"url": "https://bank.example/"}))
    assert outcome == Pending(PAYMENT_ID, redirect="https://bank.example/", until_s=1800)


@pytest.mark.parametrize(
    ("told", "default", "posts"),
    [("POST", "GET", True), ("get", "POST", False), ("", "auto", True), ("", "POST", True), ("", "GET", False)],
)
async def test_a_missing_method_is_the_default(told: str, default: str, posts: bool) -> None:
    outcome = await paid(made("3D", redirect={**ACS, "method": told}), default_redirect_method=default)
    assert isinstance(outcome, Pending)
    assert bool(outcome.posted) is posts
    assert outcome.redirect == ACS["url"] if posts else outcome.redirect == f"{ACS['url']}&PaReq=eJx&MD=1"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "acs.example", "https://", "https://[", "//acs.example"])
async def test_an_address_nobody_can_open_is_a_doubt(url: str) -> None:
    assert isinstance(await paid(made("3D", redirect={"url": url})), Unknown)


async def test_an_asynchronous_payment_is_pending_without_a_redirect() -> None:
    assert await paid(made("P", "00002")) == Pending(PAYMENT_ID, evidence="PaymentZ reports the state P")


async def test_a_bank_that_wants_an_absent_customer_is_waited_for() -> None:
    outcome = await charged(made("3D", "00002", redirect=ACS))
    assert isinstance(outcome, Pending)
    assert (outcome.redirect, outcome.posted, outcome.gateway_id) == ("", {}, PAYMENT_ID)


async def test_a_payment_that_stores_is_a_new_parent() -> None:
    brand = Brand(made())
    outcome = await gateway(brand).charge_present(present(PROFILE))
    assert outcome == Approved(PAYMENT_ID, AMOUNT, profile=NEWS)
    assert brand.sent()["recurringType"] == "INITIAL"


async def test_a_registration_is_the_profile_where_that_is_what_is_charged() -> None:
    stored = await paid(made(registrationId=TOKEN), PROFILE, repeat_via="token")
    assert stored == Approved(PAYMENT_ID, AMOUNT, profile=replace(NEWS, reference=TOKEN))
    assert await paid(made(token=TOKEN), PROFILE, repeat_via="token") == stored
    assert await paid(made(), PROFILE, repeat_via="token") == Approved(PAYMENT_ID, AMOUNT, profile_failed=True)


async def test_a_charge_makes_no_profile_whatever_the_answer_holds() -> None:
    assert await charged(made(registrationId=TOKEN, recurringType="INITIAL")) == Approved(PAYMENT_ID, AMOUNT)


# --- questions ----------------------------------------------------------------------------------------


async def test_a_payment_is_asked_about_by_our_key_until_its_number_is_known() -> None:
    path, sent = await sent_by(lambda g: g.find(replace(QUESTION, key="ORDER-1001")))
    assert (path, sent["paymentType"], sent["idType"]) == (f"{BASE}/inquiry", "IN", "MID")
    assert sent["authentication.checksum"] == "866c68dcb77b238de0eca9c0b77f182a"
    path, sent = await sent_by(lambda g: g.find(replace(QUESTION, gateway_id="54279")))
    assert (path, sent["idType"]) == (f"{BASE}/payments/54279", "PID")
    assert sent["authentication.checksum"] == "e03b693ea153be2bd0f7ccea0e0da138"


async def test_the_inquiry_may_be_signed_like_a_purchase() -> None:
    question = replace(QUESTION, key="ORDER-1001", amount=Money(5000, "EUR"))
    _, sent = await sent_by(lambda g: g.find(question), mid_inquiry_checksum="four")
    assert sent["authentication.checksum"] == "6eedb61c8e8fc66b7ff4cc0cbf2f753d"
    assert sent["amount"] == "50.00"


EXPECTED = {
    State.OPEN: Pending,
    State.CAPTURING: Pending,
    State.FAILED: Declined,
    State.CANCELED: Declined,
    State.RESERVED: Approved,
    State.RELEASING: Approved,
    State.RELEASED: Approved,
    State.PAID: Approved,
    State.REFUNDING: Approved,
    State.REFUNDED: Approved,
    State.CHARGED_BACK: Approved,
}
TAKEN = {State.PAID, State.REFUNDING, State.REFUNDED, State.CHARGED_BACK}
UNDONE = {"authcancelled": "reversal", "reversed": "refund", "chargeback": "chargeback"}


@pytest.mark.parametrize("short", ["Y", "N", "P", "C", ""])
@pytest.mark.parametrize("status", LONG)
async def test_the_long_status_decides_and_the_code_never_does(status: str, short: str) -> None:
    outcome = await found(inquiry(status, short))
    assert isinstance(outcome, EXPECTED[LONG[status]])
    if isinstance(outcome, Approved):
        assert outcome.captured is (LONG[status] in TAKEN)
        assert (outcome.undone or "") == UNDONE.get(status, "")


@pytest.mark.parametrize(("short", "state"), SHORT.items())
async def test_the_short_status_decides_where_there_is_no_long_one(short: str, state: State) -> None:
    assert isinstance(await found(inquiry("", short)), EXPECTED[state])
    assert isinstance(await found(inquiry(short, "")), EXPECTED[state])


async def test_a_bare_yes_needs_the_kind_of_payment_it_says_yes_to() -> None:
    assert isinstance(await found(inquiry("")), Unknown)
    assert await found(inquiry("", paymentType="DB")) == Approved(PAYMENT_ID, AMOUNT)
    assert await found(inquiry("", paymentType="PA")) == Approved(PAYMENT_ID, AMOUNT, captured=False)


async def test_only_a_miss_is_nothing() -> None:
    assert isinstance(await found(result("20003", "Record not found"), gateway_id=""), NotSent)
    for answer in (result("20002"), result("500"), result("00026"), result("401"), result(""), HTML, {}):
        assert isinstance(await found(answer, gateway_id=""), Unknown)


async def test_the_code_of_a_miss_can_be_another_one() -> None:
    account = gateway(Brand(result("77")), not_found_code="77")
    assert isinstance(await account.find(QUESTION), NotSent)


async def test_a_payment_it_told_us_of_cannot_be_nothing() -> None:
    assert isinstance(await found(result("20003")), Unknown)


async def test_a_question_or_an_operation_answered_with_another_http_status_is_a_doubt() -> None:
    assert isinstance(await found(response(inquiry(), 202)), Unknown)
    assert isinstance(await found(response(result("20003"), 404), gateway_id=""), Unknown)
    for kind in CALLS:
        assert isinstance(await followed(kind, response(told(kind), 202)), Unknown)


async def test_an_answer_about_something_else_is_a_doubt() -> None:
    assert isinstance(await found(inquiry(paymentId="54302")), Unknown)
    assert isinstance(await found(inquiry(merchantTransactionId="T-2")), Unknown)


async def test_on_an_open_page_nothing_is_not_the_end_and_a_failed_payment_is() -> None:
    assert isinstance(await found(result("20003"), gateway_id="", page=True), Pending)
    for status, short in (("begun", "P"), ("authstarted", "3D")):
        assert isinstance(await found(inquiry(status, short), gateway_id="", page=True), Pending)
    for status, short in (("authfailed", "N"), ("cancelled", "C")):
        outcome = await found(inquiry(status, short), gateway_id="", page=True)
        assert isinstance(outcome, Declined)
    assert await found(inquiry(), gateway_id="", page=True) == Approved(PAYMENT_ID, AMOUNT)


@pytest.mark.parametrize("told", [{"recurringType": "INITIAL"}, {"registrationId": TOKEN}, {"token": TOKEN}])
async def test_a_page_that_stored_is_found_with_its_profile(told: dict[str, str]) -> None:
    assert await found(inquiry(**told), gateway_id="") == Approved(PAYMENT_ID, AMOUNT, profile=NEWS)


async def test_a_repeated_payment_is_found_without_a_profile() -> None:
    outcome = await found(inquiry(recurringType="REPEATED", registrationId=TOKEN))
    assert outcome == Approved(PAYMENT_ID, AMOUNT)


async def test_a_parent_that_can_no_longer_be_cited_is_no_profile() -> None:
    for status, usable in (("authcancelled", False), ("chargeback", False), ("reversed", True), ("settled", True)):
        outcome = await found(inquiry(status, recurringType="INITIAL"))
        assert isinstance(outcome, Approved)
        assert (outcome.profile is not None, outcome.profile_failed) == (usable, not usable)


@pytest.mark.parametrize(
    ("month", "year", "expected"),
    [("2", "2028", date(2028, 2, 29)), ("13", "2028", None), ("", "", None), ("07", "32", None), ("0", "2030", None)],
)
async def test_an_expiry_is_read_where_it_is_one(month: str, year: str, expected: date | None) -> None:
    card = {"lastFourDigits": "1111", "expiryMonth": month, "expiryYear": year}
    outcome = await found(inquiry(recurringType="INITIAL", card=card, paymentBrand="MASTER CARD"))
    assert isinstance(outcome, Approved)
    assert outcome.profile is not None
    profile = outcome.profile
    assert (profile.expires_on, profile.last4, profile.brand) == (expected, "1111", "MASTERCARD")


# --- what follows a payment ---------------------------------------------------------------------------

CALLS: dict[OperationKind, Callable[[Paymentz], Awaitable[Outcome]]] = {
    OperationKind.CAPTURE: lambda g: g.capture(BOOKED, PART, "C-1"),
    OperationKind.REVERSAL: lambda g: g.reverse(BOOKED, "V-1"),
    OperationKind.REFUND: lambda g: g.refund(BOOKED, PART, "R-1"),
}
CODES = {OperationKind.CAPTURE: "00004", OperationKind.REVERSAL: "00006", OperationKind.REFUND: "00005"}
REACHED = {
    OperationKind.CAPTURE: "capturesuccess",
    OperationKind.REVERSAL: "authcancelled",
    OperationKind.REFUND: "reversed",
}
ON_ITS_WAY = {
    OperationKind.CAPTURE: "capturestarted",
    OperationKind.REVERSAL: "cancelstarted",
    OperationKind.REFUND: "markedforreversal",
}


async def followed(kind: OperationKind, answer: Any) -> Outcome:
    return await CALLS[kind](gateway(Brand(answer)))


def told(kind: OperationKind, **more: str) -> dict[str, Any]:
    return {"paymentId": PAYMENT_ID, **result(CODES[kind]), **more}


@pytest.mark.parametrize("kind", CALLS)
async def test_an_operation_is_done_where_its_own_code_or_status_says_so(kind: OperationKind) -> None:
    done = Approved(PAYMENT_ID, AMOUNT if kind is OperationKind.REVERSAL else PART)
    for more in ({}, {"transactionStatus": "Y"}, {"status": REACHED[kind], "transactionStatus": "C"}):
        assert await followed(kind, told(kind, **more)) == done
    assert await followed(kind, {**told(kind, status=REACHED[kind]), **result("00001")}) == done


@pytest.mark.parametrize("kind", CALLS)
async def test_an_operation_under_way_is_pending(kind: OperationKind) -> None:
    for more in ({"transactionStatus": "P"}, {"status": ON_ITS_WAY[kind], "transactionStatus": "P"}):
        assert isinstance(await followed(kind, told(kind, **more)), Pending)


@pytest.mark.parametrize("kind", CALLS)
async def test_an_operation_whose_answer_contradicts_itself_is_a_doubt(kind: OperationKind) -> None:
    doubts = [
        told(kind, status="authfailed"),
        told(kind, transactionStatus="N"),
        told(kind, paymentId="54302"),
        {**told(kind), **result("00001")},
        {**told(kind), **result("00026")},
        {**told(kind, status=REACHED[kind]), **result("20004")},
        rejected("99"),
        HTML,
    ]
    for answer in doubts:
        outcome = await followed(kind, answer)
        assert isinstance(outcome, Unknown)
        assert outcome.gateway_id == PAYMENT_ID


@pytest.mark.parametrize("kind", [OperationKind.CAPTURE, OperationKind.REFUND])
async def test_an_operation_of_another_amount_is_a_doubt(kind: OperationKind) -> None:
    assert isinstance(await followed(kind, told(kind, amount="25.00", currency="EUR")), Unknown)
    assert await followed(kind, told(kind, amount="10.00", currency="EUR")) == Approved(PAYMENT_ID, PART)


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("payment_id", ["-", PAYMENT_ID])
async def test_an_operation_out_of_place_is_declined_for_good(kind: OperationKind, payment_id: str) -> None:
    outcome = await followed(kind, rejected("20004", "Not allowed in this state", payment_id))
    assert outcome == Declined("20004", DeclineClass.NEVER, "Not allowed in this state", PAYMENT_ID)


@pytest.mark.parametrize("kind", CALLS)
async def test_an_operation_that_failed_or_was_malformed_is_said_so(kind: OperationKind) -> None:
    failed = await followed(kind, rejected("10001", "Transaction failed", PAYMENT_ID))
    assert failed == Declined("10001", DeclineClass.RETRY_LATER, "Transaction failed", PAYMENT_ID)
    assert isinstance(await followed(kind, rejected("20002")), Refused)


async def test_operations_are_signed_as_the_worked_vectors_say() -> None:
    booked = replace(BOOKED, gateway_id="54279", amount=Money(5000, "EUR"))
    _, sent = await sent_by(lambda g: g.capture(booked, booked.amount, "C-1"))
    assert (sent["paymentType"], sent["authentication.checksum"]) == ("CP", "1e70c12c1c4426a38d5c86ba79812ebc")
    path, sent = await sent_by(lambda g: g.refund(booked, Money(1230, "EUR"), "R-1"))
    assert (path, sent["paymentType"]) == (f"{BASE}/payments/54279", "RF")
    assert sent["authentication.checksum"] == "773d8f173910ca1f5fcb06f0257b0993"
    _, sent = await sent_by(lambda g: g.reverse(booked, "V-1"))
    assert (sent["paymentType"], sent["authentication.checksum"]) == ("RV", "e03b693ea153be2bd0f7ccea0e0da138")
    assert "amount" not in sent


async def test_a_payment_may_be_refunded_again_only_where_the_brand_allows_it() -> None:
    booked = replace(BOOKED, given_back_minor=1000)
    account = gateway(Brand(told(OperationKind.REFUND)), max_refunds="2")
    assert await account.refund(booked, PART, "R-2") == Approved(PAYMENT_ID, PART)
    with pytest.raises(MisuseError):
        await account.refund(booked, AMOUNT, "R-2")


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("status", LONG)
async def test_an_operation_is_found_by_where_its_payment_stands(kind: OperationKind, status: str) -> None:
    done, under_way, before = STEPS[kind]
    outcome = await found(inquiry(status), amount=PART, operation=kind, operation_key="X-1")
    state = LONG[status]
    if state in done:
        assert outcome == Approved(PAYMENT_ID, PART)
    elif state in under_way:
        assert isinstance(outcome, Pending)
    elif state in before:
        assert isinstance(outcome, NotSent)
    elif state is State.OPEN:
        assert isinstance(outcome, Unknown)
    else:
        assert isinstance(outcome, Declined)
        assert outcome.decline is DeclineClass.NEVER


@pytest.mark.parametrize("before", [{"settled_before": 1}, {"settled_minor": 1000}])
async def test_a_second_refund_cannot_be_told_from_the_first(before: dict[str, int]) -> None:
    for status in ("capturesuccess", "reversed"):
        assert isinstance(await found(inquiry(status), operation=OperationKind.REFUND, **before), Unknown)


async def test_an_operation_without_a_payments_number_cannot_be_found() -> None:
    brand = Brand(inquiry())
    outcome = await gateway(brand).find(replace(QUESTION, operation=OperationKind.REFUND))
    assert isinstance(outcome, Unknown)
    assert brand.requests == []


async def test_what_no_status_of_a_card_payment_tells_cannot_be_asked_about() -> None:
    assert isinstance(await found(inquiry("chargeback"), operation=OperationKind.RETURNED_DEBIT), Unknown)


# --- paying out, forgetting ---------------------------------------------------------------------------


async def test_a_payout_goes_to_the_card_of_an_earlier_payment() -> None:
    payout = replace(PAYOUT, key="PO-1", amount=Money(5000, "EUR"))
    path, sent = await sent_by(lambda g: g.pay_out(payout))
    assert (path, sent["paymentType"], sent["paymentId"]) == (f"{BASE}/payout", "PO", PARENT)
    assert sent["authentication.checksum"] == "1d078495c16ccca48334cd73544b32ae"
    _, sent = await sent_by(lambda g: g.pay_out(replace(payout, profile=STORED)), repeat_via="token")
    assert sent["paymentId"] == PARENT


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (made("P", "00002", status="payoutstarted", merchantTransactionId="P-1"), Pending),
        (made("", "00002", status="P", merchantTransactionId="P-1"), Pending),
        (made("Y", status="payoutsuccessful", merchantTransactionId="P-1"), Approved),
        (made("N", "10001", status="payoutfailed", merchantTransactionId="P-1"), Declined),
        (made("Y", "00001"), Unknown),
        (rejected("20004"), Declined),
        (rejected("20006"), Unknown),
        (HTML, Unknown),
    ],
)
async def test_a_payout_is_read_like_a_payment(answer: Any, expected: type[Outcome]) -> None:
    assert isinstance(await gateway(Brand(answer)).pay_out(PAYOUT), expected)


async def test_a_registration_is_deleted_and_one_nobody_knows_is_gone() -> None:
    brand = Brand({"registrationId": "RG-ABC123", **result("00001")})
    account = gateway(brand, repeat_via="token")
    assert isinstance(await account.forget(ProfileReference("RG-ABC123")), Approved)
    assert brand.path() == f"{BASE}/paywithtoken/RG-ABC123"
    assert (brand.sent()["paymentType"], brand.sent()["authentication.checksum"]) == (
        "DL",
        "cde6d1066c4702109f797a7e333d9740",
    )
    for code, expected in (("20003", Approved), ("20008", Approved), ("20002", Refused), ("99", Unknown)):
        answer = Brand(rejected(code))
        assert isinstance(await gateway(answer, repeat_via="token").forget(STORED), expected)


async def test_an_initial_payment_cannot_be_deleted_and_that_is_said() -> None:
    account = gateway(Brand(made()))
    assert account.abilities.forget is False
    with pytest.raises(UnsupportedError, match="nothing of it to delete"):
        await account.forget(PROFILE)


def test_the_abilities_say_how_doubts_are_resolved() -> None:
    abilities = gateway(Brand(b""), ask_delays_s="1,2", settle_s="3").abilities
    asking = abilities.asking
    assert (asking.delays_s, asking.settle_s, asking.budget) == ((1, 2), 3, None)
    assert (asking.by_key, asking.after_nothing, asking.repeat_s) == (True, AfterNothing.SAME_KEY, None)
    assert not abilities.notification_is_truth


# --- whatever comes -----------------------------------------------------------------------------------

VERBS: tuple[Callable[[Paymentz], Awaitable[Outcome]], ...] = (
    *CALLS.values(),
    lambda g: g.charge(CHARGE),
    lambda g: g.charge_present(present(PROFILE)),
    lambda g: g.find(QUESTION),
    lambda g: g.find(replace(KNOWN, operation=OperationKind.REFUND)),
    lambda g: g.pay_out(PAYOUT),
)
_WORDS = st.sampled_from(["", "-", PAYMENT_ID, "T-1", "Y", "N", "P", "00001", "00026", "20003", "25.00", "EUR", *LONG])
_NAMES = st.sampled_from(
    [
        "paymentId",
        "status",
        "transactionStatus",
        "amount",
        "currency",
        "merchantTransactionId",
        "result",
        "redirect",
        "code",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | _WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=7),
    max_leaves=15,
)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from([200, 400, 404, 503])
)
def test_no_answer_breaks_a_verb_and_none_invents_money(content: bytes, status: int) -> None:
    async def ask() -> None:
        for verb in VERBS:
            outcome = await verb(gateway(Brand(response(content, status))))
            if isinstance(outcome, Approved):
                assert status == 200
                assert outcome.gateway_id.encode() in content or verb in CALLS.values()
                assert b"25.00" in content or any(
                    word.encode() in content for word in (*CODES.values(), *REACHED.values())
                )

    asyncio.run(ask())


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()), st.sampled_from([200, 401, 500]))
def test_no_answer_to_the_token_call_breaks_anything(content: bytes, status: int) -> None:
    brand = Brand(made(), token=response(content, status))
    outcome = asyncio.run(gateway(brand).charge(CHARGE))
    assert isinstance(outcome, NotSent | Refused)
    assert brand.requests == []


# --- what no log shows --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["form", "json_flat", "json_nested"])
async def test_no_secret_no_token_and_no_card_reaches_the_log(shape: str) -> None:
    answer = made(
        "3D", redirect=ACS, registrationId=TOKEN, remark="card 4000000000000051", customer={"email": "a@b.example"}
    )
    with capture_logs() as logs:
        account = gateway(Brand(answer), request_format=shape, repeat_via="token", use_regenerate="yes")
        outcomes = [
            await account.charge(replace(CHARGE, profile=STORED)),
            await account.charge_present(present(STORED, user_agent="Mozilla/5.0")),
            await account.forget(STORED),
            await gateway(Brand(made(), token=result("401", f"bad key {CREDENTIALS['secret_key']}"))).charge(CHARGE),
        ]
    shown = "\n".join(map(repr, logs))
    assert "exchange" in shown
    assert "bodies" in shown
    secrets = (
        CREDENTIALS["secret_key"], CREDENTIALS["username"], JWT, TOKEN, "4000000000000051", "eJx", "Mozilla",
        "a@b.example", PAYER.email, PAYER.ip, "proof=", "0051", "acs.example", "400000",
    )  # fmt: skip
    for secret in secrets:
        assert secret not in shown
    assert all(CREDENTIALS["secret_key"] not in repr(outcome) for outcome in outcomes)
