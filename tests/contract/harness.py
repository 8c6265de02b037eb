"""What the contract suite must be told about one gateway's simulator; the tests themselves name no gateway.

A new gateway joins by one more `Harness`. What it cannot do it says in its abilities, and those tests are skipped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx

from tests.contract.sandbox import fill_in, submit

Form = Mapping[str, str]


@dataclass(frozen=True)
class Means:
    """A means of payment: how the simulator stores it, and what a customer types on the hosted page."""

    stored: Form
    typed: Form


@dataclass(frozen=True)
class Present:
    """A method for a customer who is there, with its fields."""

    method: str
    fields: Form


@dataclass(frozen=True)
class Harness:
    """One gateway's words for what the suite does."""

    name: str
    good: Means
    declined: Means
    expired: Means
    secured: Means
    booked_later: Present
    with_redirect: Present
    settings: Form
    reserving: Form
    calls: Mapping[str, str]
    """The simulator's names of the requests behind `charge`, `open_checkout`, `reverse` and `refund`."""
    pay: Callable[[httpx.AsyncClient, str, Means], Awaitable[str]]
    """Pays on a hosted page and returns where the customer's browser is sent in the end, if anywhere."""
    give_up: Callable[[httpx.AsyncClient, str], Awaitable[str]]


# --- mPAY24 -----------------------------------------------------------------------------------------


def _card(month: str) -> Means:
    number = "4444333322221111"
    return Means(
        {"kind": "CC", "brand": "VISA", "identifier": number, "expiry": f"35{month}", "name": "Jenny Doe"},
        {"type": "CC", "number": number, "expiry": f"{month}/35", "cvc": "123", "action": "pay"},
    )


async def _pay(browser: httpx.AsyncClient, url: str, means: Means) -> str:
    """Pay; a card of a later month is asked for by its bank first."""
    answer = await fill_in(browser, url, means.typed)
    if 'value="confirm"' in answer.text:
        answer = await submit(browser, answer, {"action": "confirm"})
    return str(answer.headers.get("location", ""))


async def _give_up(browser: httpx.AsyncClient, url: str) -> str:
    answer = await fill_in(browser, url, {"type": "CC", "action": "cancel"})
    return str(answer.headers["location"])


MPAY24 = Harness(
    name="mpay24",
    good=_card("05"),
    declined=_card("01"),
    expired=_card("02"),
    secured=_card("07"),
    booked_later=Present(
        "ELV/B4P",
        {
            "iban": "DE09100100101234567893",
            "bic": "PBNKDEFFXXX",
            "mandate_id": "M-1",
            "date_of_signature": "2026-01-01",
        },
    ),
    with_redirect=Present("SOFORT", {}),
    settings={"timeout_s": "5", "connect_timeout_s": "1"},
    reserving={"automatic_clearing": "no"},
    calls={
        "charge": "AcceptPayment",
        "open_checkout": "SelectPayment",
        "reverse": "ManualReverse",
        "refund": "ManualCredit",
    },
    pay=_pay,
    give_up=_give_up,
)

HARNESSES = (MPAY24,)
