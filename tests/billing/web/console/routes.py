"""The console's table of routes, with what each was declared to need."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi.routing import APIRoute

from billing.web.console.app import DOORS, SECTIONS
from billing.web.console.gate import Need, need_of


@dataclass(frozen=True)
class Route:
    """One verb at one address."""

    verb: str
    path: str
    need: Need

    def __str__(self) -> str:
        return f"{self.verb} {self.path or '/'}"

    @property
    def names(self) -> list[str]:
        """What its address names, apart from the merchant."""
        return [name for name in re.findall(r"\{(\w+)", self.path) if name != "merchant"]

    def at(self, merchant: str, **names: str) -> str:
        """Return its address below `/console`."""
        return re.sub(r":\w+\}", "}", self.path).format(merchant=merchant, **names)


def routes() -> list[Route]:
    """Return every route, in the order in which they are tried."""
    return [
        Route(verb, route.path, need_of(route))
        for module in (*DOORS, *SECTIONS)
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for verb in route.methods or ()
    ]
