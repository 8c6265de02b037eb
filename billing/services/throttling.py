"""How soon somebody may try again: after some failures in a row each further try waits longer, up to a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import SignInFailure, table
from billing.services.context import Context
from billing.store import insert_unless

_failure = table(SignInFailure)

FREE: Final = 5
FREE_OF_PLACE: Final = 20
"""So many failures are forgiven: people mistype, and many people may share a place."""

_FORGOTTEN_AFTER: Final = timedelta(days=1)


class TooSoonError(Exception):
    """A try that must wait; it was not looked at, and changed nothing."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many tries did not work. Try again in {_in_words(wait_s)}.")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Subject:
    """What failures are counted for, and how long they make it wait at most.

    Where somebody else can cause the failures, the limit is short: a stranger must not lock a user out.
    """

    digest: str
    wait_s_max: int
    is_place: bool = False

    @property
    def free(self) -> int:
        """How many failures make nobody wait."""
        return FREE_OF_PLACE if self.is_place else FREE


def person(ctx: Context, email: str) -> Subject:
    """Return the subject that one address is, whether anybody has it or not."""
    return Subject(ctx.vault.digest("sign-in of", email), 60)


def place(ctx: Context, address: str) -> Subject:
    """Return the subject that a network address is; a whole IPv6 network of one customer is one place."""
    try:
        known = ip_address(address)
    except ValueError:
        return Subject(ctx.vault.digest("sign-in from", address), 900, is_place=True)
    name = str(int(known) >> 64) if isinstance(known, IPv6Address) else str(known)
    return Subject(ctx.vault.digest("sign-in from", name), 900, is_place=True)


def delay_s(beyond: int, wait_s_max: int) -> int:
    """Return how long the next try waits after so many failures beyond the free ones: twice as long after each."""
    return 0 if beyond < 0 else min(wait_s_max, 2 ** min(beyond, 30))


async def begin_try(ctx: Context, subjects: Sequence[Subject]) -> None:
    """Count a try as failed before it is made, so that many at once are no way round; raise `TooSoonError`."""
    now = ctx.clock.now()
    async with ctx.store.write() as session:
        counts = await _locked(ctx, session, subjects, now)
        wait_s = max(_wait_s(each, *counts[each.digest], now) for each in subjects)
        if wait_s > 0:
            raise TooSoonError(ceil(wait_s))
        for each in subjects:
            counted = {"count": counts[each.digest][0] + 1, "last_at": now}
            await session.execute(update(_failure).where(_failure.c.subject == each.digest).values(**counted))


async def take_turns(session: AsyncSession, subject: str, now: datetime) -> None:
    """Let whoever does the same at the same time wait until the end of this transaction, and then go on."""
    await session.execute(insert_unless(session, _failure, ["subject"]).values(subject=subject, count=0, last_at=now))


async def forgive(session: AsyncSession, subjects: Sequence[Subject]) -> None:
    """Take back what a try that worked was counted as; a person's earlier failures are forgotten with it."""
    for each in sorted(subjects, key=lambda subject: subject.digest):
        left = _failure.c.count - 1 if each.is_place else 0
        mine = (_failure.c.subject == each.digest) & (_failure.c.count > 0)
        await session.execute(update(_failure).where(mine).values(count=left))


async def _locked(
    ctx: Context, session: AsyncSession, subjects: Sequence[Subject], now: datetime
) -> dict[str, tuple[int, datetime]]:
    """Lock the counts, always in the same order; failures of long ago count for nothing."""
    counts = {}
    for digest in sorted(each.digest for each in subjects):
        fresh = insert_unless(session, _failure, ["subject"]).values(subject=digest, count=0, last_at=now)
        await session.execute(fresh)
        mine = select(_failure.c.count, _failure.c.last_at).where(_failure.c.subject == digest)
        row = (await session.execute(ctx.store.lock(mine))).one()
        counts[digest] = (0 if row.last_at < now - _FORGOTTEN_AFTER else row.count, row.last_at)
    return counts


def _wait_s(subject: Subject, failures: int, last_at: datetime, now: datetime) -> float:
    return delay_s(failures - subject.free, subject.wait_s_max) - (now - last_at).total_seconds()


def _in_words(wait_s: int) -> str:
    if wait_s < 90:
        return "a second" if wait_s == 1 else f"{wait_s} seconds"
    return f"{ceil(wait_s / 60)} minutes"
