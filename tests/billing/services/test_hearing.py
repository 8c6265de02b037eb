from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from billing.gateway import (
    AfterNothing,
    Asking,
    Charge,
    ConfigurationError,
    DeclineClass,
    Declined,
    Outcome,
    RawMessage,
    Refused,
)
from billing.models import Attempt, Invoice, Notification, Operation, Profile, Subscription, Verification
from billing.money import Money
from billing.services.charging import charge_ready
from billing.services.hearing import BODY_BYTES_MAX, FORGED_PER_HOUR_MAX, receive, settle_waiting
from billing.services.invoicing import issue_page
from billing.services.paying import came_back
from billing.services.reconciling import ask_about
from billing.services.verifying import offer_renewal
from tests.billing.services.support import (
    PRICE,
    Bank,
    World,
    approve,
    by_link,
    context,
    crash_after,
    decline,
    lose_after,
    lose_before,
    not_sent,
)

ALWAYS = Asking((10, 120, 1800), 90, None, AfterNothing.SAME_KEY)


async def the_key(world: World, number: int = 1) -> str:
    return str((await world.rows(Attempt))[number - 1]["key"])


async def test_a_push_before_during_and_after_the_answer_pays_once(world: World) -> None:
    await world.subscribe(2)
    world.bank.default = lose_after
    await world.run()
    booked = world.bank.bookings[0]
    push = world.bank.push(booked.key, "paid", booked.gateway_id)

    assert len({await world.hear(push) for _ in range(3)}) == 1, "the same news is stored once"
    await world.hear(replace(push, query=push.query.replace("serial=", "serial=2")))
    await world.clear_up()
    await world.hear(world.bank.push(booked.key, "pending", booked.gateway_id))
    await world.hear(world.bank.push(booked.key, "failed", booked.gateway_id))

    assert await world.states(Invoice) == ["paid", "paid"]
    assert [row["copies"] for row in await world.rows(Notification)] == [3, 1, 1, 1]
    assert set(await world.states(Notification)) == {"settled"}
    assert await world.mails() == [("att_1", "receipt"), ("att_2", "receipt")]
    assert await world.breaches() == []


async def test_a_forged_push_changes_nothing_and_cannot_fill_the_disk(world: World) -> None:
    await world.subscribe(2)
    world.bank.default = lose_before
    await world.run()
    first, second = await the_key(world), await the_key(world, 2)
    paid = world.bank.push(first, "paid", "1")
    proof = world.ctx.links.notify(1, first).rpartition("/")[2]

    assert (await receive(world.ctx, 1, "forged", paid)).body == "ERROR"
    other = world.bank.push(second, "paid", "1")
    assert (await receive(world.ctx, 1, proof, other)).status == 400, "a proof is good for its own key only"
    crossed = replace(other, proven_key=first)
    assert (await receive(world.ctx, 1, proof, crossed)).status == 400
    assert (await receive(world.ctx, 99, proof, paid)).status == 404
    assert (await receive(world.ctx, 1, proof, replace(paid, body=b"x" * BODY_BYTES_MAX))).status == 413
    for number in range(FORGED_PER_HOUR_MAX + 20):
        await receive(world.ctx, 1, "forged", replace(paid, query=f"{paid.query}&n={number}"))

    assert len(await world.rows(Notification)) == FORGED_PER_HOUR_MAX
    assert set(await world.states(Notification)) == {"forged"}
    assert await world.states(Attempt) == ["unknown", "unknown"]
    assert await world.breaches() == []


async def test_news_of_a_charge_the_database_never_sent_is_believed(world: World) -> None:
    """Restored from a backup: the attempt was sent, and booked, after the backup was made."""
    await world.subscribe(1)
    await issue_page(world.ctx, await world.begin_run())
    key = await the_key(world)
    booked = world.bank.book(key, PRICE)

    await world.hear(world.bank.push(key, "paid", booked.gateway_id))
    await charge_ready(world.ctx, world.merchant_id, lambda _: None)

    assert world.bank.sent == []
    assert world.bank.sales() == {key[:-2]: 1}
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_a_push_about_an_unknown_key_stays_visible_and_a_person_is_told(world: World) -> None:
    await world.hear(world.bank.push("INV-NOBODYKNOWSTHIS1-1", "paid", "1"))

    assert await world.states(Notification) == ["open"]
    assert await world.tasks() == [("notification", "not_1")]
    assert await world.breaches() == []


async def test_a_push_that_says_nothing_makes_us_ask_at_once(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_after
    await world.run()

    await world.hear(world.bank.push(await the_key(world), "strange", "1"))
    await world.reconcile()

    assert await world.states(Invoice) == ["paid"]
    assert await world.states(Notification) == ["open"]
    assert await world.tasks() == [("notification", "not_1")]


async def test_a_push_that_is_only_a_hint_makes_us_ask_and_is_not_believed(world: World) -> None:
    world.bank.abilities = replace(world.bank.abilities, notification_is_truth=False)
    await world.subscribe(1)
    world.bank.default = lose_before
    await world.run()

    await world.hear(world.bank.push(await the_key(world), "paid", "1"))
    assert len(world.bank.asked) == 1
    assert await world.states(Attempt) == ["unknown"]
    await world.reconcile()

    assert await world.states(Invoice) == ["open"]


async def test_a_hint_about_an_abandoned_charge_whose_question_is_refused_frees_nothing(world: World) -> None:
    """Its sender died after the bank had booked, and the bank rejects us who ask, not the charge."""
    world.bank.abilities = replace(world.bank.abilities, notification_is_truth=False, asking=ALWAYS)
    await world.subscribe(1)
    await world.issue_again()
    world.bank.default = crash_after
    with pytest.raises(BaseExceptionGroup):
        await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    await world.pass_time(world.ctx.lease_s + 1)
    key = await the_key(world)
    world.bank.tell(key, Refused("ACCESS_DENIED", "wrong password"))

    await world.hear(world.bank.push(key, "paid", "5000"))

    assert await world.states(Attempt) == ["sent"]
    assert await world.states(Invoice) == ["open"]
    world.bank.default = approve
    await world.clear_up()
    await world.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.mails() == [("att_1", "receipt")]
    assert await world.breaches() == []


async def test_a_hint_that_names_the_reason_of_a_no_tells_it_once_the_no_is_true(world: World) -> None:
    """The question's own answer names no reason, as on wires where questions are about amounts only."""
    world.bank.abilities = replace(world.bank.abilities, notification_is_truth=False)
    await world.subscribe(1)
    world.bank.default = lose_before
    await world.run()
    key = await the_key(world)
    world.bank.tell(key, Declined("FAILED", DeclineClass.RETRY_LATER))

    await world.hear(world.bank.push(key, "failed", "1"))

    [attempt] = await world.rows(Attempt)
    assert (attempt["decline_code"], attempt["decline_class"]) == ("ERROR", "needs_customer")


async def test_a_notification_that_cannot_be_settled_stops_no_other_and_nothing_else(world: World) -> None:
    """The account's credentials have broken since it was stored, so it cannot be read any more."""
    await world.subscribe(2)
    world.bank.default = lose_after
    await world.run()
    first, second = world.bank.bookings
    await world.hear(world.bank.push(first.key, "paid", first.gateway_id), settle=False)
    await world.hear(world.bank.push(second.key, "paid", second.gateway_id), settle=False)
    await world.change(Notification, 1, query="rubbish", proven_key="")

    assert await settle_waiting(world.ctx) == 2

    assert await world.states(Notification) == ["open", "settled"]
    assert await world.tasks() == [("notification", "not_1")]
    await world.clear_up()
    assert await world.states(Invoice) == ["paid", "paid"]
    assert await world.breaches() == []


async def test_a_stored_notification_is_settled_by_whoever_comes_next(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_after
    await world.run()
    booked = world.bank.bookings[0]
    await world.hear(world.bank.push(booked.key, "paid", booked.gateway_id), settle=False)
    assert await world.states(Attempt) == ["unknown"]

    await world.reconcile()

    assert world.bank.asked == [], "it was told"
    assert await world.states(Invoice) == ["paid"]


async def test_an_account_that_cannot_verify_believes_nothing(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_before
    await world.run()

    def broken(*_: object) -> object:
        raise ConfigurationError("no password")

    unusable = context(world.store, world.bank, world.clock)
    unusable.gateways.open = broken  # type: ignore[assignment]
    key = await the_key(world)
    proof = world.ctx.links.notify(1, key).rpartition("/")[2]

    assert (await receive(unusable, 1, proof, world.bank.push(key, "paid", "1"))).status == 400
    assert await world.states(Attempt) == ["unknown"]


@pytest.mark.parametrize("kind", ["chargeback", "returned_debit", "refund"])
async def test_a_payment_taken_back_months_later_reopens_the_invoice_once_and_is_told(world: World, kind: str) -> None:
    await world.subscribe(1)
    await world.run()
    paid = world.bank.bookings[0]

    world.next_day(25)
    for serial in ("1", "2"):
        await world.hear(world.bank.push(paid.key, kind, paid.gateway_id, serial=serial))

    assert await world.states(Invoice) == ["open"]
    assert await world.tasks() == [(kind, "inv_1")]
    assert await world.balances() == {"receivable": 2500, "revenue": -2083, "tax": -417}
    assert [(row["kind"], row["state"]) for row in await world.rows(Operation)] == [(kind, "approved")]
    assert await world.breaches() == []

    await world.pay(await world.link_to(1))
    await world.hear(world.bank.customer_pays(list(world.bank.pages)[-1]))
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_a_part_taken_back_reopens_nothing_and_is_shown(world: World) -> None:
    await world.subscribe(1)
    await world.run()
    paid = world.bank.bookings[0]

    await world.hear(world.bank.push(paid.key, "refund", paid.gateway_id, Money(1000, "EUR")))

    assert await world.states(Invoice) == ["paid"]
    assert await world.tasks() == [("refund", "inv_1")]
    assert await world.balances() == {"customer_credit": 1000, "gateway": 1500, "revenue": -2083, "tax": -417}
    assert await world.breaches() == []


async def test_giving_a_surplus_back_reopens_nothing(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", not_sent)
    await world.run()
    await world.run()
    late = world.bank.book(await the_key(world, 1), PRICE)
    await world.hear(world.bank.push(await the_key(world, 1), "paid", late.gateway_id))
    assert await world.tasks() == [("surplus", "att_1")]

    await world.hear(world.bank.push(await the_key(world, 1), "refund", late.gateway_id))

    assert await world.states(Invoice) == ["paid"]
    assert await world.balances() == {"gateway": 2500, "revenue": -2083, "tax": -417}
    assert await world.breaches() == []


async def test_a_chargeback_and_a_refund_of_one_payment_are_two_movements_but_one_debt(world: World) -> None:
    await world.subscribe(1)
    await world.run()
    paid = world.bank.bookings[0]

    await world.hear(world.bank.push(paid.key, "chargeback", paid.gateway_id))
    await world.hear(world.bank.push(paid.key, "refund", paid.gateway_id))

    assert await world.states(Invoice) == ["open"]
    assert (await world.balances())["receivable"] == 2500
    assert (await world.balances())["gateway"] == -2500
    assert await world.breaches() == []


async def test_news_of_what_followed_a_payment_says_that_it_was_made(world: World) -> None:
    """The push about the payment got lost, and the one about its chargeback did not."""
    await world.subscribe(1)
    world.bank.default = lose_after
    await world.run()
    paid = world.bank.bookings[0]

    await world.hear(world.bank.push(paid.key, "chargeback", paid.gateway_id))
    await world.hear(world.bank.push(paid.key, "paid", paid.gateway_id))

    assert await world.states(Attempt) == ["approved"]
    assert await world.states(Invoice) == ["open"]
    assert await world.tasks() == [("chargeback", "inv_1")]
    assert await world.breaches() == []


async def test_a_verification_reversed_by_hand_is_released_whatever_came_first(world: World) -> None:
    await world.subscribe(1)
    for reference in ("S1", "S1"):
        await offer_renewal(world.ctx, reference)
    for link in (1, 2):
        await world.pay(link)
    first, second = world.bank.pages
    small = Money(10, "EUR")

    await world.hear(world.bank.push(first, "reserved", "1", small))
    await world.hear(world.bank.push(first, "reversal", "1", small))
    await world.hear(world.bank.push(second, "reversal", "2", small))

    assert await world.states(Verification) == ["released", "released"]
    assert world.bank.did == []
    await world.reconcile()
    assert world.bank.did == [], "nothing is owed any more"
    assert await world.balances() == {}
    assert await world.breaches() == []


async def test_a_paid_page_renews_the_profile_it_was_opened_for(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    (key,) = world.bank.pages

    await world.hear(world.bank.customer_pays(key))

    profile = (await world.rows(Profile))[0]
    assert (profile["state"], profile["last4"], profile["renewed_at"] is not None) == ("active", "1111", True)
    assert await world.states(Subscription) == ["active"]
    assert await world.breaches() == []


async def test_only_harmless_headers_are_kept(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_before
    await world.run()
    push = world.bank.push(await the_key(world), "pending", "1")
    headers = {"Authorization": "Basic c2VjcmV0", "Cookie": "a=b", "User-Agent": "x" * 999}

    await world.hear(RawMessage("GET", push.query + urlencode({"x": 1}), headers, b"", push.proven_key))

    kept = (await world.rows(Notification))[0]["headers"]
    assert set(kept) == {"User-Agent"}
    assert len(kept["User-Agent"]) == 200


async def test_a_decline_that_overtakes_its_answer_lets_the_answer_say_why(world: World) -> None:
    await world.subscribe()
    sent, gate = asyncio.Event(), asyncio.Event()

    async def answer_late(bank: Bank, charge: Charge) -> Outcome:
        sent.set()
        await gate.wait()
        return await decline(DeclineClass.NEEDS_NEW_PROFILE)(bank, charge)

    world.bank.on("P1", answer_late)

    async with asyncio.TaskGroup() as group:
        group.create_task(world.run())
        await asyncio.wait_for(sent.wait(), 60)
        await world.hear(world.bank.push(world.bank.sent[0].key, "failed"))
        assert await world.states(Attempt) == ["sent"]
        gate.set()

    assert [row["decline_class"] for row in await world.rows(Attempt)] == [DeclineClass.NEEDS_NEW_PROFILE]
    assert await world.states(Profile) == ["failed"]
    await world.reconcile()
    assert await world.states(Notification) == ["settled"]
    assert await world.mails() == [("att_1", "declined")]


async def test_a_payment_that_fails_after_it_was_approved_is_shown_to_a_person(world: World) -> None:
    await world.subscribe()
    await world.run()
    booked = world.bank.bookings[0]

    await world.hear(world.bank.push(booked.key, "failed", "an older try"))
    assert await world.tasks() == []
    await world.hear(world.bank.push(booked.key, "failed", booked.gateway_id, serial="2"))

    assert await world.tasks() == [("contradiction", "att_1")]
    assert await world.states(Invoice) == ["paid"]


async def test_a_hint_that_tells_of_a_profile_is_no_old_news_of_a_payment_that_was_found_by_asking(
    world: World,
) -> None:
    world.bank.abilities = replace(world.bank.abilities, notification_is_truth=False, asking=ALWAYS)
    await world.subscribe(1, **by_link(1))
    await world.run()
    link = await world.link_to(1)
    await world.pay(link)
    key = next(iter(world.bank.pages))
    hint = world.bank.customer_pays(key, profile="NEW")
    attempt_id = await came_back(world.ctx, link)
    assert attempt_id is not None
    await ask_about(world.ctx, attempt_id)
    assert await world.states(Invoice) == ["paid"]
    assert await world.rows(Profile) == []

    await world.hear(hint)

    [profile] = await world.rows(Profile)
    [subscription] = await world.rows(Subscription)
    assert subscription["profile_id"] == profile["id"]
    assert await world.states(Notification) == ["settled"]
    assert await world.breaches() == []


async def test_an_older_payment_told_again_brings_no_card_back_that_a_later_visit_replaced(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    older = next(iter(world.bank.pages))
    first = world.bank.customer_pays(older, profile="FIRST")
    await world.hear(first)
    await offer_renewal(world.ctx, "S1", mail=False)
    await world.pay(2)
    await world.hear(world.bank.customer_pays(list(world.bank.pages)[-1], kind="reservation", profile="SECOND"))
    states = ["replaced", "replaced", "active"]
    assert await world.states(Profile) == states

    await world.hear(replace(first, query=first.query.replace("serial=", "serial=2")))

    assert await world.states(Profile) == states
    [subscription] = await world.rows(Subscription)
    assert subscription["profile_id"] == 3


async def test_an_older_payment_told_again_makes_no_dead_card_chargeable(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    paid = world.bank.customer_pays(next(iter(world.bank.pages)))
    await world.hear(paid)
    world.bank.default = decline(DeclineClass.NEEDS_NEW_PROFILE)
    world.next_day(30)
    await world.run()
    assert await world.states(Profile) == ["failed"]

    await world.hear(replace(paid, query=paid.query.replace("serial=", "serial=2")))

    assert await world.states(Profile) == ["failed"]
