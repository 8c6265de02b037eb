"""Errors as problem details (RFC 9457): one shape for all of them, naming each bad field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from billing.lifecycle import MoveError
from billing.services.answering import ClaimLostError, KeyReusedError, StillRunningError
from billing.services.refunding import RefundAmountError, RefundError
from billing.services.refusing import ConflictError, MissingError, UnfitError

MEDIA_TYPE: Final = "application/problem+json"


class Kind(Enum):
    """Every kind of error there is: its status and its title. The name makes the `type`."""

    MALFORMED = (400, "The request cannot be read")
    UNAUTHORISED = (401, "A key is needed")
    FORBIDDEN = (403, "The key may not do this")
    NOT_FOUND = (404, "There is nothing of this name")
    NOT_ALLOWED = (405, "This cannot be done here")
    CONFLICT = (409, "This cannot be as things stand")
    KEY_REUSED = (409, "The idempotency key was used for another call")
    STILL_RUNNING = (409, "The same call is under way")
    CHANGED = (412, "It was changed meanwhile")
    TOO_LARGE = (413, "The request is too large")
    INVALID = (422, "A field is wrong")
    TOO_MANY = (429, "Too many calls")
    FAILED = (500, "Something failed here")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def title(self) -> str:
        """What it says to people, whatever the case."""
        return self.value[1]

    @property
    def type(self) -> str:
        """What it says to programs."""
        return f"urn:turnus:problem:{self.name.lower().replace('_', '-')}"


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="Where it stands, such as `price` or `amount.currency`.", examples=["email"])
    message: str = Field(examples=["an address is written like name@example.com"])


class ProblemBody(BaseModel):
    """What every error says. `errors` names each bad field, and is empty where none is to blame."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(examples=[Kind.INVALID.type])
    title: str = Field(examples=[Kind.INVALID.title])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["email: an address is written like name@example.com"])
    errors: list[FieldError] = []


class Problem(Exception):  # noqa: N818 - it is named as RFC 9457 names it
    """An answer that says what is wrong."""

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        errors: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or kind.title)
        self.kind = kind
        self.errors = [FieldError(field=field, message=message) for field, message in errors]
        self.headers = dict(headers or {})

    def answer(self) -> Response:
        """Return the answer."""
        kind = self.kind
        body = ProblemBody(type=kind.type, title=kind.title, status=kind.status, detail=str(self), errors=self.errors)
        return JSONResponse(body.model_dump(), kind.status, self.headers, MEDIA_TYPE)


def _of_field(error: UnfitError) -> Problem:
    return Problem(Kind.INVALID, f"{error.field}: {error}", [(error.field, str(error))])


def _still_running(_: Exception) -> Problem:
    return Problem(Kind.STILL_RUNNING, "ask again in a moment for its answer", headers={"Retry-After": "2"})


_SAID: Final[Mapping[type[Exception], Callable[[Any], Problem]]] = {
    Problem: lambda error: error,
    MissingError: lambda error: Problem(Kind.NOT_FOUND, str(error)),
    UnfitError: _of_field,
    RefundAmountError: lambda error: _of_field(UnfitError("amount", str(error).removeprefix("--amount: "))),
    RefundError: lambda error: Problem(Kind.CONFLICT, str(error)),
    ConflictError: lambda error: Problem(Kind.CONFLICT, str(error)),
    MoveError: lambda error: Problem(Kind.CONFLICT, str(error)),
    IntegrityError: lambda _: Problem(Kind.CONFLICT, "somebody has just done what rules it out; look again"),
    KeyReusedError: lambda _: Problem(Kind.KEY_REUSED, "it came with another method, address or body before"),
    StillRunningError: _still_running,
    ClaimLostError: _still_running,
    RequestValidationError: lambda error: _of_fields(error.errors()),
    HTTPException: lambda error: _of_status(error),
}

HANDLED: Final = tuple(_SAID)
"""Every error that is an answer; any other is a failure of ours."""


def problem_of(error: Exception) -> Problem:
    """Return what to say of an error that a call ended with."""
    return next(say for kind, say in _SAID.items() if isinstance(error, kind))(error)


async def answer(_: Request, error: Exception) -> Response:
    """Answer a call that ended with an error."""
    return problem_of(error).answer()


def _of_fields(complaints: Sequence[Any]) -> Problem:
    """Name each bad field; a name in the address that cannot be is simply the name of nothing."""
    if any(complaint["loc"][0] == "path" for complaint in complaints):
        return Problem(Kind.NOT_FOUND)
    if any(complaint["type"] == "json_invalid" for complaint in complaints):
        return Problem(Kind.MALFORMED, "the body is not JSON")
    errors = [(_field(complaint["loc"]), _said(complaint)) for complaint in complaints]
    return Problem(Kind.INVALID, "; ".join(f"{field}: {message}" for field, message in errors), errors)


def _field(location: Sequence[int | str]) -> str:
    """Write where a field stands as its writer would: `amount.currency`, or `body` where all of it is wrong."""
    return ".".join(str(step) for step in location[1:]) or str(location[0])


def _said(complaint: Any) -> str:
    message = str(complaint["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _of_status(error: HTTPException) -> Problem:
    kinds = {404: Kind.NOT_FOUND, 405: Kind.NOT_ALLOWED}
    return Problem(kinds.get(error.status_code, Kind.MALFORMED), headers=error.headers)
