"""API keys: made, found, rotated and revoked. A key is shown once; what is stored opens nothing."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import ActorKind, ApiKey, Merchant, Scope, new_row, table
from billing.models.access import read_scopes, write_scopes
from billing.services.auditing import Actor, audit
from billing.services.context import Context

_key, _merchant = table(ApiKey), table(Merchant)

_WRITTEN: Final = re.compile(r"tk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
USED_EVERY: Final = timedelta(minutes=1)
"""Uses within this time are one, so that reading by API does not write all the time."""


class KeyingError(ValueError):
    """A key that cannot be made, rotated or revoked; the message says why, and nothing was changed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a key that is good now, and the one merchant it opens."""

    key_id: int
    prefix: str
    merchant_id: int
    scopes: frozenset[Scope]
    name: str = ""

    @property
    def actor(self) -> Actor:
        """Who does what is done with the key."""
        return Actor(ActorKind.KEY, f"{self.name} (tk_{self.prefix})".strip())


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that has just been made; `text` is all of it, and is never shown again."""

    prefix: str
    text: str


async def make_key(
    ctx: Context,
    merchant_id: int,
    name: str,
    scopes: Collection[Scope],
    *,
    days: int | None = None,
    actor: Actor | None = None,
) -> NewKey:
    """Make a key to a merchant, good for ever or for so many days; raise `KeyingError` where it could do nothing."""
    async with ctx.store.write() as session:
        return await make(ctx, session, merchant_id, name, scopes, days=days, actor=actor)


async def make(
    ctx: Context,
    session: AsyncSession,
    merchant_id: int,
    name: str,
    scopes: Collection[Scope],
    *,
    days: int | None = None,
    actor: Actor | None = None,
) -> NewKey:
    """Make a key like `make_key`, in a transaction of the caller's."""
    if not scopes:
        raise KeyingError(f"a key needs at least one scope of {', '.join(Scope)}")
    now = ctx.clock.now()
    expires_at = None if days is None else now + timedelta(days=days)
    key = await _make(session, merchant_id, name, write_scopes(set(scopes)), now, expires_at)
    about = {"name": name, "scopes": write_scopes(set(scopes))}
    await audit(ctx, session, [merchant_id], actor, "add_key", f"tk_{key.prefix}", **about)
    return key


async def list_keys(ctx: Context, merchant_id: int | None = None) -> Sequence[RowMapping]:
    """Return every key with its merchant's reference, without anything that would open an API."""
    columns = [column for column in _key.c if column.name != "secret_digest"]
    query = select(*columns, _merchant.c.reference.label("merchant")).join_from(_key, _merchant).order_by(_key.c.id)
    if merchant_id is not None:
        query = query.where(_key.c.merchant_id == merchant_id)
    async with ctx.store.read() as session:
        return (await session.execute(query)).mappings().all()


async def rotate_key(ctx: Context, prefix: str, *, hours: int, actor: Actor | None = None) -> NewKey:
    """Make a key like an old one, which goes on for so many hours, or until its own end where that comes first.

    The new key lasts as long as the old one was made for.
    """
    async with ctx.store.write() as session:
        return await rotate(ctx, session, prefix, hours=hours, actor=actor)


async def rotate(
    ctx: Context,
    session: AsyncSession,
    prefix: str,
    *,
    hours: int,
    merchant_id: int | None = None,
    actor: Actor | None = None,
) -> NewKey:
    """Rotate a key like `rotate_key`, in the caller's transaction; where a merchant is given, only one of its own."""
    now = ctx.clock.now()
    old = await _locked(ctx, session, prefix, now, merchant_id)
    ends_at = now + timedelta(hours=hours)
    if old["expires_at"] is not None:
        ends_at = min(ends_at, old["expires_at"])
    await session.execute(update(_key).where(_key.c.id == old["id"]).values(expires_at=ends_at))
    expires_at = None if old["expires_at"] is None else now + (old["expires_at"] - old["created_at"])
    key = await _make(session, old["merchant_id"], old["name"], old["scopes"], now, expires_at)
    await audit(ctx, session, [old["merchant_id"]], actor, "rotate_key", f"tk_{old['prefix']}", new=f"tk_{key.prefix}")
    return key


async def revoke_key(ctx: Context, prefix: str, actor: Actor | None = None) -> None:
    """Let a key open nothing any more, from this moment on."""
    async with ctx.store.write() as session:
        await revoke(ctx, session, prefix, actor=actor)


async def revoke(
    ctx: Context,
    session: AsyncSession,
    prefix: str,
    *,
    merchant_id: int | None = None,
    actor: Actor | None = None,
) -> None:
    """Revoke a key like `revoke_key`, in the caller's transaction; where a merchant is given, only one of its own."""
    now = ctx.clock.now()
    old = await _locked(ctx, session, prefix, now, merchant_id)
    await session.execute(update(_key).where(_key.c.id == old["id"]).values(revoked_at=now))
    await audit(ctx, session, [old["merchant_id"]], actor, "revoke_key", f"tk_{old['prefix']}")


async def recognise(ctx: Context, text: str) -> Caller | None:
    """Return who calls with a key, or nothing for one that is unknown, revoked or over; its use is dated."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        return None
    now = ctx.clock.now()
    async with ctx.store.read() as session:
        query = select(_key).where(_key.c.prefix == written[1])
        row = (await session.execute(query)).mappings().one_or_none()
    if row is None or not hmac.compare_digest(row["secret_digest"], _digest(written[2])) or not is_good(row, now):
        return None
    if row["last_used_at"] is None or row["last_used_at"] <= now - USED_EVERY:
        async with ctx.store.write() as session:
            await session.execute(update(_key).where(_key.c.id == row["id"]).values(last_used_at=now))
    return Caller(row["id"], row["prefix"], row["merchant_id"], read_scopes(row["scopes"]), row["name"])


def is_good(row: RowMapping, now: datetime) -> bool:
    """Answer whether a key opens anything now."""
    return row["revoked_at"] is None and (row["expires_at"] is None or now < row["expires_at"])


async def _make(
    session: AsyncSession, merchant_id: int, name: str, scopes: str, now: datetime, expires_at: datetime | None
) -> NewKey:
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    about: dict[str, Any] = {"merchant_id": merchant_id, "name": name, "scopes": scopes}
    about |= {"prefix": prefix, "secret_digest": _digest(secret), "created_at": now, "expires_at": expires_at}
    await session.execute(insert(_key).values(new_row(ApiKey, **about)))
    return NewKey(prefix, f"tk_{prefix}_{secret}")


async def _locked(
    ctx: Context, session: AsyncSession, prefix: str, now: datetime, merchant_id: int | None = None
) -> RowMapping:
    """Lock the key with a prefix, written with or without its `tk_`; raise where it opens nothing any more."""
    mine = _key.c.prefix == prefix.removeprefix("tk_")
    mine = mine if merchant_id is None else mine & (_key.c.merchant_id == merchant_id)
    row: RowMapping | None = (await session.execute(ctx.store.lock(select(_key).where(mine)))).mappings().one_or_none()
    if row is None:
        raise KeyingError(f"there is no key {prefix!r}; `turnus keys list` shows what there is")
    if not is_good(row, now):
        raise KeyingError(f"the key {prefix!r} opens nothing any more")
    return row


def _digest(secret: str) -> str:
    """Return what is stored of a secret: it is random and long, so that a plain digest cannot be guessed back."""
    return sha256(secret.encode()).hexdigest()
