"""Somebody at a browser: signed in or not, who reads pages and sends the forms on them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html import unescape
from itertools import count
from typing import Any

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import insert

from billing.models import Membership, Role, User, new_row, table
from billing.passwords import Passwords
from billing.services.admitting import begin
from billing.services.context import Context
from billing.web.app import create_app
from billing.web.console.desk import cookie_name
from billing.web.console.gate import SESSION
from tests.billing.services.support import World

PUBLIC = "https://pay.example"
PASSWORD = "a long and visibly fake password"
CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
HASH = CHEAP.hasher.hash(PASSWORD)
_numbers = count(1)


def at_https(ctx: Context) -> Context:
    """Return the context as it is behind HTTPS, with passwords that are hashed quickly."""
    return replace(ctx, links=replace(ctx.links, public_url=PUBLIC), passwords=CHEAP)


@dataclass
class Browser:
    """A browser, and who has signed in with it."""

    http: httpx.AsyncClient
    world: World
    user_id: int = 0
    token: str = ""

    @property
    def csrf(self) -> str:
        """What the forms on this session's pages carry."""
        return self.world.ctx.vault.digest("form", self.token)

    async def get(self, path: str, status: int = 200) -> str:
        """Return a page as its reader sees it, entities and all read."""
        answer = await self.http.get(f"/console{path}")
        assert answer.status_code == status, answer.text
        return unescape(answer.text)

    async def send(self, path: str, /, **typed: Any) -> httpx.Response:
        """Send a form as a page of this session would."""
        return await self.http.post(f"/console{path}", data={"csrf": self.csrf} | typed)

    async def post(self, path: str, status: int = 303, /, **typed: Any) -> str:
        """Send a form, and return the page it leads to, or the answer itself where it leads nowhere."""
        answer = await self.send(path, **typed)
        assert answer.status_code == status, answer.text
        if answer.is_redirect:
            answer = await self.http.get(answer.headers["location"])
        return unescape(answer.text)


def browser(app: FastAPI, world: World, base: str = PUBLIC, **headers: str) -> Browser:
    """Return a browser in which nobody has signed in."""
    said = {"Origin": base, "Sec-Fetch-Site": "same-origin"} | headers
    return Browser(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base, headers=said), world)


async def make_user(
    world: World, role: Role | None = Role.ADMIN, email: str = "", merchant_id: int = 0, **changed: Any
) -> int:
    """Make a user with a role at the world's merchant, or with none."""
    about = {"email": email or f"user{next(_numbers)}@example.net", "name": "Anna Huber", "password_hash": HASH}
    about |= {"created_at": world.ctx.clock.now()} | changed
    async with world.store.write() as session:
        made = insert(table(User)).values(new_row(User, **about)).returning(table(User).c.id)
        user_id: int = (await session.execute(made)).scalar_one()
    if role is not None:
        await give_role(world, user_id, merchant_id or world.merchant_id, role)
    return user_id


async def give_role(world: World, user_id: int, merchant_id: int, role: Role) -> None:
    """Let a user work for a merchant."""
    about = {"user_id": user_id, "merchant_id": merchant_id, "role": role, "created_at": world.ctx.clock.now()}
    async with world.store.write() as session:
        await session.execute(insert(table(Membership)).values(**about))


async def signed_in(
    world: World, app: FastAPI, role: Role | None = Role.ADMIN, *, user_id: int = 0, waits: bool = False, **changed: Any
) -> Browser:
    """Return a browser in which a user has signed in: one with this role, or one who is there already."""
    who = browser(app, world)
    who.user_id = user_id or await make_user(world, role, **changed)
    async with world.store.write() as session:
        who.token = await begin(world.ctx, session, who.user_id, "192.0.2.7", waits_for_code=waits)
    who.http.cookies.set(cookie_name(world.ctx, SESSION), who.token)
    return who


def whole_app(world: World) -> FastAPI:
    """Return the application as it is served."""
    return create_app(world.ctx)


def csrf_in(page: str) -> str:
    """Return the token in a page's first form."""
    found = re.search(r'name="csrf" value="([0-9a-f]{32})"', page)
    assert found is not None, page
    return found[1]
