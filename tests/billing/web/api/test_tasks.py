from __future__ import annotations

import pytest

from billing.models import Task, table
from billing.services.tasking import ENDS_BY_ITSELF, NewTask, raise_tasks
from tests.billing.services.support import START
from tests.billing.web.api.support import Caller


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """A task about a chargeback, and one about a doubt."""
    mine = api.world.merchant_id
    tasks = [NewTask(mine, "chargeback", "att_1", "the bank"), NewTask(mine, "doubt", "att_2", "nobody knows")]
    async with api.world.store.write() as session:
        await raise_tasks(session, tasks, START)
    return api


async def test_tasks_are_listed_and_filtered(ready: Caller) -> None:
    assert [each["id"] for each in await ready.everything("/tasks", limit=1, sort="created")] == ["task_1", "task_2"]
    assert [each["id"] for each in await ready.everything("/tasks", kind="doubt")] == ["task_2"]
    assert [each["id"] for each in await ready.everything("/tasks", subject="att_1", state="open")] == ["task_1"]
    assert await ready.everything("/tasks", state="done") == []


async def test_a_task_is_done_by_a_persons_word(ready: Caller) -> None:
    done = await ready.post("/tasks/task_1/done", None, 200)
    assert (done["state"], done["reason"]) == ("done", "the bank")
    assert await ready.post("/tasks/task_1/done", None, 200) == done
    assert await ready.get("/tasks/task_1") == done


async def test_what_is_still_so_is_not_done_by_saying_so(ready: Caller) -> None:
    problem = await ready.post("/tasks/task_2/done", None, 409)
    assert problem["detail"] == "what it asks about att_2 is still so; it ends by itself once that is settled"
    assert (await ready.get("/tasks/task_2"))["state"] == "open"


async def test_every_kind_that_a_promise_counts_on_ends_by_itself(ready: Caller) -> None:
    assert {"surplus", "amount", "account_stopped", "unpaid", "doubt", "run"} <= ENDS_BY_ITSELF
    assert table(Task).c.kind.type.length >= max(map(len, ENDS_BY_ITSELF))  # type: ignore[attr-defined]


async def test_what_is_no_task_is_not_found(lite_api: Caller) -> None:
    await lite_api.get("/tasks/task_1", 404)
    await lite_api.post("/tasks/task_1/done", None, 404)
