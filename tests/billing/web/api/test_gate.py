"""What stands before every call: a good key, not too many calls, a body of sane size, and an answer where it breaks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

import httpx
import pytest

from billing.clock import ManualClock
from billing.models import ApiKey, Scope
from billing.services.keying import make_key, revoke_key
from billing.web.api.app import create_api
from billing.web.api.gate import BODY_BYTES_MAX, RateLimit
from tests.billing.services.support import START, World
from tests.billing.web.api.support import Caller, caller, client, whole_app


@pytest.mark.parametrize(
    "sent", [{}, {"Authorization": "Bearer tk_x_y"}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer "}]
)
async def test_without_a_good_key_nothing_is_told(lite: World, sent: dict[str, str]) -> None:
    http = client(whole_app(lite.ctx), sent)
    for path in ("/plans", "/plans/team", "/nowhere"):
        problem = Caller.told(await http.get(path), 401)
        assert problem["type"] == "urn:turnus:problem:unauthorised"
    answer = await http.post("/plans", content=b"{not json")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_sent_twice_is_no_key(lite: World) -> None:
    key = await make_key(lite.ctx, lite.merchant_id, "shop", [Scope.READ])
    http = client(whole_app(lite.ctx))
    twice = [("Authorization", f"Bearer {key.text}")] * 2
    assert (await http.get("/plans", headers=twice)).status_code == 401
    assert (await http.get("/plans", headers=twice[:1])).status_code == 200


async def test_a_revoked_key_opens_nothing_from_the_next_call_on(lite_api: Caller) -> None:
    await lite_api.get("/plans")
    [row] = await lite_api.world.rows(ApiKey)
    await revoke_key(lite_api.world.ctx, row["prefix"])
    await lite_api.get("/plans", 401)


async def test_a_key_may_make_so_many_calls_and_then_waits_for_its_own_bucket(lite: World) -> None:
    seconds = [0.0]
    api = create_api(lite.ctx, RateLimit(per_s=0.5, burst=2, clock=lambda: seconds[0]))
    one, other = [await caller(lite, api) for _ in range(2)]
    for http in (one.http, other.http):
        http.base_url = httpx.URL("http://api.example")
    for _ in range(2):
        await one.get("/plans")
    answer = await one.http.get("/plans")
    assert answer.headers["retry-after"] == "2"
    assert Caller.told(answer, 429)["type"] == "urn:turnus:problem:too-many"
    await other.get("/plans")
    seconds[0] = 2.0
    await one.get("/plans")
    await one.get("/plans", 429)


async def test_a_body_that_is_too_large_is_not_read(lite_api: Caller) -> None:
    answer = await lite_api.http.post("/plans", content=b" " * (BODY_BYTES_MAX + 1))
    assert Caller.told(answer, 413)["type"] == "urn:turnus:problem:too-large"


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_cannot_be_read_is_malformed(lite_api: Caller, body: bytes) -> None:
    answer = await lite_api.http.post("/plans", content=body, headers={"content-type": "application/json"})
    assert Caller.told(answer, 400)["type"] == "urn:turnus:problem:malformed"


async def test_a_body_of_another_kind_is_refused(lite_api: Caller) -> None:
    answer = await lite_api.http.post("/plans", content=b"name=x")
    assert answer.status_code == 422


async def test_what_is_not_there_or_cannot_be_done_there_is_a_problem_too(lite_api: Caller) -> None:
    await lite_api.get("/nowhere", 404)
    answer = await lite_api.ask("PUT", "/plans")
    assert Caller.told(answer, 405)["status"] == 405
    assert "GET" in answer.headers["allow"]


async def test_what_breaks_is_logged_and_told_as_a_reference_only(
    lite: World, capsys: pytest.CaptureFixture[str]
) -> None:
    good = await caller(lite, whole_app(lite.ctx))

    class Broken(ManualClock):
        """Gives the time once, to the gate, and then breaks."""

        left = 1

        def now(self) -> datetime:
            Broken.left -= 1
            if Broken.left < 0:
                raise RuntimeError("secret detail")
            return self.instant

    app = create_api(replace(lite.ctx, clock=Broken(START)))
    app.add_api_route("/broken", lambda: Broken(START).now())
    http = client(app, dict(good.http.headers))
    http.base_url = httpx.URL("http://api.example")
    problem = Caller.told(await http.get("/broken"), 500)
    assert "secret detail" not in str(problem)
    assert problem["detail"].split()[4].rstrip(";") in capsys.readouterr().out


async def test_calls_with_one_key_at_once_all_get_in(api: Caller) -> None:
    answers = await asyncio.gather(*(api.http.get("/plans") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}


async def test_customers_pages_stay_pages(lite: World) -> None:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(whole_app(lite.ctx)), base_url="http://api.example")
    answer = await http.get("/p/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
