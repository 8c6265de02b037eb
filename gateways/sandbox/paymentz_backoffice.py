"""The back office: captures, refunds, reversals, questions, lists, and registered cards (sections 6 and 8)."""

import re
from datetime import datetime

from gateways.sandbox.paymentz_desk import Call, Desk, refuse_unless
from gateways.sandbox.paymentz_fields import Body, RefusalError, amount_text, malformed, read_cents
from gateways.sandbox.paymentz_payments import PAID, read_brand
from gateways.sandbox.paymentz_shapes import (
    SERVER_ZONE,
    inquiry_shape,
    listed_shape,
    operation_shape,
    registrations_shape,
    result,
    timestamp,
)
from gateways.sandbox.paymentz_signing import request_checksum
from gateways.sandbox.paymentz_store import Payment, read_card
from gateways.sandbox.paymentz_values import CAPTURED, FOUND, MEMBER_ID, NOT_FOUND, NOT_USABLE, OK, TOO_LARGE

DAY_S = 86400
RECORDS_MAX = 1000


class BackOffice:
    """Does what merchants do with payments they have."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # ---- captures, refunds, reversals

    def capture(self, call: Call) -> Body:
        """Take a reservation, whole or in part, once (D-50)."""
        payment, cents = self._payment_and_amount(call)
        refuse_unless(payment.status == "authsuccessful", payment)
        if cents > payment.cents:
            raise RefusalError(TOO_LARGE, payment_id=payment.id)
        payment.captured = cents
        self._desk.till.go(payment, "capturesuccess", call.luck)
        return {"paymentId": payment.id, "result": result(CAPTURED), "timestamp": timestamp()}

    def refund(self, call: Call) -> Body:
        """Give back what was taken, whole or in part, once (D-51, D-52)."""
        payment, cents = self._payment_and_amount(call)
        allowed = {"settled"} if self._desk.knobs.flag("refund_requires_settled") else PAID
        refuse_unless(payment.status in allowed, payment)
        if cents > payment.captured:
            raise RefusalError(TOO_LARGE, payment_id=payment.id)
        payment.refunded = cents
        status = "markedforreversal" if self._desk.knobs.flag("refund_async") else "reversed"
        self._desk.till.go(payment, status, call.luck)
        return self._shape(payment) | {"amount": amount_text(cents)}

    def reversal(self, call: Call) -> Body:
        """Give up a reservation, always the whole of it (D-53)."""
        self._desk.check(call.fields, (), request_checksum(call.id))
        payment = self._desk.payment(call)
        if call.fields.get("amount", amount_text(payment.cents)) != amount_text(payment.cents):
            raise malformed("amount")
        refuse_unless(payment.status == "authsuccessful", payment)
        self._desk.till.go(payment, "authcancelled", call.luck)
        return self._shape(payment)

    def _payment_and_amount(self, call: Call) -> tuple[Payment, int]:
        self._desk.check(call.fields, ("amount",), request_checksum(call.id, call.fields.get("amount", "")))
        payment = self._desk.payment(call)
        return payment, read_cents(call.fields["amount"], payment.currency)

    def _shape(self, payment: Payment) -> Body:
        return operation_shape(payment, self._desk.till.after_refund)

    # ---- questions

    def inquiry(self, call: Call) -> Body:
        """Tell how a payment stands, asked by its id or by the merchant's (D-23)."""
        kind = call.fields.get("idType", "PID")
        if kind not in {"PID", "MID"}:
            raise malformed("idType")
        if kind == "MID":
            return self._found(self._asked_by_reference(call))
        payment_id = call.id or call.fields.get("paymentId", "")
        self._desk.check(call.fields, ("paymentId",) if not call.id else (), request_checksum(payment_id))
        return self._found(self._desk.store.payment(payment_id))

    def _asked_by_reference(self, call: Call) -> Payment | None:
        reference, amount = call.fields.get("merchantTransactionId") or call.id, call.fields.get("amount", "")
        form = self._desk.knobs.text("mid_inquiry_checksum")
        signed = [request_checksum(reference)] if form != "four" else []
        if amount and form != "three":
            signed.append(request_checksum(reference, amount))
        self._desk.check(call.fields, ("merchantTransactionId",) if not reference else (), *signed)
        return self._desk.store.by_reference(reference)

    def status(self, call: Call) -> Body:
        """Tell how a payment stands to a GET, which carries no checksum (D-05)."""
        return self._found(self._desk.store.payment(call.id))

    def _found(self, payment: Payment | None) -> Body:
        if payment is None:
            raise RefusalError(NOT_FOUND)
        return inquiry_shape(payment, self._desk.till.after_refund)

    def transactions(self, call: Call) -> Body:
        """List payments of some days, newest first, a page at a time (D-58)."""
        fields = call.fields
        self._desk.check(fields, ("pagination.fromdate", "pagination.todate"), request_checksum())
        since, until = (read_day(f"pagination.{name}", fields[f"pagination.{name}"]) for name in ("fromdate", "todate"))
        number = read_count("pagination.pageno", fields.get("pagination.pageno") or "1")
        default = str(min(max(self._desk.knobs.count("list_page_size"), 1), RECORDS_MAX))
        size = read_count("pagination.records", fields.get("pagination.records") or default)
        wanted = fields.get("status", "")
        clause = "WHERE created_at >= ? AND created_at < ? AND ? IN ('', status) ORDER BY number DESC LIMIT ? OFFSET ?"
        store = self._desk.store
        found = store.payments.all(clause, since, until + DAY_S, wanted, size, (number - 1) * size)
        after = self._desk.till.after_refund
        shown = [listed_shape(payment, after, store.paid_out(payment)) for payment in found]
        return {"result": result(FOUND), "timestamp": timestamp(), "transaction": shown}

    # ---- registered cards

    def register(self, call: Call) -> Body:
        """Register a card without a payment."""
        fields = call.fields
        required = ("card.number", "paymentBrand", "paymentMode")
        self._desk.check(fields, required, request_checksum(fields.get("card.number", "")))
        brand, card = read_brand(fields), read_card(fields)
        if card.is_expired():
            raise malformed("card.expiryYear")
        customer_id, dedupe = fields.get("customer.customerId", ""), self._desk.knobs.flag("dedupe_tokens")
        token = self._desk.store.register(card, customer_id, fields["paymentMode"], brand, dedupe=dedupe)
        head = {"registrationId": token, "memberId": MEMBER_ID, "paymentBrand": brand}
        return {**head, "paymentMode": fields["paymentMode"], "timestamp": timestamp(), "result": result(OK)}

    def delete(self, call: Call) -> Body:
        """Delete a registered card; it can be paid with no more (D-74)."""
        self._desk.check(call.fields, (), request_checksum(call.id))
        found = self._desk.store.usable_registration(call.id)
        if found is None:
            raise RefusalError(NOT_USABLE)
        found.is_active = False
        self._desk.store.registrations.save(found)
        return {"registrationId": found.id, "timestamp": timestamp(), "result": result(OK)}

    def registrations(self, call: Call) -> Body:
        """List registered cards, of one customer or of all."""
        self._desk.check(call.fields, (), request_checksum())
        customer_id = call.fields.get("customer.customerId", "")
        clause = "WHERE is_active AND ? IN ('', customer_id) ORDER BY rowid LIMIT ?"
        return registrations_shape(self._desk.store.registrations.all(clause, customer_id, RECORDS_MAX), customer_id)


def read_day(name: str, text: str) -> float:
    """Return when a day, written dd/mm/yyyy, begins on the server's wall clock."""
    if not re.fullmatch(r"[0-9]{2}/[0-9]{2}/[0-9]{4}", text):
        raise malformed(name)
    try:
        return datetime.strptime(text, "%d/%m/%Y").replace(tzinfo=SERVER_ZONE).timestamp()
    except ValueError as problem:
        raise malformed(name) from problem


def read_count(name: str, text: str) -> int:
    """Read a small whole number from 1."""
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= RECORDS_MAX:
        raise malformed(name)
    return int(text)
