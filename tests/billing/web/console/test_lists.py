"""A long list comes in parts, and every part is of what was asked for."""

from __future__ import annotations

import re

import pytest

from tests.billing.services.support import World
from tests.billing.web.console.support import Browser


@pytest.mark.parametrize("section", ["customers", "subscriptions", "invoices", "mails"])
async def test_where_nothing_is_yet_there_is_nothing_to_filter(lite_admin: Browser, section: str) -> None:
    here = f"/nordlicht/{section}"
    assert "Filter" not in await lite_admin.get(here)
    assert "Show all" in await lite_admin.get(f"{here}?state=open&name=anna")


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
