"""Answers as they are read: JSON by name and type, and anything else is no answer.

Fields we do not know do not matter, PAYONE adds some with every release. What contradicts its type does matter:
numbers may come as text, as the platform's own samples do, and nothing else is forgiven.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from billing.gateway import Refused, Unknown
from billing.money import Money, MoneyError
from gateways.transport import Answer

_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_NO_APPLICATION: Final = frozenset({405, 413, 415})


class UnreadableError(Exception):
    """An answer that is not whole, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class Part:
    """A JSON object, read by name; what is absent or null is empty."""

    values: dict[str, Any]

    def __bool__(self) -> bool:
        return bool(self.values)

    def part(self, *names: str) -> Part:
        """Return the object at the end of the names, empty if one is absent."""
        inner: Any = self.values
        for name in names:
            inner = inner.get(name)
            if inner is None:
                return Part({})
            if not isinstance(inner, dict):
                raise UnreadableError(f"{name} is no object")
        return Part(inner)

    def parts(self, name: str) -> list[Part] | None:
        """Return the objects of a list, or nothing where there is no list."""
        found = self.values.get(name)
        if found is None:
            return None
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise UnreadableError(f"{name} is no list of objects")
        return [Part(item) for item in found]

    def text(self, name: str) -> str:
        """Return the text, empty if absent; a number is its digits."""
        found = self.values.get(name)
        if found is None:
            return ""
        if isinstance(found, str):
            return found.strip()
        if type(found) is int:
            return str(found)
        raise UnreadableError(f"{name} is no text")

    def number(self, name: str) -> int | None:
        """Return the whole number, nothing if absent."""
        text = self.text(name)
        if text and not _DIGITS.fullmatch(text):
            raise UnreadableError(f"{name} is no whole number")
        return int(text) if text else None

    def flag(self, name: str) -> bool:
        """Tell whether the field is there and true."""
        return self.values.get(name) in (True, "true")

    def money(self, name: str) -> Money | None:
        """Return an amount with its currency, nothing if absent."""
        part = self.part(name)
        minor = part.number("amount")
        if not part or minor is None:
            return None
        try:
            return Money(minor, part.text("currencyCode"))
        except MoneyError as error:
            raise UnreadableError(f"{name}: {error}") from None

    def web_address(self, name: str) -> str:
        """Return an absolute address; anything else is no answer."""
        text = self.text(name)
        try:
            parts = urlsplit(text)
        except ValueError:
            raise UnreadableError(f"{name} is no web address") from None
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UnreadableError(f"{name} is no web address")
        return text


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: its HTTP status and its object."""

    status: int
    body: Part
    clean: Callable[[str], str]


def parse(content: bytes, *, may_be_listed: bool = False) -> Part:
    """Return the one object that these bytes are, or list alone; raise `UnreadableError` for anything else."""
    try:
        found = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None
    if may_be_listed and isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, dict):
        return Part(found)
    raise UnreadableError("not a JSON object")


def read(answer: Answer, clean: Callable[[str], str]) -> Reply | Refused | Unknown:
    """Read an answer whole, or say what its absence means.

    A path that does not exist answers 404 with an empty body ("API troubleshooting"); behind it stands no
    application that could have booked anything.
    """
    if answer.status in _NO_APPLICATION or (answer.status == 404 and not answer.body.strip()):
        return Refused(str(answer.status), f"no PAYONE service answers at this endpoint (HTTP {answer.status})")
    try:
        return Reply(answer.status, parse(answer.body) if answer.body.strip() else Part({}), clean)
    except UnreadableError as error:
        excerpt = " ".join(clean(answer.body[:8192].decode(errors="replace")).split())[:300]
        return Unknown(f"PAYONE gave an answer that cannot be read: HTTP {answer.status}: {error}: {excerpt}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: which of the two would count is anybody's guess."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands twice")
    return values
