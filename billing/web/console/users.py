"""Who works for the merchant: users with their roles, let in by a link and out by an admin."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Role
from billing.services import staffing
from billing.web.console.desk import Seated
from billing.web.console.forms import Draft, Field, Form, Values, choices_of, email
from billing.web.console.gate import Section

router = Section("Users", "/users", of_settings=True, needs=Role.ADMIN)

User = Annotated[int, Path(ge=1, le=2**62)]

_HINTS: Final[dict[str, str]] = {
    Role.VIEWER: "Sees everything, changes nothing.",
    Role.OPERATOR: "Settles doubts, holds runs, changes customers, subscriptions and plans, gives money back.",
    Role.ADMIN: "Does all that, and says who works here.",
}
_ROLE: Final = Field("role", "Role", "choice", options=choices_of(list(Role), _HINTS))
_NEW: Final = Form.of(
    Field("name", "Name", chars_max=100),
    Field("email", "E-mail address", "email", read=email, chars_max=254),
    _ROLE,
)
_CHANGE: Final = Form.of(_ROLE)


@router.page("/users", Role.ADMIN)
async def list_users(desk: Seated) -> Response:
    """Show who works here."""
    async with desk.ctx.store.read() as session:
        rows = await staffing.list_users(session, desk.merchant_id)
    return desk.show("users.html", rows=rows)


@router.page("/users/new", Role.ADMIN)
async def ask_user(desk: Seated) -> Response:
    """Ask who is to work here."""
    return desk.show("user_new.html", draft=_NEW.blank(role=Role.VIEWER))


@router.action("/users/new", Role.ADMIN)
async def add_user(desk: Seated) -> Response:
    """Let somebody work here, and show the link with which they choose a password."""
    link, user_id = "", 0

    async def effect(session: AsyncSession, values: Values) -> None:
        nonlocal link, user_id
        person = staffing.Person(values["email"], values["name"])
        role = Role(values["role"])
        user_id = await staffing.add_user(desk.ctx, session, desk.actor, desk.merchant_id, person, role)
        if await staffing.has_no_password(session, user_id):
            link = await staffing.password_url(desk.ctx, session, user_id)

    draft = await desk.attempt(_NEW.read(desk.typed), effect)
    if draft.is_wrong:
        return desk.show("user_new.html", draft=draft)
    if not link:
        return desk.done("/users", f"{draft.values['name']} works here now, and signs in as before.")
    return desk.show("user_link.html", name=draft.values["name"], link=link, is_new=True)


@router.page("/users/{user}", Role.ADMIN)
async def show_user(desk: Seated, user: User) -> Response:
    """Show one user, and what can be done about them."""
    return await _shown(desk, user)


@router.action("/users/{user}/role", Role.ADMIN)
async def change_role(desk: Seated, user: User) -> Response:
    """Give a user another role."""

    async def effect(session: AsyncSession, values: Values) -> None:
        role = Role(values["role"])
        await staffing.change_role(desk.ctx, session, desk.actor, desk.merchant_id, user, role)

    draft = await desk.attempt(_CHANGE.read(desk.typed), effect)
    return await _shown(desk, user, draft) if draft.is_wrong else desk.done("/users", "The role is changed.")


@router.action("/users/{user}/password", Role.ADMIN)
async def offer_password(desk: Seated, user: User) -> Response:
    """Show a link with which a user chooses a new password; the old one works until then."""
    async with desk.ctx.store.write() as session:
        row = await staffing.find_user(session, desk.merchant_id, user)
        await staffing.check_power(session, desk.user.user_id, user)
        link = await staffing.password_url(desk.ctx, session, user)
        await desk.note(session, "offer_password", f"user_{user}")
    return desk.show("user_link.html", name=row["name"], link=link, is_new=False)


@router.action("/users/{user}/remove", Role.ADMIN)
async def remove_user(desk: Seated, user: User) -> Response:
    """Let a user work here no longer."""
    async with desk.ctx.store.write() as session:
        row = await staffing.find_user(session, desk.merchant_id, user)
        await staffing.remove_user(desk.ctx, session, desk.actor, desk.merchant_id, user)
    return desk.done("/users", f"{row['name']} works here no longer.")


@router.action("/users/{user}/disable", Role.ADMIN)
async def disable_user(desk: Seated, user: User) -> Response:
    """Let a user in no longer, here or anywhere."""
    async with desk.ctx.store.write() as session:
        row = await staffing.find_user(session, desk.merchant_id, user)
        await staffing.check_power(session, desk.user.user_id, user)
        await staffing.disable(desk.ctx, session, desk.actor, user)
    return desk.done("/users", f"{row['name']} cannot sign in any more.")


@router.action("/users/{user}/enable", Role.ADMIN)
async def enable_user(desk: Seated, user: User) -> Response:
    """Let a disabled user in again."""
    async with desk.ctx.store.write() as session:
        row = await staffing.find_user(session, desk.merchant_id, user)
        await staffing.check_power(session, desk.user.user_id, user)
        await staffing.enable(desk.ctx, session, desk.actor, user)
    return desk.done("/users", f"{row['name']} can sign in again.")


async def _shown(desk: Seated, user: int, draft: Draft | None = None) -> Response:
    async with desk.ctx.store.read() as session:
        row = await staffing.find_user(session, desk.merchant_id, user)
    return desk.show("user.html", row=row, draft=draft or _CHANGE.blank(role=row["role"]))
