"""Payments of the simulated PAYONE: with a card or a stand-in, or on top of an earlier one (sections 7, 14)."""

import json
import re
from dataclasses import dataclass
from typing import Any

from gateways.sandbox.faults import Luck
from gateways.sandbox.payone_bodies import PAYMENT, SUBSEQUENT
from gateways.sandbox.payone_cards import Card, unpacked
from gateways.sandbox.payone_desk import Answer, Call, Desk, is_over, language_of
from gateways.sandbox.payone_mandates import Mandates
from gateways.sandbox.payone_refusals import (
    Flaw,
    RefusalError,
    decline_flaws,
    error_body,
    invalid_value,
    missing,
    unknown_payment,
    wrong_product,
)
from gateways.sandbox.payone_shapes import Shape, payment_shape
from gateways.sandbox.payone_store import Payment, Token
from gateways.sandbox.payone_values import (
    CHALLENGE_TIMEOUT,
    DECLINED_SALE_AMOUNT,
    INSUFFICIENT_FUNDS,
    KNOWN_PRODUCTS,
    SOFT_DECLINE,
)

CARD = "cardPaymentMethodSpecificInput"
SEPA = "sepaDirectDebitPaymentMethodSpecificInput"
PHONE_CHANNELS = frozenset(("MOTO", "MAIL", "TELEPHONE"))
MERCHANT_MADE = frozenset("Recurring Unscheduled Installment RecurringVariable UnscheduledFixed".split())
ISSUER_CODE = re.compile(r"(?:3[03]|4000|5000)[0-9]{4,6}")


@dataclass(slots=True)
class Source:
    """Where the card of a payment comes from."""

    card: Card
    token: Token | None = None
    is_authenticated: bool = False


@dataclass(slots=True, frozen=True)
class Authentication:
    """Whether and how a payment goes through 3-D Secure."""

    is_asked: bool
    is_challenge: bool = False
    may_restart: bool = False


class Payments:
    """Creates payments."""

    def __init__(self, desk: Desk, mandates: Mandates) -> None:
        self._desk = desk
        self._mandates = mandates

    def create(self, call: Call) -> Answer:
        """Create a payment (reference section 7)."""
        body = call.read(PAYMENT)
        payment = new_payment(body, call.key)
        if body.get(SEPA) is not None:
            return self._create_debit(call, body, payment)
        given = body.get(CARD, {})
        if CARD not in body and "hostedTokenizationId" not in body:
            raise missing(CARD)
        check_series(given)
        source = self._source(body, given)
        check_product(given, source.card)
        fill_from(payment, given, source)
        self._desk.till.open(payment)
        self._take_up(body, source)
        language = language_of(str(body["order"].get("customer", {}).get("locale", "")))
        return self._decide(payment, source, authentication_of(given, source, payment), call.luck, language)

    def subsequent(self, call: Call) -> Answer:
        """Create a merchant-initiated payment on top of an earlier one (reference section 8.7)."""
        body = call.read(SUBSEQUENT)
        if "order" not in body:
            raise missing("order")
        source, scheme = self._earlier(call.path["payment_id"])
        given = body.get("subsequentcardPaymentMethodSpecificInput", {})
        payment = new_payment(body, call.key)
        fill_from(payment, {"authorizationMode": given.get("authorizationMode")}, source)
        payment.is_merchant_initiated = given.get("subsequentType", "Recurring") in MERCHANT_MADE
        payment.initial_scheme_reference, payment.to_tokenize = scheme, False
        self._desk.till.open(payment)
        return self._decide(payment, source, Authentication(is_asked=False), call.luck, "EN", cites=True)

    def _earlier(self, payment_id: str) -> tuple[Source, str]:
        """Return the card of an earlier payment, or of a token whose series it began elsewhere."""
        found = self._desk.store.find(payment_id)
        if found and found[0].card and found[0].code not in {0, 1, 2, 46}:
            earlier = found[0]
            token = self._desk.store.tokens.get(earlier.token) if earlier.token else None
            is_known = earlier.authentication in {"Y", "A"} or (token is not None and token.is_authenticated)
            return Source(unpacked(earlier.card), token, is_known), earlier.scheme_reference
        imported = self._desk.store.tokens.first("WHERE first_transaction = ?", payment_id)
        if imported is None:
            raise unknown_payment()
        return Source(unpacked(imported.card), imported, imported.is_authenticated), imported.scheme_reference

    # ---- where the card comes from

    def _source(self, body: dict[str, Any], given: dict[str, Any]) -> Source:
        named = [name for name in ("token", "card") if given.get(name)]
        if "hostedTokenizationId" in body:
            if named:
                raise invalid_value(f"{CARD}.{named[0]}")
            return self._from_session(body["hostedTokenizationId"])
        if len(named) > 1:
            raise invalid_value(f"{CARD}.card")
        if not named:
            raise missing(f"{CARD}.token")
        if named == ["card"]:
            return Source(self._desk.card(given["card"], f"{CARD}.card", in_clear=True))
        if given.get("tokenize"):
            raise invalid_value(f"{CARD}.tokenize")
        return known(self._desk.usable_token(given["token"], f"{CARD}.token"))

    def _from_session(self, session_id: str) -> Source:
        session = self._desk.store.sessions.get(session_id)
        if session is None or session.state != "submitted" or is_over(session.expires_at):
            raise invalid_value("hostedTokenizationId")
        return known(self._desk.usable_token(session.token, "hostedTokenizationId"))

    def _take_up(self, body: dict[str, Any], source: Source) -> None:
        """Spend what can be used once: a session, a temporary token."""
        session = self._desk.store.sessions.get(body.get("hostedTokenizationId", ""))
        if session:
            session.state = "spent"
            self._desk.store.sessions.save(session)
        if source.token and source.token.is_temporary:
            source.token.is_used = True
            self._desk.store.tokens.save(source.token)

    # ---- what becomes of it

    def _decide(
        self, payment: Payment, source: Source, asked: Authentication, luck: Luck, language: str, *, cites: bool = False
    ) -> Answer:
        till, forced = self._desk.till, forced_outcome(luck)
        if forced == "suspend":
            till.suspend(payment, luck)
            return self._created(payment)
        code = forced or self._issuer_code(payment, source, cites=cites)
        # Authentication comes before authorisation: a card that will be declined is challenged all the same.
        restarts = code == SOFT_DECLINE and asked.may_restart
        if restarts or (asked.is_challenge and not forced):
            payment.flow = "challenge"
            till.redirect(payment, luck)
            return self._created(payment, self._desk.open_challenge(payment, language))
        return self._conclude(payment, source, asked, code, luck)

    def _conclude(self, payment: Payment, source: Source, asked: Authentication, code: str, luck: Luck) -> Answer:
        code = authenticated(payment, source.card, asked) or code
        if code:
            self._desk.till.decline(payment, code, luck)
            return self._declined(payment)
        self._desk.till.approve(payment, luck)
        return self._created(payment)

    def _issuer_code(self, payment: Payment, source: Source, *, cites: bool) -> str:
        """Return the code with which the issuer declines, or an empty text."""
        if payment.amount == DECLINED_SALE_AMOUNT and payment.mode == "SALE":
            return INSUFFICIENT_FUNDS
        strict = self._desk.knobs.text("mit_without_reference") == "soft_decline"
        if payment.is_merchant_initiated and strict and not (cites or payment.initial_scheme_reference):
            return SOFT_DECLINE
        code = source.card.decline()
        return "" if code == SOFT_DECLINE and source.is_authenticated else code

    def _created(self, payment: Payment, action: Shape | None = None) -> Answer:
        body: Shape = {"creationOutput": creation_shape(payment)}
        if action:
            body["merchantAction"] = action
        return Answer(201, {**body, "payment": self._shape(payment)}, payment.number)

    def _declined(self, payment: Payment) -> Answer:
        result = {"creationOutput": creation_shape(payment), "payment": self._shape(payment)}
        body = error_body(402, decline_flaws(payment.decline_code)) | {"paymentResult": result}
        return Answer(402, body, payment.number)

    def _shape(self, payment: Payment) -> Shape:
        return payment_shape(payment, reattempt=self._desk.knobs.flag("reattempt_instructions"))

    # ---- direct debit

    def _create_debit(self, call: Call, body: dict[str, Any], payment: Payment) -> Answer:
        given = body[SEPA].get("paymentProduct771SpecificInput", {})
        payment.method, payment.mode = "sepa", "SALE"
        payment.mandate = self._mandates.for_payment(given, f"{SEPA}.paymentProduct771SpecificInput")
        self._desk.till.open(payment)
        forced = forced_outcome(call.luck)
        if forced == "suspend":
            self._desk.till.suspend(payment, call.luck)
        elif forced:
            self._desk.till.decline(payment, forced, call.luck)
            return self._declined(payment)
        else:
            self._desk.till.debit(payment, call.luck)
        return self._created(payment)


def new_payment(body: dict[str, Any], key: str) -> Payment:
    """Read what a payment has whatever it is paid with."""
    order = body["order"]
    references, feedbacks = order.get("references", {}), body.get("feedbacks", {})
    urls = feedbacks.get("webhooksUrls") or [url for url in [feedbacks.get("webhookUrl")] if url]
    return Payment(
        merchant_reference=references.get("merchantReference", ""),
        merchant_parameters=references.get("merchantParameters", ""),
        idempotence_key=key,
        amount=order["amountOfMoney"]["amount"],
        currency=order["amountOfMoney"]["currencyCode"].upper(),
        customer_id=order.get("customer", {}).get("merchantCustomerId", ""),
        urls=json.dumps(urls) if urls else "",
    )


def known(token: Token) -> Source:
    """Return the card of a token."""
    return Source(unpacked(token.card), token, token.is_authenticated)


def check_series(given: dict[str, Any]) -> None:
    """Refuse the fields of a scheduled and of an unscheduled series at once (reference section 14)."""
    for name in ("unscheduledCardOnFileRequestor", "unscheduledCardOnFileSequenceIndicator"):
        if given.get("isRecurring") and given.get(name):
            raise invalid_value(f"{CARD}.{name}")


def check_product(given: dict[str, Any], card: Card) -> None:
    """Refuse a payment product that does not exist or is not the card's."""
    product = given.get("paymentProductId")
    if product is None or product == card.product:
        return
    raise wrong_product("CARDNUMBER_PAYMENTPRODUCTID_MISMATCH" if product in KNOWN_PRODUCTS else "UNKNOWN_PRODUCT_ID")


def fill_from(payment: Payment, given: dict[str, Any], source: Source) -> None:
    """Read what a payment by card has besides."""
    three_d_secure = given.get("threeDSecure", {})
    payment.mode = given.get("authorizationMode") or "FINAL_AUTHORIZATION"
    payment.card = source.card.packed()
    payment.token = source.token.id if source.token and not source.token.is_temporary else ""
    payment.return_url = three_d_secure.get("redirectionData", {}).get("returnUrl") or given.get("returnUrl", "")
    payment.is_merchant_initiated = is_merchant_initiated(given)
    payment.initial_scheme_reference = given.get("schemeReferenceData") or given.get("initialSchemeTransactionId", "")
    sequence = given.get("recurring", {}).get("recurringPaymentSequenceIndicator")
    is_first = bool(given.get("isRecurring")) and sequence == "first"
    payment.to_tokenize = not payment.token and bool(given.get("tokenize") or is_first)


def is_merchant_initiated(given: dict[str, Any]) -> bool:
    """Say whether the customer is absent (reference section 14)."""
    if given.get("unscheduledCardOnFileRequestor") == "merchantInitiated":
        return True
    sequence = given.get("recurring", {}).get("recurringPaymentSequenceIndicator")
    return bool(given.get("isRecurring")) and sequence != "first" and bool(given.get("token"))


def authentication_of(given: dict[str, Any], source: Source, payment: Payment) -> Authentication:
    """Say whether a payment goes through 3-D Secure, and whether the customer is asked."""
    wanted = given.get("threeDSecure", {})
    skipped = wanted.get("skipAuthentication", given.get("skipAuthentication", False))
    absent = payment.is_merchant_initiated or given.get("transactionChannel") in PHONE_CHANNELS
    may_restart = not absent and not wanted.get("skipSoftDecline", False)
    if skipped or absent:
        return Authentication(is_asked=False, may_restart=may_restart)
    is_challenge = wanted.get("challengeIndicator") == "challenge-required" or source.card.flow == "challenge"
    return Authentication("threeDSecure" in given or bool(source.card.flow), is_challenge, may_restart)


def authenticated(payment: Payment, card: Card, asked: Authentication) -> str:
    """Note how a payment without a challenge was authenticated; return a code if that failed."""
    if not asked.is_asked:
        payment.eci = "9" if payment.is_merchant_initiated else "7"
        return ""
    payment.flow = "frictionless"
    return note_result(payment, card.result)


def note_result(payment: Payment, result: str) -> str:
    """Note the result of 3-D Secure and return the code of a failed one (reference section 16)."""
    payment.authentication = result
    payment.eci = {"Y": "5", "A": "6", "U": "7"}.get(result, "91")
    return CHALLENGE_TIMEOUT if result in {"N", "R"} else ""


def creation_shape(payment: Payment) -> Shape:
    """Say what came of a payment besides itself; a redirected one tells its token later."""
    token = payment.token if payment.code in {5, 9, 51} else ""
    external = payment.token if payment.is_merchant_initiated and payment.token else payment.merchant_reference
    shown: Shape = {"externalReference": external, "tokenizationSucceeded": bool(token) and payment.is_new_token}
    return shown | ({"token": token, "isNewToken": payment.is_new_token} if token else {})


def forced_outcome(luck: Luck) -> str:
    """Return the decline code that a rule forces, ``suspend``, or an empty text; other codes are refusals."""
    rule = luck.draw("outcome")
    if rule is None:
        return ""
    if rule.fault == "suspend":
        return "suspend"
    if not ISSUER_CODE.fullmatch(rule.detail):
        raise RefusalError(Flaw(rule.detail, rule.text or "INVALID_VALUE", 400))
    return rule.detail
