"""Die at every transaction of a night, just before and just after its commit; start again, and look."""

from __future__ import annotations

from itertools import count

import pytest

from billing.models import Attempt, Message
from billing.services.outbox import deliver
from tests.billing.services.support import Act, Crash, World, approve, decline, lose_after, lose_before, not_sent
from tests.crash.support import DyingStore, Postman, seen_by

POINTS_MIN = 8


async def night(world: World, postman: Postman) -> None:
    """Run, ask, and write to customers."""
    await world.run()
    await world.reconcile()
    await deliver(world.ctx, postman)


async def died(world: World, postman: Postman, at: int, *, committed: bool) -> bool:
    """Let a process play the night that dies at the transaction, and say whether there was one to die at."""
    store = DyingStore(world.store.engine.url.render_as_string(hide_password=False), at, committed=committed)
    try:
        await night(seen_by(world, store), postman)
    except (Crash, BaseExceptionGroup):
        return True
    finally:
        await store.close()
    return False


@pytest.mark.parametrize("committed", [False, True])
async def test_whoever_dies_where_ever_in_the_night_everybody_is_charged_once(world: World, committed: bool) -> None:
    """One customer pays, one is declined, one answer is lost after and one before it was booked, one never leaves."""
    acts: list[list[Act]] = [[approve], [decline()] * 4, [lose_after], [lose_before], [not_sent]]
    postman = Postman()
    for at in count(1):
        first = len(await world.rows(Attempt, number=1))
        await world.subscribe(len(acts))
        for number, act in enumerate(acts, start=1):
            world.bank.on(f"P{first + number}", *act)
        if not await died(world, postman, at, committed=committed):
            break
        for _ in range(2):
            await world.clear_up(1)
            await world.run()
        await world.let_mails_be_due()
        await night(world, postman)
        assert set(world.bank.sales().values()) == {1}, at
        assert len(world.bank.sales()) == 4 * at, at
        assert await world.breaches() == [], at
    assert at > POINTS_MIN

    messages = await world.rows(Message)
    sent = [row for row in messages if row["state"] == "sent"]
    assert len(sent) == len(messages) == len(postman.handed), "no mail is lost"
    assert len({(row["cause"], row["step"]) for row in messages}) == len(messages)
    assert sum(postman.handed.values()) <= len(messages) + at, "at most one more for each death"
