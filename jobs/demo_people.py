"""Invented customers for the demo, always the same ones for the same number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from billing.services.subscribing import Subscriber
from jobs.demo_gateways import GATEWAYS, Fate, Stored

_FIRST: Final = "Anna Tom Lena Max Sofia Paul Emma Felix Clara Jonas Mia Lukas Ida Noah Greta Ben Nora Emil".split()
_LAST: Final = "Petersen Byrne Huber Novak Rossi Meyer Brandl Lindner Weber Jansen Moser Keller Gruber Dubois".split()
_PLANS: Final = ("team/monthly", "team/monthly", "solo/monthly", "team/weekly", "solo/yearly")
# Where ten customers in a row have left their card or account; the last is asked by PAYBACK PAY every time.
_SPREAD: Final = "mpay24 payone paymentz mpay24 payone paymentz payone mpay24 paymentz computop".split()
_FATES: Final = {2: Fate.DECLINED, 13: Fate.EXPIRED, 22: Fate.LATER}


@dataclass(frozen=True, slots=True)
class Person:
    """A customer of the demo, the gateway they pay through, and what its simulator keeps for them."""

    subscriber: Subscriber
    gateway: str
    fate: Fate
    stored: dict[str, Any]


def people(count: int, today: date, start: int = 0) -> Iterator[Person]:
    """Yield customers due today, spread over the gateways; about one in eight has a card that will be declined."""
    for number in range(start, start + count):
        yield _person(number, today)


def _person(number: int, today: date) -> Person:
    reference = f"C{number + 1:07d}"
    name = f"{_FIRST[number % len(_FIRST)]} {_LAST[(number // 3) % len(_LAST)]}"
    gateway = _SPREAD[(number + number // len(_SPREAD)) % len(_SPREAD)]
    fate = _FATES.get(number % 24, Fate.GOOD)
    left = GATEWAYS[gateway].leave(number, reference, name, fate)
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
        account=gateway,
        **_profile(left),
    )
    return Person(subscriber, gateway, fate, left.kept)


def _profile(left: Stored) -> dict[str, Any]:
    if not left.reference:
        return {}
    card = {"profile_expires_on": left.expires_on} if left.kind == "card" else {}
    return card | {
        "profile": left.reference,
        "profile_kind": left.kind,
        "profile_brand": left.brand,
        "profile_last4": left.last4,
        "first_transaction": left.first_transaction,
    }
