"""The record of who did what, newest first, by actor, verb or subject."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, func, select
from starlette.responses import Response

from billing.models import AuditEntry, Role, table
from billing.web.console.desk import Seated, part_of
from billing.web.console.gate import Section

router = Section("Audit log", "/audit", of_settings=True)

_entry = table(AuditEntry)
FILTERS: Final = ("actor", "verb", "subject")


@router.page("/audit", Role.VIEWER)
async def list_entries(desk: Seated) -> Response:
    """Show what was done."""
    asked = {name: desk.asked(name) for name in FILTERS}
    query = select(_entry).where(_entry.c.merchant_id == desk.merchant_id)
    for name, text in asked.items():
        query = query.where(_entry.c[name] == text) if text else query
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, query, _entry.c.id)
        verbs = (await session.execute(_verbs_of(desk.merchant_id))).scalars().all()
    return desk.show("audit.html", part=part, asked=asked, verbs=verbs)


def _verbs_of(merchant_id: int) -> Select[Any]:
    """Return a query for each verb there is, by as many steps along its index instead of a look at every entry."""
    first = select(func.min(_entry.c.verb).label("verb")).where(_entry.c.merchant_id == merchant_id)
    verbs = first.cte("verbs", recursive=True)
    following = first.where(_entry.c.verb > verbs.c.verb).correlate(verbs).scalar_subquery()
    verbs = verbs.union_all(select(following).where(verbs.c.verb.is_not(None)))
    return select(verbs.c.verb).where(verbs.c.verb.is_not(None))
