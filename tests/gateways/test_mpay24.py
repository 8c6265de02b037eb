from __future__ import annotations

from dataclasses import replace
from datetime import date

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.gateway import (
    AfterNothing,
    Approved,
    Charge,
    ConfigurationError,
    DeclineClass,
    Declined,
    ForgeryError,
    Mandate,
    MisuseError,
    NotSent,
    OperationKind,
    Outcome,
    Payer,
    Pending,
    ProfileNews,
    ProfileReference,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways.mpay24 import open_account
from gateways.mpay24_codes import DECLINES, DOUBTS, REFUSALS
from gateways.mpay24_methods import METHODS
from gateways.mpay24_soap import read
from gateways.transport import Answer
from tests.gateways.samples import (
    AMOUNT,
    BOOKED,
    CHARGE,
    CHECKOUT,
    CREDENTIALS,
    PAYER,
    PROFILE,
    QUESTION,
    Wire,
    envelope,
    gateway,
    present,
    push,
    soap,
)
from tests.gateways.sockets import refusing

OKAY = "<status>OK</status><returnCode>OK</returnCode>"
REDIRECT = "<status>OK</status><returnCode>REDIRECT</returnCode>"
KNOWN = replace(QUESTION, gateway_id="77")
CLIENT_FAULT = envelope(
    "<SOAP-ENV:Fault><faultcode>SOAP-ENV:Client</faultcode><faultstring>Validation constraint violation: "
    "data type mismatch in element 'pType'</faultstring></SOAP-ENV:Fault>"
)


def error(code: str, mpay_tid: str = "77", text: str = "") -> str:
    text = f"<errText>{text}</errText>" if text else ""
    tid = f"<mpayTID>{mpay_tid}</mpayTID>" if mpay_tid else ""
    return f"<status>ERROR</status><returnCode>{code}</returnCode>{tid}{text}"


async def charged(answer: bytes, status: int = 200, **config: str) -> Outcome:
    return await gateway(Wire(answer, status), **config).charge(CHARGE)


async def accepted(children: str) -> Outcome:
    return await charged(soap("AcceptPayment", children))


# --- a charge: what counts as yes -----------------------------------------------------------------


@pytest.mark.parametrize("code", ["OK", "PROFILE_USED", "SOMETHING_NEW"])
async def test_ok_is_a_yes_whatever_the_return_code_adds(code: str) -> None:
    outcome = await accepted(f"<status>OK</status><returnCode>{code}</returnCode><mpayTID>77</mpayTID>")
    assert outcome == Approved("77", AMOUNT)


@pytest.mark.parametrize("code", ["PROFILE_CREATED", "PROFILE_UPDATED"])
async def test_a_made_profile_is_told(code: str) -> None:
    outcome = await accepted(f"<status>OK</status><returnCode>{code}</returnCode><mpayTID>77</mpayTID>")
    assert outcome == Approved("77", AMOUNT, profile=ProfileNews(PROFILE.reference))


async def test_a_payment_whose_profile_failed_is_a_payment() -> None:
    outcome = await accepted("<status>OK</status><returnCode>PROFILE_ERROR</returnCode><mpayTID>77</mpayTID>")
    assert outcome == Approved("77", AMOUNT, profile_failed=True)


async def test_an_account_without_automatic_clearing_only_reserves() -> None:
    wire = Wire(soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>"))
    outcome = await gateway(wire, automatic_clearing="no").charge(CHARGE)
    assert outcome == Approved("77", AMOUNT, captured=False)
    assert b"<manualClearing>true</manualClearing>" in wire.requests[0].content


async def test_a_direct_debit_that_the_bank_has_not_agreed_to_is_not_money_yet() -> None:
    profile = replace(PROFILE, mandate=Mandate("M-1", date(2014, 8, 14)))
    wire = Wire(soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>"))
    assert await gateway(wire).charge(replace(CHARGE, profile=profile)) == Pending("77")


async def test_unknown_and_reordered_elements_change_nothing() -> None:
    outcome = await accepted(
        "<new><status>ERROR</status></new><!-- x --><mpayTID>77</mpayTID><x:y xmlns:x='u'/>"
        "<returnCode>OK</returnCode><riskScore>9</riskScore><status>OK</status>"
    )
    assert outcome == Approved("77", AMOUNT)


async def test_prefixes_are_the_servers_own_business() -> None:
    answer = (
        b"<e:Envelope xmlns:e='http://schemas.xmlsoap.org/soap/envelope/'><e:Header/><e:Body>"
        b"<AcceptPaymentResponse xmlns='https://www.mpay24.com/soap/etp/1.5/ETP.wsdl'><status xmlns=''>OK</status>"
        b"<returnCode xmlns=''>OK</returnCode><mpayTID xmlns=''> 77 </mpayTID></AcceptPaymentResponse>"
        b"</e:Body></e:Envelope>"
    )
    assert await charged(answer) == Approved("77", AMOUNT)


# --- what counts as no ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DECLINES)
async def test_every_decline_has_a_class(code: str) -> None:
    assert await accepted(error(code)) == Declined(code, DECLINES[code], "", "77")


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_code_about_the_merchant_is_never_held_against_the_customer(code: str) -> None:
    assert await accepted(error(code, mpay_tid="")) == Refused(code, REFUSALS[code])


@pytest.mark.parametrize("code", [*sorted(DOUBTS), "SOMETHING_NEW", "TIMEOUT_NEW"])
async def test_an_error_nobody_can_interpret_is_a_doubt_and_keeps_its_mpaytid(code: str) -> None:
    outcome = await accepted(error(code))
    assert isinstance(outcome, Unknown)
    assert outcome.gateway_id == "77"
    assert code in outcome.reason


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("TID_NOT_ENTERED", Refused),
        ("PROFILEID_NOT_CORRECT", Refused),
        ("CURRENCY_NOT_CORRECT", Refused),
        ("IBAN_NOT_ENTERED", Refused),
        ("IBAN_NOT_CORRECT", Declined),
        ("BIC_NOT_CORRECT", Declined),
    ],
)
async def test_a_rejected_parameter_is_ours_unless_the_customer_typed_it(code: str, expected: type[Outcome]) -> None:
    assert isinstance(await accepted(error(code, mpay_tid="")), expected)


@pytest.mark.parametrize(
    ("text", "decline"),
    [
        ("Karte abgelaufen (card expired).", DeclineClass.NEEDS_NEW_PROFILE),
        ("CARD EXPIRED", DeclineClass.NEEDS_NEW_PROFILE),
        ("cvv2/cvc2 falsch (cvv2/cvc2 failure)", DeclineClass.NEEDS_CUSTOMER),
        ("", DeclineClass.RETRY_LATER),
        ("Limit", DeclineClass.RETRY_LATER),
    ],
)
async def test_the_text_of_an_external_error_decides_what_helps(text: str, decline: DeclineClass) -> None:
    assert await accepted(error("EXTERNAL_ERROR", text=text)) == Declined("EXTERNAL_ERROR", decline, text, "77")


# --- what says nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "children",
    [
        "",
        "<returnCode>OK</returnCode><mpayTID>77</mpayTID>",
        "<status>OK</status><mpayTID>77</mpayTID>",
        "<status>OK</status><returnCode/><mpayTID>77</mpayTID>",
        "<status>MAYBE</status><returnCode>OK</returnCode><mpayTID>77</mpayTID>",
        "<status>OK</status><status>OK</status><returnCode>OK</returnCode><mpayTID>77</mpayTID>",
        "<status>OK</status><status>ERROR</status><returnCode>OK</returnCode><mpayTID>77</mpayTID>",
        OKAY,
        OKAY + "<mpayTID/>",
        OKAY + "<mpayTID>7x</mpayTID>",
        OKAY + "<mpayTID>77</mpayTID><mpayTID>78</mpayTID>",
        "<status>ERROR</status><returnCode>OK</returnCode><mpayTID>77</mpayTID>",
        "<status>OK</status><returnCode>DECLINED</returnCode><mpayTID>77</mpayTID>",
        "<status>OK</status><returnCode>REDIRECT</returnCode><mpayTID>77</mpayTID>",
        "<status>OK</status><returnCode>REDIRECT</returnCode><mpayTID>77</mpayTID><location>javascript:x</location>",
        "<status>OK</status><returnCode>REDIRECT</returnCode><mpayTID>77</mpayTID><location>https:///x</location>",
        "<data><status>OK</status><returnCode>OK</returnCode><mpayTID>77</mpayTID></data>",
        "<status><b>OK</b></status><returnCode>OK</returnCode><mpayTID>77</mpayTID>",
    ],
)
async def test_an_incomplete_or_contradictory_answer_says_nothing(children: str) -> None:
    assert isinstance(await accepted(children), Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"OK",
        b"<html><body>OK</body></html>",
        soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>")[:-40],
        soap("ManualClear", OKAY + "<mpayTID>77</mpayTID>"),
        envelope(""),
        envelope("<a/><b/>"),
        b"<Envelope><Body/><Body/></Envelope>",
        b'<!DOCTYPE x [<!ENTITY o "OK">]>' + soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>")[39:],
        CLIENT_FAULT,
    ],
)
async def test_something_else_than_the_answer_says_nothing(answer: bytes) -> None:
    assert isinstance(await charged(answer), Unknown)


@pytest.mark.parametrize("status", [100 + 1, 202, 204, 302, 400, 403, 408, 429, 502, 503, 504])
async def test_an_http_status_mpay24_never_gives_says_nothing(status: int) -> None:
    assert isinstance(await charged(soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>"), status), Unknown)


async def test_a_client_fault_proves_that_nothing_was_processed() -> None:
    outcome = await charged(CLIENT_FAULT, 500)
    assert isinstance(outcome, Refused)
    assert "data type mismatch in element 'pType'" in outcome.reason


@pytest.mark.parametrize("code", ["SOAP-ENV:Server", "Server", "", "SOAP-ENV:Client2"])
async def test_any_other_fault_says_nothing(code: str) -> None:
    answer = envelope(f"<SOAP-ENV:Fault><faultcode>{code}</faultcode></SOAP-ENV:Fault>")
    assert isinstance(await charged(answer, 500), Unknown)


@pytest.mark.parametrize("answer", [b"", b"<html/>", soap("AcceptPayment", OKAY)])
async def test_a_server_error_without_a_fault_says_nothing(answer: bytes) -> None:
    assert isinstance(await charged(answer, 500), Unknown)


async def test_a_wrong_password_stops_the_account_not_the_customer() -> None:
    page = b"<!DOCTYPE HTML><html><head><title>401 Unauthorized</title></head><body><br></body></html>"
    outcome = await charged(page, 401)
    assert isinstance(outcome, Refused)
    assert CREDENTIALS["password"] not in outcome.reason


@pytest.mark.parametrize("status", [404, 405, 413, 415])
async def test_an_address_without_a_service_behind_it_is_our_mistake(status: int) -> None:
    assert isinstance(await charged(b"<html/>", status), Refused)


async def test_a_lost_answer_is_a_doubt_and_is_not_asked_for_again() -> None:
    def lost(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("nothing came")

    wire = Wire(lost)
    assert isinstance(await gateway(wire).charge(CHARGE), Unknown)
    assert len(wire.requests) == 1


async def test_evidence_of_an_unreadable_answer_shows_no_secret() -> None:
    outcome = await charged(b"<oops>pass&amp;word/9 <iban>AT771400000123456789</iban> 4444333322221111", 200)
    assert isinstance(outcome, Unknown)
    assert not any(secret in outcome.reason for secret in ("word/9", "AT77", "4444"))


@settings(deadline=None)
@given(st.binary(), st.sampled_from([200, 401, 404, 500, 503]))
def test_reading_never_raises_on_any_bytes(body: bytes, status: int) -> None:
    assert isinstance(read("AcceptPayment", Answer(status, {}, body), str), Refused | Unknown)


@settings(deadline=None)
@given(st.data())
async def test_a_damaged_answer_never_becomes_another_decision(data: st.DataObject) -> None:
    whole = soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>")
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    outcome = await charged(whole[:start] + whole[end:])
    assert isinstance(outcome, Approved | Unknown)


# --- a customer who is there ------------------------------------------------------------------------

FILLED = {
    "token": "t",
    "iban": "AT771400000123456789",
    "bic": "BAWAATWWXXX",
    "mandate_id": "M-1",
    "date_of_signature": "2014-08-14",
    "brand": "B4P",
    "personal_number": "1",
    "p_class": "1",
    "bank_id": "1",
    "bank": "X",
    "commit": "yes",
    "custom": "c",
    "identifier": "0664",
    "pay_days": "1",
    "reserve_days": "2",
    "gender": "MALE",
    "birthday": "1970-01-01",
    "phone": "1",
}


@pytest.mark.parametrize("name", METHODS)
async def test_every_method_is_sent_with_its_type_and_its_fields(name: str) -> None:
    method = METHODS[name]
    wire = Wire(soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>"))
    fields = {field: FILLED[field] for field in (*method.needs, *method.may)}
    expected = Pending("77") if method.later else Approved("77", AMOUNT)
    assert await gateway(wire).charge_present(present(name, **fields)) == expected
    body = wire.requests[0].content.decode()
    assert f"<pType>{method.ptype}</pType>" in body
    assert f'xsi:type="ns0:{method.data}"' in body if method.data else "xsi:type" not in body
    if method.brand:
        assert f"<brand>{method.brand}</brand>" in body
    assert body.count("<email>") == method.invoice


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs])
async def test_a_missing_field_is_named_and_nothing_is_sent(name: str) -> None:
    wire = Wire(b"")
    missing = METHODS[name].needs[0]
    fields = {field: FILLED[field] for field in METHODS[name].needs if field != missing}
    with pytest.raises(MisuseError, match=missing):
        await gateway(wire).charge_present(present(name, **fields))
    assert wire.requests == []


@pytest.mark.parametrize("name", ["CC", "CC/VISA", "MAESTRO", "CB"])
async def test_a_card_number_never_leaves_by_this_door(name: str) -> None:
    wire = Wire(b"")
    with pytest.raises(MisuseError, match="hosted page or TOKEN"):
        await gateway(wire).charge_present(present(name, identifier="4444333322221111", expiry="2905"))
    assert wire.requests == []


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("PAYPAL", {"iban": "AT77"}, "iban"),
        ("PAYPAL", {"commit": "perhaps"}, "commit must be yes or no"),
        ("ELV/HOBEX-AT", {"iban": "x", "mandate_id": "m", "date_of_signature": "14.08.2014"}, "a day like"),
        ("KLARNA/HP", {"personal_number": "1", "p_class": "one"}, "p_class must be a number"),
        ("BILLPAY/HP", {"gender": "X"}, "gender must be MALE or FEMALE"),
        ("NOWHERE", {}, "no method 'NOWHERE'"),
    ],
)
async def test_a_bad_field_is_named(name: str, fields: dict[str, str], told: str) -> None:
    with pytest.raises(MisuseError, match=told):
        await gateway(Wire(b"")).charge_present(present(name, **fields))


@pytest.mark.parametrize(("payer", "told"), [(replace(PAYER, name=""), "name"), (replace(PAYER, ip=""), "network")])
async def test_a_direct_debit_needs_to_know_who_and_from_where(payer: Payer, told: str) -> None:
    order = replace(present("ELV/ATOS", iban="AT771400000123456789"), payer=payer)
    with pytest.raises(MisuseError, match=told):
        await gateway(Wire(b"")).charge_present(order)


async def test_a_withdrawn_type_is_answered_by_the_gateway_itself() -> None:
    outcome = await gateway(Wire(CLIENT_FAULT, 500)).charge_present(present("MASTERPASS"))
    assert isinstance(outcome, Refused)
    assert "pType" in outcome.reason


async def test_a_redirect_is_no_payment() -> None:
    answer = f"{REDIRECT}<mpayTID>77</mpayTID><location>https://b.example/</location>"
    outcome = await gateway(Wire(soap("AcceptPayment", answer)), page_life_s="600").charge_present(present("EPS"))
    assert outcome == Pending("77", redirect="https://b.example/", until_s=600)


async def test_a_profile_is_only_asked_for_when_one_is_wanted() -> None:
    wire = Wire(soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>"))
    await gateway(wire).charge_present(present("TOKEN", token="t"))
    await gateway(wire).charge_present(present("TOKEN", ProfileReference("C-1", "s"), token="t"))
    without, having = (request.content for request in wire.requests)
    assert b"useProfile" not in without
    assert b"customerID" not in without
    assert b"<useProfile>true</useProfile><profileID>s</profileID>" in having
    assert b"<customerID>C-1</customerID>" in having


# --- what must not be sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "charge",
    [
        replace(CHARGE, amount=Money(0, "EUR")),
        replace(CHARGE, amount=Money(-1, "EUR")),
        replace(CHARGE, amount=Money(2**32, "EUR")),
        replace(CHARGE, amount=Money(100, "USD")),
        replace(CHARGE, key=""),
        replace(CHARGE, key="x" * 33),
        replace(CHARGE, key="a/b"),
        replace(CHARGE, profile=ProfileReference("")),
        replace(CHARGE, profile=ProfileReference("x" * 33)),
        replace(CHARGE, notify_url=""),
        replace(CHARGE, notify_url="ftp://x"),
    ],
)
async def test_what_mpay24_cannot_carry_is_said_before_anything_is_sent(charge: Charge) -> None:
    wire = Wire(b"")
    with pytest.raises(MisuseError):
        await gateway(wire, currencies="EUR,CHF").charge(charge)
    assert wire.requests == []


async def test_texts_for_people_are_cut_and_cleaned_rather_than_refused() -> None:
    wire = Wire(soap("AcceptPayment", OKAY + "<mpayTID>77</mpayTID>"))
    charge = replace(CHARGE, payer=replace(PAYER, name="\x00Jenny\n" + "x" * 60, ip="not an address", language="xx"))
    await gateway(wire).charge(charge)
    body = wire.requests[0].content.decode()
    assert f"<customerName>Jenny {'x' * 44}</customerName>" in body
    assert "clientIP" not in body
    assert "language" not in body


@pytest.mark.parametrize("amount", [Money(0, "EUR"), Money(100, "USD")])
async def test_an_operation_takes_a_real_part_of_the_payment(amount: Money) -> None:
    for verb in (gateway(Wire(b"")).refund, gateway(Wire(b"")).capture):
        with pytest.raises(MisuseError):
            await verb(BOOKED, amount, "R-1")


async def test_money_once_taken_can_be_given_back_whatever_the_contract_says_now() -> None:
    wire = Wire(soap("ManualCredit", OKAY + transaction("CREDITED")))
    assert await gateway(wire, currencies="CHF").refund(BOOKED, AMOUNT, "R-1") == Approved("1679832", AMOUNT)


@pytest.mark.parametrize("gateway_id", ["", "abc", "\u0661"])
async def test_an_operation_follows_a_booked_payment_only(gateway_id: str) -> None:
    booked = replace(BOOKED, gateway_id=gateway_id)
    with pytest.raises(MisuseError, match="V-1 cannot follow T-1"):
        await gateway(Wire(b"")).reverse(booked, "V-1")


# --- what follows a payment ---------------------------------------------------------------------------


def transaction(state: str, mpay_tid: str = "1679832") -> str:
    return f"<transaction><mpayTID>{mpay_tid}</mpayTID><tStatus>{state}</tStatus><tid>T-1</tid></transaction>"


def failed(code: str, state: str = "FAILED") -> str:
    return f"<status>ERROR</status><returnCode>{code}</returnCode>{transaction(state)}"


async def test_more_than_was_taken_is_not_given_back() -> None:
    outcome = await gateway(Wire(soap("ManualCredit", failed("CREDIT_LIMIT_EXCEEDED")))).refund(BOOKED, AMOUNT, "R-1")
    assert outcome == Declined("CREDIT_LIMIT_EXCEEDED", DeclineClass.NEVER, "", BOOKED.gateway_id)


async def test_what_a_payment_type_cannot_do_does_not_stop_the_account() -> None:
    outcome = await gateway(Wire(soap("ManualCredit", failed("OPERATION_NOT_SUPPORTED")))).refund(BOOKED, AMOUNT, "R")
    assert outcome == Declined("OPERATION_NOT_SUPPORTED", DeclineClass.NEVER, "", BOOKED.gateway_id)


async def test_a_captured_payment_cannot_be_reversed() -> None:
    outcome = await gateway(Wire(soap("ManualReverse", failed("TRANSACTION_ALREADY_CLEARED")))).reverse(BOOKED, "V")
    assert outcome == Declined("TRANSACTION_ALREADY_CLEARED", DeclineClass.NEVER, "", BOOKED.gateway_id)


async def test_already_processed_is_settled_by_asking() -> None:
    outcome = await gateway(Wire(soap("ManualReverse", failed("ALREADY_PROCESSED")))).reverse(BOOKED, "V-1")
    assert isinstance(outcome, Unknown)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("REVERSED", Approved), ("BILLED", Declined), ("CREDITED", Declined)],
)
async def test_already_processed_is_certain_where_the_transaction_tells_its_state(
    state: str, expected: type[Outcome]
) -> None:
    outcome = await gateway(Wire(soap("ManualReverse", failed("ALREADY_PROCESSED", state)))).reverse(BOOKED, "V-1")
    assert isinstance(outcome, expected)


@pytest.mark.parametrize(
    "children", [OKAY + transaction("REVERSED", "5"), OKAY + transaction("FAILED"), OKAY + transaction("BILLED")]
)
async def test_an_operation_is_only_done_if_the_transaction_agrees(children: str) -> None:
    assert isinstance(await gateway(Wire(soap("ManualReverse", children))).reverse(BOOKED, "V-1"), Unknown)


async def test_a_deleted_profile_is_gone() -> None:
    assert isinstance(await gateway(Wire(soap("DeleteProfile", OKAY))).forget(PROFILE), Approved)


async def test_one_profile_of_several_is_forgotten_alone() -> None:
    wire = Wire(soap("DeleteProfile", OKAY))
    await gateway(wire).forget(ProfileReference("C-1", "slot-2"))
    assert b"<customerID>C-1</customerID><profileID>slot-2</profileID>" in wire.requests[0].content


async def test_forgetting_can_fail() -> None:
    assert isinstance(await gateway(Wire(soap("DeleteProfile", error("ACCESS_DENIED", "")))).forget(PROFILE), Refused)


async def test_a_profile_that_needs_the_customer_first_says_where() -> None:
    answer = f"{REDIRECT}<mpayTID>5</mpayTID><location>https://b.example/</location>"
    outcome = await gateway(Wire(soap("CreateCustomer", answer))).create_customer(
        PAYER, PROFILE, "TOKEN", {"token": "t"}
    )
    assert outcome == Pending("5", redirect="https://b.example/")


async def test_only_tokens_and_debits_are_stored_without_paying() -> None:
    with pytest.raises(MisuseError):
        await gateway(Wire(b"")).create_customer(PAYER, PROFILE, "PAYPAL", {})


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ("<status>ERROR</status><returnCode>PAYMENT_METHOD_NOT_ACTIVE</returnCode>", Refused),
        (f"{REDIRECT}<location>https://form.example/</location>", Unknown),
        (f"{REDIRECT}<token>t</token>", Unknown),
    ],
)
async def test_a_card_form_is_only_open_with_a_token_and_an_address(children: str, expected: type[Outcome]) -> None:
    assert isinstance(await gateway(Wire(soap("CreatePaymentToken", children))).open_token_form(PAYER), expected)


# --- questions ------------------------------------------------------------------------------------------


def status(state: str, **more: str) -> bytes:
    values = {"TID": "T-1", "STATUS": state, "PRICE": "2500", "CURRENCY": "EUR", "P_TYPE": "CC", "MPAYTID": "77"} | more
    pairs = (f"<parameter><value>{value}</value><name>{name}</name></parameter>" for name, value in values.items())
    return soap("TransactionStatus", OKAY + "".join(pairs))


def history(*entries: str) -> bytes:
    return soap("TransactionHistory", OKAY + "".join(entries))


def entry(state: str, amount: int = 2500, more: str = "") -> str:
    return f"<historyEntry><txState>{state}</txState><amount>{amount}</amount>{more}<profileStatus/></historyEntry>"


REVERSAL, CHARGEBACK, REFUND = OperationKind.REVERSAL, OperationKind.CHARGEBACK, OperationKind.REFUND

STATES: dict[str, Outcome] = {
    "BILLED": Approved("77", AMOUNT),
    "RESERVED": Approved("77", AMOUNT),
    "WITHDRAWN": Approved("77", AMOUNT),
    "CREDITED_REVERSAL": Approved("77", AMOUNT),
    "BILLED_REVERSAL": Approved("77", AMOUNT, undone=CHARGEBACK),
    "CREDITED": Approved("77", AMOUNT, undone=REFUND),
    "REVERSED": Approved("77", AMOUNT, captured=False, undone=REVERSAL),
    "RESERVED_REVERSAL": Approved("77", AMOUNT, captured=False, undone=REVERSAL),
    "INIT": Pending("77"),
    "SUSPENDED": Pending("77"),
    "REDIRECTED": Pending("77"),
    "ERROR": Declined("ERROR", DeclineClass.RETRY_LATER, "", "77"),
}


@pytest.mark.parametrize("state", STATES)
async def test_every_state_is_an_outcome(state: str) -> None:
    assert await gateway(Wire(status(state))).find(QUESTION) == STATES[state]


async def test_a_reservation_is_not_money_where_the_account_does_not_clear_by_itself() -> None:
    outcome = await gateway(Wire(status("RESERVED")), automatic_clearing="no").find(QUESTION)
    assert outcome == Approved("77", AMOUNT, captured=False)


async def test_a_returned_debit_is_not_a_chargeback() -> None:
    outcome = await gateway(Wire(status("BILLED_REVERSAL", P_TYPE="ELV"))).find(QUESTION)
    assert outcome == Approved("77", AMOUNT, undone=OperationKind.RETURNED_DEBIT)


async def test_an_amount_that_is_not_ours_is_told_as_it_is() -> None:
    outcome = await gateway(Wire(status("BILLED", PRICE="99", CURRENCY="CHF"))).find(QUESTION)
    assert outcome == Approved("77", Money(99, "CHF"))


@pytest.mark.parametrize(
    "answer",
    [
        status("SOMETHING_NEW"),
        status("ARCHIVED"),
        status("BILLED", TID="T-2"),
        status("BILLED", MPAYTID=""),
        status("BILLED", PRICE="x"),
        status("BILLED", CURRENCY="XXX"),
        soap("TransactionStatus", OKAY),
        soap("TransactionStatus", error("ACCESS_DENIED", "")),
        soap("TransactionStatus", error("DECLINED", "")),
        b"",
    ],
)
async def test_an_answer_that_does_not_answer_leaves_the_doubt(answer: bytes) -> None:
    assert isinstance(await gateway(Wire(answer)).find(QUESTION), Unknown)


@pytest.mark.parametrize("code", [401, 500, 503])
async def test_a_question_that_failed_says_nothing_about_the_payment(code: int) -> None:
    assert isinstance(await gateway(Wire(CLIENT_FAULT, code)).find(QUESTION), Unknown)


async def test_a_question_that_was_refused_a_connection_says_nothing_about_the_payment() -> None:
    with refusing() as address:
        asked = open_account({**CREDENTIALS, "endpoint": address})
        outcome = await asked.find(QUESTION)
        charged = await asked.charge(CHARGE)
        await asked.close()
    assert isinstance(outcome, Unknown)
    assert isinstance(charged, NotSent)


async def test_the_fourth_question_is_not_asked() -> None:
    wire = Wire(status("BILLED"))
    outcome = await gateway(wire).find(replace(QUESTION, asked=3))
    assert isinstance(outcome, Unknown)
    assert "three" in outcome.reason
    assert wire.requests == []


async def test_a_known_transaction_is_asked_by_its_own_number_whatever_was_spent() -> None:
    wire = Wire(history(entry("BILLED")))
    assert await gateway(wire).find(replace(KNOWN, asked=99)) == Approved("77", AMOUNT)
    assert b"<etp" not in wire.requests[0].content
    assert b"TransactionHistory" in wire.requests[0].content


async def test_a_failed_try_on_an_open_page_is_evidence_and_not_the_end() -> None:
    outcome = await gateway(Wire(status("ERROR"))).find(replace(QUESTION, page=True))
    assert isinstance(outcome, Pending)
    assert outcome.gateway_id == ""
    assert "77" in outcome.evidence


async def test_a_later_try_on_a_page_is_found_though_an_earlier_one_is_known() -> None:
    wire = Wire(status("BILLED", MPAYTID="78"))
    assert await gateway(wire).find(replace(KNOWN, page=True)) == Approved("78", AMOUNT)
    assert b"TransactionStatus" in wire.requests[0].content


async def test_a_page_whose_questions_are_spent_is_asked_by_number() -> None:
    wire = Wire(history(entry("ERROR")))
    outcome = await gateway(wire).find(replace(KNOWN, page=True, asked=3))
    assert isinstance(outcome, Pending)
    assert outcome.evidence


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([entry("INIT"), entry("RESERVED")], Approved("77", AMOUNT)),
        ([entry("BILLED"), entry("INIT")], Approved("77", AMOUNT)),
        ([entry("BILLED", 1000), entry("BILLED", 500)], Approved("77", Money(1500, "EUR"))),
        ([entry("BILLED"), entry("CREDITED", 1000)], Approved("77", AMOUNT)),
        ([entry("BILLED"), entry("CREDITED", 1000), entry("CREDITED", 1500)], Approved("77", AMOUNT, undone=REFUND)),
        ([entry("BILLED"), entry("CREDITED"), entry("CREDITED_REVERSAL")], Approved("77", AMOUNT)),
        ([entry("BILLED"), entry("BILLED_REVERSAL")], Approved("77", AMOUNT, undone=CHARGEBACK)),
        ([entry("RESERVED"), entry("REVERSED")], Approved("77", AMOUNT, captured=False, undone=REVERSAL)),
        ([entry("RESERVED"), entry("REVOKE")], Approved("77", AMOUNT, captured=False, undone=REVERSAL)),
        ([entry("BILLED"), entry("CREDITED", more="<errNo>100</errNo>")], Approved("77", AMOUNT)),
        ([entry("ERROR"), entry("BILLED")], Approved("77", AMOUNT)),
        ([entry("INIT"), entry("SUSPENDED")], Pending("77")),
        ([entry("INIT"), entry("ERROR")], Declined("DECLINED", DeclineClass.RETRY_LATER, "", "77")),
        ([entry("ERROR", more="<errNo>2</errNo>")], Declined("BLOCKED", DeclineClass.NEVER, "", "77")),
        (
            [entry("ERROR", more="<errNo>100</errNo><errText>Karte abgelaufen</errText>")],
            Declined("EXTERNAL_ERROR", DeclineClass.NEEDS_NEW_PROFILE, "Karte abgelaufen", "77"),
        ),
        (
            [entry("ERROR", more="<errNo>4</errNo>")],
            Refused("MERCHANT_LOCKED", "the merchant is locked", "77"),
        ),
        ([entry("ERROR", more="<errNo>999</errNo>")], Declined("DECLINED", DeclineClass.RETRY_LATER, "", "77")),
        ([entry("WITHDRAW"), entry("WITHDRAWN")], Approved("77", AMOUNT)),
        ([entry("REVERSED")], Approved("77", AMOUNT, captured=False, undone=REVERSAL)),
    ],
)
async def test_a_history_is_read_as_a_whole(entries: list[str], expected: Outcome) -> None:
    assert await gateway(Wire(history(*entries))).find(KNOWN) == expected


@pytest.mark.parametrize(
    "answer",
    [
        history(),
        history(entry("ARCHIVED")),
        history("<historyEntry/>"),
        soap("TransactionHistory", error("NOT_FOUND", "")),
    ],
)
async def test_a_history_that_does_not_tell_leaves_the_doubt(answer: bytes) -> None:
    assert isinstance(await gateway(Wire(answer)).find(KNOWN), Unknown)


@pytest.mark.parametrize(
    ("operation", "entries", "expected"),
    [
        (REFUND, [entry("BILLED"), entry("CREDITED", 1000)], Approved),
        (OperationKind.CREDIT, [entry("BILLED"), entry("CREDITED", 1000)], Approved),
        (REFUND, [entry("BILLED"), entry("CREDITED", 999)], NotSent),
        (REFUND, [entry("BILLED"), entry("CREDITED", 1000, "<errNo>1</errNo>")], NotSent),
        (REFUND, [entry("BILLED")], NotSent),
        (REVERSAL, [entry("RESERVED"), entry("REVERSED")], Approved),
        (REVERSAL, [entry("RESERVED")], NotSent),
        (REVERSAL, [entry("RESERVED"), entry("BILLED")], Declined),
        (OperationKind.CAPTURE, [entry("RESERVED"), entry("BILLED", 1000)], Approved),
        (OperationKind.CAPTURE, [entry("RESERVED")], NotSent),
        (OperationKind.CAPTURE, [entry("RESERVED"), entry("REVERSED")], Declined),
        (CHARGEBACK, [entry("BILLED"), entry("BILLED_REVERSAL")], Approved),
        (OperationKind.RETURNED_DEBIT, [entry("BILLED"), entry("BILLED_REVERSAL")], Approved),
    ],
)
async def test_an_operation_is_found_in_the_history(
    operation: OperationKind, entries: list[str], expected: type[Outcome]
) -> None:
    question = replace(KNOWN, amount=Money(1000, "EUR"), operation=operation, operation_key="R-1")
    assert isinstance(await gateway(Wire(history(*entries))).find(question), expected)


async def test_a_question_about_an_operation_is_never_answered_by_the_payment_itself() -> None:
    wire = Wire(status("BILLED"))
    question = replace(QUESTION, operation=REFUND, operation_key="R-1")
    with pytest.raises(MisuseError):
        await gateway(wire).find(question)
    assert wire.requests == []
    await gateway(wire).find(replace(question, gateway_id="77", page=True))
    assert b"TransactionHistory" in wire.requests[0].content


# --- the account ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (soap("ListPaymentMethods", error("ACCESS_DENIED", "")), 200, "ACCESS_DENIED: our address"),
        (soap("ListPaymentMethods", error("MERCHANT_LOCKED", "")), 200, "MERCHANT_LOCKED: the merchant is locked"),
        (soap("ListPaymentMethods", error("SOMETHING_NEW", "")), 200, "SOMETHING_NEW"),
        (b"<html>401 Unauthorized</html>", 401, "user u92883"),
        (b"<html/>", 404, "no mPAY24 service"),
        (b"<html/>", 200, "cannot be reached"),
    ],
)
async def test_credentials_that_do_not_work_are_said_in_one_sentence(answer: bytes, code: int, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        await gateway(Wire(answer, code)).check()
    assert CREDENTIALS["password"] not in str(caught.value)


async def test_an_unreachable_gateway_is_said_too() -> None:
    with refusing() as address:
        unreachable = open_account({**CREDENTIALS, "endpoint": address})
        with pytest.raises(ConfigurationError, match="cannot be reached"):
            await unreachable.check()
        await unreachable.close()


def test_the_abilities_follow_the_settings() -> None:
    abilities = gateway(Wire(b""), ways="CC,PAYPAL,EPS", ask_delays_s="1,2", settle_s="5", timeout_s="7.5").abilities
    assert abilities.ways == ("card", "paypal", "eps")
    assert (abilities.asking.delays_s, abilities.asking.settle_s) == ((1, 2), 5)
    assert (abilities.asking.budget, abilities.asking.after_nothing) == (3, AfterNothing.NEW_KEY)
    assert (abilities.timeout_s, abilities.currencies) == (7.5, None)


# --- confirmations ------------------------------------------------------------------------------------------

PUSH = {
    "OPERATION": "CONFIRMATION",
    "TID": "T-1",
    "STATUS": "BILLED",
    "PRICE": "2500",
    "CURRENCY": "EUR",
    "P_TYPE": "CC",
    "BRAND": "VISA",
    "MPAYTID": "77",
}


def query(**changes: str | None) -> str:
    return "&".join(f"{name}={value}" for name, value in (PUSH | changes).items() if value is not None)


def noticed(text: str, **config: str) -> object:
    return gateway(Wire(b""), **config).read_notification(push(text)).outcome


@pytest.mark.parametrize(
    ("state", "outcome", "operation"),
    [
        ("BILLED", Approved("77", AMOUNT), None),
        ("RESERVED", Approved("77", AMOUNT), None),
        ("WITHDRAWN", Approved("77", AMOUNT), None),
        ("SUSPENDED", Pending("77"), None),
        ("ERROR", Declined("ERROR", DeclineClass.RETRY_LATER, "", "77"), None),
        ("REVERSED", Approved("77", AMOUNT), REVERSAL),
        ("RESERVED_REVERSAL", Approved("77", AMOUNT), REVERSAL),
        ("CREDITED", Approved("77", AMOUNT), REFUND),
        ("BILLED_REVERSAL", Approved("77", AMOUNT), CHARGEBACK),
        ("CREDITED_REVERSAL", None, REFUND),
        ("SOMETHING_NEW", None, None),
    ],
)
def test_every_confirmed_state_is_news(state: str, outcome: Outcome | None, operation: OperationKind | None) -> None:
    notice = gateway(Wire(b"")).read_notification(push(query(STATUS=state)))
    assert (notice.key, notice.gateway_id, notice.identity) == ("T-1", "77", f"77/{state}/2500")
    assert (notice.outcome, notice.operation) == (outcome, operation)


def test_a_debit_that_comes_back_is_a_returned_debit() -> None:
    notice = gateway(Wire(b"")).read_notification(push(query(STATUS="BILLED_REVERSAL", P_TYPE="ELV")))
    assert notice.operation is OperationKind.RETURNED_DEBIT


def test_a_confirmed_reservation_is_money_only_where_it_clears_by_itself() -> None:
    assert noticed(query(STATUS="RESERVED"), automatic_clearing="no") == Approved("77", AMOUNT, captured=False)


@pytest.mark.parametrize(("ptype", "kind"), [("CC", "card"), ("ELV", "debit"), ("PAYPAL", "paypal"), ("EPS", "eps")])
def test_a_renewed_profile_is_told_with_its_kind(ptype: str, kind: str) -> None:
    text = query(P_TYPE=ptype, PROFILE_STATUS="UPDATED", CUSTOMER_ID="C-1", PROFILE_ID="p")
    assert noticed(text) == Approved("77", AMOUNT, profile=ProfileNews("C-1", "p", kind, "VISA"))


def test_a_profile_that_failed_under_a_payment_that_did_not() -> None:
    assert noticed(query(PROFILE_STATUS="ERROR", CUSTOMER_ID="C-1")) == Approved("77", AMOUNT, profile_failed=True)


@pytest.mark.parametrize("value", ["USED", "IGNORED", "DELETED", ""])
def test_no_other_profile_status_makes_a_profile(value: str) -> None:
    assert noticed(query(PROFILE_STATUS=value, CUSTOMER_ID="C-1")) == Approved("77", AMOUNT)


def test_two_copies_of_one_confirmation_are_one_piece_of_news() -> None:
    reordered = "&".join(reversed(query().split("&")))
    read_ = gateway(Wire(b"")).read_notification
    assert read_(push(query())) == read_(push(reordered + "&APPR_CODE=%2Dtest%2D&NEW=1"))


def test_a_currency_nobody_knows_is_a_hint_to_ask() -> None:
    assert noticed(query(CURRENCY="XXX")) is None


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_either_charset_is_read(charset: str) -> None:
    text = query(PROFILE_STATUS="CREATED", CUSTOMER_ID="".join(f"%{byte:02X}" for byte in "Söhne".encode(charset)))
    assert noticed(text) == Approved("77", AMOUNT, profile=ProfileNews("Söhne", kind="card", brand="VISA"))


@pytest.mark.parametrize("name", [name for name in PUSH if name != "BRAND"])
def test_a_confirmation_without_what_every_one_has_is_not_believed(name: str) -> None:
    with pytest.raises(ForgeryError, match=name if name != "TID" else "TID"):
        noticed(query(**{name: None}))
    with pytest.raises(ForgeryError):
        noticed(f"{query()}&{name}={PUSH[name]}")
    with pytest.raises(ForgeryError):
        noticed(query(**{name: ""}))


@pytest.mark.parametrize(
    "text",
    [
        query(MPAYTID="77x"),
        query(MPAYTID="-1"),
        query(MPAYTID="%D9%A1"),
        query(PRICE="25.00"),
        query(PRICE="123456789012"),
        query(OPERATION="SOMETHING"),
        query(STATUS="billed"),
        query(TID="T-2"),
        query() + "&PROFILE_STATUS=CREATED&PROFILE_STATUS=ERROR",
        query() + "&x=1" * 300,
        "",
    ],
)
def test_a_confirmation_that_is_not_whole_is_not_believed(text: str) -> None:
    with pytest.raises(ForgeryError):
        noticed(text)


def test_a_confirmation_without_the_orders_secret_is_not_believed() -> None:
    with pytest.raises(ForgeryError, match="secret"):
        gateway(Wire(b"")).read_notification(push(query(), proven_key=""))


def test_the_secret_of_one_order_says_nothing_about_another() -> None:
    with pytest.raises(ForgeryError, match="another order"):
        gateway(Wire(b"")).read_notification(push(query(), proven_key="T-2"))


def test_only_a_get_is_a_confirmation() -> None:
    with pytest.raises(ForgeryError):
        gateway(Wire(b"")).read_notification(push(query(), method="POST"))


@settings(deadline=None)
@given(st.text())
def test_reading_a_confirmation_either_works_or_is_a_forgery(text: str) -> None:
    with pytest.raises(ForgeryError):
        noticed(text)


def test_the_answer_to_a_confirmation_starts_with_the_one_word_that_counts() -> None:
    opened = gateway(Wire(b""))
    assert opened.acknowledge(True).startswith("OK")
    assert opened.acknowledge(False).startswith("ERROR")


# --- the page -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("children", "expected"),
    [
        ("<status>ERROR</status><returnCode>INVALID_MDXI</returnCode><errNo>13</errNo><location/>", Refused),
        ("<status>ERROR</status><returnCode>DECLINED</returnCode><location/>", Declined),
        ("<status>OK</status><returnCode>OK</returnCode><location>https://x.example/</location>", Unknown),
        ("<status>OK</status><returnCode>REDIRECT</returnCode><location/>", Unknown),
        ("<status>OK</status><returnCode>REDIRECT</returnCode><location>/app</location>", Unknown),
        ("<status>ERROR</status><returnCode>INTERNAL_ERROR</returnCode>", Unknown),
    ],
)
async def test_a_page_is_only_open_if_there_is_an_address(children: str, expected: type[Outcome]) -> None:
    assert isinstance(await gateway(Wire(soap("SelectPayment", children))).open_checkout(CHECKOUT), expected)


async def test_a_page_offers_what_was_asked_for_and_the_account_has() -> None:
    wire = Wire(
        soap(
            "SelectPayment",
            "<status>OK</status><returnCode>REDIRECT</returnCode><location>https://x.example/</location>",
        )
    )
    opened = gateway(wire, ways="CC,EPS,PAYPAL")
    await opened.open_checkout(replace(CHECKOUT, store=None))
    await opened.open_checkout(CHECKOUT)
    await opened.open_checkout(replace(CHECKOUT, ways=("paypal",)))
    everything, storable, one = (request.content.decode().count("Payment Type=") for request in wire.requests)
    assert (everything, storable, one) == (3, 2, 1)
    with pytest.raises(MisuseError, match="debit"):
        await opened.open_checkout(replace(CHECKOUT, ways=("debit",)))
    with pytest.raises(MisuseError, match="none of"):
        await opened.open_checkout(replace(CHECKOUT, ways=("eps",)))
