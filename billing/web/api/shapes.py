"""Things as the API shows them, by kind and id: for those who are told of them instead of asking."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from pydantic import BaseModel
from sqlalchemy import ColumnElement, RowMapping, Select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import among
from billing.models import Attempt, Invoice, Operation, Profile, Subscription, table
from billing.services.changing import SUBSCRIPTIONS
from billing.services.context import Shown
from billing.web.api.attempts import ATTEMPTS, OPERATIONS, show_attempt, show_operation
from billing.web.api.invoices import INVOICES, show_invoice
from billing.web.api.profiles import PROFILES, show_profile
from billing.web.api.subscriptions import show_subscription

Shape = tuple[Select[Any], ColumnElement[int], Callable[[RowMapping], BaseModel], str]

SHAPES: Final[Mapping[str, Shape]] = {
    "sub": (SUBSCRIPTIONS, table(Subscription).c.id, show_subscription, "reference"),
    "inv": (INVOICES, table(Invoice).c.id, show_invoice, "id"),
    "att": (ATTEMPTS, table(Attempt).c.id, show_attempt, "id"),
    "op": (OPERATIONS, table(Operation).c.id, show_operation, "id"),
    "pro": (PROFILES, table(Profile).c.id, show_profile, "id"),
}
"""For each kind: how rows are found, their id, how one is shown, and which field of that is its public name."""


async def show_things(session: AsyncSession, kind: str, ids: Collection[int]) -> dict[int, Shown]:
    """Show the things of a kind with these ids, in one statement; what is not there is left out."""
    query, id_column, show, name = SHAPES[kind]
    rows = (await session.execute(query.where(among(id_column, ids)))).mappings()
    bodies = {row[id_column]: show(row) for row in rows}
    return {id_: Shown(str(getattr(body, name)), body.model_dump_json()) for id_, body in bodies.items()}
