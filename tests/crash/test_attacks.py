"""Attacks that once broke a promise, or nearly did: runs ended in mid-page, senders overtaken, consent taken back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from billing.gateway import AfterNothing, Asking, NotSent
from billing.models import Attempt, ChargeRight, Invoice, Price, Profile, Subscription
from billing.services import closing, running
from billing.services.charging import charge_ready
from billing.services.context import Moment
from billing.services.forgetting import forget
from billing.services.invoicing import issue_page
from billing.services.paying import Click, pay
from billing.services.recovering import try_unsent_again
from billing.services.settling import News, settle
from jobs.billing_run import issue_due
from tests.billing.services.support import (
    PRICE,
    World,
    approve,
    by_link,
    lose_after,
    lose_before,
    not_sent,
    stop_account,
    tell_again,
    wait_for,
)
from tests.crash.support import DawdlingStore, HesitatingStore, seen_by

FORGETFUL: Final = Asking((10, 120, 1800), 90, None, AfterNothing.SAME_KEY, by_key=False, repeat_s=23 * 3600)


def url_of(world: World) -> str:
    return world.store.engine.url.render_as_string(hide_password=False)


async def spoil_a_page(world: World, good: int) -> None:
    """Enrol so many customers, and one who makes the page they are on fail."""
    await world.subscribe(good)
    await world.subscribe(1, price="team/yearly", quantity=4)
    await world.change(Price, 2, amount_minor=2**62)


# --- a run that is ended while it issues ------------------------------------------------------------------


async def test_a_run_aborted_while_a_page_is_being_written_charges_nobody(world: World) -> None:
    """The page has seen the run running, and is there for all to see only after the run was ended."""
    await world.subscribe(3)
    scope = await world.begin_run()
    slow = DawdlingStore(url_of(world))
    page = asyncio.create_task(issue_page(seen_by(world, slow).ctx, scope))
    await world.until(slow.waits.is_set)
    abort = asyncio.create_task(running.abort(world.ctx, scope.run_id, "wrong prices"))
    await asyncio.wait([abort], timeout=0.3)
    slow.go_on.set()
    await asyncio.gather(page, abort)
    await slow.close()
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert world.bank.sent == []
    assert await world.states(Attempt) == ["withdrawn"] * 3
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []
    world.next_day(1)
    await world.run()
    assert await world.states(Invoice) == ["paid"] * 3
    assert set(world.bank.sales().values()) == {1}


async def test_a_run_aborted_while_a_failed_page_is_tried_row_by_row_invoices_nobody_more(world: World) -> None:
    await spoil_a_page(world, 4)
    scope = await world.begin_run()
    slow = HesitatingStore(url_of(world), at=3)
    page = asyncio.create_task(issue_page(seen_by(world, slow).ctx, scope))
    await world.until(slow.waits.is_set)
    await running.abort(world.ctx, scope.run_id, "wrong prices")
    slow.go_on.set()
    await page
    await slow.close()
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert world.bank.sent == []
    assert await world.states(Attempt) == ["withdrawn"]
    assert [row["number"] for row in await world.rows(Invoice)] == ["NA-2026-00001"]
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


async def test_two_issuers_and_a_page_that_fails_leave_no_gap_in_the_numbers(world: World) -> None:
    await spoil_a_page(world, 30)
    scope = await world.begin_run()
    other = await world.twin()
    await asyncio.gather(*(issue_due(each.ctx, scope, lambda _: None) for each in (world, other)))
    await other.store.close()

    numbers = sorted(row["number"] for row in await world.rows(Invoice))
    assert numbers == [f"NA-2026-{number:05}" for number in range(1, 31)]
    assert await world.tasks() == [("unstorable", "sub_31")]
    assert await world.breaches() == []


# --- a sender that is overtaken ---------------------------------------------------------------------------


async def test_a_charge_that_waited_beyond_its_claim_is_not_said_to_be_unsent(world: World) -> None:
    """Others have repeated the request meanwhile, and it was booked; only then its account is stopped.

    Nor is it handed back when no place came in time: by the database's clock the claim was over before that.
    """
    can = replace(world.bank.abilities, asking=FORGETFUL, notification_is_truth=False, in_flight_max=1)
    world.bank.abilities, world.bank.default = can, tell_again
    await world.change_merchant(brakes={"failed_percent": 0})
    await world.subscribe(2)
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate, tell_again))
    world.bank.on("P2", lose_after)
    hasty = world.with_context(lease_s=int(can.timeout_s) + 5)
    night = asyncio.create_task(hasty.run())
    await world.until(lambda: len(world.bank.sent) == 1)
    await world.pass_time(3600)
    other = await world.twin()
    await other.reconcile()
    await asyncio.sleep(5.1)
    assert await world.states(Attempt) == ["approved", "unknown"]
    await stop_account(world)
    gate.set()
    await night
    await other.store.close()

    await world.open_account_again()
    await world.clear_up()
    await world.run()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid", "paid"]
    assert await world.breaches() == []


# --- a consent that is missing or taken back --------------------------------------------------------------


async def forget_profile(world: World, profile_id: int = 1) -> None:
    async with world.store.write() as session:
        await forget(world.ctx, session, world.merchant_id, profile_id)


async def test_a_forgotten_profile_is_not_brought_back_by_old_news_of_a_charge(world: World) -> None:
    await world.subscribe(1)
    await world.run()
    [attempt] = await world.rows(Attempt)
    await forget_profile(world)

    about = (attempt["key"], "paid", attempt["gateway_id"])
    await world.hear(world.bank.push(*about, profile="P1", serial="again"))
    await world.hear(world.bank.push(*about, profile="P7", serial="and again"))

    assert await world.states(Profile) == ["forgotten"]
    world.next_day(31)
    await world.run()
    assert len(world.bank.sent) == 1
    assert await world.breaches() == []


async def test_a_replaced_profile_is_not_brought_back_by_old_news_of_a_charge(world: World) -> None:
    await world.subscribe(1)
    await world.run()
    [attempt] = await world.rows(Attempt)
    world.next_day(31)
    await world.change(Profile, 1, state="failed")
    await world.run()
    await world.pay(await world.link_to(2))
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages)), profile="NEW"))
    assert await world.states(Profile) == ["replaced", "active"]

    await world.hear(world.bank.push(attempt["key"], "paid", attempt["gateway_id"], profile="P1", serial="again"))

    assert await world.states(Profile) == ["replaced", "active"]
    assert [row["profile_id"] for row in await world.rows(Subscription)] == [2]


async def test_who_pays_by_link_and_was_asked_for_no_consent_is_not_charged_by_himself_from_then_on(
    world: World,
) -> None:
    """Neither by a gateway that stored his card all the same, nor by a visit for another subscription of his."""
    await world.subscribe(1, **by_link(1))
    await world.subscribe(1, customer="K1", name="Customer 1", email="k1@example.org", **by_link(1))
    await world.run()
    await pay(world.ctx, await world.link_to(1), Click("", ""))
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages)), profile="KEPT"))

    assert await world.states(Invoice) == ["paid", "open"]
    assert [row["collection"] for row in await world.rows(Subscription)] == ["link", "link"]


async def test_a_visit_makes_only_its_own_subscription_a_charged_one(world: World) -> None:
    await world.subscribe(1, **by_link(1))
    await world.subscribe(1, customer="K1", name="Customer 1", email="k1@example.org", **by_link(1))
    await world.run()
    await world.pay(await world.link_to(1))
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages)), profile="KEPT"))
    assert [row["collection"] for row in await world.rows(Subscription)] == ["charge", "link"]

    world.next_day(31)
    await world.run()
    assert [each.profile.reference for each in world.bank.sent] == ["KEPT"]
    assert await world.breaches() == []


# --- an invoice that is taken back while it is paid -------------------------------------------------------


async def test_an_invoice_voided_while_its_page_is_claimed_has_one_winner(world: World) -> None:
    await world.subscribe(1)
    await world.issue_again()
    slow = DawdlingStore(url_of(world))
    night = asyncio.create_task(charge_ready(seen_by(world, slow).ctx, world.merchant_id, lambda _: None))
    await world.until(slow.waits.is_set)

    async def void() -> None:
        async with world.store.write() as session:
            bill = await closing.locked_bill(world.ctx, session, world.merchant_id, 1)
            await closing.void(session, bill)

    taking_back = asyncio.create_task(void())
    await asyncio.wait([taking_back], timeout=0.3)
    slow.go_on.set()
    done = await asyncio.gather(night, taking_back, return_exceptions=True)
    await slow.close()

    assert done[0] is None
    assert isinstance(done[1], Exception)
    assert await world.states(Invoice) == ["paid"]
    assert world.bank.taken() == PRICE.minor
    assert await world.breaches() == []


async def test_a_run_aborted_before_it_tries_again_what_was_unsent_charges_nobody(world: World) -> None:
    await world.subscribe(2)
    world.bank.default = not_sent
    await world.run()
    world.bank.default = approve
    world.next_day(1)
    scope = await world.begin_run()
    await running.abort(world.ctx, scope.run_id, "wrong prices")
    sent = len(world.bank.sent)

    moment = Moment("Europe/Vienna", world.clock.now())
    assert await try_unsent_again(world.ctx, world.merchant_id, moment, scope.run_id) == {}
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert len(world.bank.sent) == sent
    await world.run()
    assert await world.states(Invoice) == ["paid"] * 2
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_not_sent_from_a_sender_whose_charge_was_asked_about_meanwhile_frees_no_right(world: World) -> None:
    """It is true of his own request; but whoever asked may have repeated that, and the answer to it was lost."""
    await world.subscribe(1)
    world.bank.on("P1", lose_before)
    await world.run()
    [attempt] = await world.rows(Attempt)
    await world.change(Attempt, 1, asks=1)

    late = News(attempt["id"], NotSent("the connection was refused"), asks_before=0)
    assert await settle(world.ctx, [late]) == {"unknown": 1}
    assert len(await world.rows(ChargeRight)) == 1
    assert await settle(world.ctx, [replace(late, asks_before=1)]) == {"not_sent": 1}
    assert await world.rows(ChargeRight) == []
