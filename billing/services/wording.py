"""What broke, in words for whoever reads them as evidence; what nobody expected goes to the log whole."""

from __future__ import annotations

from typing import Final

import structlog

from billing.gateway import GatewayError
from billing.vault import VaultError

_log = structlog.get_logger("turnus.services")
_EXPECTED: Final = (GatewayError, VaultError)


def words_for(error: Exception) -> str:
    """Return what broke as a sentence. An error of our own says it itself; of any other the log has kind and place."""
    if isinstance(error, _EXPECTED):
        return str(error)
    _log.error("something unexpected broke", exc_info=error)
    detail = str(getattr(error, "orig", error))
    return "something unexpected broke in Turnus, and its log says where" + (f": {detail}" if detail else "")
