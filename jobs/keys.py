"""The verbs of `turnus keys`: who may use the API, of which merchant, and for how long."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy import RowMapping

from billing.models import Scope
from billing.services.context import Context
from billing.services.keying import NewKey, is_good, list_keys, make_key, revoke_key, rotate_key
from jobs.showing import Screen
from jobs.who import who
from jobs.working import Json, at_work, merchant_id

Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="The key's name, as `turnus keys list` shows it.")]

MerchantName = Annotated[
    str | None, typer.Option("--merchant", help="Whose API it opens; needed where there are several.")
]

keys = typer.Typer(no_args_is_help=True, help="Make, list, rotate or revoke keys to the API.")


@keys.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Who will use it; shown in lists.")],
    scope: Annotated[list[Scope] | None, typer.Option("--scope", help="What it may do; once for each.")] = None,
    merchant: MerchantName = None,
    days: Annotated[int | None, typer.Option("--days", min=1, max=3650, help="How long it is good.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, once."""

    async def do(ctx: Context, _: Any) -> NewKey:
        mine = await merchant_id(ctx, merchant)
        return await make_key(ctx, mine, name[:100], scope or [], days=days, actor=who())

    _show(at_work(do), as_json)


@keys.command("list")
def list_(as_json: Json = False) -> None:
    """List the keys there are, without their secrets."""

    async def do(ctx: Context, _: Any) -> list[dict[str, Any]]:
        return [_about(row, ctx.clock.now()) for row in await list_keys(ctx)]

    rows = at_work(do)
    lines = "\n".join(" ".join(str(row[name]) for name in _SHOWN) for row in rows)
    Screen(as_json).result({"keys": rows}, lines or "There is no key yet: `turnus keys create`.")


@keys.command()
def rotate(
    prefix: Prefix,
    hours: Annotated[int, typer.Option("--hours", min=0, max=8760, help="How long the old one goes on.")] = 24,
    as_json: Json = False,
) -> None:
    """Make a key like this one, which ends after some hours."""
    _show(at_work(lambda ctx, _: rotate_key(ctx, prefix, hours=hours, actor=who())), as_json)


@keys.command()
def revoke(prefix: Prefix, as_json: Json = False) -> None:
    """End a key at once."""
    at_work(lambda ctx, _: revoke_key(ctx, prefix, who()))
    Screen(as_json).result({"prefix": prefix, "revoked": True}, f"The key {prefix} opens nothing any more.")


_SHOWN = ("prefix", "merchant", "scopes", "state", "last_used_at", "name")


def _show(key: NewKey, as_json: bool) -> None:
    words = f"{key.text}\nKeep it now: it is shown this once, and stored nowhere. Its name is {key.prefix}."
    Screen(as_json).result({"prefix": key.prefix, "key": key.text}, words)


def _about(row: RowMapping, now: datetime) -> dict[str, Any]:
    about = {name: row[name] for name in ("prefix", "name", "merchant", "scopes")}
    times = {name: row[name] and row[name].isoformat() for name in ("created_at", "expires_at", "last_used_at")}
    state = "revoked" if row["revoked_at"] else "good" if is_good(row, now) else "over"
    return about | times | {"state": state}
