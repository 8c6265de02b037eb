"""What a night may cost, in statements and requests: counts are the same on every machine, seconds are not."""

from __future__ import annotations

import pytest
from sqlalchemy import func, literal_column, select, text

from billing.models import AuditEntry, Decision, Invoice, Posting, Subscription, Task, table
from billing.services.outbox import PAGE as MAILS
from billing.services.outbox import deliver
from billing.store import PAGE
from tests.billing.services.support import World, counted, decline, plan_of
from tests.crash.support import Postman

_posting, _decision, _task, _entry, _invoice = (table(each) for each in (Posting, Decision, Task, AuditEntry, Invoice))
_LOOK_UPS = {
    "ix_posting_attempt": select(_posting.c.amount_minor).where(_posting.c.attempt_id == 1),
    "ix_decision_subscription_id": select(_decision.c.reason).where(_decision.c.subscription_id == 1),
    "ix_task_subject": select(_task.c.kind).where(_task.c.subject == "inv_1"),
    "ix_task_open": select(_task.c.kind)
    .where(_task.c.merchant_id == 1, _task.c.state == literal_column("'open'"))
    .order_by(_task.c.id),
    "ix_audit_entry_verb": select(func.min(_entry.c.verb)).where(_entry.c.merchant_id == 1, _entry.c.verb > "a"),
    "ix_audit_entry_actor": select(_entry.c.at).where(_entry.c.merchant_id == 1, _entry.c.actor == "a"),
    "ix_invoice_day": select(_invoice.c.number)
    .where(_invoice.c.merchant_id == 1, _invoice.c.issued_on == literal_column("'2026-12-01'"))
    .order_by(_invoice.c.id.desc()),
    "ix_invoice_rare": select(_invoice.c.number)
    .where(_invoice.c.merchant_id == 1, _invoice.c.state == literal_column("'void'"))
    .order_by(_invoice.c.id.desc()),
}


async def test_a_night_takes_less_than_one_statement_for_each_invoice(world: World) -> None:
    await world.subscribe(PAGE)

    with counted(world.store) as statements:
        report = await world.run()

    assert report.invoiced == report.charged == PAGE
    assert len(statements) < PAGE


async def test_each_charge_is_one_request(world: World) -> None:
    await world.subscribe(120)
    for number in range(1, 120, 7):
        world.bank.on(f"P{number}", decline())

    await world.run()

    assert len(world.bank.sent) == len({charge.key for charge in world.bank.sent}) == 120
    assert world.bank.asked == []


async def test_answers_are_settled_in_groups(world: World) -> None:
    await world.subscribe(200)

    with counted(world.store) as statements:
        await world.run()

    settled = [each for each in statements if each.startswith("UPDATE invoice ")]
    assert 0 < len(settled) <= 20


async def test_a_run_with_nothing_due_costs_the_same_however_many_there_are(world: World) -> None:
    counts = []
    for size in (3, 60):
        await world.subscribe(size)
        await world.run()
        with counted(world.store) as statements:
            report = await world.run()
        assert report.invoiced == 0
        counts.append(len(statements))

    assert counts[0] == counts[1] <= 60
    assert len(await world.rows(Subscription)) == 63


@pytest.mark.parametrize("index", _LOOK_UPS)
async def test_what_is_told_of_one_thing_is_found_by_an_index(world: World, index: str) -> None:
    """A small table is read through whatever there is, so PostgreSQL is told that this is dear."""
    async with world.store.read() as session:
        if not world.store.is_sqlite:
            await session.execute(text("SET enable_seqscan = off"))
        plan = await plan_of(session, _LOOK_UPS[index])

    assert f"{index} " in plan


async def test_mails_take_a_few_statements_for_a_page(world: World) -> None:
    await world.change_merchant(brakes={"declined_percent": 0})
    await world.subscribe(2 * MAILS)
    world.bank.default = decline()
    await world.run()

    with counted(world.store) as statements:
        assert await deliver(world.ctx, Postman()) == {"sent": 2 * MAILS}

    assert len(statements) <= MAILS * 0.6
