"""Stored profiles: what may be shown of them, and how one is forgotten."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Customer, GatewayAccount, Profile, ProfileState, table
from billing.services.forgetting import find_profile, forget, forget_at_gateway
from billing.services.refusing import MissingError
from billing.web.api.bodies import PLAIN, Instant, Page, ProfileName, Shown, example, number_in
from billing.web.api.calls import Answer, Call, Changing, Listing, Showing
from billing.web.api.paging import Paged, list_page

router = APIRouter(tags=["profiles"])

_profile, _customer, _account = table(Profile), table(Customer), table(GatewayAccount)
_EXAMPLE: Final[dict[str, Any]] = {
    "id": "pro_3",
    "customer": "C1001",
    "account": "mpay24-main",
    "state": "active",
    "kind": "card",
    "brand": "Visa",
    "last4": "4242",
    "expires_on": "2029-05-31",
    "created_at": "2026-11-25T09:30:00Z",
    "renewed_at": None,
}
PROFILES: Final = (
    select(_profile, _customer.c.reference.label("customer"), _account.c.reference.label("account"))
    .join_from(_profile, _customer, _customer.c.id == _profile.c.customer_id)
    .join(_account, _account.c.id == _profile.c.gateway_account_id)
)

ProfilePath = Annotated[ProfileName, Path()]


class ShownProfile(Shown):
    """A stored credential at a gateway, of which nothing is shown that could be charged."""

    model_config = Shown.model_config | example(**_EXAMPLE)
    id: str
    customer: str
    account: str
    state: ProfileState
    kind: str
    brand: str
    last4: str
    expires_on: date | None
    created_at: Instant
    renewed_at: Instant | None


def show_profile(row: RowMapping) -> ShownProfile:
    """Return a profile as callers see it."""
    known = {name: row[name] for name in ShownProfile.model_fields if name != "id"}
    return ShownProfile(id=f"pro_{row['id']}", **known)


@router.get("/profiles", response_model=Page[ShownProfile])
async def list_profiles(
    call: Listing,
    paging: Paged,
    customer: Annotated[str, Query(max_length=32, description="Only this customer's."), PLAIN] = "",
    state: Annotated[ProfileState | None, Query(description="Only those that stand here.")] = None,
) -> Response:
    """List the stored profiles."""
    mine = PROFILES.where(_customer.c.merchant_id == call.merchant_id)
    if customer:
        mine = mine.where(_customer.c.reference == customer)
    if state is not None:
        mine = mine.where(_profile.c.state == state)
    return await list_page(call, paging, mine, show_profile, _profile.c.id, _profile.c.created_at)


@router.get("/profiles/{profile}", response_model=ShownProfile)
async def get_profile(call: Showing, profile: ProfilePath) -> Response:
    """Show one profile."""
    async with call.ctx.store.read() as session:
        return call.show(await _shown(call, session, number_in(profile)))


@router.post("/profiles/{profile}/forget", response_model=ShownProfile)
async def forget_profile(call: Changing, profile: ProfilePath) -> Response:
    """Charge a profile no more, and let its gateway delete it; what is due next is asked for with a link."""
    number = number_in(profile)

    async def effect(session: AsyncSession) -> Answer:
        call.expect(await _shown(call, session, number))
        await forget(call.ctx, session, call.merchant_id, number)
        return Answer(await _shown(call, session, number))

    return await call.once(effect, then=partial(forget_at_gateway, call.ctx, call.merchant_id, number))


async def _shown(call: Call, session: AsyncSession, number: int) -> ShownProfile:
    await find_profile(session, call.merchant_id, number)
    row = (await session.execute(PROFILES.where(_profile.c.id == number))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no profile pro_{number}")
    return show_profile(row)
