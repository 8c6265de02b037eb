"""Runs: what they set out to do and how far they are, and a person's word on one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, select
from starlette.responses import Response

from billing.models import OPEN_RUN_STATES, Role, Run, RunState, table
from billing.services import running
from billing.services.braking import brakes_of
from billing.services.refusing import ConflictError, MissingError
from billing.services.running import RunStateError, largest_recently, plan_in, start_within
from billing.services.watching import (
    TOLD,
    Share,
    Standing,
    amounts_of,
    by_account,
    charges_of,
    find_run,
    gateways_of,
    skipped_in,
    standing_of,
    troubles_of,
)
from billing.web.console.desk import Desk, Seated, part_of
from billing.web.console.forms import Field, Form
from billing.web.console.gate import Section
from billing.web.console.gauges import LIMIT_AT, gauges_of
from billing.web.console.stories import cause_in

router = Section("Runs", "/runs")

_run = table(Run)

WHY: Final = Form.of(
    Field("reason", "Why", hint="Kept with the run, for whoever asks later.", chars_max=500),
)
SKIPPED: Final[Mapping[str, str]] = {
    "needs_approval": "more than one period is due: a person must allow it",
    "unpriceable": "no invoice can be made at this price",
    "unstorable": "the database refused the invoice",
}


@router.page("/runs", Role.VIEWER)
async def list_runs(desk: Seated) -> Response:
    """Show the runs, newest first."""
    state = desk.asked("state")
    mine = select(_run).where(_run.c.merchant_id == desk.merchant_id)
    if state in list(RunState):
        mine = mine.where(_run.c.state == state)
    open_ = select(_run).where(_run.c.merchant_id == desk.merchant_id, running.is_open())
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, mine, _run.c.id)
        current = (await session.execute(open_)).mappings().one_or_none()
    plans = {row["id"]: plan_in(row) for row in part.rows}
    known: dict[str, Any] = {"part": part, "state": state, "current": current, "states": list(RunState)}
    return desk.show("runs.html", **known, plans=plans, charges_of=charges_of, amounts_of=amounts_of)


@router.page("/runs/{run}", Role.VIEWER)
async def show_run(desk: Seated, run: str) -> Response:
    """Show how far a run is, and what may be done about it."""
    return await _show(desk, run)


@router.page("/runs/{run}/live", Role.VIEWER)
async def show_progress(desk: Seated, run: str) -> Response:
    """Show the part of the page that changes while the run goes on."""
    known = await _known(desk, run)
    answer = desk.show("run_live.html", **known)
    answer.headers["X-State"] = known["run"]["state"]
    return answer


@router.action("/runs/plan", Role.OPERATOR)
async def plan_run(desk: Seated) -> Response:
    """Plan today's run, which then waits for approval."""
    return await _start(desk, RunState.PLANNED, "The run is planned. Nothing is invoiced before you approve it.")


@router.action("/runs/start", Role.OPERATOR)
async def start_run(desk: Seated) -> Response:
    """Begin today's run with the next tick of the timetable."""
    return await _start(desk, RunState.RUNNING, "The run begins within a minute.")


@router.action("/runs/{run}/approve", Role.OPERATOR)
async def approve_run(desk: Seated, run: str) -> Response:
    """Let a planned run begin."""
    return await _say(desk, run, running.approve_within, desk.actor.name, "Approved. The run begins within a minute.")


@router.action("/runs/{run}/resume", Role.OPERATOR)
async def resume_run(desk: Seated, run: str) -> Response:
    """Let a run that was held back go on."""
    return await _say(desk, run, running.resume_within, desk.actor.name, "The run goes on within a minute.")


@router.action("/runs/{run}/pause", Role.OPERATOR)
async def pause_run(desk: Seated, run: str) -> Response:
    """Hold a running run back."""
    return await _say_why(desk, run, "pause", running.pause_within, "Paused. Nothing more is issued or sent.")


@router.action("/runs/{run}/abort", Role.OPERATOR)
async def abort_run(desk: Seated, run: str) -> Response:
    """End a run for good."""
    return await _say_why(desk, run, "abort", running.abort_within, "Aborted. What was not sent was withdrawn.")


async def _start(desk: Desk, state: RunState, toast: str) -> Response:
    verb = "plan_run" if state == RunState.PLANNED else "start_run"
    try:
        async with desk.ctx.store.write() as session:
            row = await start_within(desk.ctx, session, desk.at.merchant, desk.at.moment, state, desk.actor.name)
            await desk.note(session, verb, f"run_{row['id']}")
    except RunStateError as error:
        raise ConflictError(str(error)) from None
    if row["state"] == RunState.PAUSED:
        toast = "The run was held back before it began: see why."
    return desk.done(f"/runs/run_{row['id']}", toast)


async def _say_why(desk: Desk, name: str, verb: str, word: running.Word, toast: str) -> Response:
    """Say a word that wants a reason; without one the question is asked again."""
    draft = WHY.read(desk.typed)
    if draft.is_wrong:
        return await _show(desk, name, draft=draft, asking=verb)
    return await _say(desk, name, word, draft.values["reason"], toast)


async def _say(desk: Desk, name: str, word: running.Word, said: str, toast: str) -> Response:
    """Say a word on a run of the merchant; one that has moved on meanwhile is told as it is."""
    number = number_in(name)
    verb = running.verb_of(word)
    try:
        async with desk.ctx.store.write() as session:
            await find_run(session, desk.merchant_id, number)
            await word(desk.ctx, session, number, said[:100] if verb in ("approve_run", "resume_run") else said)
            await desk.note(session, verb, f"run_{number}", said=said)
    except RunStateError as error:
        raise ConflictError(str(error)) from None
    return desk.done(f"/runs/run_{number}", toast)


def number_in(name: str) -> int:
    """Return the number in a name such as `run_3`; raise `MissingError` for what names no run."""
    number = name.removeprefix("run_")
    if not (name.startswith("run_") and number.isascii() and number.isdigit() and len(number) < 19):
        raise MissingError(f"there is no run {name}")
    return int(number)


async def _show(desk: Desk, name: str, **asked: Any) -> Response:
    known = await _known(desk, name)
    whole: dict[str, Any] = {"draft": WHY.blank(), "blank": WHY.blank(), "asking": ""} | known | asked
    return desk.show("run.html", **whole)


async def _known(desk: Desk, name: str) -> dict[str, Any]:
    """Return all that a run's page tells."""
    async with desk.ctx.store.read() as session:
        run = await find_run(session, desk.merchant_id, number_in(name))
        standing = await standing_of(session, run)
        troubles = await troubles_of(session, run["id"])
        skipped = await skipped_in(session, run["id"]) if standing.skipped else []
        largest = await largest_recently(session, desk.merchant_id, run["on_day"], run["id"])
        gateways = await gateways_of(session, desk.merchant_id)
    titles = {name: desk.title_of(gateway) for name, gateway in gateways.items()}
    gauges = gauges_of(brakes_of(desk.at.merchant["brakes"]), standing, largest, titles)
    now = desk.ctx.clock.now()
    return {
        "run": run,
        "standing": standing,
        "segments": segments_of(standing),
        "planned": by_account(standing.plan.loads),
        "plan_amounts": amounts_of(standing.plan.loads),
        "plan_charges": charges_of(standing.plan.loads),
        "troubles": troubles,
        "skipped": skipped,
        "cause_in": cause_in,
        "why_skipped": SKIPPED,
        "gateways": gateways,
        "gauges": gauges,
        "limit_at": LIMIT_AT,
        "is_open": run["state"] in OPEN_RUN_STATES,
        "now": now,
        "took": took(run, now),
        "to_go_s": _to_go_s(standing, now),
    }


def segments_of(standing: Standing) -> list[tuple[str, Share]]:
    """Return the shares of a run in the order in which they are shown, those that are none left out of the bar."""
    total = standing.total
    shown = [(told, total[told]) for told in TOLD if told not in ("withdrawn", "to_go")]
    return [*shown, ("by_pay_link", standing.by_link)]


def took(run: RowMapping, now: datetime) -> str:
    """Write how long a run takes, or took."""
    return in_words_s(((run["finished_at"] or now) - run["started_at"]).total_seconds())


def in_words_s(seconds: float) -> str:
    """Write how long something lasts, in its two largest units."""
    whole = max(int(seconds), 0)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    nbsp = "\N{NO-BREAK SPACE}"
    return " ".join(f"{count}{nbsp}{unit}" for count, unit in parts[first : first + 2] if count) or f"0{nbsp}s"


def _to_go_s(standing: Standing, now: datetime) -> str:
    """Write how long a run will still take by its pace so far; one that was held back has had no even pace."""
    run = standing.run
    is_even = run["state"] == RunState.RUNNING and run["approved_at"] is None
    if not is_even or not standing.done or not standing.to_go:
        return ""
    return in_words_s((now - run["started_at"]).total_seconds() * standing.to_go / standing.done)
