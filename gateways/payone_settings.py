"""One PAYONE account's credentials and settings, checked before anything is sent."""

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
from gateways.payone_codes import SERIES

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator enters for one account; everything but the first four has a default."""

    endpoint: str
    merchant_id: str
    api_key_id: str
    api_secret: str = field(repr=False)
    webhook_secrets: Mapping[str, str] = field(repr=False)
    automatic_capture: bool
    series: str
    variant: str
    timeout_s: float
    connect_timeout_s: float
    in_flight_max: int
    per_second_max: int | None
    ask_delays_s: tuple[int, ...]
    settle_s: int
    page_life_s: int
    page_tries_max: int
    currencies: frozenset[str] | None


DEFAULTS: Final[Mapping[str, str]] = {
    "automatic_capture": "yes",
    "series": "unscheduled",
    "variant": "",
    "timeout_s": "60",
    "connect_timeout_s": "10",
    "in_flight_max": "250",
    "per_second_max": "",
    "ask_delays_s": "5,30,120,600,3600",
    "settle_s": "90",
    "page_life_s": "3600",
    "page_tries_max": "10",
    "currencies": "",
}
MANDATORY: Final[tuple[str, ...]] = ("endpoint", "merchant_id", "api_key_id", "api_secret")
WEBHOOK_PAIRS: Final = tuple((f"webhook_key_id{end}", f"webhook_secret{end}") for end in ("", "_2", "_3", "_4", "_5"))
"""Several pairs are believed at once, so that a new one can be rolled out before the old one ends."""

_KNOWN: Final = (*MANDATORY, *(name for pair in WEBHOOK_PAIRS for name in pair), *DEFAULTS)
_PAGE_LIFE_MAX_S: Final = 9000
"""A checkout can be read for three hours; half an hour of them is left to ask about it after it has closed."""


def read_settings(credentials: Mapping[str, str]) -> Settings:
    """Return the settings, or raise `ConfigurationError` naming the one that is missing, unknown or malformed."""
    unknown = sorted(set(credentials) - set(_KNOWN))
    if unknown:
        raise ConfigurationError(f"payone has no setting {', '.join(unknown)}; it knows {', '.join(_KNOWN)}")
    for name in MANDATORY:
        if not credentials.get(name):
            raise ConfigurationError(f"payone needs the setting {name}", name)
    return _settings({**DEFAULTS, **credentials})


def _settings(given: Mapping[str, str]) -> Settings:
    def read(name: str, reader: Callable[[str], _T]) -> _T:
        return _read(name, given[name], reader)

    return Settings(
        endpoint=read("endpoint", _endpoint),
        merchant_id=read("merchant_id", _path_part),
        api_key_id=read("api_key_id", _key_id),
        api_secret=_secret("api_secret", given["api_secret"]),
        webhook_secrets=_webhook_secrets(given),
        automatic_capture=read("automatic_capture", _yes_or_no),
        series=read("series", _series),
        variant=given["variant"],
        timeout_s=read("timeout_s", _seconds),
        connect_timeout_s=read("connect_timeout_s", _seconds),
        in_flight_max=read("in_flight_max", _count),
        per_second_max=read("per_second_max", _limit),
        ask_delays_s=read("ask_delays_s", _counts),
        settle_s=read("settle_s", _count),
        page_life_s=read("page_life_s", _page_life),
        page_tries_max=read("page_tries_max", _page_tries),
        currencies=read("currencies", _currencies),
    )


def _webhook_secrets(given: Mapping[str, str]) -> dict[str, str]:
    secrets: dict[str, str] = {}
    for id_name, secret_name in WEBHOOK_PAIRS:
        key_id, secret = given.get(id_name, ""), given.get(secret_name, "")
        if bool(key_id) != bool(secret):
            raise ConfigurationError(
                f"payone needs {id_name} and {secret_name} together", secret_name if key_id else id_name
            )
        if key_id in secrets:
            raise ConfigurationError(f"payone setting {id_name} repeats the key id {key_id!r}", id_name)
        if key_id:
            secrets[_read(id_name, key_id, _key_id)] = _secret(secret_name, secret)
    return secrets


def _read(name: str, value: str, reader: Callable[[str], _T]) -> _T:
    try:
        return reader(value)
    except ValueError as error:
        raise ConfigurationError(f"payone setting {name} cannot be {value!r}: {error}", name) from None


def _secret(name: str, text: str) -> str:
    """Take a secret as it is; blanks around it are a slip of the clipboard, and it is never shown."""
    if text != text.strip():
        raise ConfigurationError(f"payone setting {name} begins or ends with a blank", name)
    return text


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it like https://payment.payone.com")
    if parts.username is not None or parts.fragment or parts.query:
        raise ValueError("no user, password, query or fragment belongs in it")
    if parts.path.strip("/"):
        raise ValueError("the host is enough, paths are added")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("only https may carry payments to another machine")
    return text.rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path_part(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise ValueError("it is the account's name (PSPID): letters, digits, hyphens and underscores")
    return text


def _key_id(text: str) -> str:
    if not re.fullmatch(r"[!-9;-~]+", text):
        raise ValueError("a key id has no blanks and no colon")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("it is yes or no")
    return text == "yes"


def _series(text: str) -> str:
    if text not in SERIES:
        raise ValueError(f"it is {' or '.join(SERIES)}")
    return text


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
        raise ValueError("it is a list of seconds, such as 5,30,120")
    return counts


def _page_life(text: str) -> int:
    life_s = _count(text)
    if life_s % 60 or life_s > _PAGE_LIFE_MAX_S:
        raise ValueError(f"it is whole minutes in seconds, at most {_PAGE_LIFE_MAX_S}")
    return life_s


def _page_tries(text: str) -> int:
    if _count(text) > 10:
        raise ValueError("PAYONE allows 1 to 10")
    return int(text)


def _currencies(text: str) -> frozenset[str] | None:
    try:
        return frozenset(code for code in _words(text) if exponent(code) >= 0) or None
    except MoneyError as error:
        raise ValueError(str(error)) from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


OPTIONAL: Final[Mapping[str, str]] = {
    **dict.fromkeys((name for pair in WEBHOOK_PAIRS for name in pair), ""),
    **DEFAULTS,
}
TITLE: Final = "PAYONE"
SECRETS: Final = frozenset({"api_secret", *(secret for _, secret in WEBHOOK_PAIRS)})
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"automatic_capture": ("yes", "no"), "series": tuple(SERIES)}
TOLD: Final[Mapping[str, tuple[str, str]]] = {
    "endpoint": ("Address", "Like https://payment.payone.com"),
    "merchant_id": ("Merchant id", "The account's name (PSPID)."),
    "api_key_id": ("API key id", ""),
    "api_secret": ("API secret", ""),
    "webhook_key_id": ("Webhook key id", "Without it no event is believed, and Turnus asks instead."),
    "webhook_secret": ("Webhook secret", ""),
    "automatic_capture": ("Automatic capture", "No where what is reserved is captured by Turnus."),
    "series": ("Kind of series", "How charges without the customer are announced to the card schemes."),
    "variant": ("Variant of the hosted page", ""),
    "page_tries_max": ("Tries on one page", "1 to 10."),
}
"""What people read of each setting: its label and a hint."""
