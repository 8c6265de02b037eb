"""Ask a person for what only a person can settle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import among
from billing.models import Task, TaskState, table
from billing.services.refusing import ConflictError, MissingError
from billing.store import after_s, insert_unless

ENDS_BY_ITSELF: Final = frozenset(
    "account_stopped amount doubt operation restored run surplus unpaid unsendable unsettled unstorable webhook".split()
)
"""Kinds of task about something that is still so: they end when it is settled, and by nobody's saying that they are."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """What is asked; `subject` is a public id such as `inv_12`."""

    merchant_id: int
    kind: str
    subject: str
    reason: str


async def raise_tasks(session: AsyncSession, tasks: Sequence[NewTask], now: datetime) -> None:
    """Raise each task, unless the same one is open already."""
    if not tasks:
        return
    rows = [asdict(task) | {"state": TaskState.OPEN, "created_at": now} for task in tasks]
    await session.execute(insert_unless(session, table(Task)), rows)


async def end_tasks(session: AsyncSession, kinds: Collection[str], subjects: Collection[str]) -> None:
    """End what was asked about these subjects and has resolved itself."""
    if not subjects:
        return
    task = table(Task)
    mine = (task.c.state == TaskState.OPEN) & task.c.kind.in_(kinds) & among(task.c.subject, subjects)
    await session.execute(update(task).where(mine).values(state=TaskState.DONE, done_at=after_s()))


async def find_task(session: AsyncSession, merchant_id: int, task_id: int) -> RowMapping:
    """Return a task; raise `MissingError` where there is none."""
    task = table(Task)
    mine = select(task).where(task.c.id == task_id, task.c.merchant_id == merchant_id)
    row: RowMapping | None = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no task task_{task_id}")
    return row


async def finish_task(session: AsyncSession, merchant_id: int, task_id: int) -> None:
    """Take a person's word that a task is done; raise `ConflictError` for one that ends only by being settled."""
    row = await find_task(session, merchant_id, task_id)
    if row["state"] == TaskState.DONE:
        return
    if row["kind"] in ENDS_BY_ITSELF:
        raise ConflictError(f"what it asks about {row['subject']} is still so; it ends by itself once that is settled")
    task = table(Task)
    await session.execute(update(task).where(task.c.id == task_id).values(state=TaskState.DONE, done_at=after_s()))
