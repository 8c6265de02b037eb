"""Events are written with what they tell of: none is lost, none is made up, and silence costs a look."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.models import (
    Attempt,
    Event,
    Invoice,
    Price,
    Profile,
    Subscription,
    WebhookDelivery,
    WebhookEndpoint,
    table,
)
from billing.services import changing
from billing.services.context import Shown, Shows
from billing.services.invoicing import issue_page
from billing.services.telling import NewEvent, tell
from billing.store import PAGE
from billing.web.api.shapes import SHAPES, show_things
from tests.billing.services.story import play, subscribed, told
from tests.billing.services.support import START, World, counted, lose_before, under_test_clock

STATES: list[tuple[str, Any]] = [("inv", Invoice), ("sub", Subscription), ("pro", Profile), ("att", Attempt)]


def statements_about(statements: list[str], *names: str) -> list[str]:
    return [each for each in statements if any(name in each for name in names)]


async def test_everything_that_can_be_told_of_is_told_when_it_happens(world: World) -> None:
    await subscribed(world)
    await play(world)

    assert {type_ for type_, _ in await told(world)} == set(EventType)
    assert len(await told(world)) == len(await world.rows(WebhookDelivery))
    assert await world.breaches() == []


async def test_whoever_heard_everything_knows_how_everything_stands(world: World) -> None:
    """The last event about a thing says the state it has: no door through which a state changes is without one."""
    await subscribed(world)
    await play(world)

    known = {(row["type"].split(".")[0], row["subject"]): json.loads(row["data"]) for row in await world.rows(Event)}
    words = {"inv": "invoice", "sub": "subscription", "pro": "profile", "att": "attempt"}
    for kind, of in STATES:
        async with world.store.read() as session:
            shown = await show_things(session, kind, [row["id"] for row in await world.rows(of)])
        for each in shown.values():
            now = json.loads(each.text)
            silent = kind == "att" or now["state"] in ("active", "replaced")
            if silent and (words[kind], each.name) not in known:
                continue
            assert known[words[kind], each.name]["state"] == now["state"], each.name


async def test_an_event_shows_the_thing_as_it_was_at_its_moment(world: World) -> None:
    await subscribed(world)
    await world.subscribe()
    await world.run()

    shown = {row["type"]: json.loads(row["data"]) for row in await world.rows(Event)}
    assert (shown["invoice.issued"]["state"], shown["invoice.issued"]["paid_at"]) == ("open", None)
    assert (shown["invoice.paid"]["state"], shown["invoice.paid"]["paid_at"]) == ("paid", "2026-11-21T02:00:00Z")
    assert shown["invoice.paid"]["customer"] == "K1"
    assert shown["attempt.approved"]["profile"] == "pro_1"
    [uid] = {row["uid"] for row in await world.rows(Event, type="invoice.paid")}
    assert len(uid) == len("evt_") + 32


async def test_what_is_rolled_back_was_never_told(world: World) -> None:
    await subscribed(world)
    await world.subscribe()
    before = await told(world)

    async def pause_and_fail() -> None:
        async with world.store.write() as session:
            await changing.pause(session, await changing.locked(world.ctx, session, world.merchant_id, "S1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pause_and_fail()

    assert await told(world) == before
    assert await world.states(Subscription) == ["active"]


async def test_what_is_set_aside_is_not_told_of_and_its_neighbours_are(world: World) -> None:
    await subscribed(world, EventType.INVOICE_ISSUED)
    await world.subscribe(1)
    await world.subscribe(1, price="team/yearly", quantity=4)
    await world.subscribe(1)
    await world.change(Price, 2, amount_minor=2**62)
    await world.run()

    invoices = [f"inv_{row['id']}" for row in await world.rows(Invoice)]
    assert [subject for _, subject in await told(world)] == invoices
    assert len(invoices) == 2


async def test_what_changes_nothing_is_no_news(world: World) -> None:
    await world.subscribe()
    await subscribed(world)
    for quantity in (1, 2, 2):
        async with world.store.write() as session:
            held = await changing.locked(world.ctx, session, world.merchant_id, "S1")
            await changing.change_quantity(session, held, quantity)

    assert await told(world) == [("subscription.changed", "S1")]


async def test_a_doubt_is_no_news_until_it_is_settled(world: World) -> None:
    await subscribed(world, EventType.ATTEMPT_APPROVED, EventType.ATTEMPT_DECLINED)
    await world.subscribe()
    world.bank.default = lose_before
    await world.run()

    assert await told(world) == []


async def test_the_same_news_heard_twice_is_told_once(world: World) -> None:
    await subscribed(world)
    await world.subscribe()
    await world.run()
    before = await told(world)
    booked = world.bank.bookings[0]
    for serial in "12":
        await world.hear(world.bank.push(booked.key, "paid", booked.gateway_id, serial=serial))
    assert await told(world) == before
    for serial in "34":
        await world.hear(world.bank.push(booked.key, "chargeback", booked.gateway_id, serial=serial))
    assert (await told(world))[len(before) :] == [("chargeback.received", "op_1"), ("invoice.reopened", "inv_1")]


async def test_an_endpoint_hears_what_it_listens_to_and_nothing_of_another_merchant(world: World) -> None:
    await subscribed(world, EventType.INVOICE_PAID)
    await subscribed(world, EventType.INVOICE_PAID, EventType.ATTEMPT_APPROVED)
    other = await world.beside("ostwind")
    await subscribed(other)
    await world.subscribe(2)
    await world.run()

    assert sorted(await told(world)) == [
        ("attempt.approved", "att_1"),
        ("attempt.approved", "att_2"),
        ("invoice.paid", "inv_1"),
        ("invoice.paid", "inv_2"),
    ]
    assert sorted(row["endpoint_id"] for row in await world.rows(WebhookDelivery)) == [1, 1, 2, 2, 2, 2]


async def test_where_nobody_listens_nothing_is_written_and_a_page_costs_one_look(world: World) -> None:
    await world.subscribe(40)
    scope = await world.begin_run()
    with counted(world.store) as statements:
        await issue_page(world.ctx, scope)

    [look] = statements_about(statements, "event", "webhook")
    assert look.startswith("SELECT webhook_endpoint.")
    assert await world.rows(Event) == []


async def test_a_page_of_invoices_is_told_of_by_as_many_statements_as_one_invoice(world: World) -> None:
    await subscribed(world)
    await subscribed(world, EventType.INVOICE_ISSUED, url="https://other.example/hooks")
    scope = await world.begin_run()
    counts = []
    for size in (1, PAGE):
        await world.subscribe(size)
        with counted(world.store) as statements:
            issued = await issue_page(world.ctx, scope)
        assert issued.invoiced == size
        counts.append(len(statements))

    assert counts[0] == counts[1]
    assert len(await world.rows(Event, type="invoice.issued")) == PAGE + 1
    assert await world.breaches() == []


async def test_an_import_is_told_a_page_at_a_time(world: World) -> None:
    await subscribed(world)
    with counted(world.store) as statements:
        await world.subscribe(PAGE * 2)

    assert [each for each in await told(world) if each[0] != "subscription.started"] == []
    assert len(await told(world)) == PAGE * 2
    assert len(statements_about(statements, "INTO event", "COPY event")) == 2


async def test_an_event_is_dated_by_the_merchants_own_time(world: World) -> None:
    later = datetime(2027, 3, 1, 12, tzinfo=UTC)
    await under_test_clock(world, later)
    await subscribed(world)
    await world.subscribe()

    [row] = await world.rows(Event)
    assert row["happened_at"] == later
    assert row["created_at"] > START


async def test_what_happens_while_an_endpoint_is_off_waits_for_it_and_a_deleted_one_hears_nothing(world: World) -> None:
    off, _ = await subscribed(world)
    gone, _ = await subscribed(world)
    await world.change(WebhookEndpoint, off, state="disabled")
    await world.change(WebhookEndpoint, gone, state="deleted")
    await world.subscribe()

    assert [row["endpoint_id"] for row in await world.rows(WebhookDelivery)] == [off]
    assert await world.breaches() == []


async def test_a_merchant_whose_endpoint_is_deleted_while_money_moves_keeps_the_money(world: World) -> None:
    """Deleting is a mark on the row, so whoever has seen the endpoint before can still write to it."""
    await subscribed(world)
    await world.subscribe()
    news = NewEvent(world.merchant_id, EventType.SUBSCRIPTION_CHANGED, "sub", 1, START)
    async with world.store.write() as session:
        await session.execute(update(table(WebhookEndpoint)).values(state="deleted"))
    async with world.store.write() as session:
        await tell(world.ctx, session, [news])
    assert [type_ for type_, _ in await told(world)] == ["subscription.started"]


def test_every_kind_of_thing_that_is_told_of_can_be_shown() -> None:
    assert set(SHAPES) == {"sub", "inv", "att", "op", "pro"}


async def cannot_show_an_attempt(session: AsyncSession, kind: str, ids: Collection[int]) -> dict[int, Shown]:
    if kind == "att":
        raise ZeroDivisionError("no such shape")
    return await show_things(session, kind, ids)


async def cannot_write_an_invoice(session: AsyncSession, kind: str, ids: Collection[int]) -> dict[int, Shown]:
    if kind == "inv":
        await session.execute(insert(table(Event)).values(id=1))
    return await show_things(session, kind, ids)


async def shows_no_invoice(session: AsyncSession, kind: str, ids: Collection[int]) -> dict[int, Shown]:
    return {} if kind == "inv" else await show_things(session, kind, ids)


@pytest.mark.parametrize(
    ("shows", "silent"),
    [(cannot_show_an_attempt, "att"), (cannot_write_an_invoice, "inv"), (shows_no_invoice, "inv")],
)
async def test_what_cannot_be_told_is_a_persons_task_and_undoes_no_payment(
    world: World, shows: Shows, silent: str
) -> None:
    await subscribed(world)
    await world.subscribe(2)
    await world.with_context(shows=shows).run()

    assert await world.states(Attempt) == ["approved"] * 2
    assert await world.states(Invoice) == ["paid"] * 2
    assert set(await world.tasks()) == {("webhook_event", f"{silent}_1"), ("webhook_event", f"{silent}_2")}
    spoken_of = {subject.partition("_")[0] for _, subject in await told(world)}
    assert spoken_of == {"S1", "S2", "att", "inv"} - {silent}
    assert await world.breaches() == []
