"""Signals that tell the process to end: the first is heeded in good order, the second at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

from billing.services.leaving import Leaving

NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)


class CutOffError(Exception):
    """The process left before what was under way was over; leases take care of it."""


@asynccontextmanager
async def heeded(leaving: Leaving, at_most_s: float) -> AsyncIterator[None]:
    """Let a signal tell the work in the block to leave.

    Raises `CutOffError` where a second signal comes, or where leaving takes longer than `at_most_s`.
    """
    loop, work = asyncio.get_running_loop(), asyncio.current_task()
    assert work is not None  # noqa: S101 - a coroutine that runs is a task's
    cut_off = False
    afterwards = ExitStack()

    def cut() -> None:
        nonlocal cut_off
        cut_off = True
        work.cancel()

    def heed() -> None:
        if leaving:
            cut()
        else:
            leaving.tell()
            afterwards.callback(loop.call_later(at_most_s, cut).cancel)

    for number in NUMBERS:
        loop.add_signal_handler(number, heed)
        afterwards.callback(loop.remove_signal_handler, number)
    try:
        yield
    except asyncio.CancelledError:
        if cut_off:
            raise CutOffError from None
        raise
    finally:
        afterwards.close()
