"""What notifications said long ago leaves the database; the rows stay, so that the same news is news only once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import among
from billing.models import Attempt, GatewayAccount, Merchant, Notification, NotificationState, table
from billing.payments import OPEN
from billing.services.auditing import Actor, audit
from billing.services.context import Context
from billing.store import PAGE, after_s

DAYS_MIN: Final = 30
"""Younger than this nothing leaves: an operator may still want to read it, and a gateway to repeat it."""

_DAY_S: Final = 24 * 3600
_notification, _account = table(Notification), table(GatewayAccount)
_merchant, _attempt = table(Merchant), table(Attempt)
_EMPTY: Final = {"query": "", "headers": {}, "body": b""}


async def page_of_old(ctx: Context, days: int, after_id: int) -> Sequence[RowMapping]:
    """Return the next notifications that were over so many days ago, oldest first, with all that they said."""
    columns = (_notification, _merchant.c.reference.label("merchant"), _account.c.reference.label("account"))
    query = (
        select(*columns)
        .join_from(_notification, _account, _account.c.id == _notification.c.gateway_account_id)
        .join(_merchant, _merchant.c.id == _account.c.merchant_id)
        .where(_notification.c.id > after_id, *_is_over(days))
        .order_by(_notification.c.id)
        .limit(PAGE)
    )
    async with ctx.store.read() as session:
        return (await session.execute(query)).mappings().all()


async def empty(ctx: Context, ids: Sequence[int], actor: Actor, file: str) -> int:
    """Empty notifications whose text is safe in a file, a page in a transaction; return how many were emptied.

    What is not over any more, or was emptied by somebody else meanwhile, is left as it is.
    """
    emptied = 0
    for place in range(0, len(ids), PAGE):
        async with ctx.store.write() as session:
            gone = await _empty_page(session, ids[place : place + PAGE])
            for merchant_id, count in gone.items():
                await audit(ctx, session, [merchant_id], actor, "archive_notifications", file, count=count)
            emptied += gone.total()
    return emptied


async def _empty_page(session: AsyncSession, ids: Sequence[int]) -> Counter[int]:
    values: dict[str, Any] = {**_EMPTY, "archived_at": after_s()}
    mine = update(_notification).where(among(_notification.c.id, ids), *_is_over(0)).values(**values)
    gone = Counter((await session.execute(mine.returning(_notification.c.gateway_account_id))).scalars().all())
    query = select(_account.c.id, _account.c.merchant_id).where(_account.c.id.in_(gone))
    owners = {row.id: row.merchant_id for row in await session.execute(query)}
    merchants: Counter[int] = Counter()
    for account_id, count in gone.items():
        merchants[owners[account_id]] += count
    return merchants


def _is_over(days: int) -> list[ColumnElement[bool]]:
    """Say what may leave: settled or forged so long ago, and not about an attempt that is still open."""
    over_at = func.coalesce(_notification.c.settled_at, _notification.c.received_at)
    still_open = select(_attempt.c.id).where(_attempt.c.id == _notification.c.attempt_id, _attempt.c.state.in_(OPEN))
    return [
        _notification.c.archived_at.is_(None),
        _notification.c.state.in_((NotificationState.SETTLED, NotificationState.FORGED)),
        over_at < after_s(-days * _DAY_S),
        ~still_open.correlate(_notification).exists(),
    ]
