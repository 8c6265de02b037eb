"""The simulators as a real separate process, and a receiver for what they report."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from lxml import html

from billing.gateway import Checkout, Pending, RawMessage
from tests.gateways.sockets import settle, stop

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sandbox:
    """One gateway's simulator and its control door, which no adapter knows."""

    base_url: str
    credentials: Mapping[str, str]
    http: httpx.Client

    def reset(self) -> None:
        self.http.post("/_sandbox/reset").raise_for_status()

    def fault(self, fault: str, times: int = 1, ms: int = 0, **match: object) -> None:
        """Arrange that the next matching requests go wrong in this way."""
        faults = [{"match": match, "fault": fault, "times": times, "ms": ms}]
        self.http.post("/_sandbox/faults", json=faults).raise_for_status()

    def store(self, profile: Mapping[str, str]) -> dict[str, Any]:
        """Store a means of payment, and return what the simulator says of it."""
        told: dict[str, Any] = self.http.post("/_sandbox/profiles", json=[dict(profile)]).raise_for_status().json()
        return told

    def simulate(self, **settings: Any) -> None:
        """Let the simulator behave in another way."""
        self.http.put("/_sandbox/settings", json=settings).raise_for_status()

    def ledger(self) -> list[dict[str, Any]]:
        """Return every booking, oldest first."""
        rows: list[dict[str, Any]] = self.http.get("/_sandbox/ledger").raise_for_status().json()["transactions"]
        return rows


@contextmanager
def running(folder: Path) -> Iterator[dict[str, Any]]:
    """Start the simulators and stop them again; the first line they print says where they are."""
    command = [sys.executable, "-m", "gateways.sandbox", "--state-dir", str(folder), "--json"]
    with (folder / "stderr").open("wb") as complaints:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=complaints)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, (folder / "stderr").read_text()
            yield json.loads(line)["gateways"]
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()


# --- what the gateway reports ------------------------------------------------------------------


@dataclass
class Receiver:
    """Takes notifications, answers them as told, and keeps them exactly as they came."""

    address: str = ""
    messages: list[RawMessage] = field(default_factory=list)
    answer: str = "OK"
    _proofs: dict[str, str] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _lines: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = field(default_factory=dict)

    def url(self, key: str) -> str:
        """Return an address that proves the key when it comes back; it has no query, which not every gateway takes."""
        proof = secrets.token_hex(16)
        self._proofs[f"/notify/{proof}"] = key
        return f"{self.address}/notify/{proof}"

    async def heard(self, count: int) -> list[RawMessage]:
        """Return the first notifications as soon as there are so many."""
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: len(self.messages) >= count)
        return self.messages[:count]

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines[writer] = asyncio.current_task()
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await self._accept(reader, writer)
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()
            del self._lines[writer]

    async def hang_up(self) -> None:
        """Let go of notifications that are still arriving when the test is over."""
        for writer, task in tuple(self._lines.items()):
            writer.transport.abort()
            if task:
                task.cancel()
        await asyncio.gather(*filter(None, self._lines.values()), return_exceptions=True)
        await settle()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        called = urlsplit(target)
        text = self.answer.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        await writer.drain()
        async with self._news:
            self.messages.append(RawMessage(method, called.query, headers, body, self._proofs.get(called.path, "")))
            self._news.notify_all()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.accept, "127.0.0.1", 0)
    receiver.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        await stop(server)
        await receiver.hang_up()


# --- the customer at the hosted page --------------------------------------------------------------


async def fill_in(browser: httpx.AsyncClient, url: str, fields: Mapping[str, str]) -> httpx.Response:
    """Open a page that has one form, fill it in as a customer would, and send it."""
    opened = await browser.get(url)
    return await submit(browser, opened.raise_for_status(), fields)


async def submit(browser: httpx.AsyncClient, page: httpx.Response, fields: Mapping[str, str]) -> httpx.Response:
    """Send the one form of a page, with what it already holds and what the customer adds."""
    parsed: Any = html.fromstring(page.text)
    [form] = parsed.forms
    return await browser.post(str(page.url.join(form.action or "")), data={**dict(form.form_values()), **fields})


async def arrive(browser: httpx.AsyncClient, url: str, posted: Mapping[str, str]) -> httpx.Response:
    """Open a page as a browser does: by its address, or by posting the form that leads to it."""
    method = "POST" if posted else "GET"
    opened = await browser.request(method, url, data=dict(posted) or None, follow_redirects=True)
    return opened.raise_for_status()


async def pay(browser: httpx.AsyncClient, page: Checkout, typed: Mapping[str, str]) -> str:
    """Pay on a hosted page, say yes to a bank that asks, and return where the browser is sent, if anywhere."""
    answer = await submit(browser, await arrive(browser, page.url, page.posted), typed)
    if 'value="confirm"' in answer.text:
        answer = await submit(browser, answer, {"action": "confirm"})
    return landed(answer)


async def give_up(browser: httpx.AsyncClient, page: Checkout) -> str:
    """Leave a hosted page without paying, and return where the browser is sent."""
    return landed(await submit(browser, await arrive(browser, page.url, page.posted), {"action": "cancel"}))


async def at_the_bank(browser: httpx.AsyncClient, asked: Pending, fields: Mapping[str, str]) -> str:
    """Answer the bank's question, and return where the browser is sent."""
    return landed(await submit(browser, await arrive(browser, asked.redirect, asked.posted), fields))


def landed(answer: httpx.Response) -> str:
    """Return where a page sends the browser, without what the gateway appends to the address.

    Where it is not redirected, it posts a form that leads to another host, as scripts on such pages make it do.
    """
    return (answer.headers.get("location") or _form_elsewhere(answer)).partition("?")[0]


def _form_elsewhere(answer: httpx.Response) -> str:
    parsed: Any = html.fromstring(answer.text or "<html/>")
    actions = [form.action or "" for form in parsed.forms]
    return next((action for action in actions if urlsplit(action).netloc not in ("", answer.url.netloc.decode())), "")
