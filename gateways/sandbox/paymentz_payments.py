"""Payments: with a card, on top of an INITIAL, or with a registered card; and payouts (sections 5, 7, 8, 12)."""

from base64 import b64encode

from gateways.sandbox.paymentz_desk import BrokenError, Call, Desk, refuse_unless
from gateways.sandbox.paymentz_fields import (
    Body,
    Fields,
    RefusalError,
    check_cvv,
    check_number,
    check_url,
    checked_reference,
    malformed,
    read_cents,
)
from gateways.sandbox.paymentz_shapes import answer_shape, payout_shape
from gateways.sandbox.paymentz_signing import checksum, request_checksum
from gateways.sandbox.paymentz_store import Card, Payment, read_card, told_of_customer
from gateways.sandbox.paymentz_values import (
    BRAND_ALIASES,
    BRANDS,
    CARD_MODES,
    CHALLENGE_PATH,
    MEMBER_ID,
    NOT_FOUND,
    NOT_USABLE,
    SECRET_KEY,
    TOO_LARGE,
)

PURCHASE = "merchantTransactionId amount currency orderDescriptor paymentType paymentMode paymentBrand".split()
REPEATED = "merchantTransactionId amount currency paymentType".split()
WITH_TOKEN = "amount currency paymentType".split()
PAYOUT = "merchantTransactionId amount currency paymentType".split()
# What a REPEATED must not carry (D-60).
ABSENT = ("card.number", "card.cvv", "merchantRedirectUrl")
ATTEMPTS = frozenset(("", "direct", "3D", "only3D"))
PAID = frozenset(("capturesuccess", "settled"))


class Payments:
    """Makes payments and payouts."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # ---- with a card

    def purchase(self, call: Call) -> Body:
        """Debit or reserve on a card that the merchant sends."""
        fields = call.fields
        signed = request_checksum(fields.get("merchantTransactionId", ""), fields.get("amount", ""))
        self._desk.check(fields, PURCHASE, signed)
        brand, card = read_brand(fields), read_card(fields)
        payment = self.new(fields, card, fields["paymentMode"], brand)
        earlier = self._desk.earlier_answer(payment.reference)
        return earlier or self._try(call, payment)

    def new(self, fields: Fields, card: Card, mode: str, brand: str) -> Payment:
        """Read what a payment has wherever its card comes from; nothing is kept yet."""
        if fields["paymentType"] not in {"DB", "PA"}:
            raise malformed("paymentType")
        recurring = fields.get("recurringType", "")
        if recurring not in {"", "INITIAL", "REPEATED"}:
            raise malformed("recurringType")
        return Payment(
            reference=fields.get("merchantTransactionId", "") and checked_reference(fields),
            type=fields["paymentType"],
            cents=read_cents(fields["amount"], fields["currency"]),
            currency=fields["currency"],
            recurring=recurring,
            wants_registration=fields.get("createRegistration", "").lower() == "true",
            card=card.packed(),
            mode=mode,
            brand=brand,
            customer=told_of_customer(fields),
            descriptor=fields.get("orderDescriptor", ""),
            notification_url=check_url("notificationUrl", fields.get("notificationUrl", "")),
            redirect_url=check_url("merchantRedirectUrl", fields.get("merchantRedirectUrl", "")),
            tmpl_amount=fields.get("tmpl_amount", ""),
            tmpl_currency=fields.get("tmpl_currency", ""),
            terminal=self._desk.terminal(fields, brand, is_recurring=bool(recurring)),
        )

    def _try(self, call: Call, payment: Payment) -> Body:
        asks = wants_challenge(payment, call.fields.get("attemptThreeD", ""))
        is_challenged = asks and call.luck.draw("outcome") is None
        if is_challenged and not payment.redirect_url:
            raise malformed("merchantRedirectUrl")
        if payment.trigger == "broken":
            raise BrokenError
        self._add(payment)
        if is_challenged:
            self._desk.till.challenge(payment, call.luck)
            return self._shape(payment) | {"redirect": self._redirect(payment)}
        call.trigger = payment.trigger
        self._desk.till.charge(payment, call.luck)
        return self._shape(payment)

    def _add(self, payment: Payment) -> None:
        self._desk.store.payments.add(payment)
        # Only a payment with a token may come without an id of the merchant's; it gets one (D-71).
        payment.reference = payment.reference or f"RG-{payment.id}"

    def _shape(self, payment: Payment) -> Body:
        return answer_shape(payment, self._desk.till.after_refund)

    def _redirect(self, payment: Payment) -> Body:
        """Write where the customer is asked, and what the browser takes there (D-81)."""
        asked = b64encode(f"PaReq-{payment.id}".encode()).decode()
        pairs = {"PaReq": asked, "MD": payment.page, "TermUrl": payment.redirect_url}
        return {
            "url": f"{self._desk.base_url}{CHALLENGE_PATH}{payment.page}",
            "method": "POST",
            "target": "_self",
            "parameters": [{"name": name, "value": value} for name, value in pairs.items()],
        }

    # ---- on top of an INITIAL

    def repeated(self, call: Call) -> Body:
        """Charge the card of an INITIAL again, without its holder (D-60 to D-67)."""
        fields = call.fields
        parent_id = self._cited(call)
        own = request_checksum(fields.get("merchantTransactionId", ""), fields.get("amount", ""))
        signed = {"parent": request_checksum(parent_id, fields.get("amount", "")), "own": own}
        subject = self._desk.knobs.text("repeat_checksum_subject")
        self._desk.check(fields, REPEATED, *([signed[subject]] if subject in signed else signed.values()))
        for name in ABSENT:
            if fields.get(name):
                raise malformed(name)
        if fields["paymentType"] != "DB":
            raise malformed("paymentType")
        if earlier := self._desk.earlier_answer(checked_reference(fields)):
            return earlier
        return self._try(call, self._child(self._parent(parent_id, fields["currency"]), fields))

    def _cited(self, call: Call) -> str:
        """Return the id of the INITIAL, from the path or the body, whichever this account takes (D-60, D-32)."""
        route = self._desk.knobs.text("repeat_route")
        if route not in {"either", "path" if call.id else "body"}:
            raise RefusalError(NOT_USABLE, "REPEATED is not taken at this address")
        cited = call.fields.get("paymentId") or call.id
        if not cited or (call.id and cited != call.id):
            raise malformed("paymentId")
        return cited

    def _parent(self, payment_id: str, currency: str) -> Payment:
        found, knobs = self._desk.store.payment(payment_id), self._desk.knobs
        if found is None:
            raise RefusalError(NOT_FOUND)
        kinds = {"INITIAL", "REPEATED"} if knobs.flag("allow_child_as_parent") else {"INITIAL"}
        is_usable = found.recurring in kinds and found.status in knobs.words("repeat_parent_states")
        if not is_usable or (knobs.flag("repeat_same_currency") and found.currency != currency):
            raise RefusalError(NOT_USABLE)
        return found

    def _child(self, parent: Payment, fields: Fields) -> Payment:
        child = self.new(fields, parent.kept_card(), parent.mode, parent.brand)
        child.parent, child.registration = parent.number, parent.registration
        child.wants_registration, child.customer = False, parent.customer
        return child

    # ---- with a registered card

    def with_token(self, call: Call) -> Body:
        """Charge a registered card, with its holder or without (D-67, D-71 to D-75)."""
        fields = call.fields
        self._desk.check(fields, WITH_TOKEN, request_checksum(call.id, fields.get("amount", "")))
        registered = self._desk.store.usable_registration(call.id)
        if registered is None:
            raise RefusalError(NOT_USABLE)
        is_repeated = fields.get("recurringType") == "REPEATED"
        if fields.get("card.cvv") or (self._desk.knobs.flag("token_requires_cvv") and not is_repeated):
            check_cvv(fields.get("card.cvv", ""))
        card = Payment(card=registered.card).kept_card()
        payment = self.new(fields, card, registered.mode, registered.brand)
        payment.registration, payment.wants_registration = registered.id, False
        earlier = self._desk.earlier_answer(payment.reference) if payment.reference else None
        return earlier or self._try(call, payment)

    # ---- payouts

    def payout(self, call: Call) -> Body:
        """Send money to the card of an earlier payment, or to one that is named (D-95, D-96)."""
        fields = call.fields
        amount, reference = fields.get("amount", ""), fields.get("merchantTransactionId", "")
        self._desk.check(fields, PAYOUT, checksum(MEMBER_ID, reference, amount, SECRET_KEY))
        if fields["paymentType"] != "PO":
            raise malformed("paymentType")
        cents = read_cents(amount, fields["currency"])
        if earlier := self._desk.earlier_answer(checked_reference(fields)):
            return earlier
        payment = Payment(reference=reference, type="PO", cents=cents, currency=fields["currency"])
        payment.notification_url = check_url("notificationUrl", fields.get("notificationUrl", ""))
        self._fill_payout(payment, fields)
        self._add(payment)
        call.trigger = payment.trigger
        self._desk.till.pay_out(payment, call.luck)
        return payout_shape(payment, self._desk.till.after_refund)

    def _fill_payout(self, payment: Payment, fields: Fields) -> None:
        if not fields.get("paymentId"):
            number = check_number(fields.get("card.number", "") or fields.get("cardNumber", ""))
            payment.card = Card(number[:6], number[-4:]).packed()
        else:
            source = self._drawn_on(fields["paymentId"], payment)
            payment.parent, payment.card, payment.customer = source.number, source.card, source.customer
            payment.mode, payment.brand = source.mode, source.brand
        payment.terminal = self._desk.terminal(fields, payment.brand, is_recurring=False)

    def _drawn_on(self, payment_id: str, payment: Payment) -> Payment:
        found = self._desk.store.payment(payment_id)
        if found is None:
            raise RefusalError(NOT_FOUND)
        refuse_unless(found.status in PAID and found.currency == payment.currency, found)
        is_limited = self._desk.knobs.flag("limit_payout_to_parent")
        if is_limited and self._desk.store.paid_out(found) + payment.cents > found.captured:
            raise RefusalError(TOO_LARGE)
        return found


def read_brand(fields: Fields) -> str:
    """Return the brand by its own name, of a card payment; this account takes no others (D-44)."""
    if fields["paymentMode"] not in CARD_MODES:
        raise RefusalError(NOT_USABLE, "No terminal takes this paymentMode")
    brand = BRAND_ALIASES.get(fields["paymentBrand"], fields["paymentBrand"])
    if brand not in BRANDS:
        raise malformed("paymentBrand")
    return brand


def wants_challenge(payment: Payment, attempt: str) -> bool:
    """Say whether the customer's bank asks: as the card or the merchant wants, and never of an absent customer."""
    if attempt not in ATTEMPTS:
        raise malformed("attemptThreeD")
    if payment.recurring == "REPEATED" or attempt == "direct":
        return False
    return attempt == "only3D" or payment.kept_card().asks_challenge
