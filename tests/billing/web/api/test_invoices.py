from __future__ import annotations

from typing import Any

import pytest

from billing.models import ManualPayment
from tests.billing.services.support import decline, pend
from tests.billing.web.api.support import Caller

PAYMENT = {"amount": {"amount_minor": 2500, "currency": "EUR"}, "paid_on": "2026-11-21", "proof": "statement 4"}


@pytest.fixture
async def ready(api: Caller) -> Caller:
    """inv_1 is open, since its charge was declined; inv_2 is paid."""
    api.world.bank.on("P1", decline())
    await api.world.subscribe(2)
    await api.world.run()
    return api


async def test_an_invoice_is_shown_with_its_lines_and_what_comes_next(ready: Caller) -> None:
    shown = await ready.get("/invoices/inv_1")
    money = {"amount_minor": 2500, "currency": "EUR"}
    net, tax = {"amount_minor": 2083, "currency": "EUR"}, {"amount_minor": 417, "currency": "EUR"}
    assert shown == {
        "id": "inv_1",
        "number": "NA-2026-00001",
        "customer": "K1",
        "subscription": "S1",
        "title": "Team, monthly",
        "state": "open",
        "net": net,
        "tax": tax,
        "total": money,
        "issued_on": "2026-11-21",
        "period_start": "2026-11-21",
        "period_end": "2026-12-21",
        "paid_at": None,
        "tries": 1,
        "next_step": "retry",
        "next_step_on": shown["next_step_on"],
        "lines": [
            {"text": "Team, monthly", "quantity": 1, "unit": money, "net": net, "tax": tax, "total": money}
            | {"tax_rate_bp": 2000}
        ],
        "paid_by_hand": None,
    }


async def test_invoices_are_filtered(ready: Caller) -> None:
    async def found(**query: Any) -> list[str]:
        return [each["id"] for each in await ready.everything("/invoices", limit=1, **query)]

    assert await found() == ["inv_1", "inv_2"]
    assert await found(sort="-id") == ["inv_2", "inv_1"]
    assert await found(state="open") == ["inv_1"]
    assert await found(customer="K2") == ["inv_2"]
    assert await found(subscription="S2", state="open") == []
    await ready.get("/invoices", 422, state="settled")


async def test_an_open_invoice_is_taken_back_and_a_paid_one_is_not(ready: Caller) -> None:
    assert (await ready.post("/invoices/inv_1/void", None, 200))["state"] == "void"
    problem = await ready.post("/invoices/inv_2/void", None, 409)
    assert problem["detail"] == "paid cannot become void"
    assert await ready.world.breaches() == []


async def test_a_payment_made_elsewhere_is_booked_once_and_says_who_booked_it(ready: Caller) -> None:
    answer = await ready.ask("POST", "/invoices/inv_1/payments", PAYMENT, Idempotency_Key="k")
    shown = Caller.told(answer, 201)
    assert shown["state"] == "paid"
    assert shown["paid_by_hand"]["proof"] == "statement 4"
    prefix = ready.http.headers["authorization"].split("_")[1]
    assert shown["paid_by_hand"]["recorded_by"] == f"tk_{prefix}"
    again = await ready.ask("POST", "/invoices/inv_1/payments", PAYMENT, Idempotency_Key="k")
    assert again.content == answer.content
    await ready.post("/invoices/inv_1/payments", PAYMENT, 409, Idempotency_Key="other")
    assert len(await ready.world.rows(ManualPayment)) == 1
    assert await ready.world.breaches() == []


async def test_a_payment_needs_an_idempotency_key(ready: Caller) -> None:
    problem = await ready.post("/invoices/inv_1/payments", PAYMENT, 422)
    assert [error["field"] for error in problem["errors"]] == ["Idempotency-Key"]
    assert await ready.world.rows(ManualPayment) == []


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount": {"amount_minor": 2499, "currency": "EUR"}}, "amount"),
        ({"paid_on": "2026-11-20"}, "paid_on"),
        ({"paid_on": "2026-11-22"}, "paid_on"),
        ({"proof": ""}, "proof"),
    ],
)
async def test_a_bad_field_of_a_payment_is_named(ready: Caller, changed: dict[str, Any], field: str) -> None:
    problem = await ready.post("/invoices/inv_1/payments", PAYMENT | changed, 422, Idempotency_Key="k")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_while_a_charge_is_under_way_nothing_is_closed(api: Caller) -> None:
    api.world.bank.on("P1", pend)
    await api.world.subscribe()
    await api.world.run()
    problem = await api.post("/invoices/inv_1/void", None, 409)
    assert problem["detail"] == "att_1 is under way: what becomes of it comes first"
    await api.post("/invoices/inv_1/payments", PAYMENT, 409, Idempotency_Key="k")


async def test_what_was_paid_since_it_was_seen_is_not_taken_back(ready: Caller) -> None:
    seen = (await ready.http.get("/invoices/inv_1")).headers["etag"]
    await ready.post("/invoices/inv_1/payments", PAYMENT, Idempotency_Key="k")
    await ready.post("/invoices/inv_1/void", None, 412, If_Match=seen)


async def test_what_is_no_invoice_is_not_found(lite_api: Caller) -> None:
    for name in ("inv_9", "inv_0", "att_1", "inv_" + "9" * 30):
        await lite_api.get(f"/invoices/{name}", 404)
        await lite_api.post(f"/invoices/{name}/void", None, 404)
        await lite_api.post(f"/invoices/{name}/payments", PAYMENT, 404, Idempotency_Key="k")
