"""Requests are read into flat names and texts, whatever shape they came in; answers go out as JSON or XML."""

import calendar
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from gateways.sandbox.paymentz_values import (
    DESCRIPTIONS,
    MALFORMED,
    TOO_LARGE,
    WHOLE_CURRENCIES,
)

Fields = dict[str, str]
Body = dict[str, Any]

AMOUNT = re.compile(r"[0-9]{1,8}\.[0-9]{2}")
CURRENCY = re.compile(r"[A-Z]{3}")
VISIBLE = re.compile(r"[!-~]+")
CARD_NUMBER = re.compile(r"[0-9]{12,19}")
BODY_BYTES_MAX = 200_000
FIELDS_MAX = 500
REFERENCE_LENGTH_MAX = 100
MONEY_NAMES = frozenset(("amount", "tmpl_amount"))
UNFIT_FOR_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class RefusalError(Exception):
    """A request that is answered with a code of section 11 and changes nothing."""

    def __init__(self, code: str, description: str = "", payment_id: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.description = description or DESCRIPTIONS.get(code, "Refused")
        self.payment_id = payment_id


def malformed(name: str) -> RefusalError:
    """Blame a field."""
    return RefusalError(MALFORMED, f"Missing or malformed field: {name}")


def read_form(body: bytes) -> Fields:
    """Read a form; of a field sent twice the last counts."""
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as problem:
        raise malformed("body") from problem


def read_fields(content_type: str, body: bytes) -> Fields:
    """Read a form, or JSON that is flat, nested or both (D-02)."""
    if len(body) > BODY_BYTES_MAX:
        raise malformed("body")
    if "json" not in content_type.lower():
        return read_form(body)
    try:
        found = json.loads(body, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as problem:
        raise malformed("body") from problem
    if not isinstance(found, dict):
        raise malformed("body")
    return dict(flattened(found))


def flattened(found: Body, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Join nested names by dots; lists carry nothing that this wire knows."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{name}.")
        elif value is not None and not isinstance(value, list):
            yield f"{prefix}{name}", as_text(name, value)


def as_text(name: str, value: Any) -> str:
    """Write a JSON value as a form would carry it; numbers that are amounts get their two decimals (D-03)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | Decimal) and name in MONEY_NAMES and -(10**12) < value < 10**12:
        return f"{value:.2f}"
    # A lone half of a surrogate pair can be sent in JSON but neither hashed nor stored.
    return str(value).encode("utf-8", "replace").decode()


def read_cents(amount: str, currency: str) -> int:
    """Read an amount as hundredths, as this wire counts whatever the currency; zero is none (D-22)."""
    if not CURRENCY.fullmatch(currency):
        raise malformed("currency")
    if not AMOUNT.fullmatch(amount):
        raise RefusalError(TOO_LARGE) if re.fullmatch(r"[0-9]{9,}\.[0-9]{2}", amount) else malformed("amount")
    cents = int(amount.replace(".", ""))
    if not cents or (currency in WHOLE_CURRENCIES and cents % 100):
        raise malformed("amount")
    return cents


def minor_units(cents: int, currency: str) -> int:
    """Count an amount as the ledger does."""
    return cents // 100 if currency in WHOLE_CURRENCIES else cents


def amount_text(cents: int) -> str:
    """Write an amount as this wire does."""
    return f"{cents // 100}.{cents % 100:02d}"


def checked_reference(fields: Fields) -> str:
    """Return the merchant's own id of a transaction, if it is one."""
    reference = fields.get("merchantTransactionId", "")
    if not reference.strip() or len(reference) > REFERENCE_LENGTH_MAX:
        raise malformed("merchantTransactionId")
    return reference


def has_luhn(number: str) -> bool:
    """Say whether the check digit of a card number fits."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def check_number(number: str) -> str:
    """Return a card number, if it is one."""
    if not CARD_NUMBER.fullmatch(number) or not has_luhn(number):
        raise malformed("card.number")
    return number


def check_expiry(month: str, year: str) -> tuple[str, str]:
    """Return a month and year of expiry as MM and YYYY, if they are such."""
    if not re.fullmatch(r"0?[1-9]|1[0-2]", month):
        raise malformed("card.expiryMonth")
    if not re.fullmatch(r"20[0-9]{2}", year):
        raise malformed("card.expiryYear")
    return f"{int(month):02d}", year


def check_cvv(cvv: str) -> None:
    """Refuse what is no security code."""
    if not re.fullmatch(r"[0-9]{3,4}", cvv):
        raise malformed("card.cvv")


def check_url(name: str, url: str) -> str:
    """Return an address, which may be missing, if a browser or our sender can go there."""
    try:
        parts = urlsplit(url)
        is_fit = not url or (parts.scheme in {"http", "https"} and bool(parts.hostname) and VISIBLE.fullmatch(url))
    except ValueError:
        is_fit = False
    if not is_fit:
        raise malformed(name)
    return url


def is_past(month: str, year: str) -> bool:
    """Say whether a month is over."""
    days = calendar.monthrange(int(year), int(month))[1]
    return datetime(int(year), int(month), days, 23, 59, 59, tzinfo=UTC) < datetime.now(UTC)


def as_xml(name: str, value: Any) -> str:
    """Render an answer mechanically: an element for each key, repeated for each entry of a list (D-04)."""
    if isinstance(value, list):
        return "".join(as_xml(name, entry) for entry in value)
    if isinstance(value, dict):
        inner = "".join(as_xml(key, entry) for key, entry in value.items())
    else:
        inner = escape(UNFIT_FOR_XML.sub("\ufffd", str(value)))
    return f"<{name}>{inner}</{name}>"
