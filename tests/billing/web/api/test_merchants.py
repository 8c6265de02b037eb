from __future__ import annotations

from datetime import timedelta

from billing.models import GatewayAccount, Merchant
from tests.billing.services.support import START, stop_account, under_test_clock
from tests.billing.web.api.support import Caller


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
