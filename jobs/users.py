"""The verbs of `turnus users`: who may sign in to the console, of which merchant, and in which role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Role
from billing.services import staffing
from billing.services.admitting import record, spelled
from billing.services.auditing import Actor
from billing.services.context import Context
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.securing import take_second_factor_off
from billing.web.console.forms import email as address
from jobs.showing import Screen
from jobs.who import By, who
from jobs.working import Json, at_work, merchant_id

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The address with which the user signs in.")]

MerchantName = Annotated[
    str | None, typer.Option("--merchant", help="For whom they work; needed where there are several.")
]

Switch = Callable[[Context, AsyncSession, Actor, int], Awaitable[None]]


class StaffError(ValueError):
    """What cannot be done about a user; the message says why, and nothing was changed."""


users = typer.Typer(no_args_is_help=True, help="List, add or disable users of the console; give them new passwords.")


@users.command("list")
def list_(as_json: Json = False) -> None:
    """List the users there are; before there is one, show where the first admin is made."""
    rows, url = at_work(_list)
    lines = "\n".join(" ".join(str(row[name] or "-") for name in _SHOWN) for row in rows)
    told = {"users": rows} | ({"set_up_url": url} if url else {})
    Screen(as_json).result(told, lines or f"There is no user yet. The first admin is made at {url}")


@users.command()
def add(
    email: Email,
    name: Annotated[str, typer.Option("--name", help="What they are called.")],
    role: Annotated[Role, typer.Option("--role", help="What they may do.")] = Role.VIEWER,
    merchant: MerchantName = None,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Let somebody work for a merchant, and show the address at which they choose a password."""
    person = staffing.Person(_address(email), name[:100])
    mine = at_work(lambda ctx, _: merchant_id(ctx, merchant))
    url = at_work(_in_one(partial(_add, merchant_id=mine, person=person, role=role, by=by)))
    then = f"They choose a password within a week at {url}" if url else "They sign in as before."
    Screen(as_json).result({"email": spelled(email), "role": role, "url": url}, f"{email} is {role} now. {then}")


@users.command("reset-password")
def reset_password(
    email: Email,
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Take the second factor off as well, for a lost phone.")
    ] = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Show an address at which a user chooses a new password within a week."""
    url = at_work(_in_one(partial(_reset, email=email, second_factor=second_factor, by=by)))
    Screen(as_json).result({"email": spelled(email), "url": url}, url)


@users.command()
def disable(email: Email, by: By = "", as_json: Json = False) -> None:
    """Let a user in no longer, and end their sessions at once."""
    at_work(_in_one(partial(_switch, email=email, by=by, how=staffing.disable)))
    Screen(as_json).result({"email": spelled(email), "disabled": True}, f"{email} cannot sign in any more.")


@users.command()
def enable(email: Email, by: By = "", as_json: Json = False) -> None:
    """Let a disabled user in again."""
    at_work(_in_one(partial(_switch, email=email, by=by, how=staffing.enable)))
    Screen(as_json).result({"email": spelled(email), "disabled": False}, f"{email} can sign in again.")


async def _list(ctx: Context, _: Any) -> tuple[list[dict[str, Any]], str]:
    async with ctx.store.read() as session:
        rows = [_about(row) for row in await staffing.list_users(session)]
    return rows, "" if rows else staffing.set_up_url(ctx)


async def _add(
    ctx: Context, session: AsyncSession, merchant_id: int, person: staffing.Person, role: Role, by: str
) -> str:
    user_id = await staffing.add_user(ctx, session, who(by), merchant_id, person, role)
    fresh = await staffing.has_no_password(session, user_id)
    return await staffing.password_url(ctx, session, user_id) if fresh else ""


async def _reset(ctx: Context, session: AsyncSession, email: str, second_factor: bool, by: str) -> str:
    user = await staffing.find_by_email(session, email)
    if second_factor:
        await take_second_factor_off(ctx, session, user["id"], who(by))
    await record(ctx, session, user["id"], "offer_password", who(by))
    return await staffing.password_url(ctx, session, user["id"])


async def _switch(ctx: Context, session: AsyncSession, email: str, by: str, how: Switch) -> None:
    user = await staffing.find_by_email(session, email)
    await how(ctx, session, who(by), user["id"])


_SHOWN = ("email", "role", "merchant", "state", "last_signed_in_at", "name")


def _in_one(do: Callable[[Context, AsyncSession], Awaitable[Any]]) -> Callable[[Context, Any], Awaitable[Any]]:
    """Do it in one transaction; what a use case says against it is one clear line."""

    async def doing(ctx: Context, _: Any) -> Any:
        try:
            async with ctx.store.write() as session:
                return await do(ctx, session)
        except (ConflictError, MissingError, UnfitError) as error:
            raise StaffError(str(error)) from None

    return doing


def _address(text: str) -> str:
    try:
        return address(text.strip())
    except ValueError as error:
        raise StaffError(str(error)) from None


def _about(row: RowMapping) -> dict[str, Any]:
    about = {name: row[name] for name in ("email", "name", "role", "merchant")}
    times = {name: row[name] and row[name].isoformat() for name in ("created_at", "last_signed_in_at")}
    state = "disabled" if row["disabled_at"] else "active" if row["last_signed_in_at"] else "invited"
    return about | times | {"state": state, "second_factor": row["has_second_factor"]}
