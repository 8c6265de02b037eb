"""The `turnus` command: thin verbs over the jobs, each with `--json`.

Exit status: 0 done, 1 done but something needs a person, or broken off because the database failed, 2 bad input
(one clear line, nothing changed).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from typer.exceptions import TyperException

import migrations
from billing.gateway import GatewayError
from billing.mail import MailError
from billing.models import RunState
from billing.payments import OPEN, AttemptState
from billing.services.context import Context
from billing.services.deciding import DecisionError, Word, decide
from billing.services.founding import SetupError, found
from billing.services.keying import KeyingError
from billing.services.refunding import RefundError, give_back
from billing.services.rotating import RotationError, left_to_rotate, rotate
from billing.services.running import RunStateError
from billing.services.staffing import is_anybody_there, set_up_url
from billing.services.subscribing import EnrolmentError, enrol
from billing.services.verifying import NothingToRenewError, offer_renewal
from billing.store import DatabaseUrlError, Store
from billing.vault import VaultError
from jobs import bench as bench_job
from jobs import demo as demo_job
from jobs import serving
from jobs.archive import ArchiveError, archive
from jobs.billing_run import Report, RunRefusedError, foresee, run_all
from jobs.deliver import announce_all, deliver_all
from jobs.doctor import PROMISES, examine
from jobs.dunning_run import DunningReport, dun_all
from jobs.explain import UnknownIdError, explain
from jobs.importing import ImportFileError, read_subscribers
from jobs.keys import keys
from jobs.logbook import open_logbook
from jobs.metrics import Metrics
from jobs.reconcile import ReconcileReport, reconcile
from jobs.runs import runs
from jobs.sandbox_process import SandboxError
from jobs.settings import Settings, SettingsError, read_settings
from jobs.setup_file import read_setup
from jobs.showing import Screen
from jobs.signals import CutOffError
from jobs.users import StaffError, users
from jobs.who import By, note_work, who
from jobs.wiring import open_courier, open_mailer
from jobs.working import Json, MerchantName, at_work, merchant_id, reach

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

On = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Business day; default today.")]

BAD_INPUT = (
    SettingsError,
    DatabaseUrlError,
    VaultError,
    SetupError,
    ImportFileError,
    EnrolmentError,
    RunRefusedError,
    RunStateError,
    UnknownIdError,
    NothingToRenewError,
    DecisionError,
    RefundError,
    KeyingError,
    StaffError,
    RotationError,
    ArchiveError,
    GatewayError,
    MailError,
    SandboxError,
    serving.ServingError,
)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command; bad input is one clear line on standard error and exit status 2.

    A database that fails in the middle is one clear line as well: what is done is in it, and the rest still to do.
    """
    given = list(sys.argv[1:] if words is None else words)
    try:
        status = app(given or ["--help"], prog_name="turnus", standalone_mode=False)
    except TyperException as error:
        _refuse(f"{error.format_message().replace('Value error, ', '')} `turnus --help` says what there is.")
    except BAD_INPUT as error:
        _refuse(str(error))
    except CutOffError:
        _break_off("cut off while something was under way; leases take care of it")
    except (DBAPIError, ExceptionGroup) as error:
        if refused := _first_of(error, BAD_INPUT):
            _refuse(str(refused))
        failure = _failure_of_database(error)
        if failure is None:
            raise
        _break_off(f"the database failed: {failure}; nothing is lost, start it again")
    raise SystemExit(status or 0)


def _refuse(reason: str) -> NoReturn:
    _end(reason, 2)


def _break_off(reason: str) -> NoReturn:
    _end(reason, 1)


def _end(reason: str, status: int) -> NoReturn:
    print(f"turnus: {reason}", file=sys.stderr)  # noqa: T201 - the one line a person gets
    raise SystemExit(status) from None


def _failure_of_database(error: Exception) -> str | None:
    """Return the first line of what the database said, unless anything else went wrong besides."""
    failure = _first_of(error, (OperationalError, InterfaceError))
    return None if failure is None else str(getattr(failure, "orig", failure)).partition("\n")[0]


def _first_of(error: Exception, kinds: tuple[type[Exception], ...]) -> Exception | None:
    """Return the error, or the first of several merchants', unless any is of another kind."""
    if isinstance(error, ExceptionGroup):
        found = [_first_of(each, kinds) for each in error.exceptions]
        return found[0] if None not in found else None
    return error if isinstance(error, kinds) else None


def _day(on: datetime | None) -> date | None:
    return on.date() if on else None


def _done(needs_person: bool) -> NoReturn:
    raise typer.Exit(1 if needs_person else 0)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"turnus {version('turnus')}")
        raise typer.Exit


@app.callback()
def turnus(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Bill subscribers, and get the money in."""


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the database to the current schema."""
    settings = read_settings()
    asyncio.run(reach(settings.database_url, migrations.upgrade))
    Screen(as_json).result({"revision": migrations.head()}, f"The database is at {migrations.head()}.")


@app.command()
def setup(
    file: Path,
    check: Annotated[bool, typer.Option("--check", help="Ask each gateway whether the credentials work.")] = False,
    as_json: Json = False,
) -> None:
    """Create or bring up to date the merchant that a TOML file describes."""
    facts = read_setup(file)
    merchant_id = at_work(lambda ctx, _: found(ctx, facts, connect=check, actor=who()))
    about = {"merchant": facts.reference, "merchant_id": merchant_id}
    Screen(as_json).result(about, f"Merchant {facts.reference} is set up.")


@app.command("import")
def import_(
    file: Path,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    merchant: MerchantName = None,
    as_json: Json = False,
) -> None:
    """Import customers, profiles and subscriptions from CSV: all rows or none."""
    sheet = read_subscribers(file)

    async def work(ctx: Context, _: Settings) -> dict[str, int]:
        try:
            mine = await merchant_id(ctx, merchant)
            return asdict(await enrol(ctx, mine, sheet.subscribers, dry_run=dry_run, actor=who()))
        except EnrolmentError as error:
            raise ImportFileError(sheet.name(error.complaints)) from None

    counts = at_work(work)
    verb = "would be added" if dry_run else "added"
    line = ", ".join(f"{count} {name}" for name, count in counts.items())
    Screen(as_json).result(counts | {"dry_run": dry_run}, f"{line} {verb}.")


@app.command()
def run(
    on: On = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is due, change nothing.")] = False,
    merchant: MerchantName = None,
    as_json: Json = False,
) -> None:
    """Issue and charge what is due; joins a run already going, and catches up missed nights."""
    screen = Screen(as_json)
    if dry_run:
        reports = at_work(lambda ctx, _: foresee(ctx, _day(on), merchant))
    else:
        with screen.run_progress() as progress:

            async def work(ctx: Context, _: Settings) -> list[Report]:
                await note_work(ctx, "run", _day(on), merchant)
                return await run_all(ctx, _day(on), progress, merchant)

            reports = at_work(work)
    screen.reports(reports, dry_run=dry_run)
    _done(any(_needs_person(report) for report in reports))


def _needs_person(report: Report) -> bool:
    held = report.state in (RunState.PLANNED, RunState.PAUSED)
    waiting = report.waiting and not report.left
    return bool(held or report.refused or waiting or report.skipped)


@app.command()
def dun(on: On = None, merchant: MerchantName = None, as_json: Json = False) -> None:
    """Take the retries, reminders and last steps that are due."""

    async def work(ctx: Context, _: Settings) -> DunningReport:
        await note_work(ctx, "dun", _day(on), merchant)
        return await dun_all(ctx, _day(on), merchant)

    report = at_work(work)
    steps, settled = dict(report.steps), {str(state): count for state, count in report.settled.items()}
    Screen(as_json).result(
        {"steps": steps, "settled": settled}, _counts("Steps taken", steps) + _counts("Retries", settled)
    )


@app.command("reconcile")
def reconcile_(
    wait: Annotated[float, typer.Option("--wait", min=0, max=3600, help="Keep on for so many seconds.")] = 0,
    as_json: Json = False,
) -> None:
    """Ask the gateways about every attempt in doubt and every reversal still owed."""

    async def work(ctx: Context, _: Settings) -> ReconcileReport:
        await note_work(ctx, "reconcile")
        return await reconcile(ctx, wait, send=True)

    report = at_work(work)
    about = asdict(report)
    about |= {"attempts": {str(state): count for state, count in report.attempts.items()}}
    lines = _counts("Attempts", about["attempts"]) + _counts("Operations", dict(report.operations))
    Screen(as_json).result(about, lines + f"{report.in_doubt} in doubt.")


@app.command()
def deliver(as_json: Json = False) -> None:
    """Send queued mails and webhooks."""

    async def work(ctx: Context, settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
        await note_work(ctx, "deliver")
        async with open_mailer(settings) as mailer, open_courier(settings) as courier:
            mails, webhooks = await asyncio.gather(deliver_all(ctx, mailer), announce_all(ctx, courier))
            return dict(mails), dict(webhooks)

    mails, webhooks = at_work(work)
    lines = _counts("Mails", mails) + _counts("Webhooks", webhooks)
    Screen(as_json).result({"messages": mails, "webhooks": webhooks}, lines)
    _done(bool(mails.get("failed") or webhooks.get("failed")))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check every promise on live data; list each breach with ids."""
    breaches = at_work(lambda ctx, _: examine(ctx))
    Screen(as_json).breaches(breaches, PROMISES)
    _done(bool(breaches))


@app.command("explain")
def explain_(name: str, as_json: Json = False) -> None:
    """Say why a subscription, invoice or attempt was or was not billed."""
    sentences = at_work(lambda ctx, _: explain(ctx, name))
    Screen(as_json).result({"id": name, "sentences": sentences}, "\n".join(sentences))


@app.command("archive")
def archive_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.")],
    days: Annotated[int, typer.Option("--days", help="How long ago it must have been settled.")] = 400,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Move what old notifications said out of the database, into files."""
    done = at_work(lambda ctx, _: archive(ctx, folder, days, who(by)))
    files = "".join(f"\n{folder / name}" for name in done.files)
    Screen(as_json).result(asdict(done), f"{done.notifications} notifications archived.{files}")


@app.command()
def settle(
    name: Annotated[str, typer.Argument(metavar="ID", help="What is in doubt: att_12 or op_34.")],
    proof: Annotated[str, typer.Option("--proof", help="How you know it: a statement, a name, a case number.")],
    approved: Annotated[str | None, typer.Option("--approved", help="It was booked: the gateway's id of it.")] = None,
    not_booked: Annotated[bool, typer.Option("--not-booked", help="Nothing was booked, and nothing will be.")] = False,
    amount: Annotated[str, typer.Option("--amount", help="What was booked, if not what was asked for.")] = "",
    reserved: Annotated[bool, typer.Option("--reserved", help="It is only reserved, and not captured.")] = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Settle a doubt by hand, with proof; what the gateway says later still corrects it."""
    if (approved is not None) == not_booked or approved == "":
        raise DecisionError("say either --approved with the gateway's id of it, or --not-booked")
    word = Word(proof, by, approved or "", amount, reserved)
    state = at_work(lambda ctx, _: decide(ctx, name, word, who(by)))
    Screen(as_json).result({"id": name, "state": state}, f"{name} is {state}.")


@app.command()
def refund(
    name: Annotated[str, typer.Argument(metavar="ID", help="The payment: att_12, or att_12/ID for a second one.")],
    amount: Annotated[str, typer.Option("--amount", help="How much; default all that is left of it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever reads it later.")] = "",
    as_json: Json = False,
) -> None:
    """Give back money of a payment, at most what came in and has not gone back yet."""
    done = at_work(lambda ctx, _: give_back(ctx, name, amount, reason, who()))
    value, currency = done.amount.major, done.amount.currency
    about = {"id": name, "operation": f"op_{done.operation_id}", "amount": str(value), "currency": currency}
    why = f": {done.evidence}" if done.evidence else ""
    line = f"op_{done.operation_id}, giving back {value} {currency} of {name}, is {done.state}{why}."
    Screen(as_json).result(about | {"state": done.state}, line)
    _done(done.state not in (*OPEN, AttemptState.APPROVED))


@app.command()
def renew(
    subscription: str,
    mail: Annotated[bool, typer.Option("--mail/--no-mail", help="Send the customer the link.")] = True,
    as_json: Json = False,
) -> None:
    """Offer a customer to renew a subscription's stored profile with nothing owed."""
    url = at_work(lambda ctx, _: offer_renewal(ctx, subscription, mail=mail, actor=who()))
    Screen(as_json).result({"subscription": subscription, "url": url}, url)


@app.command("rotate-key")
def rotate_key(as_json: Json = False) -> None:
    """Seal everything with TURNUS_SECRET_KEY that TURNUS_SECRET_KEY_OLD has sealed."""

    async def work(ctx: Context, _: Settings) -> tuple[dict[str, int], dict[str, int]]:
        done = await rotate(ctx)
        await note_work(ctx, "rotate_secret_key", sealed=done.total())
        async with ctx.store.scan() as session:
            return dict(done), dict(await left_to_rotate(ctx, session))

    done, left = at_work(work)
    Screen(as_json).result({"sealed": done, "left": left}, _counts("Sealed anew", done) + _counts("Left", left))
    _done(bool(left))


@app.command()
def serve(
    host: str = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8000,
    scheduler: Annotated[bool, typer.Option("--scheduler/--no-scheduler")] = True,
) -> None:
    """Serve web and scheduler; several machines may do so on one database."""
    metrics = Metrics()

    async def work(ctx: Context, settings: Settings) -> None:
        with serving.listen(host, port) as listening:
            at = listening.getsockname()[1]
            screen = Screen(as_json=False)
            screen.say(f"Serving {settings.public_url} at {host} port {at}; Ctrl-C ends it.")
            if not await is_anybody_there(ctx):
                screen.say(f"Nobody can sign in to the console yet; the first admin is made at {set_up_url(ctx)}")
            await serving.serve(ctx, settings, listening, metrics, scheduler=scheduler)

    at_work(work, metrics)


@app.command()
def sandbox(
    state_dir: Annotated[Path | None, typer.Option("--state-dir")] = None,
    ports: Annotated[int | None, typer.Option("--ports", min=1, max=65000, help="The first port.")] = None,
    as_json: Json = False,
) -> None:
    """Start the simulators, each on its own port, with a ledger of their own on disk."""
    options = ["--state-dir", str(state_dir)] if state_dir else []
    options += ["--ports", str(ports)] if ports else []
    options += ["--json"] if as_json else []
    os.execv(sys.executable, [sys.executable, "-P", "-m", "gateways.sandbox", *options])  # noqa: S606 - becomes it


@app.command()
def demo(
    customers: Annotated[int, typer.Option("--customers", min=1, max=1_000_000)] = 60,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End after the summary.")] = False,
    prepare: Annotated[Path | None, typer.Option("--prepare", help="Set everything up in a folder and stop.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default 8000, or any that is free.")] = None,
    as_json: Json = False,
) -> None:
    """Bill some months for a sample merchant through the sandbox gateways, and show what happened."""
    screen = Screen(as_json)
    open_logbook("error")
    if prepare is not None:
        environment = asyncio.run(demo_job.prepare(prepare, customers))
        screen.result(environment, "\n".join(f"{name}={value}" for name, value in environment.items()))
        return
    summary = asyncio.run(demo_job.play(customers, port, screen, serve=not no_serve))
    _done(bool(summary["doctor_breaches"]))


@app.command()
def bench(
    database: Annotated[
        str | None,
        typer.Option(
            "--database", envvar="TURNUS_DATABASE_URL", help="A PostgreSQL without a merchant, beside SQLite."
        ),
    ] = None,
    subscriptions: Annotated[int, typer.Option("--subscriptions", min=1)] = 10_000,
    charges: Annotated[int, typer.Option("--charges", min=1, help="For each gateway.")] = 5_000,
    in_flight: Annotated[int, typer.Option("--in-flight", min=1, max=5000)] = 250,
    latency_ms: Annotated[int, typer.Option("--latency-ms", min=1, help="Of the simulated gateways.")] = 200,
    mails: Annotated[int, typer.Option("--mails", min=0, help="How many of a night's mails are delivered.")] = 1_000,
    shared: Annotated[
        int, typer.Option("--shared", min=1, help="Subscriptions that several processes share.")
    ] = 10_000,
    only: Annotated[list[str] | None, typer.Option("--only", help=", ".join(bench_job.PARTS))] = None,
    as_json: Json = False,
) -> None:
    """Measure invoicing, charging, nights, idle runs, the doctor and the console's pages, on databases of its own."""
    screen = Screen(as_json)
    open_logbook("error")
    address = database if database and not Store(database).is_sqlite else None
    parts = only or bench_job.PARTS
    wanted = bench_job.Wanted(subscriptions, charges, in_flight, latency_ms, mails, shared, address, parts)
    screen.figures(asyncio.run(bench_job.bench(wanted, screen.say)))


app.add_typer(runs, name="runs")
app.add_typer(keys, name="keys")
app.add_typer(users, name="users")


def _counts(title: str, counts: dict[str, int]) -> str:
    if not counts:
        return f"{title}: none.\n"
    return f"{title}: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) + ".\n"
