"""What each verb asks of PaymentZ: a path and its signed fields. No card data is ever among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from billing.gateway import (
    BROWSER_FIELDS,
    Charge,
    CheckoutOrder,
    MisuseError,
    OperationKind,
    Payout,
    PresentCharge,
    ProfileReference,
    Question,
)
from billing.money import Money
from gateways import paymentz_signing as signing
from gateways.paymentz_settings import Settings
from gateways.paymentz_token import BASE
from gateways.paymentz_wire import Fields, written

HOSTED: Final = "/transaction/Checkout"
INITIAL: Final = "INITIAL"

_IN_PATH: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CARD: Final = re.compile(r"[0-9]{12,19}")
_DEVICE: Final[Mapping[str, str]] = {
    "accept_header": "browserAcceptHeader",
    "user_agent": "user_Agent",
    "browser_language": "browserLanguage",
    "timezone_offset_minutes": "browserTimezoneOffset",
    "color_depth": "browserColorDepth",
    "java_enabled": "browserJavaEnabled",
    "screen_height": "browserScreenHeight",
    "screen_width": "browserScreenWidth",
}
_YES_NO: Final = {"yes": "true", "no": "false"}
_OPERATIONS: Final = {OperationKind.CAPTURE: "CP", OperationKind.REVERSAL: "RV", OperationKind.REFUND: "RF"}


@dataclass(frozen=True, slots=True)
class Request:
    """One call: where it goes, its fields, and what of its path no log shows."""

    path: str
    fields: Fields
    hidden: str = ""


# --- paying ---------------------------------------------------------------------------------------------


def away(charge: Charge, settings: Settings) -> Request:
    """Ask for a REPEATED payment: of the INITIAL one it cites, or of a stored registration."""
    fields = {
        **_money(charge.key, charge.amount, settings),
        "paymentType": payment_type(settings),
        "recurringType": "REPEATED",
        "orderDescriptor": charge.order.description,
        "notificationUrl": charge.notify_url,
    }
    if settings.by_token:
        return _with_token(_registration(charge.profile.reference), fields, settings)
    parent = _in_path(charge.profile.reference, "an INITIAL payment")
    subject = parent if settings.repeat_checksum_subject == "parent" else charge.key
    signed = _signed(settings, (subject, fields["amount"]), fields)
    if settings.repeat_route == "path":
        return Request(f"{BASE}/payments/{parent}", signed)
    return Request(f"{BASE}/payments", {**signed, "paymentId": parent})


def present(charge: PresentCharge, settings: Settings) -> Request:
    """Ask for a payment with a stored registration; the customer is there for the bank's question."""
    fields = {
        **_money(charge.key, charge.amount, settings),
        "paymentType": payment_type(settings, charge),
        "recurringType": INITIAL if charge.store else "",
        "orderDescriptor": charge.order.description,
        "customer.email": charge.payer.email,
        "customer.ip": charge.payer.ip,
        "merchantRedirectUrl": charge.returns.success,
        "redirectMethod": "GET",
        "notificationUrl": charge.notify_url,
        **_device(charge.fields),
    }
    return _with_token(_registration(charge.fields.get("token", "")), fields, settings)


def hosted(order: CheckoutOrder, settings: Settings) -> Fields:
    """Return the form that the customer's browser posts; the page knows one address to come back to."""
    amount = written(order.amount)
    stores = order.store is not None and settings.hosted_initial
    fields = {
        "memberId": settings.member_id,
        "totype": settings.to_type,
        "amount": amount,
        "TMPL_AMOUNT": amount,
        "currency": order.amount.currency,
        "TMPL_CURRENCY": order.amount.currency,
        "merchantTransactionId": order.key,
        "merchantRedirectUrl": order.returns.success,
        "notificationUrl": order.notify_url,
        "orderDescription": order.order.description,
        "terminalid": settings.terminal_id,
        "paymentMode": settings.payment_mode,
        "paymentBrand": settings.payment_brand,
        "transactionType": "PREAUTH" if payment_type(settings, order) == "PA" else "",
        settings.hosted_recurring_field: INITIAL if stores else "",
        settings.hosted_registration_field: "true" if stores else "",
    }
    signed = (settings.member_id, settings.to_type, amount, order.key, order.returns.success)
    return {**_filled(fields), "checksum": signing.closing(settings.secret_key, *signed)}


def pay_out(payout: Payout, settings: Settings) -> Request:
    """Ask for a payout to the card of an earlier payment, the only recipient that we may name."""
    earlier = payout.profile.mandate.first_transaction if settings.by_token else payout.profile.reference
    fields = {
        **_money(payout.key, payout.amount, settings),
        "paymentType": "PO",
        "paymentId": _in_path(earlier, "the payment whose card is paid"),
        "merchant.email": settings.merchant_email,
        "notificationUrl": payout.notify_url,
    }
    proof = signing.closing(settings.secret_key, settings.member_id, payout.key, fields["amount"])
    return Request(f"{BASE}/payout", _proven(settings, proof, fields))


# --- what follows, and questions ------------------------------------------------------------------------


def operation(payment_id: str, kind: OperationKind, amount: Money | None, settings: Settings) -> Request:
    """Ask for what follows a payment; a reversal is always of the whole, and names no amount."""
    number = _in_path(payment_id, "a booked payment")
    told = {} if amount is None else {"amount": written(amount)}
    fields = {"paymentType": _OPERATIONS[kind], "paymentId": number, **told}
    return Request(f"{BASE}/payments/{number}", _signed(settings, (number, *told.values()), fields))


def question(asked: Question, settings: Settings) -> Request:
    """Ask by the payment's number where it is known, else by our own."""
    fields = {"paymentType": "IN"}
    if asked.gateway_id:
        number = _in_path(asked.gateway_id, "a payment")
        return Request(f"{BASE}/payments/{number}", _signed(settings, (number,), {**fields, "idType": "PID"}))
    told = {"amount": written(asked.amount)} if settings.mid_inquiry_checksum == "four" else {}
    fields |= {"idType": "MID", "merchantTransactionId": asked.key, **told}
    return Request(f"{BASE}/inquiry", _signed(settings, (asked.key, *told.values()), fields))


def deletion(profile: ProfileReference, settings: Settings) -> Request:
    """Ask for a stored registration to be deleted."""
    token = _registration(profile.reference)
    fields = _signed(settings, (token,), {"paymentType": "DL"})
    return Request(f"{BASE}/{settings.token_path}/{token}", fields, token)


# --- shared -------------------------------------------------------------------------------------------------


def payment_type(settings: Settings, order: CheckoutOrder | PresentCharge | None = None) -> str:
    """Return `DB`, by which money is taken at once, or `PA`, by which it is only held.

    A hold that is let go leaves an `authcancelled` payment, which is no parent for later charges (D-63). Where the
    payment itself is to be charged again, it is therefore made and refunded, which leaves a good parent.
    """
    if order is None or not order.reserve_only:
        return "DB" if settings.automatic_capture else "PA"
    cited = order.store is not None and not settings.by_token
    return "DB" if cited and "authcancelled" not in settings.repeat_parent_states else "PA"


def _with_token(token: str, fields: Fields, settings: Settings) -> Request:
    signed = _signed(settings, (token, fields["amount"]), fields)
    return Request(f"{BASE}/{settings.token_path}/{token}", signed, token)


def _money(key: str, amount: Money, settings: Settings) -> Fields:
    return {
        "authentication.terminalId": settings.terminal_id,
        "merchantTransactionId": key,
        "amount": written(amount),
        "currency": amount.currency,
    }


def _signed(settings: Settings, subject: tuple[str, ...], fields: Fields) -> Fields:
    return _proven(settings, signing.request(settings.member_id, settings.secret_key, *subject), fields)


def _proven(settings: Settings, checksum: str, fields: Fields) -> Fields:
    proof = {"authentication.memberId": settings.member_id, "authentication.checksum": checksum}
    return _filled({**proof, **fields})


def _filled(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value}


def _device(fields: Mapping[str, str]) -> Fields:
    strange = sorted(set(fields) - {"token", *BROWSER_FIELDS})
    if strange:
        raise MisuseError(f"PaymentZ has no field for {', '.join(strange)}")
    told = {name: value for name, value in fields.items() if name != "token"}
    return {f"deviceDetails.{_DEVICE[name]}": _YES_NO.get(value, value) for name, value in told.items()}


def _in_path(number: str, what: str) -> str:
    """Return a number that can stand in a path; it is text and never counted with."""
    if not _IN_PATH.fullmatch(number):
        raise MisuseError(f"{number!r} is not {what} of PaymentZ's")
    return number


def _registration(token: str) -> str:
    """Return a stored registration; anything that could be a card number is not sent, nor shown."""
    if _CARD.fullmatch(token) or not _IN_PATH.fullmatch(token):
        raise MisuseError("this is no stored registration of PaymentZ's")
    return token
