"""One simulator process for the whole suite, emptied before every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest

from billing.gateway import (
    Approved,
    Booked,
    Charge,
    CheckoutOrder,
    Gateway,
    Order,
    OrderLine,
    Payer,
    PresentCharge,
    ProfileReference,
    Question,
    ReturnUrls,
)
from billing.money import Money
from gateways.registry import open_gateway
from tests.contract.harness import HARNESSES, Harness, Means, Present
from tests.contract.sandbox import Receiver, Sandbox, receiving, running

AMOUNT = Money(2500, "EUR")
RETURNS = ReturnUrls("https://shop.example/ok", "https://shop.example/error", "https://shop.example/back")


@dataclass
class Account:
    """One account at one gateway, with its simulator, and short ways to ask it for things."""

    harness: Harness
    sandbox: Sandbox
    receiver: Receiver
    browser: httpx.AsyncClient
    gateway: Gateway
    opened: list[Gateway]
    numbers: Iterator[int]

    def needs(self, *abilities: str) -> None:
        """Skip the test where the gateway says that it cannot do this."""
        missing = [name for name in abilities if not getattr(self.gateway.abilities, name)]
        if missing:
            pytest.skip(f"{self.gateway.abilities.title} has no {', '.join(missing)}")

    def key(self) -> str:
        return f"K-{next(self.numbers)}"

    def open(self, **settings: str) -> Gateway:
        """Open the same account with other settings."""
        credentials = {**self.sandbox.credentials, **self.harness.settings, **settings}
        self.opened.append(open_gateway(self.harness.name, credentials))
        return self.opened[-1]

    def reserving(self) -> Gateway:
        """Open the account so that a charge only reserves."""
        return self.open(**self.harness.reserving)

    def profile(self, means: Means) -> ProfileReference:
        """Store a means of payment at the gateway for a new customer."""
        reference = f"C-{next(self.numbers)}"
        self.sandbox.store({"customer_id": reference, **means.stored})
        return ProfileReference(reference)

    def payer(self, reference: str) -> Payer:
        return Payer(reference, "Jenny Doe", "jenny@example.com", "en", ip="131.130.70.8")

    def order(self, key: str, amount: Money) -> Order:
        return Order(f"INV-{key}", "Monthly plan", (OrderLine("Monthly plan", 1, amount, amount * 0),))

    def charge(self, profile: ProfileReference, key: str = "", amount: Money = AMOUNT) -> Charge:
        key = key or self.key()
        payer, order = self.payer(profile.reference), self.order(key, amount)
        return Charge(key, amount, payer, profile, order, self.receiver.url(key))

    def present(self, present: Present) -> PresentCharge:
        key = self.key()
        payer, order = self.payer("C-0"), self.order(key, AMOUNT)
        notify = self.receiver.url(key)
        return PresentCharge(key, AMOUNT, payer, order, present.method, present.fields, RETURNS, notify)

    def checkout(self, store: ProfileReference | None, amount: Money = AMOUNT) -> CheckoutOrder:
        key = self.key()
        payer = self.payer(store.reference if store else "C-0")
        return CheckoutOrder(
            key, amount, payer, self.order(key, amount), RETURNS, self.receiver.url(key), store=store, reserve_only=True
        )

    async def paid(self, gateway: Gateway | None = None) -> tuple[str, Approved, Booked]:
        """Charge a good profile and return the key, the answer and the booking."""
        charge = self.charge(self.profile(self.harness.good))
        outcome = await (gateway or self.gateway).charge(charge)
        assert isinstance(outcome, Approved)
        return charge.key, outcome, Booked(charge.key, outcome.gateway_id, charge.amount)

    def question(self, key: str, gateway_id: str = "", **more: Any) -> Question:
        return Question(key, more.pop("amount", AMOUNT), gateway_id, **more)


@pytest.fixture(scope="session")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running(tmp_path_factory.mktemp("sandbox")) as gateways:
        yield gateways


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.name)
def harness(request: pytest.FixtureRequest) -> Harness:
    chosen = request.param
    assert isinstance(chosen, Harness)
    return chosen


@pytest.fixture
def sandbox(harness: Harness, simulators: dict[str, Any]) -> Iterator[Sandbox]:
    started = simulators[harness.name]
    with httpx.Client(base_url=started["base_url"], trust_env=False) as http:
        sandbox = Sandbox(started["base_url"], started["credentials"], http)
        sandbox.reset()
        yield sandbox


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers no two tests share: what one test left under way must not be booked under another's key."""
    return count(1)


@pytest.fixture
async def account(harness: Harness, sandbox: Sandbox, numbers: Iterator[int]) -> AsyncIterator[Account]:
    credentials = {**sandbox.credentials, **harness.settings}
    gateway = open_gateway(harness.name, credentials)
    async with receiving() as receiver, httpx.AsyncClient(trust_env=False) as browser:
        account = Account(harness, sandbox, receiver, browser, gateway, [gateway], numbers)
        yield account
        for opened in account.opened:
            await opened.close()
