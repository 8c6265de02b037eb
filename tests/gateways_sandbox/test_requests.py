"""What the endpoint tolerates and what it refuses (reference sections 1 and 8)."""

import pytest

from tests.gateways_sandbox.wire import ENVELOPE, MONEY, VISA, Sandbox, order

CLIENT = "SOAP-ENV:Client"
VIOLATION = "Validation constraint violation: data type mismatch in element '{}'"
HOBEX = (
    "<amount>1000</amount><currency>EUR</currency><brand>HOBEX-AT</brand><iban>AT771400000123456789</iban>"
    "<bic>BAWAATWWXXX</bic><mandateID>ID-12751-2014-08-14</mandateID><dateOfSignature>2014-08-14</dateOfSignature>"
)


def profile_charge(sandbox: Sandbox, payment: str, more: str = "") -> str:
    merchant = sandbox.credentials["merchant_id"]
    return (
        f"<etp:AcceptPayment><merchantID>{merchant}</merchantID><tid>INV 2016-11 JDoe</tid><pType>PROFILE</pType>"
        f"{payment}<customerID>985467_45486</customerID>{more}</etp:AcceptPayment>"
    )


@pytest.fixture
def customer(sandbox: Sandbox) -> Sandbox:
    sandbox.profiles({"customer_id": "985467_45486", "kind": "CC", "brand": "VISA", "expiry": "4012"})
    return sandbox


# ---- tolerance


@pytest.mark.parametrize(
    "payment",
    [
        f"<payment>{MONEY}<useProfile>true</useProfile></payment>",
        f'<payment xsi:type="etp:PaymentPROFILE">{MONEY}</payment>',
        f'<payment xsi:type="etp:Payment">{MONEY}</payment>',
        f'<payment xsi:type="etp:NeverHeardOf">{MONEY}</payment>',
        f'<payment xsi:type="etp:ProfilePaymentCC">{MONEY}</payment>',
        f'<p:payment xmlns:p="urn:strange">{MONEY}</p:payment>',
        "<payment><currency>EUR</currency><amount> 2500 </amount></payment>",
        f"<payment>{MONEY}<timeout xsi:nil='true'>none</timeout><profileID xsi:nil='1'/></payment>",
        f"<payment>{MONEY}<extra><deep>1</deep></extra></payment><desciption>misspelt</desciption>",
    ],
)
def test_official_clients_shapes_of_a_profile_charge_are_all_accepted(customer: Sandbox, payment: str) -> None:
    assert customer.send(profile_charge(customer, payment)).code == "OK PROFILE_USED"


def test_children_may_come_in_any_order(customer: Sandbox) -> None:
    merchant = customer.credentials["merchant_id"]
    said = customer.send(
        f"<etp:AcceptPayment><language>de</language><successURL>http://127.0.0.1/s</successURL>"
        f"<customerID>985467_45486</customerID><payment>{MONEY}</payment><pType>PROFILE</pType><tid>t</tid>"
        f"<merchantID>{merchant}</merchantID></etp:AcceptPayment>"
    )
    assert said.code == "OK PROFILE_USED"
    assert customer.call("TransactionStatus", "<tid>t</tid>").parameters()["LANGUAGE"] == "DE"


def test_a_form_content_type_without_soapaction_is_accepted(customer: Sandbox) -> None:
    body = ENVELOPE.format(profile_charge(customer, f"<payment>{MONEY}</payment>")).encode()
    said = customer.post(body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert said.code == "OK PROFILE_USED"


def test_the_soapaction_is_not_what_is_done(customer: Sandbox) -> None:
    body = ENVELOPE.format(profile_charge(customer, f"<payment>{MONEY}</payment>")).encode()
    said = customer.post(body, headers={"Content-Type": "text/xml", "SOAPAction": '"DeleteProfile"'})
    assert said.body.tag == "{https://www.mpay24.com/soap/etp/1.5/ETP.wsdl}AcceptPaymentResponse"


def test_the_type_of_a_payment_is_resolved_whatever_its_prefix(sandbox: Sandbox) -> None:
    merchant, wsdl = sandbox.credentials["merchant_id"], "https://www.mpay24.com/soap/etp/1.5/ETP.wsdl"
    said = sandbox.send(
        f'<AcceptPayment xmlns="{wsdl}"><merchantID xmlns="">{merchant}</merchantID><tid xmlns="">q-1</tid>'
        f'<pType xmlns="">ELV</pType><payment xmlns="" xmlns:q="{wsdl}" xsi:type="q:PaymentELV">{HOBEX}</payment>'
        "<customerName>John Doe</customerName><order><clientIP>131.130.70.8</clientIP></order></AcceptPayment>"
    )
    assert said.code == "OK OK"


def test_a_type_of_another_namespace_counts_as_the_base_type(sandbox: Sandbox) -> None:
    payment = f'<payment xmlns:q="urn:other" xsi:type="q:PaymentELV">{HOBEX}</payment>'
    inner = f"<tid>q-1</tid><pType>ELV</pType>{payment}<customerName>J</customerName>"
    said = sandbox.call("AcceptPayment", f"{inner}<order><clientIP>131.130.70.8</clientIP></order>")
    assert said.code == "ERROR BRAND_NOT_ENTERED"


def test_the_documented_direct_debit_is_accepted(sandbox: Sandbox) -> None:
    said = sandbox.call(
        "AcceptPayment",
        f'<tid>21736</tid><pType>ELV</pType><payment xsi:type="etp:PaymentELV">{HOBEX}</payment>'
        "<customerName>John Doe</customerName>"
        "<order><clientIP>131.130.70.8</clientIP><description>Direct debit example</description></order>",
    )
    assert said.code == "OK OK"
    assert said.names() == ["status", "returnCode", "mpayTID"]
    assert sandbox.ledger("21736") == [("sale", 1000, "booked")]


def test_a_latin_1_envelope_is_read_by_its_declaration(customer: Sandbox) -> None:
    inner = profile_charge(customer, f"<payment>{MONEY}</payment>", "<customerName>Jörg Müller</customerName>")
    body = '<?xml version="1.0" encoding="ISO-8859-1"?>' + ENVELOPE.format(inner)
    assert customer.post(body.encode("iso-8859-1")).code == "OK PROFILE_USED"
    status = customer.call("TransactionStatus", "<tid>INV 2016-11 JDoe</tid>")
    assert status.parameters()["CUSTOMER"] == "Jörg Müller"


@pytest.mark.parametrize("nested", [True, False])
def test_an_order_document_comes_escaped_or_literally(sandbox: Sandbox, nested: bool) -> None:
    if nested:
        said = sandbox.call("SelectPayment", f"<mdxi>{order('n-1')}</mdxi><tid>sibling</tid>")
    else:
        document = '<?xml version="1.0" encoding="UTF-8"?>' + order("n-1")
        said = sandbox.call("SelectPayment", f"<mdxi><![CDATA[{document}]]></mdxi>")
    assert said.code == "OK REDIRECT"
    assert said.names() == ["status", "returnCode", "location"]


# ---- strictness


@pytest.mark.parametrize(
    ("inner", "element"),
    [
        ("<tid>a</tid><pType>CREDITCARD</pType><payment/>", "pType"),
        ("<tid>a</tid><pType>MASTERPASS</pType><payment/>", "pType"),
        ("<tid>a</tid><pType>PROFILE</pType><payment><amount>25.00</amount></payment>", "amount"),
        ("<tid>a</tid><pType>PROFILE</pType><payment><amount>-1</amount></payment>", "amount"),
        ("<tid>a</tid><pType>PROFILE</pType><payment><amount></amount></payment>", "amount"),
        ("<tid>a</tid><pType>PROFILE</pType><payment><amount>4294967296</amount></payment>", "amount"),
        (f"<tid>a</tid><pType>PROFILE</pType><payment>{MONEY}<useProfile>yes</useProfile></payment>", "useProfile"),
        ("<tid><b>a</b></tid><pType>PROFILE</pType><payment/>", "tid"),
        ("<tid>a</tid><pType>CC</pType><payment/><order><billing><gender>M</gender></billing></order>", "gender"),
        ("<tid>a</tid><pType>CC</pType><payment/><order><billing><mode>ReadOnly</mode></billing></order>", "mode"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_a_fault(sandbox: Sandbox, inner: str, element: str) -> None:
    said = sandbox.call("AcceptPayment", inner)
    assert said.http == 500
    assert said.fault == (CLIENT, VIOLATION.format(element))
    assert sandbox.ledger() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<a/>",
        ENVELOPE.format("").encode(),
        ENVELOPE.format("<etp:StealMoney/>").encode(),
        ENVELOPE.replace("schemas.xmlsoap.org/soap", "www.w3.org/2003/05/soap").format("<x/>").encode(),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + ENVELOPE.format("<etp:ManualReverse>&b;</etp:ManualReverse>").encode(),
        b"<a>" * 100_000,
        b" " * 1_100_000,
    ],
)
def test_what_is_no_soap_request_is_a_fault(sandbox: Sandbox, body: bytes) -> None:
    said = sandbox.post(body)
    assert said.http == 500
    assert said.fault[0] == CLIENT


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic dTkwMDAxOndyb25n"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Bearer x"},
    ],
)
def test_a_wrong_login_gets_html(sandbox: Sandbox, headers: dict[str, str]) -> None:
    said = sandbox.post(ENVELOPE.format("<etp:ManualReverse/>").encode(), auth=None, headers=headers)
    assert said.http == 401
    assert "<title>401 Unauthorized</title>" in said.raw


def test_another_merchants_number_is_refused(sandbox: Sandbox) -> None:
    said = sandbox.send(
        "<etp:DeleteProfile><merchantID>90002</merchantID><customerID>c</customerID></etp:DeleteProfile>"
    )
    assert (said.http, said.code) == (200, "ERROR MERCHANTID_NOT_CORRECT")


CARD = f"<brand>VISA</brand><identifier>{VISA}</identifier><expiry>4012</expiry>"
WITH_CARD = f'<tid>a</tid><pType>CC</pType><payment xsi:type="etp:PaymentCC">{MONEY}{CARD}</payment>'


@pytest.mark.parametrize(
    ("inner", "code", "err_no"),
    [
        ("<pType>PROFILE</pType><payment/>", "TID_NOT_ENTERED", "6"),
        ("<tid>a</tid><payment/>", "PTYPE_NOT_ENTERED", "6"),
        ("<tid>a</tid><pType>PROFILE</pType>", "PAYMENT_NOT_ENTERED", "6"),
        ("<tid>a</tid><pType>PROFILE</pType><payment/>", "AMOUNT_NOT_ENTERED", "6"),
        ("<tid>a</tid><pType>PROFILE</pType><payment><amount>1</amount></payment>", "CURRENCY_NOT_ENTERED", "6"),
        (
            "<tid>a</tid><pType>PROFILE</pType><payment><amount>1</amount><currency>XYZ</currency></payment>",
            "CURRENCY_NOT_CORRECT",
            None,
        ),
        (
            "<tid>a</tid><pType>PROFILE</pType><payment><amount>0</amount><currency>EUR</currency></payment>",
            "INVALID_AMOUNT",
            "14",
        ),
        (f"<tid>a</tid><pType>PROFILE</pType><payment>{MONEY}</payment>", "CUSTOMERID_NOT_ENTERED", "6"),
        (
            f"<tid>a</tid><pType>PROFILE</pType><payment>{MONEY}</payment><customerID>x</customerID>",
            "PROFILE_NOT_FOUND",
            "20",
        ),
        (f"<tid>{'a' * 33}</tid><pType>PROFILE</pType><payment>{MONEY}</payment>", "TID_NOT_CORRECT", "7"),
        (
            f"<tid>a</tid><pType>PROFILE</pType><payment>{MONEY}</payment><customerID>{'c' * 33}</customerID>",
            "CUSTOMERID_NOT_CORRECT",
            "7",
        ),
        (
            f'<tid>a</tid><pType>CC</pType><payment xsi:type="etp:PaymentELV">{MONEY}</payment>',
            "PTYPE_MISMATCH",
            "9",
        ),
        (
            f"<tid>a</tid><pType>CC</pType><payment>{MONEY}</payment>",
            "BRAND_NOT_ENTERED",
            "6",
        ),
        (
            f"{WITH_CARD}<confirmationURL>ftp://127.0.0.1/</confirmationURL>",
            "CONFIRMATIONURL_NOT_CORRECT",
            "7",
        ),
        (
            WITH_CARD.replace("VISA", "VISO"),
            "BRAND_NOT_CORRECT",
            "7",
        ),
        (
            WITH_CARD.replace("4012", "4013"),
            "EXPIRY_NOT_CORRECT",
            "7",
        ),
        (
            WITH_CARD.replace("1111", "1112"),
            "INVALID_CREDITCARD_NUMBER",
            "15",
        ),
        (
            f'<tid>a</tid><pType>MAESTRO</pType><payment xsi:type="etp:PaymentMAESTRO">{MONEY}{CARD}</payment>',
            "INVALID_MAESTRO_NUMBER",
            "16",
        ),
        (f'<tid>a</tid><pType>TOKEN</pType><payment xsi:type="etp:PaymentTOKEN">{MONEY}<token>x</token></payment>',
         "TOKEN_NOT_FOUND", "30"),
        (f"<tid>a</tid><pType>KLARNA</pType><payment>{MONEY}</payment>", "BRAND_NOT_ENTERED", "6"),
    ],
)  # fmt: skip
def test_a_charge_that_cannot_be_is_refused_without_a_transaction(
    sandbox: Sandbox, inner: str, code: str, err_no: str | None
) -> None:
    said = sandbox.call("AcceptPayment", inner)
    assert (said.http, said.code, said.text("errNo")) == (200, f"ERROR {code}", err_no)
    assert "mpayTID" not in said.names()
    assert sandbox.ledger() == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("<customerName>John Doe</customerName>", "", "CUSTOMERNAME_NOT_ENTERED"),
        ("<clientIP>131.130.70.8</clientIP>", "", "CLIENTIP_NOT_ENTERED"),
        ("<mandateID>ID-12751-2014-08-14</mandateID>", "", "MANDATEID_NOT_ENTERED"),
        ("<dateOfSignature>2014-08-14</dateOfSignature>", "", "DATEOFSIGNATURE_NOT_ENTERED"),
        ("AT771400000123456789", "AT771400000123456780", "INVALID_IBAN"),
        ("HOBEX-AT", "HOBEX-XX", "BRAND_NOT_CORRECT"),
    ],
)
def test_a_direct_debit_needs_all_its_scheme_asks_for(sandbox: Sandbox, old: str, new: str, code: str) -> None:
    whole = (
        f'<tid>e</tid><pType>ELV</pType><payment xsi:type="etp:PaymentELV">{HOBEX}</payment>'
        "<customerName>John Doe</customerName><order><clientIP>131.130.70.8</clientIP></order>"
    )
    assert sandbox.call("AcceptPayment", whole.replace(old, new)).code == f"ERROR {code}"


MDXI_VARIANTS = [
    ("<Order><Tid>a</Tid><Price>25</Price></Order>", True),
    ("<Order><Tid>a</Tid><Price>25.00</Price><Currency>CHF</Currency></Order>", True),
    ("<Order><ClientIP>10.0.0.1</ClientIP><Tid>a</Tid><Price>0.10</Price></Order>", True),
    ("<Order><ClientIP>2001:db8::1</ClientIP><Tid>a</Tid><Price>0.10</Price></Order>", True),
    ("<Order><Price>25.00</Price><Tid>a</Tid></Order>", False),
    ("<Order><Tid>a</Tid></Order>", False),
    ("<Order><Tid></Tid><Price>25.00</Price></Order>", False),
    (f"<Order><Tid>{'a' * 33}</Tid><Price>25.00</Price></Order>", False),
    ("<Order><Tid>a</Tid><Price>25.5</Price></Order>", False),
    ("<Order><Tid>a</Tid><Price>25,00</Price></Order>", False),
    ("<Order><Tid>a</Tid><Price>1234567890</Price></Order>", False),
    ("<Order><Tid>a</Tid><Price>25.00</Price><Currency>eur</Currency></Order>", False),
    ("<Order><Tid>a</Tid><Price>25.00</Price><Extra/></Order>", False),
    ("<Order Colour='red'><Tid>a</Tid><Price>25.00</Price></Order>", False),
    ("<Order>text<Tid>a</Tid><Price>25.00</Price></Order>", False),
    ("<order><Tid>a</Tid><Price>25.00</Price></order>", False),
    ('<Order xmlns="urn:x"><Tid>a</Tid><Price>25.00</Price></Order>', False),
    ("<Order><Tid>a</Tid><TemplateSet Language='en'/><Price>25.00</Price></Order>", False),
    ("<Order><Tid>a</Tid><PaymentTypes><Payment Type='MASTERPASS'/></PaymentTypes><Price>1</Price></Order>", False),
    ("<Order><Tid>a</Tid><PaymentTypes><Payment/></PaymentTypes><Price>1</Price></Order>", False),
    ("<Order><Tid>a</Tid><PaymentTypes></PaymentTypes><Price>1</Price></Order>", False),
    (f"<Order><Tid>a</Tid><Price>1</Price><Customer>{'n' * 51}</Customer></Order>", False),
    ("<Order><Tid>a</Tid><Price>1</Price><Customer Id='c' UseProfile='yes'>n</Customer></Order>", False),
    ("<Order><Tid>a</Tid><Price>1</Price><URL><Error>http://e.test/</Error><Success>http://s.test/</Success></URL></Order>",
     False),
    ("<Order><Tid>a</Tid><Price>1</Price><URL><Success>/relative</Success></URL></Order>", False),
    ("<Order><Tid>a</Tid><Price>1</Price><BillingAddr Mode='ReadOnly'><Name>J</Name></BillingAddr></Order>", True),
    ("<Order><Tid>a</Tid><Price>1</Price><BillingAddr Mode='READONLY'><Name>J</Name></BillingAddr></Order>", False),
    ("<Order><Tid>a</Tid><Price>1</Price><BillingAddr><Name>J</Name></BillingAddr></Order>", False),
    ("<Order><Tid>a</Tid><ShoppingCart><Item><Quantity>2</Quantity><Price>1</Price></Item><Tax>1.00</Tax>"
     "<SubTotal>2</SubTotal><Tax Percent='20'>1</Tax></ShoppingCart><Price>1</Price></Order>", True),
    ("<Order><Tid>a</Tid><ShoppingCart><Item><Price>1</Price><Quantity>2</Quantity></Item></ShoppingCart>"
     "<Price>1</Price></Order>", False),
    ("&lt;Order&gt;&lt;Tid&gt;a&lt;/Tid&gt;&lt;/Order&gt;", False),
]  # fmt: skip


@pytest.mark.parametrize(("document", "is_valid"), MDXI_VARIANTS)
def test_an_order_document_is_read_strictly(sandbox: Sandbox, document: str, is_valid: bool) -> None:
    said = sandbox.call("SelectPayment", f"<mdxi><![CDATA[{document}]]></mdxi>")
    if is_valid:
        assert said.code == "OK REDIRECT"
    else:
        assert said.code == "ERROR INVALID_MDXI"
        assert said.names() == ["status", "returnCode", "errNo", "location"]
        assert (said.text("errNo"), said.text("location")) == ("13", "")


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("<Order><Tid>a</Tid><Price>-5.00</Price></Order>", "INVALID_PRICE"),
        ("<Order><Tid>a</Tid><Price>0.00</Price></Order>", "INVALID_PRICE"),
        ("<Order><Tid>a</Tid><Price>25.50</Price><Currency>JPY</Currency></Order>", "INVALID_PRICE"),
        ("<Order><Tid>a</Tid><Price>25.50</Price><Currency>XYZ</Currency></Order>", "CURRENCY_NOT_CORRECT"),
        ("<Order><Tid>a</Tid><PaymentTypes><Payment Type='BILLPAY'/></PaymentTypes><Price>1</Price></Order>",
         "PAYMENT_METHOD_NOT_ACTIVE"),
        (f"<Order><Tid>a</Tid><Price>1</Price></Order>{' ' * 8192}<!-- -->", "MDXI_NOT_CORRECT"),
        ("", "MDXI_NOT_ENTERED"),
    ],
)  # fmt: skip
def test_a_valid_order_that_cannot_be_paid_is_refused(sandbox: Sandbox, document: str, code: str) -> None:
    assert sandbox.call("SelectPayment", f"<mdxi><![CDATA[{document}]]></mdxi>").code == f"ERROR {code}"
