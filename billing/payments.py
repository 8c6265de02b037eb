"""The life of one attempt to collect, and what a gateway's answer does to it."""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from billing.gateway import Approved, Declined, NotSent, Outcome, Pending, Refused, Unknown
from billing.lifecycle import move


class AttemptState(StrEnum):
    """Where an attempt, or an operation on a payment, stands."""

    CREATED = "created"
    SENT = "sent"
    APPROVED = "approved"
    DECLINED = "declined"
    REFUSED = "refused"
    PENDING = "pending"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    WITHDRAWN = "withdrawn"


class Initiator(StrEnum):
    """Who started an attempt."""

    CUSTOMER = "customer"
    MERCHANT = "merchant"


class Channel(StrEnum):
    """Where an attempt was started."""

    NIGHT = "night"
    DUNNING = "dunning"
    PAY_LINK = "pay_link"
    PORTAL = "portal"
    CONSOLE = "console"
    API = "api"


_S = AttemptState
_LATE_TRUTH: Final = frozenset({_S.APPROVED})

MOVES: Final = MappingProxyType(
    {
        # Only a database restored from a backup hears of an attempt that it never sent.
        _S.CREATED: frozenset({_S.SENT, _S.WITHDRAWN, _S.APPROVED, _S.PENDING}),
        # A process that leaves hands back what it has claimed and not begun to send.
        _S.SENT: frozenset({_S.CREATED, _S.APPROVED, _S.DECLINED, _S.REFUSED, _S.PENDING, _S.UNKNOWN, _S.NOT_SENT}),
        _S.PENDING: frozenset({_S.APPROVED, _S.DECLINED, _S.NOT_SENT}),
        _S.UNKNOWN: frozenset({_S.APPROVED, _S.DECLINED, _S.NOT_SENT, _S.PENDING}),
        _S.DECLINED: _LATE_TRUTH,
        _S.NOT_SENT: _LATE_TRUTH,
        _S.REFUSED: _LATE_TRUTH,
        _S.WITHDRAWN: _LATE_TRUTH,
        _S.APPROVED: frozenset(),
    }
)

OPEN: Final = (_S.CREATED, _S.SENT, _S.PENDING, _S.UNKNOWN)
IN_DOUBT: Final = (_S.SENT, _S.PENDING, _S.UNKNOWN)


def state_named_by(outcome: Outcome) -> AttemptState:
    """Return the state a gateway's answer speaks of, whatever is held now."""
    match outcome:
        case Approved():
            return _S.APPROVED
        case Declined():
            return _S.DECLINED
        case Refused():
            return _S.REFUSED
        case Pending():
            return _S.PENDING
        case NotSent():
            return _S.NOT_SENT
        case Unknown():
            return _S.UNKNOWN


def absorb(held: AttemptState, outcome: Outcome, *, page_open: bool = False) -> AttemptState:
    """Return the state after the news, which is the one held where the news changes nothing.

    News comes late, twice and out of order. A payment that is approved stays so; a failed try on a
    page that is still open is evidence and not the end; and a doubt is not settled by another doubt.
    """
    named = state_named_by(outcome)
    if page_open and held == _S.PENDING and named != _S.APPROVED:
        return held
    return move(MOVES, held, named) if named in MOVES[held] else held


def found_out(answer: Outcome) -> Outcome:
    """Return what the answer to a question says; one that rejects the question has told nothing of the payment."""
    if isinstance(answer, Refused):
        return Unknown(f"the gateway does not let us ask: {answer.code}: {answer.reason}")
    return answer


def owed_key(kind: str, *parts: str | int) -> str:
    """Return the name of an owed thing, the same after any restore: `INV-` or `VER-` and 16 letters or digits."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return f"{kind}-{base64.b32encode(digest[:10]).decode()}"


def attempt_key(owed: str, number: int) -> str:
    """Return our reference at the gateway for one try: at most 30 characters of `A-Z 0-9 -`."""
    return f"{owed}-{number}"
