"""Mails in the console: listed, read, and sent again."""

from __future__ import annotations

from billing.models import Attempt, AuditEntry, Message, Role
from billing.services.tasking import NewTask, raise_tasks
from tests.billing.services.support import World, by_link, counted, decline
from tests.billing.web.console.support import Browser, signed_in, whole_app

HERE = "/nordlicht/mails"


async def failed(world: World) -> None:
    """Decline a charge, and let the server refuse the mail about it."""
    world.bank.default = decline()
    await world.subscribe(1)
    await world.run()
    await world.change(Message, 1, state="failed", error="550 no such mailbox", tries=1)
    async with world.store.write() as session:
        task = NewTask(world.merchant_id, "mail", "msg_1", "not delivered: 550 no such mailbox")
        await raise_tasks(session, [task], world.ctx.clock.now())


async def test_mails_are_found_by_state_and_customer(world: World, admin: Browser) -> None:
    assert "No mail yet" in await admin.get(HERE)
    await failed(world)
    [mail] = await world.rows(Message)
    for asked, found in (
        ("state=failed", True),
        ("state=queued", False),
        (f"recipient={mail['recipient'].upper()}", True),
        ("recipient=k1", True),
        ("recipient=nobody@example.net", False),
    ):
        assert ("msg_1" in await admin.get(f"{HERE}?{asked}")) == found, asked


async def test_a_mail_is_read_in_its_words_and_without_its_link(world: World, admin: Browser) -> None:
    await failed(world)
    page = await admin.get(f"{HERE}/msg_1")
    assert "550 no such mailbox" in page
    assert "25.00" in page
    assert "(the customer's own link)" in page
    assert "/p/" not in page


async def test_a_mail_leads_to_what_it_is_about(world: World, admin: Browser) -> None:
    await failed(world)
    [attempt] = await world.rows(Attempt)
    assert f'<a href="/console/nordlicht/doubts/att_1">{attempt["key"]}</a>' in await admin.get(f"{HERE}/msg_1")


async def test_what_cannot_be_written_any_more_is_said_and_breaks_nothing(lite_admin: Browser) -> None:
    await failed(lite_admin.world)
    await lite_admin.world.change(Message, 1, context={})
    assert "It cannot be shown" in await lite_admin.get(f"{HERE}/msg_1")


async def test_a_mail_that_failed_is_sent_again_and_no_other(world: World, admin: Browser) -> None:
    await failed(world)
    assert "mails/msg_1" in await admin.get("/nordlicht/tasks/task_1")
    page = await admin.post(f"{HERE}/msg_1/again")
    assert "once more within a minute" in page
    [mail] = await world.rows(Message)
    assert (mail["state"], mail["tries"], mail["error"]) == ("queued", 0, "")
    assert await world.tasks() == []
    assert [row["verb"] for row in await world.rows(AuditEntry)][-1] == "send_mail_again"
    assert "Only a mail that could not be delivered" in await admin.post(f"{HERE}/msg_1/again", 409)


async def test_the_list_costs_the_same_however_much_was_written(world: World, admin: Browser) -> None:
    with counted(world.store) as before:
        await admin.get(HERE)
    await world.subscribe(3, **by_link(1))
    await world.run()
    with counted(world.store) as after:
        await admin.get(HERE)
    assert len(after) == len(before)


async def test_a_viewer_reads_and_is_offered_nothing(lite: World) -> None:
    await failed(lite)
    who = await signed_in(lite, whole_app(lite), Role.VIEWER)
    assert "Send again" not in await who.get(f"{HERE}/msg_1")
