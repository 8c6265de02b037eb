from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from billing.models import AuditEntry, GatewayAccount, Merchant, Scope
from billing.services.context import Gateways
from gateways.registry import KINDS, open_gateway
from tests.billing.services.support import START, World, stop_account, under_test_clock
from tests.billing.web.api.support import Caller, caller, whole_app


async def test_the_merchant_of_the_key_is_shown(lite_api: Caller) -> None:
    shown = await lite_api.get("/merchant")
    assert (shown["reference"], shown["number_prefix"], shown["live"]) == ("nordlicht", "NA", False)
    assert (shown["catch_up"], shown["surplus"], shown["brakes"]) == ("each", "ask", {})


async def test_an_account_is_shown_without_its_credentials(lite_api: Caller) -> None:
    answer = await lite_api.http.get("/accounts/bank")
    shown = {"reference": "bank", "gateway": "bank", "state": "open", "stopped_reason": "", "stopped_at": None}
    assert answer.json() == shown
    assert "sesame" not in answer.text
    assert await lite_api.everything("/accounts") == [shown]


async def test_a_connection_is_tested_and_nothing_changed(api: Caller) -> None:
    assert await api.post("/accounts/bank/test", None, 200) == {"works": True, "said": ""}
    api.world.bank.broken = "wrong password"
    told = await api.post("/accounts/bank/test", None, 200)
    assert told["works"] is False
    assert "wrong password" in told["said"]
    assert await api.world.states(GatewayAccount) == ["open"]


async def test_a_stopped_account_charges_nothing_until_it_is_opened(api: Caller) -> None:
    await api.world.subscribe()
    stopped = await api.post("/accounts/bank/stop", {"reason": "the contract ends"}, 200)
    assert stopped["state"] == "stopped"
    assert stopped["stopped_reason"].startswith("the contract ends (tk_")
    assert await api.world.tasks() == [("account_stopped", "acc_1")]
    assert await api.world.breaches() == []
    await api.world.run()
    assert api.world.bank.sent == []
    assert (await api.post("/accounts/bank/open", None, 200))["state"] == "open"
    assert await api.world.tasks() == []
    await api.world.run()
    assert len(api.world.bank.sent) == 1


async def test_an_account_whose_credentials_do_not_work_stays_stopped(api: Caller) -> None:
    await stop_account(api.world)
    api.world.bank.broken = "wrong password"
    problem = await api.post("/accounts/bank/open", None, 409)
    assert "wrong password" in problem["detail"]
    assert await api.world.states(GatewayAccount) == ["stopped"]


async def test_a_test_clock_is_moved_on_and_never_back(api: Caller) -> None:
    await api.get("/test-clock", 404)
    await under_test_clock(api.world, START)
    assert await api.get("/test-clock") == {"now_at": "2026-11-21T02:00:00Z"}
    later = (START + timedelta(days=30)).isoformat()
    assert await api.post("/test-clock/advance", {"now_at": later}, 200) == {"now_at": "2026-12-21T02:00:00Z"}
    problem = await api.post("/test-clock/advance", {"now_at": START.isoformat()}, 422)
    assert [error["field"] for error in problem["errors"]] == ["now_at"]
    problem = await api.post("/test-clock/advance", {"now_at": "2027-01-01T00:00:00"}, 422)
    assert [error["field"] for error in problem["errors"]] == ["now_at"]
    await api.world.subscribe()
    await api.world.run()
    assert (await api.get("/invoices/inv_1"))["issued_on"] == "2026-12-21"


async def test_a_clock_that_others_live_by_is_not_moved(lite_api: Caller) -> None:
    await under_test_clock(lite_api.world, START)
    other = await lite_api.world.beside("ostwind")
    await other.change(Merchant, other.merchant_id, test_clock_id=1)
    await lite_api.post("/test-clock/advance", {"now_at": "2027-01-01T00:00:00Z"}, 409)


SETTINGS = {
    "endpoint": "https://payment.payone.example",
    "merchant_id": "nordlicht",
    "api_key_id": "KEY1",
    "api_secret": "fake secret no one may see",
}
ACCOUNT = {"reference": "payone-main", "gateway": "payone", "settings": SETTINGS}


@pytest.fixture
async def founder(lite: World) -> Caller:
    """A caller who may set up accounts at the real gateways; nothing is sent to them."""
    world = lite.with_context(gateways=Gateways(open_gateway, lite.ctx.vault, KINDS))
    return await caller(world, whole_app(world.ctx))


async def kept(me: Caller) -> Any:
    """Return what is kept of the account that was added last."""
    return json.loads(me.world.ctx.vault.unseal((await me.world.rows(GatewayAccount))[-1]["sealed_credentials"]))


async def test_an_account_is_set_up_and_nothing_of_its_settings_is_shown(founder: Caller) -> None:
    answer = await founder.ask("POST", "/accounts", ACCOUNT | {"settings": SETTINGS | {"in_flight_max": "40"}})
    shown = founder.told(answer, 201)
    assert (shown["reference"], shown["gateway"], shown["state"]) == ("payone-main", "payone", "open")
    assert answer.headers["Location"] == "/api/v1/accounts/payone-main"
    assert await kept(founder) == SETTINGS | {"in_flight_max": "40"}
    for path in ("/accounts", "/accounts/payone-main"):
        text = (await founder.http.get(path)).text
        assert not any(value in text for value in SETTINGS.values())
    entry = (await founder.world.rows(AuditEntry))[-1]
    assert (entry["verb"], entry["subject"]) == ("add_account", "payone-main")
    assert SETTINGS["api_secret"] not in str(entry)
    await founder.post("/accounts", ACCOUNT, 409)


async def test_what_is_left_out_of_an_accounts_settings_stays_and_what_is_empty_is_as_usual_again(
    founder: Caller,
) -> None:
    await founder.post("/accounts", ACCOUNT | {"settings": SETTINGS | {"in_flight_max": "40"}})
    await founder.patch("/accounts/payone-main", {"settings": {"api_secret": "another fake one", "in_flight_max": ""}})
    assert await kept(founder) == SETTINGS | {"api_secret": "another fake one"}


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"gateway": "stripes"}, "gateway", "there is no gateway 'stripes'"),
        ({"settings": SETTINGS | {"endpoint": "https://127.0.0.1/"}}, "settings.endpoint", "not public"),
        ({"settings": SETTINGS | {"endpoint": "http://payone.example/"}}, "settings.endpoint", "begins with https://"),
        ({"settings": SETTINGS | {"timeout_s": "soon"}}, "settings.timeout_s", "soon"),
        ({"settings": SETTINGS | {"timeout_s": "120"}}, "settings.timeout_s", "within the 120 s of TURNUS_LEASE_S"),
        ({"settings": {"endpoint": SETTINGS["endpoint"]}}, "settings", "merchant_id"),
        ({"settings": SETTINGS | {"colour": "red"}}, "settings", "colour"),
    ],
)
async def test_settings_that_cannot_be_are_one_clear_error_by_field_and_nothing_is_kept(
    founder: Caller, changed: dict[str, Any], field: str, said: str
) -> None:
    problem = await founder.post("/accounts", ACCOUNT | changed, 422)
    [error] = problem["errors"]
    assert error["field"].startswith(field)
    assert said in error["message"]
    assert SETTINGS["api_secret"] not in str(problem)
    assert len(await founder.world.rows(GatewayAccount)) == 1


async def test_only_a_key_that_may_set_up_says_where_money_goes(founder: Caller) -> None:
    without = await caller(founder.world, whole_app(founder.world.ctx), Scope.READ, Scope.WRITE, Scope.REFUND)
    assert "setup" in (await without.post("/accounts", ACCOUNT, 403))["detail"]
    assert "setup" in (await without.patch("/accounts/bank", {"settings": SETTINGS}, 403))["detail"]


async def test_a_merchant_goes_live_by_a_call_that_names_it(founder: Caller) -> None:
    problem = await founder.post("/merchant/live", {"reference": "ostwind"}, 422)
    assert problem["errors"][0]["field"] == "reference"
    assert (await founder.get("/merchant"))["live"] is False
    shown = await founder.post("/merchant/live", {"reference": "nordlicht"}, 200)
    assert shown == await founder.get("/merchant")
    assert shown["live"] is True
    entry = (await founder.world.rows(AuditEntry))[-1]
    assert (entry["verb"], entry["subject"]) == ("go_live", "nordlicht")
    assert "live already" in (await founder.post("/merchant/live", {"reference": "nordlicht"}, 409))["detail"]


async def test_a_merchant_with_a_test_clock_does_not_go_live_by_a_call(founder: Caller) -> None:
    await under_test_clock(founder.world, START)
    problem = await founder.post("/merchant/live", {"reference": "nordlicht"}, 409)
    assert "set up another merchant" in problem["detail"]
