"""The one door to the network: a request leaves once, and whatever happens comes back as a value.

The client API is httpx's, carried by aiohttp. Between them they hide two things that matter where money
moves, so both are put right here. aiohttp repeats an idempotent request by itself when a connection breaks;
`_never_again` stops that. And the carrier reports a server that took the whole request and hung up as a
connect time-out; so `NotSent` is claimed by the cause of an exception, never by its name.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from errno import EACCES
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import quote, quote_plus, urlsplit

import aiohttp
import httpx
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport

from billing.gateway import NotSent, Unknown
from billing.pace import Pace, Sign

MASK: Final = "***"
_CARD: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){11,18}(?!\d)")
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_NEVER_CONNECTED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_USUAL: Final = {"User-Agent": "turnus", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
_TOO_BUSY: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer, whatever it says."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much, all of it said.

    `total_s` bounds an exchange from the call to the last byte. Half of it may go into getting a connection, so that
    a request which waited for its turn is either provably not sent or still has time for its answer. `idle_s`
    must stay below the gateway's own keep-alive, or a connection it has just closed looks like a lost answer.
    """

    total_s: float = 30.0
    connect_s: float = 5.0
    idle_s: float = 4.0
    in_flight_max: int = 250
    per_second_max: float | None = None
    answer_bytes_max: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Redaction:
    """What one gateway never shows: fields by name, and secrets by value.

    Card numbers and IBANs are hidden wherever they stand. Matching is generous on purpose: a log that hides
    a harmless number too many is better than one that shows a card.
    """

    names: frozenset[str] = frozenset()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    _named: tuple[re.Pattern[str], ...] = field(init=False, repr=False)
    _shapes: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_named", _patterns(self.names))
        object.__setattr__(self, "_shapes", _shapes(self.secrets))

    def clean(self, text: str) -> str:
        """Return the text with everything masked that must not be read by people."""
        for shape in self._shapes:
            text = text.replace(shape, MASK)
        for pattern in self._named:
            text = pattern.sub(rf"\g<1>{MASK}", text)
        return _CARD.sub(_mask_card, _IBAN.sub(MASK, text))


def _patterns(names: frozenset[str]) -> tuple[re.Pattern[str], ...]:
    """Return how a named field's value is found in XML (escaped or not, or as a pair), JSON, forms and queries."""
    if not names:
        return ()
    one = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    return (
        re.compile(rf"(<(?:[\w.-]+:)?(?:{one})(?:\s[^<>]*)?>)[^<]++(?!</[\w:.-]+>\s*<(?:\w+:)?value>)", re.IGNORECASE),
        re.compile(rf"(<((?:\w+:)?)name>(?:{one})</\2name>\s*<\2value>)[^<]+", re.IGNORECASE),
        re.compile(
            rf"(&lt;(?:[\w.-]+:)?(?:{one})(?:\s(?:(?!&[lg]t;).)*)?&gt;)(?:(?!&lt;).)+", re.IGNORECASE | re.DOTALL
        ),
        re.compile(rf'("(?:{one})"\s*:\s*)(?:"(?:[^"\\]|\\.)*"|[^\s,}}\]]+)', re.IGNORECASE),
        re.compile(rf"((?<![\w.-])(?:{one})=)[^&\s<>\"']+", re.IGNORECASE),
    )


def _shapes(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return every spelling in which a secret may travel, longest first."""
    found: set[str] = set()
    for secret in filter(None, secrets):
        coded = base64.b64encode(secret.encode()).decode()
        found |= {secret, quote(secret, safe=""), quote_plus(secret), coded, _escaped(secret)}
    return tuple(sorted(found, key=len, reverse=True))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mask_card(match: re.Match[str]) -> str:
    digits = [int(digit) for digit in match.group() if digit.isdigit()]
    doubled = [digit if place % 2 == 0 else digit * 2 for place, digit in enumerate(reversed(digits))]
    return MASK if sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10 == 0 else match.group()


@dataclass(frozen=True, slots=True, repr=False)
class _Masked:
    """Bytes that can only be read masked, and are masked only if a log wants them."""

    content: bytes
    redaction: Redaction

    def __repr__(self) -> str:
        return self.redaction.clean(self.content.decode(errors="replace"))


class LostError(aiohttp.ClientError):
    """A connection broke after the request may have left."""


class OversizeError(Exception):
    """An answer longer than any this gateway gives."""


async def _never_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Give a broken connection a name that aiohttp does not repeat requests for.

    It would send a GET again by itself; if that second try were refused, the refusal
    would look like proof that nothing was ever sent.
    """
    try:
        return await handler(request)
    except _NEVER_CONNECTED:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LostError(f"the connection broke: {error}") from error


@cache
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()


Reaches = Callable[[IPv4Address | IPv6Address], bool]
Network = httpx.AsyncBaseTransport | Callable[[Limits], httpx.AsyncBaseTransport]
"""What carries requests: one thing for all, or what is made for the limits of an account."""


class JudgedNames(AbstractResolver):
    """Resolves names, and leads to no address of which `reaches` says that it must not be connected to.

    A number, or a name without a dot such as `localhost`, was judged when it was written down, and leads where it
    leads. What a name on the internet leads to may be another place each time.
    """

    def __init__(self, reaches: Reaches, resolver: AbstractResolver | None = None) -> None:
        self._reaches = reaches
        self._resolver = resolver or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be reached; raise `OSError` where there is none."""
        found = await self._resolver.resolve(host, port, family)
        good = [each for each in found if "." not in host.strip(".") or self._reaches(ip_address(each["host"]))]
        if not good:
            raise OSError(EACCES, f"{host} leads to an address that is not public")
        return good

    async def close(self) -> None:
        """Let go of what resolves."""
        await self._resolver.close()


def carrier(
    limits: Limits, reaches: Reaches | None = None, resolver: AbstractResolver | None = None
) -> AiohttpTransport:
    """Return the carrier; its connections are made when the first request needs one.

    With `reaches` names lead nowhere else; `resolver` replaces the system's in tests.
    """

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=limits.in_flight_max,
            keepalive_timeout=limits.idle_s,
            ssl=_trusted(),
            resolver=JudgedNames(reaches, resolver) if reaches is not None else resolver,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_never_again,), trust_env=False
        )

    return AiohttpTransport(verify=_trusted(), trust_env=False, client=session)


class Transport:
    """Carries one gateway account's requests, each of them once; what they say of how busy it is goes to its `pace`.

    `network` replaces the real one: by any httpx transport, such as `httpx.MockTransport` in tests, or by one that is
    made for the limits.
    """

    def __init__(
        self,
        gateway: str,
        limits: Limits,
        redaction: Redaction,
        network: Network | None = None,
    ) -> None:
        self.redaction = redaction
        self.pace = Pace(limits.in_flight_max, limits.per_second_max)
        self._limits = limits
        self._log = structlog.get_logger("gateways.exchange").bind(gateway=gateway)
        # Spoken to directly: of what a client adds, such as redirects and cookies, a payment wants nothing.
        self._network = network if isinstance(network, httpx.AsyncBaseTransport) else (network or carrier)(limits)
        self._is_closed = False
        self._extensions = {
            "timeout": httpx.Timeout(
                connect=limits.connect_s, read=limits.total_s, write=limits.total_s, pool=limits.total_s / 2
            ).as_dict()
        }

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", hidden: str = ""
    ) -> Answer | NotSent | Unknown:
        """Send once and return what came of it; nothing the network does is raised.

        `hidden` is a part of the address that no log shows, such as a token in its path.
        """
        started_s = time.monotonic()
        result, error = await self._send_once(method, url, headers, body)
        shown = url.replace(hidden, MASK) if hidden else url
        self._record(method, shown, time.monotonic() - started_s, result, error)
        self._record_bodies(body, result)
        return result

    async def close(self) -> None:
        """Let go of connections."""
        self._is_closed = True
        await self._network.aclose()

    async def _send_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Answer | NotSent | Unknown, str]:
        """Return what came of it, and for the log the kind of error it was, if it was one."""
        left_at, sign, wait_s = time.monotonic(), Sign.NOTHING, None
        self.pace.leave()
        try:
            async with asyncio.timeout(self._limits.total_s):
                answer = await self._exchange(method, url, headers, body)
            sign, wait_s = _sign_of(answer), _wait_of(answer)
            return answer, ""
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the request may have arrived
            sign = Sign.LATE if _took_too_long(error) else Sign.NOTHING
            return self._named(error), type(error).__name__
        finally:
            self.pace.come_back(left_at, time.monotonic(), sign, wait_s)

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self._is_closed:
            raise RuntimeError("the transport is closed")
        response = await self._network.handle_async_request(self._request(method, url, headers, body))
        try:
            return Answer(response.status_code, response.headers, await self._bounded(response))
        finally:
            await response.aclose()

    def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> httpx.Request:
        """Build a request with a stream, to which httpx adds no headers: the host and the length are the carrier's."""
        whole = {**_USUAL, **headers}
        stream = httpx.ByteStream(body)
        request = httpx.Request(method, _address(url), headers=whole, stream=stream, extensions=self._extensions)
        request.read()
        return request

    async def _bounded(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._limits.answer_bytes_max:
                raise OversizeError(f"the answer is longer than {self._limits.answer_bytes_max} bytes")
        return bytes(body)

    def _named(self, error: Exception) -> NotSent | Unknown:
        said = f": {error}" if str(error) else ""
        reason = self.redaction.clean(f"{_what_broke(error, self._limits)}{said}")
        return NotSent(reason) if _proves_nothing_left(error) else Unknown(reason)

    def _record(self, method: str, url: str, took_s: float, result: Answer | NotSent | Unknown, error: str) -> None:
        about = {"method": method, "address": _shown(url), "duration_ms": round(took_s * 1000)}
        if isinstance(result, Answer):
            self._log.info("exchange", **about, result="answer", status=result.status)
        else:
            self._log.warning("exchange", **about, result=type(result).__name__, error=error, reason=result.reason)

    def _record_bodies(self, body: bytes, result: Answer | NotSent | Unknown) -> None:
        answer = result.body if isinstance(result, Answer) else b""
        self._log.debug("bodies", sent=_Masked(body, self.redaction), got=_Masked(answer, self.redaction))


@lru_cache(256)
def _address(url: str) -> httpx.URL:
    """Read an address once: nearly all requests of an account go to the same few."""
    return httpx.URL(url)


@lru_cache(256)
def _shown(url: str) -> str:
    """Return what a log shows of an address: the host and the path."""
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"


def _took_too_long(error: Exception) -> bool:
    """Tell whether time ran out; by the cause, since the carrier calls a hang-up a time-out as well."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def _sign_of(answer: Answer) -> Sign:
    """Say what a status tells of how busy the gateway is; a failure of its own is neither a good answer nor a bad."""
    if answer.status in _TOO_BUSY:
        return Sign.BUSY
    return Sign.FINE if answer.status < 500 else Sign.NOTHING


def _wait_of(answer: Answer) -> float | None:
    """Return how many seconds the gateway wants to be left alone; a date it may name instead is not read."""
    asked = answer.headers.get("retry-after", "").strip()
    return float(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else None


def _what_broke(error: Exception, limits: Limits) -> str:
    """Say what broke, in words for whoever looks into a doubt."""
    if _proves_nothing_left(error):
        return "no connection was made"
    if _took_too_long(error):
        return f"there was no whole answer within {limits.total_s:g} s"
    return "the exchange broke off"


def _proves_nothing_left(error: Exception) -> bool:
    """Tell whether the exception itself, or what it was made from, says that no connection was made."""
    return isinstance(error, _NEVER_CONNECTED) or isinstance(error.__cause__, _NEVER_CONNECTED)
