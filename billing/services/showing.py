"""Turn rows into what customers see of them, the same in mails and on pages."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from sqlalchemy import RowMapping

from billing.clock import day_in
from billing.mail import DARK, LIGHT, Accent, Bill, Brand, Means, choose_locale
from billing.money import Money
from billing.periods import Period
from billing.pricing import Line, line_for
from billing.services.invoicing import terms_of

Facts = RowMapping | dict[str, Any]


def brand_of(merchant: Facts, style_url: str = "") -> Brand:
    """Return how the merchant appears to customers."""
    light, dark = accents_of(merchant["accent"])
    return Brand(
        name=merchant["name"],
        legal_name=merchant["legal_name"],
        legal_line=merchant["legal_line"],
        place=merchant["place"],
        timezone=merchant["timezone"],
        light=light,
        dark=dark,
        style_url=style_url if merchant["accent"] else "",
        help_url=merchant["help_url"],
        legal_url=merchant["legal_url"],
        privacy_url=merchant["privacy_url"],
    )


def accents_of(text: str) -> tuple[Accent, Accent]:
    """Read `colour,ink,soft;colour,ink,soft` for light and dark; empty is the look of the house."""
    if not text:
        return LIGHT, DARK
    light, _, dark = text.partition(";")
    return Accent(*light.split(",")), Accent(*dark.split(","))


def bill_of(invoice: Facts) -> Bill:
    """Return what is owed, or was."""
    period = Period(invoice["period_start"], invoice["period_end"]) if invoice["period_start"] else None
    return Bill(invoice["number"], invoice["title"], Money(invoice["total_minor"], invoice["currency"]), period)


def means_of(profile: Facts | None) -> Means | None:
    """Return the stored card or account as the customer knows it."""
    if profile is None or not profile["kind"]:
        return None
    return Means(profile["kind"], _brand_name(profile), profile["last4"], profile["expires_on"])


def _brand_name(profile: Facts) -> str:
    """Return the brand of a card as people write it; a direct debit's is the bank's business."""
    brand: str = profile["brand"]
    if profile["kind"] != "card":
        return ""
    return brand.title() if brand.isupper() and len(brand) > 3 else brand


def locale_of(customer: Facts, merchant: Facts) -> str:
    """Return the customer's locale: their language, or else the merchant's, as it is written in their country."""
    language = customer["language"] or merchant["language"]
    country = customer["country"] or merchant["country"]
    return choose_locale(language if "-" in language or not country else f"{language}-{country}")


def last_day_of(link: Facts, timezone: str) -> date:
    """Return the last day on which a pay-link works."""
    return day_in(timezone, link["expires_at"] - timedelta(seconds=1))


def next_charge_of(subscription: Facts | None) -> tuple[date | None, Money | None]:
    """Return when the subscription is billed next, and how much at its present price."""
    if subscription is None or subscription["next_due_on"] is None:
        return None, None
    [line] = lines_ahead(subscription, 1)
    return line.period.start, line.total


def lines_ahead(subscription: Facts, count: int) -> list[Line]:
    """Return what a subscription bills next as things stand: a line for each invoice, due as its period begins."""
    terms, number = terms_of(subscription), subscription["next_period"]
    periods = (terms.interval.period(subscription["anchor_on"], each) for each in range(number, number + count))
    return [line_for(subscription["title"], terms, subscription["quantity"], period) for period in periods]
