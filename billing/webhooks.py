"""The way to merchants' own endpoints: signed by the Standard Webhooks specification, and never into a private network.

Every connection, whatever name or number led to it, is made through one function that is told the address it goes
to; so there is no gap between the look at an address and its use, and a name that resolves to another one the next
time gains nothing.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from errno import EACCES
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from standardwebhooks import Webhook

Address = IPv4Address | IPv6Address

SECRET_BYTES: Final = 32
URL_CHARS_MAX: Final = 500
TOTAL_S: Final = 15.0
CONNECT_S: Final = 5.0
IDLE_S: Final = 15.0
IN_FLIGHT_MAX: Final = 256
ANSWER_BYTES_MAX: Final = 4096
EXCERPT_CHARS_MAX: Final = 300
PLAIN_PORTS: Final = frozenset({443, 8443})
_NOT_PUBLIC: Final = "it leads to an address that is not public"
_NEVER_IN_URLS: Final = re.compile(r"[^\x21-\x7e]|\\")

# Addresses that carry another one in them: how many bits to the right of it there are.
_CARRYING: Final = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::/96"), 0),  # IPv4-compatible
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)
_RELAYS: Final = (IPv6Network("64:ff9b:1::/48"), IPv6Network("2001::/32"))  # NAT64 of a network's own, Teredo


class BadUrlError(ValueError):
    """An address that nothing is sent to; the message says what is wrong with it."""


class PrivateAddressError(OSError):
    """A connection that was not made, because its address is not public."""


def new_secret() -> str:
    """Return a secret to sign with, as the specification writes one."""
    return "whsec_" + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def sign(keys: Sequence[str], event: str, at: datetime, body: str) -> dict[str, str]:
    """Return the headers that prove a body to whoever knows one of the secrets."""
    signatures = " ".join(Webhook(key).sign(event, at, body) for key in keys)
    stamp = str(int(at.timestamp()))
    return {"webhook-id": event, "webhook-timestamp": stamp, "webhook-signature": signatures}


def is_public(address: Address) -> bool:
    """Answer whether an address belongs to the internet, and to no network of our own, nor carries one that does."""
    if isinstance(address, IPv6Address):
        if any(address in network for network in _RELAYS) or address.is_site_local:
            return False
        for network, right in _CARRYING:
            if address in network:
                return is_public(IPv4Address(int(address) >> right & 0xFFFFFFFF))
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def check_url(url: str, *, private: bool) -> None:
    """Raise `BadUrlError` for an address that cannot be an endpoint; `private` ones may be anywhere, and plain HTTP."""
    if len(url) > URL_CHARS_MAX or _NEVER_IN_URLS.search(url):
        raise BadUrlError(f"an address has at most {URL_CHARS_MAX} characters, and none that must be encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrlError("it is no web address") from None
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise BadUrlError("it begins with https://")
    _check_parts(parts)
    if not private:
        _check_place(str(parts.hostname), port)


def _check_parts(parts: SplitResult) -> None:
    if not parts.hostname:
        raise BadUrlError("it names no host")
    if "@" in parts.netloc:
        raise BadUrlError("it carries no user name and no password: the signature says who sends")
    if parts.fragment:
        raise BadUrlError("what is behind a # is never sent")


def _check_place(host: str, port: int | None) -> None:
    """Refuse what is plainly not on the internet; what a name leads to is looked at when it is connected to."""
    if port is not None and port not in PLAIN_PORTS and port < 1024:
        raise BadUrlError("its port belongs to another service: use 443, 8443 or one above 1023")
    try:
        is_elsewhere = not is_public(ip_address(host))
    except ValueError:
        is_elsewhere = "." not in host.strip(".")
    if is_elsewhere:
        raise BadUrlError(_NOT_PUBLIC)


@dataclass(frozen=True, slots=True)
class Heard:
    """What an endpoint said to an event: no status where no answer came, and then why in `text`."""

    status: int | None
    text: str = ""
    retry_after_s: int | None = None


def _unchanged(text: str) -> str:
    return text


@dataclass
class Courier:
    """Brings events to endpoints, each once for each call, over connections that are kept.

    With `private` it goes anywhere, which is for demonstrations and tests. `clean` takes out of an answer what
    must not be kept. `reaches` and `resolver` replace our own in tests.
    """

    private: bool = False
    clean: Callable[[str], str] = _unchanged
    reaches: Callable[[Address], bool] | None = None
    resolver: AbstractResolver | None = None
    _session: aiohttp.ClientSession = field(init=False, repr=False)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=IN_FLIGHT_MAX,
            keepalive_timeout=IDLE_S,
            use_dns_cache=False,
            ssl=httpx.create_ssl_context(),
            resolver=self.resolver,
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=TOTAL_S, connect=TOTAL_S / 2, sock_connect=CONNECT_S, sock_read=TOTAL_S
            ),
            headers={"User-Agent": "turnus", "Content-Type": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Heard:
        """Post a body once, and return what was answered; nothing the network does is raised."""
        try:
            check_url(url, private=self.private)
            async with asyncio.timeout(TOTAL_S):
                return await self._post(url, headers, body)
        except BadUrlError as error:
            return Heard(None, str(error))
        except Exception as error:  # noqa: BLE001 - whatever broke, it is tried again, and nobody else waits for it
            text = f"{type(error).__name__}: {error}"
            return Heard(None, _NOT_PUBLIC if _NOT_PUBLIC in text else self._excerpt(text))

    async def _post(self, url: str, headers: Mapping[str, str], body: str) -> Heard:
        posted = self._session.post(url, data=body.encode(), headers=headers, allow_redirects=False)
        async with posted as answer:
            text = (await _beginning(answer.content)).decode(errors="replace")
            return Heard(answer.status, self._excerpt(text), _retry_after_s(answer.headers))

    def _socket(self, to: Any) -> socket.socket:
        """Open a socket for one address, or refuse to."""
        family, kind, protocol, _, place = to
        if not self._may_reach(ip_address(place[0])):
            raise PrivateAddressError(EACCES, _NOT_PUBLIC)
        return socket.socket(family, kind, protocol)

    def _may_reach(self, address: Address) -> bool:
        if self.reaches is not None:
            return self.reaches(address)
        return self.private or is_public(address)

    def _excerpt(self, text: str) -> str:
        """Return the beginning of what was said, on one line, without what must not be kept."""
        printable = "".join(letter if letter.isprintable() else " " for letter in text)
        return self.clean(printable)[:EXCERPT_CHARS_MAX].strip()


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """Read no more than an excerpt needs; what follows is dropped with its connection."""
    body = bytearray()
    while len(body) < ANSWER_BYTES_MAX and (chunk := await content.read(ANSWER_BYTES_MAX - len(body))):
        body += chunk
    return bytes(body)


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Return how long an answer asks to wait: seconds, or an instant, which counts from the answer's own date."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return int(said[:9])
    try:
        wait = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return max(0, int(wait.total_seconds()))
