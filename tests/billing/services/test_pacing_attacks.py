"""Places and paces under attack: what gets no place, or an error instead, is neither lost nor doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Any

import pytest

from billing.gateway import AfterNothing, Asking, Charge, Outcome, Unknown
from billing.models import Attempt, Invoice
from billing.pace import Sign
from billing.payments import AttemptState
from billing.services.charging import LOOK_AGAIN_AFTER_S, charge_ready
from billing.services.leaving import Leaving
from billing.services.pacing import Places
from billing.services.reconciling import ask_about_doubts
from billing.services.running import abort_within, pause_within
from tests.billing.services.support import Act, Bank, World, lose_after, not_sent, tell_again, wait_for
from tests.billing.services.test_pacing import HOUR_S, in_doubt, sent_states, two, until_states, with_two_accounts
from tests.billing.services.test_recalling import restored


async def charge(world: World, at_most_s: float = inf) -> Counter[AttemptState]:
    """Send what is ready, but not for ever."""
    heard: Counter[AttemptState] = Counter()
    async with asyncio.timeout(60):
        await charge_ready(world.ctx, world.merchant_id, heard.update, at_most_s=at_most_s)
    return heard


def turn_away(wait_s: float) -> Act:
    """Answer 429 and tell the pace, as a transport does."""

    async def act(bank: Bank, _: Charge) -> Outcome:
        left_at = monotonic()
        bank.pace.leave()
        await asyncio.sleep(0)
        bank.pace.come_back(left_at, monotonic(), Sign.BUSY, wait_s)
        return Unknown("429")

    return act


# --- places -------------------------------------------------------------------------------------


async def test_whatever_ends_the_waiting_no_place_is_lost_or_found() -> None:
    places, held = Places(Bank()), 0

    async def want(number: int) -> None:
        nonlocal held
        if await places.take(two, monotonic() + (number % 7) * 0.001, Leaving()):
            held += 1
            assert held <= 2
            try:
                await asyncio.sleep((number % 3) * 0.001)
            finally:
                held -= 1
                places.leave()

    tasks = [asyncio.create_task(want(number)) for number in range(400)]
    for task in tasks[::5]:
        await asyncio.sleep(0.0005)
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError}
    for _ in range(2):
        assert await places.take(two, inf, Leaving())
    assert not await places.take(two, monotonic() + 0.01, Leaving())


# --- charging -----------------------------------------------------------------------------------


async def test_a_page_of_what_nobody_owes_any_more_does_not_end_the_sending(world: World) -> None:
    await world.subscribe(4)
    await world.issue_again()
    await world.change(Invoice, 1, state="void")
    world = world.with_context(in_flight_max=1)

    await charge(world)

    assert await world.states(Attempt) == ["withdrawn", "approved", "approved", "approved"]


@pytest.mark.parametrize("word", [pause_within, abort_within])
async def test_who_holds_a_run_back_holds_back_what_it_has_waiting_for_a_place(world: World, word: Any) -> None:
    await world.subscribe(5)
    world = world.with_context(in_flight_max=1)
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate))
    night = asyncio.create_task(world.run())
    await until_states(world, {"sent": 2, "created": 3})

    await world.say(word, 1, "by hand")
    paused_at = monotonic()
    await world.until(lambda: monotonic() > paused_at + LOOK_AGAIN_AFTER_S)
    gate.set()
    await night

    assert len(world.bank.sent) == 1
    expected = {pause_within: "created", abort_within: "withdrawn"}[word]
    assert await world.states(Attempt) == ["approved"] + [expected] * 4
    assert await world.breaches() == []


async def test_a_run_whose_gateway_turns_everything_away_is_held_back_after_its_first_slice(world: World) -> None:
    await world.subscribe(80)
    world.bank.default = turn_away(0)

    async with asyncio.timeout(60):
        report = await world.run()

    assert (report.state, report.unknown, report.waiting) == ("paused", 50, 30)
    assert len(world.bank.sent) == 50


async def test_two_processes_share_a_slice_over_two_accounts_and_none_exceeds_it(world: World) -> None:
    other = await with_two_accounts(world, 6, 6)
    await world.change_merchant(brakes={"slice_charges": 4})
    gate = asyncio.Event()
    world.bank.default = other.default = wait_for(gate)
    beside = replace(world, ctx=replace(world.ctx, leaving=Leaving()))
    nights = [asyncio.create_task(each.run()) for each in (world, beside)]

    await world.until(lambda: len(world.bank.sent) + len(other.sent) >= 4)
    assert (await sent_states(world, account=1) + await sent_states(world, account=2))["sent"] == 4

    gate.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*nights)
    assert set((world.bank.sales() + other.sales()).values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 12
    assert await world.breaches() == []


async def test_who_comes_again_leaves_for_then_what_a_gateway_does_not_take_in_time(world: World) -> None:
    await world.subscribe(9)
    await world.issue_again()
    world = world.with_context(in_flight_max=4)
    world.bank.default = turn_away(60)

    await charge(world, at_most_s=0.05)

    states = Counter(await world.states(Attempt))
    assert states == {"unknown": len(world.bank.sent), "created": 9 - len(world.bank.sent)}
    assert states["created"] >= 5


async def test_a_restored_database_charges_once_through_an_account_that_stalls(world: World) -> None:
    other = await with_two_accounts(world, 5, 5)
    await world.issue_again()
    world = restored(world).with_context(in_flight_max=2, lease_s=31)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    night = asyncio.create_task(charge(world))
    await world.until(lambda: len(world.bank.sent) == 2)

    gate.set()
    await night
    assert set((world.bank.sales() + other.sales()).values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 10
    assert await world.breaches() == []


# --- reconciling --------------------------------------------------------------------------------


async def test_what_was_asked_is_settled_though_what_was_not_cannot_be_handed_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_doubt(world, 3)
    world = world.with_context(in_flight_max=1, lease_s=31)
    world.bank.answers_held = asyncio.Event()

    async def fail(_: Any, doubts: Any) -> None:
        assert world.bank.answers_held is not None
        world.bank.answers_held.set()
        raise ValueError("the database is gone")

    monkeypatch.setattr("billing.services.reconciling._hand_back", fail)
    with pytest.raises(ValueError, match="the database is gone"):
        await ask_about_doubts(world.ctx)

    assert await world.states(Attempt) == ["approved", "unknown", "unknown"]


async def test_a_question_handed_back_lets_nobody_believe_that_a_request_was_not_sent(world: World) -> None:
    """The count of questions goes up, down and up again, and the last question was the request itself."""
    asking = Asking((10,), 0, None, AfterNothing.SAME_KEY, by_key=False, repeat_s=86_000)
    world.bank.abilities = replace(world.bank.abilities, asking=asking)
    await world.subscribe(1)
    await world.issue_again()
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate, not_sent), lose_after)
    world.bank.default = tell_again
    sending = asyncio.create_task(charge(world))
    await world.until(lambda: len(world.bank.sent) == 1)
    await world.pass_time(HOUR_S)

    await claim_and_leave(world)
    assert [(row["state"], row["asks"]) for row in await world.rows(Attempt)] == [("unknown", 0)]
    await ask_about_doubts(world.ctx)
    gate.set()
    await sending

    assert [(row["state"], row["asks"]) for row in await world.rows(Attempt)] == [("unknown", 1)]
    await world.clear_up()
    assert await world.states(Invoice) == ["paid"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def claim_and_leave(world: World) -> None:
    """Claim what is due to be asked, and be told to leave before there is a place for it."""
    going = world.with_context(leaving=Leaving(), in_flight_max=1)
    asking = asyncio.create_task(ask_about_doubts(going.ctx))
    async with asyncio.timeout(60):
        while [row["asks"] for row in await world.rows(Attempt)] != [1]:  # noqa: ASYNC110 - known by the rows alone
            await asyncio.sleep(0.01)
    going.ctx.leaving.tell()
    await asking
