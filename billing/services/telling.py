"""Write down what happened for those who listen, in the transaction in which it did: never lost, never made up.

Whoever changes a state says so here, at the end of the transaction, for a page at a time. Where nobody listens that
is one look. Otherwise the things are read as the API shows them, so that an event says what was so at its moment,
and every try to deliver it says the same. Sending is another thing (`announcing`).
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import insert_many, next_ids
from billing.events import EventType
from billing.models import EndpointState, Event, WebhookDelivery, WebhookEndpoint, new_row, table
from billing.services.context import Context, Shown
from billing.services.tasking import NewTask, raise_tasks
from billing.services.wording import words_for
from billing.store import PAGE, after_s

_endpoint, _event, _delivery = table(WebhookEndpoint), table(Event), table(WebhookDelivery)

_UID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What happened to a thing: its kind is the word in names such as `inv_12`, or `sub` for a subscription."""

    merchant_id: int
    type: EventType
    kind: str
    id: int
    happened_at: datetime


async def tell(ctx: Context, session: AsyncSession, news: Sequence[NewEvent]) -> None:
    """Queue each event for every endpoint of its merchant that wants to hear of it; what nobody hears is not kept.

    What happened stands, whatever becomes of telling it: an event that cannot be written is a person's task.
    """
    endpoints = await listeners(session, {each.merchant_id for each in news})
    heard = [each for each in news if any(listens(endpoint, each) for endpoint in endpoints)]
    for start in range(0, len(heard), PAGE):
        page = heard[start : start + PAGE]
        if await _try_to_write(ctx, session, page, endpoints):
            await _write_one_by_one(ctx, session, page, endpoints)


async def listeners(session: AsyncSession, merchants: Collection[int]) -> Sequence[RowMapping]:
    """Return the endpoints of the merchants, each with the time by the database's clock.

    One that is switched off counts as well: what happens meanwhile waits for it.
    """
    if not merchants:
        return ()
    mine = _endpoint.c.merchant_id.in_(merchants) & (_endpoint.c.state != EndpointState.DELETED)
    columns = (_endpoint.c.id, _endpoint.c.merchant_id, _endpoint.c.types, after_s().label("now"))
    return (await session.execute(select(*columns).where(mine).order_by(_endpoint.c.id))).mappings().all()


def listens(endpoint: RowMapping, each: NewEvent) -> bool:
    """Answer whether an endpoint is told of an event."""
    types = endpoint["types"].split()
    return bool(endpoint["merchant_id"] == each.merchant_id and (not types or each.type in types))


async def write_event(session: AsyncSession, each: NewEvent, shown: Shown, endpoint: RowMapping) -> str:
    """Write an event that is for one endpoint alone, and return its name."""
    event_id = (await next_ids(session, _event, 1))[0]
    row = _event_row(event_id, each, shown, endpoint["now"])
    await insert_many(session, _event, [row])
    await insert_many(session, _delivery, [_delivery_row(event_id, endpoint)])
    return str(row["uid"])


async def _try_to_write(
    ctx: Context, session: AsyncSession, news: Sequence[NewEvent], endpoints: Sequence[RowMapping]
) -> str:
    """Write all of the events or none; return what was in the way."""
    try:
        async with session.begin_nested():
            await _write(ctx, session, news, endpoints)
    except Exception as error:  # noqa: BLE001 - money may have moved, and that is not undone because nobody can be told
        return words_for(error)
    return ""


async def _write_one_by_one(
    ctx: Context, session: AsyncSession, news: Sequence[NewEvent], endpoints: Sequence[RowMapping]
) -> None:
    """Write what can be written of a page that failed, and leave the rest to a person."""
    for each in news:
        if reason := await _try_to_write(ctx, session, [each], endpoints):
            untold = f"{each.type} cannot be told to those who listen: {reason}"
            task = NewTask(each.merchant_id, "webhook_event", f"{each.kind}_{each.id}", untold)
            await raise_tasks(session, [task], each.happened_at)


async def _write(
    ctx: Context, session: AsyncSession, news: Sequence[NewEvent], endpoints: Sequence[RowMapping]
) -> None:
    shown = await _look(ctx, session, news)
    told = list(zip(await next_ids(session, _event, len(news)), news, strict=True))
    now = endpoints[0]["now"]
    await insert_many(session, _event, [_event_row(id_, each, shown[each.kind, each.id], now) for id_, each in told])
    pairs = [(id_, endpoint) for id_, each in told for endpoint in endpoints if listens(endpoint, each)]
    await insert_many(session, _delivery, [_delivery_row(*pair) for pair in pairs])


async def _look(ctx: Context, session: AsyncSession, news: Sequence[NewEvent]) -> dict[tuple[str, int], Shown]:
    """Read the things as the API shows them, one statement for each kind."""
    ids: defaultdict[str, set[int]] = defaultdict(set)
    for each in news:
        ids[each.kind].add(each.id)
    found = {kind: await ctx.shows(session, kind, wanted) for kind, wanted in ids.items()}
    return {(kind, id_): shown for kind, things in found.items() for id_, shown in things.items()}


def _event_row(event_id: int, each: NewEvent, shown: Shown, now: datetime) -> dict[str, Any]:
    return {
        "id": event_id,
        "merchant_id": each.merchant_id,
        "uid": f"evt_{secrets.token_hex(_UID_BYTES)}",
        "type": each.type,
        "subject": shown.name,
        "data": shown.text,
        "happened_at": each.happened_at,
        "created_at": now,
    }


def _delivery_row(event_id: int, endpoint: RowMapping) -> dict[str, Any]:
    return new_row(WebhookDelivery, event_id=event_id, endpoint_id=endpoint["id"], next_try_at=endpoint["now"])
