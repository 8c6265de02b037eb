"""API keys: what is stored of them, how long they open what, and what of them can be found again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from billing.models import ApiKey, Scope
from billing.services.keying import (
    Caller,
    KeyingError,
    list_keys,
    make_key,
    recognise,
    revoke_key,
    rotate_key,
)
from tests.billing.services.support import START, World

ALL = (Scope.REFUND, Scope.READ, Scope.WRITE)


async def test_a_key_opens_its_merchant_with_its_scopes_and_nothing_stored_opens_it_again(world: World) -> None:
    key = await make_key(world.ctx, world.merchant_id, "shop", ALL)

    caller = await recognise(world.ctx, key.text)

    assert caller == Caller(1, key.prefix, world.merchant_id, frozenset(ALL), "shop")
    [row] = await world.rows(ApiKey)
    assert key.text.startswith(f"tk_{row['prefix']}_")
    assert row["scopes"] == "read write refund"
    secret = key.text.split("_", 2)[2]
    assert secret not in str(row)
    assert await recognise(world.ctx, f"tk_{row['prefix']}_{row['secret_digest'][:43]}") is None


@pytest.mark.parametrize("wrong", ["", "tk_", "Bearer", "tk_000000000000_" + "A" * 43, "tk_0_A", "tk_zz\x00"])
async def test_what_is_no_key_opens_nothing(world: World, wrong: str) -> None:
    await make_key(world.ctx, world.merchant_id, "shop", ALL)
    assert await recognise(world.ctx, wrong) is None


async def test_another_secret_under_the_same_prefix_opens_nothing(world: World) -> None:
    one = await make_key(world.ctx, world.merchant_id, "shop", ALL)
    two = await make_key(world.ctx, world.merchant_id, "shop", ALL)
    mixed = f"tk_{one.prefix}_{two.text.split('_', 2)[2]}"
    assert await recognise(world.ctx, mixed) is None


async def test_a_key_is_over_at_its_time_and_a_revoked_one_at_once(world: World) -> None:
    short = await make_key(world.ctx, world.merchant_id, "shop", ALL, days=1)
    lasting = await make_key(world.ctx, world.merchant_id, "shop", ALL)
    assert await recognise(world.ctx, short.text)

    world.next_day()
    assert await recognise(world.ctx, short.text) is None
    assert await recognise(world.ctx, lasting.text)

    await revoke_key(world.ctx, f"tk_{lasting.prefix}")
    assert await recognise(world.ctx, lasting.text) is None
    with pytest.raises(KeyingError, match="opens nothing any more"):
        await revoke_key(world.ctx, lasting.prefix)


async def test_a_rotated_key_goes_on_for_a_while_beside_the_new_one(world: World) -> None:
    old = await make_key(world.ctx, world.merchant_id, "shop", [Scope.READ], days=30)
    world.next_day(10)

    new = await rotate_key(world.ctx, old.prefix, hours=2)

    for key in (old, new):
        caller = await recognise(world.ctx, key.text)
        assert caller is not None
        assert caller.scopes == {Scope.READ}
    world.clock.advance(timedelta(hours=2))
    assert await recognise(world.ctx, old.text) is None
    world.next_day(29)
    assert await recognise(world.ctx, new.text)


async def test_rotation_prolongs_no_key(world: World) -> None:
    old = await make_key(world.ctx, world.merchant_id, "shop", ALL, days=1)
    await rotate_key(world.ctx, old.prefix, hours=1000)
    world.next_day()
    assert await recognise(world.ctx, old.text) is None
    with pytest.raises(KeyingError):
        await rotate_key(world.ctx, old.prefix, hours=1)


async def test_the_last_use_is_dated_once_a_minute(world: World) -> None:
    key = await make_key(world.ctx, world.merchant_id, "shop", ALL)
    await recognise(world.ctx, key.text)
    world.clock.advance(timedelta(seconds=59))
    await recognise(world.ctx, key.text)
    assert [row["last_used_at"] for row in await list_keys(world.ctx)] == [START]
    world.clock.advance(timedelta(seconds=1))
    await recognise(world.ctx, key.text)
    assert [row["last_used_at"] for row in await list_keys(world.ctx)] == [START + timedelta(minutes=1)]


async def test_a_key_that_could_do_nothing_is_not_made(world: World) -> None:
    with pytest.raises(KeyingError, match="at least one scope"):
        await make_key(world.ctx, world.merchant_id, "shop", [])


async def test_lists_name_the_merchant_and_show_no_digest(world: World) -> None:
    other = await world.beside("ostwind")
    await make_key(world.ctx, world.merchant_id, "shop", ALL)
    await make_key(replace(other.ctx), other.merchant_id, "app", [Scope.READ])

    assert [row["merchant"] for row in await list_keys(world.ctx)] == ["nordlicht", "ostwind"]
    [row] = await list_keys(world.ctx, other.merchant_id)
    assert (row["name"], row["scopes"]) == ("app", "read")
    assert "secret_digest" not in row
