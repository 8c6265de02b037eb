"""Draws the lifecycle tables as Mermaid diagrams: `make docs` writes them, a test compares them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from billing import invoices, payments, subscriptions

DOCUMENT = Path("docs/lifecycles.md")

TABLES: Mapping[str, Mapping[Any, frozenset[Any]]] = {
    "Subscription": subscriptions.MOVES,
    "Invoice": invoices.MOVES,
    "Attempt": payments.MOVES,
}

_HEAD = """\
# Lifecycles

Drawn by `make docs` from the tables in `billing/subscriptions.py`, `billing/invoices.py` and `billing/payments.py`.
A move that is not drawn raises; going to the state already held is no move and is allowed.
"""


def document() -> str:
    """Return the whole document, as it is kept in the repository."""
    return "\n".join([_HEAD, *(_section(title, moves) for title, moves in TABLES.items())])


def _section(title: str, moves: Mapping[StrEnum, frozenset[StrEnum]]) -> str:
    return "\n".join([f"## {title}", "", "```mermaid", "stateDiagram-v2", *_arrows(moves), "```", ""])


def _arrows(moves: Mapping[StrEnum, frozenset[StrEnum]]) -> Iterator[str]:
    order = list(moves)
    for held, allowed in moves.items():
        yield from (f"    {held} --> {to}" for to in sorted(allowed, key=order.index))
        if not allowed:
            yield f"    {held} --> [*]"


if __name__ == "__main__":
    sys.stdout.write(document())
