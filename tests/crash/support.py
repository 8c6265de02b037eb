"""Databases that die or dawdle at a transaction, backups, and a postman who counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.mail import Envelope, Rendered
from billing.models import metadata
from billing.store import Store
from tests.billing.services.support import Crash, World, context

Backup = dict[str, list[dict[str, Any]]]


class DyingStore(Store):
    """Dies at one of its transactions, just before or just after the commit."""

    def __init__(self, url: str, at: int, *, committed: bool) -> None:
        super().__init__(url)
        self.at, self.committed, self.count = at, committed, 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        self.count += 1
        dies = self.count == self.at
        async with super().write() as session:
            yield session
            if dies and not self.committed:
                raise Crash
        if dies:
            raise Crash


class DawdlingStore(Store):
    """Stops before the commit of one of its transactions until it is let go on."""

    def __init__(self, url: str, at: int = 1) -> None:
        super().__init__(url)
        self.at, self.count = at, 0
        self.waits, self.go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        self.count += 1
        dawdles = self.count == self.at
        async with super().write() as session:
            yield session
            if dawdles:
                self.waits.set()
                await self.go_on.wait()


class HesitatingStore(Store):
    """Stops before it begins one of its transactions until it is let go on."""

    def __init__(self, url: str, at: int = 1) -> None:
        super().__init__(url)
        self.at, self.count = at, 0
        self.waits, self.go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        self.count += 1
        if self.count == self.at:
            self.waits.set()
            await self.go_on.wait()
        async with super().write() as session:
            yield session


class Postman:
    """Counts what it was handed, by Message-ID."""

    at_once = 2

    def __init__(self) -> None:
        self.handed: Counter[str] = Counter()

    async def send(self, mail: Rendered, envelope: Envelope) -> str:  # noqa: ARG002
        self.handed[envelope.message_id] += 1
        return "250 OK"


def seen_by(world: World, store: Store) -> World:
    """Return the world as a process with this database sees it."""
    return replace(world, ctx=context(store, world.bank, world.clock))


async def back_up(world: World) -> Backup:
    """Read every row of every table."""
    async with world.store.read() as session:
        return {
            each.name: [dict(row) for row in (await session.execute(select(each))).mappings()]
            for each in metadata.sorted_tables
        }


async def restore(world: World, backup: Backup) -> None:
    """Put every table back as it was."""
    async with world.store.write() as session:
        for each in reversed(metadata.sorted_tables):
            await session.execute(delete(each))
        for each in metadata.sorted_tables:
            if backup[each.name]:
                await session.execute(insert(each), backup[each.name])
