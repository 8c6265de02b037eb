"""Queue mails with their cause, and keep one live pay-link for each thing that is owed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import among
from billing.models import Customer, Merchant, Message, PayLink, new_row, table
from billing.store import after_s, insert_unless

_link, _merchant, _customer = table(PayLink), table(Merchant), table(Customer)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A mail to a customer; cause and step make it the only one of its kind."""

    merchant_id: int
    customer_id: int
    cause: str
    step: str
    business_at: datetime
    context: dict[str, Any] = field(default_factory=dict)
    run_id: int | None = None


@dataclass(frozen=True, slots=True)
class Owed:
    """What a pay-link opens: an invoice, or a verification."""

    merchant_id: int
    customer_id: int
    invoice_id: int | None = None
    verification_id: int | None = None


async def queue(session: AsyncSession, messages: Sequence[NewMessage]) -> None:
    """Queue each message for the customer's address, unless it was queued before."""
    if not messages:
        return
    emails = await _emails(session, {message.customer_id for message in messages})
    once = insert_unless(session, table(Message))
    statement = once.values(next_try_at=after_s(), created_at=after_s())
    await session.execute(statement, [_message_row(message, emails[message.customer_id]) for message in messages])


async def invite_to_pay(
    session: AsyncSession, merchant_id: int, invoices: Sequence[tuple[int, int]], now: datetime
) -> None:
    """Mail a pay-link for each `(invoice, customer)` that is not charged by itself."""
    if not invoices:
        return
    await give_links(session, [Owed(merchant_id, customer, invoice) for invoice, customer in invoices], now)
    await queue(
        session,
        [
            NewMessage(merchant_id, customer, f"inv_{invoice}", "invoice", now, {"invoice_id": invoice})
            for invoice, customer in invoices
        ],
    )


async def give_links(session: AsyncSession, owed: Sequence[Owed], now: datetime) -> None:
    """See to it that each thing has a live pay-link that works for the merchant's number of days from now.

    A live one is prolonged; one that has run out stays so and is superseded, since an old link may
    be in the wrong hands.
    """
    if not owed:
        return
    until = await _expiries(session, {each.merchant_id for each in owed}, now)
    await supersede(session, owed, now, only_expired=True)
    live = await _live(session, owed)
    await _prolong(
        session, [{"b_id": live[_thing(o)], "b_until": until[o.merchant_id]} for o in owed if _thing(o) in live]
    )
    await _make(session, [o for o in owed if _thing(o) not in live], until, now)


async def supersede(session: AsyncSession, owed: Iterable[Owed], now: datetime, *, only_expired: bool = False) -> None:
    """Take the live links of the things out of use, or only those that have run out."""
    statement = update(_link).where(_of(owed), _link.c.superseded_at.is_(None))
    if only_expired:
        statement = statement.where(_link.c.expires_at <= now)
    await session.execute(statement.values(superseded_at=now))


def end_of_validity(timezone: str, now: datetime, days: int) -> datetime:
    """Return the end of the day so many days from now, which is the last day a link of today works."""
    zone = ZoneInfo(timezone)
    return datetime.combine(now.astimezone(zone).date() + timedelta(days=days + 1), time(), zone)


async def _emails(session: AsyncSession, customers: Iterable[int]) -> dict[int, str]:
    found = select(_customer.c.id, _customer.c.email).where(among(_customer.c.id, customers))
    return {row.id: row.email for row in await session.execute(found)}


def _message_row(message: NewMessage, recipient: str) -> dict[str, Any]:
    row = new_row(
        Message,
        merchant_id=message.merchant_id,
        customer_id=message.customer_id,
        cause=message.cause,
        step=message.step,
        recipient=recipient,
        context=message.context,
        business_at=message.business_at,
        run_id=message.run_id,
    )
    del row["next_try_at"], row["created_at"]
    return row


async def _expiries(session: AsyncSession, merchants: Iterable[int], now: datetime) -> dict[int, datetime]:
    columns = select(_merchant.c.id, _merchant.c.timezone, _merchant.c.link_days)
    rows = await session.execute(columns.where(_merchant.c.id.in_(merchants)))
    return {row.id: end_of_validity(row.timezone, now, row.link_days) for row in rows}


def _thing(owed: Owed) -> tuple[int | None, int | None]:
    return owed.invoice_id, owed.verification_id


def _of(owed: Iterable[Owed]) -> ColumnElement[bool]:
    invoices = [each.invoice_id for each in owed if each.invoice_id is not None]
    verifications = [each.verification_id for each in owed if each.verification_id is not None]
    return _link.c.invoice_id.in_(invoices) | _link.c.verification_id.in_(verifications)


async def _live(session: AsyncSession, owed: Sequence[Owed]) -> dict[tuple[int | None, int | None], int]:
    columns = select(_link.c.id, _link.c.invoice_id, _link.c.verification_id)
    rows = await session.execute(columns.where(_of(owed), _link.c.superseded_at.is_(None)))
    return {(row.invoice_id, row.verification_id): row.id for row in rows}


async def _prolong(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    if rows:
        statement = update(_link).where(_link.c.id == bindparam("b_id"))
        await session.execute(statement.values(expires_at=bindparam("b_until")), rows)


async def _make(session: AsyncSession, owed: Sequence[Owed], until: dict[int, datetime], now: datetime) -> None:
    if owed:
        await session.execute(insert(_link), [_link_row(each, until[each.merchant_id], now) for each in owed])


def _link_row(owed: Owed, until: datetime, now: datetime) -> dict[str, Any]:
    return new_row(
        PayLink,
        merchant_id=owed.merchant_id,
        customer_id=owed.customer_id,
        invoice_id=owed.invoice_id,
        verification_id=owed.verification_id,
        created_at=now,
        expires_at=until,
    )


async def reissue_link(session: AsyncSession, owed: Owed, now: datetime) -> int:
    """Take the live links of a thing out of use, give it a new one, and return its id."""
    await supersede(session, [owed], now)
    await give_links(session, [owed], now)
    return (await _live(session, [owed]))[_thing(owed)]


async def live_link(session: AsyncSession, owed: Owed, now: datetime) -> int:
    """Give a thing a live link, prolong the one it has, and return its id."""
    await give_links(session, [owed], now)
    return (await _live(session, [owed]))[_thing(owed)]
