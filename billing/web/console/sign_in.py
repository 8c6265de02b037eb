"""The doors: signing in with password and second factor, signing out, and the link with which a password is chosen."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.passwords import weakness_of
from billing.services import admitting, staffing
from billing.services.throttling import TooSoonError
from billing.web.console.desk import ROOT, Desk, Seated
from billing.web.console.forms import Draft, Field, Form, Values, email
from billing.web.console.gate import SESSION, SIGN_IN, Open, Section, merchants_of, safe_next

router = Section()

_NEXT: Final = Field("next", "", "hidden", required=False, chars_max=2000)
_SIGN_IN: Final = Form.of(
    Field("email", "E-mail address", "email", read=email, autocomplete="username", chars_max=254),
    Field("password", "Password", "password", autocomplete="current-password"),
    _NEXT,
)
_CODE: Final = Form.of(
    Field(
        "code", "Code", hint="Six digits from the app, or a recovery code.", autocomplete="one-time-code", chars_max=40
    ),
    _NEXT,
)
NEW_PASSWORD: Final = Field(
    "password",
    "New password",
    "password",
    hint="At least 12 characters; a short sentence is good.",
    autocomplete="new-password",
)
_CHOOSE: Final = Form.of(NEW_PASSWORD)


@router.page("/", Open.SIGNED_IN)
async def go_home(desk: Seated) -> Response:
    """Lead to the user's first merchant."""
    async with desk.ctx.store.read() as session:
        mine = await merchants_of(session, desk.user.user_id)
    if mine:
        return desk.go(f"{ROOT}/{mine[0]['reference']}")
    return desk.show("nothing.html")


@router.page("/sign-in", Open.ANYBODY)
async def ask_password(desk: Seated) -> Response:
    """Ask who it is."""
    onward = safe_next(desk.asked("next"))
    if desk.visit is not None and not desk.visit.waits_for_code:
        return desk.go(onward)
    return await _ask(desk, _SIGN_IN.blank(next=onward))


@router.action("/sign-in", Open.ANYBODY)
async def check_password(desk: Seated) -> Response:
    """Begin a session, whole or waiting for the second factor; any that this browser had is ended."""
    draft = _SIGN_IN.read(desk.typed)
    if draft.is_wrong:
        return await _ask(desk, draft)
    values = draft.values
    try:
        token = await admitting.sign_in(desk.ctx, values["email"], values["password"], desk.address)
    except admitting.DeniedError as error:
        return await _ask(desk, draft.refused(error))
    except TooSoonError as error:
        return await _ask(desk, draft.wrong("", str(error)), 429)
    if desk.visit is not None:
        await admitting.sign_out(desk.ctx, desk.visit)
    return _let_in(desk, token, safe_next(values["next"]))


@router.page("/second-factor", Open.CODE)
async def ask_code(desk: Seated) -> Response:
    """Ask for the second factor."""
    return desk.show("second_factor.html", draft=_CODE.blank(next=safe_next(desk.asked("next"))))


@router.action("/second-factor", Open.CODE)
async def check_code(desk: Seated) -> Response:
    """Make the session whole."""
    draft = _CODE.read(desk.typed)
    if draft.is_wrong:
        return desk.show("second_factor.html", draft=draft)
    try:
        token = await admitting.confirm(desk.ctx, desk.user, draft.values["code"], desk.address)
    except admitting.DeniedError as error:
        return desk.show("second_factor.html", draft=draft.wrong("code", str(error)))
    except TooSoonError as error:
        return desk.show("second_factor.html", 429, draft=draft.wrong("", str(error)))
    return _let_in(desk, token, safe_next(draft.values["next"]))


@router.action("/sign-out", Open.SIGNED_IN)
async def sign_out(desk: Seated) -> Response:
    """End this session."""
    await admitting.sign_out(desk.ctx, desk.user)
    return _let_out(desk, "You are signed out.")


@router.action("/second-factor/leave", Open.CODE)
async def leave(desk: Seated) -> Response:
    """End a session that waits for its second factor, to sign in as somebody else."""
    await admitting.sign_out(desk.ctx, desk.user)
    return _let_out(desk)


@router.page("/password/{token}", Open.ANYBODY)
async def offer_password(desk: Seated, token: str) -> Response:
    """Ask the holder of a link for a new password."""
    async with desk.ctx.store.read() as session:
        user = await staffing.find_by_password_link(desk.ctx, session, token)
    return desk.show("password.html", draft=_CHOOSE.blank(), user=user)


@router.action("/password/{token}", Open.ANYBODY)
async def choose_password(desk: Seated, token: str) -> Response:
    """Give the holder of a link a new password; the link opens nothing afterwards."""
    async with desk.ctx.store.read() as session:
        user = await staffing.find_by_password_link(desk.ctx, session, token)
    draft = judged(_CHOOSE.read(desk.typed), user["email"], user["name"])
    hashed = await hash_of(desk, draft)

    async def effect(session: AsyncSession, _: Values) -> None:
        await staffing.find_by_password_link(desk.ctx, session, token)
        await staffing.set_password(desk.ctx, session, user["id"], hashed)

    draft = await desk.attempt(draft, effect)
    if draft.is_wrong:
        return desk.show("password.html", draft=draft, user=user)
    return desk.go(SIGN_IN, "The password is set. Sign in with it.")


def judged(draft: Draft, *about: str) -> Draft:
    """Return a form with an error beside a new password that would be guessed."""
    password = draft.values.get("password")
    weakness = weakness_of(password, *about) if password is not None else ""
    return draft.wrong("password", weakness) if weakness else draft


async def hash_of(desk: Desk, draft: Draft) -> str:
    """Return what is stored of a form's password, before any transaction; nothing where the form is wrong."""
    return "" if draft.is_wrong else await desk.ctx.passwords.hash(draft.values["password"])


async def _ask(desk: Desk, draft: Draft, status: int = 200) -> Response:
    is_fresh = not await staffing.is_anybody_there(desk.ctx)
    return desk.show("sign_in.html", status, draft=draft, is_fresh=is_fresh)


def _let_in(desk: Desk, token: str, onward: str) -> Response:
    """Lead on with a new token; where it waits for a code, the page that asks for it comes first by itself."""
    answer = desk.go(onward)
    desk.set_cookie(answer, SESSION, token, int(admitting.LASTS.total_seconds()))
    return answer


def _let_out(desk: Desk, toast: str = "") -> Response:
    answer = desk.go(SIGN_IN, toast)
    desk.drop_cookie(answer, SESSION)
    return answer
