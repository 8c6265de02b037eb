"""mPAY24's simulator as the contract suite sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from billing.gateway import ProfileReference
from tests.contract.account import Account
from tests.contract.harness import Harness, Means, Present

DEBIT: Final = {
    "iban": "DE09100100101234567893",
    "bic": "PBNKDEFFXXX",
    "mandate_id": "M-1",
    "date_of_signature": "2026-01-01",
}


def _card(month: str) -> Means:
    """Return a card; what becomes of it depends on the month it ends in."""
    number = "4444333322221111"
    return Means(
        typed={"type": "CC", "number": number, "expiry": f"{month}/35", "cvc": "123", "action": "pay"},
        stored={"kind": "CC", "brand": "VISA", "identifier": number, "expiry": f"35{month}", "name": "Jenny Doe"},
    )


async def _store(account: Account, means: Means) -> ProfileReference:
    profile = ProfileReference(account.name("C"))
    account.sandbox.store({"customer_id": profile.reference, **means.stored})
    return profile


async def _debit(account: Account) -> Present:
    return Present("ELV/B4P", DEBIT)


async def _bank(account: Account) -> Present:
    return Present("SOFORT", {})


MPAY24: Final = Harness(
    name="mpay24",
    good=_card("05"),
    declined=_card("01"),
    expired=_card("02"),
    secured=_card("07"),
    store=_store,
    booked_later=_debit,
    with_redirect=_bank,
    reserving={"automatic_clearing": "no"},
    calls={
        "charge": "AcceptPayment",
        "open_checkout": "SelectPayment",
        "reverse": "ManualReverse",
        "refund": "ManualCredit",
    },
    wrong={"password": "not-the-password"},
    nobody=ProfileReference("C-nobody"),
    nothing="999999999",
    forgeries={"without the order's own proof": lambda message: replace(message, proven_key="")},
    simulating={"settle_delay_s": 0.05, "chargeback_delay_s": 0.05},
)
