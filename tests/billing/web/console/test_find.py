"""The one search box: what people have at hand leads to what it is about."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select, text

from billing.events import EventType
from billing.models import Attempt, Customer, Event, Invoice, new_row, table
from billing.services.finding import begins
from billing.services.refunding import give_back
from billing.services.tasking import NewTask, raise_tasks
from tests.billing.services.story import subscribed
from tests.billing.services.support import World, by_link, counted, plan_of
from tests.billing.web.console.support import Browser


async def lead(who: Browser, typed: str) -> str:
    """Return where the search leads, or nothing where it shows what it found."""
    answer = await who.http.get("/console/nordlicht/find", params={"q": typed})
    assert answer.status_code in (200, 303), answer.text
    return str(answer.headers.get("location", "")).removeprefix("/console/nordlicht")


async def test_what_is_named_whole_is_gone_to_at_once(world: World, admin: Browser) -> None:
    await world.subscribe(2)
    await world.run()
    invoice, attempt = (await world.rows(table(Invoice)))[0], (await world.rows(table(Attempt)))[0]
    number = invoice["number"]
    for typed, where in {
        "K1": "/customers/K1",
        "k2@EXAMPLE.org": "/customers/K2",
        "cus_1": "/customers/K1",
        "s2": "/subscriptions/S2",
        "sub_1": "/subscriptions/S1",
        number: f"/invoices/{number}",
        number.lower(): f"/invoices/{number}",
        number.rpartition("-")[2]: f"/invoices/{number}",
        "inv_1": f"/invoices/{number}",
        attempt["key"]: f"/attempts/{attempt['key']}",
        attempt["gateway_id"]: f"/attempts/{attempt['key']}",
        "att_1": f"/attempts/{attempt['key']}",
        "run_1": "/runs/run_1",
        "msg_1": "/mails/msg_1",
        "team": "/plans/team",
    }.items():
        assert await lead(admin, typed) == where, typed


async def test_what_has_no_name_but_its_id_is_gone_to_at_once(world: World, admin: Browser) -> None:
    await subscribed(world, EventType.INVOICE_PAID)
    await world.subscribe(1, **by_link(1))
    await world.run()
    await world.pay(await world.link_to())
    await world.hear(world.bank.customer_pays((await world.rows(table(Attempt)))[0]["key"]))
    await give_back(world.ctx, "att_1", "1.00")
    async with world.store.write() as session:
        task = NewTask(world.merchant_id, "unpaid", "inv_1", "it is not paid")
        await raise_tasks(session, [task], world.ctx.clock.now())
    event = (await world.rows(Event))[0]["uid"]
    for typed, where in {
        "op_1": "/doubts/op_1",
        "task_1": "/tasks/task_1",
        "not_1": "/notifications/not_1",
        "msg_1": "/mails/msg_1",
        "hook_1": "/webhooks/hook_1",
        event: f"/webhooks/events/{event}",
    }.items():
        assert await lead(admin, typed) == where, typed
        await admin.get(f"/nordlicht{where}")


async def test_a_deleted_endpoint_is_found_no_more(world: World, admin: Browser) -> None:
    await subscribed(world, EventType.INVOICE_PAID)
    assert await lead(admin, "hook_1") == "/webhooks/hook_1"
    await admin.post("/nordlicht/webhooks/hook_1/delete")
    assert "Nothing found" in await admin.get("/nordlicht/find?q=hook_1")


@pytest.mark.parametrize("typed", ["op_9", "task_9", "not_9", "msg_9", "run_9", "hook_9", f"evt_{'0' * 32}", "xyz_1"])
async def test_an_id_that_nothing_has_finds_nothing(lite_admin: Browser, typed: str) -> None:
    assert "Nothing found" in await lite_admin.get(f"/nordlicht/find?q={typed}")


@pytest.mark.parametrize("typed", ["Ötz", "ötz", "öTZ", "Ötztaler Wolle"])
async def test_a_name_is_found_by_how_it_begins_whatever_its_capitals(world: World, admin: Browser, typed: str) -> None:
    await world.subscribe(2)
    await world.change(Customer, 2, name="Ötztaler Wolle")
    page = await admin.get(f"/nordlicht/find?q={typed}")
    assert "Ötztaler Wolle" in page
    assert "Customer 1" not in page


async def test_what_stands_for_any_letter_in_a_pattern_stands_for_itself(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    for typed in ("C%25tomer", "Customer_1", "%25%25", "Cust\\\\"):
        assert "Nothing found" in await admin.get(f"/nordlicht/find?q={typed}")


async def test_more_than_is_shown_is_told(world: World, admin: Browser) -> None:
    await world.subscribe(9)
    page = await admin.get("/nordlicht/find?q=customer")
    assert "There are more" in page
    assert page.count("/customers/K") == 8


async def test_one_letter_finds_nothing_and_says_what_to_type(lite: World, lite_admin: Browser) -> None:
    await lite.subscribe(1)
    for typed in ("", "K"):
        assert "at least two letters" in await lite_admin.get(f"/nordlicht/find?q={typed}")


async def test_nothing_of_another_merchant_is_found(world: World, admin: Browser) -> None:
    other = await world.beside("ostwind")
    await other.subscribe(1)
    await other.run()
    attempt = (await world.rows(table(Attempt)))[0]
    for typed in ("Customer", "K1", "inv_1", "att_1", "cus_1", "run_2", "msg_1", attempt["key"], attempt["gateway_id"]):
        assert "Nothing found" in await admin.get(f"/nordlicht/find?q={typed}"), typed


@pytest.mark.parametrize("column", ["name", "email", "reference"])
async def test_what_a_text_begins_with_is_a_range_of_an_index(world: World, column: str) -> None:
    about = {"merchant_id": world.merchant_id, "name": "Ada", "email": "ada@example.net"}
    theirs = select(table(Customer)).where(table(Customer).c.merchant_id == world.merchant_id)
    async with world.store.write() as session:
        rows = [new_row(Customer, **about, reference=f"A{number}") for number in range(1000)]
        await session.execute(insert(table(Customer)), rows)
        await session.execute(text("ANALYZE"))
        plan = await plan_of(session, theirs.where(begins(session, table(Customer).c[column], "Ötz_")))

    assert f"ix_customer_{column}_begins" in plan
    assert ("<expr>>" if world.store.is_sqlite else "~>=~") in plan


async def test_a_search_costs_the_same_statements_whatever_there_is(world: World, admin: Browser) -> None:
    counts: list[int] = []
    for size in (1, 7):
        await world.subscribe(size)
        with counted(world.store) as statements:
            await admin.get("/nordlicht/find?q=customer")
        counts.append(len(statements))
    assert counts[0] == counts[1]
