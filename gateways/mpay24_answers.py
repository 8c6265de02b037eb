"""What mPAY24's answers mean: from a reply that was read whole to an outcome.

Two rules run through all of it. `status` decides, never the return code alone; and a question that could not be
put says nothing about what was asked.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from billing.gateway import (
    Approved,
    Checkout,
    DeclineClass,
    Declined,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    ProfileNews,
    ProfileReference,
    Question,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways.mpay24_codes import (
    ERROR_NUMBERS,
    FAILED_STATES,
    METHOD_IDS,
    OPEN_STATES,
    UNDONE,
    in_state,
    kind,
    said_no,
)
from gateways.mpay24_push import told
from gateways.mpay24_soap import Part, Reply, UnreadableError

Silence = Refused | NotSent | Unknown
"""What the wire gave instead of a reply."""

_TAKEN: Final = frozenset({"BILLED", "WITHDRAWN"})
_GONE: Final = frozenset({"REVERSED", "RESERVED_REVERSAL", "REVOKE"})
_TOO_LATE: Final = {"REVERSED": {"BILLED", "CREDITED"}, "BILLED": {"REVERSED"}, "CREDITED": {"REVERSED"}}
"""Where an operation leads, and the states from which no way leads there any more."""


@dataclass(frozen=True, slots=True)
class Given:
    """What we know of a payment that the answer does not repeat.

    `later` is set for a direct debit that mPAY24 first suspends: its OK is not yet money.
    """

    amount: Money
    clears_itself: bool
    life_s: int = 0
    profile: ProfileReference | None = None
    later: bool = False


@dataclass(frozen=True, slots=True)
class ProfilePage:
    """Some of the stored profiles, and how many there are in all."""

    profiles: tuple[ProfileNews, ...]
    total: int


@dataclass(frozen=True, slots=True)
class TokenForm:
    """A card form at mPAY24 and the token that what is typed into it will have."""

    url: str
    token: str
    api_key: str


# --- payments -----------------------------------------------------------------------------


def payment(reply: Reply | Silence, given: Given) -> Outcome:
    """Return what became of a payment; `REDIRECT` is no payment, any other OK is one."""
    return _read(reply, lambda whole: _payment(whole, given))


def _payment(reply: Reply, given: Given) -> Outcome:
    gateway_id = reply.part.number("mpayTID")
    if not reply.ok:
        return said_no(reply.code, _error_text(reply), gateway_id)
    if not gateway_id:
        raise UnreadableError("OK without an mpayTID")
    if reply.code == "REDIRECT":
        return Pending(gateway_id, redirect=_location(reply), until_s=given.life_s)
    if given.later:
        return Pending(gateway_id)
    news = _news(reply.code, given.profile)
    failed = reply.code == "PROFILE_ERROR"
    return Approved(gateway_id, given.amount, captured=given.clears_itself, profile=news, profile_failed=failed)


def _news(code: str, profile: ProfileReference | None) -> ProfileNews | None:
    if profile is None or code not in ("PROFILE_CREATED", "PROFILE_UPDATED"):
        return None
    return ProfileNews(profile.reference, profile.slot)


def page(reply: Reply | Silence, life_s: int) -> Checkout | Declined | Refused | NotSent | Unknown:
    """Return the opened page; nothing is booked by opening one, so no answer names an mpayTID."""
    if not isinstance(reply, Reply):
        return reply
    try:
        if reply.ok and reply.code == "REDIRECT":
            return Checkout(_location(reply), life_s)
        outcome = said_no(reply.code, _error_text(reply))
    except UnreadableError as error:
        return _unclear("SelectPayment", error)
    return outcome if isinstance(outcome, Declined | Refused) else Unknown(f"mPAY24 opened no page: {reply.code}")


def stored(reply: Reply | Silence, news: ProfileNews) -> ProfileNews | Outcome:
    """Return the profile that CreateCustomer stored, or what it wants first."""
    if not isinstance(reply, Reply):
        return reply
    try:
        if reply.ok and reply.code == "REDIRECT":
            return Pending(reply.part.number("mpayTID"), redirect=_location(reply))
        return news if reply.ok else said_no(reply.code, _error_text(reply))
    except UnreadableError as error:
        return _unclear("CreateCustomer", error)


def token_form(reply: Reply | Silence) -> TokenForm | Outcome:
    """Return the opened card form; no money has anything to do with it yet."""
    if not isinstance(reply, Reply):
        return reply
    try:
        if not reply.ok:
            return said_no(reply.code, _error_text(reply))
        token, api_key = reply.part.text("token"), reply.part.text("apiKey")
        return TokenForm(_location(reply), token, api_key) if token else Unknown("mPAY24 opened no card fields")
    except UnreadableError as error:
        return _unclear("CreatePaymentToken", error)


# --- what follows a payment ---------------------------------------------------------------


def operation(reply: Reply | Silence, gateway_id: str, amount: Money, state: str) -> Outcome:
    """Return whether clearing, reversing or crediting worked; `state` is where it leads."""
    return _read(reply, lambda whole: _operation(whole, Approved(gateway_id, amount), state))


def _operation(reply: Reply, done: Approved, state: str) -> Outcome:
    transactions = reply.part.parts("transaction")
    ids = {part.number("mpayTID") for part in transactions}
    if ids - {done.gateway_id}:
        raise UnreadableError("the answer is about another transaction")
    states = {part.text("tStatus") for part in transactions}
    if reply.ok:
        return (
            done
            if states <= {state}
            else Unknown(f"mPAY24 says OK, and shows the payment as {', '.join(sorted(states))}", done.gateway_id)
        )
    if reply.code == "ALREADY_PROCESSED" and states == {state}:
        return done
    if reply.code == "ALREADY_PROCESSED" and states & _TOO_LATE[state]:
        return Declined(reply.code, DeclineClass.NEVER, "", done.gateway_id)
    return said_no(reply.code, "", done.gateway_id, follows_payment=True)


def deletion(reply: Reply | Silence) -> Outcome:
    """Return whether a profile is gone; one that was not there is gone too. No money is meant by the amount."""
    if isinstance(reply, Reply) and (reply.ok or reply.code == "PROFILE_NOT_FOUND"):
        return Approved("", Money(0, "EUR"))
    return _read(reply, lambda whole: said_no(whole.code))


# --- questions ----------------------------------------------------------------------------


def status(reply: Reply | Silence, question: Question, given: Given) -> Outcome:
    """Return what TransactionStatus knows of a tid; `NOT_FOUND` means nothing was registered."""
    return _asked(reply, lambda whole: _status(whole, question, given))


def _status(reply: Reply, question: Question, given: Given) -> Outcome:
    if not reply.ok:
        return NotSent("mPAY24 knows no such tid") if reply.code == "NOT_FOUND" else _unasked(reply.code)
    values = _parameters(reply)
    if values.get("TID", question.key) != question.key or not values.get("MPAYTID", "").isdigit():
        raise UnreadableError("the answer is about another transaction")
    outcome = told(values, clears_itself=given.clears_itself)
    if outcome is None:
        return Unknown(f"mPAY24 reports the state {values.get('STATUS')}", values["MPAYTID"])
    return _as_evidence(outcome, question)


def _parameters(reply: Reply) -> dict[str, str]:
    pairs = [(part.text("name"), part.text("value")) for part in reply.part.parts("parameter")]
    values = dict(pairs)
    if len(values) != len(pairs) or not values.get("STATUS"):
        raise UnreadableError("no STATUS, or a parameter twice")
    return values


def _as_evidence(outcome: Outcome, question: Question) -> Outcome:
    """Turn a failed try into evidence while the page may still be used; its mpayTID is not the payment's."""
    if not question.page or not isinstance(outcome, Declined):
        return outcome
    return Pending(evidence=f"a try failed with {outcome.code} {outcome.text} (mpayTID {outcome.gateway_id})")


@dataclass(frozen=True, slots=True)
class _Entry:
    state: str
    amount: Money
    error: str
    text: str
    profile_status: str


def history(reply: Reply | Silence, question: Question, given: Given) -> Outcome:
    """Return what the bookings of a transaction amount to.

    Their order and their full sequence are not published, so the set of them is
    read and not the last one: money that was once taken is never called a decline.
    """
    return _asked(reply, lambda whole: _history(whole, question, given))


def _history(reply: Reply, question: Question, given: Given) -> Outcome:
    if not reply.ok:
        return _unasked(reply.code)
    entries = [_entry(part, given.amount.currency) for part in reply.part.parts("historyEntry")]
    if not entries:
        raise UnreadableError("a history without entries")
    if question.operation is not None:
        return _operation_in(entries, question, question.operation)
    return _as_evidence(_payment_in(entries, question.gateway_id, given), question)


def _entry(part: Part, currency: str) -> _Entry:
    state, amount = part.text("txState"), part.number("amount")
    if not state or not amount:
        raise UnreadableError("a history entry without state or amount")
    number = part.text("errNo").removeprefix("+")
    # The state already says that it failed; a number we cannot read must not turn that into a doubt for ever.
    error = "" if number in ("", "0") else ERROR_NUMBERS.get(number, "DECLINED")
    return _Entry(state, Money(int(amount), currency), error, part.text("errText"), part.text("profileStatus"))


def _payment_in(entries: list[_Entry], gateway_id: str, given: Given) -> Outcome:
    done = [entry for entry in entries if not entry.error]
    taken = [entry for entry in done if entry.state in _TAKEN] or [entry for entry in done if entry.state == "RESERVED"]
    failed = [entry for entry in entries if entry.error or entry.state in FAILED_STATES]
    if taken:
        return _taken(done, taken, gateway_id, given)
    if failed:
        return said_no(failed[-1].error or "DECLINED", failed[-1].text, gateway_id)
    if all(entry.state in OPEN_STATES for entry in entries):
        return Pending(gateway_id)
    return _lone(entries[-1], gateway_id, given)


def _lone(entry: _Entry, gateway_id: str, given: Given) -> Outcome:
    """Return what the last state alone says, where the history does not show how it came about."""
    outcome = in_state(entry.state, gateway_id, entry.amount, "", clears_itself=given.clears_itself)
    return outcome or Unknown(f"the history knows only {entry.state}", gateway_id)


def _taken(done: list[_Entry], taken: list[_Entry], gateway_id: str, given: Given) -> Approved:
    amount = taken[0].amount
    if taken[0].state in _TAKEN:
        amount = Money(sum(entry.amount.minor for entry in taken), amount.currency)
    captured = taken[0].state in _TAKEN or given.clears_itself
    failed = any(entry.profile_status == "ERROR" for entry in done)
    undone = _undone(done, amount)
    if undone is OperationKind.REVERSAL:
        captured = False
    return Approved(gateway_id, amount, captured=captured, profile_failed=failed, undone=undone)


def _undone(done: list[_Entry], amount: Money) -> OperationKind | None:
    """Return what has taken all of the money back; a part of it given back undoes nothing."""
    states = {entry.state for entry in done}
    if "BILLED_REVERSAL" in states:
        return OperationKind.CHARGEBACK
    credited = sum(entry.amount.minor for entry in done if entry.state == "CREDITED")
    if credited >= amount.minor > 0 and "CREDITED_REVERSAL" not in states:
        return OperationKind.REFUND
    return OperationKind.REVERSAL if states & _GONE and "BILLED" not in states else None


def _operation_in(entries: list[_Entry], question: Question, operation: OperationKind) -> Outcome:
    """Return whether the history shows the operation; mPAY24 gives credits no reference, so the amount tells."""
    done = [entry for entry in entries if not entry.error and _leads_to(entry, operation)]
    if operation in (OperationKind.REFUND, OperationKind.CREDIT):
        done = [entry for entry in done if entry.amount == question.amount][question.settled_before :]
    if done:
        return Approved(question.gateway_id, done[-1].amount)
    states = {entry.state for entry in entries if not entry.error}
    if operation is OperationKind.REVERSAL and "BILLED" in states:
        return _never("TRANSACTION_ALREADY_CLEARED", "it was captured", question)
    if operation is OperationKind.CAPTURE and states & _GONE:
        return _never("ALREADY_PROCESSED", "the reservation is gone", question)
    return NotSent(f"the history shows no {operation.value}")


def _leads_to(entry: _Entry, operation: OperationKind) -> bool:
    if operation is OperationKind.CAPTURE:
        return entry.state == "BILLED"
    wanted = {
        OperationKind.CREDIT: OperationKind.REFUND,
        OperationKind.RETURNED_DEBIT: OperationKind.CHARGEBACK,
    }.get(operation, operation)
    return UNDONE.get(entry.state) is wanted


def _never(code: str, text: str, question: Question) -> Declined:
    return Declined(code, DeclineClass.NEVER, text, question.gateway_id)


# --- lists --------------------------------------------------------------------------------


def profiles(reply: Reply | Silence) -> ProfilePage | Outcome:
    """Return the listed profiles; a customer may be listed without any means of payment."""
    if not isinstance(reply, Reply):
        return reply
    if not reply.ok:
        return said_no(reply.code)
    try:
        found = [
            _profile(customer, means) for customer in reply.part.parts("profile") for means in customer.parts("payment")
        ]
        return ProfilePage(tuple(found), int(reply.part.number("all") or 0))
    except (UnreadableError, ValueError) as error:
        return _unclear("ListProfiles", error)


def _profile(customer: Part, means: Part) -> ProfileNews:
    ptype, brand = METHOD_IDS.get(means.number("pMethodID"), ("", ""))
    last4 = means.text("identifier")[-4:]
    return ProfileNews(
        customer.text("customerID"),
        means.text("profileID"),
        kind(ptype),
        brand,
        last4 if last4.isdigit() else "",
        _month_end(means.text("expires")),
    )


def _month_end(text: str) -> date | None:
    """Return the last day a card is good for; mPAY24 shows a day, but only its month counts."""
    if not text:
        return None
    day = date.fromisoformat(text[:10])
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


# --- shared -------------------------------------------------------------------------------


def _read(reply: Reply | Silence, decode: Callable[[Reply], Outcome]) -> Outcome:
    """Decode a reply; one that contradicts itself is in doubt, and so is not lost."""
    if not isinstance(reply, Reply):
        return reply
    try:
        return decode(reply)
    except UnreadableError as error:
        return Unknown(f"mPAY24 gave an answer that is not clear: {reply.code}: {error}")


def _unclear(operation: str, error: UnreadableError | ValueError) -> Unknown:
    return Unknown(f"mPAY24 gave an answer to {operation} that is not clear: {error}")


def _asked(reply: Reply | Silence, decode: Callable[[Reply], Outcome]) -> Outcome:
    """Decode the answer to a question; if it could not be put, that says nothing of the payment."""
    if not isinstance(reply, Reply):
        return Unknown(f"mPAY24 could not be asked: {reply.reason}")
    return _read(reply, decode)


def _unasked(code: str) -> Unknown:
    return Unknown(f"mPAY24 would not say: {code}")


def _location(reply: Reply) -> str:
    """Return where the customer is sent; anything but a web address is no answer."""
    location = reply.part.text("location")
    parts = urlsplit(location)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnreadableError("REDIRECT without a web address")
    return location


def _error_text(reply: Reply) -> str:
    return reply.part.text("errText")
