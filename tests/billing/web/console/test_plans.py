"""What is sold, as operators see and change it."""

from __future__ import annotations

import pytest

from billing.models import AuditEntry, Plan, Price, Role
from billing.services.cataloguing import add_plan
from tests.billing.services.support import World, counted
from tests.billing.web.console.support import Browser, signed_in, whole_app

PRICE: dict[str, str] = {
    "title": "Team, monthly from 2027",
    "reference": "monthly-2027",
    "amount": "49,00",
    "currency": "EUR",
    "interval_count": "1",
    "interval_unit": "month",
    "trial_days": "0",
    "tax_rate": "20",
    "tax": "included",
}
NEW = "/nordlicht/plans/team/prices/_new"
PREVIEW = "/nordlicht/plans/team/prices/_preview"


def spaced(page: str) -> str:
    """Return a page whose days can be broken anywhere."""
    return page.replace("\N{NO-BREAK SPACE}", " ")


async def test_a_plan_is_added_and_then_wants_a_price(admin: Browser) -> None:
    page = await admin.post("/nordlicht/plans/_new", name="Solo", reference="solo")
    assert "The plan is there." in page
    assert "No price yet" in page
    assert "Solo" in await admin.get("/nordlicht/plans")


async def test_a_key_that_is_taken_is_refused_and_what_was_typed_stays(admin: Browser) -> None:
    page = await admin.post("/nordlicht/plans/_new", 422, name="Team again", reference="team")
    assert "There is a plan 'team' already." in page
    assert 'value="Team again"' in page


@pytest.mark.parametrize("written", ["49", "49,00", "49.00"])
async def test_a_price_is_added_however_its_amount_is_written(world: World, admin: Browser, written: str) -> None:
    page = await admin.post(NEW, **PRICE | {"amount": written})
    assert "Team, monthly from 2027 is on sale." in page
    row = (await world.rows(Price))[-1]
    assert (row["amount_minor"], row["currency"], row["tax_rate_bp"]) == (4900, "EUR", 2000)
    entry = (await world.rows(AuditEntry))[-1]
    assert (entry["verb"], entry["subject"]) == ("add_price", "team/monthly-2027")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount": "49,000"}, "Write an amount in EUR like 49.00."),
        ({"amount": "49,0", "currency": "JPY"}, "Write an amount in JPY like 49."),
        ({"amount": "49,0000", "currency": "KWD"}, "Write an amount in KWD like 49.000."),
        ({"amount": "54.00.0"}, "Write an amount in EUR like 49.00."),
        ({"amount": "0"}, "A price is more than nothing."),
        ({"amount": "-1"}, "A price is more than nothing."),
        ({"currency": "EUX"}, "Write a currency's three letters, like EUR."),
        ({"interval_count": "0"}, "Write a whole number from 1 to 1000."),
        ({"interval_unit": "moon"}, "Choose one of these."),
        ({"trial_days": "-1"}, "Write a whole number from 0 to 3650."),
        ({"tax_rate": "101"}, "Write at most 100 per cent."),
        ({"tax_rate": "7.555"}, "Write a share in per cent like 20 or 7.5."),
        ({"tax": "perhaps"}, "Choose one of these."),
        ({"reference": "_new"}, "Write letters, digits, dots, dashes and underscores."),
        ({"reference": "monthly"}, "There is a price team/monthly already, and prices are not changed."),
        ({"title": ""}, "This is needed."),
    ],
)
async def test_what_cannot_be_a_price_is_said_beside_the_field_and_nothing_is_lost(
    lite: World, lite_admin: Browser, wrong: dict[str, str], said: str
) -> None:
    before = await lite.rows(Price)
    page = await lite_admin.post(NEW, 422, **PRICE | wrong)
    assert said in page
    assert f'value="{PRICE["title"] if "title" not in wrong else ""}"' in page
    assert await lite.rows(Price) == before


async def test_the_preview_shows_short_months_truly_and_adds_nothing(lite: World, lite_admin: Browser) -> None:
    before = await lite.rows(Price)
    page = spaced(await lite_admin.post(PREVIEW, 200, **PRICE | {"quantity": "3", "first_on": "2027-01-31"}))
    days = ["31 January", "28 February", "31 March", "30 April", "31 May", "30 June", "31 July", "31 August"]
    days += ["30 September", "31 October", "30 November", "31 December"]
    places = [page.index(f"{day} 2027") for day in days]
    assert places == sorted(places)
    assert page.count("147.00") == 12
    assert await lite.rows(Price) == before


async def test_a_trial_puts_the_first_invoice_off(lite_admin: Browser) -> None:
    page = spaced(await lite_admin.post(PREVIEW, 200, **PRICE | {"trial_days": "14", "first_on": "2027-03-01"}))
    assert "First invoice, 15 March 2027" in page


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"amount": ""}, 422, "It is shown as soon as amount"),
        ({"quantity": "none"}, 200, "It is shown as soon as quantity"),
        ({"first_on": "9999-12-01"}, 200, "The calendar ends in the year 9999"),
        ({"interval_count": "1000", "interval_unit": "year"}, 200, "The calendar ends in the year 9999"),
    ],
)
async def test_a_preview_that_cannot_be_made_says_why(
    lite_admin: Browser, wrong: dict[str, str], status: int, said: str
) -> None:
    page = await lite_admin.post(PREVIEW, status, **PRICE | wrong)
    assert said in page
    assert "To pay" not in page


async def test_what_is_retired_or_archived_is_sold_again_when_wanted(world: World, admin: Browser) -> None:
    await admin.post("/nordlicht/plans/team/prices/monthly/retire")
    assert (await world.rows(Price))[0]["retired_at"] == world.clock.now()
    assert "retired" in await admin.get("/nordlicht/plans/team/prices/monthly")
    await admin.post("/nordlicht/plans/team/prices/monthly/offer")
    assert (await world.rows(Price))[0]["retired_at"] is None
    await admin.post("/nordlicht/plans/team/archive")
    assert (await world.rows(Plan))[0]["archived_at"] == world.clock.now()
    assert "No plan yet" in await admin.get("/nordlicht/plans")
    assert "Team" in await admin.get("/nordlicht/plans?show=archived")
    await admin.post("/nordlicht/plans/team/offer")
    assert (await world.rows(Plan))[0]["archived_at"] is None
    verbs = [entry["verb"] for entry in await world.rows(AuditEntry) if entry["verb"] != "sign_in"]
    assert verbs == ["retire_price", "offer_price", "archive_plan", "offer_plan"]


async def test_a_plan_has_its_new_name_and_keeps_its_key(lite: World, lite_admin: Browser) -> None:
    assert "The plan is renamed." in await lite_admin.post("/nordlicht/plans/team/rename", name="Crew")
    plan = (await lite.rows(Plan))[0]
    assert (plan["name"], plan["reference"]) == ("Crew", "team")
    assert "This is needed." in await lite_admin.post("/nordlicht/plans/team/rename", 422, name=" ")


async def test_a_viewer_sees_prices_and_no_button_that_changes_them(lite: World) -> None:
    viewer = await signed_in(lite, whole_app(lite), Role.VIEWER)
    for path in ("/nordlicht/plans", "/nordlicht/plans/team", "/nordlicht/plans/team/prices/monthly"):
        page = await viewer.get(path)
        assert "25.00" in page
        assert 'method="post" action="/console/nordlicht' not in page


async def test_many_plans_are_listed_in_parts_with_as_many_statements_as_few(lite: World, lite_admin: Browser) -> None:
    async def read(path: str) -> tuple[str, int]:
        with counted(lite.store) as statements:
            return await lite_admin.get(path), len(statements)

    _, few = await read("/nordlicht/plans")
    async with lite.store.write() as session:
        for number in range(60):
            await add_plan(session, lite.merchant_id, f"plan{number}", f"Plan {number}")
    page, many = await read("/nordlicht/plans")
    assert many == few
    assert 'rel="next"' in page
    assert "Plan 59" in page
    assert "Plan 0<" not in page
