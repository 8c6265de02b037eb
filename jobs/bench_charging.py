"""Charges through each gateway's adapter and simulator, beside the ideal and a bare loop of the same requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from sqlalchemy import select

from billing.models import Attempt, table
from billing.services.charging import charge_details, charge_of
from billing.services.context import Context
from gateways.registry import open_gateway
from jobs.bench_meters import Figure, cpu_s
from jobs.bench_worker import Done, once
from jobs.bench_world import Batch, Card, database, populate, settings_for
from jobs.sandbox_process import SandboxGateway
from jobs.wiring import open_context

OF_BARE_MIN: Final = 0.6
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Way:
    """How a gateway is charged: what its simulator keeps, the operation's name there, and the least of the ideal.

    `login` is how the address ends at which the adapter first asks to be let in, where it has to.
    """

    kept: Mapping[str, str]
    operation: str
    of_ideal_min: float = 0.8
    settings: Mapping[str, str] | None = None
    login: str = ""

    async def store(self, gateway: SandboxGateway) -> Card:
        """Leave the means of payment at the simulator and return how it is named."""
        told = await gateway.store_profiles([dict(self.kept)])
        return self._card(told[0] if told else {})

    def _card(self, told: Mapping[str, Any]) -> Card:
        if "PCNr" in told:
            shown = {"number": told["PCNr"], **{name: told[name] for name in ("expiryDate", "brand", "cardholderName")}}
            return Card(json.dumps(shown), scheme_reference=told["schemeReferenceID"])
        named = self.kept.get("payment_id") or self.kept.get("token") or self.kept["customer_id"]
        return Card(named, first_transaction=self.kept.get("payment_id", ""))


WAYS: Final[Mapping[str, Way]] = {
    "mpay24": Way(
        {
            "customer_id": "bench",
            "name": "Ada Bench",
            "kind": "CC",
            "brand": "VISA",
            "identifier": "4444333322221111",
            "expiry": "3505",
        },
        "AcceptPayment",
        of_ideal_min=0.7,
    ),
    "payone": Way(
        {"token": "tok-bench", "card": "4330264936344675", "expiry": "1235", "holder": "Ada Bench"}, "CreatePayment"
    ),
    "paymentz": Way(
        {
            "reference": "INITIAL-bench",
            "card": "4000000000000051",
            "payment_id": "1000001",
            "customer_id": "bench",
        },
        "Repeated",
        login="/authToken",
    ),
    "computop": Way(
        {"number": "4111111111111111", "expiry": "203512", "holder": "Ada Bench"},
        "Direct",
        settings={"card_on_file": "yes"},
    ),
}


@dataclass(frozen=True, slots=True)
class Load:
    """How many charges, how many of them at once, and how long the gateway takes."""

    charges: int
    in_flight: int
    latency_ms: int

    @property
    def ideal(self) -> float:
        """What the wire allows, in charges a second."""
        return self.in_flight / self.latency_ms * 1000


def credentials_of(name: str, gateway: SandboxGateway, in_flight: int) -> dict[str, str]:
    """Return the credentials of an account that takes so many requests at once."""
    return dict(gateway.credentials) | dict(WAYS[name].settings or {}) | {"in_flight_max": str(in_flight)}


async def quieten(name: str, gateway: SandboxGateway, latency_ms: int = 0) -> Card:
    """Empty a simulator, store the card, and let charges take so long and be told of to nobody; return the card."""
    await gateway.reset()
    match = {"operation": WAYS[name].operation}
    rules: list[dict[str, Any]] = [{"match": match, "fault": "no_notification"}]
    rules += [{"match": match, "fault": "delay_ms", "ms": latency_ms}] if latency_ms else []
    await gateway.set_faults(rules)
    return await WAYS[name].store(gateway)


async def measure(address: str | None, folder: Path, name: str, gateway: SandboxGateway, load: Load) -> list[Figure]:
    """Charge through one gateway with its latency, and without it beside the bare loop."""
    slow = await _charge(address, folder, name, gateway, load, load.latency_ms)
    fast = await _charge(address, folder, name, gateway, load, 0)
    least = WAYS[name].of_ideal_min
    what = f"{name}, {load.in_flight} in flight, {load.latency_ms} ms"
    return [
        Figure("charging", what, slow.rate, "/s", load.ideal, "ideal", least, of_ratio=True, more=slow.costs),
        Figure(
            "charging",
            f"{name}, no latency",
            fast.rate,
            "/s",
            fast.bare,
            "bare loop",
            OF_BARE_MIN,
            of_ratio=True,
            more=fast.costs,
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Result:
    done: Done
    charges: int
    bookings: int
    sandbox_cpu_s: float
    bare: float

    @property
    def rate(self) -> float:
        return self.done.counts.get("approved", 0) / self.done.seconds

    @property
    def costs(self) -> dict[str, float | str]:
        return {
            "bookings/charge": self.bookings / self.charges,
            "statements/charge": self.done.statements / self.charges,
            "cpu ms/charge": self.done.cpu_s / self.charges * 1000,
            "sandbox cpu ms": self.sandbox_cpu_s / self.charges * 1000,
            "peak MiB": self.done.peak_mib,
        }


async def _charge(
    address: str | None, folder: Path, name: str, gateway: SandboxGateway, load: Load, latency_ms: int
) -> _Result:
    card = await quieten(name, gateway, latency_ms)
    credentials = credentials_of(name, gateway, load.in_flight)
    batch = Batch(name, card, load.charges)
    bare = 0.0
    if not latency_ms:
        async with _issued(address, folder, credentials, batch) as url, open_context(settings_for(url)) as ctx:
            bare = await _bare_loop(await _requests(ctx, name, credentials), load.in_flight)
    async with _issued(address, folder, credentials, batch) as url:
        booked, before = len(await gateway.bookings()), cpu_s(gateway.process_id)
        done = await once("charge", {"database_url": url, "in_flight_max": load.in_flight})
        used = cpu_s(gateway.process_id) - before
        return _Result(done, load.charges, len(await gateway.bookings()) - booked, used, bare)


@asynccontextmanager
async def _issued(
    address: str | None, folder: Path, credentials: Mapping[str, str], batch: Batch
) -> AsyncIterator[str]:
    """Make a database in which the batch is invoiced and waits to be charged."""
    async with database(address, folder) as url:
        async with open_context(settings_for(url)) as ctx:
            await populate(ctx, {batch.account: credentials}, [batch])
        await once("issue", {"database_url": url})
        yield url


async def _requests(ctx: Context, name: str, credentials: Mapping[str, str]) -> list[httpx.Request]:
    """Return the request of every charge that waits, as the adapter would send it; none of them is sent."""
    requests: list[httpx.Request] = []
    login = WAYS[name].login

    async def keep(request: httpx.Request) -> httpx.Response:
        if login and request.url.path.endswith(login):
            return await _let_in(request)
        requests.append(request)
        return httpx.Response(503, json={})

    gateway = open_gateway(name, credentials, httpx.MockTransport(keep))
    async with ctx.store.read() as session:
        ids = list((await session.execute(select(table(Attempt).c.id))).scalars())
        for start in range(0, len(ids), CHUNK):
            for row in await charge_details(session, ids[start : start + CHUNK]):
                await gateway.charge(charge_of(ctx, row))
    await gateway.close()
    return requests


async def _let_in(request: httpx.Request) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.request(request.method, request.url, headers=request.headers, content=request.content)


async def _bare_loop(requests: list[httpx.Request], in_flight: int) -> float:
    """Send the requests over the same transport, so many at once, and do nothing else; return how many a second."""
    waiting = iter(requests)

    async def send_on(client: httpx.AsyncClient) -> None:
        for request in waiting:
            (await client.send(request)).raise_for_status()

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight))

    async with httpx.AsyncClient(transport=AiohttpTransport(client=session), timeout=60) as client:
        begun = monotonic()
        await asyncio.gather(*(send_on(client) for _ in range(in_flight)))
        return len(requests) / (monotonic() - begun)
