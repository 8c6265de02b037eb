"""Compose mails from what is true when they leave: the facts of a page are read together, then each is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import RowMapping, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing import dunning
from billing.bulk import among
from billing.clock import day_in
from billing.gateway import DeclineClass
from billing.invoices import InvoiceState
from billing.mail import Envelope, Letter, Mailbox, MailKind, NextStep
from billing.models import (
    Attempt,
    Customer,
    Invoice,
    Merchant,
    PayLink,
    Price,
    Profile,
    ProfileState,
    Subscription,
    Verification,
    table,
)
from billing.money import Money
from billing.payments import Initiator
from billing.services.context import Context, Moment, moments
from billing.services.showing import bill_of, brand_of, last_day_of, locale_of, means_of, next_charge_of
from billing.subscriptions import Collection

_invoice, _attempt, _verification = table(Invoice), table(Attempt), table(Verification)
_subscription, _price, _profile, _link = table(Subscription), table(Price), table(Profile), table(PayLink)

Fact = RowMapping


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a page of mails is about, by id."""

    merchants: dict[int, Fact]
    customers: dict[int, Fact]
    invoices: dict[int, Fact]
    attempts: dict[int, Fact]
    verifications: dict[int, Fact]
    subscriptions: dict[int, Fact]
    profiles: dict[int, Fact]
    links: dict[tuple[str, int], Fact]
    storing: frozenset[int]
    moments: dict[int, Moment]


async def gather(ctx: Context, session: AsyncSession, messages: list[RowMapping]) -> Facts:
    """Read everything a page of mails shows, one statement for each kind of thing."""
    wanted = [message["context"] for message in messages]
    invoices = await _by_id(session, _invoice, (each.get("invoice_id") for each in wanted))
    attempts = await _by_id(session, _attempt, (each.get("attempt_id") for each in wanted))
    verifications = await _by_id(session, _verification, (each.get("verification_id") for each in wanted))
    subscriptions = await _subscriptions(session, invoices.values(), verifications.values())
    profile_ids = [row["profile_id"] for rows in (attempts, verifications, subscriptions) for row in rows.values()]
    profiles = await _by_id(session, _profile, profile_ids)
    accounts = {row["gateway_account_id"] for rows in (profiles, attempts) for row in rows.values()}
    gateways = await ctx.gateways.of(session, accounts)
    return Facts(
        merchants=await _by_id(session, table(Merchant), (message["merchant_id"] for message in messages)),
        customers=await _by_id(session, table(Customer), (message["customer_id"] for message in messages)),
        invoices=invoices,
        attempts=attempts,
        verifications=verifications,
        subscriptions=subscriptions,
        profiles=profiles,
        links=await _links(session, invoices, verifications),
        moments=await moments(ctx, session, {message["merchant_id"] for message in messages}),
        storing=frozenset(id_ for id_, gateway in gateways.items() if gateway.abilities.renews_profile),
    )


async def _by_id(session: AsyncSession, of: Table, ids: Iterable[int | None]) -> dict[int, Fact]:
    wanted = {id_ for id_ in ids if id_ is not None}
    if not wanted:
        return {}
    return {row["id"]: row for row in (await session.execute(select(of).where(among(of.c.id, wanted)))).mappings()}


async def _subscriptions(
    session: AsyncSession, invoices: Iterable[Fact], verifications: Iterable[Fact]
) -> dict[int, Fact]:
    ids = {row["subscription_id"] for row in invoices}
    profiles = {row["profile_id"] for row in verifications}
    price_columns = [column for column in _price.c if column.name not in {"id", "reference", "plan_id"}]
    query = select(*_subscription.c, *price_columns).join_from(_subscription, _price)
    query = query.where(among(_subscription.c.id, ids) | among(_subscription.c.profile_id, profiles))
    return {row["id"]: row for row in (await session.execute(query)).mappings()}


async def _links(
    session: AsyncSession, invoices: Iterable[int], verifications: Iterable[int]
) -> dict[tuple[str, int], Fact]:
    mine = among(_link.c.invoice_id, invoices) | among(_link.c.verification_id, verifications)
    rows = await session.execute(select(_link).where(mine, _link.c.superseded_at.is_(None)))
    return {_thing(row): row for row in rows.mappings()}


def _thing(link: Fact) -> tuple[str, int]:
    return ("inv", link["invoice_id"]) if link["invoice_id"] else ("ver", link["verification_id"])


# --- one mail ---------------------------------------------------------------


_ASKS_NOTHING: Final = (MailKind.RECEIPT, MailKind.RENEWED, MailKind.REFUNDED)
"""What is done needs no link, even where one that was mailed before still works."""


def letter_of(ctx: Context, kind: MailKind, message: RowMapping, facts: Facts) -> Letter:
    """Return what a mail says, as things are now and never before what it is about happened."""
    merchant, customer = facts.merchants[message["merchant_id"]], facts.customers[message["customer_id"]]
    context = message["context"]
    invoice = facts.invoices.get(context.get("invoice_id") or 0)
    attempt = facts.attempts.get(context.get("attempt_id") or 0)
    verification = facts.verifications.get(context.get("verification_id") or 0)
    subscription = _subscription_of(facts, invoice, verification)
    moment = facts.moments[merchant["id"]].not_before(message["business_at"])
    profile = _profile_of(facts, attempt, verification, subscription)
    next_on, next_amount = next_charge_of(subscription)
    return Letter(
        kind=kind,
        locale=locale_of(customer, merchant),
        brand=brand_of(merchant),
        today=moment.today,
        greet=customer["salutation"] or customer["name"],
        bill=bill_of(invoice) if invoice is not None else None,
        means=means_of(profile),
        happened_on=day_in(merchant["timezone"], message["business_at"]),
        stores=_stores(facts, kind, profile, subscription),
        by_link=attempt is not None and attempt["initiator"] == Initiator.CUSTOMER,
        steps=_steps(ctx, invoice, attempt, profile, moment.today),
        next_on=next_on,
        next_amount=next_amount,
        reserved=_reserved(verification),
        **_why(attempt),
        **(_link_facts(ctx, merchant, invoice, verification, facts) if kind not in _ASKS_NOTHING else {}),
    )


def _subscription_of(facts: Facts, invoice: Fact | None, verification: Fact | None) -> Fact | None:
    if invoice is not None:
        return facts.subscriptions.get(invoice["subscription_id"] or 0)
    profile_id = verification["profile_id"] if verification is not None else None
    mine = (row for row in facts.subscriptions.values() if row["profile_id"] == profile_id)
    return next(mine, None)


def _profile_of(
    facts: Facts, attempt: Fact | None, verification: Fact | None, subscription: Fact | None
) -> Fact | None:
    """Return the profile a mail speaks of: the one that was tried, else the one that is charged from now on."""
    declined = attempt is not None and attempt["decline_class"]
    source = attempt if declined else subscription or verification or attempt
    return facts.profiles.get(source["profile_id"] or 0) if source is not None else None


def _stores(facts: Facts, kind: MailKind, profile: Fact | None, subscription: Fact | None) -> bool:
    """Answer whether a visit leads to charges by themselves; of a receipt, whether there will be any."""
    if profile is None or subscription is None or subscription["collection"] != Collection.CHARGE:
        return False
    alive = kind != MailKind.RECEIPT or profile["state"] == ProfileState.ACTIVE
    return alive and profile["gateway_account_id"] in facts.storing


def _why(attempt: Fact | None) -> dict[str, Any]:
    if attempt is None or not attempt["decline_class"]:
        return {}
    code = f"{attempt['decline_code']} {attempt['evidence']}".strip()
    return {"decline": DeclineClass(attempt["decline_class"]), "code": code}


def _steps(
    ctx: Context, invoice: Fact | None, attempt: Fact | None, profile: Fact | None, today: Any
) -> tuple[NextStep, ...]:
    """Return what we will do by ourselves while the invoice stays open."""
    if invoice is None or invoice["dunned_since"] is None or invoice["state"] != InvoiceState.OPEN:
        return ()
    declined = attempt is not None and attempt["decline_class"] == DeclineClass.RETRY_LATER
    retry = declined and profile is not None and profile["state"] == ProfileState.ACTIVE
    steps = dunning.steps_ahead(ctx.ladder, invoice["dunned_since"], today, retry=retry)
    return tuple(NextStep(step.kind, step.on) for step in steps)


def _reserved(verification: Fact | None) -> Money | None:
    return None if verification is None else Money(verification["amount_minor"], verification["currency"])


def _link_facts(
    ctx: Context, merchant: Fact, invoice: Fact | None, verification: Fact | None, facts: Facts
) -> dict[str, Any]:
    """Return where the mail's button leads: our pay-link, or the merchant's own invoice page behind its login."""
    thing = ("inv", invoice["id"]) if invoice is not None else ("ver", verification["id"] if verification else 0)
    link = facts.links.get(thing)
    if link is None:
        return {}
    url = ctx.links.pay(link["id"])
    own = bool(merchant["invoice_page"]) and invoice is not None
    if own and invoice is not None:
        url = merchant["invoice_page"].replace("{invoice}", invoice["number"]).replace("{link}", url)
    return {"link_url": url, "link_until": last_day_of(link, merchant["timezone"]), "own_login": own}


def envelope_of(ctx: Context, message: RowMapping, facts: Facts) -> Envelope:
    """Return who a mail is from and for; its Message-ID is the same however often it is sent."""
    merchant, customer = facts.merchants[message["merchant_id"]], facts.customers[message["customer_id"]]
    host = merchant["mail_from"].rpartition("@")[2]
    return Envelope(
        sender=Mailbox(merchant["mail_from"], merchant["name"]),
        to=Mailbox(message["recipient"], customer["name"]),
        message_id=f"<{message['id']}.{ctx.vault.digest('message', message['id'])[:16]}@{host}>",
        sent_at=ctx.clock.now(),
        reply_to=Mailbox(merchant["reply_to"]) if merchant["reply_to"] else None,
    )
