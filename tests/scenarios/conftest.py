"""One simulator process for all scenarios, emptied before each, and a stage on either database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.contract.sandbox import Sandbox, running
from tests.scenarios.stage import Stage, raised


@pytest.fixture(scope="session")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running(tmp_path_factory.mktemp("sandbox")) as gateways:
        yield gateways


@pytest.fixture
def sandbox(simulators: dict[str, Any]) -> Iterator[Sandbox]:
    started = simulators["mpay24"]
    with httpx.Client(base_url=started["base_url"], trust_env=False) as http:
        http.put("/_sandbox/settings", json={"automatic_clearing": True}).raise_for_status()
        sandbox = Sandbox(started["base_url"], started["credentials"], http)
        sandbox.reset()
        yield sandbox


@pytest.fixture
async def stage(database_url: str, sandbox: Sandbox) -> AsyncIterator[Stage]:
    async with raised(database_url, sandbox) as stage:
        yield stage
