"""What every operation of the simulated PAYONE works with: its tables, its till, its account and its usual checks."""

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from gateways.sandbox.faults import Luck
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.payone_cards import Card, decline_codes, is_test_card, read_card, unpacked
from gateways.sandbox.payone_fields import Block
from gateways.sandbox.payone_refusals import Flaw, RefusalError, invalid_value, unknown_payment
from gateways.sandbox.payone_shapes import Shape
from gateways.sandbox.payone_store import Challenge, Payment, Store, Token
from gateways.sandbox.payone_till import Till
from gateways.sandbox.payone_values import CHALLENGE_PATH
from gateways.sandbox.push import Sender


@dataclass(slots=True)
class Call:
    """One call of the merchant's server, with whatever it carried."""

    operation: str
    path: dict[str, str]
    body: Any
    key: str
    luck: Luck

    def read(self, block: Block) -> dict[str, Any]:
        """Read the body by a table of fields; no body at all is an empty one."""
        found: dict[str, Any] = block({} if self.body is None else self.body, "")
        return found


@dataclass(slots=True)
class Answer:
    """What a call is answered with, and the number of the payment it is about."""

    status: int
    body: Shape | None = field(default_factory=dict)
    number: int = 0


@dataclass(slots=True)
class Desk:
    """The simulated account, as operations see it."""

    store: Store
    till: Till
    sender: Sender
    knobs: Knobs
    base_url: str = ""

    def payment(self, call: Call) -> tuple[Payment, int]:
        """Return the payment that a call names and which of its operations, or refuse."""
        found = self.store.find(call.path["payment_id"])
        if found is None:
            raise unknown_payment()
        return found

    def card(self, given: dict[str, Any], path: str, *, in_clear: bool = False) -> Card:
        """Check a card; in the clear, where a merchant sends one, only test cards are taken."""
        number = given["cardNumber"]
        declining = decline_codes(self.knobs.words("declining_cards"))
        if in_clear and not is_test_card(number, declining):
            raise invalid_value(f"{path}.cardNumber")
        return read_card(number, given["expiryDate"], given.get("cardholderName", ""), declining, path)

    def usable_token(self, token_id: str, path: str) -> Token:
        """Return a token that can be paid with, or refuse (reference section 16)."""
        found = self.store.tokens.get(token_id)
        if found is None:
            raise RefusalError(Flaw("50001130", "UNKNOWN_TOKEN_ID", 404, code="1002", property_name=path))
        if not found.is_usable():
            raise invalid_value(path)
        return found

    def open_challenge(self, payment: Payment, language: str) -> Shape:
        """Open the page on which the customer authenticates, and word the way there."""
        page = Challenge(secrets.token_hex(16), payment.number, language)
        self.store.challenges.add(page)
        address = f"{self.base_url}{CHALLENGE_PATH}{page.id}"
        data = {"RETURNMAC": payment.return_mac, "redirectURL": address}
        return {"actionType": "REDIRECT", "redirectData": data}

    def refuse_if_forced(self, luck: Luck) -> None:
        """Refuse a call that makes no try of its own where a rule says so; everything stays as it was."""
        rule = luck.draw("outcome")
        if rule and rule.fault == "decline":
            raise RefusalError(Flaw(rule.detail, rule.text or "INVALID_VALUE", 400))


def is_over(moment: float) -> bool:
    """Say whether an instant, in seconds since 1970, has passed."""
    return moment < time.time()


def is_expired_token(token: Token) -> bool:
    """Say whether a token's card can no longer be paid with."""
    return unpacked(token.card).is_expired()


def language_of(locale: str) -> str:
    """Return the language that a page speaks for a locale."""
    return "DE" if locale[:2].lower() == "de" else "EN"
