"""Customers in the console: found, added, changed, forgotten, with what is stored for them and their whole story."""

from __future__ import annotations

import pytest

from billing.models import AuditEntry, Customer, Profile, Role, Subscription
from tests.billing.services.support import START, World, counted, decline
from tests.billing.web.console.support import Browser, signed_in, whole_app

HERE = "/nordlicht/customers"


async def verbs(world: World) -> list[tuple[str, str]]:
    return [(row["verb"], row["subject"]) for row in await world.rows(AuditEntry) if row["verb"] != "sign_in"]


async def test_a_merchant_without_customers_is_told_the_next_step(lite_admin: Browser) -> None:
    page = await lite_admin.get(HERE)
    assert "No customers yet" in page
    assert "/console/nordlicht/customers/new" in page


async def test_customers_are_found_by_the_beginning_of_name_and_address_and_by_reference(
    world: World, admin: Browser
) -> None:
    await world.subscribe(3)
    for asked in ("name=customer 2", "email=K2@", "reference=K2"):
        page = await admin.get(f"{HERE}?{asked}")
        assert "Customer 2" in page
        assert "Customer 1" not in page, asked
    assert "Nobody found" in await admin.get(f"{HERE}?name=%25")


async def test_a_customer_is_added_and_recorded(world: World, admin: Browser) -> None:
    typed = {"reference": "C7", "name": "Anna Huber", "email": "anna@example.net", "language": "de", "country": "AT"}
    page = await admin.post(f"{HERE}/new", 303, **typed)
    assert "Anna Huber is a customer now." in page
    [row] = await world.rows(Customer)
    assert {name: row[name] for name in typed} == typed
    assert await verbs(world) == [("register_customer", "C7")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reference": "a b"}, "Write letters, digits"),
        ({"email": "anna"}, "Write an address like"),
        ({"language": "german"}, "Write at most 5 characters"),
        ({"country": "at"}, "two capital letters"),
        ({"name": ""}, "This is needed."),
    ],
)
async def test_what_cannot_be_is_said_beside_the_field_and_keeps_what_was_typed(
    lite_admin: Browser, wrong: dict[str, str], said: str
) -> None:
    typed = {"reference": "C7", "name": "Anna Huber", "email": "anna@example.net"} | wrong
    page = await lite_admin.post(f"{HERE}/new", 422, **typed)
    assert said in page
    assert all(f'value="{text}"' in page for text in typed.values())
    assert await lite_admin.world.rows(Customer) == []


async def test_a_reference_that_is_taken_is_refused_above_the_form(lite_admin: Browser) -> None:
    await lite_admin.world.subscribe(1)
    page = await lite_admin.post(f"{HERE}/new", 422, reference="K1", name="Anna", email="anna@example.net")
    assert "There is a customer 'K1' already" in page


async def test_a_change_is_saved_and_recorded_without_what_it_was(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    assert 'value="Customer 1"' in await admin.get(f"{HERE}/K1/edit")
    await admin.post(f"{HERE}/K1/edit", 303, name="Anna Huber", email="anna@example.net")
    [row] = await world.rows(Customer)
    assert (row["name"], row["email"]) == ("Anna Huber", "anna@example.net")
    [entry] = await world.rows(AuditEntry, verb="change_customer")
    assert entry["detail"] == {"changed": "name, email"}


async def test_a_customer_whose_subscription_runs_is_not_forgotten(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    page = await admin.post(f"{HERE}/K1/forget", 422)
    assert "The subscription S1 has not ended" in page
    assert [row["name"] for row in await world.rows(Customer)] == ["Customer 1"]


async def test_who_a_customer_was_is_forgotten_and_what_they_paid_stays(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    await world.run()
    await world.change(Subscription, 1, state="ended", next_due_on=None, ended_on=START.date(), canceled_at=START)
    page = await admin.post(f"{HERE}/K1/forget")
    assert "Who it was is forgotten" in page
    [row] = await world.rows(Customer)
    assert (row["name"], row["email"]) == ("Forgotten customer", "")
    assert await world.states(Profile) == ["forgotten"]
    whole = await admin.get(f"{HERE}/K1")
    assert "k1@example.org" not in whole
    assert "Customer 1" not in whole
    assert "Invoice" in whole
    assert "25" in whole


async def test_a_profile_is_forgotten_and_its_customer_pays_by_link(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    page = await admin.post(f"{HERE}/K1/profiles/1/forget")
    assert "The profile is forgotten" in page
    assert await world.states(Profile) == ["forgotten"]
    assert ("forget_profile", "pro_1") in await verbs(world)


async def test_a_profile_of_another_customer_is_not_there(lite_admin: Browser) -> None:
    await lite_admin.world.subscribe(2)
    await lite_admin.post(f"{HERE}/K1/profiles/2/forget", 404)
    assert await lite_admin.world.states(Profile) == ["active", "active"]


async def test_a_link_to_renew_a_profile_is_shown_once(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    page = await admin.post(f"{HERE}/K1/profiles/1/renew", 200)
    assert "https://pay.example/p/" in page
    assert "Customer asked to renew the profile" in await admin.get(f"{HERE}/K1")


async def test_the_story_tells_what_happened_and_why(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()
    page = await admin.get(f"{HERE}/K1")
    for said in (
        "issued",
        "declined: the bank said not now",
        "Not today (DECLINED).",
        "The same profile may work later.",
        "Mail about the decline",
        "25",
    ):
        assert said in page
    assert "Saturday 21 November 2026" in page.replace("\N{NO-BREAK SPACE}", " ")


async def test_a_page_costs_the_same_however_much_happened(world: World, admin: Browser) -> None:
    await world.subscribe(1)
    with counted(world.store) as before:
        await admin.get(f"{HERE}/K1")
    await world.run()
    for day in (31, 31, 31):
        world.next_day(day)
        await world.run()
    later = await signed_in(world, whole_app(world))
    with counted(world.store) as after:
        await later.get(f"{HERE}/K1")
    assert len(after) == len(before)


async def test_a_viewer_sees_and_is_offered_nothing(lite: World) -> None:
    await lite.subscribe(1)
    who = await signed_in(lite, whole_app(lite), Role.VIEWER)
    page = await who.get(f"{HERE}/K1")
    assert "Forget" not in page
    assert "Start subscription" not in page
