"""The night's own statements on tables that are divided by merchant, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from billing.models import Invoice, Message
from billing.services.outbox import deliver
from billing.services.refunding import give_back
from billing.store import Store
from tests.billing.services.support import World, decline, lose_after, make_world, not_sent
from tests.conftest import Databases
from tests.crash.support import Postman
from tests.schema.partitions import DIVIDED, create_divided, keys_without_merchant

# What would have to change before these can be divided or distributed: docs/scale.md says how.
KEYS = {
    "allocation": {("attempt_id", "position")},
    "api_key": {("id",), ("prefix",)},
    "attempt": {("id",), ("key",), ("owed_key", "number")},
    "audit_entry": {("id",)},
    "charge_right": {("owed_kind", "owed_id")},
    "checkout": {("attempt_id",)},
    "console_session": {("id",), ("token_digest",)},
    "console_user": {("id",), ("email",)},
    "customer": {("id",)},
    "decision": {("run_id", "subscription_id")},
    "event": {("id",), ("uid",)},
    "gateway_account": {("id",)},
    "invoice": {("id",), ("key",), ("subscription_id", "period_number", "kind")},
    "invoice_line": {("invoice_id", "position")},
    "mandate": {("attempt_id",)},
    "manual_payment": {("invoice_id",)},
    "merchant": {("id",), ("reference",)},
    "message": {("id",), ("cause", "step", "recipient")},
    "notification": {("id",), ("gateway_account_id", "digest")},
    "number_series": {("id",)},
    "operation": {("id",), ("key",), ("attempt_id",)},
    "pay_link": {("id",)},
    "plan": {("id",)},
    "posting": {("group_key", "position")},
    "price": {("id",), ("plan_id", "reference")},
    "profile": {("id",), ("gateway_account_id", "reference_digest")},
    "run": {("id",)},
    "sign_in_failure": {("subject",)},
    "subscription": {("id",), ("uid",)},
    "task": {("id",), ("kind", "subject")},
    "test_clock": {("id",), ("name",)},
    "verification": {("id",), ("key",)},
    "webhook_delivery": {("id",), ("event_id", "endpoint_id")},
    "webhook_endpoint": {("id",)},
}


def test_what_is_unique_without_its_merchant_is_known() -> None:
    assert keys_without_merchant() == KEYS


@pytest.fixture
async def world(databases: Databases, tmp_path: Path) -> AsyncIterator[World]:
    """A merchant without customers, on divided tables."""
    with databases.empty("postgresql", tmp_path) as address:
        store = Store(address)
        async with store.engine.begin() as connection:
            await connection.run_sync(create_divided)
        yield await make_world(store)
        await store.close()


async def test_a_night_of_two_merchants_runs_unchanged_on_divided_tables(world: World) -> None:
    other = await world.beside("suedlicht")
    for each in (world, other):
        await each.subscribe(12)
    world.bank.on("P1", decline())
    world.bank.on("P2", lose_after)
    world.bank.on("P3", not_sent)
    twin = await world.twin()

    await asyncio.gather(world.run(), twin.run())
    await world.clear_up()
    await world.run()
    await give_back(world.ctx, "att_5", "", "they asked")
    await deliver(world.ctx, Postman())
    world.next_day(3)
    await world.dun()
    await deliver(world.ctx, Postman())
    await twin.store.close()

    assert set(world.bank.sales().values()) == {1}
    assert sorted(await world.states(Invoice)) == ["paid"] * 24
    assert set(await world.states(Message)) == {"sent"}
    assert await world.breaches() == []
    assert await _parts_in_use(world) > 1


async def _parts_in_use(world: World) -> int:
    """Count the parts that the invoices are in."""
    assert {"subscription", "invoice", "attempt", "posting", "message"} < DIVIDED
    async with world.store.read() as session:
        return int((await session.execute(text("SELECT count(DISTINCT tableoid) FROM invoice"))).scalar_one())
