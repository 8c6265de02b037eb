"""The promises of the port, kept by every adapter against its simulator over real sockets.

The simulator's ledger is the judge: whatever an adapter says must fit what was really booked.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from billing.gateway import (
    Approved,
    Booked,
    Checkout,
    ConfigurationError,
    DeclineClass,
    Declined,
    ForgeryError,
    MisuseError,
    Notice,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    ProfileReference,
    RawMessage,
    Refused,
    Unknown,
)
from billing.money import Money
from tests.contract.conftest import AMOUNT, Account
from tests.contract.harness import Means
from tests.gateways.sockets import refusing

PART = Money(1000, "EUR")
SMALL = Money(10, "EUR")


# --- yes, no, later -----------------------------------------------------------------------------


async def test_credentials_that_work_pass_the_check(account: Account) -> None:
    await account.gateway.check()


async def test_a_stored_profile_is_charged_once(account: Account) -> None:
    account.needs("charge")
    key, outcome, _ = await account.paid()
    assert outcome.amount == AMOUNT
    assert outcome.captured
    assert account.sandbox.booked(key) == AMOUNT.minor
    assert [row["gateway_id"] for row in account.sandbox.ledger(key)] == [outcome.gateway_id]


async def test_a_decline_is_a_value_and_books_nothing(account: Account) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.declined))
    outcome = await account.gateway.charge(charge)
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.RETRY_LATER
    assert account.sandbox.booked(charge.key) == 0


async def test_an_expired_means_asks_for_a_new_one(account: Account) -> None:
    account.needs("charge")
    outcome = await account.gateway.charge(account.charge(account.profile(account.harness.expired)))
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_NEW_PROFILE


async def test_a_profile_nobody_stored_asks_for_a_new_one(account: Account) -> None:
    account.needs("charge")
    outcome = await account.gateway.charge(account.charge(ProfileReference("C-nobody")))
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_NEW_PROFILE


async def test_two_charges_at_once_do_not_mix(account: Account) -> None:
    account.needs("charge")
    good, declined = account.profile(account.harness.good), account.profile(account.harness.declined)
    charges = [account.charge(profile) for profile in (good, declined) * 10]
    outcomes = await asyncio.gather(*map(account.gateway.charge, charges))
    assert [isinstance(outcome, Approved) for outcome in outcomes] == [True, False] * 10
    assert len({outcome.gateway_id for outcome in outcomes if isinstance(outcome, Approved)}) == 10
    assert sum(account.sandbox.booked(charge.key) for charge in charges) == 10 * AMOUNT.minor


async def test_a_payment_that_settles_later_is_pending_until_the_gateway_says_so(account: Account) -> None:
    account.needs("charge_present")
    charge = account.present(account.harness.booked_later)
    outcome = await account.gateway.charge_present(charge)
    assert isinstance(outcome, Pending)
    notices = [account.gateway.read_notification(message) for message in await account.receiver.heard(2)]
    [settled] = [notice.outcome for notice in notices if isinstance(notice.outcome, Approved)]
    assert settled == Approved(outcome.gateway_id, AMOUNT)
    asked = await account.gateway.find(account.question(charge.key, outcome.gateway_id))
    assert asked == settled


async def test_a_method_that_needs_the_customer_answers_with_an_address(account: Account) -> None:
    account.needs("charge_present")
    charge = account.present(account.harness.with_redirect)
    outcome = await account.gateway.charge_present(charge)
    assert isinstance(outcome, Pending)
    assert outcome.redirect.startswith("http")
    assert account.sandbox.booked(charge.key) == 0


# --- the network fails ------------------------------------------------------------------------------


async def test_a_refused_connection_is_the_only_failure_that_was_not_sent(account: Account) -> None:
    with refusing() as address:
        nowhere = account.open(endpoint=address)
        assert isinstance(await nowhere.charge(account.charge(ProfileReference("C-1"))), NotSent)
        assert isinstance(await nowhere.find(account.question("K-0")), Unknown)
        with pytest.raises(ConfigurationError):
            await nowhere.check()


@pytest.mark.parametrize("fault", ["drop_after_booking", "garbage"])
async def test_a_lost_answer_is_found_again_and_charged_once(account: Account, fault: str) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.good))
    account.sandbox.fault(fault, operation=account.harness.calls["charge"], reference=charge.key)
    assert isinstance(await account.gateway.charge(charge), Unknown)
    found = await account.gateway.find(account.question(charge.key))
    assert isinstance(found, Approved)
    assert found.amount == AMOUNT
    assert len(account.sandbox.ledger(charge.key)) == 1


@pytest.mark.parametrize("fault", ["drop_before_booking", "http_500"])
async def test_a_lost_request_is_found_to_be_nothing(account: Account, fault: str) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.good))
    account.sandbox.fault(fault, operation=account.harness.calls["charge"], reference=charge.key)
    assert isinstance(await account.gateway.charge(charge), Unknown)
    assert isinstance(await account.gateway.find(account.question(charge.key)), NotSent)
    assert account.sandbox.ledger(charge.key) == []


async def test_an_answer_that_takes_too_long_is_a_doubt(account: Account) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.good))
    account.sandbox.fault("delay_ms", ms=1500, operation=account.harness.calls["charge"], reference=charge.key)
    hasty = account.open(timeout_s="0.3", connect_timeout_s="0.1")
    assert isinstance(await hasty.charge(charge), Unknown)


async def test_a_lost_answer_about_a_known_payment_is_found_by_its_number(account: Account) -> None:
    account.needs("charge")
    key, outcome, _ = await account.paid()
    question = account.question(key, outcome.gateway_id, asked=99)
    assert await account.gateway.find(question) == outcome


async def test_the_budget_of_questions_is_not_overdrawn(account: Account) -> None:
    budget = account.gateway.abilities.asking.budget
    if budget is None:
        pytest.skip("this gateway may be asked for ever")
    key, _, _ = await account.paid()
    assert isinstance(await account.gateway.find(account.question(key, asked=budget - 1)), Approved)
    assert isinstance(await account.gateway.find(account.question(key, asked=budget)), Unknown)


# --- the gateway fails ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["fault", "unauthorized"])
async def test_a_rejection_of_us_is_not_held_against_the_customer(account: Account, fault: str) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.good))
    account.sandbox.fault(fault, operation=account.harness.calls["charge"], reference=charge.key)
    outcome = await account.gateway.charge(charge)
    assert isinstance(outcome, Refused)
    assert all(secret not in outcome.reason for secret in account.sandbox.credentials.values())
    assert account.sandbox.ledger(charge.key) == []


@pytest.mark.parametrize("fault", ["reorder_answer", "extra_elements"])
async def test_an_answer_in_another_shape_is_still_the_answer(account: Account, fault: str) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.good))
    account.sandbox.fault(fault, operation=account.harness.calls["charge"], reference=charge.key)
    outcome = await account.gateway.charge(charge)
    assert isinstance(outcome, Approved)
    assert [row["gateway_id"] for row in account.sandbox.ledger(charge.key)] == [outcome.gateway_id]


@pytest.mark.parametrize(
    "fault",
    ["drop_after_booking", "drop_before_booking", "http_500", "garbage", "fault", "unauthorized", "reorder_answer"],
)
async def test_no_failure_of_the_page_call_raises_or_books(account: Account, fault: str) -> None:
    account.needs("hosted_page")
    order = account.checkout(None)
    account.sandbox.fault(fault, operation=account.harness.calls["open_checkout"])
    outcome = await account.gateway.open_checkout(order)
    assert isinstance(outcome, Checkout | Declined | Refused | NotSent | Unknown)
    assert account.sandbox.ledger(order.key) == []


async def test_a_wrong_password_is_said_clearly_and_not_repeated(account: Account) -> None:
    wrong = account.open(password="not-the-password")
    with pytest.raises(ConfigurationError) as caught:
        await wrong.check()
    assert "not-the-password" not in str(caught.value)
    assert isinstance(await wrong.charge(account.charge(ProfileReference("C-1"))), Refused)


# --- notifications ------------------------------------------------------------------------------------


async def approved_notice(account: Account, profile: ProfileReference) -> tuple[RawMessage, Notice]:
    """Charge and return the notification that says so."""
    account.needs("charge")
    charge = account.charge(profile)
    assert isinstance(await account.gateway.charge(charge), Approved)
    seen = 0
    while True:
        seen += 1
        message = (await account.receiver.heard(seen))[-1]
        notice = account.gateway.read_notification(message)
        if notice.key == charge.key and isinstance(notice.outcome, Approved) and "RESERVED" not in message.query:
            return message, notice


async def test_a_notification_tells_the_same_as_the_answer(account: Account) -> None:
    _, notice = await approved_notice(account, account.profile(account.harness.good))
    assert isinstance(notice.outcome, Approved)
    assert (notice.outcome.amount, notice.outcome.gateway_id) == (AMOUNT, notice.gateway_id)
    assert [row["gateway_id"] for row in account.sandbox.ledger(notice.key)] == [notice.gateway_id]


async def test_a_notification_of_a_decline_is_a_decline(account: Account) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.declined))
    answered = await account.gateway.charge(charge)
    [message] = await account.receiver.heard(1)
    notice = account.gateway.read_notification(message)
    assert isinstance(answered, Declined)
    assert isinstance(notice.outcome, Declined)
    assert (notice.key, notice.gateway_id) == (charge.key, answered.gateway_id)


async def test_two_copies_of_a_notification_are_one_piece_of_news(account: Account) -> None:
    account.needs("charge")
    charge = account.charge(account.profile(account.harness.declined))
    account.sandbox.fault("duplicate_notification", reference=charge.key)
    await account.gateway.charge(charge)
    first, second = map(account.gateway.read_notification, await account.receiver.heard(2))
    assert first == second


async def test_news_out_of_order_stays_the_news_it_is(account: Account) -> None:
    account.needs("hosted_page")
    order = account.checkout(None)
    page = await account.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    await account.harness.pay(account.browser, page.url, account.harness.declined)
    await account.harness.pay(account.browser, page.url, account.harness.good)
    messages = await account.receiver.heard(2)
    forwards = [account.gateway.read_notification(message) for message in messages]
    backwards = [account.gateway.read_notification(message) for message in reversed(messages)]
    assert forwards == backwards[::-1]
    failed = {notice.gateway_id for notice in forwards if isinstance(notice.outcome, Declined)}
    paid = {notice.gateway_id for notice in forwards if isinstance(notice.outcome, Approved)}
    assert len(failed) == len(paid) == 1
    assert failed != paid


async def test_a_notification_without_the_orders_own_proof_is_a_forgery(account: Account) -> None:
    message, _ = await approved_notice(account, account.profile(account.harness.good))
    with pytest.raises(ForgeryError):
        account.gateway.read_notification(replace(message, proven_key=""))


async def test_a_notification_with_the_proof_of_another_order_is_a_forgery(account: Account) -> None:
    message, _ = await approved_notice(account, account.profile(account.harness.good))
    with pytest.raises(ForgeryError):
        account.gateway.read_notification(replace(message, proven_key="K-999"))


async def test_a_damaged_notification_is_a_forgery_or_no_certain_news(account: Account) -> None:
    message, notice = await approved_notice(account, account.profile(account.harness.good))
    for end in range(len(message.query)):
        cut = replace(message, query=message.query[:end], body=message.body[:end])
        try:
            read = account.gateway.read_notification(cut)
        except ForgeryError:
            continue
        assert read.key == notice.key
        assert not isinstance(read.outcome, Declined)


async def test_accepting_and_not_accepting_are_two_answers(account: Account) -> None:
    assert account.gateway.acknowledge(True) != account.gateway.acknowledge(False)


# --- what follows a payment -----------------------------------------------------------------------------


async def test_a_payment_is_given_back_in_parts_and_never_more_than_it_was(account: Account) -> None:
    account.needs("charge", "refund", "partial_refund")
    key, outcome, booked = await account.paid()
    assert await account.gateway.refund(booked, PART, "R-1") == Approved(outcome.gateway_id, PART)
    too_much = await account.gateway.refund(booked, AMOUNT, "R-2")
    assert isinstance(too_much, Declined)
    assert too_much.decline is DeclineClass.NEVER
    assert isinstance(await account.gateway.refund(booked, AMOUNT - PART, "R-3"), Approved)
    assert account.sandbox.booked(key, "refund") == AMOUNT.minor


async def test_a_payment_given_back_whole_is_found_undone(account: Account) -> None:
    account.needs("charge", "refund")
    key, outcome, booked = await account.paid()
    assert isinstance(await account.gateway.refund(booked, AMOUNT, "R-1"), Approved)
    found = await account.gateway.find(account.question(key, outcome.gateway_id))
    assert isinstance(found, Approved)
    assert found.undone is OperationKind.REFUND


async def test_a_lost_refund_is_found_again_and_not_given_twice(account: Account) -> None:
    account.needs("charge", "refund", "partial_refund")
    key, outcome, booked = await account.paid()
    account.sandbox.fault("drop_after_booking", operation=account.harness.calls["refund"])
    assert isinstance(await account.gateway.refund(booked, PART, "R-1"), Unknown)
    question = account.question(
        key, outcome.gateway_id, amount=PART, operation=OperationKind.REFUND, operation_key="R-1"
    )
    assert await account.gateway.find(question) == Approved(outcome.gateway_id, PART)
    assert account.sandbox.booked(key, "refund") == PART.minor


async def test_a_refund_that_never_arrived_is_found_to_be_nothing(account: Account) -> None:
    account.needs("charge", "refund", "partial_refund")
    key, outcome, booked = await account.paid()
    account.sandbox.fault("drop_before_booking", operation=account.harness.calls["refund"])
    assert isinstance(await account.gateway.refund(booked, PART, "R-1"), Unknown)
    question = account.question(
        key, outcome.gateway_id, amount=PART, operation=OperationKind.REFUND, operation_key="R-1"
    )
    assert isinstance(await account.gateway.find(question), NotSent)


async def test_a_reservation_is_let_go(account: Account) -> None:
    account.needs("charge", "reverse")
    gateway = account.reserving()
    key, outcome, booked = await account.paid(gateway)
    assert not outcome.captured
    assert isinstance(await gateway.reverse(booked, "V-1"), Approved)
    assert account.sandbox.booked(key) == 0
    found = await gateway.find(account.question(key, outcome.gateway_id))
    assert isinstance(found, Approved)
    assert found.undone is OperationKind.REVERSAL


async def test_a_lost_reversal_is_found_again(account: Account) -> None:
    account.needs("charge", "reverse")
    gateway = account.reserving()
    key, outcome, booked = await account.paid(gateway)
    account.sandbox.fault("drop_after_booking", operation=account.harness.calls["reverse"])
    assert isinstance(await gateway.reverse(booked, "V-1"), Unknown)
    question = account.question(key, outcome.gateway_id, operation=OperationKind.REVERSAL, operation_key="V-1")
    assert isinstance(await gateway.find(question), Approved)


async def test_a_reservation_becomes_money_by_capturing_it(account: Account) -> None:
    account.needs("charge", "capture")
    gateway = account.reserving()
    key, outcome, booked = await account.paid(gateway)
    assert await gateway.capture(booked, AMOUNT, "C-1") == Approved(outcome.gateway_id, AMOUNT)
    assert account.sandbox.booked(key) == AMOUNT.minor


async def test_captured_money_cannot_be_let_go_and_that_is_certain_at_the_latest_when_asked(account: Account) -> None:
    account.needs("charge", "reverse")
    key, outcome, booked = await account.paid()
    answered: Outcome = await account.gateway.reverse(booked, "V-1")
    if isinstance(answered, Unknown):
        question = account.question(key, outcome.gateway_id, operation=OperationKind.REVERSAL, operation_key="V-1")
        answered = await account.gateway.find(question)
    assert isinstance(answered, Declined)
    assert answered.decline is DeclineClass.NEVER
    assert account.sandbox.booked(key) == AMOUNT.minor


async def test_an_operation_on_a_payment_the_gateway_does_not_know_changes_nothing(account: Account) -> None:
    account.needs("refund")
    outcome = await account.gateway.refund(Booked("K-0", "999999999", AMOUNT), PART, "R-1")
    assert isinstance(outcome, Declined)


async def test_an_operation_on_nothing_is_not_sent(account: Account) -> None:
    account.needs("refund")
    with pytest.raises(MisuseError):
        await account.gateway.refund(Booked("K-0", "", AMOUNT), PART, "R-1")


# --- profiles -----------------------------------------------------------------------------------------------


async def renewed(account: Account, means: Means, amount: Money = AMOUNT) -> tuple[str, Approved, ProfileReference]:
    """Renew a declined customer's profile on the hosted page and return what the gateway reports."""
    profile = account.profile(account.harness.declined)
    order = account.checkout(profile, amount)
    page = await account.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    assert await account.harness.pay(account.browser, page.url, means) == "https://shop.example/ok"
    for heard in range(1, 10):
        message = (await account.receiver.heard(heard))[-1]
        outcome = account.gateway.read_notification(message).outcome
        if isinstance(outcome, Approved) and outcome.profile:
            return order.key, outcome, profile
    raise AssertionError("no notification tells of the renewed profile")


@pytest.mark.parametrize("means", ["good", "secured"])
async def test_a_profile_renewed_on_the_page_is_charged_next_month(account: Account, means: str) -> None:
    account.needs("hosted_page", "renews_profile", "charge")
    _, outcome, profile = await renewed(account, getattr(account.harness, means))
    assert outcome.profile is not None
    assert outcome.profile.reference == profile.reference
    assert outcome.profile.kind in account.gateway.abilities.ways
    assert isinstance(await account.gateway.charge(account.charge(profile)), Approved)


async def test_a_small_payment_renews_a_profile_and_is_given_back(account: Account) -> None:
    account.needs("hosted_page", "renews_profile", "refund")
    key, outcome, profile = await renewed(account, account.harness.good, SMALL)
    assert outcome.amount == SMALL
    gateway, booked = account.gateway, Booked(key, outcome.gateway_id, SMALL)
    undo = gateway.refund(booked, SMALL, "V-1") if outcome.captured else gateway.reverse(booked, "V-1")
    assert isinstance(await undo, Approved)
    assert account.sandbox.booked(key) == account.sandbox.booked(key, "refund")
    assert isinstance(await gateway.charge(account.charge(profile)), Approved)


async def test_a_small_authorisation_verifies_a_profile_and_is_let_go(account: Account) -> None:
    account.needs("charge", "reverse")
    gateway = account.reserving()
    charge = account.charge(account.profile(account.harness.good), amount=SMALL)
    outcome = await gateway.charge(charge)
    assert isinstance(outcome, Approved)
    assert isinstance(await gateway.reverse(Booked(charge.key, outcome.gateway_id, SMALL), "V-1"), Approved)
    assert account.sandbox.booked(charge.key) == 0


async def test_a_failed_try_leaves_the_page_open_and_the_old_profile_alone(account: Account) -> None:
    account.needs("hosted_page", "renews_profile", "charge")
    profile = account.profile(account.harness.good)
    order = account.checkout(profile)
    page = await account.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    await account.harness.pay(account.browser, page.url, account.harness.declined)
    found = await account.gateway.find(account.question(order.key, page=True))
    assert isinstance(found, Pending)
    assert found.evidence
    assert isinstance(await account.gateway.charge(account.charge(profile)), Approved)


async def test_giving_up_leads_back_and_books_nothing(account: Account) -> None:
    account.needs("hosted_page")
    order = account.checkout(None)
    page = await account.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    assert await account.harness.give_up(account.browser, page.url) == "https://shop.example/back"
    assert account.sandbox.booked(order.key) == 0
    assert isinstance(await account.gateway.find(account.question(order.key)), NotSent)


async def test_a_page_without_a_wish_to_store_makes_no_profile(account: Account) -> None:
    account.needs("hosted_page", "charge")
    order = account.checkout(None)
    page = await account.gateway.open_checkout(order)
    assert isinstance(page, Checkout)
    await account.harness.pay(account.browser, page.url, account.harness.good)
    found = await account.gateway.find(account.question(order.key))
    assert isinstance(found, Approved)
    assert found.profile is None
    assert isinstance(await account.gateway.charge(account.charge(ProfileReference(order.payer.reference))), Declined)


async def test_a_forgotten_profile_is_gone_and_can_be_forgotten_twice(account: Account) -> None:
    account.needs("forget", "charge")
    profile = account.profile(account.harness.good)
    assert isinstance(await account.gateway.forget(profile), Approved)
    assert isinstance(await account.gateway.forget(profile), Approved)
    assert isinstance(await account.gateway.charge(account.charge(profile)), Declined)
