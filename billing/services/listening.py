"""Who listens to what happens: endpoints made, changed, and switched on and off, and events sent once more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import RowMapping, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.models import DeliveryState, EndpointState, Event, WebhookDelivery, WebhookEndpoint, new_row, table
from billing.services.context import Context, Shown, moments
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.tasking import end_tasks
from billing.services.telling import NewEvent, listeners, write_event
from billing.store import PAGE, after_s, insert_unless
from billing.webhooks import BadUrlError, check_url, new_secret

_endpoint, _event, _delivery = table(WebhookEndpoint), table(Event), table(WebhookDelivery)

ENDPOINTS_MAX: Final = 20
OVERLAP_H_MAX: Final = 168
KEPT_S: Final = 30 * 24 * 3600
"""How long events are kept, and what waits for an endpoint that is switched off."""

ENDPOINTS: Final = select(_endpoint).where(_endpoint.c.state != EndpointState.DELETED)
DELIVERIES: Final = select(_delivery, _event.c.uid.label("event")).join_from(
    _delivery, _event, _event.c.id == _delivery.c.event_id
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of an endpoint; what is left out stays as it is."""

    url: str | None = None
    types: Collection[EventType] | None = None
    enabled: bool | None = None


async def listen(ctx: Context, session: AsyncSession, merchant_id: int, wanted: Wanted) -> tuple[int, str]:
    """Make an endpoint, and return its id and its secret, which is told to nobody again."""
    count = select(func.count()).select_from(ENDPOINTS.where(_endpoint.c.merchant_id == merchant_id).subquery())
    if (await session.execute(count)).scalar_one() >= ENDPOINTS_MAX:
        raise ConflictError(f"there are {ENDPOINTS_MAX} endpoints already: delete one of them")
    secret = new_secret()
    row = new_row(
        WebhookEndpoint, merchant_id=merchant_id, sealed_secret=ctx.vault.seal(secret), **_values(ctx, wanted)
    )
    made = insert(_endpoint).values(**row | {"created_at": after_s()}).returning(_endpoint.c.id)
    return int((await session.execute(made)).scalar_one()), secret


async def find_endpoint(
    session: AsyncSession, merchant_id: int, endpoint_id: int, lock: Context | None = None
) -> RowMapping:
    """Return an endpoint, locked where a context says how; raise `MissingError` where there is none."""
    mine = ENDPOINTS.where(_endpoint.c.id == endpoint_id, _endpoint.c.merchant_id == merchant_id)
    query = mine if lock is None else lock.store.lock(mine)
    row: RowMapping | None = (await session.execute(query)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no webhook endpoint hook_{endpoint_id}")
    return row


async def change_endpoint(ctx: Context, session: AsyncSession, row: RowMapping, wanted: Wanted) -> None:
    """Change an endpoint that is locked; what waited for one that is enabled again is sent to it now."""
    values = _values(ctx, wanted)
    if wanted.enabled is not None:
        values |= {"state": EndpointState.ENABLED if wanted.enabled else EndpointState.DISABLED, "reason": ""}
        values |= {"failing_since": None, "rest_until": None}
    if values:
        await _write(session, row, values)
    if wanted.enabled:
        waits = (_delivery.c.endpoint_id == row["id"]) & (_delivery.c.state == DeliveryState.QUEUED)
        again = update(_delivery).where(waits, _delivery.c.tries > 0)
        await session.execute(again.values(tries=0, next_try_at=after_s()))
    if wanted.enabled is not None:
        await end_tasks(session, ["webhook"], [f"hook_{row['id']}"])


async def delete_endpoint(session: AsyncSession, row: RowMapping) -> None:
    """Tell an endpoint that is locked nothing more, and forget its secrets."""
    gone = {"state": EndpointState.DELETED, "sealed_secret": "", "sealed_old_secret": None, "old_secret_until": None}
    await _write(session, row, gone)
    await end_tasks(session, ["webhook"], [f"hook_{row['id']}"])


async def rotate_secret(ctx: Context, session: AsyncSession, row: RowMapping, *, hours: int) -> str:
    """Give an endpoint that is locked a new secret and return it; the old one signs as well for so many hours."""
    secret = new_secret()
    values: dict[str, Any] = {"sealed_secret": ctx.vault.seal(secret)}
    values |= {"sealed_old_secret": row["sealed_secret"], "old_secret_until": after_s(hours * 3600)}
    await _write(session, row, values)
    return secret


async def try_out(ctx: Context, session: AsyncSession, row: RowMapping) -> str:
    """Queue a test event for an endpoint alone, whatever it listens to, and return the event's name."""
    _check_enabled(row)
    merchant_id, name = row["merchant_id"], f"hook_{row['id']}"
    now = (await moments(ctx, session, [merchant_id]))[merchant_id].now
    event = NewEvent(merchant_id, EventType.WEBHOOK_TEST, "hook", row["id"], now)
    [mine] = [each for each in await listeners(session, [merchant_id]) if each["id"] == row["id"]]
    return await write_event(session, event, Shown(name, f'{{"endpoint":"{name}"}}'), mine)


async def find_event(session: AsyncSession, merchant_id: int, name: str) -> RowMapping:
    """Return an event; raise `MissingError` where there is none, or none any more."""
    mine = select(_event).where(_event.c.uid == name, _event.c.merchant_id == merchant_id)
    row: RowMapping | None = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no event {name}")
    return row


async def send_again(session: AsyncSession, event: RowMapping, endpoint: RowMapping) -> RowMapping:
    """Queue an event once more for an endpoint, or for the first time, with all its tries; return the delivery."""
    _check_enabled(endpoint)
    row = new_row(WebhookDelivery, event_id=event["id"], endpoint_id=endpoint["id"]) | {"next_try_at": after_s()}
    await session.execute(insert_unless(session, _delivery, ["event_id", "endpoint_id"]).values(**row))
    mine = (_delivery.c.event_id == event["id"]) & (_delivery.c.endpoint_id == endpoint["id"])
    fresh = {"state": DeliveryState.QUEUED, "tries": 0, "next_try_at": after_s(), "delivered_at": None}
    await session.execute(update(_delivery).where(mine).values(**fresh))
    await end_tasks(session, ["webhook_event"], [event["uid"]])
    return (await session.execute(DELIVERIES.where(mine))).mappings().one()


async def forget_events(ctx: Context) -> None:
    """Forget what happened so long ago that it is told no more, a page at a time."""
    while await _forget_page(ctx):
        pass


async def _forget_page(ctx: Context) -> int:
    old: Select[Any] = select(_event.c.id).where(_event.c.created_at < after_s(-KEPT_S)).order_by(_event.c.id)
    async with ctx.store.write() as session:
        ids = (await session.execute(ctx.store.claim(old.limit(PAGE)))).scalars().all()
        if ids:
            await session.execute(delete(_delivery).where(_delivery.c.event_id.in_(ids)))
            await session.execute(delete(_event).where(_event.c.id.in_(ids)))
        return len(ids)


def _values(ctx: Context, wanted: Wanted) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if wanted.url is not None:
        try:
            check_url(wanted.url, private=ctx.webhooks_to_private)
        except BadUrlError as error:
            raise UnfitError("url", str(error)) from None
        values["url"] = wanted.url
    if wanted.types is not None:
        values["types"] = " ".join(sorted(set(wanted.types)))
    return values


def _check_enabled(endpoint: RowMapping) -> None:
    if endpoint["state"] != EndpointState.ENABLED:
        raise ConflictError(f"hook_{endpoint['id']} is {endpoint['state']}: enable it first")


async def _write(session: AsyncSession, row: RowMapping, values: dict[str, Any]) -> None:
    await session.execute(update(_endpoint).where(_endpoint.c.id == row["id"]).values(**values))
