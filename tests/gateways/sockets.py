"""Servers on loopback that misbehave in exactly one way each."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from billing.clock import SystemClock

Talk = Callable[["Line"], Awaitable[None]]


@dataclass
class Line:
    """One accepted connection, as a script of a misbehaving server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: Server

    async def request(self) -> bytes:
        """Read one whole request and count it."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        request = head + await self.reader.readexactly(length)
        self.server.requests.append(request)
        return request

    async def say(self, text: bytes) -> None:
        """Send these bytes and nothing else."""
        self.writer.write(text)
        await self.writer.drain()

    async def answer(self, body: bytes = b"fine", status: str = "200 OK", headers: str = "") -> None:
        """Send a whole answer and keep the connection."""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        await self.say(head.encode() + body)


@dataclass
class Server:
    """What a server saw."""

    address: str = ""
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve every connection by the script; hang up when the script ends."""
    seen = Server()
    lines: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        lines[writer] = task
        seen.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await talk(Line(reader, writer, seen))
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
            await writer.wait_closed()
            del lines[writer]

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    seen.address = f"{'https' if tls else 'http'}://127.0.0.1:{port}/door?secret=in-the-query"
    try:
        yield seen
    finally:
        await stop(server)
        for writer, line in tuple(lines.items()):
            writer.transport.abort()
            line.cancel()
        await asyncio.gather(*lines.values(), return_exceptions=True)
        await settle()


async def settle() -> None:
    """Let the loop finish what it has already begun: an accepted connection needs a few turns to be made or closed."""
    for _ in range(5):
        await asyncio.sleep(0)


async def stop(server: asyncio.Server) -> None:
    """Stop listening without losing a connection that has just been accepted.

    A server that is closed in that moment leaves the connection's socket open for good (Python 3.11); so the
    listening ends first, then what was accepted is made, and only then the server is closed.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    await settle()
    server.close()


@contextmanager
def refusing() -> Iterator[str]:
    """Hold a port on which nobody listens, so that connecting to it is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/door"


def untrusted_tls(folder: Path) -> ssl.SSLContext:
    """Make a server's TLS with a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
