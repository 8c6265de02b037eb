"""Tokens and the sessions of the hosted tokenization page (reference section 6)."""

import base64
import hashlib
import secrets
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from gateways.sandbox.control import BadInputError
from gateways.sandbox.payone_bodies import SESSION, TOKEN
from gateways.sandbox.payone_cards import Card, decline_codes, read_card
from gateways.sandbox.payone_desk import Answer, Call, Desk, is_expired_token, is_over, language_of
from gateways.sandbox.payone_refusals import RefusalError, invalid_value, missing, unknown, wrong_product
from gateways.sandbox.payone_shapes import Shape, token_shape
from gateways.sandbox.payone_store import Session, Token
from gateways.sandbox.payone_values import FORM_PATH

SCRIPT = Path(__file__).parent / "pages" / "payone_tokenizer.js"
IMPORT_KEYS = {"token", "card", "expiry", "holder", "first_transaction"}


@cache
def script() -> bytes:
    """Return the tokenizer script."""
    return SCRIPT.read_bytes()


@cache
def script_integrity() -> str:
    """Return the value that a script tag's ``integrity`` wants."""
    return "sha384-" + base64.b64encode(hashlib.sha384(script()).digest()).decode()


class Tokenization:
    """Keeps sessions and tokens."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # ---- sessions

    def create(self, call: Call) -> Answer:
        """Open a session; offered tokens that cannot be used are told, never refused."""
        body = call.read(SESSION)
        offered = [word.strip() for word in body.get("tokens", "").split(",") if word.strip()]
        found = {token_id: self._desk.store.tokens.get(token_id) for token_id in offered}
        usable = {token_id: token for token_id, token in found.items() if token and token.is_usable()}
        expired = [token_id for token_id, token in usable.items() if is_expired_token(token)]
        session = self._open(body, [token_id for token_id in usable if token_id not in expired])
        return Answer(200, self._shown(session, [word for word in offered if word not in usable], expired))

    def _open(self, body: dict[str, Any], offered: list[str]) -> Session:
        rules = body.get("creditCardSpecificInput", {}).get("ValidationRules", {})
        session = Session(
            id=secrets.token_hex(16),
            form=secrets.token_hex(16),
            language=language_of(body.get("locale", "")),
            offered=",".join(offered),
            asks_consent=body.get("askConsumerConsent", False),
            needs_cvc=rules.get("cvvMandatoryForNewToken", True),
            needs_stored_cvc=rules.get("cvvMandatoryForExistingToken", True),
            state="open",
            token="",
            token_status="",
            expires_at=time.time() + self._desk.knobs.seconds("session_lifetime_s"),
        )
        self._desk.store.sessions.add(session)
        return session

    def _shown(self, session: Session, invalid: list[str], expired: list[str]) -> Shape:
        address = f"{self._desk.base_url}{FORM_PATH}{session.form}"
        shown: Shape = {
            "hostedTokenizationId": session.id,
            "hostedTokenizationUrl": address,
            "partialRedirectUrl": address.partition("://")[2],
            "invalidTokens": invalid,
            "expiredCardTokens": expired,
        }
        return shown | ({"sri": script_integrity()} if self._desk.knobs.flag("session_sri") else {})

    def get(self, call: Call) -> Answer:
        """Show what a session has come to; nothing before the customer has submitted."""
        session = self._desk.store.sessions.get(call.path["session_id"])
        if session is None or is_over(session.expires_at):
            raise unknown("HOSTED_TOKENIZATION", "hostedTokenizationId")
        token = self._desk.store.tokens.get(session.token) if session.token else None
        if token is None:
            return Answer(200, {})
        return Answer(200, {"token": token_shape(token), "tokenStatus": session.token_status})

    # ---- what the customer does in the form

    def submit(self, session: Session, form: dict[str, str]) -> str:
        """Take what was typed into the form; return an empty text, or what was wrong, which ends the session."""
        if session.state == "submitted" and not is_over(session.expires_at):
            return ""
        if session.state != "open" or is_over(session.expires_at):
            return "session"
        try:
            session.token, session.token_status = self._typed(session, form)
            session.state = "submitted"
        except RefusalError as refusal:
            session.state = "failed"
            return refusal.flaw.property_name.rpartition(".")[2] or "session"
        finally:
            self._desk.store.sessions.save(session)
        return ""

    def _typed(self, session: Session, form: dict[str, str]) -> tuple[str, str]:
        stored = form.get("token", "")
        self._check_cvc(session.needs_stored_cvc if stored else session.needs_cvc, form.get("cvc", "").strip())
        if stored:
            if stored not in session.offered.split(","):
                raise invalid_value("card.token")
            return stored, "UNCHANGED"
        expiry = form.get("expiry", "").replace("/", "").replace(" ", "")
        given = {
            "cardNumber": form.get("number", ""),
            "expiryDate": expiry,
            "cardholderName": form.get("holder", "").strip(),
        }
        card = self._desk.card(given, "card")
        if card.is_expired():
            raise invalid_value("card.expiryDate")
        return self._desk.till.new_token(card.packed(), is_temporary=not self._may_store(session, form)).id, "CREATED"

    def _check_cvc(self, is_needed: bool, cvc: str) -> None:
        if not (cvc.isdecimal() and len(cvc) in {3, 4}) and (is_needed or cvc):
            raise invalid_value("card.cvv")

    def _may_store(self, session: Session, form: dict[str, str]) -> bool:
        """Say whether the token may be permanent: the account must allow it, and the customer or the shop agree."""
        if not self._desk.knobs.flag("alias_manager"):
            return False
        if session.asks_consent:
            return form.get("store") in {"on", "true"}
        return form.get("store_permanently") != "false"

    # ---- tokens

    def create_token(self, call: Call) -> Answer:
        """Make a permanent token of a card, or return the one it has already."""
        body = call.read(TOKEN)
        given = body.get("card", {}).get("data", {}).get("card")
        if not given:
            raise missing("card.data.card")
        card = self._desk.card(given, "card.data.card", in_clear=True)
        if body.get("paymentProductId") not in {None, card.product}:
            raise wrong_product("CARDNUMBER_PAYMENTPRODUCTID_MISMATCH")
        known = self._desk.store.tokens.first("WHERE fingerprint = ? AND NOT is_temporary", card.fingerprint)
        token = known or self._desk.till.new_token(card.packed(), is_temporary=False)
        return Answer(200 if known else 201, created_shape(token, card, is_new=known is None))

    def get_token(self, call: Call) -> Answer:
        """Show a token; a temporary one that is used up or too old is gone."""
        return Answer(200, token_shape(self._find(call)))

    def delete_token(self, call: Call) -> Answer:
        """Remove a token."""
        self._desk.store.tokens.remove("WHERE id = ?", self._find(call).id)
        return Answer(204, None)

    def _find(self, call: Call) -> Token:
        found = self._desk.store.tokens.get(call.path["token_id"])
        if found is None or not found.is_usable():
            raise unknown("TOKEN", "tokenId")
        return found


def created_shape(token: Token, card: Card, *, is_new: bool) -> Shape:
    """Write the answer to making a token."""
    shown = {"cardNumber": card.alias, "expiryDate": card.expiry, "cardholderName": card.holder}
    status = "CREATED" if is_new else "UNCHANGED"
    return {
        "token": token.id,
        "card": shown,
        "tokenStatus": status,
        "isNewToken": is_new,
        "externalTokenLinked": {},
    }


def read_tokens(sent: list[Any], declining: list[str]) -> list[Token]:
    """Read test tokens, or say of the first wrong one in one sentence what is wrong; later ones win."""
    codes = decline_codes(declining)
    cards: dict[tuple[str, str, str], Card] = {}
    found = {}
    for number, entry in enumerate(sent, 1):
        try:
            token = read_token(entry, codes, cards)
        except RefusalError as refusal:
            raise BadInputError(f"token {number}: {refusal.flaw.property_name.partition('.')[2]} is wrong") from refusal
        except ValueError as problem:
            raise BadInputError(f"token {number}: {problem}") from problem
        found[token.id] = token
    return list(found.values())


def read_token(entry: object, codes: dict[str, str], cards: dict[tuple[str, str, str], Card]) -> Token:
    """Read one test token; cards read before are not read again."""
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError("is not a JSON object of texts")
    strange = sorted(entry.keys() - IMPORT_KEYS)
    if strange:
        raise ValueError(f"unknown key {strange[0]!r}")
    token_id = entry.get("token") or str(uuid.uuid4())
    if len(token_id) > 50 or not token_id.isprintable() or "," in token_id:
        raise ValueError("token must have at most 50 printable characters and no comma")
    key = (entry.get("card", ""), entry.get("expiry", ""), entry.get("holder", ""))
    if key not in cards:
        cards[key] = read_card(*key, codes, "card")
    card, first = cards[key], entry.get("first_transaction", "")
    return Token(token_id, card.packed(), card.fingerprint, False, False, 0.0, first, first, bool(first))
