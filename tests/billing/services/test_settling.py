from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    NotSent,
    OperationKind,
    Pending,
    ProfileNews,
    Refused,
    Unknown,
)
from billing.models import (
    Attempt,
    ChargeRight,
    Customer,
    GatewayAccount,
    Invoice,
    Merchant,
    Operation,
    PayLink,
    Posting,
    Profile,
    Subscription,
    TestClock,
)
from billing.money import Money
from billing.services.founding import give_clock
from billing.services.settling import News, settle
from tests.billing.services.support import (
    PRICE,
    START,
    TODAY,
    World,
    book_other,
    counted,
    decline,
    lose_after,
    lose_before,
    not_sent,
    pend,
)

PAID = Approved("5000", PRICE)
NO = Declined("DECLINED", DeclineClass.RETRY_LATER, "not today")


async def test_an_approval_pays_the_invoice_posts_once_and_thanks_the_customer(world: World) -> None:
    await world.subscribe(1)
    await world.run()

    for _ in range(3):
        await settle(world.ctx, [News(1, PAID), News(1, PAID)])

    assert await world.states(Invoice) == ["paid"]
    assert await world.balances() == {"gateway": 2500, "revenue": -2083, "tax": -417}
    assert await world.mails() == [("att_1", "receipt")]
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


async def test_a_decline_begins_dunning_and_writes_to_the_customer_with_one_link(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()

    await world.run()
    await settle(world.ctx, [News(1, NO)])

    invoice = (await world.rows(Invoice))[0]
    assert (invoice["state"], invoice["next_step"]) == ("open", "retry")
    assert invoice["next_step_on"] - invoice["dunned_since"] == timedelta(days=3)
    assert await world.mails() == [("att_1", "declined")]
    assert len(await world.rows(PayLink)) == 1
    assert await world.states(Subscription) == ["past_due"]
    assert await world.breaches() == []


async def test_a_decline_only_the_customer_can_mend_is_not_retried(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline(DeclineClass.NEEDS_CUSTOMER)

    await world.run()

    assert [row["next_step"] for row in await world.rows(Invoice)] == ["remind"]
    assert await world.breaches() == []


async def test_news_that_comes_after_the_payment_takes_nothing_back(world: World) -> None:
    await world.subscribe(1)
    await world.run()

    for late in (NO, Pending("5000"), NotSent("nothing there"), Unknown("time-out")):
        await settle(world.ctx, [News(1, late)])

    assert await world.states(Attempt) == ["approved"]
    assert await world.states(Invoice) == ["paid"]
    assert await world.states(Subscription) == ["active"]
    assert await world.mails() == [("att_1", "receipt")]
    assert await world.breaches() == []


async def test_a_late_approval_pays_and_withdraws_the_try_that_was_made_instead(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", not_sent)
    await world.run()
    await world.issue_again()
    assert await world.states(Attempt) == ["not_sent", "created"]

    await settle(world.ctx, [News(1, PAID)])
    await world.run()

    assert await world.states(Attempt) == ["approved", "withdrawn"]
    assert await world.states(Invoice) == ["paid"]
    assert world.bank.bookings == [], "the second was never sent"
    assert await world.rows(ChargeRight) == []
    assert await world.breaches() == []


async def test_a_late_approval_beside_one_that_is_on_its_way_is_found_and_shown(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", not_sent, lose_before)
    await world.run()
    await world.run()
    assert await world.states(Attempt) == ["not_sent", "unknown"]

    await settle(world.ctx, [News(1, PAID)])
    assert await world.states(Attempt) == ["approved", "unknown"]
    assert [row["attempt_id"] for row in await world.rows(ChargeRight)] == [2], "it may still have been booked"

    await settle(world.ctx, [News(2, Approved("6000", PRICE))])

    assert await world.states(Invoice) == ["paid"]
    assert await world.tasks() == [("surplus", "att_2")]
    assert (await world.balances())["customer_credit"] == -2500
    assert await world.mails() == [("att_1", "receipt")]
    assert await world.breaches() == []


async def test_a_decline_of_the_second_try_after_the_first_was_paid_dunns_nobody(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", not_sent, lose_before)
    await world.run()
    await world.run()

    await settle(world.ctx, [News(2, NO), News(1, PAID)])
    assert await world.states(Subscription) == ["active"]
    await settle(world.ctx, [News(1, PAID), News(2, NO)])

    assert await world.states(Invoice) == ["paid"]
    assert await world.states(Subscription) == ["active"]
    assert [row["next_step"] for row in await world.rows(Invoice)] == [None]
    assert await world.breaches() == []


async def test_another_amount_or_currency_is_booked_as_the_money_it_is(world: World) -> None:
    await world.subscribe(2)
    world.bank.on("P1", book_other(Money(2000, "EUR")))
    world.bank.on("P2", book_other(Money(2500, "USD")))

    await world.run()

    assert await world.states(Invoice) == ["open", "open"]
    tasks = [("amount", "att_1"), ("amount", "att_2"), ("amount", "inv_1"), ("amount", "inv_2")]
    assert sorted(await world.tasks()) == tasks
    credit = [(row["currency"], row["amount_minor"]) for row in await world.rows(Posting, account="customer_credit")]
    assert sorted(credit) == [("EUR", -2000), ("USD", -2500)]
    assert await world.mails() == []
    assert await world.breaches() == []


async def test_a_second_payment_under_one_key_is_the_customers_credit(world: World) -> None:
    await world.subscribe(1)
    await world.run()

    for _ in range(2):
        await settle(world.ctx, [News(1, Approved("6000", PRICE))])

    assert await world.tasks() == [("surplus", "att_1/6000")]
    assert (await world.balances())["customer_credit"] == -2500
    assert await world.breaches() == []


async def test_a_payment_that_was_undone_before_it_was_heard_of_pays_nothing(world: World) -> None:
    await world.subscribe(2)
    world.bank.default = lose_before
    await world.run()

    undone = Approved("5000", PRICE, undone=OperationKind.CHARGEBACK)
    gone = Approved("5001", PRICE, captured=False, undone=OperationKind.REVERSAL)
    await settle(world.ctx, [News(1, undone), News(2, gone)])

    assert await world.states(Invoice) == ["open", "open"]
    assert "gateway" not in await world.balances()
    assert await world.mails() == []
    assert {("chargeback", "inv_1"), ("reversal", "inv_2")} <= set(await world.tasks())
    assert await world.rows(Operation) == []
    assert await world.breaches() == []


async def test_a_reservation_is_captured_once_and_only_if_it_is_wanted(world: World) -> None:
    await world.subscribe(1)
    world.bank.on("P1", not_sent, lose_before)
    await world.run()
    await world.run()
    held = [world.bank.book(row["key"], PRICE, kind="reservation") for row in await world.rows(Attempt)]
    await settle(world.ctx, [News(1, Approved(held[0].gateway_id, PRICE, captured=False))])
    await settle(world.ctx, [News(2, Approved(held[1].gateway_id, PRICE, captured=False))])

    await world.reconcile()

    assert [kind for kind, _ in world.bank.did] == ["capture", "reversal"]
    assert world.bank.taken() == 2500
    assert await world.balances() == {"gateway": 2500, "revenue": -2083, "tax": -417}
    assert [row["captured"] for row in await world.rows(Attempt)] == [True, False]
    assert await world.breaches() == []


async def test_a_doubt_is_asked_about_on_the_wires_schedule_and_then_by_a_person(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_before
    await world.run()
    key = (await world.rows(Attempt))[0]["key"]
    world.bank.tell(key, *[Unknown("still nothing")] * 5)

    waits = []
    for _ in range(4):
        waits.append((await world.reconcile()).next_ask_in_s)
        await world.pass_time(1801)

    assert [round(wait, -1) if wait is not None else None for wait in waits] == [10, 120, 1800, None]
    assert len(world.bank.asked) == 3, "the budget of the wire"
    assert await world.tasks() == [("doubt", "att_1")]
    assert await world.states(Attempt) == ["unknown"]
    assert await world.breaches() == []


async def test_what_stays_pending_for_very_long_is_shown_to_a_person(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = pend
    await world.run()
    await world.change(Attempt, 1, asks=50)

    await settle(world.ctx, [News(1, Pending("1", evidence="at the bank"))])

    assert await world.tasks() == [("doubt", "att_1")]
    assert (await world.rows(Attempt))[0]["ask_at"] is not None
    assert await world.breaches() == []


async def test_one_answer_that_cannot_be_settled_takes_no_other_with_it(world: World) -> None:
    """Its invoice's ledger group is there already, which no good database would have."""
    await world.subscribe(3)
    world.bank.default = lose_after
    await world.run()
    key = (await world.rows(Attempt))[1]["key"]
    async with world.store.write() as session:
        about: dict[str, Any] = {
            "merchant_id": world.merchant_id,
            "customer_id": 2,
            "booked_on": START.date(),
            "posted_at": START,
        }
        for place, account in enumerate(("gateway", "customer_credit")):
            minor = 100 * (-1) ** place
            row: dict[str, Any] = {
                "group_key": f"payment:{key}",
                "position": place,
                "account": account,
                "amount_minor": minor,
            }
            session.add(Posting(**about, **row, currency="EUR"))

    await world.pass_time(11)
    await world.reconcile()

    assert await world.states(Attempt) == ["approved", "unknown", "approved"]
    assert await world.tasks() == [("unsettled", "att_2")]
    assert [row["ask_at"] is not None for row in await world.rows(Attempt)] == [False, True, False]
    assert [breach for breach in await world.breaches() if breach[0] not in (1,)] == []


async def test_a_refusal_while_asking_stops_the_account_and_leaves_the_doubt(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = lose_after
    await world.run()
    world.bank.tell((await world.rows(Attempt))[0]["key"], Refused("ACCESS_DENIED", "wrong password"))

    await world.pass_time(11)
    await world.reconcile()

    assert await world.states(Attempt) == ["unknown"]
    assert await world.states(GatewayAccount) == ["stopped"]
    assert await world.mails() == []
    await world.clear_up()
    assert await world.states(Invoice) == ["paid"]
    assert await world.breaches() == []


async def test_paying_what_is_overdue_brings_a_paused_subscription_back_without_billing_the_pause(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline(DeclineClass.NEEDS_CUSTOMER)
    await world.run()
    for days in (7, 7):
        world.next_day(days)
        await world.dun()
    assert await world.states(Subscription) == ["paused"]

    world.next_day(60)
    await settle(world.ctx, [News(1, PAID)])

    subscription = (await world.rows(Subscription))[0]
    assert (subscription["state"], subscription["paused_by_dunning"]) == ("active", False)
    assert subscription["next_due_on"] == date(2027, 2, 21)
    assert subscription["skipped_periods"] == 2
    assert await world.breaches() == []


async def test_paying_brings_no_canceled_subscription_back(world: World) -> None:
    await world.subscribe(2)
    world.bank.default = decline()
    await world.run()
    ended = {"paused_by_dunning": True, "next_due_on": None}
    await world.change(Subscription, 1, state="canceled", **ended)
    await world.change(Subscription, 2, state="ended", **ended)

    await settle(world.ctx, [News(1, PAID), News(2, Approved("5001", PRICE))])

    assert await world.states(Subscription) == ["canceled", "ended"]
    assert await world.states(Invoice) == ["paid", "paid"]
    assert await world.breaches() == []


async def test_one_of_two_overdue_invoices_paid_is_not_enough(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    world.next_day(31)
    await world.run()

    await settle(world.ctx, [News(1, PAID)])
    assert await world.states(Subscription) == ["past_due"]
    await settle(world.ctx, [News(2, Approved("5001", PRICE))])

    assert await world.states(Subscription) == ["active"]


async def test_a_new_profile_serves_the_visit_and_all_that_used_the_old_one_but_no_others(world: World) -> None:
    await world.subscribe(1)
    both = {"customer": "K1", "name": "Customer 1", "email": "k1@example.org"}
    await world.subscribe(1, **both, profile="P1")
    await world.subscribe(1, **both, profile="P9")
    await world.subscribe(1, **both, collection="link", profile="", account="")
    await world.run()

    renewed = Approved("5000", PRICE, profile=ProfileNews("P2000", kind="card", brand="V" * 99, last4="1111"))
    await settle(world.ctx, [News(1, renewed)])

    assert [row["profile_id"] for row in await world.rows(Subscription)] == [3, 3, 2, None]
    assert await world.states(Profile) == ["replaced", "active", "active"]


async def test_a_profile_that_is_stored_for_somebody_else_is_not_taken_over(world: World) -> None:
    await world.subscribe(2)
    await world.run()

    stolen = Approved("5001", PRICE, profile=ProfileNews("P1", kind="card", brand="VISA", last4="6666"))
    await settle(world.ctx, [News(2, stolen)])

    assert await world.states(Attempt) == ["approved", "approved"]
    assert [row["profile_id"] for row in await world.rows(Subscription)] == [1, 2]
    assert [row["last4"] for row in await world.rows(Profile)] == ["4242", "4242"]
    assert await world.tasks() == [("profile", "cus_2")]


async def test_a_sandbox_merchants_clock_moves_nobody_elses_links(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    other = await world.beside("sandbox")
    await give_clock(world.ctx, "sandbox", TestClock(name="test", now_at=START + timedelta(days=400)))
    later = TODAY + timedelta(days=400)
    await other.subscribe(1, anchor_on=later, billed_until=later)
    await other.run()
    assert await world.states(Attempt) == ["declined", "declined"]

    for id_ in (1, 2):
        await world.change(Attempt, id_, state="unknown")
    await settle(world.ctx, [News(1, NO), News(2, NO)])

    assert [row["superseded_at"] for row in await world.rows(PayLink)] == [None, None]
    years = [row["expires_at"].year for row in await world.rows(PayLink)]
    assert years == [2026, 2028]
    assert len(await world.rows(Merchant)) == len(await world.rows(Customer)) == 2


async def test_a_page_of_news_takes_the_same_number_of_statements_whatever_its_size(world: World) -> None:
    await world.subscribe(44)
    world.bank.default = lose_before
    await world.run()
    counts = []
    for page in (range(1, 5), range(5, 45)):
        news = [News(number, PAID if number % 2 else NO) for number in page]
        with counted(world.store) as statements:
            await settle(world.ctx, news)
        counts.append(len(statements))

    assert counts[0] == counts[1] <= 35
    assert await world.breaches() == []
