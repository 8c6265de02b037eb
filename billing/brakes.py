"""When a run is to stop by itself: because of what it is about to do, or of how the gateways answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from billing.money import Money, MoneyError

# Where fewer than one in twenty come through, a gateway is not busy but down.
_TURNED_AWAY_PERCENT: Final = 95


@dataclass(frozen=True, slots=True)
class Brakes:
    """A merchant's thresholds.

    A run charges `slice_charges` first and goes on only if they went well. Rates are judged for each
    gateway account, and not before `least_charges` answers. `growth_percent` is how much more than the
    largest recent run one may charge through an account, in number or in amount; the two `max` are
    absolute. Zero switches a threshold off.
    """

    slice_charges: int = 50
    least_charges: int = 20
    declined_percent: int = 60
    failed_percent: int = 20
    growth_percent: int = 200
    charges_max: int = 0
    amount_minor_max: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """How the charges through one account went; `failed` says nothing of customers: refused, not sent, in doubt.

    `turned_away` are those in doubt that the gateway was only too busy for.
    """

    charged: int = 0
    declined: int = 0
    failed: int = 0
    turned_away: int = 0

    @property
    def answered(self) -> int:
        """How many charges have come to anything."""
        return self.let_in + self.turned_away

    @property
    def let_in(self) -> int:
        """How many of them say how charges go."""
        return self.charged + self.declined + self.failed

    def less_turned_away(self, count: int) -> Tally:
        """Return the same, where up to so many of the failed were turned away."""
        away = min(count, self.failed)
        return replace(self, failed=self.failed - away, turned_away=self.turned_away + away)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.charged + other.charged,
            self.declined + other.declined,
            self.failed + other.failed,
            self.turned_away + other.turned_away,
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What a run charges through one account in one currency."""

    charges: int
    amount_minor: int


Loads = Mapping[str, Load]
"""By account and currency, written `main EUR`."""

_NOTHING: Final = Load(0, 0)


@dataclass(frozen=True, slots=True)
class Voice:
    """How a reason is told: what people call each account, and the locale in which money is written for them."""

    titles: Mapping[str, str]
    locale: str

    def account(self, reference: str) -> str:
        """Return an account by what people call it."""
        return self.titles.get(reference, reference)

    def money(self, minor: int, currency: str) -> str:
        """Write an amount; one in a currency that is none must hold up nothing but itself."""
        try:
            return Money(minor, currency).show(self.locale)
        except MoneyError:
            return f"{minor} {currency}"


def why_not_begin(brakes: Brakes, planned: Loads, before: Loads, voice: Voice) -> str:
    """Return why a run must not begin without a person's word; empty where nothing is strange.

    `before` is the most that one recent run charged; where there was none, growth cannot be judged.
    """
    reasons = (
        _why_not(brakes, name, load, before.get(name, _NOTHING), voice) for name, load in sorted(planned.items())
    )
    return next(filter(None, reasons), "")


def _why_not(brakes: Brakes, name: str, load: Load, before: Load, voice: Voice) -> str:
    reference, _, currency = name.rpartition(" ")
    charges = f"{load.charges} charges in {currency} are due through {voice.account(reference)}"
    amount = f"{voice.money(load.amount_minor, currency)} is due through {voice.account(reference)}"
    if brakes.charges_max and load.charges > brakes.charges_max:
        return f"{charges}, and {brakes.charges_max} are the most allowed in one run"
    if brakes.amount_minor_max and load.amount_minor > brakes.amount_minor_max:
        return f"{amount}, and {voice.money(brakes.amount_minor_max, currency)} is the most allowed in one run"
    if not brakes.growth_percent or before.charges < brakes.least_charges:
        return ""
    factor = 100 + brakes.growth_percent
    if load.charges * 100 > before.charges * factor:
        return f"{charges}, and no recent run had more than {before.charges}"
    if load.amount_minor * 100 > before.amount_minor * factor:
        return f"{amount}, and no recent run had more than {voice.money(before.amount_minor, currency)}"
    return ""


def why_stop(brakes: Brakes, tallies: Mapping[str, Tally]) -> str:
    """Return why a run must not go on, by how the charges through each account went; empty where they went well.

    The tallies are by what people call the accounts.
    """
    reasons = (_rate(brakes, title, tally) for title, tally in sorted(tallies.items()))
    return next(filter(None, reasons), "")


def _rate(brakes: Brakes, title: str, tally: Tally) -> str:
    """Judge what was let in; of what was turned away, only whether that was nearly everything."""
    answered, let_in, away = tally.answered, tally.let_in, tally.turned_away
    if answered < brakes.least_charges:
        return ""
    if brakes.failed_percent and away * 100 > answered * _TURNED_AWAY_PERCENT:
        return f"{away} of {answered} charges through {title} were turned away, since it is too busy"
    if let_in < brakes.least_charges:
        return ""
    if brakes.failed_percent and tally.failed * 100 > let_in * brakes.failed_percent:
        return f"{tally.failed} of {let_in} charges through {title} were refused, not sent or left in doubt"
    if brakes.declined_percent and tally.declined * 100 > let_in * brakes.declined_percent:
        return f"{tally.declined} of {let_in} charges through {title} were declined"
    return ""
