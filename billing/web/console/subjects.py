"""What a task is about: each thing by the name that people know it by, and where its page is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from sqlalchemy import ColumnElement, RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import (
    Attempt,
    Customer,
    Event,
    GatewayAccount,
    Invoice,
    Message,
    Notification,
    Operation,
    Plan,
    Price,
    Profile,
    Run,
    Subscription,
    table,
)
from billing.services.listening import ENDPOINTS
from billing.web.console.desk import Desk
from billing.web.console.pages import word_of
from billing.web.console.places import place_of
from billing.web.console.stories import MAILS, profile_in

_customer, _subscription, _price, _plan = table(Customer), table(Subscription), table(Price), table(Plan)
_invoice, _attempt, _operation, _profile = table(Invoice), table(Attempt), table(Operation), table(Profile)
_account, _run, _notification, _message = table(GatewayAccount), table(Run), table(Notification), table(Message)
_event, _endpoint = table(Event), ENDPOINTS.subquery()


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing by the name that people know it by, and the path of its page; of what is not there, its id alone."""

    label: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How things of a kind are found, whose they are, what they are called, and where they are if not by their id."""

    query: Select[Any]
    owner: ColumnElement[int]
    id: ColumnElement[Any]
    called: Callable[[Desk, RowMapping], str]
    place: Callable[[RowMapping], str] | None = None


def _at(path: str, name: str) -> Callable[[RowMapping], str]:
    return lambda row: path + quote(row[name], safe="")


def _mail_name(_: Desk, row: RowMapping) -> str:
    step = row["step"].partition(" ")[0]
    return f"{MAILS.get(step, word_of(step).capitalize())} to {row['recipient']}"


_NAMED: Final = (_customer.c.name, _customer.c.reference)
_KINDS: Final[Mapping[str, _Kind]] = {
    "cus": _Kind(
        select(*_NAMED),
        _customer.c.merchant_id,
        _customer.c.id,
        lambda _, row: row["name"],
        _at("/customers/", "reference"),
    ),
    "pro": _Kind(
        select(*_NAMED, *(_profile.c[name] for name in ("kind", "brand", "last4", "expires_on"))).join_from(
            _profile, _customer
        ),
        _customer.c.merchant_id,
        _profile.c.id,
        lambda _, row: f"{row['name']}, {profile_in(row)}",
        _at("/customers/", "reference"),
    ),
    "sub": _Kind(
        select(_subscription.c.reference, _customer.c.name, _plan.c.name.label("plan"))
        .join_from(_subscription, _customer, _customer.c.id == _subscription.c.customer_id)
        .join(_price, _price.c.id == _subscription.c.price_id)
        .join(_plan, _plan.c.id == _price.c.plan_id),
        _subscription.c.merchant_id,
        _subscription.c.id,
        lambda _, row: f"{row['name']}, {row['plan']}",
        _at("/subscriptions/", "reference"),
    ),
    "inv": _Kind(
        select(_invoice.c.number),
        _invoice.c.merchant_id,
        _invoice.c.id,
        lambda _, row: row["number"],
        _at("/invoices/", "number"),
    ),
    "att": _Kind(select(_attempt.c.key), _attempt.c.merchant_id, _attempt.c.id, lambda _, row: row["key"]),
    "op": _Kind(
        select(_operation.c.kind, _attempt.c.key).join_from(
            _operation, _attempt, _attempt.c.id == _operation.c.attempt_id
        ),
        _attempt.c.merchant_id,
        _operation.c.id,
        lambda _, row: f"{word_of(row['kind']).capitalize()} after {row['key']}",
    ),
    "acc": _Kind(
        select(_account.c.reference, _account.c.gateway),
        _account.c.merchant_id,
        _account.c.id,
        lambda desk, row: desk.ctx.gateways.account_title(row["reference"], row["gateway"]),
        _at("/gateways/", "reference"),
    ),
    "run": _Kind(
        select(_run.c.on_day),
        _run.c.merchant_id,
        _run.c.id,
        lambda desk, row: f"Run of {desk.writer.day(row['on_day'])}",
    ),
    "not": _Kind(
        select(_account.c.gateway).join_from(
            _notification, _account, _account.c.id == _notification.c.gateway_account_id
        ),
        _account.c.merchant_id,
        _notification.c.id,
        lambda desk, row: f"Notification from {desk.title_of(row['gateway'])}",
    ),
    "msg": _Kind(
        select(_message.c.step, _message.c.recipient),
        _message.c.merchant_id,
        _message.c.id,
        _mail_name,
    ),
    "hook": _Kind(
        select(_endpoint.c.url),
        _endpoint.c.merchant_id,
        _endpoint.c.id,
        lambda _, row: urlsplit(row["url"]).hostname or row["url"],
    ),
    "evt": _Kind(select(_event.c.type), _event.c.merchant_id, _event.c.uid, lambda _, row: row["type"]),
}


async def subjects_of(desk: Desk, session: AsyncSession, names: Iterable[str]) -> dict[str, Subject]:
    """Return the merchant's things that tasks are about, by their ids; one statement for each kind there is.

    What is booked for one of several payments of an attempt (`att_12/5001`) is found as that attempt.
    """
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    whole = {name: name.partition("/")[0] for name in names}
    for name in whole.values():
        wanted[name.partition("_")[0]].add(name)
    found: dict[str, Subject] = {}
    for kind in wanted.keys() & _KINDS.keys():
        found |= await _found(desk, session, kind, wanted[kind])
    return {name: found.get(short, Subject(name)) for name, short in whole.items()}


async def _found(desk: Desk, session: AsyncSession, kind: str, names: Collection[str]) -> dict[str, Subject]:
    of = _KINDS[kind]
    ids = {name if kind == "evt" else int(name.partition("_")[2]): name for name in names}
    query = of.query.add_columns(of.id.label("subject_id")).where(of.owner == desk.merchant_id, of.id.in_(ids))
    rows = (await session.execute(query)).mappings()
    return {
        ids[row["subject_id"]]: Subject(
            of.called(desk, row), of.place(row) if of.place else place_of(ids[row["subject_id"]])
        )
        for row in rows
    }
