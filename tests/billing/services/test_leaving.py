"""A process that is told to end hands back what certainly has not left, and finishes the rest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from billing.mail import Envelope, Rendered
from billing.models import Attempt, Invoice, Message, Operation, Run
from billing.services import operating, running
from billing.services.braking import is_under_way
from billing.services.charging import charge_ready
from billing.services.context import Context
from billing.services.leaving import Leaving
from billing.services.operating import run_operations
from billing.services.outbox import deliver
from jobs import billing_run
from jobs.billing_run import run_all
from tests.billing.services.support import World, lose_after, reserve, wait_for


async def sending(world: World, busy: int) -> tuple[asyncio.Event, asyncio.Task[None]]:
    """Charge what is ready, until so many requests are at the bank, a page more is claimed, and all wait."""
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    night = asyncio.create_task(charge_ready(world.ctx, world.merchant_id, lambda _: None))
    while len(world.bank.sent) < busy or (await world.states(Attempt)).count("sent") < 2 * busy:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return gate, night


async def test_claims_that_were_not_begun_are_handed_back_and_charged_once_by_others(world: World) -> None:
    world = world.with_context(in_flight_max=3)
    await world.subscribe(9)
    await world.issue_again()
    gate, night = await sending(world, 3)

    world.ctx.leaving.tell()
    gate.set()
    await night

    assert (await world.states(Attempt)) == ["approved"] * 3 + ["created"] * 6
    waiting = await world.rows(Attempt, state="created")
    assert {(row["sent_at"], row["lease_until"], row["repeat_until"]) for row in waiting} == {(None, None, None)}
    assert len(world.bank.sent) == 3
    assert await world.breaches() == []

    await world.with_context(leaving=Leaving()).run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 9
    assert await world.breaches() == []


async def test_a_request_that_left_is_never_handed_back_whatever_became_of_it(world: World) -> None:
    world = world.with_context(in_flight_max=3)
    await world.subscribe(6)
    await world.issue_again()
    world.bank.on("P1", lose_after)
    gate, night = await sending(world, 3)

    world.ctx.leaving.tell()
    gate.set()
    await night

    assert "unknown" in await world.states(Attempt)
    sent = {charge.key for charge in world.bank.sent}
    assert not sent & {row["key"] for row in await world.rows(Attempt, state="created")}


async def test_the_first_slice_that_one_process_leaves_is_charged_by_another_that_waits_for_it(world: World) -> None:
    await world.change_merchant(brakes={"slice_charges": 4})
    await world.subscribe(9)
    leaving, staying = (world.with_context(in_flight_max=2, leaving=Leaving()) for _ in range(2))
    gate = asyncio.Event()
    world.bank.default = wait_for(gate)
    first = asyncio.create_task(leaving.run())
    await world.until(lambda: len(world.bank.sent) == 2)
    while (await world.states(Attempt)).count("sent") < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    second = asyncio.create_task(staying.run())

    leaving.ctx.leaving.tell()
    gate.set()
    left, report = await first, await second

    assert (left.left, left.state, report.state, report.charged) == (True, "running", "finished", 9)
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 9
    assert await world.breaches() == []


async def test_what_is_handed_back_to_a_run_that_was_aborted_meanwhile_is_withdrawn_with_it(world: World) -> None:
    world = world.with_context(in_flight_max=2)
    await world.subscribe(5)
    await world.issue_again()
    await world.change(Run, 1, state="running")
    gate, night = await sending(world, 2)

    assert await world.say(running.abort_within, 1, "the prices are wrong") == 1
    world.ctx.leaving.tell()
    gate.set()
    await night
    assert await world.states(Attempt) == ["approved"] * 2 + ["withdrawn"] * 3

    staying = world.with_context(leaving=Leaving())
    await staying.dun()
    assert len(world.bank.sent) == 2, "an aborted run charges nobody else on its day"
    world.next_day()
    await staying.run()
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 5
    assert await world.breaches() == []


async def test_no_run_is_finished_while_what_belongs_to_it_is_being_handed_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saw nothing unsent, and then nothing under way, must not have missed what went from one to the other."""
    leaving, staying = (world.with_context(in_flight_max=2, leaving=Leaving()) for _ in range(2))
    await world.subscribe(4)
    await world.issue_again()
    await world.change(Run, 1, state="running")
    gate, night = await sending(leaving, 2)

    async def let_it_leave_and_look(session: AsyncSession, run_id: int) -> bool:
        leaving.ctx.leaving.tell()
        gate.set()
        await asyncio.wait([night], timeout=1)
        return await is_under_way(session, run_id)

    monkeypatch.setattr(billing_run, "is_under_way", let_it_leave_and_look)
    report = await staying.run()
    await night

    assert (report.run_id, report.state, report.charged, report.waiting) == (1, "finished", 4, 0)
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_claim_that_is_over_is_not_handed_back(world: World) -> None:
    world = world.with_context(in_flight_max=2)
    await world.subscribe(4)
    await world.issue_again()
    gate, night = await sending(world, 2)
    await world.change(Attempt, 4, lease_until=datetime(2026, 1, 1, tzinfo=UTC))

    world.ctx.leaving.tell()
    gate.set()
    await night

    assert await world.states(Attempt) == ["approved", "approved", "created", "sent"]


async def test_a_claim_that_others_have_asked_about_is_not_handed_back(world: World) -> None:
    """They may have sent it again under its key, and it is theirs."""
    world = world.with_context(in_flight_max=2)
    await world.subscribe(4)
    await world.issue_again()
    gate, night = await sending(world, 2)
    await world.change(Attempt, 4, asks=1)

    world.ctx.leaving.tell()
    gate.set()
    await night

    assert await world.states(Attempt) == ["approved", "approved", "created", "sent"]


async def test_who_is_told_to_leave_claims_nothing(world: World) -> None:
    await world.subscribe(2)
    await world.issue_again()
    world.ctx.leaving.tell()

    await charge_ready(world.ctx, world.merchant_id, lambda _: None)
    assert await run_all(world.ctx) == []
    await world.dun()
    await world.reconcile()

    assert world.bank.sent == []
    assert await world.states(Attempt) == ["created", "created"]


class LastMail:
    """Takes one mail, waits where there is a gate, and tells the process to leave meanwhile."""

    at_once = 1

    def __init__(self, leaving: Leaving) -> None:
        self.leaving, self.handed = leaving, 0
        self.gate: asyncio.Event | None = None

    async def send(self, mail: Rendered, envelope: Envelope) -> str:  # noqa: ARG002
        self.leaving.tell()
        self.handed += 1
        if self.gate is not None:
            await self.gate.wait()
        return "250 OK"


async def test_mails_that_were_not_handed_over_can_be_sent_by_others_at_once(world: World) -> None:
    await world.subscribe(3)
    await world.run()
    first, second = LastMail(world.ctx.leaving), LastMail(Leaving())

    await deliver(world.ctx, first)
    assert sorted(await world.states(Message)) == ["queued", "queued", "sent"]
    await deliver(world.with_context(leaving=second.leaving).ctx, second)
    await deliver(world.with_context(leaving=Leaving()).ctx, LastMail(Leaving()))

    assert (first.handed, second.handed) == (1, 1)
    assert await world.states(Message) == ["sent"] * 3
    assert {row["tries"] for row in await world.rows(Message)} == {1}


class LastDeed(list[tuple[str, str]]):
    """What the bank did; after the first of it the process is told to leave."""

    leaving: Leaving

    def append(self, deed: tuple[str, str]) -> None:
        self.leaving.tell()
        super().append(deed)


async def test_operations_that_were_not_begun_can_be_done_and_asked_about_by_others_at_once(world: World) -> None:
    await world.subscribe(3)
    world.bank.default = reserve
    await world.run()
    world.bank.did = done = LastDeed()
    done.leaving = world.ctx.leaving

    await run_operations(world.ctx)
    rows = await world.rows(Operation)
    assert [row["state"] for row in rows] == ["approved", "created", "created"]
    assert {(row["sent_at"], row["lease_until"], row["asks"]) for row in rows[1:]} == {(None, None, 0)}

    done.leaving = Leaving()
    await run_operations(world.with_context(leaving=done.leaving).ctx)
    await run_operations(world.with_context(leaving=Leaving()).ctx)
    assert await world.states(Operation) == ["approved"] * 3
    assert [kind for kind, _ in done] == ["capture"] * 3
    assert await world.breaches() == []


async def test_a_mail_that_was_taken_back_while_a_leaving_process_had_it_stays_taken_back(world: World) -> None:
    await world.subscribe(2)
    await world.run()
    gate, last = asyncio.Event(), LastMail(world.ctx.leaving)
    last.gate = gate
    delivery = asyncio.create_task(deliver(world.ctx, last))
    await world.until(lambda: last.handed == 1)

    await world.change(Message, 2, state="dropped", recipient="forgotten-2", error="")
    gate.set()
    await delivery

    assert await world.states(Message) == ["sent", "dropped"]


async def test_a_question_that_others_have_asked_since_is_theirs_and_is_not_handed_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.subscribe(2)
    world.bank.default = reserve
    await world.run()
    await world.change(Operation, 2, state="unknown", asks=1, ask_at=datetime(2026, 1, 1, tzinfo=UTC))
    world.bank.did = done = LastDeed()
    done.leaving = world.ctx.leaving
    hand_back = operating._hand_back

    async def overslept(ctx: Context, errands: Any) -> None:
        await world.change(Operation, 2, asks=3)
        await hand_back(ctx, errands)

    monkeypatch.setattr(operating, "_hand_back", overslept)
    await run_operations(world.ctx)

    [row] = await world.rows(Operation, id=2)
    assert (row["state"], row["asks"]) == ("unknown", 3)
    assert row["lease_until"] is not None
