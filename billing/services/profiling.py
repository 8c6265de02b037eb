"""Make and renew stored profiles, and let subscriptions follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.gateway import ProfileNews
from billing.models import Profile, ProfileState, Subscription, Verification, new_row, table
from billing.services.consenting import fulfil_mandate, is_fulfilled
from billing.services.context import Context
from billing.services.tasking import NewTask, raise_tasks
from billing.services.telling import NewEvent
from billing.store import insert_unless
from billing.subscriptions import Collection
from billing.vault import Vault

_profile, _subscription, _verification = table(Profile), table(Subscription), table(Verification)


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """News of a customer's profile, and which profile and subscriptions it is to replace and serve.

    `again` marks further news of a payment whose first news was taken already: it dates no renewal.
    """

    attempt_id: int
    merchant_id: int
    customer_id: int
    gateway_account_id: int
    news: ProfileNews
    replaced_id: int | None
    subscription_ids: tuple[int, ...]
    now: datetime
    again: bool = False


async def change_profiles(ctx: Context, session: AsyncSession, changes: Sequence[ProfileChange]) -> list[NewEvent]:
    """Write each change, and return what is to be told; these are visits of single customers, so one at a time.

    A visit makes or renews one profile, once: told again later, it must not bring back what another visit has replaced.
    Where the customer was asked for no consent, news renews only what is in use, and lets nobody be charged anew.
    """
    news: list[NewEvent] = []
    for change in changes:
        fulfilled = await is_fulfilled(session, change.attempt_id)
        if fulfilled or (fulfilled is None and await _is_out_of_use(ctx, session, change)):
            continue
        renewed = await _renew(ctx, session, change)
        profile_id = renewed or await _make(ctx, session, change)
        if profile_id is None:
            await _refuse(session, change)
            continue
        await _follow(session, change, profile_id, agreed=fulfilled is False)
        await fulfil_mandate(session, change.attempt_id, profile_id, change.news.mandate)
        if not (renewed and change.again):
            told = EventType.PROFILE_RENEWED if renewed else EventType.PROFILE_STORED
            news.append(NewEvent(change.merchant_id, told, "pro", profile_id, change.now))
    return news


def profile_digests(vault: Vault, account_id: int, reference: str, slot: str = "") -> tuple[str, ...]:
    """Return the names under which a profile is found without its reference in clear; the first is that of now."""
    return vault.digests("profile", account_id, reference, slot)


def is_stored_as(vault: Vault, account_id: int, reference: str, slot: str = "") -> ColumnElement[bool]:
    """Say which profile the reference names at the account."""
    digests = profile_digests(vault, account_id, reference, slot)
    return (_profile.c.gateway_account_id == account_id) & _profile.c.reference_digest.in_(digests)


async def fail_profile(session: AsyncSession, profile_ids: Sequence[int]) -> Sequence[int]:
    """Mark profiles as of no use until a visit renews them, so that none is charged; return those that were of use."""
    if not profile_ids:
        return ()
    mine = _profile.c.id.in_(profile_ids) & (_profile.c.state != ProfileState.FAILED)
    failed = update(_profile).where(mine).values(state=ProfileState.FAILED).returning(_profile.c.id)
    return list((await session.execute(failed)).scalars())


async def _is_out_of_use(ctx: Context, session: AsyncSession, change: ProfileChange) -> bool:
    """Answer whether the profile that was charged, or that the news names, is forgotten or replaced."""
    named = _is_named(ctx, change)
    gone = _profile.c.state.in_((ProfileState.FORGOTTEN, ProfileState.REPLACED))
    query = select(_profile.c.id).where((_profile.c.id == change.replaced_id) | named, gone).limit(1)
    return (await session.execute(query)).scalar() is not None


async def _renew(ctx: Context, session: AsyncSession, change: ProfileChange) -> int | None:
    statement = update(_profile).where(_is_named(ctx, change), _profile.c.customer_id == change.customer_id)
    values = _known(change.news) | {"state": ProfileState.ACTIVE}
    if not change.again:
        values["renewed_at"] = change.now
    found: int | None = (await session.execute(statement.values(**values).returning(_profile.c.id))).scalar()
    return found


async def _make(ctx: Context, session: AsyncSession, change: ProfileChange) -> int | None:
    """Store a new profile, unless it is another customer's: nobody pays with what is stored for somebody else."""
    reference = change.news.reference
    if (await session.execute(select(_profile.c.id).where(_is_named(ctx, change)))).scalar() is not None:
        return None
    values = new_row(
        Profile,
        customer_id=change.customer_id,
        gateway_account_id=change.gateway_account_id,
        sealed_reference=ctx.vault.seal(reference),
        reference_digest=profile_digests(ctx.vault, change.gateway_account_id, reference, change.news.slot)[0],
        slot=change.news.slot,
        created_at=change.now,
    )
    once = insert_unless(session, _profile, ["gateway_account_id", "reference_digest"])
    made = once.values(values | _known(change.news)).returning(_profile.c.id)
    found: int | None = (await session.execute(made)).scalar()
    return found


def _is_named(ctx: Context, change: ProfileChange) -> ColumnElement[bool]:
    return is_stored_as(ctx.vault, change.gateway_account_id, change.news.reference, change.news.slot)


async def _refuse(session: AsyncSession, change: ProfileChange) -> None:
    reason = "the gateway stored the customer's means of payment under the name of another customer's profile"
    task = NewTask(change.merchant_id, "profile", f"cus_{change.customer_id}", reason)
    await raise_tasks(session, [task], change.now)


async def _follow(session: AsyncSession, change: ProfileChange, profile_id: int, *, agreed: bool) -> None:
    """Let the visit's subscriptions, and all else of the replaced profile, use the new one.

    Who paid by link so far is charged from now on if he `agreed` to that: it is what he read when he gave his means.
    """
    visited: ColumnElement[bool] = _subscription.c.id.in_(change.subscription_ids)
    served = visited
    if change.replaced_id is not None:
        served |= _subscription.c.profile_id == change.replaced_id
    mine = served & (_subscription.c.customer_id == change.customer_id)
    await session.execute(update(_subscription).where(mine).values(profile_id=profile_id))
    if agreed:
        charged = update(_subscription).where(visited, _subscription.c.profile_id == profile_id)
        await session.execute(charged.values(collection=Collection.CHARGE))
    if change.replaced_id not in (None, profile_id):
        old = _profile.c.id == change.replaced_id
        await session.execute(update(_profile).where(old).values(state=ProfileState.REPLACED))
        theirs = (_verification.c.profile_id == change.replaced_id) & (
            _verification.c.customer_id == change.customer_id
        )
        await session.execute(update(_verification).where(theirs).values(profile_id=profile_id))


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
