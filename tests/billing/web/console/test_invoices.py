"""Invoices and attempts in the console: found, linked to, paid elsewhere, taken back, refunded."""

from __future__ import annotations

import pytest

from billing.models import Attempt, AuditEntry, Invoice, ManualPayment, Operation, PayLink, Role
from tests.billing.services.support import World, by_link, counted, decline
from tests.billing.web.console.support import Browser, signed_in, whole_app

HERE = "/nordlicht/invoices"


async def issued(world: World, *, paid: bool = False) -> str:
    """Issue an invoice that is paid, or that waits to be paid by link, and return its number."""
    await world.subscribe(1, **({} if paid else by_link(1)))
    await world.run()
    [row] = await world.rows(Invoice)
    number: str = row["number"]
    return number


async def test_invoices_are_found_by_state_day_and_customer(world: World, admin: Browser) -> None:
    assert "No invoices yet" in await admin.get(HERE)
    number = await issued(world)
    for asked, found in (("state=open", 1), ("state=paid", 0), ("day=2026-11-21", 1), ("day=2026-11-22", 0)):
        assert (number in await admin.get(f"{HERE}?{asked}")) == found, asked
    assert number in await admin.get(f"{HERE}?customer=K1")
    assert "Nothing found" in await admin.get(f"{HERE}?customer=K2")


async def test_an_invoice_is_shown_with_lines_tax_and_postings(world: World, admin: Browser) -> None:
    number = await issued(world, paid=True)
    page = await admin.get(f"{HERE}/{number}")
    for said in ("Team, monthly", "20.83", "4.17", "25.00", "receivable", "revenue", "Receipt"):
        assert said in page.replace(",", ".").replace("Team. ", "Team, "), said
    await admin.get(f"{HERE}/NA-2026-99999", 404)


async def test_a_link_is_made_replaced_and_revoked(world: World, admin: Browser) -> None:
    number = await issued(world)
    assert "https://pay.example/p/" in await admin.post(f"{HERE}/{number}/link", 200)
    assert len(await world.rows(PayLink)) == 1
    await admin.post(f"{HERE}/{number}/link/reissue", 200)
    old, new = await world.rows(PayLink)
    assert old["superseded_at"] is not None
    assert new["superseded_at"] is None
    page = await admin.post(f"{HERE}/{number}/link/revoke")
    assert "There is none that works." in page
    assert "Pay-link taken out of use" in page
    done = [row["verb"] for row in await world.rows(AuditEntry)]
    assert done[1:] == ["make_link", "reissue_link", "revoke_link"]


async def test_an_invoice_is_booked_as_paid_elsewhere_with_its_proof(world: World, admin: Browser) -> None:
    number = await issued(world)
    assert 'value="25.00"' in await admin.get(f"{HERE}/{number}/paid")
    typed = {"amount": "25,00", "paid_on": "2026-11-21", "proof": "bank statement 47"}
    page = await admin.post(f"{HERE}/{number}/paid", 303, **typed)
    assert "bank statement 47" in page
    assert await world.states(Invoice) == ["paid"]
    [row] = await world.rows(ManualPayment)
    assert row["recorded_by"].endswith("@example.net")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"amount": "24"}, "An invoice is paid in full"),
        ({"amount": "much"}, "Write an amount in EUR"),
        ({"paid_on": "2026-11-01"}, "between the day of the invoice and today"),
        ({"proof": ""}, "This is needed."),
    ],
)
async def test_a_payment_that_cannot_be_is_refused_beside_its_field(
    lite_admin: Browser, wrong: dict[str, str], said: str
) -> None:
    number = await issued(lite_admin.world)
    typed = {"amount": "25", "paid_on": "2026-11-21", "proof": "in cash"} | wrong
    assert said in await lite_admin.post(f"{HERE}/{number}/paid", 422, **typed)
    assert await lite_admin.world.states(Invoice) == ["open"]


async def test_an_invoice_is_taken_back_and_a_paid_one_is_not(world: World, admin: Browser) -> None:
    number = await issued(world)
    page = await admin.post(f"{HERE}/{number}/void")
    assert "is taken back" in page
    assert await world.states(Invoice) == ["void"]


async def test_what_is_paid_cannot_be_taken_back(lite_admin: Browser) -> None:
    number = await issued(lite_admin.world, paid=True)
    assert "Paid cannot become void" in await lite_admin.post(f"{HERE}/{number}/void", 422)
    assert await lite_admin.world.states(Invoice) == ["paid"]


async def test_a_part_of_a_payment_is_given_back_and_then_the_rest(world: World, admin: Browser) -> None:
    number = await issued(world, paid=True)
    [attempt] = await world.rows(Attempt)
    there = f"/nordlicht/attempts/{attempt['key']}"
    assert f"{there}#refund" in await admin.get(f"{HERE}/{number}")
    page = await admin.post(f"{there}/refund", 303, amount="10", reason="returned goods")
    assert "Returned goods." in page
    assert 'value="15.00"' in page
    await admin.post(f"{there}/refund", 303, amount="15")
    assert [row["amount_minor"] for row in await world.rows(Operation)] == [1000, 1500]
    assert world.bank.taken() == 0
    assert 'name="amount"' not in await admin.get(there)


@pytest.mark.parametrize(("amount", "said"), [("26", "more than the 25.00"), ("0", "nothing"), ("", "This is needed.")])
async def test_an_amount_that_cannot_go_back_is_refused_beside_its_field(
    lite_admin: Browser, amount: str, said: str
) -> None:
    await issued(lite_admin.world, paid=True)
    [attempt] = await lite_admin.world.rows(Attempt)
    page = await lite_admin.post(f"/nordlicht/attempts/{attempt['key']}/refund", 422, amount=amount)
    assert said in page
    assert await lite_admin.world.rows(Operation) == []


async def test_an_attempt_tells_why_it_was_declined(world: World, admin: Browser) -> None:
    world.bank.on("P1", decline(code="FUNDS"))
    await issued(world, paid=True)
    [attempt] = await world.rows(Attempt)
    page = await admin.get(f"/nordlicht/attempts/{attempt['key']}")
    assert "FUNDS" in page
    assert "The same profile may work later." in page
    assert "Give money back" not in page


async def test_a_page_costs_the_same_however_much_happened(world: World, admin: Browser) -> None:
    number = await issued(world)
    with counted(world.store) as before:
        await admin.get(f"{HERE}/{number}")
    for _ in range(3):
        await admin.post(f"{HERE}/{number}/link/reissue", 200)
    with counted(world.store) as after:
        await admin.get(f"{HERE}/{number}")
    assert len(after) == len(before)


async def test_a_viewer_is_offered_nothing(lite: World) -> None:
    number = await issued(lite)
    who = await signed_in(lite, whole_app(lite), Role.VIEWER)
    page = await who.get(f"{HERE}/{number}")
    assert "Take back" not in page
    assert "Make a pay-link" not in page
