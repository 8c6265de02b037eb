"""What the simulated Computop knows: payments and their steps, cards on file, answers it may have to repeat."""

import json
from dataclasses import dataclass, field
from functools import cached_property

from gateways.sandbox.ledger import Ledger, utc_text


@dataclass
class Payment:
    """One payment as a whole: open, pending, authorized, paid, failed or reversed."""

    number: int = 0
    pay_id: str = ""
    # The single step that was begun last.
    xid: str = ""
    method: str = ""
    state: str = "open"
    trans_id: str = ""
    ref_nr: str = ""
    req_id: str = ""
    amount: int = 0
    currency: str = ""
    # True where reserving and taking are one step.
    takes_at_once: bool = True
    # The result that the merchant was or will be told.
    status: str = ""
    code: str = ""
    last_status: str = "AUTHORIZE_REQUEST"
    authorised: int = 0
    captured: int = 0
    credited: int = 0
    transaction_id: str = ""
    pcnr: str = ""
    scheme_reference: str = ""
    # The parameters of its request by their names in small letters, as JSON.
    request: str = "{}"
    page: str = ""
    expires_at: float = 0.0
    tries: int = 0
    # True while the customer is at their bank.
    is_at_bank: bool = False
    created_at: str = field(default_factory=utc_text)

    @cached_property
    def sent(self) -> dict[str, str]:
        """Return the parameters of its request."""
        found: dict[str, str] = json.loads(self.request)
        return found


@dataclass(slots=True)
class Step:
    """One step of a payment; it has the number of its row in the ledger."""

    id: int
    number: int
    kind: str
    amount: int
    xid: str
    trans_id: str
    ref_nr: str
    req_id: str
    is_undone: bool = False


@dataclass(slots=True)
class Card:
    """A card on file under its pseudo number; of the real one only what may be shown is kept."""

    pcnr: str
    masked: str
    brand: str
    expiry: str
    holder: str
    # How its issuer acts, as its number says.
    detail: str
    asks_bank: bool


@dataclass(slots=True)
class Consent:
    """The scheme's reference of a first payment, which later charges of the card must cite."""

    scheme_reference: str
    pcnr: str


@dataclass(slots=True)
class KeptAnswer:
    """The final answer to a ReqId."""

    req_id: str
    pairs: str
    expires_at: float


@dataclass(slots=True)
class Notice:
    """The body of a notification: a repeat carries the identical one."""

    id: str
    body: str


class Store:
    """The tables of the simulated Computop, on its ledger's file."""

    def __init__(self, ledger: Ledger) -> None:
        self.payments = ledger.table(Payment, "pay_id", "trans_id", "ref_nr", "page", "state, expires_at")
        self.steps = ledger.table(Step, "number", "trans_id")
        self.cards = ledger.table(Card)
        self.consents = ledger.table(Consent)
        self.answers = ledger.table(KeptAnswer)
        self.notices = ledger.table(Notice)

    def payment(self, pay_id: str) -> Payment | None:
        """Return the payment of a PayID."""
        return self.payments.first("WHERE pay_id = ?", pay_id.lower())

    def newest(self, trans_id: str) -> Payment | None:
        """Return the newest payment that has, or one of whose steps has, this TransID."""
        clause = "WHERE trans_id = ? OR number IN (SELECT number FROM step_row WHERE trans_id = ?) ORDER BY number DESC"
        return self.payments.first(clause, trans_id, trans_id)

    def has_step(self, payment: Payment, trans_id: str) -> bool:
        """Say whether a TransID belongs to a payment or to one of its steps."""
        clause = "WHERE number = ? AND trans_id = ?"
        return payment.trans_id == trans_id or self.steps.first(clause, payment.number, trans_id) is not None

    def last_step(self, payment: Payment) -> Step | None:
        """Return the last step of a payment that still stands."""
        return self.steps.first("WHERE number = ? AND is_undone = 0 ORDER BY id DESC", payment.number)

    def is_known(self, trans_id: str, ref_nr: str) -> str:
        """Return the detail of what was used before, TransID or RefNr, or an empty text."""
        if self.newest(trans_id):
            return "0002"
        known = self.payments.first("WHERE ref_nr = ?", ref_nr) if ref_nr else None
        return "0032" if known else ""
