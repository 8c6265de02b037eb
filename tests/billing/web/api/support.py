"""Somebody who calls the API: a key, and what is asked and answered in the fewest words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from billing.models import Scope
from billing.services.context import Context
from billing.services.keying import make_key
from billing.web.api.problems import MEDIA_TYPE
from billing.web.app import create_app
from jobs.explain import explain
from tests.billing.services.support import World

BASE = "http://api.example/api/v1"
_JSON = {"Content-Type": "application/json"}
_numbers = count(1)


@dataclass
class Caller:
    """One key to one merchant, and whoever holds it."""

    http: httpx.AsyncClient
    world: World

    async def get(self, path: str, status: int = 200, /, **query: Any) -> Any:
        """Return what is there, or the problem that was to be expected."""
        return self.told(await self.http.get(path, params=query or None), status)

    async def post(self, path: str, body: Any = None, status: int = 201, /, **headers: str) -> Any:
        """Return what became of it."""
        return self.told(await self.ask("POST", path, body, **headers), status)

    async def patch(self, path: str, body: Any, status: int = 200, /, **headers: str) -> Any:
        """Return what it was changed to."""
        return self.told(await self.ask("PATCH", path, body, **headers), status)

    async def ask(self, verb: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Return the answer as it came; a header is named with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else json.dumps(body).encode()
        return await self.http.request(verb, path, content=content, headers=_JSON | named)

    @staticmethod
    def told(answer: httpx.Response, status: int) -> Any:
        """Return what an answer says, which must be of this status, and a problem where it is an error."""
        assert answer.status_code == status, answer.text
        kind = answer.headers["content-type"]
        assert kind == (MEDIA_TYPE if status >= 400 else "application/json")
        return answer.json()

    async def everything(self, path: str, /, **query: Any) -> list[Any]:
        """Return a whole list, page after page."""
        found: list[Any] = []
        following: str | None = None
        page = await self.get(path, **query)
        while True:
            found += page["data"]
            following = page["next"]
            if following is None:
                return found
            page = await self.get(following.removeprefix("/api/v1"))


def fresh(key: str = "") -> str:
    """Return an idempotency key that nobody has used."""
    return key or f"key-{next(_numbers)}"


async def caller(
    world: World, app: ASGIApp, *scopes: Scope, merchant_id: int = 0, headers: Mapping[str, str] | None = None
) -> Caller:
    """Return somebody with a key of these scopes, or of all."""
    key = await make_key(world.ctx, merchant_id or world.merchant_id, "test", scopes or tuple(Scope))
    return Caller(client(app, {"Authorization": f"Bearer {key.text}"} | dict(headers or {})), world)


def client(app: ASGIApp, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    """Return a client without any network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE, headers=dict(headers or {}))


def whole_app(ctx: Context) -> FastAPI:
    """Return the application as it is served."""
    return create_app(ctx, explain=explain)
