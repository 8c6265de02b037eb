"""The promises of the port that PAYONE keeps in its own way, against its simulator over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from billing.gateway import (
    Approved,
    Booked,
    Checkout,
    ConfigurationError,
    DeclineClass,
    Declined,
    ForgeryError,
    NotSent,
    OperationKind,
    Pending,
    ProfileReference,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways.payone_cards import StoredCard
from tests.contract.payone import (
    AMOUNT,
    CHALLENGE,
    DECLINED,
    EXPIRED,
    FRICTIONLESS,
    WANTS_THE_CUSTOMER,
    Shop,
    question,
)
from tests.contract.sandbox import Sandbox, receiving
from tests.gateways.sockets import refusing

PART = Money(1000, "EUR")
BACK = "https://shop.example/ok"


@pytest.fixture
def sandbox(simulators: dict[str, Any]) -> Iterator[Sandbox]:
    started = simulators["payone"]
    with httpx.Client(base_url=started["base_url"], trust_env=False) as http:
        sandbox = Sandbox(started["base_url"], started["credentials"], http)
        sandbox.reset()
        yield sandbox


@pytest.fixture
async def shop(sandbox: Sandbox, numbers: Iterator[int]) -> AsyncIterator[Shop]:
    async with receiving() as receiver, httpx.AsyncClient(trust_env=False) as browser:
        shop = Shop(sandbox, receiver, browser, None, [], lambda: next(numbers))  # type: ignore[arg-type]
        shop.gateway = shop.open()
        shop.simulate(settle_delay_s=0.05)
        yield shop
        for opened in shop.opened:
            await opened.close()


# --- a lost answer: the same request under the same key is the question ---------------------------------


@pytest.mark.parametrize("fault", ["drop_after_booking", "garbage"])
async def test_a_lost_answer_is_told_again_and_charged_once(shop: Shop, fault: str) -> None:
    charge = shop.charge(shop.profile())
    shop.sandbox.fault(fault, operation="CreatePayment", reference=charge.key)
    assert isinstance(await shop.gateway.charge(charge), Unknown)
    again = await shop.gateway.charge(charge)
    assert isinstance(again, Approved)
    assert [row["gateway_id"] for row in shop.ledger(charge.key)] == [again.gateway_id]
    assert shop.taken(charge.key) == AMOUNT.minor


@pytest.mark.parametrize("fault", ["drop_before_booking", "http_500"])
async def test_a_request_that_never_arrived_is_made_by_asking_and_charged_once(shop: Shop, fault: str) -> None:
    charge = shop.charge(shop.profile())
    shop.sandbox.fault(fault, operation="CreatePayment", reference=charge.key)
    assert isinstance(await shop.gateway.charge(charge), Unknown)
    assert shop.ledger(charge.key) == []
    assert isinstance(await shop.gateway.charge(charge), Approved)
    assert shop.taken(charge.key) == AMOUNT.minor


async def test_a_decline_told_again_is_the_same_decline_and_a_new_key_is_a_new_try(shop: Shop) -> None:
    charge = shop.charge(shop.profile(DECLINED))
    first = await shop.gateway.charge(charge)
    assert isinstance(first, Declined)
    assert first.decline is DeclineClass.RETRY_LATER
    assert await shop.gateway.charge(charge) == first
    other = await shop.gateway.charge(replace(charge, key=shop.key()))
    assert isinstance(other, Declined)
    assert other.gateway_id != first.gateway_id
    assert shop.taken(charge.key) == 0


async def test_an_answer_that_takes_too_long_is_a_doubt_and_then_the_truth(shop: Shop) -> None:
    charge = shop.charge(shop.profile())
    shop.sandbox.fault("delay_ms", ms=1200, operation="CreatePayment", reference=charge.key)
    hasty = shop.open(timeout_s="0.4", connect_timeout_s="0.2")
    assert isinstance(await hasty.charge(charge), Unknown)
    outcome = await shop.gateway.charge(charge)
    assert isinstance(outcome, Approved | Unknown)
    assert len(shop.ledger(charge.key)) <= 1


async def test_two_requests_at_once_under_one_key_are_one_payment(shop: Shop) -> None:
    shop.simulate(processing_ms=300)
    charge = shop.charge(shop.profile())
    outcomes = await asyncio.gather(shop.gateway.charge(charge), shop.gateway.charge(charge))
    [first] = [outcome for outcome in outcomes if isinstance(outcome, Approved)]
    [second] = [outcome for outcome in outcomes if isinstance(outcome, Unknown)]
    assert "first request" in second.reason
    assert await shop.gateway.charge(charge) == first
    assert shop.taken(charge.key) == AMOUNT.minor


@pytest.mark.parametrize(
    ("card", "decline"),
    [(EXPIRED, DeclineClass.NEEDS_NEW_PROFILE), (WANTS_THE_CUSTOMER, DeclineClass.NEEDS_CUSTOMER)],
)
async def test_a_decline_says_what_helps(shop: Shop, card: str, decline: DeclineClass) -> None:
    charge = shop.charge(shop.profile(card))
    outcome = await shop.gateway.charge(charge)
    assert isinstance(outcome, Declined)
    assert outcome.decline is decline
    assert shop.taken(charge.key) == 0


async def test_numbers_of_the_other_format_are_numbers_too(shop: Shop) -> None:
    shop.simulate(id_format="digits")
    key, booked = await shop.paid()
    assert isinstance(await shop.gateway.refund(booked, PART, "R-1"), Pending)
    asked = question(booked, amount=PART, operation=OperationKind.REFUND, operation_key="R-1")
    assert await shop.settled(asked) == Approved(booked.gateway_id, PART)
    assert await shop.gateway.find(question(booked)) == Approved(booked.gateway_id, AMOUNT)
    assert shop.taken(key, "refund") == PART.minor


async def test_nothing_is_found_without_a_number_and_everything_with_one(shop: Shop) -> None:
    key, booked = await shop.paid()
    assert isinstance(await shop.gateway.find(question(booked, gateway_id="")), Unknown)
    assert await shop.gateway.find(question(booked)) == Approved(booked.gateway_id, AMOUNT)
    assert shop.taken(key) == AMOUNT.minor


async def test_a_refused_connection_is_the_only_failure_that_was_not_sent(shop: Shop) -> None:
    with refusing() as address:
        nowhere = shop.open(endpoint=address.removesuffix("/door"))
        assert isinstance(await nowhere.charge(shop.charge(ProfileReference("tok-1"))), NotSent)
        with pytest.raises(ConfigurationError):
            await nowhere.check()


async def test_a_wrong_secret_is_said_clearly_and_stops_the_account(shop: Shop) -> None:
    wrong = shop.open(api_secret="not-the-secret")
    with pytest.raises(ConfigurationError) as caught:
        await wrong.check()
    assert "not-the-secret" not in str(caught.value)
    assert isinstance(await wrong.charge(shop.charge(shop.profile())), Refused)


async def test_an_answer_in_another_shape_is_still_the_answer(shop: Shop) -> None:
    for fault in ("reorder_answer", "extra_elements"):
        charge = shop.charge(shop.profile())
        shop.sandbox.fault(fault, operation="CreatePayment", reference=charge.key)
        assert isinstance(await shop.gateway.charge(charge), Approved)


@pytest.mark.parametrize("fault", ["drop_after_booking", "http_500", "garbage", "unauthorized"])
async def test_no_failure_of_the_page_call_raises_or_books(shop: Shop, fault: str) -> None:
    order = shop.checkout()
    shop.sandbox.fault(fault, operation="CreateHostedCheckout")
    assert isinstance(await shop.gateway.open_checkout(order), Refused | Unknown)
    assert shop.ledger(order.key) == []


# --- the card form in our page ------------------------------------------------------------------------


async def test_a_card_from_the_form_pays_and_is_charged_next_month(shop: Shop) -> None:
    form = await shop.typed(FRICTIONLESS)
    stored = await shop.gateway.read_token_form(form.id)
    assert isinstance(stored, StoredCard)
    assert not stored.temporary
    charge = shop.present(form, ProfileReference("C-1"))
    outcome = await shop.gateway.charge_present(charge)
    if isinstance(outcome, Pending):
        assert await shop.at_the_bank(outcome.redirect) == BACK
        outcome = await shop.settled(question(Booked(charge.key, outcome.gateway_id, AMOUNT)))
    assert isinstance(outcome, Approved)
    assert outcome.profile is not None
    assert outcome.profile.reference == stored.profile.reference
    assert outcome.profile.mandate is not None
    assert (outcome.profile.mandate.first_transaction, bool(outcome.profile.mandate.scheme_reference)) == (
        outcome.gateway_id,
        True,
    )
    later = shop.charge(ProfileReference(outcome.profile.reference, mandate=outcome.profile.mandate))
    assert isinstance(await shop.gateway.charge(later), Approved)


@pytest.mark.parametrize(("action", "expected"), [("confirm", Approved), ("refuse", Declined)])
async def test_the_banks_question_decides_and_the_customer_comes_back_either_way(
    shop: Shop, action: str, expected: type[Approved | Declined]
) -> None:
    charge = shop.present(await shop.typed(CHALLENGE))
    outcome = await shop.gateway.charge_present(charge)
    assert isinstance(outcome, Pending)
    assert shop.taken(charge.key) == 0
    assert await shop.at_the_bank(outcome.redirect, action) == BACK
    found = await shop.settled(question(Booked(charge.key, outcome.gateway_id, AMOUNT)))
    assert isinstance(found, expected)
    if isinstance(found, Declined):
        assert found.decline is DeclineClass.NEEDS_CUSTOMER
    assert shop.taken(charge.key) == (AMOUNT.minor if expected is Approved else 0)


async def test_a_form_nobody_filled_in_and_one_that_was_used_up_need_the_customer(shop: Shop) -> None:
    form = await shop.gateway.open_token_form("de")
    spent = await shop.typed(FRICTIONLESS, keep=False)
    assert isinstance(await shop.gateway.charge_present(shop.present(spent)), Approved)
    for unusable in (form, spent):
        outcome = await shop.gateway.charge_present(shop.present(unusable))  # type: ignore[arg-type]
        assert isinstance(outcome, Declined)
        assert outcome.decline is DeclineClass.NEEDS_CUSTOMER


async def test_a_token_that_lasts_once_says_so(shop: Shop) -> None:
    stored = await shop.gateway.read_token_form((await shop.typed(FRICTIONLESS, keep=False)).id)
    assert isinstance(stored, StoredCard)
    assert stored.temporary


async def test_a_forgotten_token_is_gone_and_can_be_forgotten_twice(shop: Shop) -> None:
    profile = shop.profile()
    assert isinstance(await shop.gateway.read_token(profile), StoredCard)
    assert isinstance(await shop.gateway.forget(profile), Approved)
    assert isinstance(await shop.gateway.forget(profile), Approved)
    outcome = await shop.gateway.charge(shop.charge(profile))
    assert outcome == Declined("UNKNOWN_TOKEN_ID", DeclineClass.NEEDS_NEW_PROFILE)


# --- the hosted page ------------------------------------------------------------------------------------


async def test_a_page_with_a_failed_try_stays_open_and_is_paid_once(shop: Shop) -> None:
    order = shop.checkout()
    page = await shop.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    asked = question(Booked(order.key, page.gateway_id, AMOUNT), page=True)
    assert isinstance(await shop.gateway.find(asked), Pending)
    await shop.on_the_page(page.url, DECLINED)
    tried = await shop.gateway.find(asked)
    assert isinstance(tried, Pending)
    assert "a try failed" in tried.evidence
    assert await shop.on_the_page(page.url, FRICTIONLESS) == BACK
    found = await shop.settled(asked)
    assert isinstance(found, Approved)
    assert found.profile is None
    assert shop.taken(order.key) == AMOUNT.minor


async def test_a_page_that_renews_a_profile_tells_of_it(shop: Shop) -> None:
    order = shop.checkout(ProfileReference("C-1"))
    page = await shop.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    assert await shop.on_the_page(page.url, CHALLENGE) == BACK
    found = await shop.settled(question(Booked(order.key, page.gateway_id, AMOUNT), page=True))
    assert isinstance(found, Approved)
    assert found.profile is not None
    news = ProfileReference(found.profile.reference)
    assert isinstance(await shop.gateway.charge(shop.charge(news)), Approved)


async def test_a_page_that_was_given_up_has_booked_nothing(shop: Shop) -> None:
    order = shop.checkout()
    page = await shop.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    await shop.browser.post(page.url, data={"action": "cancel"})
    asked = question(Booked(order.key, page.gateway_id, AMOUNT))
    assert isinstance(await shop.gateway.find(asked), NotSent)
    assert isinstance(await shop.gateway.find(replace(asked, page=True)), Pending)
    assert shop.ledger(order.key) == []


# --- what follows a payment -----------------------------------------------------------------------------


async def test_a_payment_is_given_back_in_parts_and_never_more_than_it_was(shop: Shop) -> None:
    key, booked = await shop.paid()
    assert isinstance(await shop.gateway.refund(booked, PART, "R-1"), Pending)
    too_much = await shop.gateway.refund(booked, AMOUNT, "R-2")
    assert isinstance(too_much, Declined)
    assert too_much.decline is DeclineClass.NEVER
    assert isinstance(await shop.gateway.refund(booked, AMOUNT - PART, "R-3"), Pending)
    refund = question(booked, amount=PART, operation=OperationKind.REFUND, operation_key="R-1")
    assert await shop.settled(refund) == Approved(booked.gateway_id, PART)
    rest = replace(refund, operation_key="R-3")
    assert await shop.settled(rest) == Approved(booked.gateway_id, AMOUNT - PART)
    assert shop.taken(key, "refund") == AMOUNT.minor
    whole = await shop.gateway.find(question(booked))
    assert whole == Approved(booked.gateway_id, AMOUNT, undone=OperationKind.REFUND)


@pytest.mark.parametrize(("fault", "booked_minor"), [("drop_after_booking", 1000), ("drop_before_booking", 0)])
async def test_a_lost_refund_is_found_by_its_key_and_not_given_twice(shop: Shop, fault: str, booked_minor: int) -> None:
    key, booked = await shop.paid()
    shop.sandbox.fault(fault, operation="RefundPayment")
    assert isinstance(await shop.gateway.refund(booked, PART, "R-1"), Unknown)
    asked = question(booked, amount=PART, operation=OperationKind.REFUND, operation_key="R-1")
    found = await shop.settled(asked)
    assert found == Approved(booked.gateway_id, PART) if booked_minor else isinstance(found, NotSent)
    assert shop.taken(key, "refund") == booked_minor


async def test_a_reservation_is_let_go_or_becomes_money(shop: Shop) -> None:
    gateway = shop.open(automatic_capture="no")
    gone_key, gone = await shop.paid(gateway)
    assert isinstance(await gateway.reverse(gone, "V-1"), Pending | Approved)
    reversal = question(gone, operation=OperationKind.REVERSAL, operation_key="V-1")
    assert await shop.settled(reversal) == Approved(gone.gateway_id, AMOUNT)
    found = await gateway.find(question(gone))
    assert found == Approved(gone.gateway_id, AMOUNT, captured=False, undone=OperationKind.REVERSAL)
    assert shop.taken(gone_key) == 0

    kept_key, kept = await shop.paid(gateway)
    assert isinstance(await gateway.capture(kept, AMOUNT, "C-1"), Pending)
    capture = question(kept, operation=OperationKind.CAPTURE, operation_key="C-1")
    assert await shop.settled(capture) == Approved(kept.gateway_id, AMOUNT)
    assert shop.taken(kept_key, "capture") == AMOUNT.minor
    assert isinstance(await gateway.reverse(kept, "V-2"), Declined)


async def test_captured_money_cannot_be_let_go(shop: Shop) -> None:
    key, booked = await shop.paid()
    answered = await shop.gateway.reverse(booked, "V-1")
    assert isinstance(answered, Declined)
    assert answered.decline is DeclineClass.NEVER
    assert shop.taken(key) == AMOUNT.minor


async def test_an_operation_on_a_payment_the_gateway_does_not_know_changes_nothing(shop: Shop) -> None:
    unknown = Booked("P-0", "9999999999_0", AMOUNT)
    assert isinstance(await shop.gateway.refund(unknown, PART, "R-1"), Declined)


# --- events ---------------------------------------------------------------------------------------------


async def test_an_event_tells_the_same_as_the_answer_and_a_copy_is_the_same_news(shop: Shop) -> None:
    charge = shop.charge(shop.profile())
    shop.sandbox.fault("duplicate_notification", reference=charge.key)
    outcome = await shop.gateway.charge(charge)
    messages = await shop.receiver.heard(2)
    notices = [shop.gateway.read_notification(message) for message in messages]
    assert notices[0] == notices[1]
    assert (notices[0].key, notices[0].outcome) == (charge.key, outcome)
    for forged in (
        replace(messages[0], headers={}),
        replace(messages[0], proven_key="P-0"),
        replace(messages[0], body=messages[0].body[:-1]),
    ):
        with pytest.raises(ForgeryError):
            shop.gateway.read_notification(forged)


async def test_an_event_of_a_decline_is_a_decline(shop: Shop) -> None:
    charge = shop.charge(shop.profile(DECLINED))
    answered = await shop.gateway.charge(charge)
    [message] = await shop.receiver.heard(1)
    notice = shop.gateway.read_notification(message)
    assert isinstance(answered, Declined)
    assert (notice.key, notice.outcome) == (charge.key, answered)
