"""Bodies are read by tables of fields: what is unknown is ignored, what is known is checked (reference section 7).

Types are read with tolerance (reference section 1): a number may come as text,
a text as a number, a truth as the text ``"true"``. What cannot be read so is
refused by the path of the field. ``null`` is as good as absent.
"""

import re
from collections.abc import Callable
from typing import Any

from gateways.sandbox.payone_refusals import invalid_value, missing, wrong_type

Check = Callable[[object, str], Any]
WHOLE = re.compile(r"-?[0-9]{1,18}")


def text(length_max: int) -> Check:
    """Take a text of at most this length."""

    def check(value: object, path: str) -> str:
        found = as_text(value, path)
        if len(found) > length_max:
            raise invalid_value(path)
        return found

    return check


def trimmed(length_max: int) -> Check:
    """Take a text and cut what is longer."""
    return lambda value, path: as_text(value, path)[:length_max]


def like(pattern: str) -> Check:
    """Take a text that matches a pattern from end to end."""
    compiled = re.compile(pattern)

    def check(value: object, path: str) -> str:
        found = as_text(value, path)
        if not compiled.fullmatch(found):
            raise invalid_value(path)
        return found

    return check


def choice(words: str) -> Check:
    """Take one of some words."""
    known = frozenset(words.split())

    def check(value: object, path: str) -> str:
        found = as_text(value, path)
        if found not in known:
            raise invalid_value(path)
        return found

    return check


def whole(least: int, most: int) -> Check:
    """Take a whole number between two, both included."""

    def check(value: object, path: str) -> int:
        found = as_whole(value, path)
        if not least <= found <= most:
            raise invalid_value(path)
        return found

    return check


def flag(value: object, path: str) -> bool:
    """Take a truth."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise wrong_type(path)


def as_text(value: object, path: str) -> str:
    """Read a text, or a number sent in its place."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise wrong_type(path)


def as_whole(value: object, path: str) -> int:
    """Read a whole number, or a text that is one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        return int(value)
    raise wrong_type(path)


class Block:
    """An object of named fields; those in `needed` must be there."""

    def __init__(self, needed: str = "", /, **fields: "Check | Block") -> None:
        self._needed = needed.split()
        self._fields = fields

    def __call__(self, value: object, path: str) -> dict[str, Any]:
        """Read the known fields of an object."""
        if not isinstance(value, dict):
            raise wrong_type(path)
        found = {name: value[name] for name in self._fields if value.get(name) is not None}
        for name in self._needed:
            if name not in found:
                raise missing(joined(path, name))
        return {name: self._fields[name](given, joined(path, name)) for name, given in found.items()}


def listed(check: Check, count_max: int) -> Check:
    """Take a list of at most so many."""

    def read(value: object, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(path)
        if len(value) > count_max:
            raise invalid_value(path)
        return [check(entry, f"{path}[{number}]") for number, entry in enumerate(value)]

    return read


def joined(path: str, name: str) -> str:
    """Name a field within another."""
    return f"{path}.{name}" if path else name


def dig(body: object, *names: str) -> Any:
    """Return what lies under some names of an unchecked body, or None."""
    for name in names:
        body = body.get(name) if isinstance(body, dict) else None
    return body
