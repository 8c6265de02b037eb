"""The promises of the port, kept by every adapter against its simulator over real sockets.

The simulator's ledger is the judge: whatever an adapter says must fit what was really booked.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from time import monotonic

import pytest

from billing.gateway import (
    AfterNothing,
    Approved,
    Booked,
    CardForm,
    Checkout,
    ConfigurationError,
    DeclineClass,
    Declined,
    ForgeryError,
    MisuseError,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    ProfileReference,
    Question,
    RawMessage,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways.registry import GATEWAYS
from tests.contract.account import AMOUNT, Account, Payment, card_of, done, reference_of
from tests.contract.conftest import HARNESSES
from tests.contract.harness import RETURNS
from tests.gateways.sockets import refusing

PART = Money(1000, "EUR")


def test_every_gateway_there_is_passes_through_this_suite() -> None:
    assert {harness.name for harness in HARNESSES} == set(GATEWAYS)


# --- yes, no, later -----------------------------------------------------------------------------


async def test_credentials_that_work_pass_the_check(account: Account) -> None:
    await account.gateway.check()


async def test_a_payment_takes_the_money_once(account: Account) -> None:
    payment = await account.paid()
    assert payment.outcome.amount == AMOUNT
    assert payment.outcome.captured
    assert account.booked(payment.key) == AMOUNT.minor
    assert [row["gateway_id"] for row in account.ledger(payment.key)] == [payment.outcome.gateway_id]


async def test_a_decline_is_a_value_and_books_nothing(account: Account) -> None:
    key, outcome = await account.tried(account.harness.declined)
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.RETRY_LATER
    assert account.booked(key) == 0


async def test_a_new_key_is_a_new_try(account: Account) -> None:
    account.needs("charge")
    charge = account.charge(await account.profile(account.harness.declined))
    outcomes = [await account.gateway.charge(each) for each in (charge, replace(charge, key=account.key()))]
    assert len({outcome.gateway_id for outcome in outcomes if isinstance(outcome, Declined)}) == 2


async def test_an_expired_means_asks_for_a_new_one(account: Account) -> None:
    account.needs("charge")
    _, outcome = await account.tried(account.having(account.harness.expired, "means that expire"))
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_NEW_PROFILE


async def test_a_profile_nobody_stored_asks_for_a_new_one(account: Account) -> None:
    account.needs("charge")
    nobody = account.having(account.harness.nobody, "stored profiles")
    outcome = await account.gateway.charge(account.charge(nobody))
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_NEW_PROFILE


async def test_two_charges_at_once_do_not_mix(account: Account) -> None:
    account.needs("charge")
    good, declined = [await account.profile(each) for each in (account.harness.good, account.harness.declined)]
    charges = [account.charge(profile) for profile in (good, declined) * 10]
    outcomes = await asyncio.gather(*map(account.gateway.charge, charges))
    assert [isinstance(outcome, Approved) for outcome in outcomes] == [True, False] * 10
    assert len({outcome.gateway_id for outcome in outcomes if isinstance(outcome, Approved)}) == 10
    assert sum(account.booked(charge.key) for charge in charges) == 10 * AMOUNT.minor


# --- with the customer there, without a page ------------------------------------------------------------


async def test_a_payment_that_settles_later_is_pending_until_the_gateway_says_so(account: Account) -> None:
    account.needs("charge_present")
    debit = await account.having(account.harness.booked_later, "method that settles later")(account)
    charge = account.present(debit)
    outcome = await account.gateway.charge_present(charge)
    assert isinstance(outcome, Pending)
    _, _, settled = await account.told(charge.key)
    assert settled == Approved(outcome.gateway_id, AMOUNT)
    assert await account.gateway.find(Question(charge.key, AMOUNT, outcome.gateway_id)) == settled


@pytest.mark.parametrize(("action", "expected"), [("confirm", Approved), ("refuse", Declined)])
async def test_a_method_that_needs_the_customer_takes_money_only_where_they_agree(
    account: Account, action: str, expected: type[Approved | Declined]
) -> None:
    account.needs("charge_present")
    charge = account.present(await account.having(account.harness.with_redirect, "method with a redirect")(account))
    outcome = await account.gateway.charge_present(charge)
    assert isinstance(outcome, Pending)
    assert account.booked(charge.key) == 0
    returns = account.harness.returns
    back = returns.success if expected is Approved else returns.error
    assert await account.at_the_bank(outcome, action) == back
    found = await done(account.gateway, outcome, Question(charge.key, AMOUNT, outcome.gateway_id))
    assert isinstance(found, expected)
    assert account.booked(charge.key) == (AMOUNT.minor if expected is Approved else 0)


@pytest.mark.parametrize("means", ["good", "secured"])
async def test_a_card_from_the_form_in_our_page_pays_and_is_charged_next_month(account: Account, means: str) -> None:
    account.needs("card_form", "charge_present", "renews_profile", "charge")
    present = await account.card_in_form(getattr(account.harness, means))
    charge = account.present(present, ProfileReference("C-0"))
    outcome = await account.gateway.charge_present(charge)
    if isinstance(outcome, Pending):
        assert await account.at_the_bank(outcome, "confirm") == account.harness.returns.success
        outcome = await done(account.gateway, outcome, Question(charge.key, AMOUNT, outcome.gateway_id))
    assert isinstance(outcome, Approved)
    assert account.booked(charge.key) == AMOUNT.minor
    later = account.charge(reference_of(outcome.profile))
    assert isinstance(await account.gateway.charge(later), Approved)


async def test_a_form_nobody_filled_in_and_one_that_was_used_up_need_the_customer(account: Account) -> None:
    account.needs("card_form", "charge_present")
    spent = await account.card_in_form(account.harness.good, keep=False)
    assert isinstance(await account.gateway.charge_present(account.present(spent)), Approved)
    empty = await account.gateway.open_card_form(account.payer("C-0"))
    assert isinstance(empty, CardForm)
    for unusable in (card_of(empty), spent):
        outcome = await account.gateway.charge_present(account.present(unusable))
        assert isinstance(outcome, Declined)
        assert outcome.decline is DeclineClass.NEEDS_CUSTOMER


# --- the network fails ------------------------------------------------------------------------------


async def test_a_refused_connection_is_the_only_failure_that_was_not_sent(account: Account) -> None:
    with refusing() as address:
        nowhere = account.nowhere(address)
        assert isinstance(await account.send_anything(nowhere), NotSent)
        assert isinstance(await nowhere.find(Question("K-0", AMOUNT)), Unknown)
        assert isinstance(await nowhere.find(Question("K-0", AMOUNT, account.harness.nothing)), Unknown)
        with pytest.raises(ConfigurationError):
            await nowhere.check()


@pytest.mark.parametrize("fault", ["drop_after_booking", "garbage"])
async def test_a_lost_answer_is_learnt_by_asking_and_charged_once(account: Account, fault: str) -> None:
    account.needs("charge")
    charge = account.charge(await account.profile(account.harness.good))
    account.fault(fault, "charge", reference=charge.key)
    assert isinstance(await account.gateway.charge(charge), Unknown)
    found = await account.asked(charge)
    assert isinstance(found, Approved)
    assert found.amount == AMOUNT
    assert [row["gateway_id"] for row in account.ledger(charge.key)] == [found.gateway_id]
    assert account.booked(charge.key) == AMOUNT.minor


@pytest.mark.parametrize("fault", ["drop_before_booking", "http_500", "http_429", "http_503"])
async def test_a_lost_request_is_nothing_and_what_goes_out_next_is_charged_once(account: Account, fault: str) -> None:
    account.needs("charge")
    asking = account.can.asking
    charge = account.charge(await account.profile(account.harness.good))
    account.fault(fault, "charge", reference=charge.key)
    assert isinstance(await account.gateway.charge(charge), Unknown)
    if asking.by_key:
        assert isinstance(await account.gateway.find(Question(charge.key, AMOUNT)), NotSent)
    assert account.ledger(charge.key) == []
    if asking.after_nothing is not AfterNothing.PERSON:
        again = charge if asking.after_nothing is AfterNothing.SAME_KEY else replace(charge, key=account.key())
        assert isinstance(await account.gateway.charge(again), Approved)
        assert sum(account.booked(key) for key in {charge.key, again.key}) == AMOUNT.minor


async def test_an_account_begins_at_the_pace_that_its_settings_allow(account: Account) -> None:
    pace = account.open(in_flight_max="7", per_second_max="3").pace
    assert (pace.in_flight, pace.in_flight_max, pace.per_second, pace.per_second_max) == (7, 7, 3, 3)


@pytest.mark.parametrize("fault", ["http_429", "http_503"])
async def test_a_gateway_that_is_too_busy_is_left_alone_for_as_long_as_it_asks(account: Account, fault: str) -> None:
    account.needs("charge")
    charge, begun = account.charge(await account.profile(account.harness.good)), monotonic()
    account.fault(fault, "charge", ms=20_000, reference=charge.key)
    assert isinstance(await account.gateway.charge(charge), Unknown)
    assert account.gateway.pace.opens_in_s(begun) >= 20
    assert account.gateway.pace.in_flight == 1


async def test_an_answer_that_takes_too_long_is_a_doubt_and_then_the_truth(account: Account) -> None:
    account.needs("charge")
    charge = account.charge(await account.profile(account.harness.good))
    account.fault("delay_ms", "charge", ms=3000, reference=charge.key)
    hasty = account.open(timeout_s="1", connect_timeout_s="60")
    assert isinstance(await hasty.charge(charge), Unknown)
    [row] = await account.recorded(charge.key)
    assert await account.asked(charge) == Approved(row["gateway_id"], AMOUNT)
    assert account.booked(charge.key) == AMOUNT.minor


@pytest.mark.parametrize("means", ["good", "declined"])
async def test_the_same_request_again_is_never_a_second_payment(account: Account, means: str) -> None:
    account.needs("charge")
    asking = account.can.asking
    if asking.after_nothing is not AfterNothing.SAME_KEY:
        pytest.skip("this gateway is never sent the same request twice")
    charge = account.charge(await account.profile(getattr(account.harness, means)))
    first = await account.gateway.charge(charge)
    again = await account.gateway.charge(charge)
    assert again == first or (asking.by_key and isinstance(again, Unknown))
    assert len(account.ledger(charge.key)) == 1


async def test_where_nobody_can_be_asked_by_our_key_nothing_is_known_without_a_number(account: Account) -> None:
    if account.can.asking.by_key:
        pytest.skip("this gateway can be asked by our key")
    payment = await account.paid()
    assert isinstance(await account.gateway.find(Question(payment.key, AMOUNT)), Unknown)


async def test_a_payment_whose_number_is_known_may_be_asked_about_for_ever(account: Account) -> None:
    payment = await account.paid()
    assert await account.gateway.find(replace(payment.question(), asked=99)) == payment.outcome


async def test_the_budget_of_questions_is_not_overdrawn(account: Account) -> None:
    budget = account.having(account.can.asking.budget, "budget of questions")
    payment = await account.paid()
    by_key = Question(payment.key, AMOUNT)
    assert isinstance(await account.gateway.find(replace(by_key, asked=budget - 1)), Approved)
    assert isinstance(await account.gateway.find(replace(by_key, asked=budget)), Unknown)


# --- the gateway fails ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["fault", "unauthorized"])
async def test_a_rejection_of_us_is_not_held_against_the_customer(account: Account, fault: str) -> None:
    account.needs("charge")
    charge = account.charge(await account.profile(account.harness.good))
    account.fault(fault, "charge", times=9, reference=charge.key)
    outcome = await account.gateway.charge(charge)
    assert isinstance(outcome, Refused)
    assert all(secret not in outcome.reason for secret in account.sandbox.credentials.values())
    assert account.ledger(charge.key) == []


@pytest.mark.parametrize("fault", ["reorder_answer", "extra_elements"])
async def test_an_answer_in_another_shape_is_still_the_answer(account: Account, fault: str) -> None:
    account.needs("charge")
    charge = account.charge(await account.profile(account.harness.good))
    account.fault(fault, "charge", reference=charge.key)
    outcome = await account.gateway.charge(charge)
    assert isinstance(outcome, Approved)
    assert [row["gateway_id"] for row in account.ledger(charge.key)] == [outcome.gateway_id]


@pytest.mark.parametrize(
    "fault",
    ["drop_after_booking", "drop_before_booking", "http_500", "garbage", "fault", "unauthorized", "reorder_answer"],
)
async def test_no_failure_of_the_page_call_raises_or_books(account: Account, fault: str) -> None:
    account.needs("hosted_page")
    order = account.checkout()
    account.fault(fault, "open_checkout")
    outcome = await account.gateway.open_checkout(order)
    expected = Checkout if fault == "reorder_answer" else Refused | NotSent | Unknown
    assert isinstance(outcome, expected)
    assert account.ledger(order.key) == []


async def test_a_wrong_secret_is_said_clearly_and_stops_the_account(account: Account) -> None:
    [secret] = account.harness.wrong.values()
    wrong = account.open(**account.harness.wrong)
    with pytest.raises(ConfigurationError) as caught:
        await wrong.check()
    assert secret not in str(caught.value)
    assert isinstance(await account.send_anything(wrong), Refused)


async def test_a_question_that_is_rejected_says_nothing_of_what_was_asked(account: Account) -> None:
    payment = await account.paid()
    wrong = account.open(**account.harness.wrong)
    for question in (payment.question(), payment.question(OperationKind.REFUND, account.key())):
        assert isinstance(await wrong.find(question), Unknown)


# --- notifications ------------------------------------------------------------------------------------


def is_believed(account: Account, message: RawMessage) -> bool:
    try:
        account.gateway.read_notification(message)
    except ForgeryError:
        return False
    return True


async def approval(account: Account) -> RawMessage:
    """Take a payment and return the notification that says so."""
    message, _, _ = await account.told((await account.paid(told=True)).key)
    return message


async def test_a_notification_tells_the_same_as_the_answer(account: Account) -> None:
    payment = await account.paid(told=True)
    _, notice, truth = await account.told(payment.key)
    assert truth == payment.outcome
    assert notice.gateway_id == payment.outcome.gateway_id
    assert notice.outcome is None or notice.outcome == truth


async def test_a_notification_of_a_decline_is_a_decline(account: Account) -> None:
    key, answered = await account.tried(account.harness.declined, told=True)
    [(_, notice)] = await account.notices(key)
    truth = await account.truth(notice)
    assert isinstance(answered, Declined)
    assert isinstance(truth, Declined)
    assert notice.gateway_id == truth.gateway_id == answered.gateway_id
    assert notice.outcome is None or isinstance(notice.outcome, Declined)


async def test_two_copies_of_a_notification_are_one_piece_of_news(account: Account) -> None:
    key = account.key()
    account.sandbox.fault("duplicate_notification", times=9)
    await account.tried(account.harness.declined, key, told=True)
    [(_, first), (_, second)] = await account.notices(key, 2)
    assert first == second


async def test_news_out_of_order_stays_the_news_it_is(account: Account) -> None:
    account.needs_tries(told=True)
    page = await account.page()
    await page.pay(account.harness.declined)
    await page.pay(account.harness.good)
    messages = [message for message, _ in await account.notices(page.key, 2)]
    forwards = [account.gateway.read_notification(message) for message in messages]
    backwards = [account.gateway.read_notification(message) for message in reversed(messages)]
    assert forwards == backwards[::-1]
    assert len({notice.identity for notice in forwards}) == 2
    told = [(await account.truth(notice), notice.gateway_id) for notice in forwards]
    failed = {number for outcome, number in told if isinstance(outcome, Declined)}
    paid = {number for outcome, number in told if isinstance(outcome, Approved)}
    assert len(failed) == (1 if account.can.notification_is_truth else 0)
    assert len(paid) == 1
    assert failed != paid


async def test_a_stored_notification_is_read_again_with_the_headers_that_prove_it(account: Account) -> None:
    message = await approval(account)
    kept = {name: text for name, text in message.headers.items() if name.lower() in account.can.proof_headers}
    again = account.gateway.read_notification(replace(message, headers=kept))
    assert again == account.gateway.read_notification(message)


async def test_a_notification_without_its_proof_is_a_forgery(account: Account) -> None:
    message = await approval(account)
    forged = {name: forge(message) for name, forge in account.harness.forgeries.items()}
    assert forged
    assert [name for name, message in forged.items() if is_believed(account, message)] == []


async def test_a_notification_with_the_proof_of_another_order_is_a_forgery(account: Account) -> None:
    message = await approval(account)
    with pytest.raises(ForgeryError):
        account.gateway.read_notification(replace(message, proven_key="K-999999"))


async def test_a_damaged_notification_is_a_forgery_or_no_certain_news(account: Account) -> None:
    message = await approval(account)
    key = account.gateway.read_notification(message).key
    for end in range(len(message.body) or len(message.query)):
        cut = {"body": message.body[:end]} if message.body else {"query": message.query[:end]}
        try:
            read = account.gateway.read_notification(replace(message, **cut))
        except ForgeryError:
            continue
        assert read.key == key
        assert not isinstance(read.outcome, Declined)


async def test_accepting_and_not_accepting_are_two_answers(account: Account) -> None:
    assert account.gateway.acknowledge(True) != account.gateway.acknowledge(False)


# --- what follows a payment -----------------------------------------------------------------------------


async def test_a_part_is_given_back_and_never_more_than_it_was(account: Account) -> None:
    account.needs("refund", "partial_refund")
    payment = await account.paid()
    assert await payment.refund(PART, account.key()) == Approved(payment.outcome.gateway_id, PART)
    too_much = await payment.refund(AMOUNT, account.key())
    assert isinstance(too_much, Declined)
    assert too_much.decline is DeclineClass.NEVER
    assert account.booked(payment.key, "refund") == PART.minor


async def test_the_rest_is_given_back_after_a_part_unless_one_refund_is_all(account: Account) -> None:
    account.needs("refund", "partial_refund")
    payment, keys, rest = await account.paid(), (account.key(), account.key()), AMOUNT - PART
    first = await payment.refund(PART, keys[0])
    second = await payment.refund(rest, keys[1])
    assert isinstance(first, Approved)
    if account.harness.refunds_once:
        assert isinstance(second, Declined)
    else:
        assert second == Approved(payment.outcome.gateway_id, rest)
    assert account.booked(payment.key, "refund") == (PART if account.harness.refunds_once else AMOUNT).minor


async def test_a_payment_given_back_whole_is_found_undone_and_not_given_back_again(account: Account) -> None:
    account.needs("refund")
    payment = await account.paid()
    assert isinstance(await payment.refund(AMOUNT, account.key()), Approved)
    assert await payment.find() == replace(payment.outcome, undone=OperationKind.REFUND)
    again = await payment.refund(AMOUNT, account.key())
    assert isinstance(again, Declined)
    assert again.decline is DeclineClass.NEVER
    assert account.booked(payment.key, "refund") == AMOUNT.minor


@pytest.mark.parametrize(("fault", "arrives"), [("drop_after_booking", True), ("drop_before_booking", False)])
async def test_a_lost_refund_is_found_to_be_given_once_or_not_at_all(
    account: Account, fault: str, arrives: bool
) -> None:
    account.needs("refund")
    payment, key = await account.paid(), account.key()
    amount = PART if account.can.partial_refund else AMOUNT
    account.fault(fault, "refund")
    assert isinstance(await account.gateway.refund(payment.booked, amount, key), Unknown)
    asked = payment.question(OperationKind.REFUND, key, amount)
    found = await done(account.gateway, Pending(), asked)
    assert found == Approved(payment.outcome.gateway_id, amount) if arrives else isinstance(found, NotSent)
    assert account.booked(payment.key, "refund") == (amount.minor if arrives else 0)


async def test_a_reservation_is_let_go(account: Account) -> None:
    account.needs("reverse")
    payment = await account.reserved()
    assert not payment.outcome.captured
    assert isinstance(await payment.reverse(account.key()), Approved)
    assert account.booked(payment.key) == 0
    assert await payment.find() == replace(payment.outcome, undone=OperationKind.REVERSAL)


async def test_a_lost_reversal_is_found_again(account: Account) -> None:
    account.needs("reverse")
    payment, key = await account.reserved(), account.key()
    account.fault("drop_after_booking", "reverse")
    assert isinstance(await payment.gateway.reverse(payment.booked, key), Unknown)
    found = await done(payment.gateway, Pending(), payment.question(OperationKind.REVERSAL, key))
    assert isinstance(found, Approved)


async def test_a_reservation_becomes_money_by_capturing_it(account: Account) -> None:
    account.needs("capture")
    payment = await account.reserved()
    assert account.booked(payment.key) == 0
    assert await payment.capture(AMOUNT, account.key()) == Approved(payment.outcome.gateway_id, AMOUNT)
    assert account.booked(payment.key) == AMOUNT.minor


@pytest.mark.parametrize("how", ["at once", "by a capture"])
async def test_captured_money_cannot_be_let_go_and_that_is_certain_at_the_latest_when_asked(
    account: Account, how: str
) -> None:
    account.needs("reverse")
    payment = await (account.paid() if how == "at once" else captured(account))
    key = account.key()
    answered = await payment.reverse(key)
    if isinstance(answered, Unknown):
        answered = await payment.gateway.find(payment.question(OperationKind.REVERSAL, key))
    assert isinstance(answered, Declined)
    assert answered.decline is DeclineClass.NEVER
    assert account.booked(payment.key) == AMOUNT.minor


async def captured(account: Account) -> Payment:
    account.needs("capture")
    payment = await account.reserved()
    assert isinstance(await payment.capture(AMOUNT, account.key()), Approved)
    return payment


async def test_an_operation_on_a_payment_the_gateway_does_not_know_changes_nothing(account: Account) -> None:
    account.needs("refund")
    outcome = await account.gateway.refund(Booked("K-0", account.harness.nothing, AMOUNT), AMOUNT, account.key())
    assert isinstance(outcome, Declined)


async def test_an_operation_on_nothing_is_not_sent(account: Account) -> None:
    account.needs("refund")
    with pytest.raises(MisuseError):
        await account.gateway.refund(Booked("K-0", "", AMOUNT), AMOUNT, account.key())


# --- the hosted page -----------------------------------------------------------------------------------


async def test_the_customer_is_asked_for_what_the_page_needs(account: Account) -> None:
    account.needs("hosted_page", "inputs")
    good = account.harness.good
    asked = {each.name: each.pattern for each in account.can.inputs if each.way == good.way}
    assert asked.keys() == good.inputs.keys()
    assert all(re.fullmatch(pattern, good.inputs[name]) for name, pattern in asked.items())


async def test_a_page_nobody_opened_was_nothing_and_may_still_be_paid_on(account: Account) -> None:
    page = await account.page()
    assert isinstance(await page.find(still_open=True), Pending | NotSent)
    assert isinstance(await page.find(), NotSent)
    assert account.ledger(page.key) == []


async def test_giving_up_leads_back_and_books_nothing(account: Account) -> None:
    page = await account.page()
    assert await page.give_up() == account.harness.returns.cancel
    assert account.booked(page.key) == 0
    assert isinstance(await page.find(), account.harness.given_up)


async def test_a_failed_try_leaves_the_page_open_to_be_paid_on_once(account: Account) -> None:
    account.needs_tries()
    page = await account.page()
    await page.pay(account.harness.declined)
    tried = await page.find(still_open=True)
    assert isinstance(tried, Pending)
    assert tried.evidence
    assert await page.pay(account.harness.good) == account.harness.returns.success
    assert isinstance(await page.decided(), Approved)
    assert account.booked(page.key) == AMOUNT.minor


async def test_a_page_without_a_wish_to_store_makes_no_profile(account: Account) -> None:
    page = await account.page()
    assert await page.pay(account.harness.good) == RETURNS.success
    found = await page.decided()
    assert isinstance(found, Approved)
    assert found.profile is None
    if account.can.charge and account.harness.keeps_reference:
        charge = account.charge(ProfileReference(page.order.payer.reference))
        assert isinstance(await account.gateway.charge(charge), Declined)


# --- profiles -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", ["good", "secured"])
async def test_a_profile_renewed_on_the_page_is_charged_next_month(account: Account, means: str) -> None:
    account.needs("hosted_page", "renews_profile", "charge")
    chosen = account.having(getattr(account.harness, means), f"{means} means")
    profile = await account.profile(account.harness.declined)
    payment = await account.renewed(chosen, profile)
    news = payment.outcome.profile
    assert news is not None
    assert (news.reference == profile.reference) is account.harness.keeps_reference
    assert account.can.stores(news.kind)
    assert news.kind == chosen.way
    assert isinstance(await account.gateway.charge(account.charge(reference_of(news))), Approved)


async def test_a_failed_try_on_the_page_leaves_the_old_profile_alone(account: Account) -> None:
    account.needs("hosted_page", "renews_profile", "charge")
    profile = await account.profile(account.harness.good)
    page = await account.page(store=profile)
    await page.pay(account.harness.declined)
    assert account.booked(page.key) == 0
    assert isinstance(await account.gateway.charge(account.charge(profile)), Approved)


async def test_a_small_payment_renews_a_profile_and_is_given_back(account: Account) -> None:
    account.needs("hosted_page", "renews_profile", "charge")
    small = account.small
    profile = await account.profile(account.harness.declined)
    payment = await account.renewed(account.harness.good, profile, small, reserve_only=True)
    assert payment.outcome.amount == small
    assert payment.outcome.captured is not account.harness.page_reserves
    undone = await (
        payment.refund(small, account.key()) if payment.outcome.captured else payment.reverse(account.key())
    )
    assert isinstance(undone, Approved)
    assert account.booked(payment.key) == account.booked(payment.key, "refund")
    later = account.charge(reference_of(payment.outcome.profile))
    assert isinstance(await account.gateway.charge(later), Approved)


async def test_a_small_authorisation_verifies_a_profile_and_is_let_go(account: Account) -> None:
    account.needs("reverse")
    payment = await account.reserved(account.small)
    assert isinstance(await payment.reverse(account.key()), Approved)
    assert account.booked(payment.key) == 0


async def test_a_forgotten_profile_is_gone_and_can_be_forgotten_twice(account: Account) -> None:
    account.needs("forget", "charge")
    profile = await account.profile(account.harness.good)
    assert isinstance(await account.gateway.forget(profile), Approved)
    assert isinstance(await account.gateway.forget(profile), Approved)
    outcome: Outcome = await account.gateway.charge(account.charge(profile))
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_NEW_PROFILE
