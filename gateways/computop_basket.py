"""What is paid for, as PAYBACK wants to read it: articles that add up to the amount, and their taxes by rate.

Articles cannot be negative. So what is taken off at a rate is spread over what is sold at the same rate, in proportion
to it; what becomes zero by that is left out. Nothing is moved from one rate to another, since the taxes would no longer
add up ("PAYBACK PAY", VatList and ArticleList).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from billing.gateway import MisuseError, Order, OrderLine
from billing.money import Money

TITLE_MAX: Final = 30
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Article:
    """One article; `quantity` times `unit_minor` is its gross total, `tax_minor` the tax within that."""

    title: str
    quantity: int
    unit_minor: int
    tax_minor: int
    rate_bp: int


def articles_of(order: Order, amount: Money) -> tuple[Article, ...]:
    """Return articles that add up to the amount, and by rate to the taxes; raise `MisuseError` where they cannot."""
    moneys = [money for line in order.lines for money in (line.total, line.tax)]
    if any(money.currency != amount.currency for money in moneys) or not order.lines:
        raise MisuseError(f"PAYBACK PAY needs the lines of {order.reference}, in {amount.currency}")
    if _sum([line.total for line in order.lines]) != amount:
        raise MisuseError(f"the lines of {order.reference} do not add up to what is to be paid")
    rates = dict.fromkeys(line.tax_rate_bp for line in order.lines)
    return tuple(
        article for rate in rates for article in _at_rate([line for line in order.lines if line.tax_rate_bp == rate])
    )


def _at_rate(lines: Sequence[OrderLine]) -> list[Article]:
    total, tax = _sum([line.total for line in lines]), _sum([line.tax for line in lines])
    if not 0 <= tax.minor <= total.minor:
        raise MisuseError(f"at {_percent(lines[0].tax_rate_bp)} % more is taken off than sold, or the taxes do not fit")
    if all(0 <= line.tax.minor <= line.total.minor and line.total for line in lines):
        return [_article(line, line.total, line.tax) for line in lines]
    sold = [line for line in lines if line.total.minor > 0]
    totals = total.split([line.total.minor for line in sold]) if total else []
    left = [(line, share) for line, share in zip(sold, totals, strict=False) if share]
    taxes = tax.split([share.minor for _, share in left]) if left else []
    return [_article(line, share, part) for (line, share), part in zip(left, taxes, strict=True)]


def _sum(parts: Sequence[Money]) -> Money:
    return sum(parts[1:], start=parts[0])


def _article(line: OrderLine, total: Money, tax: Money) -> Article:
    """Return the article; where pieces would not add up to the total, it is one piece that names their number."""
    title = _CONTROL.sub(" ", line.text).strip()
    fits = line.quantity > 0 and total.minor % line.quantity == 0
    if not fits:
        title = f"{line.quantity} x {title}"
    quantity = line.quantity if fits else 1
    return Article(title[:TITLE_MAX].strip(), quantity, total.minor // quantity, tax.minor, line.tax_rate_bp)


# --- as it travels ------------------------------------------------------------------------------------


def article_list(articles: Sequence[Article], dialect: str) -> str:
    """Return the articles as Base64 JSON; the two published versions call the title by different names."""
    title = "description" if dialect == "v11" else "name"
    items = [
        {
            "itemReference": str(place),
            "id": str(place),
            title: each.title or str(place),
            "quantity": each.quantity,
            "amount": each.unit_minor,
            "vatAmount": each.tax_minor,
            "vatPercent": _percent(each.rate_bp),
            "type": "GOODS",
        }
        for place, each in enumerate(articles, 1)
    ]
    return encoded({"items": items})


def vat_list(articles: Sequence[Article], dialect: str) -> str:
    """Return the sums by rate as Base64 JSON: gross sums in version 11, taxes in the current one, only above zero."""
    gross: dict[int, int] = {}
    taxes: dict[int, int] = {}
    for each in articles:
        gross[each.rate_bp] = gross.get(each.rate_bp, 0) + each.quantity * each.unit_minor
        taxes[each.rate_bp] = taxes.get(each.rate_bp, 0) + each.tax_minor
    if dialect == "v11":
        return encoded({"vatItems": [{"rate": str(_percent(rate)), "amount": sum_} for rate, sum_ in gross.items()]})
    return encoded({"items": [{"rate": _percent(rate), "amount": tax} for rate, tax in taxes.items() if tax]})


def encoded(value: Any) -> str:
    """Return a value as Base64 of compact JSON in UTF-8."""
    return base64.b64encode(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()).decode()


def _percent(rate_bp: int) -> int | float:
    """Return a rate in percent, whole where it is; it is a name here and nothing is counted with it."""
    return rate_bp / 100 if rate_bp % 100 else rate_bp // 100
