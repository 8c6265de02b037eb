"""Accounts at gateways, as people set them up, test, stop and open them."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from billing.gateway import ConfigurationError
from billing.models import AuditEntry, GatewayAccount, Role, Task
from billing.services import connecting
from billing.services.context import Gateways
from gateways.registry import KINDS, open_gateway
from tests.billing.services.support import World, counted, stop_account
from tests.billing.web.console.support import Browser, signed_in, whole_app

GIVEN: dict[str, str] = {
    "reference": "payone-main",
    "endpoint": "https://payment.payone.example",
    "merchant_id": "nordlicht",
    "api_key_id": "KEY1",
    "api_secret": "fake secret no one may see",
}
NEW = "/nordlicht/gateways/_new/payone"
MAIN = "/nordlicht/gateways/payone-main"


def real(world: World, *, private: bool = False) -> World:
    """Return the world with the real gateways; nothing is sent to them."""
    gateways = Gateways(open_gateway, world.ctx.vault, KINDS, private=private)
    return replace(world, ctx=replace(world.ctx, gateways=gateways))


async def kept(world: World) -> dict[str, str]:
    """Return what is kept of the account that was added last."""
    sealed = (await world.rows(GatewayAccount))[-1]["sealed_credentials"]
    found: dict[str, str] = json.loads(world.ctx.vault.unseal(sealed))
    return found


async def admin_of(world: World) -> Browser:
    """Return an admin's browser."""
    return await signed_in(world, whole_app(world))


async def test_an_account_is_added_with_what_differs_from_the_usual_and_no_secret_comes_back(world: World) -> None:
    world = real(world)
    who = await admin_of(world)
    page = await who.post(NEW, **GIVEN, in_flight_max="40", timeout_s="60", series="unscheduled")
    assert "The account is there." in page
    assert await kept(world) == {k: v for k, v in GIVEN.items() if k != "reference"} | {"in_flight_max": "40"}
    for path in ("/nordlicht/gateways", MAIN, f"{MAIN}/edit", "/nordlicht/audit"):
        assert GIVEN["api_secret"] not in await who.get(path)
    assert GIVEN["api_secret"] not in json.dumps([entry["detail"] for entry in await world.rows(AuditEntry)])
    assert "Most requests at once</dt><dd>40" in await who.get(MAIN)


async def test_a_secret_left_empty_stays_and_one_that_is_typed_replaces_it(lite: World) -> None:
    world = real(lite)
    who = await admin_of(world)
    await who.post(NEW, **GIVEN | {"webhook_key_id": "HOOK", "webhook_secret": "fake hook secret"})
    same = {name: text for name, text in GIVEN.items() if name not in ("reference", "api_secret")}
    assert "It is set. Left empty, it stays." in await who.get(f"{MAIN}/edit")
    await who.post(f"{MAIN}/edit", **same, webhook_key_id="HOOK")
    assert ((await kept(world))["api_secret"], (await kept(world))["webhook_secret"]) == (
        GIVEN["api_secret"],
        "fake hook secret",
    )
    await who.post(f"{MAIN}/edit", **same, api_secret="another fake", drop_webhook_secret="yes")
    assert (await kept(world))["api_secret"] == "another fake"
    assert "webhook_secret" not in await kept(world)
    assert (await world.rows(AuditEntry))[-1]["detail"] == {
        "settings": ["api_secret", "webhook_key_id", "webhook_secret"]
    }


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"endpoint": "http://payment.payone.example"}, "endpoint", "It begins with https://."),
        ({"endpoint": "https://10.0.0.7"}, "endpoint", "It leads to an address that is not public."),
        ({"endpoint": "https://169.254.169.254"}, "endpoint", "It leads to an address that is not public."),
        ({"endpoint": "https://[::ffff:127.0.0.1]"}, "endpoint", "It leads to an address that is not public."),
        ({"endpoint": "https://localhost"}, "endpoint", "It leads to an address that is not public."),
        ({"endpoint": "https://payone.example/path"}, "endpoint", "the host is enough"),
        ({"merchant_id": "a b"}, "merchant_id", "it is the account's name"),
        ({"api_secret": ""}, "api_secret", "This is needed."),
        ({"api_secret": " fake"}, "api_secret", "begins or ends with a blank"),
        ({"timeout_s": "120"}, "timeout_s", "has to end within the 120 s of TURNUS_LEASE_S"),
        ({"in_flight_max": "0"}, "in_flight_max", "it is a whole number above zero"),
        ({"webhook_key_id": "HOOK"}, "webhook_secret", "together"),
        ({"series": "now and then"}, "series", "Choose one of these."),
        ({"reference": "a b"}, "reference", "Write letters"),
    ],
)
async def test_what_cannot_be_is_said_beside_its_field_and_nothing_is_kept(
    lite: World, wrong: dict[str, str], field: str, said: str
) -> None:
    world = real(lite)
    who, before = await admin_of(world), await world.rows(GatewayAccount)
    page = await who.post(NEW, 422, **GIVEN | wrong)
    _, _, beside = page.partition(f'id="f-{field}-error">')
    assert said in beside.partition("</p>")[0]
    assert GIVEN["api_secret"] not in page
    assert await world.rows(GatewayAccount) == before


async def test_an_address_of_our_own_is_taken_where_the_operator_allows_it_and_kept_where_it_was(lite: World) -> None:
    world = real(lite, private=True)
    who = await admin_of(world)
    at_home = {"endpoint": "http://127.0.0.1:9000"}
    await who.post(NEW, **GIVEN | at_home)
    strict = real(lite)
    page = await (await admin_of(strict)).post(
        f"{MAIN}/edit", **{k: v for k, v in (GIVEN | at_home).items() if k != "reference"}, in_flight_max="9"
    )
    assert "Saved." in page


async def test_every_gateway_asks_for_all_it_knows_and_hides_its_secrets(lite: World) -> None:
    who = await admin_of(real(lite))
    for name, kind in KINDS.items():
        page = await who.get(f"/nordlicht/gateways/_new/{name}")
        for setting in kind.settings:
            kind_of_field = 'type="password" value=""' if setting.is_secret else ""
            assert re.search(rf'{kind_of_field}[^>]* name="{setting.name}"', page), setting
    assert "no gateway 'nobody'" in await who.get("/nordlicht/gateways/_new/nobody", 404)


@pytest.mark.parametrize("works", [True, False])
async def test_the_test_says_in_words_what_happened_and_charges_nothing(lite: World, works: bool) -> None:
    async def check() -> None:
        if not works:
            raise ConfigurationError("the bank rejects the password")

    lite.bank.check = check  # type: ignore[method-assign]
    who = await signed_in(lite, whole_app(lite), Role.OPERATOR)
    page = await who.post("/nordlicht/gateways/bank/test", 200)
    assert ("The connection works." in page) == works
    assert ("The bank rejects the password." in page) != works
    assert (await lite.rows(AuditEntry))[-1]["detail"] == {"works": works}


async def test_a_gateway_that_does_not_answer_is_waited_for_no_longer_than_said(
    lite: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "ASKING_S", 0.01)
    lite.bank.check = asyncio.Event().wait  # type: ignore[method-assign, assignment]
    who = await signed_in(lite, whole_app(lite))
    assert "did not answer within" in await who.post("/nordlicht/gateways/bank/test", 200)


async def test_a_gateway_is_not_asked_as_often_as_somebody_presses(lite: World) -> None:
    asked = []

    async def check() -> None:
        asked.append(1)

    lite.bank.check = check  # type: ignore[method-assign]
    who = await signed_in(lite, whole_app(lite))
    pages = [await who.post("/nordlicht/gateways/bank/test", 200) for _ in range(8)]
    assert len(asked) < 8
    assert "asked often just now" in pages[-1]


async def test_a_stopped_account_opens_only_when_the_gateway_takes_it(world: World) -> None:
    said: list[str] = ["the password is wrong"]

    async def check() -> None:
        if said:
            raise ConfigurationError(said[0])

    world.bank.check = check  # type: ignore[method-assign]
    await stop_account(world)
    who = await signed_in(world, whole_app(world), Role.OPERATOR)
    assert "by hand" in await who.get("/nordlicht/gateways/bank")
    assert "The password is wrong." in await who.post("/nordlicht/gateways/bank/open", 200)
    assert (await world.rows(GatewayAccount))[0]["state"] == "stopped"
    said.clear()
    assert "the account is open again" in await who.post("/nordlicht/gateways/bank/open")
    assert (await world.rows(GatewayAccount))[0]["state"] == "open"


async def test_who_stops_an_account_says_why_and_leaves_a_task(world: World) -> None:
    who = await signed_in(world, whole_app(world), Role.OPERATOR)
    assert "This is needed." in await who.post("/nordlicht/gateways/bank/stop", 422)
    await who.post("/nordlicht/gateways/bank/stop", reason="the contract ends")
    row: dict[str, Any] = (await world.rows(GatewayAccount))[0]
    assert (row["state"], row["stopped_reason"]) == ("stopped", "the contract ends (Anna Huber)")
    assert [task["kind"] for task in await world.rows(Task)] == ["account_stopped"]


async def test_many_accounts_are_listed_with_as_many_statements_as_one(lite: World) -> None:
    who = await admin_of(lite)
    with counted(lite.store) as statements:
        await who.get("/nordlicht/gateways")
    few = len(statements)
    async with lite.store.write() as session:
        for number in range(20):
            about = (lite.merchant_id, f"bank{number}", "bank", {"password": "fake"})
            await connecting.add_account(lite.ctx, session, *about)
    with counted(lite.store) as statements:
        assert "bank19" in await who.get("/nordlicht/gateways")
    assert len(statements) == few
