"""Writes the examples in docs/webhooks.md from a story that is played: `make docs` calls it, a test compares them."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from pathlib import Path
from typing import Any, Final

import migrations
from billing.events import EventType
from billing.models import Event
from billing.services.announcing import body_of
from billing.store import Store
from tests.billing.services.story import play, subscribed
from tests.billing.services.support import World, make_world

DOCUMENT: Final = Path("docs/webhooks.md")
HEADING: Final = "## Every event\n"

WORDS: Final = {
    EventType.SUBSCRIPTION_STARTED: "A subscription was started or imported. Give access now, or on `invoice.paid`.",
    EventType.SUBSCRIPTION_ACTIVATED: "A trial is over, or what was overdue is paid: it is active.",
    EventType.SUBSCRIPTION_CHANGED: "Quantity, price or what paused it changed; it stands where it stood.",
    EventType.SUBSCRIPTION_PAST_DUE: "A charge was declined; reminders follow, and access goes on.",
    EventType.SUBSCRIPTION_PAUSED: "Somebody paused it, or dunning did (`paused_by_dunning`): take access away.",
    EventType.SUBSCRIPTION_RESUMED: "It is billed again, because it was resumed or paid: give access back.",
    EventType.SUBSCRIPTION_CANCELED: "It will not renew; access lasts until `ended_on`.",
    EventType.SUBSCRIPTION_REINSTATED: "The cancellation was undone.",
    EventType.SUBSCRIPTION_ENDED: "It is over for good: take access away.",
    EventType.INVOICE_ISSUED: "An invoice has its number. A charge or a mail with a link follows.",
    EventType.INVOICE_PAID: "An invoice is paid: by a charge, by link, or past every gateway.",
    EventType.INVOICE_VOID: "An invoice was taken back; nobody owes it.",
    EventType.INVOICE_UNCOLLECTIBLE: "An invoice was given up for lost. It can still be paid.",
    EventType.INVOICE_REOPENED: "The bank took the payment back: the invoice is owed again.",
    EventType.ATTEMPT_APPROVED: "Money came in, or a profile was verified (`verification`).",
    EventType.ATTEMPT_DECLINED: "The customer's bank said no; `decline_class` says what would help.",
    EventType.PROFILE_STORED: "A customer's card or account was stored, and is charged from now on.",
    EventType.PROFILE_RENEWED: "A visit renewed what was stored.",
    EventType.PROFILE_FAILED: "What was stored cannot be charged any more, until a visit renews it.",
    EventType.PROFILE_FORGOTTEN: "What was stored is charged no more, because somebody said so.",
    EventType.REFUND_MADE: "Money went back to the customer; the gateway has confirmed it.",
    EventType.CHARGEBACK_RECEIVED: "The card's bank took a payment back.",
    EventType.DEBIT_RETURNED: "A direct debit came back.",
    EventType.WEBHOOK_TEST: "Somebody tries the endpoint out; nothing happened.",
}

_KEY: Final = re.compile(r"\b(INV|VER)-[A-Z0-9]+-")


async def examples(store: Store) -> dict[str, str]:
    """Play the story and return one body of each type, as it is sent."""
    world: World = await make_world(store)
    await subscribed(world)
    await play(world)
    first: dict[str, str] = {}
    for row in await world.rows(Event):
        first.setdefault(row["type"], _settled(json.loads(body_of(row))))  # type: ignore[arg-type]
    return first


def _settled(body: dict[str, Any]) -> str:
    """Write a body with the same keys and times whenever the story is played."""
    data = body["data"]
    if "kind" in data and "decided_at" in data:  # an operation is dated by the machine's clock
        data["decided_at"] = data["created_at"]
    return _KEY.sub(r"\1-ABCDEFGHIJKLMNOP-", json.dumps(body, indent=2))


def section(shown: dict[str, str]) -> str:
    """Return the part of the document that tells of every event."""
    parts = [f"### `{each}`\n\n{WORDS[each]}\n\n```json\n{shown[each]}\n```\n" for each in EventType]
    return HEADING + "\n" + "\n".join(parts)


def prose() -> str:
    """Return the part of the document that is written by hand."""
    return DOCUMENT.read_text("utf-8").partition(HEADING)[0]


async def _document() -> str:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{folder}/story.db"
        await migrations.upgrade(url)
        store = Store(url)
        try:
            return prose() + section(await examples(store))
        finally:
            await store.close()


if __name__ == "__main__":
    DOCUMENT.write_text(asyncio.run(_document()), "utf-8")
