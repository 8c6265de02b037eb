"""Whatever is sent, nothing breaks, and every answer is one that the document tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.store import Store
from billing.web.api.app import create_api
from billing.web.api.gate import RateLimit
from jobs.explain import explain
from tests.billing.services.support import World, make_world
from tests.billing.web.api.routes import Route
from tests.billing.web.api.support import caller
from tests.billing.web.api.test_access import ROUTES, THEIRS, everything_of
from tests.conftest import DIALECTS, Databases

schemathesis = pytest.importorskip("schemathesis", reason="it is part of the dev extra")

EXAMPLES = 16
SCHEMA = schemathesis.openapi.from_dict(create_api(None).openapi())  # type: ignore[arg-type]
CHECKS = [
    schemathesis.checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]


@dataclass
class Ground:
    """A merchant with one of everything, and a loop to call its API in."""

    runner: asyncio.Runner
    http: httpx.AsyncClient

    def send(self, case: Any) -> httpx.Response:
        """Send what was made up, as it was."""
        made = case.as_transport_kwargs(base_url="http://api.example")
        made["content"] = made.pop("data", None)
        wanted = ("method", "url", "params", "json", "headers", "content")
        return self.runner.run(self.http.request(**{name: made[name] for name in wanted if name in made}))


@pytest.fixture(scope="module", params=DIALECTS)
def ground(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    with (
        databases.migrated(request.param, tmp_path_factory.mktemp("ground")) as address,
        asyncio.Runner() as runner,
    ):
        store = Store(address)
        yield runner.run(_prepare(runner, store))
        runner.run(store.close())


async def _prepare(runner: asyncio.Runner, store: Store) -> Ground:
    world: World = await make_world(store)
    api = create_api(world.ctx, RateLimit(per_s=1e9, burst=1e9), explain)
    me = await caller(world, api)
    me.http.base_url = httpx.URL("http://api.example")
    await everything_of(world, me)
    return Ground(runner, me.http)


def _cases(operation: Any) -> st.SearchStrategy[Any]:
    """Return calls as they should be, and such as should not."""
    modes = schemathesis.GenerationMode
    return st.one_of(operation.as_strategy(modes.POSITIVE), operation.as_strategy(modes.NEGATIVE))


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_nothing_breaks_and_no_answer_is_undocumented(ground: Ground, route: Route) -> None:
    operation = SCHEMA[route.path][route.verb]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=_cases(operation), known=st.booleans())
    def whatever(case: Any, known: bool) -> None:
        if known and route.names:
            case.path_parameters = {name: THEIRS[name] for name in route.names}
        case.headers = {name: value for name, value in (case.headers or {}).items() if name != "Authorization"}
        answer = ground.send(case)
        case.validate_response(answer, checks=CHECKS)

    whatever()
