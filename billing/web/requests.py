"""One line in the log for each request, under an id that its answer bears too."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger("turnus.request")
_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
HEADER: Final = b"x-request-id"
UNKNOWN: Final = "unknown"
FAILED: Final = 500


@dataclass(frozen=True, slots=True)
class Served:
    """A request that was answered: by its route and never by its address, which may open a payment."""

    method: str
    route: str
    status: int
    seconds: float


class Recorded:
    """Lets requests through to the application, notes each, and tells `heard` of it.

    A request may bring an id of its own, such as a proxy's; else it gets one.
    """

    def __init__(self, app: ASGIApp, heard: Callable[[Served], None] = lambda _: None) -> None:
        self._app, self._heard = app, heard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, status, begun = _id_of(scope), 0, monotonic()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, note)
            except Exception:
                # What was answered with a failure was logged where that was made.
                if status != FAILED:
                    raise
            finally:
                self._record(Served(_method(scope), route_of(scope), status or FAILED, monotonic() - begun))

    def _record(self, served: Served) -> None:
        self._heard(served)
        took_ms = round(served.seconds * 1000)
        _log.info("request", method=served.method, route=served.route, status=served.status, duration_ms=took_ms)


def route_of(scope: Scope) -> str:
    """Return the pattern of the address that was asked for; what has none is unknown, whatever it was."""
    path: str = scope["path"]
    if path.startswith("/static/"):
        return "/static"
    pattern = getattr(scope.get("route"), "path", "")
    return f"{_mount(scope, pattern)}{pattern}" if pattern else UNKNOWN


def _mount(scope: Scope, pattern: str) -> str:
    """Return where the application is mounted that knows the route."""
    root: str = scope.get("root_path", "")
    return "" if pattern.startswith(root) else root


def _method(scope: Scope) -> str:
    """Return the method, of those there are: the rest could be any number of words."""
    method: str = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "OTHER"


def _id_of(scope: Scope) -> str:
    sent: list[bytes] = [value for name, value in scope["headers"] if name == HEADER]
    return sent[0].decode() if len(sent) == 1 and _ID.fullmatch(sent[0]) else str(uuid.uuid4())
