"""What codes and statuses mean, as data; the provider publishes no classes, so these are ours to change.

A code is `S MMM DDDD`: how bad, which module, what exactly. The module is never looked at, and the detail is text,
since it has letters (Computop, "A4 Error codes").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from billing.gateway import DeclineClass

SUCCESS: Final = "00000000"
DONE: Final = frozenset({"OK", "AUTHORIZED"})
OPEN: Final = frozenset({"AUTHORIZE_REQUEST", "PENDING", "CAPTURE_REQUEST", "CAPTURE_WAITING"})
FAILED: Final = "FAILED"
UNKNOWN_PAYMENT: Final = "0061"

_CODE: Final = re.compile("[0-9A-Z]{8}")


class Meaning(Enum):
    """What a code that is no success asks for."""

    CUSTOMER = auto()
    LATER = auto()
    NEW_MEANS = auto()
    NEVER = auto()
    DOUBT = auto()
    PENDING = auto()
    THIS_PAYMENT = auto()
    OURS = auto()


DECLINES: Final[Mapping[Meaning, DeclineClass]] = {
    Meaning.CUSTOMER: DeclineClass.NEEDS_CUSTOMER,
    Meaning.LATER: DeclineClass.RETRY_LATER,
    Meaning.NEW_MEANS: DeclineClass.NEEDS_NEW_PROFILE,
    Meaning.NEVER: DeclineClass.NEVER,
}

_DETAILS: Final[Mapping[Meaning, str]] = {
    # Cancelled, not authenticated, or mistyped by the customer.
    Meaning.CUSTOMER: "0053 0073 0703 0200 0019 0F04",
    # Issuer, funds, network for now; the merchant's own velocity limits; failed without a reason.
    Meaning.LATER: """
        0100 0302 0305 0385 0103 0313 0351 0121 0391 0396
        0161 0162 0163 0164 0165 0166 011A 011B 011C 011D 011E 011F
        012A 012B 012C 012D 012E 012F 013A 013B 013C 013D 013E 013F
        0950 0951 0952""",
    # Number, card or account invalid, expired, of a kind not taken; the stored number gone.
    Meaning.NEW_MEANS: "0102 0314 0356 0304 0331 0111 0094 0110 0333 0354 0130 0500 0015 0017 0018",
    # Fraud, stolen, blocked, checks failed, block lists.
    Meaning.NEVER: """
        0334 0359 0991 0343 0361 0362 0120 0105 0190 0191 0192 0924 0925
        014A 014B 014C 014D 014E 014F""",
    # Somebody downstream was silent, did it already, or has another action in the way: ask, then try again.
    Meaning.DOUBT: """
        0040 0045 0050 0052 0051 0056 0150 0151 0301 0303 0321 0330 0340 0358 0376 0386 0387 0392
        0397 0398 0399 0701 0710 0705 0709 0062 0076 0068 0072 0350""",
    # Our own mistake, but about one payment and not about the account.
    Meaning.THIS_PAYMENT: "0061 0063 0069 0070 0074 0075 0081 0600 0601",
    # The account is not set up for it, or a parameter of ours is at fault.
    Meaning.OURS: """
        0060 0071 0077 0078 0080
        0650 0651 0652 0653 0654 0655 0656 0657 0658 0659 065A 065B 065C 065D 065E 065F
        0001 0002 0003 0004 0005 0006 0007 0008 0009 0010 0011 0012 0013 0020 0021 0022 0023 0024 0025 0026
        0031 0032 0F01 0F02 0F03 0F05 0F06 0F07 0F08 0F09 0F0A 0F0B""",
}

MEANINGS: Final[Mapping[str, Meaning]] = {
    detail: meaning for meaning, details in _DETAILS.items() for detail in details.split()
}
"""The last four characters of a code, and what they mean."""

_BY_SEVERITY: Final[Mapping[str, Meaning]] = {
    "2": Meaning.LATER,
    "4": Meaning.OURS,
    "6": Meaning.PENDING,
    "7": Meaning.DOUBT,
}
"""What the first character says where the detail is not listed; any other says nothing."""


def is_code(text: str) -> bool:
    """Tell whether the text is built like a code."""
    return bool(_CODE.fullmatch(text))


def meaning(code: str) -> Meaning:
    """Return what a code that is no success asks for; pending is pending whatever the detail."""
    by_severity = _BY_SEVERITY.get(code[:1], Meaning.DOUBT)
    if code[:1] not in ("2", "4"):
        return by_severity
    return MEANINGS.get(code[4:], by_severity)
