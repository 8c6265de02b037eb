"""From due subscriptions to finalised invoices, beside raw bulk inserts of the very same rows."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any, Final

from sqlalchemy import Table, insert, select

from billing.models import Allocation, Attempt, ChargeRight, Invoice, InvoiceLine, Posting, Run, table
from billing.store import PAGE, Store
from jobs.bench_meters import Figure
from jobs.bench_worker import Done, once
from jobs.bench_world import Batch, Card, database, populate, settings_for
from jobs.sandbox_process import SandboxGateway
from jobs.wiring import open_context

TARGETS: Final = {"sqlite": 3000.0, "postgresql": 6000.0}
TIMES_RAW_MAX: Final = 4.0
FLAT_WITHIN: Final = 0.8
RAW_MAX: Final = 20_000
"""So many invoices say how fast raw inserts are; more of them would only take longer."""

_invoice = table(Invoice)
_BY_INVOICE: Final = ((table(InvoiceLine), "invoice_id"), (table(Posting), "invoice_id"))
_BY_ATTEMPT: Final = ((table(ChargeRight), "attempt_id"), (table(Allocation), "attempt_id"))


async def measure(address: str | None, folder: Path, gateway: SandboxGateway, count: int) -> list[Figure]:
    """Issue everything due on a fresh database, and insert the same rows into another one as they are."""
    async with database(address, folder) as engine, database(address, folder) as raw:
        for url in (engine, raw):
            async with open_context(settings_for(url)) as ctx:
                await populate(ctx, {"payone": gateway.credentials}, [Batch("payone", Card("none"), count)])
        done = await once("issue", {"database_url": engine})
        return _figures("postgresql" if address else "sqlite", done, await _insert_again(engine, raw))


def _figures(dialect: str, done: Done, raw_rate: float) -> list[Figure]:
    invoices = done.counts["invoices"]
    rate = invoices / done.seconds
    per = {"statements/invoice": done.statements / invoices, "cpu us/invoice": done.cpu_s / invoices * 1e6}
    name = f"invoices on {dialect}"
    more = per | {"peak MiB": done.peak_mib}
    return [
        Figure("invoicing", name, rate, "/s", raw_rate, "raw inserts", TARGETS[dialect], more=more),
        Figure("invoicing", f"{name}, of raw", rate, "/s", raw_rate, "raw inserts", 1 / TIMES_RAW_MAX, of_ratio=True),
        *_pace(name, done),
    ]


def _pace(name: str, done: Done) -> list[Figure]:
    first, last = done.counts["first_fifth"], done.counts["last_fifth"]
    if not first:
        return []
    what = f"{name}, last fifth"
    return [Figure("invoicing", what, last, "/s", first, "first fifth", FLAT_WITHIN, of_ratio=True)]


async def _insert_again(engine: str, raw: str) -> float:
    """Insert the first of what the engine wrote into the other database, a page at a time; return invoices/s."""
    source, target = Store(engine), Store(raw)
    seconds, invoices = 0.0, 0
    try:
        await _copy_runs(source, target)
        async with source.read() as session:
            first = select(_invoice.c.id).order_by(_invoice.c.id).limit(RAW_MAX)
            ids = list((await session.execute(first)).scalars())
        for start in range(0, len(ids), PAGE):
            page = await _page(source, ids[start : start + PAGE])
            begun = monotonic()
            await _insert(target, page)
            seconds += monotonic() - begun
            invoices += len(page[0][1])
    finally:
        await source.close()
        await target.close()
    return invoices / seconds


async def _copy_runs(source: Store, target: Store) -> None:
    async with source.read() as session:
        runs = [dict(row) for row in (await session.execute(select(table(Run)))).mappings()]
    await _insert(target, [(table(Run), runs)])


Page = list[tuple[Table, list[dict[str, Any]]]]


async def _page(source: Store, ids: list[int]) -> Page:
    async with source.read() as session:

        async def rows(of: Table, column: str, wanted: list[int]) -> list[dict[str, Any]]:
            found = await session.execute(select(of).where(of.c[column].in_(wanted)))
            return [dict(row) for row in found.mappings()]

        invoices = await rows(_invoice, "id", ids)
        paid = select(table(Allocation).c.attempt_id).where(table(Allocation).c.invoice_id.in_(ids))
        attempt_ids = list((await session.execute(paid)).scalars())
        found = [(_invoice, invoices), *[(of, await rows(of, name, ids)) for of, name in _BY_INVOICE]]
        found.append((table(Attempt), await rows(table(Attempt), "id", attempt_ids)))
        return [*found, *[(of, await rows(of, name, attempt_ids)) for of, name in _BY_ATTEMPT]]


async def _insert(target: Store, page: Page) -> None:
    async with target.write() as session:
        for into, rows in page:
            if rows:
                await session.execute(insert(into), rows)
