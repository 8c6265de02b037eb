"""JSON within requests: the two dialects of a basket, cards, and why a card is on file (sections 5.2, 5.3 and 12)."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from gateways.sandbox.computop_values import RefusalError

VAT_LIST, ARTICLE_LIST, CARD, CREDENTIAL = "0F02", "0F03", "0F0F", "0F10"
TEXT_MAX = 30
KINDS = frozenset(("GOODS", "VOUCHER", "SHIPPING", "PAYMENT_FEE"))
BRANDS = frozenset(("VISA", "MasterCard", "AMEX"))
EXPIRY = re.compile(r"20[0-9]{2}(?:0[1-9]|1[0-2])")
RATE = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,2})?")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
USES = {
    "recurring": frozenset(("fixed", "flexibleAmount", "flexibleFrequency")),
    "unscheduled": frozenset(("cof", "ucof")),
}
Check = Callable[[Any], bool]


def packed(shape: object) -> str:
    """Write JSON as a parameter carries it."""
    return base64.b64encode(json.dumps(shape, separators=(",", ":")).encode()).decode()


def unpacked(text: str, detail: str) -> dict[str, Any]:
    """Read a JSON object in Base64, or refuse the parameter."""
    try:
        found = json.loads(base64.b64decode(text, validate=True).decode(), parse_constant=refuse_constant)
        # Half a surrogate pair can be escaped in JSON, but neither be shown nor kept.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        raise RefusalError(f"4011{detail}") from problem
    if not isinstance(found, dict):
        raise RefusalError(f"4011{detail}")
    return found


def refuse_constant(word: str) -> None:
    """Refuse what Python reads and JSON does not know."""
    raise ValueError(word)


def require(shape: object, wanted: Mapping[str, Check], detail: str) -> dict[str, Any]:
    """Return an object whose members are all there and as wanted, or refuse the parameter."""
    if not isinstance(shape, dict) or not all(name in shape and fits(shape[name]) for name, fits in wanted.items()):
        raise RefusalError(f"4011{detail}")
    return shape


def is_number(value: object) -> bool:
    """Say whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_positive(value: object) -> bool:
    """Say whether a value is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_title(value: object) -> bool:
    """Say whether a value is a short text."""
    return isinstance(value, str) and 0 < len(value) <= TEXT_MAX


def is_rate_text(value: object) -> bool:
    """Say whether a value is a percentage in digits."""
    return isinstance(value, str) and bool(RATE.fullmatch(value))


def is_rate_number(value: object) -> bool:
    """Say whether a value is a percentage as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 100


def is_rate(value: object) -> bool:
    """Say whether a value is a percentage in either form."""
    return is_rate_text(value) or is_rate_number(value)


# ---- the basket


def read_articles(text: str) -> list[dict[str, Any]]:
    """Read the articles of a basket, each with a title by either of its names."""
    wanted: dict[str, Check] = {"itemReference": is_title, "id": is_title, "quantity": is_positive, "amount": is_number}
    wanted |= {"vatAmount": is_number, "vatPercent": is_rate, "type": KINDS.__contains__}
    return [require(titled(item), wanted, ARTICLE_LIST) for item in items_of(unpacked(text, ARTICLE_LIST), "items")]


def titled(item: object) -> dict[str, Any]:
    """Return an article with its title as `name`, whichever dialect it is in."""
    if not isinstance(item, dict) or not is_title(title := item.get("name", item.get("description"))):
        raise RefusalError(f"4011{ARTICLE_LIST}")
    return item | {"name": title, "type": str(item.get("type"))}


def items_of(shape: dict[str, Any], key: str, detail: str = ARTICLE_LIST) -> list[Any]:
    """Return the members of a list that must not be empty."""
    items = shape.get(key)
    if not isinstance(items, list) or not items:
        raise RefusalError(f"4011{detail}")
    return items


def check_basket(vat_list: str, article_list: str, amount: int, *, is_strict: bool) -> None:
    """Refuse a basket of neither dialect; if strict, also one whose sums are not those of its dialect."""
    shape, articles = unpacked(vat_list, VAT_LIST), read_articles(article_list)
    is_v11 = "vatItems" in shape
    wanted = {"rate": is_rate_text if is_v11 else is_rate_number, "amount": is_positive}
    rates = [require(item, wanted, VAT_LIST) for item in items_of(shape, "vatItems" if is_v11 else "items", VAT_LIST)]
    sums_agree = sum(rate["amount"] for rate in rates) == amount if is_v11 else taxes_agree(rates, articles)
    if is_strict and not sums_agree:
        raise RefusalError(f"4016{VAT_LIST}")


def taxes_agree(rates: list[dict[str, Any]], articles: list[dict[str, Any]]) -> bool:
    """Say whether the tax of each rate is that of the articles at that rate."""
    taxes: dict[float, int] = {}
    for article in articles:
        rate = float(article["vatPercent"])
        taxes[rate] = taxes.get(rate, 0) + article["vatAmount"]
    return all(rate["amount"] == taxes.get(float(rate["rate"])) for rate in rates)


# ---- cards


def read_card(text: str) -> dict[str, Any]:
    """Read the card of a request; what is wrong with it is blamed on the parameter it once was."""
    card = unpacked(text, CARD)
    check_filled(card, CARD)
    checks: dict[str, tuple[str, Check]] = {
        "number": ("0015", lambda value: bool(re.fullmatch(r"[0-9]{12,19}", value))),
        "expiryDate": ("0017", lambda value: bool(EXPIRY.fullmatch(value))),
        "brand": ("0018", lambda value: value in BRANDS),
        "cardholderName": (CARD, lambda value: 2 <= len(value) <= 45),
        "securityCode": ("0019", lambda value: bool(re.fullmatch(r"[0-9]{3,4}", value))),
    }
    for name, (detail, fits) in checks.items():
        if name not in card and name != "securityCode":
            raise RefusalError(f"4010{detail}")
        if name in card and not (isinstance(card[name], str) and fits(card[name])):
            raise RefusalError(f"4011{detail}")
    return card


def check_filled(shape: object, detail: str) -> None:
    """Refuse the parameter if a member of it is empty, at any depth."""
    if shape in ("", None) or (isinstance(shape, dict | list) and not shape):
        raise RefusalError(f"4011{detail}")
    if isinstance(shape, dict):
        for member in shape.values():
            check_filled(member, detail)


def check_credential(text: str, *, is_first: bool) -> None:
    """Refuse any other reason for a card on file than: with the customer for the first time, or later without."""
    found = unpacked(text, CREDENTIAL)
    check_filled(found, CREDENTIAL)
    require(found, {"type": is_one_kind, "initialPayment": lambda value: isinstance(value, bool)}, CREDENTIAL)
    kind, detail = next(iter(found["type"].items()))
    if kind not in USES or ("useCase" in found and str(found["useCase"]) not in USES[kind]):
        raise RefusalError(f"4016{CREDENTIAL}")
    if kind == "recurring":
        check_plan(detail)
    elif detail not in ("CIT", "MIT"):
        raise RefusalError(f"4016{CREDENTIAL}")
    if found["initialPayment"] is not is_first or (not is_first and detail == "CIT"):
        raise RefusalError(f"4016{CREDENTIAL}")


def is_one_kind(value: object) -> bool:
    """Say whether a value is an object with one member."""
    return isinstance(value, dict) and len(value) == 1


def check_plan(plan: object) -> None:
    """Refuse a plan without frequency and end."""
    found = require(plan, {"recurringFrequency": is_positive, "recurringExpiryDate": is_day}, CREDENTIAL)
    if not is_day(found.get("recurringStartDate", found["recurringExpiryDate"])):
        raise RefusalError(f"4011{CREDENTIAL}")


def is_day(value: object) -> bool:
    """Say whether a value is a day of the calendar."""
    try:
        return isinstance(value, str) and bool(DAY.fullmatch(value)) and bool(date.fromisoformat(value))
    except ValueError:
        return False
