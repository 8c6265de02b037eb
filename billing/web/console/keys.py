"""Keys to the API: made, rotated and revoked, each shown once."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import ApiKey, Role, Scope, table
from billing.models.access import read_scopes
from billing.services import keying
from billing.services.keying import KeyingError, NewKey
from billing.services.refusing import MissingError
from billing.web.console.desk import Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Values, whole
from billing.web.console.gate import Section

router = Section("API keys", "/keys", of_settings=True, needs=Role.ADMIN)

Prefix = Annotated[str, Path(min_length=1, max_length=16)]

_key = table(ApiKey)

ROTATED_ENDS_AFTER_H: Final = 24
"""So long the old key goes on, that the new one can be rolled out."""

_HINTS: Final = {
    Scope.READ: "See everything: customers, subscriptions, invoices, attempts.",
    Scope.WRITE: "Make and change customers, subscriptions, plans and links.",
    Scope.REFUND: "Give money back.",
    Scope.SETUP: "Set up gateway accounts and their credentials, and so say where money goes.",
}
_NEW: Final = Form.of(
    Field("name", "Name", hint="Who will use it; shown in lists and in the audit log.", chars_max=100),
    Field(
        "days",
        "Good for",
        "number",
        "Left empty, until it is revoked.",
        required=False,
        read=whole(1, 3650),
        affix="days",
        chars_max=4,
    ),
    *(Field(scope, scope.capitalize(), "check", hint) for scope, hint in _HINTS.items()),
)


@router.page("/keys", Role.ADMIN)
async def list_keys(desk: Seated) -> Response:
    """Show the keys there are, without their secrets."""
    columns = [column for column in _key.c if column.name != "secret_digest"]
    mine = select(*columns).where(_key.c.merchant_id == desk.merchant_id)
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, mine, _key.c.id)
    now = desk.ctx.clock.now()
    states = {row["id"]: _state(row["revoked_at"] is not None, keying.is_good(row, now)) for row in part.rows}
    return desk.show("keys.html", part=part, states=states)


@router.page("/keys/_new", Role.ADMIN)
async def ask_key(desk: Seated) -> Response:
    """Ask what a key is to open."""
    return desk.show("key_new.html", draft=_NEW.blank(read="yes"), scopes=tuple(_HINTS))


@router.action("/keys/_new", Role.ADMIN)
async def add_key(desk: Seated) -> Response:
    """Make a key and show it, once."""
    made: list[NewKey] = []

    async def effect(session: AsyncSession, values: Values) -> None:
        scopes = [scope for scope in Scope if values[scope]]
        about = (desk.ctx, session, desk.merchant_id, values["name"], scopes)
        made.append(await keying.make(*about, days=values["days"] or None, actor=desk.actor))

    draft = await desk.attempt(_with_scope(_NEW.read(desk.typed)), effect)
    if draft.is_wrong:
        return desk.show("key_new.html", draft=draft, scopes=tuple(_HINTS))
    return desk.show("key_shown.html", key=made[0], name=draft.values["name"], hours=None)


@router.page("/keys/{prefix}", Role.ADMIN)
async def show_key(desk: Seated, prefix: Prefix) -> Response:
    """Show one key, and what can be done about it."""
    columns = [column for column in _key.c if column.name != "secret_digest"]
    mine = select(*columns).where(_key.c.merchant_id == desk.merchant_id, _key.c.prefix == prefix)
    async with desk.ctx.store.read() as session:
        row = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no key {prefix!r}")
    is_good = keying.is_good(row, desk.ctx.clock.now())
    state = _state(row["revoked_at"] is not None, is_good)
    return desk.show("key.html", row=row, state=state, is_good=is_good, scopes=read_scopes(row["scopes"]))


@router.action("/keys/{prefix}/rotate", Role.ADMIN)
async def rotate_key(desk: Seated, prefix: Prefix) -> Response:
    """Make a key like an old one, which goes on for a day, and show the new one, once."""
    async with desk.ctx.store.write() as session:
        try:
            mine: dict[str, Any] = {"merchant_id": desk.merchant_id, "actor": desk.actor}
            key = await keying.rotate(desk.ctx, session, prefix, hours=ROTATED_ENDS_AFTER_H, **mine)
        except KeyingError as error:
            raise MissingError(str(error)) from None
    return desk.show("key_shown.html", key=key, name="", hours=ROTATED_ENDS_AFTER_H)


@router.action("/keys/{prefix}/revoke", Role.ADMIN)
async def revoke_key(desk: Seated, prefix: Prefix) -> Response:
    """Let a key open nothing any more."""
    async with desk.ctx.store.write() as session:
        try:
            await keying.revoke(desk.ctx, session, prefix, merchant_id=desk.merchant_id, actor=desk.actor)
        except KeyingError as error:
            raise MissingError(str(error)) from None
    return desk.done("/keys", f"The key tk_{prefix} opens nothing any more.")


def _with_scope(draft: Draft) -> Draft:
    if any(draft.values.get(scope) for scope in Scope):
        return draft
    return draft.wrong(Scope.READ, "Choose at least one thing that the key may do.")


def _state(is_revoked: bool, is_good: bool) -> str:
    return "active" if is_good else "revoked" if is_revoked else "over"
