"""Every page of the console, and every list of the API, over what a night has left and years before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from fastapi.routing import APIRoute
from sqlalchemy import insert, select

from billing.models import Merchant, Scope, User, new_row, table
from billing.services import admitting, staffing
from billing.services.context import Context
from billing.services.keying import make_key
from billing.store import Store
from billing.web.api.app import NOUNS
from billing.web.api.calls import PREFIX as API
from billing.web.app import create_app
from billing.web.console.app import DOORS, SECTIONS
from billing.web.console.desk import ROOT, cookie_name
from billing.web.console.gate import SESSION, Need, Open, need_of
from jobs.bench_history import grow_old, names_in
from jobs.bench_meters import Figure, counting, family_cpu_s, postmaster_of
from jobs.bench_world import settings_for
from jobs.explain import explain
from jobs.wiring import open_context

PAGE_MS_MAX: Final = 200.0
TIMES: Final = 5
TRIES_MAX: Final = 20
SLOWEST: Final = 5

_merchant = table(Merchant)

# What is asked for besides a page as it is: each filter with something rare, each search, and what lies far back.
ASKED: Final[Mapping[str, tuple[Mapping[str, str], ...]]] = {
    "/{merchant}/runs": ({"state": "paused"},),
    "/{merchant}/doubts": (
        {"list": "tasks"},
        {"list": "charges"},
        {"list": "owed"},
        {"list": "pending"},
        {"list": "done"},
    ),
    "/{merchant}/subscriptions": (
        {"state": "paused"},
        {"state": "past_due"},
        {"customer": "{customer}"},
        {"reference": "{subscription}"},
        {"before": "100"},
    ),
    "/{merchant}/customers": (
        {"name": "ada bench 7"},
        {"name": "nobody"},
        {"email": "{email}"},
        {"reference": "{customer}"},
        {"before": "100"},
    ),
    "/{merchant}/invoices": (
        {"state": "open"},
        {"state": "void"},
        {"state": "draft"},
        {"day": "2026-12-01"},
        {"day": "2026-11-01"},
        {"day": "2026-11-02"},
        {"customer": "{customer}"},
        {"before": "100"},
    ),
    "/{merchant}/mails": ({"state": "queued"}, {"state": "failed"}, {"recipient": "{email}"}, {"recipient": "nobody"}),
    "/{merchant}/notifications": ({"state": "open"}, {"state": "forged"}),
    "/{merchant}/find": (
        {"q": "ada bench"},
        {"q": "nobody"},
        {"q": "c1@bench"},
        {"q": "999999999"},
        {"q": "att_999999999"},
    ),
    "/{merchant}/audit": (
        {"actor": "nobody"},
        {"verb": "register_customer"},
        {"verb": "nothing"},
        {"subject": "{customer}"},
    ),
}
ASKED_OF_API: Final[Mapping[str, tuple[Mapping[str, str], ...]]] = {
    "/customers": ({"sort": "-id"}, {"email": "{email}"}),
    "/subscriptions": ({"sort": "-created"}, {"state": "paused"}, {"customer": "{customer}"}),
    "/profiles": ({"sort": "-created"}, {"state": "failed"}, {"customer": "{customer}"}),
    "/invoices": ({"state": "void"}, {"customer": "{customer}"}, {"subscription": "{subscription}"}),
    "/attempts": ({"sort": "-created"}, {"state": "unknown"}, {"customer": "{customer}"}, {"invoice": "inv_1"}),
    "/operations": ({"sort": "-created"}, {"state": "created"}, {"attempt": "att_1"}),
    "/pay-links": ({"sort": "-created"}, {"invoice": "inv_1"}),
    "/events": ({"sort": "-created"}, {"type": "invoice.void"}, {"subject": "inv_1"}),
    "/tasks": ({"state": "open"}, {"state": "done"}),
    "/notifications": ({"state": "open"},),
}


@dataclass(frozen=True, slots=True)
class Look:
    """One page by the path of its route and what is asked for besides; `url` is where it is, with real names in it."""

    name: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """How long a page took at first and then again, and what it took: processor time, here and in the database."""

    name: str
    first_ms: float
    again_ms: float
    cpu_ms: float
    statements: int
    kb: float

    def figure(self, *, is_detail: bool) -> Figure:
        """Return it as a figure."""
        more = {"cpu ms": self.cpu_ms, "first ms": self.first_ms, "statements": self.statements, "kB": self.kb}
        about: dict[str, Any] = {"target": PAGE_MS_MAX, "at_most": True, "more": more, "is_detail": is_detail}
        return Figure("console", self.name, self.again_ms, "ms", **about)


async def measure(url: str) -> list[Figure]:
    """Look at every page on the morning before everybody is billed again; raise where one cannot be shown."""
    async with open_context(settings_for(url)) as ctx:
        async with ctx.store.read() as session:
            merchant_id = (await session.execute(select(_merchant.c.id))).scalar_one()
        await grow_old(ctx, merchant_id)
        async with _eye(ctx) as eye:
            return _figures([await eye.see(look) async for look in _looks(ctx, merchant_id)])


def _figures(seen: list[Seen]) -> list[Figure]:
    """Return the middle one and the slowest as figures, with all that are too slow, and the others as details."""
    seen.sort(key=lambda each: -each.again_ms)
    middle = median(each.again_ms for each in seen)
    whole = Figure("console", f"half of {len(seen)} pages and lists", middle, "ms", target=PAGE_MS_MAX, at_most=True)
    shown = [
        each.figure(is_detail=place >= SLOWEST and each.again_ms <= PAGE_MS_MAX) for place, each in enumerate(seen)
    ]
    return [whole, *shown]


@dataclass(frozen=True, slots=True)
class _Eye:
    """Looks at pages; `server` is the database's process, where it has one on this machine."""

    store: Store
    browser: httpx.AsyncClient
    server: int | None

    async def see(self, look: Look) -> Seen:
        """Ask for a page once, and then some times more, of which the middle one counts."""
        first_ms, _ = await self._ask(look)
        with counting(self.store) as statements:
            cpu = self._cpu_s()
            again = [await self._ask(look) for _ in range(TIMES)]
            cpu_ms = (self._cpu_s() - cpu) * 1000 / TIMES
        again_ms, kb = median(ms for ms, _ in again), len(again[0][1]) / 1024
        return Seen(look.name, first_ms, again_ms, cpu_ms, statements[0] // TIMES, kb)

    async def _ask(self, look: Look) -> tuple[float, bytes]:
        """Ask for a page; where the key's bucket is empty it is being filled, which is waited for a few times."""
        for _ in range(TRIES_MAX):
            begun = perf_counter()
            answer = await self.browser.get(look.url, headers=dict(look.headers))
            took_ms = (perf_counter() - begun) * 1000
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        if answer.status_code != httpx.codes.OK:
            raise RuntimeError(f"{look.url} was answered {answer.status_code}")
        return took_ms, answer.content

    def _cpu_s(self) -> float:
        return process_time() + family_cpu_s(self.server)


@asynccontextmanager
async def _eye(ctx: Context) -> AsyncIterator[_Eye]:
    transport = httpx.ASGITransport(create_app(ctx, explain=explain))
    async with httpx.AsyncClient(transport=transport, base_url=ctx.links.public_url) as browser:
        yield _Eye(ctx.store, browser, await postmaster_of(ctx.store))


# --- who looks, and at what -------------------------------------------------


async def _looks(ctx: Context, merchant_id: int) -> AsyncIterator[Look]:
    """Yield every page: the one for whoever comes first before there is anybody, and then the others."""
    yield Look(_FIRST_VISIT, staffing.set_up_url(ctx), {})
    people, key = await _people(ctx), await make_key(ctx, merchant_id, "bench", list(Scope))
    async with ctx.store.read() as session:
        names = {**await names_in(session), **people.names, "prefix": key.prefix}
    for look in (*_pages(names, people), *_lists(names, key.text)):
        yield look


_FIRST_VISIT: Final = "/set-up"


def _pages(names: Mapping[str, str], people: _People) -> Iterator[Look]:
    """Yield the pages of the console, each as whoever it is for sees it."""
    for route in _shown_at(*DOORS, *SECTIONS):
        if route.path != _FIRST_VISIT:
            cookie = people.cookie_for(route.path, need_of(route))
            for way in _ways_to(ROOT, route.path, names, ASKED.get(route.path, ())):
                yield Look(*way, cookie)


def _lists(names: Mapping[str, str], key: str) -> Iterator[Look]:
    """Yield what the API shows without being told of what."""
    for route in _shown_at(*NOUNS):
        if "{" not in route.path:
            for way in _ways_to(API, route.path, names, ASKED_OF_API.get(route.path, ())):
                yield Look(*way, {"Authorization": f"Bearer {key}"})


def _shown_at(*modules: ModuleType) -> Iterator[APIRoute]:
    """Yield every route that only shows something."""
    for module in modules:
        for route in module.router.routes:
            if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
                yield route


def _ways_to(
    root: str, path: str, names: Mapping[str, str], asked: Iterable[Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield a page as it is and with each thing that may be asked: what it is called, and its address."""
    where = path.format(**names)
    called = path if root == ROOT else f"{root}{path}"
    yield called, f"{root}{where}"
    for each in asked:
        query = urlencode({name: text.format(**names) for name, text in each.items()})
        yield f"{called}?{urlencode(each, safe='{}')}", f"{root}{where}?{query}"


@dataclass(frozen=True, slots=True)
class _People:
    """Who has signed in: an admin, one who still owes the second factor, and one who works for nobody yet."""

    sessions: Mapping[str, Mapping[str, str]]
    names: Mapping[str, str]

    def cookie_for(self, path: str, need: Need) -> Mapping[str, str]:
        """Return the cookie of whom a page is for."""
        if path == "/":
            return self.sessions["newcomer"]
        if need is Open.ANYBODY:
            return {}
        return self.sessions["waiting" if need is Open.CODE else "admin"]


async def _people(ctx: Context) -> _People:
    async with ctx.store.write() as session:
        admin = await staffing.make_first_admin(ctx, session, staffing.Person("ada@bench.example", "Ada"), "")
        person = new_row(User, email="bo@bench.example", name="Bo", created_at=ctx.clock.now())
        newcomer = (await session.execute(insert(table(User)).values(person).returning(table(User).c.id))).scalar_one()
        chosen_at = await staffing.password_url(ctx, session, newcomer)
        tokens = {
            "admin": await admitting.begin(ctx, session, admin, ""),
            "waiting": await admitting.begin(ctx, session, admin, "", waits_for_code=True),
            "newcomer": await admitting.begin(ctx, session, newcomer, ""),
        }
    sessions = {who: {"Cookie": f"{cookie_name(ctx, SESSION)}={token}"} for who, token in tokens.items()}
    return _People(sessions, {"user": str(admin), "token": chosen_at.rpartition("/")[2]})
