"""mPAY24's wire to the byte: what we send is a file, what comes back is a file, and both are read together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

import pytest
from lxml import etree
from structlog.testing import capture_logs

from billing.gateway import (
    Approved,
    Checkout,
    DeclineClass,
    Declined,
    Notice,
    NotSent,
    OperationKind,
    Pending,
    ProfileNews,
    ProfileReference,
)
from billing.money import Money
from gateways.mpay24 import Mpay24
from gateways.mpay24_answers import ProfilePage, TokenForm
from tests.gateways.samples import (
    AMOUNT,
    BOOKED,
    CHARGE,
    CHECKOUT,
    PAYER,
    PAYOUT,
    PROFILE,
    QUESTION,
    Wire,
    gateway,
    present,
    push,
)

FILES: Final = Path(__file__).parent / "mpay24"
PART: Final = Money(1000, "EUR")
HOBEX: Final = {
    "iban": "AT77 1400 0001 2345 6789",
    "bic": "BAWAATWWXXX",
    "mandate_id": "ID-12751-2014-08-14",
    "date_of_signature": "2014-08-14",
}
VISA: Final = ProfileNews("1234", kind="card", brand="VISA", last4="1111", expires_on=date(2025, 5, 31))
KNOWN: Final = replace(QUESTION, gateway_id="1789332")

SECRETS: Final = (
    "pass&word pass%26word pass&amp;word dTkyODgz AT7714 23456789 BAWAAT ID-12751 410321 fLPX proof= Jenny Hauptstr"
).split()

Call = Callable[[Mpay24], Awaitable[object]]

CASES: Final[dict[str, tuple[Call, object]]] = {
    "charge": (lambda g: g.charge(CHARGE), Approved("247227", AMOUNT)),
    "charge_declined": (lambda g: g.charge(CHARGE), Declined("DECLINED", DeclineClass.RETRY_LATER, "", "3303581")),
    "charge_expired": (
        lambda g: g.charge(CHARGE),
        Declined("EXTERNAL_ERROR", DeclineClass.NEEDS_NEW_PROFILE, "Karte abgelaufen (card expired)", "4100597"),
    ),
    "charge_one_of_several_profiles": (
        lambda g: g.charge(replace(CHARGE, profile=ProfileReference("985467_45486", "slot-2"))),
        Approved("247227", AMOUNT),
    ),
    "token_with_redirect": (
        lambda g: g.charge_present(present("TOKEN", PROFILE, token="fLPXjXBq")),
        Pending("247228", redirect="https://test.mpay24.com/app/bin/3ds/0123", until_s=3600),
    ),
    "debit_hobex": (lambda g: g.charge_present(present("ELV/HOBEX-AT", **HOBEX)), Approved("247227", AMOUNT)),
    "klarna_invoice": (
        lambda g: g.charge_present(
            present("KLARNA/INVOICE", personal_number="410321-9202", gender="FEMALE", birthday="1941-03-21")
        ),
        Approved("247227", AMOUNT),
    ),
    "sofort": (
        lambda g: g.charge_present(present("SOFORT")),
        Pending("247228", redirect="https://test.mpay24.com/app/bin/sofort", until_s=3600),
    ),
    "checkout": (
        lambda g: g.open_checkout(CHECKOUT),
        Checkout("https://test.mpay24.com/app/bin/checkout/payment/0123456789abcdef0123456789abcdef", 3600),
    ),
    "status_by_tid": (
        lambda g: g.find(QUESTION),
        Approved("1789332", AMOUNT, profile=ProfileNews("985467_45486", kind="card", brand="VISA")),
    ),
    "status_not_found": (lambda g: g.find(QUESTION), NotSent("mPAY24 knows no such tid")),
    "history": (lambda g: g.find(KNOWN), Approved("1789332", AMOUNT)),
    "history_credited": (
        lambda g: g.find(replace(KNOWN, amount=PART, operation=OperationKind.REFUND, operation_key="R-1")),
        Approved("1789332", PART),
    ),
    "clear": (lambda g: g.capture(BOOKED, PART, "C-1"), Approved("1679832", PART)),
    "reverse": (lambda g: g.reverse(BOOKED, "V-1"), Approved("1679832", AMOUNT)),
    "credit": (lambda g: g.refund(BOOKED, PART, "R-1"), Approved("1679832", PART)),
    "credit_not_found": (
        lambda g: g.refund(BOOKED, PART, "R-1"),
        Declined("NOT_FOUND", DeclineClass.NEVER, "", "1679832"),
    ),
    "withdraw": (lambda g: g.pay_out(PAYOUT), Approved("247229", AMOUNT)),
    "delete_profile": (lambda g: g.forget(PROFILE), Approved("", Money(0, "EUR"))),
    "list_methods": (lambda g: g.check(), None),
    "list_profiles": (
        lambda g: g.list_profiles(expired_by=date(2025, 12, 31)),
        ProfilePage((VISA,), 2),
    ),
    "token_form": (
        lambda g: g.open_token_form(PAYER),
        TokenForm("https://test.mpay24.com/app/bin/checkout/creditcard/0123", "fLPXjXBq", "key-of-the-form"),
    ),
    "create_customer": (
        lambda g: g.create_customer(PAYER, PROFILE, "ELV/HOBEX-AT", HOBEX),
        ProfileNews("985467_45486", kind="debit", brand="HOBEX-AT"),
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_byte_out_and_in_is_as_on_file(name: str) -> None:
    call, expected = CASES[name]
    wire = Wire((FILES / f"{name}.answer.xml").read_bytes())
    assert await call(gateway(wire)) == expected
    [request] = wire.requests
    assert request.content.decode() == (FILES / f"{name}.request.xml").read_text("utf-8")


async def test_the_headers_are_as_mpay24_wants_them() -> None:
    wire = Wire((FILES / "charge.answer.xml").read_bytes())
    await gateway(wire).charge(CHARGE)
    [request] = wire.requests
    assert request.method == "POST"
    assert str(request.url) == "https://gateway.example/app/bin/etpproxy_v15"
    assert request.headers["content-type"] == "text/xml; charset=utf-8"
    assert request.headers["soapaction"] == "AcceptPayment"
    assert request.headers["authorization"] == "Basic dTkyODgzOnBhc3Mmd29yZC85"


@pytest.mark.parametrize("name", CASES)
async def test_the_log_of_an_exchange_shows_no_secret(name: str) -> None:
    call, _ = CASES[name]
    with capture_logs() as logs:
        await call(gateway(Wire((FILES / f"{name}.answer.xml").read_bytes())))
    told = "\n".join(map(repr, logs))
    assert "exchange" in told
    for secret in (
        "pass&word",
        "pass%26word",
        "dTkyODgz",
        "AT7714",
        "2345 6789",
        "410321",
        "fLPX",
        "proof=",
        "Jenny",
        "Söhne",
    ):
        assert secret not in told


@pytest.mark.parametrize("file", sorted(FILES.glob("*.xml")), ids=lambda file: file.name)
def test_every_message_on_file_is_as_our_interface_description_has_it(file: Path) -> None:
    wsdl = etree.parse(FILES.parents[2] / "gateways" / "wsdl" / "ETP.wsdl")
    [schema] = wsdl.iter("{http://www.w3.org/2001/XMLSchema}schema")
    [body] = etree.parse(file).iter("{http://schemas.xmlsoap.org/soap/envelope/}Body")
    etree.XMLSchema(etree.fromstring(etree.tostring(schema))).assertValid(body[0])


# --- confirmations ----------------------------------------------------------------------------

PUSHES: Final[dict[str, tuple[str, Notice]]] = {
    "billed": ("42", Notice("1789332/BILLED/35760", "42", "1789332", Approved("1789332", Money(35760, "EUR")))),
    "declined_charge": (
        "ABO-123456-JD",
        Notice(
            "3325427/ERROR/2500",
            "ABO-123456-JD",
            "3325427",
            Declined("ERROR", DeclineClass.RETRY_LATER, "", "3325427"),
        ),
    ),
    "profile_renewed": (
        "T-1",
        Notice(
            "1789332/BILLED/2500",
            "T-1",
            "1789332",
            Approved("1789332", AMOUNT, profile=ProfileNews("985467_45486", kind="card", brand="VISA")),
        ),
    ),
}


@pytest.mark.parametrize("name", PUSHES)
def test_a_confirmation_on_file_reads_as_what_it_says(name: str) -> None:
    key, expected = PUSHES[name]
    query = (FILES / f"push_{name}.txt").read_text("ascii").strip()
    assert gateway(Wire(b"")).read_notification(push(query, key)) == expected
