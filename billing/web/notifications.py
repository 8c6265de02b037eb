"""Where gateways report: stored, answered fast, and settled afterwards."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Path, Request
from starlette.responses import PlainTextResponse, Response

from billing.gateway import RawMessage
from billing.services.context import Context
from billing.services.hearing import BODY_BYTES_MAX, receive, settle_notification

router = APIRouter()

_Id = Annotated[int, Path(ge=1, lt=2**63)]


@router.api_route("/n/{account_id}/{key}/{proof}", methods=["GET", "POST"])
async def hear(request: Request, account_id: _Id, key: str, proof: str, later: BackgroundTasks) -> Response:
    """Take a gateway's notification of one attempt."""
    ctx: Context = request.app.state.ctx
    message = RawMessage(
        method=request.method,
        query=request.url.query,
        headers=dict(request.headers),
        body=await _body(request),
        proven_key=key,
    )
    heard = await receive(ctx, account_id, proof, message)
    if heard.notification_id is not None:
        later.add_task(settle_notification, ctx, heard.notification_id)
    return PlainTextResponse(heard.body, heard.status, background=later)


async def _body(request: Request) -> bytes:
    """Read a body, but never more than is allowed plus the chunk that shows it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            break
    return bytes(body)
