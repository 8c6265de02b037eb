"""The database goes and comes back under our work: nothing is lost, and nobody is charged twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

import migrations
from billing.models import Invoice, Message
from billing.services.leaving import Leaving
from billing.store import Store
from jobs.scheduler import _Waker
from jobs.settings import Settings
from jobs.timetable import work_of_the_hour
from tests import postgres
from tests.billing.services.support import SECRET, approve, make_world, wait_for

CUSTOMERS = 30


class Outage:
    """A PostgreSQL that a test can stop and start again."""

    def __init__(self, cluster: postgres.Cluster) -> None:
        self.cluster, self._up = cluster, ExitStack()
        self.start()

    def start(self) -> None:
        self._up.enter_context(self.cluster.up())

    def stop(self) -> None:
        self._up.close()


@pytest.fixture
def outage() -> Iterator[Outage]:
    with postgres.cluster() as cluster:
        made = Outage(cluster)
        yield made
        made.stop()


def is_about_the_database(error: BaseException) -> bool:
    """Answer whether the database failed, and nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_about_the_database, error.exceptions))
    return isinstance(error, OperationalError)


async def test_a_database_that_goes_and_comes_back_under_a_run_costs_nothing_and_charges_nobody_twice(
    outage: Outage,
) -> None:
    await migrations.upgrade(outage.cluster.address)
    world = (await make_world(Store(outage.cluster.address), CUSTOMERS)).with_context(in_flight_max=8, lease_s=3)
    world.bank.abilities = replace(world.bank.abilities, timeout_s=2)
    gate = asyncio.Event()
    for number in range(9, 13):
        world.bank.on(f"P{number}", wait_for(gate, approve))
    night = asyncio.create_task(world.run())
    await world.until(lambda: len(world.bank.sent) >= 12)
    await asyncio.to_thread(outage.stop)
    gate.set()
    with pytest.raises((OperationalError, BaseExceptionGroup)) as ended:
        await night
    assert is_about_the_database(ended.value)
    with pytest.raises(OperationalError):
        await world.run()

    await asyncio.to_thread(outage.start)
    await world.run()
    await world.clear_up(2)
    await world.run()
    sales, states, mails = world.bank.sales(), await world.states(Invoice), await world.rows(Message)
    breaches = await world.breaches()
    await world.store.close()

    assert set(sales.values()) == {1}
    assert states == ["paid"] * CUSTOMERS
    assert len({mail["cause"] for mail in mails}) == len(mails) == CUSTOMERS
    assert breaches == []


async def test_the_timetable_goes_on_by_itself_when_the_database_is_back(outage: Outage) -> None:
    await migrations.upgrade(outage.cluster.address)
    world = await make_world(Store(outage.cluster.address), 3)
    settings = Settings(_env_file=None, database_url=outage.cluster.address, secret_key=SECRET, run_hour=2)
    running: set[asyncio.Task[None]] = set()
    wake = _Waker("timetable", lambda: work_of_the_hour(world.ctx, settings), running, Leaving())

    await asyncio.to_thread(outage.stop)
    for _ in range(2):
        await wake()
        await asyncio.gather(*running)
    assert world.bank.sent == []
    await asyncio.to_thread(outage.start)
    await wake()
    await asyncio.gather(*running)
    states = await world.states(Invoice)
    await world.store.close()

    assert states == ["paid"] * 3
    assert set(world.bank.sales().values()) == {1}
