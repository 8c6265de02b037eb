"""The command does what it says, says it as JSON to programs, and its exit status tells who is needed next."""

from __future__ import annotations

import asyncio
from datetime import date
from importlib.metadata import version
from typing import Any

from sqlalchemy import func, select

from billing.models import Attempt, Customer, Invoice, Message, Subscription, table
from billing.store import Store
from tests.contract.sandbox import Sandbox
from tests.jobs.conftest import HEADER, Shell, row

RUN_KEYS = {"run_id", "due", "invoiced", "charged", "declined", "pending", "unknown", "skipped", "seconds"}


def stored(sandbox: Sandbox, *numbers: int, expiry: str = "3505") -> None:
    for number in numbers:
        card = {"kind": "CC", "brand": "VISA", "identifier": "4444333322221111", "expiry": expiry, "name": "A"}
        sandbox.store({"customer_id": f"C{number}", **card})


def count(shell: Shell, *models: Any) -> list[int]:
    """Count the rows of tables in the shell's database."""

    async def ask() -> list[int]:
        store = Store(shell.setting("DATABASE_URL"))
        async with store.read() as session:
            found = [(await session.execute(select(func.count()).select_from(table(m)))).scalar_one() for m in models]
        await store.close()
        return found

    return asyncio.run(ask())


def test_a_night_from_the_files_to_the_doctor(shell: Shell, sandbox: Sandbox) -> None:
    shell.set_up(sandbox)
    stored(sandbox, 1, 2)
    stored(sandbox, 3, expiry="3501")
    assert shell.enrol(*map(row, (1, 2, 3))).status == 0

    foreseen = shell("run", "--on", "2060-01-31", "--dry-run", "--json").json
    assert (foreseen["due"], foreseen["invoiced"], foreseen["dry_run"], foreseen["run_id"]) == (3, 0, True, None)
    assert count(shell, Invoice, Attempt) == [0, 0]

    said = shell("run", "--on", "2060-01-31", "--json")
    report = said.json
    assert said.status == 0
    assert report.keys() >= RUN_KEYS
    assert isinstance(report["run_id"], int)
    assert isinstance(report["seconds"], float)
    counts = {key: report[key] for key in RUN_KEYS - {"run_id", "seconds"}}
    assert counts == {
        "due": 3, "invoiced": 3, "charged": 2, "declined": 1, "pending": 0, "unknown": 0, "skipped": 0,
    }  # fmt: skip
    again = shell("run", "--on", "2060-01-31", "--json").json
    assert {again[key] for key in ("due", "invoiced", "charged", "declined")} == {0}
    assert [entry["amount_minor"] for entry in booked(sandbox)] == [2500, 2500]

    assert shell("dun", "--on", "2060-02-02", "--json").json == {"steps": {}, "settled": {}}
    retried = shell("dun", "--on", "2060-02-03", "--json").json
    assert retried == {"steps": {"retry": 1}, "settled": {"declined": 1}}
    reconciled = shell("reconcile", "--json").json
    assert (reconciled["in_doubt"], reconciled["attempts"]) == (0, {})
    doctor = shell("doctor", "--json")
    assert (doctor.status, doctor.json) == (0, {"breaches": [], "promises": 11})


def booked(sandbox: Sandbox) -> list[dict[str, Any]]:
    rows = sandbox.http.get("/_sandbox/ledger").json()["transactions"]
    return [entry for entry in rows if entry["state"] == "booked"]


def test_people_get_tables_and_sentences(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    stored(sandbox, 1)
    assert lite.enrol(row(1)).out == "1 customers, 1 profiles, 1 subscriptions added.\n"
    said = lite("run", "--on", "2060-01-31")
    header, numbers = said.out.splitlines()
    assert header.split() == "merchant day due invoiced charged declined pending unknown skipped".split()
    assert numbers.split() == "gym 2060-01-31 1 1 1 0 0 0 0".split()
    assert lite("doctor").out == "11 of 11 promises kept.\n"
    assert lite("deliver").out.startswith("Mails: ")


def test_without_a_merchant_a_run_says_what_to_do_first(lite: Shell) -> None:
    assert lite("run").out == "There is no merchant yet: describe one with `turnus setup FILE.toml`.\n"


def test_an_import_twice_adds_nothing_and_names_what_is_there(lite: Shell) -> None:
    lite.set_up()
    assert lite("import", lite.write("people.csv", ""), "--dry-run").status == 2
    dry = lite.enrol(row(1), row(2))
    assert dry.status == 0
    before = count(lite, Customer, Subscription)
    again = lite.enrol(row(1), row(2), row(3))
    assert again.status == 2
    assert [line.split(": ", 1)[1] for line in again.err.replace("turnus: ", "").splitlines()] == [
        "subscription: 'S1' is there already",
        "subscription: 'S2' is there already",
    ]
    assert count(lite, Customer, Subscription) == before == [2, 2]


def test_a_dry_import_checks_everything_and_changes_nothing(lite: Shell) -> None:
    lite.set_up()
    path = lite.write("people.csv", "\n".join([HEADER, row(1)]))
    said = lite("import", path, "--dry-run", "--json").json
    assert said == {"customers": 1, "profiles": 1, "subscriptions": 1, "dry_run": True}
    assert count(lite, Customer, Subscription) == [0, 0]


def test_a_run_that_its_account_refuses_needs_a_person_and_mails_nobody(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox, password='"wrong"')
    stored(sandbox, 1)
    lite.enrol(row(1))
    said = lite("run", "--on", "2060-01-31", "--json")
    assert (said.status, said.json["refused"], said.json["charged"]) == (1, 1, 0)
    assert count(lite, Message) == [0]
    assert booked(sandbox) == []
    assert lite("doctor").status == 0

    waiting = lite("run", "--on", "2060-01-31", "--json")
    assert (waiting.json["charged"], booked(sandbox)) == (0, [])
    lite.set_up(sandbox)
    assert lite("run", "--on", "2060-01-31", "--json").json["charged"] == 1
    assert len(booked(sandbox)) == 1


def test_explain_tells_the_story_by_any_name(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    stored(sandbox, 1, expiry="3501")
    lite.enrol(row(1))
    lite("run", "--on", "2060-01-31")
    by_reference, by_id = lite("explain", "S1", "--json").json, lite("explain", "sub_1", "--json").json
    assert by_reference["sentences"] == by_id["sentences"]
    story = " ".join(by_reference["sentences"])
    assert "Subscription S1 (sub_1) is past_due, counted from 2060-01-31." in story
    assert "Invoice TH-2060-00001 (inv_1) of 2060-01-31 over 25.00 EUR is open." in story
    assert "Attempt declined" in story
    assert "Charged by the nightly run" in story
    assert "Invoice TH-2060-00001 issued, €25.00." in story
    assert lite("explain", "TH-2060-00001").out.startswith("Invoice TH-2060-00001 (inv_1)")
    assert lite("explain", "att_1").out.startswith("Attempt 1 (att_1, INV-")


def test_money_goes_back_by_the_command_once_and_never_too_much(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    stored(sandbox, 1)
    lite.enrol(row(1))
    lite("run", "--on", "2060-01-31")

    part = lite("refund", "att_1", "--amount", "10.00", "--reason", "goodwill", "--json")
    said = {"id": "att_1", "operation": "op_1", "amount": "10.00", "currency": "EUR", "state": "approved"}
    assert (part.status, part.json) == (0, said)
    assert "more than the 15.00 EUR" in lite("refund", "att_1", "--amount", "15.01").refusal
    assert lite("refund", "att_1").out == "op_2, giving back 15.00 EUR of att_1, is approved.\n"
    assert "nothing of att_1 is left to give back" in lite("refund", "att_1").refusal
    lite.set(OPERATOR="anna")
    assert "att_1 is not in doubt: it is approved" in lite("settle", "att_1", "--not-booked", "--proof", "x").refusal
    refund = lite("explain", "op_1").out
    assert "It was wanted because: goodwill.\n" in refund
    assert "Refund approved after an attempt, €10.00. Goodwill. (op_1)\n" in refund
    assert lite("doctor").status == 0


def test_renew_gives_the_address_and_mails_it_unless_told_not_to(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    stored(sandbox, 1)
    lite.enrol(row(1))
    said = lite("renew", "S1", "--no-mail", "--json").json
    assert said["subscription"] == "S1"
    assert said["url"].startswith("http://127.0.0.1:8000/p/")
    assert count(lite, Message) == [0]
    assert lite("renew", "S1").out.startswith("http://127.0.0.1:8000/p/")
    assert count(lite, Message) == [1]


def test_mails_that_nobody_takes_stay_queued(lite: Shell, sandbox: Sandbox) -> None:
    lite.set(SMTP_URL="smtp://127.0.0.1:9")
    lite.set_up(sandbox)
    stored(sandbox, 1)
    lite.enrol(row(1))
    lite("run", "--on", "2060-01-31")
    said = lite("deliver", "--json")
    assert (said.status, said.json) == (0, {"messages": {"queued": 1}, "webhooks": {}})


def test_missed_nights_are_caught_up_one_invoice_for_each_period(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    stored(sandbox, 1)
    lite.enrol(row(1, "2060-01-31"))
    said = lite("run", "--on", "2060-05-01", "--json").json
    assert (said["due"], said["invoiced"], said["charged"]) == (4, 4, 4)
    assert len(booked(sandbox)) == 4


def test_a_doctor_who_finds_something_broken_needs_a_person(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    stored(sandbox, 1)
    lite.enrol(row(1))
    lite("run", "--on", "2060-01-31")
    forget(lite)
    said = lite("doctor", "--json")
    [breach] = said.json["breaches"]
    assert (said.status, breach["promise"], breach["ids"]) == (1, 4, ["att_1"])
    assert "No mail is lost" in breach["title"]
    assert "Promise 4 is broken 1 times" in lite("doctor").out


def forget(shell: Shell) -> None:
    """Lose a mail, which is what the doctor is for."""

    async def lose() -> None:
        store = Store(shell.setting("DATABASE_URL"))
        async with store.write() as session:
            await session.execute(table(Message).delete())
        await store.close()

    asyncio.run(lose())


def test_the_day_given_is_the_day_billed(lite: Shell, sandbox: Sandbox) -> None:
    lite.set_up(sandbox)
    stored(sandbox, 1)
    lite.enrol(row(1, "2060-03-01"))
    assert lite("run", "--on", "2060-02-28", "--json").json["due"] == 0
    said = lite("run", "--on", "2060-03-01", "--json").json
    assert (said["due"], said["runs"][0]["on"]) == (1, str(date(2060, 3, 1)))


def test_the_secret_key_is_exchanged_by_two_settings_and_one_command(shell: Shell, sandbox: Sandbox) -> None:
    shell.set_up(sandbox)
    stored(sandbox, 1)
    shell.enrol(row(1))
    shell.set(SECRET_KEY_OLD=shell.setting("SECRET_KEY"), SECRET_KEY="a new secret key, long enough for tests")
    told = shell("doctor", "--json")
    assert told.status == 1
    assert [breach["ids"] for breach in told.json["breaches"]] == [["gateway_account (1)", "profile (1)"]]

    assert shell("rotate-key", "--json").json == {"sealed": {"gateway_account": 1, "profile": 1}, "left": {}}
    assert shell("rotate-key").out == "Sealed anew: none.\nLeft: none.\n"
    shell.set(SECRET_KEY_OLD="")
    assert shell("doctor").status == 0
    assert shell("run", "--on", "2060-01-31", "--json").json["charged"] == 1
    assert shell("rotate-key").refusal.startswith("turnus: TURNUS_SECRET_KEY_OLD is not set; ")


def test_it_says_which_version_it_is(lite: Shell) -> None:
    said = lite("--version")
    assert (said.status, said.out, said.err) == (0, f"turnus {version('turnus')}\n", "")
