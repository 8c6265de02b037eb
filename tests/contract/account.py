"""One account at one gateway, and short ways to ask it for things: whatever its wire is like, a test says the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest

from billing.gateway import (
    Abilities,
    Address,
    Approved,
    Booked,
    CardForm,
    Charge,
    Checkout,
    CheckoutOrder,
    Gateway,
    Mandate,
    Notice,
    OperationKind,
    Order,
    OrderLine,
    Outcome,
    Payer,
    Pending,
    PresentCharge,
    ProfileNews,
    ProfileReference,
    Question,
    RawMessage,
)
from billing.money import Money
from gateways.registry import open_gateway
from tests.contract.harness import RETURNS, Harness, Means, Present
from tests.contract.sandbox import Receiver, Sandbox, at_the_bank
from tests.gateways.samples import BROWSER

_T = TypeVar("_T")

AMOUNT: Final = Money(2500, "EUR")
PATIENCE_S: Final = 60
SWIFT: Final = {"timeout_s": "5", "connect_timeout_s": "2.5"}


async def done(gateway: Gateway, outcome: Outcome, question: Question) -> Outcome:
    """Ask until the gateway has made up its mind, as the reconciler would."""
    async with asyncio.timeout(PATIENCE_S):
        while isinstance(outcome, Pending):
            await asyncio.sleep(0.05)
            outcome = await gateway.find(question)
    return outcome


def reference_of(news: ProfileNews | None) -> ProfileReference:
    """Return what is charged after this news of a profile."""
    assert news
    return ProfileReference(news.reference, news.slot, news.mandate or Mandate())


@dataclass(frozen=True)
class Payment:
    """A payment the gateway has approved, and what can follow it; an operation is asked about until it is decided."""

    gateway: Gateway
    key: str
    outcome: Approved

    @property
    def booked(self) -> Booked:
        return Booked(self.key, self.outcome.gateway_id, self.outcome.amount)

    def question(self, operation: OperationKind | None = None, key: str = "", amount: Money | None = None) -> Question:
        amount = amount or self.outcome.amount
        return Question(self.key, amount, self.outcome.gateway_id, operation=operation, operation_key=key)

    async def find(self) -> Outcome:
        return await self.gateway.find(self.question())

    async def refund(self, amount: Money, key: str) -> Outcome:
        outcome = await self.gateway.refund(self.booked, amount, key)
        return await done(self.gateway, outcome, self.question(OperationKind.REFUND, key, amount))

    async def reverse(self, key: str) -> Outcome:
        outcome = await self.gateway.reverse(self.booked, key)
        return await done(self.gateway, outcome, self.question(OperationKind.REVERSAL, key))

    async def capture(self, amount: Money, key: str) -> Outcome:
        outcome = await self.gateway.capture(self.booked, amount, key)
        return await done(self.gateway, outcome, self.question(OperationKind.CAPTURE, key, amount))


@dataclass(frozen=True)
class Page:
    """A hosted page that is open for an order, and its customer."""

    account: Account
    order: CheckoutOrder
    checkout: Checkout

    @property
    def key(self) -> str:
        return self.order.key

    async def pay(self, means: Means) -> str:
        return await self.account.harness.pay(self.account.browser, self.checkout, means.typed)

    async def give_up(self) -> str:
        return await self.account.harness.give_up(self.account.browser, self.checkout)

    @property
    def question(self) -> Question:
        """Ask by our key where the wire can be asked by that, else by the gateway's own number of the page."""
        number = "" if self.account.can.asking.by_key else self.checkout.gateway_id
        return Question(self.key, self.order.amount, number)

    async def find(self, *, still_open: bool = False) -> Outcome:
        return await self.account.gateway.find(replace(self.question, page=still_open))

    async def decided(self) -> Outcome:
        """Ask, once nobody is on the page any more, until it is decided."""
        return await done(self.account.gateway, await self.find(), self.question)


@dataclass
class Account:
    """One account at one gateway, with its simulator and a customer's browser."""

    harness: Harness
    sandbox: Sandbox
    receiver: Receiver
    browser: httpx.AsyncClient
    numbers: Iterator[int]
    opened: list[Gateway]

    @property
    def gateway(self) -> Gateway:
        return self.opened[0]

    @property
    def can(self) -> Abilities:
        return self.gateway.abilities

    @property
    def small(self) -> Money:
        """An amount that only shows whether a means of payment works."""
        return Money(max([10, *self.can.least_minor.values()]), AMOUNT.currency)

    def open(self, **settings: str) -> Gateway:
        """Open the account, the first time as it is, later with other settings."""
        credentials = {**self.sandbox.credentials, **SWIFT, **self.harness.settings, **settings}
        self.opened.append(open_gateway(self.harness.name, credentials))
        return self.opened[-1]

    def nowhere(self, address: str) -> Gateway:
        """Open the account where nobody listens."""
        endpoint = urlsplit(self.sandbox.credentials[self.harness.endpoint])
        return self.open(**{self.harness.endpoint: endpoint._replace(netloc=urlsplit(address).netloc).geturl()})

    # --- what a test is skipped for -----------------------------------------------------------------

    def needs(self, *abilities: str) -> None:
        """Skip the test where the gateway says that it cannot do this."""
        missing = [name for name in abilities if not getattr(self.can, name)]
        if missing:
            pytest.skip(f"{self.can.title} has no {', '.join(missing)}")

    def having(self, thing: _T | None, what: str) -> _T:
        """Return what the harness has, or skip the test where there is no such thing at this gateway."""
        if thing is None:
            pytest.skip(f"{self.can.title} has no {what}")
        return thing

    def needs_tries(self, *, told: bool = False) -> None:
        """Skip the test where a declined try closes the page, or is not `told` of."""
        if self.harness.one_try:
            pytest.skip(f"{self.can.title} has a page for one try")
        if told and not self.harness.tells_tries:
            pytest.skip(f"{self.can.title} tells nothing of a failed try")

    def fault(self, fault: str, call: str, **match: Any) -> None:
        """Arrange that the next matching request goes wrong; skip where that cannot happen on this wire."""
        if fault in self.harness.faults_absent or call not in self.harness.calls:
            pytest.skip(f"{self.can.title} has no {fault} of {call}")
        self.sandbox.fault(fault, operation=self.harness.calls[call], **match)

    # --- what is sent -------------------------------------------------------------------------------

    def name(self, prefix: str) -> str:
        return f"{prefix}-{next(self.numbers)}"

    def key(self) -> str:
        return self.name("K")

    def payer(self, reference: str) -> Payer:
        address = Address("Hauptstraße 1", "1010", "Wien", "AT")
        return Payer(reference, "Jenny Doe", "jenny@example.com", "en", address, "131.130.70.8")

    def order(self, key: str, amount: Money) -> Order:
        return Order(f"INV-{key}", "Monthly plan", (OrderLine("Monthly plan", 1, amount, amount * 0),))

    async def profile(self, means: Means) -> ProfileReference:
        """Store a means of payment at the gateway for a new customer."""
        return await self.having(self.harness.store, "stored profiles")(self, means)

    def charge(self, profile: ProfileReference, key: str = "", amount: Money = AMOUNT) -> Charge:
        key = key or self.key()
        payer, order = self.payer(profile.reference), self.order(key, amount)
        return Charge(key, amount, payer, profile, order, self.receiver.url(key))

    def present(self, present: Present, store: ProfileReference | None = None) -> PresentCharge:
        key = self.key()
        payer, order, notify = self.payer("C-0"), self.order(key, AMOUNT), self.receiver.url(key)
        return PresentCharge(key, AMOUNT, payer, order, present.method, present.fields, RETURNS, notify, store)

    def checkout(
        self,
        means: Means | None = None,
        store: ProfileReference | None = None,
        amount: Money = AMOUNT,
        *,
        key: str = "",
        reserve_only: bool = False,
    ) -> CheckoutOrder:
        means, key = means or self.harness.good, key or self.key()
        payer = self.payer(store.reference if store else "C-0")
        others = [way for way in self.can.ways if way != means.way and (store is None or self.can.stores(way))]
        return CheckoutOrder(
            key,
            amount,
            payer,
            self.order(key, amount),
            RETURNS,
            self.receiver.url(key),
            (means.way, *others),
            means.inputs,
            store,
            reserve_only,
        )

    async def page(self, means: Means | None = None, store: ProfileReference | None = None, **more: Any) -> Page:
        """Open a hosted page for a customer who has this means of payment."""
        self.needs("hosted_page")
        order = self.checkout(means, store, **more)
        opened = await self.gateway.open_checkout(order)
        assert isinstance(opened, Checkout)
        return Page(self, order, opened)

    # --- what has happened ----------------------------------------------------------------------------

    async def tried(self, means: Means, key: str = "", *, told: bool = False) -> tuple[str, Outcome]:
        """Take a payment, by charging what is stored or else on the page; return its key and what became of it.

        One that must be `told` of is made on the page where charges are not.
        """
        if self.can.charge and (self.harness.tells_charges or not told):
            charge = self.charge(await self.profile(means), key)
            return charge.key, await self.gateway.charge(charge)
        page = await self.page(means, key=key)
        await page.pay(means)
        return page.key, await page.decided()

    async def paid(self, *, told: bool = False) -> Payment:
        """Take a payment that goes well."""
        key, outcome = await self.tried(self.harness.good, told=told)
        assert isinstance(outcome, Approved)
        return Payment(self.gateway, key, outcome)

    async def reserved(self, amount: Money = AMOUNT) -> Payment:
        """Take a payment that only reserves: by settings under which every charge does, or on a page that shall."""
        if self.harness.reserving is None:
            page = await self.page(amount=amount, reserve_only=True)
            await page.pay(self.harness.good)
            gateway, key, outcome = self.gateway, page.key, await page.decided()
        else:
            gateway = self.open(**self.harness.reserving)
            charge = self.charge(await self.profile(self.harness.good), amount=amount)
            key, outcome = charge.key, await gateway.charge(charge)
        assert isinstance(outcome, Approved)
        return Payment(gateway, key, outcome)

    async def renewed(
        self, means: Means, store: ProfileReference, amount: Money = AMOUNT, *, reserve_only: bool = False
    ) -> Payment:
        """Let a customer renew a profile by paying on the page, and return the payment as we hear of it."""
        page = await self.page(means, store, amount=amount, reserve_only=reserve_only)
        assert await page.pay(means) == self.harness.returns.success
        _, _, outcome = await self.told(page.key, amount)
        return Payment(self.gateway, page.key, outcome)

    async def send_anything(self, gateway: Gateway) -> Outcome:
        """Send the first request about money that there is, through another opening of the account."""
        if self.can.charge:
            return await gateway.charge(self.charge(await self.profile(self.harness.good)))
        payment = await self.paid()
        return await gateway.refund(payment.booked, payment.outcome.amount, self.key())

    async def card_in_form(self, means: Means, *, keep: bool = True) -> Present:
        """Type a card into the gateway's own fields in our page, and return what it is paid with."""
        form = await self.gateway.open_card_form(self.payer("C-0"))
        assert isinstance(form, CardForm)
        await self.having(self.harness.type_card, "card form")(self.browser, form, means.typed, keep)
        return card_of(form)

    async def at_the_bank(self, asked: Pending, answer: str) -> str:
        """Answer the bank's question with `confirm` or `refuse`, and return where the browser is sent."""
        return await at_the_bank(self.browser, asked, self.harness.bank_answers[answer])

    # --- what became of it --------------------------------------------------------------------------

    async def asked(self, charge: Charge) -> Outcome:
        """Ask what became of a charge whose answer was lost: by its key, or by the same request where that is how."""
        if self.can.asking.by_key:
            return await self.gateway.find(Question(charge.key, charge.amount))
        return await self.gateway.charge(charge)

    async def notices(self, key: str, number: int = 1) -> list[tuple[RawMessage, Notice]]:
        """Return the first notifications of an attempt as soon as there are so many."""
        found: list[tuple[RawMessage, Notice]] = []
        heard = 0
        while len(found) < number:
            heard += 1
            message = (await self.receiver.heard(heard))[-1]
            notice = self.gateway.read_notification(message)
            found += [(message, notice)] if notice.key == key else []
        return found

    async def truth(self, notice: Notice, amount: Money = AMOUNT) -> Outcome | None:
        """Return what a notification is worth: its own word where that is the truth, else what asking says.

        One without an outcome is a hint, unless questions are rationed.
        """
        if self.can.notification_is_truth and (notice.outcome is not None or self.can.asking.budget is not None):
            return notice.outcome
        return await self.gateway.find(Question(notice.key, amount, notice.gateway_id))

    async def told(self, key: str, amount: Money = AMOUNT) -> tuple[RawMessage, Notice, Approved]:
        """Return the notification that brings the news of an approval, with what it is worth."""
        number = 0
        while True:
            number += 1
            message, notice = (await self.notices(key, number))[-1]
            if isinstance(truth := await self.truth(notice, amount), Approved):
                return message, notice, truth

    def ledger(self, key: str) -> list[dict[str, Any]]:
        """Return what the gateway has on record under our key."""
        return [row for row in self.sandbox.ledger() if self.harness.key_of(row) == key]

    async def recorded(self, key: str) -> list[dict[str, Any]]:
        """Return what is on record under our key as soon as there is anything."""
        rows: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE_S):
            while not rows:
                await asyncio.sleep(0.05)
                rows = self.ledger(key)
        return rows

    def booked(self, key: str, *kinds: str) -> int:
        """Return how much money has really been taken under our key, or moved by that kind of booking."""
        rows = [row for row in self.ledger(key) if row["kind"] in (kinds or ("sale", "capture"))]
        return sum(row["amount_minor"] for row in rows if row["state"] == "booked")


def card_of(form: CardForm) -> Present:
    return Present("card", {"card_form": form.id, **BROWSER})
