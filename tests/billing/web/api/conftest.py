"""The API over a small world: on both kinds of database, or on SQLite alone for what is the same on both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from billing.store import Store
from tests.billing.services.support import World, make_world
from tests.billing.web.api.support import Caller, caller, whole_app
from tests.conftest import Databases


@pytest.fixture
async def world(store: Store) -> World:
    """A merchant without customers, on either kind of database."""
    return await make_world(store)


@pytest.fixture
def lite_url(databases: Databases, tmp_path: Path) -> Iterator[str]:
    """A fresh SQLite file."""
    with databases.migrated("sqlite", tmp_path) as address:
        yield address


@pytest.fixture
async def lite(lite_url: str) -> AsyncIterator[World]:
    """The same world on SQLite alone."""
    store = Store(lite_url)
    yield await make_world(store)
    await store.close()


@pytest.fixture
def app(world: World) -> FastAPI:
    """The whole application."""
    return whole_app(world.ctx)


@pytest.fixture
async def api(world: World, app: FastAPI) -> Caller:
    """Somebody who may do everything for the merchant."""
    return await caller(world, app)


@pytest.fixture
async def lite_api(lite: World) -> Caller:
    """The same on SQLite alone."""
    return await caller(lite, whole_app(lite.ctx))
