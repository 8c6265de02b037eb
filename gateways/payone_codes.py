"""What PAYONE's words mean, as data: status codes, decline codes, errors, card products, the words of a series.

The platform's pages: "Statuses", "Payment retry guidelines", "API troubleshooting" and "Card on file"
(docs.direct.worldline-solutions.com), which PAYONE's "Server-to-server" guide points to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from billing.gateway import DeclineClass

_SOFT: Final = DeclineClass.RETRY_LATER
_CUSTOMER: Final = DeclineClass.NEEDS_CUSTOMER
_PROFILE: Final = DeclineClass.NEEDS_NEW_PROFILE
_NEVER: Final = DeclineClass.NEVER

# --- statuses ("Statuses") --------------------------------------------------------------------------


class Meaning(Enum):
    """What a status says about a payment."""

    OPEN = auto()
    RESERVED = auto()
    PAID = auto()
    FAILED = auto()
    RELEASED = auto()
    REFUNDED = auto()


class Kind(Enum):
    """What sort of operation a status belongs to."""

    PAYMENT = auto()
    CANCEL = auto()
    REFUND = auto()
    CAPTURE = auto()


class Step(Enum):
    """How far an operation has come."""

    OPEN = auto()
    DONE = auto()
    REFUSED = auto()


_O, _R, _P, _F, _L, _U = (
    Meaning.OPEN,
    Meaning.RESERVED,
    Meaning.PAID,
    Meaning.FAILED,
    Meaning.RELEASED,
    Meaning.REFUNDED,
)

CODES: Final[Mapping[int, tuple[Meaning, tuple[str, ...]]]] = {
    0: (_O, ("CREATED",)),
    1: (_F, ("CANCELLED",)),
    2: (_F, ("REJECTED",)),
    4: (_O, ("CAPTURE_REQUESTED",)),
    46: (_O, ("REDIRECTED",)),
    5: (_R, ("PENDING_CAPTURE",)),
    50: (_O, ("AUTHORIZATION_REQUESTED",)),
    51: (_O, ("AUTHORIZATION_REQUESTED",)),
    52: (_O, ("AUTHORIZATION_REQUESTED",)),
    55: (_O, ("AUTHORIZATION_REQUESTED",)),
    56: (_R, ("PENDING_CAPTURE",)),
    57: (_F, ("REJECTED",)),
    59: (_F, ("REJECTED",)),
    6: (_L, ("CANCELLED",)),
    61: (_R, ("CANCELLED",)),
    62: (_R, ("CANCELLED",)),
    63: (_R, ("REJECTED", "CANCELLATION_REJECTED")),
    64: (_L, ("CANCELLED",)),
    7: (_U, ("REVERSED",)),
    71: (_P, ("REFUND_REQUESTED",)),
    72: (_P, ("REFUND_REQUESTED",)),
    73: (_P, ("REJECTED",)),
    74: (_L, ("CANCELLED",)),
    75: (_U, ("REVERSED",)),
    8: (_U, ("REFUNDED",)),
    81: (_P, ("REFUND_REQUESTED",)),
    82: (_P, ("REFUND_REQUESTED",)),
    83: (_P, ("REJECTED",)),
    84: (_P, ("REJECTED",)),
    85: (_U, ("REFUNDED",)),
    9: (_P, ("CAPTURED",)),
    91: (_O, ("CAPTURE_REQUESTED",)),
    92: (_O, ("CAPTURE_REQUESTED",)),
    93: (_R, ("REJECTED_CAPTURE",)),
    95: (_P, ("CAPTURED",)),
    99: (_O, ("CAPTURE_REQUESTED",)),
}
"""A status code, what it says about the payment, and the status names it may stand with.

Money is ours only at 9 and what follows from 9: while a refund is asked for or was refused, the payment stays
paid; while a capture was refused, or a cancellation is not through, it stays reserved. 91 is not yet money.
"""

STATUSES: Final[Mapping[str, Meaning]] = {
    "CREATED": _O,
    "REDIRECTED": _O,
    "PENDING_PAYMENT": _O,
    "PENDING_COMPLETION": _O,
    "AUTHORIZATION_REQUESTED": _O,
    "CAPTURE_REQUESTED": _O,
    "PENDING_CAPTURE": _R,
    "REJECTED_CAPTURE": _R,
    "CAPTURED": _P,
    "REFUNDED": _U,
}
"""What a status name says where no code we know stands beside it; the ambiguous ones are left out."""

OPERATIONS: Final[Mapping[Kind, tuple[frozenset[int], frozenset[int], frozenset[int]]]] = {
    Kind.CANCEL: (frozenset({61, 62}), frozenset({6, 64}), frozenset({63})),
    Kind.REFUND: (frozenset({71, 72, 81, 82}), frozenset({7, 74, 75, 8, 85}), frozenset({73, 83, 84})),
    Kind.CAPTURE: (frozenset({4, 91, 92, 99}), frozenset({9, 95}), frozenset({93})),
}
"""The codes with which each kind of operation is open, done, and refused."""

UNDECIDED: Final = frozenset({52, 62, 72, 82, 92})
"""Codes after which PAYONE itself does not know; the operation is never repeated, only asked about."""


def step_of(kind: Kind, code: int) -> Step | None:
    """Return how far an operation with this code has come, or nothing for a code of another kind."""
    return next((step for step, codes in zip(Step, OPERATIONS[kind], strict=True) if code in codes), None)


# --- declines ("Payment retry guidelines") ------------------------------------------------------------

DECLINES: Final[Mapping[str, DeclineClass]] = {
    "30511001": _SOFT,
    "30051001": _SOFT,
    "30911001": _SOFT,
    "30681001": _SOFT,
    "30991001": _SOFT,
    "30201001": _SOFT,
    "30301001": _SOFT,
    "30581001": _SOFT,
    "30621001": _SOFT,
    "30921001": _SOFT,
    "30331001": _PROFILE,
    "30541001": _PROFILE,
    "30141001": _PROFILE,
    "30151001": _PROFILE,
    "30041001": _NEVER,
    "30071001": _NEVER,
    "30121001": _NEVER,
    "30571001": _NEVER,
    "30411001": _NEVER,
    "30431001": _NEVER,
    "33000972": _NEVER,
    "33000973": _NEVER,
    "33000975": _NEVER,
    "33000833": _NEVER,
    "30591001": _NEVER,
    "30171001": _CUSTOMER,
    "40001134": _CUSTOMER,
    "40001139": _CUSTOMER,
    "50001087": _CUSTOMER,
    "40001135": _SOFT,
    "50001081": _SOFT,
    "40001137": _SOFT,
    "40001138": _SOFT,
    "40001146": _SOFT,
}

ASKS_FOR_THE_CUSTOMER: Final = frozenset({"40001139", "50001087"})
"""The issuer wants authentication: no hint to try later can make another silent try succeed."""

REFUSALS: Final[Mapping[str, str]] = {"30031001": "the contract with the acquirer is wrong"}
"""A failed payment whose reason is the merchant's own account."""

DOUBTS: Final = frozenset({"50001113"})
"""The order was processed already: perhaps it is paid, so this is not a no."""

NETWORK: Final[Mapping[str, DeclineClass]] = {
    "34": _NEVER,
    "35": _NEVER,
    "36": _NEVER,
    "37": _NEVER,
    "46": _PROFILE,
    "65": _CUSTOMER,
    "78": _PROFILE,
}
"""Response codes of the card networks (ISO 8583) that PAYONE's list leaves out but its numbers can carry."""

INSTRUCTIONS: Final[Mapping[str, DeclineClass]] = {
    "retryLater": _SOFT,
    "updateBeforeRetry": _PROFILE,
    "neverRetry": _NEVER,
    "dontStorePanCredentials": _PROFILE,
}
"""What `reattemptInstructions` says; where it is there, it overrules the table."""

_FROM_NETWORK: Final = re.compile(r"30([0-9]{2})1001")
_FRAUD_RULES: Final = re.compile(r"300011(?:[0-7][0-9]|80)")


def decline_class(code: str) -> DeclineClass | None:
    """Return what a decline code asks for, or nothing where the code says nothing we know."""
    if code in DECLINES:
        return DECLINES[code]
    if _FRAUD_RULES.fullmatch(code):
        return _NEVER
    network = _FROM_NETWORK.fullmatch(code)
    return NETWORK.get(network[1], _SOFT) if network else None


# --- errors ("API troubleshooting") -------------------------------------------------------------------

STILL_RUNNING: Final = frozenset({"1409", "30001002", "DUPLICATE_REQUEST_IN_PROGRESS"})
"""The first request under this key has not been answered yet."""

NOT_ALLOWED: Final = "ACTION_NOT_ALLOWED_ON_TRANSACTION"
NEVER_AGAIN: Final = frozenset(
    {NOT_ALLOWED, "UNKNOWN_PAYMENT_ID", "PAYMENT_PRODUCT_NOT_REFUNDABLE", "UNKNOWN_CAPTURE_ID", "UNKNOWN_REFUND_ID"}
)
"""A no to an operation that speaks of this one payment, so it does not stop the account."""

UNKNOWN_TOKEN: Final = "UNKNOWN_TOKEN_ID"  # noqa: S105 - the name of an error

BLAMED: Final[tuple[tuple[re.Pattern[str], DeclineClass], ...]] = (
    (re.compile(r"hostedTokenizationId"), _CUSTOMER),
    (re.compile(r"cardPaymentMethodSpecificInput\.token|tokenId"), _PROFILE),
    (re.compile(r"cardPaymentMethodSpecificInput\.card(\..*)?"), _CUSTOMER),
    (re.compile(r"order\.customer(\..*)?"), _CUSTOMER),
)
"""Fields whose rejection is about what the customer gave; any other is our own mistake."""

# --- cards and their series ---------------------------------------------------------------------------

BRANDS: Final[Mapping[int, str]] = {
    1: "VISA",
    2: "AMEX",
    3: "MASTERCARD",
    117: "MAESTRO",
    125: "JCB",
    130: "CB",
    132: "DINERS",
    3012: "BANCONTACT",
}

SERIES: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "unscheduled": {
        "first": {
            "unscheduledCardOnFileRequestor": "cardholderInitiated",
            "unscheduledCardOnFileSequenceIndicator": "first",
        },
        "present": {
            "unscheduledCardOnFileRequestor": "cardholderInitiated",
            "unscheduledCardOnFileSequenceIndicator": "subsequent",
        },
        "away": {
            "unscheduledCardOnFileRequestor": "merchantInitiated",
            "unscheduledCardOnFileSequenceIndicator": "subsequent",
        },
        "page": {"isNewUnscheduledCardOnFileSeries": True},
    },
    "recurring": {
        "first": {"isRecurring": True, "recurring": {"recurringPaymentSequenceIndicator": "first"}},
        "present": {},
        "away": {"isRecurring": True, "recurring": {"recurringPaymentSequenceIndicator": "recurring"}},
        "page": {"isRecurring": True},
    },
}
"""The words of each kind of series. The two must not be mixed in one request ("Card on file").

`first` makes it, `present` uses it with the customer there, `away` without; `page` is said of a hosted checkout.
"""

LOCALES: Final[Mapping[str, str]] = {
    "cs": "cs_CZ",
    "da": "da_DK",
    "de": "de_DE",
    "en": "en_GB",
    "es": "es_ES",
    "fi": "fi_FI",
    "fr": "fr_FR",
    "hu": "hu_HU",
    "it": "it_IT",
    "nl": "nl_NL",
    "no": "no_NO",
    "pl": "pl_PL",
    "pt": "pt_PT",
    "sk": "sk_SK",
    "sl": "sl_SI",
    "sv": "sv_SE",
}


def locale(language: str) -> str:
    """Return a language as the platform writes it, such as `de_AT`; empty where it would have to be guessed."""
    parts = re.fullmatch(r"([A-Za-z]{2})(?:[-_]([A-Za-z]{2}))?", language)
    if not parts:
        return ""
    return f"{parts[1].lower()}_{parts[2].upper()}" if parts[2] else LOCALES.get(parts[1].lower(), "")
