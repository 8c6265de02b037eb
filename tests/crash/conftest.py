"""A fresh world for each way to die, on both kinds of database."""

from __future__ import annotations

import pytest

from billing.store import Store
from tests.billing.services.support import World, make_world


@pytest.fixture
async def world(store: Store) -> World:
    """A merchant without customers."""
    return await make_world(store)
