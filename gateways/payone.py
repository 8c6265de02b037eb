"""PAYONE by its server-to-server API v2: each verb of the port is one signed JSON request, sent once, and read.

    charge           POST payments with a token          docs.direct…, "Card on file", "Use token"
    charge_present   POST payments, hostedTokenizationId developer.payone.com, "Hosted Tokenization Page"
    open_checkout    POST hostedcheckouts                "Hosted Checkout Page"
    find             GET payments/…/details, GET hostedcheckouts/…
    capture          POST payments/…/capture
    reverse          POST payments/…/cancel
    refund           POST payments/…/refund
    forget           DELETE tokens/…
    check            GET services/testconnection

An idempotence key protects for a day: the same request again under the same key is answered by what became of the
first. So every attempt's own key goes in that header, and while PAYONE remembers it, asking means repeating. There is
no search by a key; only by PAYONE's own number of a payment or page ("Idempotent requests").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

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
from gateways import payone_answers as answers
from gateways import payone_cards as cards
from gateways import payone_requests as requests
from gateways import payone_webhook
from gateways.payone_codes import BRANDS, Kind, locale
from gateways.payone_json import Reply, UnreadableError, read
from gateways.payone_settings import Settings, read_settings
from gateways.payone_signing import authorization, http_date
from gateways.transport import Answer, Limits, Network, Redaction, Transport

REPEATABLE_S: Final = 23 * 3600
"""For so long after sending, the same request under the same key is a question and not a second payment.

PAYONE remembers a key for at least 24 hours; the last of them is left to slow answers and to clocks that differ
("Idempotent requests"). Later the same key would pay again, so a person decides.
"""

SCRIPT: Final = "/hostedtokenization/js/client/tokenizer.min.js"
DRIVER: Final = "tokenizer"

REDACTED: Final = frozenset(
    """token tokens tokenId alias cardNumber expiryDate cardholderName cvv bin encryptedCustomerInput
    hostedTokenizationId hostedTokenizationUrl partialRedirectUrl redirectURL redirectUrl redirectionUrl RETURNMAC
    returnUrl webhooksUrls webhookUrl externalReference invalidTokens expiredCardTokens
    cavv xid acsTransactionId dsTransactionId schemeReferenceData initialSchemeTransactionId schemeTransactionId
    paymentAccountReference authorisationCode
    emailAddress firstName surname street houseNumber additionalInfo zip city phoneNumber mobilePhoneNumber dateOfBirth
    ipAddress userAgent deviceFingerprint iban secret""".split()
)
"""Fields no log shows: means of payment and what authenticates them, personal data, addresses that carry a secret."""


def open_account(
    credentials: Mapping[str, str], network: Network | None = None, *, now: Callable[[], datetime]
) -> Payone:
    """Return the gateway for one account; raise `ConfigurationError` naming what is wrong with its settings.

    `now` is the machine's own time of day: it stands in what is signed, and tells fresh events from stale ones.
    """
    return Payone(read_settings(credentials), now, network)


class Payone:
    """One merchant's account at PAYONE."""

    def __init__(self, settings: Settings, now: Callable[[], datetime], network: Network | None = None) -> None:
        self.abilities = _abilities(settings)
        self._settings = settings
        self._now = now
        self._style = requests.Style(settings.automatic_capture, settings.series)
        self._transport = Transport("payone", _limits(settings), _redaction(settings), network)
        self.pace = self._transport.pace

    async def charge(self, charge: Charge) -> Outcome:
        """Charge a stored token; repeated with the same key within `REPEATABLE_S` it only tells what became of it."""
        self._check_currency(charge.amount)
        reply = await self._post("payments", requests.away(charge, self._style), charge.key)
        return answers.payment(reply, answers.Given(charge.key, away=True))

    async def charge_present(self, charge: PresentCharge) -> Outcome:
        """Pay with what the tokenization page collected; see `payone_requests.FIELDS` for the fields.

        Whatever happens at the bank, the customer comes back to the address for success: PAYONE knows only one.
        """
        self._check_currency(charge.amount)
        reply = await self._post("payments", requests.present(charge, self._style), charge.key)
        return answers.payment(reply, answers.Given(charge.key, store=charge.store is not None))

    async def open_checkout(self, order: CheckoutOrder) -> Checkout | Declined | Refused | NotSent | Unknown:
        """Open the hosted page; it takes cards only, and comes back to the address for success in any case."""
        self._check_currency(order.amount)
        strange = sorted(set(order.ways) - set(self.abilities.ways))
        if strange:
            raise MisuseError(f"this PAYONE account offers no {', '.join(strange)}")
        page = requests.Page(self._settings.variant, self._settings.page_life_s, self._settings.page_tries_max)
        reply = await self._post("hostedcheckouts", requests.checkout(order, self._style, page))
        return answers.page(reply, self._settings.page_life_s)

    async def open_card_form(self, payer: Payer) -> CardForm | Declined | Refused | NotSent | Unknown:
        """Open PAYONE's own card fields for a frame in our page; they are good for three hours and one payment.

        Whether the card is kept is said by our page when it submits the form, `storePermanently`: consent is ours to
        record. What the page does with PAYONE's script is "Hosted Tokenization Page".
        """
        body: requests.Body = {
            "locale": locale(payer.language),
            "variant": self._settings.variant,
            "askConsumerConsent": False,
            "paymentProductFilters": {"restrictTo": {"products": sorted(BRANDS)}},
        }
        reply = await self._post("hostedtokenizations", body)
        return cards.card_form(reply, f"{self._settings.endpoint}{SCRIPT}", DRIVER)

    async def find(self, question: Question) -> Outcome:
        """Ask by the number of the payment or page; without one there is nobody to ask.

        What a lost answer said is learnt by repeating the charge itself under its own key, as long as PAYONE remembers
        that (`REPEATABLE_S`); a question does not carry the charge, so it is never answered `NotSent` here.
        """
        if not question.gateway_id:
            return Unknown("PAYONE cannot be asked by our key; only the same request under the same key tells")
        if answers.is_checkout(question.gateway_id) and question.operation is None:
            return answers.on_page(await self._get(f"hostedcheckouts/{question.gateway_id}"), question)
        return answers.details(await self._get(f"payments/{_number(question.gateway_id)}/details"), question)

    async def capture(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Take the reservation or a part of it; PAYONE books it some minutes later."""
        return await self._follow(booked, key, Kind.CAPTURE, requests.capture(amount, booked.amount, key), amount)

    async def reverse(self, booked: Booked, key: str) -> Outcome:
        """Let go of the whole reservation."""
        return await self._follow(booked, key, Kind.CANCEL, requests.cancel(booked.amount, key), booked.amount)

    async def refund(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Give back a part or all; PAYONE books it some minutes later."""
        return await self._follow(booked, key, Kind.REFUND, requests.refund(amount, booked.amount, key), amount)

    async def pay_out(self, payout: Payout) -> Outcome:
        """Raise: payouts need a contract of their own, which this adapter does not serve."""
        raise UnsupportedError(f"PAYONE pays nothing out here: {payout.key} needs a refund of a payment")

    async def forget(self, profile: ProfileReference) -> Outcome:
        """Delete the token; one that PAYONE does not know counts as deleted."""
        return cards.deletion(await self._send("DELETE", f"tokens/{requests.token(profile.reference)}"))

    async def check(self) -> None:
        """Ask for a test connection, which needs the key, the secret, the account and our clock to be right."""
        reply = await self._get("services/testconnection")
        match reply:
            case Reply(status=200):
                return
            case Reply(status=401 | 403):
                raise ConfigurationError(
                    f"PAYONE rejects API key {self._settings.api_key_id} for {self._settings.merchant_id}: "
                    "its id, its secret, the merchant id or this machine's clock is wrong"
                )
            case Reply(status=status):
                raise ConfigurationError(f"PAYONE answers a test connection with HTTP {status}")
            case Refused(reason=reason) | NotSent(reason=reason) | Unknown(reason=reason):
                raise ConfigurationError(f"PAYONE cannot be reached at {self._settings.endpoint}: {reason}")

    def read_notification(self, message: RawMessage) -> Notice:
        """Read an event; one that no key of the account has signed is not believed, nor is a stale one."""
        came_at = message.received_at or self._now()
        return payone_webhook.read(message, self._settings.webhook_secrets, self._settings.merchant_id, came_at)

    def acknowledge(self, accepted: bool) -> str:
        """Answer an event; only the HTTP status counts ("Webhooks")."""
        return "received" if accepted else "not accepted"

    def answer_challenge(self, message: RawMessage) -> str | None:
        """Return the plain text that a check of our address wants back, or None where this is no such check."""
        return payone_webhook.challenge(message)

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    # --- beyond the port ------------------------------------------------------------------

    async def read_token_form(self, form_id: str) -> cards.StoredCard | Outcome:
        """Return the token that a submitted form made; `Pending` while nothing was typed into it."""
        return cards.stored_card(await self._get(f"hostedtokenizations/{_number(form_id)}"))

    async def read_token(self, profile: ProfileReference) -> cards.StoredCard | Outcome:
        """Return the card behind a token."""
        return cards.stored_card(await self._get(f"tokens/{requests.token(profile.reference)}"))

    # --- the one send, and what every call shares -----------------------------------------

    async def _follow(self, booked: Booked, key: str, kind: Kind, body: requests.Body, amount: Money) -> Outcome:
        path = f"payments/{_payment_number(booked)}/{kind.name.lower()}"
        return answers.operation(await self._post(path, body, key), kind, booked.gateway_id, amount)

    async def _get(self, path: str) -> Reply | cards.Silence:
        return await self._send("GET", path)

    async def _post(self, path: str, body: requests.Body, key: str = "") -> Reply | cards.Silence:
        headers = {"Content-Type": "application/json"}
        if key:
            headers["X-GCS-Idempotence-Key"] = requests.key_of(key)
        return await self._send("POST", path, headers, requests.encode(body))

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply | cards.Silence:
        url = f"{self._settings.endpoint}/v2/{self._settings.merchant_id}/{path}"
        signed = self._signed(method, url, headers or {})
        answer = await self._transport.send(method, url, signed, body)
        return read(answer, self._transport.redaction.clean) if isinstance(answer, Answer) else answer

    def _signed(self, method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers with a date and the signature over both; every `X-GCS` header is part of it."""
        dated = {**headers, "Date": http_date(self._now())}
        key_id, secret = self._settings.api_key_id, self._settings.api_secret
        proof = authorization(key_id, secret, method, urlsplit(url).path, dated)
        return {**dated, "Authorization": proof, "Accept": "application/json", "Accept-Encoding": "identity"}

    def _check_currency(self, amount: Money) -> None:
        if self._settings.currencies is not None and amount.currency not in self._settings.currencies:
            raise MisuseError(f"this PAYONE account has no contract for {amount.currency}")


# --- values of the wire -------------------------------------------------------------------


def _number(gateway_id: str) -> str:
    """Return a number of PAYONE's that can stand in a path; it is text and never counted with."""
    if not (gateway_id.isascii() and gateway_id.replace("_", "").isalnum()):
        raise MisuseError(f"{gateway_id!r} is no number of PAYONE's")
    return gateway_id


def _payment_number(booked: Booked) -> str:
    """Return the payment that an operation follows; a page that nobody has paid on cannot be meant."""
    try:
        answers.family(booked.gateway_id)
    except UnreadableError:
        raise MisuseError(f"{booked.gateway_id!r} is no payment of PAYONE's: {booked.key} is not booked") from None
    return booked.gateway_id


def _limits(settings: Settings) -> Limits:
    return Limits(
        total_s=settings.timeout_s,
        connect_s=settings.connect_timeout_s,
        in_flight_max=settings.in_flight_max,
        per_second_max=settings.per_second_max,
    )


def _redaction(settings: Settings) -> Redaction:
    return Redaction(REDACTED, (settings.api_secret, *settings.webhook_secrets.values()))


def _abilities(settings: Settings) -> Abilities:
    return Abilities(
        title="PAYONE",
        charge=True,
        charge_present=True,
        hosted_page=True,
        renews_profile=True,
        capture=True,
        reverse=True,
        refund=True,
        partial_refund=True,
        pay_out=False,
        forget=True,
        ways=("card",),
        asking=Asking(
            settings.ask_delays_s,
            settings.settle_s,
            budget=None,
            after_nothing=AfterNothing.SAME_KEY,
            by_key=False,
            repeat_s=REPEATABLE_S,
        ),
        timeout_s=settings.timeout_s,
        notification_is_truth=False,
        currencies=settings.currencies,
        card_form=settings.endpoint,
        proof_headers=frozenset(name.lower() for name in payone_webhook.PROOF_HEADERS),
    )
