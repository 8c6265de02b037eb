"""The one place that knows every gateway by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol

from billing.clock import SystemClock
from billing.gateway import ConfigurationError, Gateway, GatewayKind, Setting
from gateways import (
    computop,
    computop_settings,
    mpay24,
    mpay24_settings,
    paymentz,
    paymentz_settings,
    payone,
    payone_settings,
)
from gateways.transport import Network


class OpenAccount(Protocol):
    """Opens one account at a gateway, on the network or on what stands in for it."""

    def __call__(self, credentials: Mapping[str, str], network: Network | None = None) -> Gateway:
        """Return the gateway, or raise `ConfigurationError` naming what is wrong with the credentials."""
        ...


GATEWAYS: Final[Mapping[str, OpenAccount]] = {
    "computop": computop.open_account,
    "mpay24": mpay24.open_account,
    "paymentz": paymentz.open_account,
    "payone": partial(payone.open_account, now=SystemClock().now),
}
"""A gateway that signs dates is given the machine's own clock, which no test clock moves."""


def open_gateway(name: str, credentials: Mapping[str, str], network: Network | None = None) -> Gateway:
    """Return the named gateway for one account; raise `ConfigurationError` if there is none of that name."""
    if name not in GATEWAYS:
        raise ConfigurationError(f"there is no gateway {name!r}; there is {', '.join(sorted(GATEWAYS))}")
    return GATEWAYS[name](credentials, network)


# What people read of settings that several gateways have.
_TOLD: Final[Mapping[str, tuple[str, str]]] = {
    "timeout_s": ("Longest exchange, in seconds", "After it a charge is in doubt, and Turnus asks."),
    "connect_timeout_s": ("Longest wait for a connection, in seconds", ""),
    "in_flight_max": ("Most requests at once", "What the gateway allows of this account."),
    "per_second_max": ("Most requests in a second", "What the gateway allows of this account; left empty, any number."),
    "ask_delays_s": (
        "Waits before each question, in seconds",
        "How long after the last one a charge in doubt is asked for.",
    ),
    "settle_s": ("Nothing is believed lost before, in seconds", ""),
    "page_life_s": ("Life of a hosted page, in seconds", ""),
    "currencies": ("Currencies", "Left empty, every one."),
    "least_minor": ("Least amount, in minor units", ""),
}


class Declared(Protocol):
    """What a gateway's settings module says of its settings."""

    TITLE: str
    MANDATORY: tuple[str, ...]
    SECRETS: frozenset[str]
    CHOICES: Mapping[str, tuple[str, ...]]
    TOLD: Mapping[str, tuple[str, str]]


def _kind(declared: Declared, optional: Mapping[str, str]) -> GatewayKind:
    """Return a gateway as it is offered to people; a setting that nothing is told of goes by its name."""
    defaults = dict.fromkeys(declared.MANDATORY) | dict(optional)
    return GatewayKind(declared.TITLE, tuple(_setting(declared, *each) for each in defaults.items()))


def _setting(declared: Declared, name: str, default: str | None) -> Setting:
    label, hint = {**_TOLD, **declared.TOLD}.get(name, (name.replace("_", " ").capitalize(), ""))
    choices = declared.CHOICES.get(name, ())
    return Setting(name, label, hint, default, name in declared.SECRETS, name == "endpoint", choices)


KINDS: Final[Mapping[str, GatewayKind]] = {
    "computop": _kind(computop_settings, computop_settings.DEFAULTS),
    "mpay24": _kind(mpay24_settings, mpay24_settings.DEFAULTS),
    "paymentz": _kind(paymentz_settings, paymentz_settings.DEFAULTS),
    "payone": _kind(payone_settings, payone_settings.OPTIONAL),
}
"""What accounts can be at, and what is to be said of each."""
