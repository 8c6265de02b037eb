"""What the simulated mPAY24 knows: transactions and their history, profiles, open pages, tokens."""

import time
from dataclasses import dataclass, field

from gateways.sandbox.ledger import Ledger, utc_text
from gateways.sandbox.mpay24_values import FIRST_MPAY_TID, FIRST_STATE_ID


@dataclass(slots=True)
class Transaction:
    """One transaction; only its number identifies it, a tid may be used again."""

    mpay_tid: int = 0
    tid: str = ""
    p_type: str = ""
    brand: str = ""
    state: str = "INIT"
    amount: int = 0
    currency: str = "EUR"
    cleared: int = 0
    credited: int = 0
    operation: str = ""
    customer_id: str = ""
    customer_name: str = ""
    email: str = ""
    language: str = ""
    user_field: str = ""
    description: str = ""
    profile_status: str = "IGNORED"
    appr_code: str = ""
    err_no: int = 0
    err_text: str = ""
    confirmation_url: str = ""
    success_url: str = ""
    error_url: str = ""
    manual_clearing: bool = False
    # The instrument that is stored as a profile when the payment succeeds, as JSON; empty if none is.
    to_store: str = ""
    profile_id: str = ""
    # True while the shopper has agreed and the merchant must still call ManualCallback.
    callback_owed: bool = False
    status_calls: int = 0
    last_state_id: int = 0
    # A move the provider makes by itself later: when (seconds since 1970, 0 for never) and to which state.
    due_at: float = 0.0
    due_state: str = ""
    after_due: str = ""
    created_at: str = field(default_factory=utc_text)


@dataclass(slots=True)
class Entry:
    """One step in the history of a transaction; stateID identifies it."""

    state_id: int
    mpay_tid: int
    parent_id: int
    state: str
    amount: int
    at: str
    appr_code: str
    err_no: int
    err_text: str
    profile_status: str


@dataclass(slots=True)
class Instrument:
    """A means of payment as the provider keeps it: masked, with what its test data make it do."""

    p_type: str
    brand: str
    identifier: str = ""
    expiry: str = ""
    # For direct debits: decline, settle, settle_chargeback or approve. Cards act by their expiry instead.
    script: str = ""
    needs_3ds: bool = False


@dataclass(slots=True)
class Profile:
    """A stored instrument of a customer."""

    id: int
    customer_id: str
    profile_id: str
    kind: str
    brand: str
    identifier: str
    expiry: str
    script: str
    name: str
    updated: str

    def instrument(self) -> Instrument:
        """Return the stored means of payment; using it asks for no authentication."""
        return Instrument(self.kind, self.brand, self.identifier, self.expiry, self.script)


@dataclass(slots=True)
class Page:
    """A hosted page: for an order, for one step of a transaction, for a token or for a profile."""

    id: str
    kind: str
    details: str
    language: str
    expires_at: float
    is_open: bool
    mpay_tid: int
    tries: int

    def is_expired(self) -> bool:
        """Say whether the page's time is over."""
        return time.time() > self.expires_at


@dataclass(slots=True)
class Token:
    """A single-use stand-in for an instrument; empty until the shopper has typed it in."""

    token: str
    instrument: str
    expires_at: float
    is_used: bool


class Store:
    """The tables of the simulated mPAY24, on its ledger's file."""

    def __init__(self, ledger: Ledger) -> None:
        self.transactions = ledger.table(Transaction, "tid", "due_at", "state")
        self.entries = ledger.table(Entry, "mpay_tid")
        self.profiles = ledger.table(Profile, "customer_id")
        self.pages = ledger.table(Page)
        self.tokens = ledger.table(Token)
        self.transactions.start_numbers_at(FIRST_MPAY_TID)
        self.entries.start_numbers_at(FIRST_STATE_ID)

    def latest(self, tid: str) -> Transaction | None:
        """Return the most recent transaction of a tid; older ones cannot be found by it (PHP SDK, README)."""
        return self.transactions.first("WHERE tid = ? ORDER BY mpay_tid DESC", tid)

    def history(self, mpay_tid: int) -> list[Entry]:
        """Return the steps of a transaction, oldest first."""
        return self.entries.all("WHERE mpay_tid = ? ORDER BY state_id", mpay_tid)

    def profiles_of(self, customer_id: str) -> list[Profile]:
        """Return the stored instruments of a customer, the oldest first."""
        return self.profiles.all("WHERE customer_id = ? ORDER BY id", customer_id)
