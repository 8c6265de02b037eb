from __future__ import annotations

from dataclasses import replace

import pytest

from billing.gateway import AfterNothing, Approved, Asking, Charge, NotSent, Outcome, Pending, Unknown
from billing.models import Attempt, Invoice
from billing.services.charging import charge_ready
from billing.services.invoicing import issue_page
from billing.services.reconciling import ask_now, believe
from billing.services.refusing import ConflictError
from jobs.reconcile import reconcile
from tests.billing.services.support import (
    PAGE_LIFE_S,
    PRICE,
    Act,
    Bank,
    World,
    crash_after,
    crash_before,
    decline,
    lose_after,
    lose_before,
)

ASKING = Asking(delays_s=(10,), settle_s=90, budget=3, after_nothing=AfterNothing.NEW_KEY)


def test_nothing_there_is_believed_only_after_the_gateways_own_delay() -> None:
    nothing, paid = NotSent("nothing there"), Approved("1", PRICE)

    assert isinstance(believe(nothing, ASKING, 89.9), Unknown)
    assert believe(nothing, ASKING, 90) == nothing
    assert believe(paid, ASKING, 0) == paid


def test_nothing_there_frees_no_right_where_the_wire_forbids_a_new_request() -> None:
    asking = replace(ASKING, after_nothing=AfterNothing.PERSON)

    assert isinstance(believe(NotSent("nothing there"), asking, 9999), Unknown)


async def test_a_lost_answer_is_found_again_and_charged_once(world: World) -> None:
    await world.subscribe(2)
    world.bank.on("P1", lose_after)
    world.bank.on("P2", lose_before)

    await world.run()
    await world.clear_up()
    assert await world.states(Attempt) == ["approved", "not_sent"]
    await world.run()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid", "paid"]
    assert await world.mails() == [("att_1", "receipt"), ("att_3", "receipt")]
    assert await world.breaches() == []


@pytest.mark.parametrize("act", [crash_before, crash_after])
async def test_who_died_after_the_claim_is_waited_for_and_then_asked_about(world: World, act: Act) -> None:
    await world.subscribe(1)
    await issue_page(world.ctx, await world.begin_run())
    world.bank.default = act
    with pytest.raises(BaseExceptionGroup):
        await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    await world.pass_time(world.ctx.lease_s - 2)
    await world.reconcile()
    assert world.bank.asked == [], "its sender may still be at work"

    await world.pass_time(5)
    await world.reconcile()
    booked = act is crash_after
    assert await world.states(Attempt) == ["approved" if booked else "unknown"], "too early to believe nothing"
    await world.clear_up()
    assert await world.states(Attempt) == ["approved" if booked else "not_sent"]
    assert await world.breaches() == []


async def test_silence_counts_from_the_last_moment_at_which_it_may_have_left(world: World) -> None:
    """The claim is two minutes old, and the request left at its end: the bank has had no time yet."""
    await world.subscribe(1)
    await issue_page(world.ctx, await world.begin_run())

    async def leave_late(bank: Bank, charge: Charge) -> Outcome:
        await world.pass_time(119)
        return Unknown("time-out")

    world.bank.default = leave_late
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    await world.pass_time(11)
    await world.reconcile()

    assert len(world.bank.asked) == 1
    assert await world.states(Attempt) == ["unknown"], "130 s since the claim, but only 11 s since it left"


async def test_a_question_is_counted_before_it_is_asked(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_before
    await world.run()
    key = (await world.rows(Attempt))[0]["key"]

    class DeadError(BaseException):
        pass

    world.bank.tell(key, DeadError())
    await world.pass_time(11)
    with pytest.raises(DeadError):
        await world.reconcile()

    attempt = (await world.rows(Attempt))[0]
    assert (attempt["asks"], attempt["ask_at"] is not None) == (1, True)
    await world.clear_up()
    assert len(world.bank.asked) <= 3
    assert await world.breaches() == []


async def test_an_adapter_that_breaks_while_asking_settles_nothing_and_stops_nobody(world: World) -> None:
    await world.subscribe(2)
    world.bank.default = lose_after
    await world.run()
    world.bank.tell((await world.rows(Attempt))[0]["key"], RuntimeError("broken"))

    await world.pass_time(11)
    report = await world.reconcile()

    assert report.attempts == {"unknown": 1, "approved": 1}
    assert report.in_doubt == 1
    assert await world.breaches() == []


async def test_a_page_is_asked_about_by_our_key_whatever_id_a_try_on_it_had(world: World) -> None:
    """A debit was tried and failed, then a card was charged, and the push about the card got lost."""
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    link = await world.link_to(1)
    await world.pay(link)
    key = next(iter(world.bank.pages))
    await world.hear(world.bank.push(key, "pending", "77"))
    world.bank.customer_pays(key)

    await world.pass_time(PAGE_LIFE_S + 61)
    await world.reconcile()

    assert [(question.key, question.gateway_id) for question in world.bank.asked] == [(key, "")]
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_a_page_nobody_paid_on_frees_the_right_when_it_is_over(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    key = next(iter(world.bank.pages))

    await world.hear(world.bank.push(key, "failed", "78"))
    await world.pass_time(PAGE_LIFE_S + 30)
    await world.hear(world.bank.push(key, "failed", "79"))
    assert await world.states(Attempt) == ["declined", "pending"], "a failed try is evidence, not the end"
    await world.reconcile()
    assert world.bank.asked == []

    await world.pass_time(31)
    await world.reconcile()

    assert await world.states(Attempt) == ["declined", "not_sent"]
    assert [row["next_step"] for row in await world.rows(Invoice)] == ["retry"]
    assert await world.breaches() == []


async def test_a_question_about_what_was_never_dated_is_asked_and_not_believed_at_once(world: World) -> None:
    """A restored database heard that an attempt is pending which it believes it never sent."""
    await world.subscribe(1)
    await issue_page(world.ctx, await world.begin_run())
    key = (await world.rows(Attempt))[0]["key"]
    await world.hear(world.bank.push(key, "pending", "80"))
    assert await world.states(Attempt) == ["pending"]

    await world.pass_time(11)
    await world.reconcile()
    assert await world.states(Attempt) == ["pending"]
    await world.clear_up()

    assert await world.states(Attempt) == ["not_sent"]
    assert world.bank.sent == []
    assert await world.breaches() == []


def test_pending_is_never_taken_for_nothing() -> None:
    assert believe(Pending("1"), ASKING, 9999) == Pending("1")


async def test_what_turns_out_never_to_have_left_is_sent_at_once_where_that_is_wanted(world: World) -> None:
    await world.subscribe(2)
    world.bank.on("P1", lose_before)
    await world.run()

    for _ in range(3):
        await world.pass_time(3600)
        await reconcile(world.ctx, send=True)

    assert await world.states(Attempt) == ["not_sent", "approved", "approved"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid", "paid"]
    assert await world.breaches() == []


async def test_asking_now_takes_the_place_of_the_next_question_until_none_is_left(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", lose_before)
    await world.run()
    (attempt,) = await world.rows(Attempt)
    budget = world.bank.abilities.asking.budget
    assert budget is not None
    world.bank.tell(attempt["key"], *[Unknown("closed")] * budget)

    for asks in range(1, budget + 1):
        await ask_now(world.ctx, 1)
        assert (await world.rows(Attempt))[0]["asks"] == asks
    with pytest.raises(ConflictError, match="no question is left"):
        await ask_now(world.ctx, 1)

    assert len(world.bank.asked) == budget
    assert await world.tasks() == [("doubt", "att_1")]


async def test_a_customer_who_is_still_paying_is_not_asked_about(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    assert await world.states(Attempt) == ["declined", "pending"]

    with pytest.raises(ConflictError, match="still paying"):
        await ask_now(world.ctx, 2)

    assert world.bank.asked == []
