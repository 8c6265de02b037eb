"""A customer of PaymentZ: an INITIAL payment on the brand's page, then REPEATED ones, and doubts asked about."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import pytest
from sqlalchemy import select

from billing.models import Notification, table
from billing.services.founding import SetupError
from billing.services.verifying import offer_renewal
from tests.contract.sandbox import fill_in
from tests.scenarios.stage import ANNA, Stage, link_in, subjects, until

DAY: Final = date(2026, 12, 1)
NEXT: Final = date(2027, 1, 1)
INITIAL, TOKEN = "1000001", "AnnasRegisteredCardAtTheBrand001"
APPROVED, CHALLENGED, DECLINED = "4000000000000051", "4000000000000002", "4000000000000101"
ISSUED: Final = ["issue receivable 2500", "issue revenue -2083", "issue tax -417"]
PAID: Final = ["payment gateway 2500", "payment receivable -2500"]
TAKEN_BACK: Final = ["taken-back gateway -2500", "taken-back receivable 2500"]
PARENTS: Final = "capturesuccess,settled,authsuccessful,markedforreversal,reversed,authcancelled"
LENIENT: Final = {"repeat_parent_states": PARENTS}
PATIENT: Final = {"timeout_s": "60", "connect_timeout_s": "60"}
"""Half of it is for fetching a token; nothing goes wrong because a busy machine answers late."""
BY_TOKEN: Final = {"repeat_via": "token"}


def typed(card: str = APPROVED) -> dict[str, str]:
    return {"number": card, "expiry": "12/40", "cvc": "123", "holder": "Anna Huber"}


async def enrol(stage: Stage, settings: dict[str, str] | None = None, **kept: str) -> None:
    """Enrol Anna, who made her INITIAL payment long ago; `kept` is more that the simulator knows of her card."""
    await stage.found(settings=settings or {})
    leave(stage, INITIAL, registration_id=TOKEN, **kept)
    by_token = (settings or {}).get("repeat_via") == "token"
    await stage.enrol_only(replace(ANNA, profile=TOKEN if by_token else INITIAL))


def leave(stage: Stage, initial: str, **kept: str) -> None:
    """Leave an INITIAL payment and its card at the simulator."""
    stage.sandbox.store({"reference": f"I-{initial}", "card": APPROVED, "payment_id": initial, **kept})


async def declined(stage: Stage) -> str:
    """Let the night's charge be declined, and return the link of the mail about it."""
    await enrol(stage, approvals="0", declines="Insufficient funds")
    await stage.night(DAY)
    [letter] = await stage.morning(DAY)
    return link_in(letter)


def knobs(stage: Stage, **settings: object) -> None:
    stage.sandbox.http.put("/_sandbox/settings", json=settings).raise_for_status()


def go_wrong(stage: Stage, *faults: dict[str, object]) -> None:
    stage.sandbox.http.post("/_sandbox/faults", json=list(faults)).raise_for_status()


def fault(fault: str, operation: str, **more: object) -> dict[str, object]:
    return {"match": {"operation": operation}, "fault": fault, "times": 1, **more}


def expire_tokens(stage: Stage) -> None:
    stage.sandbox.http.post("/_sandbox/expire-tokens").raise_for_status()


def move(stage: Stage, gateway_id: str, *states: str) -> None:
    """Do in the provider's own console, or at the bank, what we are only told of."""
    for state in states:
        stage.sandbox.http.post(f"/_sandbox/payments/{gateway_id}/move", json={"state": state}).raise_for_status()


def calls(stage: Stage, operation: str) -> list[tuple[str, str]]:
    """Our number and the result code of every call of a kind that the simulator has answered, oldest first."""
    log = stage.sandbox.http.get("/_sandbox/log").raise_for_status().json()["exchanges"]
    return [(each["reference"], each["result"]) for each in log if each["operation"] == operation]


def cited(stage: Stage) -> list[str]:
    """What each charge on the simulator's ledger was charged by."""
    return [row["profile"] for row in stage.ledger() if row["kind"] == "sale"]


# --- a year ---------------------------------------------------------------------------------------------

MONTHS: Final = [date(2026, 12, 1), *(date(2027, month, 1) for month in range(1, 12))]
FEBRUARY, MARCH, JUNE, JULY, SEPTEMBER = (date(2027, month, 1) for month in (2, 3, 6, 7, 9))


async def test_a_year_on_one_initial_payment_after_another_and_nothing_else_happens(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    knobs(stage, repeat_parent_states=PARENTS.split(","))
    await enrol(stage, LENIENT | PATIENT)
    story = {}
    for day in sorted({month + timedelta(days=days) for month in MONTHS for days in (0, 1, 3, 7)}):
        if letters := await live(stage, day):
            story[day] = letters

    assert story == {
        **{month: [f"Paid: €\xa025,00 for {month:%B}"] for month in MONTHS},
        MARCH: ["Your March invoice: €\xa025,00 is still open"],
        MARCH + timedelta(days=1): ["Paid: €\xa025,00 for March"],
        JULY + timedelta(days=7): ["Renewed: Visa, ending 0051 is stored"],
    }
    numbers = ["TH-2026-00001", *(f"TH-2027-{number:05d}" for number in range(1, 12))]
    states = ["open" if month == SEPTEMBER else "paid" for month in MONTHS]
    assert await stage.invoices() == [f"{n} {d} 2500 {s}" for n, d, s in zip(numbers, MONTHS, states, strict=True)]
    assert await stage.attempts() == [
        *["night 2500 approved"] * 3,
        "night 2500 declined needs_new_profile",
        "pay_link 2500 approved",
        *["night 2500 approved"] * 4,
        "pay_link 10 approved",
        *["night 2500 approved"] * 4,
    ]
    assert Counter(await stage.postings()) == Counter([*ISSUED, *PAID] * 12 + TAKEN_BACK)
    assert stage.booked() == [
        *["sale 2500 booked"] * 3,
        "sale 2500 declined",
        *["sale 2500 booked"] * 5,
        "authorisation 10 reversed",
        "reversal 10 reversed",
        *["sale 2500 booked"] * 2,
        "refund 2500 booked",
        *["sale 2500 booked"] * 2,
    ]
    paid, renewed = stage.gateway_id(4), stage.gateway_id(9)
    assert cited(stage) == [*[INITIAL] * 4, "", *[paid] * 4, *[renewed] * 4]
    assert await stage.operations() == ["reversal 10 approved", "refund 2500 approved"]
    assert [each.rpartition(" ")[0] for each in await stage.tasks()] == ["refund inv_10"]
    assert await stage.profiles() == ["replaced", "replaced", "active"]
    assert await stage.verifications() == ["10 released"]
    assert set(await stage.notifications()) == {"settled"}
    assert await stage.subscription() == ("active", date(2027, 12, 1))
    assert await stage.doctor() == []


async def live(stage: Stage, day: date) -> list[str]:
    """Let one day pass with what goes wrong on it, and return the subjects of its mails."""
    if day == FEBRUARY:
        expire_tokens(stage)
    if day == MARCH:
        go_wrong(stage, fault("decline:10001", "Repeated", text="Expired card"))
    if day == JUNE:
        go_wrong(stage, fault("drop_after_booking", "Repeated"))
    await stage.night(day)
    if day == MARCH + timedelta(days=1):
        assert (await stage.browser.pay((await stage.links())[-1], typed(CHALLENGED))).page == "paid"
    if day == JUNE:
        await stage.reconcile(wait_s=60)
    if day == JULY + timedelta(days=7):
        link = await offer_renewal(stage.ctx, "S-ANNA", mail=False)
        assert (await stage.browser.pay(link, typed())).page == "renewed"
        await stage.reconcile()
    if day == SEPTEMBER + timedelta(days=3):
        move(stage, stage.gateway_id(), "reversed")
        await until(stage.operations, lambda found: len(found) == 2)
    return subjects(await stage.morning(day))


# --- tokens ---------------------------------------------------------------------------------------------


async def test_tokens_that_all_expire_in_the_middle_of_a_run_cost_nobody_anything(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    people = [str(2_000_000 + number) for number in range(12)]
    await stage.found(settings={"in_flight_max": "2"})
    for each in people:
        leave(stage, each)
    await stage.enrol_only(*(replace(ANNA, customer=each, subscription=each, profile=each) for each in people))
    knobs(stage, processing_ms=60)

    run = asyncio.create_task(stage.night(DAY))
    await until(booked_of(stage), lambda count: count >= 4)
    expire_tokens(stage)
    report = await run

    assert 1 <= len(calls(stage, "-")) <= 2
    assert len(calls(stage, "authToken")) == 2
    assert (report.due, report.charged, report.refused, report.unknown) == (12, 12, 0, 0)
    assert sorted(cited(stage)) == people
    assert sorted(row["reference"] for row in stage.ledger()) == sorted(await stage.keys())
    assert await stage.tasks() == []
    assert await stage.doctor() == []


# --- a gateway that throttles ---------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"requests_at_once_max": 4}, {"requests_per_second_max": 20}])
async def test_a_night_at_a_gateway_that_turns_us_away_charges_everybody_once_and_slows_down(
    paymentz_stage: Stage, limit: dict[str, int]
) -> None:
    stage = paymentz_stage
    people = [str(2_000_000 + number) for number in range(60)]
    await stage.found(settings={"in_flight_max": "24"}, brakes={"failed_percent": 0})
    for each in people:
        leave(stage, each)
    await stage.enrol_only(*(replace(ANNA, customer=each, subscription=each, profile=each) for each in people))
    knobs(stage, processing_ms=50, **limit)

    report = await stage.night(DAY)
    pace = stage.ctx.gateways.places(1).pace
    slowed_to = pace.in_flight
    await stage.reconcile(wait_s=60)
    await stage.night(DAY)
    await stage.reconcile(wait_s=60)

    assert report.due == 60
    assert slowed_to < 24, "it was told to slow down, and did"
    assert sorted(cited(stage)) == people
    assert {row["reference"] for row in stage.ledger()} <= set(await stage.keys())
    assert {line.rpartition(" ")[2] for line in await stage.invoices()} == {"paid"}
    assert await stage.tasks() == []
    assert await stage.doctor() == []

    knobs(stage, requests_at_once_max=0, requests_per_second_max=0)
    low = pace.in_flight
    await stage.night(date(2027, 1, 1))
    assert pace.in_flight > low, "it recovers when it is no longer turned away"
    assert sorted(cited(stage)) == sorted(2 * people)
    assert await stage.doctor() == []


def booked_of(stage: Stage) -> Any:
    async def count() -> int:
        return len(stage.ledger())

    return count


async def test_a_page_instead_of_an_answer_may_be_a_rejected_token_and_the_charge_still_goes_out(
    paymentz_stage: Stage,
) -> None:
    stage = paymentz_stage
    await enrol(stage)
    await stage.night(DAY)
    expire_tokens(stage)
    knobs(stage, auth_failure_mode="html200")

    january = await stage.night(NEXT)
    assert (january.charged, january.unknown) == (0, 1)
    await stage.reconcile(wait_s=10)

    assert await stage.attempts() == ["night 2500 approved"] * 2
    assert stage.booked() == ["sale 2500 booked"] * 2
    assert await stage.doctor() == []


# --- lost answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "is_repeated"),
    [("drop_after_booking", False), ("garbage", False), ("drop_before_booking", True), ("http_500", True)],
)
async def test_a_lost_answer_is_asked_for_by_our_number_and_charged_once(
    paymentz_stage: Stage, wrong: str, is_repeated: bool
) -> None:
    stage = paymentz_stage
    await enrol(stage)
    go_wrong(stage, fault(wrong, "Repeated"))

    december = await stage.night(DAY)
    assert (december.charged, december.unknown) == (0, 1)
    again = await stage.night(DAY)
    assert (again.due, again.charged) == (0, 0)
    await stage.reconcile(wait_s=10)

    [key] = await stage.keys()
    assert {number for number, _ in [*calls(stage, "Inquiry"), *calls(stage, "Repeated")]} == {key}
    assert (("Repeated", "00001") in _results(stage)) == (is_repeated or wrong in ("garbage", "drop_after_booking"))
    assert ("Inquiry", "20003") in _results(stage) or not is_repeated
    assert await stage.attempts() == ["night 2500 approved"]
    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 paid"]
    assert await stage.postings() == [*ISSUED, *PAID]
    assert stage.booked() == ["sale 2500 booked"]
    assert await stage.doctor() == []


def _results(stage: Stage) -> list[tuple[str, str]]:
    return [(kind, result) for kind in ("Inquiry", "Repeated") for _, result in calls(stage, kind)]


@pytest.mark.parametrize("policy", ["reject_with_id", "reject_dash", "replay"])
async def test_a_duplicate_is_asked_about_and_never_a_decline(paymentz_stage: Stage, policy: str) -> None:
    """The answer is lost, and the inquiry knows nothing yet: so the same request goes again under its number."""
    stage = paymentz_stage
    knobs(stage, duplicate_policy=policy)
    await enrol(stage)
    not_yet = fault("decline:20003", "Inquiry") | {"times": 2}
    go_wrong(stage, fault("drop_after_booking", "Repeated"), not_yet)
    await stage.night(DAY)
    await stage.reconcile(wait_s=15)

    [key] = await stage.keys()
    sent = calls(stage, "Repeated")
    assert len(sent) >= 2
    assert {number for number, _ in sent} == {key}
    assert ("20006" in {code for _, code in sent}) == (policy != "replay")
    assert await stage.attempts() == ["night 2500 approved"]
    assert await stage.messages() == ["receipt queued"]
    assert stage.booked() == ["sale 2500 booked"]
    assert await stage.doctor() == []


async def test_a_charge_that_the_bank_thinks_about_is_settled_by_its_callback(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    await enrol(stage)
    go_wrong(stage, fault("suspend", "Repeated"))
    await stage.night(DAY)
    assert await stage.attempts() == ["night 2500 pending"]

    move(stage, stage.gateway_id(), "capturesuccess")
    await until(stage.attempts, lambda found: found == ["night 2500 approved"])
    assert await stage.postings() == [*ISSUED, *PAID]
    assert stage.booked() == ["sale 2500 booked"]


# --- the pay-link and the brand's page --------------------------------------------------------------------


async def test_a_declined_charge_is_paid_on_the_page_and_next_month_works_by_itself(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    link = await declined(stage)
    assert await stage.attempts() == ["night 2500 declined retry_later"]
    assert (await stage.browser.pay(link, typed())).page == "paid"
    assert await stage.profiles() == ["replaced", "active"]
    await stage.night(NEXT)

    assert (await stage.attempts())[1:] == ["pay_link 2500 approved", "night 2500 approved"]
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked", "sale 2500 booked"]
    assert cited(stage) == [INITIAL, "", stage.gateway_id(1)]
    assert await stage.postings() == [*ISSUED, *PAID, *ISSUED, *PAID]
    assert await stage.messages() == ["declined sent", "receipt queued", "receipt queued"]
    assert await stage.doctor() == []


async def test_next_month_charges_the_registration_where_that_is_what_is_repeated(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    await enrol(stage, BY_TOKEN, approvals="0", declines="Invalid card number")
    await stage.night(DAY)
    [letter] = await stage.morning(DAY)
    assert (await stage.browser.pay(link_in(letter), typed())).page == "paid"
    await stage.night(NEXT)

    first, made, last = cited(stage)
    assert (first, made) == (TOKEN, "")
    assert last not in (TOKEN, "")
    assert await stage.profiles() == ["replaced", "active"]
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked", "sale 2500 booked"]
    assert await stage.doctor() == []


async def test_a_card_declined_on_the_page_is_followed_there_by_another(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    link = await declined(stage)
    page = await stage.browser.to_gateway(link)
    refused = await stage.browser.type_card(page, typed(DECLINED))
    assert "try again or use another card" in refused.text
    unsure = await stage.browser.type_card(page, typed(CHALLENGED), "no")
    assert "try again or use another card" in unsure.text
    assert (await stage.browser.come_back(await stage.browser.type_card(page, typed()))).page == "paid"

    assert (await stage.attempts())[1:] == ["pay_link 2500 approved"]
    assert stage.booked() == [*["sale 2500 declined"] * 3, "sale 2500 booked"]
    assert await stage.doctor() == []


async def test_a_page_that_gives_up_after_a_decline_lets_the_link_pay_at_once(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    knobs(stage, page_tries_max=1)
    link = await declined(stage)
    assert (await stage.browser.pay(link, typed(DECLINED))).page == "declined"
    assert (await stage.browser.pay(link, typed())).page == "paid"

    assert (await stage.attempts())[1:] == ["pay_link 2500 declined retry_later", "pay_link 2500 approved"]
    assert stage.booked() == [*["sale 2500 declined"] * 2, "sale 2500 booked"]
    assert len(set(await stage.keys())) == 3
    assert await stage.doctor() == []


async def test_who_leaves_the_page_owes_as_before_and_may_come_again(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    link = await declined(stage)
    left = await fill_in(stage.browser.http, await stage.browser.to_gateway(link), {"action": "cancel"})
    back = await stage.browser.come_back(left)

    assert (await stage.invoices())[0].endswith("open")
    assert back.page == "declined"
    assert (await stage.browser.pay(link, typed())).page == "paid"
    assert stage.booked() == ["sale 2500 declined", "sale 2500 booked"]


async def test_two_clicks_lead_to_one_page_and_one_payment(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    link = await declined(stage)
    first, second = await stage.browser.to_gateway(link), await stage.browser.to_gateway(link)
    assert first == second
    paid = await stage.browser.type_card(first, typed())
    again = await stage.browser.http.get(second)
    assert {(await stage.browser.come_back(each)).page for each in (paid, again)} == {"paid"}
    assert stage.booked()[1:] == ["sale 2500 booked"]


async def test_a_return_without_a_callback_is_enough(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    link = await declined(stage)
    go_wrong(stage, fault("no_notification", "PaymentPage") | {"times": 9})
    assert (await stage.browser.pay(link, typed())).page == "paid"
    assert await stage.notifications() == []
    assert await stage.profiles() == ["replaced", "active"]


async def test_a_callback_without_a_return_is_enough(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    link = await declined(stage)
    await stage.browser.type_card(await stage.browser.to_gateway(link), typed(CHALLENGED))
    await until(stage.invoices, lambda found: found[0].endswith("paid"))
    assert await stage.profiles() == ["replaced", "active"]
    assert stage.booked()[1:] == ["sale 2500 booked"]


async def test_what_a_customer_posts_on_coming_back_is_never_the_result(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    link = await declined(stage)
    await stage.browser.to_gateway(link)
    told = {"status": "Y", "paymentId": "1", "resultCode": "00001", "amount": "25.00"}
    posted = await stage.browser.http.post(f"{link}/back/success", data=told)
    assert posted.status_code == 303

    back = await stage.browser.open(str(posted.url.join(posted.headers["location"])))
    assert back.page == "confirming"
    assert (await stage.invoices())[0].endswith("open")
    assert (await stage.attempts())[1:] == ["pay_link 2500 pending"]


# --- renewing with nothing owed -----------------------------------------------------------------------------

GIVEN_BACK: Final = [
    "held gateway 10",
    "held verification -10",
    "released gateway -10",
    "released verification 10",
]


async def renewed(stage: Stage) -> None:
    """Renew Anna's card with nothing owed, and see what the page then says of the new one."""
    link = await offer_renewal(stage.ctx, "S-ANNA", mail=False)
    done = await stage.browser.pay(link, typed())
    assert done.page == "renewed"
    assert "ending 0051" in done.words


async def released(stage: Stage) -> None:
    """See that the promise was kept and that the new profile, not the old one, is what is charged next."""
    assert await stage.invoices() == await stage.tasks() == []
    assert await stage.verifications() == ["10 released"]
    assert await stage.profiles() == ["replaced", "active"]
    assert await stage.doctor() == []
    await stage.night(DAY)
    assert (await stage.attempts()) == ["pay_link 10 approved", "night 2500 approved"]
    assert cited(stage)[-1] not in (INITIAL, TOKEN, "")
    assert await stage.doctor() == []


async def test_a_renewal_is_paid_and_refunded_where_a_hold_let_go_is_no_parent(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    await enrol(stage)
    await renewed(stage)
    await stage.reconcile()

    assert stage.booked() == ["sale 10 booked", "refund 10 booked"]
    assert await stage.operations() == ["refund 10 approved"]
    assert await stage.postings() == GIVEN_BACK
    await released(stage)


@pytest.mark.parametrize("settings", [LENIENT, BY_TOKEN])
async def test_a_renewal_is_held_and_let_go_where_it_can_be_charged_all_the_same(
    paymentz_stage: Stage, settings: dict[str, str]
) -> None:
    stage = paymentz_stage
    knobs(stage, repeat_parent_states=PARENTS.split(","))
    await enrol(stage, settings)
    await renewed(stage)
    await stage.reconcile()

    assert stage.booked() == ["authorisation 10 reversed", "reversal 10 reversed"]
    assert await stage.operations() == ["reversal 10 approved"]
    assert await stage.postings() == []
    await released(stage)


async def test_a_refund_whose_answer_is_lost_is_asked_about_and_made_once(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    await enrol(stage)
    await renewed(stage)
    go_wrong(stage, fault("drop_after_booking", "Refund"))
    await stage.reconcile()
    assert await stage.operations() == ["refund 10 unknown"]
    assert await stage.doctor() == []
    await stage.wait_over()
    await stage.reconcile()

    assert len(calls(stage, "Refund")) == 1
    assert stage.booked() == ["sale 10 booked", "refund 10 booked"]
    assert await stage.operations() == ["refund 10 approved"]
    await released(stage)


async def test_a_refund_that_takes_its_time_is_confirmed_when_its_callback_makes_us_ask(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    knobs(stage, refund_async=True)
    await enrol(stage)
    await renewed(stage)
    await stage.reconcile()
    assert await stage.operations() == ["refund 10 unknown"]
    await stage.heard(2)
    await stage.reconcile()

    assert stage.booked() == ["sale 10 booked", "refund 10 booked"]
    assert await stage.operations() == ["refund 10 approved"]
    assert await stage.postings() == GIVEN_BACK
    await released(stage)


# --- what happens elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "kind"),
    [(("reversed",), "refund"), (("settled", "chargeback"), "chargeback")],
    ids=["refund", "chargeback"],
)
async def test_money_taken_back_elsewhere_opens_the_invoice_again_and_asks_a_person(
    paymentz_stage: Stage, states: tuple[str, ...], kind: str
) -> None:
    stage = paymentz_stage
    await enrol(stage)
    await stage.night(DAY)
    taken = stage.gateway_id()
    await stage.night(NEXT)
    move(stage, taken, *states)
    await stage.heard(len(states))
    await until(stage.tasks, bool)

    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 open", "TH-2027-00001 2027-01-01 2500 paid"]
    assert await stage.attempts() == ["night 2500 approved"] * 2
    assert await stage.operations() == [f"{kind} 2500 approved"]
    assert await stage.tasks() == [f"{kind} inv_1 open"]
    assert await stage.postings() == [*ISSUED, *PAID, *ISSUED, *PAID, *TAKEN_BACK]
    assert set(await stage.notifications()) == {"settled"}
    assert await stage.messages() == ["receipt queued"] * 2
    assert stage.booked() == ["sale 2500 booked", "sale 2500 booked", f"{kind} 2500 booked"]
    assert await stage.doctor() == []

    await heard_again(stage)
    assert await stage.operations() == [f"{kind} 2500 approved"]
    assert await stage.tasks() == [f"{kind} inv_1 open"]


async def test_a_refund_heard_of_before_the_charge_itself_books_both(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    await enrol(stage)
    go_wrong(stage, fault("drop_after_booking", "Repeated"))
    await stage.night(DAY)
    move(stage, stage.gateway_id(), "reversed")
    await until(stage.tasks, bool)
    await stage.reconcile(wait_s=10)

    assert await stage.attempts() == ["night 2500 approved"]
    assert await stage.operations() == ["refund 2500 approved"]
    assert (await stage.invoices())[0].endswith("open")
    assert Counter(await stage.postings()) == Counter([*ISSUED, *PAID, *TAKEN_BACK])
    assert await stage.doctor() == []


# --- forged, repeated and stale ----------------------------------------------------------------------------------


async def callbacks(stage: Stage) -> list[dict[str, Any]]:
    """Every callback we took in, oldest first."""
    notification = table(Notification)
    rows = await stage.rows(select(notification.c.body).order_by(notification.c.id))
    return [json.loads(body) for (body,) in rows]


async def heard_again(stage: Stage) -> None:
    """Hear every callback once more, the last one first."""
    for body in reversed(await callbacks(stage)):
        assert (await post(stage, body)).status_code == 200
    await until(stage.notifications, lambda found: "received" not in found)


async def post(stage: Stage, body: dict[str, Any], key: str = "") -> httpx.Response:
    """Post a callback to the address of an attempt, by default the one that it names."""
    address = stage.ctx.links.notify(1, key or body["merchantTransactionId"])
    return await stage.browser.http.post(address, json=body)


def signed(body: dict[str, Any], secret: str, **changes: Any) -> dict[str, Any]:
    """Change a callback and sign it by hand with a secret key."""
    changed = {**body, **changes}
    told = [changed[name] for name in ("paymentId", "merchantTransactionId", "amount", "transactionStatus")]
    digest = hashlib.md5("|".join([*told, secret]).encode(), usedforsecurity=False).hexdigest()
    return changed | {"checksum": digest}


async def state_of(stage: Stage) -> list[list[str]]:
    return [await stage.invoices(), await stage.attempts(), await stage.postings(), await stage.operations()]


async def one_callback(stage: Stage) -> dict[str, Any]:
    """Bill two months and return the genuine callback of the first, that it is settled."""
    await enrol(stage)
    await stage.night(DAY)
    move(stage, stage.gateway_id(), "settled")
    await until(stage.notifications, lambda found: found == ["settled"])
    await stage.night(NEXT)
    [body] = await callbacks(stage)
    return body


async def test_forged_callbacks_are_refused_and_seen(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    body = await one_callback(stage)
    before, other = await state_of(stage), (await stage.keys())[1]
    forgeries = [
        body | {"amount": "250.00"},
        body | {"checksum": ""},
        body | {"status": "reversed", "transactionStatus": "C"},
        signed(body, "a guess"),
        signed(body, "null"),
        signed(body, "null", status="reversed", transactionStatus="N"),
    ]
    answers = [(await post(stage, each)).status_code for each in forgeries]
    elsewhere = [await post(stage, body, key=other), await stage.browser.http.get(stage.ctx.links.notify(1, other))]

    assert {*answers, *(each.status_code for each in elsewhere)} == {400}
    assert Counter(await stage.notifications()) == {"settled": 1, "forged": 8}
    assert await state_of(stage) == before
    assert await stage.tasks() == []


async def test_signed_callbacks_that_are_stale_repeated_or_untrue_change_nothing(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    body = await one_callback(stage)
    before, secret = await state_of(stage), stage.sandbox.credentials["secret_key"]
    await heard_again(stage)
    stale = [
        signed(body, secret, status="authstarted", transactionStatus="P"),
        signed(body, secret, status="authfailed", transactionStatus="N"),
        signed(body, secret, status="capturesuccess", amount="250.00"),
        signed(body, "null", status="cancelled", transactionStatus="C"),
    ]
    for each in stale:
        assert (await post(stage, each)).status_code == 200
    as_form = signed(body, secret, status="markedforreversal", transactionStatus="P")
    flat = urlencode({name: value for name, value in as_form.items() if isinstance(value, str)})
    form = {"content-type": "application/x-www-form-urlencoded"}
    address = stage.ctx.links.notify(1, body["merchantTransactionId"])
    assert (await stage.browser.http.post(address, content=flat, headers=form)).status_code == 200
    await until(stage.notifications, lambda found: "received" not in found)

    assert await state_of(stage) == before
    assert await stage.tasks() == []
    assert set(await stage.notifications()) == {"settled"}
    assert await stage.doctor() == []


@pytest.mark.parametrize("untrue", ["reversed", "chargeback"])
async def test_a_callback_that_the_inquiry_does_not_bear_out_books_nothing_and_is_looked_at(
    paymentz_stage: Stage, untrue: str
) -> None:
    stage = paymentz_stage
    body = await one_callback(stage)
    before = await state_of(stage)
    told = signed(body, stage.sandbox.credentials["secret_key"], status=untrue, transactionStatus="C")
    assert (await post(stage, told)).status_code == 200
    await until(stage.tasks, bool)

    assert await state_of(stage) == before
    assert await stage.tasks() == ["notification not_2 open"]
    assert await stage.notifications() == ["settled", "open"]
    assert await stage.doctor() == []


# --- wrong credentials --------------------------------------------------------------------------------------------


async def test_a_wrong_secret_key_stops_the_account_and_nobody_is_mailed(paymentz_stage: Stage) -> None:
    stage = paymentz_stage
    await enrol(stage, {"secret_key": "mistyped-key"})
    december = await stage.night(DAY)
    assert (december.refused, december.charged) == (1, 0)
    assert await stage.attempts() == ["night 2500 refused"]
    assert await stage.tasks() == ["account_stopped acc_1 open"]
    assert await stage.morning(DAY) == []
    assert await stage.messages() == []
    with pytest.raises(SetupError, match="rejects partner_id, username or secret_key") as caught:
        await stage.set_up(settings={"secret_key": "mistyped-key"})
    assert "mistyped-key" not in str(caught.value)

    await stage.set_up()
    assert (await stage.night(DAY)).charged == 1
    assert await stage.attempts() == ["night 2500 refused", "night 2500 approved"]
    assert await stage.tasks() == ["account_stopped acc_1 done"]
    assert await stage.messages() == ["receipt queued"]
    assert stage.booked() == ["sale 2500 booked"]
    assert await stage.doctor() == []
