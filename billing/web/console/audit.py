"""The record of who did what, newest first, by actor, verb or subject."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
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
    verbs = select(_entry.c.verb).where(_entry.c.merchant_id == desk.merchant_id).distinct().order_by(_entry.c.verb)
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, query, _entry.c.id)
        known = (await session.execute(verbs)).scalars().all()
    return desk.show("audit.html", part=part, asked=asked, verbs=known)
