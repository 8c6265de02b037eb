"""The console over a small world behind HTTPS: on both kinds of database, or on SQLite alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from billing.store import Store
from tests.billing.services.support import World, make_world
from tests.billing.web.console.support import Browser, at_https, signed_in, whole_app
from tests.conftest import Databases


async def _world(store: Store) -> World:
    world = await make_world(store)
    return replace(world, ctx=at_https(world.ctx))


@pytest.fixture
async def world(store: Store) -> World:
    """A merchant without customers, on either kind of database."""
    return await _world(store)


@pytest.fixture
def lite_url(databases: Databases, tmp_path: Path) -> Iterator[str]:
    """A fresh SQLite file."""
    with databases.migrated("sqlite", tmp_path) as address:
        yield address


@pytest.fixture
async def lite(lite_url: str) -> AsyncIterator[World]:
    """The same on SQLite alone, for what is the same on both."""
    store = Store(lite_url)
    yield await _world(store)
    await store.close()


@pytest.fixture
async def admin(world: World) -> Browser:
    """An admin of the merchant, signed in."""
    return await signed_in(world, whole_app(world))


@pytest.fixture
async def lite_admin(lite: World) -> Browser:
    """The same on SQLite alone."""
    return await signed_in(lite, whole_app(lite))
