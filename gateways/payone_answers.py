"""What PAYONE's answers mean: from a reply that was read whole to an outcome.

Two rules run through all of it. The status code decides, and a status name or an HTTP status that contradicts it
makes a doubt; and a question that could not be put says nothing about what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from billing.gateway import (
    Approved,
    Checkout,
    DeclineClass,
    Declined,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    Question,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways.payone_cards import Silence, made_profile
from gateways.payone_codes import CODES, STATUSES, UNDECIDED, Kind, Meaning, Step, step_of
from gateways.payone_errors import doubt, errors_of, failed, not_done, rejected, rejected_by_night
from gateways.payone_json import Part, Reply, UnreadableError
from gateways.payone_requests import Mark, read_mark

CHALLENGE_S: Final = 1800
"""How long a customer may take for the bank's own question; the provider does not publish it."""

_UNDERSCORED: Final = re.compile(r"([0-9]{1,15})_([0-9]{1,3})")
_NINETEEN: Final = re.compile(r"90000([0-9]{11})([0-9]{3})")
_CHECKOUT: Final = re.compile(r"[0-9]{1,18}")

KINDS: Final = {
    OperationKind.CAPTURE: Kind.CAPTURE,
    OperationKind.REVERSAL: Kind.CANCEL,
    OperationKind.REFUND: Kind.REFUND,
    OperationKind.CREDIT: Kind.REFUND,
}


@dataclass(frozen=True, slots=True)
class Given:
    """What we know of a payment that an answer must fit: its attempt's key, its number, who began it."""

    key: str = ""
    gateway_id: str = ""
    page: bool = False
    store: bool = False
    away: bool = False


# --- numbers ------------------------------------------------------------------------------------------


def is_checkout(gateway_id: str) -> bool:
    """Tell whether the number is a hosted checkout's; a payment's has an underscore or nineteen digits."""
    return bool(_CHECKOUT.fullmatch(gateway_id))


def family(gateway_id: str) -> tuple[str, int]:
    """Return the number a payment shares with all that follows it, and the place of this one among them."""
    found = _UNDERSCORED.fullmatch(gateway_id) or _NINETEEN.fullmatch(gateway_id)
    if not found:
        raise UnreadableError("no payment id")
    return found[1].lstrip("0"), int(found[2])


def head(gateway_id: str) -> str:
    """Return the number of the payment itself, whichever of its operations is named."""
    family(gateway_id)
    return f"{gateway_id.partition('_')[0]}_0" if "_" in gateway_id else f"{gateway_id[:-3]}000"


# --- payments -----------------------------------------------------------------------------------------


def payment(reply: Reply | Silence, given: Given) -> Outcome:
    """Return what became of a payment that was asked for; a decline comes with an error status and the payment."""
    return _read(reply, lambda whole: _created(whole, given))


def _created(reply: Reply, given: Given) -> Outcome:
    made = reply.body.part("paymentResult", "payment") or reply.body.part("payment")
    if not made:
        return _no_payment(reply, given)
    outcome = _outcome(made, given, reply.body)
    if reply.status >= 400 and isinstance(outcome, Approved | Pending):
        raise UnreadableError(f"HTTP {reply.status} with a payment that did not fail")
    return outcome


def _no_payment(reply: Reply, given: Given) -> Outcome:
    if reply.status < 400:
        raise UnreadableError(f"HTTP {reply.status} without a payment")
    return rejected_by_night(reply) if given.away else rejected(reply)


def _outcome(made: Part, given: Given, created: Part | None = None) -> Outcome:
    """Return what the payment's state says; `created` is the whole answer where the payment has just been made."""
    gateway_id = _same_payment(made, given)
    action = (created or Part({})).part("merchantAction")
    state = meaning(made)
    if action and state is not Meaning.OPEN:
        raise UnreadableError("a payment that is decided and still wants the customer", gateway_id)
    match state:
        case Meaning.OPEN:
            return _pending(made, gateway_id, action)
        case Meaning.FAILED:
            status = made.part("statusOutput")
            errors = errors_of(status) or errors_of(created or Part({}))
            return failed(made, errors, gateway_id, made.text("status"))
        case _:
            store = given.store or mark_of(made.part("paymentOutput")).store
            booked = _booked(made, gateway_id, state)
            return _with_profile(booked, made, created) if store else booked


def _pending(made: Part, gateway_id: str, action: Part) -> Pending:
    if not action:
        return Pending(gateway_id, evidence=f"PAYONE reports the state {made.text('status')}")
    if action.text("actionType") != "REDIRECT":
        raise UnreadableError(f"it wants {action.text('actionType')}, which is no card's", gateway_id)
    redirect = action.part("redirectData").web_address("redirectURL")
    return Pending(gateway_id, redirect=redirect, until_s=CHALLENGE_S)


def _booked(made: Part, gateway_id: str, state: Meaning) -> Approved:
    amount = made.part("paymentOutput").money("amountOfMoney")
    if amount is None:
        raise UnreadableError("a payment without an amount", gateway_id)
    captured = state in (Meaning.PAID, Meaning.REFUNDED)
    return Approved(gateway_id, amount, captured=captured, undone=_undone(made, state, amount))


def _with_profile(booked: Approved, made: Part, created: Part | None) -> Approved:
    """Add the card that paying was to store; a payment whose card could not be stored is a payment."""
    profile = made_profile(made, booked.gateway_id, created)
    return replace(booked, profile=profile, profile_failed=profile is None)


def _undone(made: Part, state: Meaning, amount: Money) -> OperationKind | None:
    """Return what has taken all of the money back; a part of it given back undoes nothing."""
    if state is Meaning.RELEASED:
        return OperationKind.REVERSAL
    refunds = [entry for entry in _operations(made) or [] if entry.step(Kind.REFUND) is Step.DONE]
    whole = sum(entry.amount.minor for entry in refunds if entry.amount) >= amount.minor
    if refunds:
        return OperationKind.REFUND if whole else None
    return OperationKind.REFUND if state is Meaning.REFUNDED else None


def meaning(made: Part) -> Meaning:
    """Return what the state says: by its code, else by its name; a contradiction says nothing."""
    code, status = made.part("statusOutput").number("statusCode"), made.text("status")
    if code is None or code not in CODES:
        if status in STATUSES:
            return STATUSES[status]
        raise UnreadableError(f"no state we know: {code} {status}")
    found, names = CODES[code]
    if status and status not in names:
        raise UnreadableError(f"status {status} contradicts code {code}")
    return found


def mark_of(output: Part) -> Mark:
    """Return our own words, which PAYONE gives back with the payment."""
    return read_mark(output.part("references").text("merchantParameters") or output.text("merchantParameters"))


def _same_payment(made: Part, given: Given) -> str:
    """Return the payment's number; an answer about another payment, or for another attempt, is none."""
    found = made.text("id")
    number, _ = family(found)
    if given.gateway_id and not is_checkout(given.gateway_id) and family(given.gateway_id)[0] != number:
        raise UnreadableError("the answer is about another payment")
    key = mark_of(made.part("paymentOutput")).key
    if given.key and key and key != given.key:
        raise UnreadableError("the answer is about another attempt")
    return head(found)


# --- hosted checkout ------------------------------------------------------------------------------------


def page(reply: Reply | Silence, life_s: int) -> Checkout | Declined | Refused | NotSent | Unknown:
    """Return the opened page with its own number, by which it can be asked about."""
    if not isinstance(reply, Reply):
        return reply
    try:
        if reply.status < 400:
            return Checkout(reply.body.web_address("redirectUrl"), life_s, _checkout_id(reply.body))
        return rejected(reply)
    except UnreadableError as error:
        return doubt(error)


def _checkout_id(body: Part) -> str:
    found = body.text("hostedCheckoutId")
    if not is_checkout(found):
        raise UnreadableError("no hostedCheckoutId")
    return found


def on_page(reply: Reply | Silence, question: Question) -> Outcome:
    """Return what was paid on a page; while it may still be used, a failed try is only evidence."""
    given = Given(question.key, question.gateway_id, question.page)
    return _asked(reply, lambda whole: _on_page(whole, given))


def _on_page(reply: Reply, given: Given) -> Outcome:
    made = reply.body.part("createdPaymentOutput", "payment")
    if made:
        return _as_evidence(_outcome(made, given), given)
    status = reply.body.text("status")
    if status not in ("IN_PROGRESS", "CANCELLED_BY_CONSUMER"):
        raise UnreadableError(f"a checkout that is {status} and has no payment")
    return (
        Pending(evidence=f"PAYONE reports the page as {status}")
        if given.page
        else NotSent(f"nothing was paid on the page: {status}")
    )


def _as_evidence(outcome: Outcome, given: Given) -> Outcome:
    if not given.page or not isinstance(outcome, Declined):
        return outcome
    return Pending(evidence=f"a try failed with {outcome.code} {outcome.text} ({outcome.gateway_id})")


# --- what follows a payment -------------------------------------------------------------------------------


def operation(reply: Reply | Silence, kind: Kind, booked_id: str, amount: Money) -> Outcome:
    """Return whether a capture, cancellation or refund is done, on its way, or refused."""
    return _read(reply, lambda whole: _operation(whole, kind, booked_id, amount))


def _operation(reply: Reply, kind: Kind, booked_id: str, amount: Money) -> Outcome:
    if reply.status >= 400:
        return not_done(reply, booked_id)
    made = reply.body.part("payment") if kind is Kind.CANCEL else reply.body
    entry = _entry(made, _OUTPUTS[kind])
    if family(entry.id)[0] != family(booked_id)[0]:
        raise UnreadableError("the answer is about another payment", booked_id)
    if kind is not Kind.CANCEL and entry.amount not in (None, amount):
        raise UnreadableError(f"the answer is about {entry.amount}, not {amount}", booked_id)
    return _step(entry, kind, booked_id, amount)


_OUTPUTS: Final = {Kind.CAPTURE: "captureOutput", Kind.CANCEL: "paymentOutput", Kind.REFUND: "refundOutput"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation of a payment, as an answer or the list of all of them shows it."""

    id: str
    code: int
    status: str
    amount: Money | None
    reference: str

    def step(self, kind: Kind) -> Step | None:
        """Return how far it has come, or nothing where it is of another kind."""
        return step_of(kind, self.code)


def _entry(made: Part, output: str = "") -> Entry:
    code = made.part("statusOutput").number("statusCode")
    status = made.text("status")
    if code is None or code not in CODES or (status and status not in CODES[code][1]):
        raise UnreadableError(f"no state of an operation: {code} {status}")
    told = made.part(output) if output else made
    reference = told.part("operationReferences").text("merchantReference")
    return Entry(made.text("id"), code, status, told.money("amountOfMoney"), reference)


def _step(entry: Entry, kind: Kind, booked_id: str, amount: Money) -> Outcome:
    match entry.step(kind):
        case Step.DONE:
            return Approved(booked_id, amount)
        case Step.OPEN:
            unsure = ", and does not know itself" if entry.code in UNDECIDED else ""
            known = f"PAYONE reports the state {entry.status or kind.name} {entry.code}"
            return Pending(booked_id, evidence=f"{known}{unsure}")
        case Step.REFUSED:
            return Declined(str(entry.code), DeclineClass.NEVER, entry.status, booked_id)
        case None:
            raise UnreadableError(f"code {entry.code} is no {kind.name.lower()}'s", booked_id)


# --- questions ----------------------------------------------------------------------------------------------


def details(reply: Reply | Silence, question: Question) -> Outcome:
    """Return what a payment, or an operation on it, has become."""
    return _asked(reply, lambda whole: _details(whole, question))


def _details(reply: Reply, question: Question) -> Outcome:
    given = Given(question.key, question.gateway_id, question.page)
    if question.operation is None:
        return _as_evidence(_outcome(reply.body, given), given)
    _same_payment(reply.body, given)
    return _operation_in(reply.body, question, KINDS.get(question.operation))


def _operations(made: Part) -> list[Entry] | None:
    """Return what followed the payment; the first entry is the payment itself. The name begins with a capital."""
    listed = made.parts("Operations")
    if listed is None:
        return None
    return [entry for entry in map(_entry, listed) if family(entry.id)[1] > 0]


def _operation_in(made: Part, question: Question, kind: Kind | None) -> Outcome:
    """Return whether the operation is there: by our key, and for what can happen once also by its effect."""
    entries = _operations(made)
    if entries is None or kind is None:
        raise UnreadableError("nothing says what followed the payment", question.gateway_id)
    alike = [entry for entry in entries if entry.step(kind) is not None]
    ours = [entry for entry in alike if entry.reference == question.operation_key]
    if ours:
        return _step(ours[-1], kind, question.gateway_id, ours[-1].amount or question.amount)
    if any(not entry.reference and entry.amount in (None, question.amount) for entry in alike):
        return Unknown(f"a {question.operation} is there that says not whose it is", question.gateway_id)
    return _by_effect(made, question)


def _by_effect(made: Part, question: Question) -> Outcome:
    state, wanted = meaning(made), question.operation
    if wanted is OperationKind.REVERSAL and state in (Meaning.PAID, Meaning.REFUNDED):
        return _never("it was captured", question)
    if wanted is OperationKind.CAPTURE and state is Meaning.RELEASED:
        return _never("the reservation is gone", question)
    if (wanted, state) in _REACHED:
        return Approved(question.gateway_id, question.amount)
    return NotSent(f"PAYONE lists no {wanted}")


_REACHED: Final = {(OperationKind.REVERSAL, Meaning.RELEASED), (OperationKind.CAPTURE, Meaning.PAID)}
"""Where an operation leads; when the payment stands there, somebody has done it."""


def _never(text: str, question: Question) -> Declined:
    return Declined("ACTION_NOT_ALLOWED_ON_TRANSACTION", DeclineClass.NEVER, text, question.gateway_id)


# --- shared -----------------------------------------------------------------------------------------------


def news_of(made: Part, key: str) -> Outcome:
    """Return what a report says a payment has become; raise `UnreadableError` where it does not say."""
    return _outcome(made, Given(key))


def news_of_operation(made: Part, output: str, kind: Kind) -> Outcome:
    """Return what a report says an operation has become; raise `UnreadableError` where it does not say."""
    entry = _entry(made, output)
    if entry.amount is None:
        raise UnreadableError("an operation without an amount")
    return _step(entry, kind, head(entry.id), entry.amount)


def _read(reply: Reply | Silence, decode: Callable[[Reply], Outcome]) -> Outcome:
    """Decode a reply; one that contradicts itself is in doubt, and so is not lost."""
    if not isinstance(reply, Reply):
        return reply
    try:
        return decode(reply)
    except UnreadableError as error:
        return doubt(error, f"HTTP {reply.status}: ")


def _asked(reply: Reply | Silence, decode: Callable[[Reply], Outcome]) -> Outcome:
    """Decode the answer to a question; if it could not be put, that says nothing of the payment."""
    if not isinstance(reply, Reply):
        return Unknown(f"PAYONE could not be asked: {reply.reason}")
    return _read(reply, decode if reply.status == 200 else _unasked)


def _unasked(reply: Reply) -> Unknown:
    no = rejected(reply)
    return Unknown(f"PAYONE would not say: {no.code if isinstance(no, Declined) else no.reason}")
