"""A provider that takes only so much: too many requests at once, or in one second, are turned away unprocessed."""

import time
from collections import deque

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateways.sandbox.faults import Luck
from gateways.sandbox.knobs import LIMITS, Knobs

TURNED_AWAY = {"http_429": 429, "http_503": 503}


def turned_away(luck: Luck) -> Response | None:
    """Return the answer of a rule that says that the provider is too busy; its ``ms`` are what to wait."""
    rule = luck.draw("line")
    if rule is None or rule.fault not in TURNED_AWAY:
        return None
    return busy(TURNED_AWAY[rule.fault], -(-rule.ms // 1000))


def busy(status: int, wait_s: int) -> Response:
    """Answer as what stands before a provider does, in no wire's own words."""
    return PlainTextResponse("Too busy\n", status, {"Retry-After": str(wait_s)} if wait_s else None)


class Throttle:
    """Lets through what the limits allow, and whatever the tester asks."""

    def __init__(self, app: ASGIApp, knobs: Knobs) -> None:
        self._app, self._knobs = app, knobs
        self._at_once = 0
        self._let_in_at: deque[float] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox"):
            return await self._app(scope, receive, send)
        if self._is_too_much():
            return await busy(429, 1)(scope, receive, send)
        self._at_once += 1
        self._let_in_at.append(time.monotonic())
        try:
            return await self._app(scope, receive, send)
        finally:
            self._at_once -= 1

    def _is_too_much(self) -> bool:
        while self._let_in_at and self._let_in_at[0] <= time.monotonic() - 1:
            self._let_in_at.popleft()
        taken = zip(LIMITS, (self._at_once, len(self._let_in_at)), strict=True)
        return any(0 < self._knobs.count(name) <= now for name, now in taken)
