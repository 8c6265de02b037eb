"""Do a call once, however often it is made: claimed under its key before its effect, answered together with it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, CursorResult, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Idempotency, table
from billing.services.context import Context
from billing.store import after_s, insert_unless

_kept = table(Idempotency)

CLAIM_S: Final = 60
"""A call that takes longer has lost its claim, and with it the right to its effect."""

KEPT_S: Final = 48 * 3600
"""How long an answer is kept; callers are promised 24 hours."""


class KeyReusedError(ValueError):
    """An idempotency key that was used for another call."""


class StillRunningError(ValueError):
    """The same call is under way."""


class ClaimLostError(RuntimeError):
    """The call took so long that another one took it over; nothing of this one may stay."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do the call that was made under a key."""

    merchant_id: int
    key: str
    token: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What a call was answered."""

    status: int
    body: str
    headers: dict[str, str]


def digest_of(*parts: str | bytes) -> str:
    """Return what tells one call from another."""
    digest = sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8) + raw)
    return digest.hexdigest()


async def claim(ctx: Context, merchant_id: int, key: str, digest: str, *former: str) -> Claim | Kept:
    """Claim a call, or return what it was answered before; it is the same call also under its `former` digests.

    Raises `KeyReusedError` where the key names another call, and `StillRunningError` while the same one is
    under way. One that was never answered had no effect, and is taken over once its claim has run out.
    """
    mine = Claim(merchant_id, key, secrets.token_hex(16))
    async with ctx.store.write() as session:
        if await _insert(session, mine, digest):
            return mine
        row = (await session.execute(ctx.store.lock(_look(mine)))).mappings().one_or_none()
        if row is None:
            raise StillRunningError(key)
        if row["digest"] not in (digest, *former):
            raise KeyReusedError(key)
        if row["status"] is not None:
            return Kept(row["status"], *json.loads(ctx.vault.unseal(row["sealed_answer"])))
        if row["under_way"]:
            raise StillRunningError(key)
        await session.execute(update(_kept).where(_named(mine)).values(**_claimed(mine)))
        return mine


async def keep(ctx: Context, session: AsyncSession, claimed: Claim, answer: Kept) -> None:
    """Keep the answer in the transaction of the effect; raise `ClaimLostError` where the call is not ours any more."""
    sealed = ctx.vault.seal(json.dumps([answer.body, answer.headers]))
    ours = update(_kept).where(_named(claimed), _kept.c.claim == claimed.token)
    written = await session.execute(ours.values(status=answer.status, sealed_answer=sealed))
    if not isinstance(written, CursorResult) or written.rowcount != 1:
        raise ClaimLostError(claimed.key)


async def release(ctx: Context, claimed: Claim) -> None:
    """Let the key name nothing again: the call was refused and changed nothing."""
    ours = [_named(claimed), _kept.c.claim == claimed.token, _kept.c.status.is_(None)]
    async with ctx.store.write() as session:
        await session.execute(delete(_kept).where(*ours))


async def forget_answers(ctx: Context) -> None:
    """Forget what was answered so long ago that nobody may count on it any more."""
    async with ctx.store.write() as session:
        await session.execute(delete(_kept).where(_kept.c.created_at < after_s(-KEPT_S)))


async def _insert(session: AsyncSession, mine: Claim, digest: str) -> bool:
    """Claim a key that names nothing yet; whoever claims the same one meanwhile is waited for."""
    row: dict[str, Any] = {"merchant_id": mine.merchant_id, "key": mine.key, "digest": digest}
    once = insert_unless(session, _kept, ["merchant_id", "key"]).values(row | _claimed(mine))
    return (await session.execute(once.returning(_kept.c.key))).scalar() is not None


def _claimed(mine: Claim) -> dict[str, Any]:
    return {"claim": mine.token, "lease_until": after_s(CLAIM_S), "created_at": after_s()}


def _look(mine: Claim) -> Any:
    under_way = (_kept.c.lease_until > after_s()).label("under_way")
    return select(_kept.c.digest, _kept.c.status, _kept.c.sealed_answer, under_way).where(_named(mine))


def _named(mine: Claim) -> ColumnElement[bool]:
    return (_kept.c.merchant_id == mine.merchant_id) & (_kept.c.key == mine.key)
