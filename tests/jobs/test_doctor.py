"""Every check can fire: each is provoked in a database that is sound, and names what is broken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text

from billing.models import Attempt, Event, Posting
from billing.services.verifying import offer_renewal
from billing.store import Store
from jobs.doctor import IDS_SHOWN, checks, examine
from tests.billing.services.story import subscribed
from tests.billing.services.support import START, TODAY, World, decline, lose_before, make_world
from tests.crash.support import back_up, restore

Provocation = Callable[[World], Awaitable[None]]


def sql(*statements: str) -> Provocation:
    """Break the database by hand."""

    async def break_it(world: World) -> None:
        async with world.store.write() as session:
            for statement in statements:
                await session.execute(text(statement))

    return break_it


def post(*lines: tuple[str, int], **about: int) -> Provocation:
    """Post a group behind the ledger's back."""

    async def break_it(world: World) -> None:
        async with world.store.write() as session:
            for place, (account, minor) in enumerate(lines):
                values: dict[str, Any] = {"group_key": "by hand", "position": place, "account": account}
                values |= {"merchant_id": 1, "customer_id": 1, "booked_on": TODAY, "posted_at": START} | about
                session.add(Posting(**values, amount_minor=minor, currency="EUR"))

    return break_it


# Customer 1 has paid, customer 2 was declined, customer 3 is in doubt, and customer 1 has renewed a card besides.
PROVOCATIONS: dict[str, tuple[Provocation, str]] = {
    "an invoice was paid more than once, and the surplus is neither credited nor shown": (
        post(("receivable", -100), ("gateway", 100), invoice_id=1),
        "inv_1",
    ),
    "money beyond what was owed waits to be given back, and nobody is asked to": (
        post(("customer_credit", -100), ("gateway", 100), attempt_id=1),
        "att_1",
    ),
    "an attempt is open without the right to collect": (sql("DELETE FROM charge_right"), "att_3"),
    "an attempt that is over still holds the right to collect": (
        sql("INSERT INTO charge_right (owed_kind, owed_id, attempt_id) VALUES ('invoice', 1, 1)"),
        "att_1",
    ),
    "a subscription has a gap among its invoiced periods, or its next period is not the one after them": (
        sql("UPDATE subscription SET next_period = 0 WHERE id = 1"),
        "sub_1",
    ),
    "a period was due on the day of the last finished run, and was neither invoiced nor set aside": (
        sql("UPDATE subscription SET next_due_on = '2026-11-01' WHERE id = 1"),
        "sub_1",
    ),
    "an attempt is in doubt, will not be asked about, and nobody is told": (
        sql("UPDATE attempt SET ask_at = NULL WHERE id = 3"),
        "att_3",
    ),
    "an attempt should have been asked about an hour ago": (
        sql("UPDATE attempt SET ask_at = '2026-01-01 00:00:00.000000' WHERE id = 3"),
        "att_3",
    ),
    "a refund, capture or reversal is in doubt or overdue by an hour, and nobody is told": (
        sql("UPDATE operation SET state = 'unknown', ask_at = NULL"),
        "op_1",
    ),
    "a notification was stored an hour ago and not settled": (
        sql("UPDATE notification SET state = 'received', received_at = '2026-01-01 00:00:00.000000'"),
        "not_1",
    ),
    "a mail should have left an hour ago": (
        sql("UPDATE message SET next_try_at = '2026-01-01 00:00:00.000000'"),
        "msg_1",
    ),
    "a decline, or a receipt, was never written to its customer": (
        sql("DELETE FROM message WHERE cause = 'att_2'"),
        "att_2",
    ),
    "a mail failed for good, and nobody is told": (sql("UPDATE message SET state = 'failed' WHERE id = 1"), "msg_1"),
    "a verification owes a reversal that nobody will make": (sql("UPDATE operation SET state = 'declined'"), "ver_1"),
    "a verification has owed its reversal for a day": (
        sql("UPDATE operation SET ask_at = '2026-01-01 00:00:00.000000'"),
        "ver_1",
    ),
    "a series has given out more or fewer numbers than there are invoices": (
        sql("UPDATE number_series SET next_value = next_value + 1"),
        "series NA-2026-",
    ),
    "a group of postings does not add up to nothing": (post(("gateway", 1)), "by hand"),
    "what a customer owes by the ledger is not what their open invoices say": (
        sql("UPDATE invoice SET state = 'void' WHERE id = 2"),
        "cus_2",
    ),
    "an invoice is not in the ledger": (sql("DELETE FROM posting WHERE invoice_id = 2"), "inv_2"),
    "a posting without an invoice is nobody's": (post(("gateway", 1), ("gateway", -1), customer_id=99), "by hand"),
    "credentials or a profile are not sealed": (
        sql('UPDATE gateway_account SET sealed_credentials = \'{"password": "sesame"}\''),
        "acc_1",
    ),
    "what opens or repeats a payment is not sealed": (
        sql('UPDATE checkout SET sealed_fields = \'{"card_form": "F-1"}\''),
        "att_4",
    ),
    "a profile is stored for another customer than the one who allowed it": (
        sql("UPDATE mandate SET customer_id = 2"),
        "pro_1",
    ),
    "one thing has two live pay-links": (
        sql(
            "INSERT INTO pay_link (merchant_id, customer_id, invoice_id, created_at, expires_at)"
            " SELECT merchant_id, customer_id, invoice_id, created_at, expires_at FROM pay_link WHERE invoice_id = 2"
        ),
        "lnk_3",
    ),
    "a pay-link belongs to another customer than what it opens": (
        sql("UPDATE pay_link SET customer_id = 1 WHERE invoice_id = 2"),
        "lnk_1",
    ),
    "an open invoice has neither an open attempt, nor a next step, nor a task for a person": (
        sql("UPDATE invoice SET next_step = NULL, next_step_on = NULL WHERE id = 2"),
        "inv_2",
    ),
    "a subscription set aside by a run waits for nobody": (
        sql(
            "INSERT INTO decision (run_id, subscription_id, reason, detail, decided_at)"
            " VALUES (1, 1, 'by hand', '', '2026-11-21 00:00:00.000000')"
        ),
        "sub_1",
    ),
    "a customer allowed us to keep a card or account a day ago, and nobody knows of one nor is told": (
        sql(
            "UPDATE mandate SET profile_id = NULL",
            "UPDATE attempt SET sent_at = '2026-01-01 00:00:00.000000' WHERE id = 4",
        ),
        "att_4",
    ),
    "an event was not queued for delivery to anybody": (
        sql("DELETE FROM webhook_delivery WHERE event_id = 1"),
        "evt_1",
    ),
    "an event should have been told an hour ago, and nobody is at it": (
        sql("UPDATE webhook_delivery SET next_try_at = '2026-01-01 00:00:00.000000' WHERE event_id = 1"),
        "evt_1",
    ),
    "an event was given up, and nobody was told": (
        sql("UPDATE webhook_delivery SET state = 'failed' WHERE event_id = 1"),
        "evt_1",
    ),
    "an endpoint took nothing for days, and nobody is told": (
        sql("UPDATE webhook_endpoint SET state = 'failed'"),
        "hook_1",
    ),
    "a secret that events are signed with is not sealed": (
        sql("UPDATE webhook_endpoint SET sealed_secret = 'whsec_AAAA'"),
        "hook_1",
    ),
    "a customer was mailed about a charge that the gateway refused because of us": (
        sql("UPDATE attempt SET state = 'refused' WHERE id = 2"),
        "msg_2",
    ),
    "a gateway account is stopped, and nobody is told": (sql("UPDATE gateway_account SET state = 'stopped'"), "acc_1"),
    "a text holds what looks like a card number": (
        sql("UPDATE attempt SET evidence = 'card 4111111111111111 was declined' WHERE id = 2"),
        "att_2",
    ),
}


@pytest.fixture
async def world(store: Store) -> World:
    """A sound database in which there is something of everything."""
    made = await make_world(store, customers=3)
    await subscribed(made)
    made.bank.on("P2", decline())
    made.bank.on("P3", lose_before)
    await made.run()
    await offer_renewal(made.ctx, "S1", mail=False)
    await made.pay(2)
    await made.hear(made.bank.customer_pays(next(iter(made.bank.pages)), kind="reservation"))
    await made.change(Event, 1, uid="evt_1")
    return made


def test_every_check_has_a_provocation() -> None:
    assert {check.name for check in checks()} | {"a text holds what looks like a card number"} == set(PROVOCATIONS)


async def test_a_sound_database_has_no_breach_and_each_way_to_break_it_is_named(world: World) -> None:
    assert await world.breaches() == []
    sound = await back_up(world)

    for name, (provoke, broken) in PROVOCATIONS.items():
        await provoke(world)
        found = {breach.name: breach for breach in await examine(world.ctx)}
        assert name in found, name
        assert broken in found[name].ids, name
        assert found[name].count == len(found[name].ids), name
        await restore(world, sound)

    assert await world.breaches() == []


async def test_a_breach_counts_all_and_shows_the_first(world: World) -> None:
    await world.subscribe(IDS_SHOWN + 10)
    world.bank.default = lose_before
    await world.run()
    await sql("UPDATE attempt SET ask_at = '2026-01-01 00:00:00.000000' WHERE ask_at IS NOT NULL")(world)

    (breach,) = await examine(world.ctx)

    assert (breach.promise, breach.count, len(breach.ids)) == (3, IDS_SHOWN + 11, IDS_SHOWN)


@pytest.mark.parametrize("digits", ["4111111111111112", "1234567890123456", "41111111111111111111"])
async def test_a_long_number_that_is_no_card_is_no_breach(store: Store, digits: str) -> None:
    world = await make_world(store, customers=1)
    await world.run()
    await world.change(Attempt, 1, evidence=f"reference {digits}")

    assert await world.breaches() == []
