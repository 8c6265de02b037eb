"""A night's mails to a real server that takes some, delays some, rejects some, and hangs up after it took one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from typing import Any, Final

from aiosmtpd.smtp import SMTP, Session
from aiosmtpd.smtp import Envelope as Received

from billing.mail import Mailer, SmtpServer
from billing.models import Message
from billing.services.outbox import deliver
from tests.billing.services.support import World
from tests.billing.test_mail import Server

LAST: Final = "k4@example.org"


class MoodyServer(Server):
    """Shows each recipient its mood, once; the last one's mail is taken, and the line is cut."""

    moods: dict[str, str]

    async def _take_recipient(
        self, _smtp: SMTP, _session: Session, envelope: Received, address: str, *_: object
    ) -> str:
        envelope.rcpt_tos.append(address)
        return "250 OK" if address == LAST else self.moods.pop(address, "250 OK")

    async def _take_mail(self, smtp: SMTP, session: Session, envelope: Received) -> str:
        said = await super()._take_mail(smtp, session, envelope)
        if envelope.rcpt_tos == [LAST] and LAST in self.moods:
            del self.moods[LAST]
            _cut(smtp)
        return said


class ImpatientServer(Server):
    """Takes so many mails over a connection, and then hangs up without a word."""

    PATIENCE = 5

    async def _take_mail(self, smtp: SMTP, session: Session, envelope: Received) -> str:
        said = await super()._take_mail(smtp, session, envelope)
        self.taken[smtp] += 1
        if self.taken[smtp] == self.PATIENCE:
            asyncio.get_running_loop().call_soon(_cut, smtp)
        return said

    def __init__(self) -> None:
        super().__init__()
        self.taken: Counter[SMTP] = Counter()


def _cut(smtp: SMTP) -> None:
    assert smtp.transport is not None
    smtp.transport.close()


@asynccontextmanager
async def listening(server: Server, **given: Any) -> AsyncIterator[Mailer]:
    """Let a server listen, and give a way to it."""
    listener = await asyncio.get_running_loop().create_server(server.listen, "127.0.0.1", 0)
    url = f"smtp://127.0.0.1:{listener.sockets[0].getsockname()[1]}?starttls=never"
    async with Mailer(SmtpServer.parse(url), **given) as mailer:
        yield mailer
    server.hang_up()
    listener.close()
    await listener.wait_closed()


async def test_what_a_server_half_accepts_is_neither_lost_nor_another_step(world: World) -> None:
    server = MoodyServer()
    server.moods = {"k2@example.org": "451 Greylisted", "k3@example.org": "550 No such user", LAST: "cut"}
    await world.subscribe(5)
    await world.run()

    async with listening(server, timeout_s=2, deadline_s=5) as mailer:
        for _ in range(3):
            await deliver(world.ctx, mailer)
            await world.let_mails_be_due()

    assert await world.states(Message) == ["sent", "sent", "failed", "sent", "sent"]
    ids = Counter(message_from_bytes(raw)["Message-ID"] for raw in server.mails)
    to = {message_from_bytes(raw)["Message-ID"]: message_from_bytes(raw)["To"] for raw in server.mails}
    assert sorted(ids.values()) == [1, 1, 1, 2], "the one whose answer was lost came twice, under one Message-ID"
    assert [LAST in to[name] for name, count in ids.items() if count == 2] == [True]
    assert await world.tasks() == [("mail", "msg_3")]
    assert await world.breaches() == []


async def test_a_server_that_hangs_up_after_every_few_mails_gets_each_once_and_none_late(world: World) -> None:
    server = ImpatientServer()
    await world.subscribe(4 * server.PATIENCE)
    await world.run()

    async with listening(server, connections_max=2) as mailer:
        assert await deliver(world.ctx, mailer) == {"sent": 20}

    ids = [message_from_bytes(raw)["Message-ID"] for raw in server.mails]
    assert len(set(ids)) == len(ids) == 20
    assert len(server.connections) <= 20 / server.PATIENCE + mailer.at_once
    assert await world.breaches() == []


async def test_two_deliverers_on_one_server_share_the_mails(world: World) -> None:
    server, other = Server(), await world.twin()
    await world.subscribe(30)
    await world.run()

    async with listening(server, connections_max=2) as mailer:
        done = await asyncio.gather(deliver(world.ctx, mailer), deliver(other.ctx, mailer))
    await other.store.close()

    assert sum(each.total() for each in done) == len(server.mails) == 30
    assert await world.breaches() == []
