"""PAYONE's simulator as the tests of the contract see it: cards, the card form, the bank's question, the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from billing.gateway import (
    Approved,
    Booked,
    Charge,
    CheckoutOrder,
    Order,
    Outcome,
    Payer,
    Pending,
    PresentCharge,
    ProfileReference,
    Question,
    ReturnUrls,
)
from billing.money import Money
from gateways.payone import Payone
from gateways.payone_cards import TokenForm
from gateways.registry import open_gateway
from tests.contract.sandbox import Receiver, Sandbox, fill_in, submit
from tests.gateways.payone_samples import BROWSER

AMOUNT: Final = Money(2500, "EUR")
RETURNS: Final = ReturnUrls("https://shop.example/ok?o=1", "https://shop.example/error", "https://shop.example/back")

FRICTIONLESS: Final = "4330264936344675"
CHALLENGE: Final = "4874970686672022"
DECLINED: Final = "4321456998744563"
EXPIRED: Final = "4321450000000027"
WANTS_THE_CUSTOMER: Final = "4321450000000068"


@dataclass
class Shop:
    """One account at PAYONE, with its simulator, and short ways to ask it for things."""

    sandbox: Sandbox
    receiver: Receiver
    browser: httpx.AsyncClient
    gateway: Payone
    opened: list[Payone]
    number: Callable[[], int]

    def open(self, **settings: str) -> Payone:
        """Open the same account with other settings."""
        gateway = open_gateway("payone", {**self.sandbox.credentials, "timeout_s": "5", **settings})
        assert isinstance(gateway, Payone)
        self.opened.append(gateway)
        return gateway

    def simulate(self, **settings: object) -> None:
        """Let the simulator behave in another way until the next test."""
        self.sandbox.http.put("/_sandbox/settings", json=settings).raise_for_status()

    def key(self) -> str:
        return f"P-{self.number()}"

    def profile(self, card: str = FRICTIONLESS) -> ProfileReference:
        """Store a card at the gateway, as if a customer had left it there earlier."""
        token = f"tok-{self.number()}"
        stored = [{"token": token, "card": card, "expiry": "1235", "holder": "Jenny Doe"}]
        self.sandbox.http.post("/_sandbox/tokens", json=stored).raise_for_status()
        return ProfileReference(token)

    def charge(self, profile: ProfileReference, amount: Money = AMOUNT) -> Charge:
        key = self.key()
        payer, order = self._about(key)
        return Charge(key, amount, payer, profile, order, self.receiver.url(key))

    def present(self, form: TokenForm, store: ProfileReference | None = None) -> PresentCharge:
        key = self.key()
        payer, order = self._about(key)
        fields = {"hosted_tokenization_id": form.id, **BROWSER}
        return PresentCharge(key, AMOUNT, payer, order, "card", fields, RETURNS, self.receiver.url(key), store)

    def checkout(self, store: ProfileReference | None = None) -> CheckoutOrder:
        key = self.key()
        payer, order = self._about(key)
        return CheckoutOrder(key, AMOUNT, payer, order, RETURNS, self.receiver.url(key), store=store)

    def _about(self, key: str) -> tuple[Payer, Order]:
        return Payer("C-1", "Jenny Doe", "jenny@example.com", "de", ip="131.130.70.8"), Order(f"INV-{key}", "Plan")

    async def paid(self, gateway: Payone | None = None) -> tuple[str, Booked]:
        """Charge a good card and return the key and the booking."""
        charge = self.charge(self.profile())
        outcome = await (gateway or self.gateway).charge(charge)
        assert isinstance(outcome, Approved)
        return charge.key, Booked(charge.key, outcome.gateway_id, AMOUNT)

    async def typed(self, card: str, *, keep: bool = True) -> TokenForm:
        """Open the card form, and type a card into it as the script in our page would send it."""
        form = await self.gateway.open_token_form("de")
        assert isinstance(form, TokenForm)
        fields = {"number": card, "expiry": "12/35", "cvc": "123", "holder": "Jenny Doe"}
        kept = {} if keep else {"store_permanently": "false"}
        assert (await self.browser.post(form.url, data={**fields, **kept})).json()["success"]
        return form

    async def at_the_bank(self, url: str, action: str = "confirm") -> str:
        """Answer the bank's question, and return where the customer is sent, without what PAYONE appends."""
        return came_back(await fill_in(self.browser, url, {"action": action}))

    async def on_the_page(self, url: str, card: str) -> str:
        """Pay on the hosted page; a bank that asks is answered."""
        answer = await fill_in(self.browser, url, {"number": card, "expiry": "12/35", "cvc": "123", "action": "pay"})
        if 'value="confirm"' in answer.text:
            answer = await submit(self.browser, answer, {"action": "confirm"})
        return came_back(answer)

    async def settled(self, question: Question) -> Outcome:
        """Ask until the gateway has made up its mind, as the reconciler would."""
        for _ in range(40):
            if not isinstance(found := await self.gateway.find(question), Pending):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"still {found}")

    def ledger(self, key: str) -> list[dict[str, Any]]:
        """Return what was booked for an attempt; a page's bookings stand under the words we sent with it."""
        rows = self.sandbox.http.get("/_sandbox/ledger").raise_for_status().json()["transactions"]
        return [row for row in rows if row["merchant_parameters"].split("&")[0] == f"key={key}"]

    def taken(self, key: str, *kinds: str) -> int:
        """Return how much money was really moved by that kind of booking."""
        rows = [row for row in self.ledger(key) if row["kind"] in (kinds or ("sale", "capture"))]
        return sum(row["amount_minor"] for row in rows if row["state"] == "booked")


def question(booked: Booked, **more: Any) -> Question:
    return replace(Question(booked.key, booked.amount, booked.gateway_id), **more)


def came_back(answer: httpx.Response) -> str:
    location = urlsplit(str(answer.headers.get("location", "")))
    return f"{location.scheme}://{location.netloc}{location.path}" if location.netloc else ""
