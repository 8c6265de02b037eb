"""The lines an invoice has for a period."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

from billing.money import Money, MoneyError
from billing.periods import Interval, Period
from billing.tax import tax_on, tax_within


@dataclass(frozen=True, slots=True)
class Terms:
    """What a price asks: an amount for each unit and interval, and how tax is reckoned."""

    unit: Money
    interval: Interval
    tax_rate_bp: int = 0
    tax_included: bool = True

    def __post_init__(self) -> None:
        if self.unit.minor <= 0:
            raise MoneyError(f"a price must be more than zero, not {self.unit.major} {self.unit.currency}")
        if not 0 <= self.tax_rate_bp <= 10_000:
            raise MoneyError(f"a tax rate is between 0 and 10000 basis points, not {self.tax_rate_bp}")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice: net and tax make the total, which the customer pays, to the minor unit."""

    text: str
    quantity: int
    unit: Money
    net: Money
    tax: Money
    tax_rate_bp: int
    period: Period
    total: Money = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.net + self.tax)


def line_for(text: str, terms: Terms, quantity: int, period: Period) -> Line:
    """Return the line for one period of a flat price; raise `MoneyError` for a quantity below one."""
    if quantity < 1:
        raise MoneyError(f"a quantity is at least 1, not {quantity}")
    amount = terms.unit * quantity
    tax = tax_within(amount, terms.tax_rate_bp) if terms.tax_included else tax_on(amount, terms.tax_rate_bp)
    net = amount - tax if terms.tax_included else amount
    return Line(text, quantity, terms.unit, net, tax, terms.tax_rate_bp, period)


def forecast(text: str, terms: Terms, quantity: int, first_on: date, trial_days: int, count: int) -> list[Line]:
    """Return the lines of the first invoices of a customer who begins on a day; each is due as its period begins.

    Periods are counted from the end of the trial. Raises `ValueError` where the calendar ends before they do.
    """
    try:
        anchor = first_on + timedelta(days=trial_days)
        periods = [terms.interval.period(anchor, number) for number in range(count)]
    except (ValueError, OverflowError):
        raise ValueError("the calendar ends in the year 9999, before these periods do") from None
    return [line_for(text, terms, quantity, period) for period in periods]
