"""Webhook endpoints in the console: made, changed, tried out and switched off, and events sent once more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from billing.events import EventType
from billing.models import AuditEntry, Event, Role, WebhookDelivery, WebhookEndpoint
from billing.services.announcing import announce
from billing.services.listening import ENDPOINTS_MAX
from billing.services.tasking import NewTask, raise_tasks
from billing.webhooks import Heard
from tests.billing.services.story import URL, Listener, subscribed
from tests.billing.services.support import World, counted
from tests.billing.web.console.support import Browser, signed_in, whole_app

HERE = "/nordlicht/webhooks"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{44}")


async def verbs(world: World) -> list[tuple[str, str]]:
    return [(row["verb"], row["subject"]) for row in await world.rows(AuditEntry) if row["verb"] != "sign_in"]


async def happened(world: World, *types: EventType, url: str = URL) -> None:
    """Let hook_1 listen, and a customer pay."""
    await subscribed(world, *types, url=url)
    await world.subscribe()
    await world.run()


async def paid(world: World) -> str:
    [event] = await world.rows(Event, type=EventType.INVOICE_PAID)
    return str(event["uid"])


async def test_an_endpoint_is_added_and_its_secret_shown_once(world: World, admin: Browser) -> None:
    assert "No endpoint yet" in await admin.get(HERE)
    typed = {"url": URL, "told": "some", "invoice.paid": "yes", "attempt.declined": "yes"}
    page = await admin.post(f"{HERE}/new", 200, **typed)
    [secret] = SECRET.findall(page)
    [row] = await world.rows(WebhookEndpoint)
    assert world.ctx.vault.unseal(row["sealed_secret"]) == secret
    assert (row["url"], row["types"], row["state"]) == (URL, "attempt.declined invoice.paid", "enabled")
    shown = await admin.get(HERE) + await admin.get(f"{HERE}/hook_1") + await admin.get(f"{HERE}/hook_1/edit")
    assert "attempt.declined, invoice.paid" in shown
    assert not SECRET.search(shown)
    assert await verbs(world) == [("make_endpoint", "hook_1")]


async def test_no_secret_and_no_address_whole_is_in_the_audit_log(world: World, admin: Browser) -> None:
    page = await admin.post(f"{HERE}/new", 200, url=f"{URL}?token=of-the-shop", told="all")
    page += await admin.post(f"{HERE}/hook_1/rotate", 200, hours="2")
    details = str([entry["detail"] for entry in await world.rows(AuditEntry)])
    assert "shop.example" in details
    assert not any(said in details for said in (*SECRET.findall(page), "of-the-shop", "whsec_"))


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"url": ""}, "url", "This is needed."),
        ({"url": "http://shop.example/hooks"}, "url", "It begins with https://."),
        ({"url": "https://127.0.0.1/hooks"}, "url", "It leads to an address that is not public."),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url", "It leads to an address that is not public."),
        ({"url": "https://eva:x@shop.example/"}, "url", "It carries no user name and no password"),
        ({"url": "https://shop.example:25/"}, "url", "Its port belongs to another service"),
        ({"url": f"https://shop.example/{'a' * 500}"}, "url", "Write at most 500 characters."),
        ({"told": "some"}, "told", "Choose at least one kind of event."),
        ({"told": "nothing"}, "told", "Choose one of these."),
    ],
)
@pytest.mark.parametrize("page", ["new", "hook_1/edit"])
async def test_what_cannot_be_is_said_beside_the_field_and_nothing_typed_is_lost(
    lite: World, lite_admin: Browser, page: str, wrong: dict[str, str], field: str, said: str
) -> None:
    await subscribed(lite)
    before = await lite.rows(WebhookEndpoint)
    ticked = {} if field == "told" else {"refund.made": "yes"}
    shown = await lite_admin.post(f"{HERE}/{page}", 422, **{"url": URL, "told": "some"} | ticked | wrong)
    _, _, beside = shown.partition(f'id="f-{field}-error">')
    assert said in beside.partition("</p>")[0]
    assert ('name="refund.made" checked' in shown) == bool(ticked)
    assert (wrong | {"url": URL} if "url" not in wrong else wrong)["url"] in shown
    assert await lite.rows(WebhookEndpoint) == before
    assert await verbs(lite) == []


async def test_an_operator_may_allow_private_addresses(lite: World) -> None:
    world = lite.with_context(webhooks_to_private=True)
    who = await signed_in(world, whole_app(world))
    await who.post(f"{HERE}/new", 200, url="http://127.0.0.1:9000/hooks", told="all")
    assert (await lite.rows(WebhookEndpoint))[0]["url"] == "http://127.0.0.1:9000/hooks"


async def test_there_are_not_endlessly_many(lite: World, lite_admin: Browser) -> None:
    for _ in range(ENDPOINTS_MAX):
        await subscribed(lite)
    page = await lite_admin.post(f"{HERE}/new", 422, url=URL, told="all")
    assert f"There are {ENDPOINTS_MAX} endpoints already" in page
    assert len(await lite.rows(WebhookEndpoint)) == ENDPOINTS_MAX


async def test_an_endpoint_is_changed_as_it_was_shown(world: World, admin: Browser) -> None:
    await subscribed(world, EventType.INVOICE_PAID)
    page = await admin.get(f"{HERE}/hook_1/edit")
    assert f'value="{URL}"' in page
    assert re.findall(r'name="([a-z_.]+)"[^>]* checked', page) == ["told", "invoice.paid"]
    await admin.post(f"{HERE}/hook_1/edit", url="https://other.example/", told="all")
    [row] = await world.rows(WebhookEndpoint)
    assert (row["url"], row["types"]) == ("https://other.example/", "")
    assert await verbs(world) == [("change_endpoint", "hook_1")]


async def test_a_secret_is_changed_with_time_to_change_over(world: World, admin: Browser) -> None:
    await subscribed(world)
    [before] = await world.rows(WebhookEndpoint)
    assert 'value="24"' in await admin.get(f"{HERE}/hook_1/rotate")
    page = await admin.post(f"{HERE}/hook_1/rotate", 422, hours="169")
    assert "Write a whole number from 0 to 168." in page
    assert await world.rows(WebhookEndpoint) == [before]
    page = await admin.post(f"{HERE}/hook_1/rotate", 200, hours="48")
    [after] = await world.rows(WebhookEndpoint)
    assert SECRET.findall(page) == [world.ctx.vault.unseal(after["sealed_secret"])]
    assert after["sealed_old_secret"] == before["sealed_secret"]
    assert "The old secret signs until" in await admin.get(f"{HERE}/hook_1")
    assert await verbs(world) == [("rotate_secret", "hook_1")]


async def test_what_happens_while_an_endpoint_is_off_is_told_once_it_is_on(world: World, admin: Browser) -> None:
    await subscribed(world, EventType.INVOICE_PAID)
    page = await admin.post(f"{HERE}/hook_1/disable")
    assert "Nothing is sent there now" in page
    await world.subscribe()
    await world.run()
    assert await announce(world.ctx, Listener()) == {}
    assert "is disabled: enable it first" in await admin.post(f"{HERE}/hook_1/test", 409)
    assert "first what waited for it" in await admin.post(f"{HERE}/hook_1/enable")
    assert await announce(world.ctx, Listener()) == {"delivered": 1}
    assert await verbs(world) == [("disable_endpoint", "hook_1"), ("enable_endpoint", "hook_1")]


async def test_an_endpoint_that_took_nothing_is_a_task_that_leads_to_it_and_ends_when_it_is_enabled(
    world: World, admin: Browser
) -> None:
    await subscribed(world)
    await world.change(WebhookEndpoint, 1, state="failed", reason="it took nothing for 3 days")
    async with world.store.write() as session:
        task = NewTask(world.merchant_id, "webhook", "hook_1", "it took nothing for 3 days")
        await raise_tasks(session, [task], world.ctx.clock.now())
    assert "/webhooks/hook_1" in await admin.get("/nordlicht/tasks/task_1")
    assert "It took nothing for 3 days" in await admin.get(f"{HERE}/hook_1")
    await admin.post(f"{HERE}/hook_1/enable")
    assert await world.tasks() == []


async def test_a_deleted_endpoint_is_not_there_any_more(world: World, admin: Browser) -> None:
    await happened(world)
    await admin.post(f"{HERE}/hook_1/delete")
    assert "No endpoint yet" in await admin.get(HERE)
    for path in ("hook_1", "hook_1/edit"):
        await admin.get(f"{HERE}/{path}", 404)
    for verb in ("edit", "rotate", "enable", "disable", "test", "delete"):
        await admin.post(f"{HERE}/hook_1/{verb}", 404, url=URL, told="all", hours="1")
    assert "There is no endpoint any more" in await admin.get(f"{HERE}/events/{await paid(world)}")
    assert await verbs(world) == [("delete_endpoint", "hook_1")]


async def test_a_test_event_is_sent_and_its_answer_shown(world: World, admin: Browser) -> None:
    await subscribed(world, EventType.INVOICE_PAID)
    page = await admin.post(f"{HERE}/hook_1/test")
    assert "webhook.test" in page
    assert "queued" in page
    await announce(world.ctx, Listener({URL: [Heard(500, "out of order")]}))
    [event] = await world.rows(Event)
    page = await admin.get(f"{HERE}/events/{event['uid']}")
    assert "500 out of order" in page
    assert "queued" in await admin.get(HERE)
    assert await verbs(world) == [("send_test", "hook_1")]


async def test_events_of_an_endpoint_are_listed_with_what_became_of_them_and_found_by_state(
    world: World, admin: Browser
) -> None:
    await happened(world, EventType.INVOICE_PAID, EventType.INVOICE_ISSUED)
    await announce(world.ctx, Listener({URL: [Heard(200, "ok"), Heard(500, "<b>broken</b>")]}))
    page = await admin.get(f"{HERE}/hook_1")
    assert "invoice.paid" in page
    assert "invoice.issued" in page
    assert "delivered" in await admin.get(HERE) or "queued" in await admin.get(HERE)
    queued = await admin.get(f"{HERE}/hook_1?state=queued")
    assert queued.count("/webhooks/events/evt_") == 1
    assert "No event for it is failed" in await admin.get(f"{HERE}/hook_1?state=failed")
    await world.change(WebhookDelivery, 1, state="failed", delivered_at=None)
    failed = await admin.get(f"{HERE}/hook_1?state=failed")
    assert failed.count("/webhooks/events/evt_") == 1


async def test_what_an_endpoint_answers_is_shown_as_text(lite: World, lite_admin: Browser) -> None:
    await happened(lite, EventType.INVOICE_PAID)
    await announce(lite.ctx, Listener({URL: [Heard(500, "<script>alert(1)</script>")]}))
    raw = await lite_admin.http.get(f"/console{HERE}/events/{await paid(lite)}")
    assert "&lt;script&gt;alert(1)" in raw.text
    assert "<script>alert" not in raw.text


async def test_an_event_is_sent_once_more_and_for_the_first_time(world: World, admin: Browser) -> None:
    await happened(world, EventType.INVOICE_PAID)
    listener = Listener()
    await announce(world.ctx, listener)
    await subscribed(world, EventType.REFUND_MADE, url="https://later.example/")
    event = await paid(world)
    page = await admin.get(f"{HERE}/events/{event}")
    assert '"number": "NA-2026-00001"' in page
    assert "not to be told" in page
    for hook in ("hook_1", "hook_2"):
        assert f"It goes to {hook}" in await admin.post(f"{HERE}/{hook}/events/{event}/again")
    await announce(world.ctx, listener)
    assert listener.ids == [event] * 3
    assert {url for url, _, _ in listener.heard} == {URL, "https://later.example/"}
    assert await verbs(world) == [("deliver_again", "hook_1"), ("deliver_again", "hook_2")]


async def test_an_event_that_was_given_up_is_a_task_that_leads_to_it(world: World, admin: Browser) -> None:
    await happened(world, EventType.INVOICE_PAID)
    event = await paid(world)
    async with world.store.write() as session:
        task = NewTask(world.merchant_id, "webhook_event", event, "it was not taken in 10 tries")
        await raise_tasks(session, [task], world.ctx.clock.now())
    assert f"/webhooks/events/{event}" in await admin.get("/nordlicht/tasks/task_1")
    await admin.post(f"{HERE}/hook_1/events/{event}/again")
    assert await world.tasks() == []


async def test_what_is_not_there_is_neither_shown_nor_sent(lite: World, lite_admin: Browser) -> None:
    await happened(lite, EventType.INVOICE_PAID)
    event = await paid(lite)
    for path in ("hook_9", "hook_9/edit", "hook_9/rotate", "hook_x", f"events/evt_{'0' * 32}", "events/nonsense"):
        await lite_admin.get(f"{HERE}/{path}", 404)
    await lite_admin.post(f"{HERE}/hook_9/events/{event}/again", 404)
    await lite_admin.post(f"{HERE}/hook_1/events/evt_{'0' * 32}/again", 404)


async def test_another_merchants_endpoints_and_events_are_neither_shown_nor_touched(
    lite: World, lite_admin: Browser
) -> None:
    other = await lite.beside("ostwind")
    await happened(other, EventType.INVOICE_PAID, url="https://theirs.example/")
    event = await paid(lite)
    before = [await lite.rows(of) for of in (WebhookEndpoint, WebhookDelivery)]
    assert "theirs.example" not in await lite_admin.get(HERE)
    await lite_admin.get(f"{HERE}/hook_1", 404)
    await lite_admin.get(f"{HERE}/events/{event}", 404)
    await subscribed(lite)
    await lite_admin.post(f"{HERE}/hook_2/events/{event}/again", 404)
    assert [await lite.rows(of) for of in (WebhookEndpoint, WebhookDelivery)][1] == before[1]


@pytest.mark.parametrize(
    ("role", "offered", "hidden"),
    [
        (Role.VIEWER, (), ("Send a test event", "Disable", "Edit", "Change the secret", "Delete")),
        (Role.OPERATOR, ("Send a test event", "Disable"), ("Edit", "Change the secret", "Delete")),
        (Role.ADMIN, ("Send a test event", "Disable", "Edit", "Change the secret", "Delete"), ()),
    ],
)
async def test_each_role_is_offered_what_it_may_do(
    lite: World, role: Role, offered: tuple[str, ...], hidden: tuple[str, ...]
) -> None:
    await subscribed(lite)
    page = await (await signed_in(lite, whole_app(lite), role)).get(f"{HERE}/hook_1")
    assert [each for each in offered if f">{each}" not in page] == []
    assert [each for each in hidden if f">{each}" in page] == []


async def test_pages_cost_the_same_however_much_was_told(world: World, admin: Browser) -> None:
    await subscribed(world)

    async def cost(*paths: str) -> list[int]:
        counts = []
        for path in paths:
            with counted(world.store) as said:
                await admin.get(path)
            counts.append(len(said))
        return counts

    before = await cost(HERE, f"{HERE}/hook_1")
    await subscribed(world)
    await world.subscribe(3)
    await world.run()
    assert await cost(HERE, f"{HERE}/hook_1") == before


async def test_a_long_log_goes_on_where_it_ended(lite: World, lite_admin: Browser) -> None:
    await subscribed(lite, EventType.SUBSCRIPTION_STARTED)
    await lite.subscribe(60)
    first = await lite_admin.get(f"{HERE}/hook_1?state=queued")
    [older] = re.findall(r'href="([^"]+)" rel="next"', first)
    answer = await lite_admin.http.get(older)
    names: Any = re.compile(r"evt_[0-9a-f]{32}").findall
    assert len(names(first)) == 50
    assert len(set(names(first)) | set(names(answer.text))) == 60
