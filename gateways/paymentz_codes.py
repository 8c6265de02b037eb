"""What PaymentZ's words mean, as data: statuses, what an operation leads to, result codes, reasons of declines, brands.

The long status decides wherever it is told, the short one else; a result code speaks of the request and is never
taken for money. No list of the platform's decline reasons is public, so the words and the bank codes of ISO 8583 that
acquirers pass on are read, and a reason nobody listed is tried again later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from billing.gateway import DeclineClass, OperationKind

_LATER: Final = DeclineClass.RETRY_LATER
_CUSTOMER: Final = DeclineClass.NEEDS_CUSTOMER
_PROFILE: Final = DeclineClass.NEEDS_NEW_PROFILE
_NEVER: Final = DeclineClass.NEVER


class State(Enum):
    """What a status says about a payment."""

    OPEN = auto()
    FAILED = auto()
    CANCELED = auto()
    RESERVED = auto()
    RELEASING = auto()
    RELEASED = auto()
    CAPTURING = auto()
    PAID = auto()
    REFUNDING = auto()
    REFUNDED = auto()
    CHARGED_BACK = auto()


LONG: Final[Mapping[str, State]] = {
    "begun": State.OPEN,
    "authstarted": State.OPEN,
    "authsuccessful": State.RESERVED,
    "authfailed": State.FAILED,
    "failed": State.FAILED,
    "cancelled": State.CANCELED,
    "authcancelled": State.RELEASED,
    "capturestarted": State.CAPTURING,
    "capturesuccess": State.PAID,
    "capturefailed": State.FAILED,
    "cancelstarted": State.RELEASING,
    "settled": State.PAID,
    "markedforreversal": State.REFUNDING,
    "reversed": State.REFUNDED,
    "chargeback": State.CHARGED_BACK,
    "payoutstarted": State.OPEN,
    "payoutsuccessful": State.PAID,
    "payoutfailed": State.FAILED,
}
SHORT: Final[Mapping[str, State]] = {"P": State.OPEN, "3D": State.OPEN, "N": State.FAILED, "C": State.CANCELED}
"""Beside these there is `Y`, which says yes to whatever was asked for: money, or a reservation."""

YES: Final = "Y"

UNDONE: Final[Mapping[State, OperationKind]] = {
    State.RELEASED: OperationKind.REVERSAL,
    State.REFUNDED: OperationKind.REFUND,
    State.CHARGED_BACK: OperationKind.CHARGEBACK,
}

_REFUND: Final = (frozenset({State.REFUNDED}), frozenset({State.REFUNDING}), frozenset({State.PAID}))
STEPS: Final[Mapping[OperationKind, tuple[frozenset[State], frozenset[State], frozenset[State]]]] = {
    OperationKind.CAPTURE: (
        frozenset({State.PAID, State.REFUNDING, State.REFUNDED, State.CHARGED_BACK}),
        frozenset({State.CAPTURING}),
        frozenset({State.RESERVED}),
    ),
    OperationKind.REVERSAL: (
        frozenset({State.RELEASED, State.CANCELED}),
        frozenset({State.RELEASING}),
        frozenset({State.RESERVED}),
    ),
    OperationKind.REFUND: _REFUND,
    OperationKind.CREDIT: _REFUND,
    OperationKind.CHARGEBACK: (frozenset({State.CHARGED_BACK}), frozenset(), frozenset({State.PAID})),
}
"""Where the payment stands when an operation is done, under way, or has not begun; elsewhere no way leads to it."""

# --- result codes -------------------------------------------------------------------------------------

SUCCEEDED: Final = "00001"
DONE: Final[Mapping[OperationKind, str]] = {
    OperationKind.CAPTURE: "00004",
    OperationKind.REFUND: "00005",
    OperationKind.REVERSAL: "00006",
}
FAILED: Final = frozenset({"10001", "20007"})
"""With these the gateway says no to a payment it has made; with any other code a no may be about the request."""

UNAUTHENTICATED: Final = "401"

REJECTIONS: Final[Mapping[str, DeclineClass | None]] = {
    "20001": None,
    "20002": None,
    "20003": _PROFILE,
    "20004": _PROFILE,
    "20005": _NEVER,
    "20008": _PROFILE,
}
"""What helps where a request was turned away before there was a payment; None where the fault is ours.

These codes are not public. A brand that uses others loses nothing but speed: an unlisted code is a doubt, and asked
about.
"""

_DUPLICATE: Final = "20006"
_DUPLICATE_WORDS: Final = re.compile(
    r"duplicat|not unique|already (?:exist|in use|used|processed|received)", re.IGNORECASE
)
_TERMINAL: Final = re.compile(r"\bterminal", re.IGNORECASE)
_STORED: Final = re.compile(r"registration|token|parent|initial", re.IGNORECASE)


def is_duplicate(code: str, text: str) -> bool:
    """Tell whether a rejection may mean that the same request was taken before: then it is paid, perhaps."""
    return code == _DUPLICATE or bool(_DUPLICATE_WORDS.search(text))


def blames_terminal(text: str) -> bool:
    """Tell whether a rejection speaks of the terminal alone, which is the merchant's and no customer's."""
    return bool(_TERMINAL.search(text)) and not _STORED.search(text)


# --- reasons of declines --------------------------------------------------------------------------------

BANK_CODES: Final[Mapping[str, DeclineClass]] = (
    dict.fromkeys(("51", "61", "91", "96", "05", "65"), _LATER)
    | dict.fromkeys(("1A", "70"), _CUSTOMER)
    | dict.fromkeys(("14", "15", "33", "54"), _PROFILE)
    | dict.fromkeys(("04", "07", "36", "41", "43", "46", "57", "59", "62", "R0", "R1", "R3"), _NEVER)
)

REASONS: Final = tuple(
    (re.compile(words, re.IGNORECASE), decline)
    for words, decline in (
        (r"insufficient|not enough|limit exceeded|try again|time.?out|unavailable", _LATER),
        (r"stolen|\blost\b|pick.?up|fraud|restricted|not permitted|closed|revo(?:ked|cation)", _NEVER),
        (r"expired|invalid card|invalid account|no such (?:card|account|issuer)", _PROFILE),
        (r"authenticat|3-?d\b|3ds|secure code|cancelled by", _CUSTOMER),
    )
)


def decline_class(bank_code: str, text: str) -> DeclineClass:
    """Return what helps: by the bank's code, else by the first words that are known, else later."""
    by_words = (decline for words, decline in REASONS if words.search(text))
    return BANK_CODES.get(bank_code.upper()) or next(by_words, _LATER)


# --- brands -----------------------------------------------------------------------------------------------

_BRANDS: Final[Mapping[str, str]] = {
    "MC": "MASTERCARD",
    "MASTER CARD": "MASTERCARD",
    "DINER": "DINERS",
    "DISC": "DISCOVER",
    "CUP": "UNIONPAY",
}


def brand(told: str) -> str:
    """Return the brand by its usual name."""
    return _BRANDS.get(told.upper(), told.upper())
