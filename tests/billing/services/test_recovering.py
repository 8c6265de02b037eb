from __future__ import annotations

import asyncio
from datetime import timedelta

from billing.gateway import DeclineClass
from billing.models import Attempt, ChargeRight, Invoice, PayLink, Posting, Subscription
from billing.payments import attempt_key
from billing.services.context import Moment
from billing.services.recovering import take_steps
from tests.billing.services.support import TODAY, World, by_link, counted, decline, not_sent, stop_account

CUSTOMER = decline(DeclineClass.NEEDS_CUSTOMER)


async def test_the_ladder_is_climbed_day_by_day_to_its_end(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()

    taken = []
    for day in range(1, 16):
        world.next_day()
        steps = await world.dun()
        assert await world.dun() == {}, "a day's step is taken once"
        taken += [(day, step) for step in steps]
        assert await world.breaches() == []

    assert taken == [(3, "retry"), (7, "remind"), (14, "pause")]
    assert await world.mails() == [
        ("att_1", "declined"),
        ("att_2", "declined"),
        ("inv_1", "reminder 2026-11-28"),
        ("inv_1", "last_step 2026-12-05"),
    ]
    assert await world.states(Subscription) == ["paused"]
    assert await world.tasks() == [("unpaid", "inv_1")]
    assert len(await world.rows(PayLink)) == 1
    world.next_day(30)
    assert (await world.run()).invoiced == 0, "a paused subscription is not billed"
    assert await world.breaches() == []


async def test_a_retry_that_works_ends_it(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()

    world.next_day(3)
    await world.dun()
    world.next_day(20)
    await world.dun()

    assert [charge.key[-2:] for charge in world.bank.sent] == ["-1", "-2"]
    assert await world.states(Subscription) == ["active"]
    assert await world.mails() == [("att_1", "declined"), ("att_2", "receipt")]
    assert await world.breaches() == []


async def test_days_on_which_nobody_dunned_move_the_whole_ladder(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = CUSTOMER
    await world.run()

    world.next_day(30)
    assert await world.dun() == {"remind": 1}
    world.next_day(6)
    assert await world.dun() == {}
    world.next_day(1)
    assert await world.dun() == {"pause": 1}


async def test_a_first_step_that_comes_late_counts_from_the_day_it_is_taken(world: World) -> None:
    """The account was stopped for ten days, and the customer's profile failed meanwhile."""
    await world.subscribe(1)
    world.bank.default = not_sent
    await world.run()
    await world.change_profile(1, state="failed")
    world.next_day(10)

    await world.run()

    invoice = (await world.rows(Invoice))[0]
    assert invoice["dunned_since"] == TODAY + timedelta(days=10)
    assert invoice["next_step_on"] == TODAY + timedelta(days=17)
    assert await world.mails() == [("inv_1", "invoice 2026-11-21")]
    assert await world.breaches() == []


async def test_a_retry_waits_for_a_stopped_account_and_reminders_do_not(world: World) -> None:
    await world.subscribe(2)
    world.bank.on("P1", decline())
    world.bank.on("P2", CUSTOMER)
    await world.run()
    await stop_account(world)

    world.next_day(8)
    assert await world.dun() == {"remind": 1}
    await world.open_account_again()
    assert await world.dun() == {"retry": 1}
    assert set(world.bank.sales().values()) == {1}


async def test_what_is_being_collected_is_left_alone(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))

    world.next_day(10)

    assert await world.dun() == {}
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))
    assert await world.dun() == {}
    assert await world.breaches() == []


async def test_two_who_dun_at_once_take_each_step_once(world: World) -> None:
    await world.subscribe(30)
    world.bank.default = decline()
    await world.run()
    world.bank.default = decline(code="BLOCKED")
    world.next_day(3)
    other = await world.twin()

    steps = await asyncio.gather(world.dun(), other.dun(), world.dun(), other.dun())
    await other.store.close()
    await world.dun()

    assert sum(each["retry"] for each in steps) == 30
    assert len(world.bank.sent) == 60
    assert len({charge.key for charge in world.bank.sent}) == 60
    assert len(await world.mails()) == 60
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


async def test_a_step_that_cannot_be_written_is_set_aside_and_the_others_are_taken(world: World) -> None:
    """Its next key is taken, as after somebody has mended the database by hand."""
    await world.subscribe(3)
    world.bank.default = decline()
    await world.run()
    invoice = (await world.rows(Invoice))[1]
    await world.change(Attempt, 3, owed_key=invoice["key"], number=2, key=attempt_key(invoice["key"], 2))
    world.next_day(3)

    steps = await world.dun()

    assert steps == {"retry": 2, "unstorable": 1}
    assert ("unstorable", "inv_2") in await world.tasks()
    assert await world.dun() == {}
    assert await world.breaches() == []


async def test_the_pages_come_to_an_end_and_cost_the_same_whatever_their_size(world: World) -> None:
    counts = []
    for size in (3, 40):
        await world.subscribe(size, **by_link(1))
        await world.run()
        world.next_day(7)
        moment = Moment("Europe/Vienna", world.clock.now())
        with counted(world.store) as statements:
            assert await take_steps(world.ctx, world.merchant_id, moment) == {"remind": size}
        counts.append(len(statements))

        world.next_day(-7)

    assert counts[0] == counts[1] <= 25
    assert await world.rows(Posting, account="gateway") == []
