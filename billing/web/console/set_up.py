"""The first visit: whoever can read the log of this installation becomes its first admin, and says who sells."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final
from zoneinfo import available_timezones

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Merchant, table
from billing.services import admitting, staffing
from billing.services.founding import MerchantFacts, SetupError, enter
from billing.services.refusing import MissingError, UnfitError
from billing.web.console.desk import ROOT, Desk, Seated
from billing.web.console.forms import Draft, Field, Form, Values, currency, email, matching, options, time_zone
from billing.web.console.gate import SESSION, Open, Section
from billing.web.console.sign_in import NEW_PASSWORD, hash_of, judged

router = Section()

_merchant = table(Merchant)
_ZONES: Final = tuple(sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")))
_PREFIX: Final = matching(r"[A-Za-z0-9-]{1,20}", "Write letters, digits and dashes, at most 20.")
_COUNTRY: Final = matching(r"[A-Za-z]{2}", "Write the country's two letters, like AT.")

_PERSON: Final = (
    Field("token", "", "hidden"),
    Field("name", "Your name", autocomplete="name", chars_max=100),
    Field("email", "Your e-mail address", "email", "You sign in with it.", read=email, autocomplete="username"),
    NEW_PASSWORD,
)
_BUSINESS: Final = (
    Field("legal_name", "Legal name", hint="As it stands on invoices.", autocomplete="organization"),
    Field("country", "Country", hint="Two letters, like AT.", read=_COUNTRY, autocomplete="country", chars_max=2),
    Field("currency", "Currency", hint="What new prices are in.", read=currency, chars_max=3),
    Field(
        "timezone",
        "Time zone",
        "select",
        "Where your days begin and end.",
        read=time_zone,
        options=options(zip(_ZONES, _ZONES, strict=True)),
    ),
    Field(
        "number_prefix",
        "Prefix of invoice numbers",
        hint="Like NA: invoices are NA-2026-00001 and so on.",
        read=_PREFIX,
        chars_max=20,
    ),
    Field(
        "mail_from",
        "Mails to customers come from",
        "email",
        "Left empty, from your own address.",
        required=False,
        read=email,
        chars_max=254,
    ),
)
_WITH_BUSINESS: Final = Form.of(*_PERSON, *_BUSINESS)
_WITHOUT: Final = Form.of(*_PERSON)


@router.page("/set-up", Open.ANYBODY)
async def ask(desk: Seated) -> Response:
    """Ask who the first admin is, and who sells where nobody does yet."""
    form = await _form(desk, desk.asked("token"))
    return _shown(desk, form.blank(token=desk.asked("token"), currency="EUR", timezone="Europe/Vienna"))


@router.action("/set-up", Open.ANYBODY)
async def set_up(desk: Seated) -> Response:
    """Make the first admin and, where there is none, the first merchant; then they are signed in."""
    form = await _form(desk, desk.typed.get("token", ""))
    draft = form.read(desk.typed)
    draft = judged(draft, draft.typed["email"], draft.typed["name"])
    hashed, token = await hash_of(desk, draft), ""

    async def effect(session: AsyncSession, values: Values) -> None:
        nonlocal token
        if "legal_name" in values:
            await _enter(desk, session, values)
        person = staffing.Person(values["email"], values["name"])
        user_id = await staffing.make_first_admin(desk.ctx, session, person, hashed)
        token = await admitting.begin(desk.ctx, session, user_id, desk.address)

    draft = await desk.attempt(draft, effect)
    if draft.is_wrong:
        return _shown(desk, draft)
    answer = desk.go(f"{ROOT}/", "Turnus is set up, and you are its admin.")
    desk.set_cookie(answer, SESSION, token, int(admitting.LASTS.total_seconds()))
    return answer


async def _enter(desk: Desk, session: AsyncSession, values: Values) -> None:
    try:
        await enter(desk.ctx, session, _facts(values))
    except SetupError as error:
        raise UnfitError("legal_name", str(error)) from None


async def _form(desk: Desk, token: str) -> Form:
    """Return what is asked for, if there is nobody yet and the token is right; else there is no such page."""
    if not staffing.is_set_up_token(desk.ctx, token) or await staffing.is_anybody_there(desk.ctx):
        raise MissingError("The console is set up already, or this is not the address that `turnus serve` has shown.")
    async with desk.ctx.store.read() as session:
        sellers = (await session.execute(select(func.count()).select_from(_merchant))).scalar_one()
    return _WITHOUT if sellers else _WITH_BUSINESS


def _shown(desk: Desk, draft: Draft) -> Response:
    names = {each.name for each in draft.fields}
    asks = tuple(each.name for each in _BUSINESS if each.name in names)
    return desk.show("set_up.html", draft=draft, person=("name", "email", "password"), business=asks)


def _facts(values: Values) -> MerchantFacts:
    legal_name: str = values["legal_name"]
    about: dict[str, Any] = {name: values[name] for name in ("legal_name", "number_prefix", "timezone", "currency")}
    about |= {"country": values["country"].upper(), "mail_from": values["mail_from"] or values["email"]}
    return MerchantFacts(reference=_slug(legal_name), name=legal_name[:100], **about)


def _slug(name: str) -> str:
    """Return a name fit for an address: `Nordlicht Analytics GmbH` is `nordlicht-analytics-gmbh`."""
    letters = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:38].rstrip("-") or "merchant"
