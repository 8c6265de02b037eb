"""A customer of PAYONE: card fields on our page, the bank's own question, and tokens that are charged by themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any, Final

from sqlalchemy import select

from billing.models import Mandate, Notification, table
from billing.services.verifying import offer_renewal
from tests.scenarios.stage import ANNA, Stage, link_in, until

DAY: Final = date(2026, 12, 1)
NEXT: Final = date(2027, 1, 1)
TOKEN: Final = "tok-anna"
APPROVED, CHALLENGED, REJECTED = "4330264936344675", "4874970686672022", "4450022237973103"
DECLINED, EXPIRED, WANTS_CUSTOMER = "4321456998744563", "4321450000000027", "4321450000000068"


def typed(card: str) -> dict[str, str]:
    return {"number": card, "expiry": "12/35", "cvc": "123", "holder": "Anna Huber"}


async def enrol(stage: Stage, card: str = APPROVED) -> None:
    """Enrol Anna, whose card was stored at PAYONE by an earlier visit."""
    await stage.found()
    stored = [{"token": TOKEN, "card": card, "expiry": "1235", "holder": "Anna Huber"}]
    stage.sandbox.http.post("/_sandbox/profiles", json=stored).raise_for_status()
    await stage.enrol_only(replace(ANNA, profile=TOKEN))


async def declined(stage: Stage, card: str = DECLINED) -> str:
    """Let the night's charge be declined, and return the link of the mail about it."""
    await enrol(stage, card)
    await stage.night(DAY)
    [letter] = await stage.morning(DAY)
    return link_in(letter)


async def test_a_stored_token_is_charged_each_month(payone_stage: Stage) -> None:
    await enrol(payone_stage)
    for night in (DAY, NEXT):
        await payone_stage.night(night)
    assert await payone_stage.attempts() == ["night 2500 approved"] * 2
    assert payone_stage.booked() == ["sale 2500 booked"] * 2
    assert await payone_stage.doctor() == []


async def test_a_lost_answer_is_asked_for_under_its_own_key_and_charged_once(payone_stage: Stage) -> None:
    await enrol(payone_stage)
    for fault in ("drop_after_booking", "drop_before_booking"):
        payone_stage.sandbox.fault(fault, operation="CreatePayment")
    await payone_stage.night(DAY)
    await payone_stage.reconcile(wait_s=10)

    assert await payone_stage.attempts() == ["night 2500 approved"]
    assert payone_stage.booked() == ["sale 2500 booked"]
    assert await payone_stage.doctor() == []


async def test_one_visit_with_the_banks_question_pays_and_next_month_works_by_itself(payone_stage: Stage) -> None:
    stage = payone_stage
    link = await declined(stage)
    assert (await stage.browser.pay_in_fields(link, typed(CHALLENGED))).page == "paid"
    assert (await stage.invoices())[0].endswith("paid")
    assert await stage.profiles() == ["replaced", "active"]
    await stage.night(NEXT)
    assert (await stage.attempts())[1:] == ["pay_link 2500 approved", "night 2500 approved"]
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked", "sale 2500 booked"]
    assert await stage.doctor() == []


async def test_the_consent_of_the_page_is_on_record_with_what_the_bank_wants_cited(payone_stage: Stage) -> None:
    stage = payone_stage
    link = await declined(stage)
    page = await stage.browser.open(f"{link}?lang=en")
    await stage.browser.pay_in_fields(link, typed(APPROVED))

    mandate = table(Mandate)
    [(text, language, scheme)] = await stage.rows(
        select(mandate.c.text, mandate.c.language, mandate.c.scheme_reference)
    )
    assert text in page.words
    assert "Solo, monthly" in text
    assert (language, bool(scheme)) == ("en", True)


async def test_a_declined_card_says_so_and_a_second_one_pays(payone_stage: Stage) -> None:
    stage = payone_stage
    link = await declined(stage)
    assert (await stage.browser.pay_in_fields(link, typed(DECLINED))).page == "declined"
    assert (await stage.browser.pay_in_fields(link, typed(APPROVED))).page == "paid"
    assert stage.booked() == ["sale 2500 declined", "sale 2500 declined", "sale 2500 booked"]


async def test_a_bank_that_is_told_no_leads_back_to_another_try(payone_stage: Stage) -> None:
    stage = payone_stage
    link = await declined(stage)
    back = await stage.browser.pay_in_fields(link, typed(CHALLENGED), "refuse")

    assert back.page == "declined"
    assert "confirmation with your bank was not completed" in back.words
    assert (await stage.invoices())[0].endswith("open")


async def test_a_bank_that_wants_the_customer_gets_a_mail_and_no_second_silent_try(payone_stage: Stage) -> None:
    stage = payone_stage
    link = await declined(stage, WANTS_CUSTOMER)
    assert (await stage.attempts()) == ["night 2500 declined needs_customer"]
    for day in range(2, 6):
        await stage.morning(date(2026, 12, day))
    assert len(await stage.attempts()) == 1
    assert (await stage.browser.open(link)).page == "ready"


async def test_without_scripts_the_button_leads_to_payones_own_page(payone_stage: Stage) -> None:
    stage = payone_stage
    link = await declined(stage)
    page = await stage.browser.to_gateway(link)
    back = await stage.browser.type_card(page, typed(APPROVED))
    assert (await stage.browser.wait(back.headers["location"])).page == "paid"
    assert await stage.profiles() == ["replaced", "active"]


async def test_a_renewal_with_nothing_owed_reserves_stores_and_cancels(payone_stage: Stage) -> None:
    stage = payone_stage
    await enrol(stage)
    await offer_renewal(stage.ctx, "S-ANNA", mail=False)
    [link] = await stage.links()
    assert (await stage.browser.pay_in_fields(link, typed(APPROVED))).page == "renewed"

    async def later() -> list[str]:
        await stage.wait_over()
        await stage.reconcile()
        return await stage.verifications()

    await until(later, lambda found: found == ["10 released"])
    assert await stage.operations() == ["reversal 10 approved"]
    assert stage.booked()[0].startswith("authorisation 10 ")
    assert await stage.doctor() == []


async def test_a_webhook_alone_is_enough_where_the_customer_never_comes_back(payone_stage: Stage) -> None:
    stage = payone_stage
    link = await declined(stage)
    answer = await stage.browser.type_into_fields(link, typed(CHALLENGED))
    opened = await stage.browser.http.get(answer.headers["location"])
    assert opened.status_code == 200
    await stage.confirm_at_the_bank(opened)
    await until(stage.invoices, lambda found: found[0].endswith("paid"))
    assert stage.booked()[-1] == "sale 2500 booked"


async def test_forged_replayed_and_stale_webhooks_change_nothing_and_are_seen(payone_stage: Stage) -> None:
    stage = payone_stage
    await enrol(stage)
    await stage.night(DAY)
    await until(stage.notifications, lambda found: bool(found) and set(found) == {"settled"})
    before = await stage.postings(), await stage.attempts()
    [(headers, body)] = (await stage.rows(_heard()))[:1]
    address = stage.ctx.links.notify(1, (await stage.keys())[0])

    replayed = await stage.browser.http.post(address, content=body, headers=headers)
    wrong = await stage.browser.http.post(address, content=body + b" ", headers=headers)
    unsigned = await stage.browser.http.post(address, content=body)

    assert [replayed.status_code, wrong.status_code, unsigned.status_code] == [200, 400, 400]
    assert (await stage.postings(), await stage.attempts()) == before
    assert sorted(await stage.notifications())[0] == "forged"


def _heard() -> Any:
    notification = table(Notification)
    return select(notification.c.headers, notification.c.body).order_by(notification.c.id)
