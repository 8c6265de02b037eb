"""What AcceptPayment, payouts and stored customers answer, by the test data of reference section 6."""

import pytest

from tests.gateways_sandbox.wire import MONEY, Sandbox, eventually

B4P = {"890": "DE09100100101234567890", "893": "DE25100100101234567893", "894": "DE95100100101234567894"}
AUTH_3DS = "<auth3DS>true</auth3DS>"


def test_a_tid_sent_twice_is_charged_twice(sandbox: Sandbox) -> None:
    sandbox.profiles({"customer_id": "c-1", "kind": "CC", "expiry": "4012"})
    first, second = sandbox.charge("same", "c-1"), sandbox.charge("same", "c-1")
    assert (first.code, second.code) == ("OK PROFILE_USED", "OK PROFILE_USED")
    assert first.mpay_tid != second.mpay_tid
    assert sandbox.ledger("same") == [("sale", 2500, "booked")] * 2
    status = sandbox.call("TransactionStatus", "<tid>same</tid>")
    assert status.parameters()["MPAYTID"] == str(second.mpay_tid)


@pytest.mark.parametrize(
    ("expiry", "code", "err_no", "text"),
    [
        ("4001", "ERROR DECLINED", "1", None),
        ("4002", "ERROR EXTERNAL_ERROR", "100", "Karte abgelaufen (card expired)."),
        ("4003", "ERROR EXTERNAL_ERROR", "100", None),
        ("4004", "ERROR EXTERNAL_ERROR", "100", None),
        ("4005", "OK OK", None, None),
        ("4006", "OK OK", None, None),
        ("4012", "OK OK", None, None),
        ("2012", "ERROR EXTERNAL_ERROR", "100", "Karte abgelaufen (card expired)."),
    ],
)
def test_the_month_of_a_card_decides(
    sandbox: Sandbox, expiry: str, code: str, err_no: str | None, text: str | None
) -> None:
    said = sandbox.card("m", expiry)
    assert (said.code, said.text("errNo"), said.text("errText")) == (code, err_no, text)
    assert said.mpay_tid > 0
    state = "booked" if code == "OK OK" else "declined"
    assert sandbox.ledger("m") == [("sale", 2500, state)]


@pytest.mark.parametrize(
    ("brand", "number"),
    [
        ("MASTERCARD", "5555444433331111"),
        ("AMEX", "374245455400001"),
        ("DINERS", "36177614633117"),
        ("JCB", "3562114400015015"),
    ],
)
def test_each_brand_has_its_test_card(sandbox: Sandbox, brand: str, number: str) -> None:
    assert sandbox.card("b", "4012", number=number, brand=brand).code == "OK OK"


@pytest.mark.parametrize(("month", "code"), [("01", "ERROR DECLINED"), ("05", "OK OK"), ("06", "OK REDIRECT")])
def test_authentication_is_asked_for_from_june_on_where_it_is_wanted(sandbox: Sandbox, month: str, code: str) -> None:
    assert sandbox.card("a", f"40{month}", AUTH_3DS).code == code


@pytest.mark.parametrize(("month", "code"), [("04", "ERROR DECLINED"), ("05", "OK REDIRECT")])
def test_maestro_fails_before_may_and_redirects_from_then_on(sandbox: Sandbox, month: str, code: str) -> None:
    own = f"<identifier>6700555544444444</identifier><expiry>40{month}</expiry>"
    payment = f'<payment xsi:type="etp:PaymentMAESTRO">{MONEY}{own}</payment>'
    assert sandbox.call("AcceptPayment", f"<tid>m</tid><pType>MAESTRO</pType>{payment}").code == code


@pytest.mark.parametrize(
    ("profile", "code", "state"),
    [
        ({"kind": "CC", "expiry": "4001"}, "ERROR DECLINED", "declined"),
        ({"kind": "CC", "expiry": "4012"}, "OK PROFILE_USED", "booked"),
        ({"kind": "CC", "expiry": "2012"}, "ERROR EXTERNAL_ERROR", "declined"),
        ({"kind": "PAYPAL"}, "OK PROFILE_USED", "booked"),
        ({"kind": "ELV", "iban": "AT771400000123456789"}, "OK PROFILE_USED", "booked"),
        ({"kind": "ELV", "iban": B4P["890"]}, "ERROR DECLINED", "declined"),
        ({"kind": "ELV", "iban": B4P["893"]}, "OK PROFILE_USED", "pending"),
    ],
)
def test_a_stored_profile_acts_as_its_test_data_say(
    sandbox: Sandbox, profile: dict[str, str], code: str, state: str
) -> None:
    assert sandbox.profiles({"customer_id": "c-1", **profile}).json() == {"stored": 1}
    said = sandbox.charge("p", "c-1")
    assert said.code == code
    assert said.mpay_tid > 0
    assert sandbox.ledger("p") == [("sale", 2500, state)]


def test_a_profile_charge_can_answer_a_plain_ok(sandbox: Sandbox) -> None:
    sandbox.settings(profile_charge_code="OK")
    sandbox.profiles({"customer_id": "c-1", "kind": "CC", "expiry": "4012"})
    assert sandbox.charge("p", "c-1").code == "OK OK"


@pytest.mark.parametrize(("end", "last"), [("893", "BILLED"), ("894", "BILLED_REVERSAL")])
def test_a_direct_debit_settles_by_itself_and_may_come_back(sandbox: Sandbox, end: str, last: str) -> None:
    sandbox.settings(settle_delay_s=0, chargeback_delay_s=0)
    assert sandbox.debit("e", "B4P", B4P[end]).code == "OK OK"
    eventually(lambda: sandbox.state("e") == last)
    sale = [("sale", 2500, "booked")]
    assert sandbox.ledger("e") == (sale if end == "893" else [*sale, ("chargeback", 2500, "booked")])


def test_a_direct_debit_to_a_refusing_account_fails_at_once(sandbox: Sandbox) -> None:
    assert sandbox.debit("e", "B4P", B4P["890"]).code == "ERROR DECLINED"


def test_the_account_decides_whether_a_card_is_cleared_at_once(sandbox: Sandbox) -> None:
    sandbox.settings(automatic_clearing=False)
    sandbox.card("a", "4012")
    sandbox.card("b", "4012", "<manualClearing>false</manualClearing>")
    assert sandbox.ledger("a") == [("authorisation", 2500, "reserved")]
    assert sandbox.ledger("b") == [("sale", 2500, "booked")]


@pytest.mark.parametrize(
    ("payment_type", "own"),
    [
        ("PAYPAL", ""),
        ("EPS", "<brand>EPS</brand>"),
        ("GIROPAY", "<bic>PBNKDEFFXXX</bic>"),
        ("SOFORT", ""),
        ("PSC", ""),
        ("POSTFINANCE", "<brand>CARD</brand>"),
        ("IDEAL", "<bank>ING</bank>"),
        ("MPASS", ""),
        ("QUICK", ""),
    ],
)
def test_types_with_a_page_of_their_own_redirect(sandbox: Sandbox, payment_type: str, own: str) -> None:
    kind = "Payment" if payment_type in {"SOFORT", "PSC", "MPASS", "QUICK"} else f"Payment{payment_type}"
    payment = f'<payment xsi:type="etp:{kind}">{MONEY}{own}</payment>'
    said = sandbox.call("AcceptPayment", f"<tid>r</tid><pType>{payment_type}</pType>{payment}")
    assert said.code == "OK REDIRECT"
    assert said.names() == ["status", "returnCode", "mpayTID", "location"]
    assert sandbox.ledger("r") == []
    assert sandbox.submit(said.location, action="confirm").status_code == 200
    assert sandbox.ledger("r") == [("sale", 2500, "booked")]
    assert sandbox.state("r") == "BILLED"


@pytest.mark.parametrize(
    ("payment_type", "own"),
    [
        ("BILLPAY", "<brand>HP</brand>"),
        ("BILLPAY", "<brand>INVOICE</brand>"),
        ("KLARNA", "<brand>INVOICE</brand><personalNumber>410321-9202</personalNumber>"),
    ],
)
def test_invoice_types_answer_at_once(sandbox: Sandbox, payment_type: str, own: str) -> None:
    payment = f'<payment xsi:type="etp:Payment{payment_type}">{MONEY}{own}</payment>'
    said = sandbox.call("AcceptPayment", f"<tid>i</tid><pType>{payment_type}</pType>{payment}")
    assert said.code == "OK OK"


def test_a_type_the_account_does_not_have_is_refused(sandbox: Sandbox) -> None:
    sandbox.settings(active_payment_types=["CC"])
    said = sandbox.call("AcceptPayment", f"<tid>r</tid><pType>SOFORT</pType><payment>{MONEY}</payment>")
    assert (said.code, said.text("errNo")) == ("ERROR PAYMENT_METHOD_NOT_ACTIVE", "5")


def test_paypal_without_commit_waits_for_the_merchant(sandbox: Sandbox) -> None:
    payment = f'<payment xsi:type="etp:PaymentPAYPAL">{MONEY}<commit>false</commit></payment>'
    said = sandbox.call("AcceptPayment", f"<tid>w</tid><pType>PAYPAL</pType>{payment}")
    sandbox.submit(said.location, action="confirm")
    assert sandbox.state("w") == "SUSPENDED"
    callback = '<paymentCallback xsi:type="etp:CallbackPAYPAL"><amount>2000</amount></paymentCallback>'
    inner = f"<mpayTID>{said.mpay_tid}</mpayTID>{callback}"
    assert sandbox.call("ManualCallback", inner).code == "OK OK"
    assert sandbox.ledger("w") == [("sale", 2000, "booked")]
    assert sandbox.call("ManualCallback", inner).code == "ERROR ALREADY_PROCESSED"


def test_paypal_can_be_called_off_by_the_merchant(sandbox: Sandbox) -> None:
    payment = f'<payment xsi:type="etp:PaymentPAYPAL">{MONEY}<commit>false</commit></payment>'
    said = sandbox.call("AcceptPayment", f"<tid>w</tid><pType>PAYPAL</pType>{payment}")
    sandbox.submit(said.location, action="confirm")
    callback = '<paymentCallback xsi:type="etp:CallbackPAYPAL"><cancel>true</cancel></paymentCallback>'
    assert sandbox.call("ManualCallback", f"<mpayTID>{said.mpay_tid}</mpayTID>{callback}").code == "OK OK"
    assert sandbox.state("w") == "ERROR"
    assert sandbox.ledger("w") == [("sale", 2500, "declined")]


# ---- profiles made by payments and by CreateCustomer


def test_a_payment_can_store_its_card_and_replace_it(sandbox: Sandbox) -> None:
    def charge(expiry: str) -> str:
        own = f"<brand>VISA</brand><identifier>4444333322221111</identifier><expiry>{expiry}</expiry>"
        payment = f'<payment xsi:type="etp:PaymentCC">{MONEY}<useProfile>true</useProfile>{own}</payment>'
        inner = f"<tid>s</tid><pType>CC</pType>{payment}<customerID>c-1</customerID>"
        return sandbox.call("AcceptPayment", inner).code

    assert charge("4012") == "OK PROFILE_CREATED"
    assert charge("4111") == "OK PROFILE_UPDATED"
    assert charge("4101") == "ERROR DECLINED"
    (profile,) = sandbox.control("profiles?customer_id=c-1")["profiles"]
    assert (profile["expiry"], profile["identifier"]) == ("4111", "************1111")


def customer(sandbox: Sandbox, customer_id: str, data: str, kind: str = "CC") -> str:
    part = f'<paymentData xsi:type="etp:PaymentData{kind}">{data}</paymentData>'
    return sandbox.call(
        "CreateCustomer", f"<tid>cc</tid><pType>{kind}</pType>{part}<customerID>{customer_id}</customerID>"
    ).code


CARD_DATA = "<brand>VISA</brand><identifier>4444333322221111</identifier><expiry>40{}</expiry>"


def test_a_customer_is_stored_without_a_charge(sandbox: Sandbox) -> None:
    assert customer(sandbox, "c-9", CARD_DATA.format("01")) == "OK PROFILE_CREATED"
    assert customer(sandbox, "c-9", CARD_DATA.format("12")) == "OK PROFILE_UPDATED"
    assert sandbox.ledger() == []
    assert sandbox.charge("x", "c-9").code == "OK PROFILE_USED"


@pytest.mark.parametrize(
    ("month", "code"), [("01", "ERROR DECLINED"), ("05", "OK PROFILE_CREATED"), ("06", "OK REDIRECT")]
)
def test_a_validated_customer_is_authenticated_first(sandbox: Sandbox, month: str, code: str) -> None:
    assert customer(sandbox, "c-9", f"<validate>true</validate>{CARD_DATA.format(month)}") == code
    assert sandbox.ledger() == []
    stored = sandbox.control("profiles?customer_id=c-9")["profiles"]
    assert len(stored) == (code == "OK PROFILE_CREATED")


@pytest.mark.parametrize(
    ("customer_id", "data", "code"),
    [
        ("", CARD_DATA.format("12"), "CUSTOMERID_NOT_ENTERED"),
        ("c", "<brand>VISA</brand>", "IDENTIFIER_NOT_ENTERED"),
        ("c", f"<profileID>{'1' * 13}</profileID>{CARD_DATA.format('12')}", "PROFILEID_NOT_CORRECT"),
    ],
)
def test_a_customer_that_cannot_be_stored_is_refused(sandbox: Sandbox, customer_id: str, data: str, code: str) -> None:
    assert customer(sandbox, customer_id, data) == f"ERROR {code}"


def test_in_the_interactive_mode_a_customer_has_several_profiles_up_to_the_maximum(sandbox: Sandbox) -> None:
    sandbox.settings(profile_mode="interactive", profile_count_max=2)
    assert customer(sandbox, "c-9", CARD_DATA.format("12")) == "OK PROFILE_CREATED"
    assert customer(sandbox, "c-9", CARD_DATA.format("11")) == "OK PROFILE_CREATED"
    assert customer(sandbox, "c-9", CARD_DATA.format("10")) == "ERROR PROFILE_COUNT_EXCEEDED"
    assert customer(sandbox, "c-9", f"<profileID>2</profileID>{CARD_DATA.format('10')}") == "OK PROFILE_UPDATED"
    assert sandbox.charge("x", "c-9").code == "ERROR PROFILEID_NOT_ENTERED"
    assert sandbox.charge("x", "c-9", money=f"{MONEY}<profileID>2</profileID>").code == "OK PROFILE_USED"
    assert sandbox.charge("x", "c-9", money=f"{MONEY}<profileID>3</profileID>").code == "ERROR PROFILE_NOT_FOUND"


# ---- tokens


def test_a_token_pays_once_and_only_when_it_is_filled(sandbox: Sandbox) -> None:
    said = sandbox.call("CreatePaymentToken", "<pType>CC</pType>")
    assert said.code == "OK REDIRECT"
    assert said.names() == ["status", "returnCode", "token", "apiKey", "location"]
    token = f'<payment xsi:type="etp:PaymentTOKEN">{MONEY}<token>{said.text("token")}</token></payment>'
    inner = f"<tid>k</tid><pType>TOKEN</pType>{token}"
    assert sandbox.call("AcceptPayment", inner).code == "ERROR TOKEN_NOT_VALID"
    filled = sandbox.submit(said.location, action="pay", number="4444333322221111", expiry="05/40", cvc="123")
    assert filled.status_code == 200
    assert "X-Frame-Options" not in filled.headers
    assert sandbox.call("AcceptPayment", inner).code == "OK OK"
    assert sandbox.call("TransactionStatus", "<tid>k</tid>").parameters()["P_TYPE"] == "CC"
    again = sandbox.call("AcceptPayment", inner)
    assert (again.code, again.text("errNo")) == ("ERROR TOKEN_NOT_FOUND", "30")


def test_a_token_expires(sandbox: Sandbox) -> None:
    sandbox.settings(token_lifetime_s=0)
    token = sandbox.call("CreateGooglePayToken", MONEY).text("token")
    payment = f'<payment xsi:type="etp:PaymentTOKEN">{MONEY}<token>{token}</token></payment>'
    assert sandbox.call("AcceptPayment", f"<tid>k</tid><pType>TOKEN</pType>{payment}").code == "ERROR TOKEN_EXPIRED"


@pytest.mark.parametrize("wallet", ["Apple", "Google"])
def test_a_wallets_token_pays_without_a_page(sandbox: Sandbox, wallet: str) -> None:
    said = sandbox.call(f"Create{wallet}PayToken", MONEY)
    assert said.names() == ["status", "returnCode", "token", "apiKey"]
    payment = f'<payment xsi:type="etp:PaymentTOKEN">{MONEY}<token>{said.text("token")}</token></payment>'
    assert sandbox.call("AcceptPayment", f"<tid>k</tid><pType>TOKEN</pType>{payment}").code == "OK OK"


# ---- payouts


def payout(sandbox: Sandbox, iban: str) -> str:
    own = f"<brand>B4P</brand><iban>{iban}</iban><bic>PBNKDEFFXXX</bic>"
    withdraw = f'<withdraw xsi:type="etp:WithdrawELV">{MONEY}{own}</withdraw>'
    return sandbox.call("AcceptWithdraw", f"<tid>w</tid><pType>ELV</pType>{withdraw}").code


def test_a_payout_to_a_refusing_account_fails(sandbox: Sandbox) -> None:
    assert payout(sandbox, B4P["890"]) == "ERROR DECLINED"
    assert sandbox.ledger("w") == [("payout", 2500, "declined")]


def test_a_payout_settles_by_itself(sandbox: Sandbox) -> None:
    sandbox.settings(settle_delay_s=0)
    assert payout(sandbox, B4P["893"]) == "OK OK"
    eventually(lambda: sandbox.state("w") == "WITHDRAWN")
    assert sandbox.ledger("w") == [("payout", 2500, "booked")]


def test_a_payout_to_a_profile_is_made_at_once(sandbox: Sandbox) -> None:
    sandbox.profiles({"customer_id": "c-1", "kind": "CC", "expiry": "4012"})
    withdraw = f'<withdraw xsi:type="etp:WithdrawPROFILE">{MONEY}</withdraw>'
    inner = f"<tid>w</tid><pType>PROFILE</pType>{withdraw}<customerID>c-1</customerID>"
    assert sandbox.call("AcceptWithdraw", inner).code == "OK PROFILE_USED"
    assert sandbox.ledger("w") == [("payout", 2500, "booked")]


def test_a_payout_the_account_may_not_make_is_refused(sandbox: Sandbox) -> None:
    sandbox.settings(withdraw_allowed=False)
    assert payout(sandbox, B4P["893"]) == "ERROR WITHDRAW_NOT_ALLOWED"
