from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from billing.mail import Envelope, MailAccountError, MailDelayedError, MailRejectedError, Rendered
from billing.models import Customer, Invoice, Message
from billing.services.outbox import PAGE, RETRY_DELAYS_S, deliver
from tests.billing.services.support import Crash, World, by_link, decline


@dataclass
class Postman:
    """Hands over what it is told to, and fails or dies where it is told to."""

    failures: dict[str, list[BaseException]] = field(default_factory=dict)
    handed: list[tuple[str, str, str]] = field(default_factory=list)
    gate: asyncio.Event | None = None

    async def send(self, mail: Rendered, envelope: Envelope) -> str:
        if self.gate is not None:
            await self.gate.wait()
        for failure in self.failures.get(envelope.to.address, [])[:1]:
            self.failures[envelope.to.address].pop(0)
            raise failure
        self.handed.append((envelope.to.address, mail.subject, envelope.message_id))
        return "250 OK"


async def mailed(world: World, count: int = 2) -> Postman:
    """Let a night leave so many mails."""
    await world.subscribe(count)
    world.bank.default = decline()
    await world.run()
    return Postman()


async def test_each_mail_is_sent_once_and_kept(world: World) -> None:
    postman = await mailed(world)

    assert await deliver(world.ctx, postman) == {"sent": 2}
    assert await deliver(world.ctx, postman) == {}

    assert [address for address, _, _ in postman.handed] == ["k1@example.org", "k2@example.org"]
    assert len({message_id for _, _, message_id in postman.handed}) == 2
    assert all(row["sent_at"] for row in await world.rows(Message))
    assert await world.breaches() == []


async def test_several_deliverers_at_once_send_each_mail_once(world: World) -> None:
    postman = await mailed(world, PAGE + 20)
    other = await world.twin()

    await asyncio.gather(*(deliver(each.ctx, postman) for each in (world, other, world, other)))
    await other.store.close()

    assert set(Counter(address for address, _, _ in postman.handed).values()) == {1}
    assert len(postman.handed) == PAGE + 20
    assert await world.breaches() == []


async def test_a_deliverer_too_slow_for_its_claim_gives_back_what_it_has_not_tried(world: World) -> None:
    """Fifty mails to a server that takes its time outlive any lease; nobody may get one twice for that."""
    postman = await mailed(world, 3)
    slow = world.with_context(lease_s=0)

    assert await deliver(slow.ctx, postman) == {"sent": 3}

    assert [address for address, _, _ in postman.handed] == [f"k{number}@example.org" for number in (1, 2, 3)]
    assert [(row["state"], row["tries"]) for row in await world.rows(Message)] == [("sent", 1)] * 3


async def test_who_dies_after_the_250_sends_it_again_with_the_same_message_id(world: World) -> None:
    postman = await mailed(world, 2)

    @dataclass
    class Dying(Postman):
        async def send(self, mail: Rendered, envelope: Envelope) -> str:
            await super().send(mail, envelope)
            raise Crash

    dying = Dying()
    with pytest.raises(Crash):
        await deliver(world.ctx, dying)
    assert await deliver(world.ctx, postman) == {}, "the claim still runs"
    await world.let_mails_be_due()
    await deliver(world.ctx, postman)

    assert dying.handed[0] in postman.handed
    assert len(postman.handed) == 2
    assert set(await world.states(Message)) == {"sent"}
    assert await world.breaches() == []


async def test_a_delayed_mail_is_tried_again_and_a_rejected_one_is_a_persons_task(world: World) -> None:
    postman = await mailed(world, 3)
    postman.failures = {
        "k1@example.org": [MailDelayedError("greylisted", 451)] * 20,
        "k2@example.org": [MailRejectedError("no such mailbox", 550)],
    }

    assert await deliver(world.ctx, postman) == {"queued": 1, "failed": 1, "sent": 1}
    assert await world.tasks() == [("mail", "msg_2")]
    for _ in range(len(RETRY_DELAYS_S)):
        await world.let_mails_be_due()
        await deliver(world.ctx, postman)

    assert await world.states(Message) == ["failed", "failed", "sent"]
    assert ("mail", "msg_1") in await world.tasks()
    assert await world.breaches() == []


async def test_a_server_that_refuses_us_costs_no_mail_a_try(world: World) -> None:
    postman = await mailed(world, 3)
    postman.failures = {"k1@example.org": [MailAccountError("wrong password", 535)] * 30}

    for _ in range(12):
        await world.let_mails_be_due()
        assert await deliver(world.ctx, postman) == {}
    assert {(row["state"], row["tries"], row["error"]) for row in await world.rows(Message)} == {
        ("queued", 0, "wrong password")
    }

    postman.failures = {"k1@example.org": [MailDelayedError("greylisted", 451)]}
    await world.let_mails_be_due()
    assert await deliver(world.ctx, postman) == {"queued": 1, "sent": 2}
    assert await world.tasks() == []


async def test_a_mail_that_asks_for_what_is_paid_meanwhile_is_dropped(world: World) -> None:
    postman = await mailed(world, 1)
    await world.pay(await world.link_to(1))
    await world.hear(world.bank.customer_pays(next(iter(world.bank.pages))))

    assert await deliver(world.ctx, postman) == {"dropped": 1, "sent": 1}

    assert await world.states(Message) == ["dropped", "sent"]
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_a_mail_that_cannot_be_written_holds_no_other_up(world: World) -> None:
    postman = await mailed(world, 2)
    await world.change(Message, 1, step="nonsense")

    done = await deliver(world.ctx, postman)

    assert done == {"failed": 1, "sent": 1}
    assert await world.tasks() == [("mail", "msg_1")]


async def test_what_a_mail_shows_is_true_when_it_leaves(world: World) -> None:
    await world.subscribe(1, **by_link(1), language="de", country="AT")
    await world.run()
    await world.change(Customer, 1, name="Renate Neu")
    postman = Postman()
    seen: list[Rendered] = []

    @dataclass
    class Reading(Postman):
        async def send(self, mail: Rendered, envelope: Envelope) -> str:
            seen.append(mail)
            return await super().send(mail, envelope)

    assert await deliver(world.ctx, Reading()) == {"sent": 1}

    assert "Renate Neu" in seen[0].html
    assert "https://pay.example/p/" in seen[0].html
    assert "NA-2026-00001" in seen[0].subject + seen[0].html
    assert postman.handed == []
