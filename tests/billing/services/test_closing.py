"""Taking an invoice back, or booking that it was paid elsewhere: balanced, and never beside a charge."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from billing.gateway import Approved
from billing.lifecycle import MoveError
from billing.models import Attempt, ChargeRight, Invoice, ManualPayment, Posting, Subscription
from billing.money import Money
from billing.services import closing
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.settling import News, settle
from tests.billing.services.support import PRICE, TODAY, World, by_link, decline, lose_before, pend


async def void(world: World, invoice_id: int = 1) -> None:
    async with world.store.write() as session:
        await closing.void(session, await closing.locked_bill(world.ctx, session, world.merchant_id, invoice_id))


async def paid(
    world: World, invoice_id: int = 1, amount: Money = PRICE, paid_on: date = TODAY, proof: str = "statement 4"
) -> None:
    async with world.store.write() as session:
        bill = await closing.locked_bill(world.ctx, session, world.merchant_id, invoice_id)
        await closing.pay_by_hand(session, bill, amount, paid_on, proof, "tk_1")


CLOSINGS: list[Any] = [void, paid]


@pytest.fixture
async def declined(world: World) -> World:
    """A first charge that was declined; its invoice is open."""
    world.bank.on("P1", decline())
    await world.subscribe()
    await world.run()
    return world


async def test_a_voided_invoice_owes_nothing_and_its_number_stays_used(declined: World) -> None:
    await void(declined)
    [invoice] = await declined.rows(Invoice)
    assert (invoice["state"], invoice["next_step"], invoice["number"]) == ("void", None, "NA-2026-00001")
    assert await declined.balances() == {}
    assert await declined.states(Subscription) == ["active"]
    before = await declined.rows(Posting)
    await void(declined)
    assert await declined.rows(Posting) == before
    declined.clock.advance(timedelta(days=30))
    await declined.run()
    assert [row["number"] for row in await declined.rows(Invoice)] == ["NA-2026-00001", "NA-2026-00002"]
    assert await declined.breaches() == []


async def test_an_invoice_paid_elsewhere_is_paid_and_nobody_is_charged_or_reminded(declined: World) -> None:
    mails = await declined.mails()
    await paid(declined)
    [invoice] = await declined.rows(Invoice)
    assert (invoice["state"], invoice["paid_at"], invoice["next_step"]) == ("paid", declined.clock.now(), None)
    assert await declined.balances() == {"outside": 2500, "revenue": -2083, "tax": -417}
    assert await declined.states(Subscription) == ["active"]
    [kept] = await declined.rows(ManualPayment)
    assert (kept["proof"], kept["recorded_by"], kept["paid_on"]) == ("statement 4", "tk_1", TODAY)
    for _ in range(20):
        declined.next_day()
        await declined.dun()
    assert (await declined.mails(), len(declined.bank.sent)) == (mails, 1)
    assert await declined.breaches() == []


@pytest.mark.parametrize("close", CLOSINGS)
async def test_access_that_dunning_took_comes_back_when_nothing_else_is_overdue(declined: World, close: Any) -> None:
    declined.bank.default = decline()
    for _ in range(40):
        declined.next_day()
        await declined.dun()
    assert await declined.states(Subscription) == ["paused"]
    assert ("unpaid", "inv_1") in await declined.tasks()
    await close(declined)
    [subscription] = await declined.rows(Subscription)
    assert (subscription["state"], subscription["paused_by_dunning"]) == ("active", False)
    assert subscription["next_due_on"] > declined.clock.now().date()
    assert await declined.tasks() == []
    assert await declined.breaches() == []


@pytest.mark.parametrize("close", CLOSINGS)
async def test_an_unsent_charge_is_withdrawn(world: World, close: Any) -> None:
    await world.subscribe()
    await world.issue_again()
    await close(world)
    assert await world.states(Attempt) == ["withdrawn"]
    assert await world.rows(ChargeRight) == []
    world.next_day()
    await world.run()
    assert world.bank.sent == []
    assert await world.breaches() == []


@pytest.mark.parametrize("close", CLOSINGS)
@pytest.mark.parametrize("act", [pend, lose_before])
async def test_while_a_charge_is_under_way_nothing_is_closed(world: World, close: Any, act: Any) -> None:
    world.bank.on("P1", act)
    await world.subscribe()
    await world.run()
    before = [await world.rows(each) for each in (Invoice, Posting, Attempt, ManualPayment)]
    with pytest.raises(ConflictError, match="att_1 is under way"):
        await close(world)
    assert [await world.rows(each) for each in (Invoice, Posting, Attempt, ManualPayment)] == before


@pytest.mark.parametrize("close", CLOSINGS)
async def test_while_the_customer_is_on_a_page_nothing_is_closed(world: World, close: Any) -> None:
    await world.subscribe(1, **by_link(1))
    await world.run()
    await world.pay(await world.link_to())
    with pytest.raises(ConflictError, match="att_1 is under way"):
        await close(world)


@pytest.mark.parametrize("close", CLOSINGS)
async def test_what_is_paid_by_a_charge_is_closed_already(world: World, close: Any) -> None:
    await world.subscribe()
    await world.run()
    with pytest.raises((ConflictError, MoveError)):
        await close(world)
    assert await world.states(Invoice) == ["paid"]


@pytest.mark.parametrize("close", CLOSINGS)
async def test_money_that_comes_in_all_the_same_is_a_surplus(declined: World, close: Any) -> None:
    await close(declined)
    [attempt] = await declined.rows(Attempt)
    await settle(declined.ctx, [News(attempt["id"], Approved("77", PRICE))])
    assert (await declined.balances())["customer_credit"] == -2500
    assert await declined.tasks() == [("surplus", "att_1")]
    assert await declined.breaches() == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": Money(2499, "EUR")}, "amount"),
        ({"amount": Money(2500, "USD")}, "amount"),
        ({"paid_on": TODAY + timedelta(days=1)}, "paid_on"),
        ({"paid_on": TODAY - timedelta(days=1)}, "paid_on"),
    ],
)
async def test_a_payment_that_does_not_fit_is_refused(declined: World, values: dict[str, Any], field: str) -> None:
    with pytest.raises(UnfitError) as refused:
        await paid(declined, **values)
    assert refused.value.field == field
    assert await declined.states(Invoice) == ["open"]


async def test_another_merchants_invoice_is_not_there(declined: World) -> None:
    other = await declined.beside("ostwind")
    for close in CLOSINGS:
        with pytest.raises(MissingError):
            await close(other)


# --- at the same time -------------------------------------------------------


@pytest.mark.parametrize("close", CLOSINGS)
async def test_closing_against_a_click_on_the_pay_link_has_one_winner(world: World, close: Any) -> None:
    await world.subscribe(6, **by_link(1))
    await world.run()
    links = [await world.link_to(number) for number in range(1, 7)]
    twin = await world.twin()
    meeting = [world.pay(link) for link in links] + [close(twin, number) for number in range(1, 7)]
    done = await asyncio.gather(*meeting, return_exceptions=True)
    assert {type(each) for each in done if isinstance(each, BaseException)} <= {ConflictError}
    held = {row["owed_id"] for row in await world.rows(ChargeRight)}
    for row in await world.rows(Invoice):
        assert (row["state"] == "open") == (row["id"] in held)
    assert await world.breaches() == []
    await twin.store.close()


@pytest.mark.parametrize("close", CLOSINGS)
async def test_closing_against_the_run_that_charges_has_one_winner(world: World, close: Any) -> None:
    await world.subscribe(8)
    await world.issue_again()
    twin = await world.twin()
    world.next_day()
    closing_all = [close(twin, number) for number in range(1, 9)]
    done = await asyncio.gather(world.run(), *closing_all, return_exceptions=True)
    assert {type(each) for each in done if isinstance(each, BaseException)} <= {ConflictError, MoveError}
    sold = world.bank.sales()
    for row in await world.rows(Invoice):
        paid_by_charge = bool(sold[row["key"]])
        by_hand = bool(await world.rows(ManualPayment, invoice_id=row["id"]))
        assert paid_by_charge + by_hand + (row["state"] == "void") == 1
    assert await world.breaches() == []
    await twin.store.close()


async def test_closing_twice_at_once_closes_once(declined: World) -> None:
    twin = await declined.twin()
    await asyncio.gather(void(declined), paid(twin), void(twin), paid(declined), return_exceptions=True)
    [invoice] = await declined.rows(Invoice)
    assert invoice["state"] in ("void", "paid")
    assert len(await declined.rows(ManualPayment)) == (invoice["state"] == "paid")
    assert await declined.breaches() == []
    await twin.store.close()
