"""What gateways reported, and verifications of stored profiles."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import (
    Customer,
    GatewayAccount,
    Notification,
    NotificationState,
    Verification,
    VerificationState,
    table,
)
from billing.services.hearing import settle_notification, take_once_more
from billing.services.refusing import MissingError
from billing.web.api.bodies import (
    PLAIN,
    Amount,
    Instant,
    NotificationName,
    Page,
    Shown,
    VerificationName,
    example,
    number_in,
)
from billing.web.api.calls import Answer, Call, Changing, Listing, Showing
from billing.web.api.paging import Paged, PlainPaged, list_page

router = APIRouter(tags=["notifications"])

_notification, _account = table(Notification), table(GatewayAccount)
_verification, _customer = table(Verification), table(Customer)
_NOTIFICATION: Final[dict[str, Any]] = {
    "id": "not_4",
    "account": "mpay24-main",
    "attempt": "att_12",
    "state": "settled",
    "reason": "",
    "copies": 1,
    "received_at": "2026-11-25T09:30:00Z",
    "settled_at": "2026-11-25T09:30:01Z",
    "archived_at": None,
}
_VERIFICATION: Final[dict[str, Any]] = {
    "id": "ver_6",
    "customer": "C1001",
    "account": "mpay24-main",
    "profile": "pro_3",
    "amount": {"amount_minor": 10, "currency": "EUR"},
    "state": "released",
    "created_at": "2026-11-25T09:30:00Z",
    "authorised_at": "2026-11-25T09:31:00Z",
    "released_at": "2026-11-25T09:31:05Z",
}
_NOTIFICATIONS: Final = select(_notification, _account.c.reference.label("account")).join_from(_notification, _account)
_VERIFICATIONS: Final = (
    select(_verification, _customer.c.reference.label("customer"), _account.c.reference.label("account"))
    .join_from(_verification, _customer, _customer.c.id == _verification.c.customer_id)
    .join(_account, _account.c.id == _verification.c.gateway_account_id)
)

NotificationPath = Annotated[NotificationName, Path()]


class ShownNotification(Shown):
    """A message from a gateway; `copies` says how often it came."""

    model_config = Shown.model_config | example(**_NOTIFICATION)
    id: str
    account: str
    attempt: str | None
    state: NotificationState
    reason: str
    copies: int
    received_at: Instant
    settled_at: Instant | None
    archived_at: Instant | None


class ShownVerification(Shown):
    """A small authorisation that renews a profile; it is owed back until it is released."""

    model_config = Shown.model_config | example(**_VERIFICATION)
    id: str
    customer: str
    account: str
    profile: str | None
    amount: Amount
    state: VerificationState
    created_at: Instant
    authorised_at: Instant | None
    released_at: Instant | None


def show_notification(row: RowMapping) -> ShownNotification:
    """Return a notification as callers see it, without what it said."""
    attempt = row["attempt_id"]
    made = {"id": f"not_{row['id']}", "attempt": f"att_{attempt}" if attempt else None}
    return ShownNotification(**made, **{n: row[n] for n in ShownNotification.model_fields if n not in made})


def show_verification(row: RowMapping) -> ShownVerification:
    """Return a verification as callers see it."""
    profile = row["profile_id"]
    made: dict[str, Any] = {"id": f"ver_{row['id']}", "profile": f"pro_{profile}" if profile else None}
    made["amount"] = Amount.of(row["amount_minor"], row["currency"])
    return ShownVerification(**made, **{n: row[n] for n in ShownVerification.model_fields if n not in made})


@router.get("/notifications", response_model=Page[ShownNotification])
async def list_notifications(
    call: Listing,
    paging: PlainPaged,
    state: Annotated[NotificationState | None, Query(description="Only those that stand here.")] = None,
    account: Annotated[str, Query(max_length=40, description="Only those to this account."), PLAIN] = "",
) -> Response:
    """List what gateways reported."""
    mine = _NOTIFICATIONS.where(_account.c.merchant_id == call.merchant_id)
    if state is not None:
        mine = mine.where(_notification.c.state == state)
    if account:
        mine = mine.where(_account.c.reference == account)
    return await list_page(call, paging, mine, show_notification, _notification.c.id)


@router.get("/notifications/{notification}", response_model=ShownNotification)
async def get_notification(call: Showing, notification: NotificationPath) -> Response:
    """Show one notification."""
    async with call.ctx.store.read() as session:
        return call.show(show_notification(await _found(call, session, number_in(notification))))


@router.post("/notifications/{notification}/replay", response_model=ShownNotification)
async def replay_notification(call: Changing, notification: NotificationPath) -> Response:
    """Take a notification that could not be understood once more; one that was forged or is settled stays so."""
    number = number_in(notification)

    async def effect(session: AsyncSession) -> Answer:
        await session.execute(call.ctx.store.lock(select(_notification.c.id).where(_notification.c.id == number)))
        call.expect(show_notification(await _found(call, session, number)))
        await take_once_more(call.ctx, session, number)
        return Answer(show_notification(await _found(call, session, number)))

    return await call.once(effect, then=partial(settle_notification, call.ctx, number))


@router.get("/verifications", response_model=Page[ShownVerification])
async def list_verifications(
    call: Listing,
    paging: Paged,
    state: Annotated[VerificationState | None, Query(description="Only those that stand here.")] = None,
    customer: Annotated[str, Query(max_length=32, description="Only this customer's."), PLAIN] = "",
) -> Response:
    """List the verifications of stored profiles."""
    mine = _VERIFICATIONS.where(_verification.c.merchant_id == call.merchant_id)
    if state is not None:
        mine = mine.where(_verification.c.state == state)
    if customer:
        mine = mine.where(_customer.c.reference == customer)
    return await list_page(call, paging, mine, show_verification, _verification.c.id, _verification.c.created_at)


@router.get("/verifications/{verification}", response_model=ShownVerification)
async def get_verification(call: Showing, verification: Annotated[VerificationName, Path()]) -> Response:
    """Show one verification."""
    mine = (_verification.c.id == number_in(verification)) & (_verification.c.merchant_id == call.merchant_id)
    async with call.ctx.store.read() as session:
        row = (await session.execute(_VERIFICATIONS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no verification {verification}")
    return call.show(show_verification(row))


async def _found(call: Call, session: AsyncSession, number: int) -> RowMapping:
    mine = (_notification.c.id == number) & (_account.c.merchant_id == call.merchant_id)
    row = (await session.execute(_NOTIFICATIONS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no notification not_{number}")
    return row
