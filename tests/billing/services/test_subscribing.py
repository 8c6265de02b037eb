from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from billing.models import Customer, Profile, Subscription
from billing.services.subscribing import EnrolmentError, enrol
from tests.billing.services.support import TODAY, World, by_link, subscriber


async def test_a_list_is_enrolled_whole(world: World) -> None:
    done = await enrol(world.ctx, world.merchant_id, [subscriber(number) for number in range(1, 1203)])

    assert (done.customers, done.profiles, done.subscriptions) == (1202, 1202, 1202)
    assert len(await world.rows(Subscription)) == 1202
    sealed = {row["sealed_reference"] for row in await world.rows(Profile)}
    assert len(sealed) == 1202
    assert min(map(len, sealed)) >= 40


async def test_one_wrong_row_changes_nothing_and_every_reason_is_said(world: World) -> None:
    await world.subscribe(1)
    wrong = [
        subscriber(2),
        subscriber(1),
        subscriber(3, price="team/weekly"),
        subscriber(4, account="elsewhere"),
        subscriber(5, profile=""),
        subscriber(6, quantity=0),
        subscriber(7, billed_until=TODAY + timedelta(days=3)),
        subscriber(8, subscription="S2"),
        subscriber(9, customer="K2", name="Somebody else", email="k2@example.org", profile="P2"),
        subscriber(10, profile="P1"),
    ]

    with pytest.raises(EnrolmentError) as refused:
        await enrol(world.ctx, world.merchant_id, wrong)

    found = {(each.place, each.column) for each in refused.value.complaints}
    assert found == {
        (1, "subscription"),
        (2, "price"),
        (3, "account"),
        (4, "profile"),
        (5, "quantity"),
        (6, "billed_until"),
        (7, "subscription"),
        (8, "name"),
        (9, "customer"),
        (9, "profile"),
    }
    assert len(await world.rows(Customer)) == len(await world.rows(Subscription)) == 1


async def test_a_dry_run_says_the_same_and_writes_nothing(world: World) -> None:
    done = await enrol(world.ctx, world.merchant_id, [subscriber(1)], dry_run=True)

    assert (done.customers, done.subscriptions) == (1, 1)
    assert await world.rows(Customer) == []


async def test_several_subscriptions_share_a_customer_and_a_profile(world: World) -> None:
    both = [subscriber(1), subscriber(1, subscription="S9")]

    done = await enrol(world.ctx, world.merchant_id, both)
    more = await enrol(world.ctx, world.merchant_id, [subscriber(1, subscription="S10")])

    assert (done.customers, done.profiles, done.subscriptions) == (1, 1, 2)
    assert (more.customers, more.profiles, more.subscriptions) == (0, 0, 1)
    assert {row["profile_id"] for row in await world.rows(Subscription)} == {1}


async def test_who_was_billed_already_is_billed_from_there_on(world: World) -> None:
    began = {"anchor_on": date(2026, 8, 31), "billed_until": date(2026, 11, 30)}
    await world.subscribe(1, **began)

    assert [(row["next_period"], row["next_due_on"]) for row in await world.rows(Subscription)] == [
        (3, date(2026, 11, 30))
    ]
    assert (await world.run()).invoiced == 0
    world.next_day(9)
    assert (await world.run()).invoiced == 1


async def test_a_day_that_has_begun_for_the_merchant_is_not_the_future(world: World) -> None:
    """It is half past midnight in Vienna and still yesterday in Greenwich."""
    world.clock.instant = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    tomorrow = {"anchor_on": date(2026, 11, 22), "billed_until": date(2026, 11, 22)}

    await world.subscribe(1, **tomorrow)

    assert await world.states(Subscription) == ["active"]


async def test_who_pays_by_link_needs_no_profile(world: World) -> None:
    await world.subscribe(1, **by_link(1))

    assert [row["profile_id"] for row in await world.rows(Subscription)] == [None]
    assert await world.rows(Profile) == []
