"""Callbacks: signed with the secret key, and still never more than a hint, since MD5 stops nobody from repeating one.

The signature covers the number, our number, the amount as it is written and the short status. A cancelled page may
report without a proof, or with the word `null` for the key: that is not believed, but is a reason to ask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from billing.gateway import ForgeryError, Notice, RawMessage
from gateways import paymentz_signing as signing
from gateways.paymentz_answers import news
from gateways.paymentz_settings import Settings
from gateways.paymentz_wire import Reply, Told, UnreadableError, parse_form, parse_json


def read(message: RawMessage, settings: Settings, clean: Callable[[str], str]) -> Notice:
    """Return a callback's news, or raise `ForgeryError` where nothing proves that it is PaymentZ's and ours."""
    told = _told(message)
    if message.proven_key and told.key not in ("", message.proven_key):
        raise ForgeryError("the callback is about another payment than the address it came to")
    if not _is_signed(told, settings):
        return _hint(message, told)
    key = told.key or message.proven_key
    identity = f"{told.payment_id}/{told.first('status', 'transactionStatus')}"
    try:
        outcome, operation = news(Reply(200, told, clean), key, settings)
    except UnreadableError:
        return Notice(identity, key, told.payment_id)
    return Notice(identity, key, told.payment_id, outcome, operation)


def _told(message: RawMessage) -> Told:
    if message.method != "POST":
        raise ForgeryError("PaymentZ reports by POST only")
    try:
        return parse_json(message.body) if message.body.lstrip()[:1] == b"{" else parse_form(message.body)
    except UnreadableError as error:
        raise ForgeryError(f"the callback cannot be read: {error}") from None


def _is_signed(told: Told, settings: Settings) -> bool:
    """Tell whether the key is behind the message; every form that counts is compared."""
    short = told.first("transactionStatus", "status")
    forms = {"short": short, "long": told["status"]}
    counted = forms.values() if settings.accept_long_signature else (forms[settings.callback_status_form],)
    return any([_fits(told, status, settings.secret_key) for status in counted])  # noqa: C419 - all, whatever fits


def _fits(told: Told, status: str, secret_key: str) -> bool:
    signed = (told.first("paymentId", "trackingid", "trackingId"), told.key, told["amount"], status)
    return bool(told["checksum"]) and signing.is_same(signing.closing(secret_key, *signed), told["checksum"])


def _hint(message: RawMessage, told: Told) -> Notice:
    """Take an unsigned cancel, at the address that only its own payment was given, as a reason to ask."""
    canceled = told.first("transactionStatus", "status") == "C"
    if not (canceled and message.proven_key and (not told["checksum"] or _fits(told, "C", "null"))):
        raise ForgeryError("the checksum does not fit the callback")
    return Notice(f"unsigned/{hashlib.sha256(message.body).hexdigest()}", message.proven_key)
