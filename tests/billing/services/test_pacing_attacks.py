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
from billing.models import Attempt, Invoice, Operation
from billing.pace import Sign
from billing.payments import AttemptState
from billing.services.charging import LOOK_AGAIN_AFTER_S, charge_ready
from billing.services.leaving import Leaving
from billing.services.operating import run_operations
from billing.services.pacing import Places
from billing.services.recalling import TRIES_AHEAD
from billing.services.reconciling import ask_about_doubts
from billing.services.refunding import Payment, owe_back
from billing.services.running import abort_within, pause_within
from tests.billing.services.support import (
    PRICE,
    Act,
    Bank,
    World,
    decline,
    lose_after,
    lose_before,
    not_sent,
    refuse,
    tell_again,
    wait_for,
)
from tests.billing.services.test_pacing import (
    HOUR_S,
    Throttled,
    in_doubt,
    sent_states,
    two,
    until_states,
    with_two_accounts,
)
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


async def test_a_first_slice_that_is_mostly_turned_away_is_waited_out_and_nobody_is_charged_twice(world: World) -> None:
    await world.subscribe(90)
    bank = Throttled(world.bank, takes=6)

    async with asyncio.timeout(60):
        report = await world.run()

    assert (report.state, report.waiting) == ("finished", 0)
    assert bank.turned_away > 20, "by the rate of failures alone it would have been held back"
    assert report.charged + report.unknown == 90
    bank.takes = 100
    await world.clear_up(2)
    await world.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 90
    assert await world.breaches() == []


async def test_a_slice_is_not_passed_before_as_many_were_let_in_as_are_in_it(world: World) -> None:
    """Those that were turned away say nothing of how charges go, and the next ones are declined."""
    await world.subscribe(80)
    for number in range(1, 31):
        world.bank.on(f"P{number}", turn_away(0))
    for number in range(51, 81):
        world.bank.on(f"P{number}", decline())
    await world.change_merchant(brakes={"declined_percent": 30})

    async with asyncio.timeout(60):
        report = await world.run()

    assert (report.state, report.unknown, report.charged, report.declined) == ("paused", 30, 20, 30)


@pytest.mark.parametrize("strange", [lose_before, lose_after, refuse])
async def test_what_is_strange_beside_what_is_turned_away_still_holds_a_run_back(world: World, strange: Act) -> None:
    await world.subscribe(80)
    for number in range(1, 11):
        world.bank.on(f"P{number}", turn_away(0))
    for number in range(11, 31):
        world.bank.on(f"P{number}", strange)

    async with asyncio.timeout(60):
        report = await world.run()

    assert (report.state, len(world.bank.sent)) == ("paused", 50)
    assert "20 of 40 charges through bank were refused, not sent or left in doubt" in report.stopped


async def test_a_gateway_that_goes_down_after_the_first_slice_ends_the_night(world: World) -> None:
    await world.subscribe(160)
    for number in range(51, 161):
        world.bank.on(f"P{number}", turn_away(0))

    async with asyncio.timeout(60):
        report = await world.run()

    assert (report.state, report.charged) == ("paused", 50)
    assert "110 of 110 charges through bank were turned away" in report.stopped


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


async def test_an_account_that_stalls_does_not_hold_up_another_in_a_restored_database_either(world: World) -> None:
    other = await with_two_accounts(world, 7, 7)
    await world.issue_again()
    world = restored(world).with_context(in_flight_max=2)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    night = asyncio.create_task(charge(world))

    await until_states(world, {"approved": 7}, account=2)
    assert len(world.bank.sent) == 2, "all of the other's are done while these two are under way"

    gate.set()
    await night
    assert {each.key for each in world.bank.sent + other.sent} <= {each.key for each in world.bank.asked}
    assert set((world.bank.sales() + other.sales()).values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 14
    assert await world.breaches() == []


async def test_a_restored_run_charges_its_first_slice_before_it_asks_about_all_the_rest(world: World) -> None:
    other = await with_two_accounts(world, 6, 6)
    await world.change_merchant(brakes={"slice_charges": 3})
    world = restored(world)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    night = asyncio.create_task(world.run())

    await world.until(lambda: len(world.bank.sent) == 3)
    await world.states(Attempt)
    assert (len(world.bank.sent), len(other.sent)) == (3, 0)
    assert len({each.key.rpartition("-")[0] for each in world.bank.asked}) <= 6

    gate.set()
    async with asyncio.timeout(60):
        assert (await night).charged == 12
    assert set((world.bank.sales() + other.sales()).values()) == {1}
    assert await world.breaches() == []


@pytest.mark.parametrize("slice_charges", [0, 1, 5, 50])
async def test_a_restored_run_goes_to_its_end_whatever_its_first_slice(world: World, slice_charges: int) -> None:
    other = await with_two_accounts(world, 3, 3)
    await world.change_merchant(brakes={"slice_charges": slice_charges})
    async with asyncio.timeout(60):
        report = await restored(world).run()

    assert (report.state, report.charged) == ("finished", 6)
    assert set((world.bank.sales() + other.sales()).values()) == {1}


async def test_who_waited_longer_than_a_claim_lasts_in_a_restored_database_is_asked_about_again(world: World) -> None:
    """Meanwhile the customer pays on a page that was opened before the restore."""
    await world.subscribe(2)
    await world.issue_again()
    world = restored(world).with_context(in_flight_max=2, lease_s=1)
    world.bank.abilities = replace(world.bank.abilities, timeout_s=0.5, in_flight_max=1)
    world.bank.on("P1", wait_for(asyncio.Event()))
    _, waiting = await world.rows(Attempt)
    night = asyncio.create_task(charge(world))
    await world.until(lambda: len(world.bank.sent) == 1)

    world.bank.book(waiting["key"][:-1] + "2", PRICE)
    await night

    assert [each.profile.reference for each in world.bank.sent] == ["P1"]
    assert await world.states(Attempt) == ["unknown", "approved"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_two_processes_of_a_restored_database_charge_once_beside_an_account_that_stalls(world: World) -> None:
    other = await with_two_accounts(world, 6, 6)
    await world.issue_again()
    world = restored(world).with_context(in_flight_max=2, lease_s=31)
    beside = world.with_context(leaving=Leaving(), gateways=replace(world.ctx.gateways, _opened={}, _places={}))
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    nights = [asyncio.create_task(charge(each)) for each in (world, beside)]
    await until_states(world, {"approved": 6}, account=2)

    beside.ctx.leaving.tell()
    gate.set()
    await asyncio.gather(*nights)
    # What one handed back when the other had nothing more to look for is for whoever comes next.
    await charge(world)

    assert set((world.bank.sales() + other.sales()).values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 12
    assert await world.breaches() == []


@pytest.mark.parametrize("word", [pause_within, abort_within])
async def test_a_restored_run_that_is_held_back_sends_nothing_more_through_any_account(world: World, word: Any) -> None:
    other = await with_two_accounts(world, 4, 4)
    await world.change_merchant(brakes={"slice_charges": 0})
    world = restored(world).with_context(in_flight_max=1)
    gate = asyncio.Event()
    world.bank.default = other.default = wait_for(gate)
    night = asyncio.create_task(world.run())
    await world.until(lambda: len(world.bank.sent) == len(other.sent) == 1)

    await world.say(word, 1, "by hand")
    paused_at = monotonic()
    await world.until(lambda: monotonic() > paused_at + LOOK_AGAIN_AFTER_S)
    gate.set()
    async with asyncio.timeout(60):
        await night

    assert len(world.bank.sent) == len(other.sent) == 1
    expected = {pause_within: "created", abort_within: "withdrawn"}[word]
    assert Counter(await world.states(Attempt)) == {"approved": 2, expected: 6}
    assert await world.breaches() == []


async def test_a_restored_database_asks_an_account_no_more_at_once_than_it_takes(world: World) -> None:
    await world.subscribe(4)
    await world.issue_again()
    world = restored(world)
    world.bank.abilities = replace(world.bank.abilities, in_flight_max=3)
    world.bank.answers_held = asyncio.Event()
    night = asyncio.create_task(charge(world))

    await world.until(lambda: len(world.bank.asked) == 3)
    await world.states(Attempt)
    assert len(world.bank.asked) == 3

    world.bank.answers_held.set()
    await night
    assert len(world.bank.asked) == 4 * TRIES_AHEAD
    assert await world.states(Invoice) == ["paid"] * 4
    assert set(world.bank.sales().values()) == {1}


@pytest.mark.parametrize("ends", ["the time", "the process"])
async def test_what_a_restored_database_got_no_place_to_ask_about_is_not_charged_until_it_is_asked(
    world: World, ends: str
) -> None:
    """What it would have heard of is booked already."""
    await world.subscribe(2)
    await world.issue_again()
    for row in await world.rows(Attempt):
        world.bank.book(row["key"][:-1] + "2", PRICE)
    asking = restored(world).with_context(in_flight_max=1, leaving=Leaving(), lease_s=1)
    world.bank.abilities = replace(world.bank.abilities, timeout_s=0.5)
    async with world.store.read() as session:
        await world.ctx.gateways.of(session, [1])
    assert await asking.ctx.take_place(world.ctx.gateways.asking(1), inf)
    night = asyncio.create_task(charge(asking))
    if ends == "the process":
        asking.ctx.leaving.tell()
    await night

    assert (world.bank.asked, world.bank.sent) == ([], [])
    assert await world.states(Attempt) == ["created", "created"]
    assert await world.tasks() == ([("restored", "acc_1")] if ends == "the time" else [])

    world.ctx.gateways.asking(1).leave()
    await charge(restored(world))
    assert world.bank.sent == []
    assert await world.states(Invoice) == ["paid", "paid"]
    assert set(world.bank.sales().values()) == {1}
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


# --- giving back ----------------------------------------------------------------------------------


async def paid_and_owed_back(world: World, count: int, **changed: Any) -> None:
    """Let so many customers be charged, and owe each of them all of it back."""
    had = len(await world.rows(Attempt))
    await world.subscribe(count, **changed)
    await world.issue_again()
    await charge(world)
    for row in (await world.rows(Attempt))[had:]:
        async with world.store.write() as session:
            await owe_back(world.ctx, session, Payment(row["id"]), None, "returned")


async def fill(world: World, account: int, count: int = 1) -> Places:
    """Take places of an account, as a run does that has much under way."""
    async with world.store.read() as session:
        await world.ctx.gateways.of(session, [account])
    places = world.ctx.gateways.places(account)
    for _ in range(count):
        assert await world.ctx.take_place(places, inf)
    return places


def refunds(*banks: Bank) -> Counter[str]:
    return Counter(each.gateway_id + each.key for bank in banks for each in bank.bookings if each.kind == "refund")


async def test_a_refund_waits_for_a_place_and_leaves_before_who_came_later(world: World) -> None:
    await paid_and_owed_back(world, 1)
    world = world.with_context(in_flight_max=1)
    places = await fill(world, 1)
    giving = asyncio.create_task(run_operations(world.ctx))
    async with asyncio.timeout(60):
        while await world.states(Operation) != ["sent"]:  # noqa: ASYNC110 - known by the rows alone
            await asyncio.sleep(0.01)
    later = asyncio.create_task(world.ctx.take_place(places, inf))
    assert world.bank.did == []

    places.leave()

    assert await giving == {"refund approved": 1}
    assert await later
    assert set(refunds(world.bank).values()) == {1}


async def test_an_account_without_a_place_does_not_hold_up_what_another_gives_back(world: World) -> None:
    other = await with_two_accounts(world, 0, 0)
    await paid_and_owed_back(world, 2)
    await paid_and_owed_back(world, 2, account="other")
    world = world.with_context(in_flight_max=1)
    places = await fill(world, 1)
    giving = asyncio.create_task(run_operations(world.ctx))

    await world.until(lambda: len(other.did) == 2)
    assert world.bank.did == []

    places.leave()
    async with asyncio.timeout(60):
        assert await giving == {"refund approved": 4}
    assert set(refunds(world.bank, other).values()) == {1}
    assert await world.breaches() == []


@pytest.mark.parametrize("ends", ["its claim", "the process"])
async def test_a_refund_that_gets_no_place_is_handed_back_and_made_once(world: World, ends: str) -> None:
    await paid_and_owed_back(world, 2)
    lease_s = 31 if ends == "its claim" else 120
    stuck = world.with_context(in_flight_max=1, lease_s=lease_s, leaving=Leaving())
    places = await fill(stuck, 1)
    giving = asyncio.create_task(run_operations(stuck.ctx))
    if ends == "the process":
        async with asyncio.timeout(60):
            while await world.states(Operation) != ["sent", "sent"]:  # noqa: ASYNC110 - known by the rows alone
                await asyncio.sleep(0.01)
        stuck.ctx.leaving.tell()

    assert await giving == {}
    rows = await world.rows(Operation)
    assert [(row["state"], row["asks"], row["sent_at"], row["lease_until"]) for row in rows] == [
        ("created", 0, None, None)
    ] * 2

    places.leave()
    assert await run_operations(world.ctx) == {"refund approved": 2}
    assert set(refunds(world.bank).values()) == {1}
    assert await world.breaches() == []


async def test_a_doubt_about_a_refund_that_gets_no_place_spends_no_look_and_gives_nothing_back_twice(
    world: World,
) -> None:
    await paid_and_owed_back(world, 1)
    world.bank.then("refund", Unknown("time-out"))
    await run_operations(world.ctx)
    await world.pass_time(HOUR_S)
    [before] = await world.rows(Operation)
    stuck = world.with_context(in_flight_max=1, lease_s=31)
    places = await fill(stuck, 1)

    assert await run_operations(stuck.ctx) == {}

    [after] = await world.rows(Operation)
    assert (after["state"], after["asks"]) == (before["state"], before["asks"]) == ("unknown", 1)
    places.leave()
    await world.clear_up()
    assert set(refunds(world.bank).values()) == {1}
    assert await world.breaches() == []


async def test_a_person_who_gives_back_does_not_wait_for_a_place_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paid_and_owed_back(world, 1)
    world = world.with_context(in_flight_max=1)
    places = await fill(world, 1)
    monkeypatch.setattr("billing.services.operating.PERSON_WAITS_S", 0.01)

    assert await run_operations(world.ctx, 1) == {}
    assert await world.states(Operation) == ["created"]

    places.leave()
    await world.reconcile()
    assert set(refunds(world.bank).values()) == {1}


async def test_a_process_that_dies_while_a_refund_waits_for_a_place_gives_back_once(world: World) -> None:
    await paid_and_owed_back(world, 1)
    dying = world.with_context(in_flight_max=1)
    await fill(dying, 1)
    giving = asyncio.create_task(run_operations(dying.ctx))
    async with asyncio.timeout(60):
        while await world.states(Operation) != ["sent"]:  # noqa: ASYNC110 - known by the rows alone
            await asyncio.sleep(0.01)
    giving.cancel()
    await asyncio.gather(giving, return_exceptions=True)
    next_one = world.with_context(gateways=replace(world.ctx.gateways, _opened={}, _places={}))

    assert await run_operations(next_one.ctx) == {}, "its claim lasts"
    await next_one.clear_up()

    assert set(refunds(world.bank).values()) == {1}
    assert await world.breaches() == []
