"""The figures are what the rows say, and what happened; they are served where the public does not come."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from socket import create_server

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from billing.gateway import ConfigurationError, RawMessage
from billing.models import Attempt, Invoice, Message, Verification
from billing.services.context import Gateways
from billing.services.outbox import deliver
from billing.services.verifying import offer_renewal
from billing.store import Store
from billing.web.requests import Served
from jobs.metrics import Metrics, metrics_app, scrape, timed
from tests.billing.services.support import World, counted, decline, lose_before, make_world, refuse
from tests.crash.support import Postman
from tests.jobs.conftest import TURNUS, Shell

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def world(store: Store, metrics: Metrics) -> World:
    world = await make_world(store)
    bank = timed(world.bank, "bank", metrics)
    return world.with_context(meters=metrics, gateways=Gateways(lambda *_: bank, world.ctx.vault))


async def figures(world: World, metrics: Metrics) -> Figures:
    text = (await scrape(world.ctx, metrics)).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for each in samples}


def at(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return f"turnus_{name}", tuple(sorted(labels.items()))


async def test_a_night_is_counted_by_account_and_state_and_its_doubts_are_shown(world: World, metrics: Metrics) -> None:
    await world.subscribe(5)
    world.bank.on("P1", decline())
    world.bank.on("P2", lose_before)
    await world.change_merchant(brakes={"failed_percent": 0})
    await world.run()

    found = await figures(world, metrics)
    account = {"account": "nordlicht/bank"}
    assert found[at("attempts_total", **account, state="approved")] == 3
    assert found[at("attempts_total", **account, state="declined")] == 1
    assert found[at("attempts_total", **account, state="unknown")] == 1
    assert found[at("runs_total", state="finished")] == 1
    assert found[at("doubts")] == 1
    assert found[at("oldest_doubt_age_seconds")] < 600
    assert found[at("mails_queued")] == len(await world.rows(Message, state="queued")) == 4
    assert 0 <= found[at("last_run_age_seconds", merchant="nordlicht")] < 10**8
    sent = {"gateway": "bank", "verb": "charge"}
    assert found[at("gateway_seconds_count", **sent, outcome="Approved")] == 3
    assert found[at("gateway_seconds_count", **sent, outcome="Unknown")] == 1

    postman = Postman()
    await deliver(world.ctx, postman)
    await world.change(Attempt, 2, sent_at=LONG_AGO)
    found = await figures(world, metrics)
    assert found[at("mails_total", state="sent")] == 4
    assert (found[at("mails_queued")], found[at("oldest_mail_age_seconds")]) == (0, 0)
    assert found[at("oldest_doubt_age_seconds")] > 10**8


async def test_what_an_account_takes_now_is_shown_once_it_is_used(world: World, metrics: Metrics) -> None:
    limit = at("in_flight_limit", account="nordlicht/bank")
    assert limit not in await figures(world, metrics)
    await world.subscribe(1)
    await world.run()
    assert (await figures(world, metrics))[limit] == 250

    world.bank.pace.in_flight = 7
    assert (await figures(world, metrics))[limit] == 7


async def test_what_waits_for_a_person_or_for_nobody_is_shown(world: World, metrics: Metrics) -> None:
    await world.subscribe(3)
    world.bank.on("P1", refuse)
    world.bank.on("P2", decline())
    await world.run()
    await world.change(Attempt, 3, state="sent", lease_until=LONG_AGO)
    stuck = [row["id"] for row in await world.rows(Invoice, state="open")]
    before = (await figures(world, metrics))[at("invoices_stuck")]
    await world.change(Invoice, stuck[-1], next_step=None, next_step_on=None)

    found = await figures(world, metrics)
    assert (before, found[at("invoices_stuck")]) == (0, 1)
    assert found[at("leases_expired")] == 1
    assert found[at("tasks_open", kind="account_stopped")] == 1


async def test_notifications_are_counted_by_what_became_of_them(world: World, metrics: Metrics) -> None:
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()
    await world.pay(await world.link_to(1))
    [key] = world.bank.pages
    await world.hear(world.bank.customer_pays(key))
    await world.hear(world.bank.push("OTHER", "paid", "1"))
    forged = RawMessage("GET", "key=x", {}, b"", "y")
    await world.hear(forged)

    found = await figures(world, metrics)
    counts = {state: found.get(at("notifications_total", verdict=state)) for state in ("received", "settled", "forged")}
    assert counts == {"received": 2, "settled": 1, "forged": 1}


async def test_a_reversal_that_is_owed_is_shown_until_it_is_made(world: World, metrics: Metrics) -> None:
    await world.subscribe(1)
    await world.run()
    await offer_renewal(world.ctx, "S1")
    await world.change(Verification, 1, state="authorised", authorised_at=LONG_AGO)
    assert (await figures(world, metrics))[at("reversals_owed")] == 1


async def test_a_verb_that_breaks_is_counted_and_its_error_is_the_caller_s(world: World, metrics: Metrics) -> None:
    world.bank.broken = "no such account"
    bank = timed(world.bank, "bank", metrics)
    with pytest.raises(ConfigurationError, match="no such account"):
        await bank.check()
    assert bank.abilities is world.bank.abilities
    found = await figures(world, metrics)
    assert found[at("gateway_seconds_count", gateway="bank", verb="check", outcome="raised")] == 1


async def test_reading_the_figures_takes_the_same_few_statements_at_any_size(world: World, metrics: Metrics) -> None:
    counts = []
    for _ in range(2):
        await world.subscribe(20)
        await world.run()
        with counted(world.store) as statements:
            await scrape(world.ctx, metrics)
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 10


async def test_requests_are_counted_by_route_and_status(world: World, metrics: Metrics) -> None:
    metrics.request(Served("GET", "/p/{token}", 200, 0.01))
    found = await figures(world, metrics)
    assert found[at("http_request_seconds_count", method="GET", route="/p/{token}", status="200")] == 1


async def test_figures_are_served_as_text_and_nothing_else_is(world: World, metrics: Metrics) -> None:
    transport = httpx.ASGITransport(app=metrics_app(world.ctx, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert (await http.get("/")).status_code == 404


def test_figures_are_served_at_an_address_of_their_own_and_only_where_that_is_set(lite: Shell) -> None:
    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    lite.set(METRICS=f"127.0.0.1:{port}", LOG_LEVEL="info")
    command = [str(TURNUS), "serve", "--port", "0", "--no-scheduler"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        public = process.stderr.readline().split(" port ")[1].split(";")[0]
        assert httpx.get(f"http://127.0.0.1:{public}/healthz", trust_env=False).status_code == 200
        assert httpx.get(f"http://127.0.0.1:{public}/metrics", trust_env=False).status_code == 404
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        lines = process.stderr.read().splitlines()
    assert 'turnus_http_request_seconds_count{method="GET",route="/healthz",status="200"} 1.0' in text
    assert any('"route": "/healthz"' in line and '"request_id": "' in line for line in lines), lines


@pytest.mark.parametrize("address", ["9464", "127.0.0.1:", "127.0.0.1:70000", "localhost:http"])
def test_an_address_that_cannot_be_one_is_named(bare: Shell, address: str) -> None:
    bare.set(SECRET_KEY="x" * 40, METRICS=address)
    assert bare("serve").refusal.startswith("turnus: TURNUS_METRICS: it is not an address to listen at; ")
