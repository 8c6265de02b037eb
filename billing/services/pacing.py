"""Wait for a place at a gateway account before a request leaves, and share out what this process sends at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic

from billing.gateway import Gateway
from billing.services.leaving import Leaving


class Places:
    """The places of one gateway account in this process: whoever has many requests takes one for each."""

    def __init__(self, gateway: Gateway) -> None:
        self.pace = gateway.pace
        self._gateway = gateway
        self._taken = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    async def take(self, share: Callable[[], int], until: float, leaving: Leaving) -> bool:
        """Take a place, after those who asked before; answer whether there was one before the instant.

        There is none any more for a process that is told to leave, and never more of them than the `share` says
        whenever it is looked at. The instant is a reading of the monotonic clock.
        """
        try:
            async with leaving.cut_short(until - monotonic()), self._turn:
                await self._free(share)
                return not leaving and self._taken_now()
        except TimeoutError:
            return False

    async def wait(self, share: Callable[[], int], leaving: Leaving) -> None:
        """Return when a place could be taken, or when the process is told to leave."""
        with suppress(TimeoutError):
            async with leaving.cut_short(None), self._turn:
                await self._free(share)

    def leave(self) -> None:
        """Give a place back that was taken."""
        self._taken -= 1
        self._freed.set()

    def _taken_now(self) -> bool:
        self.pace.admit(monotonic())
        self._taken += 1
        return True

    def _wait_s(self, share: int) -> float:
        """Return how long to wait before looking again: for ever means until a place is given back."""
        if self._taken >= min(share, self.pace.in_flight, self._gateway.abilities.in_flight_max):
            return inf
        return self.pace.opens_in_s(monotonic())

    async def _free(self, share: Callable[[], int]) -> None:
        while wait_s := self._wait_s(share()):
            self._freed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._freed.wait()


class Shares:
    """Who charges in this process now, so that each merchant has a fair share of what is under way at once."""

    def __init__(self) -> None:
        self._charging: Counter[int] = Counter()

    @contextmanager
    def one(self, merchant_id: int) -> Iterator[None]:
        """Reckon with one more who charges for the merchant, while the block lasts."""
        self._charging[merchant_id] += 1
        try:
            yield
        finally:
            self._charging -= Counter({merchant_id: 1})

    def of(self, whole: int) -> int:
        """Return a merchant's share of a whole: at least 1."""
        return max(1, whole // max(1, len(self._charging)))
