"""A wire that cannot be asked by our key, or wants the same key again: the same request is the question."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from billing.gateway import AfterNothing, Asking
from billing.models import Attempt, ChargeRight, GatewayAccount, Invoice
from billing.services.charging import charge_ready
from billing.services.invoicing import issue_page
from billing.services.reconciling import ask_about_doubts
from tests.billing.services.support import (
    Act,
    World,
    approve,
    crash_after,
    crash_before,
    decline,
    lose_after,
    lose_before,
    not_sent,
    refuse,
    stop_account,
    tell_again,
)
from tests.crash.support import back_up, restore

DAY_S = 86_400
FORGETFUL = Asking((10, 120, 1800), 90, None, AfterNothing.SAME_KEY, by_key=False, repeat_s=23 * 3600)
SAME_KEY = Asking((10, 120, 1800), 90, None, AfterNothing.SAME_KEY)


def speaks(world: World, asking: Asking) -> None:
    """Let the bank be asked in this way, and remember keys."""
    world.bank.abilities = replace(world.bank.abilities, asking=asking)
    world.bank.default = tell_again


async def in_doubt(world: World, act: Act, asking: Asking = FORGETFUL) -> None:
    """Let one charge of a night be lost."""
    speaks(world, asking)
    await world.subscribe(1)
    world.bank.on("P1", act)
    await world.run()
    assert await world.states(Attempt) == ["unknown"]


@pytest.mark.parametrize("asking", [FORGETFUL, SAME_KEY])
@pytest.mark.parametrize("act", [lose_after, lose_before])
async def test_a_lost_answer_is_asked_for_by_the_same_request_and_charged_once(
    world: World, act: Act, asking: Asking
) -> None:
    await in_doubt(world, act, asking)

    await world.clear_up()

    first, *others = world.bank.sent
    assert all(again == first for again in others)
    assert await world.states(Attempt) == ["approved"]
    assert await world.states(Invoice) == ["paid"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


@pytest.mark.parametrize("act", [crash_before, crash_after])
async def test_who_died_with_the_request_is_followed_by_the_same_request(world: World, act: Act) -> None:
    speaks(world, FORGETFUL)
    await world.subscribe(1)
    await issue_page(world.ctx, await world.begin_run())
    world.bank.on("P1", act)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - the process dies, in a group of tasks
        await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    await world.reconcile()
    assert await world.states(Attempt) == ["sent"]
    await world.clear_up()

    assert await world.states(Attempt) == ["approved"]
    assert set(world.bank.sales().values()) == {1}


async def test_a_gateway_that_can_be_asked_is_asked_before_anything_is_repeated(world: World) -> None:
    await in_doubt(world, lose_after, SAME_KEY)

    await world.clear_up()

    assert len(world.bank.sent) == 1
    assert await world.states(Attempt) == ["approved"]


async def test_nothing_is_repeated_before_the_gateway_has_had_its_time(world: World) -> None:
    await in_doubt(world, lose_before, SAME_KEY)

    await world.pass_time(20)
    await world.reconcile()

    assert (len(world.bank.sent), len(world.bank.asked)) == (1, 1)


async def test_a_key_that_is_forgotten_is_never_sent_again_and_a_person_decides(world: World) -> None:
    await in_doubt(world, lose_after)

    await world.pass_time(23 * 3600 + 1)
    for _ in range(3):
        await world.reconcile()
        await world.pass_time(DAY_S)

    assert len(world.bank.sent) == 1
    assert await world.states(Attempt) == ["unknown"]
    assert await world.tasks() == [("doubt", "att_1")]
    assert len(await world.rows(ChargeRight)) == 1
    assert await world.breaches() == []


async def test_the_time_a_key_is_remembered_counts_from_the_first_sending(world: World) -> None:
    await in_doubt(world, lose_after)
    for _ in range(22):
        world.bank.on("P1", lose_before)
        await world.pass_time(3600)
        await world.reconcile()
    sent = len(world.bank.sent)

    await world.pass_time(3600)
    await world.reconcile()

    assert sent == 23
    assert len(world.bank.sent) == sent
    assert set(world.bank.sales().values()) == {1}


async def test_a_question_that_could_not_be_put_says_nothing_about_the_charge(world: World) -> None:
    await in_doubt(world, lose_after)
    world.bank.on("P1", not_sent)

    await world.pass_time(20)
    await world.reconcile()

    assert await world.states(Attempt) == ["unknown"]
    assert len(await world.rows(ChargeRight)) == 1
    await world.clear_up()
    assert set(world.bank.sales().values()) == {1}


async def test_nothing_is_repeated_while_the_account_is_stopped(world: World) -> None:
    await in_doubt(world, lose_before)
    await stop_account(world)

    await world.clear_up()
    assert len(world.bank.sent) == 1
    await world.open_account_again()
    await world.clear_up()

    assert await world.states(Attempt) == ["approved"]


async def test_a_rejection_of_us_while_asking_stops_the_account_and_leaves_the_doubt(world: World) -> None:
    await in_doubt(world, lose_after)
    world.bank.on("P1", refuse)

    await world.clear_up(1)

    assert await world.states(Attempt) == ["unknown"]
    assert await world.states(GatewayAccount) == ["stopped"]
    assert await world.mails() == []


@pytest.mark.parametrize(("asking", "state"), [(FORGETFUL, "unknown"), (SAME_KEY, "not_sent")])
async def test_what_is_no_longer_owed_is_not_charged_by_asking(world: World, asking: Asking, state: str) -> None:
    await in_doubt(world, lose_before, asking)
    await world.change(Invoice, 1, state="void", next_step=None, next_step_on=None)

    await world.clear_up()

    assert len(world.bank.sent) == 1
    assert world.bank.taken() == 0
    assert await world.states(Attempt) == [state]


async def test_a_decline_told_again_is_the_decline_and_the_next_try_has_a_key_of_its_own(world: World) -> None:
    await in_doubt(world, lose_before)
    world.bank.on("P1", decline())

    await world.clear_up(1)
    assert await world.states(Attempt) == ["declined"]
    world.next_day(3)
    await world.dun()

    assert [charge.key[-2:] for charge in world.bank.sent] == ["-1", "-1", "-2"]
    assert await world.states(Invoice) == ["paid"]


async def test_a_number_that_was_heard_of_meanwhile_is_asked_about_instead(world: World) -> None:
    await in_doubt(world, lose_after)
    [booking] = world.bank.bookings
    await world.change(Attempt, 1, gateway_id=booking.gateway_id)

    await world.clear_up()

    assert (len(world.bank.sent), world.bank.asked[0].gateway_id) == (1, booking.gateway_id)
    assert await world.states(Attempt) == ["approved"]


async def test_two_who_ask_at_once_ask_once(world: World) -> None:
    await in_doubt(world, lose_before)
    await world.pass_time(20)
    twin = await world.twin()

    await ask_about_doubts(world.ctx)
    await ask_about_doubts(twin.ctx)
    await twin.store.close()

    assert len(world.bank.sent) == 2
    assert set(world.bank.sales().values()) == {1}


async def test_a_page_that_has_closed_without_a_payment_frees_the_right(world: World) -> None:
    speaks(world, SAME_KEY)
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()
    await world.pay(await world.link_to(1))

    await world.clear_up()

    assert await world.states(Attempt) == ["declined", "not_sent"]
    assert len(world.bank.sent) == 1
    assert await world.rows(ChargeRight) == []


async def test_a_page_that_can_be_asked_about_in_no_way_is_left_to_a_person_and_never_given_up(world: World) -> None:
    """The customer paid on it; its gateway gave us no number of it, and the push was lost."""
    speaks(world, FORGETFUL)
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()
    await world.pay(await world.link_to(1))
    lost = world.bank.customer_pays(next(iter(world.bank.pages)))

    await world.clear_up()

    assert await world.states(Attempt) == ["declined", "pending"]
    assert await world.tasks() == [("doubt", "att_2")]
    assert len(await world.rows(ChargeRight)) == 1
    await world.hear(lost)
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_a_key_of_which_nobody_wrote_down_how_long_it_is_remembered_is_not_sent_again(world: World) -> None:
    await in_doubt(world, lose_after)
    await world.change(Attempt, 1, repeat_until=None)

    await world.clear_up(2)

    assert len(world.bank.sent) == 1
    assert await world.tasks() == [("doubt", "att_1")]
    assert await world.breaches() == []


# --- after a restore ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("hours", "sent", "states"), [(3, 1, ["approved"]), (25, 0, ["unknown"])])
async def test_a_restored_database_sends_only_keys_that_are_still_remembered(
    world: World, hours: int, sent: int, states: list[str]
) -> None:
    speaks(world, FORGETFUL)
    await world.subscribe(1)
    restored = world.with_context(ask_first=True, backup_at=world.clock.now() - timedelta(hours=hours))

    await restored.run()
    assert len(world.bank.sent) == sent
    assert await world.states(Attempt) == states
    await world.clear_up()

    assert len(world.bank.sent) == sent
    assert await world.breaches() == []


async def test_a_restore_of_unknown_age_sends_nothing_that_cannot_be_asked_about(world: World) -> None:
    speaks(world, FORGETFUL)
    await world.subscribe(1)

    await world.with_context(ask_first=True).run()
    await world.clear_up()

    assert world.bank.sent == []
    assert await world.tasks() == [("doubt", "att_1")]


async def test_keys_are_repeated_no_longer_than_from_the_backup_on(world: World) -> None:
    speaks(world, FORGETFUL)
    await world.subscribe(1)
    world.bank.on("P1", lose_before)
    await world.with_context(ask_first=True, backup_at=world.clock.now() - timedelta(hours=20)).run()
    [row] = await world.rows(Attempt)

    assert row["repeat_until"] == world.clock.now() + timedelta(hours=3)


async def test_a_retry_after_a_restore_is_left_to_a_person_where_a_page_paid_since_cannot_be_asked_about(
    world: World,
) -> None:
    """The page had the number of the try that the retry has now, and the gateway does not know its key."""
    speaks(world, FORGETFUL)
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()
    link = await world.link_to(1)
    backup = await back_up(world)
    await world.pay(link)
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))
    await restore(world, backup)
    world.bank.default = approve
    world.next_day(3)
    restored = world.with_context(ask_first=True, backup_at=world.clock.now() - timedelta(hours=3))

    await restored.dun()
    await restored.clear_up()

    assert len(world.bank.sent) == 1
    assert set(world.bank.sales().values()) == {1}
    assert await world.tasks() == [("restored", "inv_1")]
    assert [step for _, step in await world.mails()] == ["declined"]
    assert await world.breaches() == []
