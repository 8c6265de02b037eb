"""A story told by the command and the API: how a thing stands and what of it is open, then what the console tells."""

from __future__ import annotations

import re

import pytest

from billing.store import Store
from billing.web.console.plain import SIZE
from jobs.explain import explain
from tests.billing.services.support import World, counted, decline, make_world

HAPPENED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d: ")


@pytest.fixture
async def world(store: Store) -> World:
    return await make_world(store)


async def test_how_it_stands_comes_first_and_then_what_happened_the_oldest_first(world: World) -> None:
    world.bank.on("P1", decline())
    await world.subscribe(1)
    await world.run()
    told = await explain(world.ctx, "S1")
    happened = [each for each in told if HAPPENED.match(each)]
    stands = told[: -len(happened)]
    assert stands[:2] == [
        "Subscription S1 (sub_1) is past_due, counted from 2026-11-21.",
        "Its period number 1 falls due on 2026-12-21.",
    ]
    assert "Invoice NA-2026-00001 (inv_1) of 2026-11-21 over 25.00 EUR is open." in stands
    assert [each[:16] for each in happened] == sorted(each[:16] for each in happened)
    assert "2026-11-21 03:00: Invoice NA-2026-00001 issued, €25.00. Team, monthly, " in " ".join(happened)
    assert any("Attempt declined" in each and "Charged by the nightly run" in each for each in happened)
    assert any("Mail about the decline" in each for each in happened)


async def test_of_what_is_paid_nothing_is_open_and_all_of_it_is_told_by_any_of_its_names(world: World) -> None:
    await world.subscribe(1)
    await world.run()
    for name in ("S1", "inv_1", "att_1"):
        told = await explain(world.ctx, name)
        assert any("Attempt approved, €25.00." in each for each in told), name
    assert not any("is open" in each for each in told)


async def test_a_long_story_is_told_from_its_end_and_costs_the_same(world: World) -> None:
    await world.subscribe(1)
    await world.run()
    with counted(world.store) as before:
        await explain(world.ctx, "S1")
    for _ in range(60):
        world.next_day(31)
        await world.run()
    with counted(world.store) as after:
        told = await explain(world.ctx, "S1")
    happened = [each for each in told if HAPPENED.match(each)]
    assert SIZE <= len(happened) < 2 * SIZE
    assert "What happened before is told in the console." in told
    assert len(after) == len(before)
