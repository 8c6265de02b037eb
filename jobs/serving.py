"""Serve web and scheduler from one process."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from fastapi import APIRouter, FastAPI

from billing.services.context import Context
from billing.web.app import create_app
from jobs.scheduler import scheduled
from jobs.settings import Settings
from jobs.wiring import open_mailer

BACKLOG: Final = 2048


class ServingError(OSError):
    """An address that cannot be listened on; the message says which and why."""


def listen(host: str, port: int) -> socket.socket:
    """Take connections at an address, or raise `ServingError`; port 0 is any that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay off only then, which costs an answer 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ServingError(f"nothing can be served at {host} port {port}: {error.strerror}") from None
    return listening


async def serve(ctx: Context, settings: Settings, listening: socket.socket, *, scheduler: bool) -> None:
    """Serve until the process is told to stop; requests and work under way are let finish."""

    @asynccontextmanager
    async def living() -> AsyncIterator[None]:
        async with open_mailer(settings) as mailer:
            if not scheduler:
                yield
                return
            async with scheduled(ctx, settings, mailer):
                yield

    server = _server(create_app(ctx, lifespan=living))
    with _stopped_by_signals(server):
        await server.serve(sockets=[listening])


@asynccontextmanager
async def serving(ctx: Context, listening: socket.socket, routers: Sequence[APIRouter] = ()) -> AsyncIterator[None]:
    """Serve the web alone while the block lasts; a signal ends the block, and that the serving."""
    server = _server(create_app(ctx, routers=routers))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """A server that leaves signals to its caller: the library's own would kill the process after serving."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let a signal end the serving, and a second Ctrl-C the waiting for what is under way."""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, server.handle_exit, number, None)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _server(app: FastAPI) -> uvicorn.Server:
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=30)
    return _Server(config)
