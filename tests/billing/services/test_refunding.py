"""Money goes back once: by hand or by the merchant's rule, and never more than we hold."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    NotSent,
    Outcome,
    Pending,
    Refused,
    Unknown,
    UnsupportedError,
)
from billing.gateway import Question as Asked
from billing.models import Attempt, Invoice, Notification, Operation
from billing.money import Money
from billing.services.operating import run_operations, settle_operation
from billing.services.refunding import RefundError, give_back, give_back_surplus
from jobs.explain import explain
from tests.billing.services.support import PRICE, World, decline, lose_before, not_sent, reserve

PART = Money(1000, "EUR")


async def paid(world: World) -> str:
    """Let a customer pay, and return the key."""
    await world.subscribe(1)
    await world.run()
    return world.bank.bookings[0].key


async def paid_twice(world: World, surplus: str = "ask") -> str:
    """Let the outside world pay an invoice that is paid, and return the key of the surplus."""
    await world.change_merchant(surplus=surplus)
    await world.subscribe(1)
    world.bank.on("P1", not_sent)
    await world.run()
    await world.run()
    key = str((await world.rows(Attempt))[0]["key"])
    late = world.bank.book(key, PRICE)
    await world.hear(world.bank.push(key, "paid", late.gateway_id))
    assert await world.tasks() == [("surplus", "att_1")]
    return key


async def test_a_surplus_is_given_back_by_hand_and_the_task_ends(world: World) -> None:
    await paid_twice(world)

    done = await give_back(world.ctx, "att_1", reason="paid twice")

    assert (done.amount, done.state) == (PRICE, "approved")
    assert await world.balances() == {"gateway": 2500, "revenue": -2083, "tax": -417}
    assert await world.states(Invoice) == ["paid"]
    assert (world.bank.taken(), await world.tasks(), await world.breaches()) == (2500, [], [])
    told = await explain(world.ctx, "att_1")
    assert any("Refund approved after an attempt, €25.00. Paid twice. (op_1)" in each for each in told)
    assert "It was wanted because: paid twice." in await explain(world.ctx, "op_1")
    with pytest.raises(RefundError, match="nothing of att_1 is left to give back"):
        await give_back(world.ctx, "att_1")


async def test_a_merchant_may_want_every_surplus_to_go_back_by_itself(world: World) -> None:
    await paid_twice(world, surplus="refund")
    other = await world.twin()

    await asyncio.gather(world.reconcile(), other.reconcile())
    await world.clear_up()
    await other.store.close()

    assert [kind for kind, _ in world.bank.did] == ["refund"]
    assert (world.bank.taken(), await world.tasks(), await world.breaches()) == (2500, [], [])


async def test_a_surplus_waits_for_a_person_unless_the_merchant_says_otherwise(world: World) -> None:
    await paid_twice(world)

    await world.clear_up()

    assert world.bank.did == []
    assert await world.tasks() == [("surplus", "att_1")]


async def test_a_surplus_that_cannot_be_given_back_stays_a_task_and_is_not_begun_anew(world: World) -> None:
    await paid_twice(world, surplus="refund")
    world.bank.then("refund", *[Declined("NO", DeclineClass.NEVER)] * 9)
    world.bank.then("reversal", *[Declined("NO", DeclineClass.NEVER)] * 9)

    for _ in range(9):
        await world.pass_time(86_500)
        await world.reconcile()

    assert len(world.bank.did) == 6
    assert {kind for kind, _ in await world.tasks()} == {"surplus", "operation"}
    assert await world.breaches() == []
    assert (await give_back(world.ctx, "att_1")).state == "declined", "a person may try, and the bank says no again"


async def test_a_gateway_that_gives_nothing_back_keeps_its_task(world: World) -> None:
    await paid_twice(world, surplus="refund")
    world.bank.abilities = replace(world.bank.abilities, refund=False)

    assert await give_back_surplus(world.ctx) == 0
    with pytest.raises(RefundError, match="Bank gives nothing back by itself"):
        await give_back(world.ctx, "att_1")

    assert await world.tasks() == [("surplus", "att_1")]


async def test_a_part_of_a_paid_invoice_goes_back_and_the_invoice_stays_paid(world: World) -> None:
    await paid(world)

    await give_back(world.ctx, "att_1", "10.00")
    await give_back(world.ctx, "att_1", "15,00")

    assert [key[-4:] for _, key in world.bank.did] == ["REF1", "REF2"]
    assert (world.bank.taken(), await world.states(Invoice)) == (0, ["paid"])
    assert await world.balances() == {"customer_credit": 2500, "revenue": -2083, "tax": -417}
    assert (await world.tasks(), await world.breaches()) == ([], [])


async def test_a_second_payment_under_one_key_is_given_back_at_its_own_id(world: World) -> None:
    key = await paid(world)
    second = world.bank.book(key, PRICE)
    await world.hear(world.bank.push(key, "paid", second.gateway_id))
    assert await world.tasks() == [("surplus", f"att_1/{second.gateway_id}")]

    await give_back(world.ctx, f"att_1/{second.gateway_id}")

    back = world.bank.bookings[-1]
    assert (back.kind, back.gateway_id, back.amount) == ("refund", second.gateway_id, PRICE)
    assert (await world.tasks(), await world.breaches()) == ([], [])
    with pytest.raises(RefundError, match="nothing of att_1 is left"):
        await give_back(world.ctx, f"att_1/{second.gateway_id}")
    assert (await give_back(world.ctx, "att_1")).amount == PRICE


@pytest.mark.parametrize(
    ("name", "amount", "says"),
    [
        ("att_1", "25.01", "25.01 is more than the 25.00 EUR that are left of it"),
        ("att_1", "0", "nothing that could be given back"),
        ("att_1", "-1", "--amount"),
        ("att_1", "ten", "--amount"),
        ("att_2", "", "att_2 is declined: only money that came in"),
        ("att_3", "", "att_3 is only reserved"),
        ("att_9", "", "there is no att_9"),
        ("att_1/77", "", "att_1 brought in no EUR as that"),
        ("inv_1", "", "'inv_1' names no payment"),
    ],
)
async def test_what_cannot_be_given_back_is_refused_and_nothing_is_sent(
    world: World, name: str, amount: str, says: str
) -> None:
    await world.subscribe(3)
    world.bank.on("P2", decline())
    world.bank.on("P3", reserve)
    await world.run()

    with pytest.raises(RefundError, match=says):
        await give_back(world.ctx, name, amount)

    assert world.bank.did == []


# --- lost answers -----------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [Refused("ACCESS_DENIED", "no"), Unknown("?"), UnsupportedError("no find"), Pending()]
)
async def test_a_question_that_is_not_answered_sends_nothing_again(
    world: World, answer: Outcome | BaseException
) -> None:
    """A gateway that rejects our question has not rejected the refund."""
    await paid(world)
    world.bank.then("refund", Unknown("time-out"))
    operation = (await give_back(world.ctx, "att_1")).operation_id
    key = (await world.rows(Operation))[0]["key"]
    world.bank.tell(key, *[answer] * 20)

    for _ in range(8):
        await world.pass_time(86_500)
        await world.reconcile()

    assert len(world.bank.did) == 1
    assert await world.tasks() == [("doubt", f"op_{operation}")]
    with pytest.raises(RefundError, match="the refund op_1 of att_1 is still under way"):
        await give_back(world.ctx, "att_1", "1")
    assert await world.breaches() == []


async def test_nothing_there_is_not_believed_because_it_is_said_twice_at_once(world: World) -> None:
    """Pushes about an earlier refund let the gateway be asked again and again within seconds."""
    key = await paid(world)
    await give_back(world.ctx, "att_1", "10")
    world.bank.then("refund", Unknown("time-out"))
    await give_back(world.ctx, "att_1", "10")
    world.bank.tell((await world.rows(Operation))[1]["key"], *[NotSent("not in the history yet")] * 3)
    await world.pass_time(130)

    for _ in range(3):
        await world.change(Operation, 2, ask_at=(await world.rows(Attempt))[0]["sent_at"])
        await run_operations(world.ctx)

    assert await world.states(Operation) == ["approved", "unknown"]
    assert len(world.bank.did) == 2
    assert [(each.settled_before, each.settled_minor) for each in world.bank.asked] == [(1, 1000)] * 3
    assert {each.key for each in world.bank.asked} == {key}


@pytest.mark.parametrize("kind", ["capture", "reversal", "refund"])
@pytest.mark.parametrize("booked", [True, False])
async def test_a_lost_answer_on_a_wire_without_references_is_told_by_what_is_known(
    world: World, kind: str, booked: bool
) -> None:
    """The bank knows operations by kind and amount only; what is known to be done is no answer."""
    if kind == "refund":
        await paid(world)
        await give_back(world.ctx, "att_1", "5")
    else:
        await reserved_for(world, kind)
    world.bank.find = _by_amount(world)  # type: ignore[method-assign, assignment]
    done = len(world.bank.did)
    lost = [Unknown("time-out")]
    world.bank.then(kind, *lost)
    if kind == "refund":
        await give_back(world.ctx, "att_1", "5")
    else:
        await world.reconcile()
    if booked:
        amount = Money(500, "EUR") if kind == "refund" else PRICE
        world.bank.bookings.append(replace(world.bank.bookings[0], kind=kind, amount=amount))

    await world.clear_up()

    assert len(world.bank.did) == done + (1 if booked else 2)
    assert len([each for each in world.bank.bookings if each.kind == kind]) == (2 if kind == "refund" else 1)
    assert {row["state"] for row in await world.rows(Operation)} <= {"approved", "not_sent"}
    assert await world.breaches() == []


async def reserved_for(world: World, kind: str) -> None:
    """Reserve for an invoice that still wants the money, or for one that is paid meanwhile."""
    await world.subscribe(1)
    if kind == "capture":
        world.bank.on("P1", reserve)
        await world.run()
        return
    world.bank.on("P1", not_sent)
    await world.run()
    await world.run()
    key = (await world.rows(Attempt))[0]["key"]
    late = world.bank.book(key, PRICE, kind="reservation")
    await world.hear(world.bank.push(key, "reserved", late.gateway_id))


def _by_amount(world: World) -> object:
    """Answer as a wire does that lists operations without our references."""

    async def find(question: Asked) -> Outcome:
        like = [each for each in world.bank.bookings if each.kind == question.operation]
        alike = [each for each in like if each.amount == question.amount][question.settled_before :]
        return Approved(question.gateway_id, question.amount) if alike else NotSent("no more than is known")

    return find


async def test_a_part_that_is_declined_never_becomes_the_reversal_of_everything(world: World) -> None:
    await paid(world)
    world.bank.then("refund", Declined("NOT_YET", DeclineClass.NEVER))

    await give_back(world.ctx, "att_1", "10")

    assert [kind for kind, _ in world.bank.did] == ["refund", "refund"]
    assert world.bank.taken() == 1500


async def test_a_restored_database_asks_before_it_gives_back_again(world: World) -> None:
    """The backup was made after the refund was decided and before it left."""
    key = await paid(world)
    world.bank.then("refund", NotSent("refused"), NotSent("refused"))
    await give_back(world.ctx, "att_1")
    world.bank.bookings.append(replace(world.bank.bookings[0], kind="refund"))
    assert (await world.rows(Operation))[-1]["state"] == "created"
    restored = world.with_context(ask_first=True)
    await world.pass_time(700)

    await restored.reconcile()

    assert len(world.bank.did) == 2
    assert (await world.rows(Operation))[-1]["state"] == "approved"
    assert (world.bank.taken(), key) == (0, world.bank.asked[-1].key)


async def test_a_claim_that_slept_past_its_lease_sends_nothing(world: World) -> None:
    await paid(world)
    asleep = world.with_context(lease_s=20)  # less than the time-out of a request: over before it begins

    await give_back(asleep.ctx, "att_1")

    assert world.bank.did == []
    await world.clear_up()
    assert [key[-4:] for _, key in world.bank.did] == ["REF2"]
    assert world.bank.taken() == 0


# --- everything at once -------------------------------------------------------


async def test_two_operators_at_once_give_it_back_once(world: World) -> None:
    await paid_twice(world)
    other = await world.twin()

    done = await asyncio.gather(
        *(give_back(each.ctx, "att_1") for each in (world, other, world, other)), return_exceptions=True
    )
    await other.store.close()
    await world.clear_up()

    assert {type(each) for each in done if isinstance(each, BaseException)} <= {RefundError}
    assert [kind for kind, _ in world.bank.did] == ["refund"]
    assert (world.bank.taken(), await world.breaches()) == (2500, [])


async def test_operators_with_parts_never_give_back_more_than_there_is(world: World) -> None:
    await paid(world)
    other = await world.twin()

    for _ in range(3):
        await asyncio.gather(*(give_back(each.ctx, "att_1", "9") for each in (world, other)), return_exceptions=True)
    await other.store.close()
    await world.clear_up()

    assert 0 < len(world.bank.did) <= 2
    assert world.bank.taken() == 2500 - 900 * len(world.bank.did)
    assert await world.breaches() == []


async def test_a_late_settlement_beside_a_refund_gives_back_one_of_the_two(world: World) -> None:
    """The paid invoice's money was given back by hand: what comes in late is no surplus of the customer's."""
    await world.change_merchant(surplus="refund")
    await world.subscribe(1)
    world.bank.on("P1", not_sent)
    await world.run()
    await world.run()
    key = (await world.rows(Attempt))[0]["key"]
    late = world.bank.book(key, PRICE)

    await asyncio.gather(
        give_back(world.ctx, "att_2"), world.hear(world.bank.push(key, "paid", late.gateway_id)), world.reconcile()
    )
    await world.clear_up()

    given = [each for each in world.bank.bookings if each.kind == "refund"]
    assert world.bank.taken() == 2500 * (2 - len(given))
    assert 1 <= len(given) <= 2
    assert await world.breaches() == []


async def test_a_surplus_of_a_customer_who_has_money_back_already_waits_for_a_person(world: World) -> None:
    await paid_twice(world, surplus="refund")
    await give_back(world.ctx, "att_2")

    await world.clear_up()

    assert world.bank.taken() == 2500
    assert await world.tasks() == [("surplus", "att_1")]
    assert await world.breaches() == []


async def test_a_chargeback_before_the_refund_leaves_keeps_it_here(world: World) -> None:
    key = await paid(world)
    world.bank.then("refund", NotSent("refused"), NotSent("refused"))
    await give_back(world.ctx, "att_1")
    assert (await world.rows(Operation))[-1]["state"] == "created", "it waits for its third try"
    await world.hear(world.bank.push(key, "chargeback", world.bank.bookings[0].gateway_id))

    await world.clear_up()

    assert len(world.bank.did) == 2, "the bank took it back already"
    assert (await world.rows(Operation, kind="refund"))[-1]["state"] == "withdrawn"
    assert await world.states(Invoice) == ["open"]
    with pytest.raises(RefundError, match="nothing of att_1 is left"):
        await give_back(world.ctx, "att_1")
    assert await world.breaches() == []


async def test_a_refund_and_a_chargeback_at_once_are_both_in_the_books(world: World) -> None:
    key = await paid(world)
    world.bank.bookings.append(replace(world.bank.bookings[0], kind="reversal"))

    await asyncio.gather(
        give_back(world.ctx, "att_1"),
        world.hear(world.bank.push(key, "chargeback", world.bank.bookings[0].gateway_id)),
        return_exceptions=True,
    )
    await world.clear_up()

    assert (await world.balances()).get("gateway", 0) == world.bank.taken()
    assert await world.breaches() == []


async def test_a_refund_in_the_gateways_console_of_another_amount_is_not_taken_for_ours(world: World) -> None:
    key = await paid(world)
    world.bank.then("refund", NotSent("refused"), NotSent("refused"))
    await give_back(world.ctx, "att_1", "20")

    world.bank.bookings.append(replace(world.bank.bookings[0], kind="refund", amount=PART))
    await world.hear(world.bank.push(key, "refund", "5000", PART))
    await world.clear_up()

    assert len(world.bank.did) == 2, "20.00 are not left any more"
    assert (await world.balances())["gateway"] == world.bank.taken() == 1500


async def test_a_second_refund_made_elsewhere_after_ours_is_shown_to_a_person_and_ours_told_again_is_not(
    world: World,
) -> None:
    key = await paid(world)
    await give_back(world.ctx, "att_1", "10")

    await world.hear(world.bank.push(key, "refund", "5001", Money(1000, "EUR")))
    assert await world.tasks() == []
    await world.hear(world.bank.push(key, "refund", "5002", Money(700, "EUR")))

    assert await world.tasks() == [("notification", "not_2")]
    assert await world.states(Notification) == ["settled", "open"]


async def test_our_refund_and_the_push_that_tells_of_it_are_one(world: World) -> None:
    key = await paid_twice(world)
    world.bank.then("refund", Unknown("time-out"))
    await give_back(world.ctx, "att_1")
    world.bank.bookings.append(replace(world.bank.bookings[-1], kind="refund"))

    push = world.bank.push(key, "refund", "5001")
    await asyncio.gather(world.hear(push), world.reconcile(), settle_operation(world.ctx, 1, Approved("5001", PRICE)))
    await world.hear(push)
    await world.clear_up()

    assert len(world.bank.did) == 1
    assert (await world.balances())["gateway"] == world.bank.taken() == 2500
    assert (await world.tasks(), await world.breaches()) == ([], [])


async def test_tasks_end_when_they_resolve_themselves(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    for _ in range(6):
        world.next_day(4)
        await world.dun()
    assert await world.tasks() == [("unpaid", "inv_1")]

    await world.pay(await world.link_to(1))
    await world.hear(world.bank.customer_pays(list(world.bank.pages)[-1]))

    assert (await world.tasks(), await world.states(Invoice)) == ([], ["paid"])
    assert await world.breaches() == []


async def test_a_doubt_that_a_notification_settles_asks_nobody_any_more(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_before
    await world.run()
    key = (await world.rows(Attempt))[0]["key"]
    world.bank.tell(key, *[Unknown("?")] * 3)
    await world.clear_up()
    assert await world.tasks() == [("doubt", "att_1")]

    await world.hear(world.bank.push(key, "paid", world.bank.book(key, PRICE).gateway_id))

    assert (await world.tasks(), await world.breaches()) == ([], [])
