"""Test profiles are read from plain JSON, in thousands at a time."""

from typing import Any

from gateways.sandbox.control import BadInputError
from gateways.sandbox.ledger import utc_text
from gateways.sandbox.mpay24_instruments import account, card_brand, card_digits, elv_brand, expiry_text, masked
from gateways.sandbox.mpay24_refusals import RefusalError
from gateways.sandbox.mpay24_store import Instrument, Profile
from gateways.sandbox.mpay24_values import BRANDS

KEYS = {"customer_id", "kind", "brand", "identifier", "expiry", "iban", "name", "profile_id"}


def read_profiles(sent: list[Any]) -> list[Profile]:
    """Read test profiles, or say of the first wrong one in one sentence what is wrong; later ones win."""
    at = utc_text()
    found = {}
    for number, entry in enumerate(sent, 1):
        try:
            profile = read_profile(entry, at)
        except (RefusalError, ValueError) as problem:
            raise BadInputError(f"profile {number}: {problem}") from problem
        found[profile.customer_id, profile.profile_id] = profile
    return list(found.values())


def read_profile(entry: object, at: str) -> Profile:
    """Read one test profile."""
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError("is not a JSON object of texts")
    strange = sorted(entry.keys() - KEYS)
    if strange:
        raise ValueError(f"unknown key {strange[0]!r}")
    customer_id = entry.get("customer_id", "")
    if not 1 <= len(customer_id) <= 32 or not customer_id.isprintable():
        raise ValueError("customer_id must have 1 to 32 printable characters")
    kind = read_instrument(entry)
    kept = (kind.p_type, kind.brand, kind.identifier, kind.expiry, kind.script)
    return Profile(0, customer_id, entry.get("profile_id", ""), *kept, entry.get("name", ""), at)


def read_instrument(entry: dict[str, str]) -> Instrument:
    """Read the means of payment of a test profile; a card number may be left out or masked."""
    kind = entry.get("kind")
    if kind == "PAYPAL":
        return Instrument("PAYPAL", "PAYPAL", entry.get("identifier") or "s******@example.com")
    if kind == "ELV":
        iban = entry.get("iban") or entry.get("identifier", "")
        return account(iban, entry.get("brand") or elv_brand(iban))
    if kind != "CC":
        raise ValueError("kind must be CC, ELV or PAYPAL")
    return read_card(entry.get("identifier", ""), entry.get("expiry", ""), entry.get("brand", ""))


def read_card(identifier: str, expiry: str, brand: str) -> Instrument:
    """Read the card of a test profile."""
    if not (expiry.isdecimal() and len(expiry) == 4):
        raise ValueError("expiry must be YYMM")
    if identifier and "*" not in identifier:
        digits = card_digits(identifier, "INVALID_CREDITCARD_NUMBER")
        identifier, brand = masked(digits), brand or card_brand(digits)
    brand = brand or "VISA"
    if brand not in BRANDS["CC"]:
        raise ValueError(f"there is no card brand {brand!r}")
    return Instrument("CC", brand, identifier or "************1111", expiry_text(int(expiry)))
