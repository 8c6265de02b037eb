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
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.parse import quote, quote_plus, urlsplit

import aiohttp
import httpx
import structlog
from httpx_aiohttp import AiohttpTransport

from billing.gateway import NotSent, Unknown
from billing.pace import Pace, Sign

MASK: Final = "***"
_CARD: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){11,18}(?!\d)")
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_NEVER_CONNECTED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
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


def _carrier(limits: Limits) -> AiohttpTransport:
    """Return the carrier; its connections are made when the first request needs one."""

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=limits.in_flight_max, keepalive_timeout=limits.idle_s, ssl=_trusted())
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_never_again,), trust_env=False
        )

    return AiohttpTransport(verify=_trusted(), trust_env=False, client=session)


class Transport:
    """Carries one gateway account's requests, each of them once; what they say of how busy it is goes to its `pace`.

    `network` replaces the real one in tests: any httpx transport, such as `httpx.MockTransport`.
    """

    def __init__(
        self,
        gateway: str,
        limits: Limits,
        redaction: Redaction,
        network: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.redaction = redaction
        self.pace = Pace(limits.in_flight_max, limits.per_second_max)
        self._limits = limits
        self._log = structlog.get_logger("gateways.exchange").bind(gateway=gateway)
        self._client = httpx.AsyncClient(
            transport=network or _carrier(limits),
            timeout=httpx.Timeout(
                connect=limits.connect_s, read=limits.total_s, write=limits.total_s, pool=limits.total_s / 2
            ),
            headers={"User-Agent": "turnus"},
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", hidden: str = ""
    ) -> Answer | NotSent | Unknown:
        """Send once and return what came of it; nothing the network does is raised.

        `hidden` is a part of the address that no log shows, such as a token in its path.
        """
        started_s = time.monotonic()
        result = await self._send_once(method, url, headers, body)
        shown = url.replace(hidden, MASK) if hidden else url
        self._record(method, shown, time.monotonic() - started_s, result)
        self._record_bodies(body, result)
        return result

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()

    async def _send_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answer | NotSent | Unknown:
        left_at, sign, wait_s = time.monotonic(), Sign.NOTHING, None
        self.pace.leave()
        try:
            async with asyncio.timeout(self._limits.total_s):
                answer = await self._exchange(method, url, headers, body)
            sign, wait_s = _sign_of(answer), _wait_of(answer)
            return answer
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the request may have arrived
            sign = Sign.BUSY if _took_too_long(error) else Sign.NOTHING
            return self._named(error)
        finally:
            self.pace.come_back(left_at, time.monotonic(), sign, wait_s)

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        async with self._client.stream(method, url, headers=dict(headers), content=body or None) as response:
            return Answer(response.status_code, dict(response.headers.items()), await self._bounded(response))

    async def _bounded(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._limits.answer_bytes_max:
                raise OversizeError(f"the answer is longer than {self._limits.answer_bytes_max} bytes")
        return bytes(body)

    def _named(self, error: Exception) -> NotSent | Unknown:
        reason = self.redaction.clean(f"{type(error).__name__}: {error}".rstrip(": "))
        return NotSent(reason) if _proves_nothing_left(error) else Unknown(reason)

    def _record(self, method: str, url: str, took_s: float, result: Answer | NotSent | Unknown) -> None:
        parts = urlsplit(url)
        log = self._log.bind(method=method, address=f"{parts.hostname}{parts.path}", duration_ms=round(took_s * 1000))
        if isinstance(result, Answer):
            log.info("exchange", result="answer", status=result.status)
        else:
            log.warning("exchange", result=type(result).__name__, reason=result.reason)

    def _record_bodies(self, body: bytes, result: Answer | NotSent | Unknown) -> None:
        answer = result.body if isinstance(result, Answer) else b""
        self._log.debug("bodies", sent=_Masked(body, self.redaction), got=_Masked(answer, self.redaction))


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


def _proves_nothing_left(error: Exception) -> bool:
    """Tell whether the exception itself, or what it was made from, says that no connection was made."""
    return isinstance(error, _NEVER_CONNECTED) or isinstance(error.__cause__, _NEVER_CONNECTED)
