"""What can be done with a payment later: asked about, captured, cancelled, refunded (reference section 8)."""

from typing import Any

from gateways.sandbox.payone_bodies import CANCEL, CAPTURE, REFUND
from gateways.sandbox.payone_desk import Answer, Call, Desk
from gateways.sandbox.payone_refusals import broken, invalid_value, not_allowed
from gateways.sandbox.payone_shapes import (
    capture_shape,
    details_shape,
    payment_shape,
    refund_shape,
    sale_capture_shape,
)
from gateways.sandbox.payone_store import Payment
from gateways.sandbox.payone_till import Wish

CAPTURABLE = frozenset((5, 91, 92, 9))
REFUNDABLE = frozenset((9, 91, 92, 81, 82))
ABOVE_CAPTURE, ABOVE_REFUND = "50001126", "50001129"


class Followups:
    """Asks about payments and works on them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def get(self, call: Call) -> Answer:
        """Show a payment, unwrapped."""
        payment, _ = self._desk.payment(call)
        return Answer(200, payment_shape(payment, reattempt=self._reattempt))

    def details(self, call: Call) -> Answer:
        """Show a payment with its operations."""
        payment, _ = self._desk.payment(call)
        operations = self._desk.store.operations_of(payment.number)
        return Answer(200, details_shape(payment, operations, reattempt=self._reattempt))

    @property
    def _reattempt(self) -> bool:
        return self._desk.knobs.flag("reattempt_instructions")

    def captures(self, call: Call) -> Answer:
        """List the captures; a sale has one in itself."""
        payment, _ = self._desk.payment(call)
        listed = [capture_shape(payment, entry) for entry in self._desk.store.operations_of(payment.number, "capture")]
        is_sale = payment.mode == "SALE" and payment.captured_settled
        return Answer(200, {"captures": [sale_capture_shape(payment)] if is_sale else listed})

    def refunds(self, call: Call) -> Answer:
        """List the refunds."""
        payment, _ = self._desk.payment(call)
        entries = self._desk.store.operations_of(payment.number, "refund")
        return Answer(200, {"refunds": [refund_shape(payment, entry) for entry in entries]})

    def capture(self, call: Call) -> Answer:
        """Take reserved money, whole or in part; without an amount all that is left, for the last time."""
        payment, _ = self._desk.payment(call)
        body = call.read(CAPTURE)
        if payment.code not in CAPTURABLE or payment.refunded or payment.method != "card" or not payment.left:
            raise not_allowed()
        amount = body.get("amount", payment.left)
        if amount > payment.left:
            raise not_allowed(ABOVE_CAPTURE)
        is_final = body.get("isFinal", "amount" not in body)
        entry = self._desk.till.accept(payment, self._wish("capture", amount, body, call, is_final=is_final), call.luck)
        shown = capture_shape(payment, entry)
        # The capture's own answer tells nothing of its status but the code (reference section 8.3).
        shown["statusOutput"] = {"statusCode": entry.code}
        return Answer(201, shown, payment.number)

    def cancel(self, call: Call) -> Answer:
        """Give a reservation up, whole or in part."""
        payment, _ = self._desk.payment(call)
        body = call.read(CANCEL)
        if payment.code not in CAPTURABLE or payment.refunded or payment.method != "card" or not payment.left:
            raise not_allowed()
        amount = self._amount(body, payment, payment.left)
        if amount > payment.left:
            raise not_allowed()
        entry = self._desk.till.accept(payment, self._wish("cancel", amount, body, call), call.luck)
        return Answer(200, {"payment": payment_shape(payment, entry.operation, entry.code)}, payment.number)

    def refund(self, call: Call) -> Answer:
        """Give captured money back, whole or in part; nobody need wait until the capture is done."""
        payment, _ = self._desk.payment(call)
        body = call.read(REFUND)
        left = payment.captured - payment.refunded
        if payment.code not in REFUNDABLE or left <= 0:
            raise not_allowed()
        amount = self._amount(body, payment, left)
        if amount > left:
            raise not_allowed(ABOVE_REFUND)
        entry = self._desk.till.accept(payment, self._wish("refund", amount, body, call), call.luck)
        return Answer(201, refund_shape(payment, entry), payment.number)

    def complete(self, call: Call) -> Answer:
        """Fail: no payment made here waits to be completed (reference section 11.2)."""
        self._desk.payment(call)
        raise broken()

    def _amount(self, body: dict[str, Any], payment: Payment, left: int) -> int:
        given = body.get("amountOfMoney")
        if given is None:
            return left
        if given["currencyCode"].upper() != payment.currency:
            raise invalid_value("amountOfMoney.currencyCode")
        return int(given["amount"])

    def _wish(self, kind: str, amount: int, body: dict[str, Any], call: Call, *, is_final: bool = False) -> Wish:
        self._desk.refuse_if_forced(call.luck)
        return Wish(kind, amount, is_final, call.key, body.get("operationReferences", {}))
