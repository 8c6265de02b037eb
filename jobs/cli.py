"""The `turnus` command: thin verbs over the jobs, each with `--json`.

Exit status: 0 done, 1 done but something needs a person, 2 bad input (one clear line, nothing changed).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from typer.exceptions import TyperException

import migrations
from billing.gateway import GatewayError
from billing.mail import MailError
from billing.models import Merchant, table
from billing.services.context import Context
from billing.services.founding import SetupError, found
from billing.services.subscribing import EnrolmentError, enrol
from billing.services.verifying import NothingToRenewError, offer_renewal
from billing.store import DatabaseUrlError, bare_url
from billing.vault import VaultError
from jobs import demo as demo_job
from jobs import serving
from jobs.billing_run import Report, RunRefusedError, foresee, run_all
from jobs.deliver import deliver_all
from jobs.doctor import PROMISES, examine
from jobs.dunning_run import dun_all
from jobs.explain import UnknownIdError, explain
from jobs.importing import ImportFileError, read_subscribers
from jobs.reconcile import reconcile
from jobs.sandbox_process import SandboxError
from jobs.settings import Settings, SettingsError, read_settings
from jobs.setup_file import read_setup
from jobs.showing import Screen
from jobs.wiring import open_context, open_mailer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
On = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="Business day; default today.")]
MerchantName = Annotated[str | None, typer.Option("--merchant", help="Only this merchant, by its reference.")]

BAD_INPUT = (
    SettingsError,
    DatabaseUrlError,
    VaultError,
    SetupError,
    ImportFileError,
    EnrolmentError,
    RunRefusedError,
    UnknownIdError,
    NothingToRenewError,
    GatewayError,
    MailError,
    SandboxError,
    serving.ServingError,
)


class NotMigratedError(SettingsError):
    """The database has not the schema this code was written for."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command; bad input is one clear line on standard error and exit status 2."""
    given = list(sys.argv[1:] if words is None else words)
    try:
        status = app(given or ["--help"], prog_name="turnus", standalone_mode=False)
    except TyperException as error:
        _refuse(f"{error.format_message().replace('Value error, ', '')} `turnus --help` says what there is.")
    except BAD_INPUT as error:
        _refuse(str(error))
    raise SystemExit(status or 0)


def _refuse(reason: str) -> NoReturn:
    print(f"turnus: {reason}", file=sys.stderr)  # noqa: T201 - the one line a person gets
    raise SystemExit(2) from None


def _work(work: Callable[[Context, Settings], Awaitable[Any]]) -> Any:
    """Do work on the database that the settings name, which must be of the current schema."""
    settings = read_settings()
    Screen.log(settings.log_level)

    async def do() -> Any:
        if not await _reach(settings.database_url, _is_migrated):
            raise NotMigratedError("the database has not the current schema; run `turnus migrate` first")
        async with open_context(settings) as ctx:
            return await work(ctx, settings)

    return asyncio.run(do())


async def _reach(url: str, visit: Callable[[str], Awaitable[Any]]) -> Any:
    """Turn to the database for the first time; one that cannot be used is a bad setting."""
    try:
        return await visit(url)
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0]
        raise DatabaseUrlError(f"TURNUS_DATABASE_URL: {bare_url(url)} cannot be used: {reason}") from None


async def _is_migrated(url: str) -> bool:
    """Answer whether the schema is current; asking would make a SQLite file that is not there."""
    return not _is_missing_file(url) and await migrations.is_current(url)


def _is_missing_file(url: str) -> bool:
    with suppress(ArgumentError):
        address = make_url(url)
        return address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file()
    return False


def _day(on: datetime | None) -> date | None:
    return on.date() if on else None


def _done(needs_person: bool) -> NoReturn:
    raise typer.Exit(1 if needs_person else 0)


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the database to the current schema."""
    settings = read_settings()
    asyncio.run(_reach(settings.database_url, migrations.upgrade))
    Screen(as_json).result({"revision": migrations.head()}, f"The database is at {migrations.head()}.")


@app.command()
def setup(
    file: Path,
    check: Annotated[bool, typer.Option("--check", help="Ask each gateway whether the credentials work.")] = False,
    as_json: Json = False,
) -> None:
    """Create or bring up to date the merchant that a TOML file describes."""
    facts = read_setup(file)
    merchant_id = _work(lambda ctx, _: found(ctx, facts, connect=check))
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
            return asdict(await enrol(ctx, await _merchant_id(ctx, merchant), sheet.subscribers, dry_run=dry_run))
        except EnrolmentError as error:
            raise ImportFileError(sheet.name(error.complaints)) from None

    counts = _work(work)
    verb = "would be added" if dry_run else "added"
    line = ", ".join(f"{count} {name}" for name, count in counts.items())
    Screen(as_json).result(counts | {"dry_run": dry_run}, f"{line} {verb}.")


async def _merchant_id(ctx: Context, reference: str | None) -> int:
    merchant = table(Merchant)
    async with ctx.store.read() as session:
        rows = (await session.execute(select(merchant.c.id, merchant.c.reference))).all()
    found_ids = [row.id for row in rows if reference in (None, row.reference)]
    if len(found_ids) != 1:
        there = ", ".join(row.reference for row in rows) or "none yet: run `turnus setup FILE.toml`"
        raise SetupError(f"--merchant must name one merchant; there is {there}")
    return int(found_ids[0])


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
        reports = _work(lambda ctx, _: foresee(ctx, _day(on), merchant))
    else:
        with screen.run_progress() as progress:
            reports = _work(lambda ctx, _: run_all(ctx, _day(on), progress, merchant))
    screen.reports(reports, dry_run=dry_run)
    _done(any(_needs_person(report) for report in reports))


def _needs_person(report: Report) -> bool:
    return bool(report.refused or report.waiting or report.skipped)


@app.command()
def dun(on: On = None, merchant: MerchantName = None, as_json: Json = False) -> None:
    """Take the retries, reminders and last steps that are due."""
    report = _work(lambda ctx, _: dun_all(ctx, _day(on), merchant))
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
    report = _work(lambda ctx, _: reconcile(ctx, wait, send=True))
    about = asdict(report)
    about |= {"attempts": {str(state): count for state, count in report.attempts.items()}}
    lines = _counts("Attempts", about["attempts"]) + _counts("Operations", dict(report.operations))
    Screen(as_json).result(about, lines + f"{report.in_doubt} in doubt.")


@app.command()
def deliver(as_json: Json = False) -> None:
    """Send queued mails."""

    async def work(ctx: Context, settings: Settings) -> dict[str, int]:
        async with open_mailer(settings) as mailer:
            return dict(await deliver_all(ctx, mailer))

    counts = _work(work)
    Screen(as_json).result({"messages": counts}, _counts("Mails", counts))
    _done(bool(counts.get("failed")))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check every promise on live data; list each breach with ids."""
    breaches = _work(lambda ctx, _: examine(ctx))
    Screen(as_json).breaches(breaches, PROMISES)
    _done(bool(breaches))


@app.command("explain")
def explain_(name: str, as_json: Json = False) -> None:
    """Say why a subscription, invoice or attempt was or was not billed."""
    sentences = _work(lambda ctx, _: explain(ctx, name))
    Screen(as_json).result({"id": name, "sentences": sentences}, "\n".join(sentences))


@app.command()
def renew(
    subscription: str,
    mail: Annotated[bool, typer.Option("--mail/--no-mail", help="Send the customer the link.")] = True,
    as_json: Json = False,
) -> None:
    """Offer a customer to renew a subscription's stored profile with nothing owed."""
    url = _work(lambda ctx, _: offer_renewal(ctx, subscription, mail=mail))
    Screen(as_json).result({"subscription": subscription, "url": url}, url)


@app.command()
def serve(
    host: str = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8000,
    scheduler: Annotated[bool, typer.Option("--scheduler/--no-scheduler")] = True,
) -> None:
    """Serve web and scheduler; several machines may do so on one database."""

    async def work(ctx: Context, settings: Settings) -> None:
        with serving.listen(host, port) as listening:
            at = listening.getsockname()[1]
            Screen(as_json=False).say(f"Serving {settings.public_url} at {host} port {at}; Ctrl-C ends it.")
            await serving.serve(ctx, settings, listening, scheduler=scheduler)

    _work(work)


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
    Screen.log("error")
    if prepare is not None:
        environment = asyncio.run(demo_job.prepare(prepare, customers))
        screen.result(environment, "\n".join(f"{name}={value}" for name, value in environment.items()))
        return
    summary = asyncio.run(demo_job.play(customers, port, screen, serve=not no_serve))
    _done(bool(summary["doctor_breaches"]))


def _counts(title: str, counts: dict[str, int]) -> str:
    if not counts:
        return f"{title}: none.\n"
    return f"{title}: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) + ".\n"
