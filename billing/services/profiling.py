"""Make and renew stored profiles, and let subscriptions follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import ProfileNews
from billing.models import Customer, Profile, ProfileState, Subscription, new_row, table
from billing.services.context import Context
from billing.services.tasking import NewTask, raise_tasks
from billing.store import insert_unless
from billing.vault import Vault

_profile, _subscription = table(Profile), table(Subscription)


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """News of a customer's profile, and which profile and subscriptions it is to replace and serve.

    `again` marks further news of a payment whose first news was taken already: it dates no renewal.
    """

    customer_id: int
    gateway_account_id: int
    news: ProfileNews
    replaced_id: int | None
    subscription_ids: tuple[int, ...]
    now: datetime
    again: bool = False


async def change_profiles(ctx: Context, session: AsyncSession, changes: Sequence[ProfileChange]) -> None:
    """Write each change; these are visits of single customers, so one at a time."""
    for change in changes:
        profile_id = await _renew(ctx, session, change) or await _make(ctx, session, change)
        if profile_id is None:
            await _refuse(session, change)
        else:
            await _follow(session, change, profile_id)


def profile_digest(vault: Vault, account_id: int, reference: str, slot: str = "") -> str:
    """Return the name under which a profile is found without storing its reference in clear."""
    return vault.digest("profile", account_id, reference, slot)


async def fail_profile(session: AsyncSession, profile_ids: Sequence[int]) -> None:
    """Mark profiles as of no use, so that they are not charged again until a visit renews them."""
    if profile_ids:
        mine = _profile.c.id.in_(profile_ids)
        await session.execute(update(_profile).where(mine).values(state=ProfileState.FAILED))


async def _renew(ctx: Context, session: AsyncSession, change: ProfileChange) -> int | None:
    digest = profile_digest(ctx.vault, change.gateway_account_id, change.news.reference, change.news.slot)
    mine = (_profile.c.gateway_account_id == change.gateway_account_id) & (_profile.c.reference_digest == digest)
    statement = update(_profile).where(mine, _profile.c.customer_id == change.customer_id)
    values = _known(change.news) | {"state": ProfileState.ACTIVE}
    if not change.again:
        values["renewed_at"] = change.now
    found: int | None = (await session.execute(statement.values(**values).returning(_profile.c.id))).scalar()
    return found


async def _make(ctx: Context, session: AsyncSession, change: ProfileChange) -> int | None:
    """Store a new profile, unless it is another customer's: nobody pays with what is stored for somebody else."""
    reference = change.news.reference
    values = new_row(
        Profile,
        customer_id=change.customer_id,
        gateway_account_id=change.gateway_account_id,
        sealed_reference=ctx.vault.seal(reference),
        reference_digest=profile_digest(ctx.vault, change.gateway_account_id, reference, change.news.slot),
        slot=change.news.slot,
        created_at=change.now,
    )
    once = insert_unless(session, _profile, ["gateway_account_id", "reference_digest"])
    made = once.values(values | _known(change.news)).returning(_profile.c.id)
    found: int | None = (await session.execute(made)).scalar()
    return found


async def _refuse(session: AsyncSession, change: ProfileChange) -> None:
    customer = table(Customer)
    mine = select(customer.c.merchant_id).where(customer.c.id == change.customer_id)
    merchant_id: int = (await session.execute(mine)).scalar_one()
    reason = "the gateway stored the customer's means of payment under the name of another customer's profile"
    await raise_tasks(session, [NewTask(merchant_id, "profile", f"cus_{change.customer_id}", reason)], change.now)


async def _follow(session: AsyncSession, change: ProfileChange, profile_id: int) -> None:
    """Let the visit's subscriptions, and all others of the replaced profile, use the new one."""
    served: ColumnElement[bool] = _subscription.c.id.in_(change.subscription_ids)
    if change.replaced_id is not None:
        served |= _subscription.c.profile_id == change.replaced_id
    mine = served & (_subscription.c.customer_id == change.customer_id)
    await session.execute(update(_subscription).where(mine).values(profile_id=profile_id))
    if change.replaced_id not in (None, profile_id):
        old = _profile.c.id == change.replaced_id
        await session.execute(update(_profile).where(old).values(state=ProfileState.REPLACED))


def _known(news: ProfileNews) -> dict[str, Any]:
    """Return the columns that the news speaks of. A renewed card's old digits and date are not kept."""
    known: dict[str, Any] = {"brand": news.brand[:30], "last4": news.last4[-4:], "expires_on": news.expires_on}
    if news.kind:
        known["kind"] = news.kind[:20]
    if news.mandate:
        known |= {"mandate_reference": news.mandate.reference, "mandate_signed_on": news.mandate.signed_on}
        known |= {
            "first_transaction": news.mandate.first_transaction,
            "scheme_reference": news.mandate.scheme_reference,
        }
    return known
