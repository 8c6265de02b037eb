"""Each request is one line in the log, under an id that its answer bears, and never its address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import PlainTextResponse
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from billing.store import Store
from billing.web.app import create_app
from billing.web.requests import Recorded, Served
from tests.billing.services.support import World, make_world
from tests.billing.web.api.support import caller
from tests.conftest import Databases

router = APIRouter()


@router.get("/secret/{token}")
async def secret(token: str) -> PlainTextResponse:
    if token == "breaks":
        raise RuntimeError("broken")
    return PlainTextResponse(str(get_contextvars()["request_id"]))


@pytest.fixture
async def world(databases: Databases, tmp_path: Path) -> AsyncIterator[World]:
    with databases.migrated("sqlite", tmp_path) as address:
        store = Store(address)
        yield await make_world(store)
        await store.close()


@pytest.fixture
def heard() -> list[Served]:
    return []


@pytest.fixture
def http(world: World, heard: list[Served]) -> httpx.AsyncClient:
    app: FastAPI = create_app(world.ctx, routers=[router])
    transport = httpx.ASGITransport(app=Recorded(app, heard.append))
    return httpx.AsyncClient(transport=transport, base_url="http://pay.example")


async def test_a_request_is_one_line_with_its_route_and_not_its_address(http: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        answer = await http.get("/secret/s3same?password=s3same")
    [line] = [each for each in lines if each["event"] == "request"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/secret/{token}", 200)
    assert "s3same" not in str(lines)
    assert answer.text == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("proxy-id.12345678", True),
        ("short", False),
        ("x" * 65, False),
        ("with blank 12345", False),
        ('"}\\n{"a": 1', False),
    ],
)
async def test_an_id_that_comes_with_the_request_is_kept_where_it_can_be_one(
    http: httpx.AsyncClient, sent: str, kept: bool
) -> None:
    answer = await http.get("/secret/x", headers={"X-Request-ID": sent})
    assert (answer.headers["x-request-id"] == sent) is kept
    assert answer.text == answer.headers["x-request-id"]


async def test_two_ids_are_none(http: httpx.AsyncClient) -> None:
    answer = await http.get("/secret/x", headers=[("X-Request-ID", "first-id-1"), ("X-Request-ID", "second-id-2")])
    assert answer.headers["x-request-id"] not in ("first-id-1", "second-id-2")
    assert len(answer.headers.get_list("x-request-id")) == 1


async def test_a_request_that_fails_is_logged_once_and_counted_as_failed(
    http: httpx.AsyncClient, heard: list[Served]
) -> None:
    with capture_logs() as lines:
        answer = await http.get("/secret/breaks")
    assert (answer.status_code, heard[0].status) == (500, 500)
    assert "x-request-id" in answer.headers
    assert [line["event"] for line in lines] == ["page failed", "request"]


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/static/turnus.css", "/static"),
        ("GET", "/nowhere/4111111111111111", "unknown"),
        ("GET", "/api/v1/plans/solo", "/api/v1/plans/{plan}"),
        ("BREW", "/healthz", "/healthz"),
        ("GET", "/healthz", "/healthz"),
    ],
)
async def test_a_route_is_one_of_few(
    http: httpx.AsyncClient, world: World, heard: list[Served], method: str, path: str, route: str
) -> None:
    me = await caller(world, create_app(world.ctx))
    await http.request(method, path, headers={"Authorization": me.http.headers["Authorization"]})
    assert [(served.method, served.route) for served in heard] == [("OTHER" if method == "BREW" else method, route)]
