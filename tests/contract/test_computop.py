"""What only Computop has, against its simulator: a card form with several tries, of which only the last is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from billing.gateway import Approved, Pending
from tests.contract.account import AMOUNT, Account
from tests.contract.computop import COMPUTOP_CARDS
from tests.contract.harness import Harness


@pytest.fixture
def harness() -> Harness:
    return replace(COMPUTOP_CARDS, simulating={})


async def test_a_card_that_fails_leaves_the_form_open_and_only_the_payment_is_told(account: Account) -> None:
    page = await account.page()
    await page.pay(account.harness.declined)
    assert isinstance(await page.find(still_open=True), Pending)
    assert await page.pay(account.harness.good) == account.harness.returns.success
    assert isinstance(await page.decided(), Approved)
    assert account.booked(page.key) == AMOUNT.minor
    [message] = await account.receiver.heard(1)
    assert account.gateway.read_notification(message).key == page.key
    assert len(account.receiver.messages) == 1
