"""Measure the engine on this machine, each figure beside a baseline of the same run, on databases of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from billing.services.founding import SetupError
from jobs import bench_charging, bench_console, bench_invoicing, bench_night
from jobs.bench_meters import Figure
from jobs.bench_world import refuse_others_data
from jobs.sandbox_process import SandboxGateway, sandbox


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured. Everything but the workers also runs without a PostgreSQL, which `address` names."""

    subscriptions: int
    charges: int
    in_flight: int
    latency_ms: int
    mails: int
    shared: int
    address: str | None
    parts: Collection[str]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it is measured, with what, and who is told how it goes."""

    folder: Path
    gateways: dict[str, SandboxGateway]
    say: Callable[[str], None]


async def bench(wanted: Wanted, say: Callable[[str], None]) -> list[Figure]:
    """Measure what is wanted; raise `SetupError` before anything is done where the database is somebody's own."""
    strange = sorted(set(wanted.parts) - set(PARTS))
    if strange:
        raise SetupError(f"there is nothing called {strange[0]!r} to measure; there is {', '.join(PARTS)}")
    if wanted.address is not None:
        await refuse_others_data(wanted.address)
    with tempfile.TemporaryDirectory(prefix="turnus-bench-") as folder:
        async with sandbox(Path(folder)) as gateways:
            return [figure async for figure in _measure(wanted, Bench(Path(folder), gateways, say))]


async def _measure(wanted: Wanted, bench: Bench) -> AsyncIterator[Figure]:
    for measure in dict.fromkeys(_PARTS[part] for part in PARTS if part in wanted.parts):
        async for figures in measure(wanted, bench):
            for figure in figures:
                yield figure


async def _invoicing(wanted: Wanted, bench: Bench) -> AsyncIterator[list[Figure]]:
    for address in (None, wanted.address) if wanted.address else (None,):
        bench.say(f"Invoicing {wanted.subscriptions} subscriptions on {'PostgreSQL' if address else 'SQLite'}")
        yield await bench_invoicing.measure(address, bench.folder, bench.gateways["payone"], wanted.subscriptions)


async def _charging(wanted: Wanted, bench: Bench) -> AsyncIterator[list[Figure]]:
    load = bench_charging.Load(wanted.charges, wanted.in_flight, wanted.latency_ms)
    for name in bench_charging.WAYS:
        bench.say(f"Charging {wanted.charges} cards through {name}, with a latency and without")
        yield await bench_charging.measure(wanted.address, bench.folder, name, bench.gateways[name], load)


async def _night(wanted: Wanted, bench: Bench) -> AsyncIterator[list[Figure]]:
    """Measure a night, and the console over the very database, since making it takes longest."""
    bench.say(f"A night of {wanted.subscriptions} subscriptions, {wanted.mails} mails, an idle run and the doctor")
    night = bench_night.Night(wanted.subscriptions, wanted.in_flight, wanted.mails)
    gateway = bench.gateways[bench_night.GATEWAY]
    async with bench_night.measured(wanted.address, bench.folder, gateway, night) as (left, figures):
        if "night" in wanted.parts:
            yield figures
        if "console" in wanted.parts:
            bench.say("Every page of the console over what the night has left")
            yield await bench_console.measure(left)


async def _workers(wanted: Wanted, bench: Bench) -> AsyncIterator[list[Figure]]:
    if wanted.address is not None:
        bench.say(f"Nights of {wanted.shared} subscriptions, shared by several processes")
        night = bench_night.Night(wanted.shared, wanted.in_flight, 0)
        yield await bench_night.share(wanted.address, bench.folder, bench.gateways[bench_night.GATEWAY], night)


_PARTS: Final[Mapping[str, Callable[[Wanted, Bench], AsyncIterator[list[Figure]]]]] = {
    "invoicing": _invoicing,
    "charging": _charging,
    "night": _night,
    "console": _night,
    "workers": _workers,
}
PARTS: Final = tuple(_PARTS)
