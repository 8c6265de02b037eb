"""One PAYONE account's credentials and settings, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from billing.gateway import ConfigurationError
from gateways.payone_codes import SERIES
from gateways.settings import (
    Entered,
    address,
    count,
    currencies,
    delays,
    entered,
    like,
    limit,
    one_of,
    seconds,
    yes_or_no,
)


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

OPTIONAL: Final[Mapping[str, str]] = {
    **dict.fromkeys((name for pair in WEBHOOK_PAIRS for name in pair), ""),
    **DEFAULTS,
}
_PAGE_LIFE_MAX_S: Final = 9000
"""A checkout can be read for three hours; half an hour of them is left to ask about it after it has closed."""

_MERCHANT_ID: Final = like("[A-Za-z0-9_.-]+", "the account's name (PSPID): letters, digits, hyphens and underscores")
_KEY_ID: Final = like("[!-9;-~]+", "a key id, without blanks and colons")


def read_settings(credentials: Mapping[str, str]) -> Settings:
    """Return the settings, or raise `ConfigurationError` naming the one that is missing, unknown or malformed."""
    given = entered("payone", credentials, MANDATORY, OPTIONAL, SECRETS)
    read = given.read
    return Settings(
        endpoint=read("endpoint", _endpoint),
        merchant_id=read("merchant_id", _MERCHANT_ID),
        api_key_id=read("api_key_id", _KEY_ID),
        api_secret=_secret("api_secret", given),
        webhook_secrets=_webhook_secrets(given),
        automatic_capture=read("automatic_capture", yes_or_no),
        series=read("series", one_of(*SERIES)),
        variant=read("variant", str),
        timeout_s=read("timeout_s", seconds),
        connect_timeout_s=read("connect_timeout_s", seconds),
        in_flight_max=read("in_flight_max", count),
        per_second_max=read("per_second_max", limit),
        ask_delays_s=read("ask_delays_s", delays),
        settle_s=read("settle_s", count),
        page_life_s=read("page_life_s", _page_life),
        page_tries_max=read("page_tries_max", _page_tries),
        currencies=read("currencies", currencies),
    )


def _webhook_secrets(given: Entered) -> dict[str, str]:
    secrets: dict[str, str] = {}
    for id_name, secret_name in WEBHOOK_PAIRS:
        key_id, secret = given.values[id_name], given.values[secret_name]
        if bool(key_id) != bool(secret):
            raise ConfigurationError(
                f"payone needs {id_name} and {secret_name} together", secret_name if key_id else id_name
            )
        if key_id in secrets:
            raise ConfigurationError(f"payone setting {id_name} repeats the key id {key_id!r}", id_name)
        if key_id:
            secrets[given.read(id_name, _KEY_ID)] = _secret(secret_name, given)
    return secrets


def _secret(name: str, given: Entered) -> str:
    """Take a secret as it is; blanks around it are a slip of the clipboard, and it is never shown."""
    text = given.values[name]
    if text != text.strip():
        raise ConfigurationError(f"payone setting {name} begins or ends with a blank", name)
    return text


def _endpoint(text: str) -> str:
    parts = address(text, "https://payment.payone.com")
    if parts.query or parts.path.strip("/"):
        raise ValueError("the host is enough, paths are added")
    return text.rstrip("/")


def _page_life(text: str) -> int:
    life_s = count(text)
    if life_s % 60 or life_s > _PAGE_LIFE_MAX_S:
        raise ValueError(f"it is whole minutes in seconds, at most {_PAGE_LIFE_MAX_S}")
    return life_s


def _page_tries(text: str) -> int:
    if count(text) > 10:
        raise ValueError("PAYONE allows 1 to 10")
    return int(text)


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
