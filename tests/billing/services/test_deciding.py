"""What a person may decide of a doubt, what not, and what the gateway's later word makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from billing.gateway import AfterNothing, Asking, Outcome, Unknown
from billing.models import Attempt, Invoice, Operation, Task, Verification
from billing.payments import AttemptState
from billing.services.charging import charge_ready
from billing.services.deciding import DecisionError, Word, decide
from billing.services.invoicing import issue_page
from billing.services.reconciling import ask_about_doubts
from billing.services.verifying import offer_renewal
from jobs.explain import explain
from tests.billing.services.support import (
    PAGE_LIFE_S,
    PRICE,
    World,
    crash_after,
    decline,
    lose_after,
    lose_before,
    reserve,
)

BOOKED = Word("account statement of 23 November", "anna", "5001")
NOTHING = Word("Ms Gruber at the bank, case 77", "anna")


async def in_doubt(world: World, *, booked: bool = False) -> str:
    """Bring an attempt to where no question is left and a person is asked; return its key."""
    await world.subscribe(1)
    world.bank.on("P1", lose_after if booked else lose_before)
    await world.run()
    key = str((await world.rows(Attempt))[0]["key"])
    world.bank.tell(key, *[Unknown("the bank's books are closed")] * 3)
    await world.clear_up()
    assert await world.tasks() == [("doubt", "att_1")]
    return key


async def test_what_a_person_found_booked_pays_the_invoice_and_asks_nobody_any_more(world: World) -> None:
    key = await in_doubt(world)
    (task,) = await world.rows(Task)
    assert f"25.00 EUR under the key {key}" in task["reason"]
    assert "asked 3 times, last heard: the bank's books are closed" in task["reason"]

    assert await decide(world.ctx, "att_1", BOOKED) == AttemptState.APPROVED

    (attempt,) = await world.rows(Attempt)
    assert (attempt["gateway_id"], attempt["evidence"]) == ("5001", str(BOOKED))
    assert await world.states(Invoice) == ["paid"]
    assert await world.mails() == [("att_1", "receipt")]
    assert await world.tasks() == []
    assert await world.breaches() == []
    assert any("settled by hand by anna: booked as 5001" in each for each in await explain(world.ctx, "att_1"))


async def test_what_was_not_booked_is_charged_again_under_a_new_key(world: World) -> None:
    await in_doubt(world)

    assert await decide(world.ctx, "att_1", NOTHING) == AttemptState.NOT_SENT
    await world.run()

    assert await world.states(Attempt) == ["not_sent", "approved"]
    assert (await world.rows(Attempt))[0]["evidence"] == str(NOTHING)
    assert set(world.bank.sales().values()) == {1}
    assert await world.tasks() == []
    assert await world.breaches() == []


@pytest.mark.parametrize("charged_meanwhile", [False, True])
async def test_a_later_truth_corrects_a_person_who_was_wrong(world: World, charged_meanwhile: bool) -> None:
    key = await in_doubt(world, booked=True)
    await decide(world.ctx, "att_1", NOTHING)
    if charged_meanwhile:
        await world.run()

    await world.hear(world.bank.push(key, "paid", "5000"))

    assert (await world.rows(Attempt))[0]["state"] == "approved"
    assert await world.states(Invoice) == ["paid"]
    assert await world.tasks() == ([("surplus", "att_1")] if charged_meanwhile else [])
    await world.run()
    assert len(world.bank.bookings) == (2 if charged_meanwhile else 1), "nobody is charged once more"
    assert await world.breaches() == []


async def test_another_amount_is_booked_as_the_money_it_is(world: World) -> None:
    await in_doubt(world)

    await decide(world.ctx, "att_1", replace(BOOKED, amount="24.00"))

    assert await world.states(Invoice) == ["open"]
    assert set(await world.tasks()) == {("amount", "att_1"), ("amount", "inv_1")}
    assert (await world.balances())["customer_credit"] == -2400
    assert await world.breaches() == []


async def test_what_is_only_reserved_is_still_captured(world: World) -> None:
    await in_doubt(world)
    world.bank.book(world.bank.sent[0].key, PRICE, kind="reservation")

    await decide(world.ctx, "att_1", replace(BOOKED, gateway_id="5000", reserved=True))
    await world.reconcile()

    assert [kind for kind, _ in world.bank.did] == ["capture"]
    assert [row["captured"] for row in await world.rows(Attempt)] == [True]
    assert await world.breaches() == []


@pytest.mark.parametrize("word", [BOOKED, NOTHING])
async def test_what_is_not_in_doubt_is_refused_and_left_as_it_is(world: World, word: Word) -> None:
    await world.subscribe(2)
    world.bank.on("P2", decline())
    await world.run()
    before = await world.rows(Attempt), await world.balances()

    for name, state in (("att_1", "approved"), ("att_2", "declined")):
        with pytest.raises(DecisionError, match=f"{name} is not in doubt: it is {state}"):
            await decide(world.ctx, name, word)
    for name in ("att_99", "op_1"):
        with pytest.raises(DecisionError, match=f"there is no {name}"):
            await decide(world.ctx, name, word)

    assert (await world.rows(Attempt), await world.balances()) == before


async def test_nothing_is_decided_while_its_sender_may_be_at_work(world: World) -> None:
    await world.subscribe(1)
    await issue_page(world.ctx, await world.begin_run())
    world.bank.default = crash_after
    with pytest.raises(BaseExceptionGroup):
        await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    for word in (BOOKED, NOTHING):
        with pytest.raises(DecisionError, match="somebody may be at att_1 just now: wait 1"):
            await decide(world.ctx, "att_1", word)
    await world.pass_time(world.ctx.lease_s + 1)
    with pytest.raises(DecisionError, match="the gateway itself may not know yet what became of att_1: wait 8"):
        await decide(world.ctx, "att_1", NOTHING)

    assert await world.states(Attempt) == ["sent"]
    await world.pass_time(90)
    assert await decide(world.ctx, "att_1", replace(BOOKED, gateway_id="5000")) == AttemptState.APPROVED
    assert await world.breaches() == []


async def test_nothing_is_decided_while_a_request_is_being_repeated(world: World) -> None:
    """The question is the request itself: were the right free now, the customer would pay it twice."""
    await world.subscribe(1)
    world.bank.abilities = replace(
        world.bank.abilities, asking=Asking((10,), 0, None, AfterNothing.SAME_KEY, by_key=False)
    )
    world.bank.on("P1", lose_before)
    await world.run()
    refusals: list[str] = []

    async def decide_meanwhile(bank: Any, charge: Any) -> Outcome:
        for word in (BOOKED, NOTHING):
            with pytest.raises(DecisionError) as refused:
                await decide(world.ctx, "att_1", word)
            refusals.append(str(refused.value))
        return bank.book(charge.key, charge.amount)  # type: ignore[no-any-return]

    world.bank.on("P1", decide_meanwhile)
    await world.pass_time(11)
    await ask_about_doubts(world.ctx)

    assert [each.partition(" just now")[0] for each in refusals] == ["somebody may be at att_1"] * 2
    assert await world.states(Invoice) == ["paid"]
    assert set(world.bank.sales().values()) == {1}


async def test_not_booked_is_refused_while_the_customer_can_still_pay(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    (key,) = world.bank.pages

    with pytest.raises(DecisionError, match="the customer can still pay on the page of att_2"):
        await decide(world.ctx, "att_2", NOTHING)
    await world.hear(world.bank.customer_pays(key))

    assert await world.states(Invoice) == ["paid"]


async def test_a_page_that_has_closed_may_be_given_up_by_hand(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    await world.pass_time(PAGE_LIFE_S + 200)

    assert await decide(world.ctx, "att_2", NOTHING) == AttemptState.NOT_SENT
    assert await world.breaches() == []


async def test_one_payment_is_the_proof_of_one_attempt(world: World) -> None:
    await world.subscribe(2)
    world.bank.default = lose_before
    await world.run()
    await world.pass_time(100)
    await decide(world.ctx, "att_1", BOOKED)

    with pytest.raises(DecisionError, match="5001 is the payment of att_1"):
        await decide(world.ctx, "att_2", BOOKED)

    assert await world.states(Invoice) == ["paid", "open"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (replace(BOOKED, proof=" "), "--proof"),
        (replace(BOOKED, proof="x" * 1001), "--proof"),
        (replace(BOOKED, by=""), "--by"),
        (replace(BOOKED, gateway_id="9" * 65), "--approved"),
        (replace(BOOKED, amount="lots"), "--amount"),
        (replace(BOOKED, amount="0"), "--amount"),
        (replace(NOTHING, amount="1"), "--not-booked"),
    ],
)
async def test_a_word_that_makes_no_sense_changes_nothing(world: World, word: Word, says: str) -> None:
    await in_doubt(world)

    with pytest.raises(DecisionError, match=says):
        await decide(world.ctx, "att_1", word)

    assert await world.states(Attempt) == ["unknown"]
    assert await world.tasks() == [("doubt", "att_1")]


async def test_two_operators_and_a_notification_at_once_settle_it_once(world: World) -> None:
    key = await in_doubt(world, booked=True)
    other = await world.twin()
    word = replace(BOOKED, gateway_id="5000")

    heard = await asyncio.gather(
        decide(world.ctx, "att_1", word),
        decide(other.ctx, "att_1", NOTHING),
        decide(other.ctx, "att_1", word),
        world.hear(world.bank.push(key, "paid", "5000")),
        return_exceptions=True,
    )
    await other.store.close()
    await world.run()

    assert {type(each) for each in heard if isinstance(each, BaseException)} <= {DecisionError}
    assert (await world.rows(Attempt))[0]["state"] == "approved"
    assert await world.states(Invoice) == ["paid"]
    assert (await world.balances())["gateway"] == 2500 * len(world.bank.bookings), "each booking is in the books once"
    assert await world.breaches() == []


# --- operations ---------------------------------------------------------------


async def owed_back(world: World) -> str:
    """Bring the refund of a verification into a doubt, and return the key of its attempt."""
    await world.subscribe(1)
    await offer_renewal(world.ctx, "S1")
    await world.pay(1)
    (key,) = world.bank.pages
    await world.hear(world.bank.customer_pays(key, kind="sale"))
    world.bank.then("refund", Unknown("time-out"))
    await world.reconcile()
    operation = (await world.rows(Operation))[0]["key"]
    world.bank.tell(operation, *[Unknown("cannot be told from another")] * 20)
    return key


async def test_an_operation_in_doubt_for_ever_becomes_a_task_and_a_person_settles_it(world: World) -> None:
    await owed_back(world)
    for _ in range(8):
        await world.pass_time(86_500)
        await world.reconcile()
    assert await world.tasks() == [("doubt", "op_1")]
    assert len(world.bank.did) == 1, "asked, and never sent again"
    assert any("last heard: cannot be told from another" in each for each in await explain(world.ctx, "op_1"))

    assert await decide(world.ctx, "op_1", BOOKED) == AttemptState.APPROVED

    (operation,) = await world.rows(Operation)
    assert (operation["gateway_id"], operation["evidence"]) == ("5001", str(BOOKED))
    assert await world.states(Verification) == ["released"]
    assert await world.tasks() == []
    assert await world.breaches() == []
    with pytest.raises(DecisionError, match="op_1 is not in doubt: it is approved"):
        await decide(world.ctx, "op_1", BOOKED)


async def test_an_operation_that_was_not_made_is_made_once_more_and_not_too_early(world: World) -> None:
    await owed_back(world)
    await world.pass_time(300)
    with pytest.raises(DecisionError, match="may not know yet what became of op_1"):
        await decide(world.ctx, "op_1", NOTHING)
    with pytest.raises(DecisionError, match="op_1 has the amount it has"):
        await decide(world.ctx, "op_1", replace(BOOKED, amount="1"))
    await world.pass_time(400)

    assert await decide(world.ctx, "op_1", NOTHING) == AttemptState.NOT_SENT
    await world.reconcile()

    assert [key[-4:] for _, key in world.bank.did] == ["REF1", "REF2"]
    assert (world.bank.taken(), await world.balances()) == (0, {})
    assert await world.breaches() == []


async def test_a_capture_in_doubt_is_settled_by_hand(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", reserve)
    world.bank.then("capture", Unknown("time-out"))
    await world.run()
    await world.reconcile()

    assert await decide(world.ctx, "op_1", replace(BOOKED, gateway_id="5000")) == AttemptState.APPROVED

    assert [row["captured"] for row in await world.rows(Attempt)] == [True]
    assert world.bank.asked == []
    assert await world.breaches() == []


def test_a_word_says_what_who_and_why() -> None:
    assert str(NOTHING) == "settled by hand by anna: not booked; proof: Ms Gruber at the bank, case 77"
