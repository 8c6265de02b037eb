"""The tax in an amount."""

from __future__ import annotations

from billing.money import Money


def tax_within(gross: Money, rate_bp: int) -> Money:
    """Return the tax contained in a gross amount; the rate is in basis points, 2000 for 20 %."""
    return gross.portion(rate_bp, 10_000 + rate_bp)


def tax_on(net: Money, rate_bp: int) -> Money:
    """Return the tax that comes on top of a net amount; the rate is in basis points."""
    return net.portion(rate_bp, 10_000)
