from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from billing.gateway import Approved, DeclineClass, Declined, MisuseError, NotSent, Outcome, Refused, Unknown
from billing.models import Attempt, Operation, Verification
from billing.money import Money
from billing.services.operating import RETRY_DELAYS_S, run_operations, settle_operation
from billing.services.verifying import offer_renewal
from tests.billing.services.support import World, reserve

SMALL = Money(10, "EUR")
TOO_LATE = Declined("TRANSACTION_ALREADY_CLEARED", DeclineClass.NEVER)


async def verified(world: World, *, kind: str = "reservation") -> str:
    """Let a customer renew the profile, and return the key of the attempt."""
    await world.subscribe(1)
    await offer_renewal(world.ctx, "S1")
    await world.pay(1)
    (key,) = world.bank.pages
    await world.hear(world.bank.customer_pays(key, kind=kind))
    return key


async def test_a_verification_is_reversed_once_and_the_customer_told(world: World) -> None:
    await verified(world)
    assert await world.states(Verification) == ["authorised"]
    other = await world.twin()

    await asyncio.gather(run_operations(world.ctx), run_operations(other.ctx), run_operations(world.ctx))
    await other.store.close()

    assert [kind for kind, _ in world.bank.did] == ["reversal"]
    assert await world.states(Verification) == ["released"]
    assert await world.mails() == [("ver_1", "renew"), ("ver_1", "renewed")]
    assert (world.bank.taken(), await world.balances()) == (0, {})
    assert await world.breaches() == []


async def test_a_verification_that_was_booked_at_once_is_refunded(world: World) -> None:
    await verified(world, kind="sale")
    assert await world.balances() == {"gateway": 10, "verification": -10}

    await world.reconcile()

    assert [kind for kind, _ in world.bank.did] == ["refund"]
    assert (world.bank.taken(), await world.balances()) == (0, {})
    assert await world.breaches() == []


async def test_an_operation_claimed_too_long_ago_is_left_to_be_asked_about_and_done_once(world: World) -> None:
    """Somebody else may have asked by then, heard of nothing, and given the money back under another key."""
    await verified(world, kind="sale")
    usual = world.bank.abilities
    world.bank.abilities = replace(usual, timeout_s=world.ctx.lease_s - 0.0001)

    await run_operations(world.ctx)

    assert world.bank.did == []
    assert await world.states(Operation) == ["sent"]
    world.bank.abilities = usual
    await world.clear_up()
    assert [kind for kind, _ in world.bank.did] == ["refund"]
    assert await world.states(Verification) == ["released"]
    assert (world.bank.taken(), await world.balances()) == (0, {})
    assert await world.breaches() == []


async def test_a_reversal_that_comes_too_late_becomes_a_refund_at_once(world: World) -> None:
    await verified(world)
    world.bank.then("reversal", TOO_LATE)

    await world.reconcile()

    assert [kind for kind, _ in world.bank.did] == ["reversal", "refund"]
    assert await world.states(Verification) == ["released"]
    assert (world.bank.taken(), await world.balances()) == (0, {})
    assert await world.breaches() == []


@pytest.mark.parametrize("failure", [Refused("ACCESS_DENIED", "no"), NotSent("refused"), MisuseError("no such id")])
async def test_a_reversal_that_was_never_made_is_tried_again_as_a_reversal(
    world: World, failure: Outcome | MisuseError
) -> None:
    await verified(world)
    world.bank.then("reversal", failure, failure)

    await world.reconcile()
    assert [kind for kind, _ in world.bank.did] == ["reversal", "reversal"]
    await world.reconcile()
    assert len(world.bank.did) == 2, "the third waits"
    await world.pass_time(RETRY_DELAYS_S[2] + 1)
    await world.reconcile()

    assert [key[-4:] for _, key in world.bank.did] == ["REV1", "REV2", "REV3"]
    assert await world.states(Verification) == ["released"]
    assert await world.breaches() == []


async def test_what_fails_again_and_again_becomes_a_persons_task_and_the_doctor_is_content(world: World) -> None:
    await verified(world)
    world.bank.then("reversal", *[TOO_LATE] * 9)
    world.bank.then("refund", *[Declined("CREDIT_LIMIT_EXCEEDED", DeclineClass.NEVER)] * 9)

    for wait in RETRY_DELAYS_S:
        await world.pass_time(wait + 1)
        await world.reconcile()

    assert [kind for kind, _ in world.bank.did] == ["reversal", "refund"] * 3
    assert await world.states(Verification) == ["authorised"]
    assert [kind for kind, _ in await world.tasks()] == ["operation"]
    assert await world.breaches() == []


@pytest.mark.parametrize("booked", [True, False])
async def test_a_lost_answer_is_asked_about_and_nothing_is_given_back_twice(world: World, booked: bool) -> None:
    key = await verified(world, kind="sale")
    lost: Outcome | BaseException = Unknown("time-out") if booked else RuntimeError("broken")
    world.bank.then("refund", lost)
    await world.reconcile()
    assert await world.states(Operation) == ["unknown"]
    operation = (await world.rows(Operation))[0]["key"]
    world.bank.tell(operation, NotSent("not in the history yet"))

    await world.pass_time(61)
    await world.reconcile()
    assert len(world.bank.did) == 1, "one look at a history is not enough to give money back again"
    if booked:
        world.bank.bookings.append(type(world.bank.bookings[0])(key, "5000", "refund", SMALL))
    await world.pass_time(3600)
    await world.reconcile()

    assert world.bank.taken() == 0
    assert len(world.bank.did) == (1 if booked else 2)
    assert await world.states(Verification) == ["released"]
    assert await world.breaches() == []


async def test_who_dies_while_reversing_is_asked_after(world: World) -> None:
    await verified(world)

    class DeadError(BaseException):
        pass

    world.bank.then("reversal", DeadError())
    with pytest.raises(DeadError):
        await run_operations(world.ctx)
    assert await world.states(Operation) == ["sent"]
    await world.clear_up()

    assert world.bank.taken() == 0
    assert await world.states(Verification) == ["released"]
    assert await world.breaches() == []


async def test_a_push_and_the_answer_of_one_reversal_are_one(world: World) -> None:
    key = await verified(world)
    push = world.bank.push(key, "reversal", "5000", SMALL)
    await asyncio.gather(
        world.reconcile(), world.hear(push), world.hear(world.bank.push(key, "reserved", "5000", SMALL))
    )
    await world.hear(push)
    await settle_operation(world.ctx, 1, Approved("5000", SMALL))

    assert await world.states(Verification) == ["released"]
    assert len([each for each in world.bank.bookings if each.kind == "reversal"]) <= 1
    assert await world.balances() == {}
    assert await world.breaches() == []


async def test_the_capture_of_a_paid_invoice_is_owed_until_it_is_made(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", reserve)
    world.bank.then("capture", Unknown("time-out"), NotSent("refused"))
    await world.run()
    assert [row["captured"] for row in await world.rows(Attempt)] == [False]

    await world.reconcile()
    await world.clear_up()

    assert [kind for kind, _ in world.bank.did] == ["capture"] * 3
    assert [row["captured"] for row in await world.rows(Attempt)] == [True]
    assert await world.balances() == {"gateway": 2500, "revenue": -2083, "tax": -417}
    assert await world.breaches() == []
