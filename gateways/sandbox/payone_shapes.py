"""How payments and their operations look from outside (reference sections 7.5, 8 and 10)."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gateways.sandbox.payone_cards import Card, unpacked
from gateways.sandbox.payone_refusals import decline_flaws
from gateways.sandbox.payone_store import Operation, Payment, Token
from gateways.sandbox.payone_values import HARD_DECLINES, SEPA_PRODUCT, STATUSES, UPDATE_DECLINES

FLAG_NAMES = ("isAuthorized", "isCancellable", "isRefundable")
ACQUIRED_CODES = frozenset((5, 9, 91, 92, 81, 82, 8, 4))
Shape = dict[str, Any]


def money(amount: int, currency: str) -> Shape:
    """Write an amount."""
    return {"amount": amount, "currencyCode": currency}


def status_fields(code: int, decline_code: str = "") -> Shape:
    """Write a status with its output."""
    row = STATUSES[code]
    output: Shape = {"statusCode": code, "statusCategory": row.category}
    output |= {name: value for name, value in zip(FLAG_NAMES, row.flags, strict=True) if value is not None}
    if decline_code and row.category == "UNSUCCESSFUL":
        output["errors"] = [flaw.shown() for flaw in decline_flaws(decline_code)]
    return {"status": row.status, "statusOutput": output}


def payment_shape(payment: Payment, operation: int = 0, code: int | None = None, *, reattempt: bool = False) -> Shape:
    """Write a payment, by default as it stands; an event writes it as one operation left it."""
    shown = payment.code if code is None else code
    return {
        "id": payment.id(operation),
        **status_fields(shown, payment.decline_code),
        "paymentOutput": output_shape(payment, shown, reattempt=reattempt),
    }


def output_shape(payment: Payment, code: int, *, reattempt: bool) -> Shape:
    """Write what a payment is about."""
    acquired = payment.amount - payment.cancelled if code in ACQUIRED_CODES else 0
    shown: Shape = {
        "amountOfMoney": money(payment.amount, payment.currency),
        "acquiredAmount": money(acquired, payment.currency),
        "references": references_of(payment),
        "customer": {"device": {"ipAddressCountryCode": "99"}},
        "transactionDate": f"{payment.created_at.removesuffix('Z')}0000Z",
    }
    if payment.method == "sepa":
        return shown | sepa_output(payment)
    if not payment.card:
        return shown
    return shown | {
        "paymentMethod": "card",
        "cardPaymentMethodSpecificOutput": card_output(payment, code, reattempt=reattempt),
    }


def references_of(payment: Payment) -> Shape:
    """Write the merchant's own words for a payment; absent ones are not sent."""
    named = {"merchantReference": payment.merchant_reference, "merchantParameters": payment.merchant_parameters}
    return {name: value for name, value in named.items() if value}


def sepa_output(payment: Payment) -> Shape:
    """Write the method of a direct debit."""
    specific = {"mandateReference": payment.mandate}
    output = {"paymentProductId": SEPA_PRODUCT, "paymentProduct771SpecificOutput": specific}
    return {"paymentMethod": "directDebit", "sepaDirectDebitPaymentMethodSpecificOutput": output}


def card_output(payment: Payment, code: int, *, reattempt: bool) -> Shape:
    """Write the card of a payment and what its issuer said."""
    card = unpacked(payment.card)
    shown: Shape = {
        "paymentProductId": card.product,
        "authorisationCode": "" if code == 6 else payment.authorisation_code,
        "card": {"cardNumber": card.masked, "bin": card.bin, "expiryDate": card.expiry, "countryCode": "DE"},
        "fraudResults": {"fraudServiceResult": "accepted", "avsResult": "0", "cvvResult": "0"},
        "acquirerInformation": {"name": "Sandbox Acquirer"},
    }
    if payment.eci:
        shown["threeDSecureResults"] = authentication_shape(payment)
    if payment.scheme_reference:
        shown["schemeReferenceData"] = payment.scheme_reference
        shown["initialSchemeTransactionId"] = payment.initial_scheme_reference or payment.scheme_reference
    if payment.token and payment.code != 46:
        shown["token"] = payment.token
    if reattempt and payment.decline_code:
        shown["reattemptInstructions"] = reattempt_shape(payment.decline_code)
    return shown


def authentication_shape(payment: Payment) -> Shape:
    """Write how the cardholder was authenticated; without 3-D Secure only two fields are sent."""
    shown: Shape = {"eci": payment.eci, "xid": b64encode(str(payment.number).encode()).decode()}
    if not payment.flow:
        return shown
    is_issuer = payment.authentication in {"Y", "A"}
    scheme = {"schemeEci": f"0{payment.eci}"} if len(payment.eci) == 1 else {}
    named = {"version": "2.2.0", "flow": payment.flow, "authenticationStatus": payment.authentication}
    return shown | scheme | named | {"liability": "issuer" if is_issuer else "merchant"}


def reattempt_shape(code: str) -> Shape:
    """Write what the scheme says about trying again."""
    if code in HARD_DECLINES:
        return {"indicator": "neverRetry"}
    if code in UPDATE_DECLINES:
        return {"indicator": "updateBeforeRetry"}
    return {"indicator": "retryLater", "frozenPeriod": 24, "conditions": {"maxAttempts": 10, "maxDelay": 720}}


def details_shape(payment: Payment, operations: list[Operation], *, reattempt: bool) -> Shape:
    """Write a payment with each of its operations."""
    return payment_shape(payment, reattempt=reattempt) | {
        "Operations": [first_operation(payment), *(listed_operation(payment, entry) for entry in operations)]
    }


def first_operation(payment: Payment) -> Shape:
    """Write operation 0, the payment itself."""
    return {
        "id": payment.id(),
        "amountOfMoney": money(payment.amount, payment.currency),
        **status_fields(payment.first_code, payment.decline_code),
        "paymentMethod": payment.method,
        "references": references_of(payment),
    }


def listed_operation(payment: Payment, entry: Operation) -> Shape:
    """Write an operation as /details lists it."""
    return {
        "id": payment.id(entry.operation),
        "amountOfMoney": money(entry.amount, payment.currency),
        **status_fields(entry.code),
        "paymentMethod": payment.method,
        "references": references_of(payment),
        "operationReferences": json.loads(entry.own_references),
    }


def about_operation(payment: Payment, entry: Operation) -> Shape:
    """Write what captures and refunds have in common."""
    return {
        "amountOfMoney": money(entry.amount, payment.currency),
        "references": references_of(payment),
        "operationReferences": json.loads(entry.own_references),
        "paymentMethod": payment.method,
    }


def capture_shape(payment: Payment, entry: Operation) -> Shape:
    """Write a capture as it stands."""
    output = about_operation(payment, entry) | {"acquiredAmount": money(entry.amount, payment.currency)}
    if payment.card:
        output["cardPaymentMethodSpecificOutput"] = card_output(payment, entry.code, reattempt=False)
    return {"id": payment.id(entry.operation), **status_fields(entry.code), "captureOutput": output}


def sale_capture_shape(payment: Payment) -> Shape:
    """Write the one capture that a sale has in it."""
    output = {"amountOfMoney": money(payment.amount, payment.currency), "references": references_of(payment)}
    return {"id": payment.id(), **status_fields(9), "captureOutput": {**output, "paymentMethod": payment.method}}


def refund_shape(payment: Payment, entry: Operation) -> Shape:
    """Write a refund as it stands; only finished refunds count as refunded."""
    totals = {"totalAmountPaid": payment.captured, "totalAmountRefunded": payment.refunded_settled}
    output = about_operation(payment, entry) | {"cardRefundMethodSpecificOutput": totals}
    return {"id": payment.id(entry.operation), **status_fields(entry.code), "refundOutput": output}


def token_shape(token: Token) -> Shape:
    """Write a token with its masked card (reference section 6.2)."""
    card = unpacked(token.card)
    return {
        "id": token.id,
        "paymentProductId": card.product,
        "isTemporary": token.is_temporary,
        "externalTokenLinked": {},
        "card": {"alias": card.alias, "data": card_data_shape(card)},
    }


def card_data_shape(card: Card) -> Shape:
    """Write a card without what nobody may keep."""
    return {
        "cardWithoutCvv": {"cardNumber": card.alias, "expiryDate": card.expiry, "cardholderName": card.holder},
        "cardBinDetails": {"panLuhnCheck": True, "panLengthMax": 19, "panLengthMin": 13},
        "cobrandSelectionIndicator": "notApplicable",
    }


def local_text() -> str:
    """Write the present instant as events do: with an offset and seven decimals."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0+00:00"


def with_strangers(shape: Any) -> Any:
    """Add fields nobody knows to every object, as each release of the platform does."""
    return walked(shape, lambda found: {"sandboxExtra": {"nested": [1]}, **found, "zSandboxExtra": "new"})


def reordered(shape: Any) -> Any:
    """Turn the order of every object's fields around."""
    return walked(shape, lambda found: dict(reversed(found.items())))


def walked(shape: Any, change: Callable[[Shape], Shape]) -> Any:
    """Change every object of an answer."""
    if isinstance(shape, dict):
        return change({name: walked(value, change) for name, value in shape.items()})
    return [walked(entry, change) for entry in shape] if isinstance(shape, list) else shape
