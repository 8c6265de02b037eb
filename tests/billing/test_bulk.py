from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from billing.bulk import insert_many, next_ids, update_many
from billing.models import Merchant, Run, RunState, TestClock, new_row, table
from billing.store import Store

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


async def _merchant(store: Store) -> int:
    row = new_row(Merchant, reference="m", name="M", legal_name="M", number_prefix="M", mail_from="m@example.net")
    async with store.write() as session:
        return int((await session.execute(insert(table(Merchant)).returning(table(Merchant).c.id), [row])).scalar_one())


def _runs(merchant_id: int, count: int, **more: Any) -> list[dict[str, Any]]:
    rows = [{"on_day": date(2026, 11, 21 + n), "business_at": NOW + timedelta(days=n)} for n in range(count)]
    about = {"merchant_id": merchant_id, "started_at": NOW, "state": RunState.FINISHED, "stopped_reason": None}
    return [new_row(Run, **about | row | more) for row in rows]


async def _read(store: Store) -> list[dict[str, Any]]:
    async with store.read() as session:
        return [dict(row) for row in (await session.execute(select(table(Run)).order_by(table(Run).c.id))).mappings()]


async def test_what_is_inserted_by_the_page_reads_as_what_is_inserted_one_by_one(store: Store) -> None:
    rows = _runs(await _merchant(store), 3, stopped_reason="tab\t, line\n, slash \\ and \\N")
    del rows[0]["plan"], rows[1]["plan"], rows[2]["plan"]
    async with store.write() as session:
        for row in rows:
            await session.execute(insert(table(Run)), [row])
        await insert_many(session, table(Run), rows)

    found = [{name: value for name, value in row.items() if name != "id"} for row in await _read(store)]
    assert found[:3] == found[3:]


async def test_ids_are_known_before_and_nobody_else_gets_them(store: Store) -> None:
    rows = _runs(await _merchant(store), 2)
    async with store.write() as session:
        ids = await next_ids(session, table(Run), 2)
        await insert_many(session, table(Run), [row | {"id": id_} for id_, row in zip(ids, rows, strict=True)])
    async with store.write() as session:
        await session.execute(insert(table(Run)), rows)

    there = [row["id"] for row in await _read(store)]
    assert there[:2] == ids
    assert len(set(there)) == 4


async def test_each_row_is_changed_to_its_own_values(store: Store) -> None:
    rows = _runs(await _merchant(store), 3)
    async with store.write() as session:
        await insert_many(session, table(Run), rows)
    first, second, _ = [row["id"] for row in await _read(store)]
    async with store.write() as session:
        changes = [
            {"id": first, "stopped_reason": "a", "finished_at": NOW},
            {"id": second, "stopped_reason": None, "finished_at": None},
        ]
        await update_many(session, table(Run), changes, ", approved_by = 'anna'")

    found = [(row["stopped_reason"], row["finished_at"], row["approved_by"]) for row in await _read(store)]
    assert found == [("a", NOW, "anna"), (None, None, "anna"), (None, None, None)]


@pytest.mark.parametrize("broken", [{"merchant_id": 99}, {"state": "lost"}])
async def test_what_the_database_forbids_is_forbidden_by_the_page(store: Store, broken: dict[str, Any]) -> None:
    rows = _runs(await _merchant(store), 2)
    rows[1] |= broken

    with pytest.raises(IntegrityError):
        async with store.write() as session:
            await insert_many(session, table(Run), rows)

    assert await _read(store) == []


async def test_a_number_too_large_is_said_to_be_so(store: Store) -> None:
    with pytest.raises((DBAPIError, OverflowError)):
        async with store.write() as session:
            await insert_many(session, table(TestClock), [{"id": 2**63, "name": "x", "now_at": NOW}])


async def test_nothing_to_write_is_no_statement(store: Store) -> None:
    async with store.write() as session:
        await insert_many(session, table(Run), [])
        await update_many(session, table(Run), [])
