"""Cards and their tokens: what paying has stored, PAYONE's own card form, and the end of a token."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from billing.gateway import (
    Approved,
    CardForm,
    Declined,
    Mandate,
    NotSent,
    Outcome,
    Pending,
    ProfileNews,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways.payone_codes import BRANDS
from gateways.payone_errors import doubt, rejected
from gateways.payone_json import Part, Reply, UnreadableError

Silence = Refused | NotSent | Unknown
"""What the wire gave instead of a reply."""

_CARD: Final = "cardPaymentMethodSpecificOutput"


@dataclass(frozen=True, slots=True)
class StoredCard:
    """A token and its card; a temporary one is good for one payment within two hours ("Create token")."""

    profile: ProfileNews
    temporary: bool


def made_profile(made: Part, gateway_id: str, created: Part | None) -> ProfileNews | None:
    """Return the card that paying has stored, and the payment that a later charge will cite."""
    card = made.part("paymentOutput", _CARD)
    token = card.text("token") or (created or Part({})).part("creationOutput").text("token")
    if not token:
        return None
    mandate = Mandate(first_transaction=gateway_id, scheme_reference=card.text("schemeReferenceData"))
    shown = card.part("card")
    return _news(token, card.number("paymentProductId"), shown, mandate)


def _news(token: str, product: int | None, card: Part, mandate: Mandate | None = None) -> ProfileNews:
    last4 = card.text("cardNumber")[-4:]
    return ProfileNews(
        token,
        kind="card",
        brand=BRANDS.get(product or 0, ""),
        last4=last4 if re.fullmatch("[0-9]{4}", last4) else "",
        expires_on=_month_end(card.text("expiryDate")),
        mandate=mandate,
    )


def _month_end(text: str) -> date | None:
    """Return the last day a card is good for; it is written as month and year."""
    if not re.fullmatch("(0[1-9]|1[0-2])[0-9]{2}", text):
        return None
    year, month = 2000 + int(text[2:]), int(text[:2])
    return date(year, month, calendar.monthrange(year, month)[1])


# --- the card form, and tokens by themselves ---------------------------------------------------------


def card_form(
    reply: Reply | Silence, script_url: str, driver: str
) -> CardForm | Declined | Refused | NotSent | Unknown:
    """Return the opened card form."""
    if not isinstance(reply, Reply):
        return reply
    try:
        if reply.status >= 400:
            return rejected(reply)
        body, form_id = reply.body, reply.body.text("hostedTokenizationId")
        if not form_id:
            raise UnreadableError("no hostedTokenizationId")
        return CardForm(form_id, body.web_address("hostedTokenizationUrl"), script_url, driver, body.text("sri"))
    except UnreadableError as error:
        return doubt(error)


def stored_card(reply: Reply | Silence) -> StoredCard | Outcome:
    """Return the token that was made on a card form, or that was asked for by its own name."""
    if not isinstance(reply, Reply):
        return reply
    try:
        if reply.status >= 400:
            return rejected(reply)
        found = reply.body.part("token") if "token" in reply.body.values else reply.body
        if not found.text("id"):
            return Pending(evidence="nothing has been typed into the form yet")
        shown = found.part("card", "data", "cardWithoutCvv")
        news = _news(found.text("id"), found.number("paymentProductId"), shown)
        return StoredCard(news, found.flag("isTemporary"))
    except UnreadableError as error:
        return doubt(error)


def deletion(reply: Reply | Silence) -> Outcome:
    """Return whether a token is gone; one that was not there is gone too. No money is meant by the amount."""
    if isinstance(reply, Reply) and reply.status == 204:
        return Approved("", Money(0, "EUR"))
    if not isinstance(reply, Reply):
        return reply
    try:
        outcome = rejected(reply)
    except UnreadableError as error:
        return doubt(error)
    gone = reply.status == 404 and isinstance(outcome, Declined)
    return Approved("", Money(0, "EUR")) if gone else outcome
