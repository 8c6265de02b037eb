"""Who works here: the first admin, users with their roles, and the links with which they choose a password."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Membership, Merchant, Role, User, new_row, table
from billing.passwords import weakness_of
from billing.services.admitting import end_sessions, record, spelled
from billing.services.auditing import Actor, audit
from billing.services.context import Context
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.throttling import take_turns

_user, _membership, _merchant = table(User), table(Membership), table(Merchant)

LINK_LASTS: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Person:
    """Who is to be a user."""

    email: str
    name: str


# --- the first admin --------------------------------------------------------


def set_up_token(ctx: Context) -> str:
    """Return what shows that whoever sets the console up may read this installation's log.

    It follows from the secret key, so that every process tells the same; it opens nothing once there is a user.
    """
    return ctx.vault.digest("set up the console")


def set_up_url(ctx: Context) -> str:
    """Return the address at which the first admin is made."""
    return f"{ctx.links.public_url}/console/set-up?token={set_up_token(ctx)}"


def is_set_up_token(ctx: Context, token: str) -> bool:
    """Answer whether it is the token."""
    return hmac.compare_digest(token.encode(), set_up_token(ctx).encode())


async def is_anybody_there(ctx: Context) -> bool:
    """Answer whether there is any user, disabled or not."""
    async with ctx.store.read() as session:
        return await _is_anybody_in(session)


async def make_first_admin(ctx: Context, session: AsyncSession, first: Person, password_hash: str) -> int:
    """Make the first user, the admin of every merchant there is; raise `ConflictError` where there is a user."""
    await take_turns(session, set_up_token(ctx), ctx.clock.now())
    merchant_ids = (await session.execute(select(_merchant.c.id).order_by(_merchant.c.id))).scalars().all()
    if await _is_anybody_in(session):
        raise ConflictError("The console is set up already. Sign in, or ask an admin to let you in.")
    user_id = await _make(ctx, session, first, password_hash)
    rows = [_member(ctx, user_id, merchant_id, Role.ADMIN) for merchant_id in merchant_ids]
    if rows:
        await session.execute(insert(_membership), rows)
    await record(ctx, session, user_id, "set_up")
    return user_id


# --- users and roles --------------------------------------------------------


async def list_users(session: AsyncSession, merchant_id: int | None = None) -> Sequence[RowMapping]:
    """Return users with their roles, one row for each merchant they work for; without secrets."""
    columns = [_user.c[name] for name in _TOLD]
    has_factor = _user.c.sealed_totp.is_not(None).label("has_second_factor")
    query = select(*columns, has_factor, _membership.c.role, _merchant.c.reference.label("merchant"))
    query = query.select_from(_user).join(_membership, isouter=True).join(_merchant, isouter=True)
    if merchant_id is not None:
        query = query.where(_membership.c.merchant_id == merchant_id)
    return (await session.execute(query.order_by(_user.c.name, _user.c.id, _merchant.c.id))).mappings().all()


async def find_user(session: AsyncSession, merchant_id: int, user_id: int) -> RowMapping:
    """Return a user of a merchant with the role there; raise `MissingError` where they are not one."""
    rows = await list_users(session, merchant_id)
    found = next((row for row in rows if row["id"] == user_id), None)
    if found is None:
        raise MissingError(f"there is no user user_{user_id}")
    return found


async def add_user(
    ctx: Context, session: AsyncSession, actor: Actor, merchant_id: int, person: Person, role: Role
) -> int:
    """Let a person work for a merchant and return their id; one who is a user already only gets the role."""
    known = select(_user.c.id, _user.c.disabled_at).where(_user.c.email == spelled(person.email))
    row = (await session.execute(known)).one_or_none()
    if row is not None and row.disabled_at is not None:
        raise UnfitError("email", "The user with this address is disabled.")
    user_id: int = row.id if row is not None else await _make(ctx, session, person, "")
    if row is not None and await _role_of(session, user_id, merchant_id) is not None:
        raise UnfitError("email", "Somebody with this address works here already.")
    await session.execute(insert(_membership).values(_member(ctx, user_id, merchant_id, role)))
    await _tell(ctx, session, merchant_id, actor, "add_user", user_id, email=spelled(person.email), role=role)
    return user_id


async def change_role(
    ctx: Context, session: AsyncSession, actor: Actor, merchant_id: int, user_id: int, role: Role
) -> None:
    """Give a user another role; the last admin of a merchant keeps theirs."""
    await _lock_merchants(ctx, session, [merchant_id])
    before = await _role_of(session, user_id, merchant_id)
    if before is None:
        raise MissingError(f"there is no user user_{user_id}")
    if role is not Role.ADMIN:
        await _keep_an_admin(session, user_id, [merchant_id])
    mine = (_membership.c.user_id == user_id) & (_membership.c.merchant_id == merchant_id)
    await session.execute(update(_membership).where(mine).values(role=role))
    await _tell(ctx, session, merchant_id, actor, "change_role", user_id, role=role, before=before)


async def remove_user(ctx: Context, session: AsyncSession, actor: Actor, merchant_id: int, user_id: int) -> None:
    """Let a user work for a merchant no longer; the last admin stays. What they did stays recorded."""
    await _lock_merchants(ctx, session, [merchant_id])
    await find_user(session, merchant_id, user_id)
    await _keep_an_admin(session, user_id, [merchant_id])
    mine = (_membership.c.user_id == user_id) & (_membership.c.merchant_id == merchant_id)
    await session.execute(delete(_membership).where(mine))
    await _tell(ctx, session, merchant_id, actor, "remove_user", user_id)


async def disable(ctx: Context, session: AsyncSession, actor: Actor, user_id: int) -> None:
    """Let a user in no longer, anywhere, and end their sessions; no merchant loses its last admin."""
    merchant_ids = await _merchants_of(session, user_id)
    await _lock_merchants(ctx, session, merchant_ids)
    await _keep_an_admin(session, user_id, merchant_ids)
    still_on = (_user.c.id == user_id) & _user.c.disabled_at.is_(None)
    await session.execute(update(_user).where(still_on).values(disabled_at=ctx.clock.now()))
    await end_sessions(session, user_id)
    await record(ctx, session, user_id, "disable_user", actor)


async def enable(ctx: Context, session: AsyncSession, actor: Actor, user_id: int) -> None:
    """Let a disabled user in again."""
    await session.execute(update(_user).where(_user.c.id == user_id).values(disabled_at=None))
    await record(ctx, session, user_id, "enable_user", actor)


async def check_power(session: AsyncSession, actor_id: int, user_id: int) -> None:
    """Raise `ConflictError` where a user works for a merchant at which the actor is no admin.

    What concerns the whole user, such as a new password, is then not for one merchant's admin to do.
    """
    theirs = select(_membership.c.merchant_id).where(
        _membership.c.user_id == actor_id, _membership.c.role == Role.ADMIN
    )
    beyond = (_membership.c.user_id == user_id) & _membership.c.merchant_id.not_in(theirs)
    if (await session.execute(select(exists().where(beyond)))).scalar():
        raise ConflictError("This user also works for a merchant at which you are no admin.")


# --- the link with which a password is chosen -------------------------------


async def password_url(ctx: Context, session: AsyncSession, user_id: int) -> str:
    """Return an address at which the user chooses a password, once and within a week."""
    stored = (await session.execute(select(_user.c.password_hash).where(_user.c.id == user_id))).scalar_one()
    until = int((ctx.clock.now() + LINK_LASTS).timestamp())
    return f"{ctx.links.public_url}/console/password/{user_id}.{until}.{_proof(ctx, user_id, until, stored)}"


async def has_no_password(session: AsyncSession, user_id: int) -> bool:
    """Answer whether a user has never chosen a password."""
    stored = (await session.execute(select(_user.c.password_hash).where(_user.c.id == user_id))).scalar_one()
    return not stored


async def find_by_password_link(ctx: Context, session: AsyncSession, token: str) -> RowMapping:
    """Return whose link it is; raise `MissingError` where it is forged, over, or was used."""
    user_id, until, proof = _parts(token)
    query = select(_user).where(_user.c.id == user_id, _user.c.disabled_at.is_(None))
    row = (await session.execute(ctx.store.lock(query))).mappings().one_or_none()
    stored = row["password_hash"] if row is not None else ""
    is_ours = hmac.compare_digest(proof.encode(), _proof(ctx, user_id, until, stored).encode())
    if row is None or not is_ours or until < int(ctx.clock.now().timestamp()):
        raise MissingError("This link has been used, or is over. Ask for a new one.")
    found: RowMapping = row
    return found


def check_password(password: str, *about: str) -> None:
    """Raise `UnfitError` where a new password would be guessed."""
    if weakness := weakness_of(password, *about):
        raise UnfitError("password", weakness)


async def set_password(
    ctx: Context, session: AsyncSession, user_id: int, password_hash: str, keep: int | None = None
) -> None:
    """Give a user a new password, and end every session but the one that is kept."""
    await session.execute(update(_user).where(_user.c.id == user_id).values(password_hash=password_hash))
    await end_sessions(session, user_id, keep)
    await record(ctx, session, user_id, "change_password")


async def find_by_email(session: AsyncSession, email: str) -> RowMapping:
    """Return the user with an address; raise `MissingError` where there is none."""
    mine = select(_user).where(_user.c.email == spelled(email))
    row = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no user {email!r}")
    found: RowMapping = row
    return found


_TOLD: Final = ("id", "email", "name", "created_at", "disabled_at", "last_signed_in_at")


def _parts(token: str) -> tuple[int, int, str]:
    user_id, _, rest = token.partition(".")
    until, _, proof = rest.partition(".")
    is_whole = all(each.isascii() and each.isdigit() and len(each) < 18 for each in (user_id, until))
    return (int(user_id), int(until), proof) if is_whole else (0, 0, "")


def _proof(ctx: Context, user_id: int, until: int, stored: str) -> str:
    return ctx.vault.digest("choose a password", user_id, until, stored)


async def _make(ctx: Context, session: AsyncSession, person: Person, password_hash: str) -> int:
    about: dict[str, Any] = {"email": spelled(person.email), "name": person.name, "password_hash": password_hash}
    made = insert(_user).values(new_row(User, **about, created_at=ctx.clock.now())).returning(_user.c.id)
    user_id: int = (await session.execute(made)).scalar_one()
    return user_id


def _member(ctx: Context, user_id: int, merchant_id: int, role: Role) -> dict[str, Any]:
    return {"user_id": user_id, "merchant_id": merchant_id, "role": role, "created_at": ctx.clock.now()}


async def _tell(
    ctx: Context, session: AsyncSession, merchant_id: int, actor: Actor, verb: str, user_id: int, **detail: Any
) -> None:
    await audit(ctx, session, [merchant_id], actor, verb, f"user_{user_id}", **detail)


async def _is_anybody_in(session: AsyncSession) -> bool:
    return (await session.execute(select(func.count()).select_from(_user))).scalar_one() > 0


async def _role_of(session: AsyncSession, user_id: int, merchant_id: int) -> Role | None:
    mine = (_membership.c.user_id == user_id) & (_membership.c.merchant_id == merchant_id)
    role = (await session.execute(select(_membership.c.role).where(mine))).scalar_one_or_none()
    return None if role is None else Role(role)


async def _merchants_of(session: AsyncSession, user_id: int) -> Sequence[int]:
    mine = select(_membership.c.merchant_id).where(_membership.c.user_id == user_id)
    return (await session.execute(mine.order_by(_membership.c.merchant_id))).scalars().all()


async def _lock_merchants(ctx: Context, session: AsyncSession, merchant_ids: Sequence[int]) -> None:
    """Let nobody else change who works for these merchants until the end of the transaction."""
    mine = select(_merchant.c.id).where(_merchant.c.id.in_(merchant_ids)).order_by(_merchant.c.id)
    await session.execute(ctx.store.lock(mine))


async def _keep_an_admin(session: AsyncSession, user_id: int, merchant_ids: Sequence[int]) -> None:
    """Raise `ConflictError` where a merchant would be without an admin if the user were none any more."""
    admin = (_membership.c.role == Role.ADMIN) & _membership.c.merchant_id.in_(merchant_ids)
    others = select(_membership.c.merchant_id).join_from(_membership, _user)
    others = others.where(admin, _membership.c.user_id != user_id, _user.c.disabled_at.is_(None))
    theirs = (_membership.c.user_id == user_id) & admin & _membership.c.merchant_id.not_in(others)
    if (await session.execute(select(exists().where(theirs)))).scalar():
        raise ConflictError("This is the last admin. Make somebody else an admin first.")
