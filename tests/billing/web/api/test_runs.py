from __future__ import annotations

from typing import Any

import pytest

from billing.models import Attempt, Invoice, Run
from tests.billing.services.support import decline
from tests.billing.web.api.support import Caller


@pytest.fixture
async def planned(api: Caller) -> Caller:
    """run_1 is planned and waits for approval: two charges and one invoice by link."""
    await api.world.change_merchant(run_approval=True)
    await api.world.subscribe(2)
    await api.world.subscribe(1, collection="link", account="", profile="", profile_last4="")
    await api.world.run()
    return api


async def test_a_run_waits_for_approval_and_tells_what_it_plans_and_did(planned: Caller) -> None:
    shown = await planned.get("/runs/run_1")
    assert (shown["state"], shown["invoiced"], shown["attempts"]) == ("planned", 0, {})
    assert shown["planned"] == [{"account": "bank", "charges": 2, "amount": {"amount_minor": 5000, "currency": "EUR"}}]
    assert shown["planned_links"] == 1
    approved = await planned.post("/runs/run_1/approve", None, 200)
    prefix = planned.http.headers["authorization"].split("_")[1]
    assert (approved["state"], approved["approved_by"]) == ("running", f"tk_{prefix}")
    await planned.world.run()
    done = await planned.get("/runs/run_1")
    assert (done["state"], done["invoiced"], done["attempts"]) == ("finished", 3, {"approved": 2})
    assert await planned.world.breaches() == []


async def test_a_run_is_paused_resumed_and_aborted_once(planned: Caller) -> None:
    await planned.post("/runs/run_1/pause", {"reason": "look first"}, 409)
    await planned.post("/runs/run_1/approve", None, 200)
    paused = await planned.post("/runs/run_1/pause", {"reason": "look first"}, 200)
    assert (paused["state"], paused["stopped_reason"]) == ("paused", "look first")
    await planned.world.run()
    assert await planned.world.rows(Invoice) == []
    assert (await planned.post("/runs/run_1/resume", None, 200))["state"] == "running"
    aborted = await planned.post("/runs/run_1/abort", {"reason": "wrong price"}, 200)
    assert (aborted["state"], aborted["stopped_reason"]) == ("aborted", "wrong price")
    problem = await planned.post("/runs/run_1/abort", {"reason": "again"}, 409)
    assert problem["detail"] == "run 1 is aborted: it is over"
    assert planned.world.bank.sent == []


async def test_an_aborted_run_withdraws_what_has_not_left(api: Caller) -> None:
    await api.world.subscribe(2)
    await api.world.issue_again()
    await api.world.change(Run, 1, state="paused", finished_at=None)
    await api.post("/runs/run_1/abort", {"reason": "wrong price"}, 200)
    assert await api.world.states(Attempt) == ["withdrawn", "withdrawn"]
    assert await api.world.breaches() == []


async def test_a_run_that_went_on_since_it_was_seen_is_not_aborted(planned: Caller) -> None:
    await planned.post("/runs/run_1/approve", None, 200)
    seen = (await planned.http.get("/runs/run_1")).headers["etag"]
    planned.world.bank.on("P1", decline())
    await planned.world.run()
    await planned.post("/runs/run_1/abort", {"reason": "late"}, 412, If_Match=seen)


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 501}, {"reason": 1}])
async def test_a_reason_is_needed(planned: Caller, body: Any) -> None:
    problem = await planned.post("/runs/run_1/abort", body, 422)
    assert [error["field"] for error in problem["errors"]] == ["reason"]


async def test_runs_are_listed_by_state_newest_first(planned: Caller) -> None:
    await planned.post("/runs/run_1/abort", {"reason": "x"}, 200)
    planned.world.next_day()
    await planned.world.run()
    assert [each["id"] for each in await planned.everything("/runs", sort="-id", limit=1)] == ["run_2", "run_1"]
    assert [each["id"] for each in await planned.everything("/runs", state="planned")] == ["run_2"]
