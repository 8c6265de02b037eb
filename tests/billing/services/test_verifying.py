from __future__ import annotations

import asyncio

import pytest

from billing.models import ChargeRight, PayLink, Profile, Subscription, Verification
from billing.services.looking import Standing, visit
from billing.services.subscribing import enrol
from billing.services.verifying import NothingToRenewError, offer_renewal
from tests.billing.services.support import PAGE_LIFE_S, TODAY, World, subscriber


async def test_an_offer_is_a_link_and_a_mail_and_nothing_is_owed(world: World) -> None:
    await world.subscribe(1)

    url = await offer_renewal(world.ctx, "S1")

    assert url == world.ctx.links.pay(1)
    assert await world.mails() == [("ver_1", "renew")]
    assert await world.rows(ChargeRight) == []
    verification = (await world.rows(Verification))[0]
    assert (verification["amount_minor"], verification["currency"], verification["state"]) == (10, "EUR", "open")
    assert (await visit(world.ctx, 1)).standing == Standing.PAYABLE
    assert await world.breaches() == []


async def test_the_page_reserves_only_and_renews_the_stored_profile(world: World) -> None:
    await world.subscribe(1)
    await world.change_profile(1, state="failed")
    await offer_renewal(world.ctx, "S1", mail=False)

    await world.pay(1)
    (order,) = world.bank.pages.values()
    assert (order.reserve_only, order.amount.minor, order.store and order.store.reference) == (True, 10, "P1")
    await world.hear(world.bank.customer_pays(order.key, kind="reservation"))
    assert (await visit(world.ctx, 1)).standing == Standing.DONE
    await world.reconcile()

    assert await world.states(Profile) == ["active"]
    world.next_day(31)
    await world.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_another_card_is_charged_from_now_on_by_all_its_subscriptions(world: World) -> None:
    await world.subscribe(1)
    await enrol(world.ctx, world.merchant_id, [subscriber(1, subscription="S9")])
    await offer_renewal(world.ctx, "S9", mail=False)
    await world.pay(1)

    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages)), kind="reservation", profile="P1-new"))
    await world.reconcile()
    await world.run()

    assert [row["profile_id"] for row in await world.rows(Subscription)] == [2, 2]
    assert (await visit(world.ctx, 1)).subscription is not None
    assert await offer_renewal(world.ctx, "S9", mail=False) == world.ctx.links.pay(2)
    assert [row["profile_id"] for row in await world.rows(Verification)] == [2, 2]
    assert {charge.profile.reference for charge in world.bank.sent} == {"P1-new"}


async def test_an_abandoned_renewal_can_be_tried_again_with_a_new_key(world: World) -> None:
    await world.subscribe(1)
    await offer_renewal(world.ctx, "S1")
    await world.pay(1)
    await world.pass_time(PAGE_LIFE_S + 61)
    await world.reconcile()

    await world.pay(1)

    first, second = world.bank.pages
    assert (first[-2:], second[-2:]) == ("-1", "-2")
    assert await world.breaches() == []


async def test_two_offers_at_once_are_two(world: World) -> None:
    await world.subscribe(1)
    other = await world.twin()

    urls = await asyncio.gather(*(offer_renewal(each.ctx, "S1") for each in (world, other, world, other)))
    await other.store.close()

    assert len(set(urls)) == 4
    assert len({row["key"] for row in await world.rows(Verification)}) == 4
    assert len(await world.rows(PayLink)) == 4


async def test_where_nothing_is_stored_nothing_can_be_renewed(world: World) -> None:
    other = await world.beside("sandbox")
    await world.subscribe(1)
    await enrol(other.ctx, other.merchant_id, [subscriber(1, anchor_on=TODAY)])

    with pytest.raises(NothingToRenewError, match="no subscription 'S7'"):
        await offer_renewal(world.ctx, "S7")
    with pytest.raises(NothingToRenewError, match="2 merchants have a subscription 'S1'"):
        await offer_renewal(world.ctx, "S1")


async def test_what_is_canceled_is_charged_no_more_and_needs_no_renewal(world: World) -> None:
    await world.subscribe(1)
    await world.change(
        Subscription, 1, state="canceled", next_due_on=None, canceled_at=world.clock.now(), ended_on=TODAY
    )

    with pytest.raises(NothingToRenewError, match="subscription 'S1' is canceled: its profile is charged no more"):
        await offer_renewal(world.ctx, "S1")
    assert await world.rows(Verification) == []
