"""One simulator process for all scenarios, emptied before each, and a stage on either database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.contract.conftest import simulators
from tests.contract.sandbox import Sandbox
from tests.scenarios.stage import Stage, raised

__all__ = ["simulators"]


@contextmanager
def emptied(started: dict[str, Any], **settings: object) -> Iterator[Sandbox]:
    """Return one simulator with these settings and nothing booked; afterwards its settings are as before."""
    with httpx.Client(base_url=started["base_url"], trust_env=False) as http:
        before = http.get("/_sandbox/settings").raise_for_status().json()
        http.put("/_sandbox/settings", json=settings).raise_for_status()
        sandbox = Sandbox(started["base_url"], started["credentials"], http)
        sandbox.reset()
        yield sandbox
        http.put("/_sandbox/settings", json=before).raise_for_status()


@pytest.fixture
def sandbox(simulators: dict[str, Any]) -> Iterator[Sandbox]:
    with emptied(simulators["mpay24"], automatic_clearing=True) as sandbox:
        yield sandbox


@pytest.fixture
def payone(simulators: dict[str, Any]) -> Iterator[Sandbox]:
    with emptied(simulators["payone"], settle_delay_s=0.2) as sandbox:
        yield sandbox


@pytest.fixture
def paymentz(simulators: dict[str, Any]) -> Iterator[Sandbox]:
    with emptied(simulators["paymentz"], refund_delay_s=0.2) as sandbox:
        yield sandbox


@pytest.fixture
def computop(simulators: dict[str, Any]) -> Iterator[Sandbox]:
    with emptied(simulators["computop"], sale_status="OK", page_life_s=900) as sandbox:
        yield sandbox


@pytest.fixture
async def stage(database_url: str, sandbox: Sandbox) -> AsyncIterator[Stage]:
    async with raised(database_url, sandbox) as stage:
        yield stage


@pytest.fixture
async def payone_stage(database_url: str, payone: Sandbox) -> AsyncIterator[Stage]:
    async with raised(database_url, payone, "payone") as stage:
        yield stage


@pytest.fixture
async def paymentz_stage(database_url: str, paymentz: Sandbox) -> AsyncIterator[Stage]:
    async with raised(database_url, paymentz, "paymentz", lease_s=120) as stage:
        yield stage


@pytest.fixture
async def computop_stage(database_url: str, computop: Sandbox) -> AsyncIterator[Stage]:
    async with raised(database_url, computop, "computop") as stage:
        yield stage
