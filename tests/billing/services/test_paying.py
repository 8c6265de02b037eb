from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from billing.gateway import Approved, CheckoutOrder, DeclineClass, Declined, MisuseError, NotSent, Refused, Unknown
from billing.models import Attempt, ChargeRight, GatewayAccount, Invoice, PayLink, Profile, Subscription
from billing.models import Checkout as CheckoutRow
from billing.services.charging import charge_ready
from billing.services.looking import LinkError, Standing, visit
from billing.services.paying import Click, Opened, came_back, pay, send_fresh_link
from billing.services.reconciling import ask_about
from billing.services.settling import News, settle
from billing.services.verifying import offer_renewal
from tests.billing.services.support import (
    PAGE_LIFE_S,
    PRICE,
    Act,
    World,
    by_link,
    decline,
    lose_after,
    lose_before,
    not_sent,
    wait_for,
)
from tests.crash.support import back_up, restore

SOFT = decline()


async def declined_night(world: World) -> int:
    """Enrol one customer, let the night's charge be declined, and return the pay-link."""
    await world.subscribe(1)
    world.bank.on("P1", SOFT)
    await world.run()
    return await world.link_to(1)


async def standing(world: World, link: int) -> Standing:
    return (await visit(world.ctx, link)).standing


async def test_looking_at_a_link_takes_nothing(world: World) -> None:
    link = await declined_night(world)

    for _ in range(3):
        assert await standing(world, link) == Standing.PAYABLE

    assert await world.rows(ChargeRight) == await world.rows(CheckoutRow) == []
    with pytest.raises(LinkError):
        await visit(world.ctx, 999)


async def test_one_visit_pays_what_is_owed_and_next_month_works_by_itself(world: World) -> None:
    link = await declined_night(world)

    assert (await visit(world.ctx, link)).charged_by_itself
    opened = await world.pay(link)
    assert opened.url.startswith("https://bank.example/")
    assert await standing(world, link) == Standing.CONFIRMING
    (order,) = world.bank.pages.values()
    assert order.store is not None
    assert (order.store.reference, order.ways) == ("P1", ("card", "debit"))
    await world.hear(world.bank.customer_pays(order.key))
    assert await standing(world, link) == Standing.DONE
    assert (await world.pay(link)).url == ""

    world.next_day(31)
    await world.run()

    assert await world.states(Invoice) == ["paid", "paid"]
    assert [charge.profile.reference for charge in world.bank.sent] == ["P1", "P1"]
    assert await world.mails() == [("att_1", "declined"), ("att_2", "receipt"), ("att_3", "receipt")]
    assert await world.breaches() == []


async def test_a_second_click_and_a_second_tab_lead_to_the_same_page(world: World) -> None:
    link = await declined_night(world)

    urls = {(await world.pay(link)).url for _ in range(3)}
    both = await asyncio.gather(world.pay(link), world.pay(link))

    assert urls == {opened.url for opened in both}
    assert len(world.bank.pages) == 1


async def test_two_tabs_at_the_same_instant_open_one_page(world: World) -> None:
    link = await declined_night(world)
    gate = asyncio.Event()

    async def slowly(order: CheckoutOrder) -> None:
        await gate.wait()

    world.bank.page_answers = [slowly, slowly]
    other = await world.twin()
    first = asyncio.create_task(world.pay(link))
    await world.until(lambda: bool(world.bank.pages))
    assert (await other.pay(link)).url == ""
    assert await standing(other, link) == Standing.BUSY
    gate.set()
    assert (await first).url
    assert (await other.pay(link)).url == (await first).url
    await other.store.close()

    assert len(world.bank.pages) == 1
    assert len(await world.rows(ChargeRight)) == 1


@pytest.mark.parametrize("act", [lose_after, lose_before])
async def test_a_click_that_meets_a_doubt_opens_nothing(world: World, act: Act) -> None:
    await world.subscribe(1)
    world.bank.on("P1", act)
    await world.run()
    link = await world.link_to(1)

    assert await standing(world, link) == Standing.BUSY
    assert (await world.pay(link)).url == ""
    await world.clear_up()
    await world.run()

    assert world.bank.pages == {}
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_click_while_the_nights_charge_is_under_way_opens_nothing(world: World) -> None:
    await world.subscribe(1)
    await world.issue_again()
    link = await world.link_to(1)
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))
    await world.until(lambda: bool(world.bank.sent))

    assert (await world.pay(link)).url == ""
    gate.set()
    await night

    assert await standing(world, link) == Standing.DONE
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_click_takes_the_right_from_a_charge_that_waits_and_the_night_then_leaves_it_alone(
    world: World,
) -> None:
    await world.subscribe(1)
    await world.issue_again()
    link = await world.link_to(1)

    await world.pay(link)
    await world.run()

    assert await world.states(Attempt) == ["withdrawn", "pending"]
    assert world.bank.sent == []
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))
    await world.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_click_and_the_nights_claim_at_the_same_instant_charge_once(world: World) -> None:
    """The claim is made and not yet committed while the customer clicks; and the other way round."""
    await world.subscribe(6)
    await world.issue_again()
    links = [await world.link_to(number) for number in range(1, 7)]
    other = await world.twin()

    async def click(link: int) -> None:
        await other.pay(link)

    await asyncio.gather(
        charge_ready(replace(world.ctx, in_flight_max=1), world.merchant_id, lambda _: None),
        *(click(link) for link in links),
    )
    for key in list(world.bank.pages):
        await world.hear(world.bank.customer_pays(key))
    await world.run()
    await other.store.close()

    assert set(world.bank.sales().values()) == {1}
    assert len(world.bank.sales()) == 6
    assert set(await world.states(Invoice)) == {"paid"}
    assert await world.breaches() == []


async def test_a_page_that_is_left_without_paying_leaves_the_charge_it_took_the_place_of(world: World) -> None:
    """The retry was waiting when the customer clicked, and nothing else was planned for the invoice."""
    link = await declined_night(world)
    world.next_day(3)
    await world.issue_dunning()
    assert await world.states(Attempt) == ["declined", "created"]

    await world.pay(link)
    await world.pass_time(PAGE_LIFE_S + 61)
    await world.reconcile()
    assert await world.breaches() == [], "nothing may wait for nobody"
    await world.dun()

    assert await world.states(Attempt) == ["declined", "withdrawn", "not_sent", "approved"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_an_expired_page_paid_late_pays_the_invoice_or_is_a_surplus(world: World) -> None:
    link = await declined_night(world)
    await world.subscribe(1)
    world.bank.on("P2", SOFT)
    await world.run()
    other_link = await world.link_to(2)
    for each in (link, other_link):
        await world.pay(each)
    first, second = world.bank.pages
    await world.pass_time(PAGE_LIFE_S + 61)
    await world.reconcile()
    assert await world.states(Attempt) == ["declined", "declined", "not_sent", "not_sent"]

    await world.hear(world.bank.customer_pays(first))
    world.next_day(3)
    await world.dun()
    await world.hear(world.bank.customer_pays(second))

    assert await world.states(Invoice) == ["paid", "paid"]
    assert world.bank.sales() == {first[:-2]: 1, second[:-2]: 2}
    assert await world.tasks() == [("surplus", "att_4")]
    assert (await world.balances())["customer_credit"] == -2500
    assert await world.breaches() == []


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Unknown("the answer was lost"), "not_sent"),
        (NotSent("connection refused"), "not_sent"),
        (Refused("ACCESS_DENIED", "wrong password"), "refused"),
        (Declined("BLOCKED", DeclineClass.NEVER), "declined"),
        (RuntimeError("the adapter is broken"), "not_sent"),
        (MisuseError("no contract for this currency"), "not_sent"),
    ],
)
async def test_a_page_that_cannot_be_opened_leaves_the_link_and_the_plan_as_they_were(
    world: World, answer: object, state: str
) -> None:
    link = await declined_night(world)
    world.bank.page_answers = [answer]

    opened = await world.pay(link)

    assert opened.url == ""
    assert opened.outcome is not None
    assert await world.states(Attempt) == ["declined", state]
    assert [row["next_step"] for row in await world.rows(Invoice)] == ["retry"]
    assert await standing(world, link) == Standing.PAYABLE
    assert await world.mails() == [("att_1", "declined")]
    assert await world.breaches() == []
    if state == "refused":
        assert await world.states(GatewayAccount) == ["stopped"]
        assert isinstance((await world.pay(link)).outcome, NotSent)


async def test_a_page_that_comes_after_its_claim_was_given_up_is_shown_to_nobody(world: World) -> None:
    """The gateway took so long that the right went to somebody else, who has paid meanwhile."""
    link = await declined_night(world)
    gate = asyncio.Event()

    async def slowly(order: CheckoutOrder) -> None:
        await gate.wait()

    world.bank.page_answers = [slowly]
    late = asyncio.create_task(world.pay(link))
    await world.until(lambda: bool(world.bank.pages))
    await world.clear_up()
    assert await world.states(Attempt) == ["declined", "not_sent"]
    second = await world.pay(link)
    gate.set()

    assert (await late).url == ""
    assert second.url
    assert await world.states(Attempt) == ["declined", "not_sent", "pending"]
    assert len(await world.rows(CheckoutRow)) == 1
    assert await world.breaches() == []


async def test_a_customer_who_is_back_before_the_news_makes_us_ask_once(world: World) -> None:
    link = await declined_night(world)
    await world.pay(link)
    world.bank.customer_pays(next(iter(world.bank.pages)))

    for _ in range(5):
        await came_back(world.ctx, link)
    await world.reconcile()
    assert world.bank.asked == []
    await world.pass_time(21)
    for _ in range(3):
        await world.reconcile()
        await came_back(world.ctx, link)

    assert len(world.bank.asked) == 1
    assert await standing(world, link) == Standing.DONE


async def test_coming_back_without_having_paid_spends_one_question_and_keeps_the_page(world: World) -> None:
    link = await declined_night(world)
    url = (await world.pay(link)).url

    await came_back(world.ctx, link)
    await world.pass_time(21)
    await world.reconcile()
    for _ in range(9):
        await came_back(world.ctx, link)
        await world.pass_time(21)
        await world.reconcile()

    assert len(world.bank.asked) == 1
    assert (await world.pay(link)).url == url


@pytest.mark.parametrize("paid", [True, False])
async def test_whoever_comes_back_is_asked_about_whatever_the_address_says_unless_questions_are_rationed(
    world: World, paid: bool
) -> None:
    link = await declined_night(world)
    await world.pay(link)
    world.bank.customer_pays(next(iter(world.bank.pages)))

    assert await came_back(world.ctx, link, paid=False) is None
    await world.pass_time(21)
    await world.reconcile()
    assert world.bank.asked == []
    world.bank.abilities = replace(world.bank.abilities, asking=replace(world.bank.abilities.asking, budget=None))
    attempt_id = await came_back(world.ctx, link, paid=paid)

    assert attempt_id == 2
    await ask_about(world.ctx, attempt_id)
    assert await standing(world, link) == Standing.DONE


@pytest.mark.parametrize("outlives", [True, False])
async def test_a_failed_try_ends_a_page_that_does_not_outlive_it_and_the_next_click_opens_a_fresh_one(
    world: World, outlives: bool
) -> None:
    world.bank.abilities = replace(world.bank.abilities, page_outlives_decline=outlives)
    link = await declined_night(world)
    first = await world.pay(link)
    await world.hear(world.bank.push(next(iter(world.bank.pages)), "failed", "7"))

    again = await world.pay(link)

    assert (again.url == first.url) == outlives
    assert len(world.bank.pages) == (1 if outlives else 2)
    assert await world.states(Attempt) == ["declined", *([] if outlives else ["declined"]), "pending"]
    assert await world.breaches() == []


async def test_a_visit_that_only_renews_offers_no_way_that_stores_nothing(world: World) -> None:
    world.bank.abilities = replace(world.bank.abilities, ways=("wallet", "card"), storing=frozenset({"card"}))
    link = await declined_night(world)
    await offer_renewal(world.ctx, "S1", mail=False)

    [renewal] = [row["id"] for row in await world.rows(PayLink) if row["verification_id"]]
    assert [way.way for way in (await visit(world.ctx, link)).ways] == ["wallet", "card"]
    assert [way.way for way in (await visit(world.ctx, renewal)).ways] == ["card"]


@pytest.mark.parametrize(
    ("limits", "offered"),
    [
        ({"currencies": frozenset({"EUR"}), "least_minor": {"card": PRICE.minor}}, ["card", "debit"]),
        ({"currencies": frozenset({"CHF"})}, []),
        ({"least_minor": {"card": PRICE.minor + 1}}, ["debit"]),
    ],
)
async def test_a_gateway_that_does_not_take_the_amount_is_not_offered(
    world: World, limits: dict[str, Any], offered: list[str]
) -> None:
    """The customer would be told that the page cannot be opened, on every visit."""
    link = await declined_night(world)
    world.bank.abilities = replace(world.bank.abilities, **limits)
    assert [way.way for way in (await visit(world.ctx, link)).ways] == offered


async def test_an_old_link_opens_nothing_and_brings_a_fresh_one_by_mail_once_a_day(world: World) -> None:
    link = await declined_night(world)
    world.next_day(20)
    assert await standing(world, link) == Standing.EXPIRED
    assert (await world.pay(link)).url == ""

    for _ in range(3):
        await send_fresh_link(world.ctx, link)

    assert await standing(world, link) == Standing.SUPERSEDED
    links = await world.rows(PayLink)
    assert [row["superseded_at"] is None for row in links] == [False, True]
    assert (await world.mails())[1:] == [("inv_1", "fresh_link 2026-12-11")]
    assert (await world.pay(links[1]["id"])).url
    assert await world.breaches() == []


async def test_a_link_that_runs_out_while_its_page_is_open_still_lets_the_payment_in(world: World) -> None:
    link = await declined_night(world)
    await world.pay(link)
    world.next_day(20)
    assert await standing(world, link) == Standing.EXPIRED
    assert (await world.pay(link)).url == ""

    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))

    assert await world.states(Invoice) == ["paid"]
    await send_fresh_link(world.ctx, link)
    assert [step for _, step in await world.mails()] == ["declined", "receipt"]
    assert await world.breaches() == []


async def test_a_void_invoice_and_a_paid_one_say_so(world: World) -> None:
    link = await declined_night(world)
    await world.change(Invoice, 1, state="void")
    assert await standing(world, link) == Standing.VOID
    assert (await world.pay(link)).url == ""


async def test_who_has_no_profile_gets_one_by_paying_and_is_charged_from_then_on_as_agreed(world: World) -> None:
    await world.subscribe(1, **by_link(1))
    await world.run()

    await world.pay(1)
    (order,) = world.bank.pages.values()
    assert order.store is not None
    assert order.store.reference == "K1"
    await world.hear(world.bank.customer_pays(order.key))

    assert [row["collection"] for row in await world.rows(Subscription)] == ["charge"]
    assert await world.states(Profile) == ["active"]
    assert await world.states(Invoice) == ["paid"]
    assert (await visit(world.ctx, 1)).charged_by_itself
    world.next_day(31)
    await world.run()
    assert len(world.bank.sent) == 1


async def test_nobody_overwrites_a_profile_that_is_stored_under_their_own_name_for_somebody_else(world: World) -> None:
    """Customer K2 pays by link, and customer K1's card is stored at the gateway as K2."""
    await world.subscribe(1, profile="K2")
    await world.subscribe(1, **by_link(2))
    await world.run()
    links = await world.rows(PayLink)

    await world.pay(links[0]["id"])

    (order,) = world.bank.pages.values()
    assert order.payer.reference == "K2"
    assert order.store is None


async def test_what_a_person_knows_about_a_payment_wins_over_an_open_page(world: World) -> None:
    """The first try, given up as never sent, turns out to have been booked while the page is open."""
    await world.subscribe(1)
    world.bank.on("P1", not_sent)
    await world.run()
    link = await world.link_to(1)
    await world.pay(link)
    key = next(iter(world.bank.pages))

    await settle(world.ctx, [News(1, Approved("9", PRICE))])
    assert await standing(world, link) == Standing.DONE
    assert (await world.pay(link)).url == ""
    await world.pass_time(PAGE_LIFE_S + 61)
    await world.reconcile()

    assert await world.states(Attempt) == ["approved", "not_sent"]
    assert await world.rows(ChargeRight) == []
    assert key.endswith("-2")
    assert await world.breaches() == []


async def test_a_word_that_names_no_way_takes_the_first(world: World) -> None:
    link = await declined_night(world)

    opened = await pay(world.ctx, link, Click("7-bitcoin", "198.51.100.7"))

    assert opened.url
    (order,) = world.bank.pages.values()
    assert (order.ways[0], order.payer.ip) == ("card", "198.51.100.7")


async def test_after_a_restore_the_gateway_is_asked_before_a_page_is_opened(world: World) -> None:
    link = await declined_night(world)
    backup = await back_up(world)
    await world.pay(link)
    [key] = world.bank.pages
    await world.hear(world.bank.customer_pays(key))
    await restore(world, backup)
    restored = world.with_context(ask_first=True)

    await restored.pay(link)

    assert world.bank.asked[0].key == key
    assert list(world.bank.pages) == [key], "no second one is opened"
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_after_a_restore_a_page_nobody_has_heard_of_is_opened_and_one_nobody_can_ask_about_waits(
    world: World,
) -> None:
    link = await declined_night(world)
    restored = world.with_context(ask_first=True)
    key = f"{(await world.rows(Invoice))[0]['key']}-2"
    world.bank.tell(key, RuntimeError("the adapter is broken"))

    assert isinstance((await restored.pay(link)).outcome, NotSent)
    assert await world.states(Attempt) == ["declined"]
    assert await world.tasks() == [("restored", "acc_1")]

    assert (await restored.pay(link)).url == f"https://bank.example/{key}"


async def test_after_a_restore_a_key_whose_question_is_refused_stays_in_doubt_and_is_paid_once(world: World) -> None:
    """The customer had paid under it; a bank that rejects us who ask has not said that it knows of nothing."""
    link = await declined_night(world)
    key = f"{(await world.rows(Invoice))[0]['key']}-2"
    world.bank.tell(key, NotSent("nothing there yet"), Refused("ACCESS_DENIED", "wrong password"))
    world.bank.book(key, PRICE)

    await world.with_context(ask_first=True).pay(link)

    assert await world.states(Attempt) == ["declined", "unknown"]
    assert world.bank.pages == {}
    await world.clear_up()
    assert await world.states(Invoice) == ["paid"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


@pytest.mark.parametrize("column", ["expires_at", "superseded_at", ""])
async def test_a_link_that_is_over_leads_to_no_page_that_is_still_open(world: World, column: str) -> None:
    link = await declined_night(world)
    assert (await world.pay(link)).url
    if column:
        await world.change(PayLink, link, **{column: world.clock.now()})
    else:
        await world.change(Invoice, 1, state="void", next_step=None, next_step_on=None)

    assert await world.pay(link) == Opened()
