"""Cards are checked and forgotten; what stays is a pseudo number, and how the issuer acts.

Published test numbers, always approved: VISA 4111111111111111, MasterCard
5555555555554444, AMEX 375000000000007; so is any other number of these brands
with a right check digit. Numbers of this simulator only begin with 40000000,
then name the detail with which the issuer declines, then 00, then 1 if the bank
wants to ask the customer first (else 0), then a check digit:

================ ===================================================
4000000001000001 0100, an ordinary decline
4000000001100009 0110, expired
4000000003130004 0313, insufficient funds
4000000003430008 0343, stolen: never again
4000000001210006 0121, the issuer cannot be reached for now
4000000000000010 asks the customer at the bank, then approves
4000000002000018 0200, wants authentication: as before on a page, but
                 declines every charge without the customer
================ ===================================================
"""

import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from gateways.sandbox.computop_json import BRANDS, EXPIRY, packed
from gateways.sandbox.computop_store import Card
from gateways.sandbox.control import BadInputError

PATTERNS = {"VISA": r"4[0-9]{15}", "MasterCard": r"(?:5[1-5]|2[2-7])[0-9]{14}", "AMEX": r"3[47][0-9]{13}"}
ACTING = re.compile(r"40000000([0-9]{4})00([01])[0-9]")
REFERENCE = re.compile(r"[\x21-\x25\x27-\x7e]{1,64}")
HOLDER = "Test Holder"
FINE, EXPIRED, UNKNOWN, AUTHENTICATION = "0000", "0110", "0130", "0200"


def brand_of(number: str) -> str:
    """Return the brand of a number with a right check digit, or an empty text."""
    brands = [brand for brand, pattern in PATTERNS.items() if re.fullmatch(pattern, number)]
    return brands[0] if brands and has_luhn(number) else ""


def has_luhn(number: str) -> bool:
    """Say whether the check digit of a number fits."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def make_card(number: str, expiry: str, holder: str) -> Card:
    """Make what is kept of a card; one number always has the same pseudo number."""
    digest = int(sha256(f"computop/{number}".encode()).hexdigest(), 16)
    acting = ACTING.fullmatch(number)
    return Card(
        pcnr=f"0{digest % 10**12:012d}{number[-3:]}",
        masked=number[:6] + "X" * (len(number) - 10) + number[-4:],
        brand=brand_of(number),
        expiry=expiry,
        holder=holder,
        detail=acting[1] if acting else FINE,
        asks_bank=bool(acting and acting[2] == "1"),
    )


def is_holder(name: str) -> bool:
    """Say whether a name could stand on a card."""
    return 2 <= len(name) <= 45 and name.isprintable()


def new_scheme_reference() -> str:
    """Make up a reference as a card scheme would."""
    return f"{secrets.randbelow(10**15):015d}"


def is_over(expiry: str) -> bool:
    """Say whether a month written YYYYMM is over."""
    return expiry < datetime.now(UTC).strftime("%Y%m")


def typed_expiry(text: str) -> str:
    """Return what was typed as MM/YY as YYYYMM, or an empty text."""
    found = re.fullmatch(r"(0[1-9]|1[0-2]) ?/? ?([0-9]{2})", text.strip())
    return f"20{found[2]}{found[1]}" if found else ""


def card_shape(card: Card, *, is_masked: bool) -> str:
    """Write a card as answers carry it."""
    shape = {"number": card.masked if is_masked else card.pcnr, "expiryDate": card.expiry, "brand": card.brand}
    return packed({**shape, "bin": {"accountBIN": card.masked[:6]}, "cardholderName": card.holder})


def read_test_card(number: int, sent: Any) -> Card:
    """Read a card that a tester puts on file, or say in one sentence what is wrong with it."""
    if not isinstance(sent, dict) or not all(isinstance(value, str) for value in sent.values()):
        raise BadInputError(f"card {number} is not a JSON object of texts")
    strange = sorted(sent.keys() - {"number", "expiry", "brand", "holder", "scheme_reference"})
    if strange:
        raise BadInputError(f"card {number} has the unknown key {strange[0]!r}")
    brand = brand_of(sent.get("number", ""))
    if not brand or sent.get("brand", brand) != brand:
        raise BadInputError(f"card {number} needs a number with a right check digit, of its brand: {sorted(BRANDS)}")
    if not EXPIRY.fullmatch(sent.get("expiry", "")):
        raise BadInputError(f"card {number} needs an expiry as YYYYMM")
    if not is_holder(sent.get("holder", HOLDER)):
        raise BadInputError(f"card {number} needs a holder of 2 to 45 characters")
    if not REFERENCE.fullmatch(sent.get("scheme_reference", "0")):
        raise BadInputError(f"card {number} needs a scheme_reference of at most 64 plain characters")
    return make_card(sent["number"], sent["expiry"], sent.get("holder", HOLDER))
