"""What a merchant can change of its own: how it appears, and the rules that its runs follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.brakes import Brakes
from billing.models import Merchant, table

_merchant = table(Merchant)


async def change_merchant(session: AsyncSession, merchant_id: int, facts: Mapping[str, Any]) -> None:
    """Change what is known of a merchant; what is invoiced and mailed already stays as it is."""
    await session.execute(update(_merchant).where(_merchant.c.id == merchant_id).values(**facts))


def brakes_of(kept: Mapping[str, int] | None) -> dict[str, int]:
    """Return every threshold that holds for a merchant: its own, and else ours."""
    return asdict(Brakes(**(kept or {})))


def own_brakes(thresholds: Mapping[str, int]) -> dict[str, int] | None:
    """Return the thresholds that differ from ours, which is what is kept."""
    ours = asdict(Brakes())
    return {name: value for name, value in thresholds.items() if value != ours[name]} or None
