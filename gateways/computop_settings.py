"""One Computop account's credentials and settings, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from gateways.computop_wire import KEY_BYTES
from gateways.settings import (
    address,
    count,
    delays,
    entered,
    is_loopback,
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
    encryption_password: str = field(repr=False)
    hmac_password: str = field(repr=False)
    cipher: str
    dialect: str
    card_on_file: bool
    series: str
    recurring_days: int
    recurring_until: str
    customer_group: str
    is_bound: bool
    device_id: str
    language: str
    least_minor: int
    timeout_s: float
    connect_timeout_s: float
    in_flight_max: int
    per_second_max: int | None
    ask_delays_s: tuple[int, ...]
    settle_s: int
    page_life_s: int

    @property
    def is_local(self) -> bool:
        """Whether the gateway is a simulator on this machine, with which plain addresses may be exchanged."""
        return is_loopback(urlsplit(self.endpoint).hostname or "")


MANDATORY: Final[tuple[str, ...]] = ("endpoint", "merchant_id", "encryption_password", "hmac_password")
DEFAULTS: Final[Mapping[str, str]] = {
    "cipher": "blowfish",
    "dialect": "v11",
    "card_on_file": "no",
    "series": "unscheduled",
    "recurring_days": "30",
    "recurring_until": "2099-12-31",
    "customer_group": "KNOWN",
    "is_bound": "no",
    "device_id": "",
    "language": "de",
    "least_minor": "100",
    "timeout_s": "45",
    "connect_timeout_s": "10",
    "in_flight_max": "100",
    "per_second_max": "",
    "ask_delays_s": "5,30,120,600,3600",
    "settle_s": "90",
    "page_life_s": "900",
}


def read_settings(credentials: Mapping[str, str]) -> Settings:
    """Return the settings, or raise `ConfigurationError` naming the one that is missing, unknown or malformed."""
    read = entered("computop", credentials, MANDATORY, DEFAULTS, SECRETS).read
    cipher = read("cipher", one_of(*KEY_BYTES))
    return Settings(
        endpoint=read("endpoint", _endpoint),
        merchant_id=read("merchant_id", like("[A-Za-z0-9_.-]{1,30}", "at most 30 letters, digits, _ . or -")),
        encryption_password=read("encryption_password", _key(cipher)),
        hmac_password=read("hmac_password", _secret),
        cipher=cipher,
        dialect=read("dialect", one_of("v11", "current")),
        card_on_file=read("card_on_file", yes_or_no),
        series=read("series", one_of("unscheduled", "recurring")),
        recurring_days=read("recurring_days", count),
        recurring_until=read("recurring_until", _day),
        customer_group=read("customer_group", one_of("KNOWN", "UNKNOWN")),
        is_bound=read("is_bound", yes_or_no),
        device_id=read("device_id", like("[!-%'-~]{0,50}", "at most 50 plain characters, without &")),
        language=read("language", one_of("de", "en", "fr")),
        least_minor=read("least_minor", count),
        timeout_s=read("timeout_s", seconds),
        connect_timeout_s=read("connect_timeout_s", seconds),
        in_flight_max=read("in_flight_max", count),
        per_second_max=read("per_second_max", limit),
        ask_delays_s=read("ask_delays_s", delays),
        settle_s=read("settle_s", count),
        page_life_s=read("page_life_s", count),
    )


def _endpoint(text: str) -> str:
    if address(text, "https://www.computop-paygate.com").query:
        raise ValueError("no query belongs in it")
    return text.rstrip("/")


def _secret(text: str) -> str:
    """Take a secret as it is; blanks around it are a slip of the clipboard."""
    if not re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", text):
        raise ValueError("it is plain characters without blanks around them")
    return text


def _key(cipher: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if len(_secret(text)) not in KEY_BYTES[cipher]:
            wanted = "16, 24 or 32" if cipher == "aes" else "4 to 56"
            raise ValueError(f"{cipher} takes {wanted} characters")
        return text

    return read


def _day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


TITLE: Final = "Computop Paygate"
SECRETS: Final = frozenset({"encryption_password", "hmac_password"})
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "cipher": tuple(KEY_BYTES),
    "dialect": ("v11", "current"),
    "card_on_file": ("yes", "no"),
    "series": ("unscheduled", "recurring"),
    "customer_group": ("KNOWN", "UNKNOWN"),
    "is_bound": ("yes", "no"),
    "language": ("de", "en", "fr"),
}
TOLD: Final[Mapping[str, tuple[str, str]]] = {
    "endpoint": ("Address", "Like https://www.computop-paygate.com"),
    "merchant_id": ("Merchant id", ""),
    "encryption_password": ("Encryption password", ""),
    "hmac_password": ("HMAC password", ""),
    "card_on_file": ("Stored cards", "Yes where the contract lets Turnus charge cards that are on file."),
}
"""What people read of each setting: its label and a hint."""
