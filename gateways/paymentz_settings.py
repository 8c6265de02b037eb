"""One PaymentZ account's credentials and settings, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateways.paymentz_codes import LONG
from gateways.settings import address, count, currencies, delays, entered, like, limit, one_of, seconds, words

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
    read = entered("paymentz", credentials, MANDATORY, DEFAULTS, SECRETS).read
    return Settings(**{name: read(name, reader) for name, (_, reader) in _TABLE.items()})


def _endpoint(text: str) -> str:
    parts = address(text, "https://secure.brand.example")
    if parts.query or parts.path.strip("/"):
        raise ValueError("scheme and host are enough, paths are added")
    return text.rstrip("/")


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


def _states(text: str) -> frozenset[str]:
    states = frozenset(words(text))
    if not states or states - set(LONG):
        raise ValueError(f"it is a list of {', '.join(LONG)}")
    return states


_FIELD: Final = like(r"[A-Za-z][A-Za-z0-9_.]*", "the name of a form field")
_ID: Final = like(r"[A-Za-z0-9_-]+", "letters, digits, hyphens and underscores")

_TABLE: Final[Mapping[str, tuple[str | None, _Reader]]] = {
    "endpoint": (None, _endpoint),
    "member_id": (None, _ID),
    "partner_id": (None, _ID),
    "username": (None, str),
    "secret_key": (None, _secret),
    "to_type": (None, like(r"[^|\s]+", "one word without a pipe")),
    "terminal_id": ("", like(r"[A-Za-z0-9_-]*", "letters, digits, hyphens and underscores")),
    "merchant_email": ("", str),
    "currencies": ("", currencies),
    "payment_mode": ("CC", str),
    "payment_brand": ("", str),
    "automatic_capture": ("yes", _yes_or_no),
    "request_format": ("form", one_of("form", "json_flat", "json_nested")),
    "token_ttl_s": ("3600", seconds),
    "token_refresh_margin_s": ("300", seconds),
    "use_regenerate": ("no", _yes_or_no),
    "mid_inquiry_checksum": ("three", one_of("three", "four")),
    "not_found_code": ("20003", like(r"[0-9A-Za-z]+", "the code of an inquiry that found nothing")),
    "repeat_via": ("tracking_id", one_of("tracking_id", "token")),
    "repeat_route": ("path", one_of("path", "body")),
    "repeat_checksum_subject": ("parent", one_of("parent", "own")),
    "repeat_parent_states": ("capturesuccess,settled,authsuccessful,markedforreversal,reversed", _states),
    "token_path": ("paywithtoken", one_of("paywithtoken", "registrations")),
    "hosted_initial": ("yes", _yes_or_no),
    "hosted_recurring_field": ("recurringType", _FIELD),
    "hosted_registration_field": ("createRegistration", _FIELD),
    "callback_status_form": ("short", one_of("short", "long")),
    "accept_long_signature": ("no", _yes_or_no),
    "default_redirect_method": ("auto", one_of("auto", "POST", "GET")),
    "max_refunds": ("1", count),
    "timeout_s": ("60", seconds),
    "connect_timeout_s": ("10", seconds),
    "in_flight_max": ("250", count),
    "per_second_max": ("", limit),
    "ask_delays_s": ("1,2,4,8,16,60,600,3600", delays),
    "settle_s": ("90", count),
    "page_life_s": ("3600", count),
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
