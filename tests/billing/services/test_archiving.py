from __future__ import annotations

import asyncio
import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from billing.models import ActorKind, AuditEntry, Notification, NotificationState, table
from billing.services.archiving import page_of_old
from billing.services.auditing import Actor
from billing.store import after_s
from jobs.archive import ArchiveError, Book, archive
from tests.billing.services.support import World, lose_after

CLERK = Actor(ActorKind.COMMAND, "clerk")
NOTIFICATION = table(Notification)


async def heard(world: World, days_ago: int = 500) -> None:
    """Let two pushes about one payment be settled, so many days ago."""
    await world.subscribe(1)
    await world.run()
    booked = world.bank.bookings[0]
    for said in ("paid", "pending"):
        await world.hear(world.bank.push(booked.key, said, booked.gateway_id))
    then = {"received_at": after_s(-days_ago * 86_400), "settled_at": after_s(-days_ago * 86_400)}
    async with world.ctx.store.write() as session:
        await session.execute(update(NOTIFICATION).values(**then))


def lines(folder: Path) -> list[dict[str, Any]]:
    texts = (gzip.decompress(file.read_bytes()).decode() for file in sorted(folder.iterdir()))
    return [json.loads(line) for text in texts for line in text.splitlines()]


async def test_what_was_settled_long_ago_leaves_for_a_file(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    await heard(world)
    before = await world.rows(Notification)

    done = await archive(world.ctx, folder, 400, CLERK)

    assert (done.notifications, [file.name for file in folder.iterdir()]) == (2, done.files)
    assert (folder / done.files[0]).stat().st_mode & 0o777 == 0o600
    told = lines(folder)
    assert [line["id"] for line in told] == [f"not_{row['id']}" for row in before]
    assert [line["query"] for line in told] == [row["query"] for row in before]
    assert [base64.b64decode(line["body"]) for line in told] == [row["body"] for row in before]
    assert {(line["state"], line["merchant"]) for line in told} == {("settled", "nordlicht")}
    for row in await world.rows(Notification):
        assert (row["query"], row["headers"], row["body"]) == ("", {}, b"")
        assert row["archived_at"] is not None
    [entry] = [row for row in await world.rows(AuditEntry) if row["verb"] == "archive_notifications"]
    assert (entry["actor"], entry["subject"], entry["detail"]) == ("clerk", done.files[0], {"count": 2})
    assert (await archive(world.ctx, folder, 400, CLERK)).notifications == 0


async def test_the_same_news_is_no_news_after_it_was_archived(world: World, tmp_path: Path) -> None:
    await heard(world)
    await archive(world.ctx, tmp_path, 400, CLERK)
    booked = world.bank.bookings[0]

    await world.hear(world.bank.push(booked.key, "paid", booked.gateway_id))

    assert sorted(row["copies"] for row in await world.rows(Notification)) == [1, 2]
    assert len(world.bank.bookings) == 1


async def test_what_is_young_stays(world: World, tmp_path: Path) -> None:
    await heard(world, days_ago=399)

    assert (await archive(world.ctx, tmp_path, 400, CLERK)).notifications == 0
    assert all(row["query"] for row in await world.rows(Notification))


async def test_what_a_person_still_has_to_look_at_stays(world: World, tmp_path: Path) -> None:
    await heard(world)
    async with world.ctx.store.write() as session:
        await session.execute(update(NOTIFICATION).values(state=NotificationState.OPEN))

    assert (await archive(world.ctx, tmp_path, 400, CLERK)).notifications == 0


async def test_what_is_about_a_payment_in_doubt_stays(world: World, tmp_path: Path) -> None:
    world.bank.default = lose_after
    await world.subscribe(1)
    await world.run()
    booked = world.bank.bookings[0]
    await world.hear(world.bank.push(booked.key, "pending", booked.gateway_id))
    then = {"state": NotificationState.SETTLED, "settled_at": after_s(-500 * 86_400)}
    async with world.ctx.store.write() as session:
        await session.execute(update(NOTIFICATION).values(**then))
    [row] = await world.rows(Notification)
    assert row["attempt_id"] is not None

    assert (await archive(world.ctx, tmp_path, 400, CLERK)).notifications == 0


async def test_two_that_archive_at_once_empty_each_row_once(world: World, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    await heard(world)

    done = await asyncio.gather(*(archive(world.ctx, folder, 400, CLERK) for folder in folders))

    assert sum(each.notifications for each in done) == 2
    told = {line["id"]: line["query"] for folder in folders for line in lines(folder) if line["query"]}
    assert len(told) == 2, "whoever emptied a row has its text"


async def test_a_file_that_reads_otherwise_than_it_was_written_is_not_kept(world: World, tmp_path: Path) -> None:
    await heard(world)
    book = Book(tmp_path, world.ctx.clock.now())
    book.write(await page_of_old(world.ctx, 400, 0))
    await asyncio.to_thread(spoil, tmp_path)

    with pytest.raises(ArchiveError, match="does not read as it was written"):
        book.keep()

    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("*.gz")))


def spoil(folder: Path) -> None:
    [draft] = folder.glob(".turnus-*")
    draft.write_bytes(draft.read_bytes() + gzip.compress(b"more"))


async def test_an_archive_needs_a_folder_and_some_distance(world: World, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no folder"):
        await archive(world.ctx, tmp_path / "nowhere", 400, CLERK)
    with pytest.raises(ArchiveError, match="--days: at least 30"):
        await archive(world.ctx, tmp_path, 29, CLERK)
