from __future__ import annotations

import pytest

from billing.models import Attempt, Notification
from billing.services.verifying import offer_renewal
from tests.billing.services.support import by_link
from tests.billing.web.api.support import Caller


@pytest.fixture
async def told(api: Caller) -> Caller:
    """A customer has paid on a page, and the push that tells of it, not_1, was set aside as not understood."""
    await api.world.subscribe(1, **by_link(1))
    await api.world.run()
    await api.world.pay(await api.world.link_to())
    [attempt] = await api.world.rows(Attempt)
    await api.world.hear(api.world.bank.customer_pays(attempt["key"]), settle=False)
    await api.world.change(Notification, 1, state="open", reason="it broke us")
    return api


async def test_a_notification_that_was_not_understood_is_taken_once_more(told: Caller) -> None:
    shown = await told.get("/notifications/not_1")
    assert (shown["state"], shown["reason"], shown["account"]) == ("open", "it broke us", "bank")
    assert (await told.post("/notifications/not_1/replay", None, 200))["state"] == "received"
    after = await told.get("/notifications/not_1")
    assert (after["state"], after["attempt"]) == ("settled", "att_1")
    assert (await told.get("/invoices/inv_1"))["state"] == "paid"
    problem = await told.post("/notifications/not_1/replay", None, 409)
    assert problem["detail"] == "it is settled: only what could not be understood is taken once more"
    assert await told.world.breaches() == []


async def test_a_forgery_is_not_believed_by_being_replayed(told: Caller) -> None:
    await told.world.change(Notification, 1, state="forged")
    await told.post("/notifications/not_1/replay", None, 409)
    assert (await told.get("/invoices/inv_1"))["state"] == "open"


async def test_notifications_are_filtered_and_do_not_show_what_they_said(told: Caller) -> None:
    assert [each["id"] for each in await told.everything("/notifications", state="open", account="bank")] == ["not_1"]
    assert await told.everything("/notifications", state="settled") == []
    shown = await told.get("/notifications/not_1")
    assert not {"body", "headers", "query"} & set(shown)


async def test_verifications_are_shown(api: Caller) -> None:
    await api.world.subscribe()
    await offer_renewal(api.world.ctx, "S1")
    shown = await api.get("/verifications/ver_1")
    assert (shown["customer"], shown["profile"], shown["state"]) == ("K1", "pro_1", "open")
    assert shown["amount"] == {"amount_minor": 10, "currency": "EUR"}
    assert await api.everything("/verifications", customer="K1", state="open") == [shown]
    await api.get("/verifications/ver_2", 404)
