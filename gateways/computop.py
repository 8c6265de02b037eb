"""Computop Paygate by its classic interface: PAYBACK PAY, and cards where the account stores them.

    open_checkout    PaybackPay.aspx, payssl.aspx   posted by the customer's browser; nothing is sent from here
    charge           direct.aspx                    a stored card, by the merchant
    find             inquire.aspx, inquire24.aspx   by PayID, or by our key alone
    capture          capture.aspx                   cards
    reverse          inquire.aspx, reverse.aspx     cards; it undoes the last step, so what that is gets asked first
    refund           credit.aspx
    check            inquire24.aspx                 about a payment there is not

Our key is the TransID, by which a payment is found again, and the ReqId, under which the same request is answered by
what became of the first. That holds only once the first is final, so a lost answer is asked about before anything is
sent again ("ReqId").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

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
from gateways import computop_answers as answers
from gateways import computop_notify
from gateways import computop_requests as requests
from gateways.computop_codes import UNKNOWN_PAYMENT
from gateways.computop_settings import Settings, read_settings
from gateways.computop_wire import CHARSET, Envelope, Reply, UnreadableError
from gateways.transport import Answer, Limits, Network, Redaction, Transport

REPEATABLE_S: Final = 300 * 86400
"""For so long the same request under the same key cannot pay twice: Computop keeps a ReqId for twelve months."""

CHECK_KEY: Final = "TURNUS-CHECK"

REDACTED: Final = frozenset(
    """Data MAC card CCNr PCNr CCExpiry CCCVC number cardholderName expiryDate securityCode schemeReferenceID
    AccountId CustomerID DeviceID UserData Custom Plain VatList ArticleList AccOwner AccNr AccIBAN
    sdAdditionalInfo sdCompany sdFirstName sdLastName sdStreet sdStreetNr sdZIP sdCity
    URLSuccess URLFailure URLNotify""".split()
)
"""Fields no log shows: what is encrypted or proves something, means of payment, persons, addresses with a proof."""

_HEADERS: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "identity"}


def open_account(credentials: Mapping[str, str], network: Network | None = None) -> Computop:
    """Return the gateway for one account; raise `ConfigurationError` naming what is wrong with its settings."""
    return Computop(read_settings(credentials), network)


class Computop:
    """One merchant's account at Computop."""

    def __init__(self, settings: Settings, network: Network | None = None) -> None:
        self.abilities = _abilities(settings)
        self._settings = settings
        redaction = Redaction(REDACTED, (settings.encryption_password, settings.hmac_password))
        passwords = (settings.encryption_password.encode(), settings.hmac_password.encode())
        self._envelope = Envelope(settings.merchant_id, settings.cipher, *passwords, redaction.clean)
        self._transport = Transport("computop", _limits(settings), redaction, network)
        self.pace = self._transport.pace

    async def charge(self, charge: Charge) -> Outcome:
        """Charge a stored card; PAYBACK PAY always wants the customer."""
        self._need_cards("charges nothing while the customer is away")
        reply = await self._send("direct.aspx", requests.direct(charge, self._settings))
        return answers.payment(reply, charge.key, charge.amount)

    async def charge_present(self, charge: PresentCharge) -> Outcome:
        """Raise: customers pay on Computop's own pages."""
        raise UnsupportedError(f"Computop has no form of ours that could pay {charge.key}")

    async def open_checkout(self, order: CheckoutOrder) -> Checkout | Declined | Refused | NotSent | Unknown:
        """Return what the customer's browser posts; Computop hears of it only then.

        Each way has a page of its own, so the page is that of the way the customer chose first.
        """
        strange = sorted(set(order.ways) - set(self.abilities.ways))
        if strange:
            raise MisuseError(f"this Computop account offers no {', '.join(strange)}")
        if (*order.ways, *self.abilities.ways)[0] == "card":
            page, fields = "payssl.aspx", requests.card_page(order, self._settings, self._envelope)
        else:
            page, fields = "PaybackPay.aspx", requests.sale(order, self._settings)
        return Checkout(self._address(page), self._settings.page_life_s, posted=self._envelope.seal(fields))

    async def open_card_form(self, payer: Payer) -> CardForm | Declined | Refused | NotSent | Unknown:
        """Raise: Computop's card form is a page of its own."""
        raise UnsupportedError(f"Computop has no card fields to frame for {payer.reference}")

    async def find(self, question: Question) -> Outcome:
        """Ask by the PayID where it is known, else by our key; the three amounts are the truth."""
        return answers.inquiry(
            await self._inquire(question.key, question.gateway_id), question, reserves=self._settings.card_on_file
        )

    async def capture(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Take a card's reservation or a part of it."""
        self._need_cards("reserves nothing that could be captured")
        return await self._follow("capture.aspx", booked, amount, key, requests.follow(booked, amount, key))

    async def reverse(self, booked: Booked, key: str) -> Outcome:
        """Let a card's reservation go, having asked whether it still is one.

        A reversal undoes whatever came last, and that must not be a capture or a credit. Where the question
        settles nothing, nothing is reversed.
        """
        self._need_cards("reserves nothing that could be let go")
        fields = requests.follow(booked, booked.amount, key)
        asked = await self._inquire(booked.key, booked.gateway_id)
        if not isinstance(asked, Reply):
            return asked
        question = Question(booked.key, booked.amount, booked.gateway_id, operation=OperationKind.REVERSAL)
        found = answers.inquiry(asked, question, reserves=True)
        if not isinstance(found, NotSent):
            return found
        return await self._follow("reverse.aspx", booked, booked.amount, key, fields)

    async def refund(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Give back a part or all of what is left of a payment."""
        return await self._follow("credit.aspx", booked, amount, key, requests.credit(booked, amount, key))

    async def pay_out(self, payout: Payout) -> Outcome:
        """Raise: money goes back only as a refund of a payment."""
        raise UnsupportedError(f"Computop pays nothing out here: {payout.key} needs a refund of a payment")

    async def forget(self, profile: ProfileReference) -> Outcome:  # noqa: ARG002 - it is a secret
        """Raise: a pseudo card number cannot be deleted by this interface."""
        raise UnsupportedError("Computop has no call that deletes a stored card")

    async def check(self) -> None:
        """Ask about a payment there is not: only the right credentials learn that.

        Computop may leave the MAC of a question unread, so a wrong `hmac_password` may show only later.
        """
        reply = await self._inquire(CHECK_KEY)
        if not isinstance(reply, Reply):
            raise ConfigurationError(f"Computop gives no answer at {self._settings.endpoint} that fits: {reply.reason}")
        code = reply.text("Code")
        if code[4:] not in (UNKNOWN_PAYMENT, "0000"):
            raise ConfigurationError(
                f"Computop rejects the account {self._settings.merchant_id} with {code or 'no code'}: "
                "its merchant_id, encryption_password, hmac_password or cipher is wrong"
            )

    def read_notification(self, message: RawMessage) -> Notice:
        """Read a result, whether it came to URLNotify or with the customer's browser."""
        return computop_notify.read(message, self._envelope)

    def acknowledge(self, accepted: bool) -> str:
        """Answer a notification; only the HTTP status counts ("URL Notify")."""
        return "OK" if accepted else "ERROR"

    def answer_challenge(self, message: RawMessage) -> str | None:  # noqa: ARG002 - nothing is read here
        """Return None: Computop checks no addresses."""
        return None

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    # --- the one send, and what every call shares -----------------------------------------

    async def _follow(self, page: str, booked: Booked, amount: Money, key: str, fields: requests.Fields) -> Outcome:
        return answers.operation(await self._send(page, fields), key, booked.gateway_id, amount)

    async def _inquire(self, key: str, gateway_id: str = "") -> Reply | answers.Silence:
        page = "inquire.aspx" if gateway_id else "inquire24.aspx"
        return await self._send(page, requests.inquiry(key, gateway_id))

    async def _send(self, page: str, fields: requests.Fields) -> Reply | answers.Silence:
        body = urlencode(self._envelope.seal(fields)).encode()
        answer = await self._transport.send("POST", self._address(page), _HEADERS, body)
        if not isinstance(answer, Answer):
            return answer
        if answer.status != 200:
            return Unknown(f"Computop answered with HTTP {answer.status}")
        try:
            return self._envelope.unseal(answer.body.decode(CHARSET), clear=True)
        except UnreadableError as error:
            return Unknown(f"Computop gave an answer that cannot be read: {error}")

    def _address(self, page: str) -> str:
        return f"{self._settings.endpoint}/{page}"

    def _need_cards(self, reason: str) -> None:
        if not self._settings.card_on_file:
            raise UnsupportedError(f"this Computop account has no cards, and PAYBACK PAY {reason}")


def _limits(settings: Settings) -> Limits:
    return Limits(
        total_s=settings.timeout_s,
        connect_s=settings.connect_timeout_s,
        in_flight_max=settings.in_flight_max,
        per_second_max=settings.per_second_max,
    )


def _abilities(settings: Settings) -> Abilities:
    cards = settings.card_on_file
    return Abilities(
        title="Computop",
        charge=cards,
        charge_present=False,
        hosted_page=True,
        renews_profile=cards,
        capture=cards,
        reverse=cards,
        refund=True,
        partial_refund=True,
        pay_out=False,
        forget=False,
        ways=("payback_pay", "card") if cards else ("payback_pay",),
        asking=Asking(
            settings.ask_delays_s,
            settings.settle_s,
            budget=None,
            after_nothing=AfterNothing.SAME_KEY,
            repeat_s=REPEATABLE_S,
        ),
        timeout_s=settings.timeout_s,
        notification_is_truth=cards,
        currencies=frozenset({requests.CURRENCY}),
        least_minor={"payback_pay": settings.least_minor},
        in_flight_max=settings.in_flight_max,
        storing=frozenset({"card"}) if cards else frozenset(),
        inputs=requests.inputs(settings),
        page_outlives_decline=False,
    )
