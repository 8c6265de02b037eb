"""What the verbs of the command share: the database that the settings name, the one merchant meant, their options."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

import migrations
from billing.models import Merchant, table
from billing.services.context import Context
from billing.services.founding import SetupError
from billing.store import DatabaseUrlError, bare_url
from jobs.logbook import open_logbook
from jobs.memory import little_collecting
from jobs.metrics import Metrics
from jobs.settings import Settings, SettingsError, read_settings
from jobs.signals import heeded
from jobs.wiring import open_context

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
MerchantName = Annotated[str | None, typer.Option("--merchant", help="Only this merchant, by its reference.")]


class NotMigratedError(SettingsError):
    """The database has not the schema this code was written for."""


def at_work(do: Callable[[Context, Settings], Awaitable[Any]], metrics: Metrics | None = None) -> Any:
    """Do work on the database that the settings name, which must be of the current schema."""
    settings = read_settings()
    redactor = open_logbook(settings.log_level, settings.log_format)
    redactor.learn(settings.secrets())

    async def doing() -> Any:
        if not await reach(settings.database_url, _is_migrated):
            raise NotMigratedError("the database has not the current schema; run `turnus migrate` first")
        wired = open_context(settings, redactor=redactor, metrics=metrics)
        async with wired as ctx, heeded(ctx.leaving, settings.leave_s):
            with little_collecting():
                return await do(ctx, settings)

    return asyncio.run(doing())


async def reach(url: str, visit: Callable[[str], Awaitable[Any]]) -> Any:
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


async def merchant_id(ctx: Context, reference: str | None) -> int:
    """Return the one merchant that is meant, by its reference or because there is no other."""
    merchant = table(Merchant)
    async with ctx.store.read() as session:
        rows = (await session.execute(select(merchant.c.id, merchant.c.reference))).all()
    found_ids = [row.id for row in rows if reference in (None, row.reference)]
    if len(found_ids) != 1:
        there = ", ".join(row.reference for row in rows) or "none yet: run `turnus setup FILE.toml`"
        raise SetupError(f"--merchant must name one merchant; there is {there}")
    return int(found_ids[0])
