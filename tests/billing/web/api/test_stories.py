from __future__ import annotations

from billing.web.app import create_app
from tests.billing.services.support import decline
from tests.billing.web.api.support import Caller, caller


async def test_a_story_is_told_by_any_name(api: Caller) -> None:
    api.world.bank.on("P1", decline())
    await api.world.subscribe()
    await api.world.run()
    key = (await api.get("/attempts/att_1"))["key"]
    for name in ("sub_1", "S1", "inv_1", "NA-2026-00001", "att_1", key):
        story = await api.get(f"/explain/{name}")
        assert story["name"] == name
        assert story["sentences"]
    assert any("DECLINED" in sentence for sentence in story["sentences"])
    await api.get("/explain/nothing", 404)


async def test_nothing_of_another_merchant_is_told_by_any_name(api: Caller) -> None:
    other = await api.world.beside("ostwind")
    await api.world.subscribe()
    await api.world.run()
    paid = await api.post("/attempts/att_1/refunds", {}, Idempotency_Key="k")
    key = (await api.get("/attempts/att_1"))["key"]
    theirs = await caller(other, api.http._transport.app, merchant_id=other.merchant_id)  # type: ignore[attr-defined]
    for name in ("sub_1", "S1", "inv_1", "NA-2026-00001", "att_1", key, paid["id"]):
        await api.get(f"/explain/{name}")
        await theirs.get(f"/explain/{name}", 404)


async def test_where_nobody_explains_nothing_has_a_story(api: Caller) -> None:
    await api.world.subscribe()
    mute = await caller(api.world, create_app(api.world.ctx))
    await mute.get("/explain/S1", 404)
