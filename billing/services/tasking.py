"""Ask a person for what only a person can settle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Task, TaskState, table
from billing.store import insert_unless


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
    await session.execute(insert_unless(session, table(Task), ["kind", "subject"], where="state = 'open'"), rows)
