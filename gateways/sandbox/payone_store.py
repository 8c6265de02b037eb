"""What the simulated PAYONE knows: payments and their operations, tokens, sessions, checkouts, mandates, events."""

import re
import time
from dataclasses import dataclass, field

from gateways.sandbox.ledger import Ledger, utc_text
from gateways.sandbox.payone_values import FIRST_PAYMENT

UNDERSCORED = re.compile(r"([0-9]{10,11})(?:_([0-9]{1,3}))?")
DIGITS = (re.compile(r"900000([0-9]{10})([0-9]{3})"), re.compile(r"90000([0-9]{11})([0-9]{3})"))


@dataclass(slots=True)
class Payment:
    """One payment: the family of operations that share its number."""

    number: int = 0
    # True where its ids are written in the form without an underscore.
    has_digit_ids: bool = False
    # False until the first try on a hosted checkout, whose payment has its number from the start.
    is_tried: bool = True
    merchant_reference: str = ""
    merchant_parameters: str = ""
    idempotence_key: str = ""
    amount: int = 0
    currency: str = "EUR"
    mode: str = "FINAL_AUTHORIZATION"
    method: str = "card"
    mandate: str = ""
    code: int = 0
    # The code of operation 0, which stays when others follow.
    first_code: int = 0
    # Accepted amounts, settled or not; the settled ones of captures and refunds apart.
    captured: int = 0
    cancelled: int = 0
    refunded: int = 0
    captured_settled: int = 0
    refunded_settled: int = 0
    # True when nothing more may be captured: the merchant said that a capture was the last.
    is_final: bool = False
    last_operation: int = 0
    token: str = ""
    # True where a permanent token is made when the payment succeeds.
    to_tokenize: bool = False
    is_new_token: bool = False
    is_merchant_initiated: bool = False
    card: str = ""
    flow: str = ""
    authentication: str = ""
    eci: str = ""
    authorisation_code: str = ""
    scheme_reference: str = ""
    initial_scheme_reference: str = ""
    decline_code: str = ""
    # Where events go, as JSON; empty for the account's own addresses.
    urls: str = ""
    return_url: str = ""
    return_mac: str = ""
    customer_id: str = ""
    # A move the provider makes by itself later: when (seconds since 1970, 0 for never) and to which code.
    due_at: float = 0.0
    due_code: int = 0
    created_at: str = field(default_factory=utc_text)

    @property
    def reference(self) -> str:
        """Return what the merchant calls this try: its idempotence key, else its parameters, else its order."""
        return self.idempotence_key or self.merchant_parameters or self.merchant_reference

    @property
    def left(self) -> int:
        """Return what may still be captured or cancelled."""
        return 0 if self.is_final else self.amount - self.captured - self.cancelled

    def id(self, operation: int = 0) -> str:
        """Write the id of one of its operations (reference section 8.1)."""
        if not self.has_digit_ids:
            return f"{self.number}_{operation}"
        return f"{'900000' if self.number < 10**10 else '90000'}{self.number}{operation:03d}"


@dataclass(slots=True)
class Operation:
    """A capture, cancel or refund of a payment."""

    id: int
    number: int
    operation: int
    kind: str
    amount: int
    code: int
    own_references: str
    idempotence_key: str
    due_at: float
    due_code: int
    at: str = field(default_factory=utc_text)


@dataclass(slots=True)
class Token:
    """A stand-in for a card."""

    id: str
    card: str
    fingerprint: str
    is_temporary: bool
    is_used: bool
    expires_at: float
    # The first payment of its series, by id or scheme reference; empty until there was one.
    first_transaction: str
    scheme_reference: str
    # True once its holder has been authenticated in a payment.
    is_authenticated: bool

    def is_usable(self) -> bool:
        """Say whether it may still be paid with."""
        return not self.is_temporary or (not self.is_used and self.expires_at > time.time())


@dataclass(slots=True)
class Session:
    """A hosted tokenization session: open, submitted, failed or spent."""

    id: str
    form: str
    language: str
    offered: str
    asks_consent: bool
    needs_cvc: bool
    needs_stored_cvc: bool
    state: str
    token: str
    token_status: str
    expires_at: float


@dataclass(slots=True)
class Checkout:
    """A hosted checkout page; its id is the number of its payment."""

    id: int
    page: str
    state: str
    language: str
    tries: int
    tries_max: int
    asks_challenge: bool
    expires_at: float


@dataclass(slots=True)
class Challenge:
    """A page on which a customer authenticates a payment."""

    id: str
    number: int
    language: str


@dataclass(slots=True)
class KeptAnswer:
    """The answer to an idempotent request, kept under its method, path and key."""

    scope: str
    at_ms: int
    status: int
    body: str
    sent: str
    number: int
    expires_at: float


@dataclass(slots=True)
class Event:
    """The body of a webhook; its signature is made when it goes out."""

    id: str
    body: str


@dataclass(slots=True)
class Mandate:
    """A SEPA mandate."""

    reference: str
    customer_reference: str
    recurrence: str
    status: str
    iban: str
    alias: str
    customer: str


class Store:
    """The tables of the simulated PAYONE, on its ledger's file."""

    def __init__(self, ledger: Ledger) -> None:
        self.payments = ledger.table(Payment, "due_at", "merchant_reference")
        self.operations = ledger.table(Operation, "number", "due_at")
        self.tokens = ledger.table(Token, "fingerprint", "first_transaction")
        self.sessions = ledger.table(Session, "form")
        self.checkouts = ledger.table(Checkout, "page")
        self.challenges = ledger.table(Challenge)
        self.answers = ledger.table(KeptAnswer)
        self.events = ledger.table(Event)
        self.mandates = ledger.table(Mandate)
        self.payments.start_numbers_at(FIRST_PAYMENT)

    def find(self, payment_id: str) -> tuple[Payment, int] | None:
        """Return the payment of an id in any of its forms, and which operation the id names."""
        number, operation = split_id(payment_id)
        found = self.payments.get(number)
        if found is None or not found.is_tried or operation > found.last_operation:
            return None
        return found, operation

    def operations_of(self, number: int, kind: str = "") -> list[Operation]:
        """Return the operations of a payment, oldest first; of one kind or all."""
        if kind:
            return self.operations.all("WHERE number = ? AND kind = ? ORDER BY id", number, kind)
        return self.operations.all("WHERE number = ? ORDER BY id", number)


def split_id(payment_id: str) -> tuple[int, int]:
    """Read the number and the operation of an id: ``N``, ``N_0`` or nineteen digits; 0 if it is none."""
    for pattern in (UNDERSCORED, *DIGITS):
        if found := pattern.fullmatch(payment_id):
            return int(found[1]), int(found[2] or 0)
    return 0, 0
