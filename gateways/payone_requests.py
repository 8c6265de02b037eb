"""Bodies of requests: every field that is sent, cut or checked to what PAYONE takes.

Text that PAYONE would cut is cut here; what it would refuse raises `MisuseError` before anything is sent.
Field names and limits: the platform's API contract, "CreatePayment" and "CreateHostedCheckout".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from billing.gateway import Address, Charge, CheckoutOrder, MisuseError, Order, Payer, PresentCharge
from billing.money import Money
from gateways.payone_codes import BRANDS, SERIES, locale

Body = dict[str, Any]

AMOUNT_MAX: Final = 999_999_999_999
RETURN_URL_MAX: Final = 200
NOTIFY_URL_MAX: Final = 325
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,50}")
_KEY: Final = re.compile(r"[A-Za-z0-9-]{1,30}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Style:
    """What the account's settings say about every payment."""

    captures: bool
    series: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Our own words in a payment: the attempt's key, and whether paying was to make a profile."""

    key: str
    store: bool = False


def encode(body: Body) -> bytes:
    """Return the JSON without anything that is empty."""
    return json.dumps(_given(body), ensure_ascii=False, separators=(",", ":")).encode()


def _given(body: Body) -> Body:
    """Leave out what is empty; `False` and 0 are values."""
    filled = {name: _given(value) if isinstance(value, dict) else value for name, value in body.items()}
    return {name: value for name, value in filled.items() if value not in (None, "", {}, [])}


# --- payments -------------------------------------------------------------------------------------


def away(charge: Charge, style: Style) -> Body:
    """Return a charge of a stored token while nobody is there, citing the payment that began the series.

    Authentication is skipped, and a bank that insists on it shall say no at once: by default the platform
    would begin a challenge that nobody is there to answer ("3-D Secure", skipSoftDecline).
    """
    card = {
        "token": token(charge.profile.reference),
        **SERIES[style.series]["away"],
        "schemeReferenceData": charge.profile.mandate.scheme_reference,
        "threeDSecure": {"skipAuthentication": True, "skipSoftDecline": True},
    }
    order = _order(charge.order, charge.amount, charge.payer, Mark(charge.key))
    return {"order": order, **_card(card, style.captures), **_feedbacks(charge.notify_url)}


def present(charge: PresentCharge, style: Style) -> Body:
    """Return a payment with what the tokenization page collected, or with a token the customer chose."""
    fields = _fields(charge)
    returns = web_address("return", charge.returns.success, RETURN_URL_MAX)
    card = {
        "token": fields.pop("token", ""),
        **_words(charge, style),
        "returnUrl": returns,
        "threeDSecure": {
            "skipAuthentication": False,
            "challengeIndicator": "challenge-required" if charge.store else "",
            "redirectionData": {"returnUrl": returns},
        },
    }
    page = {"hostedTokenizationId": fields.pop("hostedTokenizationId", "")}
    order = _order(charge.order, charge.amount, charge.payer, Mark(charge.key, charge.store is not None))
    order["customer"]["device"] = _device(fields, charge.payer.ip)
    captures = style.captures and not charge.reserve_only
    return {**page, "order": order, **_card(card, captures), **_feedbacks(charge.notify_url)}


def _words(charge: PresentCharge, style: Style) -> Mapping[str, object]:
    """Return the words that begin a series, that use one, or none for a card that is not to be kept."""
    if charge.store:
        return SERIES[style.series]["first"]
    return SERIES[style.series]["present"] if "token" in charge.fields else {}


def _card(card: Body, captures: bool) -> Body:
    mode = "SALE" if captures else "FINAL_AUTHORIZATION"
    return {"cardPaymentMethodSpecificInput": {"authorizationMode": mode, "transactionChannel": "ECOMMERCE", **card}}


# --- hosted checkout --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """How a hosted checkout looks and how long it is good for."""

    variant: str
    life_s: int
    tries_max: int


def checkout(order: CheckoutOrder, style: Style, page: Page) -> Body:
    """Return the order of a hosted checkout; it comes back to one address, whatever happened on it."""
    returns = web_address("return", order.returns.success, RETURN_URL_MAX)
    store = order.store is not None
    card = {
        "threeDSecure": {
            "challengeIndicator": "challenge-required" if store else "",
            "redirectionData": {"returnUrl": returns},
        }
    }
    hosted = {
        "returnUrl": returns,
        "locale": locale(order.payer.language),
        "variant": page.variant,
        "showResultPage": False,
        "sessionTimeout": page.life_s // 60,
        "allowedNumberOfPaymentAttempts": page.tries_max,
        "paymentProductFilters": {"restrictTo": {"products": sorted(BRANDS)}},
        **(SERIES[style.series]["page"] if store else {}),
        "cardPaymentMethodSpecificInput": {"tokenizationMode": "createAlways" if store else "noTokenization"},
    }
    return {
        "order": _order(order.order, order.amount, order.payer, Mark(order.key, store)),
        "hostedCheckoutSpecificInput": hosted,
        **_card(card, style.captures and not order.reserve_only),
        **_feedbacks(order.notify_url),
    }


# --- what follows -------------------------------------------------------------------------------------


def capture(amount: Money, booked: Money, key: str) -> Body:
    """Return a capture; here, and only here, the amount is a bare number."""
    return {"amount": _part(amount, booked), "operationReferences": {"merchantReference": key_of(key)}}


def cancel(booked: Money, key: str) -> Body:
    """Return the release of a whole reservation."""
    return {"amountOfMoney": _money(booked), "isFinal": True, "operationReferences": {"merchantReference": key_of(key)}}


def refund(amount: Money, booked: Money, key: str) -> Body:
    """Return a refund of a part; its amount is always said, for without one everything would go back."""
    _part(amount, booked)
    return {"amountOfMoney": _money(amount), "operationReferences": {"merchantReference": key_of(key)}}


def _part(amount: Money, booked: Money) -> int:
    if amount.currency != booked.currency:
        raise MisuseError(f"{amount.currency} cannot be taken from a payment in {booked.currency}")
    return check_size(amount).minor


# --- the order ----------------------------------------------------------------------------------------


def _order(order: Order, amount: Money, payer: Payer, mark: Mark) -> Body:
    """Return the order; its reference stays over every try, our key stands in the parameters PAYONE echoes."""
    if not 0 < len(order.reference) <= 40 or _CONTROL.search(order.reference):
        raise MisuseError(f"the order's reference {order.reference!r} is not 1 to 40 characters")
    return {
        "amountOfMoney": _money(amount),
        "references": {"merchantReference": order.reference, "merchantParameters": write_mark(mark)},
        "customer": _customer(payer),
    }


def write_mark(mark: Mark) -> str:
    """Return our own words as PAYONE carries them, in a field it gives back unread."""
    return urlencode({"key": key_of(mark.key), **({"store": "yes"} if mark.store else {})})


def read_mark(text: str) -> Mark:
    """Return our own words out of an answer or a report; empty where somebody else wrote them."""
    try:
        values = parse_qs(text, max_num_fields=8)
    except ValueError:
        return Mark("")
    key = values.get("key", [""])[0]
    return Mark(key if _KEY.fullmatch(key) else "", values.get("store") == ["yes"])


def _customer(payer: Payer) -> Body:
    if len(payer.reference) > 50:
        raise MisuseError("the payer's reference is longer than 50 characters")
    return {
        "merchantCustomerId": payer.reference,
        "locale": locale(payer.language),
        "contactDetails": {"emailAddress": payer.email if len(payer.email) <= 70 else ""},
        "billingAddress": _address(payer.address),
    }


def _address(address: Address) -> Body:
    country = address.country.upper()
    return {
        "street": plain(address.street, 50),
        "zip": plain(address.zip, 10),
        "city": plain(address.city, 40),
        "countryCode": country if re.fullmatch("[A-Z]{2}", country) else "",
    }


def _money(amount: Money) -> Body:
    check_size(amount)
    return {"amount": amount.minor, "currencyCode": amount.currency}


def _feedbacks(notify_url: str) -> Body:
    return {"feedbacks": {"webhooksUrls": [web_address("notification", notify_url, NOTIFY_URL_MAX)]}}


# --- the customer's device ------------------------------------------------------------------------------


def _text(text: str) -> str:
    return plain(text, 2048)


def _zone(text: str) -> str:
    """Read what JavaScript's `getTimezoneOffset()` says; PAYONE wants the number as text."""
    if not re.fullmatch(r"-?[0-9]{1,4}", text):
        raise ValueError("minutes, such as -120")
    return text


def _depth(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise ValueError("a number of bits, such as 24")
    return int(text)


def _pixels(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError("a number of pixels, such as 1080")
    return text


def _flag(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _reference(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("what PAYONE's own page gave us")
    return text


def _locale(text: str) -> str:
    return plain(text, 35).replace("-", "_")


FIELDS: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "card_form": ("hostedTokenizationId", _reference),
    "token": ("token", _reference),
    "accept_header": ("acceptHeader", _text),
    "user_agent": ("userAgent", _text),
    "browser_language": ("locale", _locale),
    "timezone_offset_minutes": ("timezoneOffsetUtcMinutes", _zone),
    "color_depth": ("colorDepth", _depth),
    "java_enabled": ("javaEnabled", _flag),
    "screen_height": ("screenHeight", _pixels),
    "screen_width": ("screenWidth", _pixels),
}
"""The fields of the method `card`: their names on the wire and how each is read. One of the first two is needed."""

_BROWSER: Final = ("colorDepth", "javaEnabled", "screenHeight", "screenWidth")


def _fields(charge: PresentCharge) -> Body:
    if charge.method != "card":
        raise MisuseError(f"PAYONE has no method {charge.method!r} here; it has card")
    unknown = sorted(set(charge.fields) - set(FIELDS))
    if unknown:
        raise MisuseError(f"card has no field {', '.join(unknown)}; it has {', '.join(FIELDS)}")
    given = {name: text for name, text in charge.fields.items() if text}
    if ("token" in given) == ("card_form" in given):
        raise MisuseError("card needs either card_form or token")
    return {FIELDS[name][0]: _value(name, text) for name, text in given.items()}


def _value(name: str, text: str) -> object:
    """Read one field; the bad value itself is not shown, it may be a means of payment."""
    try:
        return FIELDS[name][1](text)
    except ValueError as error:
        raise MisuseError(f"card: the field {name} must be {error}") from None


def _device(fields: Body, ip: str) -> Body:
    """Return what 3-D Secure wants to know of the browser ("3-D Secure", mandatory properties)."""
    browser = {name: fields.pop(name) for name in _BROWSER if name in fields}
    script = {"javaScriptEnabled": True} if browser else {}
    return {**fields, "ipAddress": ip if len(ip) <= 45 else "", "browserData": {**browser, **script}}


# --- shared -----------------------------------------------------------------------------------------------


def check_size(amount: Money) -> Money:
    """Return the amount, or raise `MisuseError` where PAYONE has no room for it."""
    if not 0 < amount.minor <= AMOUNT_MAX:
        raise MisuseError(f"PAYONE takes amounts from 1 to {AMOUNT_MAX} minor units, not {amount.minor}")
    return amount


def key_of(key: str) -> str:
    """Return the key, or raise `MisuseError` for one that is not ours or too long for an idempotence key."""
    if not _KEY.fullmatch(key):
        raise MisuseError(f"the key {key!r} is not 1 to 30 letters, digits or hyphens")
    return key


def token(reference: str) -> str:
    """Return a token that can stand in a path and in a request, or raise `MisuseError`."""
    if not _ID.fullmatch(reference):
        raise MisuseError("this profile's reference is no PAYONE token")
    return reference


def web_address(name: str, url: str, length_max: int) -> str:
    """Return an absolute address, or raise `MisuseError` where PAYONE would refuse it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > length_max:
        raise MisuseError(f"the {name} address must be absolute and at most {length_max} characters long")
    return url


def plain(text: str, length_max: int) -> str:
    """Return text without control characters, cut as PAYONE would cut it."""
    return _CONTROL.sub(" ", text).strip()[:length_max]
