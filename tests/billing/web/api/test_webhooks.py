from __future__ import annotations

from typing import Any

import pytest

from billing.events import EventType
from billing.models import WebhookEndpoint
from billing.services import announcing
from billing.services.listening import ENDPOINTS_MAX
from tests.billing.services.story import Listener
from tests.billing.web.api.support import Caller, caller, whole_app

URL = "https://shop.example/hooks"


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """An endpoint hook_1 that is told of payments."""
    await api.post("/webhook-endpoints", {"url": URL, "types": ["invoice.paid"]})
    return api


async def announce(api: Caller, listener: Listener) -> Any:
    return await announcing.announce(api.world.ctx, listener)


async def test_an_endpoint_is_made_and_its_secret_shown_once(api: Caller) -> None:
    answer = await api.ask("POST", "/webhook-endpoints", {"url": URL, "types": ["invoice.paid", "attempt.declined"]})
    made = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, "/api/v1/webhook-endpoints/hook_1")
    assert made.pop("secret").startswith("whsec_")
    assert made["created_at"].endswith("Z")
    assert made == {
        "id": "hook_1",
        "url": URL,
        "types": ["attempt.declined", "invoice.paid"],
        "state": "enabled",
        "reason": "",
        "failing_since": None,
        "old_secret_until": None,
        "created_at": made["created_at"],
    }
    assert await api.get("/webhook-endpoints/hook_1") == made
    assert await api.everything("/webhook-endpoints") == [made]


async def test_a_secret_is_in_no_other_answer(ready: Caller) -> None:
    [row] = await ready.world.rows(WebhookEndpoint)
    secret = ready.world.ctx.vault.unseal(row["sealed_secret"])
    await ready.world.subscribe()
    await ready.world.run()
    for path in ("/webhook-endpoints", "/webhook-endpoints/hook_1", "/events"):
        text = (await ready.http.get(path)).text
        assert secret not in text
        assert row["sealed_secret"] not in text


async def test_the_same_call_makes_one_endpoint_and_tells_the_same_secret(api: Caller) -> None:
    first = await api.post("/webhook-endpoints", {"url": URL}, Idempotency_Key="make")
    assert await api.post("/webhook-endpoints", {"url": URL}, Idempotency_Key="make") == first
    assert len(await api.everything("/webhook-endpoints")) == 1


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"url": "http://shop.example/hooks"}, "url", "it begins with https://"),
        ({"url": "https://127.0.0.1/hooks"}, "url", "it leads to an address that is not public"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url", "it leads to an address that is not public"),
        (
            {"url": "https://eva:secret@shop.example/"},
            "url",
            "it carries no user name and no password: the signature says who sends",
        ),
        (
            {"url": "https://shop.example:25/"},
            "url",
            "its port belongs to another service: use 443, 8443 or one above 1023",
        ),
        ({"url": ""}, "url", "string should have at least 1 character"),
        ({}, "url", "field required"),
    ],
)
async def test_a_bad_address_is_one_clear_error_by_field(lite_api: Caller, body: Any, field: str, message: str) -> None:
    problem = await lite_api.post("/webhook-endpoints", body, 422)
    assert problem["errors"] == [{"field": field, "message": message}]
    assert await lite_api.everything("/webhook-endpoints") == []


async def test_a_type_that_is_not_told_is_refused_by_its_place(lite_api: Caller) -> None:
    problem = await lite_api.post("/webhook-endpoints", {"url": URL, "types": ["invoice.paid", "invoice.eaten"]}, 422)
    assert [each["field"] for each in problem["errors"]] == ["types.1"]


async def test_an_operator_may_allow_private_addresses(lite_api: Caller) -> None:
    open_world = lite_api.world.with_context(webhooks_to_private=True)
    me = await caller(open_world, whole_app(open_world.ctx))
    made = await me.post("/webhook-endpoints", {"url": "http://127.0.0.1:9000/hooks"})
    assert made["url"] == "http://127.0.0.1:9000/hooks"


async def test_there_are_not_endlessly_many(lite_api: Caller) -> None:
    for _ in range(ENDPOINTS_MAX):
        await lite_api.post("/webhook-endpoints", {"url": URL})
    problem = await lite_api.post("/webhook-endpoints", {"url": URL}, 409)
    assert problem["detail"] == f"there are {ENDPOINTS_MAX} endpoints already: delete one of them"
    lite_api.told(await lite_api.ask("DELETE", "/webhook-endpoints/hook_7"), 200)
    await lite_api.post("/webhook-endpoints", {"url": URL})


async def test_an_endpoint_is_changed_only_as_seen(ready: Caller) -> None:
    tag = (await ready.http.get("/webhook-endpoints/hook_1")).headers["ETag"]
    changed = await ready.patch("/webhook-endpoints/hook_1", {"types": []}, If_Match=tag)
    assert (changed["url"], changed["types"]) == (URL, [])
    await ready.patch("/webhook-endpoints/hook_1", {"url": "https://other.example/"}, 412, If_Match=tag)
    assert (await ready.patch("/webhook-endpoints/hook_1", {"url": "https://other.example/"}))["types"] == []
    problem = await ready.patch("/webhook-endpoints/hook_1", {"url": "https://localhost/"}, 422)
    assert problem["errors"][0]["field"] == "url"


async def test_what_happens_while_an_endpoint_is_off_is_told_once_it_is_on(ready: Caller) -> None:
    assert (await ready.patch("/webhook-endpoints/hook_1", {"enabled": False}))["state"] == "disabled"
    await ready.world.subscribe()
    await ready.world.run()
    listener = Listener()
    assert await announce(ready, listener) == {}
    problem = await ready.post("/webhook-endpoints/hook_1/test", None, 409)
    assert problem["detail"] == "hook_1 is disabled: enable it first"

    assert (await ready.patch("/webhook-endpoints/hook_1", {"enabled": True}))["state"] == "enabled"
    assert await announce(ready, listener) == {"delivered": 1}


async def test_a_deleted_endpoint_is_not_there_any_more(ready: Caller) -> None:
    shown = await ready.get("/webhook-endpoints/hook_1")
    assert ready.told(await ready.ask("DELETE", "/webhook-endpoints/hook_1"), 200) == shown
    await ready.get("/webhook-endpoints/hook_1", 404)
    ready.told(await ready.ask("DELETE", "/webhook-endpoints/hook_1"), 404)
    assert await ready.everything("/webhook-endpoints") == []


async def test_a_secret_is_rotated_with_time_to_change_over(ready: Caller) -> None:
    [before] = await ready.world.rows(WebhookEndpoint)
    answer = await ready.post("/webhook-endpoints/hook_1/rotate-secret", {"overlap_hours": 2})
    [after] = await ready.world.rows(WebhookEndpoint)
    assert answer["secret"] == ready.world.ctx.vault.unseal(after["sealed_secret"])
    assert after["sealed_old_secret"] == before["sealed_secret"]
    assert answer["old_secret_until"] is not None
    await ready.post("/webhook-endpoints/hook_1/rotate-secret", {"overlap_hours": 500}, 422)


async def test_a_test_event_is_sent_whatever_the_endpoint_listens_to(ready: Caller) -> None:
    answer = await ready.ask("POST", "/webhook-endpoints/hook_1/test")
    event = ready.told(answer, 201)
    assert answer.headers["Location"] == f"/api/v1/events/{event['id']}"
    assert (event["type"], event["subject"], event["data"]) == ("webhook.test", "hook_1", {"endpoint": "hook_1"})
    listener = Listener()
    assert await announce(ready, listener) == {"delivered": 1}
    assert listener.ids == [event["id"]]
    assert await ready.world.breaches() == []


async def test_every_type_can_be_listened_to(lite_api: Caller) -> None:
    made = await lite_api.post("/webhook-endpoints", {"url": URL, "types": list(EventType)})
    assert made["types"] == sorted(EventType)
