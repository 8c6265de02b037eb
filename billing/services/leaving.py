"""Leaving in good order: a process that was told to end claims nothing more, and finishes what it has in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Leaving:
    """Whether this process was told to end. It is asked before every claim, and is never taken back."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._limits: set[asyncio.Timeout] = set()

    def __bool__(self) -> bool:
        return self._told.is_set()

    def tell(self) -> None:
        """Tell the process to end."""
        self._told.set()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0)

    async def wait(self, at_most_s: float | None = None) -> None:
        """Return when the process is told to end, or when so many seconds are over."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._told.wait()
        except TimeoutError:
            return

    @asynccontextmanager
    async def cut_short(self, after_s: float | None) -> AsyncIterator[None]:
        """Raise `TimeoutError` in what waits in the block once the process is told to end or the time is over."""
        async with asyncio.timeout(0 if self else after_s) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)
