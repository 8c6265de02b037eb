"""Runs, dunning, questions, pushes and customers that meet on one database: everybody is charged once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest
from sqlalchemy import insert

from billing.gateway import (
    AfterNothing,
    Approved,
    Asking,
    Charge,
    DeclineClass,
    Declined,
    NotSent,
    OperationKind,
    Outcome,
    Unknown,
)
from billing.models import Attempt, ChargeRight, Invoice, Notification, Operation, Run, Verification, new_row, table
from billing.services.charging import charge_ready
from billing.services.invoicing import issue_page
from billing.services.outbox import deliver
from billing.services.settling import News, settle
from billing.services.verifying import offer_renewal
from tests.billing.services.support import (
    PRICE,
    START,
    Bank,
    World,
    approve,
    crash_before,
    decline,
    lose_after,
    lose_before,
    not_sent,
    refuse,
    wait_for,
)
from tests.crash.support import DawdlingStore, HesitatingStore, Postman, back_up, restore, seen_by

ALWAYS = Asking((10, 120, 1800), 90, None, AfterNothing.SAME_KEY)


async def book_and_fail(bank: Bank, each: Charge) -> Outcome:
    """Book the charge, and be told that it never left."""
    bank.book(each.key, each.amount)
    return NotSent("the connection was refused")


def url_of(world: World) -> str:
    return world.store.engine.url.render_as_string(hide_password=False)


async def held_up(task: asyncio.Task[object]) -> None:
    """Give a task the time to come to where it has to wait, if it has to."""
    await asyncio.wait([task], timeout=0.2)


async def charge(world: World) -> None:
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)


def start(work: Awaitable[object]) -> asyncio.Task[object]:
    async def do() -> object:
        return await work

    return asyncio.create_task(do())


@pytest.mark.parametrize("runs", [2, 4])
async def test_runs_that_meet_charge_everybody_once(world: World, runs: int) -> None:
    world = world.with_context(in_flight_max=7)
    await world.change_merchant(brakes={"failed_percent": 0})
    await world.subscribe(40)
    for number in range(1, 41, 5):
        world.bank.on(f"P{number}", decline())
        world.bank.on(f"P{number + 1}", lose_after)
        world.bank.on(f"P{number + 2}", not_sent)
    others = [await world.twin() for _ in range(runs - 1)]
    postman = Postman()

    await asyncio.gather(*(each.run() for each in (world, *others)))
    await asyncio.gather(*(each.clear_up(1) for each in (world, *others)))
    await asyncio.gather(*(each.run() for each in (world, *others)))
    await asyncio.gather(*(deliver(each.ctx, postman) for each in (world, *others)))
    await world.clear_up(2)
    for each in others:
        await each.store.close()

    assert set(world.bank.sales().values()) == {1}
    assert len(world.bank.sales()) == 32
    states = await world.states(Invoice)
    assert (states.count("paid"), states.count("open")) == (32, 8)
    assert set(postman.handed.values()) == {1}
    assert len(postman.handed) == 40
    assert await world.breaches() == []


async def test_a_night_left_unfinished_is_finished_on_another_day_before_that_days_own(world: World) -> None:
    """It died with one invoice to be tried again, one attempt unsent, and one subscription not yet invoiced."""
    await world.subscribe(2)
    world.bank.on("P1", not_sent)
    scope = await world.begin_run()
    await issue_page(world.ctx, scope)
    world.bank.on("P2", crash_before)
    with pytest.raises(BaseExceptionGroup):
        await charge(world)
    await world.subscribe(1)

    world.next_day(2)
    other = await world.twin()
    await asyncio.gather(world.run(), other.run())
    await world.clear_up()
    await asyncio.gather(world.run(), other.run())
    await other.store.close()

    assert [(row["on_day"].day, row["state"]) for row in await world.rows(Run)][:2] == [
        (21, "finished"),
        (23, "finished"),
    ]
    assert {row["run_id"] for row in await world.rows(Invoice)} == {scope.run_id}
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 3
    assert await world.breaches() == []


async def test_everything_at_once_for_days_charges_everybody_once(world: World) -> None:
    world = world.with_context(in_flight_max=5)
    await world.subscribe(12)
    for number in range(1, 13):
        world.bank.on(f"P{number}", *[(approve, decline(), lose_after, not_sent, lose_before)[number % 5]] * 2)
    other, postman = await world.twin(), Postman()

    for _ in range(5):
        links = [await world.link_to(row["id"]) for row in await world.rows(Invoice, state="open")]
        work: list[Awaitable[object]] = [*(each.run() for each in (world, other)), deliver(world.ctx, postman)]
        work += [*(each.dun() for each in (other, world)), *(each.reconcile() for each in (world, other))]
        work += [each.pay(link) for link in links[:3] for each in (world, other)]
        await asyncio.gather(*work)
        paid = [key for key in world.bank.pages if not any(each.key == key for each in world.bank.bookings)]
        pushes = [world.bank.customer_pays(key) for key in paid]
        await asyncio.gather(*(each.hear(push) for push in pushes for each in (world, other)), world.reconcile())
        await world.clear_up(2)
        world.next_day(1)
    await world.run()
    await world.dun()
    await other.store.close()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 12
    assert [task for task in await world.tasks() if task[0] == "surplus"] == []
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


async def test_a_click_during_the_nights_claim_charges_once(world: World) -> None:
    """The claim is made and not yet committed: the click has read the attempt as one that still waits."""
    await world.subscribe(1)
    await world.issue_again()
    link = await world.link_to(1)
    slow = DawdlingStore(url_of(world))
    night = start(charge(seen_by(world, slow)))
    await slow.waits.wait()
    click = start(world.pay(link))
    await held_up(click)
    slow.go_on.set()
    await asyncio.gather(night, click)
    await slow.close()
    for key in list(world.bank.pages):
        await world.hear(world.bank.customer_pays(key))

    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_the_nights_claim_during_a_click_charges_once(world: World) -> None:
    await world.subscribe(1)
    await world.issue_again()
    link = await world.link_to(1)
    slow = DawdlingStore(url_of(world))
    click = start(seen_by(world, slow).pay(link))
    await slow.waits.wait()
    night = start(charge(world))
    await held_up(night)
    slow.go_on.set()
    await asyncio.gather(night, click)
    await slow.close()
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))

    assert world.bank.sent == []
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_claim_during_a_late_approval_is_not_sent(world: World) -> None:
    """The first try, given up, turns out to be paid at the moment at which the second is to leave."""
    await world.subscribe(1)
    world.bank.on("P1", not_sent)
    await world.run()
    await world.issue_again()
    first = (await world.rows(Attempt))[0]
    booked = world.bank.book(first["key"], PRICE)
    slow = DawdlingStore(url_of(world))
    late = start(settle(seen_by(world, slow).ctx, [News(1, booked)]))
    await slow.waits.wait()
    night = start(charge(world))
    await held_up(night)
    slow.go_on.set()
    await asyncio.gather(late, night)
    await slow.close()

    assert len(world.bank.sent) == 1, "only the first ever left"
    assert await world.states(Attempt) == ["approved", "withdrawn"]
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


async def test_a_late_approval_during_a_claim_is_a_surplus_that_is_found(world: World) -> None:
    """Whatever the order of the two, the second holds its right until its own answer is settled."""
    await world.subscribe(1)
    world.bank.on("P1", not_sent, lose_after)
    await world.run()
    await world.issue_again()
    first = (await world.rows(Attempt))[0]
    booked = world.bank.book(first["key"], PRICE)
    slow = DawdlingStore(url_of(world))
    night = start(charge(seen_by(world, slow)))
    await slow.waits.wait()
    late = start(settle(world.ctx, [News(1, booked)]))
    await held_up(late)
    slow.go_on.set()
    await asyncio.gather(late, night)
    await slow.close()
    assert await world.states(Attempt) == ["approved", "unknown"]
    assert len(await world.rows(ChargeRight)) == 1
    await world.clear_up()

    assert world.bank.taken() == 5000
    assert await world.tasks() == [("surplus", "att_2")]
    assert (await world.balances())["customer_credit"] == -2500
    assert await world.breaches() == []


async def test_a_sender_that_stalls_beyond_all_patience_is_found_out(world: World) -> None:
    """Stopped in the middle of a request, and continued when its attempt was long given up and charged anew."""
    await world.subscribe(1)
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate, approve))
    night = start(world.run())
    await world.until(lambda: bool(world.bank.sent))
    other = await world.twin()
    await other.clear_up()
    assert await world.states(Attempt) == ["not_sent"]
    await other.run()
    gate.set()
    await night
    await other.store.close()

    assert set(world.bank.sales().values()) == {2}, "the outside world made it happen"
    assert await world.states(Invoice) == ["paid"]
    assert await world.tasks() == [("surplus", "att_1")]
    assert (await world.balances())["customer_credit"] == -2500
    assert await world.mails() == [("att_2", "receipt")]
    assert await world.breaches() == []


async def test_a_hint_that_waited_for_an_answer_is_asked_about_once_the_answer_says_something_else(
    world: World,
) -> None:
    """When it was read the answer could come any moment; when it was acted on the answer had come, and was wrong."""
    world.bank.abilities = replace(world.bank.abilities, notification_is_truth=False, asking=ALWAYS)
    await world.subscribe(1)
    gate = asyncio.Event()
    world.bank.on("P1", wait_for(gate, book_and_fail))
    night = start(world.run())
    await world.until(lambda: bool(world.bank.sent))
    key = world.bank.sent[0].key
    late = HesitatingStore(url_of(world), at=2)
    hint = start(seen_by(world, late).hear(world.bank.push(key, "paid", "5000")))
    await late.waits.wait()
    gate.set()
    await night
    assert await world.states(Attempt) == ["not_sent"]
    late.go_on.set()
    await hint
    await late.close()
    await world.reconcile()

    assert await world.states(Attempt) == ["approved"]
    assert await world.states(Invoice) == ["paid"]
    assert await world.states(Notification) == ["settled"]
    assert await world.breaches() == []


async def test_two_pages_of_one_customer_that_are_paid_at_once_are_both_settled(world: World) -> None:
    """Both renew the same profile, and so change each other's subscription."""
    await world.subscribe(1)
    await world.subscribe(1, customer="K1", name="Customer 1", email="k1@example.org", profile="P1")
    world.bank.default = decline()
    await world.run()
    for invoice in (1, 2):
        await world.pay(await world.link_to(invoice))
    other = await world.twin()
    for serial in range(6):
        pushes = [world.bank.push(key, "paid", f"{serial}", profile=f"NEW{serial}") for key in world.bank.pages]
        await asyncio.gather(*(each.hear(push) for push, each in zip(pushes, (world, other), strict=True)))
    await other.store.close()

    assert await world.states(Invoice) == ["paid", "paid"]
    assert {task[0] for task in await world.tasks()} == {"surplus"}, "nothing was left unsettled"
    assert await world.breaches() == []


async def test_a_push_and_the_answer_of_a_reversal_never_wait_for_each_other(world: World) -> None:
    await world.subscribe(6)
    for number in range(1, 7):
        await offer_renewal(world.ctx, f"S{number}", mail=False)
        await world.pay(number)
    other = await world.twin()
    pushes = [world.bank.customer_pays(key, kind="reservation") for key in world.bank.pages]
    await asyncio.gather(*(each.hear(push) for push in pushes for each in (world, other)))

    repeated = [world.bank.push(push.proven_key, "reserved", "7", serial="again") for push in pushes]
    await asyncio.gather(world.reconcile(), other.reconcile(), *(other.hear(push) for push in repeated))
    await world.clear_up(2)
    await other.store.close()

    assert world.bank.taken() == 0
    assert await world.states(Verification) == ["released"] * 6
    assert set(await world.states(Operation)) == {"approved"}


async def test_an_account_refused_in_the_middle_of_several_runs_mails_nobody(world: World) -> None:
    world = world.with_context(in_flight_max=4)
    await world.change_merchant(brakes={"failed_percent": 0})
    await world.subscribe(20)

    async def refuse_after_five(bank: Bank, each: Charge) -> Outcome:
        return await (approve if len(bank.bookings) < 5 else refuse)(bank, each)

    world.bank.default = refuse_after_five
    other = await world.twin()
    await asyncio.gather(world.run(), other.run())
    assert {step for _, step in await world.mails()} == {"receipt"}
    assert await world.breaches() == []

    world.bank.default = approve
    await world.open_account_again()
    await asyncio.gather(world.run(), other.run())
    await other.store.close()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 20
    assert await world.breaches() == []


async def test_a_restored_backup_makes_the_same_keys_and_charges_nobody_again(world: World) -> None:
    await world.subscribe(5)
    world.bank.on("P2", decline(), decline())
    world.bank.on("P3", lose_after)
    before = await back_up(world)
    await world.run()
    await world.pay(await world.link_to(2))
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))
    keys = {row["key"] for row in await world.rows(Attempt, state="approved")}
    keys |= {row["key"] for row in await world.rows(Attempt, state="unknown")}
    assert len(keys) == len(world.bank.sales()) == 5

    await restore(world, before)
    assert await world.rows(Attempt) == []
    world.bank.default = lose_before
    restored = world.with_context(ask_first=True)
    await restored.run()

    assert {row["key"] for row in await world.rows(Attempt)} == keys
    assert len(world.bank.sent) == 5, "each was asked about, and nothing sent again"
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 5
    assert [step for _, step in await world.mails()] == ["receipt"] * 5
    assert await world.breaches() == []


async def test_an_operators_refund_and_the_late_settlement_it_answers_give_back_once(world: World) -> None:
    """The late payment is heard of again and asked about while the operator gives its surplus back."""
    await world.subscribe(1)
    world.bank.on("P1", not_sent)
    await world.run()
    await world.issue_again()
    await charge(world)
    first = (await world.rows(Attempt))[0]
    booked = world.bank.book(first["key"], PRICE)
    await settle(world.ctx, [News(1, booked)])
    assert (await world.balances())["customer_credit"] == -2500
    owed = new_row(Operation, attempt_id=1, kind=OperationKind.REFUND, key=f"{first['key']}-REF1")
    owed |= {"amount_minor": PRICE.minor, "currency": PRICE.currency, "state": "created", "created_at": START}
    async with world.store.write() as session:
        await session.execute(insert(table(Operation)), [owed])

    other = await world.twin()
    again = [settle(each.ctx, [News(1, booked)]) for each in (world, other)]
    await asyncio.gather(world.reconcile(), *again, other.reconcile())
    await other.store.close()
    await world.reconcile()  # where both passed over what the settling had locked, the next look takes it

    assert world.bank.did == [("refund", f"{first['key']}-REF1")]
    assert world.bank.taken() == PRICE.minor
    assert await world.states(Invoice) == ["paid"]
    assert "customer_credit" not in await world.balances()


ANSWERS = {
    "nothing_there": NotSent("nothing there"),
    "a_decline": Declined("05", DeclineClass.RETRY_LATER, "declined"),
    "a_doubt": Unknown("busy"),
    "the_same": Approved("5000", PRICE),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("first", ["the_push", "the_answer"])
async def test_a_question_under_way_and_a_push_that_says_paid_end_in_one_payment(
    world: World, first: str, answer: Outcome
) -> None:
    """The question is asked before the money is booked, and its answer is on the way while the push comes."""
    await world.subscribe(1)
    world.bank.on("P1", lose_after)
    await world.run()
    [attempt] = await world.rows(Attempt)
    world.bank.tell(attempt["key"], answer)
    world.bank.answers_held = asyncio.Event()
    push = world.bank.push(attempt["key"], "paid", world.bank.bookings[0].gateway_id)

    await world.pass_time(3600)
    asking = start(world.reconcile())
    await world.until(lambda: len(world.bank.asked) == 1)
    if first == "the_push":
        await world.hear(push)
    world.bank.answers_held.set()
    await asking
    await world.hear(push)
    await world.clear_up()
    await world.run()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Attempt) == ["approved"]
    assert await world.states(Invoice) == ["paid"]
    assert [step for _, step in await world.mails()].count("receipt") == 1
    assert await world.balances() == {"gateway": PRICE.minor, "revenue": -2083, "tax": -417}
    assert await world.breaches() == []
