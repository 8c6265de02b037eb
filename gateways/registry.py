"""The one place that knows every gateway by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from billing.clock import SystemClock
from billing.gateway import ConfigurationError, Gateway
from gateways import mpay24, payone

GATEWAYS: Final[Mapping[str, Callable[[Mapping[str, str]], Gateway]]] = {
    "mpay24": mpay24.open_account,
    "payone": partial(payone.open_account, now=SystemClock().now),
}
"""A gateway that signs dates is given the machine's own clock, which no test clock moves."""


def open_gateway(name: str, credentials: Mapping[str, str]) -> Gateway:
    """Return the named gateway for one account; raise `ConfigurationError` if there is none of that name."""
    if name not in GATEWAYS:
        raise ConfigurationError(f"there is no gateway {name!r}; there is {', '.join(sorted(GATEWAYS))}")
    return GATEWAYS[name](credentials)
