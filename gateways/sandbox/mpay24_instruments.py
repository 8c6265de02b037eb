"""Cards and accounts are checked, masked, and act as the test data of reference section 6 say."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from gateways.sandbox.mpay24_refusals import RefusalError, not_correct, not_entered
from gateways.sandbox.mpay24_store import Instrument
from gateways.sandbox.mpay24_values import BRANDS, CARD_EXPIRED_TEXT, ERROR_NUMBERS, MANDATE_BRANDS
from gateways.sandbox.mpay24_wire import Record

CARD_BRANDS = (
    ("VISA", r"4"),
    ("MASTERCARD", r"5[1-5]|2[2-7]"),
    ("AMEX", r"3[47]"),
    ("DINERS", r"30|36|38|39"),
    ("JCB", r"35"),
    ("UNIONPAY", r"62"),
)
# The test accounts at DE 10010010; known by these endings even where the check digits are those of another.
B4P_SCRIPTS = {"1234567890": "decline", "1234567893": "settle", "1234567894": "settle_chargeback"}
B4P_BANK = "10010010"
FIRST_3DS_MONTH = 6


@dataclass(slots=True, frozen=True)
class Verdict:
    """What the issuer says to a try: approve, decline, settle, settle_chargeback, wait or redirect."""

    word: str
    code: str = "OK"
    err_text: str = ""

    @property
    def err_no(self) -> int:
        """Return the number of the code, 0 where none is published."""
        return ERROR_NUMBERS.get(self.code, 0)


APPROVED = Verdict("approve")
DECLINED = Verdict("decline", "DECLINED")
EXTERNAL = Verdict("decline", "EXTERNAL_ERROR")
EXPIRED = Verdict("decline", "EXTERNAL_ERROR", CARD_EXPIRED_TEXT)


def has_luhn(number: str) -> bool:
    """Say whether the check digit of a card number fits."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def masked(identifier: str) -> str:
    """Hide all but the last four characters."""
    return "*" * max(0, len(identifier) - 4) + identifier[-4:]


def card_brand(number: str) -> str:
    """Return the brand of a card number, or an empty text."""
    return next((brand for brand, pattern in CARD_BRANDS if re.match(pattern, number)), "")


def card_digits(text: str, code: str) -> str:
    """Return a card number's digits, or refuse it."""
    digits = re.sub(r"[ -]", "", text)
    if not re.fullmatch(r"[0-9]{12,19}", digits) or not has_luhn(digits):
        raise RefusalError(code)
    return digits


def expiry_text(expiry: int) -> str:
    """Return an expiry as YYMM, or refuse it."""
    text = f"{expiry:04d}"
    if len(text) != 4 or not 1 <= int(text[2:]) <= 12:
        raise not_correct("expiry")
    return text


def card(number: str, expiry: int, brand: str = "") -> Instrument:
    """Check a credit card; an empty brand is read from the number."""
    if brand and brand not in BRANDS["CC"]:
        raise not_correct("brand")
    digits = card_digits(number, "INVALID_CREDITCARD_NUMBER")
    if not card_brand(digits) or (brand and card_brand(digits) != brand):
        raise RefusalError("INVALID_CREDITCARD_NUMBER")
    return Instrument("CC", card_brand(digits), masked(digits), expiry_text(expiry))


def maestro(number: str, expiry: int) -> Instrument:
    """Check a Maestro card."""
    digits = card_digits(number, "INVALID_MAESTRO_NUMBER")
    if digits[0] not in "56":
        raise RefusalError("INVALID_MAESTRO_NUMBER")
    return Instrument("MAESTRO", "MAESTRO", masked(digits), expiry_text(expiry))


def account(iban: str, brand: str) -> Instrument:
    """Check a bank account for direct debit."""
    if brand not in BRANDS["ELV"]:
        raise not_correct("brand")
    plain = iban.replace(" ", "").upper()
    if not is_iban(plain):
        raise RefusalError("INVALID_IBAN")
    script = "approve" if brand != "B4P" else B4P_SCRIPTS.get(plain[-10:] if B4P_BANK in plain else "", "settle")
    return Instrument("ELV", brand, masked(plain), "", script)


def is_iban(plain: str) -> bool:
    """Say whether an account number could be one; the test accounts are."""
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", plain):
        return False
    if plain.startswith("DE") and plain[4:12] == B4P_BANK and plain[12:] in B4P_SCRIPTS:
        return True
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def elv_brand(iban: str) -> str:
    """Choose the direct debit scheme that a hosted page uses for an account."""
    country = iban.strip().upper()[:2]
    return f"HOBEX-{country}" if country in {"AT", "NL"} else "B4P"


def paypal_account() -> Instrument:
    """Return the PayPal account that every shopper here has."""
    return Instrument("PAYPAL", "PAYPAL", "s******@example.com")


def verdict(instrument: Instrument) -> Verdict:
    """Say what the issuer says to a try, other than asking for authentication."""
    if instrument.expiry:
        return card_verdict(instrument)
    scripts = {"decline": DECLINED, "settle": Verdict("settle"), "settle_chargeback": Verdict("settle_chargeback")}
    return scripts.get(instrument.script, APPROVED)


def card_verdict(instrument: Instrument) -> Verdict:
    """Judge a card by the month it expires, and by whether it has."""
    month = int(instrument.expiry[2:])
    if instrument.expiry < f"{datetime.now(UTC):%y%m}":
        return EXPIRED
    if instrument.p_type == "MAESTRO":
        return DECLINED if month < 5 else APPROVED
    by_month = {1: DECLINED, 2: EXPIRED, 3: EXTERNAL, 4: EXTERNAL}
    return by_month.get(month, APPROVED)


def asks_shopper(instrument: Instrument, *, wants_3ds: bool) -> bool:
    """Say whether a card sends the shopper to 3-D Secure: where it is in play, and always for Maestro."""
    if not instrument.expiry or verdict(instrument).word != "approve":
        return False
    is_late = int(instrument.expiry[2:]) >= FIRST_3DS_MONTH
    return instrument.p_type == "MAESTRO" or (wants_3ds and is_late)


def need(record: Record, *names: str) -> None:
    """Refuse a record in which one of these is missing or empty."""
    for name in names:
        if not record.has(name) or record.values[name] == "":
            raise not_entered(name)


def card_of(record: Record) -> Instrument:
    """Read a credit card from a payment, a payout or customer data."""
    need(record, "brand", "identifier", "expiry")
    return card(record.text("identifier"), record.number("expiry") or 0, record.text("brand"))


def maestro_of(record: Record) -> Instrument:
    """Read a Maestro card."""
    need(record, "identifier", "expiry")
    return maestro(record.text("identifier"), record.number("expiry") or 0)


def cb_of(record: Record) -> Instrument:
    """Read a Carte Bancaire, which acts as a credit card does."""
    need(record, "identifier", "expiry")
    found = card(record.text("identifier"), record.number("expiry") or 0)
    return Instrument("CB", "CB", found.identifier, found.expiry)


def account_of(record: Record) -> Instrument:
    """Read a bank account from a payment or customer data, with the mandate its scheme asks for."""
    need(record, "brand", "iban")
    found = account(record.text("iban"), record.text("brand"))
    if found.brand in MANDATE_BRANDS:
        need(record, "mandateID", "dateOfSignature")
    return found


def payout_account_of(record: Record) -> Instrument:
    """Read the bank account of a payout, which needs no mandate."""
    need(record, "brand", "iban", "bic")
    return account(record.text("iban"), record.text("brand"))
