"""What the simulated PaymentZ knows: payments, payouts among them, registered cards, and letters to merchants."""

import json
import secrets
import string
import time
from dataclasses import asdict, dataclass, field
from hashlib import sha256

from gateways.sandbox.ledger import Ledger
from gateways.sandbox.paymentz_fields import Fields, check_cvv, check_expiry, check_number, is_past, minor_units
from gateways.sandbox.paymentz_values import AMOUNT_TRIGGERS, FIRST_PAYMENT, TEST_CARDS

TOKEN_LETTERS = string.ascii_letters + string.digits
TOKEN_LENGTH = 32
CUSTOMER_PREFIXES = ("customer.", "shipping.")


@dataclass(slots=True, frozen=True)
class Card:
    """A card as the provider keeps it: masked, with what its number makes it do."""

    bin: str = ""
    last4: str = ""
    holder: str = ""
    month: str = ""
    year: str = ""
    asks_challenge: bool = False
    trigger: str = ""
    fingerprint: str = ""

    def is_expired(self) -> bool:
        """Say whether the month of its expiry is over."""
        return bool(self.year) and is_past(self.month, self.year)

    def packed(self) -> str:
        """Write the card down for later."""
        return json.dumps(asdict(self))


def read_card(fields: Fields, *, needs_cvv: bool = True) -> Card:
    """Check a card and forget its number and security code."""
    number = check_number(fields.get("card.number", ""))
    month, year = check_expiry(fields.get("card.expiryMonth", ""), fields.get("card.expiryYear", ""))
    if needs_cvv:
        check_cvv(fields.get("card.cvv", ""))
    mark = sha256(f"{number}/{month}/{year}".encode()).hexdigest()
    asks_challenge, trigger = TEST_CARDS.get(number, (False, ""))
    holder = fields.get("card.holder", "")[:100]
    return Card(number[:6], number[-4:], holder, month, year, asks_challenge, trigger, mark)


@dataclass(slots=True)
class Payment:
    """One payment, or one payout, under its id."""

    number: int = 0
    reference: str = ""
    type: str = "DB"
    status: str = ""
    # True while the customer is asked by the bank.
    is_challenged: bool = False
    # Hundredths, as amounts on this wire are, whatever the currency.
    cents: int = 0
    currency: str = ""
    captured: int = 0
    refunded: int = 0
    recurring: str = ""
    # The INITIAL that a REPEATED cites, or the payment that a payout draws on; else 0.
    parent: int = 0
    # The registered card that it made or was paid with.
    registration: str = ""
    wants_registration: bool = False
    # The secret end of the address of its page, where it has one, and how often a card was tried there.
    page: str = ""
    is_hosted: bool = False
    tries: int = 0
    # What was sent to open the hosted page, hashed; who sends it again comes to the same page.
    sent: str = ""
    card: str = field(default_factory=lambda: Card().packed())
    mode: str = "CC"
    brand: str = ""
    code: str = ""
    description: str = ""
    customer: str = "{}"
    descriptor: str = ""
    notification_url: str = ""
    redirect_url: str = ""
    tmpl_amount: str = ""
    tmpl_currency: str = ""
    terminal: str = ""
    eci: str = ""
    bank_reference: str = ""
    # A move the provider makes by itself later: when (seconds since 1970, 0 for never) and where to.
    due_at: float = 0.0
    due_status: str = ""
    created_at: float = field(default_factory=time.time)

    @property
    def id(self) -> str:
        """Return the id that the wire shows."""
        return str(self.number)

    @property
    def minor(self) -> int:
        """Return the amount as the ledger counts it."""
        return minor_units(self.cents, self.currency)

    @property
    def profile(self) -> str:
        """Return what it was charged by: the INITIAL it cites, else the registered card it was paid with."""
        return str(self.parent) if self.parent else "" if self.wants_registration else self.registration

    @property
    def trigger(self) -> str:
        """Return what its amount, or else its card, makes of it (D-110)."""
        return AMOUNT_TRIGGERS.get(self.cents % 100) or self.kept_card().trigger

    def kept_card(self) -> Card:
        """Read the card it was paid with."""
        return Card(**json.loads(self.card))

    def person(self) -> Fields:
        """Return what the merchant told of the customer, by the names of the wire."""
        found: Fields = json.loads(self.customer)
        return found


@dataclass(slots=True)
class Registration:
    """A registered card, under its token."""

    id: str
    card: str
    fingerprint: str
    customer_id: str
    mode: str
    brand: str
    is_active: bool = True
    # How many charges it approves before it declines with these words; below 0 it never stops.
    approvals_left: int = -1
    declines: str = ""


@dataclass(slots=True)
class Callback:
    """The body of a callback, the same however often it is sent."""

    id: int
    body: str


class Store:
    """The tables of the simulated PaymentZ, on its ledger's file."""

    def __init__(self, ledger: Ledger) -> None:
        self.payments = ledger.table(Payment, "reference", "due_at", "page", "parent")
        self.registrations = ledger.table(Registration, "fingerprint")
        self.callbacks = ledger.table(Callback)
        self.payments.start_numbers_at(FIRST_PAYMENT)

    def payment(self, payment_id: str) -> Payment | None:
        """Return the payment of an id, which need not be a number."""
        is_number = payment_id.isascii() and payment_id.isdecimal() and len(payment_id) < 19
        return self.payments.get(int(payment_id)) if is_number else None

    def by_reference(self, reference: str) -> Payment | None:
        """Return the payment that a merchant gave this id."""
        return self.payments.first("WHERE reference = ?", reference)

    def paid_out(self, payment: Payment) -> int:
        """Return the hundredths already paid out of a payment, or under way."""
        clause = "WHERE parent = ? AND type = 'PO' AND status <> 'payoutfailed'"
        return sum(payout.cents for payout in self.payments.all(clause, payment.number))

    def usable_registration(self, token: str) -> Registration | None:
        """Return a registered card that has not been deleted."""
        found = self.registrations.get(token)
        return found if found and found.is_active else None

    def register(self, card: Card, customer_id: str, mode: str, brand: str, *, dedupe: bool) -> str:
        """Register a card and return its token: the one it has, if this customer registered it before (D-73)."""
        clause = "WHERE fingerprint = ? AND customer_id = ? AND is_active"
        known = self.registrations.first(clause, card.fingerprint, customer_id) if dedupe and customer_id else None
        if known:
            return known.id
        token = "".join(secrets.choice(TOKEN_LETTERS) for _ in range(TOKEN_LENGTH))
        self.registrations.add(Registration(token, card.packed(), card.fingerprint, customer_id, mode, brand))
        return token


def told_of_customer(fields: Fields) -> str:
    """Keep what a request tells of the customer."""
    return json.dumps({name: value for name, value in fields.items() if name.startswith(CUSTOMER_PREFIXES)})
