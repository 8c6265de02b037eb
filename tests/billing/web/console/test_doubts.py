"""Doubts in the console: found with their evidence, asked about, and settled by a person's word."""

from __future__ import annotations

from typing import Any

import pytest

from billing.gateway import OperationKind, Unknown
from billing.models import Attempt, AuditEntry, Invoice, Operation, Role, Task
from billing.services.refunding import give_back
from billing.services.tasking import NewTask, raise_tasks
from tests.billing.services.story import subscribed
from tests.billing.services.support import PRICE, World, counted, lose_after, lose_before
from tests.billing.web.console.support import Browser, signed_in, whole_app

HERE = "/nordlicht/doubts"
BOOKED = {"found": "booked", "gateway_id": "5001", "proof": "account statement of 23 November"}
NOTHING = {"found": "nothing", "proof": "Ms Gruber at the bank, case 77"}


async def in_doubt(world: World, *, ended: bool = True, count: int = 1) -> None:
    """Bring charges to where nobody knows what became of them, or even to where no question is left."""
    await world.subscribe(count)
    for number in range(1, count + 1):
        world.bank.on(f"P{number}", lose_before)
    await world.run()
    if ended:
        for row in await world.rows(Attempt):
            world.bank.tell(row["key"], *[Unknown("the bank's books are closed")] * 3)
        await world.clear_up()


async def refund_in_doubt(world: World) -> None:
    """Give a payment back, and lose the answer."""
    await world.subscribe(1)
    await world.run()
    world.bank.then("refund", Unknown("the line went dead"))
    await give_back(world.ctx, "att_1", "10", "returned goods")


async def test_what_is_in_doubt_is_listed_with_its_evidence_and_counted(world: World, admin: Browser) -> None:
    page = await admin.get(HERE)
    assert "Nothing waits for a person" in page
    assert "No charge is in doubt" in page
    await in_doubt(world)
    page = await admin.get(HERE)
    assert 'class="count">1<' in page
    assert "Still in doubt" in page
    assert "the bank's books are closed" in page
    page = await admin.get(f"{HERE}/att_1")
    for said in ("The bank's books are closed", "3 times", "the gateway cannot be asked again", "25.00"):
        assert said in page.replace(",", "."), said


async def test_the_gateway_is_asked_now_and_its_answer_taken(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    world.bank.on("P1", lose_after)
    await world.run()
    assert "Ask the gateway now" in await admin.get(f"{HERE}/att_1")
    page = await admin.post(f"{HERE}/att_1/ask")
    assert "The gateway was asked. It is approved." in page
    assert await world.states(Invoice) == ["paid"]
    assert "Settle by hand" not in page


async def test_a_gateway_that_cannot_be_asked_any_more_is_not_asked(world: World, admin: Browser) -> None:
    await in_doubt(world)
    asked = len(world.bank.asked)
    assert "Ask the gateway now" not in await admin.get(f"{HERE}/att_1")
    assert "no question is left" in await admin.post(f"{HERE}/att_1/ask", 409)
    assert len(world.bank.asked) == asked


async def test_a_word_that_it_was_booked_says_first_what_it_does_and_pays(world: World, admin: Browser) -> None:
    await in_doubt(world)
    page = await admin.get(f"{HERE}/att_1")
    assert "25.00 are booked on 21 November 2026, which pays NA-2026-00001." in page.replace("\N{NO-BREAK SPACE}", " ")
    page = await admin.post(f"{HERE}/att_1/settle", 303, **BOOKED)
    assert "Settled by your word." in page
    assert await world.states(Invoice) == ["paid"]
    [row] = await world.rows(Attempt)
    assert (row["state"], row["gateway_id"]) == ("approved", "5001")
    assert "@example.net: booked as 5001; proof: account statement" in row["evidence"]
    entry = (await world.rows(AuditEntry))[-1]
    assert (entry["verb"], entry["subject"], entry["detail"]["state"]) == ("settle_doubt", "att_1", "approved")
    assert await world.tasks() == []
    assert await world.breaches() == []


async def test_a_word_that_nothing_was_booked_frees_the_charge(world: World, admin: Browser) -> None:
    await in_doubt(world)
    await admin.post(f"{HERE}/att_1/settle", 303, **NOTHING)
    assert await world.states(Attempt) == ["not_sent"]
    assert await world.states(Invoice) == ["open"]
    assert "is not in doubt: it is not_sent" in await admin.post(f"{HERE}/att_1/settle", 422, **NOTHING)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({}, "Choose one of these."),
        (BOOKED | {"proof": ""}, "This is needed."),
        (BOOKED | {"gateway_id": ""}, "Write what the gateway calls it"),
        (NOTHING | {"gateway_id": "5001"}, "What was not booked has no id"),
        (NOTHING | {"amount": "24"}, "What was not booked has no amount"),
        (BOOKED | {"amount": "much"}, "Write an amount in EUR"),
        (BOOKED | {"amount": "0"}, "0.00 is nothing that could have been booked"),
    ],
)
async def test_a_word_that_cannot_be_is_refused_beside_its_field(
    lite_admin: Browser, typed: dict[str, str], said: str
) -> None:
    await in_doubt(lite_admin.world)
    page = await lite_admin.post(f"{HERE}/att_1/settle", 422, **typed)
    assert said in page
    assert typed.get("proof", "") in page
    assert await lite_admin.world.states(Attempt) == ["unknown"]


async def test_another_amount_is_the_customers_and_leaves_the_invoice_open(world: World, admin: Browser) -> None:
    await in_doubt(world)
    await admin.post(f"{HERE}/att_1/settle", 303, **BOOKED, amount="24,00")
    assert await world.states(Invoice) == ["open"]
    assert set(await world.tasks()) == {("amount", "att_1"), ("amount", "inv_1")}
    assert await world.breaches() == []


async def test_a_refund_in_doubt_is_listed_asked_about_and_settled(world: World, admin: Browser) -> None:
    await refund_in_doubt(world)
    assert "Refund" in await admin.get(HERE)
    page = await admin.get(f"{HERE}/op_1")
    assert "The line went dead" in page
    assert "count as given back to" in page
    assert "may not know yet" in await admin.post(f"{HERE}/op_1/settle", 422, **NOTHING)
    page = await admin.post(f"{HERE}/op_1/ask")
    assert "The gateway was asked." in page
    await admin.post(f"{HERE}/op_1/settle", 303, **BOOKED)
    [row] = await world.rows(Operation)
    assert (row["kind"], row["state"]) == (OperationKind.REFUND, "approved")
    assert (await world.balances())["gateway"] == PRICE.minor - 1000
    assert await world.breaches() == []


async def test_a_task_is_done_by_a_word_that_is_kept(world: World, admin: Browser) -> None:
    await _ask(world, "profile", "cus_1", "Two cards, one of them unknown")
    assert "Two cards" in await admin.get("/nordlicht/tasks/task_1")
    await admin.post("/nordlicht/tasks/task_1/done", 422, word="")
    page = await admin.post("/nordlicht/tasks/task_1/done", 303, word="Called her: the new one is hers")
    assert "Nothing waits for a person" in page
    entry = (await world.rows(AuditEntry))[-1]
    assert entry["detail"] == {"about": "cus_1", "word": "Called her: the new one is hers"}
    assert "Stored means changed" in await admin.get(f"{HERE}?list=done")


async def test_what_tasks_are_about_is_called_by_its_name_and_leads_there(world: World, admin: Browser) -> None:
    await world.subscribe(2)
    await world.run()
    for subject in ("cus_1", "inv_2", "inv_99"):
        await _ask(world, "profile", subject, "Two cards, one of them unknown")
    page = await admin.get(HERE)
    assert 'href="/console/nordlicht/customers/K1">Customer 1</a>' in page
    assert '<span class="id">inv_99</span>' in page


async def test_a_task_about_what_is_still_so_is_ended_by_nobodys_word(lite_admin: Browser) -> None:
    await in_doubt(lite_admin.world)
    page = await lite_admin.get("/nordlicht/tasks/task_1")
    assert "It ends by itself." in page
    assert f"/console{HERE}/att_1" in page
    assert "is still so" in await lite_admin.post("/nordlicht/tasks/task_1/done", 422, word="Never mind")
    assert [row["state"] for row in await lite_admin.world.rows(Task)] == ["open"]


async def test_lists_are_read_in_parts(lite_admin: Browser) -> None:
    for number in range(60):
        await _ask(lite_admin.world, "profile", f"cus_{number}", "Two cards")
    assert "Show all" in await lite_admin.get(HERE)
    page = await lite_admin.get(f"{HERE}?list=tasks")
    assert ("cus_59" in page, "cus_9<" in page) == (True, False)
    older = await lite_admin.get(f"{HERE}?list=tasks&before=11")
    assert ("cus_9<" in older, "cus_59" in older) == (True, False)
    assert "list=tasks&before=11" in page


async def test_what_a_task_is_about_is_called_as_people_know_it_and_led_to(world: World, admin: Browser) -> None:
    await refund_in_doubt(world)
    await subscribed(world)
    [attempt] = await world.rows(Attempt)
    known = {
        "cus_1": (">Customer 1<", "/customers/K1"),
        "sub_1": (">Customer 1, Team<", "/subscriptions/S1"),
        "inv_1": (">NA-2026-00001<", "/invoices/NA-2026-00001"),
        "att_1": (f">{attempt['key']}<", "/doubts/att_1"),
        "att_1/5001": (f">{attempt['key']}<", "/doubts/att_1"),
        "op_1": (f">Refund after {attempt['key']}<", "/doubts/op_1"),
        "acc_1": (">bank<", "/gateways/bank"),
        "run_1": (">Run of 21\N{NO-BREAK SPACE}November\N{NO-BREAK SPACE}2026<", "/runs/run_1"),
        "msg_1": (">Receipt to k1@example.org<", "/mails/msg_1"),
        "pro_1": (">Customer 1, ", "/customers/K1"),
        "hook_1": (">shop.example<", "/webhooks/hook_1"),
    }
    for number, (subject, (called, path)) in enumerate(known.items(), start=1):
        await _ask(world, "profile", subject, f"look at number {number}")
        page = await admin.get(f"/nordlicht/tasks/task_{number}")
        assert called in page, subject
        assert f'href="/console/nordlicht{path}"' in page, subject
        await admin.get(f"/nordlicht{path}")
    page = await admin.get(f"{HERE}?list=tasks")
    for called, path in known.values():
        assert called in page, called
        assert f'href="/console/nordlicht{path}"' in page, path


async def test_what_is_not_there_any_more_or_is_anothers_is_named_by_its_id_alone(world: World, admin: Browser) -> None:
    other = await world.beside("ostwind")
    await other.subscribe(1)
    await subscribed(world)
    await admin.post("/nordlicht/webhooks/hook_1/delete")
    for number, subject in enumerate(("cus_1", "sub_1", "inv_7", "hook_1", "ver_1"), start=1):
        await _ask(world, "profile", subject, "Look at it")
        page = await admin.get(f"/nordlicht/tasks/task_{number}")
        assert f'<dt>About</dt><dd><span class="id">{subject}</span></dd>' in page


async def test_the_page_costs_the_same_however_much_is_in_doubt(world: World, admin: Browser) -> None:
    await _ask(world, "doubt", "att_9", "Nothing is known")
    with counted(world.store) as before:
        await admin.get(HERE)
    await in_doubt(world, count=4)
    with counted(world.store) as after:
        await admin.get(HERE)
    assert len(after) == len(before)


async def test_a_viewer_sees_and_is_offered_nothing(lite: World) -> None:
    await in_doubt(lite, ended=False)
    who = await signed_in(lite, whole_app(lite), Role.VIEWER)
    page = await who.get(f"{HERE}/att_1")
    assert "What is known" in page
    assert "Ask the gateway now" not in page
    assert "Settle by hand" not in page


@pytest.mark.parametrize("path", ["doubts/att_9", "doubts/op_9", "tasks/task_9", "doubts/inv_1", "tasks/att_1"])
async def test_what_is_not_there_is_not_found(lite_admin: Browser, path: str) -> None:
    await lite_admin.get(f"/nordlicht/{path}", 404)


async def _ask(world: World, *about: Any) -> None:
    async with world.store.write() as session:
        await raise_tasks(session, [NewTask(world.merchant_id, *about)], world.ctx.clock.now())
