from __future__ import annotations

import asyncio
from dataclasses import replace
from threading import Event
from time import monotonic

import pytest

from billing.gateway import Charge, ConfigurationError, DeclineClass, Outcome
from billing.models import Attempt, ChargeRight, GatewayAccount, Invoice, Profile, Run, RunState, Subscription
from billing.services.charging import LOOK_AGAIN_AFTER_S, charge_ready
from billing.services.invoicing import issue_page
from billing.store import Store
from tests.billing.services.support import (
    PRICE,
    Bank,
    World,
    approve,
    context,
    counted,
    crash_before,
    decline,
    explode,
    forbid,
    lose_after,
    not_sent,
    refuse,
    reserve,
    stop_account,
    wait_for,
)


async def test_every_kind_of_answer_leaves_what_the_model_says(world: World) -> None:
    await world.subscribe(6)
    for number, act in enumerate((decline(), lose_after, not_sent, explode, reserve), start=2):
        world.bank.on(f"P{number}", act)

    report = await world.run()

    states = ["approved", "declined", "unknown", "not_sent", "unknown", "approved"]
    assert await world.states(Attempt) == states
    assert (report.charged, report.declined, report.unknown, report.not_sent) == (2, 1, 2, 1)
    assert [row["attempt_id"] for row in await world.rows(ChargeRight)] == [3, 5]
    assert await world.states(Invoice) == ["paid", "open", "open", "open", "open", "paid"]
    assert await world.breaches() == []


async def test_the_claim_is_committed_before_anything_leaves(world: World) -> None:
    await world.subscribe(1)
    seen: list[tuple[str, bool]] = []

    async def look(bank: Bank, charge: Charge) -> Outcome:
        other = await world.twin()
        row = (await other.rows(Attempt))[0]
        seen.append((row["state"], row["lease_until"] is not None))
        await other.store.close()
        return await approve(bank, charge)

    world.bank.default = look
    await world.run()

    assert seen == [("sent", True)]


async def test_a_refused_account_stops_and_nobody_is_mailed_until_it_is_mended(world: World) -> None:
    world = world.with_context(in_flight_max=5)
    await world.subscribe(12)
    world.bank.default = refuse

    report = await world.run()

    assert await world.states(GatewayAccount) == ["stopped"]
    assert await world.tasks() == [("account_stopped", "acc_1")]
    assert await world.mails() == []
    assert report.refused + report.waiting == 12
    assert await world.breaches() == []

    world.bank.default, sent = approve, len(world.bank.sent)
    await world.run()
    assert len(world.bank.sent) == sent, "a stopped account is not charged"

    await world.open_account_again()
    await world.run()

    assert set(world.bank.sales().values()) == {1}
    assert len(world.bank.bookings) == 12
    assert set(await world.states(Invoice)) == {"paid"}
    assert await world.tasks() == []
    assert await world.breaches() == []


async def test_what_was_not_sent_is_tried_again_the_same_day_under_a_new_key(world: World) -> None:
    await world.subscribe(2)
    world.bank.on("P1", not_sent)

    await world.run()
    await world.run()
    await world.run()

    assert [charge.key[-2:] for charge in world.bank.sent] == ["-1", "-1", "-2"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid", "paid"]
    assert await world.breaches() == []


async def test_what_must_not_be_sent_is_left_to_a_person_and_stops_nobody_else(world: World) -> None:
    await world.subscribe(3)
    world.bank.on("P1", forbid)
    await world.change_profile(2, sealed_reference="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")

    await world.run()
    await world.run()

    assert await world.states(Attempt) == ["not_sent", "not_sent", "approved"]
    assert await world.states(GatewayAccount) == ["open"]
    assert sorted(await world.tasks()) == [("unsendable", "inv_1"), ("unsendable", "inv_2")]
    assert await world.mails() == [("att_3", "receipt")]
    assert await world.breaches() == []


async def test_a_claim_past_its_deadline_is_dropped_and_charged_once_later(world: World) -> None:
    """As after SIGSTOP: the process wakes up when its claim may be somebody else's to resolve."""
    world = world.with_context(in_flight_max=1, lease_s=31)
    await world.subscribe(1)
    world.bank.abilities = replace(world.bank.abilities, timeout_s=31 - 0.0001)

    night = asyncio.create_task(world.run())
    async with asyncio.timeout(60):
        while await world.states(Attempt) != ["sent"]:  # noqa: ASYNC110 - the claim is known by its row alone
            await asyncio.sleep(0.01)
    assert (await world.reconcile()).attempts == {}, "the lease still runs"
    await world.clear_up()
    await night

    assert world.bank.sent == []
    assert await world.states(Attempt) == ["not_sent"]
    world.bank.abilities = replace(world.bank.abilities, timeout_s=5)
    await world.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_sender_that_stood_still_beyond_its_lease_just_before_sending_sends_nothing(world: World) -> None:
    """Stopped between the last look at the clock and the connection; others may have charged anew by then."""
    world = world.with_context(lease_s=1)
    world.bank.abilities = replace(world.bank.abilities, timeout_s=0.5)

    async def stand_still(bank: Bank, charge: Charge) -> Outcome:
        Event().wait(1.1)
        for _ in range(3):  # making a connection takes several turns of the loop
            await asyncio.sleep(0)
        return await approve(bank, charge)

    world.bank.on("P1", stand_still)
    await world.subscribe(1)

    await world.run()

    assert world.bank.taken() == 0
    assert await world.states(Attempt) == ["unknown"]
    await world.clear_up()
    await world.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_lease_shorter_than_a_request_is_refused_before_anything_is_claimed(world: World) -> None:
    world = world.with_context(lease_s=30)
    await world.subscribe(1)

    with pytest.raises(ConfigurationError, match="TURNUS_LEASE_S: 30 s are too short"):
        await world.run()

    assert await world.states(Attempt) == ["created"]
    assert world.bank.sent == []


async def test_an_unusable_account_stops_and_the_other_one_goes_on(world: World, store: Store) -> None:
    """Credentials that cannot work refuse every verb, and nothing of that account is sent."""
    await world.subscribe(2)

    def open_gateway(name: str, credentials: object) -> Bank:
        raise ConfigurationError("no password")

    broken = context(store, world.bank, world.clock)
    broken.gateways.open = open_gateway
    scope = await world.begin_run()
    await issue_page(broken, scope)
    await charge_ready(broken, world.merchant_id, lambda _: None)

    assert world.bank.sent == []
    assert set(await world.states(Attempt)) == {"refused"}
    assert await world.states(GatewayAccount) == ["stopped"]
    assert await world.mails() == []
    assert await world.breaches() == []


async def test_attempts_of_a_paused_run_or_a_stopped_account_stay_unsent(world: World) -> None:
    await world.subscribe(1)
    scope = await world.begin_run()
    await issue_page(world.ctx, scope)

    await world.change(Run, scope.run_id, state=RunState.PAUSED)
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    await world.change(Run, scope.run_id, state=RunState.RUNNING)
    await stop_account(world)
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    assert world.bank.sent == []

    await world.change(GatewayAccount, 1, state="open")
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    assert len(world.bank.sent) == 1


async def test_an_attempt_whose_invoice_needs_no_money_is_withdrawn_at_the_last_look(world: World) -> None:
    await world.subscribe(2)
    await issue_page(world.ctx, await world.begin_run())
    await world.change(Invoice, 1, state="void")

    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert await world.states(Attempt) == ["withdrawn", "approved"]
    assert [row["owed_id"] for row in await world.rows(ChargeRight)] == []
    assert len(world.bank.sent) == 1


async def test_many_are_in_flight_but_no_more_than_allowed(world: World) -> None:
    world = world.with_context(in_flight_max=4)
    await world.subscribe(12)
    flying, most = 0, 0

    async def fly(bank: Bank, charge: Charge) -> Outcome:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        flying -= 1
        return await approve(bank, charge)

    world.bank.default = fly
    await world.run()

    assert 1 < most <= 4
    assert set(world.bank.sales().values()) == {1}
    assert len(world.bank.bookings) == 12


async def test_a_page_of_charges_takes_the_same_number_of_statements_whatever_its_size(world: World) -> None:
    counts, sizes = [], []
    scope = await world.begin_run()
    for size in (4, 80):
        sizes.append(size)
        await world.subscribe(size)
        await issue_page(world.ctx, scope)
        gate = asyncio.Event()
        world.bank.default = wait_for(gate)
        with counted(world.store) as statements:
            night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))
            await world.until(lambda: len(world.bank.sent) == sum(sizes))
            gate.set()
            await night
        counts.append(len(statements))

    assert counts[1] <= counts[0] + 3, "only how the answers happen to be gathered may differ"


async def test_a_dead_profile_is_not_charged_again(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", decline(DeclineClass.NEEDS_NEW_PROFILE, "INVALID_CREDITCARD_NUMBER"))
    await world.run()

    world.next_day(31)
    await world.run()

    assert len(world.bank.sent) == 1
    assert await world.states(Profile) == ["failed"]
    assert await world.states(Subscription) == ["past_due"]
    assert await world.mails() == [("att_1", "declined"), ("inv_2", "invoice")]
    assert await world.breaches() == []


async def test_a_restored_database_asks_before_it_sends(world: World) -> None:
    """The same keys come up again; what was booked since the backup must not be booked once more."""
    await world.subscribe(3)
    await issue_page(world.ctx, await world.begin_run())
    for row in (await world.rows(Attempt))[:2]:
        world.bank.book(row["key"], PRICE, f"P{row['id']}")

    restored = world.with_context(ask_first=True)
    await charge_ready(restored.ctx, world.merchant_id, lambda _: None)

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Attempt) == ["approved"] * 3
    assert [row["asks"] for row in await world.rows(Attempt)] == [1, 1, 1]
    assert len(world.bank.sent) == 1
    assert await world.breaches() == []


async def test_a_process_that_dies_while_charging_leaves_the_rest_to_the_next(world: World) -> None:
    world = world.with_context(in_flight_max=2)
    await world.subscribe(5)
    world.bank.on("P2", crash_before)

    with pytest.raises(BaseExceptionGroup):
        await world.run()
    await world.clear_up()
    await world.run()
    await world.run()

    assert set(world.bank.sales().values()) == {1}
    assert len(world.bank.sales()) == 5
    assert await world.breaches() == []


async def test_no_account_is_sent_more_at_once_than_it_takes(world: World) -> None:
    world.bank.abilities = replace(world.bank.abilities, in_flight_max=2)
    under_way: list[int] = []
    seen: list[int] = []

    async def count(bank: Bank, charge: Charge) -> Outcome:
        under_way.append(1)
        seen.append(len(under_way))
        await asyncio.sleep(0)
        under_way.pop()
        return bank.book(charge.key, charge.amount, charge.profile.reference)

    world.bank.default = count
    await world.subscribe(6)
    await world.run()

    assert max(seen) == 2
    assert await world.states(Invoice) == ["paid"] * 6


async def test_what_waited_for_a_place_is_looked_at_again_before_it_leaves(world: World) -> None:
    """Three are claimed and one place is there; meanwhile one invoice is voided, and the account stopped."""
    world.bank.abilities = replace(world.bank.abilities, in_flight_max=1)
    await world.subscribe(3)
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate))
    night = asyncio.create_task(world.run())
    await world.until(lambda: len(world.bank.sent) == 1)
    # All three were claimed before the first was sent; a busy machine may take long until then.
    sent_at = monotonic()
    await world.until(lambda: monotonic() > sent_at + LOOK_AGAIN_AFTER_S)
    await world.change(Invoice, 2, state="void", next_step=None, next_step_on=None)
    await stop_account(world)
    gate.set()
    await night

    assert len(world.bank.sent) == 1
    assert await world.states(Attempt) == ["approved", "not_sent", "not_sent"]
    assert [row["next_step"] for row in await world.rows(Invoice)] == [None, None, "retry"]
    assert await world.rows(ChargeRight) == []
