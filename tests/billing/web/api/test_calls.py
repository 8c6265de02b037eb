"""What all calls have in common: done once under a key, changed only as seen, refused without a trace."""

from __future__ import annotations

import asyncio

import pytest

from billing.models import AuditEntry, Idempotency, Plan, table
from billing.services.answering import CLAIM_S, KEPT_S, ClaimLostError, Kept, claim, digest_of, forget_answers, keep
from tests.billing.services.support import World, let_time_pass
from tests.billing.web.api.support import Caller, caller

SOLO = {"reference": "solo", "name": "Solo"}


async def pass_time(world: World, seconds: float) -> None:
    await let_time_pass(world.store, seconds, {table(Idempotency): ("lease_until", "created_at")})


async def test_the_same_key_and_body_get_the_same_answer_and_do_it_once(api: Caller) -> None:
    first = await api.ask("POST", "/plans", SOLO, Idempotency_Key="k")
    api.told(await api.ask("PATCH", "/plans/solo", {"name": "Other"}), 200)
    again = await api.http.post("/plans", content=b'{"name": "Solo",  "reference": "solo"}', headers=_json("k"))
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert {again.headers[name] for name in ("etag", "location")} == {first.headers[n] for n in ("etag", "location")}
    assert (await api.get("/plans/solo"))["name"] == "Other"


def _json(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key, "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [("POST", "/plans", SOLO | {"name": "Other"}), ("POST", "/customers", SOLO), ("POST", "/plans?x=1", SOLO)],
)
async def test_the_same_key_for_another_call_is_refused(
    lite_api: Caller, verb: str, path: str, body: dict[str, str]
) -> None:
    await lite_api.post("/plans", SOLO, Idempotency_Key="k")
    answer = await lite_api.ask(verb, path, body, Idempotency_Key="k")
    if path == "/customers":
        assert answer.status_code == 422
    else:
        assert Caller.told(answer, 409)["type"] == "urn:turnus:problem:key-reused"


async def test_two_calls_at_once_do_it_once(api: Caller) -> None:
    answers = await asyncio.gather(*(api.ask("POST", "/plans", SOLO, Idempotency_Key="k") for _ in range(6)))
    statuses = {answer.status_code for answer in answers}
    assert 201 in statuses <= {201, 409}
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["type"] == "urn:turnus:problem:still-running"
            assert answer.headers["retry-after"] == "2"
    assert len(await api.world.rows(Plan, reference="solo")) == 1


async def test_another_merchants_key_names_another_call(lite: World, lite_api: Caller) -> None:
    other = await lite.beside("ostwind")
    theirs = await caller(other, lite_api.http._transport.app, merchant_id=other.merchant_id)  # type: ignore[attr-defined]
    await lite_api.post("/plans", SOLO, Idempotency_Key="k")
    await theirs.post("/plans", SOLO | {"name": "Theirs"}, Idempotency_Key="k")
    assert (await lite_api.get("/plans/solo"))["name"] == "Solo"


async def test_a_refused_call_changes_nothing_and_frees_its_key(api: Caller) -> None:
    await api.post("/plans/solo/prices", _PRICE, 404, Idempotency_Key="k")
    assert await api.world.rows(Idempotency) == []
    await api.post("/plans", SOLO)
    await api.post("/plans/solo/prices", _PRICE, Idempotency_Key="k")


_PRICE = {"reference": "x", "title": "X", "amount": {"amount_minor": 1, "currency": "EUR"}}


async def test_a_call_whose_process_died_is_taken_over_after_its_time_and_what_wakes_up_then_changes_nothing(
    world: World,
) -> None:
    dead = await claim(world.ctx, world.merchant_id, "k", digest_of("x"))
    assert not isinstance(dead, Kept)
    await pass_time(world, CLAIM_S + 1)
    alive = await claim(world.ctx, world.merchant_id, "k", digest_of("x"))
    assert not isinstance(alive, Kept)
    with pytest.raises(ClaimLostError):
        async with world.store.write() as session:
            await keep(world.ctx, session, dead, Kept(201, "dead", {}))
    async with world.store.write() as session:
        await keep(world.ctx, session, alive, Kept(201, "alive", {}))
    assert await claim(world.ctx, world.merchant_id, "k", digest_of("x")) == Kept(201, "alive", {})


async def test_answers_are_kept_for_a_day_and_forgotten_in_the_end(world: World, api: Caller) -> None:
    await api.post("/plans", SOLO, Idempotency_Key="k")
    await pass_time(world, 24 * 3600)
    await forget_answers(world.ctx)
    assert (await api.ask("POST", "/plans", SOLO, Idempotency_Key="k")).status_code == 201
    await pass_time(world, KEPT_S - 24 * 3600 + 1)
    await forget_answers(world.ctx)
    assert await world.rows(Idempotency) == []


async def test_what_is_kept_is_sealed(lite: World, lite_api: Caller) -> None:
    await lite_api.post("/plans", SOLO, Idempotency_Key="k")
    [row] = await lite.rows(Idempotency)
    assert "Solo" not in str(row)


@pytest.mark.parametrize("key", ["", "two words", "x" * 201])
async def test_a_bad_key_is_named(lite_api: Caller, key: str) -> None:
    problem = await lite_api.post("/plans", SOLO, 422, Idempotency_Key=key)
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]


async def test_a_thing_is_changed_only_as_it_was_seen(api: Caller) -> None:
    seen = (await api.http.get("/plans/team")).headers["etag"]
    changed = await api.ask("PATCH", "/plans/team", {"name": "One"}, If_Match=f'"x", {seen}')
    assert changed.status_code == 200
    problem = await api.patch("/plans/team", {"name": "Two"}, 412, If_Match=seen)
    assert problem["type"] == "urn:turnus:problem:changed"
    assert (await api.get("/plans/team"))["name"] == "One"
    await api.patch("/plans/team", {"name": "Two"}, If_Match=changed.headers["etag"])
    await api.patch("/plans/team", {"name": "Three"}, If_Match="*")
    await api.patch("/plans/team", {"name": "Four"}, 412, If_Match="W/" + changed.headers["etag"])


async def test_of_two_changes_at_once_to_what_both_saw_one_is_made(api: Caller) -> None:
    seen = (await api.http.get("/plans/team")).headers["etag"]
    changes = (api.ask("PATCH", "/plans/team", {"name": str(each)}, If_Match=seen) for each in range(4))
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*changes))
    assert statuses == [200, 412, 412, 412]


async def test_what_the_caller_has_already_is_not_sent_again(lite_api: Caller) -> None:
    answer = await lite_api.http.get("/plans/team")
    again = await lite_api.http.get("/plans/team", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    await lite_api.patch("/plans/team", {"name": "Other"})
    assert (
        await lite_api.http.get("/plans/team", headers={"If-None-Match": answer.headers["etag"]})
    ).status_code == 200


async def test_what_a_key_changes_is_recorded_once_and_what_is_refused_is_not(api: Caller) -> None:
    for _ in range(2):
        await api.ask("POST", "/plans", SOLO, Idempotency_Key="k")
    await api.patch("/plans/solo", {"name": "Other"})
    await api.post("/plans", SOLO, 409)
    await api.get("/plans")
    told = [(row["verb"], row["subject"], row["actor_kind"]) for row in await api.world.rows(AuditEntry)]
    assert told == [("add_plan", "solo", "key"), ("change_plan", "solo", "key")]
    assert (await api.world.rows(AuditEntry))[0]["actor"].startswith("test (tk_")
