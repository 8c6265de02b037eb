"""What stands before every page of the console: who may see it, and that a form was sent from here by its user."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Membership, Merchant, Role, table
from billing.services.admitting import Visit, recognise
from billing.services.context import Context, moments
from billing.services.refusing import MissingError
from billing.web.console.desk import ROOT, VISITOR, Desk, Entry, Seat, cookie_of

_merchant, _membership = table(Merchant), table(Membership)

SESSION: Final = "session"
FIELDS_MAX: Final = 2000
FORM_BYTES_MAX: Final = 1024 * 1024
SIGN_IN: Final = f"{ROOT}/sign-in"
SECOND_FACTOR: Final = f"{ROOT}/second-factor"

Count = Callable[[AsyncSession, int], Awaitable[int]]


class Open(StrEnum):
    """What a page wants of whoever asks, where it belongs to no merchant."""

    ANYBODY = "anybody"
    CODE = "second factor"
    SIGNED_IN = "signed in"


Need = Role | Open


class ElsewhereError(Exception):
    """Somebody has to go to another page first."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


class ForbiddenError(PermissionError):
    """A user who may not do this here; the message says why."""


class ForgedError(PermissionError):
    """A form that was not sent from a page of this session."""


class Section(APIRouter):
    """Pages of one noun. Each is declared with what it needs: a merchant's pages a role, all others who may come.

    A section with a `title` stands in the navigation, `of_settings` among the settings; `count` counts what waits
    there for a person.
    """

    def __init__(
        self,
        title: str = "",
        path: str = "",
        *,
        of_settings: bool = False,
        needs: Role = Role.VIEWER,
        count: Count | None = None,
    ) -> None:
        super().__init__()
        self.title, self.path, self.of_settings, self.needs, self.count = title, path, of_settings, needs, count

    def page(self, path: str, need: Need) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare what is shown at a path."""
        return self._declare("GET", path, need)

    def action(self, path: str, need: Need) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare what a form sent to a path does."""
        return self._declare("POST", path, need)

    def _declare(self, verb: str, path: str, need: Need) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        whole = f"/{{merchant}}{path}" if isinstance(need, Role) else path
        return self.api_route(whole, methods=[verb], dependencies=[Depends(Admission(need))], response_model=None)


def need_of(route: APIRoute) -> Need:
    """Return what a route was declared to need."""
    [admission] = [each.dependency for each in route.dependencies if isinstance(each.dependency, Admission)]
    return admission.need


@dataclass(frozen=True, slots=True)
class Admission:
    """Lets a request in with its desk in the request's state, or raises why not."""

    need: Need

    async def __call__(self, request: Request) -> None:
        """Ask who it is, then what they may, then whether they sent the form."""
        ctx: Context = request.app.state.ctx
        visit = await recognise(ctx, cookie_of(request, ctx, SESSION))
        desk = Desk(request, ctx, visit, cookie_of(request, ctx, VISITOR) or secrets.token_urlsafe(32))
        if self.need is not Open.ANYBODY:
            _check_signed_in(request, visit, wants_code=self.need is Open.CODE)
        if isinstance(self.need, Role):
            desk = replace(desk, seat=await _seat(desk, request.path_params["merchant"], self.need))
        if request.method == "POST":
            desk = await _with_form(desk)
        request.state.desk = desk


def safe_next(url: str) -> str:
    """Return an address to go on to if it is one of the console's own pages, else the console's first page."""
    parts = urlsplit(url) if url.isascii() and url.isprintable() and "\\" not in url else urlsplit("")
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith(f"{ROOT}/")
    steps = unquote(parts.path).split("/")[2:]
    if not is_ours or any(step in ("", ".", "..") for step in steps) or "\\" in unquote(parts.path):
        return f"{ROOT}/"
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _check_signed_in(request: Request, visit: Visit | None, *, wants_code: bool) -> None:
    """Send whoever is not signed in, or only half, to the page that asks for what is missing."""
    here = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    onward = f"?next={quote(here, safe='')}" if request.method == "GET" and not wants_code else ""
    if visit is None:
        raise ElsewhereError(SIGN_IN + onward)
    if visit.waits_for_code != wants_code:
        raise ElsewhereError(SECOND_FACTOR + onward if visit.waits_for_code else f"{ROOT}/")


async def _seat(desk: Desk, reference: str, need: Role) -> Seat:
    """Return the user's place at a merchant; one at which they have no role is not there for them."""
    async with desk.ctx.store.read() as session:
        others = await merchants_of(session, desk.user.user_id)
        mine = next((row for row in others if row["reference"] == reference), None)
        if mine is None:
            raise MissingError(f"there is no merchant {reference!r}")
        role = Role(mine["role"])
        if not role.includes(need):
            raise ForbiddenError(f"This needs the role {need}. Yours at {mine['name']} is {role}.")
        times = await moments(desk.ctx, session, [mine["id"]])
        entries, settings = await _entries(desk, session, mine, role)
        return Seat(mine, role, times[mine["id"]], others, entries, settings)


async def merchants_of(session: AsyncSession, user_id: int) -> Sequence[RowMapping]:
    """Return the merchants at which a user has a role, each with it."""
    query = select(_merchant, _membership.c.role).join_from(_membership, _merchant)
    mine = query.where(_membership.c.user_id == user_id).order_by(_merchant.c.name, _merchant.c.id)
    return (await session.execute(mine)).mappings().all()


async def _entries(
    desk: Desk, session: AsyncSession, merchant: RowMapping, role: Role
) -> tuple[list[Entry], list[Entry]]:
    """Return the navigation and the settings' own: what is there, and the user may see."""
    root = f"{ROOT}/{merchant['reference']}"
    path = desk.request.url.path
    entries: list[Entry] = []
    settings: list[Entry] = []
    for section in desk.request.app.state.sections:
        if section.title and role.includes(section.needs):
            waiting = await section.count(session, merchant["id"]) if section.count else 0
            url = root + section.path
            is_here = path == url or path.startswith(f"{url}/") if section.path else path.rstrip("/") == url
            (settings if section.of_settings else entries).append(Entry(section.title, url, is_here, waiting))
    if settings:
        entries.append(Entry("Settings", settings[0].url, any(each.is_here for each in settings)))
    return entries, settings


async def _with_form(desk: Desk) -> Desk:
    """Return the desk with what the form brought, once it is sure that a page of this very session sent it."""
    pairs = await _pairs(desk.request)
    typed = dict(reversed(pairs))
    if not _is_from_here(desk) or not hmac.compare_digest(typed.get("csrf", "").encode(), desk.csrf.encode()):
        raise ForgedError(
            "This form is too old, or was not sent from here. Go back, load the page again and repeat it."
        )
    return replace(desk, typed=typed, typed_all=pairs)


def _is_from_here(desk: Desk) -> bool:
    """Answer whether the browser says that one of our own pages sent the form; a browser that says nothing is none."""
    headers = desk.request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site is not None
    ours = {urlsplit(desk.ctx.links.public_url).netloc, headers.get("host", "")}
    return urlsplit(origin).netloc in ours


async def _pairs(request: Request) -> list[tuple[str, str]]:
    """Return what a form brought, in its order; there is an end to how much is read."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise ForgedError("This form is larger than any of ours.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise ForgedError("This form cannot be read.") from None
    return [(name, text.replace("\r\n", "\n")) for name, text in pairs]
