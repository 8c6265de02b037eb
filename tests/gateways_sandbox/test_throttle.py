"""A simulator takes as much as it is told to take, and what it turns away it has not processed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateways.sandbox.knobs import Knobs
from gateways.sandbox.ledger import Ledger
from gateways.sandbox.throttle import Throttle


class Shop:
    """A provider that answers when the gate opens, and counts what it was asked."""

    def __init__(self, folder: Path, **limits: int) -> None:
        self.gate, self.served = asyncio.Event(), 0
        knobs = Knobs(Ledger(folder, "shop"), {})
        knobs.change(limits)
        routes = [Route("/pay", self.pay, methods=["POST"]), Route("/_sandbox/ledger", self.control)]
        app = Throttle(Starlette(routes=routes), knobs)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")

    async def pay(self, _: Request) -> Response:
        self.served += 1
        await self.gate.wait()
        return PlainTextResponse("paid")

    async def control(self, _: Request) -> Response:
        return PlainTextResponse("all of it")


async def test_more_at_once_than_the_limit_are_turned_away_and_later_ones_are_not(tmp_path: Path) -> None:
    shop = Shop(tmp_path, requests_at_once_max=2)
    first = [asyncio.create_task(shop.http.post("/pay")) for _ in range(2)]
    while shop.served < 2:  # noqa: ASYNC110 - it knows no event of ours
        await asyncio.sleep(0)

    away = await shop.http.post("/pay")
    assert (away.status_code, away.headers["retry-after"], shop.served) == (429, "1", 2)
    assert (await shop.http.get("/_sandbox/ledger")).text == "all of it"

    shop.gate.set()
    assert [(await each).text for each in first] == ["paid", "paid"]
    assert (await shop.http.post("/pay")).text == "paid"


async def test_more_in_a_second_than_the_limit_are_turned_away(tmp_path: Path) -> None:
    shop = Shop(tmp_path, requests_per_second_max=3)
    shop.gate.set()

    begun = asyncio.get_running_loop().time()
    statuses = [(await shop.http.post("/pay")).status_code for _ in range(4)]
    took_s = asyncio.get_running_loop().time() - begun

    assert statuses[:3] == [200, 200, 200]
    assert statuses[3] == 429 or took_s >= 1


async def test_without_limits_everything_is_taken(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.gate.set()
    assert {(await shop.http.post("/pay")).status_code for _ in range(50)} == {200}
