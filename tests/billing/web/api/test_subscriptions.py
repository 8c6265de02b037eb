from __future__ import annotations

from typing import Any

import pytest

from billing.models import Profile, Subscription
from tests.billing.services.support import by_link
from tests.billing.web.api.support import Caller

NEW = {"reference": "S9", "customer": "K1", "price": "team/monthly"}


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """A customer K1 with a profile pro_1, who has a subscription S1 already."""
    await api.world.subscribe()
    return api


@pytest.fixture
async def lite_ready(lite_api: Caller) -> Caller:
    """The same on SQLite alone."""
    await lite_api.world.subscribe()
    return lite_api


async def test_a_subscription_by_link_begins_today_and_is_invoiced_by_the_next_run(ready: Caller) -> None:
    made = await ready.post("/subscriptions", NEW | {"quantity": 2, "account": "bank"})
    assert made == {
        "reference": "S9",
        "customer": "K1",
        "price": "team/monthly",
        "quantity": 2,
        "collection": "link",
        "profile": None,
        "account": "bank",
        "state": "active",
        "anchor_on": "2026-11-21",
        "billed_until": "2026-11-21",
        "next_due_on": "2026-11-21",
        "paused_by_dunning": False,
        "created_at": "2026-11-21T02:00:00Z",
        "canceled_at": None,
        "ended_on": None,
    }
    await ready.world.run()
    shown = await ready.get("/subscriptions/S9")
    assert (shown["billed_until"], shown["next_due_on"]) == ("2026-12-21", "2026-12-21")
    assert ("inv_2", "invoice") in await ready.world.mails()
    assert await ready.world.breaches() == []


async def test_a_subscription_on_a_profile_is_charged_by_the_next_run(ready: Caller) -> None:
    made = await ready.post("/subscriptions", NEW | {"profile": "pro_1"})
    assert (made["collection"], made["profile"], made["account"]) == ("charge", "pro_1", "bank")
    await ready.world.run()
    assert [charge.amount.minor for charge in ready.world.bank.sent] == [2500, 2500]
    assert await ready.world.breaches() == []


async def test_a_trial_or_a_later_beginning_comes_first(lite_ready: Caller) -> None:
    trial = await lite_ready.post("/subscriptions", NEW | {"price": "team/trial"})
    assert (trial["state"], trial["next_due_on"]) == ("trialing", "2026-12-05")
    later = await lite_ready.post("/subscriptions", NEW | {"reference": "S10", "begins_on": "2027-01-31"})
    assert (later["state"], later["next_due_on"]) == ("trialing", "2027-01-31")


async def test_what_somebody_else_has_billed_is_not_billed_again(lite_ready: Caller) -> None:
    days = {"begins_on": "2026-06-15", "billed_until": "2026-12-15"}
    made = await lite_ready.post("/subscriptions", NEW | days)
    assert (made["next_due_on"], made["state"]) == ("2026-12-15", "active")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"customer": "nobody"}, "customer"),
        ({"price": "team/none"}, "price"),
        ({"profile": "pro_7"}, "profile"),
        ({"profile": "inv_7"}, "profile"),
        ({"profile": "pro_99999999999999999999"}, "profile"),
        ({"profile": "pro_1", "account": "bank"}, "account"),
        ({"account": "none"}, "account"),
        ({"quantity": 0}, "quantity"),
        ({"begins_on": "2026-11-20"}, "begins_on"),
        ({"begins_on": "2026-11-20", "billed_until": "2026-11-25"}, "billed_until"),
        ({"begins_on": "9999-12-31"}, "begins_on"),
        ({"begins_on": "tomorrow"}, "begins_on"),
        ({"state": "active"}, "state"),
    ],
)
async def test_a_bad_field_of_a_subscription_is_named(lite_ready: Caller, changed: dict[str, Any], field: str) -> None:
    price = {"price": "team/trial"} if changed.get("begins_on") == "9999-12-31" else {}
    problem = await lite_ready.post("/subscriptions", NEW | price | changed, 422)
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_a_profile_that_is_of_no_use_or_somebody_elses_is_refused(lite_ready: Caller) -> None:
    await lite_ready.world.subscribe()
    await lite_ready.post("/subscriptions", NEW | {"profile": "pro_2"}, 422)
    await lite_ready.world.change(Profile, 1, state="failed")
    await lite_ready.post("/subscriptions", NEW | {"profile": "pro_1"}, 422)
    await lite_ready.post("/subscriptions", NEW | {"reference": "S1"}, 409)


async def test_quantity_and_price_are_changed_together_or_not_at_all(ready: Caller) -> None:
    changed = await ready.patch("/subscriptions/S1", {"quantity": 4, "price": "team/trial"})
    assert (changed["quantity"], changed["price"]) == (4, "team/trial")
    await ready.patch("/subscriptions/S1", {"quantity": 9, "price": "team/yearly"}, 422)
    assert await ready.get("/subscriptions/S1") == changed


async def test_the_verbs_do_what_they_say(ready: Caller) -> None:
    await ready.world.run()
    paused = await ready.post("/subscriptions/S1/pause", None, 200)
    assert (paused["state"], paused["next_due_on"]) == ("paused", None)
    assert (await ready.post("/subscriptions/S1/resume", None, 200))["state"] == "active"
    canceled = await ready.post("/subscriptions/S1/cancel", {}, 200)
    assert (canceled["state"], canceled["ended_on"]) == ("canceled", "2026-12-21")
    problem = await ready.post("/subscriptions/S1/resume", None, 409)
    assert problem["detail"] == "it is canceled: only what is paused can be resumed"
    assert (await ready.post("/subscriptions/S1/undo-cancellation", None, 200))["state"] == "active"
    assert (await ready.post("/subscriptions/S1/cancel", {"when": "now"}, 200))["state"] == "ended"
    assert (await ready.post("/subscriptions/S1/pause", None, 409))["detail"] == "ended cannot become paused"
    assert await ready.world.breaches() == []


async def test_a_verb_is_refused_for_what_was_changed_since_it_was_seen(lite_ready: Caller) -> None:
    seen = (await lite_ready.http.get("/subscriptions/S1")).headers["etag"]
    await lite_ready.patch("/subscriptions/S1", {"quantity": 2})
    await lite_ready.post("/subscriptions/S1/cancel", {"when": "now"}, 412, If_Match=seen)
    assert await lite_ready.world.states(Subscription) == ["active"]


async def test_subscriptions_are_filtered_by_state_and_customer_and_sorted_by_time(ready: Caller) -> None:
    await ready.world.subscribe(2, **by_link(1))
    await ready.post("/subscriptions/S2/pause", None, 200)

    async def found(**query: Any) -> list[str]:
        return [each["reference"] for each in await ready.everything("/subscriptions", **query)]

    assert await found(state="paused") == ["S2"]
    assert await found(customer="K3") == ["S3"]
    assert await found(customer="K3", state="paused") == []
    assert await found(sort="created", limit=1) == ["S1", "S2", "S3"]
    assert await found(sort="-created", limit=1) == ["S3", "S2", "S1"]
