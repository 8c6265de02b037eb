"""Customers one at a time: registered, changed, found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Customer, new_row, table
from billing.services.context import Context
from billing.services.refusing import ConflictError, MissingError

_customer = table(Customer)

CUSTOMERS = select(_customer)


async def register(session: AsyncSession, merchant_id: int, facts: Mapping[str, Any]) -> RowMapping:
    """Register a customer, and return it; raise `ConflictError` where the reference is taken."""
    reference = facts["reference"]
    mine = (_customer.c.merchant_id == merchant_id) & (_customer.c.reference == reference)
    if (await session.execute(select(_customer.c.id).where(mine))).scalar() is not None:
        raise ConflictError(f"there is a customer {reference!r} already")
    await session.execute(insert(_customer).values(new_row(Customer, merchant_id=merchant_id, **facts)))
    return await find_customer(session, merchant_id, reference)


async def change_customer(session: AsyncSession, customer_id: int, facts: Mapping[str, Any]) -> None:
    """Change what is known of a customer; mails that are queued go where they were to go."""
    if facts:
        await session.execute(update(_customer).where(_customer.c.id == customer_id).values(**facts))


async def find_customer(
    session: AsyncSession, merchant_id: int, reference: str, ctx: Context | None = None
) -> RowMapping:
    """Return a customer, locked where a context is given; raise `MissingError` where there is none."""
    mine = (_customer.c.merchant_id == merchant_id) & (_customer.c.reference == reference)
    query: Select[Any] = CUSTOMERS.where(mine)
    query = ctx.store.lock(query) if ctx is not None else query
    row: RowMapping | None = (await session.execute(query)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no customer {reference!r}")
    return row
