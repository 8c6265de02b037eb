"""Who typed a command that changes something is in the audit log, with what it did and to what, and no secret."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import RowMapping, select

from billing.models import ActorKind, AuditEntry, table
from billing.services.auditing import Actor
from billing.store import Store
from jobs.who import who
from tests.contract.sandbox import Sandbox
from tests.jobs.conftest import Shell, row
from tests.jobs.test_command import stored

DAY = "2060-01-31"
ME = pwd.getpwuid(os.getuid()).pw_name


def entries(shell: Shell) -> Sequence[RowMapping]:
    """Return what the audit log holds, the oldest first."""

    async def ask() -> Sequence[RowMapping]:
        store = Store(shell.setting("DATABASE_URL"))
        async with store.read() as session:
            query = select(table(AuditEntry)).order_by(table(AuditEntry).c.id)
            found = (await session.execute(query)).mappings().all()
        await store.close()
        return found

    return asyncio.run(ask())


def done(shell: Shell) -> list[tuple[str, str]]:
    return [(each["verb"], each["subject"]) for each in entries(shell)]


def detail(shell: Shell) -> Any:
    return entries(shell)[-1]["detail"]


@pytest.fixture
def ready(lite: Shell, sandbox: Sandbox) -> Shell:
    """A customer whose card is stored, due on a day."""
    lite.set_up(sandbox)
    stored(sandbox, 1)
    assert lite.enrol(row(1)).status == 0
    return lite


def test_a_command_is_typed_by_whom_the_system_names_unless_somebody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TURNUS_OPERATOR", raising=False)
    assert who() == Actor(ActorKind.COMMAND, ME)
    monkeypatch.setenv("TURNUS_OPERATOR", "night shift")
    assert who() == Actor(ActorKind.COMMAND, "night shift")
    assert who(" Ida ") == Actor(ActorKind.COMMAND, "Ida")


def test_setting_up_and_importing_are_recorded_once_they_are_done(ready: Shell) -> None:
    first, second = entries(ready)
    assert {(each["actor_kind"], each["actor"]) for each in (first, second)} == {("command", ME)}
    assert (first["verb"], first["subject"], first["detail"]) == (
        "set_up",
        "gym",
        {"accounts": "main", "plans": "solo", "live": "no"},
    )
    assert (second["verb"], second["detail"]) == ("import", {"customers": 1, "profiles": 1, "subscriptions": 1})


def test_what_was_refused_or_only_tried_is_not_recorded(ready: Shell) -> None:
    before = done(ready)
    assert ready("import", ready.write("people.csv", "customer\nC1")).status == 2
    assert ready.enrol(row(1)).status == 2
    assert ready("import", ready.folder / "people.csv", "--dry-run").status == 2
    assert ready("run", "--on", DAY, "--dry-run").status == 0
    assert ready("run", "--merchant", "nobody").status == 2
    assert ready("refund", "att_9").status == 2
    assert ready("runs", "abort", "9", "--reason", "x").status == 2
    assert ready("keys", "revoke", "nothing").status == 2
    assert ready("renew", "S9").status == 2
    assert done(ready) == before


def test_work_that_a_person_starts_is_recorded_for_each_merchant_with_its_day(ready: Shell) -> None:
    ready.set(SMTP_URL="smtp://127.0.0.1:9")
    for words in (("run", "--on", DAY), ("dun", "--on", DAY), ("reconcile",), ("deliver",)):
        assert ready(*words).status == 0
    work = entries(ready)[2:]
    assert [(each["verb"], each["subject"]) for each in work] == [
        ("run", "gym"),
        ("dun", "gym"),
        ("reconcile", "gym"),
        ("deliver", "gym"),
    ]
    assert [each["detail"]["on"] for each in work][:2] == [DAY, DAY]


def test_money_that_is_given_back_is_recorded_with_its_operation(ready: Shell) -> None:
    ready("run", "--on", DAY)
    ready("refund", "att_1", "--amount", "10.00", "--reason", "goodwill")
    assert done(ready)[-1] == ("give_back", "att_1")
    assert detail(ready) == {"operation": "op_1", "amount": "10.00", "reason": "goodwill"}


def test_a_renewal_that_is_offered_is_recorded_without_its_address(ready: Shell) -> None:
    url = ready("renew", "S1", "--json").json["url"]
    assert done(ready)[-1] == ("offer_renewal", "pro_1")
    assert detail(ready) == {"customer": "C1", "subscription": "S1"}
    assert url.rpartition("/")[2] not in str(entries(ready))


def test_a_doubt_that_is_settled_is_recorded_with_its_proof(ready: Shell, sandbox: Sandbox) -> None:
    sandbox.fault("drop_after_booking", operation="AcceptPayment", times=1)
    sandbox.fault("http_500", times=50)
    ready("run", "--on", DAY)
    said = ready("settle", "att_1", "--approved", "90001", "--proof", "statement 7", "--by", "Ida")
    assert said.status == 0, said
    last = entries(ready)[-1]
    assert (last["actor"], last["verb"], last["subject"]) == ("Ida", "settle_doubt", "att_1")
    assert last["detail"]["state"] == "approved"
    assert "proof: statement 7" in last["detail"]["word"]


def test_a_word_on_a_run_is_recorded_with_what_was_said(ready: Shell) -> None:
    ready("runs", "plan")
    ready("runs", "approve", "1", "--by", "Ida")
    ready("runs", "pause", "1", "--reason", "lunch")
    ready("runs", "resume", "1", "--by", "Ida")
    ready("runs", "abort", "1", "--reason", "a wrong price")
    words = entries(ready)[2:]
    assert [(each["verb"], each["detail"].get("said")) for each in words] == [
        ("plan_run", None),
        ("approve_run", "Ida"),
        ("pause_run", "lunch"),
        ("resume_run", "Ida"),
        ("abort_run", "a wrong price"),
    ]
    assert {each["subject"] for each in words} == {"run_1"}


def test_keys_are_recorded_by_their_names_and_never_whole(ready: Shell) -> None:
    old = ready("keys", "create", "--name", "shop", "--scope", "read", "--json").json
    assert detail(ready) == {"name": "shop", "scopes": "read"}
    new = ready("keys", "rotate", old["prefix"], "--json").json
    assert detail(ready) == {"new": f"tk_{new['prefix']}"}
    ready("keys", "revoke", new["prefix"])
    assert done(ready)[2:] == [
        ("add_key", f"tk_{old['prefix']}"),
        ("rotate_key", f"tk_{old['prefix']}"),
        ("revoke_key", f"tk_{new['prefix']}"),
    ]
    assert not any(key["key"].split("_", 2)[2] in str(entries(ready)) for key in (old, new))


def test_an_exchange_of_the_secret_key_is_recorded_without_either_key(ready: Shell) -> None:
    old, new = ready.setting("SECRET_KEY"), "a new secret key, long enough for tests"
    ready.set(SECRET_KEY_OLD=old, SECRET_KEY=new)
    assert ready("rotate-key").status == 0
    assert done(ready)[-1] == ("rotate_secret_key", "gym")
    assert detail(ready)["sealed"] == 2
    assert not any(key in str(entries(ready)) for key in (old, new))
