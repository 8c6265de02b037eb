"""Signing in: who may, how often one may try, how long it lasts, and that a code is taken once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher

from billing import totp
from billing.models import AuditEntry, ConsoleSession, SignInFailure, User
from billing.passwords import Passwords
from billing.services import securing
from billing.services.admitting import (
    IDLE_MAX,
    LASTS,
    DeniedError,
    Visit,
    confirm,
    recognise,
    sign_in,
    sign_out,
)
from billing.services.refusing import ConflictError, UnfitError
from billing.services.staffing import set_password
from billing.services.throttling import FREE, FREE_OF_PLACE, TooSoonError, delay_s, place
from billing.store import Store
from tests.billing.services.support import World, make_world
from tests.billing.web.console.support import HASH, PASSWORD, at_https, make_user

ANNA = "anna@example.net"
HERE = "192.0.2.7"


@pytest.fixture
async def world(store: Store) -> World:
    """A merchant with one user."""
    plain = await make_world(store)
    world = replace(plain, ctx=at_https(plain.ctx))
    await make_user(world, email=ANNA)
    return world


async def visit_of(world: World, email: str = ANNA, address: str = HERE) -> Visit:
    visit = await recognise(world.ctx, await sign_in(world.ctx, email, PASSWORD, address))
    assert visit is not None
    return visit


async def fails(doing: Awaitable[Any]) -> str:
    """Return why it did not work: `denied`, or for how long one must wait."""
    try:
        await doing
    except DeniedError:
        return "denied"
    except TooSoonError as error:
        return f"{error.wait_s} s"
    raise AssertionError("it worked")


async def wrong(world: World, email: str = ANNA, address: str = HERE) -> str:
    return await fails(sign_in(world.ctx, email, "wrong", address))


async def test_who_signs_in_is_recognised_until_they_sign_out(world: World) -> None:
    visit = await visit_of(world)
    assert (visit.email, visit.waits_for_code, visit.actor.name) == (ANNA, False, ANNA)
    assert visit.token not in repr(visit)
    [row] = await world.rows(ConsoleSession)
    assert visit.token not in str(dict(row))
    await sign_out(world.ctx, visit)
    assert await recognise(world.ctx, visit.token) is None
    assert [entry["verb"] for entry in await world.rows(AuditEntry)] == ["sign_in", "sign_out"]


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 5000])
async def test_nonsense_opens_nothing(world: World, token: str) -> None:
    assert await recognise(world.ctx, token) is None


async def test_a_session_ends_when_it_is_not_used_and_after_a_week(world: World) -> None:
    visit = await visit_of(world)
    world.clock.advance(IDLE_MAX - timedelta(seconds=1))
    assert await recognise(world.ctx, visit.token) is not None
    world.clock.advance(IDLE_MAX - timedelta(seconds=1))
    assert await recognise(world.ctx, visit.token) is not None
    world.clock.advance(IDLE_MAX)
    assert await recognise(world.ctx, visit.token) is None
    visit, ends = await visit_of(world), world.clock.now() + LASTS
    while world.clock.now() + timedelta(hours=6) < ends:
        world.clock.advance(timedelta(hours=6))
        assert await recognise(world.ctx, visit.token) is not None
    world.clock.advance(timedelta(hours=6))
    assert await recognise(world.ctx, visit.token) is None


async def test_a_disabled_user_is_let_in_no_longer_and_is_told_as_little_as_a_stranger(world: World) -> None:
    visit = await visit_of(world)
    await world.change(User, 1, disabled_at=world.clock.now())
    assert await recognise(world.ctx, visit.token) is None
    assert await fails(sign_in(world.ctx, ANNA, PASSWORD, HERE)) == "denied"


async def test_who_has_not_chosen_a_password_cannot_sign_in_without_one(world: World) -> None:
    await make_user(world, email="new@example.net", password_hash="")
    assert await fails(sign_in(world.ctx, "new@example.net", "", HERE)) == "denied"


async def test_each_failure_makes_the_next_try_wait_longer_and_success_ends_it(world: World) -> None:
    assert [await wrong(world) for _ in range(FREE + 1)] == ["denied"] * FREE + ["1 s"]
    waits = []
    for _ in range(4):
        world.clock.advance(timedelta(seconds=1))
        while (said := await wrong(world)) != "denied":
            waits.append(said)
            world.clock.advance(timedelta(seconds=int(said.split()[0])))
    assert waits == ["1 s", "3 s", "7 s"]
    assert await fails(sign_in(world.ctx, ANNA, PASSWORD, HERE)) == "16 s"
    world.clock.advance(timedelta(seconds=16))
    await visit_of(world)
    assert await wrong(world) == "denied"


async def test_failures_at_one_address_let_other_people_in_from_elsewhere(world: World) -> None:
    await make_user(world, email="bo@example.net")
    for number in range(FREE_OF_PLACE):
        await wrong(world, f"user{number}@example.net")
    assert await wrong(world, "bo@example.net") == "1 s"
    await visit_of(world, "bo@example.net", "198.51.100.4")


async def test_a_person_is_tried_out_from_nowhere(world: World) -> None:
    said = [await wrong(world, ANNA, f"192.0.2.{number}") for number in range(FREE + 1)]
    assert said == ["denied"] * FREE + ["1 s"]
    await make_user(world, email="bo@example.net")
    await visit_of(world, "bo@example.net")


async def test_tries_at_once_are_no_way_round(world: World) -> None:
    said = await asyncio.gather(*(wrong(world) for _ in range(FREE * 3)))
    assert said.count("denied") == FREE


async def test_failures_of_yesterday_count_for_nothing(world: World) -> None:
    for _ in range(FREE):
        await wrong(world)
    world.clock.advance(timedelta(days=1, seconds=1))
    assert await wrong(world) == "denied"
    assert {row["count"] for row in await world.rows(SignInFailure)} == {1}


async def test_nobody_is_named_where_failures_are_counted(world: World) -> None:
    await wrong(world)
    rows = [str(dict(row)) for row in await world.rows(SignInFailure)]
    assert not any(ANNA in row or HERE in row for row in rows)


@pytest.mark.parametrize(("failures", "expected"), [(-5, 0), (-1, 0), (0, 1), (1, 2), (5, 32), (6, 60), (10**9, 60)])
def test_the_wait_doubles_to_its_limit(failures: int, expected: int) -> None:
    assert delay_s(failures, 60) == expected


def test_a_network_of_one_customer_is_one_place(world: World) -> None:
    ctx = world.ctx
    assert place(ctx, "2001:db8::1") == place(ctx, "2001:db8::ffff:2")
    assert place(ctx, "2001:db8::1") != place(ctx, "2001:db8:0:1::1")
    assert place(ctx, "192.0.2.1") != place(ctx, "192.0.2.2")
    assert place(ctx, "unix socket") == place(ctx, "unix socket")


async def test_a_password_is_hashed_anew_when_more_effort_is_asked_for(world: World) -> None:
    harder = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    ctx = replace(world.ctx, passwords=harder)
    await sign_in(ctx, ANNA, PASSWORD, HERE)
    [user] = await world.rows(User)
    assert user["password_hash"] != HASH
    assert not harder.is_outdated(user["password_hash"])
    await sign_in(ctx, ANNA, PASSWORD, HERE)


async def test_it_is_as_slow_for_strangers_as_for_users(world: World) -> None:
    asked: list[str] = []

    class Counting(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            asked.append("work")
            return super().hash(password, salt=salt)

        def verify(self, hash: str | bytes, password: str | bytes) -> Any:
            asked.append("work")
            return super().verify(hash, password)

    ctx = replace(world.ctx, passwords=Passwords(Counting(time_cost=1, memory_cost=8, parallelism=1)))
    for email in (ANNA, "nobody@example.net"):
        assert await fails(sign_in(ctx, email, "wrong", HERE)) == "denied"
    assert asked == ["work", "work"]


# --- the second factor ------------------------------------------------------


async def with_app(world: World) -> tuple[str, list[str]]:
    """Put the second factor on; return the app's secret and the recovery codes."""
    visit = await visit_of(world)
    offer = securing.offer_second_factor(world.ctx, visit)
    async with world.store.write() as session:
        code = totp.code_at(offer.secret, world.clock.now())
        return offer.secret, await securing.put_second_factor_on(world.ctx, session, visit, offer.sealed, code)


async def test_a_code_is_asked_for_and_taken_once(world: World) -> None:
    secret, _ = await with_app(world)
    used = totp.code_at(secret, world.clock.now())
    half = await visit_of(world)
    assert half.waits_for_code
    assert await fails(confirm(world.ctx, half, used, HERE)) == "denied"
    world.clock.advance(timedelta(seconds=totp.STEP_S))
    code = totp.code_at(secret, world.clock.now())
    other = await visit_of(world)
    whole = await recognise(world.ctx, await confirm(world.ctx, half, f" {code[:3]} {code[3:]} ", HERE))
    assert whole is not None
    assert not whole.waits_for_code
    assert await recognise(world.ctx, half.token) is None
    assert await fails(confirm(world.ctx, other, code, HERE)) == "denied"


async def test_a_code_used_twice_at_once_lets_one_in(world: World) -> None:
    secret, _ = await with_app(world)
    world.clock.advance(timedelta(seconds=totp.STEP_S))
    code = totp.code_at(secret, world.clock.now())
    halves = [await visit_of(world) for _ in range(3)]
    done = await asyncio.gather(*(confirm(world.ctx, each, code, HERE) for each in halves), return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["DeniedError", "DeniedError", "str"]


async def test_a_recovery_code_works_once_however_it_is_typed(world: World) -> None:
    _, codes = await with_app(world)
    assert len(set(codes)) == 10
    [user] = await world.rows(User)
    assert not any(code in str(dict(user)) for code in codes)
    assert await confirm(world.ctx, await visit_of(world), codes[3].upper().replace("-", " "), HERE)
    assert await fails(confirm(world.ctx, await visit_of(world), codes[3], HERE)) == "denied"
    assert await confirm(world.ctx, await visit_of(world), codes[4], HERE)


async def test_codes_cannot_be_tried_out(world: World) -> None:
    await with_app(world)
    half = await visit_of(world)
    said = [await fails(confirm(world.ctx, half, "000000", HERE)) for _ in range(FREE + 2)]
    assert said.count("denied") <= FREE
    assert said[-1].endswith(" s")


async def test_signing_in_by_password_alone_again_and_again_does_not_forgive_the_codes(world: World) -> None:
    await with_app(world)
    said = [await fails(confirm(world.ctx, await visit_of(world), "000000", f"192.0.2.{n}")) for n in range(FREE - 1)]
    assert said == ["denied"] * (FREE - 1)
    world.clock.advance(timedelta(minutes=1))
    half = await visit_of(world, address="198.51.100.9")
    await fails(confirm(world.ctx, half, "000000", "198.51.100.9"))
    assert await fails(confirm(world.ctx, half, "000000", "198.51.100.10")) == "1 s"


async def test_putting_it_on_wants_a_code_of_what_was_offered_to_this_user(world: World) -> None:
    visit, now = await visit_of(world), world.clock.now()
    await make_user(world, email="bo@example.net")
    other = await visit_of(world, "bo@example.net")
    offer, theirs = securing.offer_second_factor(world.ctx, visit), securing.offer_second_factor(world.ctx, other)
    assert securing.offer_second_factor(world.ctx, visit, offer.sealed).secret == offer.secret
    async with world.store.write() as session:
        for sealed, secret in ((offer.sealed, theirs.secret), (theirs.sealed, theirs.secret), ("x", offer.secret)):
            code = totp.code_at(secret, now)
            with pytest.raises(UnfitError) as refused:
                await securing.put_second_factor_on(world.ctx, session, visit, sealed, code)
            assert refused.value.field == "code"
    await with_app(world)
    async with world.store.write() as session:
        code = totp.code_at(offer.secret, now)
        with pytest.raises(ConflictError, match="on already"):
            await securing.put_second_factor_on(world.ctx, session, visit, offer.sealed, code)


# --- passwords --------------------------------------------------------------


async def test_a_new_password_ends_every_other_session(world: World) -> None:
    visit, other = await visit_of(world), await visit_of(world)
    await securing.change_password(world.ctx, visit, PASSWORD, "another long and fake one")
    assert await recognise(world.ctx, visit.token) is not None
    assert await recognise(world.ctx, other.token) is None
    assert await wrong(world) == "denied"
    await sign_in(world.ctx, ANNA, "another long and fake one", HERE)


async def test_a_password_is_changed_only_by_who_knows_it_and_not_to_one_that_is_guessed(world: World) -> None:
    visit = await visit_of(world)
    for present, new, field in (("wrong", "another long and fake one", "present"), (PASSWORD, "short", "password")):
        with pytest.raises(UnfitError) as refused:
            await securing.change_password(world.ctx, visit, present, new)
        assert refused.value.field == field
    [user] = await world.rows(User)
    assert user["password_hash"] == HASH


async def test_a_password_that_is_changed_while_it_is_checked_lets_nobody_in(world: World) -> None:
    class Changing(Passwords):
        async def is_right(self, stored: str, password: str) -> bool:  # noqa: ARG002
            async with world.store.write() as session:
                await set_password(world.ctx, session, 1, HASH + "x")
            return True

    assert await fails(sign_in(replace(world.ctx, passwords=Changing()), ANNA, PASSWORD, HERE)) == "denied"
    assert await world.rows(ConsoleSession) == []
