"""mPAY24 by SOAP "ETP" 1.5: each verb of the port is one call, written, sent once, and read.

    charge           AcceptPayment, pType PROFILE      docs.mpay24.com/docs/recurrring-profiles
    charge_present   AcceptPayment, any other pType    docs.mpay24.com/docs/backend2backend-integration
    open_checkout    SelectPayment with MDXI           docs.mpay24.com/docs/redirect-integration
    find             TransactionStatus by our tid, TransactionHistory by mpayTID
    capture          ManualClear                       docs.mpay24.com/docs/clearing
    reverse          ManualReverse                     docs.mpay24.com/docs/reversal
    refund           ManualCredit                      docs.mpay24.com/docs/crediting
    pay_out          AcceptWithdraw                    docs.mpay24.com/docs/withdrawal
    forget           DeleteProfile                     docs.mpay24.com/docs/profiles

A tid protects from nothing: sent twice it books twice. So every attempt has a tid of its own, and after a lost
answer the gateway is asked, at most three times per transaction until its mpayTID is known.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
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
    Order,
    Outcome,
    Payer,
    Payout,
    PresentCharge,
    ProfileNews,
    ProfileReference,
    Question,
    RawMessage,
    Refused,
    Unknown,
    UnsupportedError,
)
from billing.money import Money
from gateways import mdxi, mpay24_push
from gateways import mpay24_answers as answers
from gateways.mpay24_codes import WAYS, kind, language, said_no
from gateways.mpay24_methods import STORABLE, Method, check_payer, members, method_named
from gateways.mpay24_settings import Settings, read_settings
from gateways.mpay24_soap import Reply, encode, prepare, read, typed
from gateways.transport import Answer, Limits, Network, Redaction, Transport

QUESTIONS_MAX: Final = 3
"""TransactionStatus may be asked so often about one transaction (docs.mpay24.com/docs/payment-notification)."""

AMOUNT_MAX: Final = 2**32 - 1
_KEY: Final = re.compile("[A-Za-z0-9 -]{1,32}")
_BILLING: Final = ("gender", "birthday", "phone")

REDACTED: Final = frozenset(
    """identifier expiry cvc iban bic token apiKey mandateID personalNumber bankID custom password
    customerName name birthday street street2 email phone clientIP
    successURL errorURL confirmationURL location mdxi
    IBAN CUSTOMER CUSTOMER_EMAIL SHIPPING_ADDR BILLING_ADDR""".split()
)
"""Fields no log shows: means of payment, personal data, and addresses that carry a secret of ours or of the page."""


def open_account(credentials: Mapping[str, str], network: Network | None = None) -> Mpay24:
    """Return the gateway for one account; raise `ConfigurationError` naming what is wrong with its settings."""
    return Mpay24(read_settings(credentials), network)


class Mpay24:
    """One merchant's account at mPAY24."""

    def __init__(self, settings: Settings, network: Network | None = None) -> None:
        prepare()
        self.abilities = _abilities(settings)
        self._settings = settings
        login = f"{settings.user}:{settings.password}".encode()
        self._headers = {
            "Authorization": f"Basic {b64encode(login).decode()}",
            "Content-Type": "text/xml; charset=utf-8",
            "Accept-Encoding": "identity",
        }
        self._transport = Transport("mpay24", _limits(settings), _redaction(settings), network)
        self.pace = self._transport.pace

    async def charge(self, charge: Charge) -> Outcome:
        """Charge the profile stored under its reference; no other data of the payer is used."""
        reply = await self._ask(
            "AcceptPayment",
            tid=_key(charge.key),
            pType="PROFILE",
            payment=typed("Payment", profileID=charge.profile.slot, **self._payment(charge.amount)),
            customerID=mdxi.identifier("profile", charge.profile.reference),
            customerName=mdxi.plain(charge.payer.name, 50),
            order=_order(charge.order, charge.payer),
            confirmationURL=mdxi.web_address("notification", charge.notify_url),
            language=self._language(charge.payer),
        )
        return answers.payment(reply, self._given(charge.amount, charge.profile, later=_is_debit(charge.profile)))

    async def charge_present(self, charge: PresentCharge) -> Outcome:
        """Pay by one of the methods; see `mpay24_methods` for the fields each takes."""
        method = method_named(charge.method)
        check_payer(charge.method, method, charge.payer)
        data = members(charge.method, method, charge.fields)
        billing: dict[str, object] = {name: data.pop(name) for name in _BILLING if name in data}
        reply = await self._ask(
            "AcceptPayment",
            tid=_key(charge.key),
            pType=method.ptype,
            payment=self._present_payment(charge, method, data),
            customerID=charge.store and mdxi.identifier("profile", charge.store.reference),
            customerName=mdxi.plain(charge.payer.name, 50),
            order=_order(charge.order, charge.payer, method, billing),
            successURL=mdxi.web_address("success", charge.returns.success),
            errorURL=mdxi.web_address("error", charge.returns.error),
            confirmationURL=mdxi.web_address("notification", charge.notify_url),
            language=self._language(charge.payer),
        )
        return answers.payment(reply, self._given(charge.amount, charge.store, later=method.later))

    async def open_checkout(self, order: CheckoutOrder) -> Checkout | Declined | Refused | NotSent | Unknown:
        """Open the hosted page; with `store` set it offers only what can be charged again."""
        _key(order.key)
        self._check_amount(order.amount)
        reply = await self._ask("SelectPayment", mdxi=mdxi.write(order, self._look(order)))
        return answers.page(reply, self._settings.page_life_s)

    async def open_card_form(self, payer: Payer) -> CardForm | Declined | Refused | NotSent | Unknown:
        """Raise: a token of mPAY24's own form pays once and is not stored, so nothing could be charged later."""
        raise UnsupportedError(f"mPAY24's card form stores nothing for {payer.reference}; its hosted page does")

    async def find(self, question: Question) -> Outcome:
        """Ask by mpayTID where it is known, which costs nothing; by tid only within the budget of three.

        A page may book several tries under one tid, each with an mpayTID of its own, so while
        one may be open only the tid leads to the latest of them.
        """
        if not _by_tid(question):
            reply = await self._ask("TransactionHistory", mpayTID=_gateway_id(question.gateway_id))
            return answers.history(reply, question, self._given(question.amount))
        if question.asked >= QUESTIONS_MAX:
            return Unknown("mPAY24 was asked three times about this tid, which is all it allows")
        reply = await self._ask("TransactionStatus", tid=_key(question.key))
        return answers.status(reply, question, self._given(question.amount))

    async def capture(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Clear the reservation; most acquirers allow one clearing only."""
        details = typed("ClearingDetails", mpayTID=_after(booked, key), amount=self._part(booked, amount))
        reply = await self._ask("ManualClear", clearingDetails=[details])
        return answers.operation(reply, booked.gateway_id, amount, "BILLED")

    async def reverse(self, booked: Booked, key: str) -> Outcome:
        """Let go of the whole reservation; mPAY24 knows no part of one, and no way back."""
        reply = await self._ask("ManualReverse", mpayTID=_after(booked, key))
        return answers.operation(reply, booked.gateway_id, booked.amount, "REVERSED")

    async def refund(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Credit the amount, always said: without one mPAY24 would give back everything."""
        reply = await self._ask("ManualCredit", mpayTID=_after(booked, key), amount=self._part(booked, amount))
        return answers.operation(reply, booked.gateway_id, amount, "CREDITED")

    async def pay_out(self, payout: Payout) -> Outcome:
        """Send money to a stored profile; documentation shows it, the interface description has no type for it."""
        self._check_amount(payout.amount)
        reply = await self._ask(
            "AcceptWithdraw",
            tid=_key(payout.key),
            pType="PROFILE",
            withdraw=typed("Withdraw", amount=payout.amount.minor, currency=payout.amount.currency),
            customerID=mdxi.identifier("profile", payout.profile.reference),
            customerName=mdxi.plain(payout.payer.name, 50),
            confirmationURL=mdxi.web_address("notification", payout.notify_url),
            language=self._language(payout.payer),
        )
        later = _is_debit(payout.profile)
        return answers.payment(reply, answers.Given(payout.amount, clears_itself=True, later=later))

    async def forget(self, profile: ProfileReference) -> Outcome:
        """Delete the profile; one that mPAY24 does not know counts as deleted."""
        reply = await self._ask(
            "DeleteProfile", customerID=mdxi.identifier("profile", profile.reference), profileID=profile.slot
        )
        return answers.deletion(reply)

    async def check(self) -> None:
        """List the payment methods, the one call that changes nothing and needs everything to be right."""
        reply = await self._ask("ListPaymentMethods")
        match reply:
            case Reply(ok=True):
                return
            case Reply(code=code):
                outcome = said_no(code)
                raise ConfigurationError(f"mPAY24 answers {code}: {getattr(outcome, 'reason', 'it will not say why')}")
            case Refused(reason=reason):
                raise ConfigurationError(f"{reason} (user {self._settings.user})")
            case NotSent(reason=reason) | Unknown(reason=reason):
                raise ConfigurationError(f"mPAY24 cannot be reached at {self._settings.endpoint}: {reason}")

    def read_notification(self, message: RawMessage) -> Notice:
        """Read a confirmation; without the order's own secret in its address it is not believed."""
        return mpay24_push.read(message, clears_itself=self._settings.automatic_clearing)

    def acknowledge(self, accepted: bool) -> str:
        """Answer a confirmation; only its first word counts (docs.mpay24.com/docs/payment-notification)."""
        return "OK: received" if accepted else "ERROR: not accepted"

    def answer_challenge(self, message: RawMessage) -> str | None:  # noqa: ARG002 - mPAY24 checks no address
        """Answer none: mPAY24 checks no address before it reports to it."""
        return None

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()

    # --- beyond the port ------------------------------------------------------------------

    async def list_profiles(
        self, reference: str = "", expired_by: date | None = None, begin: int = 0, size: int = 100
    ) -> answers.ProfilePage | Outcome:
        """List stored profiles, at most 500 a call; mPAY24 keeps expired ones until they are deleted."""
        reply = await self._ask("ListProfiles", customerID=reference, expiredBy=expired_by, begin=begin, size=size)
        return answers.profiles(reply)

    async def create_customer(
        self, payer: Payer, profile: ProfileReference, method: str, fields: Mapping[str, str]
    ) -> ProfileNews | Outcome:
        """Store a profile without a payment, from a token or an account number."""
        way = method_named(method)
        if way.data not in STORABLE:
            raise MisuseError(f"{method} cannot be stored without paying; TOKEN and ELV can")
        data = {"brand": way.brand, "profileID": profile.slot, **members(method, way, fields)}
        reply = await self._ask(
            "CreateCustomer",
            pType=way.ptype,
            paymentData=typed(STORABLE[way.data], **data),
            customerID=mdxi.identifier("profile", profile.reference),
            customerName=mdxi.plain(payer.name, 50),
            order=typed("Order", clientIP=mdxi.client_ip(payer.ip)),
            language=self._language(payer),
        )
        return answers.stored(reply, ProfileNews(profile.reference, profile.slot, kind(way.ptype), way.brand))

    async def open_token_form(self, payer: Payer) -> answers.TokenForm | Outcome:
        """Open mPAY24's own card form for a frame in our page; what it yields is paid with as TOKEN.

        The token is good for one payment (docs.mpay24.com/docs/tokenizer-integration).
        """
        reply = await self._ask("CreatePaymentToken", pType="CC", language=self._language(payer))
        return answers.token_form(reply)

    # --- the one send, and what every call shares -----------------------------------------

    async def _ask(self, operation: str, **values: object) -> Reply | answers.Silence:
        body = encode(operation, merchantID=int(self._settings.merchant_id), **values)
        headers = {**self._headers, "SOAPAction": operation}
        answer = await self._transport.send("POST", self._settings.endpoint, headers, body)
        return read(operation, answer, self._transport.redaction.clean) if isinstance(answer, Answer) else answer

    def _payment(self, amount: Money) -> dict[str, object]:
        """Say about clearing what the operator said, so that the account's own default never decides."""
        self._check_amount(amount)
        manual = not self._settings.automatic_clearing
        return {"amount": amount.minor, "currency": amount.currency, "manualClearing": manual}

    def _present_payment(self, charge: PresentCharge, method: Method, data: Mapping[str, object]) -> object:
        profile: dict[str, object] = {}
        if charge.store is not None:
            profile = {"useProfile": True, "profileID": charge.store.slot}
        own = {"brand": method.brand} if method.brand else {}
        return typed(method.data or "Payment", **self._payment(charge.amount), **profile, **own, **data)

    def _given(self, amount: Money, profile: ProfileReference | None = None, *, later: bool = False) -> answers.Given:
        return answers.Given(amount, self._settings.automatic_clearing, self._settings.page_life_s, profile, later)

    def _part(self, booked: Booked, amount: Money) -> int:
        """Return a part of a payment that exists; whether its currency is still in the contract does not matter."""
        _check_size(amount)
        if amount.currency != booked.amount.currency:
            raise MisuseError(f"{amount.currency} cannot be taken from a payment in {booked.amount.currency}")
        return amount.minor

    def _check_amount(self, amount: Money) -> None:
        _check_size(amount)
        if self._settings.currencies is not None and amount.currency not in self._settings.currencies:
            raise MisuseError(f"this mPAY24 account has no contract for {amount.currency}")

    def _language(self, payer: Payer) -> str:
        return language(payer.language, self._settings.default_language)

    def _look(self, order: CheckoutOrder) -> mdxi.Look:
        settings = self._settings
        return mdxi.Look(settings.template_set, settings.css_name, self._language(order.payer), self._types(order))

    def _types(self, order: CheckoutOrder) -> tuple[str, ...]:
        """Return the payment types to offer: the account's, cut to the wanted ways and to what can be stored."""
        strange = sorted(set(order.ways) - set(self.abilities.ways))
        if strange:
            raise MisuseError(f"this mPAY24 account offers no {', '.join(strange)}")
        types = [ptype for ptype in self._settings.ways if not order.ways or kind(ptype) in order.ways]
        if order.store is not None:
            types = [ptype for ptype in types if ptype in WAYS]
        if not types:
            raise MisuseError("none of the account's payment types can do what this page is for")
        return tuple(types)


# --- values of the wire -------------------------------------------------------------------


def _order(
    order: Order, payer: Payer, method: Method | None = None, extra: Mapping[str, object] = MappingProxyType({})
) -> object:
    invoice = method is not None and method.invoice
    return typed(
        "Order",
        clientIP=mdxi.client_ip(payer.ip),
        description=mdxi.plain(order.description, 255),
        userField=mdxi.plain(order.reference, 255),
        shoppingCart=_cart(order) if invoice and order.lines else None,
        billing=_billing(payer, extra) if invoice else None,
    )


def _cart(order: Order) -> object:
    items = [
        typed(
            "Item",
            number=str(number),
            description=mdxi.plain(line.text, 255),
            quantity=line.quantity,
            tax=line.tax.minor,
            amount=line.total.minor,
        )
        for number, line in enumerate(order.lines, start=1)
    ]
    return typed("ShoppingCart", item=items)


def _billing(payer: Payer, extra: Mapping[str, object]) -> object:
    """Return the address an invoice goes to; in SOAP its words differ from the order document's."""
    address = payer.address
    return typed(
        "Address",
        mode="READONLY",
        name=mdxi.plain(payer.name, 50),
        street=mdxi.plain(address.street, 50),
        zip=mdxi.plain(address.zip, 50),
        city=mdxi.plain(address.city, 50),
        countryCode=address.country,
        **{"email": mdxi.plain(payer.email), **extra},
    )


def _check_size(amount: Money) -> None:
    if not 0 < amount.minor <= AMOUNT_MAX:
        raise MisuseError(f"mPAY24 takes amounts from 1 to {AMOUNT_MAX} minor units, not {amount.minor}")


def _key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise MisuseError(f"the key {key!r} is not 1 to 32 letters, digits, blanks or hyphens")
    return key


def _gateway_id(gateway_id: str) -> int:
    if not (gateway_id.isascii() and gateway_id.isdigit()):
        raise MisuseError(f"{gateway_id!r} is not an mpayTID: only a booked payment can be meant here")
    return int(gateway_id)


def _is_debit(profile: ProfileReference) -> bool:
    """Tell whether the profile is a direct debit, as far as its mandate shows: its OK may be a mere suspension."""
    return bool(profile.mandate.reference or profile.mandate.signed_on)


def _by_tid(question: Question) -> bool:
    """Tell whether only our tid leads to the answer; an operation has none, it stands in its payment's history."""
    if question.operation is not None:
        return False
    return not question.gateway_id or (question.page and question.asked < QUESTIONS_MAX)


def _after(booked: Booked, key: str) -> int:
    """Return the payment an operation follows; on this wire the operation itself has no name of ours."""
    try:
        return _gateway_id(booked.gateway_id)
    except MisuseError as error:
        raise MisuseError(f"{key} cannot follow {booked.key}: {error}") from None


def _limits(settings: Settings) -> Limits:
    return Limits(
        total_s=settings.timeout_s,
        connect_s=settings.connect_timeout_s,
        in_flight_max=settings.in_flight_max,
        per_second_max=settings.per_second_max,
    )


def _redaction(settings: Settings) -> Redaction:
    return Redaction(REDACTED, (settings.password, f"{settings.user}:{settings.password}"))


def _abilities(settings: Settings) -> Abilities:
    return Abilities(
        title="mPAY24",
        charge=True,
        charge_present=True,
        hosted_page=True,
        renews_profile=True,
        capture=True,
        reverse=True,
        refund=True,
        partial_refund=True,
        pay_out=True,
        forget=True,
        ways=tuple(kind(ptype) for ptype in settings.ways),
        asking=Asking(settings.ask_delays_s, settings.settle_s, QUESTIONS_MAX, AfterNothing.NEW_KEY),
        timeout_s=settings.timeout_s,
        notification_is_truth=True,
        currencies=settings.currencies,
        in_flight_max=settings.in_flight_max,
    )
