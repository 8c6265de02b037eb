"""Renew a profile with nothing owed: a small authorisation on a hosted page, owed back from the moment it is made."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.models import Customer, Merchant, PayLink, Price, Profile, Subscription, Verification, table
from billing.payments import owed_key
from billing.services.auditing import Actor, audit
from billing.services.context import Context, moments
from billing.services.messaging import NewMessage, Owed, give_links, queue
from billing.subscriptions import SubscriptionState


class NothingToRenewError(ValueError):
    """There is no stored profile to renew, or no use for one; the message names the subscription."""


async def offer_renewal(
    ctx: Context,
    subscription_reference: str,
    *,
    mail: bool = True,
    merchant_id: int | None = None,
    actor: Actor | None = None,
) -> str:
    """Offer the customer to renew the subscription's profile, and return the address of the page.

    The merchant's verification amount, in the currency of the subscription, is authorised there and
    reversed. With `mail` the customer gets the address by mail as well. With a merchant only theirs is looked for.
    """
    async with ctx.store.write() as session:
        subscription, customer, merchant, profile, price = await _subscription(
            ctx, session, subscription_reference, merchant_id
        )
        moment = (await moments(ctx, session, [merchant.id]))[merchant.id]
        made = await _count(session, customer.id)
        verification = Verification(
            merchant_id=merchant.id,
            customer_id=customer.id,
            gateway_account_id=profile.gateway_account_id,
            profile_id=profile.id,
            key=owed_key("VER", subscription.uid, profile.id, made),
            amount_minor=merchant.verification_minor,
            currency=price.currency,
            created_at=moment.now,
        )
        session.add(verification)
        await session.flush()
        owed = Owed(merchant.id, customer.id, verification_id=verification.id)
        await give_links(session, [owed], moment.now)
        if mail:
            cause, context = f"ver_{verification.id}", {"verification_id": verification.id}
            await queue(session, [NewMessage(merchant.id, customer.id, cause, "renew", moment.now, context)])
        about = {"customer": customer.reference, "subscription": subscription.reference}
        await audit(ctx, session, [merchant.id], actor, "offer_renewal", f"pro_{profile.id}", **about)
        link = table(PayLink)
        mine = link.c.verification_id == verification.id
        return ctx.links.pay((await session.execute(select(link.c.id).where(mine))).scalar_one())


async def _subscription(
    ctx: Context, session: AsyncSession, reference: str, merchant_id: int | None
) -> tuple[Subscription, Customer, Merchant, Profile, Price]:
    mine = table(Subscription).c.reference == reference
    if merchant_id is not None:
        mine &= table(Subscription).c.merchant_id == merchant_id
    query = (
        select(Subscription, Customer, Merchant, Profile, Price)
        .join_from(table(Subscription), table(Customer))
        .join(table(Merchant), table(Merchant).c.id == table(Subscription).c.merchant_id)
        .join(table(Profile), table(Profile).c.id == table(Subscription).c.profile_id)
        .join(table(Price), table(Price).c.id == table(Subscription).c.price_id)
        .where(mine)
    )
    # Two offers at once would make the same key: the second waits, and counts the first.
    await session.execute(ctx.store.lock(select(table(Subscription).c.id).where(mine)))
    rows = (await session.execute(query)).all()
    if not rows:
        raise NothingToRenewError(f"no subscription {reference!r} with a stored profile")
    if len(rows) > 1:
        raise NothingToRenewError(f"{len(rows)} merchants have a subscription {reference!r}")
    row = rows[0]
    if row[0].state in (SubscriptionState.CANCELED, SubscriptionState.ENDED):
        raise NothingToRenewError(f"subscription {reference!r} is {row[0].state}: its profile is charged no more")
    return row[0], row[1], row[2], row[3], row[4]


async def _count(session: AsyncSession, customer_id: int) -> int:
    """Count all that the customer was ever offered, since an offer follows its profile to the one in its place."""
    verification = table(Verification)
    query = select(func.count()).where(verification.c.customer_id == customer_id)
    found: int = (await session.execute(query)).scalar_one()
    return found
