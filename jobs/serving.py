"""Serve web and scheduler from one process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import uvicorn
from fastapi import APIRouter
from sqlalchemy import select
from starlette.types import ASGIApp

import migrations
from billing.models import GatewayAccount, table
from billing.services.context import Context
from billing.services.leaving import Leaving
from billing.web.app import create_app
from billing.web.health import Check
from billing.web.requests import Recorded
from jobs.explain import explain
from jobs.metrics import Metrics, metrics_app
from jobs.scheduler import scheduled
from jobs.settings import Settings
from jobs.wiring import open_courier, open_mailer

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


async def serve(
    ctx: Context, settings: Settings, listening: socket.socket, metrics: Metrics, *, scheduler: bool
) -> None:
    """Serve until the process is told to stop; requests and work under way are let finish."""

    @asynccontextmanager
    async def living() -> AsyncIterator[None]:
        async with open_mailer(settings) as mailer, open_courier(settings) as courier:
            if not scheduler:
                yield
                return
            async with scheduled(ctx, settings, mailer, courier):
                yield

    checks: dict[str, Check] = {"schema": partial(_has_our_schema, ctx), "secret_key": partial(_opens_credentials, ctx)}
    app = create_app(ctx, lifespan=living, explain=explain, checks=checks)
    server = _server(Recorded(app, metrics.request))
    async with _figures(ctx, settings, metrics):
        ending = asyncio.create_task(_end_with(server, ctx.leaving))
        try:
            await server.serve(sockets=[listening])
        finally:
            ending.cancel()


@asynccontextmanager
async def _figures(ctx: Context, settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """Serve the figures while the block lasts, if the settings say where."""
    if settings.metrics_address is None:
        yield
        return
    with listen(*settings.metrics_address) as listening:
        async with _served(_server(metrics_app(ctx, metrics)), listening):
            yield


async def _has_our_schema(ctx: Context) -> bool:
    async with ctx.store.read() as session:
        return await migrations.fits(session)


async def _opens_credentials(ctx: Context) -> bool:
    """Answer whether the secret key is the one that the database was written with."""
    async with ctx.store.read() as session:
        sealed = (await session.execute(select(table(GatewayAccount).c.sealed_credentials).limit(1))).scalar()
    return sealed is None or bool(ctx.vault.unseal(sealed))


@asynccontextmanager
async def serving(ctx: Context, listening: socket.socket, routers: Sequence[APIRouter] = ()) -> AsyncIterator[None]:
    """Serve the web alone while the block lasts; a signal ends the block, and that the serving."""
    async with _served(_server(create_app(ctx, routers=routers, explain=explain)), listening):
        yield


@asynccontextmanager
async def _served(server: uvicorn.Server, listening: socket.socket) -> AsyncIterator[None]:
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


async def _end_with(server: uvicorn.Server, leaving: Leaving) -> None:
    await leaving.wait()
    server.should_exit = True


def _server(app: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=30)
    return _Server(config)
