"""mPAY24's own guide to failed recurring payments, played over real sockets and compared whole."""

from __future__ import annotations

from datetime import date

from tests.scenarios.stage import CHALLENGED, DECLINED, EXPIRED, Stage, link_in, subjects

DECEMBER, JANUARY = date(2026, 12, 1), date(2027, 1, 1)
ISSUED = ["issue receivable 2500", "issue revenue -2083", "issue tax -417"]
PAID = ["payment gateway 2500", "payment receivable -2500"]


async def test_a_declined_charge_is_paid_by_link_and_the_next_month_works_by_itself(stage: Stage) -> None:
    await stage.found()
    await stage.enrol(card=DECLINED)

    december = await stage.night(DECEMBER)
    assert (december.due, december.invoiced, december.charged, december.declined) == (1, 1, 0, 1)
    assert await stage.subscription() == ("past_due", JANUARY)
    letters = await stage.morning(DECEMBER)
    assert subjects(letters) == ["Your December invoice: €\xa025,00 is still open"]

    paid = await stage.browser.pay(link_in(letters[0]))
    assert paid.page == "paid"
    assert "next on 1 January 2027, €\xa025,00" in paid.words.replace("€ 25", "€\xa025")
    assert await stage.subscription() == ("active", JANUARY)
    assert subjects(await stage.deliver()) == ["Paid: €\xa025,00 for December"]

    january = await stage.night(JANUARY)
    assert (january.due, january.invoiced, january.charged, january.declined) == (1, 1, 1, 0)
    assert subjects(await stage.morning(JANUARY)) == ["Paid: €\xa025,00 for January"]
    await stage.heard(5)

    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 paid", "TH-2027-00001 2027-01-01 2500 paid"]
    assert await stage.attempts() == [
        "night 2500 declined retry_later",
        "pay_link 2500 approved",
        "night 2500 approved",
    ]
    assert await stage.postings() == [*ISSUED, *PAID, *ISSUED, *PAID]
    assert await stage.messages() == ["declined sent", "receipt sent", "receipt sent"]
    assert await stage.profiles() == ["active renewed"]
    assert await stage.tasks() == await stage.operations() == await stage.verifications() == []
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked", "sale 2500 booked"]
    assert await stage.doctor() == []


async def test_a_receipt_asks_for_no_payment_although_the_link_that_was_mailed_still_works(stage: Stage) -> None:
    await stage.found()
    await stage.enrol(card=DECLINED)
    await stage.night(DECEMBER)
    [letter] = await stage.morning(DECEMBER)
    link = link_in(letter)
    await stage.browser.pay(link)

    [receipt] = await stage.deliver()
    for part in ("plain", "html"):
        assert link not in receipt.part(part)
        assert "now" not in receipt.part(part)
    assert (await stage.browser.open(link)).page == "already_paid"


async def test_a_bank_that_asks_the_customer_first_renews_the_profile_just_as_well(stage: Stage) -> None:
    await stage.found()
    await stage.enrol(card=DECLINED)
    await stage.night(DECEMBER)
    [letter] = await stage.morning(DECEMBER)

    page = await stage.browser.to_gateway(link_in(letter))
    await stage.browser.type_card(page, DECLINED)
    assert (await stage.browser.open(link_in(letter))).page == "ready"
    assert await stage.browser.to_gateway(link_in(letter)) == page
    back = await stage.browser.type_card(page, CHALLENGED)
    assert (await stage.browser.wait(back.headers["location"])).page == "paid"
    await stage.night(JANUARY)
    await stage.heard(6)

    assert await stage.attempts() == [
        "night 2500 declined retry_later",
        "pay_link 2500 approved",
        "night 2500 approved",
    ]
    assert stage.booked() == ["sale 2500 declined", "sale 2500 declined", "sale 2500 booked", "sale 2500 booked"]
    assert await stage.messages() == ["declined sent", "receipt queued", "receipt queued"]
    assert await stage.doctor() == []


async def test_without_a_merchant_backend_the_push_of_a_lost_charge_starts_the_mail(stage: Stage) -> None:
    await stage.found()
    await stage.enrol(card=DECLINED)
    stage.sandbox.fault("drop_after_booking", operation="AcceptPayment")

    await stage.night(DECEMBER)
    await stage.heard(1)
    [letter] = await stage.morning(DECEMBER)
    assert "Nothing was charged" in letter.part("plain")
    assert (await stage.browser.pay(link_in(letter))).page == "paid"
    await stage.heard(3)

    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 paid"]
    assert await stage.attempts() == ["night 2500 declined retry_later", "pay_link 2500 approved"]
    assert await stage.postings() == [*ISSUED, *PAID]
    assert await stage.messages() == ["declined sent", "receipt queued"]
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked"]
    assert await stage.doctor() == []


async def test_an_expired_card_is_not_tried_again_even_if_the_push_comes_before_the_answer(stage: Stage) -> None:
    await stage.found()
    await stage.enrol(card=EXPIRED)
    late = [{"match": {"operation": "AcceptPayment"}, "fault": "delay_answer_ms", "ms": 400}]
    stage.sandbox.http.post("/_sandbox/faults", json=late).raise_for_status()

    await stage.night(DECEMBER)
    [letter] = await stage.morning(DECEMBER)
    for day in range(2, 31):
        await stage.morning(date(2026, 12, day))

    assert "has expired" in letter.part("plain")
    assert await stage.attempts() == ["night 2500 declined needs_new_profile"]
    assert await stage.profiles() == ["failed"]
    assert stage.booked() == ["sale 2500 declined"]
    assert await stage.messages() == ["declined sent", "reminder sent", "last_step sent"]


async def test_a_lost_answer_and_no_push_are_found_by_asking_and_charged_once(stage: Stage) -> None:
    await stage.found()
    await stage.enrol()
    lost = [
        {"match": {"operation": "AcceptPayment"}, "fault": fault} for fault in ("drop_after_booking", "no_notification")
    ]
    stage.sandbox.http.post("/_sandbox/faults", json=lost).raise_for_status()

    december = await stage.night(DECEMBER)
    assert (december.charged, december.unknown) == (0, 1)
    again = await stage.night(DECEMBER)
    assert (again.due, again.invoiced) == (0, 0)
    await stage.reconcile(wait_s=10)

    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 paid"]
    assert await stage.attempts() == ["night 2500 approved"]
    assert await stage.postings() == [*ISSUED, *PAID]
    assert await stage.messages() == ["receipt queued"]
    assert stage.booked() == ["sale 2500 booked"]
    assert await stage.doctor() == []


async def test_a_merchant_with_its_own_login_gets_the_mails_link_to_its_own_page(stage: Stage) -> None:
    await stage.found(invoice_page="https://app.gym.example/invoices/{invoice}?pay={link}")
    await stage.enrol(card=DECLINED)
    await stage.night(DECEMBER)

    [letter] = await stage.morning(DECEMBER)
    [link] = await stage.links()
    assert link_in(letter) == f"https://app.gym.example/invoices/TH-2026-00001?pay={link}"
    assert (await stage.browser.pay(link)).page == "paid"
    await stage.heard(3)

    assert await stage.attempts() == ["night 2500 declined retry_later", "pay_link 2500 approved"]
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked"]
    assert await stage.doctor() == []


async def test_a_chargeback_months_later_opens_the_invoice_again_and_asks_a_person(stage: Stage) -> None:
    await stage.found()
    await stage.enrol()
    await stage.night(DECEMBER)
    await stage.heard(2)
    taken = stage.gateway_id()
    await stage.night(JANUARY)
    await stage.heard(4)
    await stage.set_clock_to(date(2027, 1, 20))

    moved = stage.sandbox.http.post(f"/_sandbox/transactions/{taken}/move", json={"state": "BILLED_REVERSAL"})
    moved.raise_for_status()
    await stage.heard(5)

    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 open", "TH-2027-00001 2027-01-01 2500 paid"]
    assert await stage.attempts() == ["night 2500 approved", "night 2500 approved"]
    assert await stage.operations() == ["chargeback 2500 approved"]
    assert await stage.tasks() == ["chargeback inv_1 open"]
    assert await stage.postings() == [
        *ISSUED,
        *PAID,
        *ISSUED,
        *PAID,
        "taken-back gateway -2500",
        "taken-back receivable 2500",
    ]
    assert await stage.messages() == ["receipt queued", "receipt queued"]
    assert stage.booked() == ["sale 2500 booked", "sale 2500 booked", "chargeback 2500 booked"]
    assert await stage.doctor() == []
