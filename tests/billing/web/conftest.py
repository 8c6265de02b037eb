"""A small world behind every entrance: on both kinds of database, or on SQLite alone for what is the same on both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from billing.store import Store
from tests.billing.services.support import World, make_world

Dress = Callable[[World], World]


@pytest.fixture
def dress() -> Dress:
    """How an entrance wants its world: as it is."""
    return lambda world: world


@pytest.fixture
async def world(store: Store, dress: Dress) -> World:
    """A merchant without customers, on either kind of database."""
    return dress(await make_world(store))


@pytest.fixture
async def lite(lite_url: str, dress: Dress) -> AsyncIterator[World]:
    """The same on SQLite alone."""
    store = Store(lite_url)
    yield dress(await make_world(store))
    await store.close()
