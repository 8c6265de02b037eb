from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest

from billing.models import Attempt, ChargeRight, Decision, Invoice, InvoiceLine, Message, PayLink, Price, Subscription
from billing.services.invoicing import RunScope, issue_page
from jobs.billing_run import foresee
from tests.billing.services.support import TODAY, World, by_link, counted


async def test_a_due_subscription_is_invoiced_with_everything_that_follows(world: World) -> None:
    await world.subscribe(2)

    report = await world.run()

    assert (report.due, report.invoiced, report.charged) == (2, 2, 2)
    invoices = await world.rows(Invoice)
    assert [row["number"] for row in invoices] == ["NA-2026-00001", "NA-2026-00002"]
    assert {(row["net_minor"], row["tax_minor"], row["total_minor"]) for row in invoices} == {(2083, 417, 2500)}
    assert {(row["period_start"], row["period_end"]) for row in invoices} == {(TODAY, date(2026, 12, 21))}
    assert len(await world.rows(InvoiceLine)) == 2
    assert {row["next_due_on"] for row in await world.rows(Subscription)} == {date(2026, 12, 21)}
    assert await world.balances() == {"gateway": 5000, "revenue": -4166, "tax": -834}
    assert await world.breaches() == []


async def test_a_second_run_of_the_day_invoices_nothing(world: World) -> None:
    await world.subscribe(2)

    await world.run()
    again = await world.run()

    assert (again.invoiced, again.due) == (0, 0)
    assert len(await world.rows(Invoice)) == 2
    assert await world.breaches() == []


async def test_missed_months_are_issued_oldest_first_each_by_itself(world: World) -> None:
    await world.subscribe(1)

    world.next_day(70)
    await world.run()

    starts = [row["period_start"] for row in await world.rows(Invoice)]
    assert starts == [TODAY, date(2026, 12, 21), date(2027, 1, 21)]
    assert set(world.bank.sales().values()) == {1}
    assert len(world.bank.bookings) == 3
    assert await world.breaches() == []


async def test_missed_months_wait_for_the_merchant_who_wants_to_be_asked(world: World) -> None:
    await world.change_merchant(catch_up="approval")
    await world.subscribe(1)

    world.next_day(40)
    first, second = await world.run(), await world.run()

    assert (first.skipped, second.skipped) == (1, 1)
    assert await world.rows(Invoice) == []
    assert [row["reason"] for row in await world.rows(Decision)] == ["needs_approval", "needs_approval"]
    assert await world.tasks() == [("needs_approval", "sub_1")]
    assert await world.breaches() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"interval_unit": "day", "interval_count": 2**31 - 1}, "unpriceable"),
        ({"amount_minor": 2**62}, "unstorable"),
        ({"currency": "XXQ"}, "unpriceable"),
    ],
)
async def test_a_subscription_that_cannot_be_billed_takes_no_neighbour_with_it(
    world: World, change: dict[str, object], reason: str
) -> None:
    await world.subscribe(3)
    await world.subscribe(1, price="team/yearly", quantity=4)
    await world.change(Price, 2, **change)

    report = await world.run()

    assert (report.invoiced, report.skipped) == (3, 1)
    assert [(row["subscription_id"], row["reason"]) for row in await world.rows(Decision)] == [(4, reason)]
    assert await world.tasks() == [(reason, "sub_4")]
    assert [row["number"][-1] for row in await world.rows(Invoice)] == ["1", "2", "3"]
    assert await world.breaches() == []


async def test_what_no_profile_pays_for_is_invited_by_link_at_once(world: World) -> None:
    await world.subscribe(1, **by_link(1))
    await world.subscribe(1)
    await world.change_profile(1, state="failed")

    report = await world.run()

    assert (report.invoiced, report.charged, report.waiting) == (2, 0, 0)
    assert await world.rows(Attempt) == await world.rows(ChargeRight) == []
    assert await world.mails() == [("inv_1", "invoice"), ("inv_2", "invoice")]
    assert len(await world.rows(PayLink)) == 2
    assert {(row["next_step"], row["tries"]) for row in await world.rows(Invoice)} == {("remind", 0)}
    assert await world.breaches() == []


async def test_a_page_takes_the_same_number_of_statements_whatever_its_size(world: World) -> None:
    await world.subscribe(3)
    scope = await world.begin_run()
    with counted(world.store) as few:
        assert (await issue_page(world.ctx, scope)).invoiced == 3
    await world.subscribe(60)
    with counted(world.store) as many:
        assert (await issue_page(world.ctx, scope)).invoiced == 60

    assert len(few) == len(many) <= 15


async def test_two_who_issue_at_once_share_the_work_and_the_numbers(world: World) -> None:
    await world.subscribe(40)
    scope = await world.begin_run()
    other = await world.twin()
    try:
        issued = await asyncio.gather(_issue_all(world, scope), _issue_all(other, scope), _issue_all(world, scope))
    finally:
        await other.store.close()

    assert sum(issued) == 40
    assert sorted(row["number"] for row in await world.rows(Invoice)) == [f"NA-2026-{n:05d}" for n in range(1, 41)]
    assert len(await world.rows(ChargeRight)) == 40
    assert await world.breaches() == []


async def test_a_trial_is_billed_from_its_end_and_then_active(world: World) -> None:
    await world.subscribe(1, price="team/trial")
    assert await world.states(Subscription) == ["trialing"]
    assert (await world.run()).invoiced == 0

    world.next_day(14)
    assert (await world.run()).invoiced == 1

    assert await world.states(Subscription) == ["active"]
    assert [row["period_start"] for row in await world.rows(Invoice)] == [TODAY + timedelta(days=14)]


async def test_foreseeing_a_night_changes_nothing(world: World) -> None:
    await world.subscribe(2)

    assert [report.due for report in await foresee(world.ctx)] == [2]

    assert await world.rows(Invoice) == await world.rows(Message) == []
    assert world.bank.sent == []


async def _issue_all(world: World, scope: RunScope) -> int:
    total = 0
    while issued := await issue_page(world.ctx, scope):
        total += issued.invoiced
    return total
