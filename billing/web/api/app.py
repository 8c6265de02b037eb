"""The API as one application, mounted below `/api/v1`."""

from __future__ import annotations

from typing import Final

from billing.services.context import Context
from billing.web.api import (
    attempts,
    customers,
    events,
    invoices,
    links,
    merchants,
    notifications,
    plans,
    profiles,
    runs,
    stories,
    subscriptions,
    tasks,
    webhooks,
)
from billing.web.api.document import Api
from billing.web.api.gate import Gate, RateLimit
from billing.web.api.problems import HANDLED, answer
from billing.web.api.stories import Explain

NOUNS: Final = (
    plans,
    customers,
    subscriptions,
    profiles,
    invoices,
    attempts,
    links,
    tasks,
    runs,
    notifications,
    merchants,
    stories,
    webhooks,
    events,
)


def create_api(ctx: Context, limit: RateLimit | None = None, explain: Explain | None = None) -> Api:
    """Return the API for one engine; without somebody who explains, nothing has a story."""
    api = Api(openapi_url="/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=False)
    api.state.ctx, api.state.explain = ctx, explain
    for noun in NOUNS:
        api.routes.extend(noun.router.routes)
    for error in HANDLED:
        api.add_exception_handler(error, answer)
    api.add_middleware(Gate, ctx=ctx, limit=limit or RateLimit())
    return api
