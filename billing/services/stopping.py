"""Gateway accounts: stopped at a person's word, and opened again."""

from __future__ import annotations

from sqlalchemy import RowMapping, Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import AccountState, GatewayAccount, table
from billing.services.context import Context, moments
from billing.services.refusing import MissingError
from billing.services.tasking import NewTask, end_tasks, raise_tasks

_account = table(GatewayAccount)


async def find_account(
    session: AsyncSession, merchant_id: int, reference: str, ctx: Context | None = None
) -> RowMapping:
    """Return a gateway account, locked where a context is given; raise `MissingError` where there is none."""
    query: Select[tuple[int]] = select(_account)
    query = query.where(_account.c.merchant_id == merchant_id, _account.c.reference == reference)
    query = ctx.store.lock(query) if ctx is not None else query
    row: RowMapping | None = (await session.execute(query)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no gateway account {reference!r}")
    return row


async def stop(ctx: Context, session: AsyncSession, account: RowMapping, reason: str) -> None:
    """Charge nothing more through an account; what is under way is settled, and a task stays until it is opened."""
    if account["state"] == AccountState.STOPPED:
        return
    merchant_id = account["merchant_id"]
    now = (await moments(ctx, session, [merchant_id]))[merchant_id].now
    change = {"state": AccountState.STOPPED, "stopped_reason": reason, "stopped_at": now}
    await session.execute(update(_account).where(_account.c.id == account["id"]).values(**change))
    await raise_tasks(session, [NewTask(merchant_id, "account_stopped", f"acc_{account['id']}", reason)], now)


async def open_again(session: AsyncSession, account: RowMapping) -> None:
    """Charge through an account again, whose credentials were just found to work, and end the task about it."""
    change = {"state": AccountState.OPEN, "stopped_reason": "", "stopped_at": None}
    await session.execute(update(_account).where(_account.c.id == account["id"]).values(**change))
    await end_tasks(session, ["account_stopped"], [f"acc_{account['id']}"])
