"""Serve web and scheduler from one process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from fastapi import APIRouter, FastAPI

from billing.services.context import Context
from billing.web.app import create_app
from jobs.scheduler import scheduled
from jobs.settings import Settings
from jobs.wiring import open_mailer


async def serve(
    ctx: Context, settings: Settings, host: str, port: int, *, scheduler: bool, routers: Sequence[APIRouter] = ()
) -> None:
    """Serve until the process is told to stop; requests and work under way are let finish."""

    @asynccontextmanager
    async def living() -> AsyncIterator[None]:
        async with open_mailer(settings) as mailer:
            if not scheduler:
                yield
                return
            async with scheduled(ctx, settings, mailer):
                yield

    await _server(create_app(ctx, routers=routers, lifespan=living), host, port).serve()


@asynccontextmanager
async def serving(
    ctx: Context, host: str, port: int, routers: Sequence[APIRouter] = ()
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve the web alone while the block lasts, connections being taken from its first moment on.

    What is given is over when somebody stops the process before.
    """
    server = _server(create_app(ctx, routers=routers))
    with socket.create_server((host, port)) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield task
        finally:
            server.should_exit = True
            await task


def _server(app: FastAPI, host: str = "", port: int = 0) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
    )
    return uvicorn.Server(config)
