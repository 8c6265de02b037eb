"""Cards are checked, masked and forgotten; what stays is how their issuer will act (reference section 15)."""

import calendar
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256

from gateways.sandbox.payone_refusals import invalid_value
from gateways.sandbox.payone_values import EXPIRED_CARD, PRODUCTS, TEST_CARDS

NUMBER = re.compile(r"[1-9][0-9]{11,18}")
EXPIRY = re.compile(r"(0[1-9]|1[0-2])([0-9]{2})")


@dataclass(slots=True, frozen=True)
class Card:
    """A card as the provider keeps it: masked, with what its test data make it do."""

    product: int
    brand: str
    bin: str
    last4: str
    length: int
    expiry: str
    holder: str = ""
    # How 3-D Secure goes: "" as asked, frictionless or challenge; and its result.
    flow: str = ""
    result: str = "Y"
    # The code with which the issuer declines, if it does.
    declines: str = ""
    fingerprint: str = ""

    @property
    def alias(self) -> str:
        """Return the number as tokens show it."""
        return self.bin[:6] + "X" * (self.length - 10) + self.last4

    @property
    def masked(self) -> str:
        """Return the number as payments show it."""
        return "*" * 12 + self.last4

    def is_expired(self) -> bool:
        """Say whether the month of its expiry is over."""
        return month_end(self.expiry) < datetime.now(UTC)

    def decline(self) -> str:
        """Return the code with which the issuer declines, or an empty text."""
        return self.declines or (EXPIRED_CARD if self.is_expired() else "")

    def packed(self) -> str:
        """Write the card down for later."""
        return json.dumps(asdict(self))


def unpacked(text: str) -> Card:
    """Read a card that was written down."""
    return Card(**json.loads(text))


def month_end(expiry: str) -> datetime:
    """Return the last second of a month written MMYY."""
    month, year = int(expiry[:2]), 2000 + int(expiry[2:])
    return datetime(year, month, calendar.monthrange(year, month)[1], 23, 59, 59, tzinfo=UTC)


def has_luhn(number: str) -> bool:
    """Say whether the check digit of a card number fits."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def decline_codes(entries: list[str]) -> dict[str, str]:
    """Read the setting that says which numbers are declined with which code."""
    pairs = (entry.partition(":") for entry in entries)
    return {number: code for number, _, code in pairs}


def is_test_card(number: str, declining: dict[str, str]) -> bool:
    """Say whether a number may be sent in the clear."""
    return number in TEST_CARDS or number in declining


def read_card(number: str, expiry: str, holder: str, declining: dict[str, str], path: str) -> Card:
    """Check a card and forget its number; `path` names the block to blame in a refusal."""
    digits = number.replace(" ", "")
    if not NUMBER.fullmatch(digits) or not (is_test_card(digits, declining) or has_luhn(digits)):
        raise invalid_value(f"{path}.cardNumber")
    if not EXPIRY.fullmatch(expiry):
        raise invalid_value(f"{path}.expiryDate")
    product, brand = product_of(digits, path)
    flow, result = TEST_CARDS.get(digits, ("", "Y"))
    mark = sha256(f"{digits}/{expiry}".encode()).hexdigest()
    kept = (digits[:8], digits[-4:], len(digits), expiry, holder[:50], flow, result, declining.get(digits, ""), mark)
    return Card(product, brand, *kept)


def product_of(digits: str, path: str) -> tuple[int, str]:
    """Return the payment product of a number."""
    for product, brand, pattern in PRODUCTS:
        if re.match(pattern, digits):
            return product, brand
    raise invalid_value(f"{path}.cardNumber")
