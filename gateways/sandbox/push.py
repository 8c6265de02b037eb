"""Notifications are sent to the merchant once, and again only when nobody took them.

By default one is a GET of its address; a wire whose notifications are letters
gives the sender a writer for them, asked at each try.

They never leave the machine: an address whose host is not a loopback address
(or ``localhost``) is refused and logged, and no redirect is followed.
"""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from gateways.sandbox.ledger import Ledger, utc_text

log = logging.getLogger("sandbox.push")

PENDING, TAKEN, REJECTED, FAILED = "PENDING", "OK", "ERROR", "FAILURE"
RESULT_LENGTH_MAX = 255
IN_FLIGHT_MAX = 100
# Below any server's own idle time, so that a kept connection is never one that the other side has just closed.
IDLE_S = 1.0


class UnansweredError(aiohttp.ClientError):
    """The connection ended without an answer."""


async def only_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep the client library from repeating a GET by itself, which it does for the two errors named here."""
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as problem:
        raise UnansweredError from problem


@dataclass(slots=True)
class Push:
    """One notification and what became of it."""

    id: int
    gateway_id: str
    subject: str
    url: str
    at: str
    due_at: float
    attempts: int
    status: str
    result: str


@dataclass(slots=True, frozen=True)
class Patience:
    """How long an answer is waited for, how often a notification is tried, and how long after so many tries."""

    timeout_s: float
    attempts_max: int
    retry_delay_s: Callable[[int], float]


@dataclass(slots=True, frozen=True)
class Letter:
    """What goes out with one try of a notification."""

    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    # A header and its value: an address must answer a GET that carries it with that value before it is sent anything.
    challenge: tuple[str, str] | None = None


def bare(_push: Push) -> Letter:
    """Write nothing: the address says it all."""
    return Letter()


def is_loopback(url: str) -> bool:
    """Say whether an address stays on this machine; names other than localhost are not looked up."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Sender:
    """Queues notifications with what caused them and sends them once that is on disk.

    A writer may raise ``UnansweredError`` to make a try fail before it leaves.

    Those of one call go out one after the other, those of different calls side
    by side. Whatever was still owed when the process died is sent after a restart.
    """

    def __init__(
        self,
        ledger: Ledger,
        patience: Callable[[], Patience],
        judge: Callable[[int, str], str],
        write: Callable[[Push], Letter] = bare,
    ) -> None:
        self._ledger = ledger
        self._patience = patience
        self._judge = judge
        self._write = write
        self._fresh: list[Push] = []
        self._verified: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.pushes = ledger.table(Push, "gateway_id")

    def queue(self, gateway_id: str, subject: str, url: str, delay_s: float = 0) -> None:
        """Owe a notification; call inside the booking that causes it."""
        push = Push(0, gateway_id, subject, url, utc_text(), time.time() + delay_s, 0, PENDING, "")
        if not is_loopback(url):
            log.warning("refused to notify an address outside this machine, for %s", gateway_id)
            push.status, push.result = FAILED, "not a loopback address"
        self.pushes.add(push)
        self._fresh.append(push)

    def forget_queued(self) -> None:
        """Drop what was queued by a booking that was rolled back."""
        self._fresh = []

    def dispatch(self) -> None:
        """Send what was queued; call when the booking is on disk."""
        fresh, self._fresh = [push for push in self._fresh if push.status == PENDING], []
        now = time.time()
        prompt = [push for push in fresh if push.due_at <= now]
        if prompt:
            self._start(prompt)
        for push in fresh:
            if push.due_at > now:
                self._start([push])

    def resume(self) -> None:
        """Send what an earlier life of this process still owed."""
        for push in self.pushes.all("WHERE status = ? ORDER BY id", PENDING):
            self._start([push])

    async def stop(self) -> None:
        """Stop sending; what is not sent stays owed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    def drop_all(self) -> None:
        """Forget every notification still owed."""
        self._verified.clear()
        for task in self._tasks:
            task.cancel()

    def _start(self, pushes: list[Push]) -> None:
        task = asyncio.get_running_loop().create_task(self._send_in_order(pushes))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_in_order(self, pushes: list[Push]) -> None:
        for push in pushes:
            if (early_s := push.due_at - time.time()) > 0:
                await asyncio.sleep(early_s)
            await self._try(push)
            if push.status == PENDING:
                self._start([push])

    async def _try(self, push: Push) -> None:
        patience = self._patience()
        status, result = await self._call(push, patience.timeout_s)
        push.attempts += 1
        push.status, push.result = status, result[:RESULT_LENGTH_MAX]
        if status == FAILED and push.attempts < patience.attempts_max:
            push.status, push.due_at = PENDING, time.time() + patience.retry_delay_s(push.attempts)
        self.pushes.save(push)

    async def _call(self, push: Push, timeout_s: float) -> tuple[str, str]:
        try:
            letter = self._write(push)
            if letter.challenge and not await self._is_verified(push.url, letter.challenge, timeout_s):
                return FAILED, "the address did not answer its verification"
            return self._judged(*await self._send(push.url, letter, timeout_s))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as problem:
            return FAILED, type(problem).__name__

    def _judged(self, status: int, text: str) -> tuple[str, str]:
        return self._judge(status, text), text

    async def _is_verified(self, url: str, challenge: tuple[str, str], timeout_s: float) -> bool:
        """Say whether an address answers the challenge, which it is asked to do until it has done so once."""
        name, value = challenge
        if url in self._verified:
            return True
        if await self._send(url, Letter(headers={name: value}), timeout_s) != (200, value):
            return False
        self._verified.add(url)
        return True

    async def _send(self, url: str, letter: Letter, timeout_s: float) -> tuple[int, str]:
        # `encoded`: the address is sent byte for byte as it was made, percent signs included.
        address, patience = URL(url, encoded=True), aiohttp.ClientTimeout(total=timeout_s)
        async with self._open_session().request(
            letter.method,
            address,
            headers=letter.headers,
            data=letter.body,
            allow_redirects=False,
            timeout=patience,
        ) as answer:
            return answer.status, (await answer.content.read(4096)).decode("utf-8", "replace")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=IN_FLIGHT_MAX, keepalive_timeout=IDLE_S)
            self._session = aiohttp.ClientSession(connector=connector, middlewares=[only_once])
        return self._session
