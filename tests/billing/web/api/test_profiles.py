from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from billing.gateway import Approved, Outcome, Unknown
from billing.models import Attempt, Invoice
from billing.money import Money
from tests.billing.services.support import decline, pend
from tests.billing.web.api.support import Caller


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """A customer K1 with a profile pro_1."""
    await api.world.subscribe()
    return api


async def test_a_profile_is_shown_without_what_could_be_charged(ready: Caller) -> None:
    answer = await ready.http.get("/profiles/pro_1")
    assert answer.json() == {
        "id": "pro_1",
        "customer": "K1",
        "account": "bank",
        "state": "active",
        "kind": "card",
        "brand": "",
        "last4": "4242",
        "expires_on": None,
        "created_at": "2026-11-21T02:00:00Z",
        "renewed_at": None,
    }
    assert "P1" not in answer.text
    await ready.world.subscribe(2)
    assert [one["id"] for one in await ready.everything("/profiles", limit=1)] == ["pro_1", "pro_2", "pro_3"]
    assert [one["id"] for one in await ready.everything("/profiles", customer="K2")] == ["pro_2"]
    assert await ready.everything("/profiles", state="failed") == []


async def test_a_forgotten_profile_is_charged_no_more_and_the_next_invoice_comes_with_a_link(ready: Caller) -> None:
    assert (await ready.post("/profiles/pro_1/forget", None, 200))["state"] == "forgotten"
    assert (await ready.post("/profiles/pro_1/forget", None, 200))["state"] == "forgotten"
    await ready.world.run()
    assert ready.world.bank.sent == []
    assert await ready.world.states(Invoice) == ["open"]
    assert await ready.world.mails() == [("inv_1", "invoice")]
    assert await ready.world.breaches() == []


async def test_a_retry_that_was_planned_is_not_made_on_a_forgotten_profile(ready: Caller) -> None:
    ready.world.bank.on("P1", decline())
    await ready.world.run()
    await ready.post("/profiles/pro_1/forget", None, 200)
    for _ in range(20):
        ready.world.next_day()
        await ready.world.dun()
    assert len(ready.world.bank.sent) == 1
    assert await ready.world.breaches() == []


async def test_a_profile_is_not_forgotten_while_a_charge_on_it_is_under_way(ready: Caller) -> None:
    await ready.world.issue_again()
    problem = await ready.post("/profiles/pro_1/forget", None, 409)
    assert problem["detail"] == "att_1 is under way on it; forget it when that is over"
    ready.world.bank.on("P1", pend)
    await ready.world.run()
    assert await ready.world.states(Attempt) == ["pending"]
    await ready.post("/profiles/pro_1/forget", None, 409)
    assert (await ready.get("/profiles/pro_1"))["state"] == "active"


@pytest.mark.parametrize(
    ("answer", "tasks"),
    [
        (Approved("1", Money(0, "EUR")), []),
        (Unknown("lost"), [("forget", "pro_1")]),
        (OSError(), [("forget", "pro_1")]),
    ],
)
async def test_the_gateway_deletes_it_too_and_a_task_stays_until_it_has(
    ready: Caller, answer: Any, tasks: list[tuple[str, str]]
) -> None:
    asked: list[str] = []

    async def forget(profile: Any) -> Outcome:
        asked.append(profile.reference)
        if isinstance(answer, Exception):
            raise answer
        outcome: Outcome = answer
        return outcome

    bank = ready.world.bank
    bank.abilities = replace(bank.abilities, forget=True)
    bank.forget = forget  # type: ignore[method-assign]
    assert (await ready.post("/profiles/pro_1/forget", None, 200, Idempotency_Key="k"))["state"] == "forgotten"
    assert (await ready.ask("POST", "/profiles/pro_1/forget", None, Idempotency_Key="k")).status_code == 200
    assert asked == ["P1"]
    assert await ready.world.tasks() == tasks


async def test_what_is_no_profile_is_not_found(ready: Caller) -> None:
    for name in ("pro_2", "pro_0", "inv_1", "pro_x", "pro_" + "9" * 30):
        await ready.get(f"/profiles/{name}", 404)
        await ready.post(f"/profiles/{name}/forget", None, 404)
