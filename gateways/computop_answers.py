"""What answers mean: from pairs that were read whole to an outcome.

Whether it worked is said by the code, and a status that contradicts it makes a doubt. What became of money is said by
the three amounts of an inquiry: its code speaks of the question, and its last status of the last step.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from billing.gateway import (
    Approved,
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
from billing.money import Money, MoneyError
from gateways.computop_codes import DECLINES, DONE, FAILED, OPEN, SUCCESS, UNKNOWN_PAYMENT, Meaning, is_code, meaning
from gateways.computop_wire import Reply, UnreadableError

Silence = NotSent | Unknown
"""What the wire gave instead of a reply."""

_AMOUNT: Final = re.compile("[0-9]{1,10}")
_PAY_ID: Final = re.compile("[0-9A-Za-z]{1,32}")
_GIVEN_BACK: Final = (OperationKind.REFUND, OperationKind.CREDIT)


def payment(reply: Reply | Silence, key: str, amount: Money) -> Outcome:
    """Return what became of a charge; a success names no amount, so it is the one we asked for."""

    def decide(whole: Reply) -> Outcome:
        _check_key(whole, key)
        captured = whole.text("Status") == "OK"
        return failure(whole) or Approved(_named(whole), amount, captured=captured)

    return _read(reply, decide)


def operation(reply: Reply | Silence, key: str, gateway_id: str, amount: Money) -> Outcome:
    """Return what became of a capture, reversal or credit; a no about one payment does not stop the account."""

    def decide(whole: Reply) -> Outcome:
        _check_key(whole, key)
        code = whole.text("Code")
        if is_code(code) and meaning(code) is Meaning.THIS_PAYMENT and code != SUCCESS:
            return Declined(code, DeclineClass.NEVER, whole.text("Description"), gateway_id)
        no = failure(whole)
        if no is None and _named(whole) != gateway_id:
            raise UnreadableError("it is about another payment")
        return no or Approved(gateway_id, amount)

    return _read(reply, decide)


def _read(reply: Reply | Silence, decide: Callable[[Reply], Outcome]) -> Outcome:
    if not isinstance(reply, Reply):
        return reply
    try:
        return decide(reply)
    except UnreadableError as error:
        return Unknown(f"Computop gave an answer that cannot be read: {error}")


def _check_key(reply: Reply, key: str) -> None:
    """Raise where an answer is about something else; only a failure may leave out what it is about."""
    told = reply.text("TransID")
    if told != key and (told or reply.text("Code") == SUCCESS):
        raise UnreadableError("it is about another order")


def _named(reply: Reply) -> str:
    if not _PAY_ID.fullmatch(reply.text("PayID")):
        raise UnreadableError("it names no payment")
    return reply.text("PayID")


# --- codes --------------------------------------------------------------------------------------------


def failure(reply: Reply) -> Declined | Refused | Pending | Unknown | None:
    """Return what stands in the way of a success, or nothing where code and status both say it is one."""
    code, status, gateway_id = reply.text("Code"), reply.text("Status"), reply.text("PayID")
    if not is_code(code):
        raise UnreadableError("it has no code")
    if code == SUCCESS:
        return _not_done(status, gateway_id)
    if status in DONE | OPEN and meaning(code) is not Meaning.PENDING:
        return Unknown(f"Computop contradicts itself: the state {status} with the code {code}", gateway_id)
    return _no(code, reply.text("Description"), gateway_id)


def _not_done(status: str, gateway_id: str) -> Pending | Unknown | None:
    if status in DONE:
        return None
    if status in OPEN:
        return Pending(gateway_id, evidence=_reports(status))
    return Unknown(f"Computop contradicts itself: the state {status[:50]!r} with a code of success", gateway_id)


def _no(code: str, text: str, gateway_id: str) -> Declined | Refused | Pending | Unknown:
    match meaning(code):
        case Meaning.PENDING:
            return Pending(gateway_id, evidence=f"Computop answered {code}, which is not decided yet")
        case Meaning.DOUBT:
            return Unknown(f"Computop answered {code} {text}".strip(), gateway_id)
        case Meaning.OURS | Meaning.THIS_PAYMENT:
            return Refused(code, text or "Computop rejects what we sent", gateway_id)
        case found:
            return Declined(code, DECLINES[found], text, gateway_id)


# --- inquiries ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What an inquiry says of a payment, in minor units."""

    gateway_id: str
    last: str
    currency: str
    reserved: int
    captured: int
    given_back: int


def inquiry(reply: Reply | Silence, question: Question, *, reserves: bool) -> Outcome:
    """Return what became of a payment or an operation; `reserves` says that the account can hold a mere reservation.

    A question that could not be put, or that was rejected, says nothing of what was asked.
    """
    if not isinstance(reply, Reply):
        return Unknown(f"Computop could not be asked: {reply.reason}", question.gateway_id)

    def decide(whole: Reply) -> Outcome:
        _check_key(whole, question.key)
        if whole.text("Code") != SUCCESS:
            return _unanswered(whole, question)
        stand = _standing(whole, question)
        if question.operation is None:
            return _of_payment(stand, question, reserves=reserves)
        return _of_operation(stand, question, question.operation)

    return _read(reply, decide)


def _unanswered(reply: Reply, question: Question) -> Outcome:
    """Return what a question that failed says: only that a payment is unknown says anything about the payment."""
    code = reply.text("Code")
    if not is_code(code):
        raise UnreadableError("it has no code")
    if code[0] in "24" and code[4:] == UNKNOWN_PAYMENT:
        if question.page:
            return Pending(evidence="nobody has come to the page yet")
        return NotSent("Computop knows no such payment")
    return Unknown(f"Computop answered the question with {code}", question.gateway_id)


def _standing(reply: Reply, question: Question) -> Standing:
    stand = Standing(
        _named(reply),
        reply.text("LastStatus"),
        reply.text("Currency") or question.amount.currency,
        *(_amount(reply, name) for name in ("AmountAuth", "AmountCap", "AmountCred")),
    )
    if question.gateway_id not in ("", stand.gateway_id):
        raise UnreadableError("it is about another payment")
    if stand.given_back > stand.captured:
        raise UnreadableError("more was given back than taken")
    return stand


def _amount(reply: Reply, name: str) -> int:
    if not _AMOUNT.fullmatch(reply.text(name)):
        raise UnreadableError(f"no {name}")
    return int(reply.text(name))


def _of_payment(stand: Standing, question: Question, *, reserves: bool) -> Outcome:
    under_way = stand.last in OPEN and stand.captured < question.amount.minor
    if stand.captured and not under_way:
        undone = OperationKind.REFUND if stand.given_back == stand.captured else None
        return Approved(stand.gateway_id, _money(stand.captured, stand), undone=undone)
    if stand.reserved and reserves and not under_way:
        return Approved(stand.gateway_id, _money(stand.reserved, stand), captured=False)
    if under_way or stand.reserved:
        return Pending(stand.gateway_id, evidence=_reports(stand.last))
    if stand.last == FAILED:
        return Declined(FAILED, DeclineClass.RETRY_LATER, "an inquiry names no reason", stand.gateway_id)
    if stand.last == "OK" and reserves:
        return Approved(stand.gateway_id, question.amount, captured=False, undone=OperationKind.REVERSAL)
    return Unknown(f"nothing was paid, and the last step is {stand.last[:50]!r}", stand.gateway_id)


def _reports(state: str) -> str:
    return f"Computop reports the state {state}"


def _of_operation(stand: Standing, question: Question, kind: OperationKind) -> Outcome:
    if _money(0, stand).currency != question.amount.currency:
        raise UnreadableError("it is about another currency")
    if kind is OperationKind.REVERSAL:
        return _of_reversal(stand, question)
    moved = stand.given_back if kind in _GIVEN_BACK else stand.captured
    if moved >= question.settled_minor + question.amount.minor:
        return Approved(stand.gateway_id, question.amount)
    if stand.last in OPEN:
        return Pending(stand.gateway_id, evidence=_reports(stand.last))
    there = _money(moved, stand)
    return NotSent(f"Computop knows no other {kind}: {there.major} {there.currency} in all")


def _of_reversal(stand: Standing, question: Question) -> Outcome:
    if stand.captured:
        return Declined("CAPTURED", DeclineClass.NEVER, "it was captured already", stand.gateway_id)
    if stand.last in OPEN:
        return Pending(stand.gateway_id, evidence=_reports(stand.last))
    if stand.reserved:
        return NotSent("the reservation still stands")
    return Approved(stand.gateway_id, question.amount)


def _money(minor: int, stand: Standing) -> Money:
    try:
        return Money(minor, stand.currency)
    except MoneyError:
        raise UnreadableError("it names no currency we know") from None
