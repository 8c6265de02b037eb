"""A user's own account: password, second factor, and the browsers in which they are signed in."""

from __future__ import annotations

from typing import Any, Final

import segno
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.services import admitting, securing
from billing.services.refusing import ConflictError, UnfitError
from billing.services.throttling import TooSoonError
from billing.web.console.desk import ROOT, Desk, Seated
from billing.web.console.forms import Draft, Field, Form, Values
from billing.web.console.gate import SESSION, SIGN_IN, Open, Section
from billing.web.console.sign_in import NEW_PASSWORD

router = Section()

ACCOUNT: Final = f"{ROOT}/account"
_PRESENT: Final = Field("present", "Present password", "password", autocomplete="current-password")
_PASSWORD: Final = Form.of(_PRESENT, NEW_PASSWORD)
_FACTOR: Final = Form.of(
    Field("sealed", "", "hidden", chars_max=500),
    Field(
        "code",
        "Code from the app",
        hint="Six digits; it proves that the app has the secret.",
        autocomplete="one-time-code",
        chars_max=20,
    ),
)
_OFF: Final = Form.of(Field("proof", "Present password", "password", autocomplete="current-password"))


@router.page("/account", Open.SIGNED_IN)
async def show_account(desk: Seated) -> Response:
    """Show the account, and where it is signed in."""
    return await _shown(desk)


@router.action("/account/password", Open.SIGNED_IN)
async def change_password(desk: Seated) -> Response:
    """Change the password, and sign out everywhere else."""
    draft = _PASSWORD.read(desk.typed)
    if not draft.is_wrong:
        try:
            values = draft.values
            await securing.change_password(desk.ctx, desk.user, values["present"], values["password"])
            return desk.go(ACCOUNT, "The password is changed. Other browsers are signed out.")
        except (UnfitError, TooSoonError) as error:
            draft = _refused(draft, error)
    return await _shown(desk, draft=draft)


@router.page("/account/second-factor", Open.SIGNED_IN)
async def offer_second_factor(desk: Seated) -> Response:
    """Show the secret for the app, as a picture and as letters."""
    if desk.user.has_second_factor:
        return desk.go(ACCOUNT)
    return _offered(desk, _FACTOR.blank())


@router.action("/account/second-factor", Open.SIGNED_IN)
async def put_second_factor_on(desk: Seated) -> Response:
    """Ask for a code from now on, and show the recovery codes, once."""
    codes: list[str] = []

    async def effect(session: AsyncSession, values: Values) -> None:
        codes.extend(
            await securing.put_second_factor_on(desk.ctx, session, desk.user, values["sealed"], values["code"])
        )

    draft = await desk.attempt(_FACTOR.read(desk.typed), effect)
    return _offered(desk, draft) if draft.is_wrong else desk.show("recovery_codes.html", codes=codes)


@router.action("/account/second-factor/off", Open.SIGNED_IN)
async def take_second_factor_off(desk: Seated) -> Response:
    """Ask for no code any more, given the password."""
    draft = _OFF.read(desk.typed)
    if not draft.is_wrong:
        try:
            await securing.check_present(desk.ctx, desk.user, "proof", draft.values["proof"])
        except (UnfitError, TooSoonError) as error:
            draft = _refused(draft, error)

    async def effect(session: AsyncSession, _: Values) -> None:
        await securing.take_second_factor_off(desk.ctx, session, desk.user.user_id)

    draft = await desk.attempt(draft, effect)
    if draft.is_wrong:
        return await _shown(desk, off=draft)
    return desk.go(ACCOUNT, "The second factor is off.")


@router.action("/account/sign-out-everywhere", Open.SIGNED_IN)
async def sign_out_everywhere(desk: Seated) -> Response:
    """End every session of the user, this one too."""
    async with desk.ctx.store.write() as session:
        await admitting.end_sessions(session, desk.user.user_id)
        await admitting.record(desk.ctx, session, desk.user.user_id, "sign_out_everywhere")
    answer = desk.go(SIGN_IN, "You are signed out everywhere.")
    desk.drop_cookie(answer, SESSION)
    return answer


async def _shown(desk: Desk, draft: Draft | None = None, off: Draft | None = None) -> Response:
    known: dict[str, Any] = {"draft": draft or _PASSWORD.blank(), "off": off or _OFF.blank()}
    sessions = await admitting.list_sessions(desk.ctx, desk.user.user_id)
    status = 422 if off is not None else 200
    return desk.show("account.html", status, sessions=sessions, **known)


def _offered(desk: Desk, draft: Draft) -> Response:
    offer = securing.offer_second_factor(desk.ctx, desk.user, draft.typed.get("sealed", ""))
    drawn = segno.make(offer.address, error="m").svg_inline(
        border=3, light="white", svgclass="qr", lineclass=None, omitsize=True
    )
    picture = Markup(drawn)  # noqa: S704 - nobody else's words are in it
    return desk.show("second_factor_on.html", draft=draft, offer=offer, picture=picture)


def _refused(draft: Draft, error: UnfitError | TooSoonError | ConflictError) -> Draft:
    return draft.wrong("", str(error)) if isinstance(error, TooSoonError) else draft.refused(error)
