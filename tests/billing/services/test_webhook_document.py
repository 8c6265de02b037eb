"""docs/webhooks.md: its examples are what is sent, its program verifies, and its numbers are those of the code."""

from __future__ import annotations

import json
import re
from typing import Any

from billing.clock import SystemClock
from billing.events import FAILING_S_MAX, RETRY_DELAYS_S, EventType
from billing.services.announcing import announce
from billing.services.listening import ENDPOINTS_MAX, KEPT_S
from billing.store import Store
from billing.webhooks import TOTAL_S, new_secret, sign
from tests.billing.services.story import Listener
from tests.billing.services.support import make_world
from tests.billing.web.api.support import caller, whole_app
from tests.billing.webhook_examples import DOCUMENT, WORDS, examples, prose, section

TEXT = DOCUMENT.read_text("utf-8")
_LINE = re.compile(r'^api (\w+) "?([^ "]+)"?(?: -d \'(.*?)\')?', re.MULTILINE)
_UNITS = {"s": 1, "min": 60, "h": 3600}


async def test_every_type_is_told_with_an_example_of_what_is_really_sent(store: Store) -> None:
    shown = await examples(store)
    assert set(shown) == set(WORDS) == set(EventType)
    assert prose() + section(shown) == TEXT, "make docs writes it anew"


async def test_the_lines_at_the_beginning_do_what_they_say(store: Store) -> None:
    world = await make_world(store)
    me = await caller(world, whole_app(world.ctx))
    for verb, path, body in _LINE.findall(TEXT):
        answer = await me.ask(verb, path, json.loads(body) if body else None)
        assert answer.status_code in (200, 201), (path, answer.text)
    listener = Listener()
    assert await announce(world.ctx, listener) == {"delivered": 1}
    assert [json.loads(body)["type"] for _, _, body in listener.heard] == ["webhook.test"]


def test_the_program_in_the_document_verifies_once_and_refuses_a_forgery() -> None:
    [program] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)  # noqa: S102 - it is the document's own
    hear, secret, seen = names["hear"], new_secret(), set[str]()
    body = '{"type":"invoice.paid","timestamp":"2026-11-25T01:10:00Z","data":{"id":"inv_12"}}'
    headers = sign([new_secret(), secret], "evt_1", SystemClock().now(), body)

    status, event = hear(secret, headers, body.encode(), seen)
    assert (status, event["data"]) == (204, {"id": "inv_12"})
    assert hear(secret, headers, body.encode(), seen) == (204, None)
    assert hear(secret, headers, body.replace("12", "13").encode(), seen) == (400, None)


def test_the_schedule_and_the_limits_are_those_of_the_code() -> None:
    told = re.search(r"tried again: after (.*?)\. A", TEXT, re.DOTALL)
    assert told is not None
    waits = [int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+) (s|min|h)\b", told[1])]
    assert waits == list(RETRY_DELAYS_S)
    assert len(waits) + 1 == 10
    assert "After the\ntenth try" in TEXT
    assert f"within {TOTAL_S:g} seconds" in TEXT
    assert "took nothing for three days, or answered 410" in TEXT
    assert FAILING_S_MAX == 3 * 24 * 3600
    assert TEXT.count(f"for {KEPT_S // 86400} days") == 2
    assert f"at most {ENDPOINTS_MAX} endpoints" in TEXT
