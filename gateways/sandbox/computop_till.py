"""The till: the one place where a payment changes, and where that is booked, told and remembered."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from urllib.parse import quote

from gateways.sandbox.computop_cards import (
    AUTHENTICATION,
    EXPIRED,
    FINE,
    UNKNOWN,
    card_shape,
    is_over,
    new_scheme_reference,
)
from gateways.sandbox.computop_crypto import Account, seal
from gateways.sandbox.computop_store import Consent, KeptAnswer, Notice, Payment, Step, Store
from gateways.sandbox.computop_values import (
    CARD,
    ENCRYPTION_PASSWORD,
    HMAC_PASSWORD,
    MERCHANT_ID,
    MODULES,
    SECURE,
    SUCCESS,
    WALLET,
    RefusalError,
    described,
)
from gateways.sandbox.faults import DEFAULT_LATE_MS, Facts, Faults, Luck
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Booking, Ledger, utc_text
from gateways.sandbox.push import Sender

Pairs = dict[str, str]
SIMULATED = re.compile(r"Test:\s?([0-9]{4})")
# What the last two digits of an AccountId make of a confirmed sale.
DECLINING_ACCOUNTS = {"00": "0053", "01": "0100"}
# The app of the one never hands its customer's confirmation on; the shop of the other is deaf to two notifications.
SILENT_ACCOUNT, DEAF_ACCOUNT = "02", "03"
DEAF_TRIES = 2
SUSPENDED = "suspended"


def new_id() -> str:
    """Make up a PayID or XID."""
    return secrets.token_hex(16)


def code_of(payment: Payment, detail: str) -> str:
    """Write why something failed; a detail of eight characters is a whole code."""
    module = SECURE if (payment.method, detail) == (CARD, AUTHENTICATION) else MODULES[payment.method]
    return detail if len(detail) == len(SUCCESS) else f"2{module}{detail.zfill(4)}"


def simulated_detail(request: Mapping[str, str]) -> str:
    """Return the detail that a request in simulation mode asks for, or an empty text."""
    found = SIMULATED.match(request.get("orderdesc", ""))
    return found[1] if found else ""


class Till:
    """Moves payments and whatever follows from it; call inside a booking."""

    def __init__(self, store: Store, ledger: Ledger, sender: Sender, knobs: Knobs, faults: Faults) -> None:
        self.store = store
        self.ledger = ledger
        self.sender = sender
        self.knobs = knobs
        self._faults = faults

    def account(self) -> Account:
        """Return the merchant's credentials as the settings have them now."""
        is_aes = self.knobs.text("cipher") == "aes"
        fill = b"\0" if self.knobs.text("answer_fill") == "zero" else b" "
        return Account(MERCHANT_ID, ENCRYPTION_PASSWORD.encode(), HMAC_PASSWORD.encode(), is_aes, fill)

    def luck(self, operation: str, payment: Payment) -> Luck:
        """Make the luck of something that no call causes."""
        facts = Facts(operation, payment.trans_id, self.profile(payment), payment.amount, payment.currency, books=True)
        facts.merchant_reference = payment.ref_nr
        return Luck(self._faults, facts)

    def profile(self, payment: Payment) -> str:
        """Return what a payment is paid by, as the ledger shows it."""
        return payment.pcnr or payment.sent.get("accountid", "")

    # ---- a payment

    def open(self, given: Pairs, method: str) -> Payment:
        """Begin a payment."""
        is_page = "urlsuccess" in given
        payment = Payment(
            pay_id=new_id(),
            xid=new_id(),
            method=method,
            trans_id=given["transid"],
            ref_nr=given.get("refnr", ""),
            req_id=given.get("reqid", ""),
            amount=int(given["amount"]),
            currency=given["currency"],
            takes_at_once=method == WALLET or given.get("capture") == "AUTO",
            request=json.dumps(given),
            page=new_id() if is_page else "",
            expires_at=time.time() + self.knobs.seconds("page_life_s") if is_page else 0.0,
        )
        self.store.payments.add(payment)
        return payment

    def verdict(self, payment: Payment, luck: Luck, *, is_with_customer: bool = True) -> str:
        """Return the detail that the rules, the simulation mode, and then the card or the account decide on."""
        rule = luck.draw("outcome")
        if rule:
            return rule.detail or SUSPENDED
        return simulated_detail(payment.sent) or self._detail(payment, is_with_customer)

    def conclude(self, payment: Payment, detail: str, luck: Luck) -> None:
        """Do what was decided."""
        if detail == SUSPENDED:
            self.suspend(payment, luck)
        elif detail == FINE:
            self.approve(payment, luck)
        else:
            self.decline(payment, code_of(payment, detail), luck)

    def _detail(self, payment: Payment, is_with_customer: bool) -> str:
        if payment.method == WALLET:
            return DECLINING_ACCOUNTS.get(payment.sent["accountid"][-2:], FINE)
        card = self.store.cards.get(payment.pcnr)
        if card is None:
            return UNKNOWN
        if card.detail == AUTHENTICATION and is_with_customer:
            return FINE
        return EXPIRED if card.detail == FINE and is_over(card.expiry) else card.detail

    def approve(self, payment: Payment, luck: Luck) -> None:
        """Take the money, or reserve it where it shall be captured later."""
        self._book_first(payment, "booked" if payment.takes_at_once else "reserved")
        payment.authorised = payment.amount
        payment.captured = payment.amount if payment.takes_at_once else 0
        payment.state = "paid" if payment.takes_at_once else "authorized"
        if payment.method == WALLET:
            payment.transaction_id = f"PB{payment.number:010d}"
        elif not payment.scheme_reference:
            self._put_on_file(payment)
        self._finish(payment, self._good_status(payment), SUCCESS, luck)

    def _put_on_file(self, payment: Payment) -> None:
        """Give a payment with its holder present a scheme reference, which counts later if they consented to that."""
        payment.scheme_reference = new_scheme_reference()
        if "credentialonfile" in payment.sent:
            self.store.consents.add(Consent(payment.scheme_reference, payment.pcnr))

    def _good_status(self, payment: Payment) -> str:
        if payment.method == WALLET:
            return self.knobs.text("sale_status")
        return "OK" if payment.takes_at_once else "AUTHORIZED"

    def decline(self, payment: Payment, code: str, luck: Luck) -> None:
        """Refuse for good."""
        self.book_declined(payment)
        payment.state = "failed"
        self._finish(payment, "FAILED", code, luck)

    def book_declined(self, payment: Payment) -> None:
        """Book a try that was declined."""
        self._book_first(payment, "declined")

    def suspend(self, payment: Payment, luck: Luck) -> None:
        """Accept without a result, which comes when a tester moves the payment."""
        self._book_first(payment, "pending")
        payment.state = "pending"
        self._finish(payment, "PENDING", f"6{MODULES[payment.method]}0000", luck)

    def expire(self, payment: Payment, luck: Luck) -> None:
        """Give up waiting for the customer; a timeout at their bank is not final for a ReqId."""
        self.decline(payment, f"2{SECURE if payment.is_at_bank else MODULES[payment.method]}0051", luck)

    def pass_time(self) -> bool:
        """Give up the payments whose customer did not come in time; say whether there were any."""
        clause = "WHERE state = 'open' AND expires_at > 0 AND expires_at <= ? LIMIT 500"
        late = self.store.payments.all(clause, time.time())
        if late:
            with self.ledger.together():
                for payment in late:
                    self.expire(payment, self.luck("Provider", payment))
        return bool(late)

    def _finish(self, payment: Payment, status: str, code: str, luck: Luck) -> None:
        payment.status = payment.last_status = status
        payment.code = code
        self.store.payments.save(payment)
        self._tell(payment, luck)
        is_bank_timeout = payment.is_at_bank and code.endswith("0051")
        if payment.state != "pending" and not is_bank_timeout:
            self.keep(payment.req_id, self.result(payment))

    # ---- steps and the ledger

    def _book_first(self, payment: Payment, state: str) -> None:
        """Book a sale or authorisation; one left pending is decided in the row it has."""
        pending = self.store.last_step(payment) if payment.state == "pending" else None
        if pending:
            self.restate(pending, state)
        else:
            kind = "sale" if payment.takes_at_once else "authorisation"
            self.book(payment, kind, state, payment.amount, payment.xid, payment.sent, can_undo=state != "declined")

    def book(
        self, payment: Payment, kind: str, state: str, amount: int, xid: str, given: Pairs, *, can_undo: bool
    ) -> None:
        """Book one step under a row of the ledger; `given` are the words of the request that asked for it."""
        who, gateway = self.profile(payment), self.ledger.gateway
        currency, at = payment.currency, utc_text()
        row = Booking(0, gateway, payment.trans_id, payment.pay_id, kind, amount, currency, state, who, at)
        own = [given.get(name, "") for name in ("transid", "refnr", "reqid")]
        number = self.ledger.bookings.add(row)
        self.store.steps.add(Step(number, payment.number, kind, amount, xid, own[0], own[1], own[2], not can_undo))

    def captured(self, payment: Payment, amount: int) -> None:
        """Count a capture; when all is taken, nothing stays reserved."""
        payment.captured += amount
        if payment.captured == payment.authorised:
            payment.state = "paid"
            self.ledger.restate(payment.pay_id, "authorisation", "reserved", "captured")

    def undo(self, payment: Payment, step: Step) -> None:
        """Take a step back, and what it counted."""
        step.is_undone = True
        self.store.steps.save(step)
        self.restate(step, "reversed")
        if step.kind == "refund":
            payment.credited -= step.amount
        elif step.kind == "capture":
            payment.captured, payment.state = payment.captured - step.amount, "authorized"
            self.ledger.restate(payment.pay_id, "authorisation", "captured", "reserved")
        else:
            payment.authorised, payment.captured, payment.state = 0, 0, "reversed"

    def restate(self, step: Step, state: str) -> None:
        """Say how things stand now with the row of a step."""
        row = self.ledger.bookings.get(step.id)
        if row:
            row.state = state
            self.ledger.bookings.save(row)

    # ---- what the merchant hears

    def result(self, payment: Payment) -> Pairs:
        """Write the result of a payment (reference sections 5.4 and 12)."""
        sent, card = payment.sent, self.store.cards.get(payment.pcnr)
        pairs = {"mid": MERCHANT_ID, "PayID": payment.pay_id, "XID": payment.xid, "TransID": payment.trans_id}
        pairs["RefNr"] = payment.ref_nr
        if payment.method == WALLET:
            pairs["TransactionID"] = payment.transaction_id
        pairs |= {"Status": payment.status, "Description": described(payment.code), "Code": payment.code}
        echoes = {name: sent.get(name.lower(), "") for name in ("UserData", "Plain", "Custom")}
        echoes["schemeReferenceID"] = payment.scheme_reference
        if card and payment.method == CARD:
            echoes["card"] = card_shape(card, is_masked=self.knobs.text("card_number") == "masked")
        return pairs | {name: value for name, value in echoes.items() if value}

    def signed(self, pairs: Pairs) -> Pairs:
        """Add the MAC that a result has where it comes through the browser or as a notification."""
        signed = (pairs[name] for name in ("PayID", "TransID", "mid", "Status", "Code"))
        return pairs | {"MAC": self.account().mac(*signed)}

    def _tell(self, payment: Payment, luck: Luck) -> None:
        url = payment.sent.get("urlnotify", "")
        fault = luck.fault("notification") if url else "no_notification"
        if fault == "no_notification":
            return
        rule = luck.draw("notification")
        late_s = (rule.ms or DEFAULT_LATE_MS) / 1000 if rule and fault == "late_notification" else 0.0
        length, data = seal(self.account(), self.signed(self.result(payment)))
        body = "&".join([f"Len={length}&Data={data}", *clear_words(payment.sent)])
        notice = Notice(new_id(), body)
        self.store.notices.add(notice)
        for _ in range(2 if fault == "duplicate_notification" else 1):
            self.sender.queue(payment.pay_id, notice.id, url, late_s)

    def is_answered(self, payment: Payment) -> bool:
        """Say whether the merchant has taken a notification of a payment, if it is one that has any."""
        taken = self.sender.pushes.first("WHERE gateway_id = ? AND status = 'OK'", payment.pay_id)
        return taken is not None or "urlnotify" not in payment.sent

    # ---- repetitions

    def refuse_known(self, given: Pairs) -> None:
        """Refuse a TransID or RefNr that was used before, where the account is set to."""
        if not self.knobs.flag("refuse_duplicates"):
            return
        if detail := self.store.is_known(given["transid"], given.get("refnr", "")):
            raise RefusalError(f"4017{detail}")

    def keep(self, req_id: str, pairs: Pairs) -> None:
        """Remember the final answer to a ReqId; the first one stays."""
        if req_id and self.kept(req_id) is None:
            self.store.answers.remove("WHERE req_id = ?", req_id)
            expires_at = time.time() + self.knobs.seconds("req_id_memory_s")
            self.store.answers.add(KeptAnswer(req_id, json.dumps(pairs), expires_at))

    def kept(self, req_id: str) -> Pairs | None:
        """Return the final answer to a ReqId, if there was one and it is not forgotten."""
        found = self.store.answers.get(req_id) if req_id else None
        if found is None or found.expires_at <= time.time():
            return None
        pairs: Pairs = json.loads(found.pairs)
        return pairs


def clear_words(sent: Mapping[str, str]) -> list[str]:
    """Write what a merchant wants back in clear: Plain, and Custom with its pipes become ampersands."""
    plain = [f"Plain={quote(sent['plain'], encoding='latin-1')}"] if "plain" in sent else []
    custom = sent["custom"].split("|") if "custom" in sent else []
    return plain + [quote(part, safe="=", encoding="latin-1") for part in custom if part]
