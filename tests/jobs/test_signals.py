"""Signals are heeded while the work goes on, and no longer."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from billing.services.leaving import Leaving
from jobs.signals import CutOffError, heeded


async def test_work_that_takes_too_long_to_leave_is_cut_off() -> None:
    async def work_on() -> None:
        async with asyncio.timeout(60), heeded(Leaving(), 0.01):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

    with pytest.raises(CutOffError):
        await work_on()


async def test_what_is_closed_after_the_work_has_left_is_not_cut_off() -> None:
    leaving = Leaving()
    async with asyncio.timeout(60):
        async with heeded(leaving, 0.01):
            os.kill(os.getpid(), signal.SIGTERM)
            await leaving.wait()
        await asyncio.sleep(0.05)
