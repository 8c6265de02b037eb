"""Do in groups what comes one by one, so that a transaction is for many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """How long the first of a group waits for others at most, and how many a group can be.

    Where doing a group takes longer than that, the next is waited for as long, up to `wait_s_max`: on a machine with
    too much to do, groups become larger and fewer by themselves.
    """

    wait_s: float
    size_max: int
    wait_s_max: float = 0.0

    def after(self, took_s: float) -> float:
        """Return how long to wait for others after a group that took so long."""
        return max(self.wait_s, min(took_s, self.wait_s_max))


class _End:
    """Nothing comes after this."""


_END = _End()


class Gathering(Generic[T]):
    """Takes what comes, for groups as described."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._queue: asyncio.Queue[T | _End] = asyncio.Queue()
        self._caught_up = asyncio.Event()
        self._caught_up.set()

    def put(self, one: T) -> None:
        """Let one more be done with others."""
        self._queue.put_nowait(one)
        self._look()

    async def caught_up(self) -> None:
        """Return when no more wait to be done than go into one group: whoever brings more waits for that first."""
        await self._caught_up.wait()

    def end(self) -> None:
        """Say that nothing more will come."""
        self._queue.put_nowait(_END)

    async def next(self, took_s: float) -> tuple[list[T], bool]:
        """Return the next group after one that took so long, and whether there will be another."""
        found = [await self._queue.get()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._group.after(took_s)):
                while found[-1] is not _END and len(found) < self._group.size_max:
                    found.append(await self._queue.get())
        self._look()
        return [one for one in found if not isinstance(one, _End)], found[-1] is not _END

    def _look(self) -> None:
        if self._queue.qsize() > self._group.size_max:
            self._caught_up.clear()
        else:
            self._caught_up.set()


@asynccontextmanager
async def in_groups(do: Callable[[list[T]], Awaitable[None]], group: Group) -> AsyncIterator[Gathering[T]]:
    """Do what is put into the gathering, in groups, until the block is over and everything is done."""
    gathering: Gathering[T] = Gathering(group)
    async with asyncio.TaskGroup() as working:
        working.create_task(_work(gathering, do))
        try:
            yield gathering
        finally:
            gathering.end()


async def _work(gathering: Gathering[T], do: Callable[[list[T]], Awaitable[None]]) -> None:
    more, took_s = True, 0.0
    while more:
        found, more = await gathering.next(took_s)
        begun = monotonic()
        if found:
            await do(found)
        took_s = monotonic() - begun
