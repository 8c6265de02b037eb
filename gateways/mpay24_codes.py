"""What mPAY24's words mean, as data: return codes, transaction states, payment types, languages.

The list of return codes is open-ended (docs.mpay24.com/docs/return-codes-and-error-messages), so a code that is
not listed says nothing certain: it is answered `Unknown` and settled by asking, never by guessing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from billing.gateway import Approved, DeclineClass, Declined, OperationKind, Outcome, Pending, Refused, Unknown
from billing.money import Money

_SOFT: Final = DeclineClass.RETRY_LATER
_CUSTOMER: Final = DeclineClass.NEEDS_CUSTOMER
_PROFILE: Final = DeclineClass.NEEDS_NEW_PROFILE
_NEVER: Final = DeclineClass.NEVER

DECLINES: Final[Mapping[str, DeclineClass]] = {
    "DECLINED": _SOFT,
    "EXTERNAL_ERROR": _SOFT,
    "BLOCKED": _NEVER,
    "NOT_FOUND": _NEVER,
    "CACHE_DATA_EXPIRED": _CUSTOMER,
    "INVALID_CREDITCARD_NUMBER": _PROFILE,
    "INVALID_MAESTRO_NUMBER": _PROFILE,
    "INVALID_IBAN": _PROFILE,
    "PROFILE_NOT_FOUND": _PROFILE,
    "PROFILE_COUNT_EXCEEDED": _NEVER,
    "TOKEN_NOT_FOUND": _CUSTOMER,
    "TOKEN_NOT_VALID": _CUSTOMER,
    "TOKEN_EXPIRED": _CUSTOMER,
    "TOKEN_ENCRYPTION_FAILURE": _CUSTOMER,
    "TOKEN_DECRYPTION_FAILURE": _CUSTOMER,
    "WITHDRAW_NOT_ALLOWED": _NEVER,
    "TRANSACTION_ALREADY_CLEARED": _NEVER,
    "CREDIT_LIMIT_EXCEEDED": _NEVER,
    "CLEARING_LIMIT_EXCEEDED": _NEVER,
}
"""A no about the customer's means, or about one payment that cannot be treated so."""

REFUSALS: Final[Mapping[str, str]] = {
    "ACCESS_DENIED": "our address is not on the account's list of allowed senders",
    "MERCHANT_LOCKED": "the merchant is locked",
    "PAYMENT_METHOD_NOT_ACTIVE": "the payment type is not active for the merchant",
    "OPERATION_NOT_SUPPORTED": "the account does not support this operation",
    "PTYPE_MISMATCH": "the payment type does not fit the payment data we sent",
    "INVALID_MDXI": "the order document was rejected",
    "INVALID_PRICE": "the amount was rejected",
    "INVALID_AMOUNT": "the amount was rejected",
    "PROFILE_NOT_SUPPORTED": "profiles are not enabled for the merchant",
    "PROFILE_FLEX_NOT_SUPPORTED": "interactive profiles are not enabled for the merchant",
}
"""A no to us: the account's settings, or something we should not have sent."""

DOUBTS: Final = frozenset({"INTERNAL_ERROR", "ALREADY_PROCESSED"})
"""Codes after which only asking tells what became of it."""

ABOUT_ONE_PAYMENT: Final[Mapping[str, DeclineClass]] = {
    "OPERATION_NOT_SUPPORTED": _NEVER,
    "INVALID_AMOUNT": _NEVER,
    "INVALID_PRICE": _NEVER,
}
"""Where an operation follows a payment these speak of that payment, so they do not stop the account."""

CUSTOMER_DATA: Final = frozenset(
    "IBAN BIC IDENTIFIER EXPIRY CVC TOKEN PERSONALNUMBER BANKID BANK BIRTHDAY EMAIL PHONE CUSTOMERNAME".split()
)
"""Parameters that the customer typed; `*_NOT_CORRECT` about any other is our mistake."""

TEXTS: Final = (
    (re.compile(r"abgelaufen|expired", re.IGNORECASE), _PROFILE),
    (re.compile(r"\bcv[vc]2?\b", re.IGNORECASE), _CUSTOMER),
)
"""The only reasons mPAY24 ever gives, as texts of EXTERNAL_ERROR (docs.mpay24.com/docs/test-data)."""

ERROR_NUMBERS: Final[Mapping[str, str]] = {
    "1": "DECLINED",
    "2": "BLOCKED",
    "3": "ACCESS_DENIED",
    "4": "MERCHANT_LOCKED",
    "5": "PAYMENT_METHOD_NOT_ACTIVE",
    "8": "OPERATION_NOT_SUPPORTED",
    "9": "PTYPE_MISMATCH",
    "12": "CACHE_DATA_EXPIRED",
    "15": "INVALID_CREDITCARD_NUMBER",
    "16": "INVALID_MAESTRO_NUMBER",
    "17": "INVALID_IBAN",
    "20": "PROFILE_NOT_FOUND",
    "23": "PROFILE_COUNT_EXCEEDED",
    "30": "TOKEN_NOT_FOUND",
    "100": "EXTERNAL_ERROR",
}
"""A history names errors by number only; these are the ones a failed payment can have."""

_PARAMETER: Final = re.compile(r"([A-Z0-9.]+)_NOT_(ENTERED|CORRECT)")


def said_no(code: str, text: str = "", gateway_id: str = "", *, follows_payment: bool = False) -> Outcome:
    """Return what an error code means; `follows_payment` is set for clearing, reversing, crediting."""
    if follows_payment and code in ABOUT_ONE_PAYMENT:
        return Declined(code, ABOUT_ONE_PAYMENT[code], text, gateway_id)
    if code in DECLINES:
        return Declined(code, _declined_by_text(code, text), text, gateway_id)
    if code in REFUSALS:
        return Refused(code, REFUSALS[code], gateway_id)
    return _about_a_parameter(code, text, gateway_id) or Unknown(
        f"mPAY24 answered {code}: {text}".rstrip(": "), gateway_id
    )


def contradict(status: str, code: str) -> bool:
    """Tell whether an answer says yes and no at once; nothing can be concluded from such a one."""
    if status == "OK":
        return code in DECLINES or code in REFUSALS or code in DOUBTS
    return code in ("OK", "REDIRECT")


def _declined_by_text(code: str, text: str) -> DeclineClass:
    if code == "EXTERNAL_ERROR":
        for pattern, decline in TEXTS:
            if pattern.search(text):
                return decline
    return DECLINES[code]


def _about_a_parameter(code: str, text: str, gateway_id: str) -> Outcome | None:
    found = None if code in DOUBTS else _PARAMETER.fullmatch(code)
    if not found:
        return None
    parameter, problem = found.groups()
    if problem == "CORRECT" and parameter.rpartition(".")[2] in CUSTOMER_DATA:
        return Declined(code, _CUSTOMER, text, gateway_id)
    return Refused(code, f"mPAY24 rejected the parameter {parameter}: {text}".rstrip(": "), gateway_id)


# --- states (docs.mpay24.com/docs/transaction-states) -----------------------------------------

OPEN_STATES: Final = frozenset(
    "INIT CREATED AUTHORIZE SUSPENDED REDIRECTED CALLBACK EXECUTE WITHDRAW VALIDATED".split()
)
UNDONE: Final[Mapping[str, OperationKind]] = {
    "REVERSED": OperationKind.REVERSAL,
    "RESERVED_REVERSAL": OperationKind.REVERSAL,
    "REVOKE": OperationKind.REVERSAL,
    "BILLED_REVERSAL": OperationKind.CHARGEBACK,
    "CREDITED": OperationKind.REFUND,
}
_MONEY_STATES: Final = frozenset({"BILLED", "WITHDRAWN", "CREDITED_REVERSAL"})
_RESERVATION_GONE: Final = frozenset({"REVERSED", "RESERVED_REVERSAL", "REVOKE"})
FAILED_STATES: Final = frozenset({"ERROR", "REJECT"})


def in_state(state: str, gateway_id: str, amount: Money, ptype: str, *, clears_itself: bool) -> Outcome | None:
    """Return what a transaction's state means for the payment, or nothing for a state we do not know.

    With automatic clearing `RESERVED` is only passed through, so the money counts as captured.
    """
    if state in _MONEY_STATES:
        return Approved(gateway_id, amount)
    if state == "RESERVED":
        return Approved(gateway_id, amount, captured=clears_itself)
    if state in UNDONE:
        return Approved(gateway_id, amount, captured=state not in _RESERVATION_GONE, undone=undone_by(state, ptype))
    if state in OPEN_STATES:
        return Pending(gateway_id)
    if state in FAILED_STATES:
        return Declined(state, _SOFT, gateway_id=gateway_id)
    return None


def undone_by(state: str, ptype: str) -> OperationKind | None:
    """Return what took the money back; a direct debit comes back as a returned debit, a card as a chargeback."""
    if state == "BILLED_REVERSAL" and ptype in ("ELV", "ELVSECURE"):
        return OperationKind.RETURNED_DEBIT
    return UNDONE.get(state)


# --- payment types ----------------------------------------------------------------------------

WAYS: Final[Mapping[str, str]] = {"CC": "card", "ELV": "debit", "PAYPAL": "paypal"}
"""The engine's words for the payment types whose profiles can be charged again (…/docs/recurrring-profiles)."""

_KINDS: Final[Mapping[str, str]] = {**WAYS, "MAESTRO": "card", "CB": "card", "ELVSECURE": "debit"}

PAGE_TYPES: Final = frozenset(
    """CC CB MAESTRO EPS MIA PB PSC CASH-TICKET ELV QUICK GIROPAY PAYPAL MPASS BILLPAY INVOICE HP SAFETYPAY KLARNA
    SOFORT PAYOLUTION POSTFINANCE ELVSECURE IDEAL ALIPAY WECHATPAY PREPAYMENT APPLEPAY GOOGLEPAY""".split()
)

METHOD_IDS: Final[Mapping[str, tuple[str, str]]] = {
    "1": ("CC", "AMEX"),
    "2": ("CC", "DINERS"),
    "3": ("CC", "JCB"),
    "4": ("CC", "MASTERCARD"),
    "5": ("CC", "VISA"),
    "6": ("CC", "AIRPLUS"),
    "9": ("CB", "CB"),
    "10": ("MAESTRO", "MAESTRO"),
    "60": ("ELV", "ATOS"),
    "61": ("ELV", "HOBEX-AT"),
    "62": ("ELV", "HOBEX-DE"),
    "63": ("ELV", "HOBEX-NL"),
    "65": ("ELV", "BILLPAY"),
    "66": ("ELV", "B4P"),
    "70": ("PAYPAL", "PAYPAL"),
}
"""How a stored profile says what it is: its payment method's number."""

LANGUAGES: Final = frozenset("EN DE BG FR HU NL ES IT CS HR SK SL SR RO RU PL PT TR ZH JA DA FI SV NO UK EL".split())


def kind(ptype: str) -> str:
    """Return the engine's word for a payment type."""
    return _KINDS.get(ptype, ptype.lower())


def language(wanted: str, otherwise: str) -> str:
    """Return mPAY24's code for a language such as `de-AT`, or the other one where it has none."""
    code = wanted.replace("_", "-").partition("-")[0].upper()
    return code if code in LANGUAGES else otherwise
