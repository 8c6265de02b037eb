"""Events: signed over the raw body, believed only while they are fresh, and never more than a hint.

A signature proves where an event comes from and not that it is the last word: events may come twice and in any
order, so what they say is taken as news to be confirmed by asking (PAYONE, "Webhooks").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from billing.gateway import ForgeryError, MisuseError, Notice, OperationKind, Outcome, RawMessage
from gateways.payone_answers import head, mark_of, news_of, news_of_operation
from gateways.payone_codes import Kind, Step, step_of
from gateways.payone_json import Part, UnreadableError, parse
from gateways.payone_signing import is_signed

STALE_AFTER: Final = timedelta(hours=36)
"""The last of PAYONE's six deliveries leaves 35 hours and 10 minutes after the event ("Webhooks")."""

AHEAD_MAX: Final = timedelta(minutes=5)
"""How far the two clocks may be apart, the same as PAYONE grants us."""

PROOF_HEADERS: Final = ("X-GCS-Signature", "X-GCS-KeyId")
"""Without these an event that was stored cannot be read again."""

CHALLENGE_HEADER: Final = "X-GCS-Webhooks-Endpoint-Verification"
_CHALLENGE: Final = re.compile(r"[!-~]{1,200}")

_REPORTED: Final[Mapping[Kind, OperationKind]] = {
    Kind.CANCEL: OperationKind.REVERSAL,
    Kind.REFUND: OperationKind.REFUND,
}
"""What is reported as something that followed a payment. A capture is the payment's own way to become money."""


def challenge(message: RawMessage) -> str | None:
    """Return what the check of our address wants to read back, or nothing where this is no such check.

    It proves nothing and asks for nothing secret, so it is answered before anything is verified.
    """
    if message.method != "GET":
        return None
    value = _headers(message).get(CHALLENGE_HEADER.lower(), "")
    return value if _CHALLENGE.fullmatch(value) else None


def read(message: RawMessage, secrets: Mapping[str, str], merchant_id: str, now: datetime) -> Notice:
    """Return an event's news, or raise `ForgeryError` where nothing proves that it is PAYONE's, ours and fresh."""
    _verify(message, secrets)
    try:
        event = parse(message.body, may_be_listed=True)
        _check(event, merchant_id, now)
        identity = event.text("id")
    except UnreadableError as error:
        raise ForgeryError(f"a signed event that cannot be placed: {error.args[0]}") from None
    identity = identity or hashlib.sha256(message.body).hexdigest()
    return _notice(event, identity, message.proven_key)


def _verify(message: RawMessage, secrets: Mapping[str, str]) -> None:
    if message.method != "POST":
        raise ForgeryError("PAYONE reports by POST only")
    headers = _headers(message)
    claimed, key_id = (headers.get(name.lower(), "") for name in PROOF_HEADERS)
    if not claimed or not key_id:
        raise ForgeryError("the event is not signed")
    if key_id not in secrets:
        raise ForgeryError("the event is signed with a key this account does not have")
    if not is_signed(secrets[key_id], message.body, claimed):
        raise ForgeryError("the signature does not fit the event")


def _headers(message: RawMessage) -> dict[str, str]:
    return {name.lower(): value.strip() for name, value in message.headers.items()}


def _check(event: Part, merchant_id: str, now: datetime) -> None:
    """Raise where an event of ours does not say so, or is too old to be one of PAYONE's own repetitions."""
    if event.text("apiVersion") != "v1":
        raise ForgeryError("the event is of another version than v1")
    if event.text("merchantId") != merchant_id:
        raise ForgeryError("the event is about another account")
    created = _instant(event.text("created"))
    if not now - STALE_AFTER <= created <= now + AHEAD_MAX:
        raise ForgeryError("the event is stale, or its clock is not ours")


def _instant(text: str) -> datetime:
    try:
        created = datetime.fromisoformat(text)
        return created.astimezone(UTC) if created.tzinfo else _nowhere()
    except (ValueError, OverflowError):
        raise UnreadableError("it does not say when it happened") from None


def _nowhere() -> datetime:
    raise UnreadableError("its time has no offset")


# --- news ---------------------------------------------------------------------------------------------


def _notice(event: Part, identity: str, proven_key: str) -> Notice:
    """Return what is reported; an event that was signed but not understood is still a reason to ask."""
    try:
        return _about_refund(event, identity, proven_key) or _about_payment(event, identity, proven_key)
    except (UnreadableError, MisuseError):
        return Notice(identity, proven_key)


def _about_refund(event: Part, identity: str, proven_key: str) -> Notice | None:
    refund = event.part("refund")
    if not refund:
        return None
    key = _key(mark_of(refund.part("refundOutput")).key, proven_key)
    outcome = news_of_operation(refund, "refundOutput", Kind.REFUND)
    return _operation(identity, key, refund, outcome, Kind.REFUND)


def _about_payment(event: Part, identity: str, proven_key: str) -> Notice:
    payment = event.part("payment")
    key = _key(mark_of(payment.part("paymentOutput")).key, proven_key)
    if not payment or event.text("type") == "payment.test":
        return Notice(identity, key)
    code = payment.part("statusOutput").number("statusCode")
    for kind in _REPORTED:
        if code is not None and step_of(kind, code) is not None:
            return _operation(identity, key, payment, news_of_operation(payment, "paymentOutput", kind), kind)
    return Notice(identity, key, head(payment.text("id")), news_of(payment, key))


def _operation(identity: str, key: str, made: Part, outcome: Outcome, kind: Kind) -> Notice:
    """Report an operation that is decided; one on its way is only a reason to ask."""
    code = made.part("statusOutput").number("statusCode")
    decided = step_of(kind, code if code is not None else -1) is not Step.OPEN
    operation = _REPORTED[kind] if decided else None
    return Notice(identity, key, head(made.text("id")), outcome, operation)


def _key(told: str, proven_key: str) -> str:
    """Return the attempt's key; the address and the event must not speak of two attempts."""
    if told and proven_key and told != proven_key:
        raise ForgeryError("the event is about another order than the address it came to")
    return told or proven_key
