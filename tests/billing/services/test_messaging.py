from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from billing.models import Message, PayLink
from billing.services.messaging import NewMessage, Owed, end_of_validity, give_links, queue
from tests.billing.services.support import START, World, by_link


async def test_the_same_step_of_the_same_cause_is_queued_once(world: World) -> None:
    await world.subscribe(1)
    message = NewMessage(world.merchant_id, 1, "att_1", "declined", START, {})

    async def ask(each: World) -> None:
        async with each.store.write() as session:
            await queue(session, [message, message])

    other = await world.twin()
    await asyncio.gather(ask(world), ask(other), ask(world))
    await other.store.close()

    assert await world.mails() == [("att_1", "declined")]


async def test_a_live_link_is_prolonged_and_one_that_ran_out_is_replaced(world: World) -> None:
    await world.subscribe(2, **by_link(1))
    await world.run()
    first = await world.rows(PayLink)
    owed = [Owed(world.merchant_id, 1, 1), Owed(world.merchant_id, 2, 2)]

    async with world.store.write() as session:
        await give_links(session, owed[:1], START + timedelta(days=10))
    async with world.store.write() as session:
        await give_links(session, owed, START + timedelta(days=20))

    links = await world.rows(PayLink)
    assert [row["superseded_at"] is None for row in links] == [True, False, True]
    assert links[0]["expires_at"] - first[0]["expires_at"] == timedelta(days=20)
    assert await world.breaches() == []
    assert len(await world.rows(Message)) == 2


def test_a_link_works_to_the_end_of_its_last_day_even_where_the_clocks_change() -> None:
    assert end_of_validity("Europe/Vienna", START, 14) == datetime(2026, 12, 5, 23, tzinfo=UTC)
    spring = datetime(2027, 3, 20, 12, tzinfo=UTC)
    assert end_of_validity("Europe/Vienna", spring, 14) == datetime(2027, 4, 3, 22, tzinfo=UTC)
