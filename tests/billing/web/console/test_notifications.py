"""Notifications in the console: listed, shown without secrets, and taken once more."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.models import Attempt, AuditEntry, Invoice, Notification, Role
from billing.services.tasking import NewTask, raise_tasks
from billing.web.console.utterances import FIELDS_MAX, MASK, fields_of
from tests.billing.services.support import World, by_link, counted
from tests.billing.web.console.support import Browser, signed_in, whole_app

HERE = "/nordlicht/notifications"


async def told(world: World) -> None:
    """Let a customer pay, and set the push that tells of it aside as not understood."""
    await world.subscribe(1, **by_link(1))
    await world.run()
    await world.pay(await world.link_to())
    [attempt] = await world.rows(Attempt)
    await world.hear(world.bank.customer_pays(attempt["key"]), settle=False)
    await world.change(Notification, 1, state="open", reason="it broke us")
    async with world.store.write() as session:
        task = NewTask(world.merchant_id, "notification", "not_1", "a notification is not understood: it broke us")
        await raise_tasks(session, [task], world.ctx.clock.now())


async def test_notifications_are_filtered_by_state(world: World, admin: Browser) -> None:
    assert "No notification yet" in await admin.get(HERE)
    await told(world)
    for asked, found in (("open", True), ("settled", False), ("nonsense", True)):
        assert ("not_1" in await admin.get(f"{HERE}?state={asked}")) == found, asked


async def test_one_that_was_not_understood_is_taken_once_more(world: World, admin: Browser) -> None:
    await told(world)
    page = await admin.get(f"{HERE}/not_1")
    assert "It broke us" in page
    assert "paid" in page
    page = await admin.post(f"{HERE}/not_1/replay")
    assert "Taken once more. It was verified and acted on." in page
    assert "Take it once more" not in page
    assert await world.states(Invoice) == ["paid"]
    assert await world.tasks() == []
    entry = (await world.rows(AuditEntry))[-1]
    assert (entry["verb"], entry["subject"]) == ("replay_notification", "not_1")
    assert "It is settled" in await admin.post(f"{HERE}/not_1/replay", 409)
    assert await world.breaches() == []


async def test_one_that_is_not_understood_again_is_asked_about_again(lite_admin: Browser) -> None:
    world = lite_admin.world
    await told(world)
    await world.change(Notification, 1, query="id=5")
    assert "A person has to look at it." in await lite_admin.post(f"{HERE}/not_1/replay")
    assert await world.tasks() == [("notification", "not_1")]


async def test_a_forgery_is_not_believed_by_being_replayed(lite_admin: Browser) -> None:
    await told(lite_admin.world)
    await lite_admin.world.change(Notification, 1, state="forged")
    assert "Take it once more" not in await lite_admin.get(f"{HERE}/not_1")
    await lite_admin.post(f"{HERE}/not_1/replay", 409)
    assert await lite_admin.world.states(Invoice) == ["open"]


async def test_the_list_costs_the_same_however_much_was_heard(world: World, admin: Browser) -> None:
    with counted(world.store) as before:
        await admin.get(HERE)
    await told(world)
    with counted(world.store) as after:
        await admin.get(HERE)
    assert len(after) == len(before)


async def test_a_viewer_reads_it_and_is_offered_nothing(lite: World) -> None:
    await told(lite)
    who = await signed_in(lite, whole_app(lite), Role.VIEWER)
    page = await who.get(f"{HERE}/not_1")
    assert "What it said" in page
    assert "Take it once more" not in page


@pytest.mark.parametrize(
    ("query", "body", "shown"),
    [
        ("TID=INV-1&STATUS=BILLED", b"", [("TID", "INV-1"), ("STATUS", "BILLED")]),
        ("empty=", b"", [("empty", "")]),
        ("", b"checksum=abc&amount=2500", [("checksum", MASK), ("amount", "2500")]),
        ("", b'{"a": {"token": "x", "n": [1, null]}}', [("a.token", MASK), ("a.n.1", "1"), ("a.n.2", "null")]),
        ("", b'{"secret": {"deep": 1}}', [("secret.deep", MASK)]),
        ("note=4111 1111 1111 1111", b"", [("note", MASK)]),
        ("note=AT61 1904 3002 3457 3201", b"", [("note", MASK)]),
        ("note=the whole our-own-secret here", b"", [("note", MASK)]),
        ("", b"<a>secret</a>", [("body", "13 bytes, in a form that is not shown")]),
        ("", b"\xff\xfe", [("body", "2 bytes, in a form that is not shown")]),
        ("our-own-secret", b"plain our-own-secret", [(MASK, ""), ("body", "20 bytes, in a form that is not shown")]),
        ("", b"", []),
    ],
)
def test_what_a_message_said_is_shown_without_secrets(query: str, body: bytes, shown: list[tuple[str, str]]) -> None:
    assert fields_of(query, body, ["our-own-secret"]) == shown


@given(st.text(), st.binary(), st.recursive(st.integers() | st.text(), lambda each: st.dictionaries(st.text(), each)))
def test_no_message_breaks_the_page_or_shows_a_secret_of_ours(query: str, body: bytes, document: object) -> None:
    for said in (body, json.dumps(document).encode(), json.dumps({"x": "our-own-secret", "y": document}).encode()):
        shown = fields_of(query, said, ["our-own-secret"])
        assert len(shown) <= FIELDS_MAX
        assert "our-own-secret" not in str(shown)
