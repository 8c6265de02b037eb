"""Read subscribers from a CSV file; every bad row is named by line and column."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from billing.services.subscribing import Complaint, Subscriber
from billing.subscriptions import Collection

_MAIL: Final = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+")
_CARD: Final = re.compile(r"\d{13,19}")


class ImportFileError(ValueError):
    """A file that cannot be imported; each line of the message names a line and a column."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: how its text is read, and whether it may be empty or missing."""

    read: Callable[[str], Any]
    required: bool = False


def _text(limit: int, pattern: str = r".*") -> Callable[[str], str]:
    def read(value: str) -> str:
        if len(value) > limit:
            raise ValueError(f"it is longer than {limit} characters")
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} has characters that cannot stand here")
        if _CARD.fullmatch(value.replace(" ", "")):
            raise ValueError("it looks like a card number, which must never be stored")
        return value

    return read


def _mail(value: str) -> str:
    if not _MAIL.fullmatch(value):
        raise ValueError(f"{value!r} is not a mail address")
    return value


def _day(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a day; write it like 2026-12-01") from None


def _count(value: str) -> int:
    if not value.isdecimal():
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _collection(value: str) -> Collection:
    if value not in set(Collection):
        raise ValueError(f"{value!r} is neither 'charge' nor 'link'")
    return Collection(value)


_REFERENCE: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"

COLUMNS: Final[Mapping[str, _Column]] = {
    "customer": _Column(_text(32, _REFERENCE), required=True),
    "name": _Column(_text(100), required=True),
    "email": _Column(_mail, required=True),
    "subscription": _Column(_text(40, _REFERENCE), required=True),
    "price": _Column(_text(81), required=True),
    "anchor_on": _Column(_day, required=True),
    "billed_until": _Column(_day, required=True),
    "quantity": _Column(_count),
    "language": _Column(_text(5, r"[A-Za-z]{2}(-[A-Za-z]{2})?")),
    "country": _Column(_text(2, r"[A-Z]{2}")),
    "salutation": _Column(_text(100)),
    "collection": _Column(_collection),
    "account": _Column(_text(40)),
    "profile": _Column(_text(200)),
    "profile_kind": _Column(_text(20, r"[a-z]+")),
    "profile_brand": _Column(_text(30)),
    "profile_last4": _Column(_text(4, r"[0-9A-Z]{4}")),
    "profile_expires_on": _Column(_day),
    "mandate_reference": _Column(_text(35)),
    "mandate_signed_on": _Column(_day),
    "first_transaction": _Column(_text(64)),
    "scheme_reference": _Column(_text(250)),
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file's subscribers, and the line on which each of them ends."""

    path: Path
    subscribers: list[Subscriber]
    lines: list[int]

    def name(self, complaints: Iterable[Complaint]) -> str:
        """Return one line for each complaint, naming the file, the line and the column."""
        return "\n".join(_name(self.path, self.lines[each.place], each) for each in complaints)


def read_subscribers(path: Path) -> Sheet:
    """Return the file's subscribers, or raise `ImportFileError` with a line for each thing that is wrong."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ImportFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ImportFileError(f"{path}: it is not UTF-8 text (byte {error.start})") from None
    reader = csv.DictReader(text.splitlines(), strict=True)
    _check_header(path, reader.fieldnames or ())
    return _read_rows(path, reader)


def _name(path: Path, line: int, complaint: Complaint) -> str:
    return f"{path}:{line}: {complaint.column}: {complaint.reason}"


def _check_header(path: Path, header: Iterable[str]) -> None:
    names = list(header)
    unknown = [name for name in names if name not in COLUMNS]
    missing = [name for name, column in COLUMNS.items() if column.required and name not in names]
    if unknown:
        raise ImportFileError(f"{path}:1: {unknown[0]}: there is no such column; there are {', '.join(COLUMNS)}")
    if missing:
        raise ImportFileError(f"{path}:1: {missing[0]}: the column is missing")


def _read_rows(path: Path, reader: csv.DictReader[str]) -> Sheet:
    """Read row by row; blank lines and quoted ones that go on below are why a row's line is asked for."""
    sheet, wrong = Sheet(path, [], []), []
    try:
        for place, row in enumerate(reader):
            values, complaints = _read_row(place, row)
            wrong += [_name(path, reader.line_num, each) for each in complaints]
            sheet.lines.append(reader.line_num)
            sheet.subscribers.extend([] if complaints else [Subscriber(**values)])
    except csv.Error as error:
        wrong.append(f"{path}:{reader.reader.line_num}: {error}")
    if wrong:
        raise ImportFileError("\n".join(wrong))
    if not sheet.subscribers:
        raise ImportFileError(f"{path}: there is no row below the header")
    return sheet


def _read_row(place: int, row: Mapping[str | None, Any]) -> tuple[dict[str, Any], list[Complaint]]:
    if None in row or None in row.values():
        return {}, [Complaint(place, "row", f"it has not as many fields as the header: {len(COLUMNS)} are known")]
    values: dict[str, Any] = {}
    complaints: list[Complaint] = []
    for name, text in row.items():
        try:
            values |= _read_field(str(name), str(text).strip())
        except ValueError as error:
            complaints.append(Complaint(place, str(name), str(error)))
    return values, complaints


def _read_field(name: str, text: str) -> dict[str, Any]:
    column = COLUMNS[name]
    if not text and column.required:
        raise ValueError("it must not be empty")
    return {name: column.read(text)} if text else {}
