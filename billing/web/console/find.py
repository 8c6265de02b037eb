"""The one search box: whatever a person has at hand leads to the page it is about."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from billing.models import Role
from billing.services.finding import CHARS_MAX, CHARS_MIN, Finds, find, is_id
from billing.web.console.desk import Seated
from billing.web.console.gate import Section
from billing.web.console.places import place_of

router = Section()

# Where a thing of each kind has its page, and which of its words names it there.
PAGES: Final = {
    "customers": ("/customers/", "reference"),
    "subscriptions": ("/subscriptions/", "reference"),
    "invoices": ("/invoices/", "number"),
    "attempts": ("/attempts/", "key"),
    "plans": ("/plans/", "reference"),
}


@router.page("/find", Role.VIEWER)
async def find_anything(desk: Seated) -> Response:
    """Show what fits what was typed; the one thing that was named whole is gone to at once."""
    text = desk.asked("q")[:CHARS_MAX]
    async with desk.ctx.store.read() as session:
        if await is_id(session, desk.merchant_id, text):
            return desk.done(place_of(text))
        finds: Finds = await find(session, desk.merchant_id, text)
    only = finds.only_exact()
    if only is not None:
        path, name = PAGES[only[0]]
        return desk.done(path + only[1][name])
    return desk.show("find.html", text=text, finds=finds, pages=PAGES, is_short=len(text) < CHARS_MIN)
