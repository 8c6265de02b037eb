"""Plans and prices one at a time: a price that exists is never changed, since it may have been sold."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import RowMapping, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Plan, Price, new_row, table
from billing.pricing import Terms
from billing.services.context import Context
from billing.services.refusing import ConflictError, MissingError, UnfitError

_plan, _price = table(Plan), table(Price)

PLANS = select(_plan)
PRICES = select(
    _price, _plan.c.reference.label("plan"), _plan.c.merchant_id, _plan.c.archived_at.label("plan_archived_at")
).join_from(_price, _plan)


async def add_plan(session: AsyncSession, merchant_id: int, reference: str, name: str) -> RowMapping:
    """Add a plan, and return it; raise `ConflictError` where the reference is taken."""
    mine = (_plan.c.merchant_id == merchant_id) & (_plan.c.reference == reference)
    if (await session.execute(select(_plan.c.id).where(mine))).scalar() is not None:
        raise ConflictError(f"there is a plan {reference!r} already")
    row = new_row(Plan, merchant_id=merchant_id, reference=reference, name=name)
    await session.execute(insert(_plan).values(row))
    return await find_plan(session, merchant_id, reference)


async def rename_plan(session: AsyncSession, plan_id: int, name: str) -> None:
    """Give a plan another name; what was sold under it stays as it is."""
    await session.execute(update(_plan).where(_plan.c.id == plan_id).values(name=name))


async def archive_plan(session: AsyncSession, plan_id: int, at: datetime | None) -> None:
    """Sell a plan to nobody new from an instant on, or again where there is none; subscriptions go on either way."""
    await session.execute(update(_plan).where(_plan.c.id == plan_id).values(archived_at=at))


async def retire_price(session: AsyncSession, price_id: int, at: datetime | None) -> None:
    """Sell at a price to nobody new from an instant on, or again where there is none; subscriptions stay on it."""
    await session.execute(update(_price).where(_price.c.id == price_id).values(retired_at=at))


async def add_price(
    session: AsyncSession, plan: RowMapping, reference: str, title: str, terms: Terms, trial_days: int
) -> RowMapping:
    """Add a price to a plan, and return it; raise `ConflictError` where the reference is taken."""
    mine = (_price.c.plan_id == plan["id"]) & (_price.c.reference == reference)
    if (await session.execute(select(_price.c.id).where(mine))).scalar() is not None:
        raise ConflictError(f"there is a price {plan['reference']}/{reference} already, and prices are not changed")
    row = new_row(
        Price,
        plan_id=plan["id"],
        reference=reference,
        title=title,
        amount_minor=terms.unit.minor,
        currency=terms.unit.currency,
        interval_unit=terms.interval.unit,
        interval_count=terms.interval.count,
        trial_days=trial_days,
        tax_rate_bp=terms.tax_rate_bp,
        tax_included=terms.tax_included,
    )
    await session.execute(insert(_price).values(row))
    return await find_price(session, plan["merchant_id"], plan["reference"], reference)


async def find_plan(session: AsyncSession, merchant_id: int, reference: str, ctx: Context | None = None) -> RowMapping:
    """Return a plan, locked where a context is given; raise `MissingError` where there is none."""
    query: Select[tuple[int]] = PLANS.where(_plan.c.merchant_id == merchant_id, _plan.c.reference == reference)
    query = ctx.store.lock(query) if ctx is not None else query
    row: RowMapping | None = (await session.execute(query)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no plan {reference!r}")
    return row


async def find_price(session: AsyncSession, merchant_id: int, plan: str, reference: str) -> RowMapping:
    """Return a price with its plan's reference; raise `MissingError` where there is none."""
    mine = (_plan.c.merchant_id == merchant_id) & (_plan.c.reference == plan) & (_price.c.reference == reference)
    row: RowMapping | None = (await session.execute(PRICES.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no price {plan}/{reference}")
    return row


async def price_named(session: AsyncSession, merchant_id: int, name: str, field: str = "price") -> RowMapping:
    """Return the price on sale that is written `plan/price`; raise `UnfitError` where there is none."""
    plan, _, reference = name.partition("/")
    try:
        row = await find_price(session, merchant_id, plan, reference)
    except MissingError:
        raise UnfitError(field, f"there is no price {name!r}; it is written plan/price") from None
    if row["retired_at"] or row["plan_archived_at"]:
        raise UnfitError(field, f"the price {name!r} is not on sale any more")
    return row
