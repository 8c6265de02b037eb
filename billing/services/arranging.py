"""What a merchant can change of its own: how it appears, and the rules that its runs follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import false, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.brakes import Brakes
from billing.models import Merchant, table
from billing.services.refusing import ConflictError

_merchant = table(Merchant)


async def change_merchant(session: AsyncSession, merchant_id: int, facts: Mapping[str, Any]) -> None:
    """Change what is known of a merchant; what is invoiced and mailed already stays as it is."""
    await session.execute(update(_merchant).where(_merchant.c.id == merchant_id).values(**facts))


async def go_live(session: AsyncSession, merchant_id: int) -> None:
    """Let a sandbox merchant be live: its time is the time of day from now on, and no run of it is in the future.

    Raises `ConflictError` where it is live already, or has a test clock: what was billed by that clock happened at
    times that have not been.
    """
    mine = update(_merchant).where(_merchant.c.id == merchant_id, _merchant.c.live == false())
    went = mine.where(_merchant.c.test_clock_id.is_(None)).values(live=True).returning(_merchant.c.id)
    if (await session.execute(went)).scalar() is not None:
        return
    columns = select(_merchant.c.reference, _merchant.c.live).where(_merchant.c.id == merchant_id)
    row = (await session.execute(columns)).one()
    raise ConflictError(f"{row.reference} is live already" if row.live else no_clock_live(row.reference))


def no_clock_live(reference: str) -> str:
    """Say why a merchant with a test clock cannot be live."""
    return f"{reference} has a test clock, which no live merchant can have: set up another merchant to go live with"


def brakes_of(kept: Mapping[str, int] | None) -> dict[str, int]:
    """Return every threshold that holds for a merchant: its own, and else ours."""
    return asdict(Brakes(**(kept or {})))


def own_brakes(thresholds: Mapping[str, int]) -> dict[str, int] | None:
    """Return the thresholds that differ from ours, which is what is kept."""
    ours = asdict(Brakes())
    return {name: value for name, value in thresholds.items() if value != ours[name]} or None
