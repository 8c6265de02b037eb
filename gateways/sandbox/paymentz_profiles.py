"""Test profiles: INITIALs that a tester says were made before, with the cards they left on file."""

import re
from collections.abc import Mapping
from typing import Any

from gateways.sandbox.control import BadInputError
from gateways.sandbox.ledger import Ledger
from gateways.sandbox.paymentz_fields import CURRENCY, RefusalError
from gateways.sandbox.paymentz_pages import brand_of, typed_card
from gateways.sandbox.paymentz_shapes import card_shape
from gateways.sandbox.paymentz_store import Payment, Registration, Store, read_card
from gateways.sandbox.paymentz_values import DESCRIPTIONS, FAILED, OK, TERMINAL_ID

# What each key of a profile must look like; the first two must be there.
KEYS = {
    "reference": re.compile(r"[ -~]{1,100}"),
    "card": re.compile(r"[0-9 ]{12,23}"),
    "expiry": re.compile(r"[0-9]{2}/20[0-9]{2}"),
    "currency": CURRENCY,
    "customer_id": re.compile(r"[ -~]{0,100}"),
    "payment_id": re.compile(r"[1-9][0-9]{0,14}"),
    "registration_id": re.compile(r"[A-Za-z0-9]{32}"),
    # After so many approved charges the card declines, with these words.
    "approvals": re.compile(r"[0-9]{1,6}"),
    "declines": re.compile(r"[ -~]{1,200}"),
}


def store_profiles(ledger: Ledger, store: Store, sent: list[Any]) -> list[dict[str, object]]:
    """Store an INITIAL and its registered card for each profile, all or none; one replaces another of its reference."""
    with ledger.together():
        return [shown_profile(*stored(store, number, profile)) for number, profile in enumerate(sent, 1)]


def stored(store: Store, number: int, sent: object) -> tuple[Payment, Registration]:
    """Store one profile."""
    profile = checked(number, sent)
    try:
        typed = {"number": profile["card"], "expiry": profile.get("expiry", "12/2040")}
        card = read_card(typed_card(typed), needs_cvv=False)
    except RefusalError as refusal:
        raise BadInputError(f"profile {number}: {refusal.description}") from refusal
    payment_id = int(profile.get("payment_id", "0"))
    store.payments.remove("WHERE reference = ? OR number = ?", profile["reference"], payment_id)
    customer_id, brand = profile.get("customer_id", ""), brand_of(card.bin)
    token = profile.get("registration_id") or store.register(card, customer_id, "CC", brand, dedupe=False)
    store.registrations.remove("WHERE id = ?", token)
    registered = Registration(token, card.packed(), card.fingerprint, customer_id, "CC", brand)
    registered.approvals_left = int(profile.get("approvals", "0" if "declines" in profile else "-1"))
    registered.declines = profile.get("declines", DESCRIPTIONS[FAILED])
    store.registrations.add(registered)
    payment = initial(profile, registered, payment_id)
    store.payments.add(payment)
    return payment, registered


def initial(profile: Mapping[str, str], registered: Registration, payment_id: int) -> Payment:
    """Make the INITIAL of a profile: settled long ago, so that nothing more happens to it by itself."""
    return Payment(
        number=payment_id,
        reference=profile["reference"],
        status="settled",
        cents=100,
        captured=100,
        currency=profile.get("currency", "EUR"),
        recurring="INITIAL",
        registration=registered.id,
        wants_registration=True,
        card=registered.card,
        brand=registered.brand,
        code=OK,
        description=DESCRIPTIONS[OK],
        terminal=TERMINAL_ID,
    )


def checked(number: int, sent: object) -> dict[str, str]:
    """Return a profile, or say in one sentence what is wrong with it."""
    if not isinstance(sent, dict) or not all(isinstance(value, str) for value in sent.values()):
        raise BadInputError(f"profile {number}: is not a JSON object of texts")
    for key, value in sent.items():
        if key not in KEYS:
            raise BadInputError(f"profile {number}: unknown key {key!r}")
        if not KEYS[key].fullmatch(value):
            raise BadInputError(f"profile {number}: {key} cannot be used")
    for key in ("reference", "card"):
        if key not in sent:
            raise BadInputError(f"profile {number}: {key} is missing")
    return sent


def shown_profile(payment: Payment, registered: Registration) -> dict[str, object]:
    """Show by what a profile is charged, and its masked card."""
    return {
        "reference": payment.reference,
        "paymentId": payment.id,
        "registrationId": registered.id,
        "customer_id": registered.customer_id,
        "approvals_left": registered.approvals_left,
        "card": card_shape(payment),
    }
