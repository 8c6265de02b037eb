"""What users do for the safety of their own account: another password, and a second factor that is put on or off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import totp
from billing.models import User, table
from billing.services.admitting import Visit, end_sessions, record
from billing.services.auditing import Actor
from billing.services.context import Context
from billing.services.refusing import ConflictError, UnfitError
from billing.services.staffing import check_password, set_password
from billing.services.throttling import begin_try, forgive, person
from billing.vault import VaultError

_user = table(User)
_WRONG: Final = "This is not your present password."
_NO_CODE: Final = "This code is not the one that the app shows now."


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A secret that a user is about to put into an app; `sealed` comes back with the code that proves it."""

    secret: str
    sealed: str
    address: str


async def change_password(ctx: Context, visit: Visit, present: str, new: str) -> None:
    """Change a user's own password, given the present one, and end all their other sessions."""
    await check_present(ctx, visit, "present", present)
    check_password(new, visit.email, visit.name)
    fresh = await ctx.passwords.hash(new)
    async with ctx.store.write() as session:
        await set_password(ctx, session, visit.user_id, fresh, keep=visit.session_id)


async def check_present(ctx: Context, visit: Visit, field: str, password: str) -> None:
    """Raise `UnfitError` where it is not the user's password; failures make the next try wait."""
    subjects = [person(ctx, f"own {visit.email}")]
    await begin_try(ctx, subjects)
    async with ctx.store.read() as session:
        mine = select(_user.c.password_hash).where(_user.c.id == visit.user_id)
        stored = (await session.execute(mine)).scalar_one()
    if not await ctx.passwords.is_right(stored, password):
        raise UnfitError(field, _WRONG)
    async with ctx.store.write() as session:
        await forgive(session, subjects)


def offer_second_factor(ctx: Context, visit: Visit, sealed: str = "") -> Enrolment:
    """Return a secret for the user's app: a new one, or the one that was offered before."""
    secret = _unsealed(ctx, visit, sealed) or totp.new_secret()
    sealed = ctx.vault.seal(f"{visit.user_id} {secret}")
    return Enrolment(secret, sealed, totp.address_of(secret, visit.email))


async def put_second_factor_on(ctx: Context, session: AsyncSession, visit: Visit, sealed: str, code: str) -> list[str]:
    """Ask for a code of the app from now on, given one; return the recovery codes, which are shown this once.

    The user's other sessions are ended: they began without it.
    """
    secret = _unsealed(ctx, visit, sealed)
    step = totp.step_of(secret, code, ctx.clock.now(), None) if secret else None
    if step is None:
        raise UnfitError("code", _NO_CODE)
    if (await session.execute(select(_user.c.sealed_totp).where(_user.c.id == visit.user_id))).scalar_one() is not None:
        raise ConflictError("The second factor is on already.")
    codes = totp.new_recovery_codes()
    values = {"sealed_totp": ctx.vault.seal(secret), "totp_step": step, "recovery": list(map(totp.digest_of, codes))}
    await session.execute(update(_user).where(_user.c.id == visit.user_id).values(**values))
    await end_sessions(session, visit.user_id, keep=visit.session_id)
    await record(ctx, session, visit.user_id, "second_factor_on")
    return codes


async def take_second_factor_off(ctx: Context, session: AsyncSession, user_id: int, actor: Actor | None = None) -> None:
    """Ask a user for no code any more; whoever calls has made sure that they want it."""
    off: dict[str, Any] = {"sealed_totp": None, "totp_step": None, "recovery": []}
    await session.execute(update(_user).where(_user.c.id == user_id).values(**off))
    await record(ctx, session, user_id, "second_factor_off", actor)


def _unsealed(ctx: Context, visit: Visit, sealed: str) -> str:
    """Return the secret that was offered to this user; nothing where it was not."""
    try:
        user_id, _, secret = ctx.vault.unseal(sealed).partition(" ") if sealed else ("", "", "")
    except (VaultError, ValueError):
        return ""
    return secret if user_id == str(visit.user_id) else ""
