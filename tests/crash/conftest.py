"""A fresh world for each way to die, on both kinds of database."""

from __future__ import annotations

from tests.billing.services.conftest import world

__all__ = ["world"]
