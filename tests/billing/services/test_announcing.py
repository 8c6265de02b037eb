"""Deliveries leave once, again when they must, and by themselves: nobody waits for an endpoint that is slow."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import update
from standardwebhooks import Webhook

from billing.clock import SystemClock
from billing.events import FAILING_S_MAX, RETRY_DELAYS_S, EventType
from billing.models import Event, Task, WebhookDelivery, WebhookEndpoint, table
from billing.services import announcing
from billing.services.announcing import WIDTH, announce
from billing.services.leaving import Leaving
from billing.services.listening import (
    KEPT_S,
    Wanted,
    change_endpoint,
    delete_endpoint,
    find_endpoint,
    find_event,
    forget_events,
    rotate_secret,
    send_again,
)
from billing.store import after_s
from billing.vault import Vault
from billing.webhooks import Heard
from tests.billing.services.story import URL, Listener, subscribed
from tests.billing.services.support import Crash, World

OTHER = "https://other.example/hooks"
DAY_S = 24 * 3600


async def waiting(world: World, count: int = 1, *types: EventType) -> str:
    """Let somebody listen, and so many things happen; return the secret."""
    _, secret = await subscribed(world, *types)
    await world.subscribe(count)
    return secret


async def delivery(world: World, id_: int = 1) -> dict[str, Any]:
    [row] = await world.rows(WebhookDelivery, id=id_)
    return row


async def endpoint(world: World, id_: int = 1) -> dict[str, Any]:
    [row] = await world.rows(WebhookEndpoint, id=id_)
    return row


async def seconds_until(world: World, of: Any, column: str) -> float:
    """Return how long it is until an instant of the first row, by the database's clock."""
    found = table(of)
    async with world.store.write() as session:
        query = update(found).where(found.c.id == 1).values(id=1).returning(found.c[column], after_s().label("now"))
        row = (await session.execute(query)).one()
    return float((row[0] - row[1]).total_seconds())


async def change(world: World, wanted: Wanted, id_: int = 1) -> None:
    async with world.store.write() as session:
        row = await find_endpoint(session, world.merchant_id, id_, world.ctx)
        await change_endpoint(world.ctx, session, row, wanted)


async def test_an_event_arrives_signed_under_its_name_and_says_what_happened(world: World) -> None:
    world.clock.instant = SystemClock().now()
    secret = await waiting(world)
    listener = Listener()

    assert await announce(world.ctx, listener) == {"delivered": 1}
    assert await announce(world.ctx, listener) == {}

    [(url, headers, body)] = listener.heard
    told = Webhook(secret).verify(body, dict(headers))
    [event] = await world.rows(Event)
    assert (url, headers["webhook-id"]) == (URL, event["uid"])
    assert list(told) == ["type", "timestamp", "data"]
    assert told["type"] == "subscription.started"
    assert told["data"] == json.loads(event["data"])
    assert told["timestamp"] == event["happened_at"].isoformat().replace("+00:00", "Z")
    row = await delivery(world)
    assert (row["state"], row["tries"], row["status"], row["answer"]) == ("delivered", 1, 200, "ok")
    assert await world.breaches() == []


async def test_who_dies_between_sending_and_marking_sends_the_same_again(world: World) -> None:
    await waiting(world)
    dying, listener = Listener({URL: [Crash()]}), Listener()
    with pytest.raises(Crash):
        await announce(world.ctx, dying)

    assert await announce(world.ctx, listener) == {}, "the claim still runs"
    await world.pass_time(world.ctx.lease_s)
    assert await announce(world.ctx, listener) == {"delivered": 1}

    assert listener.ids == dying.ids
    assert listener.heard[0][2] == dying.heard[0][2]
    assert (await delivery(world))["tries"] == 2


async def test_several_at_once_send_each_event_once(world: World) -> None:
    await waiting(world, WIDTH * 4)
    listener, other = Listener(), await world.twin()

    done = await asyncio.gather(*(announce(each.ctx, listener) for each in (world, other, world, other)))
    await other.store.close()

    assert sum(each.total() for each in done) == WIDTH * 4
    assert set(Counter(listener.ids).values()) == {1}
    assert len(listener.ids) == WIDTH * 4
    assert await world.breaches() == []


async def test_an_endpoint_that_is_slow_holds_up_no_other(world: World) -> None:
    await subscribed(world)
    await subscribed(world, url=OTHER)
    await world.subscribe(1)
    gate = asyncio.Event()

    async def slowly() -> Heard:
        await gate.wait()
        return Heard(200)

    listener = Listener({URL: [slowly]})
    work = asyncio.create_task(announce(world.ctx, listener))
    await world.until(lambda: OTHER in [url for url, _, _ in listener.heard])
    await world.subscribe(WIDTH * 2)
    await world.until(lambda: Counter(url for url, _, _ in listener.heard)[OTHER] == WIDTH * 2 + 1)
    assert not work.done()

    gate.set()
    assert await work == {"delivered": 2 * (WIDTH * 2 + 1)}


async def test_what_fails_is_tried_again_under_the_same_name_ever_later_and_then_a_person_is_told(world: World) -> None:
    await waiting(world)
    listener = Listener({URL: [Heard(500, "broken")] * (len(RETRY_DELAYS_S) + 1)})

    for wait_s in RETRY_DELAYS_S:
        assert await announce(world.ctx, listener) == {"queued": 1}
        assert wait_s - 60 < await seconds_until(world, WebhookDelivery, "next_try_at") <= wait_s
        assert await announce(world.ctx, listener) == {}
        assert await world.breaches() == []
        await world.change(WebhookDelivery, 1, next_try_at=SystemClock().now() - timedelta(hours=1))
    assert await announce(world.ctx, listener) == {"failed": 1}

    assert len(set(listener.ids)) == 1
    assert len(listener.ids) == len(RETRY_DELAYS_S) + 1
    [event] = await world.rows(Event)
    [task] = await world.rows(Task, state="open")
    assert (task["kind"], task["subject"]) == ("webhook_event", event["uid"])
    assert task["reason"] == "subscription.started was not taken in 10 tries, the last answer: 500 broken"
    assert await world.breaches() == []


async def test_an_endpoint_that_is_gone_gets_nothing_more_and_a_person_is_told(world: World) -> None:
    await waiting(world, WIDTH + 3)
    listener = Listener({URL: [Heard(410, "gone")] * WIDTH})

    await announce(world.ctx, listener)
    await world.pass_time(DAY_S)
    assert await announce(world.ctx, listener) == {}

    assert len(listener.heard) == WIDTH
    assert ((await endpoint(world))["state"], await world.tasks()) == ("failed", [("webhook", "hook_1")])
    assert (await endpoint(world))["reason"] == "it answered that it is gone (410)"
    assert await world.breaches() == []


async def test_an_endpoint_that_takes_nothing_for_days_is_switched_off_and_all_waits_for_it(world: World) -> None:
    await waiting(world)
    listener = Listener({URL: [Heard(None, "connection refused")] * 2})
    await announce(world.ctx, listener)
    since = (await endpoint(world))["failing_since"]
    assert since is not None
    await world.pass_time(FAILING_S_MAX + 60)
    await announce(world.ctx, listener)

    row = await endpoint(world)
    assert (row["state"], row["reason"]) == ("failed", "it took nothing for days: none connection refused")
    assert await world.tasks() == [("webhook", "hook_1")]
    await world.subscribe(1)
    await world.pass_time(DAY_S)
    assert await announce(world.ctx, listener) == {}
    assert await world.breaches() == []

    await change(world, Wanted(enabled=True))
    assert await announce(world.ctx, listener) == {"delivered": 2}
    row = await endpoint(world)
    assert (row["state"], row["failing_since"], row["reason"], await world.tasks()) == ("enabled", None, "", [])


async def test_one_event_that_is_taken_says_that_the_endpoint_lives(world: World) -> None:
    await waiting(world, 2)
    listener = Listener({URL: [Heard(500), Heard(500)]})
    await announce(world.ctx, listener)
    assert (await endpoint(world))["failing_since"] is not None
    await world.pass_time(FAILING_S_MAX + 60)
    listener.answers[URL] = [Heard(500), Heard(200)]

    assert await announce(world.ctx, listener) == {"queued": 1, "delivered": 1}

    assert ((await endpoint(world))["state"], (await endpoint(world))["failing_since"]) == ("enabled", None)


@pytest.mark.parametrize("status", [429, 503])
async def test_how_long_an_endpoint_asks_to_wait_it_is_left_alone(world: World, status: int) -> None:
    await waiting(world, WIDTH + 3)
    listener = Listener({URL: [Heard(status, "", 7200), *[Heard(200)] * (WIDTH - 1)]})

    assert await announce(world.ctx, listener) == {"queued": 1, "delivered": WIDTH - 1}
    assert 7140 < await seconds_until(world, WebhookEndpoint, "rest_until") <= 7200
    await world.pass_time(7000)
    assert await announce(world.ctx, listener) == {}
    assert await world.breaches() == []
    await world.pass_time(300)
    assert await announce(world.ctx, listener) == {"delivered": 4}


async def test_an_endpoint_that_cannot_be_reached_rests_a_little(world: World) -> None:
    await waiting(world, WIDTH * 3)
    listener = Listener({URL: [Heard(None, "timed out")] * WIDTH})

    assert await announce(world.ctx, listener) == {"queued": WIDTH}
    assert await announce(world.ctx, listener) == {}
    await world.pass_time(10)
    assert await announce(world.ctx, listener) == {"delivered": WIDTH * 3}


async def test_an_event_is_sent_once_more_when_somebody_asks_for_that(world: World) -> None:
    await waiting(world)
    listener = Listener()
    await announce(world.ctx, listener)
    later, _ = await subscribed(world, url=OTHER)
    [event] = await world.rows(Event)

    async with world.store.write() as session:
        found = await find_event(session, world.merchant_id, event["uid"])
        for id_ in (1, later):
            await send_again(session, found, await find_endpoint(session, world.merchant_id, id_))
    assert await announce(world.ctx, listener) == {"delivered": 2}

    assert listener.ids == [event["uid"]] * 3
    assert sorted(url for url, _, _ in listener.heard) == [OTHER, URL, URL]
    assert (await delivery(world))["tries"] == 1


async def test_sent_again_after_it_was_given_up_it_is_no_task_any_more(world: World) -> None:
    await waiting(world)
    listener = Listener({URL: [Heard(500)] * (len(RETRY_DELAYS_S) + 1)})
    for _ in range(len(RETRY_DELAYS_S) + 1):
        await announce(world.ctx, listener)
        await world.change(WebhookDelivery, 1, next_try_at=SystemClock().now() - timedelta(hours=1))
    [event] = await world.rows(Event)
    assert await world.tasks() == [("webhook_event", event["uid"])]

    async with world.store.write() as session:
        found = await find_event(session, world.merchant_id, event["uid"])
        await send_again(session, found, await find_endpoint(session, world.merchant_id, 1))
    assert await announce(world.ctx, listener) == {"delivered": 1}
    assert await world.tasks() == []


async def test_a_late_mark_does_not_undo_what_was_asked_for_meanwhile(world: World) -> None:
    """While a try is on its way somebody asks for the event again: the answer to the old try is not its answer."""
    await waiting(world)
    [event] = await world.rows(Event)

    async def ask_again() -> Heard:
        async with world.store.write() as session:
            found = await find_event(session, world.merchant_id, event["uid"])
            await send_again(session, found, await find_endpoint(session, world.merchant_id, 1))
        return Heard(500)

    listener = Listener({URL: [ask_again]})
    await announce(world.ctx, listener)
    assert listener.ids == [event["uid"]] * 2
    assert ((await delivery(world))["state"], (await delivery(world))["tries"]) == ("delivered", 1)


async def test_while_a_secret_changes_over_both_sign_and_afterwards_the_new_one_alone(world: World) -> None:
    world.clock.instant = SystemClock().now()
    old = await waiting(world)
    async with world.store.write() as session:
        row = await find_endpoint(session, world.merchant_id, 1, world.ctx)
        new = await rotate_secret(world.ctx, session, row, hours=1)
    listener = Listener()
    await announce(world.ctx, listener)
    await world.pass_time(3700)
    await world.subscribe(1)
    await announce(world.ctx, listener)

    (_, first, body), (_, second, later) = listener.heard
    for secret in (old, new):
        assert Webhook(secret).verify(body, dict(first))
    assert Webhook(new).verify(later, dict(second))
    assert len(second["webhook-signature"].split()) == 1


async def test_secrets_are_sealed_and_in_no_log(world: World) -> None:
    secret = await waiting(world)
    with structlog.testing.capture_logs() as logs:
        await announce(world.ctx, Listener({URL: [Heard(500, "no")]}))

    row = await endpoint(world)
    assert world.ctx.vault.unseal(row["sealed_secret"]) == secret
    assert secret not in str(row) + str(logs)
    assert URL not in str(logs), "an address may carry a secret of its own"
    assert [(each["endpoint"], each["status"]) for each in logs] == [("hook_1", 500)]
    assert logging.getLogger("aiohttp").level == logging.NOTSET


async def test_an_endpoint_whose_secret_cannot_be_read_holds_up_no_other(world: World) -> None:
    await subscribed(world)
    await waiting(world)
    await world.change(WebhookEndpoint, 1, sealed_secret=Vault("another key, just as long as it has to be").seal("x"))

    assert await announce(world.ctx, Listener()) == {"queued": 1, "delivered": 1}
    assert (await delivery(world))["answer"] == "its secret was sealed with another TURNUS_SECRET_KEY"


async def test_a_deleted_endpoint_hears_nothing_and_its_secret_is_gone(world: World) -> None:
    await waiting(world)
    async with world.store.write() as session:
        await delete_endpoint(session, await find_endpoint(session, world.merchant_id, 1, world.ctx))
    listener = Listener()

    assert await announce(world.ctx, listener) == {}
    assert ((await endpoint(world))["sealed_secret"], listener.heard) == ("", [])
    await world.pass_time(DAY_S)
    assert await world.breaches() == []


async def test_events_are_forgotten_after_a_month_with_what_waits_for_nobody(world: World) -> None:
    await waiting(world)
    await change(world, Wanted(enabled=False))
    await world.pass_time(KEPT_S - 3600)
    await world.subscribe(1)
    await forget_events(world.ctx)
    assert len(await world.rows(Event)) == 2

    await world.pass_time(7200)
    await forget_events(world.ctx)

    assert [row["subject"] for row in await world.rows(Event)] == ["S2"]
    assert [row["event_id"] for row in await world.rows(WebhookDelivery)] == [2]
    assert await world.breaches() == []


async def test_with_nothing_to_tell_there_is_one_look_and_no_write(world: World) -> None:
    await subscribed(world)
    assert await announce(world.ctx, Listener()) == {}
    assert announcing.LANES * WIDTH <= 256


class LastListener(Listener):
    """Hears what it is told, and lets the process be told to leave meanwhile."""

    def __init__(self, leaving: Leaving) -> None:
        super().__init__()
        self.leaving = leaving

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Heard:
        self.leaving.tell()
        return await super().send(url, headers, body)


async def test_who_is_told_to_leave_marks_what_is_on_its_way_and_leaves_the_rest_to_others(world: World) -> None:
    await waiting(world, WIDTH + 2)
    last, others = LastListener(world.ctx.leaving), Listener()

    async with asyncio.timeout(60):
        assert await announce(world.ctx, last) == {"delivered": WIDTH}
    assert await announce(world.with_context(leaving=Leaving()).ctx, others) == {"delivered": 2}

    assert set(Counter([*last.ids, *others.ids]).values()) == {1}
