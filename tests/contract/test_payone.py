"""What only PAYONE has, against its simulator: keys in use, first payments to cite, numbers of two kinds."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest

from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    Pending,
    ProfileNews,
    ProfileReference,
    Question,
    Unknown,
)
from billing.money import Money
from gateways.payone import Payone
from gateways.payone_cards import StoredCard
from tests.contract.account import AMOUNT, Account, done, reference_of
from tests.contract.harness import Harness
from tests.contract.payone import PAYONE, SECURED, card

WANTS_THE_CUSTOMER = card("4321450000000068")


@pytest.fixture
def harness() -> Harness:
    return PAYONE


@pytest.fixture
def payone(account: Account) -> Payone:
    assert isinstance(account.gateway, Payone)
    return account.gateway


async def test_two_requests_at_once_under_one_key_are_one_payment(account: Account) -> None:
    account.sandbox.simulate(processing_ms=300)
    charge = account.charge(await account.profile(PAYONE.good))
    outcomes = await asyncio.gather(account.gateway.charge(charge), account.gateway.charge(charge))
    [first] = [outcome for outcome in outcomes if isinstance(outcome, Approved)]
    [second] = [outcome for outcome in outcomes if isinstance(outcome, Unknown)]
    assert "first request" in second.reason
    assert await account.gateway.charge(charge) == first
    assert account.booked(charge.key) == AMOUNT.minor


async def test_a_bank_that_wants_the_customer_is_not_made_content_by_waiting(account: Account) -> None:
    _, outcome = await account.tried(WANTS_THE_CUSTOMER)
    assert isinstance(outcome, Declined)
    assert outcome.decline is DeclineClass.NEEDS_CUSTOMER


async def test_a_customer_who_refused_at_the_bank_must_come_again(account: Account) -> None:
    charge = account.present(await account.card_in_form(SECURED))
    outcome = await account.gateway.charge_present(charge)
    assert isinstance(outcome, Pending)
    await account.at_the_bank(outcome, "refuse")
    found = await account.gateway.find(Question(charge.key, AMOUNT, outcome.gateway_id))
    assert isinstance(found, Declined)
    assert found.decline is DeclineClass.NEEDS_CUSTOMER


async def test_a_charge_that_cites_the_first_payment_is_what_the_bank_wants(account: Account) -> None:
    charge = account.present(await account.card_in_form(SECURED), ProfileReference("C-0"))
    asked = await account.gateway.charge_present(charge)
    assert isinstance(asked, Pending)
    await account.at_the_bank(asked, "confirm")
    outcome = await done(account.gateway, asked, Question(charge.key, AMOUNT, asked.gateway_id))
    assert isinstance(outcome, Approved)
    profile = reference_of(outcome.profile)
    assert profile.mandate.first_transaction == outcome.gateway_id
    assert profile.mandate.scheme_reference
    account.sandbox.simulate(mit_without_reference="soft_decline")
    assert isinstance(await account.gateway.charge(account.charge(profile)), Approved)


async def test_numbers_of_the_other_format_are_numbers_too(account: Account) -> None:
    account.sandbox.simulate(id_format="digits")
    payment = await account.paid()
    assert payment.outcome.gateway_id.isdigit()
    part = Money(1000, "EUR")
    assert await payment.refund(part, account.key()) == Approved(payment.outcome.gateway_id, part)
    assert await payment.find() == payment.outcome
    assert account.booked(payment.key, "refund") == part.minor


@pytest.mark.parametrize("keep", [True, False])
async def test_a_token_says_whose_card_it_is_and_whether_it_lasts(account: Account, payone: Payone, keep: bool) -> None:
    form = await account.card_in_form(PAYONE.good, keep=keep)
    stored = await payone.read_token_form(form.fields["card_form"])
    assert isinstance(stored, StoredCard)
    assert stored.temporary is not keep
    shown = ProfileNews(stored.profile.reference, "", "card", "VISA", "4675", date(2035, 12, 31))
    assert stored.profile == shown
    assert await payone.read_token(ProfileReference(shown.reference)) == stored
