"""Computop's wire, byte by byte: each request as it leaves or is posted, each answer and result as it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx
import pytest
from structlog.testing import capture_logs

from billing.gateway import (
    Approved,
    Checkout,
    CheckoutOrder,
    DeclineClass,
    Declined,
    Notice,
    NotSent,
    OperationKind,
    Outcome,
    ProfileReference,
    RawMessage,
    Unknown,
)
from billing.money import Money
from gateways.computop import Computop
from tests.gateways.computop_samples import (
    AMOUNT,
    BOOKED,
    CHARGE,
    CHECKOUT,
    CREDENTIALS,
    KEY,
    NUMBER,
    PAY_ID,
    PSEUDO,
    QUESTION,
    SCHEME,
    cards,
    gateway,
)
from tests.gateways.samples import Wire
from tests.gateways.test_computop_notify import NEWS

FILES: Final = Path(__file__).with_name("computop")
PART: Final = Money(500, "EUR")
KNOWN: Final = replace(QUESTION, gateway_id=PAY_ID)
SENT: Final = ("Content-Type", "Accept-Encoding")

CASES: Final[dict[str, tuple[Callable[[Computop], Awaitable[Outcome | None]], Outcome | None]]] = {
    "credit": (lambda g: g.refund(BOOKED, PART, "CRN-1001-1"), Approved(PAY_ID, PART)),
    "credit_too_much": (
        lambda g: g.refund(BOOKED, PART, "CRN-1001-2"),
        Declined("23F00601", DeclineClass.NEVER, "credit refused", PAY_ID),
    ),
    "inquire": (lambda g: g.find(KNOWN), Approved(PAY_ID, AMOUNT)),
    "inquire_credit": (
        lambda g: g.find(replace(KNOWN, amount=PART, operation=OperationKind.REFUND, operation_key="CRN-1001-1")),
        Approved(PAY_ID, PART),
    ),
    "inquire24_unknown": (lambda g: g.find(QUESTION), NotSent("Computop knows no such payment")),
    "inquire24_in_clear": (lambda g: g.find(QUESTION), Unknown("Computop answered the question with 40160003")),
    "direct": (lambda g: g.charge(CHARGE), Approved(PAY_ID, AMOUNT)),
    "direct_declined": (
        lambda g: g.charge(CHARGE),
        Declined("21000313", DeclineClass.RETRY_LATER, "declined", PAY_ID),
    ),
    "capture": (lambda g: g.capture(BOOKED, PART, "INV-1001-1-CAP1"), Approved(PAY_ID, PART)),
    "check": (lambda g: g.check(), None),
}


def answer(name: str) -> Wire:
    status, _, content = (FILES / f"{name}.answer.http").read_bytes().partition(b"\n")
    return Wire(content.strip(), int(status))


def written(request: httpx.Request) -> bytes:
    lines = [f"{request.method} {request.url.raw_path.decode()}"]
    lines += [f"{name}: {request.headers[name]}" for name in SENT]
    return "\n".join([*lines, "", ""]).encode() + request.content + b"\n"


@pytest.mark.parametrize("name", CASES)
async def test_every_byte_out_and_in_is_as_on_file(name: str) -> None:
    call, expected = CASES[name]
    wire = answer(name)
    assert await call(cards(wire)) == expected
    [request] = wire.requests
    assert str(request.url).startswith("https://paygate.example/")
    assert written(request) == (FILES / f"{name}.request.http").read_bytes()


SECRETS: Final = (
    *(CREDENTIALS[name] for name in ("encryption_password", "hmac_password")),
    "D63BBBBD",
    PSEUDO,
    SCHEME,
    NUMBER,
    "Jenny",
    "M\u00fcller",
    "Hauptstra",
    "/n/3/",
)


@pytest.mark.parametrize("name", CASES)
async def test_the_log_of_an_exchange_shows_no_secret(name: str) -> None:
    call, _ = CASES[name]
    with capture_logs() as logs:
        await call(cards(answer(name)))
    told = "\n".join(map(repr, logs))
    assert "exchange" in told
    assert [secret for secret in SECRETS if secret in told] == []


PAGES: Final[dict[str, tuple[dict[str, str], CheckoutOrder]]] = {
    "sale_v11": ({}, CHECKOUT),
    "sale_current": ({"dialect": "current"}, CHECKOUT),
    "card_form": (
        {"card_on_file": "yes"},
        replace(CHECKOUT, ways=("card",), inputs={}, store=ProfileReference("C-7")),
    ),
}


@pytest.mark.parametrize("name", PAGES)
async def test_what_the_customers_browser_posts_is_as_on_file(name: str) -> None:
    settings, order = PAGES[name]
    checkout = await gateway(None, **settings).open_checkout(order)
    assert isinstance(checkout, Checkout)
    form = f"POST {checkout.url}\n\n{urlencode(checkout.posted)}\n"
    assert form.encode() == (FILES / f"{name}.request.http").read_bytes()


RESULTS: Final = {
    "result_paid": Notice(f"{PAY_ID}/a0b1c2d3e4f5061728394a5b6c7d8e9f/OK/00000000", KEY, PAY_ID),
    "result_cancelled": Notice(
        f"{PAY_ID}/a0b1c2d3e4f5061728394a5b6c7d8e9f/FAILED/23F00053",
        KEY,
        PAY_ID,
        Declined("23F00053", DeclineClass.NEEDS_CUSTOMER, "cancelled", PAY_ID),
    ),
    "result_card_stored": Notice(
        f"{PAY_ID}/a0b1c2d3e4f5061728394a5b6c7d8e9f/OK/00000000",
        KEY,
        PAY_ID,
        Approved(PAY_ID, AMOUNT, profile=NEWS),
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_on_file_reads_as_what_it_says(name: str) -> None:
    body = (FILES / f"{name}.http").read_bytes()
    assert cards().read_notification(RawMessage("POST", "", {}, body, KEY)) == RESULTS[name]
