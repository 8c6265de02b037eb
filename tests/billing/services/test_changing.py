"""What people do with a subscription: what changes, what stays owed, and what a run in the middle of it sees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Attempt, Invoice, Message, Subscription
from billing.services import changing
from billing.services.changing import Held, When
from billing.services.founding import PlanFacts, found
from billing.services.invoicing import issue_page
from billing.services.refusing import ConflictError, MissingError, UnfitError
from tests.billing.services.support import TODAY, World, by_link, decline, facts

Verb = Callable[[AsyncSession, Held], Awaitable[None]]
NEXT = date(2026, 12, 21)


async def do(world: World, verb: Verb, reference: str = "S1") -> dict[str, Any]:
    """Do something with a subscription, and return what it is then."""
    async with world.store.write() as session:
        await verb(session, await changing.locked(world.ctx, session, world.merchant_id, reference))
    [row] = await world.rows(Subscription, reference=reference)
    return row


async def cancel_at_end(session: AsyncSession, held: Held) -> None:
    await changing.cancel(session, held, When.PERIOD_END)


async def cancel_now(session: AsyncSession, held: Held) -> None:
    await changing.cancel(session, held, When.NOW)


def quantity(number: int) -> Verb:
    return lambda session, held: changing.change_quantity(session, held, number)


def price(name: str) -> Verb:
    return lambda session, held: changing.change_price(session, held, name)


VERBS: list[Verb] = [
    changing.pause,
    changing.resume,
    cancel_at_end,
    cancel_now,
    changing.undo_cancellation,
    quantity(2),
]


async def declined(world: World) -> None:
    """Let the first charge of S1 be declined."""
    world.bank.on("P1", decline())
    await world.subscribe()
    await world.run()


# --- quantity and price -----------------------------------------------------


async def test_another_quantity_is_billed_from_the_next_invoice_on(world: World) -> None:
    await world.subscribe()
    await world.run()
    await do(world, quantity(3))
    world.clock.advance(timedelta(days=30))
    await world.run()
    assert [row["total_minor"] for row in await world.rows(Invoice)] == [2500, 7500]
    assert [charge.amount.minor for charge in world.bank.sent] == [2500, 7500]
    assert await world.breaches() == []


async def test_an_unsent_charge_keeps_the_quantity_it_was_invoiced_with(world: World) -> None:
    await world.subscribe()
    await world.issue_again()
    await do(world, quantity(3))
    world.next_day()
    await world.run()
    assert [charge.amount.minor for charge in world.bank.sent] == [2500]


async def test_another_price_of_the_same_rhythm_is_billed_from_the_next_invoice_on(world: World) -> None:
    await world.subscribe()
    await world.run()
    row = await do(world, price("team/trial"))
    assert (row["price_id"], row["next_due_on"], row["state"]) == (3, NEXT, "active")
    world.clock.advance(timedelta(days=30))
    await world.run()
    assert [row["title"] for row in await world.rows(Invoice)] == ["Team, monthly", "Team, after a trial"]
    assert await world.breaches() == []


async def test_a_price_with_another_rhythm_or_of_nobody_is_refused(world: World) -> None:
    await world.subscribe()
    with pytest.raises(UnfitError, match="its interval unit is year, and must be month"):
        await do(world, price("team/yearly"))
    for name in ("team/none", "none/monthly", "monthly", ""):
        with pytest.raises(UnfitError, match="there is no price"):
            await do(world, price(name))


async def test_another_merchants_price_is_none(world: World) -> None:
    await world.subscribe()
    plan = PlanFacts("theirs", "Theirs", facts().plans[0].prices)
    await found(world.ctx, facts(reference="ostwind", number_prefix="OW", plans=(plan,)))
    with pytest.raises(UnfitError, match="there is no price"):
        await do(world, price("theirs/monthly"))


# --- pause and resume -------------------------------------------------------


async def test_a_paused_subscription_is_not_billed_and_days_of_the_pause_never_are(world: World) -> None:
    await world.subscribe()
    await world.run()
    row = await do(world, changing.pause)
    assert (row["state"], row["next_due_on"], row["paused_by_dunning"]) == ("paused", None, False)
    world.clock.advance(timedelta(days=75))
    await world.run()
    row = await do(world, changing.resume)
    assert (row["state"], row["next_due_on"], row["skipped_periods"]) == ("active", date(2027, 2, 21), 2)
    world.clock.advance(timedelta(days=20))
    await world.run()
    assert [row["period_number"] for row in await world.rows(Invoice)] == [0, 3]
    assert await world.breaches() == []


async def test_what_is_invoiced_stays_owed_and_an_unsent_charge_leaves_during_a_pause(world: World) -> None:
    await world.subscribe()
    scope = await world.begin_run()
    await issue_page(world.ctx, scope)
    await do(world, changing.pause)
    assert await world.states(Attempt) == ["created"]
    await world.run()
    assert (await world.states(Attempt), await world.states(Invoice)) == (["approved"], ["paid"])
    assert await world.states(Subscription) == ["paused"]


async def test_paying_ends_dunnings_pause_and_not_the_merchants(world: World) -> None:
    await declined(world)
    await do(world, changing.pause)
    link = await world.link_to()
    await world.pay(link)
    await world.hear(world.bank.customer_pays((await world.rows(Attempt))[-1]["key"]))
    assert await world.states(Invoice) == ["paid"]
    assert await world.states(Subscription) == ["paused"]
    assert (await do(world, changing.resume))["state"] == "active"
    assert await world.breaches() == []


async def test_with_a_declined_invoice_a_resumed_subscription_is_past_due(world: World) -> None:
    await declined(world)
    await do(world, changing.pause)
    assert (await do(world, changing.resume))["state"] == "past_due"
    assert (await do(world, changing.resume))["state"] == "past_due"


async def test_who_pays_by_link_is_not_past_due_for_an_invoice_that_is_just_open(world: World) -> None:
    await world.subscribe(1, **by_link(1))
    await world.run()
    await do(world, changing.pause)
    assert (await do(world, changing.resume))["state"] == "active"


async def test_a_trial_goes_on_after_a_pause(world: World) -> None:
    later = TODAY + timedelta(days=10)
    await world.subscribe(1, anchor_on=later, billed_until=later)
    await do(world, changing.pause)
    row = await do(world, changing.resume)
    assert (row["state"], row["next_due_on"]) == ("trialing", later)


# --- cancel and undo --------------------------------------------------------


async def test_a_canceled_subscription_ends_with_its_billed_days_and_is_not_renewed(world: World) -> None:
    await world.subscribe()
    await world.run()
    row = await do(world, cancel_at_end)
    assert (row["state"], row["ended_on"], row["next_due_on"]) == ("canceled", NEXT, None)
    assert await do(world, cancel_at_end) == row
    world.clock.advance(timedelta(days=30))
    await world.run()
    assert (await world.states(Subscription), len(await world.rows(Invoice))) == (["ended"], 1)
    with pytest.raises(ConflictError, match="it is ended"):
        await do(world, changing.undo_cancellation)
    assert await world.breaches() == []


async def test_a_cancellation_is_undone_without_a_gap_while_the_billed_days_last(world: World) -> None:
    await world.subscribe()
    await world.run()
    await do(world, cancel_at_end)
    world.next_day(20)
    row = await do(world, changing.undo_cancellation)
    assert (row["state"], row["next_due_on"], row["ended_on"], row["canceled_at"]) == ("active", NEXT, None, None)
    world.next_day(10)
    await world.run()
    assert [row["period_number"] for row in await world.rows(Invoice)] == [0, 1]
    assert await world.breaches() == []


async def test_on_the_day_it_ends_there_is_nothing_left_to_undo(world: World) -> None:
    await world.subscribe()
    await world.run()
    await do(world, cancel_at_end)
    world.next_day(30)
    with pytest.raises(ConflictError, match="its billed days are over"):
        await do(world, changing.undo_cancellation)


async def test_canceled_now_it_is_over_and_what_was_invoiced_stays_owed(world: World) -> None:
    await declined(world)
    row = await do(world, cancel_now)
    assert (row["state"], row["ended_on"], row["next_due_on"]) == ("ended", TODAY, None)
    assert await do(world, cancel_now) == row
    world.next_day(3)
    await world.dun()
    assert await world.states(Invoice) == ["paid"]
    assert await world.states(Subscription) == ["ended"]
    assert await world.breaches() == []


async def test_what_is_due_and_not_invoiced_yet_is_not_invoiced_after_a_cancellation(world: World) -> None:
    await world.subscribe()
    row = await do(world, cancel_at_end)
    assert (row["state"], row["ended_on"]) == ("ended", TODAY)
    await world.run()
    assert await world.rows(Invoice) == []
    assert await world.breaches() == []


async def test_a_paused_subscription_is_canceled_and_a_past_due_one_undone_as_past_due(world: World) -> None:
    await declined(world)
    await do(world, cancel_at_end)
    assert (await do(world, changing.undo_cancellation))["state"] == "past_due"
    await do(world, changing.pause)
    assert (await do(world, cancel_at_end))["state"] == "canceled"
    with pytest.raises(ConflictError, match="only what is paused"):
        await do(world, changing.resume)


# --- what cannot be ---------------------------------------------------------


async def test_what_is_ended_stays_as_it_is(world: World) -> None:
    await world.subscribe()
    before = await do(world, cancel_now)
    for verb in (changing.pause, changing.resume, changing.undo_cancellation, quantity(2), price("team/trial")):
        with pytest.raises((ConflictError, ValueError)):
            await do(world, verb)
    [after] = await world.rows(Subscription)
    assert after == before


async def test_a_subscription_of_another_merchant_is_not_there(world: World) -> None:
    other = await world.beside("ostwind")
    await world.subscribe()
    with pytest.raises(MissingError):
        await do(other, changing.pause)


# --- at the same time -------------------------------------------------------


async def test_two_verbs_at_once_come_one_after_the_other(world: World) -> None:
    await world.subscribe(4)
    await world.run()
    twin = await world.twin()

    async def tried(of: World, verb: Verb, reference: str) -> None:
        with suppress(ConflictError, ValueError):
            await do(of, verb, reference)

    for first in VERBS:
        meeting = [tried(world if place % 2 else twin, verb, "S1") for place, verb in enumerate([first, *VERBS])]
        await asyncio.gather(*meeting)
    assert await world.breaches() == []
    await twin.store.close()


async def test_a_verb_that_meets_a_run_bills_it_whole_or_not_at_all(world: World) -> None:
    await world.subscribe(12)
    twin = await world.twin()
    verbs = [changing.pause, cancel_at_end, cancel_now, quantity(2)] * 3
    doing = [do(twin, verb, f"S{place + 1}") for place, verb in enumerate(verbs)]
    await asyncio.gather(world.run(), *doing)
    world.next_day()
    await world.run()
    invoices = {row["subscription_id"]: row for row in await world.rows(Invoice)}
    for row in await world.rows(Subscription):
        assert row["next_period"] == (1 if row["id"] in invoices else 0)
        assert row["next_due_on"] == (NEXT if row["state"] == "active" else None)
    assert set(world.bank.sales().values()) <= {1}
    assert len(world.bank.sales()) == len(invoices)
    assert await world.breaches() == []
    await twin.store.close()


async def test_no_verb_writes_to_a_customer(world: World) -> None:
    await world.subscribe()
    await world.run()
    before = await world.rows(Message)
    for verb in (quantity(2), changing.pause, changing.resume, cancel_at_end, changing.undo_cancellation, cancel_now):
        await do(world, verb)
    assert await world.rows(Message) == before
