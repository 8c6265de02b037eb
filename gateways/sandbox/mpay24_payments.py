"""Payments and payouts that a merchant's server starts: AcceptPayment, AcceptWithdraw, ManualCallback."""

from collections.abc import Callable

from gateways.sandbox.faults import Luck
from gateways.sandbox.mpay24_desk import Desk
from gateways.sandbox.mpay24_instruments import (
    APPROVED,
    Verdict,
    account_of,
    asks_shopper,
    card_of,
    cb_of,
    maestro_of,
    need,
    payout_account_of,
    paypal_account,
    verdict,
)
from gateways.sandbox.mpay24_refusals import RefusalError, not_correct, not_entered
from gateways.sandbox.mpay24_store import Instrument, Profile, Transaction
from gateways.sandbox.mpay24_till import packed
from gateways.sandbox.mpay24_values import REDIRECT_TYPES, brands_of
from gateways.sandbox.mpay24_wire import Answer, Record, node

READERS: dict[str, Callable[[Record], Instrument]] = {
    "CC": card_of,
    "CB": cb_of,
    "MAESTRO": maestro_of,
    "ELV": account_of,
}
PAYOUT_READERS: dict[str, Callable[[Record], Instrument]] = {
    "CC": card_of,
    "MAESTRO": maestro_of,
    "ELV": payout_account_of,
}
# What other types must be told, where they are sent with the type of their own.
NEEDED = {
    "EPS": ("brand",),
    "PB": ("identifier",),
    "GIROPAY": ("bic",),
    "BILLPAY": ("brand",),
    "KLARNA": ("brand", "personalNumber"),
    "POSTFINANCE": ("brand",),
    "ELVSECURE": ("brand",),
    "IDEAL": ("bank",),
}
# Types whose payer transfers the money later, at a time of their own.
WAITING_TYPES = frozenset(("PREPAYMENT",))


def check_kind(record: Record, payment_type: str, *prefixes: str) -> None:
    """Refuse a part whose type belongs to another payment type; the base type belongs to all."""
    names = {prefix + payment_type.replace("-", "") for prefix in prefixes}
    if payment_type == "PROFILE" and record.kind.startswith("ProfilePayment"):
        return
    if record.kind not in names | set(prefixes):
        raise RefusalError("PTYPE_MISMATCH")


class Payments:
    """Operations that take money or pay it out."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def accept_payment(self, record: Record, luck: Luck) -> Answer:
        """Charge at once, or send the shopper to a page first. A tid used before is charged again."""
        desk, payment = self._desk, record.part("payment")
        need(record, "tid", "pType", "payment")
        desk.check_lengths(record)
        desk.check_urls(record)
        desk.check_money(payment)
        desk.check_active(record.text("pType"))
        check_kind(payment, record.text("pType"), "Payment")
        instrument = self._instrument(record, payment)
        transaction = self._transaction(record, payment, instrument)
        self._want_profile(record, payment, instrument, transaction)
        forced = desk.forced(luck)
        desk.till.open(transaction)
        if forced is None and self._needs_shopper(record, payment, instrument):
            step = "secure" if instrument.expiry else "wallet"
            return desk.redirected(transaction, step, luck)
        return desk.settle(transaction, forced or self._verdict(instrument), luck)

    def _needs_shopper(self, record: Record, payment: Record, instrument: Instrument) -> bool:
        if record.text("pType") == "PROFILE" and not payment.flag("auth3DS"):
            return False
        wants_3ds = bool(payment.flag("auth3DS")) or instrument.needs_3ds
        return instrument.p_type in REDIRECT_TYPES or asks_shopper(instrument, wants_3ds=wants_3ds)

    def _verdict(self, instrument: Instrument) -> Verdict:
        return Verdict("wait") if instrument.p_type in WAITING_TYPES else verdict(instrument)

    def _instrument(self, record: Record, payment: Record) -> Instrument:
        payment_type = record.text("pType")
        if payment_type == "PROFILE":
            return self._profile(record, payment).instrument()
        if payment_type == "TOKEN":
            need(payment, "token")
            return self._desk.take_token(payment.text("token"))
        if payment_type == "ELV":
            need(record, "customerName")
            need(record.part("order"), "clientIP")
        if payment_type in READERS:
            return READERS[payment_type](payment)
        return other_instrument(payment_type, payment)

    def _profile(self, record: Record, payment: Record) -> Profile:
        need(record, "customerID")
        found = self._desk.store.profiles_of(record.text("customerID"))
        if self._desk.knobs.text("profile_mode") == "interactive":
            need(payment, "profileID")
            found = [profile for profile in found if profile.profile_id == payment.text("profileID")]
        if not found:
            raise RefusalError("PROFILE_NOT_FOUND")
        return found[-1]

    def _transaction(self, record: Record, money: Record, instrument: Instrument) -> Transaction:
        order, knobs = record.part("order"), self._desk.knobs
        manual = money.flag("manualClearing")
        return Transaction(
            tid=record.text("tid"),
            p_type=instrument.p_type,
            brand=instrument.brand,
            amount=money.number("amount") or 0,
            currency=money.text("currency"),
            operation=record.kind,
            customer_id=record.text("customerID"),
            customer_name=record.text("customerName"),
            email=order.part("billing").text("email"),
            language=self._desk.language(record),
            user_field=order.text("userField"),
            description=order.text("description"),
            confirmation_url=record.text("confirmationURL"),
            success_url=record.text("successURL"),
            error_url=record.text("errorURL"),
            manual_clearing=not knobs.flag("automatic_clearing") if manual is None else manual,
            callback_owed=instrument.p_type == "PAYPAL" and money.flag("commit") is False,
        )

    def _want_profile(self, record: Record, payment: Record, instrument: Instrument, transaction: Transaction) -> None:
        transaction.profile_id = payment.text("profileID")
        if record.text("pType") == "PROFILE":
            transaction.profile_status = "USED"
        elif payment.flag("useProfile"):
            need(record, "customerID")
            self._desk.check_profile_room(transaction.customer_id, transaction.profile_id)
            transaction.to_store = packed(instrument)

    # ---- payouts

    def accept_withdraw(self, record: Record, luck: Luck) -> Answer:
        """Pay money out to a card, an account or a stored profile."""
        desk, withdraw = self._desk, record.part("withdraw")
        need(record, "tid", "pType", "withdraw")
        desk.check_lengths(record)
        desk.check_urls(record)
        desk.check_money(withdraw)
        if not desk.knobs.flag("withdraw_allowed"):
            raise RefusalError("WITHDRAW_NOT_ALLOWED")
        check_kind(withdraw, record.text("pType"), "Withdraw")
        instrument = self._payout_instrument(record, withdraw)
        transaction = self._transaction(record, withdraw, instrument)
        transaction.profile_status = "USED" if record.text("pType") == "PROFILE" else "IGNORED"
        forced = desk.forced(luck)
        desk.till.open(transaction)
        return self._pay_out(transaction, forced or verdict(instrument), luck)

    def _payout_instrument(self, record: Record, withdraw: Record) -> Instrument:
        payment_type = record.text("pType")
        if payment_type == "PROFILE":
            return self._profile(record, withdraw).instrument()
        if payment_type not in PAYOUT_READERS:
            raise RefusalError("OPERATION_NOT_SUPPORTED")
        return PAYOUT_READERS[payment_type](withdraw)

    def _pay_out(self, transaction: Transaction, said: Verdict, luck: Luck) -> Answer:
        till = self._desk.till
        if said.word == "decline":
            return self._desk.settle(transaction, said, luck)
        if said.word == "approve":
            till.enter(transaction, "WITHDRAWN", transaction.amount, luck)
        else:
            till.suspend(transaction, "" if said.word == "wait" else "WITHDRAWN", luck)
        return Answer(self._desk.success_code(transaction), node("mpayTID", transaction.mpay_tid))

    # ---- PayPal, second half

    def manual_callback(self, record: Record, luck: Luck) -> Answer:
        """Finish a PayPal payment that was started with commit=false: take it, in part if asked, or call it off."""
        transaction = self._desk.find(record.number("mpayTID"))
        need(record, "paymentCallback")
        callback = record.part("paymentCallback")
        if transaction.p_type != "PAYPAL":
            raise RefusalError("OPERATION_NOT_SUPPORTED")
        if transaction.state != "SUSPENDED" or not transaction.callback_owed:
            raise RefusalError("ALREADY_PROCESSED")
        amount = callback.number("amount")
        if amount is not None and not 1 <= amount <= transaction.amount:
            raise RefusalError("INVALID_AMOUNT")
        forced = self._desk.forced(luck)
        transaction.callback_owed = False
        transaction.amount = amount or transaction.amount
        if callback.flag("cancel"):
            self._desk.till.decline(transaction, 0, "", luck)
            return Answer("OK", node("mpayTID", transaction.mpay_tid))
        return self._desk.settle(transaction, forced or APPROVED, luck)


def other_instrument(payment_type: str, payment: Record) -> Instrument:
    """Read what the types without card or account need; the base type names no brand of its own."""
    if payment_type == "PAYPAL":
        return paypal_account()
    need(payment, *NEEDED.get(payment_type, ()))
    brands = brands_of(payment_type)
    brand = payment.text("brand") or brands[0]
    if payment.has("brand") and not payment.text("brand"):
        raise not_entered("brand")
    if brand not in brands:
        raise not_correct("brand")
    return Instrument(payment_type, brand)
