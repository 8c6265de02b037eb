"""What a pay-link is worth now, and everything that a page may need to know about it; looking changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import Abilities, Input
from billing.invoices import InvoiceState
from billing.models import (
    AccountState,
    Attempt,
    ChargeRight,
    Customer,
    GatewayAccount,
    Invoice,
    Mandate,
    Merchant,
    OwedKind,
    PayLink,
    Price,
    Profile,
    ProfileState,
    Subscription,
    Verification,
    VerificationState,
    table,
)
from billing.models import Checkout as CheckoutRow
from billing.money import Money
from billing.payments import OPEN, AttemptState
from billing.services.context import Context, Moment, moments
from billing.store import after_s
from billing.subscriptions import Collection

_link, _invoice, _verification = table(PayLink), table(Invoice), table(Verification)
_attempt, _right, _page = table(Attempt), table(ChargeRight), table(CheckoutRow)
_account, _customer = table(GatewayAccount), table(Customer)
_profile, _mandate = table(Profile), table(Mandate)
_subscription, _merchant, _price = table(Subscription), table(Merchant), table(Price)


class Standing(StrEnum):
    """What a link is worth now."""

    PAYABLE = "payable"
    DONE = "done"
    VOID = "void"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    BUSY = "busy"
    CONFIRMING = "confirming"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to pay: at which account, and by which of its gateway's ways."""

    account_id: int
    way: str
    title: str
    stores: bool
    card_form: str = ""
    inputs: tuple[Input, ...] = ()

    @property
    def value(self) -> str:
        """The word that a form sends back."""
        return f"{self.account_id}-{self.way}"


@dataclass(frozen=True, slots=True)
class Visit:
    """Everything a page may need about a link; what it shows of it is the page's business.

    `attempt` is the one that holds the charge right now, `latest` the last one there was.
    """

    link: RowMapping
    merchant: RowMapping
    customer: RowMapping
    invoice: RowMapping | None
    verification: RowMapping | None
    subscription: RowMapping | None
    attempt: RowMapping | None
    latest: RowMapping | None
    standing: Standing
    moment: Moment
    ways: tuple[Way, ...]

    @property
    def page_open(self) -> bool:
        """Whether the gateway's page is open, so that a click leads back to it."""
        return self.attempt is not None and bool(self.attempt["page_open"])

    @property
    def charged_by_itself(self) -> bool:
        """Whether the next invoice is charged to what is stored, and nobody has to do anything."""
        mine = self.subscription
        return mine is not None and (mine["collection"], mine["profile_state"]) == (
            Collection.CHARGE,
            ProfileState.ACTIVE,
        )

    @property
    def is_owed(self) -> bool:
        """Whether there is still something to pay or to renew."""
        if self.invoice is not None:
            return bool(self.invoice["state"] == InvoiceState.OPEN)
        return self.verification is not None and self.verification["state"] == VerificationState.OPEN

    @property
    def amount(self) -> Money:
        """What is to be paid, or reserved."""
        return _amount(self.invoice, self.verification)


def _amount(invoice: RowMapping | None, verification: RowMapping | None) -> Money:
    if invoice is not None:
        return Money(invoice["total_minor"], invoice["currency"])
    owed = verification
    return Money(owed["amount_minor"], owed["currency"]) if owed is not None else Money(0, "EUR")


class LinkError(LookupError):
    """There is no such link."""


async def visit(ctx: Context, link_id: int) -> Visit:
    """Return what the link is worth now; raise `LinkError` where it was never made. Changes nothing."""
    async with ctx.store.read() as session:
        return await look(ctx, session, link_id)


async def look(ctx: Context, session: AsyncSession, link_id: int, *, lock: bool = False) -> Visit:
    """Return what the link is worth, and lock what it pays if that is about to change; raise `LinkError`."""
    link = await _one(session, select(_link).where(_link.c.id == link_id))
    if link is None:
        raise LinkError(str(link_id))
    invoice = await _owed_thing(ctx, session, _invoice, link["invoice_id"], lock)
    verification = await _owed_thing(ctx, session, _verification, link["verification_id"], lock)
    merchant = await _one(session, select(_merchant).where(_merchant.c.id == link["merchant_id"]))
    customer = await _one(session, select(_customer).where(_customer.c.id == link["customer_id"]))
    attempt = await _holder(session, link)
    moment = (await moments(ctx, session, [link["merchant_id"]]))[link["merchant_id"]]
    moment = moment.not_before(link["created_at"])
    subscription = await _subscription_of(session, invoice, verification)
    if merchant is None or customer is None:
        raise LinkError(str(link_id))
    return Visit(
        link=link,
        merchant=merchant,
        customer=customer,
        invoice=invoice,
        verification=verification,
        subscription=subscription,
        attempt=attempt,
        latest=await _latest(session, invoice if invoice is not None else verification),
        standing=_standing(link, invoice, verification, attempt, moment),
        moment=moment,
        ways=await _ways(
            ctx, session, merchant, subscription, amount=_amount(invoice, verification), renews=verification is not None
        ),
    )


def chosen_way(seen: Visit, value: str) -> Way | None:
    """Return the way a form named, or the first there is."""
    return next((way for way in seen.ways if way.value == value), None) or next(iter(seen.ways), None)


def _standing(
    link: RowMapping,
    invoice: RowMapping | None,
    verification: RowMapping | None,
    attempt: RowMapping | None,
    moment: Moment,
) -> Standing:
    """Say what is true of the link, the most final things first; an old link tells nobody what became of the bill."""
    if link["superseded_at"] is not None:
        return Standing.SUPERSEDED
    if link["expires_at"] <= moment.now:
        return Standing.EXPIRED
    if invoice is not None and invoice["state"] == InvoiceState.PAID:
        return Standing.DONE
    if invoice is not None and invoice["state"] == InvoiceState.VOID:
        return Standing.VOID
    if verification is not None and verification["state"] in (VerificationState.AUTHORISED, VerificationState.RELEASED):
        return Standing.DONE
    if attempt is None or attempt["state"] == AttemptState.CREATED:
        return Standing.PAYABLE
    return Standing.CONFIRMING if attempt["page_link_id"] is not None else Standing.BUSY


async def _owed_thing(ctx: Context, session: AsyncSession, of: Any, id_: int | None, lock: bool) -> RowMapping | None:
    if id_ is None:
        return None
    query = select(of).where(of.c.id == id_)
    return await _one(session, ctx.store.lock(query) if lock else query)


async def _holder(session: AsyncSession, link: RowMapping) -> RowMapping | None:
    """Return the attempt that holds the charge right now, with the page it opened, if any."""
    has_page = (_page.c.sealed_url != "") & (_page.c.closes_at > after_s())
    kind = OwedKind.INVOICE if link["invoice_id"] is not None else OwedKind.VERIFICATION
    owed_id = link["invoice_id"] or link["verification_id"]
    query = (
        select(_attempt, _page.c.pay_link_id.label("page_link_id"), has_page.label("page_open"))
        .join_from(_right, _attempt)
        .join(_page, _page.c.attempt_id == _attempt.c.id, isouter=True)
        .where(_right.c.owed_kind == kind, _right.c.owed_id == owed_id, _attempt.c.state.in_(OPEN))
    )
    return await _one(session, query)


async def _latest(session: AsyncSession, owed: RowMapping | None) -> RowMapping | None:
    """Return the last attempt to collect the thing, whatever became of it, and the profile that came of it."""
    key = owed["key"] if owed is not None else None
    query = select(_attempt, _mandate.c.profile_id.label("kept_profile_id")).join_from(_attempt, _mandate, isouter=True)
    return await _one(session, query.where(_attempt.c.owed_key == key).order_by(_attempt.c.number.desc()).limit(1))


async def _subscription_of(
    session: AsyncSession, invoice: RowMapping | None, verification: RowMapping | None
) -> RowMapping | None:
    columns = select(
        *_subscription.c,
        _price.c.title,
        _price.c.amount_minor,
        _price.c.currency,
        _price.c.interval_unit,
        _price.c.interval_count,
        _price.c.tax_rate_bp,
        _price.c.tax_included,
        _profile.c.gateway_account_id,
        _profile.c.sealed_reference,
        _profile.c.slot,
        _profile.c.kind,
        _profile.c.brand,
        _profile.c.last4,
        _profile.c.expires_on,
        _profile.c.state.label("profile_state"),
    )
    query = columns.join_from(_subscription, _price).join(
        _profile, _profile.c.id == _subscription.c.profile_id, isouter=True
    )
    if invoice is not None:
        return await _one(session, query.where(_subscription.c.id == invoice["subscription_id"]))
    mine = _subscription.c.profile_id == (verification["profile_id"] if verification is not None else None)
    return await _one(session, query.where(mine).order_by(_subscription.c.id).limit(1))


async def _ways(
    ctx: Context,
    session: AsyncSession,
    merchant: RowMapping,
    subscription: RowMapping | None,
    *,
    amount: Money,
    renews: bool,
) -> tuple[Way, ...]:
    """Return the ways to pay such an amount, each once, those of the account that holds the customer's profile first.

    Where nothing is owed and the visit only `renews` a profile, those that store nothing are left out.
    """
    mine = (_account.c.merchant_id == merchant["id"]) & (_account.c.state == AccountState.OPEN)
    ids = [row.id for row in await session.execute(select(_account.c.id).where(mine).order_by(_account.c.id))]
    preferred = subscription and (subscription["gateway_account_id"] or subscription["preferred_account_id"])
    gateways = await ctx.gateways.of(session, ids)
    found: dict[str, Way] = {}
    for id_ in sorted(ids, key=lambda each: each != preferred):
        can = gateways[id_].abilities
        for way in can.ways if can.hosted_page else ():
            if not can.takes(amount, way) or (renews and not can.stores(way)):
                continue
            found.setdefault(way, _way(id_, way, can))
    return tuple(found.values())


def _way(account_id: int, way: str, can: Abilities) -> Way:
    inputs = tuple(each for each in can.inputs if each.way == way)
    return Way(account_id, way, can.title, can.stores(way), can.card_form if way == "card" else "", inputs)


async def _one(session: AsyncSession, query: Any) -> RowMapping | None:
    row: RowMapping | None = (await session.execute(query)).mappings().one_or_none()
    return row
