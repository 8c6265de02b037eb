"""The confirmation: a GET whose query tells of every change of a transaction.

There is no signature. What proves a confirmation is the secret in the address that we gave with the order; the
engine checks it and hands over the key it proved (docs.mpay24.com/docs/payment-notification).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from billing.gateway import Approved, ForgeryError, Notice, OperationKind, Outcome, ProfileNews, RawMessage
from billing.money import Money, MoneyError
from gateways.mpay24_codes import in_state, kind, undone_by

_SHAPES: Final[Mapping[str, re.Pattern[str]]] = {
    "OPERATION": re.compile("CONFIRMATION"),
    "TID": re.compile(".{1,32}", re.DOTALL),
    "STATUS": re.compile("[A-Z_]{1,40}"),
    "PRICE": re.compile("[0-9]{1,11}"),
    "CURRENCY": re.compile("[A-Z]{3}"),
    "P_TYPE": re.compile("[A-Z0-9-]{1,40}"),
    "MPAYTID": re.compile("[0-9]{1,20}"),
}
"""What must be there, once each; everything else may be missing, and unknown names are ignored."""

_USED: Final = ("BRAND", "CUSTOMER_ID", "PROFILE_ID", "PROFILE_STATUS")
_FIELDS_MAX: Final = 200
_OPERATIONS: Final = frozenset({"CREDITED", "BILLED_REVERSAL", "REVERSED", "RESERVED_REVERSAL"})


def read(message: RawMessage, *, clears_itself: bool) -> Notice:
    """Return what the confirmation says, or raise `ForgeryError`."""
    values = _believed(message)
    state, gateway_id = values["STATUS"], values["MPAYTID"]
    identity = f"{gateway_id}/{state}/{values['PRICE']}"
    if state == "CREDITED_REVERSAL":
        return Notice(identity, values["TID"], gateway_id, operation=OperationKind.REFUND)
    operation = undone_by(state, values["P_TYPE"]) if state in _OPERATIONS else None
    outcome = told(values, clears_itself=clears_itself)
    return Notice(identity, values["TID"], gateway_id, _done(outcome) if operation else outcome, operation)


def told(values: Mapping[str, str], *, clears_itself: bool) -> Outcome | None:
    """Return what a transaction's parameters say of it; pushes and TransactionStatus share them."""
    try:
        amount = Money(int(values["PRICE"]), values["CURRENCY"])
    except (MoneyError, ValueError, KeyError):
        return None
    ptype = values.get("P_TYPE", "")
    outcome = in_state(values["STATUS"], values["MPAYTID"], amount, ptype, clears_itself=clears_itself)
    if not isinstance(outcome, Approved) or outcome.undone:
        return outcome
    failed = values.get("PROFILE_STATUS") == "ERROR"
    return Approved(
        outcome.gateway_id, amount, captured=outcome.captured, profile=profile_told(values), profile_failed=failed
    )


def profile_told(values: Mapping[str, str]) -> ProfileNews | None:
    """Return the profile that was made or renewed, if one was."""
    reference = values.get("CUSTOMER_ID", "")
    if values.get("PROFILE_STATUS") not in ("CREATED", "UPDATED") or not reference:
        return None
    return ProfileNews(reference, values.get("PROFILE_ID", ""), kind(values.get("P_TYPE", "")), values.get("BRAND", ""))


def _done(outcome: Outcome | None) -> Outcome | None:
    """Return an operation's own outcome: it worked, and nothing has undone it."""
    return Approved(outcome.gateway_id, outcome.amount) if isinstance(outcome, Approved) else outcome


def _believed(message: RawMessage) -> dict[str, str]:
    if message.method != "GET":
        raise ForgeryError("mPAY24 confirms by GET only")
    if not message.proven_key:
        raise ForgeryError("the address does not carry this order's secret")
    values = _values(message.query)
    if values["TID"] != message.proven_key:
        raise ForgeryError("the secret belongs to another order than TID names")
    return values


def _values(query: str) -> dict[str, str]:
    pairs = _pairs(query)
    names = [name for name, _ in pairs]
    for name in _USED:
        if names.count(name) > 1:
            raise ForgeryError(f"{name} is there more than once")
    values = dict(pairs)
    for name, shape in _SHAPES.items():
        if names.count(name) != 1 or not shape.fullmatch(values[name]):
            raise ForgeryError(f"{name} is not there once, as mPAY24 writes it")
    return values


def _pairs(query: str) -> list[tuple[str, str]]:
    """Decode the query; its charset is not published, and older integrations met ISO-8859-1."""
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX)
    except UnicodeDecodeError:
        return parse_qsl(query, keep_blank_values=True, encoding="iso-8859-1", max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise ForgeryError("no confirmation has that many fields") from None
