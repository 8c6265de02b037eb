"""The verbs of `turnus runs`: what runs there were and are, and a person's word on one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from sqlalchemy import select

from billing.models import Merchant, Run, RunState, table
from billing.money import Money
from billing.services import running
from billing.services.auditing import audit_about
from billing.services.context import Context
from jobs.billing_run import Report, plan_all, report_on
from jobs.showing import Screen
from jobs.who import who
from jobs.working import Json, MerchantName, at_work

LISTED: Final = 20

RunId = Annotated[int, typer.Argument(min=1, help="The run's id, as `turnus runs list` shows it.")]
By = Annotated[str, typer.Option("--by", help="Who says so; kept with the run.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the run.")]

runs = typer.Typer(no_args_is_help=True, help="Look at runs, plan, approve, pause, resume or abort one.")


@runs.command("list")
def list_(as_json: Json = False) -> None:
    """List the latest runs, newest first."""
    rows = at_work(lambda ctx, _: _latest(ctx))
    lines = (f"{row['id']:>6}  {row['merchant']}  {row['on_day']}  {row['state']}  {row['stopped']}" for row in rows)
    Screen(as_json).result({"runs": rows}, "\n".join(map(str.rstrip, lines)) or "There was no run yet.")


@runs.command()
def show(run_id: RunId, as_json: Json = False) -> None:
    """Show what a run set out to do, what it did, and why it is held back."""
    report, run = at_work(lambda ctx, _: report_on(ctx, run_id))
    about = asdict(report) | {"plan": run["plan"], "approved_by": run["approved_by"]}
    Screen(as_json).result(about, _in_words(report, run))


@runs.command()
def plan(
    merchant: MerchantName = None,
    as_json: Json = False,
) -> None:
    """Plan today's run and let it wait for approval: who and how much, and nothing is issued."""
    planned = at_work(lambda ctx, _: _plan(ctx, merchant))
    lines = (f"Run {each.run_id} of {each.merchant} for {each.on} is {each.state}." for each in planned)
    words = "\n".join(lines) or "Every merchant has had its run today."
    Screen(as_json).result({"runs": [asdict(report) for report in planned]}, words)


@runs.command()
def approve(run_id: RunId, by: By, as_json: Json = False) -> None:
    """Let a planned run begin, with the next `turnus run` or by the timetable."""
    _tell(running.approve_within, run_id, by, as_json)


@runs.command()
def pause(run_id: RunId, reason: Reason, as_json: Json = False) -> None:
    """Hold a run back: what has left is settled, and nothing more is issued or sent."""
    _tell(running.pause_within, run_id, reason, as_json)


@runs.command()
def resume(run_id: RunId, by: By, as_json: Json = False) -> None:
    """Let a run that was held back go on; its mails go out too."""
    _tell(running.resume_within, run_id, by, as_json)


@runs.command()
def abort(run_id: RunId, reason: Reason, as_json: Json = False) -> None:
    """End a run for good: what was not sent is withdrawn and tried again from tomorrow on."""
    _tell(running.abort_within, run_id, reason, as_json)


async def _plan(ctx: Context, merchant: str | None) -> list[Report]:
    planned = await plan_all(ctx, merchant)
    async with ctx.store.write() as session:
        for each in planned:
            if each.state == RunState.PLANNED:
                await audit_about(ctx, session, who(), "plan_run", f"run_{each.run_id}")
    return planned


def _tell(word: running.Word, run_id: int, said: str, as_json: bool) -> None:
    """Say a word on a run, and show where that leaves it."""

    async def do(ctx: Context, _: Any) -> Report:
        async with ctx.store.write() as session:
            await word(ctx, session, run_id, said)
            await audit_about(ctx, session, who(), running.verb_of(word), f"run_{run_id}", said=said)
        return (await report_on(ctx, run_id))[0]

    report = at_work(do)
    Screen(as_json).result(asdict(report), f"Run {run_id} is {report.state}.")


async def _latest(ctx: Context) -> list[dict[str, Any]]:
    run, merchant = table(Run), table(Merchant)
    columns = select(run, merchant.c.reference.label("merchant")).join_from(run, merchant)
    async with ctx.store.read() as session:
        rows = (await session.execute(columns.order_by(run.c.id.desc()).limit(LISTED))).mappings().all()
    return [
        {"id": row["id"], "merchant": row["merchant"], "on_day": str(row["on_day"]), "state": row["state"]}
        | {"stopped": row["stopped_reason"] or ""}
        for row in rows
    ]


def _in_words(report: Report, run: Any) -> str:
    plan = running.plan_in(run)
    lines = [f"Run {report.run_id} of {report.merchant} for {report.on}: {report.state}."]
    lines += [f"Stopped: {report.stopped}."] if report.stopped else []
    lines += [f"Approved by {run['approved_by']}."] if run["approved_by"] else []
    for name, load in plan.loads.items():
        account, _, currency = name.rpartition(" ")
        amount = Money(load.amount_minor, currency)
        lines.append(f"Planned: {load.charges} charges through {account}, {amount.major} {currency}.")
    lines += [f"Planned: {plan.links} invoices by link."] if plan.links else []
    done = (
        f"{report.invoiced} invoiced, {report.charged} charged, {report.declined} declined, {report.unknown} in doubt"
    )
    return "\n".join([*lines, f"So far: {done}, {report.waiting} waiting, {report.skipped} set aside."])
