"""Merchants are worked on side by side: none waits for another's gateway, and none fails by another's failure."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import structlog

from billing.models import Attempt, Invoice, Run
from billing.pace import Pace
from billing.services.charging import charge_ready
from billing.services.leaving import Leaving
from jobs.abreast import AT_ONCE, abreast
from jobs.billing_run import run_all
from tests.billing.services.conftest import world
from tests.billing.services.support import Crash, World, approve, wait_for

__all__ = ["world"]


async def test_what_several_come_to_is_told_in_their_order() -> None:
    first_may_end = asyncio.Event()

    async def work(number: int) -> int:
        if number == 0:
            await first_may_end.wait()
        first_may_end.set()
        return number

    assert await abreast(partial(work, number) for number in range(20)) == list(range(20))


async def test_a_few_are_at_work_at_once() -> None:
    at_work, most = 0, 0

    async def work() -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1

    await abreast([work] * 20)

    assert most == AT_ONCE


async def test_one_that_fails_stops_no_other_and_is_raised_at_the_end() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        if number == 0:
            raise ValueError("the first")
        done.append(number)

    with pytest.raises(ValueError, match="the first"):
        await abreast(partial(work, number) for number in range(9))

    assert done == list(range(1, 9))


async def test_several_failures_are_all_raised() -> None:
    async def work(number: int) -> None:
        raise ValueError(str(number))

    with pytest.raises(ExceptionGroup) as raised:
        await abreast(partial(work, number) for number in range(3))

    assert [str(each) for each in raised.value.exceptions] == ["0", "1", "2"]


async def test_who_is_cut_off_is_cut_off_in_all_of_them() -> None:
    begun, ended = [], []

    async def work(number: int) -> None:
        begun.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    working = asyncio.create_task(abreast(partial(work, number) for number in range(2)))
    while len(begun) < 2:  # noqa: ASYNC110 - it knows no event of ours
        await asyncio.sleep(0)
    working.cancel()

    with pytest.raises(asyncio.CancelledError):
        await working
    assert sorted(ended) == [0, 1]


# --- nights ---------------------------------------------------------------------------------------


async def two_merchants(world: World) -> World:
    """Give the merchant three customers, P1 to P3, and another one as many, P4 to P6."""
    other = await world.beside("other")
    await world.subscribe(3)
    await other.subscribe(3)
    return other


async def states_of(world: World) -> list[str]:
    return [row["state"] for row in await world.rows(Attempt, merchant_id=world.merchant_id)]


async def test_a_merchant_whose_gateway_stalls_does_not_hold_up_another(world: World) -> None:
    other = await two_merchants(world)
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate))
    night = asyncio.create_task(run_all(world.ctx))

    async with asyncio.timeout(60):
        while [row["state"] for row in await world.rows(Run, merchant_id=other.merchant_id)] != ["finished"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert "sent" in await states_of(world)

    gate.set()
    reports = await night
    assert [(each.merchant, each.charged) for each in reports] == [("nordlicht", 3), ("other", 3)]
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 6
    assert await world.breaches() == []


async def test_a_merchant_whose_night_fails_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await two_merchants(world)

    async def fail(_: Any, merchant_id: int, *__: Any) -> None:
        if merchant_id == world.merchant_id:
            raise ValueError("this one's rows are broken")

    monkeypatch.setattr("jobs.billing_run.try_unsent_again", fail)
    with pytest.raises(ValueError, match="broken"):
        await run_all(world.ctx)

    assert await states_of(other) == ["approved"] * 3
    assert await states_of(world) == []
    monkeypatch.undo()
    await run_all(world.ctx)
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 6
    assert await world.breaches() == []


async def test_a_process_that_dies_while_it_charges_for_several_charges_nobody_twice(world: World) -> None:
    await two_merchants(world)

    async def die(*_: Any) -> Any:
        raise Crash

    world.bank.on("P2", die)
    with pytest.raises(BaseExceptionGroup):
        await run_all(world.ctx)

    await world.clear_up()
    for _ in range(2):
        await run_all(world.ctx)
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 6
    assert await world.breaches() == []


async def test_a_merchant_has_a_share_while_another_charges_and_all_of_it_afterwards(world: World) -> None:
    await two_merchants(world)
    await world.issue_again()
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    world = world.with_context(in_flight_max=2)
    with world.ctx.shares.one(world.merchant_id + 1):
        night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))
        await world.until(lambda: len(world.bank.sent) == 1)
        async with asyncio.timeout(60):
            while await states_of(world) != ["sent", "sent", "created"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(world.bank.sent) == 1, "the next is claimed and waits"

    world.bank.default = approve
    gate.set()
    await night
    assert await states_of(world) == ["approved"] * 3
    assert set(world.bank.sales().values()) == {1}


async def test_who_leaves_ends_the_night_of_every_merchant_in_good_order(world: World) -> None:
    other = await two_merchants(world)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    world = world.with_context(in_flight_max=2, leaving=Leaving())
    night = asyncio.create_task(run_all(world.ctx))
    await world.until(lambda: {charge.profile.reference for charge in world.bank.sent} >= {"P1", "P4"})

    world.ctx.leaving.tell()
    gate.set()
    reports = await night

    assert [(each.merchant, each.left) for each in reports] == [("nordlicht", True), ("other", True)]
    states = Counter(await states_of(world) + await states_of(other))
    assert states == {"approved": len(world.bank.sent), "created": 6 - len(world.bank.sent)}
    assert states["created"] >= 2
    await run_all(world.with_context(leaving=Leaving()).ctx)
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 6
    assert await world.breaches() == []


async def test_what_is_logged_of_a_night_names_its_own_merchant(world: World) -> None:
    await two_merchants(world)
    seen: list[tuple[str, str]] = []

    async def look(bank: Any, charge: Any) -> Any:
        seen.append((structlog.contextvars.get_contextvars()["merchant"], charge.profile.reference))
        return bank.book(charge.key, charge.amount, charge.profile.reference)

    world.bank.default = look
    await run_all(world.ctx)

    expected = [("nordlicht", f"P{number}") for number in (1, 2, 3)] + [("other", f"P{number}") for number in (4, 5, 6)]
    assert sorted(seen) == expected


async def test_a_run_that_takes_longer_than_its_turn_is_gone_on_with_in_the_next(world: World) -> None:
    """The gateway takes two charges, and then one in more than a minute; at last it takes more."""
    world.bank.pace = Pace(per_second_max=0.01)
    await world.subscribe(5)

    async with asyncio.timeout(60):
        [report] = await run_all(world.ctx, once=True, at_most_s=0.5)

    assert (report.state, report.left, report.charged + report.waiting) == ("running", False, 5)
    assert report.charged <= 2
    assert [row["sent_at"] for row in await world.rows(Attempt, state="created")] == [None] * report.waiting

    world = world.with_context(gateways=replace(world.ctx.gateways, _opened={}, _places={}))
    world.bank.pace = Pace()
    async with asyncio.timeout(60):
        [report] = await run_all(world.ctx, once=True, at_most_s=1800)
    assert (report.state, report.charged) == ("finished", 5)
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []
