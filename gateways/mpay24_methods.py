"""The payment types of mPAY24 as a table: what each is called on the wire and which fields it takes.

A type that mPAY24 has withdrawn is still sent: the provider's own answer says it best. Card numbers are the
exception. They are refused here, because a merchant's server that only passes one on is already under PCI DSS in full;
a card goes through the hosted page, or through a token from mPAY24's own input form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from billing.gateway import MisuseError, Payer


@dataclass(frozen=True, slots=True)
class Method:
    """One way to pay: its payment type, the type and brand of its data, and the fields it takes.

    `later` marks what mPAY24 takes at once but only books once the bank has agreed or the money has come.
    """

    ptype: str
    data: str = ""
    brand: str = ""
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    invoice: bool = False
    debit: bool = False
    later: bool = False


_MANDATE: Final = ("mandate_id", "date_of_signature")
_PERSON: Final = ("gender", "birthday", "phone")


def _debit(brand: str, needs: tuple[str, ...] = (), may: tuple[str, ...] = ()) -> Method:
    return Method("ELV", "PaymentELV", brand, ("iban", *needs), ("bic", *may), debit=True, later=brand == "B4P")


METHODS: Final[Mapping[str, Method]] = {
    "TOKEN": Method("TOKEN", "PaymentTOKEN", needs=("token",)),
    "ELV/ATOS": _debit("ATOS", may=_MANDATE),
    "ELV/BILLPAY": _debit("BILLPAY", may=_MANDATE),
    "ELV/HOBEX-AT": _debit("HOBEX-AT", needs=_MANDATE),
    "ELV/HOBEX-DE": _debit("HOBEX-DE", needs=_MANDATE),
    "ELV/HOBEX-NL": _debit("HOBEX-NL", needs=_MANDATE),
    "ELV/B4P": _debit("B4P", needs=_MANDATE),
    "ELV/HEIDELPAY": _debit("HEIDELPAY", needs=_MANDATE),
    "ELVSECURE": Method("ELVSECURE", "PaymentELVSECURE", needs=("brand",), may=_MANDATE),
    "BILLPAY/HP": Method("BILLPAY", "PaymentBILLPAY", "HP", may=_PERSON, invoice=True),
    "BILLPAY/INVOICE": Method("BILLPAY", "PaymentBILLPAY", "INVOICE", may=_PERSON, invoice=True),
    "KLARNA/HP": Method("KLARNA", "PaymentKLARNA", "HP", ("personal_number",), ("p_class", *_PERSON), invoice=True),
    "KLARNA/INVOICE": Method(
        "KLARNA", "PaymentKLARNA", "INVOICE", ("personal_number",), ("p_class", *_PERSON), invoice=True
    ),
    "EPS": Method("EPS", "PaymentEPS", "EPS", may=("bank_id", "bic")),
    "EPS/INTERNATIONAL": Method("EPS", "PaymentEPS", "INTERNATIONAL", may=("bank_id", "bic")),
    "GIROPAY": Method("GIROPAY", "PaymentGIROPAY", needs=("bic",), may=("iban",)),
    "PAYPAL": Method("PAYPAL", "PaymentPAYPAL", may=("commit", "custom")),
    "PSC": Method("PSC", "PaymentPSC", "PSC"),
    "PSC/PAYSAFECASH": Method("PSC", "PaymentPSC", "PAYSAFECASH"),
    "POSTFINANCE/CARD": Method("POSTFINANCE", "PaymentPOSTFINANCE", "CARD"),
    "POSTFINANCE/EFINANCE": Method("POSTFINANCE", "PaymentPOSTFINANCE", "EFINANCE"),
    "IDEAL": Method("IDEAL", "PaymentIDEAL", needs=("bank",)),
    "PB": Method("PB", "PaymentPB", needs=("identifier",), may=("pay_days", "reserve_days")),
    "PAYOLUTION": Method("PAYOLUTION", may=_PERSON, invoice=True),
    "INVOICE": Method("INVOICE", may=_PERSON, invoice=True),
    "HP": Method("HP", may=_PERSON, invoice=True),
    "PREPAYMENT": Method("PREPAYMENT", later=True),
} | {
    ptype: Method(ptype)
    for ptype in """SOFORT QUICK MASTERPASS MPASS TWINT OPENBANKING ALIPAY WECHATPAY SAFETYPAY
    CASH-TICKET""".split()
}

RAW_CARDS: Final = ("CC", "MAESTRO", "CB")

STORABLE: Final[Mapping[str, str]] = {"PaymentTOKEN": "PaymentDataTOKEN", "PaymentELV": "PaymentDataELV"}
"""What may be stored without paying, and the type its data then has."""


def method_named(name: str) -> Method:
    """Return the method, or raise `MisuseError` naming those there are."""
    if name.partition("/")[0] in RAW_CARDS:
        raise MisuseError(
            f"{name} would send a card number, which this adapter refuses on purpose: use the hosted page or TOKEN"
        )
    if name not in METHODS:
        raise MisuseError(f"mPAY24 has no method {name!r}; it has {', '.join(sorted(METHODS))}")
    return METHODS[name]


# --- fields -------------------------------------------------------------------------------


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("a number")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _gender(text: str) -> str:
    if text not in ("MALE", "FEMALE"):
        raise ValueError("MALE or FEMALE")
    return text


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("a day like 2014-08-14") from None


def _compact(text: str) -> str:
    return "".join(text.split()).upper()


FIELDS: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "token": ("token", str),
    "iban": ("iban", _compact),
    "bic": ("bic", _compact),
    "mandate_id": ("mandateID", str),
    "date_of_signature": ("dateOfSignature", _day),
    "brand": ("brand", str),
    "personal_number": ("personalNumber", str),
    "p_class": ("pClass", _number),
    "bank_id": ("bankID", _number),
    "bank": ("bank", str),
    "commit": ("commit", _flag),
    "custom": ("custom", str),
    "identifier": ("identifier", str),
    "pay_days": ("payDays", _number),
    "reserve_days": ("reserveDays", _number),
    "gender": ("gender", _gender),
    "birthday": ("birthday", _day),
    "phone": ("phone", str),
}
"""A field's name on the wire and its reader; the last three belong to the billing address."""


def members(name: str, method: Method, fields: Mapping[str, str]) -> dict[str, object]:
    """Return the fields under their names on the wire; raise `MisuseError` for a missing, unknown or bad one."""
    missing = [field for field in method.needs if not fields.get(field)]
    if missing:
        raise MisuseError(f"{name} needs the field {', '.join(missing)}")
    unknown = sorted(set(fields) - set(method.needs) - set(method.may))
    if unknown:
        raise MisuseError(f"{name} has no field {', '.join(unknown)}")
    return {FIELDS[field][0]: _value(name, field, text) for field, text in fields.items() if text}


def _value(name: str, field: str, text: str) -> object:
    """Read one field; the bad value itself is not shown, it may be an account number."""
    try:
        return FIELDS[field][1](text)
    except ValueError as error:
        raise MisuseError(f"{name}: the field {field} must be {error}") from None


def check_payer(name: str, method: Method, payer: Payer) -> None:
    """Raise `MisuseError` where a direct debit lacks what mPAY24 wants of it (docs.mpay24.com/docs/direct-debit)."""
    if method.debit and not (payer.name and payer.ip):
        raise MisuseError(f"{name} needs the payer's {'address on the network' if payer.name else 'name'}")
