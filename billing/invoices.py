"""The life of an invoice."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class InvoiceState(StrEnum):
    """Where an invoice stands."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


_S = InvoiceState

# A chargeback takes a payment back, so a paid invoice can be open again.
MOVES: Final = MappingProxyType(
    {
        _S.DRAFT: frozenset({_S.OPEN, _S.VOID}),
        _S.OPEN: frozenset({_S.PAID, _S.VOID, _S.UNCOLLECTIBLE}),
        _S.PAID: frozenset({_S.OPEN}),
        _S.UNCOLLECTIBLE: frozenset({_S.PAID, _S.OPEN}),
        _S.VOID: frozenset(),
    }
)


def number(prefix: str, value: int) -> str:
    """Return an invoice number of a series, such as `NA-2026-00042`."""
    return f"{prefix}{value:05d}"
