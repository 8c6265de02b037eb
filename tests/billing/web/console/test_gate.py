"""Who may do what in the console: every route of the table, for every role, signed out, and at another merchant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from billing.models import ConsoleSession, Event, GatewayAccount, Plan, Price, Role, table
from billing.services.listening import find_endpoint, try_out
from billing.web.app import create_app
from billing.web.console.app import DOORS, SECTIONS, create_console, doors
from billing.web.console.gate import Open, safe_next
from tests.billing.services.story import subscribed
from tests.billing.services.support import World
from tests.billing.web.console.routes import Route, routes
from tests.billing.web.console.support import (
    PASSWORD,
    PUBLIC,
    Browser,
    at_https,
    browser,
    csrf_in,
    make_user,
    signed_in,
    whole_app,
)

ROUTES = routes()
OF_MERCHANTS = [route for route in ROUTES if isinstance(route.need, Role)]
POSTS = [route for route in ROUTES if route.verb == "POST"]

# What a route may name; one that names anything else must be given a name here, one that another merchant has.
THEIRS: dict[str, str] = {"user": "1", "token": "1.1.1", "run": "run_1", "plan": "theirs", "price": "theirs"}
THEIRS |= {"account": "theirs", "gateway": "theirs", "prefix": "theirs"}
THEIRS |= {"doubt": "att_1", "task": "task_1", "notification": "not_1", "mail": "msg_1"}
THEIRS |= {"customer": "K1", "profile": "1", "subscription": "S1", "invoice": "NA-1", "attempt": "INV-1"}
THEIRS |= {"hook": "hook_1", "event": f"evt_{'5' * 32}"}


def test_every_route_declares_what_it_needs_and_is_only_read_or_sent() -> None:
    assert {route.verb for route in ROUTES} == {"GET", "POST"}
    for route in OF_MERCHANTS:
        assert route.path.startswith("/{merchant}"), route
    for route in set(ROUTES) - set(OF_MERCHANTS):
        assert "{merchant}" not in route.path, route


def test_no_route_of_the_application_was_declared_another_way() -> None:
    declared = [route for module in (*DOORS, *SECTIONS) for route in module.router.routes]
    assert all(isinstance(route, APIRoute) for route in declared)
    assert len(declared) == len(ROUTES)


def test_no_page_without_a_merchant_begins_with_what_a_merchant_could_be_called() -> None:
    first = {route.path.split("/")[1] for route in set(ROUTES) - set(OF_MERCHANTS)} - {""}
    assert first == doors() == {"account", "password", "second-factor", "set-up", "sign-in", "sign-out"}
    assert not any("{" in word for word in first)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.need is not Open.ANYBODY], ids=str)
async def test_who_is_not_signed_in_is_asked_to_and_changes_nothing(lite: World, route: Route) -> None:
    app, before = whole_app(lite), await everything(lite)
    answer = await ask(browser(app, lite), route, "nordlicht")
    where = answer.headers["location"]
    assert (answer.status_code, where.partition("?")[0]) == (303, "/console/sign-in")
    assert await everything(lite) == before


@pytest.mark.parametrize("route", [r for r in ROUTES if r.need not in (Open.ANYBODY, Open.CODE)], ids=str)
async def test_a_session_that_waits_for_its_code_opens_nothing_else(lite: World, route: Route) -> None:
    who = await signed_in(lite, whole_app(lite), waits=True)
    answer = await ask(who, route, "nordlicht")
    assert answer.headers["location"].partition("?")[0] == "/console/second-factor"


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("route", OF_MERCHANTS, ids=str)
async def test_a_route_opens_for_its_role_and_those_above_it_alone(lite: World, route: Route, role: Role) -> None:
    assert isinstance(route.need, Role)
    who, before = await signed_in(lite, whole_app(lite), role), await everything(lite)
    answer = await ask(who, route, "nordlicht", user=str(who.user_id))
    if role.includes(route.need):
        assert answer.status_code not in (403, 500)
    else:
        assert answer.status_code == 403
        assert "Nothing was changed" in answer.text
        assert await everything(lite) == before


@pytest.mark.parametrize("route", OF_MERCHANTS, ids=str)
async def test_a_merchant_for_whom_one_does_not_work_is_not_there(lite: World, route: Route) -> None:
    other = await lite.beside("ostwind")
    await make_user(lite, merchant_id=other.merchant_id, name="Theirs")
    who, before = await signed_in(lite, whole_app(lite)), await everything(lite)
    theirs, nobodys = await ask(who, route, "ostwind"), await ask(who, route, "nobody")
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.text.replace("ostwind", "") == nobodys.text.replace("nobody", "")
    assert await everything(lite) == before


@pytest.mark.parametrize("route", [route for route in OF_MERCHANTS if route.names], ids=str)
async def test_what_is_another_merchants_is_not_found_at_ones_own(lite: World, route: Route) -> None:
    other = await lite.beside("ostwind")
    await make_user(lite, merchant_id=other.merchant_id, name="Theirs")
    await lite.change(Plan, 2, reference="theirs", name="Theirs")
    await lite.change(Price, 4, reference="theirs", title="Theirs")
    await lite.change(GatewayAccount, 2, reference="theirs")
    hook_id, _ = await subscribed(other, url="https://shop.example/Theirs")
    async with other.store.write() as session:
        await try_out(other.ctx, session, await find_endpoint(session, other.merchant_id, hook_id))
    await lite.change(Event, 1, uid=THEIRS["event"], subject="Theirs")
    who, before = await signed_in(lite, whole_app(lite)), await everything(lite)
    answer = await ask(who, route, "nordlicht")
    assert answer.status_code in (404, 422)
    assert "Theirs" not in answer.text
    assert await everything(lite) == before


@pytest.mark.parametrize("forged", ["no token", "wrong token", "another session's", "another site", "no word of where"])
@pytest.mark.parametrize("route", POSTS, ids=str)
async def test_a_forged_form_is_refused_and_changes_nothing(lite: World, route: Route, forged: str) -> None:
    app = whole_app(lite)
    waits = route.need is Open.CODE
    who, other = await signed_in(lite, app, waits=waits), await signed_in(lite, app)
    before = await everything(lite)
    csrf = {"no token": "", "wrong token": "0" * 32, "another session's": other.csrf}.get(forged, who.csrf)
    if forged == "another site":
        who.http.headers.update({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
    if forged == "no word of where":
        del who.http.headers["Origin"], who.http.headers["Sec-Fetch-Site"]
    answer = await ask(who, route, "nordlicht", csrf=csrf)
    assert answer.status_code == 403
    assert "Nothing was changed" in answer.text
    assert await everything(lite) == before


@pytest.mark.parametrize(
    ("said", "is_let_in"),
    [
        ({"Origin": PUBLIC}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "null"}, False),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, False),
        ({"Origin": "https://pay.example.evil.example"}, False),
        ({"Origin": PUBLIC, "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": PUBLIC, "Sec-Fetch-Site": "none"}, False),
    ],
)
async def test_a_form_counts_as_sent_from_here_only_if_the_browser_says_so(
    lite: World, said: dict[str, str], is_let_in: bool
) -> None:
    who = await signed_in(lite, whole_app(lite))
    del who.http.headers["Origin"], who.http.headers["Sec-Fetch-Site"]
    who.http.headers.update(said)
    assert ((await who.send("/sign-out")).status_code == 303) == is_let_in


@pytest.mark.parametrize("base", [PUBLIC, "http://127.0.0.1:8000"])
async def test_cookies_are_for_this_host_and_no_script(lite: World, base: str) -> None:
    ctx = replace(lite.ctx, links=replace(lite.ctx.links, public_url=base))
    await make_user(lite, email="anna@example.net")
    who = browser(create_app(ctx), lite, base)
    csrf = csrf_in(await who.get("/sign-in"))
    typed = {"csrf": csrf, "email": "anna@example.net", "password": PASSWORD}
    answer = await who.http.post("/console/sign-in", data=typed)
    [cookie] = [each for each in answer.headers.get_list("set-cookie") if "turnus-session" in each]
    words = {word.strip().lower() for word in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= words
    assert not any(word.startswith("domain") for word in words)
    assert ("secure" in words) == cookie.startswith("__Host-turnus-session=") == (base == PUBLIC)


async def test_every_page_carries_the_strict_policy(lite_admin: Browser) -> None:
    for path in ("/console/nordlicht", "/console/sign-in", "/console/nobody", "/console/nordlicht/nothing"):
        headers = (await lite_admin.http.get(path)).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/console/",
        "//evil.example/console/",
        "/\\evil.example/console/",
        "/console/\\evil.example",
        "/console/..//evil.example",
        "/console//evil.example",
        "/console/%2e%2e/mailbox",
        "/console/%5cevil",
        "/console/a/../../p/x",
        "/consoleevil/",
        "console/x",
        "/mailbox",
        "javascript:alert(1)",
        "/console/x\n/y",
        "/console/\u2215evil",
        "http:/console/x",
        "",
    ],
)
def test_one_is_led_on_to_no_page_but_the_consoles(url: str) -> None:
    assert safe_next(url) == "/console/"


@pytest.mark.parametrize("url", ["/console/nordlicht", "/console/nordlicht/audit?actor=a%40b&before=7"])
def test_one_is_led_back_to_the_page_that_was_asked_for(url: str) -> None:
    assert safe_next(url) == url


async def test_what_breaks_is_told_by_a_reference_alone(lite: World) -> None:
    app = create_console(at_https(lite.ctx))

    async def broken() -> None:
        raise RuntimeError("the secret of the house")

    app.add_api_route("/broken/by/us", broken)
    whole = FastAPI()
    whole.mount("/console", app)
    page = await browser(whole, lite).get("/broken/by/us", 500)
    assert "the secret of the house" not in page
    assert "It was noted as" in page


async def ask(who: Browser, route: Route, merchant: str, *, csrf: str | None = None, **names: str) -> Any:
    """Call a route with names that another merchant has, or these."""
    path = f"/console{route.at(merchant, **(THEIRS | names))}"
    if route.verb == "GET":
        return await who.http.get(path)
    return await who.http.post(path, data={"csrf": who.csrf if csrf is None else csrf})


async def everything(world: World) -> Any:
    """Return every row there is, save what tells that somebody looked."""
    return await world.everything(table(ConsoleSession).name)
