"""Time every check of the doctor on a PostgreSQL of our own, full of invoices.

It is a measurement for people and no test: `python -m tests.jobs.doctor_at_size 500000`, and with `--explain`
the plans of what takes longer than a second.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter

from sqlalchemy import bindparam, select, text

import migrations
from billing.models.base import Instant
from billing.services.verifying import offer_renewal
from billing.store import Store, after_s
from jobs.doctor import checks, examine
from tests import postgres
from tests.billing.services.support import World, decline, make_world

# One customer's invoice with all that hangs on it, made by the engine, is the pattern for all others.
_COPIES = {
    "customer": {"id": "n", "reference": "'C' || n"},
    "profile": {"id": "n", "customer_id": "n", "reference_digest": "md5(n::text) || md5(n::text)"},
    "subscription": {"id": "n", "customer_id": "n", "profile_id": "n", "reference": "'S' || n", "uid": "'U' || n"},
    "invoice": {
        "id": "n",
        "customer_id": "n",
        "subscription_id": "n",
        "key": "'INV-' || upper(substr(md5(n::text), 1, 16))",
        "number": "'NA-2026-' || lpad(n::text, 7, '0')",
    },
    "invoice_line": {"invoice_id": "n"},
    "attempt": {
        "id": "n",
        "customer_id": "n",
        "profile_id": "n",
        "owed_key": "'INV-' || upper(substr(md5(n::text), 1, 16))",
        "key": "'INV-' || upper(substr(md5(n::text), 1, 16)) || '-1'",
    },
    "allocation": {"attempt_id": "n", "invoice_id": "n"},
    "message": {"id": "n", "customer_id": "n", "cause": "'att_' || n"},
    "posting": {
        "group_key": "p.group_key || '/' || n",
        "customer_id": "n",
        "invoice_id": "CASE WHEN p.invoice_id IS NULL THEN NULL ELSE n END",
        "attempt_id": "CASE WHEN p.attempt_id IS NULL THEN NULL ELSE n END",
    },
}
FIRST_COPY = 1000
# A few of everything that is not the plain case.
ODD = 8


async def fill(world: World, count: int) -> None:
    """Let the engine make a few cases of each kind, and copy the first, which was paid, until there are so many."""
    await world.subscribe(ODD)
    for number in range(2, ODD):
        world.bank.on(f"P{number}", decline())
    await world.run()
    await offer_renewal(world.ctx, "S1", mail=False)
    async with world.store.write() as session:
        # What the engine made is copied as it is, so nothing that it refers to has to be looked up.
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        for name, changed in _COPIES.items():
            rows = await session.execute(
                text("SELECT column_name FROM information_schema.columns WHERE table_name = :t"), {"t": name}
            )
            columns = [row.column_name for row in rows]
            values = ", ".join(changed.get(column, f"p.{column}") for column in columns)
            owner = "invoice_id" if name in ("invoice_line", "allocation") else "customer_id"
            owner = "id" if name == "customer" else owner
            copy = f"INSERT INTO {name} ({', '.join(columns)}) SELECT {values} FROM {name} p, "  # noqa: S608 - ours
            copy += f"generate_series({FIRST_COPY}, {FIRST_COPY + count - 1}) n WHERE p.{owner} = 1"
            await session.execute(text(copy))
        await session.execute(text("UPDATE number_series SET next_value = next_value + :n"), {"n": count})
    async with world.store.engine.connect() as connection:
        vacuuming = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await vacuuming.execute(text("VACUUM ANALYZE"))


async def measure(world: World, explain: bool) -> None:
    """Say how long each check takes, the whole last."""
    async with world.store.scan() as session:
        ago = select(after_s(-3600).label("hour_ago"), after_s(-86400).label("day_ago"))
        times = dict((await session.execute(ago)).mappings().one())
        for check in checks():
            used = [bindparam(name, value, type_=Instant()) for name, value in times.items() if f":{name}" in check.sql]
            begun = perf_counter()
            found = (await session.execute(text(check.sql).bindparams(*used))).all()
            took = perf_counter() - begun
            print(f"{took:8.3f} s  {len(found):6} found  promise {check.promise}: {check.name}")  # noqa: T201
            if explain and took > 1:
                plan = await session.execute(text(f"EXPLAIN (ANALYZE, BUFFERS) {check.sql}").bindparams(*used))
                print("\n".join(f"          {row[0]}" for row in plan))  # noqa: T201
    begun = perf_counter()
    breaches = await examine(world.ctx)
    print(f"{perf_counter() - begun:8.3f} s  all checks, {len(breaches)} breaches: {breaches}")  # noqa: T201


async def main(count: int, explain: bool) -> None:
    with postgres.running() as address:
        await migrations.upgrade(address)
        store = Store(address)
        world = await make_world(store)
        begun = perf_counter()
        await fill(world, count)
        print(f"{perf_counter() - begun:8.3f} s  to make {count} invoices")  # noqa: T201
        await measure(world, explain)
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), "--explain" in sys.argv))
