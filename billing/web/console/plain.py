"""Stories in plain text: what the console tells of a thing, for those who ask by the command or the API."""

from __future__ import annotations

from typing import Final

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from billing.models import Merchant, Role, table
from billing.services.context import Context, moments
from billing.services.recounting import Event, Of, recount
from billing.web.console.desk import Desk, Seat
from billing.web.console.stories import line_of

_merchant = table(Merchant)

SIZE: Final = 200
"""So much of a story is told at once; what is older can be read in the console."""


async def plain_story(ctx: Context, session: AsyncSession, of: Of, row: RowMapping) -> list[str]:
    """Return what happened to a thing, a line for each event, the oldest first, in the merchant's own time."""
    desk = await _unasked(ctx, session, row["merchant_id"])
    story = await recount(session, of, row, size=SIZE)
    older = ["What happened before is told in the console."] if story.before is not None else []
    return older + [_line(desk, event) for event in reversed(story.events)]


async def _unasked(ctx: Context, session: AsyncSession, merchant_id: int) -> Desk:
    """Return a desk of the merchant's at which nobody sits and nothing was asked: it only writes."""
    merchant = (await session.execute(select(_merchant).where(_merchant.c.id == merchant_id))).mappings().one()
    moment = (await moments(ctx, session, [merchant_id]))[merchant_id]
    return Desk(Request({"type": "http"}), ctx, seat=Seat(merchant, Role.VIEWER, moment))


def _line(desk: Desk, event: Event) -> str:
    line = line_of(desk, event)
    fact = ", ".join(each for each in (line.fact.replace("{}", line.label), line.amount) if each)
    said = " ".join(each for each in (f"{fact}.", line.reason, f"({line.code})" if line.code else "") if each)
    return f"{desk.writer.there(event.at):%Y-%m-%d %H:%M}: {said}"
