"""The first page of a merchant, from its first day on."""

from __future__ import annotations

import re

from sqlalchemy import delete

from billing.models import Price, table
from tests.billing.services.support import World, by_link, counted, decline, lose_before, stop_account
from tests.billing.web.console.support import Browser, signed_in, whole_app
from tests.billing.web.console.test_doubts import in_doubt


async def test_on_the_first_day_the_next_step_is_named(admin: Browser) -> None:
    page = await admin.get("/nordlicht")
    assert "What is still to do" in page
    assert page.count("btn-primary") == 1
    assert 'href="/console/nordlicht/customers">Add a customer' in page


async def test_a_plan_without_a_price_is_not_described_and_nothing_can_be_sold_by_it(lite_admin: Browser) -> None:
    await lite_admin.post("/nordlicht/customers/new", 303, reference="C1", name="Anna", email="anna@example.net")
    async with lite_admin.world.store.write() as session:
        await session.execute(delete(table(Price)))
    assert 'href="/console/nordlicht/plans">Describe a plan' in await lite_admin.get("/nordlicht")
    assert 'badge is-quiet">draft' in await lite_admin.get("/nordlicht/plans/team")
    assert "Nothing is on sale" in await lite_admin.get("/nordlicht/subscriptions/new?customer=C1")


async def test_the_night_ahead_is_told_before_it_comes(world: World, admin: Browser) -> None:
    await world.subscribe(2)
    await world.subscribe(1, **by_link(3))
    page = await admin.get("/nordlicht")
    assert "3 subscriptions are due" in page
    assert "By pay-link" in page
    assert "No run yet" in page
    assert "No doubts" in page


async def test_an_account_that_is_stopped_is_told_to_make_its_charges_wait(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    await stop_account(world)
    page = await admin.get("/nordlicht")
    assert "charges wait: by hand" in page


async def test_after_a_night_its_outcome_and_the_doubts_are_shown(world: World, admin: Browser) -> None:
    await world.subscribe(3)
    world.bank.on("P1", decline())
    world.bank.on("P2", lose_before)
    await world.run()
    page = await admin.get("/nordlicht")
    assert "1 approved, 1 declined, 1 in doubt" in page
    assert "Customer 2" in page
    assert "Nobody is due" in page
    assert "33.3" in page or "33,3" in page


async def test_a_doubt_that_waits_for_a_person_is_told_once(world: World, admin: Browser) -> None:
    await in_doubt(world)
    page = await admin.get("/nordlicht")
    assert 'href="/console/nordlicht/doubts/att_1"' in page
    assert "asked 3 times, waits for a person" in page
    assert "/tasks/task_1" not in page


async def test_the_plots_carry_no_style_and_no_script_and_their_figures_stand_in_a_table(
    world: World, admin: Browser
) -> None:
    await world.subscribe(2)
    world.bank.on("P1", decline())
    await world.run()
    page = await admin.get("/nordlicht")
    assert page.count('class="chart"') == 2
    assert re.search(r"<style|\sstyle=|<script(?! src)|\son\w+=", page) is None
    assert "Nov 2026" in page


async def test_the_first_page_costs_the_same_statements_whatever_there_is(world: World) -> None:
    counts: list[int] = []
    for size in (2, 12):
        await world.subscribe(size)
        await world.run()
        admin = await signed_in(world, whole_app(world))
        with counted(world.store) as statements:
            await admin.get("/nordlicht")
        counts.append(len(statements))
        world.next_day()
    assert counts[0] == counts[1]
