"""Hosted checkout: a page of the provider on which a customer pays (reference section 9.1)."""

import secrets
import time
from typing import Any

from gateways.sandbox.payone_bodies import CHECKOUT
from gateways.sandbox.payone_desk import Answer, Call, Desk, is_over, language_of
from gateways.sandbox.payone_payments import check_series, new_payment
from gateways.sandbox.payone_refusals import unknown
from gateways.sandbox.payone_shapes import Shape, payment_shape
from gateways.sandbox.payone_store import Checkout, Payment
from gateways.sandbox.payone_values import CHECKOUT_PATH

CARD = "cardPaymentMethodSpecificInput"
DEFAULT_MINUTES, DEFAULT_TRIES = 180, 10
CATEGORIES = {5: "SUCCESSFUL", 9: "SUCCESSFUL", 2: "REJECTED"}


class Checkouts:
    """Opens and shows hosted checkouts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def create(self, call: Call) -> Answer:
        """Open a checkout; its payment has its number already and exists from the first try."""
        body = call.read(CHECKOUT)
        given = body.get(CARD, {})
        check_series(given)
        payment = self._payment(body, given, call.key)
        page = self._open(body.get("hostedCheckoutSpecificInput", {}), given, payment)
        address = f"{self._desk.base_url}{CHECKOUT_PATH}{page.page}"
        shown: Shape = {
            "hostedCheckoutId": str(payment.number),
            "RETURNMAC": payment.return_mac,
            "redirectUrl": address,
            "partialRedirectUrl": address.partition("://")[2],
            "merchantReference": payment.merchant_reference,
            "invalidTokens": [],
        }
        return Answer(200, shown)

    def _payment(self, body: dict[str, Any], given: dict[str, Any], key: str) -> Payment:
        wanted = body.get("hostedCheckoutSpecificInput", {})
        payment = new_payment(body, key)
        payment.is_tried = False
        payment.mode = given.get("authorizationMode") or "FINAL_AUTHORIZATION"
        payment.return_url = wanted.get("returnUrl") or given.get("returnUrl", "")
        payment.return_mac = secrets.token_hex(16)
        payment.to_tokenize = wants_token(wanted, given)
        self._desk.till.open(payment)
        return payment

    def _open(self, wanted: dict[str, Any], given: dict[str, Any], payment: Payment) -> Checkout:
        minutes = wanted.get("sessionTimeout", DEFAULT_MINUTES)
        page = Checkout(
            id=payment.number,
            page=secrets.token_hex(16),
            state="IN_PROGRESS",
            language=language_of(wanted.get("locale", "")),
            tries=0,
            tries_max=wanted.get("allowedNumberOfPaymentAttempts", DEFAULT_TRIES),
            asks_challenge=given.get("threeDSecure", {}).get("challengeIndicator") == "challenge-required",
            expires_at=time.time() + minutes * 60,
        )
        self._desk.store.checkouts.add(page)
        return page

    def get(self, call: Call) -> Answer:
        """Show how far a checkout has come."""
        word = call.path["checkout_id"]
        page = self._desk.store.checkouts.get(int(word) if word.isdecimal() and len(word) < 12 else 0)
        readable_s = self._desk.knobs.seconds("checkout_readable_s")
        if page is None or is_over(page.expires_at + readable_s):
            raise unknown("HOSTED_CHECKOUT", "hostedCheckoutId")
        payment = self._desk.store.payments.get(page.id)
        return Answer(200, {"status": page.state, "createdPaymentOutput": created_shape(payment)})


def created_shape(payment: Payment | None) -> Shape:
    """Write the payment of a checkout; on a fresh one nothing is known."""
    if payment is None or not payment.is_tried:
        return {"paymentStatusCategory": "STATUS_UNKNOWN"}
    category = CATEGORIES.get(payment.code, "STATUS_UNKNOWN")
    return {"payment": payment_shape(payment), "paymentStatusCategory": category}


def wants_token(wanted: dict[str, Any], given: dict[str, Any]) -> bool:
    """Say whether the card of a checkout is to be kept."""
    mode = wanted.get(CARD, {}).get("tokenizationMode", "")
    if mode == "noTokenization":
        return False
    asked = wanted.get("isRecurring") or wanted.get("isNewUnscheduledCardOnFileSeries") or given.get("tokenize")
    is_first = given.get("unscheduledCardOnFileSequenceIndicator") == "first" or given.get("isRecurring")
    return bool(asked or is_first or mode == "createAlways")
