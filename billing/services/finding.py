"""Find a merchant's things by what people have at hand: a name, an address, a number, a key, an id; by index alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, Table, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing import invoices
from billing.models import (
    Attempt,
    Customer,
    Event,
    GatewayAccount,
    Invoice,
    Message,
    Notification,
    NumberSeries,
    Operation,
    Plan,
    Run,
    Subscription,
    Task,
    table,
)
from billing.services.listening import ENDPOINTS

_customer, _subscription, _invoice = table(Customer), table(Subscription), table(Invoice)
_attempt, _plan, _account, _series = table(Attempt), table(Plan), table(GatewayAccount), table(NumberSeries)

SHOWN: Final = 8
CHARS_MIN: Final = 2
CHARS_MAX: Final = 100
_ID: Final = re.compile(r"(cus|sub|inv|att)_(\d{1,18})")
_DIGITS: Final = re.compile(r"\d{1,9}")

_operation, _notification, _event = table(Operation), table(Notification), table(Event)
_endpoint = ENDPOINTS.subquery()
_PAGED: Final = re.compile(r"(evt)_([0-9a-f]{32})|([a-z]+)_([0-9]{1,18})")
# What nobody looks for but by its id: how its owner is found, and the column that the id is in.
_BY_ID: Final[dict[str, tuple[Any, ColumnElement[int], ColumnElement[Any]]]] = {
    "run": (table(Run), table(Run).c.merchant_id, table(Run).c.id),
    "op": (_operation.join(_attempt), _attempt.c.merchant_id, _operation.c.id),
    "task": (table(Task), table(Task).c.merchant_id, table(Task).c.id),
    "not": (_notification.join(_account), _account.c.merchant_id, _notification.c.id),
    "msg": (table(Message), table(Message).c.merchant_id, table(Message).c.id),
    "hook": (_endpoint, _endpoint.c.merchant_id, _endpoint.c.id),
    "evt": (_event, _event.c.merchant_id, _event.c.uid),
}


@dataclass(frozen=True, slots=True)
class Found:
    """Things of one kind, at most `SHOWN`; `exact` are those that were named whole."""

    rows: Sequence[RowMapping] = ()
    exact: Sequence[RowMapping] = ()

    @property
    def shown(self) -> Sequence[RowMapping]:
        """As many as are shown."""
        return self.rows[:SHOWN]

    @property
    def more(self) -> bool:
        """Answer whether there are others."""
        return len(self.rows) > SHOWN


@dataclass(frozen=True, slots=True)
class Finds:
    """What was found, by kind."""

    customers: Found = field(default_factory=Found)
    subscriptions: Found = field(default_factory=Found)
    invoices: Found = field(default_factory=Found)
    attempts: Found = field(default_factory=Found)
    plans: Found = field(default_factory=Found)

    def only_exact(self) -> tuple[str, RowMapping] | None:
        """Return the one thing that was named whole, with its kind, if there is exactly one."""
        whole = [(kind, row) for kind in self.__slots__ for row in getattr(self, kind).exact]
        return whole[0] if len(whole) == 1 else None

    def __bool__(self) -> bool:
        return any(getattr(self, kind).rows for kind in self.__slots__)


async def is_id(session: AsyncSession, merchant_id: int, text: str) -> bool:
    """Answer whether a text is the id of something of the merchant's that has no other name, such as `op_3`."""
    match = _PAGED.fullmatch(text)
    if match is None or (match[1] or match[3]) not in _BY_ID:
        return False
    of, owner, column = _BY_ID[match[1] or match[3]]
    wanted = text if match[1] else int(match[4])
    there = select(exists().select_from(of).where(owner == merchant_id, column == wanted))
    return bool((await session.execute(there)).scalar())


async def find(session: AsyncSession, merchant_id: int, text: str) -> Finds:
    """Return what begins with the text, or is named by it; nothing for less than two letters."""
    if not CHARS_MIN <= len(text) <= CHARS_MAX:
        return Finds()
    match = _ID.fullmatch(text)
    kind, id_ = (match[1], int(match[2])) if match else ("", 0)
    of = {"cus": _customer, "sub": _subscription, "inv": _invoice, "att": _attempt}
    named = {of[kind]: of[kind].c.id == id_} if kind else {}
    return Finds(
        customers=await _customers(session, merchant_id, text, named),
        subscriptions=await _subscriptions(session, merchant_id, text, named),
        invoices=await _invoices(session, merchant_id, text, named),
        attempts=await _attempts(session, merchant_id, text, named),
        plans=await _plans(session, merchant_id, text),
    )


Named = dict[Table, ColumnElement[bool]]


async def _customers(session: AsyncSession, merchant_id: int, text: str, named: Named) -> Found:
    query = select(_customer).where(_customer.c.merchant_id == merchant_id)
    columns = (_customer.c.reference, _customer.c.email, _customer.c.name)
    wheres = [*_only(named, _customer), *(begins(session, column, text) for column in columns)]
    rows = await _some(session, query, _customer, wheres)
    low = text.lower()
    exact = [
        row for row in rows if low in (row["reference"].lower(), row["email"].lower()) or text == f"cus_{row['id']}"
    ]
    return Found(rows, exact)


async def _subscriptions(session: AsyncSession, merchant_id: int, text: str, named: Named) -> Found:
    query = select(_subscription, _customer.c.name).join_from(
        _subscription, _customer, _customer.c.id == _subscription.c.customer_id
    )
    query = query.where(_subscription.c.merchant_id == merchant_id)
    wheres = [*_only(named, _subscription), begins(session, _subscription.c.reference, text)]
    rows = await _some(session, query, _subscription, wheres)
    exact = [row for row in rows if text.lower() == row["reference"].lower() or text == f"sub_{row['id']}"]
    return Found(rows, exact)


async def _invoices(session: AsyncSession, merchant_id: int, text: str, named: Named) -> Found:
    """Find an invoice by its whole number; of a number without letters, in each series there is."""
    query = select(_invoice, _customer.c.name).join_from(_invoice, _customer, _customer.c.id == _invoice.c.customer_id)
    numbers = {text, text.upper()}
    if _DIGITS.fullmatch(text):
        series = select(_series.c.prefix).where(_series.c.merchant_id == merchant_id).limit(50)
        numbers |= {invoices.number(prefix, int(text)) for prefix in (await session.execute(series)).scalars()}
    wheres = [*_only(named, _invoice), _invoice.c.number.in_(sorted(numbers))]
    rows = await _some(session, query.where(_invoice.c.merchant_id == merchant_id), _invoice, wheres)
    return Found(rows, rows)


async def _attempts(session: AsyncSession, merchant_id: int, text: str, named: Named) -> Found:
    """Find an attempt by its key, or by the id that one of the merchant's gateways gave it."""
    query = select(_attempt, _customer.c.name).join_from(_attempt, _customer, _customer.c.id == _attempt.c.customer_id)
    accounts = select(_account.c.id).where(_account.c.merchant_id == merchant_id)
    of_gateway = _attempt.c.gateway_account_id.in_(accounts) & (_attempt.c.gateway_id == text)
    wheres = [*_only(named, _attempt), _attempt.c.key == text, of_gateway]
    rows = await _some(session, query.where(_attempt.c.merchant_id == merchant_id), _attempt, wheres)
    return Found(rows, rows)


async def _plans(session: AsyncSession, merchant_id: int, text: str) -> Found:
    """Find a plan by any part of its name; a merchant has few."""
    name, reference = func.lower(_plan.c.name), func.lower(_plan.c.reference)
    part = or_(name.contains(text.lower(), autoescape=True), reference.contains(text.lower(), autoescape=True))
    query = select(_plan).where(_plan.c.merchant_id == merchant_id, part).order_by(_plan.c.name).limit(SHOWN + 1)
    rows = (await session.execute(query)).mappings().all()
    return Found(rows, [row for row in rows if row["reference"].lower() == text.lower()])


def _only(named: Named, of: Table) -> list[ColumnElement[bool]]:
    return [named[of]] if of in named else []


async def _some(
    session: AsyncSession, query: Select[Any], of: Table, wheres: Sequence[ColumnElement[bool]]
) -> list[RowMapping]:
    """Return some rows that fit one of several conditions, each asked by itself so that it has its own index."""
    found: dict[int, RowMapping] = {}
    for where in wheres:
        if len(found) <= SHOWN:
            rows = (await session.execute(query.where(where).limit(SHOWN + 1))).mappings()
            found |= {row[of.c.id]: row for row in rows if row[of.c.id] not in found}
    return list(found.values())[: SHOWN + 1]


def begins(session: AsyncSession, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Say that a text begins so, whatever its capitals, in the words of the index that is there for it.

    SQLite, and PostgreSQL in the locale C, make only the letters from A to Z small: so the others are tried as they
    are, small, and with a capital first.
    """
    small, forms = func.lower(column), {text.lower(), *map(_small, (text, text.lower(), text[:1].upper() + text[1:]))}
    if session.get_bind().dialect.name == "sqlite":
        return or_(*((small >= form) & (small < form + "\U0010ffff") for form in sorted(forms)))
    return or_(*(small.startswith(form, autoescape=True) for form in sorted(forms)))


def _small(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
