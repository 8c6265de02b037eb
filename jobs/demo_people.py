"""Invented customers for the demo, always the same ones for the same number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from billing.services.subscribing import Subscriber

_FIRST: Final = "Anna Tom Lena Max Sofia Paul Emma Felix Clara Jonas Mia Lukas Ida Noah Greta Ben Nora Emil".split()
_LAST: Final = "Petersen Byrne Huber Novak Rossi Meyer Brandl Lindner Weber Jansen Moser Keller Gruber Dubois".split()
_PLANS: Final = ("team/monthly", "team/monthly", "solo/monthly", "team/weekly", "solo/yearly")
_GOOD: Final = "2912"
# mPAY24's test system answers by the month of the card's expiry (docs.mpay24.com/docs/test-data).
_DECLINED, _EXPIRED, _LATER = "2901", "2902", "2903"
_VISA, _MASTERCARD, _IBAN = "4444333322221111", "5555444433331111", "AT771400000123456789"


@dataclass(frozen=True, slots=True)
class Person:
    """A customer of the demo, and the profile that the sandbox keeps for them."""

    subscriber: Subscriber
    stored: dict[str, str]


def people(count: int, account: str, today: date, start: int = 0) -> Iterator[Person]:
    """Yield customers due today; about one in eight has a card that will be declined."""
    for number in range(start, start + count):
        yield _person(number, account, today)


def _person(number: int, account: str, today: date) -> Person:
    reference = f"C{number + 1:07d}"
    name = f"{_FIRST[number % len(_FIRST)]} {_LAST[(number // 3) % len(_LAST)]}"
    stored = _stored(number, reference, name)
    kind = "debit" if stored["kind"] == "ELV" else "card"
    english = number % 3 == 1
    subscriber = Subscriber(
        customer=reference,
        name=name,
        email=f"{name.lower().replace(' ', '.')}.{number + 1}@example.net",
        subscription=f"S{number + 1:07d}",
        price=_PLANS[number % len(_PLANS)],
        anchor_on=today,
        billed_until=today,
        language="en" if english else "de",
        country="IE" if english else "AT",
        account=account,
        profile=reference,
        profile_kind=kind,
        profile_brand=stored["brand"].title() if kind == "card" else "",
        profile_last4=stored.get("identifier", stored.get("iban", ""))[-4:],
        profile_expires_on=_end_of_month(stored["expiry"]) if kind == "card" else None,
    )
    return Person(subscriber, stored)


def _stored(number: int, reference: str, name: str) -> dict[str, str]:
    about = {"customer_id": reference, "name": name}
    if number % 10 == 7:
        return about | {"kind": "ELV", "brand": "HOBEX-AT", "iban": _IBAN}
    brand, identifier = ("VISA", _VISA) if number % 2 else ("MASTERCARD", _MASTERCARD)
    return about | {"kind": "CC", "brand": brand, "identifier": identifier, "expiry": _expiry(number)}


def _expiry(number: int) -> str:
    return {2: _DECLINED, 13: _EXPIRED, 22: _LATER}.get(number % 24, _GOOD)


def _end_of_month(expiry: str) -> date:
    return date(2000 + int(expiry[:2]), int(expiry[2:]), 28)
