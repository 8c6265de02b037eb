"""Who may do what: every route of the table, without a key, without the scope, and with another merchant's key."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import insert

from billing.models import (
    Attempt,
    Event,
    GatewayAccount,
    Merchant,
    Notification,
    Scope,
    Task,
    WebhookDelivery,
    new_row,
    table,
)
from billing.services.verifying import offer_renewal
from billing.web.api.app import NOUNS, create_api
from jobs.billing_run import run_all
from tests.billing.services.support import START, World, decline
from tests.billing.web.api.routes import SCOPES, Route, routes
from tests.billing.web.api.support import Caller, caller, client, whole_app

API = create_api(None)  # type: ignore[arg-type]  # nothing is called: only its routes are looked at
ROUTES = routes(API)

# What one merchant has; a route that names anything else must be given a name here.
THEIRS: dict[str, Any] = {
    "plan": "theirs",
    "price": "p",
    "customer": "C9",
    "subscription": "S9",
    "profile": "pro_1",
    "invoice": "inv_1",
    "attempt": "att_1",
    "operation": "op_1",
    "link": "link_1",
    "task": "task_1",
    "run": "run_1",
    "notification": "not_1",
    "verification": "ver_1",
    "account": "theirs-bank",
    "name": "S9",
    "endpoint": "hook_1",
    "event": "evt_" + "0" * 32,
}


def test_every_route_is_in_the_document_and_declares_one_scope() -> None:
    declared = {
        (verb, route.path)
        for noun in NOUNS
        for route in noun.router.routes
        if isinstance(route, APIRoute)
        for verb in route.methods or ()
    }
    assert {(route.verb, route.path) for route in ROUTES} == declared
    assert {route.scope for route in ROUTES} <= set(SCOPES)
    for route in ROUTES:
        assert (route.verb == "GET") == (route.scope == "read"), route


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_without_a_key_it_is_401(lite: World, route: Route) -> None:
    http = client(whole_app(lite.ctx))
    Caller.told(await http.request(route.verb, route.at(**THEIRS)), 401)


@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_without_the_scope_it_is_403_and_with_it_it_is_not(lite: World, route: Route) -> None:
    app = whole_app(lite.ctx)
    others = [Scope(scope) for scope in SCOPES if scope != route.scope]
    headers = {"Idempotency-Key": "k"} if route.needs_key else {}
    without = await caller(lite, app, *others, headers=headers)
    problem = Caller.told(await without.ask(route.verb, route.at(**THEIRS), route.example), 403)
    assert route.scope in problem["detail"]
    having = await caller(lite, app, Scope(route.scope), headers=headers)
    answer = await having.ask(route.verb, route.at(**THEIRS), route.example)
    assert answer.status_code not in (401, 403)


async def everything_of(world: World, them: Caller) -> None:
    """Give a merchant one of everything that a route can name: an invoice is declined, another paid and given back."""
    await them.post("/plans", {"reference": "theirs", "name": "Theirs"})
    price = {"reference": "p", "title": "Theirs", "amount": {"amount_minor": 1990, "currency": "EUR"}}
    await them.post("/plans/theirs/prices", price)
    await them.post("/customers", {"reference": "C9", "name": "Theirs", "email": "theirs@example.net"})
    them_all = {"customer": "C9", "name": "Theirs", "email": "theirs@example.net"}
    await world.subscribe(1, subscription="S9", **them_all)
    await world.subscribe(1, subscription="S10", **them_all)
    world.bank.on("P1", decline())
    [merchant] = await world.rows(Merchant, id=world.merchant_id)
    await run_all(world.ctx, merchant=merchant["reference"])
    await them.post("/webhook-endpoints", {"url": "https://theirs.example/hooks"})
    paid = next(row["id"] for row in await world.rows(Attempt, state="approved"))
    await them.post(f"/attempts/att_{paid}/refunds", {}, Idempotency_Key="refund")
    task = {"merchant_id": world.merchant_id, "kind": "profile", "subject": "cus_1", "reason": "Theirs"}
    async with world.store.write() as session:
        await session.execute(insert(table(Task)).values(**task, state="open", created_at=START))
        bank = {"merchant_id": world.merchant_id, "reference": "theirs-bank", "gateway": "bank"}
        sealed = world.ctx.vault.seal("{}")
        account = insert(table(GatewayAccount)).values(
            **bank, sealed_credentials=sealed, state="open", stopped_reason=""
        )
        account_id = (await session.execute(account.returning(table(GatewayAccount).c.id))).scalar_one()
        about = {"gateway_account_id": account_id, "digest": "0", "method": "GET", "state": "open"}
        await session.execute(insert(table(Notification)).values(new_row(Notification, **about, received_at=START)))
        happened = {"id": 900, "merchant_id": world.merchant_id, "uid": THEIRS["event"], "type": "invoice.paid"}
        told = happened | {"subject": "inv_1", "data": "{}", "happened_at": START, "created_at": START}
        await session.execute(insert(table(Event)).values(**told))
        queued = new_row(WebhookDelivery, event_id=900, endpoint_id=1, next_try_at=START)
        await session.execute(insert(table(WebhookDelivery)).values(queued))
    await offer_renewal(world.ctx, "S9", mail=False)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.names], ids=str)
async def test_what_is_another_merchants_is_not_there_and_stays_as_it_is(lite: World, route: Route) -> None:
    app = whole_app(lite.ctx)
    other = await lite.beside("ostwind")
    them = await caller(other, app, merchant_id=other.merchant_id)
    await everything_of(other, them)
    before = await snapshot(other)
    headers = {"Idempotency-Key": "k"} if route.needs_key else {}
    me = await caller(lite, app, headers=headers)

    theirs = await me.ask(route.verb, route.at(**THEIRS), route.example)

    told = Caller.told(theirs, 404)
    assert await snapshot(other) == before
    nobodys = await me.ask(route.verb, route.at(**dict.fromkeys(THEIRS, "nobody-7")), route.example)
    assert (Caller.told(nobodys, 404)["type"], nobodys.status_code) == (told["type"], 404)
    mine = await them.ask(route.verb, route.at(**THEIRS), route.example, **{"Idempotency-Key": "k"})
    assert mine.status_code != 404, mine.text


@pytest.mark.parametrize("route", [r for r in ROUTES if r.verb == "GET" and not r.names], ids=str)
async def test_lists_show_nothing_of_another_merchant(lite: World, route: Route) -> None:
    app = whole_app(lite.ctx)
    other = await lite.beside("ostwind")
    them = await caller(other, app, merchant_id=other.merchant_id)
    await everything_of(other, them)
    me = await caller(lite, app)
    for each in ("Theirs", "theirs", "C9", "ostwind"):
        assert each not in (await me.http.get(route.path)).text


async def snapshot(world: World) -> Any:
    """Return every row there is, save what tells that somebody called."""
    return await world.everything("api_key", "idempotency")
