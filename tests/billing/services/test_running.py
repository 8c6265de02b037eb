"""A run is planned, approved, braked, held back, let go on and aborted; a brake that pulls mails nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Attempt, ChargeRight, Invoice, Message, Run, Subscription, table
from billing.services import running
from billing.services.charging import charge_ready
from billing.services.outbox import deliver
from jobs.billing_run import plan_all, run_all
from tests.billing.services.support import (
    PRICE,
    World,
    approve,
    by_link,
    crash_before,
    decline,
    lose_after,
    not_sent,
    refuse,
    wait_for,
)
from tests.crash.support import Postman

SMALL = {"slice_charges": 4, "least_charges": 3}


async def brake(world: World, **thresholds: int) -> None:
    """Let the merchant's runs begin with a slice of four, and judge three answers already."""
    await world.change_merchant(brakes=SMALL | thresholds)


async def the_run(world: World) -> dict[str, Any]:
    return (await world.rows(Run))[-1]


async def mailed(world: World) -> list[str]:
    """Deliver what may leave, and return the steps of the mails that did."""
    await deliver(world.ctx, Postman())
    return [row["step"] for row in await world.rows(Message) if row["state"] == "sent"]


async def test_a_run_that_goes_well_charges_its_slice_first_and_then_the_rest(world: World) -> None:
    await brake(world)
    await world.subscribe(10)
    gate = asyncio.Event()
    for number in range(1, 5):
        world.bank.on(f"P{number}", wait_for(gate))
    night = asyncio.create_task(world.run())
    await world.until(lambda: len(world.bank.sent) == 4)
    await asyncio.sleep(0.2)
    assert len(world.bank.sent) == 4
    gate.set()

    report = await night
    assert (report.state, report.charged) == ("finished", 10)
    assert (await the_run(world))["slice_passed_at"] is not None
    assert set(world.bank.sales().values()) == {1}


async def test_a_slice_that_is_declined_stops_the_run_and_mails_nobody(world: World) -> None:
    await brake(world)
    await world.subscribe(10)
    world.bank.default = decline()

    report = await world.run()

    assert (report.state, report.declined, report.waiting) == ("paused", 4, 6)
    assert report.stopped == "4 of 4 charges through bank were declined"
    assert len(world.bank.sent) == 4
    assert await mailed(world) == []
    assert await world.tasks() == [("run", f"run_{report.run_id}")]
    assert await world.breaches() == []


@pytest.mark.parametrize("act", [lose_after, not_sent])
async def test_a_slice_that_fails_technically_stops_the_run(world: World, act: Any) -> None:
    await brake(world)
    await world.subscribe(10)
    world.bank.default = act

    report = await world.run()

    assert (report.state, report.stopped) == (
        "paused",
        "4 of 4 charges through bank were refused, not sent or left in doubt",
    )
    assert len(world.bank.sent) == 4


async def test_a_gateway_that_turns_bad_in_the_middle_stops_the_run(world: World) -> None:
    await brake(world)
    world = world.with_context(in_flight_max=3)
    await world.subscribe(40)
    for number in range(11, 41):
        world.bank.on(f"P{number}", decline())

    report = await world.run()

    assert report.state == "paused"
    assert 10 < len(world.bank.sent) < 30
    assert report.waiting == 40 - len(world.bank.sent)


async def test_while_a_run_is_held_back_nothing_of_it_is_sent_by_anybody(world: World) -> None:
    await brake(world)
    await world.subscribe(10)
    world.bank.default = decline()
    await world.run()
    sent = len(world.bank.sent)

    await world.run()
    await world.dun()
    await world.clear_up(1)
    world.next_day(1)
    report = await world.run()

    assert report.state == "paused"
    assert len(world.bank.sent) == sent


async def test_nobody_sends_the_slice_but_who_watches_it(world: World) -> None:
    await brake(world)
    await world.subscribe(3)
    await world.issue_again()
    await world.change(Run, 1, state="running", slice_passed_at=None)

    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert world.bank.sent == []


async def test_two_who_run_at_once_share_one_slice(world: World) -> None:
    await brake(world)
    await world.subscribe(12)
    world.bank.default = decline()
    twin = await world.twin()

    await asyncio.gather(run_all(world.ctx), run_all(twin.ctx))
    await twin.store.close()

    assert len(world.bank.sent) == 4
    assert [row["state"] for row in await world.rows(Run)] == ["paused"]


@asynccontextmanager
async def due_held_by_another(world: World) -> AsyncIterator[None]:
    """Another process is about to invoice all that is due; at the end it dies, and has done nothing."""
    twin = await world.twin()
    try:
        async with AsyncSession(twin.store.engine) as session:
            subscription = table(Subscription)
            await session.execute(twin.store.claim(select(subscription.c.id), subscription))
            yield
            await session.rollback()
    finally:
        await twin.store.close()


async def test_a_run_is_not_over_while_another_has_what_is_due_in_its_hands(world: World) -> None:
    await brake(world)
    await world.subscribe(12)
    world.bank.default = decline()

    async with due_held_by_another(world):
        night = asyncio.create_task(world.run())
        await asyncio.sleep(0.3)
        assert (night.done(), world.bank.sent) == (False, [])

    report = await night
    assert (report.state, report.invoiced, len(world.bank.sent)) == ("paused", 12, 4)


async def test_what_another_never_gets_on_with_is_waited_for_no_longer_than_a_claim_lasts(world: World) -> None:
    if world.store.is_sqlite:
        pytest.skip("SQLite has one writer at a time, and says itself when it waits too long")
    await world.subscribe(2)

    async with due_held_by_another(world):
        report = await world.with_context(lease_s=0).run()

    assert (report.state, report.invoiced) == ("running", 0)
    assert (await world.run()).state == "finished"
    assert len(world.bank.sent) == 2


async def test_a_slice_whose_sender_died_is_not_waited_for_for_ever(world: World) -> None:
    await brake(world, failed_percent=0)
    await world.subscribe(10)
    world.bank.on("P1", crash_before)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - the process dies, in a group of tasks
        await world.run()
    await world.pass_time(300)

    report = await world.run()

    assert report.state == "finished"
    assert (report.charged, report.unknown) == (6, 4)


async def test_a_run_that_was_let_go_on_finishes_and_writes_its_mails(world: World) -> None:
    await brake(world)
    await world.subscribe(6)
    for number in range(1, 5):
        world.bank.on(f"P{number}", decline())
    report = await world.run()
    assert await mailed(world) == []

    await world.say(running.resume_within, report.run_id or 0, "Ida")
    again = await world.run()

    assert (again.run_id, again.state, again.charged, again.declined) == (report.run_id, "finished", 2, 4)
    assert (await the_run(world))["approved_by"] == "Ida"
    assert await world.tasks() == []
    assert sorted(await mailed(world)) == ["declined"] * 4 + ["receipt"] * 2


async def test_an_aborted_run_withdraws_what_is_unsent_and_the_next_day_charges_it(world: World) -> None:
    await brake(world)
    await world.subscribe(8)
    for number in range(1, 5):
        world.bank.on(f"P{number}", decline())
    report = await world.run()

    await world.say(running.abort_within, report.run_id or 0, "the gateway was down")

    assert await world.states(Attempt) == ["declined"] * 4 + ["withdrawn"] * 4
    assert await world.rows(ChargeRight) == []
    assert await mailed(world) == []
    assert await world.tasks() == []
    assert await world.breaches() == []
    await world.run()
    assert len(world.bank.sent) == 4
    world.next_day(1)
    await world.run()
    assert len(world.bank.sent) == 8
    assert set(world.bank.sales().values()) == {1}


async def test_a_paused_run_stops_issuing_too(world: World) -> None:
    await world.subscribe(3)
    scope = await world.begin_run()
    await world.say(running.pause_within, scope.run_id, "let me look")

    report = await world.run()

    assert (report.state, report.invoiced) == ("paused", 0)
    assert await world.rows(Invoice) == []


# --- planned and approved -------------------------------------------------------------------------------


async def test_a_merchant_who_wants_to_approve_is_asked_before_anything_is_issued(world: World) -> None:
    await world.change_merchant(run_approval=True)
    await world.subscribe(2)
    await world.subscribe(1, **by_link(9, customer="K9", subscription="S9"))

    report = await world.run()
    run = await the_run(world)

    assert (report.state, report.invoiced) == ("planned", 0)
    assert run["plan"] == {"loads": {"bank EUR": {"charges": 2, "amount_minor": 2 * PRICE.minor}}, "links": 1}
    assert await world.rows(Invoice) == []
    await world.say(running.approve_within, run["id"], "Ida")
    again = await world.run()
    assert (again.run_id, again.state, again.charged) == (run["id"], "finished", 2)


async def test_a_run_can_be_planned_by_hand(world: World) -> None:
    await world.subscribe(2)

    [planned] = await plan_all(world.ctx)

    assert planned.state == "planned"
    assert (await world.run()).state == "planned"
    await world.say(running.approve_within, planned.run_id or 0, "Ida")
    assert (await world.run()).charged == 2
    assert await plan_all(world.ctx) == []


async def test_a_run_much_larger_than_others_waits_for_a_word(world: World) -> None:
    await brake(world)
    await world.subscribe(3)
    await world.run()
    world.next_day(31)
    await world.subscribe(30, anchor_on=world.clock.now().date(), billed_until=world.clock.now().date())

    report = await world.run()

    assert (report.state, report.invoiced) == ("paused", 0)
    assert report.stopped == "33 charges in EUR are due through bank, and no recent run had more than 3"
    assert len(world.bank.sent) == 3
    await world.say(running.resume_within, report.run_id or 0, "Ida")
    assert (await world.run()).charged == 33


async def test_an_absolute_limit_holds_the_first_run(world: World) -> None:
    await brake(world, amount_minor_max=PRICE.minor * 2)
    await world.subscribe(3)

    report = await world.run()

    assert (report.state, len(world.bank.sent)) == ("paused", 0)
    assert report.stopped == "€75.00 is due through bank, and €50.00 is the most allowed in one run"


@pytest.mark.parametrize(
    ("verb", "state", "says"),
    [
        (running.approve_within, "finished", "run 1 is finished: it does not wait for approval"),
        (running.pause_within, "paused", "run 1 is paused: it is not running"),
        (running.resume_within, "running", "run 1 is running: it is not paused"),
        (running.abort_within, "aborted", "run 1 is aborted: it is over"),
    ],
)
async def test_a_word_that_does_not_fit_is_refused_and_changes_nothing(
    world: World, verb: Any, state: str, says: str
) -> None:
    await world.begin_run()
    await world.change(Run, 1, state=state)
    before = await the_run(world)

    with pytest.raises(running.RunStateError, match=says):
        await world.say(verb, 1, "x")
    with pytest.raises(running.RunStateError, match="there is no run 99"):
        await world.say(verb, 99, "x")

    assert await the_run(world) == before


async def test_a_refusal_of_us_stops_the_account_whatever_the_run_says(world: World) -> None:
    await brake(world)
    await world.subscribe(8)
    world.bank.default = refuse

    report = await world.run()

    assert report.state == "paused"
    assert len(world.bank.sent) <= 4
    assert await mailed(world) == []


async def test_a_finished_run_holds_back_no_mail(world: World) -> None:
    await world.subscribe(2)
    world.bank.on("P1", decline())
    world.bank.on("P2", approve)
    await world.run()

    assert sorted(await mailed(world)) == ["declined", "receipt"]
    async with world.store.read() as session:
        assert (await session.execute(select(table(Run).c.slice_passed_at))).scalar() is not None
