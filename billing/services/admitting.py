"""Sign people in and out: sessions that are made, recognised and ended, under a second factor where there is one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import totp
from billing.models import ActorKind, ConsoleSession, Membership, User, new_row, table
from billing.services.auditing import Actor, audit
from billing.services.context import Context
from billing.services.refusing import ConflictError
from billing.services.throttling import begin_try, forgive, person, place

_user, _session, _membership = table(User), table(ConsoleSession), table(Membership)

LASTS: Final = timedelta(days=7)
IDLE_MAX: Final = timedelta(hours=12)
CODE_WAIT_MAX: Final = timedelta(minutes=10)
WRONG: Final = "The address or the password is not right."
SEEN_EVERY: Final = timedelta(minutes=1)
"""Looks within this time are one, so that reading pages does not write all the time."""


class DeniedError(ConflictError):
    """Signing in that did not work; which part of it was wrong is not told."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A browser's session and whose it is; `token` is what its cookie holds."""

    token: str = field(repr=False)
    session_id: int
    user_id: int
    email: str
    name: str
    has_second_factor: bool
    waits_for_code: bool

    @property
    def actor(self) -> Actor:
        """Who does what is done in this session."""
        return Actor(ActorKind.USER, self.email)


def spelled(email: str) -> str:
    """Return an address as it is kept: what is typed in capitals is the same address."""
    return email.strip().lower()


async def sign_in(ctx: Context, email: str, password: str, address: str) -> str:
    """Return the token of a new session; raise `DeniedError`, or `TooSoonError` without a look at the password.

    It takes as long whether or not anybody has the address. Where the user has a second factor, the session
    waits for it. What is stored of the password is renewed where it was hashed with less effort than today.
    """
    subjects = [person(ctx, spelled(email)), place(ctx, address)]
    await begin_try(ctx, subjects)
    user = await _by_email(ctx, spelled(email))
    stored: str = user["password_hash"] if user else ""
    is_right = await ctx.passwords.is_right(stored, password)
    if user is None or not is_right or user["disabled_at"] is not None:
        raise DeniedError(WRONG)
    fresh = await ctx.passwords.hash(password) if ctx.passwords.is_outdated(stored) else stored
    async with ctx.store.write() as session:
        await _keep_hash(ctx, session, user["id"], stored, fresh)
        if user["sealed_totp"] is None:
            await forgive(session, subjects)
        return await begin(ctx, session, user["id"], address, waits_for_code=user["sealed_totp"] is not None)


async def confirm(ctx: Context, visit: Visit, code: str, address: str) -> str:
    """Return the token of a whole session for one that waits, given a code of the app or a recovery code.

    A code is taken once. Failures count with those of the password, which come again only after a whole sign-in.
    """
    subjects = [person(ctx, f"code of {visit.email}"), place(ctx, address)]
    await begin_try(ctx, subjects)
    async with ctx.store.write() as session:
        if not await use_code(ctx, session, visit.user_id, code):
            raise DeniedError("This code is not right, or was used before. Wait for the next one.")
        await forgive(session, [*subjects, person(ctx, visit.email), place(ctx, address)])
        await session.execute(delete(_session).where(_session.c.id == visit.session_id))
        return await begin(ctx, session, visit.user_id, address)


async def use_code(ctx: Context, session: AsyncSession, user_id: int, code: str) -> bool:
    """Take a code of the user's app or one of the recovery codes, so that it works this once; answer whether it did."""
    query = ctx.store.lock(select(_user).where(_user.c.id == user_id))
    user = (await session.execute(query)).mappings().one()
    if user["sealed_totp"] is None:
        return False
    step = totp.step_of(ctx.vault.unseal(user["sealed_totp"]), code, ctx.clock.now(), user["totp_step"])
    left = [each for each in user["recovery"] if each != totp.digest_of(code)]
    if step is None and len(left) == len(user["recovery"]):
        return False
    values: dict[str, Any] = {"recovery": left} if step is None else {"totp_step": step}
    await session.execute(update(_user).where(_user.c.id == user_id).values(**values))
    return True


async def begin(
    ctx: Context, session: AsyncSession, user_id: int, address: str, *, waits_for_code: bool = False
) -> str:
    """Begin a session of a user and return its token, which is stored nowhere; whole ones are recorded."""
    token, now = secrets.token_urlsafe(32), ctx.clock.now()
    about: dict[str, Any] = {"user_id": user_id, "token_digest": _digest(token), "address": address[:64]}
    about |= {"created_at": now, "last_seen_at": now, "waits_for_code": waits_for_code}
    about["expires_at"] = now + (CODE_WAIT_MAX if waits_for_code else LASTS)
    gone = (_session.c.user_id == user_id) & ~_is_good(now)
    await session.execute(delete(_session).where(gone))
    await session.execute(insert(_session).values(new_row(ConsoleSession, **about)))
    if not waits_for_code:
        await session.execute(update(_user).where(_user.c.id == user_id).values(last_signed_in_at=now))
        await record(ctx, session, user_id, "sign_in", address=address)
    return token


async def recognise(ctx: Context, token: str) -> Visit | None:
    """Return the session a token opens now; nothing where it was ended, is over, or was not used for long."""
    if not token:
        return None
    now = ctx.clock.now()
    query = select(_session, _user.c.email, _user.c.name, _user.c.sealed_totp).join_from(_session, _user)
    good = (_session.c.token_digest == _digest(token)) & _is_good(now) & _user.c.disabled_at.is_(None)
    async with ctx.store.read() as session:
        row = (await session.execute(query.where(good))).mappings().one_or_none()
    if row is None:
        return None
    if row["last_seen_at"] <= now - SEEN_EVERY:
        async with ctx.store.write() as session:
            await session.execute(update(_session).where(_session.c.id == row["id"]).values(last_seen_at=now))
    factor = row["sealed_totp"] is not None
    return Visit(token, row["id"], row["user_id"], row["email"], row["name"], factor, row["waits_for_code"])


async def sign_out(ctx: Context, visit: Visit) -> None:
    """End the session."""
    async with ctx.store.write() as session:
        await session.execute(delete(_session).where(_session.c.id == visit.session_id))
        await record(ctx, session, visit.user_id, "sign_out")


async def end_sessions(session: AsyncSession, user_id: int, keep: int | None = None) -> None:
    """End every session of a user, or every one but that which is kept."""
    mine = _session.c.user_id == user_id
    await session.execute(delete(_session).where(mine if keep is None else mine & (_session.c.id != keep)))


async def list_sessions(ctx: Context, user_id: int) -> list[RowMapping]:
    """Return the sessions in which a user is signed in, the last used first."""
    mine = (_session.c.user_id == user_id) & _is_good(ctx.clock.now()) & ~_session.c.waits_for_code
    async with ctx.store.read() as session:
        query = select(_session).where(mine).order_by(_session.c.last_seen_at.desc(), _session.c.id.desc())
        return list((await session.execute(query)).mappings())


async def record(
    ctx: Context, session: AsyncSession, user_id: int, verb: str, actor: Actor | None = None, **detail: Any
) -> None:
    """Record what a user did to themselves, or an actor to them, for every merchant that knows them."""
    email = (await session.execute(select(_user.c.email).where(_user.c.id == user_id))).scalar_one()
    query = select(_membership.c.merchant_id).where(_membership.c.user_id == user_id)
    merchants = (await session.execute(query)).scalars().all()
    subject = f"user_{user_id}"
    await audit(ctx, session, merchants, actor or Actor(ActorKind.USER, email), verb, subject, **detail)


def _is_good(now: datetime) -> Any:
    return (_session.c.expires_at > now) & (_session.c.last_seen_at > now - IDLE_MAX)


async def _by_email(ctx: Context, email: str) -> RowMapping | None:
    async with ctx.store.read() as session:
        return (await session.execute(select(_user).where(_user.c.email == email))).mappings().one_or_none()


async def _keep_hash(ctx: Context, session: AsyncSession, user_id: int, stored: str, fresh: str) -> None:
    """Keep the password's new hash; a password that was changed meanwhile was not the right one."""
    mine = _user.c.id == user_id
    current = (await session.execute(ctx.store.lock(select(_user.c.password_hash).where(mine)))).scalar_one()
    if current != stored:
        raise DeniedError(WRONG)
    if fresh != stored:
        await session.execute(update(_user).where(mine).values(password_hash=fresh))


def _digest(token: str) -> str:
    """Return what is stored of a token: it is random and long, so that a plain digest cannot be guessed back."""
    return sha256(token.encode()).hexdigest()
