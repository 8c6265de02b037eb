"""What a call has: who makes it, what it may do, and how it is answered, once."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.background import BackgroundTask
from starlette.responses import Response

from billing.models import Scope
from billing.services.answering import Claim, Kept, claim, digest_of, keep, release
from billing.services.auditing import audit
from billing.services.context import Context
from billing.services.keying import Caller
from billing.web.api.problems import Kind, Problem

_KEY_PATTERN: Final = r"^[!-~]{1,200}$"
_ABOUT_KEY: Final = "The same key with the same body gets the same answer, and what it did is done once."
_bearer = HTTPBearer(scheme_name="key", description="An API key, made by `turnus keys create`.", auto_error=False)

PREFIX: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call that changes something is answered: what became of it, and where that can be looked at."""

    body: BaseModel
    status: int = 200
    location: str = ""

    def kept(self) -> Kept:
        """Return it as it is sent and kept."""
        text = self.body.model_dump_json()
        headers = {"ETag": tag_of(text)}
        if self.location:
            headers["Location"] = PREFIX + self.location
        return Kept(self.status, text, headers)


Effect = Callable[[AsyncSession], Awaitable[Answer]]
Later = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """One call with a good key: `idempotency_key` names it, `if_match` is what it wants to have seen."""

    ctx: Context
    caller: Caller
    request: Request
    idempotency_key: str = ""
    if_match: str = ""

    @property
    def merchant_id(self) -> int:
        """The one merchant whose things the call can see and change."""
        return self.caller.merchant_id

    async def once(self, effect: Effect, then: Later | None = None) -> Response:
        """Do the effect in one transaction, and only once under one idempotency key.

        The answer is kept and the call recorded in the same transaction. A call that is refused changes nothing, and
        frees its key.
        What can wait is done `then`, after the answer; it must be work that somebody else finds where the process dies.
        """
        if not self.idempotency_key:
            async with self.ctx.store.write() as session:
                kept = await self._effected(session, effect)
            return _sent(kept, then=then)
        claimed = await claim(self.ctx, self.merchant_id, self.idempotency_key, *await self._digests())
        if isinstance(claimed, Kept):
            return _sent(claimed, replayed=True)
        return _sent(await self._do(claimed, effect), then=then)

    async def _do(self, claimed: Claim, effect: Effect) -> Kept:
        try:
            async with self.ctx.store.write() as session:
                answer = await self._effected(session, effect)
                await keep(self.ctx, session, claimed, answer)
                return answer
        except Exception:
            await release(self.ctx, claimed)
            raise

    async def _effected(self, session: AsyncSession, effect: Effect) -> Kept:
        """Do the effect and record it: what was called, with which key, and the thing that was answered."""
        answer = await effect(session)
        verb: str = self.request.scope["route"].name
        await audit(self.ctx, session, [self.merchant_id], self.caller.actor, verb, _named(answer.body))
        return answer.kept()

    async def _digests(self) -> tuple[str, ...]:
        """Return what makes this call another one than others: method, address, and body whatever its spelling.

        Without our secret nobody can try out which body it was. While that is being exchanged there are two names.
        """
        body = await self.request.body()
        spelled = json.dumps(json.loads(body), sort_keys=True) if body else ""
        called = digest_of(self.request.method, self.request.url.path, self.request.url.query, spelled)
        return self.ctx.vault.digests("call", called)

    def show(self, body: BaseModel) -> Response:
        """Show a thing with its tag, or say that the caller has it already."""
        text = body.model_dump_json()
        tag = tag_of(text)
        known = self.request.headers.get("if-none-match", "")
        if _is_named(tag, known):
            return Response(status_code=304, headers={"ETag": tag})
        return _sent(Kept(200, text, {"ETag": tag}))

    def expect(self, now: BaseModel) -> None:
        """Refuse the change of a thing that is not as the caller has seen it; called when the thing is locked."""
        if self.if_match and not _is_named(tag_of(now.model_dump_json()), self.if_match):
            raise Problem(Kind.CHANGED, "read it again: what `If-Match` names is not what is there")


def _named(body: BaseModel) -> str:
    """Return what a thing is called: its id or reference; nothing where it has none."""
    return str(getattr(body, "id", None) or getattr(body, "reference", None) or "")


def tag_of(text: str) -> str:
    """Return the tag of a representation."""
    return f'"{sha256(text.encode()).hexdigest()[:32]}"'


def _is_named(tag: str, header: str) -> bool:
    """Answer whether a header names the tag; a weak tag promises too little to count."""
    return header.strip() == "*" or tag in [each.strip() for each in header.split(",")]


def _sent(kept: Kept, *, replayed: bool = False, then: Later | None = None) -> Response:
    headers = kept.headers | ({"Idempotency-Replayed": "true"} if replayed else {})
    later = BackgroundTask(then) if then is not None else None
    return Response(kept.body, kept.status, headers, "application/json", later)


def authorise(request: Request, scopes: SecurityScopes, _: Annotated[Any, Security(_bearer)]) -> Caller:
    """Return the caller whom the gate let in, if its key has the scope that the route wants."""
    caller: Caller = request.state.caller
    for wanted in scopes.scopes:
        if Scope(wanted) not in caller.scopes:
            raise Problem(Kind.FORBIDDEN, f"it has not the scope {wanted}")
    return caller


_Key = Annotated[str, Header(alias="Idempotency-Key", pattern=_KEY_PATTERN, description=_ABOUT_KEY, examples=["b7c1"])]
_IfMatch = Annotated[str, Header(alias="If-Match", description="The `ETag` of what is to be changed, as last seen.")]
_Reader = Annotated[Caller, Security(authorise, scopes=[Scope.READ])]
_Writer = Annotated[Caller, Security(authorise, scopes=[Scope.WRITE])]
_Refunder = Annotated[Caller, Security(authorise, scopes=[Scope.REFUND])]
_Founder = Annotated[Caller, Security(authorise, scopes=[Scope.SETUP])]
_KNOWN: Final = "The `ETag` of what the caller has; the same again is answered with 304."
_IfNoneMatch = Annotated[str, Header(alias="If-None-Match", description=_KNOWN)]


def _reading(request: Request, caller: _Reader) -> Call:
    return Call(request.app.state.ctx, caller, request)


def _showing(request: Request, caller: _Reader, if_none_match: _IfNoneMatch = "") -> Call:  # noqa: ARG001
    return Call(request.app.state.ctx, caller, request)


def _making(request: Request, caller: _Writer, key: _Key = "") -> Call:
    return Call(request.app.state.ctx, caller, request, key)


def _changing(request: Request, caller: _Writer, key: _Key = "", if_match: _IfMatch = "") -> Call:
    return Call(request.app.state.ctx, caller, request, key, if_match)


def _moving_money(request: Request, caller: _Writer, key: _Key) -> Call:
    return Call(request.app.state.ctx, caller, request, key)


def _giving_back(request: Request, caller: _Refunder, key: _Key) -> Call:
    return Call(request.app.state.ctx, caller, request, key)


def _setting_up(request: Request, caller: _Founder, key: _Key = "") -> Call:
    return Call(request.app.state.ctx, caller, request, key)


Listing = Annotated[Call, Depends(_reading)]
"""A call that reads many things."""

Showing = Annotated[Call, Depends(_showing)]
"""A call that reads one thing, which has a tag."""

Making = Annotated[Call, Depends(_making)]
"""A call that makes a thing."""

Changing = Annotated[Call, Depends(_changing)]
"""A call that changes a thing, perhaps only as it was last seen."""

MovingMoney = Annotated[Call, Depends(_moving_money)]
"""A call that books money, and needs an idempotency key."""

GivingBack = Annotated[Call, Depends(_giving_back)]
"""A call that sends money back, and needs a scope and an idempotency key for that."""

SettingUp = Annotated[Call, Depends(_setting_up)]
"""A call that says where money goes, and needs a scope for that."""
