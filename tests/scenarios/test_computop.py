"""A customer of Computop: PAYBACK PAY is asked for every month, cards are stored, and no result is taken on trust."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from sqlalchemy import select

from billing.gateway import Approved, Booked, Declined, MisuseError, OperationKind, Pending, Question, Unknown
from billing.models import Mandate, Notification, table
from billing.money import Money
from billing.services.founding import AccountFacts
from billing.services.verifying import offer_renewal
from gateways.computop_wire import encrypt, mac, write
from jobs.mailbox import Letter
from tests.contract.sandbox import Sandbox, fill_in
from tests.scenarios.stage import ANNA, GOOD, SWIFT, Look, Stage, link_in, parsed, subjects, until

DECEMBER, JANUARY, FEBRUARY = date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1)
ASKED: Final = replace(ANNA, profile="", profile_brand="", profile_last4="")
"""Anna as a customer of PAYBACK PAY, of whom nothing is stored."""

NUMBER, REFUSING, POOR, SILENT = "1234567890", "1234567800", "1234567801", "1234567802"
"""PAYBACK numbers: their owners confirm, break off, have no money, and have an app that never hands on a word."""

VISA, AMEX, NO_MONEY, AT_THE_BANK = "4111111111111111", "375000000000007", "4000000001000001", "4000000000000010"
CARDS: Final = {"card_on_file": "yes"}


def typed(number: str = NUMBER) -> dict[str, str]:
    return {"payback_number": number}


def card(number: str = VISA) -> dict[str, str]:
    return {"number": number, "expiry": "12/35", "cvc": "123", "holder": "Anna Huber"}


async def asked(stage: Stage, **settings: str) -> str:
    """Enrol Anna, let her be billed, and return the link of the mail that asks her to pay."""
    await stage.found(settings=settings)
    await stage.enrol_only(ASKED)
    await stage.night(DECEMBER)
    [letter] = await stage.morning(DECEMBER)
    return link_in(letter)


async def in_wallet(stage: Stage, link: str, number: str = NUMBER, action: str = "confirm") -> httpx.Response:
    """Go from our page to the wallet's, press a button there, and return where that leads, unfollowed."""
    page = await stage.browser.to_gateway(link, typed(number))
    return await fill_in(stage.browser.http, page, {"action": action})


async def pay(stage: Stage, link: str, number: str = NUMBER, action: str = "confirm") -> Look:
    return await stage.browser.come_back(await in_wallet(stage, link, number, action))


def words(letter: Letter) -> str:
    """Return a mail's plain text with its line breaks as spaces."""
    return " ".join(letter.part("plain").split())


def exchanges(stage: Stage, *operations: str) -> list[str]:
    """Return how many calls of which kinds our server made, in order."""
    log = stage.sandbox.http.get("/_sandbox/log").raise_for_status().json()["exchanges"]
    return [each["operation"] for each in log if each["operation"] in operations]


# --- PAYBACK PAY, month after month -------------------------------------------------------------------


async def test_each_month_asks_by_mail_is_paid_in_the_wallet_and_nothing_is_charged_silently(
    computop_stage: Stage,
) -> None:
    stage = computop_stage
    await stage.found()
    await stage.enrol_only(ASKED)
    for paid, month in enumerate((DECEMBER, JANUARY, FEBRUARY)):
        await stage.night(month)
        assert stage.booked() == ["sale 2500 booked"] * paid
        [invitation] = await stage.morning(month)
        assert (await pay(stage, link_in(invitation))).page == "paid"
        [receipt] = await stage.deliver()
        assert "You get a link again" in words(receipt)
    await stage.heard(3)

    assert await stage.invoices() == [
        "TH-2026-00001 2026-12-01 2500 paid",
        "TH-2027-00001 2027-01-01 2500 paid",
        "TH-2027-00002 2027-02-01 2500 paid",
    ]
    assert await stage.attempts() == ["pay_link 2500 approved"] * 3
    assert stage.booked() == ["sale 2500 booked"] * 3
    assert exchanges(stage, "Direct", "Capture", "Credit", "Reverse") == []
    issued = ["issue receivable 2500", "issue revenue -2083", "issue tax -417"]
    assert await stage.postings() == [*issued, "payment gateway 2500", "payment receivable -2500"] * 3
    assert await stage.messages() == ["invoice sent", "receipt sent"] * 3
    assert await stage.profiles() == await stage.tasks() == []
    assert await stage.subscription() == ("active", date(2027, 3, 1))
    assert await stage.doctor() == []


@pytest.mark.parametrize("wrong", ["", "123456789", "12345678901", "12345678-0", "123456789x"])
async def test_a_wrong_number_is_said_beside_its_field_and_nothing_typed_is_lost(
    computop_stage: Stage, wrong: str
) -> None:
    stage = computop_stage
    link = await asked(stage)
    answer = await stage.browser.press(await stage.browser.open(link), typed(wrong))

    [field] = parsed(answer.text).xpath("//input[@name='payback_number']")
    [said] = parsed(answer.text).xpath(f"//*[@id='{field.get('aria-describedby')}']")
    assert (Look(answer).page, field.value or "", field.get("aria-invalid")) == ("ready", wrong, "true")
    assert "10" in said.text_content()
    assert await stage.attempts() == stage.booked() == []
    again = await stage.browser.press(Look(answer), typed())
    assert Look(again).page == "leaving"
    assert NUMBER not in again.text


@pytest.mark.parametrize("spoken", ["v11", "current"])
async def test_three_pieces_with_tax_pass_the_strict_sums_of_both_dialects(computop_stage: Stage, spoken: str) -> None:
    stage = computop_stage
    await stage.found(settings={"dialect": spoken})
    await stage.enrol_only(replace(ASKED, quantity=3))
    await stage.night(DECEMBER)
    [link] = [link_in(letter) for letter in await stage.morning(DECEMBER)]
    page = await stage.browser.to_gateway(link, typed())
    opened = await stage.browser.open(page)

    [[pieces, total]] = [row.xpath("td") for row in parsed(opened.answer.text).xpath("//tr")]
    assert (pieces.text_content().split()[0], total.text_content()) == ("3", "75.00 EUR")
    confirmed = await fill_in(stage.browser.http, page, {"action": "confirm"})
    assert (await stage.browser.come_back(confirmed)).page == "paid"
    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 7500 paid"]


# --- the wallet says no, or nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "action"), [(NUMBER, "decline"), (REFUSING, "confirm"), (POOR, "confirm")], ids=["no", "0053", "0100"]
)
async def test_a_payment_that_fails_in_the_wallet_is_said_and_the_link_pays_at_once(
    computop_stage: Stage, number: str, action: str
) -> None:
    stage = computop_stage
    link = await asked(stage)
    failed = await pay(stage, link, number, action)
    assert failed.page == "declined"
    assert "The payment did not go through" in failed.words
    assert "bank" not in failed.words
    assert (await pay(stage, link)).page == "paid"

    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked"]
    assert [each.split()[2] for each in await stage.attempts()] == ["declined", "approved"]
    assert len(set(await stage.keys())) == 2
    assert await stage.messages() == ["invoice sent", "receipt queued"]
    assert await stage.doctor() == []


async def test_a_failure_that_nobody_tells_is_found_by_asking_when_the_customer_is_back(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    stage.sandbox.fault("no_notification", operation="PaymentPage")
    assert (await pay(stage, link, action="decline")).page == "declined"
    assert (await pay(stage, link)).page == "paid"
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked"]


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
async def test_a_wallet_page_that_is_left_is_led_back_to_until_it_ends_and_then_begun_anew(
    computop_stage: Stage, told: bool
) -> None:
    stage = computop_stage
    link = await asked(stage)
    for number in (NUMBER, POOR):
        await stage.browser.to_gateway(link, typed(number))
    assert (await stage.attempts(), len(await stage.keys())) == (["pay_link 2500 pending"], 1)

    if not told:
        stage.sandbox.fault("no_notification", operation="Move")
    await expire(stage)
    if not told:
        await stage.pages_over()
        await stage.reconcile()
    await until(stage.attempts, lambda found: found[0].startswith("pay_link 2500 declined"))
    assert (await pay(stage, link)).page == "paid"
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked"]
    assert await stage.doctor() == []


async def expire(stage: Stage) -> None:
    """Let the wallet give up waiting for its customer on the page that was opened last."""
    gateway = stage.ctx.gateways.open("computop", {**stage.sandbox.credentials, **SWIFT})
    opened = await gateway.find(Question((await stage.keys())[-1], Money(2500, "EUR"), page=True))
    await gateway.close()
    assert isinstance(opened, Pending)
    moved = stage.sandbox.http.post(f"/_sandbox/payments/{opened.gateway_id}/move", json={"state": "expired"})
    moved.raise_for_status()


async def test_a_page_opened_twice_is_paid_on_the_older_although_the_newer_was_broken_off(
    computop_stage: Stage,
) -> None:
    stage = computop_stage
    link = await asked(stage)
    older, newer = [await stage.browser.to_gateway(link, typed()) for _ in range(2)]
    await fill_in(stage.browser.http, newer, {"action": "decline"})
    await until(stage.attempts, lambda found: found == ["pay_link 2500 declined needs_customer"])
    back = await fill_in(stage.browser.http, older, {"action": "confirm"})
    await until(stage.invoices, lambda found: found == PAID[1])
    assert (await stage.browser.come_back(back)).page == "paid"
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked"]
    assert await stage.tasks() == []
    assert await stage.doctor() == []


async def test_a_page_opened_twice_and_paid_twice_pays_once_and_a_person_gives_the_rest_back(
    computop_stage: Stage,
) -> None:
    stage = computop_stage
    link = await asked(stage)
    for page in [await stage.browser.to_gateway(link, typed()) for _ in range(2)]:
        await fill_in(stage.browser.http, page, {"action": "confirm"})
    await stage.heard(2)
    assert stage.booked() == ["sale 2500 booked"] * 2
    [surplus] = await stage.tasks()
    assert surplus.startswith("surplus att_1/")
    assert (await stage.postings())[-2:] == ["payment gateway 2500", "payment customer_credit -2500"]
    assert (await told(stage))[1:] == PAID[1:]


def change(stage: Stage, **settings: object) -> None:
    stage.sandbox.http.put("/_sandbox/settings", json=settings).raise_for_status()


async def test_a_customer_whose_app_hands_nothing_on_pays_once_it_does(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    waiting = await in_wallet(stage, link, SILENT)
    assert "Waiting for the confirmation" in waiting.text
    assert (await stage.browser.open(f"{link}/back/success")).page == "confirming"
    assert await stage.attempts() == ["pay_link 2500 pending"]
    assert await stage.doctor() == []


async def test_both_gateways_of_a_merchant_stand_on_one_page_and_a_card_pays_there(
    computop_stage: Stage, sandbox: Sandbox
) -> None:
    stage = computop_stage
    await stage.found(AccountFacts("cards", "mpay24", {**sandbox.credentials, **SWIFT}))
    await stage.enrol_only(ASKED)
    await stage.night(DECEMBER)
    [link] = [link_in(letter) for letter in await stage.morning(DECEMBER)]
    page = await stage.browser.open(link)
    ways = parsed(page.answer.text).xpath("//input[@name='way']/@value")
    assert ways[:2] == ["1-payback_pay", "2-card"]

    gateway = await stage.browser.to_gateway(link, {"way": "2-card"})
    paid = await stage.browser.come_back(await stage.browser.type_card(gateway, GOOD))
    assert paid.page == "paid"
    assert "you get a link again" not in paid.words
    [receipt] = await stage.deliver()
    assert "You get a link again" not in words(receipt)
    await stage.night(JANUARY)
    assert subjects(await stage.morning(JANUARY)) == ["Paid: €\xa025,00 for January"]
    assert await stage.attempts() == ["pay_link 2500 approved", "night 2500 approved"]
    assert stage.booked() == []
    assert await stage.doctor() == []


async def test_payback_pay_stands_beside_cards_and_is_paid_where_the_customers_own_account_is_another(
    stage: Stage, computop: Sandbox
) -> None:
    await stage.found(AccountFacts("wallet", "computop", {**computop.credentials, **SWIFT}))
    await stage.enrol()
    stage.sandbox.fault("decline:DECLINED", operation="AcceptPayment")
    await stage.night(DECEMBER)
    [link] = [link_in(letter) for letter in await stage.morning(DECEMBER)]
    page = await stage.browser.to_gateway(link, {"way": "2-payback_pay", **typed()})
    paid = await stage.browser.come_back(await fill_in(stage.browser.http, page, {"action": "confirm"}))
    assert paid.page == "paid"
    assert await stage.attempts() == ["night 2500 declined retry_later", "pay_link 2500 approved"]
    assert await stage.profiles() == ["active"]
    assert await stage.doctor() == []


# --- the notification: before, after, twice, never, forged --------------------------------------------

PAID: Final = [["pay_link 2500 approved"], ["TH-2026-00001 2026-12-01 2500 paid"], ["invoice sent", "receipt queued"]]


async def told(stage: Stage) -> list[list[str]]:
    return [await stage.attempts(), await stage.invoices(), await stage.messages()]


async def test_a_notification_before_the_return_has_paid_when_the_customer_comes(computop_stage: Stage) -> None:
    stage = computop_stage
    back = await in_wallet(stage, await asked(stage))
    await until(lambda: told(stage), lambda found: found == PAID)
    assert (await stage.browser.come_back(back)).page == "paid"
    assert await told(stage) == PAID
    assert await stage.notifications() == ["settled"]


async def test_a_notification_after_the_return_changes_nothing_more(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    stage.sandbox.fault("late_notification", ms=3000, operation="PaymentPage")
    assert (await pay(stage, link)).page == "paid"
    assert await stage.notifications() == []
    await stage.heard(1)
    assert await told(stage) == PAID
    assert await stage.notifications() == ["settled"]
    assert await stage.doctor() == []


async def test_a_notification_told_twice_is_one(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    stage.sandbox.fault("duplicate_notification", operation="PaymentPage")
    assert (await pay(stage, link)).page == "paid"
    notification = table(Notification)
    copies = select(notification.c.copies)
    await until(lambda: stage.rows(copies), lambda found: found == [(2,)])
    assert await told(stage) == PAID
    assert await stage.doctor() == []


async def test_without_any_notification_the_question_on_return_is_enough(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    stage.sandbox.fault("no_notification", operation="PaymentPage")
    assert (await pay(stage, link)).page == "paid"
    assert exchanges(stage, "Inquire", "Inquire24") == ["Inquire24"]
    assert await told(stage) == PAID
    assert await stage.doctor() == []


async def test_without_a_notification_or_a_return_the_question_on_schedule_finds_the_money(
    computop_stage: Stage,
) -> None:
    stage = computop_stage
    link = await asked(stage)
    stage.sandbox.fault("no_notification", operation="PaymentPage")
    await in_wallet(stage, link)
    await stage.reconcile()
    assert await stage.attempts() == ["pay_link 2500 pending"]
    await stage.pages_over()
    await stage.reconcile()
    assert await told(stage) == PAID
    assert await stage.doctor() == []


async def test_a_sale_that_says_authorised_is_paid_since_the_amounts_say_it_was_taken(
    computop_stage: Stage,
) -> None:
    stage = computop_stage
    change(stage, sale_status="AUTHORIZED")
    assert (await pay(stage, await asked(stage))).page == "paid"
    assert await told(stage) == PAID


async def result(stage: Stage, status: str, code: str, **credentials: str) -> dict[str, str]:
    """Write a result of the latest attempt as Computop does; other `credentials` are a forger's."""
    known = {**stage.sandbox.credentials, **credentials}
    fields = {"PayID": stage.gateway_id(), "TransID": (await stage.keys())[-1], "mid": known["merchant_id"]}
    fields |= {"Status": status, "Code": code}
    proven = fields | {"MAC": mac(known["hmac_password"].encode(), *fields.values())}
    length, data = encrypt("blowfish", known["encryption_password"].encode(), write(proven))
    return {"Len": str(length), "Data": data}


async def test_forged_notifications_change_nothing_and_are_seen(computop_stage: Stage) -> None:
    stage = computop_stage
    await pay(stage, await asked(stage), action="decline")
    before = await told(stage)
    genuine = await result(stage, "OK", "00000000")
    ours = stage.ctx.links.notify(1, (await stage.keys())[0])
    forgeries = [
        (ours, await result(stage, "OK", "00000000", hmac_password="another password")),
        (ours, await result(stage, "OK", "00000000", merchant_id="SOMEBODY_ELSE")),
        (ours, await result(stage, "OK", "00000000", encryption_password="another password")),
        (ours, genuine | {"Data": genuine["Data"][:-32] + "0" * 32}),
        (stage.ctx.links.notify(1, "INV-AAAAAAAAAAAAAAAA-1"), genuine),
    ]
    for address, body in forgeries:
        answer = await stage.browser.http.post(address, data=body)
        assert (answer.status_code, answer.text) == (400, "ERROR")

    assert await told(stage) == before
    assert sorted(await stage.notifications()) == ["forged"] * 5 + ["settled"]
    assert await stage.doctor() == []


async def test_a_proven_success_of_a_payment_that_failed_is_asked_about_and_not_believed(computop_stage: Stage) -> None:
    stage = computop_stage
    await pay(stage, await asked(stage), action="decline")
    before = await told(stage)
    address = stage.ctx.links.notify(1, (await stage.keys())[0])
    answer = await stage.browser.http.post(address, data=await result(stage, "OK", "00000000"))
    assert answer.status_code == 200
    await stage.heard(2)
    assert await told(stage) == before


# --- what a browser brings back is never the result ---------------------------------------------------


async def test_the_page_of_success_with_the_payload_of_a_failure_shows_the_failure(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    stage.sandbox.fault("no_notification", operation="PaymentPage")
    failed = await in_wallet(stage, link, action="decline")
    copied = str(failed.headers["location"]).replace("/back/error", "/back/success")
    assert "/back/success?Len=" in copied

    payload = dict(parse_qsl(urlsplit(copied).query))
    posted = await stage.browser.http.post(f"{link}/back/success", data=payload)
    assert (await stage.browser.wait(copied)).page == "declined"
    assert (await stage.browser.come_back(posted)).page == "declined"
    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 open"]


async def test_the_payload_of_an_old_failure_says_nothing_of_a_payment_that_is_under_way(
    computop_stage: Stage,
) -> None:
    stage = computop_stage
    link = await asked(stage)
    failed = await in_wallet(stage, link, action="decline")
    await stage.browser.come_back(failed)
    await stage.browser.to_gateway(link, typed())
    copied = str(failed.headers["location"]).replace("/back/error", "/back/success")
    assert (await stage.browser.open(copied)).page == "confirming"
    assert [each.split()[2] for each in await stage.attempts()] == ["declined", "pending"]


async def test_the_page_of_failure_with_the_payload_of_a_success_shows_that_it_is_paid(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    stage.sandbox.fault("no_notification", operation="PaymentPage")
    paid = await in_wallet(stage, link)
    look = await stage.browser.wait(str(paid.headers["location"]).replace("/back/success", "/back/error"))
    assert look.page == "paid"
    assert await told(stage) == PAID


async def test_who_comes_to_the_page_of_success_without_having_paid_is_not_paid(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await asked(stage)
    await stage.browser.to_gateway(link, typed())
    assert (await stage.browser.open(f"{link}/back/success")).page == "confirming"
    assert await stage.attempts() == ["pay_link 2500 pending"]


# --- giving back --------------------------------------------------------------------------------------


async def test_a_payment_is_given_back_in_parts_and_never_more_than_was_taken(computop_stage: Stage) -> None:
    stage = computop_stage
    await pay(stage, await asked(stage))
    gateway = stage.ctx.gateways.open("computop", {**stage.sandbox.credentials, **SWIFT})
    [key] = await stage.keys()
    whole = Booked(key, stage.gateway_id(), Money(2500, "EUR"))

    with pytest.raises(MisuseError, match=f"25.01 EUR is more than {key} was for"):
        await gateway.refund(whole, Money(2501, "EUR"), f"{key}-R0")
    assert exchanges(stage, "Credit") == []
    part = await gateway.refund(whole, Money(1000, "EUR"), f"{key}-R1")
    left = replace(whole, given_back_minor=1000)
    with pytest.raises(MisuseError, match=f"of {key} only 15.00 EUR is left to give back"):
        await gateway.refund(left, Money(1501, "EUR"), f"{key}-R2")
    assert exchanges(stage, "Credit") == ["Credit"]
    rest = await gateway.refund(left, Money(1500, "EUR"), f"{key}-R3")
    too_much = await gateway.refund(whole, Money(1, "EUR"), f"{key}-R4")
    await gateway.close()

    assert [part, rest] == [Approved(whole.gateway_id, Money(amount, "EUR")) for amount in (1000, 1500)]
    assert isinstance(too_much, Declined), "Computop's own limit holds where ours knows too little"
    assert stage.booked() == ["sale 2500 booked", "refund 1000 booked", "refund 1500 booked"]


async def test_a_refund_whose_answer_is_lost_is_found_by_the_sum_given_back_and_not_made_twice(
    computop_stage: Stage,
) -> None:
    stage = computop_stage
    await pay(stage, await asked(stage))
    gateway = stage.ctx.gateways.open("computop", {**stage.sandbox.credentials, **SWIFT})
    [key] = await stage.keys()
    paid, part = Booked(key, stage.gateway_id(), Money(2500, "EUR")), Money(1000, "EUR")
    stage.sandbox.fault("drop_after_booking", operation="Credit")
    lost = await gateway.refund(paid, part, f"{key}-R1")
    question = Question(key, part, paid.gateway_id, operation=OperationKind.REFUND, operation_key=f"{key}-R1")
    assert isinstance(lost, Unknown)
    assert await gateway.find(question) == await gateway.refund(paid, part, f"{key}-R1")
    await gateway.close()
    assert stage.booked() == ["sale 2500 booked", "refund 1000 booked"]


# --- cards on file ------------------------------------------------------------------------------------


async def stored(stage: Stage, number: str = VISA) -> None:
    """Enrol Anna, whose card an earlier visit has stored at Computop."""
    await stage.found(settings=CARDS)
    sent = [{"number": number, "expiry": "203512", "holder": "Anna Huber"}]
    [kept] = stage.sandbox.http.post("/_sandbox/profiles", json=sent).raise_for_status().json()["profiles"]
    names = {"number": "PCNr", "expiryDate": "expiryDate", "brand": "brand", "cardholderName": "cardholderName"}
    profile = json.dumps({name: kept[of] for name, of in names.items()}, separators=(",", ":"))
    await stage.enrol_only(replace(ANNA, profile=profile, scheme_reference=kept["schemeReferenceID"]))


async def by_card(stage: Stage, link: str, number: str = VISA) -> Look:
    page = await stage.browser.to_gateway(link, {"way": "1-card"})
    return await stage.browser.come_back(await stage.browser.type_card(page, card(number)))


async def card_declined(stage: Stage) -> str:
    """Let the night's charge of a stored card be declined, and return the link of the mail about it."""
    await stored(stage, NO_MONEY)
    await stage.night(DECEMBER)
    [letter] = await stage.morning(DECEMBER)
    return link_in(letter)


async def test_a_stored_card_is_charged_each_month_by_itself(computop_stage: Stage) -> None:
    stage = computop_stage
    await stored(stage)
    for month in (DECEMBER, JANUARY):
        await stage.night(month)
    assert await stage.attempts() == ["night 2500 approved"] * 2
    assert stage.booked() == ["sale 2500 booked"] * 2
    assert exchanges(stage, "Direct") == ["Direct"] * 2
    assert await stage.doctor() == []


@pytest.mark.parametrize("number", [VISA, AMEX, AT_THE_BANK])
async def test_a_declined_card_is_replaced_on_the_card_form_and_the_next_month_works_by_itself(
    computop_stage: Stage, number: str
) -> None:
    stage = computop_stage
    link = await card_declined(stage)
    paid = await by_card(stage, link, number)
    assert paid.page == "paid"
    assert "this card is charged by itself" in paid.words
    await stage.heard(1)
    assert await stage.profiles() == ["replaced", "active"]
    mandate = table(Mandate)
    [(first, scheme)] = await stage.rows(select(mandate.c.first_transaction, mandate.c.scheme_reference))
    assert (first, bool(scheme)) == (stage.gateway_id(), True)
    await stage.night(JANUARY)

    states = ["night 2500 declined retry_later", "pay_link 2500 approved", "night 2500 approved"]
    assert await stage.attempts() == states
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked", "sale 2500 booked"]
    assert exchanges(stage, "Direct") == ["Direct"] * 2
    assert await stage.doctor() == []


@pytest.mark.parametrize("fault", ["late_notification", "no_notification"])
async def test_a_card_is_paid_by_asking_and_stored_only_by_a_notification_that_may_come_late(
    computop_stage: Stage, fault: str
) -> None:
    stage = computop_stage
    link = await card_declined(stage)
    stage.sandbox.fault(fault, ms=3000, operation="PaymentPage")
    assert (await by_card(stage, link)).page == "paid"
    assert await stage.profiles() == ["active"]
    if fault == "late_notification":
        await until(stage.profiles, lambda found: found == ["replaced", "active"])
    assert await stage.attempts() == ["night 2500 declined retry_later", "pay_link 2500 approved"]
    assert await stage.messages() == ["declined sent", "receipt queued"]
    assert await stage.doctor() == []


async def test_a_wallet_can_pay_once_where_a_card_is_stored_and_the_card_stays(computop_stage: Stage) -> None:
    stage = computop_stage
    link = await card_declined(stage)
    page = await stage.browser.to_gateway(link, {"way": "1-payback_pay", **typed()})
    paid = await stage.browser.come_back(await fill_in(stage.browser.http, page, {"action": "confirm"}))
    assert paid.page == "paid"
    assert await stage.profiles() == ["active"]
    assert await stage.doctor() == []


@pytest.mark.parametrize(
    "faults", [["drop_after_booking"], ["drop_before_booking"], ["drop_after_booking", "drop_before_booking"]]
)
async def test_a_charge_whose_answer_is_lost_is_asked_about_and_charged_once(
    computop_stage: Stage, faults: list[str]
) -> None:
    stage = computop_stage
    await stored(stage)
    rules = [{"match": {"operation": "Direct"}, "fault": fault, "times": 1} for fault in faults]
    stage.sandbox.http.post("/_sandbox/faults", json=rules).raise_for_status()
    await stage.night(DECEMBER)
    await stage.reconcile(wait_s=10)

    assert await stage.attempts() == ["night 2500 approved"]
    assert stage.booked() == ["sale 2500 booked"]
    reached = [row["req_id"] for row in stage.sandbox.http.get("/_sandbox/ledger").json()["transactions"]]
    assert reached == await stage.keys()
    assert exchanges(stage, "Inquire", "Inquire24")[:1] == ["Inquire24"]
    assert await stage.doctor() == []


async def test_a_renewal_with_nothing_owed_reserves_stores_and_lets_go(computop_stage: Stage) -> None:
    stage = computop_stage
    await stored(stage)
    await offer_renewal(stage.ctx, "S-ANNA", mail=False)
    [link] = await stage.links()
    page = await stage.browser.open(link)
    assert "PAYBACK" not in page.words
    assert (await by_card(stage, link, AMEX)).page == "renewed"

    async def later() -> list[str]:
        await stage.wait_over()
        await stage.reconcile()
        return await stage.verifications()

    await until(later, lambda found: found == ["10 released"])
    assert stage.booked() == ["authorisation 10 reversed", "reversal 10 reversed"]
    assert await stage.operations() == ["reversal 10 approved"]
    assert await stage.profiles() == ["replaced", "active"]
    assert await stage.postings() == await stage.tasks() == []
    assert await stage.doctor() == []


async def test_a_reversal_whose_answer_is_lost_is_asked_about_and_made_once(computop_stage: Stage) -> None:
    stage = computop_stage
    await stored(stage)
    await offer_renewal(stage.ctx, "S-ANNA", mail=False)
    [link] = await stage.links()
    assert (await by_card(stage, link, AMEX)).page == "renewed"
    await stage.heard(1)
    stage.sandbox.fault("drop_after_booking", operation="Reverse")
    await stage.reconcile()
    await stage.wait_over()
    await stage.reconcile()
    assert await stage.verifications() == ["10 released"]
    assert stage.booked() == ["authorisation 10 reversed", "reversal 10 reversed"]
    assert exchanges(stage, "Reverse") == ["Reverse"]
    assert await stage.doctor() == []
