"""What the merchant's server asks for: charges without the customer, credits, captures, reversals, questions."""

from collections.abc import Callable
from dataclasses import dataclass

from gateways.sandbox.computop_json import read_card
from gateways.sandbox.computop_store import Payment
from gateways.sandbox.computop_till import Pairs, Till, code_of, new_id
from gateways.sandbox.computop_values import (
    CARD,
    INTERNAL,
    MERCHANT_ID,
    MODULES,
    SUCCESS,
    WALLET,
    RefusalError,
    described,
)
from gateways.sandbox.faults import Luck


@dataclass(slots=True)
class Call:
    """One call: what it does, its parameters by their names in small letters, and its luck."""

    operation: str
    given: Pairs
    luck: Luck


@dataclass(slots=True)
class Wish:
    """What a follow-up shall do, by which step."""

    call: Call
    xid: str
    amount: int


# Does something to a payment, or names the detail that is in the way.
Act = Callable[[Payment, Wish], str]
NOT_FOUND = f"2{INTERNAL}0061"


def answer(given: Pairs, xid: str, status: str, code: str, **more: str) -> Pairs:
    """Write the answer to a call about a payment; it has no MAC."""
    pairs = {"mid": MERCHANT_ID, "PayID": given.get("payid", ""), "XID": xid, "TransID": given.get("transid", "")}
    if "refnr" in given:
        pairs["RefNr"] = given["refnr"]
    return pairs | {"Status": status, "Description": described(code), "Code": code} | more


class Calls:
    """Does what is asked, on the till."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self.operations: dict[str, Callable[[Call], Pairs]] = {
            "Direct": self.direct,
            "Credit": self.credit,
            "Capture": self.capture,
            "Reverse": self.reverse,
            "Inquire": self.inquire,
            "Inquire24": self.inquire,
        }

    def direct(self, call: Call) -> Pairs:
        """Charge a card on file without its holder (reference section 12)."""
        given = call.given
        self._till.refuse_known(given)
        card, reference = read_card(given["card"]), given["schemereferenceid"]
        stored = self._till.store.cards.get(card["number"])
        if stored:
            consent = self._till.store.consents.get(reference)
            if self._till.knobs.flag("check_scheme_reference") and (not consent or consent.pcnr != stored.pcnr):
                raise RefusalError("40160F11")
            # A renewed card has its old pseudo number and a new expiry, which the merchant may know first.
            stored.expiry = card["expiryDate"]
            self._till.store.cards.save(stored)
        kept = {name: value for name, value in given.items() if name != "card" and not name.startswith("url")}
        payment = self._till.open(kept, CARD)
        payment.pcnr, payment.scheme_reference = card["number"] if stored else "", reference
        self._till.conclude(payment, self._till.verdict(payment, call.luck, is_with_customer=False), call.luck)
        return self._till.result(payment)

    # ---- what follows a payment

    def credit(self, call: Call) -> Pairs:
        """Give money back, at most what was taken (reference section 6)."""
        return self._follow(call, f"2{MODULES[WALLET]}0600", self._credit)

    def capture(self, call: Call) -> Pairs:
        """Take what was reserved, whole or in part; not for PaybackPay (reference section 11)."""
        return self._follow(call, NOT_FOUND, self._capture)

    def reverse(self, call: Call) -> Pairs:
        """Undo whatever the last step was; not for PaybackPay."""
        return self._follow(call, NOT_FOUND, self._reverse)

    def _follow(self, call: Call, unknown: str, act: Act) -> Pairs:
        given, till, xid = call.given, self._till, new_id()
        payment = till.store.payment(given["payid"])
        till.refuse_known({"transid": given["transid"]})
        if payment and given["currency"] != payment.currency:
            raise RefusalError("40160006")
        pairs = self._acted(call, payment, xid, act) if payment else answer(given, xid, "FAILED", unknown)
        till.keep(given.get("reqid", ""), pairs)
        return pairs

    def _acted(self, call: Call, payment: Payment, xid: str, act: Act) -> Pairs:
        is_early = self._till.knobs.flag("credit_waits_for_notification") and not self._till.is_answered(payment)
        detail = "0062" if is_early else act(payment, Wish(call, xid, int(call.given["amount"])))
        payment.last_status = "FAILED" if detail else "OK"
        self._till.store.payments.save(payment)
        return answer(call.given, xid, payment.last_status, code_of(payment, detail) if detail else SUCCESS)

    def _credit(self, payment: Payment, wish: Wish) -> str:
        if not payment.captured:
            return "0069"
        if payment.credited + wish.amount > payment.captured:
            return "0601"
        detail = self._book(payment, "refund", "booked", wish)
        payment.credited += 0 if detail else wish.amount
        return detail

    def _capture(self, payment: Payment, wish: Wish) -> str:
        left = payment.authorised - payment.captured
        if payment.method == WALLET:
            return "0081"
        if not left:
            return "0072" if payment.captured else "0069"
        if wish.amount > left:
            return "0074"
        detail = self._book(payment, "capture", "booked", wish)
        if not detail:
            self._till.captured(payment, wish.amount)
        return detail

    def _reverse(self, payment: Payment, wish: Wish) -> str:
        step = self._till.store.last_step(payment)
        if payment.method == WALLET:
            return "0081"
        if step is None or payment.state == "pending":
            return "0709" if step else "0069"
        if wish.amount != step.amount:
            raise RefusalError("40160005")
        detail = self._book(payment, "reversal", "reversed", wish, can_undo=False)
        if not detail:
            self._till.undo(payment, step)
        return detail

    def _book(self, payment: Payment, kind: str, state: str, wish: Wish, *, can_undo: bool = True) -> str:
        """Book a step, or one declined where a rule says so, and return the detail of that."""
        rule = wish.call.luck.draw("outcome")
        detail = rule.detail if rule else ""
        shown = "declined" if detail else state
        self._till.book(payment, kind, shown, wish.amount, wish.xid, wish.call.given, can_undo=can_undo and not detail)
        return detail

    # ---- questions

    def inquire(self, call: Call) -> Pairs:
        """Say how a payment stands; status and code are those of the question (reference section 10)."""
        given, store = call.given, self._till.store
        by_id = call.operation == "Inquire"
        payment = store.payment(given["payid"]) if by_id else store.newest(given["transid"])
        if payment is None or not store.has_step(payment, given["transid"]):
            return answer(given, new_id(), "FAILED", NOT_FOUND)
        rule = call.luck.draw("outcome")
        if rule:
            return answer(given, new_id(), "FAILED", code_of(payment, rule.detail))
        amounts = {"AmountAuth": payment.authorised, "AmountCap": payment.captured, "AmountCred": payment.credited}
        return {
            **answer(given | {"payid": payment.pay_id}, payment.xid, "OK", SUCCESS),
            "LastStatus": payment.last_status,
            **{name: str(amount) for name, amount in amounts.items()},
            "Currency": payment.currency,
        }
