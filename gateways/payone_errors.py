"""What PAYONE's errors mean: a no to the customer, a no to us, or no answer at all.

An error code decides before the HTTP status does, and only where PAYONE names its reason
("API troubleshooting"; "Payment retry guidelines").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from billing.gateway import DeclineClass, Declined, NotSent, Refused, Unknown
from gateways.payone_codes import (
    ASKS_FOR_THE_CUSTOMER,
    BLAMED,
    DOUBTS,
    INSTRUCTIONS,
    NEVER_AGAIN,
    NOT_ALLOWED,
    REFUSALS,
    STILL_RUNNING,
    UNKNOWN_TOKEN,
    decline_class,
)
from gateways.payone_json import Part, Reply, UnreadableError

CUSTOMER: Final = "order.customer"
"""What we say of a customer: typed by them when they pay, and taken from our own rows when they are away."""

_CARD: Final = "cardPaymentMethodSpecificOutput"


No = Declined | Refused | Unknown
"""What can be said of something that did not happen, or of which nobody knows."""


@dataclass(frozen=True, slots=True)
class Error:
    """One reason: its number, its name, the field it blames and a text for people."""

    code: str
    name: str
    field: str
    text: str

    @property
    def words(self) -> frozenset[str]:
        """Everything the error may be known by; the name sometimes stands where the text should."""
        return frozenset({self.code, self.name, self.text})


def errors_of(part: Part) -> list[Error]:
    """Return the reasons in their order; `errorCode` counts, `code` is its older, often different sibling."""
    return [
        Error(found.text("errorCode") or found.text("code"), found.text("id"), field_of(found), found.text("message"))
        for found in part.parts("errors") or []
    ]


def field_of(error: Part) -> str:
    """Return the field that is blamed; PAYONE writes it as a path."""
    return error.text("propertyName")


# --- a payment that failed ----------------------------------------------------------------------------


def failed(payment: Part, errors: list[Error], gateway_id: str, fallback: str) -> No:
    """Return what a failed payment asks for; its first reason that we know is the one that counts."""
    codes = [error.code for error in errors]
    doubt = next((code for code in codes if code in DOUBTS), "")
    if doubt:
        return Unknown(f"PAYONE says {doubt}: the order was processed already, perhaps it is paid", gateway_id)
    refusal = next((code for code in codes if code in REFUSALS), "")
    if refusal:
        return Refused(refusal, REFUSALS[refusal], gateway_id)
    code = next((code for code in codes if decline_class(code)), codes[0] if codes else fallback)
    name = next((error.name for error in errors if error.code == code), "")
    return Declined(code, _class(code, payment), name, gateway_id)


def _class(code: str, payment: Part) -> DeclineClass:
    """Return what helps; the network's own instruction overrules the table ("reattemptInstructions").

    An unlisted code counts as soft. A bank that wants the customer is not made content by waiting.
    """
    listed = decline_class(code) or DeclineClass.RETRY_LATER
    told = INSTRUCTIONS.get(payment.part("paymentOutput", _CARD, "reattemptInstructions").text("indicator"))
    if told is None or (told is DeclineClass.RETRY_LATER and code in ASKS_FOR_THE_CUSTOMER):
        return listed
    return told


# --- a request that was not taken ---------------------------------------------------------------------


def rejected_by_night(reply: Reply) -> No | NotSent:
    """Return what a rejection means for a customer who is away: what is on file of them is not theirs to put right."""
    no = rejected(reply)
    if isinstance(no, Declined) and any(error.field.startswith(CUSTOMER) for error in errors_of(reply.body)):
        return NotSent(f"PAYONE takes no charge with what is on file of the customer: {no.text}", lasting=True)
    return no


def rejected(reply: Reply) -> No:
    """Return what a rejection means that made no payment."""
    errors = errors_of(reply.body)
    words = _words(errors)
    said = _said(reply, errors)
    if words & STILL_RUNNING:
        return Unknown("PAYONE is still answering the first request under this key")
    if not errors or reply.status not in (400, 401, 402, 403, 404):
        return Unknown(said)
    if reply.status in (401, 403):
        return Refused(_first(errors), f"PAYONE rejects the API key, its secret or the merchant id: {said}")
    return _about_the_request(reply, errors, said)


def _about_the_request(reply: Reply, errors: list[Error], said: str) -> No:
    if UNKNOWN_TOKEN in _words(errors):
        return Declined(UNKNOWN_TOKEN, DeclineClass.NEEDS_NEW_PROFILE)
    if reply.status == 402 or any(decline_class(error.code) for error in errors):
        return failed(Part({}), errors, "", "402")
    blamed = _blamed(errors)
    return Declined(_first(errors), blamed, said) if blamed else Refused(_first(errors), said)


def not_done(reply: Reply, gateway_id: str) -> No:
    """Return what a rejected capture, cancellation or refund means; most speak of this one payment only."""
    errors = errors_of(reply.body)
    words = _words(errors)
    closed = reply.status == 409 and not words & STILL_RUNNING
    refused_one = reply.status in (400, 402, 404) and (words & NEVER_AGAIN or _about_the_amount(errors))
    if errors and (closed or refused_one or _has_result(reply.body)):
        code = NOT_ALLOWED if NOT_ALLOWED in words else errors[0].name or errors[0].code
        return Declined(code, DeclineClass.NEVER, _said(reply, errors), gateway_id)
    return replace(rejected(reply), gateway_id=gateway_id)


def _about_the_amount(errors: list[Error]) -> bool:
    return any(error.name == "INVALID_VALUE" and "mount" in error.field for error in errors)


def _has_result(body: Part) -> bool:
    return bool(body.part("paymentResult") or body.part("refundResult"))


def _blamed(errors: list[Error]) -> DeclineClass | None:
    """Return what helps where a field is rejected that the customer filled, and no other."""
    found = [next((klass for field, klass in BLAMED if field.fullmatch(error.field)), None) for error in errors]
    return found[0] if found and None not in found else None


def _words(errors: list[Error]) -> frozenset[str]:
    return frozenset().union(*(error.words for error in errors))


def _first(errors: list[Error]) -> str:
    return errors[0].name or errors[0].code or "ERROR"


def _said(reply: Reply, errors: list[Error]) -> str:
    """Return the rejection as one line for people, without anything that must not be read."""
    reasons = [" ".join(filter(None, (error.code, error.name, error.field, error.text))) for error in errors]
    return reply.clean(f"HTTP {reply.status}: {'; '.join(reasons) or 'no reason'}")[:300]


def doubt(error: UnreadableError, before: str = "") -> Unknown:
    """Return the doubt an unreadable answer leaves; the error's second word, if any, is the payment it is about."""
    reason, *gateway_id = error.args
    return Unknown(f"{before}{reason}", *gateway_id)
