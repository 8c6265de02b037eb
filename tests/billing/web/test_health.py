"""A process says whether it lives and whether it is ready, and nothing else about itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest

from billing.services.leaving import Leaving
from billing.store import Store
from billing.web.app import create_app
from billing.web.health import Check, Readiness
from tests.billing.services.support import World


@asynccontextmanager
async def asking(world: World, checks: Mapping[str, Check] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app(world.ctx, checks=checks))
    async with httpx.AsyncClient(transport=transport, base_url="http://turnus.example") as http:
        yield http


async def ready() -> bool:
    return True


async def unready() -> bool:
    return False


async def broken() -> bool:
    raise RuntimeError("postgresql://turnus:sesame@db cannot be reached")


async def test_who_is_well_is_alive_and_ready(world: World) -> None:
    async with asking(world, {"schema": ready}) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "failed": []})
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("check", [unready, broken])
async def test_what_is_not_as_it_must_be_is_named_and_no_more_is_told(world: World, check: Check) -> None:
    async with asking(world, {"schema": check, "secret_key": ready}) as http:
        answer = await http.get("/readyz")
        assert (await http.get("/healthz")).status_code == 200
    assert (answer.status_code, answer.json()) == (503, {"status": "unready", "failed": ["schema"]})


async def test_a_database_that_is_gone_is_not_ready_and_the_process_lives(world: World) -> None:
    class Gone(Store):
        @asynccontextmanager
        async def read(self):  # type: ignore[no-untyped-def]
            raise OSError("gone")
            yield

    gone = Gone(world.store.engine.url.render_as_string(hide_password=False))
    async with asking(world.with_context(store=gone)) as http:
        assert (await http.get("/readyz")).json()["failed"] == ["database"]
        assert (await http.get("/healthz")).status_code == 200
    await gone.close()


async def test_what_does_not_answer_in_time_is_not_so() -> None:
    async def forever() -> bool:
        await asyncio.Event().wait()
        return True

    assert await Readiness({"database": forever}, Leaving(), timeout_s=0.01).failed() == ["database"]


async def test_who_is_leaving_gets_no_more_requests(world: World) -> None:
    world.ctx.leaving.tell()
    async with asking(world) as http:
        assert (await http.get("/readyz")).json() == {"status": "unready", "failed": ["leaving"]}
        assert (await http.get("/healthz")).status_code == 200


async def test_asking_many_times_at_once_looks_once() -> None:
    looks = 0

    async def look() -> bool:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return True

    readiness = Readiness({"database": look}, Leaving())
    await asyncio.gather(*(readiness.failed() for _ in range(20)))
    assert looks == 1
