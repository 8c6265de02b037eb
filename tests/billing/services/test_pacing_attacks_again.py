"""Places, groups and turns under attack once more: what is cut off anywhere is charged once, and nothing goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from sqlalchemy import select

from billing.models import Attempt, Invoice, Merchant, Run, RunState, table
from billing.services import charging
from billing.services.context import moments
from billing.services.gathering import Group
from billing.services.running import RunStateError, start_within
from jobs.billing_run import run_all
from tests.billing.services.support import World
from tests.billing.services.test_pacing_attacks import charge


async def test_who_comes_again_stops_in_time_at_a_gateway_that_always_has_a_place(world: World) -> None:
    await world.subscribe(9)
    await world.issue_again()
    world = world.with_context(in_flight_max=4)

    await charge(world, at_most_s=0)

    assert Counter(await world.states(Attempt)) == {"approved": 4, "created": 5}
    assert {row["lease_until"] for row in await world.rows(Attempt, state="created")} == {None}


async def test_a_run_whose_every_turn_is_over_at_once_still_comes_to_its_end(world: World) -> None:
    await world.change_merchant(brakes={"slice_charges": 2})
    await world.subscribe(9)
    world = world.with_context(in_flight_max=4)
    charged = [0]

    while charged[-1] < 9:
        async with asyncio.timeout(60):
            [report] = await run_all(world.ctx, once=True, at_most_s=0)
        charged.append(report.charged)
        assert 0 < charged[-1] - charged[-2] <= 4

    assert await world.states(Run) == ["finished"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 9
    assert await world.breaches() == []


async def test_answers_that_wait_for_their_group_when_a_process_dies_are_asked_for_and_charge_nobody_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.subscribe(5)
    await world.issue_again()
    monkeypatch.setattr(charging, "GROUP", Group(wait_s=3600, size_max=250))
    dying = asyncio.create_task(charge(world))
    await world.until(lambda: len(world.bank.sales()) == 5)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    monkeypatch.undo()

    assert await world.states(Attempt) == ["sent"] * 5
    await charge(world)
    assert len(world.bank.sent) == 5
    await world.pass_time(world.ctx.lease_s + 1)
    await world.clear_up()
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 5
    assert await world.breaches() == []


async def test_a_person_and_two_processes_that_begin_a_run_at_once_meet_no_error_and_charge_once(world: World) -> None:
    await world.subscribe(6)
    twin, third = await world.twin(), await world.twin()

    async with asyncio.timeout(60):
        await asyncio.gather(start(twin), run_all(world.ctx, once=True), run_all(third.ctx, once=True))

    await run_all(world.ctx)
    await twin.store.close()
    await third.store.close()
    assert {row["state"] for row in await world.rows(Run)} == {"finished"}
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 6
    assert await world.breaches() == []


async def start(world: World) -> None:
    """Begin a run by a person's word, unless one is open."""
    merchant = table(Merchant)
    with suppress(RunStateError):
        async with world.store.write() as session:
            moment = (await moments(world.ctx, session, [world.merchant_id]))[world.merchant_id]
            mine = await session.execute(select(merchant).where(merchant.c.id == world.merchant_id))
            await start_within(world.ctx, session, mine.mappings().one(), moment, RunState.RUNNING, "anna")
