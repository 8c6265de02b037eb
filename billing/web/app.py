"""The web application: its entrances, its static files, and a strict policy on everything it sends."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from importlib.resources import files
from typing import Final

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import text
from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from billing.services.context import Context
from billing.web import notifications, pay
from billing.web.api.app import create_api
from billing.web.api.calls import PREFIX as API_PREFIX
from billing.web.api.stories import Explain
from billing.web.console.app import create_console
from billing.web.console.desk import ROOT as CONSOLE
from billing.web.health import Check, Readiness, health_router
from billing.web.pages import PAGE_POLICY, Failure, NotFound, Page, Pages, choose_language

_log = structlog.get_logger("turnus.web")
_PAGES: Final = Pages()

_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


def create_app(
    ctx: Context,
    *,
    routers: Sequence[APIRouter] = (),
    lifespan: Lifespan | None = None,
    explain: Explain | None = None,
    checks: Mapping[str, Check] | None = None,
) -> FastAPI:
    """Return the application for one engine.

    `lifespan` is what goes on while it serves, and `explain` tells the API's callers why something was billed.
    `checks` are what must be so besides the database answering for us to be ready.
    """

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        async with lifespan() if lifespan is not None else nullcontext():
            yield
        await asyncio.gather(*app.state.asking, return_exceptions=True)

    app = FastAPI(title="Turnus", lifespan=living, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.ctx, app.state.pages, app.state.asking = ctx, _PAGES, set()
    app.mount("/static", StaticFiles(directory=str(files("templates") / "static")))
    app.mount(API_PREFIX, create_api(ctx, explain=explain))
    app.mount(CONSOLE, create_console(ctx))
    readiness = Readiness({"database": partial(_answers, ctx), **(checks or {})}, ctx.leaving)
    for router in (health_router(readiness), pay.router, notifications.router, *routers):
        app.routes.extend(router.routes)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _not_found)
    app.add_exception_handler(Exception, _failed)
    app.middleware("http")(_guard)
    return app


async def _guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Put the policy on every answer; a page with a link's token is kept by no cache and named to nobody."""
    response = await call_next(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    is_static = request.url.path.startswith("/static/")
    response.headers.setdefault("Cache-Control", "max-age=31536000, immutable" if is_static else "no-store")
    return response


async def _answers(ctx: Context) -> bool:
    """Answer whether the database does."""
    async with ctx.store.read() as session:
        await session.execute(text("SELECT 1"))
    return True


async def _not_found(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _page(request, NotFound(), status)


async def _failed(request: Request, error: Exception) -> Response:
    reference = secrets.token_hex(4)
    _log.error("page failed", reference=reference, path=request.url.path.split("/")[1], exc_info=error)
    return _page(request, Failure(reference=reference), 500)


def _page(request: Request, page: Page, status: int) -> Response:
    pages: Pages = request.app.state.pages
    locale = choose_language(request.headers.get("accept-language", ""), query=request.query_params.get("lang", ""))
    return HTMLResponse(pages.render(page, locale), status)
