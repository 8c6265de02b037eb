"""The one place that knows every gateway by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from billing.gateway import ConfigurationError, Gateway
from gateways import mpay24

GATEWAYS: Final[Mapping[str, Callable[[Mapping[str, str]], Gateway]]] = {"mpay24": mpay24.open_account}


def open_gateway(name: str, credentials: Mapping[str, str]) -> Gateway:
    """Return the named gateway for one account; raise `ConfigurationError` if there is none of that name."""
    if name not in GATEWAYS:
        raise ConfigurationError(f"there is no gateway {name!r}; there is {', '.join(sorted(GATEWAYS))}")
    return GATEWAYS[name](credentials)
