"""A person's word on a run, by the command: planned, approved, held back, let go on, aborted."""

from __future__ import annotations

import pytest

from tests.contract.sandbox import Sandbox
from tests.jobs.conftest import Shell, row, setup_text
from tests.jobs.test_command import stored

DAY = "2060-01-31"


@pytest.fixture
def ready(lite: Shell, sandbox: Sandbox) -> Shell:
    """Three subscribers due on a day, of a merchant who wants to approve runs and brakes early."""
    lite.set_up(sandbox, accent='""\nrun_approval = true\nbrakes = {least_charges = 3, slice_charges = 3}')
    stored(sandbox, 1, 2, 3)
    assert lite.enrol(*map(row, (1, 2, 3))).status == 0
    return lite


def test_a_run_waits_for_its_approval_and_says_what_it_plans(ready: Shell) -> None:
    said = ready("run", "--on", DAY, "--json")
    assert (said.status, said.json["invoiced"]) == (1, 0)
    run_id = str(said.json["run_id"])

    shown = ready("runs", "show", run_id)
    assert "Run 1 of gym for 2060-01-31: planned." in shown.out
    assert "Planned: 3 charges through main, 75.00 EUR." in shown.out
    assert ready("runs", "approve", run_id, "--by", "Ida", "--json").json["state"] == "running"

    done = ready("run", "--on", DAY, "--json")
    assert (done.status, done.json["charged"]) == (0, 3)
    assert ready("runs", "list", "--json").json["runs"] == [
        {"id": 1, "merchant": "gym", "on_day": DAY, "state": "finished", "stopped": ""}
    ]
    assert "Approved by Ida." in ready("runs", "show", run_id).out


def test_a_run_that_brakes_ends_with_one_and_can_be_aborted(ready: Shell, sandbox: Sandbox) -> None:
    ready("run", "--on", DAY)
    ready("runs", "approve", "1", "--by", "Ida")
    sandbox.fault("decline:DECLINED", times=9, operation="AcceptPayment")

    said = ready("run", "--on", DAY, "--json")
    assert (said.status, said.json["declined"]) == (1, 3)
    assert said.json["runs"][0]["stopped"] == "3 of 3 charges through mPAY24 (main) were declined"
    assert ready("deliver", "--json").json == {"messages": {}, "webhooks": {}}
    assert ready("runs", "abort", "1", "--reason", "a wrong price").out == "Run 1 is aborted.\n"
    assert ready("doctor").status == 0


def test_a_run_is_held_back_and_goes_on_by_hand(ready: Shell) -> None:
    assert "is planned" in ready("runs", "plan").out
    ready("runs", "approve", "1", "--by", "Ida")
    assert ready("runs", "pause", "1", "--reason", "lunch", "--json").json["stopped"] == "lunch"
    assert ready("run").status == 1
    assert ready("runs", "resume", "1", "--by", "Ida", "--json").json["state"] == "running"
    assert ready("run").status == 0
    assert ready("runs", "plan").out == "Every merchant has had its run today.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["approve", "7", "--by", "Ida"], "there is no run 7"),
        (["show", "7"], "there is no run 7"),
        (["approve", "1"], "Missing option '--by'"),
        (["resume", "1", "--by", "Ida"], "run 1 is planned: it is not paused"),
        (["abort", "x", "--reason", "y"], "Invalid value for 'run_id'"),
    ],
)
def test_a_word_that_does_not_fit_is_answered_in_one_line(ready: Shell, words: list[str], says: str) -> None:
    ready("run", "--on", DAY)
    assert says in ready("runs", *words).refusal


def test_a_threshold_that_makes_no_sense_is_named(lite: Shell) -> None:
    text = setup_text({"endpoint": "http://127.0.0.1:9/x"}, accent='""\nbrakes = {declined_percent = 101}')
    said = lite("setup", lite.write("merchant.toml", text))
    assert "merchant.brakes.declined_percent: " in said.refusal
