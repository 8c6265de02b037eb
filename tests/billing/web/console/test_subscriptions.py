"""Subscriptions in the console: found, started, changed, paused, canceled; each said before it is done."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from billing.models import AuditEntry, Role, Subscription
from tests.billing.services.support import TODAY, World, by_link, counted, decline
from tests.billing.web.console.support import Browser, signed_in, whole_app

HERE = "/nordlicht/subscriptions"


def plain(page: str) -> str:
    """Return a page with the breaks that are kept out of days and amounts let in again."""
    return page.replace("\N{NO-BREAK SPACE}", " ")


async def only(world: World) -> dict[str, object]:
    [row] = await world.rows(Subscription)
    return row


async def test_subscriptions_are_listed_with_what_they_bill_next(world: World, admin: Browser) -> None:
    assert "No subscriptions yet" in await admin.get(HERE)
    await world.subscribe(1, quantity=3)
    page = plain(await admin.get(HERE))
    assert "Customer 1" in page
    assert "75.00" in page or "75,00" in page


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("state=active", True),
        ("state=paused", False),
        ("customer=K1", True),
        ("due=2026-11-21", True),
        ("due=2026-11-20", False),
        ("due=soon", True),
    ],
)
async def test_subscriptions_are_found_by_state_customer_and_day(lite_admin: Browser, asked: str, found: bool) -> None:
    await lite_admin.world.subscribe(1)
    assert ("Customer 1" in await lite_admin.get(f"{HERE}?{asked}")) == found


async def test_a_start_is_shown_before_it_is_done(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    assert "Look for it" in await admin.get(f"{HERE}/new")
    assert "ending 4242" in await admin.get(f"{HERE}/new?customer=K1")
    typed = {"customer": "K1", "reference": "S9", "price": "team/monthly", "quantity": "2", "profile": "1"}
    page = plain(await admin.post(f"{HERE}/new", 200, **typed))
    assert "The first invoices would be" in page
    assert len(re.findall(r"(?<!\d)50[.,]00", page)) == 3, page
    assert len(await world.rows(Subscription)) == 1
    page = plain(await admin.post(f"{HERE}/new", 303, **typed, sure="yes"))
    assert "It is started" in page
    row = (await world.rows(Subscription))[1]
    assert (row["reference"], row["quantity"], row["profile_id"]) == ("S9", 2, 1)
    assert ("start_subscription", "S9") in [(each["verb"], each["subject"]) for each in await world.rows(AuditEntry)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reference": "S1"}, "There is a subscription 'S1' already"),
        ({"quantity": "0"}, "Write a whole number from 1"),
        ({"price": "none/such"}, "Choose one of these."),
        ({"begins_on": "2020-01-01"}, "It is in the past"),
    ],
)
async def test_what_cannot_start_is_said_before_it_is_shown(
    lite_admin: Browser, wrong: dict[str, str], said: str
) -> None:
    await lite_admin.world.subscribe(1)
    typed = {"customer": "K1", "reference": "S9", "price": "team/monthly", "quantity": "2"} | wrong
    assert said in await lite_admin.post(f"{HERE}/new", 422, **typed)
    assert len(await lite_admin.world.rows(Subscription)) == 1


async def test_a_change_is_shown_with_day_and_amount_before_it_is_done(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    assert "yearly" not in await admin.get(f"{HERE}/S1/change")
    page = plain(await admin.post(f"{HERE}/S1/change", 200, price="team/monthly", quantity="4"))
    assert "Change it from 21 November 2026 on" in page
    assert len(re.findall(r"100[.,]00", page)) == 3
    assert (await only(world))["quantity"] == 1
    await admin.post(f"{HERE}/S1/change", 303, price="team/monthly", quantity="4", sure="yes")
    assert (await only(world))["quantity"] == 4
    [entry] = await world.rows(AuditEntry, verb="change_subscription")
    assert entry["detail"]["quantity_before"] == 1


async def test_a_pause_says_what_is_not_issued_and_a_resume_what_is(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    await world.run()
    page = plain(await admin.get(f"{HERE}/S1"))
    assert re.search(r"The invoice of €?25[.,]00.{0,2} on 21 December 2026 is not issued", page)
    page = plain(await admin.post(f"{HERE}/S1/pause"))
    assert (await only(world))["state"] == "paused"
    assert "Paused: nothing is billed" in page
    assert re.search(r"The first invoice is €?25[.,]00.{0,2} on 21 December 2026", page)
    await admin.post(f"{HERE}/S1/resume")
    assert (await only(world))["state"] == "active"


async def test_one_is_canceled_at_the_end_of_its_days_and_that_is_undone(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    await world.run()
    assert "It ends on 21 December 2026" in plain(await admin.get(f"{HERE}/S1"))
    page = plain(await admin.post(f"{HERE}/S1/cancel", 303, when="period_end"))
    assert "Canceled: it ends on 21 December 2026" in page
    assert "the next invoice is" in page
    await admin.post(f"{HERE}/S1/undo")
    assert (await only(world))["state"] == "active"
    await admin.post(f"{HERE}/S1/cancel", 303, when="now")
    assert (await only(world))["ended_on"] == TODAY
    page = plain(await admin.get(f"{HERE}/S1"))
    assert "Ended on 21 November 2026" in page
    assert "S1/cancel" not in page


async def test_what_cannot_be_done_now_is_said_and_changes_nothing(lite_admin: Browser) -> None:
    await lite_admin.world.subscribe(1)
    await lite_admin.post(f"{HERE}/S1/cancel", 303, when="now")
    page = await lite_admin.post(f"{HERE}/S1/resume", 422)
    assert "only what is paused can be resumed" in page
    await lite_admin.post(f"{HERE}/S1/cancel", 422, when="never")
    assert (await only(lite_admin.world))["state"] == "ended"


async def test_the_strip_tells_each_period_in_words(world: World, admin: Browser) -> None:
    begun = TODAY.replace(month=8)
    await world.subscribe(1, anchor_on=begun, billed_until=TODAY)
    world.bank.on("P1", decline())
    await world.run()
    page = plain(await admin.get(f"{HERE}/S1"))
    assert "21 August 2026: not billed" in page
    assert "21 November 2026: declined and open, the present period" in page
    assert "21 December 2026: planned" in page


async def test_one_that_pays_by_link_says_so(lite_admin: Browser) -> None:
    await lite_admin.world.subscribe(1, **by_link(1))
    await lite_admin.world.run()
    page = await lite_admin.get(f"{HERE}/S1")
    assert "by link" in page
    assert "Pay-link to invoice" in page
    assert "Invoice with pay-link" in page


async def test_older_parts_of_the_story_are_one_link_away_and_nothing_is_lost(lite_admin: Browser) -> None:
    world = lite_admin.world
    await world.subscribe(1)
    for _ in range(25):
        await lite_admin.post(f"{HERE}/S1/pause")
        await lite_admin.post(f"{HERE}/S1/resume")
        world.clock.instant += timedelta(minutes=1)
    path, told = f"{HERE}/S1", 0
    for _ in range(4):
        page = await lite_admin.get(path)
        told += page.count("Pause subscription") + page.count("Resume subscription")
        older = re.search(r'href="/console([^"#]*)#story">Earlier', page)
        if older is None:
            break
        path = older[1]
    assert told == 50


async def test_a_page_costs_the_same_however_much_happened(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    with counted(world.store) as before:
        await admin.get(f"{HERE}/S1")
    for _ in range(3):
        await world.run()
        world.next_day(31)
    later = await signed_in(world, whole_app(world))
    with counted(world.store) as after:
        await later.get(f"{HERE}/S1")
    assert len(after) == len(before)


async def test_a_viewer_is_offered_nothing(lite: World) -> None:
    await lite.subscribe(1)
    who = await signed_in(lite, whole_app(lite), Role.VIEWER)
    page = await who.get(f"{HERE}/S1")
    assert "Pause" not in page
    assert "Cancel" not in page
