"""Places are waited for: by whom, for how long, and what becomes of a claim that gets none."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Any

import pytest

from billing.gateway import Charge, Outcome, Unknown
from billing.models import Attempt, Invoice
from billing.pace import Pace, Sign
from billing.services.charging import charge_ready
from billing.services.leaving import Leaving
from billing.services.pacing import Places, Shares
from billing.services.reconciling import ask_about_doubts
from tests.billing.services.support import Bank, World, approve, lose_after, wait_for
from tests.billing.services.test_recalling import with_another_bank

HOUR_S = 3600.0


def two() -> int:
    return 2


async def taken(places: Places, leaving: Leaving, count: int) -> None:
    for _ in range(count):
        assert await places.take(two, inf, leaving)


# --- places -------------------------------------------------------------------------------------


async def test_who_came_first_gets_the_next_place() -> None:
    places, leaving, order = Places(Bank()), Leaving(), []

    async def want(name: str) -> None:
        assert await places.take(two, inf, leaving)
        order.append(name)

    await taken(places, leaving, 2)
    tasks: list[asyncio.Task[None]] = []
    for name in "abc":
        tasks.append(asyncio.create_task(want(name)))
        await asyncio.sleep(0)
    assert order == []
    for task in tasks:
        places.leave()
        await task

    assert order == ["a", "b", "c"]


async def test_there_is_none_when_the_time_is_over_and_none_is_lost_by_that() -> None:
    places, leaving = Places(Bank()), Leaving()
    await taken(places, leaving, 2)

    assert not await places.take(two, monotonic() + 0.01, leaving)
    assert not await places.take(two, monotonic() - 1, leaving)

    places.leave()
    assert await places.take(two, monotonic() + HOUR_S, leaving)


async def test_who_is_told_to_leave_stops_waiting_and_gets_none() -> None:
    places, leaving = Places(Bank()), Leaving()
    await taken(places, leaving, 2)
    waiting = [asyncio.create_task(places.take(two, inf, leaving)) for _ in range(3)]
    await asyncio.sleep(0)

    leaving.tell()
    assert await asyncio.gather(*waiting) == [False] * 3

    places.leave()
    assert not await places.take(two, inf, leaving)
    assert await places.take(two, inf, Leaving())


async def test_a_busy_gateway_is_left_alone_for_as_long_as_it_asks() -> None:
    bank, leaving = Bank(), Leaving()
    bank.pace.leave()
    bank.pace.come_back(0.0, monotonic(), Sign.BUSY, 0.05)
    begun = bank.pace.opens_in_s(0.0)

    assert await Places(bank).take(two, inf, leaving)

    assert monotonic() >= begun


async def test_who_only_waits_for_a_place_takes_none() -> None:
    places, leaving = Places(Bank()), Leaving()
    await taken(places, leaving, 1)
    await places.wait(two, leaving)
    await taken(places, leaving, 1)
    waiting = [asyncio.create_task(places.wait(two, leaving)) for _ in range(2)]
    await asyncio.sleep(0)
    places.leave()
    await waiting[0]
    leaving.tell()
    await waiting[1]


async def test_no_more_are_taken_than_the_account_the_pace_and_the_share_allow() -> None:
    for in_flight_max, pace, share in ((1, 9, 9), (9, 1, 9), (9, 9, 1)):
        bank, leaving = Bank(), Leaving()
        bank.abilities = replace(bank.abilities, in_flight_max=in_flight_max)
        bank.pace.in_flight = pace
        places = Places(bank)
        assert await places.take(lambda share=share: share, inf, leaving)  # type: ignore[misc]
        assert not await places.take(lambda share=share: share, monotonic() + 0.01, leaving)  # type: ignore[misc]


def test_merchants_who_charge_at_once_have_a_fair_share_and_at_least_one() -> None:
    shares = Shares()
    assert shares.of(10) == 10
    with shares.one(1), shares.one(2), shares.one(2), shares.one(3):
        assert shares.of(10) == 3
        assert shares.of(2) == 1
    assert shares.of(10) == 10


# --- charging -----------------------------------------------------------------------------------


async def with_two_accounts(world: World, *counts: int) -> Bank:
    """Give the first so many customers a profile at the one bank, and the next ones at the other."""
    other = await with_another_bank(world)
    await world.subscribe(counts[0])
    await world.subscribe(counts[1], account="other")
    return other


async def sent_states(world: World, *, account: int) -> Counter[str]:
    return Counter(row["state"] for row in await world.rows(Attempt, gateway_account_id=account))


async def until_states(world: World, wanted: dict[str, int], *, account: int = 1) -> None:
    async with asyncio.timeout(60):
        while await sent_states(world, account=account) != wanted:  # noqa: ASYNC110 - known by the rows alone
            await asyncio.sleep(0.01)


async def test_an_account_that_stalls_does_not_hold_up_another(world: World) -> None:
    world = world.with_context(in_flight_max=2)
    other = await with_two_accounts(world, 7, 7)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    await world.issue_again()
    night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))

    await until_states(world, {"approved": 7}, account=2)
    assert len(world.bank.sent) == 2, "all of the other's are done while these two are under way"

    gate.set()
    await night
    assert set((world.bank.sales() + other.sales()).values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 14
    assert await world.breaches() == []


async def test_an_account_that_stalls_in_the_first_slice_holds_up_only_its_own_part_of_it(world: World) -> None:
    world = world.with_context(in_flight_max=8)
    other = await with_two_accounts(world, 5, 5)
    await world.change_merchant(brakes={"slice_charges": 8})
    world.bank.abilities = replace(world.bank.abilities, in_flight_max=1)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    night = asyncio.create_task(world.run())

    await world.until(lambda: len(other.bookings) == 3)
    assert len(world.bank.sent) == 1

    gate.set()
    assert (await night).charged == 10
    assert set((world.bank.sales() + other.sales()).values()) == {1}
    assert await world.breaches() == []


async def test_a_claim_that_gets_no_place_in_time_is_handed_back_and_charged_once(world: World) -> None:
    world = world.with_context(in_flight_max=1, lease_s=31)
    await world.subscribe(3)
    await world.issue_again()
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate))
    night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))

    await until_states(world, {"sent": 2, "created": 1})
    await until_states(world, {"sent": 1, "created": 2})
    waiting = await world.rows(Attempt, state="created")
    assert {(row["sent_at"], row["lease_until"], row["asks"]) for row in waiting} == {(None, None, 0)}
    assert len(world.bank.sent) == 1

    gate.set()
    await night
    assert await world.states(Attempt) == ["approved"] * 3, "no doubt has come of it"
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_an_account_slower_than_a_claim_lasts_is_charged_all_the_same(world: World) -> None:
    world = world.with_context(lease_s=33)
    world.bank.pace = Pace(per_second_max=0.3)
    await world.subscribe(4)
    await world.issue_again()

    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert await world.states(Attempt) == ["approved"] * 4
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_nothing_is_claimed_again_for_an_account_that_has_no_place(world: World) -> None:
    world = world.with_context(in_flight_max=1, lease_s=31)
    await world.subscribe(2)
    await world.issue_again()
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate))
    night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))
    await until_states(world, {"sent": 2})
    await until_states(world, {"sent": 1, "created": 1})

    other = world.with_context(gateways=replace(world.ctx.gateways, _opened={}, _places={}))
    await charge_ready(other.ctx, world.merchant_id, lambda _: None)
    assert await world.states(Attempt) == ["sent", "approved"], "another process has a place for it"

    gate.set()
    await night
    assert set(world.bank.sales().values()) == {1}


async def test_who_leaves_hands_back_at_once_what_waits_for_a_place(world: World) -> None:
    world = world.with_context(in_flight_max=1)
    await world.subscribe(3)
    await world.issue_again()
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))
    await until_states(world, {"sent": 2, "created": 1})

    world.ctx.leaving.tell()
    await until_states(world, {"sent": 1, "created": 2})
    assert not night.done(), "what is under way is waited for"

    gate.set()
    await night
    assert await world.states(Attempt) == ["approved", "created", "created"]


async def test_an_account_that_was_cut_low_is_claimed_no_more_for_than_it_takes(world: World) -> None:
    await world.subscribe(9)
    await world.run()
    world.next_day(31)
    await world.issue_again()
    world.ctx.gateways.places(1).pace.in_flight = 2
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)

    night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))
    await until_states(world, {"approved": 9, "sent": 4, "created": 5})

    gate.set()
    await night
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


class Throttled:
    """A bank that turns away what is more than it takes at once, as its transport would tell."""

    def __init__(self, bank: Bank, takes: int) -> None:
        self.takes, self.flying, self.turned_away, self.most = takes, 0, 0, 0
        bank.default = self.charge

    async def charge(self, bank: Bank, charge: Charge) -> Outcome:
        left_at, self.flying = monotonic(), self.flying + 1
        bank.pace.leave()
        try:
            return await self._answer(bank, charge, left_at)
        finally:
            self.flying -= 1

    async def _answer(self, bank: Bank, charge: Charge, left_at: float) -> Outcome:
        if self.flying > self.takes:
            self.turned_away += 1
            bank.pace.come_back(left_at, monotonic(), Sign.BUSY, 0.01)
            return Unknown("429")
        await asyncio.sleep(0.01)
        bank.pace.come_back(left_at, monotonic(), Sign.FINE)
        return await approve(bank, charge)


async def test_a_night_at_a_gateway_that_throttles_us_charges_everybody_once(world: World) -> None:
    world = world.with_context(in_flight_max=40)
    await world.subscribe(150)
    await world.issue_again()
    bank = Throttled(world.bank, takes=6)

    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert bank.turned_away <= 60, "it slowed down instead of asking in vain"
    assert 1 <= world.bank.pace.in_flight <= 12
    for _ in range(8):
        await world.clear_up()
        await world.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 150
    assert await world.breaches() == []


async def test_the_pace_comes_back_when_the_gateway_does(world: World) -> None:
    world = world.with_context(in_flight_max=16)
    await world.subscribe(60)
    await world.issue_again()
    bank = Throttled(world.bank, takes=3)
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    low = world.bank.pace.in_flight

    bank.takes = 100
    world.next_day(31)
    await world.issue_again()
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert world.bank.pace.in_flight > low


async def test_the_pace_of_an_account_outlives_the_run(world: World) -> None:
    await world.subscribe(1)
    await world.run()
    world.bank.pace.in_flight = 3
    places = world.ctx.gateways.places(1)

    world.next_day(31)
    await world.run()

    assert world.ctx.gateways.places(1) is places
    assert places.pace.in_flight == 3


async def test_a_failure_in_the_middle_leaves_no_place_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world.with_context(in_flight_max=1)
    await world.subscribe(3)
    await world.issue_again()

    async def fail(*_: Any) -> Any:
        raise ValueError("the database is gone")

    with monkeypatch.context() as broken:
        broken.setattr("billing.services.charging.LOOK_AGAIN_AFTER_S", 0.0)
        broken.setattr("billing.services.charging._still_wanted", fail)
        with pytest.raises(ExceptionGroup):
            await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert await world.ctx.gateways.places(1).take(lambda: 1, monotonic(), Leaving())


# --- reconciling --------------------------------------------------------------------------------


async def in_doubt(world: World, count: int) -> None:
    await world.subscribe(count)
    world.bank.default = lose_after
    await world.issue_again()
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    world.bank.default = approve
    await world.pass_time(HOUR_S)


async def test_an_account_is_asked_no_more_at_once_than_it_takes(world: World) -> None:
    await in_doubt(world, 7)
    world = world.with_context(in_flight_max=3)
    world.bank.answers_held = asyncio.Event()

    asking = asyncio.create_task(ask_about_doubts(world.ctx))
    await world.until(lambda: len(world.bank.asked) == 3)
    await world.states(Attempt)
    assert len(world.bank.asked) == 3

    world.bank.answers_held.set()
    assert await asking == {"approved": 7}
    assert await world.states(Invoice) == ["paid"] * 7
    assert [row["asks"] for row in await world.rows(Attempt)] == [1] * 7


async def test_a_question_that_gets_no_place_in_time_is_not_spent(world: World) -> None:
    await in_doubt(world, 3)
    world = world.with_context(in_flight_max=1, lease_s=31)
    world.bank.answers_held = asyncio.Event()

    asking = asyncio.create_task(ask_about_doubts(world.ctx))
    async with asyncio.timeout(60):
        while [row["asks"] for row in await world.rows(Attempt)] != [1, 0, 0]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    world.bank.answers_held.set()
    assert await asking == {"approved": 1}, "what got no place waits for the next look"
    assert len(world.bank.asked) == 1

    assert await ask_about_doubts(world.ctx) == {"approved": 2}
    assert await world.states(Invoice) == ["paid"] * 3
    assert await world.breaches() == []


async def test_an_account_that_answers_no_question_does_not_hold_up_what_another_says(world: World) -> None:
    world = world.with_context(lease_s=31)
    other = await with_another_bank(world)
    await world.subscribe(2)
    await world.subscribe(2, account="other")
    world.bank.default = other.default = lose_after
    await world.issue_again()
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    await world.pass_time(HOUR_S)
    world.bank.answers_held = asyncio.Event()

    asking = asyncio.create_task(ask_about_doubts(world.ctx))
    await until_states(world, {"approved": 2}, account=2)
    assert await sent_states(world, account=1) == {"unknown": 2}

    world.bank.answers_held.set()
    assert await asking == {"approved": 4}


async def test_who_leaves_spends_no_question_that_waits_for_a_place(world: World) -> None:
    await in_doubt(world, 3)
    world = world.with_context(in_flight_max=1)
    world.bank.answers_held = asyncio.Event()
    asking = asyncio.create_task(ask_about_doubts(world.ctx))
    await world.until(lambda: len(world.bank.asked) == 1)

    world.ctx.leaving.tell()
    async with asyncio.timeout(60):
        while [row["asks"] for row in await world.rows(Attempt)] != [1, 0, 0]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    world.bank.answers_held.set()

    assert await asking == {"approved": 1}
    assert len(world.bank.asked) == 1
