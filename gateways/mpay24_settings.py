"""One mPAY24 account's credentials and settings, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateways.mpay24_codes import LANGUAGES, PAGE_TYPES
from gateways.settings import address, count, currencies, delays, entered, like, limit, seconds, words, yes_or_no


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

_MERCHANT_ID: Final = like("[0-9]{5}", "the five digits mPAY24 gave the merchant, without the letter u")


def read_settings(credentials: Mapping[str, str]) -> Settings:
    """Return the settings, or raise `ConfigurationError` naming the one that is missing, unknown or malformed."""
    read = entered("mpay24", credentials, MANDATORY, DEFAULTS, SECRETS).read
    return Settings(
        endpoint=read("endpoint", _endpoint),
        merchant_id=read("merchant_id", _MERCHANT_ID),
        password=read("password", str),
        automatic_clearing=read("automatic_clearing", yes_or_no),
        template_set=read("template_set", str),
        css_name=read("css_name", str),
        ways=read("ways", _ways),
        timeout_s=read("timeout_s", seconds),
        connect_timeout_s=read("connect_timeout_s", seconds),
        in_flight_max=read("in_flight_max", count),
        per_second_max=read("per_second_max", limit),
        ask_delays_s=read("ask_delays_s", delays),
        settle_s=read("settle_s", count),
        page_life_s=read("page_life_s", count),
        currencies=read("currencies", currencies),
        default_language=read("default_language", _language),
    )


def _endpoint(text: str) -> str:
    address(text, "https://www.mpay24.com/app/bin/etpproxy_v15")
    return text


def _ways(text: str) -> tuple[str, ...]:
    ways = words(text)
    strange = [way for way in ways if way not in PAGE_TYPES]
    if strange or not ways:
        raise ValueError("list payment types of the order document, such as CC,ELV,PAYPAL")
    return ways


def _language(text: str) -> str:
    code = text.upper()
    if code and code not in LANGUAGES:
        raise ValueError(f"mPAY24 speaks {', '.join(sorted(LANGUAGES))}")
    return code


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
