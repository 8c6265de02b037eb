"""The brakes of a run as gauges: how far each is from pulling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from billing.brakes import Brakes, Load, Loads, Tally
from billing.services.watching import Shares, Standing

LIMIT_AT: Final = 78.1
"""Where on a gauge the limit stands, in percent of its width: there is room beyond it."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One brake: what it watches and where, its value and the limit at which it pulls, in tenths of the unit."""

    title: str
    where: str
    tenths: int
    limit: int
    unit: str = ""

    @property
    def is_reached(self) -> bool:
        """Answer whether it pulls: the limit itself is still allowed."""
        return self.tenths > self.limit * 10

    @property
    def width(self) -> float:
        """How much of the gauge is full, in percent; it ends where the gauge does."""
        return round(min(self.tenths * LIMIT_AT / (self.limit * 10), 100.0), 1)


def gauges_of(brakes: Brakes, standing: Standing, largest: Loads, titles: Mapping[str, str]) -> list[Gauge]:
    """Return the gauges of a run: how the charges of each account went, and what it set out to charge.

    `titles` holds what people call each account.
    """
    tallies = {name: tally_of(shares) for name, shares in standing.accounts.items()}
    gauges = (*_rates(brakes, tallies), *_sizes(brakes, standing.plan.loads, largest))
    return [replace(each, where=_called(each.where, titles)) for each in gauges]


def _called(where: str, titles: Mapping[str, str]) -> str:
    """Return an account, or one of its currencies (`main EUR`), by what people call it."""
    name, space, currency = where.rpartition(" ")
    return titles.get(where) or (f"{titles[name]}{space}{currency}" if name in titles else where)


def tally_of(shares: Shares) -> Tally:
    """Return how the charges through an account went, as the brakes count them."""
    count = {told: share.count for told, share in shares.items()}
    failed = count["unknown"] + count["not_sent"]
    return Tally(count["approved"] + count["pending"], count["declined"], failed)


def _rates(brakes: Brakes, tallies: Mapping[str, Tally]) -> Iterator[Gauge]:
    kinds = (
        ("Declined", brakes.declined_percent, {name: each.declined for name, each in tallies.items()}),
        ("Failed technically", brakes.failed_percent, {name: each.failed for name, each in tallies.items()}),
    )
    for title, limit, counts in kinds:
        rates = {
            name: counts[name] * 1000 // tally.answered
            for name, tally in tallies.items()
            if tally.answered >= max(brakes.least_charges, 1)
        }
        worst = max(rates, key=lambda name: rates[name], default="")
        if limit:
            where = worst or f"not judged before {brakes.least_charges} answers"
            yield Gauge(title, where, rates.get(worst, 0), limit, "%")


def _sizes(brakes: Brakes, planned: Loads, largest: Loads) -> Iterator[Gauge]:
    if brakes.growth_percent:
        growth = {
            name: _percent(load, largest[name]) for name, load in planned.items() if _counts(brakes, largest.get(name))
        }
        worst = max(growth, key=lambda name: growth[name], default="")
        where = worst or "no run before to compare with"
        limit = 100 + brakes.growth_percent
        yield Gauge("Against the largest recent run", where, growth.get(worst, 0) * 10, limit, "%")
    if brakes.charges_max:
        most = max(planned, key=lambda name: planned[name].charges, default="")
        charges = planned[most].charges if most else 0
        yield Gauge("Charges planned", most, charges * 10, brakes.charges_max)


def _counts(brakes: Brakes, before: Load | None) -> bool:
    return before is not None and before.charges >= max(brakes.least_charges, 1) and before.amount_minor > 0


def _percent(load: Load, before: Load) -> int:
    return max(load.charges * 100 // before.charges, load.amount_minor * 100 // before.amount_minor)
