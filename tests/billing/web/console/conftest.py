"""Users of the console in a small world behind HTTPS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.billing.services.support import World
from tests.billing.web.conftest import Dress
from tests.billing.web.console.support import Browser, at_https, signed_in, whole_app


@pytest.fixture
def dress() -> Dress:
    """How the console wants its world: behind HTTPS, with passwords that are hashed quickly."""
    return lambda world: replace(world, ctx=at_https(world.ctx))


@pytest.fixture
async def admin(world: World) -> Browser:
    """An admin of the merchant, signed in."""
    return await signed_in(world, whole_app(world))


@pytest.fixture
async def lite_admin(lite: World) -> Browser:
    """The same on SQLite alone."""
    return await signed_in(lite, whole_app(lite))
