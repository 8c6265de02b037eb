"""Move what notifications said long ago into files: written, read back, and only then emptied in the database."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import RowMapping

from billing.services.archiving import DAYS_MIN, empty, page_of_old
from billing.services.auditing import Actor
from billing.services.context import Context

ROWS_MAX: Final = 50_000
"""How many notifications one file holds at most."""


class ArchiveError(ValueError):
    """An archive that cannot be written; the message names the folder or file, and nothing was emptied for it."""


@dataclass(slots=True)
class Archived:
    """What left: how many notifications, and into which files."""

    notifications: int = 0
    files: list[str] = field(default_factory=list)


async def archive(ctx: Context, folder: Path, days: int, actor: Actor) -> Archived:
    """Write what notifications that were over so many days ago said into files of a folder, and empty the rows.

    A process that dies in between leaves a file more, and its rows as they were: the next archive holds them again.
    Raises `ArchiveError` for a folder that is not there, too few days, or a file that does not read as it was written.
    """
    if days < DAYS_MIN:
        raise ArchiveError(f"--days: at least {DAYS_MIN}, since what is younger may still be asked for")
    if not await asyncio.to_thread(folder.is_dir):
        raise ArchiveError(f"there is no folder {folder}")
    done, last = Archived(), 0
    while not ctx.leaving:
        book = Book(folder, ctx.clock.now())
        try:
            last = await _fill(ctx, book, days, last)
            if not book.ids:
                return done
            name = await asyncio.to_thread(book.keep)
        except OSError as error:
            raise ArchiveError(f"{folder} cannot be written to: {error.strerror}") from None
        finally:
            await asyncio.to_thread(book.discard)
        done.notifications += await empty(ctx, book.ids, actor, name)
        done.files.append(name)
    return done


async def _fill(ctx: Context, book: Book, days: int, last: int) -> int:
    while len(book.ids) < ROWS_MAX and (rows := await page_of_old(ctx, days, last)):
        await asyncio.to_thread(book.write, rows)
        last = book.ids[-1]
    return last


class Book:
    """One file while it is made: a JSON object a line, packed with gzip, readable by its owner alone."""

    def __init__(self, folder: Path, at: datetime) -> None:
        self.ids: list[int] = []
        self._folder, self._at = folder, at
        self._draft = folder / f".turnus-{os.getpid()}-{at:%Y%m%dT%H%M%S%f}.part"
        self._written = hashlib.sha256()

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Add what some notifications said."""
        text = b"".join(_line(row) for row in rows)
        handle = os.open(self._draft, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as raw, gzip.open(raw, "ab") as packed:
            packed.write(text)
        self._written.update(text)
        self.ids += [row["id"] for row in rows]

    def keep(self) -> str:
        """Bring the file to the disk, read it back, and give it its name; raise `ArchiveError` where it differs."""
        _sync(self._draft)
        with gzip.open(self._draft) as packed:
            if hashlib.file_digest(packed, "sha256").digest() != self._written.digest():
                raise ArchiveError(f"{self._draft} does not read as it was written; nothing was emptied")
        name = f"notifications-{self._at:%Y%m%dT%H%M%SZ}-{self.ids[0]}-{self.ids[-1]}.jsonl.gz"
        self._draft.rename(self._folder / name)
        _sync(self._folder)
        return name

    def discard(self) -> None:
        """Remove what was not kept."""
        self._draft.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _line(row: RowMapping) -> bytes:
    attempt = row["attempt_id"]
    told: dict[str, Any] = {name: row[name] for name in _TOLD}
    told |= {"id": f"not_{row['id']}", "attempt": f"att_{attempt}" if attempt else None}
    told |= {name: row[name].isoformat() if row[name] else None for name in ("received_at", "settled_at")}
    told["body"] = base64.b64encode(row["body"]).decode()
    return json.dumps(told, ensure_ascii=False, sort_keys=True).encode() + b"\n"


_TOLD: Final = "merchant account digest method query headers state reason copies".split()
