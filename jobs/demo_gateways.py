"""The simulated gateways as the demo's customers meet them: what they leave there, and which charges go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, auto
from typing import Any, Final

_GOOD_UNTIL: Final = date(2029, 12, 28)


class Fate(Enum):
    """What the bank will say to a stored card."""

    GOOD = auto()
    DECLINED = auto()
    EXPIRED = auto()
    LATER = auto()


@dataclass(frozen=True, slots=True)
class Stored:
    """A profile at a gateway: what its simulator keeps, and what the merchant knows of it."""

    kept: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    kind: str = "card"
    brand: str = ""
    last4: str = ""
    expires_on: date | None = None
    first_transaction: str = ""


@dataclass(frozen=True, slots=True)
class DemoGateway:
    """One gateway: how profiles are left there, and the words for its charges and for a decline of one."""

    leave: Callable[[int, str, str, Fate], Stored]
    charge: str
    decline: str


# mPAY24's test system answers by the month of the card's expiry (docs.mpay24.com/docs/test-data).
_MONTHS: Final = {Fate.GOOD: "2912", Fate.DECLINED: "2901", Fate.EXPIRED: "2902", Fate.LATER: "2903"}
_VISA, _MASTERCARD, _IBAN = "4444333322221111", "5555444433331111", "AT771400000123456789"


def _at_mpay24(number: int, reference: str, name: str, fate: Fate) -> Stored:
    kept = {"customer_id": reference, "name": name}
    if number % 4 == 3:
        return Stored(kept | {"kind": "ELV", "brand": "HOBEX-AT", "iban": _IBAN}, reference, "debit", last4=_IBAN[-4:])
    brand, card = ("VISA", _VISA) if number % 2 else ("MASTERCARD", _MASTERCARD)
    month = _MONTHS[fate]
    until = date(2000 + int(month[:2]), int(month[2:]), 28)
    kept |= {"kind": "CC", "brand": brand, "identifier": card, "expiry": month}
    return Stored(kept, reference, brand=brand.title(), last4=card[-4:], expires_on=until)


# The platform's own test cards, and for what it has none, those of the simulator.
_PAYONE_CARDS: Final = {
    Fate.GOOD: "4330264936344675",
    Fate.DECLINED: "4321456998744563",
    Fate.EXPIRED: "4321450000000027",
    Fate.LATER: "4321450000000050",
}


def _at_payone(_: int, reference: str, name: str, fate: Fate) -> Stored:
    token, card = f"tok-{reference}", _PAYONE_CARDS[fate]
    kept = {"token": token, "card": card, "expiry": "1229", "holder": name}
    return Stored(kept, token, brand="Visa", last4=card[-4:], expires_on=_GOOD_UNTIL)


_REPEATED: Final = "4000000000000051"


def _at_paymentz(number: int, reference: str, _: str, fate: Fate) -> Stored:
    initial = str(1_000_000 + number)
    kept = {"reference": f"INITIAL-{reference}", "card": _REPEATED, "payment_id": initial, "customer_id": reference}
    wrong = {} if fate is Fate.GOOD else {"approvals": "1" if fate is Fate.LATER else "0", "declines": "Card declined"}
    return Stored(kept | wrong, initial, "card", "Visa", _REPEATED[-4:], _GOOD_UNTIL, first_transaction=initial)


def _at_computop(*_: object) -> Stored:
    """Nothing is left: the wallet asks its owner every time."""
    return Stored()


GATEWAYS: Final[Mapping[str, DemoGateway]] = {
    "mpay24": DemoGateway(_at_mpay24, "AcceptPayment", "DECLINED"),
    "payone": DemoGateway(_at_payone, "CreatePayment", "30051001"),
    "paymentz": DemoGateway(_at_paymentz, "Repeated", "10001"),
    "computop": DemoGateway(_at_computop, "Direct", "0305"),
}
