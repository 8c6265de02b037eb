"""Check every promise on live data: one or two statements each, whatever the size.

A breach names the rows it is about. Nothing here repairs anything: a broken promise is for a person to see.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from time import monotonic
from typing import Final

from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Attempt, Message, Notification, WebhookDelivery, table
from billing.models.base import Instant
from billing.services.context import Context
from billing.services.rotating import left_to_rotate
from billing.store import after_s

IDS_SHOWN: Final = 20
SAMPLE: Final = 2000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must never be found; the statement returns an `id` for each row that breaks it."""

    promise: int
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that is broken: how often, and the first of the rows it is broken for."""

    promise: int
    name: str
    count: int
    ids: tuple[str, ...]


PROMISES: Final = {
    1: "No customer pays the same invoice twice",
    2: "No due period is skipped and none is invoiced twice",
    3: "No payment is lost",
    4: "No mail is lost, and none is sent twice for the same step",
    5: "A verification authorisation is reversed, or someone is told",
    6: "Invoice numbers have no gap and no repeat",
    7: "The postings balance, per customer and in total",
    8: "No secret is in a database column in clear",
    9: "No link opens more than it names",
    10: "Nothing is stuck for ever",
    11: "Our own mistakes are never the customer's",
}

_HEADER: Final = re.compile(r"^-- promise (\d+): (.+)\n((?:(?!^--).*\n)+)", re.MULTILINE)


def checks() -> list[Check]:
    """Read every check from `promises.sql`."""
    sheet = files("jobs").joinpath("promises.sql").read_text("utf-8")
    return [Check(int(number), name, sql.strip().rstrip(";")) for number, name, sql in _HEADER.findall(sheet)]


async def examine(ctx: Context, timed: Callable[[Check, float], None] | None = None) -> list[Breach]:
    """Run every check and return what is broken; an empty list is a clean bill of health.

    `timed` is told how many seconds each took.
    """
    async with ctx.store.scan() as session:
        ago = select(
            after_s(-3600).label("hour_ago"), after_s(-86400).label("day_ago"), after_s(-7 * 86400).label("week_ago")
        )
        times = dict((await session.execute(ago)).mappings().one())
        breaches = []
        for check in checks():
            begun = monotonic()
            breaches.append(await _run(session, check, times))
            if timed is not None:
                timed(check, monotonic() - begun)
        breaches.append(await _look_for_card_numbers(session))
        breaches.append(await _look_for_former_key(ctx, session))
    return [breach for breach in breaches if breach.count]


async def _run(session: AsyncSession, check: Check, times: dict[str, datetime]) -> Breach:
    used = [bindparam(name, value, type_=Instant()) for name, value in times.items() if f":{name}" in check.sql]
    ids = [str(row.id) for row in await session.execute(text(check.sql).bindparams(*used))]
    return Breach(check.promise, check.name, len(ids), tuple(ids[:IDS_SHOWN]))


async def _look_for_card_numbers(session: AsyncSession) -> Breach:
    """Look through the latest texts that came from outside for anything that could be a card number."""
    found: list[str] = []
    for name, column, identity in _OUTSIDE_TEXTS:
        rows = await session.execute(select(identity, column).order_by(identity.desc()).limit(SAMPLE))
        found += [f"{name}_{row[0]}" for row in rows if any(map(_is_card_number, _DIGITS.findall(str(row[1]))))]
    return Breach(8, "a text holds what looks like a card number", len(found), tuple(found[:IDS_SHOWN]))


async def _look_for_former_key(ctx: Context, session: AsyncSession) -> Breach:
    """Name the tables in which the former secret key has still sealed something, while there is one."""
    left = await left_to_rotate(ctx, session) if ctx.vault.is_rotating else Counter[str]()
    ids = tuple(f"{name} ({count})" for name, count in left.items())
    return Breach(8, "the former secret key is still needed until `turnus rotate-key` is done", left.total(), ids)


_DIGITS: Final = re.compile(r"(?<!\d)[3-6]\d{14,15}(?!\d)")
_OUTSIDE_TEXTS: Final = (
    ("not", table(Notification).c.query, table(Notification).c.id),
    ("att", table(Attempt).c.evidence, table(Attempt).c.id),
    ("msg", table(Message).c.context, table(Message).c.id),
    ("delivery", table(WebhookDelivery).c.answer, table(WebhookDelivery).c.id),
)


def _is_card_number(digits: str) -> bool:
    """Answer whether the check digit fits (ISO/IEC 7812)."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0
