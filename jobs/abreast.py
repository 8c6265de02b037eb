"""Do the work of several merchants at once, so that the slow gateway of one does not hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

AT_ONCE: Final = 4
"""Merchants that are worked on at once: each has a few connections to the database in its hands."""

SENDING_S: Final = 300.0
"""How long a tick sends for a merchant outside a run, since until all are done there is no other tick for anybody."""

RUNNING_S: Final = 1800.0
"""How long a tick works on a merchant's run, for the same reason; the next tick goes on with it."""


async def abreast(works: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Do all of these, a few at once and the first ones first, and return what each came to, in their order.

    One that fails stops no other: its error is raised when all are over, or a group of them where several failed.
    """
    turns = asyncio.Semaphore(AT_ONCE)
    done: dict[int, T] = {}
    failures: list[Exception] = []

    async def do(number: int, work: Callable[[], Awaitable[T]]) -> None:
        async with turns:
            try:
                done[number] = await work()
            except Exception as error:  # noqa: BLE001 - raised below, when nobody is at work any more
                failures.append(error)

    async with asyncio.TaskGroup() as working:
        for number, work in enumerate(works):
            working.create_task(do(number, work))
    if len(failures) > 1:
        raise ExceptionGroup("the work of several merchants failed", failures)
    for failure in failures:
        raise failure
    return [done[number] for number in sorted(done)]
