"""The till: the one place where a transaction changes state, and where that is booked and told.

The life cycle is reference section 1.4. Every change writes a step of the
history, whatever it means for the ledger, and owes a notification.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from gateways.sandbox.faults import DEFAULT_LATE_MS, Facts, Faults, Luck
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Ledger, utc_text
from gateways.sandbox.mpay24_store import Entry, Instrument, Profile, Store, Transaction
from gateways.sandbox.mpay24_values import JUMPING_TYPES, PROFILE_TYPES, RESERVING_TYPES
from gateways.sandbox.push import Sender

MOVES: dict[str, frozenset[str]] = {
    "INIT": frozenset(("RESERVED", "BILLED", "SUSPENDED", "REDIRECTED", "WITHDRAWN", "VALIDATED", "ERROR")),
    "REDIRECTED": frozenset(("RESERVED", "BILLED", "SUSPENDED", "VALIDATED", "ERROR")),
    "SUSPENDED": frozenset(("RESERVED", "BILLED", "WITHDRAWN", "ERROR")),
    "RESERVED": frozenset(("BILLED", "REVERSED", "RESERVED_REVERSAL")),
    "BILLED": frozenset(("CREDITED", "BILLED_REVERSAL")),
    "CREDITED": frozenset(("CREDITED", "CREDITED_REVERSAL")),
}
# EPS, PAYPAL and SOFORT may go from any of these to any other.
JUMPS = frozenset(("RESERVED", "BILLED", "SUSPENDED", "ERROR", "REVERSED", "CREDITED", "BILLED_REVERSAL"))
FORM_BYTES = [chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}" for byte in range(256)]
FORM_BYTES[ord(" ")] = "+"
# Steps that are no Confirmed value are not told to the merchant.
UNTOLD = frozenset(("INIT", "REDIRECTED"))
# The history has no word for a reversed transaction; the step that gives a reservation up is its reversal.
HISTORY_WORDS = {"REVERSED": "RESERVED_REVERSAL", "VALIDATED": "AUTHORIZE"}


def may_move(transaction: Transaction, state: str) -> bool:
    """Say whether a transaction may go to a state."""
    is_payout = transaction.operation == "AcceptWithdraw"
    if is_payout and state not in {"WITHDRAWN", "ERROR"}:
        return False
    if state in MOVES.get(transaction.state, ()):
        return is_payout or state != "WITHDRAWN"
    jumps = transaction.p_type in JUMPING_TYPES and transaction.state in JUMPS and state in JUMPS
    return jumps and state != transaction.state


def profile_ids(existing: list[Profile]) -> str:
    """Return the first free profile id of a customer."""
    taken = {profile.profile_id for profile in existing}
    return next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)


class Till:
    """Moves transactions, books what that means, and owes the notifications."""

    def __init__(self, store: Store, ledger: Ledger, sender: Sender, knobs: Knobs, faults: Faults) -> None:
        self._store = store
        self._ledger = ledger
        self._sender = sender
        self._knobs = knobs
        self._faults = faults
        self._bookings: dict[str, Callable[[Transaction, str, int], None]] = {
            "RESERVED": self._book_reserved,
            "BILLED": self._book_billed,
            "SUSPENDED": self._book_suspended,
            "ERROR": self._book_error,
            "REVERSED": self._book_reversed,
            "RESERVED_REVERSAL": self._book_reversed,
            "CREDITED": self._book_credited,
            "CREDITED_REVERSAL": self._book_credit_returned,
            "BILLED_REVERSAL": self._book_chargeback,
            "WITHDRAWN": self._book_withdrawn,
        }

    def luck(self, operation: str, transaction: Transaction | None = None) -> Luck:
        """Make the luck of something that no SOAP call causes."""
        facts = Facts(operation, books=True)
        if transaction:
            facts.reference, facts.profile = transaction.tid, transaction.customer_id
            facts.amount_minor, facts.currency = transaction.amount, transaction.currency
        return Luck(self._faults, facts)

    # ---- what can happen to a transaction

    def open(self, transaction: Transaction) -> None:
        """Give a new transaction its number."""
        transaction.description = transaction.description or self._knobs.text("default_orderdesc")
        transaction.confirmation_url = transaction.confirmation_url or self._knobs.text("default_confirmation_url")
        self._store.transactions.add(transaction)
        self._step(transaction, "INIT", transaction.amount)

    def wait_for_shopper(self, transaction: Transaction, until: float, luck: Luck) -> None:
        """Let the shopper go to another page; who does not come back in time has failed."""
        self.enter(transaction, "REDIRECTED", transaction.amount, luck)
        self._plan(transaction, "ERROR", until)

    def approve(self, transaction: Transaction, luck: Luck) -> None:
        """Take the money, or only reserve it where type and account say so."""
        self.keep_profile(transaction)
        transaction.appr_code = "-test-"
        if transaction.p_type not in RESERVING_TYPES:
            self.enter(transaction, "BILLED", transaction.amount, luck)
        elif transaction.manual_clearing:
            self.enter(transaction, "RESERVED", transaction.amount, luck)
        else:
            # Automatic clearing reserves and takes: two steps and two notifications, but one row of the ledger.
            before = transaction.state
            self._change(transaction, "RESERVED", transaction.amount, luck)
            self.enter(transaction, "BILLED", transaction.amount, luck, booked_as=before)

    def decline(self, transaction: Transaction, err_no: int, err_text: str, luck: Luck) -> None:
        """Refuse a try; the failed transaction keeps its number."""
        transaction.err_no, transaction.err_text = err_no, err_text
        if transaction.profile_status == "USED" or transaction.to_store:
            transaction.profile_status = "ERROR"
        self.enter(transaction, "ERROR", transaction.amount, luck)

    def suspend(self, transaction: Transaction, then: str, luck: Luck, *, afterwards: str = "") -> None:
        """Accept a payment that settles later: by itself if a state follows, else when it is moved."""
        self.keep_profile(transaction)
        transaction.after_due = afterwards
        self.enter(transaction, "SUSPENDED", transaction.amount, luck)
        if then:
            self._plan(transaction, then, time.time() + self._knobs.seconds("settle_delay_s"))

    def validate(self, transaction: Transaction, luck: Luck) -> None:
        """Confirm that an instrument is the customer's, and store it; no money moves."""
        self.keep_profile(transaction)
        self.enter(transaction, "VALIDATED", 0, luck)

    def enter_due(self, transaction: Transaction) -> None:
        """Make the move that the provider makes by itself."""
        luck = self.luck("Provider", transaction)
        state, after = transaction.due_state, transaction.after_due
        if state == "ERROR":
            self.decline(transaction, 0, "", luck)
            return
        transaction.after_due = ""
        self.enter(transaction, state, transaction.amount, luck)
        if after:
            self._plan(transaction, after, time.time() + self._knobs.seconds("chargeback_delay_s"))

    def due(self) -> list[Transaction]:
        """Return the transactions that the provider moves by itself now."""
        return self._store.transactions.all("WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT 500", time.time())

    def _plan(self, transaction: Transaction, state: str, at: float) -> None:
        transaction.due_state, transaction.due_at = state, at
        self._store.transactions.save(transaction)

    def enter(self, transaction: Transaction, state: str, amount: int, luck: Luck, booked_as: str = "") -> None:
        """Change the state, book it and owe the notification; the caller has asked whether it may."""
        # What was planned for the state it leaves is off.
        transaction.due_at, transaction.due_state = 0.0, ""
        booking = self._bookings.get(state)
        if booking:
            booking(transaction, booked_as or transaction.state, amount)
        self._change(transaction, state, amount, luck)
        self._store.transactions.save(transaction)

    def _change(self, transaction: Transaction, state: str, amount: int, luck: Luck) -> None:
        transaction.state = state
        self._step(transaction, state, amount)
        self._notify(transaction, state, amount, luck)

    def _step(self, transaction: Transaction, state: str, amount: int) -> None:
        entry = Entry(
            state_id=0,
            mpay_tid=transaction.mpay_tid,
            parent_id=transaction.last_state_id,
            state=HISTORY_WORDS.get(state, state),
            amount=amount,
            at=utc_text(),
            appr_code=transaction.appr_code,
            err_no=transaction.err_no,
            err_text=transaction.err_text,
            profile_status=transaction.profile_status,
        )
        transaction.last_state_id = self._store.entries.add(entry)

    # ---- what a change means for the ledger

    def _row(self, transaction: Transaction, kind: str, amount: int, state: str) -> None:
        gateway_id, who = str(transaction.mpay_tid), transaction.customer_id
        self._ledger.book(transaction.tid, gateway_id, kind, amount, transaction.currency, state, who)

    def _restate(self, transaction: Transaction, kind: str, old: str, new: str) -> None:
        self._ledger.restate(str(transaction.mpay_tid), kind, old, new)

    def _is_payout(self, transaction: Transaction) -> bool:
        return transaction.operation == "AcceptWithdraw"

    def _book_reserved(self, transaction: Transaction, before: str, amount: int) -> None:
        if before == "SUSPENDED":
            self._ledger.restate(
                str(transaction.mpay_tid), "sale", "pending", "reserved", as_kind="authorisation", amount=amount
            )
        else:
            self._row(transaction, "authorisation", amount, "reserved")

    def _book_billed(self, transaction: Transaction, before: str, amount: int) -> None:
        transaction.cleared, transaction.credited = amount, 0
        if before == "RESERVED":
            self._restate(transaction, "authorisation", "reserved", "captured")
            self._row(transaction, "capture", amount, "booked")
        elif before == "SUSPENDED":
            self._ledger.restate(str(transaction.mpay_tid), "sale", "pending", "booked", amount=amount)
        else:
            self._row(transaction, "sale", amount, "booked")

    def _book_suspended(self, transaction: Transaction, before: str, amount: int) -> None:
        self._give_up(transaction, before)
        self._row(transaction, "payout" if self._is_payout(transaction) else "sale", amount, "pending")

    def _book_error(self, transaction: Transaction, before: str, amount: int) -> None:
        kind = "payout" if self._is_payout(transaction) else "sale"
        if before == "SUSPENDED":
            self._restate(transaction, kind, "pending", "declined")
        elif before in {"INIT", "REDIRECTED"} and transaction.operation != "CreateCustomer":
            held = transaction.manual_clearing and transaction.p_type in RESERVING_TYPES
            self._row(transaction, "authorisation" if held else kind, amount, "declined")
        else:
            self._give_up(transaction, before)

    def _give_up(self, transaction: Transaction, before: str) -> None:
        """Undo what was held or taken when a type that may jump goes back."""
        if before == "RESERVED":
            self._book_reversed(transaction, before, transaction.amount)
        elif before in {"BILLED", "CREDITED"}:
            self._book_chargeback(transaction, before, 0)

    def _book_reversed(self, transaction: Transaction, before: str, amount: int) -> None:
        if before == "RESERVED":
            self._restate(transaction, "authorisation", "reserved", "reversed")
            self._row(transaction, "reversal", amount, "reversed")
        else:
            self._book_error(transaction, before, amount)

    def _book_credited(self, transaction: Transaction, before: str, amount: int) -> None:
        if before in {"BILLED", "CREDITED"}:
            transaction.credited += amount
            self._row(transaction, "refund", amount, "booked")

    def _book_credit_returned(self, transaction: Transaction, _before: str, _amount: int) -> None:
        transaction.credited = 0
        self._restate(transaction, "refund", "booked", "reversed")

    def _book_chargeback(self, transaction: Transaction, _before: str, _amount: int) -> None:
        left = transaction.cleared - transaction.credited
        if left:
            self._row(transaction, "chargeback", left, "booked")
        transaction.cleared = transaction.credited

    def _book_withdrawn(self, transaction: Transaction, before: str, amount: int) -> None:
        if before == "SUSPENDED":
            self._restate(transaction, "payout", "pending", "booked")
        else:
            self._row(transaction, "payout", amount, "booked")

    # ---- profiles

    def keep_profile(self, transaction: Transaction) -> None:
        """Store the instrument of a payment that asked for it; failing that leaves the payment fine."""
        if not transaction.to_store:
            return
        instrument = Instrument(**json.loads(transaction.to_store))
        transaction.to_store = ""
        transaction.profile_status = self.store_profile(
            transaction.customer_id, transaction.customer_name, instrument, transaction.profile_id
        )

    def store_profile(self, customer_id: str, name: str, instrument: Instrument, profile_id: str = "") -> str:
        """Store or replace a profile: CREATED, UPDATED, or ERROR where it cannot be kept."""
        if not customer_id or instrument.p_type not in PROFILE_TYPES:
            return "ERROR"
        existing = self._store.profiles_of(customer_id)
        interactive = self._knobs.text("profile_mode") == "interactive"
        same = [profile for profile in existing if not interactive or profile.profile_id == profile_id]
        if not same and len(existing) >= self._knobs.count("profile_count_max"):
            return "ERROR"
        if not same:
            number = (profile_id or profile_ids(existing)) if interactive else ""
            self._store.profiles.add(new_profile(customer_id, number, name, instrument))
            return "CREATED"
        fresh = new_profile(customer_id, same[0].profile_id, name or same[0].name, instrument)
        fresh.id = same[0].id
        self._store.profiles.save(fresh)
        return "UPDATED"

    # ---- notifications

    def parameters(self, transaction: Transaction, state: str, price: int) -> list[tuple[str, str]]:
        """Return what is said of a transaction, in the order of reference section 3."""
        no_filter = transaction.profile_status == "IGNORED"
        return [
            ("OPERATION", "CONFIRMATION"),
            ("TID", transaction.tid),
            ("STATUS", state),
            ("PRICE", str(price)),
            ("CURRENCY", transaction.currency),
            ("P_TYPE", transaction.p_type),
            ("BRAND", transaction.brand),
            ("MPAYTID", str(transaction.mpay_tid)),
            ("USER_FIELD", transaction.user_field),
            ("ORDERDESC", transaction.description),
            ("CUSTOMER", transaction.customer_name),
            ("CUSTOMER_EMAIL", transaction.email),
            ("LANGUAGE", transaction.language),
            ("CUSTOMER_ID", transaction.customer_id),
            ("PROFILE_ID", transaction.profile_id if self._knobs.text("profile_mode") == "interactive" else ""),
            ("PROFILE_STATUS", transaction.profile_status),
            ("FILTER_STATUS", "" if no_filter else "OK"),
            ("APPR_CODE", transaction.appr_code),
        ]

    def _notify(self, transaction: Transaction, state: str, amount: int, luck: Luck) -> None:
        if state in UNTOLD or not transaction.confirmation_url:
            return
        query = "&".join(f"{name}={encoded(value)}" for name, value in self.parameters(transaction, state, amount))
        url = joined(transaction.confirmation_url, query)
        fault = luck.fault("notification")
        if fault == "no_notification":
            return
        rule = luck.draw("notification")
        late_s = (rule.ms or DEFAULT_LATE_MS) / 1000 if rule and fault == "late_notification" else 0.0
        for _ in range(2 if fault == "duplicate_notification" else 1):
            self._sender.queue(str(transaction.mpay_tid), state, url, late_s)


def encoded(value: str) -> str:
    """Encode as real traffic does: a space is a plus, and so much as a hyphen becomes a percent sign and two digits."""
    if value.isascii() and value.isalnum():
        return value
    return "".join(FORM_BYTES[byte] for byte in value.encode())


def joined(url: str, query: str) -> str:
    """Append parameters after the merchant's own query, before a fragment."""
    address, _, _ = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{query}"


def new_profile(customer_id: str, profile_id: str, name: str, instrument: Instrument) -> Profile:
    """Make the row of a stored instrument."""
    kept = (instrument.p_type, instrument.brand, instrument.identifier, instrument.expiry, instrument.script)
    return Profile(0, customer_id, profile_id, *kept, name, utc_text())


def packed(instrument: Instrument) -> str:
    """Write an instrument down for later."""
    return json.dumps(asdict(instrument))
