"""Who types a command, as the audit log names them."""

from __future__ import annotations

import os
import pwd
from datetime import date
from typing import Annotated, Any

import typer

from billing.models import ActorKind
from billing.services.auditing import Actor, audit
from billing.services.context import Context
from jobs.billing_run import merchants_on

By = Annotated[str, typer.Option("--by", envvar=["TURNUS_OPERATOR", "USER"], help="Who says so.")]


def who(by: str = "") -> Actor:
    """Return who types: as they say, or as the environment or the operating system names them."""
    return Actor(ActorKind.COMMAND, by.strip() or os.environ.get("TURNUS_OPERATOR", "").strip() or _user())


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number that nobody has named
        return f"user {os.getuid()}"


async def note_work(
    ctx: Context, verb: str, on: date | None = None, merchant: str | None = None, **detail: Any
) -> None:
    """Record at each merchant, or the one named, that a person has work done, with the business day that is meant.

    It stands there before the work begins, since that takes long and many transactions; raises `RunRefusedError`
    where the work itself would.
    """
    days = await merchants_on(ctx, on, merchant)
    async with ctx.store.write() as session:
        for row, moment in days:
            await audit(ctx, session, [row["id"]], who(), verb, row["reference"], on=str(moment.today), **detail)
