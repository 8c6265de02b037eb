"""Whether the process lives, and whether it can do its work: asked by whoever starts it or sends it requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import structlog
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from billing.services.leaving import Leaving

Check = Callable[[], Awaitable[bool]]
"""Something that must be so; one that raises, or does not answer in time, is not."""

TIMEOUT_S: Final = 2.0
KEPT_S: Final = 1.0
"""So long an answer is given again: anybody may ask, and the database is not theirs."""

_log = structlog.get_logger("turnus.health")


@dataclass(slots=True)
class Readiness:
    """Looks whether everything is so that must be, at most once a second."""

    checks: Mapping[str, Check]
    leaving: Leaving
    timeout_s: float = TIMEOUT_S
    _looked_at: float = float("-inf")
    _failed: list[str] = field(default_factory=list)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def failed(self) -> list[str]:
        """Name what is not as it must be."""
        if self.leaving:
            return ["leaving"]
        async with self._one:
            if monotonic() > self._looked_at + KEPT_S:
                self._failed = [name for name, check in self.checks.items() if not await self._holds(name, check)]
                self._looked_at = monotonic()
        return self._failed

    async def _holds(self, name: str, check: Check) -> bool:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await check()
        except Exception as error:  # noqa: BLE001 - whatever it is, we are not ready
            _log.warning("not ready", check=name, reason=f"{type(error).__name__}: {error}")
            return False


def health_router(readiness: Readiness) -> APIRouter:
    """Return `/healthz`, which touches nothing, and `/readyz`."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz")
    async def live() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    async def ready() -> Response:
        failed = await readiness.failed()
        said = {"status": "unready" if failed else "ready", "failed": failed}
        return JSONResponse(said, 503 if failed else 200)

    return router
