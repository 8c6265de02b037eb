from __future__ import annotations

import json
from typing import Any

import pytest

from billing.models import Event
from billing.services.announcing import announce
from billing.webhooks import Heard
from tests.billing.services.story import URL, Listener, subscribed
from tests.billing.web.api.support import Caller


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """A customer who paid, of which an endpoint hook_1 is to be told."""
    await subscribed(api.world)
    await api.world.subscribe()
    await api.world.run()
    return api


async def one(api: Caller, type_: str) -> Any:
    [event] = await api.everything("/events", type=type_)
    return event


async def test_events_are_listed_and_filtered(ready: Caller) -> None:
    names = [each["type"] for each in await ready.everything("/events", limit=1)]
    assert names == ["subscription.started", "invoice.issued", "attempt.approved", "invoice.paid"]
    about = await ready.everything("/events", subject="inv_1", sort="-created")
    assert sorted(each["type"] for each in about) == ["invoice.issued", "invoice.paid"]
    assert await ready.everything("/events", type="invoice.void") == []
    assert (await ready.get("/events", 422, type="invoice.eaten"))["errors"][0]["field"] == "type"


async def test_an_event_shows_what_the_api_showed(ready: Caller) -> None:
    event = await one(ready, "invoice.paid")
    invoice = await ready.get("/invoices/inv_1")
    assert event["data"] == {name: invoice[name] for name in event["data"]}
    assert set(invoice) - set(event["data"]) == {"lines", "paid_by_hand"}
    assert await ready.get(f"/events/{event['id']}") == event
    assert event["happened_at"] == "2026-11-21T02:00:00Z"
    for kind, path in (("attempt.approved", "/attempts/att_1"), ("subscription.started", "/subscriptions/S1")):
        assert set((await one(ready, kind))["data"]) == set(await ready.get(path))


async def test_what_became_of_an_event_is_told(ready: Caller) -> None:
    event = await one(ready, "invoice.paid")
    path = f"/events/{event['id']}/deliveries"
    [queued] = await ready.everything(path)
    assert (queued["state"], queued["tries"], queued["status"]) == ("queued", 0, None)
    assert queued["next_try_at"] is not None
    await announce(ready.world.ctx, Listener({URL: [Heard(500, "broken")] * 4}))
    [failed] = await ready.everything(path)
    assert (failed["state"], failed["tries"], failed["status"], failed["answer"]) == ("queued", 1, 500, "broken")
    assert failed["event"] == event["id"]


async def test_an_event_is_sent_once_more(ready: Caller) -> None:
    listener = Listener()
    await announce(ready.world.ctx, listener)
    event = await one(ready, "invoice.paid")
    path = f"/events/{event['id']}/deliveries"
    [before] = await ready.everything(path)
    assert (before["state"], before["next_try_at"]) == ("delivered", None)

    again = await ready.post(path, {"endpoint": "hook_1"})
    assert (again["state"], again["tries"], again["delivered_at"]) == ("queued", 0, None)
    await announce(ready.world.ctx, listener)

    sent = [body for _, headers, body in listener.heard if headers["webhook-id"] == event["id"]]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert json.loads(sent[0])["data"] == event["data"]
    assert len(await ready.everything(path)) == 1


async def test_what_is_not_there_is_not_sent(ready: Caller) -> None:
    event = (await one(ready, "invoice.paid"))["id"]
    await ready.post(f"/events/{event}/deliveries", {"endpoint": "hook_9"}, 404)
    await ready.post(f"/events/evt_{'0' * 32}/deliveries", {"endpoint": "hook_1"}, 404)
    await ready.get(f"/events/evt_{'0' * 32}", 404)
    await ready.get("/events/nonsense", 404)
    await ready.patch("/webhook-endpoints/hook_1", {"enabled": False})
    problem = await ready.post(f"/events/{event}/deliveries", {"endpoint": "hook_1"}, 409)
    assert problem["detail"] == "hook_1 is disabled: enable it first"


async def test_a_thing_that_is_changed_twice_in_one_call_is_told_as_it_stands(ready: Caller) -> None:
    before = len(await ready.world.rows(Event))
    await ready.patch("/subscriptions/S1", {"quantity": 7})
    [changed] = (await ready.world.rows(Event))[before:]
    assert (changed["type"], json.loads(changed["data"])["quantity"]) == ("subscription.changed", 7)
