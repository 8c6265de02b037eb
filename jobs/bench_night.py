"""A whole night with mails, a run with nothing due, the doctor, and a night that several processes share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from billing.store import Store
from jobs.bench_charging import credentials_of, quieten
from jobs.bench_meters import Figure, cpu_s, family_cpu_s, postmaster_of
from jobs.bench_worker import Done, once, worker
from jobs.bench_world import Batch, Card, database, populate, settings_for
from jobs.mailbox import receiving
from jobs.sandbox_process import SandboxGateway
from jobs.wiring import open_context

GATEWAY: Final = "payone"
DECLINED_CARD: Final = "4321456998744563"
WORKERS: Final = (1, 2, 4)
PEAK_MIB_MAX: Final = 300.0
COORDINATION_MAX: Final = 1.1
SLOWEST: Final = 3


@dataclass(frozen=True, slots=True)
class Night:
    """How many subscriptions are due, how many requests may be under way, and how many mails are delivered."""

    subscriptions: int
    in_flight: int
    mails_max: int


class _Sink:
    """Takes every mail and forgets it."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
        return "250 taken"


@asynccontextmanager
async def measured(
    address: str | None, folder: Path, gateway: SandboxGateway, night: Night
) -> AsyncIterator[tuple[str, list[Figure]]]:
    """Let a night pass with everything in it; then run with nothing due, and let the doctor look at what there is.

    The block gets the address of the database that all this has left, and the figures.
    """
    idle = await _idle_without_anybody(address, folder, gateway)
    async with _due(address, folder, gateway, night) as url, receiving(_Sink()) as smtp_url:
        settings = {"database_url": url, "smtp_url": smtp_url, "in_flight_max": night.in_flight}
        passed = await once("night", settings)
        figures = [*_of_night(night, passed, len(await gateway.bookings()))]
        figures.append(_of_mails(await once("deliver", settings, mails_max=night.mails_max)))
        figures.append(_of_idle(await once("night", settings), idle))
        yield url, [*figures, *_of_doctor(await once("doctor", settings))]


@asynccontextmanager
async def _due(address: str | None, folder: Path, gateway: SandboxGateway, night: Night) -> AsyncIterator[str]:
    """Make a database with subscriptions due, of which one in twenty will be declined."""
    card = await quieten(GATEWAY, gateway)
    bad = Card("tok-bad")
    await gateway.store_profiles([{"token": bad.reference, "card": DECLINED_CARD, "expiry": "1235", "holder": "Ada"}])
    async with database(address, folder) as url:
        async with open_context(settings_for(url)) as ctx:
            credentials = credentials_of(GATEWAY, gateway, night.in_flight)
            await populate(ctx, {GATEWAY: credentials}, [Batch(GATEWAY, card, night.subscriptions, bad)])
        yield url


async def _idle_without_anybody(address: str | None, folder: Path, gateway: SandboxGateway) -> Done:
    async with database(address, folder) as url:
        async with open_context(settings_for(url)) as ctx:
            await populate(ctx, {GATEWAY: gateway.credentials}, [])
        return await once("night", {"database_url": url})


def _of_night(night: Night, done: Done, bookings: int) -> list[Figure]:
    settled = done.counts["charged"] + done.counts["declined"]
    costs = {
        "declined": done.counts["declined"],
        "unknown": done.counts["unknown"],
        "bookings/charge": bookings / night.subscriptions,
        "statements/subscription": done.statements / night.subscriptions,
        "cpu ms/subscription": done.cpu_s / night.subscriptions * 1000,
        "seconds": done.seconds,
    }
    name = f"{night.subscriptions} invoiced, charged, settled"
    return [
        Figure("night", name, settled / done.seconds, "/s", more=costs),
        Figure("night", "peak memory", done.peak_mib, "MiB", target=PEAK_MIB_MAX, at_most=True),
    ]


def _of_mails(done: Done) -> Figure:
    sent = done.counts.get("sent", 0)
    return Figure("night", f"{sent:.0f} mails by SMTP", sent / done.seconds, "/s", more={"peak MiB": done.peak_mib})


def _of_idle(done: Done, baseline: Done) -> Figure:
    more = {"ms": done.seconds * 1000, "ms without customers": baseline.seconds * 1000}
    beside = ("without customers", 1.0)
    count, least = float(done.statements), float(baseline.statements)
    return Figure("idle", "nothing due", count, "statements", least, *beside, of_ratio=True, at_most=True, more=more)


def _of_doctor(done: Done) -> list[Figure]:
    breaches = done.counts.pop("breaches")
    slowest = sorted(done.counts.items(), key=lambda each: -each[1])
    total = Figure("doctor", "all rules", done.seconds, "s", more={"breaches": breaches})
    rules = (
        Figure("doctor", name, seconds, "s", is_detail=place >= SLOWEST)
        for place, (name, seconds) in enumerate(slowest)
    )
    return [total, *rules]


async def share(address: str, folder: Path, gateway: SandboxGateway, night: Night) -> list[Figure]:
    """Let one, two and four processes share a night, and show what each part of the machine had to do with it."""
    figures: list[Figure] = []
    for count in WORKERS:
        async with _due(address, folder, gateway, night) as url:
            alone = figures[0] if figures else None
            figures.append(await _shared(url, gateway, night, count, alone))
    return figures


async def _shared(url: str, gateway: SandboxGateway, night: Night, count: int, alone: Figure | None) -> Figure:
    store = Store(url)
    server = await postmaster_of(store)
    await store.close()
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker()) for _ in range(count)]
        sandbox_s, database_s, begun = cpu_s(gateway.process_id), family_cpu_s(server), monotonic()
        settings = {"database_url": url, "in_flight_max": night.in_flight}
        done = await asyncio.gather(*(each.do("night", settings) for each in workers))
        seconds = monotonic() - begun
        each = 1000 / night.subscriptions
        engine_ms = sum(one.cpu_s for one in done) * each
        database_ms = (family_cpu_s(server) - database_s) * each
        more = {
            "rate/s": night.subscriptions / seconds,
            "statements/subscription": sum(one.statements for one in done) / night.subscriptions,
            "engine cpu ms": engine_ms,
            "database cpu ms": database_ms,
            "sandbox cpu ms": (cpu_s(gateway.process_id) - sandbox_s) * each,
            "bookings/charge": len(await gateway.bookings()) / night.subscriptions,
        }
    value, baseline = engine_ms + database_ms, alone.value if alone else None
    limit = COORDINATION_MAX if alone else None
    return Figure(
        "workers", f"{count} sharing, engine and database", value, "cpu ms", baseline, "alone", limit, True, True, more
    )
