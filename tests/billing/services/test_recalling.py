"""A database restored from a backup: nobody is charged, or reminded, for what was paid since it was made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from billing.gateway import Refused, Unknown
from billing.models import Attempt, ChargeRight, Invoice, Message, PayLink
from billing.services.charging import charge_ready
from billing.services.context import Gateways
from billing.services.founding import AccountFacts, found
from billing.services.outbox import deliver
from billing.services.recalling import leave_room
from jobs.billing_run import issue_due
from tests.billing.services.support import (
    PRICE,
    Bank,
    World,
    approve,
    by_link,
    decline,
    facts,
    lose_before,
)
from tests.billing.services.test_repeating import FORGETFUL, speaks
from tests.crash.support import Postman, back_up, restore


def restored(world: World) -> World:
    """Return the world as it is run after the restore."""
    return world.with_context(ask_first=True, backup_at=world.clock.now() - timedelta(hours=1))


async def with_another_bank(world: World) -> Bank:
    """Give the merchant an account at a second gateway, where customers can pay by link as well."""
    other = Bank()
    other.abilities = replace(other.abilities, title="Other", ways=("wallet",))
    banks = {"bank": world.bank, "other": other}
    world.ctx = replace(world.ctx, gateways=Gateways(lambda name, _: banks[name], world.ctx.vault))
    accounts = (*facts().accounts, AccountFacts("other", "other", {"password": "open"}))
    await found(world.ctx, facts(accounts=accounts))
    return other


async def pay_by_link(world: World, invoice: int = 1) -> None:
    """Let the customer pay on the page their link leads to, and let us hear of it."""
    had = set(world.bank.pages)
    await world.pay(await world.link_to(invoice))
    [key] = set(world.bank.pages) - had
    await world.hear(world.bank.customer_pays(key))


async def leave_a_page(world: World) -> None:
    """Let the customer open a page and not pay on it."""
    await world.pay(await world.link_to(1))
    await world.clear_up(2)


async def test_who_paid_by_a_later_try_is_neither_charged_nor_told_of_a_decline(world: World) -> None:
    """The night was declined, a page was left, the next one paid; the backup is from before the night."""
    await world.subscribe(1)
    before = await back_up(world)
    world.bank.on("P1", decline())
    await world.run()
    await leave_a_page(world)
    await pay_by_link(world)
    assert [each.key[-2:] for each in world.bank.bookings] == ["-3"]
    await restore(world, before)

    await restored(world).run()

    assert len(world.bank.sent) == 1, "only the night that was forgotten ever sent a charge"
    assert await world.states(Invoice) == ["paid"]
    assert [(row["key"], row["state"]) for row in await world.rows(Attempt)] == [
        (world.bank.bookings[0].key, "approved")
    ]
    assert [step for _, step in await world.mails()] == ["receipt"]
    assert await world.breaches() == []


async def test_a_retry_that_the_customer_was_ahead_of_is_not_sent(world: World) -> None:
    """The backup has the declined invoice with its link; the customer paid before the day of the retry."""
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()
    await world.link_to(1)
    before = await back_up(world)
    await leave_a_page(world)
    await pay_by_link(world)
    await restore(world, before)

    world.next_day(3)
    await restored(world).dun()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"]
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


async def test_who_paid_at_another_gateway_is_found_there(world: World) -> None:
    other = await with_another_bank(world)
    await world.subscribe(1)
    await world.issue_again()
    [waiting] = await world.rows(Attempt)
    other.book(waiting["key"][:-1] + "2", PRICE)

    await restored(world).run()

    assert world.bank.sent == []
    assert [(row["gateway_account_id"], row["state"]) for row in await world.rows(Attempt)] == [(2, "approved")]
    assert await world.breaches() == []


async def test_who_paid_by_link_is_neither_reminded_nor_paused(world: World) -> None:
    await world.subscribe(1, **by_link(1))
    await world.run()
    before = await back_up(world)
    await pay_by_link(world)
    await restore(world, before)

    world.next_day(14)
    assert await restored(world).dun() == {}

    assert await world.states(Invoice) == ["paid"]
    assert [step for _, step in await world.mails() if step.startswith(("reminder", "last_step"))] == []
    assert await world.breaches() == []


async def test_who_paid_by_link_what_the_backup_never_issued_gets_no_second_invoice(world: World) -> None:
    await world.subscribe(1, **by_link(1))
    before = await back_up(world)
    await world.run()
    await pay_by_link(world)
    await restore(world, before)

    await restored(world).run()
    postman = Postman()
    await deliver(world.ctx, postman)

    assert await world.states(Invoice) == ["paid"]
    assert [(row["step"].split()[0], row["state"]) for row in await world.rows(Message)] == [
        ("invoice", "dropped"),
        ("receipt", "sent"),
    ]
    assert await world.breaches() == []


async def test_an_old_link_pays_nothing_twice(world: World) -> None:
    """The customer clicks again, because the restored night has told them to."""
    await world.subscribe(1, **by_link(1))
    await world.run()
    link = await world.link_to(1)
    before = await back_up(world)
    await pay_by_link(world)
    await restore(world, before)

    opened = await restored(world).pay(link)

    assert opened.url == ""
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"]


async def test_a_try_that_failed_is_known_again_and_its_key_not_used_twice(world: World) -> None:
    await world.subscribe(1)
    await world.issue_again()
    [waiting] = await world.rows(Attempt)
    second = waiting["key"][:-1] + "2"
    world.bank.tell(second, await decline()(world.bank, None))

    await restored(world).run()
    world.next_day(1)
    await restored(world).run()

    assert [each.key[-2:] for each in world.bank.sent] == ["-3"]
    assert [(row["number"], row["state"]) for row in await world.rows(Attempt)] == [(2, "declined"), (3, "approved")]
    assert await world.breaches() == []


@pytest.mark.parametrize("answer", [Unknown("no answer"), Refused("ACCESS", "wrong password"), RuntimeError("broken")])
async def test_what_cannot_be_asked_about_now_waits_and_is_charged_once_later(
    world: World, answer: Unknown | Refused | RuntimeError
) -> None:
    await world.subscribe(2)
    await world.issue_again()
    first, _ = await world.rows(Attempt)
    world.bank.tell(first["key"], answer)

    report = await restored(world).run()
    assert (report.waiting, await world.states(Attempt)) == (0, ["created", "approved"])
    assert await world.tasks() == [("restored", "acc_1")]
    await restored(world).run()

    assert await world.states(Attempt) == ["approved", "approved"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_where_nobody_can_be_asked_a_link_makes_a_charge_and_a_reminder_a_persons_task(world: World) -> None:
    """Without a link nobody but us can have collected, and the key is still remembered."""
    speaks(world, FORGETFUL)
    await world.subscribe(2)
    await world.subscribe(1, **by_link(3))
    world.bank.on("P1", decline())
    world.bank.on("P2", lose_before)
    await world.run()
    await world.clear_up()
    assert await world.states(Invoice) == ["open", "paid", "open"]
    mails = await world.mails()

    world.next_day(7)
    await restored(world).dun()

    assert [each.profile.reference for each in world.bank.sent] == ["P1", "P2", "P2"]
    assert ("restored", "inv_1") in await world.tasks()
    assert ("restored", "inv_3") in await world.tasks()
    assert await world.mails() == mails
    assert await world.breaches() == []

    await world.dun()
    assert len(await world.mails()) > len(mails), (
        "what has waited goes on where the database is no longer a restored one"
    )


async def test_two_runs_of_a_restored_database_charge_everybody_once(world: World) -> None:
    await world.subscribe(20)
    before = await back_up(world)
    for number in range(1, 21, 2):
        world.bank.on(f"P{number}", approve)
        world.bank.on(f"P{number + 1}", decline())
    await world.run()
    for invoice in range(2, 21, 4):
        await pay_by_link(world, invoice)
    await restore(world, before)

    other = await world.twin()
    await asyncio.gather(restored(world).run(), restored(other).run())
    await other.store.close()

    assert set(world.bank.sales().values()) == {1}
    assert set(await world.states(Invoice)) == {"paid"}
    assert await world.breaches() == []


async def test_a_restored_run_is_not_over_when_another_process_has_just_issued(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended under the other, the run would let it send nothing, and everybody would wait for the next night."""
    await world.subscribe(2)
    issues: list[Any] = []

    async def leave_to_the_other(*args: Any) -> None:
        issues.append(args)

    async def look_too_early(*args: Any, **more: Any) -> None:
        await charge_ready(*args, **more)
        if len(issues) == 1:
            await issue_due(*issues[0])

    monkeypatch.setattr("jobs.billing_run.issue_due", leave_to_the_other)
    monkeypatch.setattr("jobs.billing_run.charge_ready", look_too_early)
    await restored(world).run()

    assert await world.states(Invoice) == ["paid", "paid"]
    assert set(world.bank.sales().values()) == {1}


async def test_a_link_that_was_mailed_before_the_restore_never_opens_what_another_customer_owes(world: World) -> None:
    """The database counts on from what it holds, and so would give a forgotten link's id, and token, to another."""
    await world.subscribe(2, **by_link(1))
    await world.run()
    before = await back_up(world)
    mailed = {row["id"] for row in await world.rows(PayLink)}
    after = restored(world)
    for _ in range(2):
        await restore(world, before | {"pay_link": [], "message": []})
        async with world.store.write() as session:
            if not world.store.is_sqlite:
                await session.execute(text("SELECT setval('pay_link_id_seq', 1, false)"))
        for _ in range(2):
            await leave_room(after.ctx)
        fresh = await after.link_to(2)
        assert fresh not in mailed
        mailed.add(fresh)
        after.next_day(1)
        after = restored(after)
    usable = [row["id"] for row in await world.rows(PayLink) if row["superseded_at"] is None]
    assert usable == [fresh]
    assert await world.breaches() == []
