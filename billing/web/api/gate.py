"""What stands before every call: a key that is good, not too many calls with it, and a body of sane size."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from time import monotonic
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing.services.context import Context
from billing.services.keying import Caller, recognise
from billing.web.api.problems import Kind, Problem

_log = structlog.get_logger("turnus.api")

BODY_BYTES_MAX: Final = 256 * 1024
OPEN_PATHS: Final = ("/openapi.json",)
_SCHEME: Final = "bearer "


@dataclass(slots=True)
class RateLimit:
    """A bucket of calls for each key, filled at a steady rate; each process has buckets of its own."""

    per_s: float = 50.0
    burst: float = 200.0
    clock: Callable[[], float] = monotonic
    _left: dict[int, tuple[float, float]] = field(default_factory=dict)

    def wait_s(self, key_id: int) -> float:
        """Take one call from the key's bucket, or return how long it must wait for one."""
        now = self.clock()
        left, at = self._left.get(key_id, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.per_s)
        taken = left >= 1
        self._left[key_id] = (left - taken, now)
        return 0.0 if taken else (1 - left) / self.per_s


class Gate:
    """Lets a call in with its caller in the request's state, or answers with a problem, also where one breaks."""

    def __init__(self, app: ASGIApp, ctx: Context, limit: RateLimit) -> None:
        self._app, self._ctx, self._limit = app, ctx, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call in, or say why not."""
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            scope.setdefault("state", {})["caller"] = await self._admit(scope)
            whole = _replayed(await _body(receive), receive)
        except Problem as problem:
            await problem.answer()(scope, receive, send)
            return
        await self._do(scope, whole, send)

    async def _admit(self, scope: Scope) -> Caller:
        caller = await recognise(self._ctx, _token(scope))
        if caller is None:
            detail = "send `Authorization: Bearer tk_...` with a key that is good"
            raise Problem(Kind.UNAUTHORISED, detail, headers={"WWW-Authenticate": "Bearer"})
        wait_s = self._limit.wait_s(caller.key_id)
        if wait_s:
            said = {"Retry-After": str(ceil(wait_s))}
            raise Problem(Kind.TOO_MANY, f"this key may make {self._limit.per_s:g} calls a second", headers=said)
        return caller

    async def _do(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, and answer for it where it breaks; what broke is logged and not told."""
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            reference = secrets.token_hex(4)
            route = getattr(scope.get("route"), "path", "")
            _log.error("call failed", reference=reference, method=scope["method"], route=route, exc_info=error)
            if begun:
                raise
            problem = Problem(Kind.FAILED, f"it was noted as {reference}; nothing of the call stays")
            await problem.answer()(scope, receive, send)


def _token(scope: Scope) -> str:
    """Return what was sent as the key; nothing where two were."""
    sent: list[str] = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    if len(sent) != 1 or not sent[0].lower().startswith(_SCHEME):
        return ""
    return sent[0][len(_SCHEME) :].strip()


async def _body(receive: Receive) -> bytes:
    """Read the body, but never more than is allowed plus the piece that shows it is too large."""
    body, more = bytearray(), True
    while more and len(body) <= BODY_BYTES_MAX:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > BODY_BYTES_MAX:
        raise Problem(Kind.TOO_LARGE, f"a body has at most {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the body once more as if it were just arriving, and then whatever else does."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
