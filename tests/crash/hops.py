"""Where a process of ours can die or stand still: the hops of its work, named, counted, and taken as a cue.

Only the worker of these tests watches its hops; nothing in the product knows of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import aiosmtplib
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import NotSent, Unknown
from billing.store import Store
from gateways.transport import Answer, Transport

ANY = ""
TAKEN = "mail: taken, before the 250"


@dataclass(frozen=True, slots=True)
class Cue:
    """Die, or stand still, when this hop is passed for the given time; without a name, at whatever is the nth hop."""

    name: str
    nth: int
    signal: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.signal.name} at {self.name or 'any hop'} #{self.nth}"


@dataclass(slots=True)
class Hops:
    """What a process has passed, the cue it waits for, and which gateway is at which host."""

    cue: Cue | None = None
    gateways: Mapping[str, str] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    writing: int = 0

    def begin(self, cue: Cue | None, gateways: Mapping[str, str]) -> None:
        """Count from nothing, and wait for this cue."""
        self.cue, self.gateways, self.passed, self.counts, self.writing = cue, gateways, [], Counter(), 0

    async def at(self, name: str) -> None:
        """Pass a hop. Who is to stand still does so outside any transaction, or everybody would stand still too."""
        self.passed.append(name)
        self.counts[name] += 1
        cue = self.cue
        if cue is None or (len(self.passed) if cue.name == ANY else self.counts[cue.name]) < cue.nth:
            return
        self.cue = None
        while cue.signal == signal.SIGSTOP and self.writing:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.001)
        os.kill(os.getpid(), cue.signal)


class WatchedStore(Store):
    """Passes a hop before and after each commit, named by whose transaction it is."""

    def __init__(self, url: str, hops: Hops) -> None:
        super().__init__(url)
        self.hops = hops

    def begin(self, cue: Cue | None, gateways: Mapping[str, str]) -> None:
        """Begin to work in a new process, under an event loop of its own."""
        self._writer = asyncio.Lock()
        self.hops.begin(cue, gateways)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        # Behind us is the context manager's own step, and behind that whoever opens the transaction.
        code = sys._getframe(2).f_code
        name = f"{os.path.basename(code.co_filename).removesuffix('.py')}.{code.co_name}"
        self.hops.writing += 1
        try:
            async with super().write() as session:
                yield session
                await self.hops.at(f"{name}: before commit")
        finally:
            self.hops.writing -= 1
        await self.hops.at(f"{name}: after commit")


def watch_network(hops: Hops) -> None:
    """Pass a hop before a request leaves for a gateway, when it has left, and when its answer is in."""
    send, write = Transport.send, aiohttp.ClientRequest.write_bytes
    gateway: ContextVar[str] = ContextVar("gateway", default="")

    async def watched_send(
        self: Transport, method: str, url: str, *rest: Any, **named: Any
    ) -> Answer | NotSent | Unknown:
        name = hops.gateways[urlsplit(url).netloc]
        gateway.set(name)
        await hops.at(f"{name}: before the request")
        answer = await send(self, method, url, *rest, **named)
        await hops.at(f"{name}: answer in")
        return answer

    async def watched_write(self: aiohttp.ClientRequest, *rest: Any, **named: Any) -> None:
        await write(self, *rest, **named)
        await hops.at(f"{gateway.get()}: request out")

    Transport.send = watched_send  # type: ignore[method-assign]
    aiohttp.ClientRequest.write_bytes = watched_write  # type: ignore[method-assign]


def watch_mail(hops: Hops) -> None:
    """Pass a hop before a mail is handed over, and after the server's 250."""
    sendmail = aiosmtplib.SMTP.sendmail

    async def watched(self: aiosmtplib.SMTP, *rest: Any, **named: Any) -> Any:
        await hops.at("mail: before it is handed over")
        answer = await sendmail(self, *rest, **named)
        await hops.at("mail: after the 250")
        return answer

    aiosmtplib.SMTP.sendmail = watched  # type: ignore[method-assign]
