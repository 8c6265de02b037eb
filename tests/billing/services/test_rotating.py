"""The secret key is exchanged while the engine is at work: nothing is lost, found twice, or left under the old key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from billing.gateway import AfterNothing, Approved, Asking, ProfileNews
from billing.links import Links
from billing.models import Profile, Subscription, metadata
from billing.services.answering import Kept, KeyReusedError, claim, keep
from billing.services.context import Gateways
from billing.services.leaving import Leaving
from billing.services.presenting import Submitted, pay_by_fields
from billing.services.rotating import RotationError, left_to_rotate, rotate, sealed_columns
from billing.services.settling import News, settle
from billing.store import PAGE
from billing.vault import Vault, VaultError
from tests.billing.services.support import CONSENT, PRICE, SECRET, Crash, World, decline, lose_before
from tests.crash.support import DyingStore, back_up

NEW = "another secret key that is long enough"
BOTH = (NEW, SECRET)


def under(world: World, *keys: str) -> World:
    """Return the world as it is seen by a process with these keys, the one of now and the former."""
    vault = Vault(*keys)
    gateways = Gateways(world.ctx.gateways.open, vault)
    links = Links(vault, world.ctx.links.public_url)
    return world.with_context(vault=vault, gateways=gateways, links=links)


async def filled(world: World) -> None:
    """Let every column that is sealed hold something."""
    await world.subscribe(3)
    world.bank.default = decline()
    await world.run()
    await world.pay(await world.link_to(1))
    asking = Asking((5, 30, 120), 90, None, AfterNothing.SAME_KEY, by_key=False, repeat_s=3600)
    able = replace(world.bank.abilities, asking=asking, charge_present=True, card_form="https://bank.example")
    world.bank.abilities = able
    way = Submitted("1-card", {"card_form": "F-1"}, "198.51.100.7", CONSENT)
    await pay_by_fields(world.ctx, await world.link_to(2), way)
    await answer_call(world, "k", "x")


async def answer_call(world: World, key: str, called: str) -> Any:
    """Answer a call of the API under an idempotency key, or return what it was answered before."""
    first = await claim(world.ctx, world.merchant_id, key, *world.ctx.vault.digests("call", called))
    if not isinstance(first, Kept):
        async with world.store.write() as session:
            await keep(world.ctx, session, first, Kept(201, "opened", {}))
    return first


async def opened_by(world: World, *keys: str) -> set[tuple[str, str]]:
    """Return every column of the database in which something is that the keys open."""
    vault, found = Vault(*keys), set()
    async with world.store.read() as session:
        for each in metadata.sorted_tables:
            for row in (await session.execute(select(each))).mappings():
                texts = {name: value for name, value in row.items() if isinstance(value, str)}
                found |= {(each.name, name) for name, text in texts.items() if _opens(vault, text)}
    return found


def _opens(vault: Vault, text: str) -> bool:
    try:
        vault.unseal(text)
    except VaultError:
        return False
    return True


SEALED = {(each.name, column.name) for each, columns in sealed_columns() for column in columns}


async def test_whatever_is_sealed_lies_in_a_column_that_says_so_and_is_under_the_new_key_afterwards(
    world: World,
) -> None:
    await filled(world)
    before = await opened_by(world, SECRET)
    assert before <= SEALED
    assert {name for name, _ in before} >= {"gateway_account", "profile", "checkout", "idempotency"}

    done = await rotate(under(world, *BOTH).ctx)

    assert done == {"gateway_account": 1, "profile": 4, "checkout": 2, "idempotency": 1}
    assert await opened_by(world, NEW) == before
    assert await opened_by(world, SECRET) == set()
    assert await under(world, NEW).breaches() == []


async def test_what_the_old_key_sealed_works_before_and_after_and_is_what_it_was(world: World) -> None:
    await filled(world)
    texts = await _texts(world)
    mixed = under(world, *BOTH)
    world.bank.default = decline()
    await mixed.subscribe(1)
    await mixed.run()
    assert [charge.profile.reference for charge in world.bank.sent[-1:]] == ["P4"]

    await rotate(mixed.ctx)

    after = await _texts(under(world, NEW))
    assert after.items() >= texts.items()
    await under(world, NEW).run()


async def _texts(world: World) -> dict[tuple[str, str, Any], str]:
    """Return what is sealed, in clear, by table, column and row."""
    found = {}
    for each, columns in sealed_columns():
        for row in await world.rows(each):
            for column in columns:
                if row[column.name]:
                    name = tuple(row[key.name] for key in each.primary_key)
                    found[each.name, column.name, name] = world.ctx.vault.unseal(row[column.name])
    return found


async def test_a_profile_is_found_whichever_key_named_it(world: World) -> None:
    """Its name is made from the secret key: found under the new one only, it would be stored a second time."""
    await world.subscribe(2)
    world.bank.default = lose_before
    await world.run()
    mixed = under(world, *BOTH)

    renewed = Approved("5001", PRICE, profile=ProfileNews("P1", last4="6666"))
    await settle(mixed.ctx, [News(1, renewed)])
    stolen = Approved("5002", PRICE, profile=ProfileNews("P1", last4="7777"))
    await settle(mixed.ctx, [News(2, stolen)])
    await mixed.subscribe(1, customer="K1", name="Customer 1", email="k1@example.org", profile="P1")

    assert [row["last4"] for row in await world.rows(Profile)] == ["6666", "4242"]
    assert await world.tasks() == [("profile", "cus_2")]
    assert [row["profile_id"] for row in await world.rows(Subscription)] == [1, 2, 1]
    await rotate(mixed.ctx)
    await under(world, NEW).subscribe(1, customer="K1", name="Customer 1", email="k1@example.org", profile="P1")
    assert [row["profile_id"] for row in await world.rows(Subscription)] == [1, 2, 1, 1]


async def test_links_and_notifications_of_the_old_key_are_good_while_it_is_configured(world: World) -> None:
    await world.subscribe(1)
    world.bank.default = decline()
    await world.run()
    link = await world.link_to(1)
    old = world.ctx.links
    proof = old.notify(1, "INV-1").rpartition("/")[2]

    mixed, new = under(world, *BOTH).ctx.links, under(world, NEW).ctx.links
    assert [each.read(old.token(link)) for each in (old, mixed, new)] == [link, link, None]
    assert [each.proves(1, "INV-1", proof) for each in (old, mixed, new)] == [True, True, False]
    assert mixed.token(link) == new.token(link) != old.token(link)
    assert mixed.read(new.token(link)) == link


async def test_a_call_that_is_made_again_across_the_exchange_gets_its_answer(world: World) -> None:
    await answer_call(world, "k", "x")
    mixed = under(world, *BOTH)
    assert await answer_call(mixed, "k", "x") == Kept(201, "opened", {})
    await rotate(mixed.ctx)
    assert await answer_call(mixed, "k", "x") == Kept(201, "opened", {})
    with pytest.raises(KeyReusedError):
        await answer_call(mixed, "k", "y")


@pytest.mark.parametrize("committed", [False, True])
async def test_an_exchange_that_is_killed_is_finished_by_the_next(world: World, *, committed: bool) -> None:
    await world.subscribe(PAGE + 20)
    url = world.store.engine.url.render_as_string(hide_password=False)
    first_page = [of.name for of, _ in sealed_columns()].index("profile") + 1
    dying = DyingStore(url, first_page, committed=committed)
    mixed = under(world, *BOTH)
    with pytest.raises(Crash):
        await rotate(replace(mixed.ctx, store=dying))
    await dying.close()
    async with world.store.read() as session:
        left = await left_to_rotate(mixed.ctx, session)
    assert left.total() == (PAGE + 20 if not committed else 20)
    assert await mixed.breaches() == [(8, (f"profile ({left['profile']})",))]

    assert await rotate(mixed.ctx) == left
    assert await opened_by(world, SECRET) == set()
    assert await mixed.breaches() == []
    assert await rotate(mixed.ctx) == {}


async def test_an_exchange_that_is_told_to_leave_stops_between_two_pages(world: World) -> None:
    await world.subscribe(3)
    told = Leaving()
    told.tell()
    assert await rotate(under(world, *BOTH).with_context(leaving=told).ctx) == {}
    assert await opened_by(world, SECRET) != set()


@pytest.mark.parametrize("now", [NEW, "a third secret key that is long enough too"])
async def test_a_mistyped_old_key_is_one_clear_error_and_changes_nothing(world: World, now: str) -> None:
    await filled(world)
    if now != NEW:
        await under(world, now, SECRET).subscribe(1)
    before = await back_up(world)
    with pytest.raises(
        RotationError, match=r"^neither TURNUS_SECRET_KEY nor TURNUS_SECRET_KEY_OLD .*: gateway_account"
    ):
        await rotate(under(world, now, SECRET.replace("tests", "texts")).ctx)
    assert await back_up(world) == before


async def test_without_an_old_key_there_is_nothing_to_exchange(world: World) -> None:
    with pytest.raises(RotationError, match=r"^TURNUS_SECRET_KEY_OLD is not set"):
        await rotate(world.ctx)


def test_the_old_key_is_another_one_and_long_enough() -> None:
    with pytest.raises(VaultError, match="TURNUS_SECRET_KEY_OLD is the same as TURNUS_SECRET_KEY"):
        Vault(NEW, NEW)
    with pytest.raises(VaultError, match="TURNUS_SECRET_KEY_OLD needs at least 32 characters"):
        Vault(NEW, "short")


def test_texts_of_before_keys_had_names_are_opened_and_sealed_anew() -> None:
    old = Vault(SECRET)
    unnamed = old.seal("sesame").rpartition(".")[2]
    assert old.unseal(unnamed) == Vault(NEW, SECRET).unseal(unnamed) == "sesame"
    with pytest.raises(VaultError):
        Vault(NEW).unseal(unnamed)
    with pytest.raises(VaultError):
        old.unseal(unnamed[:-8] + "AAAAAAA=")
