"""Write balanced groups of postings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import insert_many
from billing.ledger import Entry, Group
from billing.models import Posting, new_row, table
from billing.store import insert_unless


@dataclass(frozen=True, slots=True)
class Posted:
    """A group with whom and what it is about."""

    group: Group
    merchant_id: int
    customer_id: int
    booked_on: date
    posted_at: datetime
    invoice_id: int | None = None
    attempt_id: int | None = None


async def post(session: AsyncSession, groups: Iterable[Posted]) -> None:
    """Add the groups to the ledger; a group that is there already raises `IntegrityError`."""
    await insert_many(session, table(Posting), [each for posted in groups for each in _rows(posted)])


async def post_once(session: AsyncSession, groups: Iterable[Posted]) -> None:
    """Add the groups to the ledger, leaving out those that are there already."""
    rows = [each for posted in groups for each in _rows(posted)]
    if rows:
        await session.execute(insert_unless(session, table(Posting)), rows)


def _rows(posted: Posted) -> list[dict[str, Any]]:
    return [_row(posted, place, entry) for place, entry in enumerate(posted.group.entries)]


def _row(posted: Posted, place: int, entry: Entry) -> dict[str, Any]:
    return new_row(
        Posting,
        group_key=posted.group.key,
        position=place,
        merchant_id=posted.merchant_id,
        customer_id=posted.customer_id,
        invoice_id=posted.invoice_id,
        attempt_id=posted.attempt_id,
        account=entry.account,
        amount_minor=entry.amount.minor,
        currency=entry.amount.currency,
        booked_on=posted.booked_on,
        posted_at=posted.posted_at,
    )
