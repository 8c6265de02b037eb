"""The till: the one place where a payment or operation changes, and where that is booked and told.

The life cycle is that of reference sections 8 and 10, with the choices of its
section 16. Every change that the reference names an event for owes one.
"""

import json
import secrets
import time
import uuid
from dataclasses import dataclass, field

from gateways.sandbox.faults import DEFAULT_LATE_MS, Facts, Faults, Luck
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Ledger
from gateways.sandbox.payone_cards import unpacked
from gateways.sandbox.payone_shapes import Shape, local_text, payment_shape, refund_shape
from gateways.sandbox.payone_store import Event, Operation, Payment, Store, Token
from gateways.sandbox.payone_values import CAPTURE_ENDS, CHALLENGE_TIMEOUT, MERCHANT_ID, REFUND_ENDS, STATUSES
from gateways.sandbox.push import Sender

EVENTS = {
    2: "payment.rejected",
    46: "payment.redirected",
    5: "payment.pending_capture",
    51: "payment.authorization_requested",
    52: "payment.authorization_requested",
    6: "payment.cancelled",
    9: "payment.captured",
    91: "payment.capture_requested",
}
OPERATION_EVENTS = {
    9: "payment.captured",
    93: "payment.rejected_capture",
    91: "payment.capture_requested",
    6: "payment.cancelled",
    81: "refund.refund_requested",
    8: "payment.refunded",
    83: "payment.rejected",
}
OPEN_CODES = frozenset((91, 92, 61, 62, 81, 82))
# The ends that an operation can come to, by its kind: well, badly, and not known.
ENDS = {"capture": (9, 93, 92), "cancel": (6, 63, 62), "refund": (8, 83, 82)}
STARTS = {"capture": 91, "cancel": 61, "refund": 81}
ROWS = {"capture": "capture", "cancel": "reversal", "refund": "refund"}
MOVES = {46: {1, 2, 5, 9}, 51: {2, 5, 9, 52}, 52: {2, 5, 9}, 5: {6}, 91: {9, 2}}


@dataclass(slots=True)
class Wish:
    """A capture, cancel or refund that is allowed and about to be accepted."""

    kind: str
    amount: int
    is_final: bool = False
    key: str = ""
    references: Shape = field(default_factory=dict)


class Till:
    """Moves payments, books what that means, and owes the events."""

    def __init__(self, store: Store, ledger: Ledger, sender: Sender, knobs: Knobs, faults: Faults) -> None:
        self._store = store
        self._ledger = ledger
        self._sender = sender
        self._knobs = knobs
        self._faults = faults

    def luck(self, operation: str, payment: Payment) -> Luck:
        """Make the luck of something that no call of the merchant's server causes."""
        facts = Facts(operation, payment.reference, payment.token, payment.amount, payment.currency, books=True)
        facts.merchant_reference = payment.merchant_reference
        return Luck(self._faults, facts)

    # ---- a payment

    def open(self, payment: Payment) -> None:
        """Give a new payment its number."""
        payment.has_digit_ids = self._knobs.text("id_format") == "digits"
        self._store.payments.add(payment)

    def redirect(self, payment: Payment, luck: Luck) -> None:
        """Wait for the customer; who does not come back in time has failed."""
        payment.return_mac = payment.return_mac or secrets.token_hex(16)
        self._enter(payment, 46, luck)
        self._plan(payment, 2, self._knobs.seconds("challenge_lifetime_s"))

    def approve(self, payment: Payment, luck: Luck) -> None:
        """Take the money of a sale, else reserve it."""
        self._authorise(payment)
        if payment.mode == "SALE":
            self._book_first(payment, "sale", "booked")
            self._enter(payment, 9, luck)
        else:
            self._book_first(payment, "authorisation", "reserved")
            self._enter(payment, 5, luck)

    def _authorise(self, payment: Payment) -> None:
        payment.decline_code = ""
        payment.authorisation_code = f"{secrets.randbelow(10**6):06d}"
        payment.scheme_reference = f"{secrets.randbelow(10**12):012d}"
        if payment.mode == "SALE":
            payment.captured = payment.captured_settled = payment.amount
        self._keep_token(payment)

    def decline(self, payment: Payment, decline_code: str, luck: Luck) -> None:
        """Refuse a try."""
        payment.decline_code = decline_code
        if decline_code == CHALLENGE_TIMEOUT:
            payment.eci = "91"
        self._book_first(payment, "sale" if payment.mode == "SALE" else "authorisation", "declined")
        self._enter(payment, 2, luck)

    def give_up(self, payment: Payment, luck: Luck) -> None:
        """Let the customer walk away; nothing is booked."""
        self._enter(payment, 1, luck)

    def suspend(self, payment: Payment, luck: Luck) -> None:
        """Leave the authorisation waiting until a tester moves it."""
        self._book_first(payment, "sale", "pending")
        self._enter(payment, 51, luck)

    def debit(self, payment: Payment, luck: Luck) -> None:
        """Accept a direct debit, which settles by itself."""
        payment.captured = payment.amount
        self._book_first(payment, "sale", "pending")
        self._enter(payment, 91, luck)
        self._plan(payment, 9, self._knobs.seconds("settle_delay_s"))

    def _plan(self, payment: Payment, code: int, delay_s: float) -> None:
        payment.due_code, payment.due_at = code, time.time() + delay_s
        self._store.payments.save(payment)

    def _enter(self, payment: Payment, code: int, luck: Luck) -> None:
        payment.code = payment.first_code = code
        payment.due_at, payment.due_code = 0.0, 0
        self._store.payments.save(payment)
        if code in EVENTS:
            self._tell(EVENTS[code], payment, {"payment": payment_shape(payment)}, luck)

    def _keep_token(self, payment: Payment) -> None:
        """Make the permanent token that a payment asked for, or note the series in the one it used."""
        if payment.to_tokenize:
            token = self.new_token(payment.card, is_temporary=False)
            payment.token, payment.to_tokenize, payment.is_new_token = token.id, False, True
        used = self._store.tokens.get(payment.token) if payment.token else None
        if used is None or payment.is_merchant_initiated:
            return
        used.first_transaction, used.scheme_reference = payment.id(), payment.scheme_reference
        used.is_authenticated = used.is_authenticated or payment.authentication in {"Y", "A"}
        self._store.tokens.save(used)

    def new_token(self, card: str, *, is_temporary: bool) -> Token:
        """Make a token for a card."""
        lifetime_s = self._knobs.seconds("temporary_token_lifetime_s")
        mark = unpacked(card).fingerprint
        expires_at = time.time() + lifetime_s if is_temporary else 0.0
        token = Token(str(uuid.uuid4()), card, mark, is_temporary, False, expires_at, "", "", False)
        self._store.tokens.add(token)
        return token

    # ---- captures, cancels, refunds

    def accept(self, payment: Payment, wish: Wish, luck: Luck) -> Operation:
        """Accept an operation that is allowed; what becomes of it follows later."""
        payment.last_operation += 1
        now = time.time()
        entry = Operation(
            id=0,
            number=payment.number,
            operation=payment.last_operation,
            kind=wish.kind,
            amount=wish.amount,
            code=STARTS[wish.kind],
            own_references=json.dumps(wish.references),
            idempotence_key=wish.key,
            due_at=now + self._knobs.seconds("settle_delay_s"),
            due_code=end_of(wish.kind, wish.amount),
        )
        self._store.operations.add(entry)
        self._count(payment, entry, wish.is_final)
        self._row(payment, payment.id(entry.operation), ROWS[wish.kind], wish.amount, "pending")
        self._tell_operation(payment, entry, luck)
        return entry

    def _count(self, payment: Payment, entry: Operation, is_final: bool) -> None:
        if entry.kind == "capture":
            payment.captured += entry.amount
            payment.is_final = is_final
            payment.code = 91
        elif entry.kind == "cancel":
            payment.cancelled += entry.amount
            payment.code = 61 if payment.cancelled == payment.amount else payment.code
        else:
            payment.refunded += entry.amount
            payment.code = 81 if payment.refunded == payment.captured else payment.code
        self._store.payments.save(payment)

    def finish(self, entry: Operation, code: int, luck: Luck | None = None) -> None:
        """Bring an operation to its end, or to where its end is not known."""
        payment = self._store.payments.get(entry.number)
        if payment is None:
            return
        entry.code, entry.due_at, entry.due_code = code, 0.0, 0
        self._store.operations.save(entry)
        ends = {"capture": self._end_capture, "cancel": self._end_cancel, "refund": self._end_refund}
        ends[entry.kind](payment, entry)
        self._store.payments.save(payment)
        self._tell_operation(payment, entry, luck or self.luck("Provider", payment))

    def _end_capture(self, payment: Payment, entry: Operation) -> None:
        if entry.code == 92:
            payment.code = 92
            return
        if entry.code == 9:
            payment.captured_settled += entry.amount
            self._restate(payment, entry, "booked")
        else:
            payment.captured, payment.is_final = payment.captured - entry.amount, False
            self._restate(payment, entry, "declined")
        if self._is_waiting(payment, "capture"):
            return
        payment.code = standing(payment)
        if payment.captured_settled and not payment.left:
            self._ledger.restate(payment.id(), "authorisation", "reserved", "captured")

    def _end_cancel(self, payment: Payment, entry: Operation) -> None:
        if entry.code == 62:
            return
        if entry.code == 63:
            payment.cancelled -= entry.amount
            payment.code = 5 if not payment.captured else payment.code
            self._restate(payment, entry, "declined")
            return
        self._restate(payment, entry, "reversed")
        if payment.cancelled == payment.amount:
            payment.code = 6
            self._ledger.restate(payment.id(), "authorisation", "reserved", "reversed")
        elif not payment.left and payment.captured_settled:
            self._ledger.restate(payment.id(), "authorisation", "reserved", "captured")

    def _end_refund(self, payment: Payment, entry: Operation) -> None:
        if entry.code == 82:
            payment.code = 82 if payment.code == 81 else payment.code
            return
        if entry.code == 8:
            payment.refunded_settled += entry.amount
            self._restate(payment, entry, "booked")
        else:
            payment.refunded -= entry.amount
            self._restate(payment, entry, "declined")
        if not self._is_waiting(payment, "capture"):
            payment.code = standing(payment)

    def _is_waiting(self, payment: Payment, kind: str) -> bool:
        """Say whether an operation of this kind is still under way."""
        return any(entry.code in OPEN_CODES for entry in self._store.operations_of(payment.number, kind))

    def open_operation(self, payment: Payment, operation: int, code: int) -> Operation | None:
        """Return the last operation still under way that could come to this end; of the payment, or the one named."""
        entries = [
            entry
            for entry in self._store.operations_of(payment.number)
            if entry.code in OPEN_CODES and code in ENDS[entry.kind] and operation in {0, entry.operation}
        ]
        return entries[-1] if entries else None

    # ---- time

    def pass_time(self) -> bool:
        """Make the moves that are due; say whether there were any."""
        now = time.time()
        entries = self._store.operations.all("WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT 500", now)
        payments = self._store.payments.all("WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT 500", now)
        if not entries and not payments:
            return False
        with self._ledger.together():
            for entry in entries:
                self.finish(entry, entry.due_code)
            for payment in payments:
                self.enter_due(payment)
        return True

    def enter_due(self, payment: Payment) -> None:
        """Make the move that the provider makes by itself."""
        self.go(payment, payment.due_code, self.luck("Provider", payment))

    def may_go(self, payment: Payment, code: int) -> bool:
        """Say whether the provider could bring a payment there without being asked."""
        if payment.code == 91 and payment.method != "sepa":
            return False
        return code in MOVES.get(payment.code, set()) and (payment.code != 5 or not payment.captured)

    def go(self, payment: Payment, code: int, luck: Luck) -> None:
        """Bring a payment to a code by the provider's own doing."""
        before = payment.code
        if before in {51, 52} and code != 52:
            # What was accepted and left open is decided now, in the row it already has.
            self._settle_open(payment, code, luck)
        elif before == 91:
            self._settle_debit(payment, code, luck)
        elif code in {5, 9}:
            self.approve(payment, luck)
        elif code == 2:
            self.decline(payment, CHALLENGE_TIMEOUT, luck)
        elif code == 6:
            self._lapse(payment, luck)
        else:
            self._enter(payment, code, luck)

    def _settle_open(self, payment: Payment, code: int, luck: Luck) -> None:
        states = {2: ("sale", "declined"), 5: ("authorisation", "reserved"), 9: ("sale", "booked")}
        kind, state = states[code]
        self._ledger.restate(payment.id(), "sale", "pending", state, as_kind=kind)
        if code == 2:
            payment.decline_code = "30051001"
        else:
            payment.mode = "SALE" if code == 9 else "FINAL_AUTHORIZATION"
            self._authorise(payment)
        self._enter(payment, code, luck)

    def _settle_debit(self, payment: Payment, code: int, luck: Luck) -> None:
        self._ledger.restate(payment.id(), "sale", "pending", "booked" if code == 9 else "declined")
        payment.captured = payment.captured_settled = payment.amount if code == 9 else 0
        self._enter(payment, code, luck)

    def _lapse(self, payment: Payment, luck: Luck) -> None:
        payment.cancelled = payment.amount
        self._ledger.restate(payment.id(), "authorisation", "reserved", "reversed")
        self._row(payment, payment.id(), "reversal", payment.amount, "reversed")
        self._enter(payment, 6, luck)

    # ---- what a change means for the ledger

    def _row(self, payment: Payment, gateway_id: str, kind: str, amount: int, state: str) -> None:
        self._ledger.book(payment.reference, gateway_id, kind, amount, payment.currency, state, payment.token)

    def _book_first(self, payment: Payment, kind: str, state: str) -> None:
        self._row(payment, payment.id(), kind, payment.amount, state)

    def _restate(self, payment: Payment, entry: Operation, state: str) -> None:
        self._ledger.restate(payment.id(entry.operation), ROWS[entry.kind], "pending", state)

    # ---- events

    def _tell_operation(self, payment: Payment, entry: Operation, luck: Luck) -> None:
        kind = OPERATION_EVENTS.get(entry.code)
        if kind is None:
            return
        if entry.code in {81, 8}:
            self._tell(kind, payment, {"refund": refund_shape(payment, entry)}, luck)
        else:
            shown = payment_shape(payment, entry.operation, entry.code)
            self._tell(kind, payment, {"payment": shown}, luck)

    def _tell(self, kind: str, payment: Payment, content: Shape, luck: Luck) -> None:
        urls: list[str] = json.loads(payment.urls) if payment.urls else self._knobs.words("webhook_urls")
        fault = luck.fault("notification") if urls else "no_notification"
        if fault == "no_notification":
            return
        rule = luck.draw("notification")
        late_s = (rule.ms or DEFAULT_LATE_MS) / 1000 if rule and fault == "late_notification" else 0.0
        event = self.new_event(kind, content)
        for url in urls * (2 if fault == "duplicate_notification" else 1):
            self._sender.queue(payment.id(), event.id, url, late_s)

    def new_event(self, kind: str, content: Shape) -> Event:
        """Write an event down; the same body goes out however often it is sent."""
        event_id = str(uuid.uuid4())
        head = {"apiVersion": "v1", "apiFullVersion": "v1.1", "created": local_text(), "id": event_id}
        body = {**head, "merchantId": MERCHANT_ID, "type": kind, **content}
        event = Event(event_id, json.dumps(body, separators=(",", ":")))
        self._store.events.add(event)
        return event


def standing(payment: Payment) -> int:
    """Return the code of a payment whose captures are done: refunded in full, in part, or not at all.

    A refund may be accepted, and even be done, while the capture is under way.
    """
    if payment.refunded and payment.refunded == payment.captured:
        return 8 if payment.refunded_settled == payment.captured else 81
    return 9 if payment.captured_settled else 5


def end_of(kind: str, amount: int) -> int:
    """Say how an operation will end: well, unless its amount is one of those that test the other ends."""
    special = {"capture": CAPTURE_ENDS, "refund": REFUND_ENDS}.get(kind, {})
    return special.get(amount, ENDS[kind][0])


def code_named(word: str) -> int | None:
    """Return the status code that a tester names."""
    return int(word) if word.isdecimal() and int(word) in STATUSES else None
