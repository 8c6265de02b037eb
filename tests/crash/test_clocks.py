"""The clocks go wrong under our work: an hour back, or the hour that comes twice in October; nothing happens twice."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from billing.models import Attempt, Invoice, Message, Run, table
from billing.services.outbox import deliver
from tests.billing.services.support import (
    MACHINE_TIMES,
    World,
    approve,
    decline,
    let_time_pass,
    lose_after,
    lose_before,
)
from tests.crash.support import Postman

HOUR_S = 3600
AN_HOUR = timedelta(seconds=HOUR_S)
EVERY_TIME = {**MACHINE_TIMES, table(Message): ("next_try_at", "lease_until")}


async def everything_under_way(world: World) -> Postman:
    """One has paid, one was declined and is at a gateway's page, two answers were lost, and all mails have left."""
    await world.subscribe(4)
    for number, act in enumerate((approve, decline(), lose_after, lose_before), 1):
        world.bank.on(f"P{number}", act)
    await world.run()
    await world.pay(1)
    postman = Postman()
    await deliver(world.ctx, postman)
    return postman


async def work_of_the_hour(world: World, postman: Postman) -> None:
    """Do what the timetable does, stage by stage."""
    await world.run()
    await world.dun()
    await world.reconcile()
    await deliver(world.ctx, postman)


def twice(postman: Postman) -> Counter[str]:
    return Counter({name: count for name, count in postman.handed.items() if count > 1})


@pytest.mark.parametrize("hours", [1, -1])
async def test_the_databases_clock_jumps_an_hour_and_nobody_is_charged_or_written_to_twice(
    world: World, hours: int
) -> None:
    postman = await everything_under_way(world)

    await let_time_pass(world.store, hours * HOUR_S, EVERY_TIME)
    await work_of_the_hour(world, postman)
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))
    await work_of_the_hour(world, postman)
    await let_time_pass(world.store, 2 * HOUR_S, EVERY_TIME)
    await world.clear_up()
    await work_of_the_hour(world, postman)

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 4
    assert twice(postman) == Counter()
    assert await world.breaches() == []


async def test_the_wall_clock_goes_back_over_midnight_and_the_day_before_is_not_run_again(world: World) -> None:
    world.clock.instant = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)  # half past midnight on the 21st in Vienna
    postman = await everything_under_way(world)

    world.clock.advance(-AN_HOUR)
    await work_of_the_hour(world, postman)
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))
    await work_of_the_hour(world, postman)
    world.clock.advance(AN_HOUR)
    await world.clear_up()
    await work_of_the_hour(world, postman)

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 4
    assert len({row["id"] for row in await world.rows(Attempt) if row["state"] == "approved"}) == 4
    assert twice(postman) == Counter()
    assert await world.breaches() == []


@pytest.mark.parametrize(
    "night",
    [datetime(2026, 10, 24, 22, 30, tzinfo=UTC), datetime(2027, 3, 27, 23, 30, tzinfo=UTC)],
    ids=["october", "march"],
)
async def test_a_night_of_twenty_five_or_twenty_three_hours_bills_each_day_once(world: World, night: datetime) -> None:
    world.clock.instant = night
    day = (night + timedelta(hours=2)).date()
    await world.subscribe(3, anchor_on=day, billed_until=day)
    postman = Postman()

    for _ in range(8):
        await work_of_the_hour(world, postman)
        world.clock.advance(timedelta(minutes=30))

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 3
    assert {row["on_day"] for row in await world.rows(Run) if row["state"] != "finished"} == set()
    assert twice(postman) == Counter()
    assert await world.breaches() == []
