"""One simulator process for the whole suite, emptied and set back before every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import httpx
import pytest

from tests.contract.account import Account
from tests.contract.computop import COMPUTOP, COMPUTOP_CARDS
from tests.contract.harness import Harness
from tests.contract.mpay24 import MPAY24
from tests.contract.paymentz import PAYMENTZ, PAYMENTZ_TOKEN
from tests.contract.payone import PAYONE
from tests.contract.sandbox import Sandbox, receiving, running

HARNESSES = (MPAY24, PAYONE, PAYMENTZ, PAYMENTZ_TOKEN, COMPUTOP, COMPUTOP_CARDS)


@pytest.fixture(scope="session")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running(tmp_path_factory.mktemp("sandbox")) as gateways:
        yield gateways


@pytest.fixture(scope="session")
def defaults(simulators: dict[str, Any]) -> dict[str, Any]:
    """Settings of the simulators before any test has changed them."""
    urls = {name: f"{started['base_url']}/_sandbox/settings" for name, started in simulators.items()}
    return {name: httpx.get(url, trust_env=False).raise_for_status().json() for name, url in urls.items()}


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.label or harness.name)
def harness(request: pytest.FixtureRequest) -> Harness:
    chosen = request.param
    assert isinstance(chosen, Harness)
    return chosen


@pytest.fixture
def sandbox(harness: Harness, simulators: dict[str, Any], defaults: dict[str, Any]) -> Iterator[Sandbox]:
    started = simulators[harness.name]
    with httpx.Client(base_url=started["base_url"], trust_env=False) as http:
        sandbox = Sandbox(started["base_url"], started["credentials"], http)
        sandbox.reset()
        sandbox.simulate(**{**defaults[harness.name], **harness.simulating})
        yield sandbox


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers no two tests share: what one test left under way must not be booked under another's key."""
    return count(1)


@pytest.fixture
async def account(harness: Harness, sandbox: Sandbox, numbers: Iterator[int]) -> AsyncIterator[Account]:
    async with receiving() as receiver, httpx.AsyncClient(trust_env=False) as browser:
        account = Account(harness, sandbox, receiver, browser, numbers, [])
        account.open()
        yield account
        for opened in account.opened:
            await opened.close()
