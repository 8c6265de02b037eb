"""What a message from a gateway said, for people to read: its fields by name, with everything hidden that is secret."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

MASK: Final = "(hidden)"
VALUE_CHARS_MAX: Final = 120
FIELDS_MAX: Final = 200

# Matching is generous on purpose: a page that hides a harmless value too many is better than one that shows a card.
_SECRET_NAME: Final = re.compile(
    r"secret|pass(?!ed)|pwd|token|hash|mac$|hmac|sign|checksum|digest|auth|cv[cvn]2?|security|crypt|proof|pan$|iban|"
    r"card.?n|cc.?n|account.?n|bankaccount|holder|expir|^data$|^len$",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"\d(?:[ -]?\d){11,18}")
_IBAN: Final = re.compile(r"[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}")


def fields_of(query: str, body: bytes, secrets: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return what a message said, field by field; a body in no form that is known here is told by its length alone."""
    found = list(parse_qsl(query, keep_blank_values=True))
    if body.strip():
        found += _in_body(body) or [("body", f"{len(body)} bytes, in a form that is not shown")]
    return [(_clean(name, secrets), _shown(name, value, secrets)) for name, value in found[:FIELDS_MAX]]


def _in_body(body: bytes) -> list[tuple[str, str]]:
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return []
    try:
        return list(_flat("", json.loads(text)))
    except (ValueError, RecursionError):
        return parse_qsl(text, keep_blank_values=True) if "=" in text and not text.startswith("<") else []


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Give each value of a document the names that lead to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else None
    if inner is None:
        yield name, value if isinstance(value, str) else json.dumps(value)
        return
    for key, each in inner:
        yield from _flat(f"{name}.{key}" if name else str(key), each)


def _shown(name: str, value: str, secrets: Collection[str]) -> str:
    is_secret = any(_SECRET_NAME.search(part) for part in name.split("."))
    return _clean(value, secrets) if not is_secret else MASK if value else ""


def _clean(value: str, secrets: Collection[str]) -> str:
    if any(secret in value for secret in secrets if secret):
        return MASK
    if _NUMBER.search(value) or _IBAN.fullmatch(value.strip()):
        return MASK
    return value if len(value) <= VALUE_CHARS_MAX else f"{value[:VALUE_CHARS_MAX]}…"
