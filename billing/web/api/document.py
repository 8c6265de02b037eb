"""The OpenAPI document: what the routes say of themselves, and the errors that follow from how calls work."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from billing.web.api.calls import PREFIX
from billing.web.api.problems import MEDIA_TYPE, FieldError, Kind, ProblemBody

_REF: Final = "#/components/schemas/{model}"
_ALWAYS: Final = (Kind.UNAUTHORISED, Kind.FORBIDDEN, Kind.TOO_MANY)
_OF_WRITES: Final = (Kind.MALFORMED, Kind.CONFLICT, Kind.TOO_LARGE)
_HEADERS: Final = {
    "ETag": "A digest of the representation, for `If-Match` and `If-None-Match`.",
    "Link": 'The address of the next page, with `rel="next"`.',
    "Location": "Where what was made can be looked at.",
    "Idempotency-Replayed": "`true` where this is the answer of an earlier call under the same key.",
}

DESCRIPTION: Final = """\
Everything the engine can do for one merchant. A key opens one merchant; what belongs to another is not there (404).

Money is whole minor units with a currency, days are ISO dates, instants are in UTC. Every error is a problem
(RFC 9457) whose `errors` name each bad field. A call that changes something takes an `Idempotency-Key`.\
"""


class Api(FastAPI):
    """An application that completes its own document."""

    def openapi(self) -> dict[str, Any]:
        """Return the document; it is made once."""
        if not self.openapi_schema:
            self.openapi_schema = _completed(
                get_openapi(
                    title="Turnus",
                    version="1",
                    description=DESCRIPTION,
                    routes=self.routes,
                    servers=[{"url": PREFIX}],
                    separate_input_output_schemas=False,
                )
            )
        return self.openapi_schema


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    both = [(FieldError, "serialization"), (ProblemBody, "serialization")]
    errors = models_json_schema(both, ref_template=_REF)[1]["$defs"]  # type: ignore[arg-type]
    schemas |= {"Problem": errors["ProblemBody"], "FieldError": errors["FieldError"]}
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            _complete(path, verb, operation)
    return document


def _complete(path: str, verb: str, operation: dict[str, Any]) -> None:
    """Add what every answer of such a call may be, and which headers it carries."""
    answers, taken = operation["responses"], {each["name"] for each in operation.get("parameters", ())}
    answers.pop("422", None)
    done = next(answers[status] for status in answers if status.startswith("2"))
    carried = ["Link"] if "cursor" in taken else ["ETag"]
    if "If-None-Match" in taken:
        answers["304"] = {"description": "The caller has it already."} | _headers(["ETag"])
    if "Idempotency-Key" in taken:
        carried += ["Location", "Idempotency-Replayed"]
    done |= _headers(carried)
    for kind in _errors(path, verb, operation, taken):
        answers[str(kind.status)] = _problem(kind)


def _errors(path: str, verb: str, operation: dict[str, Any], taken: set[str]) -> list[Kind]:
    found = list(_ALWAYS)
    if "{" in path or "cursor" not in taken:
        found.append(Kind.NOT_FOUND)
    if verb != "get":
        found += _OF_WRITES
    if "If-Match" in taken:
        found.append(Kind.CHANGED)
    if "requestBody" in operation or taken - {"If-Match", "If-None-Match"}:
        found.append(Kind.INVALID)
    return found


def _problem(kind: Kind) -> dict[str, Any]:
    errors = [{"field": "name", "message": "field required"}] if kind is Kind.INVALID else []
    detail = "name: field required" if errors else kind.title
    shown = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail, "errors": errors}
    content = {"schema": {"$ref": _REF.format(model="Problem")}, "example": shown}
    return {"description": kind.title, "content": {MEDIA_TYPE: content}}


def _headers(names: list[str]) -> dict[str, Any]:
    return {"headers": {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}}
