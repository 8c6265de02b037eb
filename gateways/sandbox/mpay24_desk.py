"""What every operation of the simulated mPAY24 works with: its tables, its till, its account and its usual checks."""

import json
import re
import secrets
import time
from dataclasses import dataclass

from gateways.sandbox.faults import Luck
from gateways.sandbox.knobs import Knobs
from gateways.sandbox.mpay24_instruments import Verdict
from gateways.sandbox.mpay24_refusals import RefusalError, not_correct, not_entered
from gateways.sandbox.mpay24_store import Instrument, Page, Store, Token, Transaction
from gateways.sandbox.mpay24_till import Till, packed
from gateways.sandbox.mpay24_values import CURRENCIES, LENGTHS, PAGE_PATH, TRIED_CODES, error_number, language_code
from gateways.sandbox.mpay24_wire import Answer, Record, node
from gateways.sandbox.push import Sender

URL_PATTERN = re.compile(r"https?://\S{5,2040}", re.IGNORECASE)


@dataclass(slots=True)
class Desk:
    """The simulated account, as operations see it."""

    store: Store
    till: Till
    sender: Sender
    knobs: Knobs
    base_url: str = ""

    # ---- checks

    def check_lengths(self, record: Record) -> None:
        """Refuse a text that is too long for its element, anywhere in a message."""
        for name, value in record.values.items():
            if isinstance(value, Record):
                self.check_lengths(value)
            elif isinstance(value, list):
                for part in value:
                    self.check_lengths(part)
            elif isinstance(value, str) and name in LENGTHS and len(value) > self.knobs.count(f"max_length.{name}"):
                raise not_correct(name)

    def check_urls(self, record: Record) -> None:
        """Refuse an address that is none."""
        for name in ("successURL", "errorURL", "confirmationURL"):
            if record.text(name) and not URL_PATTERN.fullmatch(record.text(name)):
                raise not_correct(name)

    def check_money(self, record: Record) -> None:
        """Refuse an amount or currency that cannot be charged."""
        amount = record.number("amount")
        if amount is None:
            raise not_entered("amount")
        if not record.text("currency"):
            raise not_entered("currency")
        if record.text("currency") not in CURRENCIES:
            raise not_correct("currency")
        if amount < max(1, self.knobs.count("min_amount")):
            raise RefusalError("INVALID_AMOUNT")

    def check_active(self, payment_type: str) -> None:
        """Refuse a payment type that the account does not have."""
        if payment_type not in self.knobs.words("active_payment_types"):
            raise RefusalError("PAYMENT_METHOD_NOT_ACTIVE")

    def check_profile_room(self, customer_id: str, profile_id: str) -> None:
        """Refuse one profile more than a customer may have; in the recurring mode a new one replaces the old."""
        if self.knobs.text("profile_mode") != "interactive":
            return
        existing = self.store.profiles_of(customer_id)
        is_new = all(profile.profile_id != profile_id for profile in existing)
        if is_new and len(existing) >= self.knobs.count("profile_count_max"):
            raise RefusalError("PROFILE_COUNT_EXCEEDED")

    def language(self, record: Record) -> str:
        """Return the language of a message, by default the account's."""
        return language_code(record.text("language"), self.knobs.text("default_language"))

    def find(self, mpay_tid: int | None) -> Transaction:
        """Return the transaction with this number, or refuse."""
        if mpay_tid is None:
            raise not_entered("mpayTID")
        found = self.store.transactions.get(mpay_tid)
        if found is None:
            raise RefusalError("NOT_FOUND")
        return found

    # ---- pages and tokens

    def open_page(self, kind: str, order: dict[str, object], language: str, mpay_tid: int = 0) -> Page:
        """Open a hosted page under an address nobody can guess."""
        expires_at = time.time() + self.knobs.seconds("paypage_lifetime_s")
        page = Page(secrets.token_hex(16), kind, json.dumps(order), language, expires_at, True, mpay_tid, 0)
        self.store.pages.add(page)
        return page

    def location(self, page: Page) -> str:
        """Return the address of a page."""
        return f"{self.base_url}{PAGE_PATH}{page.id}"

    def take_token(self, token: str) -> Instrument:
        """Use a token up and return what it stands for, or refuse it."""
        found = self.store.tokens.get(token)
        if found is None or found.is_used:
            raise RefusalError("TOKEN_NOT_FOUND")
        if found.expires_at < time.time():
            raise RefusalError("TOKEN_EXPIRED")
        if not found.instrument:
            raise RefusalError("TOKEN_NOT_VALID")
        found.is_used = True
        self.store.tokens.save(found)
        return Instrument(**json.loads(found.instrument))

    def new_token(self, instrument: Instrument | None) -> Token:
        """Make a token, empty or already standing for an instrument."""
        expires_at = time.time() + self.knobs.seconds("token_lifetime_s")
        token = Token(secrets.token_urlsafe(24), packed(instrument) if instrument else "", expires_at, False)
        self.store.tokens.add(token)
        return token

    # ---- outcomes

    def forced(self, luck: Luck) -> Verdict | None:
        """Return the outcome that a rule forces, if any; one that no issuer gives is a refusal."""
        rule = luck.draw("outcome")
        if rule is None:
            return None
        if rule.fault == "suspend":
            return Verdict("wait")
        if rule.detail not in TRIED_CODES:
            raise RefusalError(rule.detail, rule.text)
        return Verdict("decline", rule.detail, rule.text)

    def refuse_if_forced(self, luck: Luck) -> None:
        """Refuse a call that makes no try of its own where a rule says so; everything stays as it was."""
        forced = self.forced(luck)
        if forced and forced.word == "decline":
            raise RefusalError(forced.code, forced.err_text)

    def settle(self, transaction: Transaction, verdict: Verdict, luck: Luck) -> Answer:
        """Do to a transaction what the issuer said, and word the answer."""
        if verdict.word == "decline":
            self.till.decline(transaction, verdict.err_no, verdict.err_text, luck)
            return declined(transaction, verdict.code)
        if verdict.word == "approve":
            self.till.approve(transaction, luck)
        elif verdict.word == "wait":
            self.till.suspend(transaction, "", luck)
        else:
            afterwards = "BILLED_REVERSAL" if verdict.word == "settle_chargeback" else ""
            self.till.suspend(transaction, "BILLED", luck, afterwards=afterwards)
        return Answer(self.success_code(transaction), node("mpayTID", transaction.mpay_tid))

    def success_code(self, transaction: Transaction) -> str:
        """Say what became of the profile, where one was meant."""
        if transaction.profile_status == "USED":
            return self.knobs.text("profile_charge_code")
        words = {"CREATED": "PROFILE_CREATED", "UPDATED": "PROFILE_UPDATED", "ERROR": "PROFILE_ERROR"}
        return words.get(transaction.profile_status, "OK")

    def redirected(self, transaction: Transaction, step: str, luck: Luck) -> Answer:
        """Send the shopper to a page where a payment is confirmed or refused."""
        page = self.open_page("step", {"step": step}, transaction.language, transaction.mpay_tid)
        self.till.wait_for_shopper(transaction, page.expires_at, luck)
        rest = node("mpayTID", transaction.mpay_tid) + node("location", self.location(page))
        return Answer("REDIRECT", rest)


def declined(transaction: Transaction, code: str) -> Answer:
    """Word the answer to a try that failed: it carries the number of the failed transaction."""
    tail = node("errNo", error_number(code)) + node("errText", transaction.err_text or None)
    return Answer(code, node("mpayTID", transaction.mpay_tid) + tail, is_ok=False)
