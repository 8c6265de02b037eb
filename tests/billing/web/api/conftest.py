"""Callers of the API in a small world."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from tests.billing.services.support import World
from tests.billing.web.api.support import Caller, caller, whole_app


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
