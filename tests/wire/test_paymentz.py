"""PaymentZ's wire to the byte: what we send is a file, what comes back is a file, and both are read together.

A request's file holds its line, the headers that are ours, and its body; an answer's file its status and its body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx
import pytest

from billing.gateway import (
    Approved,
    Checkout,
    DeclineClass,
    Declined,
    Mandate,
    Notice,
    NotSent,
    OperationKind,
    Pending,
    ProfileNews,
    Unknown,
)
from billing.money import Money
from gateways.paymentz import Paymentz
from tests.gateways.paymentz_samples import (
    BOOKED,
    CHARGE,
    CHECKOUT,
    KNOWN,
    PAYMENT_ID,
    PAYOUT,
    PROFILE,
    QUESTION,
    STORED,
    Brand,
    gateway,
    message,
    present,
)
from tests.gateways.samples import AMOUNT

FILES: Final = Path(__file__).parent / "paymentz"
PART: Final = Money(1000, "EUR")
YEN: Final = Money(2500, "JPY")
NEW: Final = ProfileNews(
    PAYMENT_ID, "", "card", "VISA", "0051", date(2032, 7, 31), Mandate(first_transaction=PAYMENT_ID)
)
SENT: Final = ("content-type", "accept", "authtoken")

Call = Callable[[Paymentz], Awaitable[object]]

CASES: Final[dict[str, tuple[Call, object, dict[str, str]]]] = {
    "check": (lambda g: g.check(), None, {}),
    "charge": (lambda g: g.charge(CHARGE), Approved(PAYMENT_ID, AMOUNT), {}),
    "charge_in_yen": (lambda g: g.charge(replace(CHARGE, amount=YEN)), Approved(PAYMENT_ID, YEN), {}),
    "charge_declined": (
        lambda g: g.charge(CHARGE),
        Declined("10001", DeclineClass.RETRY_LATER, "Transaction failed Insufficient funds", PAYMENT_ID),
        {},
    ),
    "charge_duplicate": (
        lambda g: g.charge(CHARGE),
        Unknown("PaymentZ has seen this request before: 20006 Duplicate merchantTransactionId"),
        {},
    ),
    "charge_html": (
        lambda g: g.charge(CHARGE),
        Unknown("PaymentZ gave an answer that is not clear: HTTP 200: not JSON"),
        {},
    ),
    "charge_in_body": (lambda g: g.charge(CHARGE), Approved(PAYMENT_ID, AMOUNT), {"repeat_route": "body"}),
    "charge_nested": (lambda g: g.charge(CHARGE), Approved(PAYMENT_ID, AMOUNT), {"request_format": "json_nested"}),
    "charge_token": (
        lambda g: g.charge(replace(CHARGE, profile=STORED)),
        Approved(PAYMENT_ID, AMOUNT),
        {"repeat_via": "token"},
    ),
    "present": (
        lambda g: g.charge_present(present(PROFILE, user_agent="Mozilla/5.0", java_enabled="no")),
        Approved(PAYMENT_ID, AMOUNT, profile=NEW),
        {},
    ),
    "present_challenge": (
        lambda g: g.charge_present(present()),
        Pending(PAYMENT_ID, "https://acs.example/step", 1800, posted={"PaReq": "eJxVUtt", "MD": "54301"}),
        {},
    ),
    "inquiry_mid": (lambda g: g.find(QUESTION), Approved(PAYMENT_ID, AMOUNT, profile=NEW), {}),
    "inquiry_pid": (lambda g: g.find(KNOWN), Approved(PAYMENT_ID, AMOUNT), {}),
    "inquiry_nothing": (lambda g: g.find(QUESTION), NotSent("PaymentZ knows nothing of it"), {}),
    "inquiry_refund": (
        lambda g: g.find(replace(KNOWN, amount=PART, operation=OperationKind.REFUND, operation_key="R-1")),
        Approved(PAYMENT_ID, PART),
        {},
    ),
    "capture": (lambda g: g.capture(BOOKED, PART, "C-1"), Approved(PAYMENT_ID, PART), {}),
    "reversal": (lambda g: g.reverse(BOOKED, "V-1"), Approved(PAYMENT_ID, AMOUNT), {}),
    "reversal_too_late": (
        lambda g: g.reverse(BOOKED, "V-1"),
        Declined("20004", DeclineClass.NEVER, "Operation not allowed in this state", PAYMENT_ID),
        {},
    ),
    "refund": (lambda g: g.refund(BOOKED, PART, "R-1"), Approved(PAYMENT_ID, PART), {}),
    "payout": (lambda g: g.pay_out(PAYOUT), Pending("54400", evidence="PaymentZ reports the state payoutstarted"), {}),
    "delete": (lambda g: g.forget(STORED), Approved("", Money(0, "EUR")), {"repeat_via": "token"}),
}


def answer(name: str) -> httpx.Response:
    status, _, content = (FILES / f"{name}.answer.http").read_bytes().partition(b"\n")
    return httpx.Response(int(status), content=content.strip())


def written(request: httpx.Request) -> bytes:
    lines = [f"{request.method} {request.url.raw_path.decode()}"]
    lines += [f"{name}: {request.headers[name]}" for name in SENT if name in request.headers]
    return "\n".join([*lines, "", ""]).encode() + request.content + b"\n"


@pytest.mark.parametrize("name", CASES)
async def test_every_byte_out_and_in_is_as_on_file(name: str) -> None:
    call, expected, config = CASES[name]
    brand = Brand(answer(name), token=answer("check"))
    assert await call(gateway(brand, **config)) == expected
    [request] = brand.requests or brand.logins
    assert str(request.url).startswith("https://brand.example/transactionServices/REST/v1/")
    assert written(request) == (FILES / f"{name}.request.http").read_bytes()


async def test_the_form_for_the_hosted_page_is_as_on_file() -> None:
    page = await gateway(Brand(b"")).open_checkout(replace(CHECKOUT, store=PROFILE))
    assert isinstance(page, Checkout)
    form = f"POST {page.url}\n\n{urlencode(page.posted)}\n"
    assert form.encode() == (FILES / "checkout.form").read_bytes()


# --- callbacks ----------------------------------------------------------------------------------------

CALLBACKS: Final[dict[str, Notice]] = {
    "callback_paid.json": Notice("54301/capturesuccess", "T-1", PAYMENT_ID, Approved(PAYMENT_ID, AMOUNT)),
    "callback_declined.json": Notice(
        "54301/authfailed",
        "T-1",
        PAYMENT_ID,
        Declined("10001", DeclineClass.NEEDS_NEW_PROFILE, "Transaction failed Expired card", PAYMENT_ID),
    ),
    "callback_refunded.json": Notice(
        "54301/reversed", "T-1", PAYMENT_ID, Approved(PAYMENT_ID, AMOUNT), OperationKind.REFUND
    ),
    "callback_chargeback.form": Notice(
        "54301/chargeback", "T-1", PAYMENT_ID, Approved(PAYMENT_ID, AMOUNT), OperationKind.CHARGEBACK
    ),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_on_file_reads_as_what_it_says(name: str) -> None:
    content = (FILES / name).read_bytes().strip()
    assert gateway(Brand(b"")).read_notification(message(content)) == CALLBACKS[name]
