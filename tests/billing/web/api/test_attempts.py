from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from billing.gateway import Unknown
from billing.models import Idempotency, Operation
from billing.services.refunding import Payment, owe_back
from tests.billing.services.support import decline
from tests.billing.web.api.support import Caller

PART = {"amount": {"amount_minor": 1000, "currency": "EUR"}, "reason": "goodwill"}


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """att_1 is declined, att_2 is approved."""
    api.world.bank.on("P1", decline())
    await api.world.subscribe(2)
    await api.world.run()
    return api


async def test_an_attempt_is_shown_with_what_it_collects_and_how_it_went(ready: Caller) -> None:
    shown = await ready.get("/attempts/att_1")
    key = shown.pop("key")
    assert key.startswith("INV-")
    assert shown == {
        "id": "att_1",
        "customer": "K1",
        "account": "bank",
        "profile": "pro_1",
        "invoice": "inv_1",
        "verification": None,
        "initiator": "merchant",
        "channel": "night",
        "amount": {"amount_minor": 2500, "currency": "EUR"},
        "state": "declined",
        "gateway_id": "",
        "decline_code": "DECLINED",
        "decline_class": "retry_later",
        "evidence": "not today",
        "created_at": "2026-11-21T02:00:00Z",
        "decided_at": "2026-11-21T02:00:00Z",
    }


async def test_attempts_are_filtered_and_sorted_by_time(ready: Caller) -> None:
    async def found(**query: Any) -> list[str]:
        return [each["id"] for each in await ready.everything("/attempts", limit=1, **query)]

    assert await found(sort="created") == ["att_1", "att_2"]
    assert await found(sort="-created") == ["att_2", "att_1"]
    assert await found(state="approved") == ["att_2"]
    assert await found(customer="K1") == ["att_1"]
    assert await found(invoice="inv_2") == ["att_2"]
    await ready.get("/attempts", 422, invoice="K1")


async def test_a_part_is_given_back_and_its_operation_tells_how_that_went(ready: Caller) -> None:
    answer = await ready.ask("POST", "/attempts/att_2/refunds", PART, Idempotency_Key="k")
    owed = Caller.told(answer, 201)
    assert (owed["kind"], owed["state"], owed["reason"]) == ("refund", "created", "goodwill")
    assert answer.headers["location"] == "/api/v1/operations/op_1"
    done = await ready.get("/operations/op_1")
    assert done == owed | {"state": "approved", "gateway_id": done["gateway_id"], "decided_at": done["decided_at"]}
    assert ready.world.bank.taken() == 1500
    assert await ready.world.breaches() == []


async def test_the_same_call_twice_or_at_once_gives_back_once(ready: Caller) -> None:
    calls = (ready.ask("POST", "/attempts/att_2/refunds", PART, Idempotency_Key="k") for _ in range(5))
    statuses = {answer.status_code for answer in await asyncio.gather(*calls)}
    assert 201 in statuses <= {201, 409}
    again = await ready.ask("POST", "/attempts/att_2/refunds", PART, Idempotency_Key="k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (again.json()["id"], again.json()["state"]) == ("op_1", "created")
    assert len(await ready.world.rows(Operation)) == 1
    assert ready.world.bank.taken() == 1500


async def test_calls_under_other_keys_give_back_no_more_than_there_is(ready: Caller) -> None:
    calls = (ready.ask("POST", "/attempts/att_2/refunds", PART, Idempotency_Key=f"k{n}") for n in range(5))
    assert {answer.status_code for answer in await asyncio.gather(*calls)} <= {201, 409, 422}
    await ready.world.clear_up()
    assert ready.world.bank.taken() >= 500
    assert await ready.world.breaches() == []


async def test_a_refund_whose_process_died_after_the_answer_is_sent_by_the_next_one(ready: Caller) -> None:
    async with ready.world.store.write() as session:
        await owe_back(ready.world.ctx, session, Payment(2), None, "")
    assert (await ready.get("/operations/op_1"))["state"] == "created"
    assert ready.world.bank.taken() == 2500
    await ready.world.reconcile()
    assert ready.world.bank.taken() == 0
    assert await ready.world.breaches() == []


async def test_a_lost_answer_is_asked_about_and_the_call_is_not_made_again(ready: Caller) -> None:
    ready.world.bank.then("refund", Unknown("lost"))
    await ready.post("/attempts/att_2/refunds", {}, Idempotency_Key="k")
    assert (await ready.get("/operations/op_1"))["state"] == "unknown"
    problem = await ready.post("/attempts/att_2/refunds", {}, 409, Idempotency_Key="other")
    assert problem["detail"] == "the refund op_1 of att_2 is still under way"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"amount": {"amount_minor": 2501, "currency": "EUR"}}, "25.01 is more than the 25.00 EUR that are left of it"),
        ({"amount": {"amount_minor": 0, "currency": "EUR"}}, "0.00 is nothing that could be given back"),
        ({"amount": {"amount_minor": -5, "currency": "EUR"}}, "-0.05 is nothing that could be given back"),
        ({"amount": {"amount_minor": 5, "currency": "USD"}}, "0.05 USD cannot be a part of the 25.00 EUR"),
    ],
)
async def test_an_amount_that_cannot_be_given_back_is_named(ready: Caller, body: Any, says: str) -> None:
    problem = await ready.post("/attempts/att_2/refunds", body, 422, Idempotency_Key="k")
    [error] = problem["errors"]
    assert error["field"] == "amount"
    assert says in error["message"]
    assert await ready.world.rows(Operation) == []
    assert await ready.world.rows(Idempotency) == []


async def test_what_brought_in_nothing_and_a_gateway_that_gives_nothing_back_are_conflicts(ready: Caller) -> None:
    await ready.post("/attempts/att_1/refunds", {}, 409, Idempotency_Key="k")
    bank = ready.world.bank
    bank.abilities = replace(bank.abilities, refund=False)
    problem = await ready.post("/attempts/att_2/refunds", {}, 409, Idempotency_Key="k")
    assert problem["detail"] == "Bank gives nothing back by itself: do it there"


async def test_a_refund_needs_a_key(ready: Caller) -> None:
    problem = await ready.post("/attempts/att_2/refunds", {}, 422)
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]


async def test_operations_are_filtered(ready: Caller) -> None:
    await ready.post("/attempts/att_2/refunds", PART, Idempotency_Key="k")
    for query in ({}, {"kind": "refund"}, {"state": "approved"}, {"attempt": "att_2"}):
        assert [each["id"] for each in await ready.everything("/operations", **query)] == ["op_1"]
    for query in ({"kind": "chargeback"}, {"state": "created"}, {"attempt": "att_1"}):
        assert await ready.everything("/operations", **query) == []
