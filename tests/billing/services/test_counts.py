"""What a night may cost, in statements and requests: counts are the same on every machine, seconds are not."""

from __future__ import annotations

from sqlalchemy import text

from billing.models import Subscription
from billing.services.outbox import PAGE as MAILS
from billing.services.outbox import deliver
from billing.store import PAGE
from tests.billing.services.support import World, counted, decline
from tests.crash.support import Postman


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


async def test_what_a_payment_was_posted_as_is_found_by_an_index(world: World) -> None:
    """A small table is read through whatever there is, so PostgreSQL is told that this is dear."""
    await world.subscribe(2)
    await world.run()

    async with world.store.read() as session:
        if not world.store.is_sqlite:
            await session.execute(text("SET enable_seqscan = off"))
        plan = await session.execute(text(_LOOK_UP[world.store.is_sqlite]))

    assert "ix_posting_attempt" in str(plan.all())


async def test_mails_take_a_few_statements_for_a_page(world: World) -> None:
    await world.change_merchant(brakes={"declined_percent": 0})
    await world.subscribe(2 * MAILS)
    world.bank.default = decline()
    await world.run()

    with counted(world.store) as statements:
        assert await deliver(world.ctx, Postman()) == {"sent": 2 * MAILS}

    assert len(statements) <= MAILS * 0.6


_LOOK_UP = {
    True: "EXPLAIN QUERY PLAN SELECT amount_minor FROM posting WHERE attempt_id = 1",
    False: "EXPLAIN SELECT amount_minor FROM posting WHERE attempt_id = 1",
}
