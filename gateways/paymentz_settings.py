"""One PaymentZ account's credentials and settings, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from billing.gateway import ConfigurationError
from billing.money import MoneyError, exponent
from gateways.paymentz_codes import LONG

_Reader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator enters for one account; `_TABLE` says how each is read."""

    endpoint: str
    member_id: str
    partner_id: str
    username: str
    secret_key: str = field(repr=False)
    to_type: str
    terminal_id: str
    merchant_email: str
    currencies: frozenset[str] | None
    payment_mode: str
    payment_brand: str
    automatic_capture: bool
    request_format: str
    token_ttl_s: float
    token_refresh_margin_s: float
    use_regenerate: bool
    mid_inquiry_checksum: str
    not_found_code: str
    repeat_via: str
    repeat_route: str
    repeat_checksum_subject: str
    repeat_parent_states: frozenset[str]
    token_path: str
    hosted_initial: bool
    hosted_recurring_field: str
    hosted_registration_field: str
    callback_status_form: str
    accept_long_signature: bool
    default_redirect_method: str
    max_refunds: int
    timeout_s: float
    connect_timeout_s: float
    in_flight_max: int
    per_second_max: int | None
    ask_delays_s: tuple[int, ...]
    settle_s: int
    page_life_s: int

    @property
    def by_token(self) -> bool:
        """Whether a stored registration is what is charged again, instead of the INITIAL payment."""
        return self.repeat_via == "token"


def read_settings(credentials: Mapping[str, str]) -> Settings:
    """Return the settings, or raise `ConfigurationError` naming the one that is missing, unknown or malformed."""
    unknown = sorted(set(credentials) - set(_TABLE))
    if unknown:
        raise ConfigurationError(f"paymentz has no setting {', '.join(unknown)}; it knows {', '.join(_TABLE)}")
    for name in _TABLE:
        if not credentials.get(name) and name not in DEFAULTS:
            raise ConfigurationError(f"paymentz needs the setting {name}", name)
    return Settings(**{name: _read(name, value) for name, value in {**DEFAULTS, **credentials}.items()})


def _read(name: str, value: str) -> Any:
    try:
        return _TABLE[name][1](value)
    except ValueError as error:
        shown = "" if name == "secret_key" else f" {value!r}"
        raise ConfigurationError(f"paymentz setting {name} cannot be{shown}: {error}", name) from None


# --- readers ------------------------------------------------------------------------------------------


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it like https://secure.brand.example")
    if parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        raise ValueError("scheme and host are enough, paths are added")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("only https may carry payments to another machine")
    return text.rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _like(pattern: str, what: str) -> _Reader:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"it is {what}")
        return text

    return read


def _one_of(*words: str) -> _Reader:
    return _like("|".join(words), " or ".join(words))


def _secret(text: str) -> str:
    if text != text.strip():
        raise ValueError("it begins or ends with a blank")
    if text == "null":
        raise ValueError("it is the word that stands where no key was used")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "true", "no", "false"):
        raise ValueError("it is yes or no")
    return text in ("yes", "true")


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError("it is a number of seconds above zero")
    return value


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise ValueError("it is a whole number above zero")
    return int(text)


def _limit(text: str) -> int | None:
    return _count(text) if text else None


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(_count(word) for word in _words(text))
    if not counts:
        raise ValueError("it is a list of seconds, such as 1,2,4,8,16")
    return counts


def _currencies(text: str) -> frozenset[str] | None:
    try:
        return frozenset(code for code in _words(text) if exponent(code) >= 0) or None
    except MoneyError as error:
        raise ValueError(str(error)) from None


def _states(text: str) -> frozenset[str]:
    states = frozenset(_words(text))
    if not states or states - set(LONG):
        raise ValueError(f"it is a list of {', '.join(LONG)}")
    return states


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


_FIELD: Final = _like(r"[A-Za-z][A-Za-z0-9_.]*", "the name of a form field")
_ID: Final = _like(r"[A-Za-z0-9_-]+", "letters, digits, hyphens and underscores")

_TABLE: Final[Mapping[str, tuple[str | None, _Reader]]] = {
    "endpoint": (None, _endpoint),
    "member_id": (None, _ID),
    "partner_id": (None, _ID),
    "username": (None, str),
    "secret_key": (None, _secret),
    "to_type": (None, _like(r"[^|\s]+", "one word without a pipe")),
    "terminal_id": ("", _like(r"[A-Za-z0-9_-]*", "letters, digits, hyphens and underscores")),
    "merchant_email": ("", str),
    "currencies": ("", _currencies),
    "payment_mode": ("CC", str),
    "payment_brand": ("", str),
    "automatic_capture": ("yes", _yes_or_no),
    "request_format": ("form", _one_of("form", "json_flat", "json_nested")),
    "token_ttl_s": ("3600", _seconds),
    "token_refresh_margin_s": ("300", _seconds),
    "use_regenerate": ("no", _yes_or_no),
    "mid_inquiry_checksum": ("three", _one_of("three", "four")),
    "not_found_code": ("20003", _like(r"[0-9A-Za-z]+", "the code of an inquiry that found nothing")),
    "repeat_via": ("tracking_id", _one_of("tracking_id", "token")),
    "repeat_route": ("path", _one_of("path", "body")),
    "repeat_checksum_subject": ("parent", _one_of("parent", "own")),
    "repeat_parent_states": ("capturesuccess,settled,authsuccessful,markedforreversal,reversed", _states),
    "token_path": ("paywithtoken", _one_of("paywithtoken", "registrations")),
    "hosted_initial": ("yes", _yes_or_no),
    "hosted_recurring_field": ("recurringType", _FIELD),
    "hosted_registration_field": ("createRegistration", _FIELD),
    "callback_status_form": ("short", _one_of("short", "long")),
    "accept_long_signature": ("no", _yes_or_no),
    "default_redirect_method": ("auto", _one_of("auto", "POST", "GET")),
    "max_refunds": ("1", _count),
    "timeout_s": ("60", _seconds),
    "connect_timeout_s": ("10", _seconds),
    "in_flight_max": ("250", _count),
    "per_second_max": ("", _limit),
    "ask_delays_s": ("1,2,4,8,16,60,600,3600", _counts),
    "settle_s": ("90", _count),
    "page_life_s": ("3600", _count),
}
"""Every setting with its default, nothing where it must be given, and how it is read."""

DEFAULTS: Final[Mapping[str, str]] = {name: told for name, (told, _) in _TABLE.items() if told is not None}
MANDATORY: Final = tuple(name for name, (told, _) in _TABLE.items() if told is None)
TITLE: Final = "PaymentZ"
SECRETS: Final = frozenset({"secret_key"})
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "automatic_capture": ("yes", "no"),
    "request_format": ("form", "json_flat", "json_nested"),
    "use_regenerate": ("yes", "no"),
    "mid_inquiry_checksum": ("three", "four"),
    "repeat_via": ("tracking_id", "token"),
    "repeat_route": ("path", "body"),
    "repeat_checksum_subject": ("parent", "own"),
    "token_path": ("paywithtoken", "registrations"),
    "hosted_initial": ("yes", "no"),
    "callback_status_form": ("short", "long"),
    "accept_long_signature": ("yes", "no"),
    "default_redirect_method": ("auto", "POST", "GET"),
}
TOLD: Final[Mapping[str, tuple[str, str]]] = {
    "endpoint": ("Address", "The brand's host, like https://secure.brand.example"),
    "member_id": ("Member id", ""),
    "partner_id": ("Partner id", ""),
    "username": ("User name", ""),
    "secret_key": ("Secret key", "It signs what is sent, and proves what is received."),
    "to_type": ("Brand code (toType)", "One word, as the brand wrote it to you."),
    "terminal_id": ("Terminal id", ""),
    "merchant_email": ("Merchant's e-mail address", ""),
    "repeat_via": ("What is charged again", "The first payment itself, or a stored token."),
}
"""What people read of each setting: its label and a hint."""
