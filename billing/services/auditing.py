"""The record of who did what: written in the transaction of what it tells of, and only ever added to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import ActorKind, AuditEntry, table
from billing.services.context import Context

_entry = table(AuditEntry)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, as it is told later: a user's address, a key's name, who typed a command."""

    kind: ActorKind
    name: str


ENGINE: Final = Actor(ActorKind.SYSTEM, "Turnus")


async def audit(
    ctx: Context,
    session: AsyncSession,
    merchant_ids: Iterable[int],
    actor: Actor,
    verb: str,
    subject: str = "",
    **detail: Any,
) -> None:
    """Record for each of the merchants what an actor did to a subject such as `inv_12`; detail is plain JSON."""
    about = {"at": ctx.clock.now(), "actor_kind": actor.kind, "actor": actor.name[:140]}
    about |= {"verb": verb[:60], "subject": subject[:140], "detail": detail}
    rows = [about | {"merchant_id": merchant_id} for merchant_id in merchant_ids]
    if rows:
        await session.execute(insert(_entry), rows)
