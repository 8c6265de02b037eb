"""What PaymentZ's answers mean: from a reply to an outcome.

The long status decides, then the short one; a result code alone never does. A no that may mean "I know this request
already" is a doubt, and a question that could not be put says nothing about what was asked.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Final
from urllib.parse import urlencode, urlsplit

from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    Mandate,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    ProfileNews,
    Question,
    Refused,
    Unknown,
)
from billing.money import Money
from gateways import paymentz_codes as codes
from gateways.paymentz_codes import LONG, SHORT, STEPS, UNDONE, YES, State
from gateways.paymentz_requests import INITIAL
from gateways.paymentz_settings import Settings
from gateways.paymentz_wire import Reply, Told, UnreadableError

CHALLENGE_S: Final = 1800
"""How long a customer may take for the bank's own question; the reference does not say."""

NOTHING: Final = Money(0, "EUR")
"""What deleting a registration costs."""

Silence = Refused | NotSent | Unknown
"""What there is instead of a reply."""

_HELD: Final = frozenset({State.RESERVED, State.RELEASING, State.RELEASED})


@dataclass(frozen=True, slots=True)
class Given:
    """What we know of a payment that an answer must fit, or does not repeat.

    `type` is what was asked for, `DB`, `PA` or `PO`; `parent` the payment it cites, which it cannot be itself.
    Whether a profile was wanted (`store`) only the answer can tell where it is None.
    """

    key: str = ""
    gateway_id: str = ""
    type: str = ""
    parent: str = ""
    store: bool | None = None
    present: bool = False


# --- payments -------------------------------------------------------------------------------------------


def payment(reply: Reply | Silence, given: Given, settings: Settings) -> Outcome:
    """Return what became of a payment, or payout, that was asked for.

    The number in a no that may be about the request, such as a duplicate's, is not kept: it could be another
    payment's, and our own key always asks about the right one.
    """
    return _read(reply, lambda whole: _payment(whole, given, settings))


def _payment(reply: Reply, given: Given, settings: Settings) -> Outcome:
    told = reply.told
    if codes.is_duplicate(told.code, told.reason):
        return Unknown(f"PaymentZ has seen this request before: {reply.said}")
    if not told.payment_id:
        return _rejected(reply)
    _same_payment(told, given)
    state = _state(told, given)
    if state is State.FAILED and told["status"] not in LONG and told.code not in codes.FAILED:
        raise UnreadableError(f"a no that may be about the request: {reply.said}")
    if told["redirect.url"] and state is State.OPEN:
        return _redirect(told, given.present, settings)
    outcome = _outcome(reply, given, settings)
    if isinstance(outcome, Approved) and (reply.status, told.code) != (200, codes.SUCCEEDED):
        raise UnreadableError(f"a yes with {reply.said}", told.payment_id)
    return outcome


def _rejected(reply: Reply) -> Declined | Refused:
    """Return what a rejection means that made no payment, as far as its code is known."""
    told = reply.told
    code = told.code
    if code not in codes.REJECTIONS or told.first("transactionStatus", "status") not in ("", "N"):
        raise UnreadableError(reply.said)
    decline = codes.REJECTIONS[code]
    if decline is None or codes.blames_terminal(told.reason):
        return Refused(code, f"PaymentZ rejects the request: {reply.said}")
    return Declined(code, decline, reply.text)


def _outcome(reply: Reply, given: Given, settings: Settings) -> Outcome:
    """Return what the payment's state says."""
    told = reply.told
    gateway_id = _same_payment(told, given)
    state = _state(told, given)
    match state:
        case State.OPEN | State.CAPTURING:
            return Pending(gateway_id, evidence=_reports(told.first("status", "transactionStatus")))
        case State.FAILED | State.CANCELED:
            return _declined(reply, gateway_id, state)
        case _:
            booked = Approved(gateway_id, told.money, captured=state not in _HELD, undone=UNDONE.get(state))
            wanted = _stores(told) if given.store is None else given.store
            return _with_profile(booked, told, settings) if wanted else booked


def _declined(reply: Reply, gateway_id: str, state: State) -> Declined:
    told = reply.told
    text = reply.text
    code = told.first("result.bankCode") or (told.code if told.code in codes.FAILED else told.first("status"))
    if state is State.CANCELED:
        return Declined(code or "C", DeclineClass.NEEDS_CUSTOMER, text, gateway_id)
    return Declined(code or "N", codes.decline_class(told["result.bankCode"], text), text, gateway_id)


def _redirect(told: Told, present: bool, settings: Settings) -> Pending:
    """Return where the bank wants the customer; one who is away can only be waited for."""
    if not present:
        return Pending(told.payment_id, evidence="the bank wants the customer, who is not there")
    url, posted = _web_address(told["redirect.url"]), _parameters(told)
    if posted and _method(told, settings) == "GET":
        url, posted = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(posted)}", {}
    return Pending(told.payment_id, redirect=url, until_s=CHALLENGE_S, posted=posted)


def _method(told: Told, settings: Settings) -> str:
    default = settings.default_redirect_method
    return told["redirect.method"].upper() or ("POST" if default == "auto" else default)


def _parameters(told: Told) -> dict[str, str]:
    posted, place = {}, 0
    while name := told[f"redirect.parameters.{place}.name"]:
        posted[name] = told[f"redirect.parameters.{place}.value"]
        place += 1
    return posted


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise UnreadableError("the redirect is no web address") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UnreadableError("the redirect is no web address")
    return text


def _same_payment(told: Told, given: Given) -> str:
    """Return the payment's number; an answer about another payment, or for another attempt, is none."""
    found = told.payment_id
    if not found:
        raise UnreadableError("no payment is named")
    if (given.gateway_id and found != given.gateway_id) or found == given.parent:
        raise UnreadableError("the answer is about another payment")
    if given.key and told.key not in ("", given.key):
        raise UnreadableError("the answer is about another attempt")
    return found


def _state(told: Told, given: Given) -> State:
    """Return the state by the long status, else by the short one, which also stands in `status` sometimes."""
    long = told["status"]
    if long in LONG:
        return LONG[long]
    short = told["transactionStatus"]
    if long and long not in SHORT and long != YES:
        raise UnreadableError(f"no status we know: {long}", told.payment_id)
    short, kind = short or long, told["paymentType"] or given.type
    if short == YES and kind:
        return State.RESERVED if kind == "PA" else State.PAID
    if short not in SHORT:
        raise UnreadableError(f"no status we know: {short}", told.payment_id)
    return SHORT[short]


# --- profiles -------------------------------------------------------------------------------------------


def _stores(told: Told) -> bool:
    """Tell whether paying was to make a profile, where the answer is all we have to go by."""
    recurring = told["recurringType"].upper()
    return recurring == INITIAL or (not recurring and bool(_registration(told)))


def _registration(told: Told) -> str:
    return told.first("registrationId", "token")


def _with_profile(booked: Approved, told: Told, settings: Settings) -> Approved:
    """Add what can be charged from now on; a payment whose card could not be stored is a payment."""
    reference = _registration(told) if settings.by_token else _parent(booked, told, settings)
    if not reference:
        return replace(booked, profile_failed=True)
    return replace(booked, profile=_news(reference, booked.gateway_id, told))


def _parent(booked: Approved, told: Told, settings: Settings) -> str:
    """Return the payment's number, if it stands where later ones may cite it."""
    states = settings.repeat_parent_states
    return booked.gateway_id if told["status"] in states or told["status"] not in LONG else ""


def _news(reference: str, gateway_id: str, told: Told) -> ProfileNews:
    return ProfileNews(
        reference,
        kind="card",
        brand=codes.brand(told["paymentBrand"]),
        last4=told.first("card.last4Digits", "card.lastFourDigits", "cardLast4Digits"),
        expires_on=_last_day(told["card.expiryMonth"], told["card.expiryYear"]),
        mandate=Mandate(first_transaction=gateway_id),
    )


def _last_day(month: str, year: str) -> date | None:
    try:
        number, in_year = int(month), int(year)
        return date(in_year, number, calendar.monthrange(in_year, number)[1]) if in_year >= 2000 else None
    except (ValueError, OverflowError, calendar.IllegalMonthError):
        return None


# --- what follows a payment ---------------------------------------------------------------------------


def operation(reply: Reply | Silence, kind: OperationKind, booked_id: str, amount: Money) -> Outcome:
    """Return whether a capture, reversal or refund is done, under way, or refused."""
    return _read(reply, lambda whole: _operation(whole, kind, booked_id, amount), booked_id)


def _operation(reply: Reply, kind: OperationKind, booked_id: str, amount: Money) -> Outcome:
    told = reply.told
    if told.payment_id not in ("", booked_id):
        raise UnreadableError(f"the answer is about another payment, {told.payment_id}")
    if reply.status != 200 or told.code not in (codes.DONE[kind], codes.SUCCEEDED):
        return _not_done(reply, kind, booked_id)
    if kind is not OperationKind.REVERSAL and told["amount"] and told.money != amount:
        raise UnreadableError(f"the answer is about {told['amount']}")
    if told["status"]:
        return _step(_state(told, Given()), kind, booked_id, amount)
    short = told["transactionStatus"]
    if told.code != codes.DONE[kind] or short not in ("", YES, "P"):
        raise UnreadableError(f"neither done nor refused: {reply.said}")
    return Pending(booked_id, evidence=_reports(short)) if short == "P" else Approved(booked_id, amount)


def _step(state: State, kind: OperationKind, booked_id: str, amount: Money) -> Outcome:
    done, under_way, _ = STEPS[kind]
    if state in done:
        return Approved(booked_id, amount)
    if state in under_way:
        return Pending(booked_id, evidence=_reports(state.name.lower()))
    raise UnreadableError(f"a {kind} that leads to {state.name.lower()}")


def _not_done(reply: Reply, kind: OperationKind, booked_id: str) -> Declined | Refused:
    """Return what a refusal means; one of a payment that stands already where this leads is no answer."""
    told = reply.told
    if told["status"] in LONG and LONG[told["status"]] in STEPS[kind][0]:
        raise UnreadableError(f"{reply.said}, and the payment is {told['status']}")
    if told.code in codes.FAILED and told["transactionStatus"] == "N":
        return Declined(told.code, DeclineClass.RETRY_LATER, reply.text, booked_id)
    if told.code not in codes.REJECTIONS:
        raise UnreadableError(reply.said)
    if codes.REJECTIONS[told.code] is None:
        return Refused(told.code, f"PaymentZ rejects the request: {reply.said}", booked_id)
    return Declined(told.code, DeclineClass.NEVER, reply.text, booked_id)


def deletion(reply: Reply | Silence) -> Outcome:
    """Return whether the registration is gone; one that PaymentZ does not know is gone."""
    return _read(reply, _deletion)


def _deletion(reply: Reply) -> Outcome:
    told = reply.told
    gone = codes.REJECTIONS.get(told.code) is DeclineClass.NEEDS_NEW_PROFILE
    if gone or told.code == codes.SUCCEEDED:
        return Approved("", NOTHING)
    return _rejected(reply)


# --- questions ------------------------------------------------------------------------------------------


def found(reply: Reply | Silence, question: Question, settings: Settings) -> Outcome:
    """Return what a payment, or an operation on it, has become."""
    if not isinstance(reply, Reply):
        return Unknown(f"PaymentZ could not be asked: {reply.reason}", question.gateway_id)
    return _read(reply, lambda whole: _found(whole, question, settings), question.gateway_id)


def _found(reply: Reply, question: Question, settings: Settings) -> Outcome:
    """Return what is on record."""
    told = reply.told
    if reply.status != 200:
        raise UnreadableError(f"HTTP {reply.status}: {reply.said}")
    if not told.payment_id and told.code == settings.not_found_code:
        return _nothing(question)
    if question.operation is not None:
        return _operation_in(told, question, question.operation)
    return _outcome(reply, Given(question.key, question.gateway_id), settings)


def _nothing(question: Question) -> Outcome:
    if question.gateway_id:
        raise UnreadableError("PaymentZ does not know the payment it told us of")
    return Pending(evidence="nobody has paid on the page") if question.page else NotSent("PaymentZ knows nothing of it")


def _operation_in(told: Told, question: Question, kind: OperationKind) -> Outcome:
    """Return what the payment's status says of the operation; it has no name of its own on this wire."""
    gateway_id = _same_payment(told, Given(question.key, question.gateway_id))
    state = _state(told, Given())
    if kind not in STEPS or (kind in _GIVES_BACK and (question.settled_before or question.settled_minor)):
        raise UnreadableError(f"a status cannot tell this {kind} from an earlier one")
    if state in STEPS[kind][2]:
        return NotSent(f"the payment is {told['status']}, so there was no {kind}")
    if state in STEPS[kind][0] | STEPS[kind][1] | {State.OPEN}:
        return _step(state, kind, gateway_id, question.amount)
    return Declined(told["status"], DeclineClass.NEVER, f"the payment is {told['status']}", gateway_id)


_GIVES_BACK: Final = (OperationKind.REFUND, OperationKind.CREDIT)


# --- news -----------------------------------------------------------------------------------------------


def news(reply: Reply, key: str, settings: Settings) -> tuple[Outcome, OperationKind | None]:
    """Return what a callback says, and which operation it is about; raise `UnreadableError` where it says nothing.

    It says nothing of a profile: it shows a registration for a REPEATED payment as for the one that stored it.
    """
    outcome = _outcome(reply, Given(key, store=False), settings)
    if isinstance(outcome, Approved) and outcome.undone:
        return Approved(outcome.gateway_id, outcome.amount), outcome.undone
    return outcome, None


# --- shared -----------------------------------------------------------------------------------------------


def _reports(state: str) -> str:
    return f"PaymentZ reports the state {state}"


def _read(reply: Reply | Silence, decode: Callable[[Reply], Outcome], gateway_id: str = "") -> Outcome:
    """Decode a reply; one that is unreadable or contradicts itself is in doubt, and so is not lost."""
    if not isinstance(reply, Reply):
        return replace(reply, gateway_id=gateway_id) if isinstance(reply, Refused) else reply
    try:
        if reply.unreadable or reply.status >= 500:
            raise UnreadableError(reply.unreadable or f"HTTP {reply.status}: {reply.said}")
        return decode(reply)
    except UnreadableError as error:
        reason, *told_id = error.args
        return Unknown(f"PaymentZ gave an answer that is not clear: {reason}", *(told_id or [gateway_id]))
