"""Which merchants' night or dunning has come, by their own clocks and what the rows say is done."""

from __future__ import annotations

from functools import partial
from zoneinfo import ZoneInfo

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Merchant, Run, RunState, table
from billing.services.answering import forget_answers
from billing.services.context import Context, Moment, moments
from billing.services.listening import forget_events
from jobs.abreast import RUNNING_S, SENDING_S, abreast
from jobs.billing_run import run_all
from jobs.dunning_run import dun_all
from jobs.settings import Settings

_merchant, _run = table(Merchant), table(Run)


async def work_of_the_hour(ctx: Context, settings: Settings) -> None:
    """Run and dun for every merchant whose hour has come, for several at once.

    The run of a day is begun once, from the hour on; one that was left unfinished is joined at any
    time, whoever began it, and worked on for half an hour before others have their turn. Dunning takes
    what is due from its hour on, each tick finding less. Answers that the API need not repeat any more,
    and events of long ago, are forgotten at every tick.
    """
    await forget_answers(ctx)
    await forget_events(ctx)
    await abreast(partial(_work_for, ctx, settings, *each) for each in await _merchants(ctx, settings))


async def _work_for(ctx: Context, settings: Settings, reference: str, moment: Moment, must_run: bool) -> None:
    if must_run:
        await run_all(ctx, merchant=reference, once=True, at_most_s=RUNNING_S)
    if _hour(moment) >= settings.dun_hour:
        await dun_all(ctx, merchant=reference, at_most_s=SENDING_S)


async def _merchants(ctx: Context, settings: Settings) -> list[tuple[str, Moment, bool]]:
    async with ctx.store.read() as session:
        rows = (await session.execute(select(_merchant.c.id, _merchant.c.reference).order_by(_merchant.c.id))).all()
        times = await moments(ctx, session, [row.id for row in rows])
        return [
            (row.reference, times[row.id], await _must_run(session, row.id, times[row.id], settings)) for row in rows
        ]


async def _must_run(session: AsyncSession, merchant_id: int, moment: Moment, settings: Settings) -> bool:
    """Answer whether a run is left unfinished, or the day's own has not been begun since its hour came."""
    mine = _run.c.merchant_id == merchant_id
    unfinished = exists().where(mine, _run.c.state == RunState.RUNNING)
    done = exists().where(mine, _run.c.on_day >= moment.today)
    row = (await session.execute(select(unfinished.label("unfinished"), done.label("done")))).one()
    return bool(row.unfinished) or (not row.done and _hour(moment) >= settings.run_hour)


def _hour(moment: Moment) -> int:
    return moment.now.astimezone(ZoneInfo(moment.timezone)).hour
