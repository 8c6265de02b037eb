"""Why something was or was not billed, in sentences."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from billing.services.context import Context
from billing.services.refusing import MissingError
from billing.web.api.bodies import PLAIN, Shown, example
from billing.web.api.calls import Showing

router = APIRouter(tags=["explain"])

Explain = Callable[[Context, str, int], Awaitable[list[str]]]
"""Tells the story of a name to a merchant, or raises `LookupError`."""

_ABOUT = "`sub_12`, `inv_34`, `att_56`, `op_78`, a subscription's reference, an invoice's number, or a key."


class Story(Shown):
    """What happened to something, sentence by sentence."""

    model_config = Shown.model_config | example(
        name="inv_12", sentences=["Invoice NA-2026-00012 (inv_12) of 49.00 EUR is paid."]
    )
    name: str
    sentences: list[str]


@router.get("/explain/{name}", response_model=Story)
async def explain(call: Showing, name: Annotated[str, Path(max_length=64, description=_ABOUT), PLAIN]) -> Response:
    """Say why something was or was not billed, what is in doubt, and what was given back."""
    tell: Explain | None = call.request.app.state.explain
    try:
        if tell is None:
            raise MissingError("nobody explains anything here")
        return call.show(Story(name=name, sentences=await tell(call.ctx, name, call.merchant_id)))
    except LookupError as error:
        raise MissingError(str(error)) from None
