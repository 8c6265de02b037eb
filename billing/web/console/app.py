"""The console as one application, mounted below `/console`."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import HTMLResponse, RedirectResponse, Response

from billing.services.context import Context
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.throttling import TooSoonError
from billing.web.console import (
    account,
    attempts,
    audit,
    customers,
    dashboard,
    doubts,
    find,
    gateways,
    invoices,
    keys,
    mails,
    merchant,
    notifications,
    plans,
    runs,
    set_up,
    sign_in,
    subscriptions,
    users,
    webhooks,
)
from billing.web.console.gate import ElsewhereError, ForbiddenError, ForgedError, Section
from billing.web.console.pages import HEADERS, Sheets, sentence

_log = structlog.get_logger("turnus.console")
_SHEETS: Final = Sheets()

# In the order of the navigation; the first of the settings is where "Settings" leads.
SECTIONS: Final = (
    dashboard,
    runs,
    doubts,
    subscriptions,
    customers,
    invoices,
    attempts,
    plans,
    gateways,
    mails,
    notifications,
    find,
    merchant,
    users,
    keys,
    webhooks,
    audit,
)
# Pages that belong to no merchant. They come first, so that no merchant's name can hide them.
DOORS: Final = (set_up, sign_in, account)


def create_console(ctx: Context) -> FastAPI:
    """Return the console for one engine."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.ctx, app.state.sheets, app.state.sections = ctx, _SHEETS, sections()
    for module in (*DOORS, *SECTIONS):
        app.routes.extend(module.router.routes)
    for error, handler in _HANDLERS.items():
        app.add_exception_handler(error, handler)
    app.middleware("http")(_guard)
    return app


def sections() -> tuple[Section, ...]:
    """Return the sections in the order of the navigation."""
    return tuple(module.router for module in SECTIONS)


def doors() -> frozenset[str]:
    """Return the words with which addresses of pages begin that belong to no merchant."""
    paths = [route.path for module in DOORS for route in module.router.routes if isinstance(route, APIRoute)]
    return frozenset(path.split("/")[1] for path in paths) - {""}


async def _guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Put the console's policy on every answer; what breaks is logged and told by a reference alone."""
    try:
        answer = await call_next(request)
    except Exception as error:  # noqa: BLE001 - whatever broke, its reader gets a page and we get the log
        reference = secrets.token_hex(4)
        route = getattr(request.scope.get("route"), "path", "")
        _log.error("page failed", reference=reference, method=request.method, route=route, exc_info=error)
        answer = _told(request, "500.html", 500, reference=reference)
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


async def _missing(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _told(request, "404.html", status, reason=_reason(error))


async def _forbidden(request: Request, error: Exception) -> Response:
    return _told(request, "403.html", 403, reason=str(error), is_forged=isinstance(error, ForgedError))


async def _conflict(request: Request, error: Exception) -> Response:
    return _told(request, "409.html", 409, reason=_reason(error))


async def _too_soon(request: Request, error: Exception) -> Response:
    wait_s = error.wait_s if isinstance(error, TooSoonError) else 0
    answer = _told(request, "409.html", 429, reason=str(error))
    answer.headers["Retry-After"] = str(wait_s)
    return answer


async def _elsewhere(_: Request, error: Exception) -> Response:
    return RedirectResponse(error.url if isinstance(error, ElsewhereError) else "/", 303)


_HANDLERS: Final[Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = {
    MissingError: _missing,
    HTTPException: _missing,
    RequestValidationError: _missing,
    ForbiddenError: _forbidden,
    ForgedError: _forbidden,
    ConflictError: _conflict,
    UnfitError: _conflict,
    TooSoonError: _too_soon,
    ElsewhereError: _elsewhere,
}


def _reason(error: Exception) -> str:
    """Return what a use case said, as a sentence; what the framework says is for nobody."""
    return sentence(str(error)) if isinstance(error, MissingError | ConflictError | UnfitError) else ""


def _told(request: Request, template: str, status: int, **known: Any) -> Response:
    """Return a page without a frame: who asks may have no right to see one."""
    sheets: Sheets = request.app.state.sheets
    return HTMLResponse(sheets.render(template, desk=None, w=None, toast=(), **known), status)
