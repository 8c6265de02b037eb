"""What happened, as those who listen are told of it, and what became of telling them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.events import EventType
from billing.models import DeliveryState, Event, WebhookDelivery, table
from billing.services.listening import DELIVERIES, find_endpoint, find_event, send_again
from billing.web.api.bodies import PLAIN, EndpointName, EventName, Given, Instant, Page, Shown, example, number_in
from billing.web.api.calls import Answer, Listing, Making, Showing
from billing.web.api.paging import Paged, PlainPaged, list_page

router = APIRouter(tags=["events"])

_event, _delivery = table(Event), table(WebhookDelivery)
_NAME: Final = "evt_5f0c7d1e9a3b4c6d8e2f1a0b9c8d7e6f"
_EVENT: Final[dict[str, Any]] = {
    "id": _NAME,
    "type": "profile.failed",
    "subject": "pro_3",
    "happened_at": "2026-11-25T01:10:00Z",
    "data": {"id": "pro_3", "customer": "C1001", "state": "failed", "kind": "card", "brand": "Visa", "last4": "4242"},
    "created_at": "2026-11-25T01:10:00Z",
}
_DELIVERY: Final[dict[str, Any]] = {
    "event": _NAME,
    "endpoint": "hook_3",
    "state": "delivered",
    "tries": 2,
    "next_try_at": None,
    "tried_at": "2026-11-25T01:10:09Z",
    "status": 200,
    "answer": "ok",
    "delivered_at": "2026-11-25T01:10:09Z",
}

EventPath = Annotated[EventName, Path()]


class ShownEvent(Shown):
    """Something that happened; `data` is the thing as the API showed it at that moment."""

    model_config = Shown.model_config | example(**_EVENT)
    id: str
    type: EventType
    subject: str
    happened_at: Instant
    data: dict[str, Any]
    created_at: Instant


class ShownDelivery(Shown):
    """An event on its way to an endpoint: what the last try was answered, and when the next one is."""

    model_config = Shown.model_config | example(**_DELIVERY)
    event: str
    endpoint: str
    state: DeliveryState
    tries: int
    next_try_at: Instant | None
    tried_at: Instant | None
    status: int | None
    answer: str
    delivered_at: Instant | None


class Redelivery(Given):
    """Who is to hear of an event once more, or for the first time."""

    model_config = Given.model_config | example(endpoint="hook_1")
    endpoint: EndpointName


def show_event(row: RowMapping) -> ShownEvent:
    """Return an event as callers see it."""
    made = {"id": row["uid"], "data": json.loads(row["data"])}
    return ShownEvent(**made, **{name: row[name] for name in ShownEvent.model_fields if name not in made})


def show_delivery(row: RowMapping) -> ShownDelivery:
    """Return a delivery as callers see it."""
    waits = row["state"] == DeliveryState.QUEUED
    made = {"endpoint": f"hook_{row['endpoint_id']}", "next_try_at": row["next_try_at"] if waits else None}
    return ShownDelivery(**made, **{name: row[name] for name in ShownDelivery.model_fields if name not in made})


@router.get("/events", response_model=Page[ShownEvent])
async def list_events(
    call: Listing,
    paging: Paged,
    type_: Annotated[EventType | None, Query(alias="type", description="Only these.")] = None,
    subject: Annotated[str, Query(max_length=60, description="Only those about this, such as inv_12."), PLAIN] = "",
) -> Response:
    """List what somebody was to be told of, for as long as it is kept."""
    mine = select(_event).where(_event.c.merchant_id == call.merchant_id)
    for column, wanted in ((_event.c.type, type_), (_event.c.subject, subject)):
        mine = mine.where(column == wanted) if wanted else mine
    return await list_page(call, paging, mine, show_event, _event.c.id, _event.c.created_at)


@router.get("/events/{event}", response_model=ShownEvent)
async def get_event(call: Showing, event: EventPath) -> Response:
    """Show one event."""
    async with call.ctx.store.read() as session:
        return call.show(show_event(await find_event(session, call.merchant_id, event)))


@router.get("/events/{event}/deliveries", response_model=Page[ShownDelivery])
async def list_deliveries(call: Listing, paging: PlainPaged, event: EventPath) -> Response:
    """List what became of an event at each endpoint that was to hear of it."""
    async with call.ctx.store.read() as session:
        row = await find_event(session, call.merchant_id, event)
    mine = DELIVERIES.where(_delivery.c.event_id == row["id"])
    return await list_page(call, paging, mine, show_delivery, _delivery.c.id)


@router.post("/events/{event}/deliveries", status_code=201, response_model=ShownDelivery)
async def deliver_again(call: Making, event: EventPath, body: Redelivery) -> Response:
    """Queue an event once more for an endpoint, under the same name, whether it was delivered before or not."""

    async def effect(session: AsyncSession) -> Answer:
        endpoint = await find_endpoint(session, call.merchant_id, number_in(body.endpoint), call.ctx)
        row = await send_again(session, await find_event(session, call.merchant_id, event), endpoint)
        return Answer(show_delivery(row), 201, f"/events/{event}/deliveries")

    return await call.once(effect)
