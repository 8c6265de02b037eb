"""Processes of ours as they are in production, web and work together, that die or stand still on cue.

The first of them is everybody's mother: it works through a day without a cue, and then forks the others, which so
begin with all that it has compiled. Each speaks with the test over a line of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Client, Connection
from typing import Any
from urllib.parse import urlsplit

import structlog

from billing.mail import Mailer
from billing.services.context import Context
from jobs.billing_run import run_all
from jobs.deliver import deliver_all
from jobs.dunning_run import dun_all
from jobs.reconcile import reconcile
from jobs.serving import listen, serving
from jobs.settings import Settings
from jobs.wiring import open_context, open_mailer
from tests.crash.hops import Cue, Hops, WatchedStore, watch_mail, watch_network

ROUND = "round"


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker is given: its settings, its cue, which gateway is where, and whether it serves the web."""

    settings: Settings
    cue: Cue | None
    gateways: Mapping[str, str]
    serves: bool


def live(address: str) -> None:
    """Work through the first part ourselves, and bring forth a process for each that comes after it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    hops = Hops()
    watch_network(hops)
    watch_mail(hops)
    with Client(address, "AF_UNIX") as line:
        first: Part = line.recv()
        store = WatchedStore(first.settings.database_url, hops)
        _work(line, first, store)
        while (following := _next(line)) is not None and os.fork():
            pass
    if following is not None:
        with Client(address, "AF_UNIX") as line:
            _work(line, following, store)


def _next(line: Connection) -> Any:
    """Return what the test says next, or nothing if it says nothing any more."""
    try:
        return line.recv()
    except EOFError:
        return None


def _work(line: Connection, part: Part, store: WatchedStore) -> None:
    """Say who we are, and work until nobody gives orders any more; what breaks us is told."""
    line.send(os.getpid())
    store.begin(part.cue, part.gateways)
    try:
        asyncio.run(_serve(line, part, store))
    except Exception:  # noqa: BLE001 - whatever it is, the test fails by it
        line.send(traceback.format_exc())


async def _serve(line: Connection, part: Part, store: WatchedStore) -> None:
    async with AsyncExitStack() as stack:
        wired = await stack.enter_async_context(open_context(part.settings))
        ctx = replace(wired, store=store)
        stack.push_async_callback(store.close)
        mailer = await stack.enter_async_context(open_mailer(part.settings))
        if part.serves:
            where = urlsplit(part.settings.public_url)
            await stack.enter_async_context(serving(ctx, listen(str(where.hostname), where.port or 0)))
        line.send(store.hops.passed)
        while await asyncio.to_thread(_next, line) == ROUND:
            await _round(ctx, mailer)
            line.send(store.hops.passed)


async def _round(ctx: Context, mailer: Mailer) -> None:
    """Do what the timetable would: run, ask, dun, and write to customers."""
    await run_all(ctx)
    await reconcile(ctx, send=True)
    await dun_all(ctx)
    await deliver_all(ctx, mailer)


if __name__ == "__main__":
    live(sys.argv[1])
