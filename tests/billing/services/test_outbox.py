from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from billing.mail import Envelope, MailAccountError, MailDelayedError, MailRejectedError, Rendered
from billing.models import Customer, Invoice, Message
from billing.services.outbox import CROWD, PAGE, RETRY_DELAYS_S, Errand, Hand, deliver, queue_again
from billing.services.refusing import ConflictError
from tests.billing.services.support import Crash, World, by_link, decline

ANY: Any = None


@dataclass
class Postman:
    """Hands over what it is told to, and fails or dies where it is told to."""

    failures: dict[str, list[BaseException]] = field(default_factory=dict)
    handed: list[tuple[str, str, str]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    at_once: int = 1
    asked: int = 0

    async def send(self, mail: Rendered, envelope: Envelope) -> str:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        for failure in self.failures.get(envelope.to.address, [])[:1]:
            self.failures[envelope.to.address].pop(0)
            raise failure
        self.handed.append((envelope.to.address, mail.subject, envelope.message_id))
        return "250 OK"


async def mailed(world: World, count: int = 2) -> Postman:
    """Let a night leave so many mails."""
    await world.change_merchant(brakes={"declined_percent": 0})
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
    """Mails to a server that takes its time outlive any lease; nobody may get one twice for that."""
    postman = await mailed(world, 3)
    slow = world.with_context(lease_s=4)

    @dataclass
    class Slow(Postman):
        async def send(self, mail: Rendered, envelope: Envelope) -> str:
            await asyncio.sleep(slow.ctx.lease_s * 0.3)
            return await super().send(mail, envelope)

    dawdler = Slow()
    done = await asyncio.gather(deliver(slow.ctx, dawdler), deliver(slow.ctx, postman))

    assert sum(done, Counter()) == {"sent": 3}
    assert sorted(address for address, _, _ in dawdler.handed + postman.handed) == [
        f"k{number}@example.org" for number in (1, 2, 3)
    ]
    assert [(row["state"], row["tries"]) for row in await world.rows(Message)] == [("sent", 1)] * 3


async def test_a_deliverer_who_overslept_has_no_word_about_mails_that_another_sent(world: World) -> None:
    postman = await mailed(world, 2)
    sleeper = Postman({"k1@example.org": [MailDelayedError("who are you", 451)]}, gate=(gate := asyncio.Event()))

    overslept = asyncio.create_task(deliver(world.ctx, sleeper))
    await world.until(lambda: sleeper.asked > 0)
    await world.let_mails_be_due()
    await deliver(world.ctx, postman)
    gate.set()
    await overslept

    assert await world.states(Message) == ["sent", "sent"]
    assert [row["error"] for row in await world.rows(Message)] == ["", ""]


async def test_a_mail_that_somebody_slow_has_sent_after_all_is_not_queued_again_by_who_took_it_over(
    world: World,
) -> None:
    await mailed(world, 1)
    slow, doubtful = Postman(gate=asyncio.Event()), Postman(gate=asyncio.Event())
    doubtful.failures = {"k1@example.org": [MailDelayedError("not now", 451)]}
    first = asyncio.create_task(deliver(world.ctx, slow))
    await world.until(lambda: slow.asked == 1)
    await world.let_mails_be_due()
    second = asyncio.create_task(deliver(world.ctx, doubtful))
    await world.until(lambda: doubtful.asked == 1)

    for postman, delivery in ((slow, first), (doubtful, second)):
        assert postman.gate is not None
        postman.gate.set()
        await delivery

    assert await world.states(Message) == ["sent"]


async def test_a_slow_domain_holds_up_no_other_however_much_there_is_for_it(world: World) -> None:
    await world.subscribe(PAGE + CROWD, email="slow@slow.example")
    await world.subscribe(3)
    await mailed(world, 0)
    gate = asyncio.Event()

    @dataclass
    class Waiting(Postman):
        under_way: int = 0

        async def send(self, mail: Rendered, envelope: Envelope) -> str:
            if envelope.to.address == "slow@slow.example":
                self.under_way += 1
                await gate.wait()
            return await super().send(mail, envelope)

    postman = Waiting(at_once=4)
    delivering = asyncio.create_task(deliver(world.ctx, postman))
    await world.until(lambda: len(postman.handed) == 3)
    assert postman.under_way == 2, "half of the places are left for others"
    gate.set()

    assert await delivering == {"sent": PAGE + CROWD + 3}
    assert len({message_id for _, _, message_id in postman.handed}) == len(postman.handed)


@pytest.mark.parametrize(
    ("at_once", "waiting", "away"),
    [
        (1, "aab", "a"),
        (2, "aab", "ab"),
        (4, "aaaab", "aab"),
        (8, "aaaaaaaa", "aaaa"),
        (8, "aaaaabbbbcd", "aaaabbcd"),
        (8, "abcdefgh", "abcdefgh"),
    ],
)
def test_half_of_the_places_a_domain_finds_are_left_for_others(at_once: int, waiting: str, away: str) -> None:
    hand = Hand(at_once, [Errand(ANY, domain, ANY, 0.0) for domain in waiting])

    left = list(iter(hand.take, None))

    assert "".join(errand.domain for errand in left) == away
    for errand in left:
        hand.come_back(errand)
    assert hand.is_empty() is (len(away) == len(waiting))


async def test_who_dies_after_the_250_sends_it_again_with_the_same_message_id(world: World) -> None:
    postman = await mailed(world, 2)

    @dataclass
    class Dying(Postman):
        async def send(self, mail: Rendered, envelope: Envelope) -> str:
            await super().send(mail, envelope)
            raise Crash

    dying = Dying()
    with pytest.raises(BaseExceptionGroup):
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


async def test_a_mail_that_failed_is_sent_once_more_when_a_person_says_so(world: World) -> None:
    postman = await mailed(world, 1)
    await world.change(Message, 1, state="failed", error="550 no such mailbox", tries=9)

    async with world.store.write() as session:
        await queue_again(session, world.merchant_id, 1)
    assert await deliver(world.ctx, postman) == {"sent": 1}

    async with world.store.write() as session:
        for merchant_id in (world.merchant_id, world.merchant_id + 1):
            with pytest.raises(ConflictError):
                await queue_again(session, merchant_id, 1)
