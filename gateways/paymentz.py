"""PaymentZ, the white-label platform with INITIAL and REPEATED payments: each verb is one signed form, sent once.

    charge           POST payments/{initial}, or paywithtoken/{registration}, recurringType=REPEATED
    charge_present   POST paywithtoken/{registration}
    open_checkout    nothing: the customer's browser posts a signed form to the hosted page
    find             POST payments/{id} with IN, or POST inquiry by our own number
    capture          POST payments/{id} with CP;   reverse with RV;   refund with RF
    pay_out          POST payout
    forget           POST paywithtoken/{registration} with DL
    check            POST authToken

Before any of them a token is fetched, if there is none. Our number of a payment is unique for ever on this wire, so
after "nothing there" the same request goes again under the same number, and a duplicate means: ask again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from billing.gateway import (
    Abilities,
    AfterNothing,
    Asking,
    Booked,
    CardForm,
    Charge,
    Checkout,
    CheckoutOrder,
    ConfigurationError,
    Declined,
    MisuseError,
    Notice,
    NotSent,
    OperationKind,
    Outcome,
    Payer,
    Payout,
    PresentCharge,
    ProfileReference,
    Question,
    RawMessage,
    Refused,
    Unknown,
    UnsupportedError,
)
from billing.money import Money
from gateways import paymentz_answers as answers
from gateways import paymentz_callback
from gateways import paymentz_requests as requests
from gateways.paymentz_answers import Given, Silence
from gateways.paymentz_settings import Settings, read_settings
from gateways.paymentz_token import Tokens
from gateways.paymentz_wire import Reply, Wire
from gateways.transport import Limits, Network, Redaction, Transport

WAYS: Final = ("card",)

REDACTED: Final = frozenset(
    """authentication.sKey sKey authentication.checksum checksum AuthToken authToken
    merchant.username username LoginName registrationId token value url redirect.url
    holder bin last4Digits lastFourDigits cardBin cardLast4Digits expiryMonth expiryYear number cvv
    firstName lastName email custEmail phone telnocc ip customer.email customer.ip merchant.email
    deviceDetails.user_Agent user_Agent deviceDetails.browserAcceptHeader browserAcceptHeader
    notificationUrl merchantRedirectUrl""".split()
)
"""Fields no log shows: what lets somebody in, means of payment, personal data, addresses that carry a secret."""


def open_account(
    credentials: Mapping[str, str],
    network: Network | None = None,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Paymentz:
    """Return the gateway for one account; raise `ConfigurationError` naming what is wrong with its settings.

    `monotonic` counts the seconds of a token's life.
    """
    return Paymentz(read_settings(credentials), monotonic, network)


class Paymentz:
    """One merchant's account at one brand of PaymentZ."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float], network: Network | None = None) -> None:
        self.abilities = _abilities(settings)
        self._settings = settings
        self._redaction = Redaction(REDACTED, (settings.secret_key,))
        transport = Transport("paymentz", _limits(settings), self._redaction, network)
        self.pace = transport.pace
        self._wire = Wire(transport, settings.endpoint, settings.request_format)
        self._tokens = Tokens(self._wire, settings, monotonic)

    async def charge(self, charge: Charge) -> Outcome:
        """Charge again what the customer's INITIAL payment began, or a stored registration."""
        self._check_currency(charge.amount)
        reply = await self._ask(requests.away(charge, self._settings))
        parent = "" if self._settings.by_token else charge.profile.reference
        given = Given(charge.key, type=requests.payment_type(self._settings), parent=parent, store=False)
        return answers.payment(reply, given, self._settings)

    async def charge_present(self, charge: PresentCharge) -> Outcome:
        """Pay with a stored registration, `token` in the fields; the others are what the bank's question needs."""
        self._check(charge.amount, (charge.method,))
        reply = await self._ask(requests.present(charge, self._settings))
        kind = requests.payment_type(self._settings, charge)
        given = Given(charge.key, type=kind, store=charge.store is not None, present=True)
        return answers.payment(reply, given, self._settings)

    async def open_checkout(self, order: CheckoutOrder) -> Checkout | Declined | Refused | NotSent | Unknown:
        """Return the form for the hosted page; PaymentZ hears of it when the customer's browser posts it."""
        self._check(order.amount, order.ways)
        url = f"{self._settings.endpoint}{requests.HOSTED}"
        return Checkout(url, self._settings.page_life_s, posted=requests.hosted(order, self._settings))

    async def open_card_form(self, payer: Payer) -> CardForm | Declined | Refused | NotSent | Unknown:
        """Raise: there are no card fields of PaymentZ's own that a page of ours could frame."""
        raise UnsupportedError(f"PaymentZ has no card fields to frame for {payer.reference}")

    async def find(self, question: Question) -> Outcome:
        """Ask what became of it; an operation is found by where its payment stands (D-104)."""
        if question.operation is not None and not question.gateway_id:
            return Unknown("an operation stands in its payment, whose number is not known")
        return answers.found(await self._ask(requests.question(question, self._settings)), question, self._settings)

    async def capture(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Take the hold or a part of it; the rest is released."""
        _check_part(booked, amount, key)
        return await self._follow(booked, OperationKind.CAPTURE, amount)

    async def reverse(self, booked: Booked, key: str) -> Outcome:  # noqa: ARG002 - an operation has no name on this wire
        """Let go of the whole hold."""
        return await self._follow(booked, OperationKind.REVERSAL, booked.amount)

    async def refund(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Give back all or a part, as often as `max_refunds` allows."""
        _check_part(booked, amount, key)
        if booked.given_back_minor and self._settings.max_refunds == 1:
            raise MisuseError(f"{key}: PaymentZ refunds a payment once, and {booked.key} was refunded before")
        return await self._follow(booked, OperationKind.REFUND, amount)

    async def pay_out(self, payout: Payout) -> Outcome:
        """Pay to the card of the payment that made the profile."""
        self._check_currency(payout.amount)
        reply = await self._ask(requests.pay_out(payout, self._settings))
        return answers.payment(reply, Given(payout.key, type="PO", store=False), self._settings)

    async def forget(self, profile: ProfileReference) -> Outcome:
        """Delete the registration; an INITIAL payment is history, of which nothing can be deleted."""
        if not self._settings.by_token:
            raise UnsupportedError("a profile here is an INITIAL payment: PaymentZ has nothing of it to delete")
        return answers.deletion(await self._ask(requests.deletion(profile, self._settings)))

    async def check(self) -> None:
        """Ask for a fresh token, which needs the names and the key to be right, and compare whose it is."""
        self._tokens.drop()
        token = await self._tokens.get()
        if not isinstance(token, str):
            raise ConfigurationError(f"{token.reason} ({self._settings.endpoint})")
        if self._tokens.member_id not in ("", self._settings.member_id):
            raise ConfigurationError(f"paymentz setting member_id: the token is for member {self._tokens.member_id}")

    def read_notification(self, message: RawMessage) -> Notice:
        """Read a callback; one that the secret key has not signed is not believed."""
        return paymentz_callback.read(message, self._settings, self._redaction.clean)

    def acknowledge(self, accepted: bool) -> str:
        """Answer a callback; only the HTTP status counts (D-87)."""
        return "OK" if accepted else "not accepted"

    def answer_challenge(self, message: RawMessage) -> str | None:  # noqa: ARG002 - nothing is read here
        """Answer none: PaymentZ checks no address."""
        return None

    async def close(self) -> None:
        """Let go of connections."""
        await self._wire.close()

    # --- the one send, and what every call shares -----------------------------------------

    async def _follow(self, booked: Booked, kind: OperationKind, amount: Money) -> Outcome:
        told = None if kind is OperationKind.REVERSAL else amount
        reply = await self._ask(requests.operation(booked.gateway_id, kind, told, self._settings))
        return answers.operation(reply, kind, booked.gateway_id, amount)

    async def _ask(self, request: requests.Request) -> Reply | Silence:
        """Send once, within the time of one call, the fetching of a token included."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._with_token(request)
        except TimeoutError:
            return Unknown("PaymentZ did not answer in time")

    async def _with_token(self, request: requests.Request) -> Reply | Silence:
        """Send with the token, and once more with a fresh one if it was not let in: until then nothing has happened."""
        token = await self._tokens.get()
        reply = await self._send(request, token)
        if not _is_locked_out(reply):
            return reply
        reply = await self._send(request, await self._tokens.get(rejected=str(token)))
        if _is_locked_out(reply):
            return Refused("401", "PaymentZ rejects the token it has just given")
        return reply

    async def _send(self, request: requests.Request, token: str | Refused | NotSent) -> Reply | Silence:
        if not isinstance(token, str):
            return token
        reply = await self._wire.post(request.path, request.fields, token, request.hidden)
        if isinstance(reply, Reply) and reply.unreadable:
            self._tokens.drop(token)  # a page instead of an answer may be how this brand rejects a token
        return reply

    def _check(self, amount: Money, ways: tuple[str, ...]) -> None:
        self._check_currency(amount)
        strange = sorted(set(ways) - set(WAYS))
        if strange:
            raise MisuseError(f"this PaymentZ account offers no {', '.join(strange)}")

    def _check_currency(self, amount: Money) -> None:
        if self._settings.currencies is not None and amount.currency not in self._settings.currencies:
            raise MisuseError(f"this PaymentZ account has no contract for {amount.currency}")


def _is_locked_out(reply: Reply | Silence) -> bool:
    return isinstance(reply, Reply) and reply.is_rejected_token


def _check_part(booked: Booked, amount: Money, key: str) -> None:
    left = booked.amount - Money(booked.given_back_minor, booked.amount.currency)
    if amount > left:
        raise MisuseError(f"{key}: {amount.major} {amount.currency} are more than {booked.key} has left")


def _limits(settings: Settings) -> Limits:
    return Limits(
        total_s=settings.timeout_s,
        connect_s=settings.connect_timeout_s,
        in_flight_max=settings.in_flight_max,
        per_second_max=settings.per_second_max,
    )


def _abilities(settings: Settings) -> Abilities:
    return Abilities(
        title="PaymentZ",
        charge=True,
        charge_present=True,
        hosted_page=True,
        renews_profile=settings.hosted_initial,
        capture=True,
        reverse=True,
        refund=True,
        partial_refund=True,
        pay_out=True,
        forget=settings.by_token,
        ways=WAYS,
        asking=Asking(settings.ask_delays_s, settings.settle_s, budget=None, after_nothing=AfterNothing.SAME_KEY),
        timeout_s=settings.timeout_s,
        notification_is_truth=False,
        currencies=settings.currencies,
        in_flight_max=settings.in_flight_max,
        page_outlives_decline=False,  # a payment that failed stays so (D-93), and its id is used up (D-100)
    )
