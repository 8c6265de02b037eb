"""Notifications: what gateways reported, what each said, and those that could not be understood taken once more."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Attempt, GatewayAccount, Notification, NotificationState, Role, table
from billing.services import connecting
from billing.services.hearing import settle_notification, take_once_more
from billing.services.refusing import MissingError
from billing.web.console.desk import Desk, Seated, part_of
from billing.web.console.gate import Section
from billing.web.console.stories import NEWS
from billing.web.console.utterances import fields_of

router = Section("Notifications", "/notifications")

_notification, _account, _attempt = table(Notification), table(GatewayAccount), table(Attempt)

SECRET_CHARS_MIN: Final = 6
Named = Annotated[str, Path(pattern=r"^not_[0-9]{1,18}$")]

_NOTIFICATIONS: Final = (
    select(
        _notification,
        _account.c.reference.label("account"),
        _account.c.gateway,
        _account.c.sealed_credentials,
        _attempt.c.key.label("attempt"),
    )
    .join_from(_notification, _account, _account.c.id == _notification.c.gateway_account_id)
    .join(_attempt, _attempt.c.id == _notification.c.attempt_id, isouter=True)
)


@router.page("/notifications", Role.VIEWER)
async def list_notifications(desk: Seated) -> Response:
    """Show what gateways reported, newest first."""
    state = desk.asked("state")
    mine = _NOTIFICATIONS.where(_account.c.merchant_id == desk.merchant_id)
    if state in list(NotificationState):
        mine = mine.where(_notification.c.state == state)
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, mine, _notification.c.id)
    return desk.show("notifications.html", part=part, state=state, states=list(NotificationState))


@router.page("/notifications/{notification}", Role.VIEWER)
async def show_notification(desk: Seated, notification: Named) -> Response:
    """Show one, with what it said and what came of it."""
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, notification)
    said = fields_of(row["query"], row["body"], _secrets_of(desk, row))
    can_replay = row["state"] in (NotificationState.OPEN, NotificationState.RECEIVED)
    known: dict[str, Any] = {"said": said, "news": NEWS[NotificationState(row["state"])], "can_replay": can_replay}
    return desk.show("notification.html", row=row, **known)


@router.action("/notifications/{notification}/replay", Role.OPERATOR)
async def replay(desk: Seated, notification: Named) -> Response:
    """Take a notification that could not be understood once more, and say what came of it."""
    async with desk.ctx.store.write() as session:
        row = await _found(desk, session, notification)
        await take_once_more(desk.ctx, session, row["id"])
        await desk.note(session, "replay_notification", notification)
    state = await settle_notification(desk.ctx, row["id"])
    return desk.done(f"/notifications/{notification}", f"Taken once more. {NEWS[state]}")


async def _found(desk: Desk, session: AsyncSession, name: str) -> RowMapping:
    mine = (_notification.c.id == int(name.rpartition("_")[2])) & (_account.c.merchant_id == desk.merchant_id)
    row: RowMapping | None = (await session.execute(_NOTIFICATIONS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no notification {name}")
    return row


def _secrets_of(desk: Desk, row: RowMapping) -> list[str]:
    """Return the account's own secrets, which no message may show; one of a few letters stands everywhere."""
    kept = connecting.credentials_of(desk.ctx, row)
    kind = desk.ctx.gateways.kinds.get(row["gateway"])
    names = [each.name for each in kind.settings if each.is_secret] if kind else list(kept)
    return [kept[name] for name in names if len(kept.get(name, "")) >= SECRET_CHARS_MIN]
