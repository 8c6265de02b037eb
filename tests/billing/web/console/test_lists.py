"""A long list comes in parts, and every part is of what was asked for."""

from __future__ import annotations

import re

from tests.billing.services.support import World
from tests.billing.web.console.support import Browser


async def test_older_and_newest_keep_what_was_asked_for(lite: World, lite_admin: Browser) -> None:
    await lite.subscribe(60)
    await lite.run()
    for section, asked in (
        ("customers", "name=customer"),
        ("subscriptions", "state=active"),
        ("invoices", "state=paid&day=2026-11-21"),
    ):
        here = f"/nordlicht/{section}?{asked}"
        first = await lite_admin.get(here)
        assert "Newest" not in first
        [older] = re.findall(r'href="/console([^"]+)" rel="next"', first)
        assert older.startswith(f"{here}&before=")
        second = await lite_admin.get(older)
        assert 'rel="next"' not in second
        assert f'href="/console{here}">Newest' in second, section
