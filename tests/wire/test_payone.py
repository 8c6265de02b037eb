"""PAYONE's wire to the byte: what we send is a file, what comes back is a file, and both are read together.

A request's file holds its line, the headers that are ours, and its body; an answer's file its status and its body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

import httpx
import pytest
from structlog.testing import capture_logs

from billing.gateway import (
    Approved,
    CardForm,
    Checkout,
    DeclineClass,
    Declined,
    Mandate,
    Notice,
    OperationKind,
    Payer,
    Pending,
    ProfileNews,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways.payone import Payone
from gateways.payone_cards import StoredCard
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
    gateway,
    present,
    signed,
)
from tests.gateways.samples import AMOUNT, Wire

FILES: Final = Path(__file__).parent / "payone"
PART: Final = Money(1000, "EUR")
FIRST: Final = Mandate(first_transaction=PAYMENT_ID, scheme_reference="501234567890")
NEW: Final = ProfileNews(TOKEN, "", "card", "VISA", "4675", date(2030, 12, 31), FIRST)
SENT: Final = ("content-type", "date", "x-gcs-idempotence-key", "authorization", "accept", "accept-encoding")

Call = Callable[[Payone], Awaitable[object]]

CASES: Final[dict[str, tuple[Call, object]]] = {
    "charge": (lambda g: g.charge(CHARGE), Approved(PAYMENT_ID, AMOUNT)),
    "charge_declined": (
        lambda g: g.charge(CHARGE),
        Declined("30511001", DeclineClass.RETRY_LATER, "INSUFFICIENT_FUNDS", PAYMENT_ID),
    ),
    "charge_asks_for_the_customer": (
        lambda g: g.charge(CHARGE),
        Declined("40001139", DeclineClass.NEEDS_CUSTOMER, "AUTHENTICATION_REQUIRED", PAYMENT_ID),
    ),
    "charge_token_gone": (
        lambda g: g.charge(CHARGE),
        Declined("UNKNOWN_TOKEN_ID", DeclineClass.NEEDS_NEW_PROFILE),
    ),
    "charge_still_running": (
        lambda g: g.charge(CHARGE),
        Unknown("PAYONE is still answering the first request under this key"),
    ),
    "charge_wrong_key": (
        lambda g: g.charge(CHARGE),
        Refused(
            "ACCESS_TO_MERCHANT_NOT_ALLOWED",
            "PAYONE rejects the API key, its secret or the merchant id: HTTP 403: 9007 ACCESS_TO_MERCHANT_NOT_ALLOWED",
        ),
    ),
    "frame_frictionless": (
        lambda g: g.charge_present(present(PROFILE)),
        Approved(PAYMENT_ID, AMOUNT, profile=NEW),
    ),
    "frame_challenge": (
        lambda g: g.charge_present(present()),
        Pending(PAYMENT_ID, redirect="https://pay.example/v1/redirect/handlerequest/0a1b", until_s=1800),
    ),
    "one_click": (lambda g: g.charge_present(present(None, token=TOKEN)), Approved(PAYMENT_ID, AMOUNT)),
    "checkout": (
        lambda g: g.open_checkout(replace(CHECKOUT, store=PROFILE)),
        Checkout("https://pay.example/hostedcheckout/0a1b", 3600, "4454999290"),
    ),
    "checkout_paid": (
        lambda g: g.find(replace(QUESTION, gateway_id="4454999290", page=True)),
        Approved(PAYMENT_ID, AMOUNT, profile=NEW),
    ),
    "details": (lambda g: g.find(KNOWN), Approved(PAYMENT_ID, AMOUNT)),
    "details_refund": (
        lambda g: g.find(replace(KNOWN, amount=PART, operation=OperationKind.REFUND, operation_key="R-1")),
        Approved(PAYMENT_ID, PART),
    ),
    "capture": (
        lambda g: g.capture(BOOKED, PART, "C-1"),
        Pending(PAYMENT_ID, evidence="PAYONE reports the state CAPTURE_REQUESTED 91"),
    ),
    "cancel": (
        lambda g: g.reverse(BOOKED, "V-1"),
        Pending(PAYMENT_ID, evidence="PAYONE reports the state CANCELLED 61"),
    ),
    "refund": (
        lambda g: g.refund(BOOKED, PART, "R-1"),
        Pending(PAYMENT_ID, evidence="PAYONE reports the state REFUND_REQUESTED 81"),
    ),
    "refund_too_much": (
        lambda g: g.refund(BOOKED, AMOUNT, "R-2"),
        Declined(
            "ACTION_NOT_ALLOWED_ON_TRANSACTION",
            DeclineClass.NEVER,
            "HTTP 400: 50001129 ACTION_NOT_ALLOWED_ON_TRANSACTION",
            PAYMENT_ID,
        ),
    ),
    "delete_token": (lambda g: g.forget(PROFILE), Approved("", Money(0, "EUR"))),
    "check": (lambda g: g.check(), None),
    "token_form": (
        lambda g: g.open_card_form(Payer("C-1", "Jenny Doe", language="de-AT")),
        CardForm(
            FORM_ID,
            "https://pay.example/hostedtokenization/tokenization/form/0a1b",
            "https://payment.example/hostedtokenization/js/client/tokenizer.min.js",
            "tokenizer",
            "sha384-0a1b",
        ),
    ),
    "token_form_read": (
        lambda g: g.read_token_form(FORM_ID),
        StoredCard(replace(NEW, mandate=None), temporary=True),
    ),
}


def answer(name: str) -> Wire:
    status, _, content = (FILES / f"{name}.answer.http").read_bytes().partition(b"\n")
    return Wire(content.strip(), int(status))


def written(request: httpx.Request) -> bytes:
    lines = [f"{request.method} {request.url.raw_path.decode()}"]
    lines += [f"{name}: {request.headers[name]}" for name in SENT if name in request.headers]
    return "\n".join([*lines, "", ""]).encode() + request.content + b"\n"


@pytest.mark.parametrize("name", CASES)
async def test_every_byte_out_and_in_is_as_on_file(name: str) -> None:
    call, expected = CASES[name]
    wire = answer(name)
    assert await call(gateway(wire)) == expected
    [request] = wire.requests
    assert str(request.url).startswith("https://payment.example/v2/MyPSPID/")
    assert written(request) == (FILES / f"{name}.request.http").read_bytes()


SECRETS: Final = (
    CREDENTIALS["api_secret"],
    CREDENTIALS["webhook_secret"],
    "v1HMAC",
    FORM_ID,
    "proof=",
    "jenny@",
    "Hauptstra",
    "131.130",
    "Mozilla",
    "501234567890",
    "123456789012",
    "redirect/handlerequest",
    "tokenization/form",
    "4675",
    "Muster",
)


@pytest.mark.parametrize("name", [name for name in CASES if name != "token_form_read"])
async def test_the_log_of_an_exchange_shows_no_secret(name: str) -> None:
    call, _ = CASES[name]
    with capture_logs() as logs:
        await call(gateway(answer(name)))
    told = "\n".join(map(repr, logs))
    assert "exchange" in told
    for secret in SECRETS if name == "delete_token" else (*SECRETS, TOKEN):
        assert secret not in told


# --- events -----------------------------------------------------------------------------------------

EVENTS: Final[dict[str, Notice]] = {
    "captured": Notice(
        "0b5a7c1e-3c0a-4d55-9a44-2f5a3f0f9a11",
        "T-1",
        PAYMENT_ID,
        Approved(PAYMENT_ID, AMOUNT, profile=NEW),
    ),
    "refunded": Notice(
        "0b5a7c1e-3c0a-4d55-9a44-2f5a3f0f9a12",
        "T-1",
        PAYMENT_ID,
        Approved(PAYMENT_ID, PART),
        OperationKind.REFUND,
    ),
    "rejected": Notice(
        "0b5a7c1e-3c0a-4d55-9a44-2f5a3f0f9a13",
        "T-1",
        PAYMENT_ID,
        Declined("40001134", DeclineClass.NEEDS_CUSTOMER, "AUTHENTICATION_FAILURE", PAYMENT_ID),
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_on_file_reads_as_what_it_says(name: str) -> None:
    content = (FILES / f"event_{name}.json").read_bytes()
    assert gateway(Wire(b"")).read_notification(signed(content)) == EVENTS[name]
