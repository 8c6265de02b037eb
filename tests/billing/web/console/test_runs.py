"""Runs in the console: seen, planned, approved, held back, let go on, aborted."""

from __future__ import annotations

import re

import pytest

from billing.models import Attempt, AuditEntry, Merchant, Role, Run, table
from tests.billing.services.support import World, by_link, counted, decline
from tests.billing.web.console.support import Browser, signed_in, whole_app


async def test_before_the_first_run_the_list_says_how_one_begins(admin: Browser) -> None:
    page = await admin.get("/nordlicht/runs")
    assert "No run yet" in page
    assert "Plan today's run" in page


async def test_a_finished_run_tells_what_it_did_by_account(world: World, admin: Browser) -> None:
    await world.subscribe(2)
    await world.subscribe(1, **by_link(3))
    world.bank.on("P1", decline())
    await world.run()
    page = await admin.get("/nordlicht/runs/run_1")
    assert "3 of 3 done" in page or "3 done, nothing is left" in " ".join(page.split())
    assert "1 approved, 1 declined, 1 by pay-link" in page
    assert "/console/nordlicht/customers/K1" in page
    assert "Abort" not in page
    assert "21\N{NO-BREAK SPACE}November\N{NO-BREAK SPACE}2026" in await admin.get("/nordlicht/runs")


async def test_a_planned_run_waits_for_a_word_and_then_begins(world: World, admin: Browser) -> None:
    await world.subscribe(2)
    page = await admin.post("/nordlicht/runs/plan")
    assert "Waits for approval" in page
    assert "€50.00" in page or "50,00" in page
    assert await world.rows(table(Attempt)) == []
    page = await admin.post("/nordlicht/runs/run_1/approve")
    assert "running" in page
    await world.run()
    [run] = await world.rows(table(Run))
    assert run["state"] == "finished"
    assert await world.states(table(Attempt)) == ["approved", "approved"]
    assert [row["verb"] for row in await world.rows(table(AuditEntry))] == ["sign_in", "plan_run", "approve_run"]


async def test_a_run_is_started_paused_resumed_and_aborted_by_word(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    assert "The run begins within a minute" in await admin.post("/nordlicht/runs/start")
    page = await admin.post("/nordlicht/runs/run_1/pause", reason="the price looks wrong")
    assert "Paused by a person: the price looks wrong" in page
    assert "goes on within a minute" in await admin.post("/nordlicht/runs/run_1/resume")
    page = await admin.post("/nordlicht/runs/run_1/abort", reason="the price is wrong")
    assert "the price is wrong" in page
    [run] = await world.rows(table(Run))
    assert run["state"] == "aborted"
    verbs = [row["verb"] for row in await world.rows(table(AuditEntry))]
    assert verbs == ["sign_in", "start_run", "pause_run", "resume_run", "abort_run"]


@pytest.mark.parametrize("verb", ["pause", "abort"])
async def test_a_word_that_wants_a_reason_asks_for_it_again(world: World, admin: Browser, verb: str) -> None:
    await admin.post("/nordlicht/runs/start")
    page = await admin.post(f"/nordlicht/runs/run_1/{verb}", 422, reason=" ")
    assert "This is needed." in page
    [run] = await world.rows(table(Run))
    assert run["state"] == "running"


async def test_a_second_run_beside_an_open_one_is_refused(world: World, admin: Browser) -> None:
    await admin.post("/nordlicht/runs/plan")
    for verb in ("plan", "start"):
        assert "one run at a time" in await admin.post(f"/nordlicht/runs/{verb}", 409)
    assert len(await world.rows(table(Run))) == 1


async def test_a_word_on_a_run_that_has_moved_on_says_where_it_stands(world: World, admin: Browser) -> None:
    await world.run()
    assert "finished" in await admin.post("/nordlicht/runs/run_1/approve", 409)


async def test_a_started_run_is_held_back_where_its_plan_is_strange(world: World, admin: Browser) -> None:
    await world.subscribe(3)
    await world.change(Merchant, world.merchant_id, brakes={"charges_max": 2})
    page = await admin.post("/nordlicht/runs/start")
    assert (
        "Stopped by its own brake: 3 charges in EUR are due through bank, and 2 are the most allowed in one run" in page
    )
    assert "reached" in page
    assert "Brakes, one reached" in page


async def test_the_attempts_of_a_run_are_listed_by_state_and_tell_why_they_came_to_nothing(
    world: World, admin: Browser
) -> None:
    await world.subscribe(2)
    world.bank.on("P2", decline())
    await world.run()
    [path] = re.findall(r'href="/console([^"]+)">All attempts of this run<', await admin.get("/nordlicht/runs/run_1"))
    page = await admin.get(path)
    for said in ("Customer 1", "Customer 2", "the bank said not now", "Card, ending 4242"):
        assert said in page
    page = await admin.get(f"{path}&state=declined")
    assert ("Customer 1" in page, "Customer 2" in page) == (False, True)
    assert "No attempt is in doubt." in await admin.get(f"{path}&state=unknown")
    await admin.get("/nordlicht/attempts?run=run_9", 404)


async def test_a_viewer_sees_a_run_and_no_button(lite: World) -> None:
    admin, viewer = await signed_in(lite, whole_app(lite)), await signed_in(lite, whole_app(lite), Role.VIEWER)
    await admin.post("/nordlicht/runs/plan")
    page = await viewer.get("/nordlicht/runs/run_1")
    assert "Waits for approval" in page
    assert "Approve this run" not in page
    assert "Abort" not in page


async def test_the_part_that_is_asked_for_again_says_where_the_run_stands(lite: World, lite_admin: Browser) -> None:
    await lite.subscribe(1)
    await lite_admin.post("/nordlicht/runs/start")
    answer = await lite_admin.http.get("/console/nordlicht/runs/run_1/live")
    assert answer.headers["x-state"] == "running"
    assert "<html" not in answer.text
    assert "live.js" in await lite_admin.get("/nordlicht/runs/run_1")


async def test_what_names_no_run_is_not_found(lite_admin: Browser) -> None:
    for name in ("1", "run_", "run_2", "run_x", "run_99999999999999999999"):
        await lite_admin.get(f"/nordlicht/runs/{name}", 404)


async def test_runs_are_listed_by_state_and_part(lite: World) -> None:
    await lite.run()
    lite.next_day()
    lite_admin = await signed_in(lite, whole_app(lite))
    await lite_admin.post("/nordlicht/runs/plan")
    page = await lite_admin.get("/nordlicht/runs?state=planned")
    assert "22\N{NO-BREAK SPACE}November\N{NO-BREAK SPACE}2026" in page
    assert "21\N{NO-BREAK SPACE}November\N{NO-BREAK SPACE}2026" not in page
    assert "No run is aborted." in await lite_admin.get("/nordlicht/runs?state=aborted")


async def test_a_run_costs_the_same_statements_whatever_its_size(world: World) -> None:
    counts: list[int] = []
    for size in (1, 12):
        await world.subscribe(size)
        await world.run()
        world.next_day()
        admin = await signed_in(world, whole_app(world))
        with counted(world.store) as statements:
            await admin.get(f"/nordlicht/runs/run_{len(counts) + 1}")
        counts.append(len(statements))
    assert counts[0] == counts[1]
