"""Bill some months for a sample merchant: real processes, real sockets, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import APIRouter, Request
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import RedirectResponse, Response

import migrations
from billing.clock import day_in
from billing.models import (
    Attempt,
    Customer,
    Invoice,
    Merchant,
    PayLink,
    Profile,
    TestClock,
    Verification,
    VerificationState,
    table,
)
from billing.money import Money
from billing.payments import AttemptState, Initiator
from billing.periods import Interval, Unit
from billing.pricing import Terms
from billing.services.context import Context
from billing.services.founding import AccountFacts, MerchantFacts, PlanFacts, PriceFacts, SetupError, found, give_clock
from billing.services.staffing import Person, make_first_admin
from billing.services.subscribing import enrol
from billing.services.verifying import offer_renewal
from billing.store import bare_url
from billing.web.pages import Demo, OpenLink
from jobs.billing_run import run_all
from jobs.deliver import deliver_all
from jobs.demo_gateways import GATEWAYS
from jobs.demo_people import people
from jobs.demo_visitor import link_in, visit
from jobs.doctor import examine
from jobs.dunning_run import dun_all
from jobs.mailbox import Mailbox, mailbox_router, receiving, render
from jobs.reconcile import reconcile
from jobs.sandbox_process import SandboxGateway, sandbox
from jobs.serving import ServingError, listen, serving
from jobs.settings import Settings
from jobs.showing import Screen
from jobs.wiring import open_context, open_mailer

MERCHANT: Final = "nordlicht"
OPERATOR: Final = "operator@nordlicht.example"
OPERATOR_PASSWORD: Final = "a fake demo password"  # noqa: S105 - it opens an invented merchant, on this machine alone
TIMEZONE: Final = "Europe/Vienna"
# The sandbox knows at once what it booked, so its doubts are asked about within seconds.
SWIFT: Final = {"timeout_s": "5", "ask_delays_s": "1,2,4", "settle_s": "2"}
LEASE_S: Final = 15
PORT: Final = 8000
CHUNK: Final = 5_000
BEGINS_ON: Final = date(2026, 12, 1)
NIGHTS: Final = tuple(BEGINS_ON + timedelta(days=each) for each in (0, 3, 7, 14, 31, 62))
LOST_ANSWERS: Final = 1
LAST_DECLINES: Final = 2
RENEWALS: Final = 2
VISITS_MAX: Final = 60


@dataclass(slots=True)
class Summary:
    """What the demo did; every number is counted in the database at the end."""

    customers: int = 0
    nights: int = 0
    invoiced: int = 0
    charged: int = 0
    declined: int = 0
    mailed: int = 0
    recovered: int = 0
    profiles_renewed: int = 0
    verifications_reversed: int = 0
    doctor_breaches: int = 0


@dataclass(slots=True)
class _Stage:
    """Everything on stage at once."""

    ctx: Context
    settings: Settings
    gateways: dict[str, SandboxGateway]
    mailbox: Mailbox
    screen: Screen
    customers: int
    visited: set[str] = field(default_factory=set)
    read: int = 0


async def play(customers: int, port: int | None, screen: Screen, *, serve: bool) -> dict[str, int]:
    """Play the demo, show its summary, and keep serving its pages if asked to."""
    mailbox = Mailbox()
    with tempfile.TemporaryDirectory(prefix="turnus-demo-") as folder, _listen(port) as listening:
        async with sandbox(Path(folder)) as gateways, receiving(mailbox) as smtp_url:
            settings = _settings(Path(folder), smtp_url, listening.getsockname()[1])
            await migrations.upgrade(settings.database_url)
            async with open_context(settings) as ctx:
                stage = _Stage(ctx, settings, gateways, mailbox, screen, customers)
                routers = (mailbox_router(mailbox), _demo_router(stage))
                async with serving(ctx, listening, routers):
                    summary = await _perform(stage)
                    screen.result(asdict(summary), _in_words(summary))
                    if serve:
                        await _look_around(screen, settings.public_url)
    return asdict(summary)


def _listen(port: int | None) -> socket.socket:
    """Listen where the demo is wanted; without a wish, on another port if the usual one is taken."""
    try:
        return listen("127.0.0.1", port or PORT)
    except ServingError:
        if port is None:
            return listen("127.0.0.1", 0)
        raise


async def _look_around(screen: Screen, public_url: str) -> None:
    """Wait for Ctrl-C or a signal like it, which is how the demo is meant to end."""
    screen.say(f"Open {public_url}/demo to look around; Ctrl-C ends it.")
    screen.say(f"The console is at {public_url}/console: sign in as {OPERATOR}, password {OPERATOR_PASSWORD!r}.")
    if me := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def prepare(folder: Path, customers: int) -> dict[str, str]:
    """Set up a database, the sandbox's state and customers due today in a folder; return the environment to use.

    TURNUS_DATABASE_URL is honoured where it names a database without a merchant, so that
    nobody's own data is mixed with invented customers; else `SetupError`.
    """
    folder = _made(folder)
    settings = _settings(folder, "smtp://127.0.0.1:2525", PORT, os.environ.get("TURNUS_DATABASE_URL"))
    await _refuse_others_data(settings)
    await migrations.upgrade(settings.database_url)
    async with sandbox(folder) as gateways, open_context(settings) as ctx:
        merchant_id = await _found(ctx, gateways)
        today = day_in(TIMEZONE, ctx.clock.now())
        await _enrol(ctx, gateways, merchant_id, customers, today)
    return {
        "TURNUS_DATABASE_URL": settings.database_url,
        "TURNUS_SECRET_KEY": settings.secret_key,
        "TURNUS_SMTP_URL": settings.smtp_url,
        "TURNUS_PUBLIC_URL": settings.public_url,
        "TURNUS_TIMEZONE": settings.timezone,
        "TURNUS_LEASE_S": str(settings.lease_s),
        "TURNUS_GATEWAYS_AT_PRIVATE_ADDRESSES": "true",
    }


def _settings(folder: Path, smtp_url: str, port: int, database_url: str | None = None) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url or f"sqlite+aiosqlite:///{folder}/turnus.db",
        secret_key=secrets.token_urlsafe(32),
        smtp_url=smtp_url,
        public_url=f"http://127.0.0.1:{port}",
        timezone=TIMEZONE,
        lease_s=LEASE_S,
        gateways_at_private_addresses=True,
    )


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{folder}: {error.strerror}") from None
    return folder.resolve()


async def _refuse_others_data(settings: Settings) -> None:
    """Look for a merchant before anything is changed, even the schema."""
    if await migrations.current(settings.database_url) is None:
        return
    async with open_context(settings) as ctx, ctx.store.read() as session:
        if (await session.execute(select(func.count()).select_from(table(Merchant)))).scalar_one():
            name = bare_url(settings.database_url)
            raise SetupError(f"{name} has a merchant already; the demo wants a database of its own")


# --- the sample merchant ----------------------------------------------------


async def _found(ctx: Context, gateways: dict[str, SandboxGateway]) -> int:
    accounts = tuple(AccountFacts(name, name, gateways[name].credentials | SWIFT) for name in GATEWAYS)
    return await found(
        ctx,
        MerchantFacts(
            reference=MERCHANT,
            name="Nordlicht Analytics",
            legal_name="Nordlicht Analytics GmbH",
            place="Wien und Hamburg",
            legal_line="Nordlicht Analytics GmbH, Beispielgasse 12, 1070 Wien. FN 123456 a, UID ATU12345678",
            country="AT",
            language="de",
            number_prefix="NA",
            mail_from="rechnung@nordlicht.example",
            timezone=TIMEZONE,
            accounts=accounts,
            plans=(_team(), _solo()),
        ),
    )


async def _let_operator_in(ctx: Context) -> None:
    """Make the one user of the demo's console."""
    hashed = await ctx.passwords.hash(OPERATOR_PASSWORD)
    async with ctx.store.write() as session:
        await make_first_admin(ctx, session, Person(OPERATOR, "Olga Operator"), hashed)


def _team() -> PlanFacts:
    monthly = PriceFacts("monthly", "Team", _terms(4900, Unit.MONTH))
    weekly = PriceFacts("weekly", "Puls", _terms(1500, Unit.WEEK))
    return PlanFacts("team", "Team", (monthly, weekly))


def _solo() -> PlanFacts:
    monthly = PriceFacts("monthly", "Solo", _terms(2500, Unit.MONTH))
    yearly = PriceFacts("yearly", "Archiv", _terms(25000, Unit.YEAR))
    return PlanFacts("solo", "Solo", (monthly, yearly))


def _terms(minor: int, unit: Unit) -> Terms:
    return Terms(Money(minor, "EUR"), Interval(unit), tax_rate_bp=2000)


async def _enrol(ctx: Context, gateways: dict[str, SandboxGateway], merchant_id: int, count: int, today: date) -> None:
    for start in range(0, count, CHUNK):
        chunk = list(people(min(CHUNK, count - start), today, start))
        for name in GATEWAYS:
            await gateways[name].store_profiles([each.stored for each in chunk if each.gateway == name and each.stored])
        await enrol(ctx, merchant_id, [person.subscriber for person in chunk])


# --- the nights -------------------------------------------------------------


async def _perform(stage: _Stage) -> Summary:
    merchant_id = await _found(stage.ctx, stage.gateways)
    await _let_operator_in(stage.ctx)
    await give_clock(stage.ctx, MERCHANT, TestClock(name="demo", now_at=_at(BEGINS_ON, 1)))
    await _enrol(stage.ctx, stage.gateways, merchant_id, stage.customers, BEGINS_ON)
    for name, gateway in stage.gateways.items():
        await gateway.set_faults([_fault(name, "drop_after_booking", LOST_ANSWERS)])
    for night in NIGHTS[:-1]:
        await _night(stage, night)
        await _morning(stage, night)
        await _afternoon(stage, night)
    for name, gateway in stage.gateways.items():
        await gateway.set_faults([_fault(name, f"decline:{GATEWAYS[name].decline}", LAST_DECLINES)])
    await _night(stage, NIGHTS[-1])
    await _morning(stage, NIGHTS[-1])
    return await _summary(stage)


def _fault(name: str, kind: str, times: int) -> dict[str, Any]:
    return {"match": {"operation": GATEWAYS[name].charge}, "fault": kind, "times": times}


async def _night(stage: _Stage, night: date) -> None:
    await _set_clock(stage.ctx, _at(night, 2))
    report = (await run_all(stage.ctx))[-1]
    await reconcile(stage.ctx, wait_s=30)
    stage.screen.say(
        f"{night}: {report.invoiced} invoiced, {report.charged} charged, "
        f"{report.declined} declined, {report.unknown} in doubt and asked about"
    )


async def _morning(stage: _Stage, day: date) -> None:
    """Take the dunning steps and send the mails; the mails of the last morning are left for you."""
    await _set_clock(stage.ctx, _at(day, 9))
    await dun_all(stage.ctx)
    if day == BEGINS_ON:
        for number in range(min(RENEWALS, stage.customers)):
            await offer_renewal(stage.ctx, f"S{number + 1:07d}")
    await _deliver(stage)


async def _afternoon(stage: _Stage, day: date) -> None:
    """Let customers read their mails; most of them pay."""
    await _set_clock(stage.ctx, _at(day, 12))
    await _read_mails(stage)
    await reconcile(stage.ctx, wait_s=10)
    await _deliver(stage)


async def _deliver(stage: _Stage) -> None:
    async with open_mailer(stage.settings) as mailer:
        await deliver_all(stage.ctx, mailer)


async def _read_mails(stage: _Stage) -> None:
    """Let customers follow the links of their new mails; every fourth waits for the next one."""
    letters, stage.read = stage.mailbox.letters[stage.read :], len(stage.mailbox.letters)
    links = dict.fromkeys(filter(None, map(link_in, letters)))
    async with httpx.AsyncClient(timeout=30) as client:
        for number, link in enumerate([each for each in links if each not in stage.visited][:VISITS_MAX]):
            if number % 4 != 3:
                stage.visited.add(link)
                await visit(client, link)


async def _set_clock(ctx: Context, now: datetime) -> None:
    clock = table(TestClock)
    async with ctx.store.write() as session:
        await session.execute(update(clock).values(now_at=now))


def _at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


# --- the summary ------------------------------------------------------------


async def _summary(stage: _Stage) -> Summary:
    attempt, invoice, profile, verification = table(Attempt), table(Invoice), table(Profile), table(Verification)
    approved, by_merchant = attempt.c.state == AttemptState.APPROVED, attempt.c.initiator == Initiator.MERCHANT
    by_link = (attempt.c.initiator == Initiator.CUSTOMER) & attempt.c.owed_key.startswith("INV-")
    counts = {
        "invoiced": invoice.c.id > 0,
        "charged": approved & by_merchant,
        "declined": (attempt.c.state == AttemptState.DECLINED) & by_merchant,
        "recovered": approved & by_link,
        "profiles_renewed": profile.c.renewed_at.is_not(None),
        "verifications_reversed": verification.c.state == VerificationState.RELEASED,
    }
    async with stage.ctx.store.read() as session:
        found_counts = {name: await _count(session, where) for name, where in counts.items()}
    breaches = sum(breach.count for breach in await examine(stage.ctx))
    about = {"mailed": len(stage.mailbox.letters), "doctor_breaches": breaches}
    return Summary(customers=stage.customers, nights=len(NIGHTS), **found_counts, **about)


async def _count(session: AsyncSession, where: ColumnElement[bool]) -> int:
    found_count: int = (await session.execute(select(func.count()).where(where))).scalar_one()
    return found_count


def _in_words(summary: Summary) -> str:
    return "\n".join(f"{count:>8}  {name.replace('_', ' ')}" for name, count in asdict(summary).items())


# --- looking around ---------------------------------------------------------


def _demo_router(stage: _Stage) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def home() -> Response:
        return RedirectResponse("/demo")

    @router.get("/demo")
    async def overview(request: Request) -> Response:
        summary = await _summary(stage)
        counts = tuple((name, count) for name, count in asdict(summary).items())
        links = tuple(await _open_links(stage.ctx))
        page = Demo(
            merchant="Nordlicht Analytics",
            counts=counts,
            links=links,
            nights=NIGHTS,
            mails=summary.mailed,
            operator=OPERATOR,
            password=OPERATOR_PASSWORD,
        )
        return render(request, page)

    return router


async def _open_links(ctx: Context) -> Iterable[OpenLink]:
    link, invoice, customer, attempt = table(PayLink), table(Invoice), table(Customer), table(Attempt)
    tried = select(attempt.c.decline_code).where(attempt.c.owed_key == invoice.c.key, attempt.c.decline_code != "")
    why = tried.order_by(attempt.c.number.desc()).limit(1).scalar_subquery().label("why")
    query = (
        select(link.c.id, customer.c.name, invoice.c.number, invoice.c.total_minor, invoice.c.currency, why)
        .join_from(link, invoice)
        .join(customer, customer.c.id == link.c.customer_id)
        .where(invoice.c.state == "open", link.c.superseded_at.is_(None))
        .order_by(link.c.id)
    )
    async with ctx.store.read() as session:
        rows = (await session.execute(query)).all()
    return [
        OpenLink(ctx.links.pay(row.id), row.name, row.number, Money(row.total_minor, row.currency), row.why or "")
        for row in rows
    ]
