"""Runs: what one set out to do, what it did so far, and a person's word on it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlalchemy import RowMapping, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Attempt, Decision, Invoice, Run, RunState, table
from billing.services import running
from billing.services.refusing import MissingError
from billing.web.api.bodies import PLAIN, Amount, Given, Instant, Page, RunName, Shown, example, number_in
from billing.web.api.calls import Answer, Call, Changing, Listing, Showing
from billing.web.api.paging import PlainPaged, list_page

router = APIRouter(tags=["runs"])

_run, _attempt, _invoice, _decision = table(Run), table(Attempt), table(Invoice), table(Decision)
_LOAD: Final[dict[str, Any]] = {
    "account": "mpay24-main",
    "charges": 1204,
    "amount": {"amount_minor": 5899600, "currency": "EUR"},
}
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "run_3",
    "on_day": "2026-11-25",
    "state": "paused",
    "started_at": "2026-11-25T01:00:00Z",
    "finished_at": None,
    "approved_by": None,
    "approved_at": None,
    "stopped_reason": "40 of 50 charges through mPAY24 (mpay24-main) were declined",
    "planned": [_LOAD],
    "planned_links": 17,
}
_DONE: Final[dict[str, Any]] = {"invoiced": 1221, "set_aside": 0, "attempts": {"approved": 10, "declined": 40}}

RunPath = Annotated[RunName, Path()]


class ShownLoad(Shown):
    """What a run set out to charge at one account."""

    model_config = Shown.model_config | example(**_LOAD)
    account: str
    charges: int
    amount: Amount


class ShownRun(Shown):
    """One execution of the billing run. `planned_links` invoices are mailed with a link."""

    model_config = Shown.model_config | example(**_EXAMPLE)
    id: str
    on_day: date
    state: RunState
    started_at: Instant
    finished_at: Instant | None
    approved_by: str | None
    approved_at: Instant | None
    stopped_reason: str | None
    planned: list[ShownLoad]
    planned_links: int


class RunReport(ShownRun):
    """A run with what it did so far: attempts by where they stand."""

    model_config = Shown.model_config | example(**_EXAMPLE, **_DONE)
    invoiced: int
    set_aside: int
    attempts: dict[str, int]


class Why(Given):
    """Why a run is held back or ended; kept with the run."""

    model_config = Given.model_config | example(reason="the price of team/monthly is wrong")
    reason: Annotated[str, Field(min_length=1, max_length=500), PLAIN]


def show_run(row: RowMapping) -> ShownRun:
    """Return a run as callers see it."""
    return ShownRun(**_known(row))


def _known(row: RowMapping) -> dict[str, Any]:
    plan = running.plan_in(row)
    loads = []
    for name, load in plan.loads.items():
        account, _, currency = name.rpartition(" ")
        loads.append(ShownLoad(account=account, charges=load.charges, amount=Amount.of(load.amount_minor, currency)))
    made: dict[str, Any] = {"id": f"run_{row['id']}", "planned": loads, "planned_links": plan.links}
    return made | {name: row[name] for name in ShownRun.model_fields if name not in made}


@router.get("/runs", response_model=Page[ShownRun])
async def list_runs(
    call: Listing,
    paging: PlainPaged,
    state: Annotated[RunState | None, Query(description="Only those that stand here.")] = None,
) -> Response:
    """List the runs."""
    mine = select(_run).where(_run.c.merchant_id == call.merchant_id)
    if state is not None:
        mine = mine.where(_run.c.state == state)
    return await list_page(call, paging, mine, show_run, _run.c.id)


@router.get("/runs/{run}", response_model=RunReport)
async def get_run(call: Showing, run: RunPath) -> Response:
    """Show one run with what it did so far."""
    async with call.ctx.store.read() as session:
        return call.show(await _report(call, session, number_in(run)))


@router.post("/runs/{run}/approve", response_model=ShownRun)
async def approve_run(call: Changing, run: RunPath) -> Response:
    """Let a planned run begin, with the next tick of the timetable."""
    return await _say(call, run, running.approve_within, f"tk_{call.caller.prefix}")


@router.post("/runs/{run}/pause", response_model=ShownRun)
async def pause_run(call: Changing, run: RunPath, body: Why) -> Response:
    """Hold a running run back; what has left is settled, and nothing more is issued or sent."""
    return await _say(call, run, running.pause_within, body.reason)


@router.post("/runs/{run}/resume", response_model=ShownRun)
async def resume_run(call: Changing, run: RunPath) -> Response:
    """Let a run that was held back go on; its mails go out too."""
    return await _say(call, run, running.resume_within, f"tk_{call.caller.prefix}")


@router.post("/runs/{run}/abort", response_model=ShownRun)
async def abort_run(call: Changing, run: RunPath, body: Why) -> Response:
    """End a run for good: what was not sent is withdrawn and tried again from the next day on."""
    return await _say(call, run, running.abort_within, body.reason)


async def _say(call: Call, name: str, word: running.Word, said: str) -> Response:
    number = number_in(name)

    async def effect(session: AsyncSession) -> Answer:
        await _found(call, session, number)
        await session.execute(call.ctx.store.lock(select(_run.c.id).where(_run.c.id == number)))
        call.expect(await _report(call, session, number))
        await word(call.ctx, session, number, said)
        return Answer(show_run(await _found(call, session, number)))

    return await call.once(effect)


async def _report(call: Call, session: AsyncSession, number: int) -> RunReport:
    row = await _found(call, session, number)
    by_state = select(_attempt.c.state, func.count().label("count")).where(_attempt.c.run_id == number)
    attempts = await session.execute(by_state.group_by(_attempt.c.state).order_by(_attempt.c.state))
    invoiced = await session.execute(select(func.count()).where(_invoice.c.run_id == number))
    aside = await session.execute(select(func.count()).where(_decision.c.run_id == number))
    return RunReport(
        **_known(row),
        invoiced=invoiced.scalar_one(),
        set_aside=aside.scalar_one(),
        attempts={str(each["state"]): each["count"] for each in attempts.mappings()},
    )


async def _found(call: Call, session: AsyncSession, number: int) -> RowMapping:
    mine = select(_run).where(_run.c.id == number, _run.c.merchant_id == call.merchant_id)
    row = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no run run_{number}")
    return row
