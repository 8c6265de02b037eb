"""The till: the one place where a payment changes, and where that is booked and told (reference sections 9, 10)."""

import json
import secrets
import time
from collections.abc import Callable

from gateways.sandbox.faults import DEFAULT_LATE_MS, Facts, Faults, Luck
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Ledger
from gateways.sandbox.paymentz_fields import minor_units
from gateways.sandbox.paymentz_shapes import callback_shape
from gateways.sandbox.paymentz_store import Callback, Payment, Store
from gateways.sandbox.paymentz_values import (
    CANCELLED,
    DESCRIPTIONS,
    FAILED,
    MOVE,
    MOVES,
    NEXT,
    OK,
    PAGE,
    PENDING,
    PROVIDER,
    REFUNDED,
)
from gateways.sandbox.push import Sender

# What a payment's result says once it is there; all others succeeded.
CODES = {
    "begun": PENDING,
    "authstarted": PENDING,
    "payoutstarted": PENDING,
    "markedforreversal": PENDING,
    "authfailed": FAILED,
    "payoutfailed": FAILED,
    "cancelled": CANCELLED,
    "authcancelled": CANCELLED,
    "reversed": REFUNDED,
}
UNASKED = frozenset((PAGE, MOVE, PROVIDER))
EXPIRED_CARD = "Expired card"
TIMED_OUT = "The customer did not come back in time"


class Till:
    """Moves payments, books what that means, and owes the callbacks."""

    def __init__(self, store: Store, ledger: Ledger, sender: Sender, knobs: Knobs, faults: Faults) -> None:
        self._store = store
        self._ledger = ledger
        self._sender = sender
        self._knobs = knobs
        self._faults = faults
        self._effects: dict[str, Callable[[Payment], None]] = {
            "authsuccessful": self._reserve,
            "capturesuccess": self._take,
            "authfailed": self._decline,
            "cancelled": self._walk_away,
            "authcancelled": self._release,
            "markedforreversal": lambda payment: self._give_back(payment, "pending"),
            "reversed": lambda payment: self._give_back(payment, "booked"),
            "chargeback": lambda payment: self._row(payment, "chargeback", "booked", payment.captured),
            "payoutstarted": lambda payment: self._row(payment, "payout", "pending", payment.cents),
            "payoutsuccessful": lambda payment: self._row(payment, "payout", "booked", payment.cents),
            "payoutfailed": lambda payment: self._row(payment, "payout", "declined", payment.cents),
        }

    @property
    def after_refund(self) -> str:
        """Return the short status of what was given back."""
        return self._knobs.text("short_status_after_refund")

    def luck(self, operation: str, payment: Payment) -> Luck:
        """Make the luck of something that no call of the merchant's server causes."""
        return Luck(
            self._faults,
            Facts(operation, payment.reference, payment.profile, payment.minor, payment.currency, books=True),
        )

    # ---- tries

    def charge(self, payment: Payment, luck: Luck) -> bool:
        """Let the issuer decide, or a rule in its place; False leaves a hosted page open for another try."""
        rule, trigger = luck.draw("outcome"), payment.trigger
        payment.is_challenged = False
        if rule and rule.fault == "suspend":
            self._wait(payment, "", luck)
        elif rule:
            return self.refuse(payment, luck, rule.text or DESCRIPTIONS[FAILED], rule.detail)
        elif reason := self._reason_to_decline(payment):
            return self.refuse(payment, luck, reason)
        elif trigger in {"pending", "pending_decline"}:
            self._wait(payment, "authfailed" if trigger == "pending_decline" else success_of(payment), luck)
        else:
            self.go(payment, success_of(payment), luck)
        return True

    def _reason_to_decline(self, payment: Payment) -> str:
        registered = self._store.registrations.get(payment.registration)
        if payment.trigger == "decline":
            return DESCRIPTIONS[FAILED]
        if payment.kept_card().is_expired():
            return EXPIRED_CARD
        return registered.declines if registered and registered.approvals_left == 0 else ""

    def _wait(self, payment: Payment, then: str, luck: Luck) -> None:
        self._row(payment, "sale", "pending", payment.cents)
        self.enter(payment, "authstarted", luck)
        self._plan(payment, then, self._knobs.seconds("pending_delay_s"))

    def refuse(self, payment: Payment, luck: Luck, reason: str, code: str = FAILED) -> bool:
        """Decline a try; say whether that was the last, as it always is where no hosted page is open."""
        payment.is_challenged = False
        if payment.is_hosted and payment.tries < self._knobs.count("page_tries_max"):
            self._decline(payment)
            self._plan(payment, "cancelled", self._knobs.seconds("page_lifetime_s"))
            return False
        self._go(payment, "authfailed", luck, code, reason)
        return True

    def challenge(self, payment: Payment, luck: Luck) -> None:
        """Wait for the customer's bank; who does not come back in time has failed."""
        payment.page = payment.page or secrets.token_hex(16)
        payment.is_challenged = True
        self.enter(payment, "authstarted", luck)
        self._plan(payment, "authfailed", self._knobs.seconds("page_lifetime_s"))

    # ---- moves

    def go(self, payment: Payment, status: str, luck: Luck) -> None:
        """Bring a payment to a status and book what that means."""
        self._go(payment, status, luck, "", "")

    def _go(self, payment: Payment, status: str, luck: Luck, code: str, description: str) -> None:
        payment.is_challenged = False
        if effect := self._effects.get(status):
            effect(payment)
        self.enter(payment, status, luck, code, description)

    def enter(self, payment: Payment, status: str, luck: Luck, code: str = "", description: str = "") -> None:
        """Hold that a payment is there now, plan what follows by itself, and owe the callback."""
        is_new = payment.status not in {"", status}
        payment.status = status
        payment.code = code or CODES.get(status, OK)
        payment.description = description or DESCRIPTIONS[payment.code]
        then, knob = NEXT.get(status, ("", ""))
        self._plan(payment, then, self._knobs.seconds(knob) if knob else 0.0)
        is_heard = luck.facts.operation in UNASKED and (is_new or payment.is_challenged)
        if is_heard or (self._knobs.flag("callback_on_sync") and luck.facts.operation not in UNASKED):
            self._tell(payment, luck)

    def _plan(self, payment: Payment, status: str, delay_s: float) -> None:
        payment.due_status, payment.due_at = status, time.time() + delay_s if status else 0.0
        self._store.payments.save(payment)

    def pay_out(self, payment: Payment, luck: Luck) -> None:
        """Send money to a card; how that ends is known later (D-95)."""
        self.go(payment, "payoutstarted", luck)
        fails = payment.trigger in {"decline", "pending_decline"}
        end = "payoutfailed" if fails else "payoutsuccessful"
        self._plan(payment, end, self._knobs.seconds("payout_delay_s"))

    def pass_time(self) -> bool:
        """Make the moves that are due; say whether there were any."""
        due = self._store.payments.all("WHERE due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT 500", time.time())
        if not due:
            return False
        with self._ledger.together():
            for payment in due:
                description = TIMED_OUT if payment.is_challenged else ""
                self._go(payment, payment.due_status, self.luck(PROVIDER, payment), "", description)
        return True

    # ---- what a status means for the books

    def _row(self, payment: Payment, kind: str, state: str, cents: int) -> None:
        """Book a row, or settle the one of this payment that was left open."""
        rows, amount = self._ledger.bookings, minor_units(cents, payment.currency)
        opened = rows.first("WHERE gateway_id = ? AND state = 'pending'", payment.id)
        if opened:
            self._ledger.restate(payment.id, opened.kind, "pending", state, as_kind=kind)
            return
        book = (payment.reference, payment.id, kind, amount, payment.currency, state, payment.profile)
        self._ledger.book(*book)

    def _reserve(self, payment: Payment) -> None:
        self._row(payment, "authorisation", "reserved", payment.cents)
        self._approve(payment)

    def _take(self, payment: Payment) -> None:
        if payment.status == "authsuccessful":
            payment.captured = payment.captured or payment.cents
            self._ledger.restate(payment.id, "authorisation", "reserved", "captured")
            self._row(payment, "capture", "booked", payment.captured)
            return
        payment.captured = payment.cents
        self._row(payment, "sale", "booked", payment.cents)
        self._approve(payment)

    def _approve(self, payment: Payment) -> None:
        payment.bank_reference = f"{secrets.randbelow(10**12):012d}"
        registered = self._store.registrations.get(payment.registration)
        if registered and registered.approvals_left > 0:
            registered.approvals_left -= 1
            self._store.registrations.save(registered)
        if payment.wants_registration and not payment.registration:
            customer_id = payment.person().get("customer.customerId", "")
            dedupe = self._knobs.flag("dedupe_tokens")
            found = (payment.kept_card(), customer_id, payment.mode, payment.brand)
            payment.registration = self._store.register(*found, dedupe=dedupe)

    def _decline(self, payment: Payment) -> None:
        self._row(payment, "authorisation" if payment.type == "PA" else "sale", "declined", payment.cents)

    def _walk_away(self, payment: Payment) -> None:
        self._ledger.restate(payment.id, "sale", "pending", "declined")

    def _release(self, payment: Payment) -> None:
        self._ledger.restate(payment.id, "authorisation", "reserved", "reversed")
        self._row(payment, "reversal", "reversed", payment.cents)

    def _give_back(self, payment: Payment, state: str) -> None:
        payment.refunded = payment.refunded or payment.captured
        self._row(payment, "refund", state, payment.refunded)

    # ---- callbacks

    def _tell(self, payment: Payment, luck: Luck) -> None:
        fault = luck.fault("notification") if payment.notification_url else "no_notification"
        if fault == "no_notification":
            return
        rule = luck.draw("notification")
        late_s = (rule.ms or DEFAULT_LATE_MS) / 1000 if rule and fault == "late_notification" else 0.0
        signs_long = self._knobs.text("callback_status_form") == "long"
        body = callback_shape(payment, self.after_refund, signs_long=signs_long)
        number = self._store.callbacks.add(Callback(0, json.dumps(body)))
        for _ in range(2 if fault == "duplicate_notification" else 1):
            self._sender.queue(payment.id, str(number), payment.notification_url, late_s)


def success_of(payment: Payment) -> str:
    """Return where a payment goes that the issuer approves (D-43)."""
    return "authsuccessful" if payment.type == "PA" else "capturesuccess"


def may_go(payment: Payment, status: str) -> bool:
    """Say whether a payment can be brought there; a debit is never merely held, nor a hold taken at once."""
    other = {"DB": "authsuccessful", "PA": "capturesuccess"}.get(payment.type)
    is_first = payment.status == "authstarted"
    return status in MOVES.get(payment.status, frozenset()) and not (is_first and status == other)
