"""Die, stall and meet where the same request is the question, and customers pay in card fields on our page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count, permutations
from typing import Any, Final

import pytest

from billing.gateway import (
    AfterNothing,
    Approved,
    Asking,
    DeclineClass,
    Declined,
    Outcome,
    Pending,
    PresentCharge,
    Refused,
    Unknown,
)
from billing.models import Attempt, ChargeRight, Invoice, Mandate, Operation, Profile, Verification
from billing.services.paying import Opened, came_back
from billing.services.presenting import Submitted, pay_by_fields
from billing.services.reconciling import ask_about, ask_about_doubts
from billing.services.settling import News, settle
from billing.services.verifying import offer_renewal
from tests.billing.services.support import (
    CONSENT,
    PRICE,
    Bank,
    Crash,
    World,
    approve,
    crash_before,
    decline,
    lose_after,
    lose_before,
    not_sent,
    tell_again,
    wait_for,
)
from tests.crash.support import DawdlingStore, DyingStore, seen_by

FORGETFUL: Final = Asking((10, 120, 1800), 90, None, AfterNothing.SAME_KEY, by_key=False, repeat_s=23 * 3600)
CHALLENGE: Final = Pending("41", redirect="https://acs.example/1", until_s=1800)
Present = Callable[[Bank, PresentCharge], Awaitable[Outcome]]
OTHER_MONEY: Final = Approved("41", PRICE + PRICE)


@pytest.fixture(autouse=True)
def wire(world: World) -> None:
    """Let the bank be one that can only be asked by repeating, with card fields for our page."""
    can = replace(world.bank.abilities, asking=FORGETFUL, charge_present=True, notification_is_truth=False)
    world.bank.abilities = replace(can, card_form="https://bank.example")
    world.bank.default = tell_again


async def declined(world: World) -> int:
    """Enrol one customer, let the night's charge be declined, and return the pay-link."""
    number = len(await world.rows(Invoice)) + 1
    await world.subscribe(1)
    world.bank.on(f"P{number}", decline())
    await world.run()
    return await world.link_to(number)


async def submit(world: World, link: int, form: str = "F-1") -> Opened:
    return await pay_by_fields(world.ctx, link, Submitted("1-card", {"card_form": form}, "198.51.100.7", CONSENT))


async def next_key(world: World, invoice: int = 1) -> str:
    row = (await world.rows(Invoice))[invoice - 1]
    return f"{row['key']}-{row['tries'] + 1}"


def answering(outcome: Outcome) -> Present:
    async def act(_: Bank, __: PresentCharge) -> Outcome:
        return outcome

    return act


async def book(bank: Bank, charge: PresentCharge) -> Outcome:
    return bank.told_again(charge.key) or bank.book(charge.key, charge.amount)


async def book_and_die(bank: Bank, charge: PresentCharge) -> Outcome:
    await book(bank, charge)
    raise Crash


async def die(_: Bank, __: PresentCharge) -> Outcome:
    raise Crash


def url_of(world: World) -> str:
    return world.store.engine.url.render_as_string(hide_password=False)


# --- dying -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("committed", [False, True])
async def test_whoever_dies_wherever_in_a_payment_by_fields_it_is_charged_once(world: World, committed: bool) -> None:
    for at in count(1):
        link = await declined(world)
        store = DyingStore(url_of(world), at, committed=committed)
        try:
            await submit(seen_by(world, store), link)
            break
        except Crash:
            pass
        finally:
            await store.close()
        await world.clear_up(1)
        await submit(world, link, "F-2")
        assert set(world.bank.sales().values()) == {1}, at
        assert len(world.bank.sales()) == at, at
        assert set(await world.states(Invoice)) == {"paid"}, at
        assert await world.rows(ChargeRight) == []
        assert await world.breaches() == [], at
    assert at > 2


@pytest.mark.parametrize("act", [die, book_and_die])
async def test_whoever_dies_with_the_typed_card_is_followed_by_the_very_same_request(
    world: World, act: Present
) -> None:
    link = await declined(world)
    world.bank.on(await next_key(world), act)
    with pytest.raises(Crash):
        await submit(world, link)
    assert await submit(world, link, "F-2") == Opened(), "somebody may still be at work on it"

    await world.clear_up(1)

    first, again = world.bank.presented
    assert first == again
    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"]
    assert [mandate["profile_id"] for mandate in await world.rows(Mandate)] == [2]
    assert await world.breaches() == []


@pytest.mark.parametrize("committed", [False, True])
async def test_whoever_dies_while_repeating_is_followed_by_the_next(world: World, committed: bool) -> None:
    await world.subscribe(3)
    for number, act in enumerate((lose_after, lose_before, crash_before), start=1):
        world.bank.on(f"P{number}", act)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - the process dies, in a group of tasks
        await world.run()
    for at in (1, 2):
        await world.pass_time(3600)
        store = DyingStore(url_of(world), at, committed=committed)
        with pytest.raises(Crash):
            await ask_about_doubts(seen_by(world, store).ctx)
        await store.close()
    await world.clear_up(2)
    await world.run()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 3
    assert await world.breaches() == []


async def test_whoever_dies_before_the_page_was_kept_holds_nobody_up(world: World) -> None:
    link = await declined(world)

    async def gone(_: object) -> Outcome:
        raise Crash

    world.bank.page_answers.append(gone)
    with pytest.raises(Crash):
        await world.pay(link)
    await world.clear_up(1)

    assert await world.states(Attempt) == ["declined", "not_sent"]
    assert isinstance((await submit(world, link)).outcome, Approved)
    assert set(world.bank.sales().values()) == {1}


# --- stalling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [book, answering(Declined("51", DeclineClass.RETRY_LATER)), answering(CHALLENGE)])
async def test_an_answer_that_comes_after_the_lease_meets_what_repeating_has_told(world: World, told: Present) -> None:
    link = await declined(world)
    gate = asyncio.Event()
    world.bank.on(await next_key(world), wait_for(gate, told), told)
    click = asyncio.create_task(submit(world, link))
    await world.until(lambda: bool(world.bank.presented))
    await world.pass_time(3600)
    other = await world.twin()
    await other.reconcile()
    settled = await world.states(Attempt)
    gate.set()
    await click
    await other.store.close()

    assert world.bank.presented[0] == world.bank.presented[1]
    assert await world.states(Attempt) == settled
    assert set(world.bank.sales().values()) <= {1}
    assert [task for task in await world.tasks() if task[0] in ("surplus", "contradiction")] == []
    assert await world.breaches() == []


async def test_a_question_that_came_too_late_for_its_claim_repeats_nothing(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", lose_before)
    await world.run()
    await world.pass_time(20)

    await world.with_context(lease_s=int(world.bank.abilities.timeout_s)).reconcile()
    assert len(world.bank.sent) == 1
    await world.clear_up(1)

    assert await world.states(Invoice) == ["paid"]


# --- meeting -----------------------------------------------------------------------------------------


async def test_the_same_form_from_two_machines_at_once_charges_once(world: World) -> None:
    link = await declined(world)
    other = await world.twin()

    opened = await asyncio.gather(*(submit(each, link, form) for each, form in ((world, "F-1"), (other, "F-2"))))
    await asyncio.gather(*(submit(each, link, "F-1") for each in (world, other)))
    await other.store.close()

    assert len(world.bank.presented) == 1
    assert sum(isinstance(each.outcome, Approved) for each in opened) == 1
    assert await world.breaches() == []


async def test_a_card_typed_during_the_dunnings_claim_is_not_charged_beside_it(world: World) -> None:
    link = await declined(world)
    world.next_day(3)
    await world.issue_dunning()
    slow = DawdlingStore(url_of(world))
    click = asyncio.create_task(submit(seen_by(world, slow), link))
    await slow.waits.wait()
    retry = asyncio.create_task(world.dun())
    await asyncio.wait([retry], timeout=0.2)
    slow.go_on.set()
    await asyncio.gather(click, retry)
    await slow.close()
    await world.clear_up(1)

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_the_return_the_timetable_and_the_hint_ask_at_once_and_it_is_one_payment(world: World) -> None:
    link = await declined(world)
    key = await next_key(world)
    world.bank.on(key, answering(CHALLENGE))
    await submit(world, link)
    world.bank.bookings.append(replace(await booking(world, key), gateway_id="41"))
    other = await world.twin()
    attempt_id = await came_back(world.ctx, link)
    assert attempt_id is not None

    hint = world.bank.push(key, "paid", "41")
    asked: list[Awaitable[object]] = [ask_about(each.ctx, attempt_id) for each in (world, other)]
    await asyncio.gather(*asked, other.reconcile(), *(each.hear(hint) for each in (world, other)))
    await world.clear_up(1)
    await other.store.close()

    assert await world.states(Attempt) == ["declined", "approved"]
    assert (await world.balances())["gateway"] == PRICE.minor
    assert await world.tasks() == []
    assert [mail for mail in await world.mails() if mail[1] == "receipt"] == [("att_2", "receipt")]
    assert await world.breaches() == []


async def booking(world: World, key: str) -> Any:
    """Let the customer's money be taken, and return the bank's own line of it."""
    world.bank.book(key, PRICE)
    return world.bank.bookings.pop()


async def test_everything_at_once_for_days_on_such_a_wire_charges_everybody_once(world: World) -> None:
    world = world.with_context(in_flight_max=5)
    acts = ([approve], [decline()] * 2, [lose_after, lose_before], [not_sent] * 2, [lose_before] * 2)
    await world.subscribe(10)
    for number in range(1, 11):
        world.bank.on(f"P{number}", *acts[number % 5])
    other = await world.twin()
    for _ in range(5):
        links = [await world.link_to(row["id"]) for row in await world.rows(Invoice, state="open")]
        work: list[Awaitable[object]] = [
            *(each.run() for each in (world, other)),
            *(each.dun() for each in (other, world)),
        ]
        work += [
            *(each.reconcile() for each in (world, other)),
            *(submit(each, link) for link in links[:2] for each in (other, world)),
        ]
        await asyncio.gather(*work)
        await world.clear_up(2)
        world.next_day(1)
    await world.run()
    await world.dun()
    await other.store.close()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Invoice) == ["paid"] * 10
    assert await world.rows(ChargeRight) == []
    assert [task for task in await world.tasks() if task[0] == "surplus"] == []
    assert await world.breaches() == []


# --- truths in every order ---------------------------------------------------------------------------

TRUTHS: Final = (
    Declined("51", DeclineClass.RETRY_LATER, gateway_id="40"),
    Unknown("the answer was lost"),
    CHALLENGE,
    Approved("41", PRICE),
)


@pytest.mark.parametrize(
    "order", list(permutations(TRUTHS)), ids=lambda order: "-".join(type(each).__name__ for each in order)
)
async def test_whatever_is_heard_first_a_payment_that_was_made_is_booked_once(
    world: World, order: tuple[Outcome, ...]
) -> None:
    link = await declined(world)
    first, *later = order
    world.bank.on(await next_key(world), answering(first))
    await submit(world, link)

    for each in later:
        await settle(world.ctx, [News(2, each)])

    assert await world.states(Attempt) == ["declined", "approved"]
    assert await world.states(Invoice) == ["paid"]
    assert (await world.balances())["gateway"] == PRICE.minor
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


@pytest.mark.parametrize(
    "strange", [OTHER_MONEY, replace(OTHER_MONEY, captured=False), Approved("41", PRICE, captured=False)]
)
async def test_money_that_is_not_what_was_asked_for_is_booked_as_it_is_or_captured(
    world: World, strange: Approved
) -> None:
    link = await declined(world)
    world.bank.on(await next_key(world), answering(strange))

    await submit(world, link)
    await world.reconcile()

    paid = strange.amount == PRICE
    assert await world.states(Invoice) == ["paid" if paid else "open"]
    assert [task[0] for task in await world.tasks()] == ([] if paid else ["amount", "amount"])
    assert await world.states(Operation) == (["approved"] if paid else [])
    assert await world.breaches() == []


# --- renewing ----------------------------------------------------------------------------------------


async def renewal(world: World) -> int:
    await world.subscribe(1)
    await world.run()
    await offer_renewal(world.ctx, "S1", mail=False)
    return 1


@pytest.mark.parametrize("act", [die, book_and_die, answering(Unknown("lost"))])
async def test_a_renewal_whose_answer_is_lost_reserves_once_and_lets_go(world: World, act: Present) -> None:
    async def reserve(bank: Bank, charge: PresentCharge) -> Outcome:
        return await act(bank, charge)

    link = await renewal(world)
    [owed] = await world.rows(Verification)
    world.bank.on(f"{owed['key']}-1", reserve)
    with suppress(Crash):
        await submit(world, link)
    await world.clear_up(2)

    assert await world.states(Verification) == ["released"]
    assert [each.kind for each in world.bank.bookings if each.key == f"{owed['key']}-1"][-1] in ("reversal", "refund")
    assert world.bank.taken() == PRICE.minor
    assert await world.states(Profile) == ["replaced", "active"]
    assert await world.breaches() == []


async def test_a_renewal_that_is_done_is_not_done_again_by_the_same_form(world: World) -> None:
    link = await renewal(world)
    await submit(world, link)
    await submit(world, link)
    await world.reconcile()
    await submit(world, link)

    assert len(world.bank.presented) == 1
    assert world.bank.taken() == PRICE.minor


# --- stopped in between ------------------------------------------------------------------------------


async def test_an_account_that_refuses_us_while_a_card_is_in_doubt_charges_it_once_it_is_mended(world: World) -> None:
    link = await declined(world)
    world.bank.on(await next_key(world), answering(Unknown("lost")), answering(Refused("9007", "wrong key")))
    await submit(world, link)
    await world.clear_up(2)
    assert await world.states(Attempt) == ["declined", "unknown"]
    assert len(world.bank.presented) == 2, "nothing is repeated while the account is stopped"

    await world.open_account_again()
    await world.clear_up(2)

    assert await world.states(Invoice) == ["paid"]
    assert set(world.bank.sales().values()) == {1}
    assert ("att_2", "declined") not in await world.mails()
    assert await world.breaches() == []
