"""What only mPAY24 has, against its simulator: tokens, lists of profiles, debits that come back."""

from __future__ import annotations

from datetime import date

import pytest

from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    OperationKind,
    Pending,
    ProfileNews,
    ProfileReference,
    Refused,
)
from gateways.mpay24 import Mpay24
from gateways.mpay24_answers import ProfilePage, TokenForm
from tests.contract.account import Account
from tests.contract.harness import Harness, Present
from tests.contract.mpay24 import DEBIT, MPAY24
from tests.contract.sandbox import fill_in


@pytest.fixture
def harness() -> Harness:
    return MPAY24


@pytest.fixture
def mpay24(account: Account) -> Mpay24:
    assert isinstance(account.gateway, Mpay24)
    return account.gateway


async def test_a_card_typed_into_mpay24s_own_form_pays_once(account: Account, mpay24: Mpay24) -> None:
    form = await mpay24.open_token_form(account.payer("C-1"))
    assert isinstance(form, TokenForm)
    await fill_in(account.browser, form.url, MPAY24.good.typed)
    token = Present("TOKEN", {"token": form.token})
    assert isinstance(await mpay24.charge_present(account.present(token)), Approved)
    again = await mpay24.charge_present(account.present(token))
    assert isinstance(again, Declined)
    assert again.decline is DeclineClass.NEEDS_CUSTOMER


async def test_a_debit_stored_without_a_payment_is_listed_charged_and_forgotten(
    account: Account, mpay24: Mpay24
) -> None:
    profile = ProfileReference("C-77")
    account_number = {"iban": "AT771400000123456789", "mandate_id": "M-1", "date_of_signature": "2026-01-01"}
    made = await mpay24.create_customer(account.payer("C-77"), profile, "ELV/HOBEX-AT", account_number)
    assert made == ProfileNews("C-77", kind="debit", brand="HOBEX-AT")
    listed = await mpay24.list_profiles("C-77")
    assert isinstance(listed, ProfilePage)
    assert [(entry.reference, entry.kind, entry.last4) for entry in listed.profiles] == [("C-77", "debit", "6789")]
    assert isinstance(await mpay24.charge(account.charge(profile)), Approved)
    assert isinstance(await mpay24.forget(profile), Approved)
    assert await mpay24.list_profiles("C-77") == ProfilePage((), 0)


async def test_expired_cards_are_listed_by_their_month(account: Account, mpay24: Mpay24) -> None:
    await account.profile(MPAY24.good)
    listed = await mpay24.list_profiles(expired_by=date(2036, 1, 1))
    assert isinstance(listed, ProfilePage)
    assert [entry.expires_on for entry in listed.profiles] == [date(2035, 5, 31)]
    assert await mpay24.list_profiles(expired_by=date(2034, 1, 1)) == ProfilePage((), 0)


async def test_a_debit_that_the_bank_returns_is_reported_as_one(account: Account, mpay24: Mpay24) -> None:
    debit = Present("ELV/B4P", {**DEBIT, "iban": "DE09100100101234567894"})
    outcome = await mpay24.charge_present(account.present(debit))
    assert isinstance(outcome, Pending)
    notices = [mpay24.read_notification(message) for message in await account.receiver.heard(3)]
    [returned] = [notice for notice in notices if notice.operation]
    assert returned.operation is OperationKind.RETURNED_DEBIT
    assert returned.gateway_id == outcome.gateway_id


async def test_a_type_the_provider_has_withdrawn_is_refused_in_its_own_words(account: Account, mpay24: Mpay24) -> None:
    outcome = await mpay24.charge_present(account.present(Present("MASTERPASS", {})))
    assert isinstance(outcome, Refused)
    assert "pType" in outcome.reason
