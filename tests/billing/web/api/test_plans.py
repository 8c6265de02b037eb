from __future__ import annotations

import pytest

from billing.models import Plan, Price
from tests.billing.web.api.support import Caller

PRICE = {
    "reference": "weekly",
    "title": "Team, weekly",
    "amount": {"amount_minor": 900, "currency": "EUR"},
    "interval_unit": "week",
}


async def test_a_plan_is_added_shown_and_listed(api: Caller) -> None:
    answer = await api.ask("POST", "/plans", {"reference": "solo", "name": "Solo"})
    assert api.told(answer, 201) == {"reference": "solo", "name": "Solo", "archived_at": None}
    assert answer.headers["location"] == "/api/v1/plans/solo"
    assert await api.get("/plans/solo") == answer.json()
    assert [plan["reference"] for plan in await api.everything("/plans")] == ["team", "solo"]


async def test_a_plan_gets_another_name_and_keeps_its_reference(api: Caller) -> None:
    renamed = {"reference": "team", "name": "Crew", "archived_at": None}
    assert await api.patch("/plans/team", {"name": "Crew"}) == renamed
    assert await api.get("/plans/team") == renamed


async def test_what_is_archived_or_retired_says_since_when(api: Caller) -> None:
    at = api.world.ctx.clock.now()
    await api.world.change(Plan, 1, archived_at=at)
    await api.world.change(Price, 1, retired_at=at)
    since = at.isoformat().replace("+00:00", "Z")
    assert (await api.get("/plans/team"))["archived_at"] == since
    assert [each["archived_at"] for each in await api.everything("/plans")] == [since]
    prices = {each["reference"]: each["retired_at"] for each in await api.everything("/plans/team/prices")}
    assert prices == {"monthly": since, "yearly": None, "trial": None}


async def test_a_price_is_added_with_sensible_terms_and_named_by_its_plan(api: Caller) -> None:
    made = await api.post("/plans/team/prices", PRICE)
    assert made == PRICE | {
        "plan": "team",
        "interval_count": 1,
        "tax_rate_bp": 0,
        "tax_included": True,
        "trial_days": 0,
        "retired_at": None,
    }
    assert await api.get("/plans/team/prices/weekly") == made
    listed = await api.everything("/plans/team/prices", limit=2)
    assert [price["reference"] for price in listed] == ["monthly", "yearly", "trial", "weekly"]


async def test_what_is_there_already_is_a_conflict_and_stays(api: Caller) -> None:
    problem = await api.post("/plans", {"reference": "team", "name": "Other"}, 409)
    assert problem["detail"] == "there is a plan 'team' already"
    await api.post("/plans/team/prices", PRICE | {"reference": "monthly"}, 409)
    assert (await api.get("/plans/team/prices/monthly"))["amount"] == {"amount_minor": 2500, "currency": "EUR"}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": {"amount_minor": 0, "currency": "EUR"}}, "amount.amount_minor"),
        ({"amount": {"amount_minor": 9.5, "currency": "EUR"}}, "amount.amount_minor"),
        ({"amount": {"amount_minor": 900, "currency": "XXX"}}, "amount.currency"),
        ({"interval_unit": "fortnight"}, "interval_unit"),
        ({"interval_count": 0}, "interval_count"),
        ({"tax_rate_bp": 10_001}, "tax_rate_bp"),
        ({"trial_days": -1}, "trial_days"),
        ({"title": "bell\x07"}, "title"),
        ({"title": "half\ud800"}, "title"),
        ({"reference": "a/b"}, "reference"),
        ({"price": 5}, "price"),
    ],
)
async def test_a_bad_field_of_a_price_is_named(lite_api: Caller, changed: dict[str, object], field: str) -> None:
    problem = await lite_api.post("/plans/team/prices", PRICE | changed, 422)
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_what_is_not_there_is_not_found(lite_api: Caller) -> None:
    for path in ("/plans/none", "/plans/none/prices", "/plans/team/prices/none", "/plans/" + "x" * 41, "/plans/a%00"):
        await lite_api.get(path, 404)
    await lite_api.post("/plans/none/prices", PRICE, 404)
    await lite_api.patch("/plans/none", {"name": "x"}, 404)
