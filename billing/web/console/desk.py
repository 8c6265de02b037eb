"""What a page of the console is given: who asks, for which merchant and in which role, and how to answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, Request
from sqlalchemy import ColumnElement, RowMapping, Select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import HTMLResponse, RedirectResponse, Response

from billing.lifecycle import MoveError
from billing.models import Role
from billing.services.admitting import Visit
from billing.services.auditing import Actor, audit
from billing.services.context import Context, Moment
from billing.services.refusing import ConflictError, UnfitError
from billing.vault import VaultError
from billing.web.console.forms import Draft, Values
from billing.web.console.pages import Sheets, Writer

ROOT: Final = "/console"
PART: Final = 50
VISITOR: Final = "visitor"
_TOAST: Final = "toast"
_TOAST_LASTS_S: Final = 60

Effect = Callable[[AsyncSession, Values], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One place in the navigation; `waiting` things there want a person."""

    title: str
    url: str
    is_here: bool
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Seat:
    """A user's place at one merchant: the merchant's row, the role, business time, and where one can go from here."""

    merchant: RowMapping
    role: Role
    moment: Moment
    others: Sequence[RowMapping] = ()
    entries: Sequence[Entry] = ()
    settings: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a long list, and the addresses of those that follow and, unless they are here, of the newest."""

    rows: Sequence[RowMapping]
    following: str = ""
    newest: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """One request of the console. `typed` is what a form brought; `visitor` names a browser nobody is signed in at."""

    request: Request
    ctx: Context
    visit: Visit | None = None
    visitor: str = field(default="", repr=False)
    seat: Seat | None = None
    typed: Mapping[str, str] = field(default_factory=dict, repr=False)
    typed_all: Sequence[tuple[str, str]] = field(default=(), repr=False)

    # Who asks.

    @property
    def user(self) -> Visit:
        """The session of whoever asks; only pages for everybody have none."""
        if self.visit is None:
            raise LookupError("nobody is signed in here")
        return self.visit

    @property
    def actor(self) -> Actor:
        """Who does what is done."""
        return self.user.actor

    @property
    def at(self) -> Seat:
        """The place at the merchant that the address names."""
        if self.seat is None:
            raise LookupError("this page belongs to no merchant")
        return self.seat

    @property
    def merchant_id(self) -> int:
        """The one merchant whose things the page shows and changes."""
        return int(self.at.merchant["id"])

    def may(self, role: str) -> bool:
        """Answer whether the user may do here what wants a role."""
        return self.seat is not None and self.seat.role.includes(Role(role))

    @property
    def address(self) -> str:
        """The network address of whoever asks."""
        return self.request.client.host if self.request.client else ""

    def asked(self, name: str) -> str:
        """Return a word of the address's query, such as a filter."""
        return self.request.query_params.get(name, "").strip()[:2000]

    @property
    def csrf(self) -> str:
        """The token that forms carry: only who can read a page of this session, or of this browser, knows it."""
        holder = self.visit.token if self.visit is not None else self.visitor
        return self.ctx.vault.digest("form", holder)

    # Where things are.

    def url(self, path: str = "", **query: str) -> str:
        """Return the address of one of the merchant's pages."""
        asked = urlencode({name: value for name, value in query.items() if value})
        return f"{ROOT}/{self.at.merchant['reference']}{path}" + (f"?{asked}" if asked else "")

    def title_of(self, gateway: str) -> str:
        """Return the name of a gateway as people know it."""
        return self.ctx.gateways.title_of(gateway)

    # What is done.

    async def attempt(self, draft: Draft, effect: Effect) -> Draft:
        """Do the effect in one transaction if every field is good; return the form with what was said against it."""
        if draft.is_wrong:
            return draft
        try:
            async with self.ctx.store.write() as session:
                await effect(session, draft.values)
        except (UnfitError, ConflictError) as error:
            return draft.refused(error)
        except MoveError as error:
            return draft.refused(ConflictError(str(error)))
        return draft

    async def note(self, session: AsyncSession, verb: str, subject: str = "", **detail: Any) -> None:
        """Record what the user does to a thing of the merchant, in the transaction in which it is done."""
        await audit(self.ctx, session, [self.merchant_id], self.actor, verb, subject, **detail)

    # What is answered.

    @property
    def writer(self) -> Writer:
        """Who writes amounts and times for this reader."""
        if self.seat is None:
            return Writer("", "UTC", self.ctx.clock.now().date())
        merchant = self.seat.merchant
        return Writer(merchant["country"], merchant["timezone"], self.seat.moment.today)

    def show(self, template: str, /, status: int = 200, **known: Any) -> Response:
        """Show a page; a form on it that has to be put right makes it a 422."""
        draft = known.get("draft")
        if isinstance(draft, Draft) and draft.is_wrong and status == 200:
            status = 422
        sheets: Sheets = self.request.app.state.sheets
        toast = self._toast()
        answer = HTMLResponse(sheets.render(template, desk=self, w=self.writer, toast=toast, **known), status)
        if toast:
            self.drop_cookie(answer, _TOAST)
        if self.visit is None and self.cookie(VISITOR) != self.visitor:
            self.set_cookie(answer, VISITOR, self.visitor)
        return answer

    def done(self, path: str, toast: str = "", *, link: tuple[str, str] | None = None) -> Response:
        """Lead to one of the merchant's pages, which says once what was done; a link is an address and its label."""
        return self.go(self.url(path), toast, link=link)

    def go(self, url: str, toast: str = "", *, link: tuple[str, str] | None = None) -> Response:
        """Lead to a page of the console by its whole address."""
        answer = RedirectResponse(url, 303)
        if toast:
            sealed = self.ctx.vault.seal(json.dumps([toast, *(link or ())]))
            self.set_cookie(answer, _TOAST, sealed, _TOAST_LASTS_S)
        return answer

    # Cookies.

    def cookie(self, name: str) -> str:
        """Return one of our cookies."""
        return cookie_of(self.request, self.ctx, name)

    def set_cookie(self, answer: Response, name: str, value: str, lasts_s: int | None = None) -> None:
        """Set a cookie that no script reads and no other site's form sends along."""
        key, is_safe = cookie_name(self.ctx, name), _is_safe(self.ctx)
        answer.set_cookie(key, value, lasts_s, path="/", secure=is_safe, httponly=True, samesite="lax")

    def drop_cookie(self, answer: Response, name: str) -> None:
        """Let the browser forget a cookie."""
        key, is_safe = cookie_name(self.ctx, name), _is_safe(self.ctx)
        answer.delete_cookie(key, path="/", secure=is_safe, httponly=True, samesite="lax")

    def _toast(self) -> Sequence[str]:
        try:
            said: list[str] = json.loads(self.ctx.vault.unseal(self.cookie(_TOAST))) if self.cookie(_TOAST) else []
        except (VaultError, ValueError):
            return ()
        return said


def cookie_name(ctx: Context, name: str) -> str:
    """Return a cookie's whole name; `__Host-` keeps it from being set by a neighbour, where there is HTTPS."""
    return f"{'__Host-' if _is_safe(ctx) else ''}turnus-{name}"


def cookie_of(request: Request, ctx: Context, name: str) -> str:
    """Return what one of our cookies holds, or nothing."""
    return request.cookies.get(cookie_name(ctx, name), "")


def _is_safe(ctx: Context) -> bool:
    return ctx.links.public_url.startswith("https://")


async def part_of(
    desk: Desk, session: AsyncSession, query: Select[Any], id_column: ColumnElement[int], size: int = PART
) -> Part:
    """Return the part of a list, newest first, that the address asks for by `before`: nothing is missed or twice.

    Whatever else the address asks for is asked for by the parts before and after it as well.
    """
    before = desk.asked("before")
    if before.isascii() and before.isdigit() and len(before) < 19:
        query = query.where(id_column < int(before))
    rows = (await session.execute(query.order_by(id_column.desc()).limit(size + 1))).mappings().all()
    shown, here = rows[:size], desk.request.url
    following = here.include_query_params(before=shown[-1][id_column]) if len(rows) > size else None
    newest = here.remove_query_params("before") if before else None
    return Part(shown, *(f"{url.path}?{url.query}" if url else "" for url in (following, newest)))


def _desk(request: Request) -> Desk:
    """Return the desk that the gate has made for this request."""
    desk: Desk = request.state.desk
    return desk


Seated = Annotated[Desk, Depends(_desk)]
"""What every page of the console takes."""
