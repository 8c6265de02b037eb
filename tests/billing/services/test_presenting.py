"""A customer pays in the gateway's own card fields on our page: one click, one charge, and a consent on record."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from billing.gateway import (
    AfterNothing,
    Approved,
    Asking,
    CardForm,
    DeclineClass,
    Declined,
    MisuseError,
    NotSent,
    Outcome,
    Pending,
    PresentCharge,
    Refused,
    Unknown,
)
from billing.models import (
    Attempt,
    ChargeRight,
    GatewayAccount,
    Invoice,
    Mandate,
    Operation,
    Profile,
    Subscription,
    Verification,
)
from billing.models import Checkout as CheckoutRow
from billing.services.founding import AccountFacts, found
from billing.services.looking import Standing, visit
from billing.services.paying import Click, Opened, came_back, pay
from billing.services.presenting import Submitted, open_fields, pay_by_fields
from billing.services.reconciling import ask_about
from billing.services.verifying import offer_renewal
from tests.billing.services.support import (
    CONSENT,
    PRICE,
    Bank,
    World,
    decline,
    facts,
    stop_account,
    tell_again,
    wait_for,
)
from tests.crash.support import back_up, restore

ASKING = Asking((5, 30, 120), 90, None, AfterNothing.SAME_KEY, by_key=False, repeat_s=23 * 3600)
SITE = "https://bank.example"
FIELDS = {"card_form": "F-1", "browser_language": "de-AT"}
IP = "198.51.100.7"
CHALLENGE = Pending("41", redirect="https://acs.example/1", until_s=1800)


@pytest.fixture
async def link(world: World) -> int:
    """A declined night at a bank whose card fields can stand in our page, and the link that was mailed."""
    world.bank.abilities = replace(
        world.bank.abilities, asking=ASKING, charge_present=True, card_form=SITE, notification_is_truth=False
    )
    world.bank.default = tell_again
    await world.subscribe(1)
    world.bank.on("P1", decline())
    await world.run()
    return await world.link_to(1)


async def submit(world: World, link: int, **changed: Any) -> Opened:
    """Press the button under the card fields."""
    return await pay_by_fields(world.ctx, link, replace(Submitted("1-card", FIELDS, IP, CONSENT), **changed))


def answering(outcome: Outcome) -> Any:
    async def act(_: Bank, __: PresentCharge) -> Outcome:
        return outcome

    return act


async def next_key(world: World) -> str:
    """Return the key the customer's next try will have."""
    [invoice] = await world.rows(Invoice)
    return f"{invoice['key']}-{invoice['tries'] + 1}"


async def test_opening_the_fields_takes_nothing_and_writes_nothing(world: World, link: int) -> None:
    form = await open_fields(world.ctx, link, "1-card")

    assert isinstance(form, CardForm)
    assert form.url == f"{SITE}/fields"
    assert await world.rows(ChargeRight) == await world.rows(CheckoutRow) == await world.rows(Mandate) == []


async def test_fields_that_cannot_be_opened_are_an_outcome_and_no_exception(world: World, link: int) -> None:
    async def broken(_: Any) -> Any:
        raise RuntimeError("the adapter is broken")

    world.bank.open_card_form = broken  # type: ignore[method-assign,assignment]
    assert isinstance(await open_fields(world.ctx, link, "1-card"), Unknown)


async def test_a_way_without_fields_opens_none(world: World, link: int) -> None:
    assert await open_fields(world.ctx, link, "1-debit") is None
    assert await submit(world, link, way="1-debit") == Opened()
    assert await world.rows(ChargeRight) == []


async def test_fields_of_an_account_that_was_stopped_meanwhile_are_not_sent_to_another(world: World, link: int) -> None:
    other = AccountFacts("other", "bank", {"password": "sesame"})
    await found(world.ctx, facts(accounts=(*facts().accounts, other)))
    assert isinstance(await open_fields(world.ctx, link, "1-card"), CardForm)
    await stop_account(world)

    assert await open_fields(world.ctx, link, "1-card") is None
    assert await submit(world, link) == Opened()
    assert world.bank.presented == []
    assert isinstance((await submit(world, link, way="2-card")).outcome, Approved)


async def test_one_click_pays_and_next_month_works_by_itself(world: World, link: int) -> None:
    opened = await submit(world, link)

    assert isinstance(opened.outcome, Approved)
    assert await world.states(Invoice) == ["paid"]
    assert await world.states(Attempt) == ["declined", "approved"]
    [charge] = world.bank.presented
    assert (charge.fields, charge.payer.ip, charge.method) == (FIELDS, IP, "card")
    assert [line.total for line in charge.order.lines] == [PRICE]
    [profile] = await world.rows(Profile, state="active")
    [subscription] = await world.rows(Subscription)
    assert subscription["profile_id"] == profile["id"]
    world.next_day(31)
    await world.run()
    assert world.bank.sent[-1].profile.reference == f"T-{charge.key}"
    assert await world.states(Invoice) == ["paid", "paid"]
    assert await world.breaches() == []


async def test_the_consent_is_kept_word_for_word_with_what_came_of_it(world: World, link: int) -> None:
    await submit(world, link)

    [mandate] = await world.rows(Mandate)
    [profile] = await world.rows(Profile, state="active")
    assert (mandate["text"], mandate["language"], mandate["address"]) == (CONSENT.text, "en", IP)
    assert mandate["text_digest"] == hashlib.sha256(CONSENT.text.encode()).hexdigest()
    assert mandate["given_at"] == world.clock.now()
    assert mandate["profile_id"] == profile["id"]
    assert mandate["first_transaction"] == world.bank.bookings[0].gateway_id


async def test_a_consent_to_a_hosted_page_is_kept_too(world: World, link: int) -> None:
    await pay(world.ctx, link, Click("1-card", IP, consent=CONSENT))

    [mandate] = await world.rows(Mandate)
    assert (mandate["text"], mandate["profile_id"]) == (CONSENT.text, None)


async def test_without_a_consent_the_payment_stores_nothing(world: World, link: int) -> None:
    await submit(world, link, consent=None)
    assert [charge.store for charge in world.bank.presented] == [None]
    assert await world.states(Invoice) == ["paid"]
    assert await world.rows(Mandate) == []


async def test_a_card_that_the_gateway_could_not_keep_is_told_to_a_person(world: World, link: int) -> None:
    world.bank.on(await next_key(world), answering(Approved("41", PRICE, profile_failed=True)))
    await submit(world, link)

    assert await world.states(Invoice) == ["paid"]
    assert await world.tasks() == [("profile", "att_2")]
    assert await world.states(Profile) == ["active"], "the old one, which the night was declined with"


async def test_a_card_that_nobody_heard_of_again_is_found_by_the_doctor(world: World, link: int) -> None:
    world.bank.on(await next_key(world), answering(Approved("41", PRICE)))
    await submit(world, link)
    assert await world.breaches() == []

    await world.pass_time(2 * 86_400)

    assert (10, ("att_2",)) in await world.breaches()


async def test_a_declined_card_is_followed_by_a_second_one_under_a_key_of_its_own(world: World, link: int) -> None:
    world.bank.on(await next_key(world), answering(Declined("51", DeclineClass.RETRY_LATER)))

    opened = await submit(world, link)
    assert isinstance(opened.outcome, Declined)
    assert (await visit(world.ctx, link)).standing == Standing.PAYABLE
    await submit(world, link)

    assert [charge.key[-2:] for charge in world.bank.presented] == ["-2", "-3"]
    assert await world.states(Attempt) == ["declined", "declined", "approved"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_the_banks_own_question_is_led_to_and_a_second_click_leads_back_to_it(world: World, link: int) -> None:
    world.bank.on(await next_key(world), answering(CHALLENGE))

    assert (await submit(world, link)).url == CHALLENGE.redirect
    assert await world.states(Attempt) == ["declined", "pending"]
    assert (await visit(world.ctx, link)).page_open
    assert (await pay(world.ctx, link, Click("1-card", IP))).url == CHALLENGE.redirect
    assert (await submit(world, link)).url == CHALLENGE.redirect
    assert len(world.bank.presented) == 1


async def test_a_bank_that_wants_its_question_posted_gets_it_posted_again(world: World, link: int) -> None:
    asked = replace(CHALLENGE, posted={"PaReq": "x=y", "MD": "1"})
    world.bank.on(await next_key(world), answering(asked))

    first = await submit(world, link)
    again = await pay(world.ctx, link, Click("1-card", IP))

    assert (first.url, first.posted) == (again.url, again.posted) == (asked.redirect, asked.posted)


@pytest.mark.parametrize(
    ("answer", "states"),
    [
        (Approved("41", PRICE), ["declined", "approved"]),
        (Declined("40001134", DeclineClass.NEEDS_CUSTOMER), ["declined", "declined"]),
        (Pending("41"), ["declined", "pending"]),
    ],
)
async def test_whoever_comes_back_from_the_bank_is_asked_about_at_once(
    world: World, link: int, answer: Outcome, states: list[str]
) -> None:
    key = await next_key(world)
    world.bank.on(key, answering(CHALLENGE))
    await submit(world, link)
    world.bank.tell(key, answer)

    attempt_id = await came_back(world.ctx, link)
    assert attempt_id is not None
    await ask_about(world.ctx, attempt_id)

    assert [question.gateway_id for question in world.bank.asked] == ["41"]
    assert await world.states(Attempt) == states
    assert len(await world.rows(ChargeRight)) == (1 if states[-1] == "pending" else 0)
    assert await came_back(world.ctx, link) is None


async def test_a_question_nobody_answers_ends_and_the_link_pays_again(world: World, link: int) -> None:
    key = await next_key(world)
    world.bank.on(key, answering(CHALLENGE))
    await submit(world, link)
    await world.pass_time(600)
    await world.reconcile()
    assert world.bank.asked == []

    world.bank.tell(key, Declined("40001134", DeclineClass.NEEDS_CUSTOMER))
    await world.pass_time(1300)
    await world.reconcile()

    assert (await visit(world.ctx, link)).standing == Standing.PAYABLE
    assert isinstance((await submit(world, link)).outcome, Approved)


async def test_a_lost_answer_is_asked_for_by_the_very_same_request(world: World, link: int) -> None:
    async def lost(bank: Bank, charge: PresentCharge) -> Outcome:
        bank.book(charge.key, charge.amount, "")
        return Unknown("the answer was lost")

    world.bank.on(await next_key(world), lost)
    await submit(world, link)
    assert (await visit(world.ctx, link)).standing == Standing.CONFIRMING
    assert not (await visit(world.ctx, link)).page_open
    await world.pass_time(6)
    await world.reconcile()

    first, again = world.bank.presented
    assert first == again
    assert await world.states(Invoice) == ["paid"]
    assert set(world.bank.sales().values()) == {1}
    assert await world.breaches() == []


async def test_a_lost_question_of_the_bank_is_found_and_led_to(world: World, link: int) -> None:
    world.bank.on(await next_key(world), answering(Unknown("lost")), answering(CHALLENGE))
    await submit(world, link)
    await world.pass_time(6)
    await world.reconcile()

    assert (await pay(world.ctx, link, Click("1-card", IP))).url == CHALLENGE.redirect


async def test_what_is_kept_of_the_request_is_sealed(world: World, link: int) -> None:
    await submit(world, link)

    [page] = await world.rows(CheckoutRow)
    assert "F-1" not in page["sealed_fields"]
    assert json.loads(world.ctx.vault.unseal(page["sealed_fields"]))["fields"] == FIELDS


async def test_a_kept_request_that_this_version_cannot_read_any_more_is_in_doubt_and_shown_to_nobody(
    world: World, link: int
) -> None:
    world.bank.on(await next_key(world), answering(Unknown("lost")))
    await submit(world, link)
    [page] = await world.rows(CheckoutRow)
    kept = json.loads(world.ctx.vault.unseal(page["sealed_fields"]))
    older = world.ctx.vault.seal(json.dumps({"card_form": kept["fields"]["card_form"]}))
    await world.change(CheckoutRow, 2, sealed_fields=older)

    await world.pass_time(6)
    await world.reconcile()

    attempt = (await world.rows(Attempt))[1]
    assert (attempt["state"], len(world.bank.presented)) == ("unknown", 1)
    assert "cannot read it" in attempt["evidence"]
    assert "F-1" not in attempt["evidence"]


async def test_two_tabs_pay_once(world: World, link: int) -> None:
    gate = asyncio.Event()
    world.bank.on(await next_key(world), wait_for(gate, answering(Approved("41", PRICE))))
    first = asyncio.create_task(submit(world, link))
    await world.until(lambda: bool(world.bank.presented))

    assert await submit(world, link, fields={"card_form": "F-2"}) == Opened()
    gate.set()

    assert isinstance((await first).outcome, Approved)
    assert len(world.bank.presented) == 1
    assert await world.states(Attempt) == ["declined", "approved"]


async def test_the_dunning_and_the_customer_do_not_both_charge(world: World, link: int) -> None:
    world.next_day(3)
    await world.issue_dunning()

    await submit(world, link)
    await world.dun()
    await world.run()

    assert set(world.bank.sales().values()) == {1}
    assert await world.states(Attempt) == ["declined", "withdrawn", "approved"]
    assert await world.states(Invoice) == ["paid"]


async def test_what_must_not_be_sent_ends_at_once_and_frees_the_right(world: World, link: int) -> None:
    async def forbid(_: Bank, __: PresentCharge) -> Outcome:
        raise MisuseError("card: the field card_form must be what the page gave us")

    world.bank.on(await next_key(world), forbid)
    await submit(world, link, fields={"card_form": "../x"})

    assert await world.states(Attempt) == ["declined", "not_sent"]
    assert await world.rows(ChargeRight) == []


async def test_a_rejection_of_us_is_not_held_against_the_customer(world: World, link: int) -> None:
    world.bank.on(await next_key(world), answering(Refused("9007", "wrong key")))

    assert isinstance((await submit(world, link)).outcome, Refused)
    assert await world.states(GatewayAccount) == ["stopped"]
    assert ("att_2", "declined") not in await world.mails()


async def test_a_renewal_reserves_stores_and_lets_go(world: World, link: int) -> None:
    await offer_renewal(world.ctx, "S1", mail=False)

    assert isinstance((await submit(world, link + 1)).outcome, Approved)
    [charge] = world.bank.presented
    assert (charge.reserve_only, charge.amount.minor) == (True, 10)
    await world.reconcile()

    assert await world.states(Operation) == ["approved"]
    assert await world.states(Verification) == ["released"]
    assert world.bank.taken() == 0
    assert await world.breaches() == []


async def test_a_word_of_the_gateway_only_makes_us_ask(world: World, link: int) -> None:
    key = await next_key(world)
    world.bank.on(key, answering(CHALLENGE))
    await submit(world, link)

    world.bank.tell(key, Declined("51", DeclineClass.RETRY_LATER, gateway_id="41"))
    await world.hear(world.bank.push(key, "paid", "41"))

    assert await world.states(Attempt) == ["declined", "declined"]
    assert await world.states(Invoice) == ["open"]


# --- after a restore ---------------------------------------------------------------------------------


async def paid_after_the_backup(world: World, link: int) -> None:
    """Let the customer pay, and lose all that was written since just before."""
    backup = await back_up(world)
    await submit(world, link)
    assert await world.states(Invoice) == ["paid"]
    await restore(world, backup)


@pytest.mark.parametrize("hours", [1, 24])
async def test_no_card_is_charged_and_no_page_opened_where_nobody_can_tell_what_was_paid_after_the_backup(
    world: World, link: int, hours: int
) -> None:
    """Where there is a hosted page it may have been paid on that, and no request of ours repeats that."""
    await paid_after_the_backup(world, link)
    restored = world.with_context(ask_first=True, backup_at=world.clock.now() - timedelta(hours=hours))

    assert isinstance((await submit(restored, link)).outcome, NotSent)
    assert isinstance((await restored.pay(link)).outcome, NotSent)

    assert (len(world.bank.presented), len(world.bank.pages)) == (1, 0)
    assert await world.states(Attempt) == ["declined"], "the next try has the key it had then"
