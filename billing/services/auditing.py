"""The record of who did what: written in the transaction of what it tells of, and only ever added to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import ActorKind, Attempt, AuditEntry, Operation, Run, table
from billing.services.context import Context

_entry, _attempt, _operation, _run = table(AuditEntry), table(Attempt), table(Operation), table(Run)


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
    actor: Actor | None,
    verb: str,
    subject: str = "",
    **detail: Any,
) -> None:
    """Record for each of the merchants what an actor did to a subject such as `inv_12`; detail is plain JSON.

    Without an actor nothing is recorded: the caller does that, or a timer was at work.
    """
    if actor is None:
        return
    about = {"at": ctx.clock.now(), "actor_kind": actor.kind, "actor": actor.name[:140]}
    about |= {"verb": verb[:60], "subject": subject[:140], "detail": detail}
    rows = [about | {"merchant_id": merchant_id} for merchant_id in merchant_ids]
    if rows:
        await session.execute(insert(_entry), rows)


_NAME: Final = re.compile(r"(att|op|run)_(\d{1,18})(?:/.*)?")
_OWNERS: Final[dict[str, tuple[Select[Any], Any]]] = {
    "att": (select(_attempt.c.merchant_id), _attempt.c.id),
    "op": (select(_attempt.c.merchant_id).join_from(_operation, _attempt), _operation.c.id),
    "run": (select(_run.c.merchant_id), _run.c.id),
}


async def audit_about(
    ctx: Context, session: AsyncSession, actor: Actor | None, verb: str, subject: str, **detail: Any
) -> None:
    """Record what an actor did to an attempt, an operation or a run, for the merchant whose it is."""
    match = _NAME.fullmatch(subject)
    if match is None:
        raise ValueError(f"{subject!r} names nothing that has a merchant")
    query, id_column = _OWNERS[match[1]]
    owners = (await session.execute(query.where(id_column == int(match[2])))).scalars().all()
    await audit(ctx, session, owners, actor, verb, subject, **detail)
