"""Tasks for a person."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Task, TaskState, table
from billing.services.tasking import find_task, finish_task
from billing.web.api.bodies import PLAIN, Instant, Page, Shown, TaskName, example, number_in
from billing.web.api.calls import Answer, Changing, Listing, Showing
from billing.web.api.paging import Paged, list_page

router = APIRouter(tags=["tasks"])

_task = table(Task)
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "task_7",
    "kind": "chargeback",
    "subject": "att_12",
    "reason": "the bank took the payment back",
    "state": "open",
    "created_at": "2026-11-25T09:30:00Z",
    "done_at": None,
}

TaskPath = Annotated[TaskName, Path()]


class ShownTask(Shown):
    """Something only a person can settle; `subject` names what it is about."""

    model_config = Shown.model_config | example(**_EXAMPLE)
    id: str
    kind: str
    subject: str
    reason: str
    state: TaskState
    created_at: Instant
    done_at: Instant | None


def show_task(row: RowMapping) -> ShownTask:
    """Return a task as callers see it."""
    return ShownTask(id=f"task_{row['id']}", **{name: row[name] for name in ShownTask.model_fields if name != "id"})


@router.get("/tasks", response_model=Page[ShownTask])
async def list_tasks(
    call: Listing,
    paging: Paged,
    state: Annotated[TaskState | None, Query(description="Only those that stand here.")] = None,
    kind: Annotated[str, Query(max_length=40, description="Only these."), PLAIN] = "",
    subject: Annotated[str, Query(max_length=60, description="Only those about this, such as inv_12."), PLAIN] = "",
) -> Response:
    """List the tasks."""
    mine = select(_task).where(_task.c.merchant_id == call.merchant_id)
    for column, wanted in ((_task.c.state, state), (_task.c.kind, kind), (_task.c.subject, subject)):
        mine = mine.where(column == wanted) if wanted else mine
    return await list_page(call, paging, mine, show_task, _task.c.id, _task.c.created_at)


@router.get("/tasks/{task}", response_model=ShownTask)
async def get_task(call: Showing, task: TaskPath) -> Response:
    """Show one task."""
    async with call.ctx.store.read() as session:
        return call.show(show_task(await find_task(session, call.merchant_id, number_in(task))))


@router.post("/tasks/{task}/done", response_model=ShownTask)
async def finish(call: Changing, task: TaskPath) -> Response:
    """Say that a task is done; one about something that is still so ends only when that is settled."""

    async def effect(session: AsyncSession) -> Answer:
        call.expect(show_task(await find_task(session, call.merchant_id, number_in(task))))
        await finish_task(session, call.merchant_id, number_in(task))
        return Answer(show_task(await find_task(session, call.merchant_id, number_in(task))))

    return await call.once(effect)
