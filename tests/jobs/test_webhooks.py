"""The command sends webhooks over a real socket, signed, and only where the operator lets it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from billing.models import WebhookDelivery, WebhookEndpoint, table
from billing.services.context import Context
from billing.services.listening import Wanted, listen
from jobs.settings import read_settings
from jobs.wiring import open_context
from tests.jobs.conftest import Shell, row

Heard = list[tuple[dict[str, str], bytes]]


@pytest.fixture
def shop() -> Iterator[tuple[str, Heard]]:
    """A system of the merchant's on this machine, and what it heard."""
    heard: Heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hooks", heard
    server.shutdown()
    thread.join()
    server.server_close()


def subscribe(url: str) -> str:
    """Let the shop listen, and return its secret."""

    async def do() -> str:
        async with open_context(read_settings()) as ctx, ctx.store.write() as session:
            return (await listen(ctx, session, 1, Wanted(url)))[1]

    return asyncio.run(do())


async def _rows(ctx: Context, of: Any) -> list[dict[str, Any]]:
    async with ctx.store.read() as session:
        return [dict(each) for each in (await session.execute(table(of).select())).mappings()]


def rows(of: Any) -> list[dict[str, Any]]:
    async def do() -> list[dict[str, Any]]:
        async with open_context(read_settings()) as ctx:
            return await _rows(ctx, of)

    return asyncio.run(do())


def test_what_an_import_begins_is_told_by_deliver_and_verifies(lite: Shell, shop: tuple[str, Heard]) -> None:
    url, heard = shop
    lite.set(WEBHOOKS_TO_PRIVATE_ADDRESSES="true")
    lite.set_up()
    secret = subscribe(url)
    lite.enrol(row(1), row(2))

    said = lite("deliver", "--json")

    assert (said.status, said.json) == (0, {"messages": {}, "webhooks": {"delivered": 2}})
    told = [Webhook(secret).verify(body, headers) for headers, body in heard]
    assert sorted(each["data"]["reference"] for each in told) == ["S1", "S2"]
    assert lite("doctor", "--json").json["breaches"] == []


def test_without_the_operators_word_nothing_is_sent_to_a_private_address(lite: Shell, shop: tuple[str, Heard]) -> None:
    url, heard = shop
    lite.set(WEBHOOKS_TO_PRIVATE_ADDRESSES="true")
    lite.set_up()
    secret = subscribe(url)
    lite.enrol(row(1))
    lite.set(WEBHOOKS_TO_PRIVATE_ADDRESSES="false")

    said = lite("deliver", "--json")

    assert (said.json["webhooks"], heard) == ({"queued": 1}, [])
    [delivery] = rows(WebhookDelivery)
    assert (delivery["status"], delivery["answer"]) == (None, "it begins with https://")
    [endpoint] = rows(WebhookEndpoint)
    assert secret not in said.out + said.err + str(endpoint)


def test_a_setting_that_is_no_yes_or_no_is_one_clear_line(lite: Shell) -> None:
    lite.set(WEBHOOKS_TO_PRIVATE_ADDRESSES="perhaps")
    assert lite("deliver").refusal.startswith("turnus: TURNUS_WEBHOOKS_TO_PRIVATE_ADDRESSES: ")
