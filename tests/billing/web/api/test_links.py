from __future__ import annotations

import asyncio

import pytest

from billing.models import Attempt, Idempotency, PayLink
from billing.services.looking import Standing, visit
from tests.billing.services.support import by_link
from tests.billing.web.api.support import Caller


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """inv_1 is open and has a pay-link, link_1."""
    await api.world.subscribe(1, **by_link(1))
    await api.world.run()
    return api


async def standing(caller: Caller, name: str) -> Standing:
    found = await visit(caller.world.ctx, int(name.rpartition("_")[2]))
    return found.standing


async def test_a_link_is_made_once_and_prolonged_and_its_address_told_to_who_makes_it(ready: Caller) -> None:
    ready.world.next_day(3)
    made = await ready.post("/invoices/inv_1/pay-links")
    assert (made["id"], made["invoice"], made["customer"]) == ("link_1", "inv_1", "K1")
    assert ready.world.ctx.links.read(made["url"].rpartition("/")[2]) == 1
    assert made["expires_at"] > "2026-12-08"
    shown = await ready.http.get("/pay-links/link_1")
    assert made == shown.json() | {"url": made["url"]}
    assert made["url"] not in shown.text
    assert await ready.everything("/pay-links", invoice="inv_1") == [shown.json()]


async def test_a_reissued_link_is_another_one_and_the_old_one_opens_nothing(ready: Caller) -> None:
    made = await ready.post("/pay-links/link_1/reissue")
    assert made["id"] == "link_2"
    assert await standing(ready, "link_1") == Standing.SUPERSEDED
    assert await standing(ready, "link_2") == Standing.PAYABLE
    assert await ready.world.breaches() == []


async def test_a_revoked_link_opens_nothing_and_another_one_can_be_made(ready: Caller) -> None:
    assert (await ready.post("/pay-links/link_1/revoke", None, 200))["superseded_at"] == "2026-11-21T02:00:00Z"
    assert (await ready.post("/pay-links/link_1/revoke", None, 200))["superseded_at"] == "2026-11-21T02:00:00Z"
    assert await standing(ready, "link_1") == Standing.SUPERSEDED
    assert (await ready.world.pay(1)).url == ""
    assert await ready.world.rows(Attempt) == []
    assert (await ready.post("/invoices/inv_1/pay-links"))["id"] == "link_2"


async def test_a_click_at_the_same_time_either_opens_a_page_or_finds_the_link_revoked(ready: Caller) -> None:
    await asyncio.gather(ready.world.pay(1), ready.post("/pay-links/link_1/revoke", None, 200))
    assert await standing(ready, "link_1") == Standing.SUPERSEDED
    assert len(await ready.world.rows(Attempt)) <= 1
    assert await ready.world.breaches() == []


async def test_a_call_made_twice_gives_the_same_address_and_keeps_it_sealed(ready: Caller) -> None:
    first = await ready.ask("POST", "/pay-links/link_1/reissue", None, Idempotency_Key="k")
    again = await ready.ask("POST", "/pay-links/link_1/reissue", None, Idempotency_Key="k")
    assert again.content == first.content
    assert len(await ready.world.rows(PayLink)) == 2
    token = first.json()["url"].rpartition("/")[2]
    assert token not in str(await ready.world.rows(Idempotency))


async def test_nothing_is_to_be_paid_of_an_invoice_that_is_closed(ready: Caller) -> None:
    await ready.post("/invoices/inv_1/void", None, 200)
    problem = await ready.post("/invoices/inv_1/pay-links", None, 409)
    assert problem["detail"] == "inv_1 is void: there is nothing to pay"
    await ready.post("/pay-links/link_1/reissue", None, 409)
    assert await standing(ready, "link_1") == Standing.VOID


async def test_what_is_no_link_is_not_found(lite_api: Caller) -> None:
    for name in ("link_9", "inv_1"):
        await lite_api.get(f"/pay-links/{name}", 404)
        await lite_api.post(f"/pay-links/{name}/reissue", None, 404)
        await lite_api.post(f"/pay-links/{name}/revoke", None, 404)
