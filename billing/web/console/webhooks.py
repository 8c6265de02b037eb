"""Webhooks: endpoints of the merchant's own that are told what happens, and what became of telling them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Path
from sqlalchemy import RowMapping, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.events import EventType
from billing.models import DeliveryState, EndpointState, Event, Role, WebhookDelivery, WebhookEndpoint, table
from billing.services import listening
from billing.services.listening import DELIVERIES, ENDPOINTS, OVERLAP_H_MAX, Wanted, find_endpoint, find_event
from billing.web.console.desk import Desk, Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Option, Values, whole
from billing.web.console.gate import Section
from billing.webhooks import URL_CHARS_MAX

router = Section("Webhooks", "/webhooks", of_settings=True)

Hook = Annotated[str, Path(pattern=r"^hook_[0-9]{1,18}$")]
EventName = Annotated[str, Path(pattern=r"^evt_[0-9a-f]{32}$")]

_endpoint, _event, _delivery = table(WebhookEndpoint), table(Event), table(WebhookDelivery)

# What can be asked for: of those that were delivered there are so many that they are found by what they are about.
STATES: Final = (DeliveryState.QUEUED, DeliveryState.FAILED)
# A test is told to the endpoint that is tried out, whatever it listens to.
TYPES: Final = tuple(each for each in EventType if each is not EventType.WEBHOOK_TEST)

_FORM: Final = Form.of(
    Field("url", "Address", hint="It begins with https:// and is on the internet.", chars_max=URL_CHARS_MAX),
    Field(
        "told",
        "What it is told of",
        "choice",
        options=(
            Option("all", "Everything", "Also kinds of event that come later."),
            Option("some", "What is chosen here", "Nothing else is sent to it."),
        ),
    ),
    *(Field(each, each, "check") for each in TYPES),
)
_ROTATE: Final = Form.of(
    Field(
        "hours",
        "The old one signs as well for",
        "number",
        "So long you can change over; 0 ends it at once.",
        read=whole(0, OVERLAP_H_MAX),
        affix="hours",
        chars_max=3,
    )
)


# --- endpoints --------------------------------------------------------------


@router.page("/webhooks", Role.VIEWER)
async def list_endpoints(desk: Seated) -> Response:
    """Show the endpoints, each with what became of the latest event for it."""
    mine = _delivery.c.endpoint_id == _endpoint.c.id
    latest = select(func.max(_delivery.c.id)).where(mine).correlate(_endpoint).scalar_subquery()
    told = (_delivery.c.state.label("told"), _delivery.c.status, _delivery.c.tried_at)
    query = ENDPOINTS.add_columns(*told).select_from(_endpoint.outerjoin(_delivery, _delivery.c.id == latest))
    query = query.where(_endpoint.c.merchant_id == desk.merchant_id).order_by(_endpoint.c.id.desc())
    async with desk.ctx.store.read() as session:
        rows = (await session.execute(query)).mappings().all()
    return desk.show("webhooks.html", rows=rows)


@router.page("/webhooks/new", Role.ADMIN)
async def ask_endpoint(desk: Seated) -> Response:
    """Ask where an endpoint is, and what it is to be told of."""
    return desk.show("webhook_new.html", draft=_FORM.blank(told="all"), types=TYPES)


@router.action("/webhooks/new", Role.ADMIN)
async def make_endpoint(desk: Seated) -> Response:
    """Make an endpoint, and show the secret that its events are signed with, once."""
    number, secret = 0, ""

    async def effect(session: AsyncSession, values: Values) -> None:
        nonlocal number, secret
        number, secret = await listening.listen(desk.ctx, session, desk.merchant_id, _wanted(values))
        await desk.note(session, "make_endpoint", f"hook_{number}", **_noted(values))

    draft = await desk.attempt(_read(desk), effect)
    if draft.is_wrong:
        return desk.show("webhook_new.html", draft=draft, types=TYPES)
    return desk.show("webhook_secret.html", name=f"hook_{number}", secret=secret, hours=None)


@router.page("/webhooks/{hook}", Role.VIEWER)
async def show_endpoint(desk: Seated, hook: Hook) -> Response:
    """Show one endpoint, and what became of each event for it, the newest first."""
    state = desk.asked("state")
    log = DELIVERIES.add_columns(_event.c.type, _event.c.subject, _event.c.happened_at)
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, hook)
        log = log.where(_delivery.c.endpoint_id == row["id"])
        if state in STATES:
            # Named in the statement itself, so that the indexes of these states alone serve it.
            log = log.where(_delivery.c.state == literal_column(f"'{state}'"))
        part = await part_of(desk, session, log, _delivery.c.id)
    known: dict[str, Any] = {"part": part, "state": state, "states": STATES, "types": row["types"].split()}
    is_enabled = row["state"] == EndpointState.ENABLED
    return desk.show("webhook.html", row=row, name=hook, is_enabled=is_enabled, **known)


@router.page("/webhooks/{hook}/edit", Role.ADMIN)
async def ask_change(desk: Seated, hook: Hook) -> Response:
    """Show where an endpoint is, and what it is told of."""
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, hook)
    types = row["types"].split()
    typed = {"url": row["url"], "told": "some" if types else "all"} | dict.fromkeys(types, "yes")
    return desk.show("webhook_edit.html", name=hook, draft=_FORM.blank(**typed), types=TYPES)


@router.action("/webhooks/{hook}/edit", Role.ADMIN)
async def change_endpoint(desk: Seated, hook: Hook) -> Response:
    """Change where an endpoint is, and what it is told of from now on."""

    async def effect(session: AsyncSession, values: Values) -> None:
        await listening.change_endpoint(desk.ctx, session, await _locked(desk, session, hook), _wanted(values))
        await desk.note(session, "change_endpoint", hook, **_noted(values))

    draft = await desk.attempt(_read(desk), effect)
    if draft.is_wrong:
        return desk.show("webhook_edit.html", name=hook, draft=draft, types=TYPES)
    return desk.done(f"/webhooks/{hook}", "Saved. What still waits for it goes there as well.")


@router.page("/webhooks/{hook}/rotate", Role.ADMIN)
async def ask_overlap(desk: Seated, hook: Hook) -> Response:
    """Ask how long the old secret is to sign as well."""
    async with desk.ctx.store.read() as session:
        await _found(desk, session, hook)
    return desk.show("webhook_rotate.html", name=hook, draft=_ROTATE.blank(hours="24"))


@router.action("/webhooks/{hook}/rotate", Role.ADMIN)
async def rotate_secret(desk: Seated, hook: Hook) -> Response:
    """Give an endpoint a new secret and show it, once; the old one signs as well while you change over."""
    secret = ""

    async def effect(session: AsyncSession, values: Values) -> None:
        nonlocal secret
        row = await _locked(desk, session, hook)
        secret = await listening.rotate_secret(desk.ctx, session, row, hours=values["hours"])
        await desk.note(session, "rotate_secret", hook, hours=values["hours"])

    draft = await desk.attempt(_ROTATE.read(desk.typed), effect)
    if draft.is_wrong:
        return desk.show("webhook_rotate.html", name=hook, draft=draft)
    return desk.show("webhook_secret.html", name=hook, secret=secret, hours=draft.values["hours"])


@router.action("/webhooks/{hook}/disable", Role.OPERATOR)
async def disable(desk: Seated, hook: Hook) -> Response:
    """Tell an endpoint nothing for now; what happens waits for it."""
    await _switch(desk, hook, on=False)
    return desk.done(f"/webhooks/{hook}", "Nothing is sent there now. What happens waits for it, for 30 days.")


@router.action("/webhooks/{hook}/enable", Role.OPERATOR)
async def enable(desk: Seated, hook: Hook) -> Response:
    """Tell an endpoint what happens again, and first what waited for it."""
    await _switch(desk, hook, on=True)
    return desk.done(f"/webhooks/{hook}", "It is told again what happens, and first what waited for it.")


async def _switch(desk: Desk, hook: str, *, on: bool) -> None:
    async with desk.ctx.store.write() as session:
        row = await _locked(desk, session, hook)
        await listening.change_endpoint(desk.ctx, session, row, Wanted(enabled=on))
        await desk.note(session, "enable_endpoint" if on else "disable_endpoint", hook)


@router.action("/webhooks/{hook}/delete", Role.ADMIN)
async def delete_endpoint(desk: Seated, hook: Hook) -> Response:
    """Tell an endpoint nothing more, and forget its secrets."""
    async with desk.ctx.store.write() as session:
        await listening.delete_endpoint(session, await _locked(desk, session, hook))
        await desk.note(session, "delete_endpoint", hook)
    return desk.done("/webhooks", f"{hook} is told nothing more.")


@router.action("/webhooks/{hook}/test", Role.OPERATOR)
async def send_test(desk: Seated, hook: Hook) -> Response:
    """Send an event `webhook.test` to this endpoint alone."""
    async with desk.ctx.store.write() as session:
        name = await listening.try_out(desk.ctx, session, await _locked(desk, session, hook))
        await desk.note(session, "send_test", hook, event=name)
    return desk.done(f"/webhooks/events/{name}", "It goes out within seconds. Load this page again to see the answer.")


# --- events -----------------------------------------------------------------


@router.page("/webhooks/events/{event}", Role.VIEWER)
async def show_event(desk: Seated, event: EventName) -> Response:
    """Show what happened as it is told, and what became of it at each endpoint."""
    async with desk.ctx.store.read() as session:
        row = await find_event(session, desk.merchant_id, event)
        its = (_delivery.c.endpoint_id == _endpoint.c.id) & (_delivery.c.event_id == row["id"])
        names = ("tries", "next_try_at", "tried_at", "status", "answer", "delivered_at")
        told = [_delivery.c.state.label("told"), *(_delivery.c[name] for name in names)]
        query = ENDPOINTS.add_columns(*told).select_from(_endpoint.outerjoin(_delivery, its))
        query = query.where(_endpoint.c.merchant_id == desk.merchant_id).order_by(_endpoint.c.id.desc())
        endpoints = (await session.execute(query)).mappings().all()
    data = json.dumps(json.loads(row["data"]), indent=2, ensure_ascii=False)
    return desk.show("webhook_event.html", row=row, endpoints=endpoints, data=data)


@router.action("/webhooks/{hook}/events/{event}/again", Role.OPERATOR)
async def deliver_again(desk: Seated, hook: Hook, event: EventName) -> Response:
    """Send an event once more to an endpoint, or for the first time, under the same name."""
    async with desk.ctx.store.write() as session:
        endpoint = await _locked(desk, session, hook)
        await listening.send_again(session, await find_event(session, desk.merchant_id, event), endpoint)
        await desk.note(session, "deliver_again", hook, event=event)
    return desk.done(f"/webhooks/events/{event}", f"It goes to {hook} within seconds, under the same name.")


# --- pieces -----------------------------------------------------------------


def _read(desk: Desk) -> Draft:
    draft = _FORM.read(desk.typed)
    if draft.values.get("told") == "some" and not any(draft.values[each] for each in TYPES):
        return draft.wrong("told", "Choose at least one kind of event.")
    return draft


def _wanted(values: Values) -> Wanted:
    """Return what is wanted of an endpoint; no type at all means every one."""
    return Wanted(values["url"], [each for each in TYPES if values["told"] == "some" and values[each]])


def _noted(values: Values) -> Mapping[str, str]:
    """Return what is recorded of an endpoint: its host alone, since there are addresses with a password in them."""
    return {"host": urlsplit(values["url"]).hostname or "", "types": " ".join(_wanted(values).types or ()) or "all"}


async def _found(desk: Desk, session: AsyncSession, hook: str) -> RowMapping:
    return await find_endpoint(session, desk.merchant_id, _number(hook))


async def _locked(desk: Desk, session: AsyncSession, hook: str) -> RowMapping:
    return await find_endpoint(session, desk.merchant_id, _number(hook), desk.ctx)


def _number(hook: str) -> int:
    return int(hook.rpartition("_")[2])
