"""The README's ten lines do what they say, and the tables of docs/api.md tell of everything there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from billing.store import Store
from billing.web.api.gate import BODY_BYTES_MAX, RateLimit
from billing.web.api.problems import Kind
from tests.billing.services.support import make_world
from tests.billing.web.api.support import caller, whole_app

TEXT = Path("docs/api.md").read_text("utf-8")
TOUR = Path("README.md").read_text("utf-8").partition("```sh\n")[2].partition("```")[0]
_LINE = re.compile(r'^api (\w+) "?([^ "]+)"?(?: -d \'(.*?)\')?(?: -H "([^:]+): ([^"]+)")?', re.MULTILINE)


async def test_the_ten_lines_do_what_they_say(store: Store) -> None:
    world = await make_world(store, plans=())
    me = await caller(world, whole_app(world.ctx))
    before, after = TOUR.split("turnus run ")
    answers = {}
    for part, then in ((before, world.run), (after, None)):
        for verb, path, body, name, value in _LINE.findall(part):
            headers = {name.replace("-", "_"): value} if name else {}
            answer = await me.ask(verb, path, json.loads(body) if body else None, **headers)
            assert answer.status_code in (200, 201), (path, answer.text)
            answers[path] = answer.json()
        if then is not None:
            await then()
    assert len(answers) == 7
    assert [each["id"] for each in answers["/invoices?customer=C1&state=open"]["data"]] == ["inv_1"]
    assert answers["/invoices/inv_1/pay-links"]["url"].startswith("https://pay.example/p/")
    assert answers["/subscriptions/S1/cancel"]["state"] == "canceled"
    assert await world.breaches() == []


def test_every_kind_of_error_is_told_with_its_status() -> None:
    told = {(int(status), kind) for status, kind in re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \|", TEXT, re.MULTILINE)}
    assert told == {(kind.status, kind.type.rpartition(":")[2]) for kind in Kind}


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"more than {BODY_BYTES_MAX // 1024} KiB" in TEXT
    assert f"a bucket of {RateLimit().burst:g} calls that fills by {RateLimit().per_s:g} a second" in TEXT
