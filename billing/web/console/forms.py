"""Forms: what is asked for, how it is read, and how it is shown again with what is wrong beside each field."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from billing.money import Money, MoneyError, exponent
from billing.services.refusing import ConflictError, UnfitError
from billing.web.console.pages import sentence

Values = Mapping[str, Any]
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def plain(text: str) -> str:
    """Return a text as it is."""
    return text


def email(text: str) -> str:
    """Read an e-mail address."""
    if not _ADDRESS.fullmatch(text):
        raise ValueError("Write an address like name@example.com.")
    return text


def day(text: str) -> date:
    """Read a day as the browser sends it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("Write a day that exists, like 2026-12-31.") from None


def day_in(text: str) -> date | None:
    """Return the day that an address asks for, or nothing where it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def whole(least: int = 0, most: int = 10**9) -> Callable[[str], int]:
    """Return a reader of whole numbers within limits."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"Write a whole number from {least} to {most}.")
        return int(text)

    return read


def amount(currency: str) -> Callable[[str], Money]:
    """Return a reader of amounts: `49`, `49,00` and `49.00`."""

    def read(text: str) -> Money:
        try:
            return Money.parse(text, currency)
        except MoneyError:
            raise ValueError(f"Write an amount in {currency} like {Money.parse('49', currency).major}.") from None

    return read


def percent(text: str) -> int:
    """Read a share such as `20` or `7,5` as basis points."""
    if not re.fullmatch(r"[0-9]{1,3}([.,][0-9]{1,2})?", text):
        raise ValueError("Write a share in per cent like 20 or 7.5.")
    points = int(Decimal(text.replace(",", ".")) * 100)
    if points > 10_000:
        raise ValueError("Write at most 100 per cent.")
    return points


def currency(text: str) -> str:
    """Read a currency's code."""
    try:
        exponent(text.upper())
    except MoneyError:
        raise ValueError("Write a currency's three letters, like EUR.") from None
    return text.upper()


def time_zone(text: str) -> str:
    """Read the name of a time zone."""
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("Write a time zone like Europe/Vienna.") from None


def matching(pattern: str, say: str) -> Callable[[str], str]:
    """Return a reader of texts that match a pattern; `say` tells how to write one."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(say)
        return text

    return read


@dataclass(frozen=True, slots=True)
class Option:
    """One of a few ways, or of many in a list."""

    value: str
    label: str
    hint: str = ""


def options(pairs: Iterable[tuple[str, str]]) -> tuple[Option, ...]:
    """Return options from values and labels."""
    return tuple(Option(*pair) for pair in pairs)


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that is asked for.

    `kind` is how: `text email password number date search hidden area select choice check`; `choice` shows each
    option with its hint. `read` returns the value of what was typed, or raises `ValueError` with words for people.
    """

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    required: bool = True
    read: Callable[[str], Any] = plain
    options: tuple[Option, ...] = ()
    affix: str = ""
    autocomplete: str = ""
    chars_max: int = 200

    def value_of(self, text: str) -> Any:
        """Return what was meant by a text; a voluntary field left empty is an empty text."""
        if self.kind == "check":
            return text == "yes"
        if not text:
            if self.required:
                raise ValueError("Choose one of these." if self.options else "This is needed.")
            return ""
        return self.read(self._checked(text))

    def _checked(self, text: str) -> str:
        if self.options and text not in {option.value for option in self.options}:
            raise ValueError("Choose one of these.")
        if len(text) > self.chars_max:
            raise ValueError(f"Write at most {self.chars_max} characters.")
        breaks = "\n\r\t" if self.kind == "area" else ""
        if any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in breaks for letter in text):
            raise ValueError("Leave out what cannot be printed.")
        return text


@dataclass(frozen=True, slots=True)
class Draft:
    """A form as it is shown: what was typed, what it means, and what is wrong with it.

    `refusal` is what is wrong with no field in particular. Where a page has two forms with a field of the same name,
    `mark` tells the ids of one from those of the other.
    """

    fields: tuple[Field, ...]
    typed: Mapping[str, str] = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""
    mark: str = ""

    @property
    def is_wrong(self) -> bool:
        """Answer whether something has to be put right."""
        return bool(self.errors or self.refusal)

    def wrong(self, name: str, message: str) -> Draft:
        """Return it with an error beside a field; what is no field's is said above the form."""
        if name not in {each.name for each in self.fields}:
            return replace(self, refusal=message)
        return replace(self, errors={**self.errors, name: message})

    def refused(self, error: ConflictError | UnfitError) -> Draft:
        """Return it with what a use case said against it."""
        return self.wrong(error.field if isinstance(error, UnfitError) else "", sentence(str(error)))

    def marked(self, mark: str) -> Draft:
        """Return it with ids of its own."""
        return replace(self, mark=f"{mark}-")

    def id_of(self, name: str) -> str:
        """Return the id of a field on the page."""
        return f"f-{self.mark}{name}"

    def asked(self, name: str) -> Field:
        """Return the field with a name."""
        return next(each for each in self.fields if each.name == name)

    def shown(self, name: str) -> str:
        """Return what stands in a field; a password is not sent back."""
        return "" if self.asked(name).kind == "password" else self.typed.get(name, "")


@dataclass(frozen=True, slots=True)
class Form:
    """What is asked for on one page."""

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, *fields: Field) -> Form:
        """Return a form of these fields."""
        return cls(fields)

    def blank(self, **typed: str) -> Draft:
        """Return it as it is shown first."""
        return Draft(self.fields, typed)

    def read(self, typed: Mapping[str, str]) -> Draft:
        """Return it as it came back; spaces around a text are not meant, save in a password."""
        texts = {each.name: _text(each, typed) for each in self.fields}
        values, errors = {}, {}
        for each in self.fields:
            try:
                values[each.name] = each.value_of(texts[each.name])
            except ValueError as error:
                errors[each.name] = sentence(str(error))
        return Draft(self.fields, texts, values, errors)


def choices_of(words: Sequence[str], hints: Mapping[str, str] | None = None) -> tuple[Option, ...]:
    """Return words of the house as options, each with its hint."""
    return tuple(Option(word, word.replace("_", " ").capitalize(), (hints or {}).get(word, "")) for word in words)


def _text(asked: Field, typed: Mapping[str, str]) -> str:
    text = typed.get(asked.name, "")
    return text if asked.kind == "password" else text.strip()
