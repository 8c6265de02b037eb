"""What every operation of the simulated PaymentZ works with: its tables, its till, its account and its usual checks."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateways.sandbox.faults import Luck
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.paymentz_fields import Body, Fields, RefusalError, malformed
from gateways.sandbox.paymentz_shapes import answer_shape
from gateways.sandbox.paymentz_signing import is_same
from gateways.sandbox.paymentz_store import Payment, Store
from gateways.sandbox.paymentz_till import Till
from gateways.sandbox.paymentz_values import BAD_CHECKSUM, DUPLICATE, MEMBER_ID, NOT_ALLOWED, NOT_FOUND, NOT_USABLE

NO_TERMINAL = ("", "UNKNOWN")


class AccessError(Exception):
    """Whoever calls has no valid token, or one of another merchant."""


class BrokenError(Exception):
    """A trigger makes the server fail before anything is booked."""


@dataclass(slots=True)
class Call:
    """One call of the merchant's server: what it asks, about what id in its path, with which fields."""

    operation: str
    id: str
    fields: Fields
    luck: Luck
    # What the payment it made does to its answer (D-110), once there is one.
    trigger: str = ""


@dataclass(slots=True, frozen=True)
class Terminal:
    """One way to a bank, for a currency and a brand or for any."""

    id: str
    currency: str
    brand: str
    use: str

    def fits(self, currency: str, brand: str) -> bool:
        """Say whether it takes such a payment; a brand not known yet fits."""
        return self.currency in {"*", currency} and (not brand or self.brand in {"*", brand})


def read_terminal(entry: str) -> Terminal:
    """Read one entry of the setting."""
    parts = [*entry.split(":"), "", "", "", ""]
    return Terminal(parts[0], parts[1] or "*", parts[2] or "*", parts[3])


def refuse_unless(is_allowed: bool, payment: Payment) -> None:
    """Refuse what cannot be done with a payment as it stands (D-56)."""
    if not is_allowed:
        raise RefusalError(NOT_ALLOWED, payment_id=payment.id)


@dataclass(slots=True)
class Desk:
    """The simulated account, as operations see it."""

    store: Store
    till: Till
    knobs: Knobs
    base_url: str = ""

    def check(self, fields: Fields, required: Iterable[str], *checksums: str) -> None:
        """Refuse a request without a field it needs, of another member, or with none of these checksums."""
        for name in ("authentication.memberId", "authentication.checksum", *required):
            if not fields.get(name):
                raise malformed(name)
        if fields["authentication.memberId"] != MEMBER_ID and self.knobs.flag("bind_token_to_member"):
            raise AccessError
        given = fields["authentication.checksum"]
        if fields["authentication.memberId"] != MEMBER_ID or not any(is_same(given, known) for known in checksums):
            raise RefusalError(BAD_CHECKSUM)

    def payment(self, call: Call) -> Payment:
        """Return the payment that the path names; the body may name it again, but no other (D-32)."""
        if (call.fields.get("paymentId") or call.id) != call.id:
            raise malformed("paymentId")
        found = self.store.payment(call.id)
        if found is None:
            raise RefusalError(NOT_FOUND)
        return found

    def earlier_answer(self, reference: str) -> Body | None:
        """Refuse a merchantTransactionId used before, or give its answer again where that is set (D-100, D-101)."""
        earlier = self.store.by_reference(reference)
        policy = self.knobs.text("duplicate_policy")
        if earlier and policy == "replay":
            return answer_shape(earlier, self.till.after_refund)
        if earlier:
            raise RefusalError(DUPLICATE, payment_id=earlier.id if policy == "reject_with_id" else "-")
        return None

    def terminal(self, fields: Fields, brand: str, *, is_recurring: bool) -> str:
        """Return the terminal that takes a payment; it must be named where several could (D-45, D-66)."""
        named = fields.get("authentication.terminalId", "")
        known = [read_terminal(entry) for entry in self.knobs.words("terminals")]
        fit = [terminal for terminal in known if terminal.fits(fields["currency"], brand)]
        if named not in NO_TERMINAL:
            fit = [terminal for terminal in fit if terminal.id == named]
        elif len(fit) > 1:
            raise malformed("authentication.terminalId")
        if not fit or (is_recurring and fit[0].use != "recurring"):
            raise RefusalError(NOT_USABLE)
        return fit[0].id
