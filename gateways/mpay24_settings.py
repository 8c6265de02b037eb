"""One mPAY24 account's credentials and settings, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import urlsplit

from billing.gateway import ConfigurationError
from billing.money import MoneyError, exponent
from gateways.mpay24_codes import LANGUAGES, PAGE_TYPES

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator enters for one account; everything but the first three has a default."""

    endpoint: str
    merchant_id: str
    password: str = field(repr=False)
    automatic_clearing: bool
    template_set: str
    css_name: str
    ways: tuple[str, ...]
    timeout_s: float
    connect_timeout_s: float
    in_flight_max: int
    per_second_max: int | None
    ask_delays_s: tuple[int, ...]
    settle_s: int
    page_life_s: int
    currencies: frozenset[str] | None
    default_language: str

    @property
    def user(self) -> str:
        """The name of the web-service user (docs.mpay24.com/docs/soap-interface)."""
        return f"u{self.merchant_id}"


DEFAULTS: Final[Mapping[str, str]] = {
    "automatic_clearing": "yes",
    "template_set": "",
    "css_name": "MODERN",
    "ways": "CC,ELV,PAYPAL",
    "timeout_s": "30",
    "connect_timeout_s": "5",
    "in_flight_max": "250",
    "per_second_max": "",
    "ask_delays_s": "10,120,1800",
    "settle_s": "90",
    "page_life_s": "3600",
    "currencies": "",
    "default_language": "",
}
MANDATORY: Final[tuple[str, ...]] = ("endpoint", "merchant_id", "password")


def read_settings(credentials: Mapping[str, str]) -> Settings:
    """Return the settings, or raise `ConfigurationError` naming the one that is missing, unknown or malformed."""
    unknown = sorted(set(credentials) - set(DEFAULTS) - set(MANDATORY))
    if unknown:
        known = ", ".join((*MANDATORY, *DEFAULTS))
        raise ConfigurationError(f"mpay24 has no setting {', '.join(unknown)}; it knows {known}")
    for name in MANDATORY:
        if not credentials.get(name):
            raise ConfigurationError(f"mpay24 needs the setting {name}", name)
    return _settings({**DEFAULTS, **credentials})


def _settings(given: Mapping[str, str]) -> Settings:
    def read(name: str, reader: Callable[[str], _T]) -> _T:
        return _read(name, given[name], reader)

    return Settings(
        endpoint=read("endpoint", _endpoint),
        merchant_id=read("merchant_id", _merchant_id),
        password=given["password"],
        automatic_clearing=read("automatic_clearing", _yes_or_no),
        template_set=given["template_set"],
        css_name=given["css_name"],
        ways=read("ways", _ways),
        timeout_s=read("timeout_s", _seconds),
        connect_timeout_s=read("connect_timeout_s", _seconds),
        in_flight_max=read("in_flight_max", _count),
        per_second_max=read("per_second_max", _limit),
        ask_delays_s=read("ask_delays_s", _counts),
        settle_s=read("settle_s", _count),
        page_life_s=read("page_life_s", _count),
        currencies=read("currencies", _currencies),
        default_language=read("default_language", _language),
    )


def _read(name: str, value: str, reader: Callable[[str], _T]) -> _T:
    try:
        return reader(value)
    except ValueError as error:
        raise ConfigurationError(f"mpay24 setting {name} cannot be {value!r}: {error}", name) from None


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it like https://www.mpay24.com/app/bin/etpproxy_v15")
    if parts.username is not None or parts.fragment:
        raise ValueError("no user, password or fragment belongs in it")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("only https may carry the password to another machine")
    return text


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _merchant_id(text: str) -> str:
    if not re.fullmatch(r"[0-9]{5}", text):
        raise ValueError("it is the five digits mPAY24 gave the merchant, without the letter u")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("it is yes or no")
    return text == "yes"


def _ways(text: str) -> tuple[str, ...]:
    ways = _words(text)
    strange = [way for way in ways if way not in PAGE_TYPES]
    if strange or not ways:
        raise ValueError("list payment types of the order document, such as CC,ELV,PAYPAL")
    return ways


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError("it is a number of seconds above zero")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise ValueError("it is a whole number above zero")
    return int(text)


def _limit(text: str) -> int | None:
    return _count(text) if text else None


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(_count(word) for word in _words(text))
    if not counts:
        raise ValueError("it is a list of seconds, such as 10,120,1800")
    return counts


def _currencies(text: str) -> frozenset[str] | None:
    try:
        return frozenset(code for code in _words(text) if exponent(code) >= 0) or None
    except MoneyError as error:
        raise ValueError(str(error)) from None


def _language(text: str) -> str:
    code = text.upper()
    if code and code not in LANGUAGES:
        raise ValueError(f"mPAY24 speaks {', '.join(sorted(LANGUAGES))}")
    return code


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


TITLE: Final = "mPAY24"
SECRETS: Final = frozenset({"password"})
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"automatic_clearing": ("yes", "no")}
TOLD: Final[Mapping[str, tuple[str, str]]] = {
    "endpoint": ("Address", "Like https://www.mpay24.com/app/bin/etpproxy_v15"),
    "merchant_id": ("Merchant id", "The five digits that mPAY24 gave, without the letter u."),
    "password": ("Password of the web-service user", ""),
    "automatic_clearing": ("Automatic clearing", "Yes where mPAY24 books what it reserves by itself."),
    "ways": ("Ways to pay", "Payment types of the hosted page, such as CC,ELV,PAYPAL."),
    "template_set": ("Template set of the hosted page", ""),
    "css_name": ("Style of the hosted page", ""),
    "default_language": ("Language of the hosted page", "Left empty, the customer's own."),
}
"""What people read of each setting: its label and a hint."""
