"""A year by test clock: short months, one that the ladder recovers, and one that ends in a pause and goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from tests.scenarios.stage import ANNA, Stage, link_in, subjects

MONTHS = [
    date(2027, 1, 31),
    date(2027, 2, 28),
    date(2027, 3, 31),
    date(2027, 4, 30),
    date(2027, 5, 31),
    date(2027, 6, 30),
    date(2027, 7, 31),
    date(2027, 8, 31),
    date(2027, 9, 30),
    date(2027, 10, 31),
    date(2027, 11, 30),
    date(2027, 12, 31),
]
MAY, AUGUST, VISIT = date(2027, 5, 31), date(2027, 8, 31), date(2027, 10, 20)
# Days on which something may happen, and others on which nothing must.
AROUND = [timedelta(days=each) for each in (-1, 0, 3, 7, 14)]
SINCE_THE_31ST = replace(ANNA, anchor_on=MONTHS[0], billed_until=MONTHS[0])

PAID = "Paid: €\xa025,00 for Solo, monthly"
STORY = {
    **dict.fromkeys([*MONTHS[:4], date(2027, 6, 3), *MONTHS[5:7], *MONTHS[9:]], PAID),
    MAY: "Your invoice TH-2027-00005: €\xa025,00 is still open",
    AUGUST: "Your invoice TH-2027-00008: €\xa025,00 is still open",
    date(2027, 9, 3): "Your invoice TH-2027-00008: €\xa025,00 is still open",
    date(2027, 9, 7): "Your invoice TH-2027-00008: €\xa025,00 is still open",
    date(2027, 9, 14): "Your access is paused: €\xa025,00 is still open",
}


async def test_a_year_bills_each_month_once_and_gets_in_what_was_declined(stage: Stage) -> None:
    await stage.found()
    await stage.enrol(SINCE_THE_31ST)

    until_the_visit = [day for day in days() if day < VISIT]
    story = await live(stage, until_the_visit)
    assert await stage.subscription() == ("paused", None)
    await visit(stage)
    assert await stage.subscription() == ("active", MONTHS[9])
    story |= await live(stage, [day for day in days() if day > VISIT])
    await stage.heard(23)

    assert story == STORY
    numbers = [f"TH-2027-{number:05d}" for number in range(1, 12)]
    billed = [day for day in MONTHS if day != MONTHS[8]]
    assert await stage.invoices() == [f"{n} {day} 2500 paid" for n, day in zip(numbers, billed, strict=True)]
    assert await stage.attempts() == [
        *["night 2500 approved"] * 4,
        "night 2500 declined retry_later",
        "dunning 2500 approved",
        *["night 2500 approved"] * 2,
        "night 2500 declined retry_later",
        "dunning 2500 declined retry_later",
        "pay_link 2500 approved",
        *["night 2500 approved"] * 3,
    ]
    assert sorted(await stage.postings()) == sorted(
        ["issue receivable 2500", "issue revenue -2083", "issue tax -417", "payment gateway 2500"] * 11
        + ["payment receivable -2500"] * 11
    )
    assert stage.booked() == [
        *["sale 2500 booked"] * 4,
        "sale 2500 declined",
        *["sale 2500 booked"] * 3,
        *["sale 2500 declined"] * 2,
        *["sale 2500 booked"] * 4,
    ]
    assert [each.rpartition(" ")[0] for each in await stage.tasks()] == ["unpaid inv_8"]
    assert await stage.operations() == []
    assert await stage.subscription() == ("active", date(2028, 1, 31))
    assert await stage.doctor() == []


def days() -> list[date]:
    return sorted({month + each for month in MONTHS for each in AROUND})


async def live(stage: Stage, some_days: list[date]) -> dict[date, str]:
    """Let the days pass, and return the mail of each on which there was one."""
    mails: dict[date, str] = {}
    for day in some_days:
        if day in (MAY, AUGUST):
            stage.sandbox.fault("decline:DECLINED", times=1 if day == MAY else 2, operation="AcceptPayment")
        await stage.night(day)
        if letters := subjects(await stage.morning(day)):
            [mails[day]] = letters
    return mails


async def visit(stage: Stage) -> None:
    """Pay weeks after the last mail: its link has run out, so a fresh one is asked for first."""
    await stage.set_clock_to(VISIT)
    old = (await stage.links())[-1]
    expired = await stage.browser.open(old)
    assert (expired.page, expired.answer.status_code) == ("expired", 410)
    assert (await stage.browser.press(expired)).status_code == 200
    [letter] = await stage.deliver()
    assert (await stage.browser.open(link_in(letter))).page == "ready"
    assert (await stage.browser.pay(link_in(letter))).page == "paid"
    assert subjects(await stage.deliver()) == [PAID]
