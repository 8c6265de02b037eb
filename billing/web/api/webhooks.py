"""Endpoints of the merchant's own that are told what happens."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import Field
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.events import EventType
from billing.models import EndpointState, WebhookEndpoint, table
from billing.services import listening
from billing.services.listening import ENDPOINTS, OVERLAP_H_MAX, find_endpoint
from billing.web.api.bodies import PLAIN, EndpointName, Given, Instant, Page, Shown, example, number_in
from billing.web.api.calls import Answer, Call, Changing, Listing, Making, Showing
from billing.web.api.events import ShownEvent, show_event
from billing.web.api.paging import Paged, list_page
from billing.webhooks import URL_CHARS_MAX

router = APIRouter(tags=["webhooks"])

_endpoint = table(WebhookEndpoint)
_WANTED: Final[dict[str, Any]] = {"url": "https://shop.example/hooks", "types": ["invoice.paid", "attempt.declined"]}
_SECRET: Final = "whsec_" + "QUFB" * 10 + "QUE="  # of the letter A, and so plainly nobody's
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "hook_3",
    **_WANTED,
    "state": "enabled",
    "reason": "",
    "failing_since": None,
    "old_secret_until": None,
    "created_at": "2026-11-25T09:30:00Z",
}
_OPENED: Final[dict[str, Any]] = _EXAMPLE | {"secret": _SECRET}

EndpointPath = Annotated[EndpointName, Path()]
Url = Annotated[str, Field(min_length=1, max_length=URL_CHARS_MAX, description="It begins with https://."), PLAIN]
Types = Annotated[list[EventType], Field(max_length=len(EventType), description="What it is told of; none means all.")]


class NewEndpoint(Given):
    """An endpoint to be."""

    model_config = Given.model_config | example(**_WANTED)
    url: Url
    types: Types = Field(default_factory=list)


class EndpointChange(Given):
    """What is to be changed of an endpoint; what is left out stays. What waited for it is sent once it is enabled."""

    model_config = Given.model_config | example(enabled=True)
    url: Url | None = None
    types: Types | None = None
    enabled: bool | None = None


class Rotation(Given):
    """How long the old secret signs beside the new one."""

    model_config = Given.model_config | example(overlap_hours=24)
    overlap_hours: Annotated[int, Field(ge=0, le=OVERLAP_H_MAX)] = 24


class ShownEndpoint(Shown):
    """An endpoint. One that has `failed` took nothing for days, or said that it is gone; `reason` tells which."""

    model_config = Shown.model_config | example(**_EXAMPLE)
    id: str
    url: str
    types: list[EventType]
    state: EndpointState
    reason: str
    failing_since: Instant | None
    old_secret_until: Instant | None
    created_at: Instant


class OpenedEndpoint(ShownEndpoint):
    """An endpoint with its secret, which is shown this once."""

    model_config = Shown.model_config | example(**_OPENED)
    secret: str


def show_endpoint(row: RowMapping) -> ShownEndpoint:
    """Return an endpoint as callers see it, without its secret."""
    return ShownEndpoint(**_known(row))


def _known(row: RowMapping) -> dict[str, Any]:
    made = {"id": f"hook_{row['id']}", "types": row["types"].split()}
    return made | {name: row[name] for name in ShownEndpoint.model_fields if name not in made}


@router.get("/webhook-endpoints", response_model=Page[ShownEndpoint])
async def list_endpoints(call: Listing, paging: Paged) -> Response:
    """List the endpoints."""
    mine = ENDPOINTS.where(_endpoint.c.merchant_id == call.merchant_id)
    return await list_page(call, paging, mine, show_endpoint, _endpoint.c.id, _endpoint.c.created_at)


@router.post("/webhook-endpoints", status_code=201, response_model=OpenedEndpoint)
async def make_endpoint(call: Making, body: NewEndpoint) -> Response:
    """Make an endpoint, and show the secret that its events are signed with, once."""

    async def effect(session: AsyncSession) -> Answer:
        wanted = listening.Wanted(body.url, body.types)
        number, secret = await listening.listen(call.ctx, session, call.merchant_id, wanted)
        row = await find_endpoint(session, call.merchant_id, number)
        return Answer(OpenedEndpoint(**_known(row), secret=secret), 201, f"/webhook-endpoints/hook_{number}")

    return await call.once(effect)


@router.get("/webhook-endpoints/{endpoint}", response_model=ShownEndpoint)
async def get_endpoint(call: Showing, endpoint: EndpointPath) -> Response:
    """Show one endpoint, without its secret."""
    async with call.ctx.store.read() as session:
        return call.show(show_endpoint(await find_endpoint(session, call.merchant_id, number_in(endpoint))))


@router.patch("/webhook-endpoints/{endpoint}", response_model=ShownEndpoint)
async def change_endpoint(call: Changing, endpoint: EndpointPath, body: EndpointChange) -> Response:
    """Change where an endpoint is and what it is told of, or switch it off or on."""

    async def effect(session: AsyncSession) -> Answer:
        row = await _locked(call, session, endpoint)
        call.expect(show_endpoint(row))
        await listening.change_endpoint(call.ctx, session, row, listening.Wanted(body.url, body.types, body.enabled))
        return Answer(show_endpoint(await find_endpoint(session, call.merchant_id, row["id"])))

    return await call.once(effect)


@router.delete("/webhook-endpoints/{endpoint}", response_model=ShownEndpoint)
async def delete_endpoint(call: Changing, endpoint: EndpointPath) -> Response:
    """Tell an endpoint nothing more; the answer shows it as it last was."""

    async def effect(session: AsyncSession) -> Answer:
        row = await _locked(call, session, endpoint)
        call.expect(show_endpoint(row))
        await listening.delete_endpoint(session, row)
        return Answer(show_endpoint(row))

    return await call.once(effect)


@router.post("/webhook-endpoints/{endpoint}/rotate-secret", status_code=201, response_model=OpenedEndpoint)
async def rotate_secret(call: Making, endpoint: EndpointPath, body: Rotation) -> Response:
    """Give an endpoint a new secret; the old one signs as well while you change over."""

    async def effect(session: AsyncSession) -> Answer:
        row = await _locked(call, session, endpoint)
        secret = await listening.rotate_secret(call.ctx, session, row, hours=body.overlap_hours)
        known = _known(await find_endpoint(session, call.merchant_id, row["id"]))
        return Answer(OpenedEndpoint(**known, secret=secret), 201, f"/webhook-endpoints/{endpoint}")

    return await call.once(effect)


@router.post("/webhook-endpoints/{endpoint}/test", status_code=201, response_model=ShownEvent)
async def send_test(call: Making, endpoint: EndpointPath) -> Response:
    """Queue an event `webhook.test` for this endpoint alone; its deliveries tell what became of it."""

    async def effect(session: AsyncSession) -> Answer:
        name = await listening.try_out(call.ctx, session, await _locked(call, session, endpoint))
        shown = show_event(await listening.find_event(session, call.merchant_id, name))
        return Answer(shown, 201, f"/events/{name}")

    return await call.once(effect)


async def _locked(call: Call, session: AsyncSession, endpoint: str) -> RowMapping:
    return await find_endpoint(session, call.merchant_id, number_in(endpoint), call.ctx)
