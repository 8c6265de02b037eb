"""A profile renewed with nothing owed: a small authorisation, given back whatever happens on the way."""

from __future__ import annotations

from billing.services.verifying import offer_renewal
from tests.scenarios.stage import CHALLENGED, DECLINED, Stage, link_in, subjects


async def renewing(stage: Stage, **settings: str) -> str:
    """Enrol Anna, offer her to renew her card, and return the link of the mail."""
    await stage.found(settings=settings)
    await stage.enrol()
    address = await offer_renewal(stage.ctx, "S-ANNA")
    [letter] = await stage.deliver()
    assert link_in(letter) == address
    return address


async def books(stage: Stage) -> list[list[str]]:
    """What every renewal must leave alike: no invoice, one attempt, a renewed profile, a promise kept."""
    return [
        await stage.invoices(),
        await stage.attempts(),
        await stage.profiles(),
        await stage.verifications(),
        await stage.messages(),
        await stage.tasks(),
    ]


RENEWED = [[], ["pay_link 10 approved"], ["active renewed"], ["10 released"], ["renew sent", "renewed queued"], []]


async def only_reserve(stage: Stage) -> None:
    """Let the gateway reserve and not take, as an account without automatic clearing does."""
    settings = stage.sandbox.http.put("/_sandbox/settings", json={"automatic_clearing": False})
    settings.raise_for_status()


async def test_a_reservation_is_reversed_and_nothing_is_owed(stage: Stage) -> None:
    await only_reserve(stage)
    link = await renewing(stage, automatic_clearing="no")

    ready = await stage.browser.open(link)
    assert ready.page == "renew_ready"
    assert "€ 0,10 is reserved and released" in ready.words
    assert (await stage.browser.pay(link, CHALLENGED)).page == "renewed"
    await stage.reconcile()
    await stage.heard(2)

    assert stage.booked() == ["authorisation 10 reversed", "reversal 10 reversed"]
    assert await stage.operations() == ["reversal 10 approved"]
    assert await stage.postings() == []
    assert await books(stage) == RENEWED
    assert await stage.doctor() == []
    assert subjects(await stage.deliver()) == ["Renewed: Visa is stored"]


async def test_an_account_that_clears_by_itself_gives_the_money_back_by_a_credit(stage: Stage) -> None:
    link = await renewing(stage)
    assert (await stage.browser.pay(link)).page == "renewed"
    await stage.heard(2)
    await stage.reconcile()
    await stage.heard(3)

    assert stage.booked() == ["sale 10 booked", "refund 10 booked"]
    assert await stage.operations() == ["refund 10 approved"]
    assert await stage.postings() == GIVEN_BACK
    assert await books(stage) == RENEWED
    assert await stage.doctor() == []
    assert (await stage.browser.open(link)).page == "renewed"


GIVEN_BACK = [
    "held gateway 10",
    "held verification -10",
    "released gateway -10",
    "released verification 10",
]


async def test_a_reservation_that_was_taken_before_its_reversal_is_given_back_by_a_credit(stage: Stage) -> None:
    """The account is said to reserve only, and clears by itself all the same, which nobody tells us."""
    await only_reserve(stage)
    link = await renewing(stage, automatic_clearing="no")
    assert (await stage.browser.pay(link)).page == "renewed"
    await stage.heard(1)
    stage.sandbox.fault("no_notification", operation="Move")
    taken = stage.sandbox.http.post(f"/_sandbox/transactions/{stage.gateway_id()}/move", json={"state": "BILLED"})
    taken.raise_for_status()
    await stage.reconcile()
    assert await stage.operations() == ["reversal 10 unknown"]
    assert await stage.doctor() == []
    await stage.wait_over()
    await stage.reconcile()
    await stage.heard(2)

    assert stage.booked() == ["authorisation 10 captured", "capture 10 booked", "refund 10 booked"]
    assert await stage.operations() == ["reversal 10 declined", "refund 10 approved"]
    assert await stage.postings() == GIVEN_BACK
    assert await books(stage) == RENEWED
    assert await stage.doctor() == []


async def test_a_reversal_whose_answer_is_lost_is_asked_about_and_made_once(stage: Stage) -> None:
    await only_reserve(stage)
    link = await renewing(stage, automatic_clearing="no")
    assert (await stage.browser.pay(link)).page == "renewed"
    await stage.heard(1)
    lost = [{"match": {"operation": "ManualReverse"}, "fault": f} for f in ("drop_after_booking", "no_notification")]
    stage.sandbox.http.post("/_sandbox/faults", json=lost).raise_for_status()

    await stage.reconcile()
    assert await stage.verifications() == ["10 authorised"]
    assert await stage.doctor() == []
    await stage.wait_over()
    await stage.reconcile()

    assert stage.booked() == ["authorisation 10 reversed", "reversal 10 reversed"]
    assert await stage.operations() == ["reversal 10 approved"]
    assert await books(stage) == RENEWED
    assert await stage.doctor() == []


async def test_a_reversal_is_confirmed_by_its_push_when_its_answer_is_lost(stage: Stage) -> None:
    await only_reserve(stage)
    link = await renewing(stage, automatic_clearing="no")
    assert (await stage.browser.pay(link)).page == "renewed"
    stage.sandbox.fault("drop_after_booking", operation="ManualReverse")

    await stage.reconcile()
    await stage.heard(2)

    assert stage.booked() == ["authorisation 10 reversed", "reversal 10 reversed"]
    assert await stage.operations() == ["reversal 10 approved"]
    assert await books(stage) == RENEWED
    assert await stage.doctor() == []


async def test_a_card_the_bank_declines_leaves_the_stored_one_and_owes_nothing(stage: Stage) -> None:
    link = await renewing(stage)
    page = await stage.browser.to_gateway(link)
    await stage.browser.type_card(page, DECLINED)
    await stage.heard(1)

    assert (await stage.browser.open(link)).page == "renew_declined"
    assert stage.booked() == ["sale 10 declined"]
    assert await stage.profiles() == ["active"]
    assert await stage.verifications() == ["10 open"]
    assert await stage.postings() == await stage.operations() == await stage.tasks() == []
    assert await stage.messages() == ["renew sent"]
    assert await stage.doctor() == []
