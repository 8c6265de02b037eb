"""Stored cards: what a first payment brings, how it is kept as one text, and how a later charge uses it.

The card's number here is the pseudo number (PCNr), which begins with 0 and is no card's (Computop, "PCNr"). It stands
only in the result of the first payment, never in an answer to an inquiry.
"""

from __future__ import annotations

import base64
import calendar
import hmac
import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from billing.gateway import Approved, Mandate, MisuseError, ProfileNews, ProfileReference
from billing.money import Money
from gateways.computop_basket import encoded
from gateways.computop_settings import Settings
from gateways.computop_wire import Envelope, Reply

HOLDER_MAX: Final = 45
_PSEUDO: Final = re.compile("0[0-9]{15}")
_MONTH: Final = re.compile("(20[0-9]{2})(0[1-9]|1[0-2])")
_PLEDGE: Final = re.compile(r"([0-9]{1,10})\*([A-Z]{3})\*([0-9A-F]{64})")

# --- a later charge -----------------------------------------------------------------------------------


def stored_card(profile: ProfileReference, payer_name: str) -> str:
    """Return the card as `direct.aspx` takes it; raise `MisuseError` for what is no stored card of ours."""
    card = _json(profile.reference)
    if not _PSEUDO.fullmatch(_text(card, "number")) or not _MONTH.fullmatch(_text(card, "expiryDate")):
        raise MisuseError("the profile is no card that Computop stores")
    holder = _text(card, "cardholderName") or payer_name[:HOLDER_MAX]
    return encoded({**card, "cardholderName": holder})


def credential_on_file(settings: Settings, *, initial: bool) -> str:
    """Return how a stored card is announced: with the customer there at first, by the merchant later."""
    if settings.series == "unscheduled":
        kind: dict[str, Any] = {"unscheduled": "CIT" if initial else "MIT"}
        return encoded({"type": kind, "initialPayment": initial, "useCase": "ucof"})
    kind = {"recurringFrequency": settings.recurring_days, "recurringExpiryDate": settings.recurring_until}
    return encoded({"type": {"recurring": kind}, "initialPayment": initial})


# --- what a first payment brings ----------------------------------------------------------------------


def pledge(envelope: Envelope, key: str, amount: Money) -> str:
    """Return our own proof of what a payment is for, to travel with it and come back.

    The MAC of a result leaves out the amount. This one is ours, binds the amount to the attempt, and
    is worth nothing without the result's own.
    """
    proof = envelope.sign({"TransID": key, "Amount": str(amount.minor), "Currency": amount.currency})
    return f"{amount.minor}*{amount.currency}*{proof}"


def stored(envelope: Envelope, reply: Reply) -> Approved | None:
    """Return a proven success that was to store a card, with that card; nothing where no pledge of ours came back."""
    found = _PLEDGE.fullmatch(reply.text("UserData"))
    if not found:
        return None
    proof = envelope.sign({"TransID": reply.text("TransID"), "Amount": found[1], "Currency": found[2]})
    if not hmac.compare_digest(proof, found[3]):
        return None
    profile, captured = _made_profile(reply), reply.text("Status") == "OK"
    amount = Money(int(found[1]), found[2])
    return Approved(reply.text("PayID"), amount, captured, profile, profile_failed=profile is None)


def _made_profile(reply: Reply) -> ProfileNews | None:
    """Return the stored card; without a pseudo number or the scheme's reference it could not be charged later."""
    card = _json(_decoded(reply.text("card")))
    shown, number = _text(card, "number"), reply.text("PCNr") or _text(card, "number")
    month, scheme_reference = _MONTH.fullmatch(_text(card, "expiryDate")), reply.text("schemeReferenceID")
    if not _PSEUDO.fullmatch(number) or not month or not 0 < len(scheme_reference) <= 64:
        return None
    return ProfileNews(
        _packed(card, number),
        kind="card",
        brand=_text(card, "brand").upper(),
        last4=shown[-4:] if re.fullmatch("[^0].*[0-9]{4}", shown) else "",
        expires_on=date(int(month[1]), int(month[2]), calendar.monthrange(int(month[1]), int(month[2]))[1]),
        mandate=Mandate(first_transaction=reply.text("PayID"), scheme_reference=scheme_reference),
    )


def _packed(card: Mapping[str, Any], number: str) -> str:
    """Return what a later charge needs, the same text for the same card."""
    named = {name: _text(card, name) for name in ("expiryDate", "brand", "cardholderName")}
    given = {"number": number, **{name: value[:HOLDER_MAX] for name, value in named.items() if value}}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def _json(text: str) -> dict[str, Any]:
    """Return a JSON object, empty where the text is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(card: Mapping[str, Any], name: str) -> str:
    value = card.get(name)
    return value if isinstance(value, str) else ""
