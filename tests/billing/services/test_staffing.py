"""Users of the console: the first admin, roles, the last admin, and links to choose a password."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from billing.models import ActorKind, AuditEntry, Membership, Role, User, table
from billing.services import staffing
from billing.services.auditing import ENGINE, Actor, audit
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.staffing import Person
from tests.billing.services.support import World
from tests.billing.web.console.support import HASH, give_role, make_user

ROOT = Actor(ActorKind.COMMAND, "root")
ANNA = Person(" Anna@Example.net ", "Anna Huber")


async def first_admin(world: World, person: Person = ANNA) -> int:
    async with world.store.write() as session:
        return await staffing.make_first_admin(world.ctx, session, person, HASH)


async def test_the_first_admin_is_the_admin_of_every_merchant_and_the_only_first_one(world: World) -> None:
    other = await world.beside("ostwind")
    user_id = await first_admin(world)
    roles = {(row["merchant_id"], row["role"]) for row in await world.rows(Membership, user_id=user_id)}
    assert roles == {(world.merchant_id, "admin"), (other.merchant_id, "admin")}
    [user] = await world.rows(User)
    assert user["email"] == "anna@example.net"
    with pytest.raises(ConflictError, match="set up already"):
        await first_admin(world, Person("bo@example.net", "Bo"))


async def test_of_many_who_set_up_at_once_one_becomes_the_admin(world: World) -> None:
    people = [Person(f"user{number}@example.net", "Somebody") for number in range(6)]
    done = await asyncio.gather(*(first_admin(world, each) for each in people), return_exceptions=True)
    assert sum(isinstance(each, int) for each in done) == 1
    assert {type(each) for each in done} <= {int, ConflictError}
    assert len(await world.rows(User)) == 1


async def test_an_address_is_taken_once_however_it_is_spelled(world: World) -> None:
    await make_user(world, email="anna@example.net")
    async with world.store.write() as session:
        with pytest.raises(UnfitError, match="works here already") as refused:
            await staffing.add_user(world.ctx, session, ROOT, world.merchant_id, ANNA, Role.VIEWER)
    assert refused.value.field == "email"


async def test_who_works_for_one_merchant_is_given_a_role_at_another_without_a_new_account(world: World) -> None:
    user_id = await make_user(world, email="anna@example.net")
    other = await world.beside("ostwind")
    async with world.store.write() as session:
        added = await staffing.add_user(world.ctx, session, ROOT, other.merchant_id, ANNA, Role.OPERATOR)
    assert added == user_id
    [entry] = await world.rows(AuditEntry, verb="add_user")
    assert (entry["merchant_id"], entry["subject"]) == (other.merchant_id, f"user_{user_id}")
    assert (entry["actor_kind"], entry["actor"]) == ("command", "root")
    assert entry["detail"] == {"email": "anna@example.net", "role": "operator"}


async def test_the_last_admin_stays_one(world: World) -> None:
    admin = await make_user(world)
    await make_user(world, disabled_at=world.ctx.clock.now())
    await make_user(world, Role.OPERATOR)
    async with world.store.write() as session:
        for doing in (
            staffing.change_role(world.ctx, session, ROOT, world.merchant_id, admin, Role.OPERATOR),
            staffing.remove_user(world.ctx, session, ROOT, world.merchant_id, admin),
            staffing.disable(world.ctx, session, ROOT, admin),
        ):
            with pytest.raises(ConflictError, match="last admin"):
                await doing
        await staffing.change_role(world.ctx, session, ROOT, world.merchant_id, admin, Role.ADMIN)


async def test_two_admins_cannot_both_step_down_at_once(world: World) -> None:
    admins = [await make_user(world), await make_user(world)]

    async def step_down(user_id: int) -> None:
        async with world.store.write() as session:
            await staffing.change_role(world.ctx, session, ROOT, world.merchant_id, user_id, Role.VIEWER)

    done = await asyncio.gather(*map(step_down, admins), return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["ConflictError", "NoneType"]
    assert len(await world.rows(Membership, role="admin")) == 1


async def test_a_user_of_another_merchant_is_not_there(world: World) -> None:
    other = await world.beside("ostwind")
    theirs = await make_user(world, merchant_id=other.merchant_id)
    async with world.store.write() as session:
        with pytest.raises(MissingError):
            await staffing.find_user(session, world.merchant_id, theirs)
        with pytest.raises(MissingError):
            await staffing.change_role(world.ctx, session, ROOT, world.merchant_id, theirs, Role.VIEWER)
        with pytest.raises(MissingError):
            await staffing.remove_user(world.ctx, session, ROOT, world.merchant_id, theirs)


async def test_what_concerns_the_whole_user_wants_an_admin_of_all_their_merchants(world: World) -> None:
    me, them, other = await make_user(world), await make_user(world), await world.beside("ostwind")
    async with world.store.read() as session:
        await staffing.check_power(session, me, them)
    await give_role(world, them, other.merchant_id, Role.VIEWER)
    async with world.store.read() as session:
        with pytest.raises(ConflictError, match="also works for a merchant"):
            await staffing.check_power(session, me, them)
    await give_role(world, me, other.merchant_id, Role.OPERATOR)
    async with world.store.read() as session:
        with pytest.raises(ConflictError, match="also works for a merchant"):
            await staffing.check_power(session, me, them)


async def test_a_link_to_choose_a_password_works_once_and_for_a_week(world: World) -> None:
    user_id = await make_user(world)

    async def link() -> str:
        async with world.store.read() as session:
            return (await staffing.password_url(world.ctx, session, user_id)).rpartition("/")[2]

    async def opens(token: str) -> bool:
        async with world.store.read() as session:
            try:
                return int((await staffing.find_by_password_link(world.ctx, session, token))["id"]) == user_id
            except MissingError:
                return False

    first, second = await link(), await link()
    assert await opens(first)
    assert not await opens(first[:-1] + ("0" if first[-1] != "0" else "1"))
    assert not await opens("1." + first.partition(".")[2].replace(".", "0.", 1))
    async with world.store.write() as session:
        await staffing.set_password(world.ctx, session, user_id, HASH + "x")
    assert not await opens(first)
    assert not await opens(second)
    third = await link()
    world.clock.advance(staffing.LINK_LASTS)
    assert await opens(third)
    world.clock.advance(timedelta(seconds=1))
    assert not await opens(third)
    for nonsense in ("", "1", "1.2", "1.2.3", "x.y.z", "²." * 3, "9" * 30 + ".1.x"):
        assert not await opens(nonsense)


async def test_what_is_recorded_goes_with_what_it_tells_of(world: World) -> None:
    async def break_halfway() -> None:
        async with world.store.write() as session:
            await audit(world.ctx, session, [world.merchant_id], ENGINE, "void_invoice", "inv_1", reason="x" * 300)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await break_halfway()
    assert await world.rows(AuditEntry) == []
    async with world.store.write() as session:
        await audit(world.ctx, session, [], ENGINE, "nothing")
        await audit(world.ctx, session, [world.merchant_id], ENGINE, "v" * 100, "s" * 200, at="kept")
    [entry] = await world.rows(table(AuditEntry))
    assert (len(entry["verb"]), len(entry["subject"]), entry["detail"]) == (60, 140, {"at": "kept"})
