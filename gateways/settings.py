"""How what an operator enters for an account is read; what there is to enter, each gateway's own file says."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from billing.gateway import ConfigurationError
from billing.money import MoneyError, exponent

_T = TypeVar("_T")

_COUNT: Final = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Entered:
    """What was entered for one account, with the defaults of the rest; read setting by setting."""

    gateway: str
    values: Mapping[str, str] = field(repr=False)
    secrets: frozenset[str]

    def read(self, name: str, reader: Callable[[str], _T]) -> _T:
        """Return the setting as the reader takes it.

        Raises `ConfigurationError` naming it where the reader refuses it; only what is no secret is shown.
        """
        try:
            return reader(self.values[name])
        except ValueError as error:
            shown = "" if name in self.secrets else f" {self.values[name]!r}"
            raise ConfigurationError(f"{self.gateway} setting {name} cannot be{shown}: {error}", name) from None


def entered(
    gateway: str,
    credentials: Mapping[str, str],
    mandatory: tuple[str, ...],
    optional: Mapping[str, str],
    secrets: frozenset[str],
) -> Entered:
    """Return what was entered, or raise `ConfigurationError` naming the setting that is missing or unknown."""
    known = (*mandatory, *optional)
    unknown = sorted(set(credentials) - set(known))
    if unknown:
        raise ConfigurationError(f"{gateway} has no setting {', '.join(unknown)}; it knows {', '.join(known)}")
    for name in mandatory:
        if not credentials.get(name):
            raise ConfigurationError(f"{gateway} needs the setting {name}", name)
    return Entered(gateway, {**optional, **credentials}, secrets)


# --- readers: each takes what was written, or raises `ValueError` saying what is wanted ---------------


def address(text: str, example: str) -> SplitResult:
    """Return the parts of an address that payments may go to."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"write it like {example}")
    if parts.username is not None or parts.fragment:
        raise ValueError("no user, password or fragment belongs in it")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("only https may carry payments to another machine")
    return parts


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def like(pattern: str, wanted: str) -> Callable[[str], str]:
    """Return a reader of texts that match the pattern as a whole."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"it is {wanted}")
        return text

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader of these words and no others."""
    return like("|".join(words), " or ".join(words))


def yes_or_no(text: str) -> bool:
    """Return whether it is yes."""
    return one_of("yes", "no")(text) == "yes"


def seconds(text: str) -> float:
    """Return a time above zero that ends."""
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError("it is a number of seconds above zero")
    return value


def count(text: str) -> int:
    """Return a whole number above zero, written in at most nine of the digits 0 to 9."""
    if not _COUNT.fullmatch(text) or int(text) == 0:
        raise ValueError("it is a whole number above zero")
    return int(text)


def limit(text: str) -> int | None:
    """Return a count, or nothing where nothing is written."""
    return count(text) if text else None


def delays(text: str) -> tuple[int, ...]:
    """Return the seconds before each question; the same wait may stand there again."""
    waits = tuple(count(word) for word in _listed(text))
    if not waits:
        raise ValueError("it is a list of seconds, such as 10,120,1800")
    return waits


def currencies(text: str) -> frozenset[str] | None:
    """Return the currencies listed, or nothing where none is."""
    try:
        return frozenset(code for code in _listed(text) if exponent(code) >= 0) or None
    except MoneyError as error:
        raise ValueError(str(error)) from None


def words(text: str) -> tuple[str, ...]:
    """Return the words listed, each once, in their order."""
    return tuple(dict.fromkeys(_listed(text)))


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
