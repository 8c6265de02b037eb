"""The merchant's own settings and the keys to its API, as admins change them."""

from __future__ import annotations

import re

import pytest

from billing.models import ApiKey, AuditEntry, Merchant, Scope
from billing.services.keying import make_key, recognise
from tests.billing.services.support import START, World, under_test_clock
from tests.billing.web.console.support import Browser

SETTINGS: dict[str, str] = {
    "legal_name": "Nordlicht GmbH",
    "name": "Nordlicht",
    "mail_from": "billing@nordlicht.example",
    "link_days": "14",
    "catch_up": "each",
    "surplus": "ask",
    "slice_charges": "50",
    "least_charges": "20",
    "declined_percent": "60",
    "failed_percent": "20",
    "growth_percent": "200",
    "charges_max": "0",
    "amount_minor_max": "0",
}
COLOURS: dict[str, str] = {
    "light_colour": "#0b5cad",
    "light_ink": "#ffffff",
    "light_soft": "#e8f1fb",
    "dark_colour": "#7cb7f2",
    "dark_ink": "#0f151a",
    "dark_soft": "#16293b",
}


def typed_in(page: str) -> dict[str, str]:
    """Return what stands in the text fields of a page."""
    fields = re.findall(r'<input class="input[^>]*value="([^"]*)"[^>]* name="([^"]*)"', page)
    return {name: value for value, name in fields}


async def test_settings_that_are_shown_and_saved_as_they_are_change_nothing(world: World, admin: Browser) -> None:
    before = (await world.rows(Merchant))[0]
    shown = typed_in(await admin.get("/nordlicht/settings"))
    assert shown["legal_name"] == before["legal_name"]
    await admin.post("/nordlicht/settings", **shown | {"catch_up": "each", "surplus": "ask"})
    after = (await world.rows(Merchant))[0]
    assert after == before | {"run_approval": False, "brakes": None}


async def test_a_merchant_goes_live_once_its_key_is_typed_and_it_is_recorded(world: World, admin: Browser) -> None:
    assert "/nordlicht/settings/live" in await admin.get("/nordlicht/settings")
    assert "It can never be put under a test clock" in await admin.get("/nordlicht/settings/live")
    for typed in ("", "ostwind"):
        await admin.post("/nordlicht/settings/live", 422, reference=typed)
    assert (await world.rows(Merchant))[0]["live"] is False
    assert "nordlicht is live." in await admin.post("/nordlicht/settings/live", reference="nordlicht")
    assert (await world.rows(Merchant))[0]["live"] is True
    entry = (await world.rows(AuditEntry))[-1]
    assert (entry["verb"], entry["subject"]) == ("go_live", "nordlicht")
    assert "/nordlicht/settings/live" not in await admin.get("/nordlicht/settings")
    assert "is live already" in await admin.get("/nordlicht/settings/live", 409)
    assert "is live already" in await admin.post("/nordlicht/settings/live", 422, reference="nordlicht")


async def test_a_merchant_with_a_test_clock_is_told_that_it_cannot_go_live(world: World, admin: Browser) -> None:
    await under_test_clock(world, START)
    assert "set up another merchant" in await admin.post("/nordlicht/settings/live", 422, reference="nordlicht")
    assert (await world.rows(Merchant))[0]["live"] is False


async def test_rules_and_brakes_are_kept_where_they_differ_from_ours(world: World, admin: Browser) -> None:
    changed = {"declined_percent": "40", "amount_minor_max": "12000,50", "run_approval": "yes", "surplus": "refund"}
    assert "Saved." in await admin.post("/nordlicht/settings", **SETTINGS | changed | COLOURS)
    row = (await world.rows(Merchant))[0]
    assert row["brakes"] == {"declined_percent": 40, "amount_minor_max": 1200050}
    assert (row["run_approval"], row["surplus"]) == (True, "refund")
    assert row["accent"] == "#0b5cad,#ffffff,#e8f1fb;#7cb7f2,#0f151a,#16293b"
    shown = typed_in(await admin.get("/nordlicht/settings"))
    assert (shown["declined_percent"], shown["amount_minor_max"]) == ("40", "12000.50")
    assert {name: shown[name] for name in COLOURS} == COLOURS
    assert "accent" in (await world.rows(AuditEntry))[-1]["detail"]["settings"]


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        (COLOURS | {"light_ink": "#88aadd"}, "light_colour", "text needs 4.5:1"),
        (COLOURS | {"light_colour": "#9ecbff", "light_ink": "#000000"}, "light_colour", "text needs 4.5:1"),
        (COLOURS | {"dark_colour": "#1b3a57", "dark_ink": "#ffffff"}, "dark_colour", "text needs 4.5:1"),
        (COLOURS | {"dark_soft": ""}, "dark_soft", "Give all six colours, or none"),
        (COLOURS | {"light_colour": "blue"}, "light_colour", "Write a colour like #0b5a85."),
        ({"legal_name": ""}, "legal_name", "This is needed."),
        ({"link_days": "0"}, "link_days", "Write a whole number from 1 to 365."),
        ({"catch_up": "never"}, "catch_up", "Choose one of these."),
        ({"declined_percent": "101"}, "declined_percent", "Write a whole number from 0 to 100."),
        ({"amount_minor_max": "1.000"}, "amount_minor_max", "Write an amount in EUR like 49.00."),
        ({"help_url": "javascript:alert(1)"}, "help_url", "Write a web address"),
        ({"mail_from": "nobody"}, "mail_from", "Write an address like name@example.com."),
    ],
)
async def test_settings_that_cannot_be_are_said_beside_the_field_and_change_nothing(
    lite: World, lite_admin: Browser, wrong: dict[str, str], field: str, said: str
) -> None:
    before = await lite.rows(Merchant)
    page = await lite_admin.post("/nordlicht/settings", 422, **SETTINGS | wrong)
    _, _, beside = page.partition(f'id="f-{field}-error">')
    assert said in beside.partition("</p>")[0]
    assert await lite.rows(Merchant) == before


async def test_a_key_is_shown_once_and_opens_what_it_was_made_for(world: World, admin: Browser) -> None:
    page = await admin.post("/nordlicht/keys/_new", 200, name="Webshop", read="yes", refund="yes")
    [text] = re.findall(r"tk_[0-9a-f]{12}_[\w-]{43}", page)
    caller = await recognise(world.ctx, text)
    assert caller is not None
    assert (caller.merchant_id, sorted(caller.scopes)) == (world.merchant_id, ["read", "refund"])
    shown = await admin.get("/nordlicht/keys") + await admin.get(f"/nordlicht/keys/{caller.prefix}")
    assert "Webshop" in shown
    assert text not in shown
    assert text.split("_", 2)[2] not in str([entry["detail"] for entry in await world.rows(AuditEntry)])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"name": "Webshop"}, "Choose at least one thing that the key may do."),
        ({"read": "yes"}, "This is needed."),
        ({"name": "Webshop", "read": "yes", "days": "0"}, "Write a whole number from 1 to 3650."),
    ],
)
async def test_a_key_that_could_do_nothing_is_not_made(
    lite: World, lite_admin: Browser, typed: dict[str, str], said: str
) -> None:
    assert said in await lite_admin.post("/nordlicht/keys/_new", 422, **typed)
    assert await lite.rows(ApiKey) == []


async def test_a_rotated_key_goes_on_for_a_day_and_a_revoked_one_ends_at_once(world: World, admin: Browser) -> None:
    await admin.post("/nordlicht/keys/_new", 200, name="Webshop", read="yes")
    prefix = (await world.rows(ApiKey))[0]["prefix"]
    page = await admin.post(f"/nordlicht/keys/{prefix}/rotate", 200)
    old, new = await world.rows(ApiKey)
    assert f"tk_{new['prefix']}_" in page
    assert (old["expires_at"] - world.clock.now()).total_seconds() == 24 * 3600
    await admin.post(f"/nordlicht/keys/{new['prefix']}/revoke")
    assert (await world.rows(ApiKey))[1]["revoked_at"] == world.clock.now()
    assert "revoked" in await admin.get(f"/nordlicht/keys/{new['prefix']}")
    await admin.post(f"/nordlicht/keys/{new['prefix']}/revoke", 404)
    verbs = [entry["verb"] for entry in await world.rows(AuditEntry) if entry["verb"] != "sign_in"]
    assert verbs == ["add_key", "rotate_key", "revoke_key"]


async def test_another_merchants_key_is_neither_shown_nor_rotated_nor_revoked(lite: World, lite_admin: Browser) -> None:
    other = await lite.beside("ostwind")
    theirs = await make_key(lite.ctx, other.merchant_id, "Theirs", [Scope.READ])
    before = await lite.rows(ApiKey)
    await lite_admin.get(f"/nordlicht/keys/{theirs.prefix}", 404)
    for verb in ("rotate", "revoke"):
        await lite_admin.post(f"/nordlicht/keys/{theirs.prefix}/{verb}", 404)
    assert await lite.rows(ApiKey) == before
    assert "Theirs" not in await lite_admin.get("/nordlicht/keys")
