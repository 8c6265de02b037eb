"""What becomes of a payment without the merchant's doing, when a tester says that it is time."""

from gateways.sandbox.computop_store import Payment
from gateways.sandbox.computop_till import Till, code_of, new_id
from gateways.sandbox.control import IllegalMoveError
from gateways.sandbox.faults import Luck

UNDECIDED = frozenset(("open", "pending"))
DECLINED, CHARGED_BACK = "0100", "charged_back"


class Moves:
    """Moves payments by the words of a tester: settled, declined, expired, refunded, charged_back."""

    def __init__(self, till: Till) -> None:
        self._till = till

    def move(self, payment: Payment, state: str) -> None:
        """Bring a payment there, or say why not."""
        luck = self._till.luck("Move", payment)
        moves = {"settled": self._till.approve, "declined": self._decline, "expired": self._till.expire}
        if payment.state in UNDECIDED and state in moves:
            moves[state](payment, luck)
        elif payment.captured > payment.credited and state == "refunded":
            self._refund(payment)
        elif payment.captured and state == CHARGED_BACK and not self._is_charged_back(payment):
            self._book(payment, "chargeback", payment.captured)
        else:
            raise IllegalMoveError(f"payment {payment.pay_id} is {payment.state} and cannot become {state}")

    def _decline(self, payment: Payment, luck: Luck) -> None:
        self._till.decline(payment, code_of(payment, DECLINED), luck)

    def _refund(self, payment: Payment) -> None:
        """Give all that is left back in the provider's console, of which the merchant's server hears nothing."""
        self._book(payment, "refund", payment.captured - payment.credited)
        payment.credited, payment.last_status = payment.captured, "OK"
        self._till.store.payments.save(payment)

    def _is_charged_back(self, payment: Payment) -> bool:
        return self._till.store.steps.first("WHERE number = ? AND kind = 'chargeback'", payment.number) is not None

    def _book(self, payment: Payment, kind: str, amount: int) -> None:
        self._till.book(payment, kind, "booked", amount, new_id(), {}, can_undo=False)
