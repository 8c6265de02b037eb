"""A customer at a pay-link: what the link is worth now, and the hosted page that "Pay now" opens.

Opening the link takes nothing, since mail scanners open links; only the customer's POST takes the
charge right. A second click goes back to the page that is open already.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.dunning import StepKind
from billing.gateway import (
    Checkout,
    CheckoutOrder,
    Declined,
    Gateway,
    MisuseError,
    NotSent,
    Order,
    Outcome,
    ProfileReference,
    Refused,
    Unknown,
)
from billing.invoices import InvoiceState
from billing.models import (
    AccountState,
    Attempt,
    ChargeRight,
    Customer,
    GatewayAccount,
    Invoice,
    Merchant,
    OwedKind,
    PayLink,
    Price,
    Profile,
    Subscription,
    Verification,
    VerificationState,
    table,
)
from billing.models import Checkout as CheckoutRow
from billing.money import Money
from billing.payments import OPEN, AttemptState, Channel, Initiator
from billing.services.attempting import NewAttempt, open_attempts
from billing.services.cases import PAGE_MARGIN_S
from billing.services.charging import payer_of
from billing.services.context import Context, Moment, moments
from billing.services.messaging import NewMessage, Owed, give_links, queue, supersede
from billing.services.profiling import profile_digest
from billing.services.settling import News, settle
from billing.store import after_s

_link, _invoice, _verification = table(PayLink), table(Invoice), table(Verification)
_attempt, _right, _page = table(Attempt), table(ChargeRight), table(CheckoutRow)
_account, _customer, _profile = table(GatewayAccount), table(Customer), table(Profile)
_subscription, _merchant, _price = table(Subscription), table(Merchant), table(Price)

# A customer is back and the news is not: ask after this long, once.
ASK_AFTER_RETURN_S = 20


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

    @property
    def value(self) -> str:
        """The word that a form sends back."""
        return f"{self.account_id}-{self.way}"


@dataclass(frozen=True, slots=True)
class Visit:
    """Everything a page may need about a link; what it shows of it is the page's business."""

    link: RowMapping
    merchant: RowMapping
    customer: RowMapping
    invoice: RowMapping | None
    verification: RowMapping | None
    subscription: RowMapping | None
    attempt: RowMapping | None
    standing: Standing
    moment: Moment
    ways: tuple[Way, ...]

    @property
    def page_open(self) -> bool:
        """Whether the gateway's page is open, so that a click leads back to it."""
        return self.attempt is not None and bool(self.attempt["page_open"])

    @property
    def amount(self) -> Money:
        """What is to be paid, or reserved."""
        if self.invoice is not None:
            return Money(self.invoice["total_minor"], self.invoice["currency"])
        owed = self.verification
        return Money(owed["amount_minor"], owed["currency"]) if owed is not None else Money(0, "EUR")


@dataclass(frozen=True, slots=True)
class Opened:
    """Where to send the customer; without an address the page could not be opened."""

    url: str = ""
    outcome: Outcome | None = None


class LinkError(LookupError):
    """There is no such link."""


async def visit(ctx: Context, link_id: int) -> Visit:
    """Return what the link is worth now; raise `LinkError` where it was never made. Changes nothing."""
    async with ctx.store.read() as session:
        return await _visit(ctx, session, link_id)


async def pay(ctx: Context, link_id: int, way: str, ip: str) -> Opened:
    """Open a hosted page for what the link names, or return to the one that is open already.

    Only a link that is payable takes the charge right; whatever else it is, nothing is opened.
    """
    async with ctx.store.write() as session:
        seen = await _visit(ctx, session, link_id, lock=True)
        if seen.standing == Standing.CONFIRMING:
            return Opened(await _open_page(ctx, session, seen))
        if seen.standing != Standing.PAYABLE:
            return Opened()
        chosen = next((each for each in seen.ways if each.value == way), None) or next(iter(seen.ways), None)
        if chosen is None:
            return Opened(outcome=NotSent("no gateway account of the merchant has a page"))
        if seen.attempt is not None and not await _withdraw(session, seen):
            return Opened()
        attempt_id, order = await _take_right(ctx, session, seen, chosen, ip)
        gateway = (await ctx.gateways.of(session, [chosen.account_id]))[chosen.account_id]
    return await _open(ctx, gateway, attempt_id, link_id, order)


async def came_back(ctx: Context, link_id: int) -> None:
    """Let the gateway be asked soon, once, if the customer is back before the news is."""
    async with ctx.store.write() as session:
        page = select(_page.c.attempt_id).where(_page.c.pay_link_id == link_id)
        waiting = (_attempt.c.state == AttemptState.PENDING) & (_attempt.c.asks == 0)
        soon = after_s(ASK_AFTER_RETURN_S)
        mine = _attempt.c.id.in_(page) & waiting & (_attempt.c.ask_at > soon)
        await session.execute(update(_attempt).where(mine).values(ask_at=soon))


async def send_fresh_link(ctx: Context, link_id: int) -> None:
    """Mail a fresh link to the address the customer's invoices go to, if there is still something to pay.

    Asking again on the same day sends nothing more, so an old link cannot be used to flood anybody.
    """
    async with ctx.store.write() as session:
        seen = await _visit(ctx, session, link_id, lock=True)
        if seen.standing not in (Standing.EXPIRED, Standing.SUPERSEDED) or not _is_owed(seen):
            return
        link = seen.link
        owed = Owed(link["merchant_id"], link["customer_id"], link["invoice_id"], link["verification_id"])
        if seen.standing == Standing.EXPIRED:
            await supersede(session, [owed], seen.moment.now)
        await give_links(session, [owed], seen.moment.now)
        cause = f"inv_{owed.invoice_id}" if owed.invoice_id else f"ver_{owed.verification_id}"
        step = f"fresh_link {seen.moment.today}"
        context = {"invoice_id": owed.invoice_id, "verification_id": owed.verification_id}
        message = NewMessage(owed.merchant_id, owed.customer_id, cause, step, seen.moment.now, context)
        await queue(session, [message])


# --- what a link is worth ---------------------------------------------------


async def _visit(ctx: Context, session: AsyncSession, link_id: int, *, lock: bool = False) -> Visit:
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
        standing=_standing(link, invoice, verification, attempt, moment),
        moment=moment,
        ways=await _ways(ctx, session, link["merchant_id"], subscription),
    )


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


def _is_owed(seen: Visit) -> bool:
    if seen.invoice is not None:
        return bool(seen.invoice["state"] == InvoiceState.OPEN)
    return seen.verification is not None and seen.verification["state"] == VerificationState.OPEN


async def _one(session: AsyncSession, query: Any) -> RowMapping | None:
    row: RowMapping | None = (await session.execute(query)).mappings().one_or_none()
    return row


async def _owed_thing(ctx: Context, session: AsyncSession, of: Any, id_: int | None, lock: bool) -> RowMapping | None:
    if id_ is None:
        return None
    query = select(of).where(of.c.id == id_)
    return await _one(session, ctx.store.lock(query) if lock else query)


async def _holder(session: AsyncSession, link: RowMapping) -> RowMapping | None:
    """Return the attempt that holds the charge right now, with the page it opened, if any."""
    kind = OwedKind.INVOICE if link["invoice_id"] is not None else OwedKind.VERIFICATION
    owed_id = link["invoice_id"] or link["verification_id"]
    query = (
        select(_attempt, _page.c.pay_link_id.label("page_link_id"), (_page.c.closes_at > after_s()).label("page_open"))
        .join_from(_right, _attempt)
        .join(_page, _page.c.attempt_id == _attempt.c.id, isouter=True)
        .where(_right.c.owed_kind == kind, _right.c.owed_id == owed_id, _attempt.c.state.in_(OPEN))
    )
    return await _one(session, query)


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
    )
    query = columns.join_from(_subscription, _price).join(
        _profile, _profile.c.id == _subscription.c.profile_id, isouter=True
    )
    if invoice is not None:
        return await _one(session, query.where(_subscription.c.id == invoice["subscription_id"]))
    mine = _subscription.c.profile_id == (verification["profile_id"] if verification is not None else None)
    return await _one(session, query.where(mine).order_by(_subscription.c.id).limit(1))


async def _ways(
    ctx: Context, session: AsyncSession, merchant_id: int, subscription: RowMapping | None
) -> tuple[Way, ...]:
    """Return the ways to pay, those of the account that holds the customer's profile first."""
    mine = (_account.c.merchant_id == merchant_id) & (_account.c.state == AccountState.OPEN)
    ids = [row.id for row in await session.execute(select(_account.c.id).where(mine).order_by(_account.c.id))]
    preferred = subscription["gateway_account_id"] if subscription is not None else None
    gateways = await ctx.gateways.of(session, ids)
    return tuple(
        Way(id_, way, gateways[id_].abilities.title, gateways[id_].abilities.renews_profile)
        for id_ in sorted(ids, key=lambda each: each != preferred)
        if gateways[id_].abilities.hosted_page
        for way in gateways[id_].abilities.ways
    )


# --- opening a page ---------------------------------------------------------


async def _take_right(ctx: Context, session: AsyncSession, seen: Visit, way: Way, ip: str) -> tuple[int, CheckoutOrder]:
    """Take the charge right for the customer; the claim on it is ours until the page is open."""
    attempt = _new_attempt(seen, way)
    attempt_id = (await open_attempts(session, [attempt]))[attempt.key]
    sent = {"sent_at": after_s(), "lease_until": after_s(ctx.lease_s)}
    await session.execute(update(_attempt).where(_attempt.c.id == attempt_id).values(**sent))
    owed = _invoice if seen.invoice is not None else _verification
    owed_id = seen.link["invoice_id"] or seen.link["verification_id"]
    await session.execute(update(owed).where(owed.c.id == owed_id).values(tries=attempt.number))
    stores = way.stores and await _is_theirs(ctx, session, seen, way)
    return attempt_id, _order(ctx, seen, way, attempt, ip, stores=stores)


async def _is_theirs(ctx: Context, session: AsyncSession, seen: Visit, way: Way) -> bool:
    """Answer whether the profile to be made or renewed is stored for nobody else."""
    profile = _profile_to_store(ctx, seen, way)
    digest = profile_digest(ctx.vault, way.account_id, profile.reference, profile.slot)
    stored = (_profile.c.gateway_account_id == way.account_id) & (_profile.c.reference_digest == digest)
    owner = (await session.execute(select(_profile.c.customer_id).where(stored))).scalar()
    return owner in (None, seen.customer["id"])


async def _withdraw(session: AsyncSession, seen: Visit) -> bool:
    """Take back an attempt that waits to be sent, and answer whether it still did.

    What it was to do is planned again, should the customer leave the page without paying.
    """
    waiting: RowMapping | dict[str, Any] = seen.attempt or {}
    mine = (_attempt.c.id == waiting["id"]) & (_attempt.c.state == AttemptState.CREATED)
    taken = update(_attempt).where(mine).values(state=AttemptState.WITHDRAWN).returning(_attempt.c.id)
    if (await session.execute(taken)).scalar() is None:
        return False
    await session.execute(delete(_right).where(_right.c.attempt_id == waiting["id"]))
    if waiting["initiator"] == Initiator.MERCHANT and seen.invoice is not None:
        plan = {"next_step": StepKind.RETRY, "next_step_on": seen.moment.today}
        await session.execute(update(_invoice).where(_invoice.c.id == seen.invoice["id"]).values(**plan))
    return True


def _new_attempt(seen: Visit, way: Way) -> NewAttempt:
    owed = seen.invoice if seen.invoice is not None else seen.verification
    if owed is None:
        raise LinkError(str(seen.link["id"]))
    subscription = seen.subscription
    return NewAttempt(
        merchant_id=seen.link["merchant_id"],
        customer_id=seen.link["customer_id"],
        gateway_account_id=way.account_id,
        profile_id=subscription["profile_id"] if subscription is not None else None,
        initiator=Initiator.CUSTOMER,
        channel=Channel.PAY_LINK,
        owed_key=owed["key"],
        number=owed["tries"] + 1,
        amount=seen.amount,
        invoice_id=seen.link["invoice_id"],
        verification_id=seen.link["verification_id"],
        business_at=seen.moment.now,
        state=AttemptState.SENT,
    )


def _order(ctx: Context, seen: Visit, way: Way, attempt: NewAttempt, ip: str, *, stores: bool) -> CheckoutOrder:
    customer = {f"payer_{name}": seen.customer[name] for name in ("reference", "name", "email", "language", "country")}
    number = seen.invoice["number"] if seen.invoice is not None else attempt.owed_key
    title = seen.invoice["title"] if seen.invoice is not None else seen.merchant["name"]
    return CheckoutOrder(
        key=attempt.key,
        amount=attempt.amount,
        payer=payer_of(customer, ip),
        order=Order(number, f"{title} {number}"),
        returns=ctx.links.returns(seen.link["id"]),
        notify_url=ctx.links.notify(way.account_id, attempt.key),
        ways=_chosen_first(seen, way),
        store=_profile_to_store(ctx, seen, way) if stores else None,
        reserve_only=seen.verification is not None,
    )


def _chosen_first(seen: Visit, chosen: Way) -> tuple[str, ...]:
    """Return every way of the chosen account, so that a change of mind needs no second page."""
    others = (way.way for way in seen.ways if way.account_id == chosen.account_id and way != chosen)
    return (chosen.way, *others)


def _profile_to_store(ctx: Context, seen: Visit, way: Way) -> ProfileReference:
    """Renew the stored profile under its own reference, or make one under the customer's."""
    subscription = seen.subscription
    if subscription is not None and subscription["gateway_account_id"] == way.account_id:
        return ProfileReference(ctx.vault.unseal(subscription["sealed_reference"]), subscription["slot"])
    return ProfileReference(seen.customer["reference"])


async def _open(ctx: Context, gateway: Gateway, attempt_id: int, link_id: int, order: CheckoutOrder) -> Opened:
    """Ask the gateway for the page, outside any transaction, and keep its address before anybody sees it."""
    try:
        answer = await gateway.open_checkout(order)
    except Exception as error:  # noqa: BLE001 - whatever broke, the customer gets no page
        answer = NotSent(f"{type(error).__name__}: {error}", lasting=isinstance(error, MisuseError))
    if not isinstance(answer, Checkout):
        outcome = _without_page(answer)
        await settle(ctx, [News(attempt_id, outcome)])
        return Opened(outcome=outcome)
    if not await _keep_page(ctx, attempt_id, link_id, answer):
        return Opened(outcome=NotSent("the page came so late that somebody else has given it up"))
    return Opened(answer.url)


def _without_page(answer: Declined | Refused | NotSent | Unknown) -> Outcome:
    """A page whose address we never got is a page nobody can pay on."""
    if isinstance(answer, Unknown):
        return NotSent(f"the page's address was lost, so nobody can pay on it: {answer.reason}")
    return answer


async def _keep_page(ctx: Context, attempt_id: int, link_id: int, checkout: Checkout) -> bool:
    """Store the page, unless its attempt was given up meanwhile: nobody may pay on a page without the right."""
    waits = {"state": AttemptState.PENDING, "ask_at": after_s(checkout.life_s + PAGE_MARGIN_S), "lease_until": None}
    mine = (_attempt.c.id == attempt_id) & _attempt.c.state.in_((AttemptState.SENT, AttemptState.UNKNOWN))
    opened = update(_attempt).where(mine).values(**waits, gateway_id=checkout.gateway_id).returning(_attempt.c.id)
    async with ctx.store.write() as session:
        if (await session.execute(opened)).scalar() is None:
            return False
        row = {
            "attempt_id": attempt_id,
            "pay_link_id": link_id,
            "sealed_url": ctx.vault.seal(checkout.url),
            "opened_at": after_s(),
            "closes_at": after_s(checkout.life_s),
        }
        await session.execute(insert(_page).values(**row))
        return True


async def _open_page(ctx: Context, session: AsyncSession, seen: Visit) -> str:
    """Return the address of the page that is open already, or nothing once its life is over."""
    if seen.attempt is None:
        return ""
    query = select(_page.c.sealed_url).where(_page.c.attempt_id == seen.attempt["id"], _page.c.closes_at > after_s())
    sealed = (await session.execute(query)).scalar()
    return ctx.vault.unseal(sealed) if sealed else ""
