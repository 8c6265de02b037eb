"""One process of a night: runs what is due at a bank whose book is a file that all of them share."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from billing.clock import ManualClock
from billing.gateway import Charge, NotSent, Outcome, Question
from billing.store import Store
from jobs.billing_run import run_all
from tests.billing.services.support import START, Bank, context

REQUEST_S = 0.03


class CountingStore(Store):
    """Knows whether this process is inside a transaction."""

    writing = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        self.writing += 1
        try:
            async with super().write() as session:
                yield session
        finally:
            self.writing -= 1


class FileBank(Bank):
    """Takes a little while for each charge, and books it in a file at once and for good.

    With a signal set, its process gets it in the middle of a charge, before that is booked and after another was.
    """

    book_file: Path
    store: CountingStore
    end: signal.Signals | None = None

    async def charge(self, charge: Charge) -> Outcome:
        await asyncio.sleep(REQUEST_S)
        if self.end and self.bookings:
            while self.store.writing:  # noqa: ASYNC110 - whoever is stopped inside a transaction stops everybody
                await asyncio.sleep(REQUEST_S / 10)
            end, self.end = self.end, None
            os.kill(os.getpid(), end)
        with self.book_file.open("a") as book:
            book.write(f"{charge.key}\n")
        await asyncio.sleep(REQUEST_S)
        return self.book(charge.key, charge.amount)

    async def find(self, question: Question) -> Outcome:
        if question.key in self.book_file.read_text().split():
            return self.book(question.key, question.amount)
        return NotSent("nothing there")


def bank_with(book: Path) -> FileBank:
    """Return the bank that keeps this book."""
    book.touch()
    bank = FileBank()
    bank.book_file = book
    return bank


async def work(url: str, book: Path, end: str) -> None:
    """Run the night in pages of four, so that several processes have something to share."""
    store, bank = CountingStore(url), bank_with(book)
    bank.store, bank.end = store, signal.Signals[end] if end else None
    ctx = context(store, bank, ManualClock(START), in_flight_max=4)
    try:
        await run_all(ctx)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
