"""A customer at a pay-link: the hosted page that "Pay now" opens, and the way back from it.

Opening the link takes nothing, since mail scanners open links; only the customer's POST takes the
charge right. A second click goes back to the page that is open already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.dunning import StepKind
from billing.gateway import (
    Asking,
    Checkout,
    CheckoutOrder,
    Declined,
    Gateway,
    MisuseError,
    NotSent,
    Order,
    OrderLine,
    Outcome,
    Payer,
    ProfileReference,
    Question,
    Refused,
    Unknown,
)
from billing.models import (
    Attempt,
    ChargeRight,
    Invoice,
    InvoiceLine,
    PayLink,
    Profile,
    Verification,
    table,
)
from billing.models import Checkout as CheckoutRow
from billing.money import Money
from billing.payments import AttemptState, Channel, Initiator, found_out
from billing.services.attempting import NewAttempt, open_attempts
from billing.services.cases import PAGE_MARGIN_S, address_of
from billing.services.charging import payer_of
from billing.services.consenting import Consent, record_consent
from billing.services.context import Context
from billing.services.looking import LinkError, Standing, Visit, Way, chosen_way, look
from billing.services.messaging import NewMessage, Owed, give_links, queue, supersede
from billing.services.profiling import is_stored_as
from billing.services.recalling import recall
from billing.services.settling import News, settle
from billing.services.wording import words_for
from billing.store import after_s

_link, _invoice, _verification = table(PayLink), table(Invoice), table(Verification)
_attempt, _right, _page = table(Attempt), table(ChargeRight), table(CheckoutRow)
_profile = table(Profile)

# A customer is back and the news is not: ask after this long, once.
ASK_AFTER_RETURN_S = 20


@dataclass(frozen=True, slots=True)
class Opened:
    """Where to send the customer, with what is to be posted there; without an address, what became of it."""

    url: str = ""
    posted: Mapping[str, str] = field(default_factory=dict)
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """The charge right as a customer took it: the attempt, what it pays, and the profile it is to make or renew."""

    attempt_id: int
    account_id: int
    key: str
    order: Order
    store: ProfileReference | None


@dataclass(frozen=True, slots=True)
class Click:
    """A customer's "Pay now": the way they chose and what it asked of them, their address, and their consent."""

    way: str
    ip: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    consent: Consent | None = None


async def pay(ctx: Context, link_id: int, click: Click) -> Opened:
    """Open a hosted page for what the link names, or return to the one that is open already.

    Only a link that is payable takes the charge right; whatever else it is, nothing is opened.
    """
    is_clear = await recall_owed(ctx, link_id)
    async with ctx.store.write() as session:
        seen = await look(ctx, session, link_id, lock=True)
        if seen.standing != Standing.PAYABLE:
            return await open_page(ctx, session, seen)
        chosen = chosen_way(seen, click.way)
        if chosen is None:
            return Opened(outcome=NotSent("no gateway account of the merchant has a page"))
        gateway = (await ctx.gateways.of(session, [chosen.account_id]))[chosen.account_id]
        if early := too_early(ctx, gateway.abilities.asking, is_clear=is_clear):
            return Opened(outcome=early)
        taken = await take_right(ctx, session, seen, chosen, click.ip, click.consent)
        if taken is None:
            return Opened()
        order = _order(ctx, seen, chosen, taken, click)
    return await _open(ctx, gateway, taken.attempt_id, link_id, order)


async def recall_owed(ctx: Context, link_id: int) -> bool:
    """Let a restored database hear first whether what the link names was paid since the backup.

    Answer whether that is clear: every account could be asked, and none knows of a try that we do not.
    """
    if not ctx.ask_first:
        return True
    async with ctx.store.read() as session:
        invoice_id = (await session.execute(select(_link.c.invoice_id).where(_link.c.id == link_id))).scalar()
    return invoice_id is None or await recall(ctx, [invoice_id], asking_only=True) == [invoice_id]


def too_early(ctx: Context, asking: Asking, *, is_clear: bool) -> NotSent | None:
    """Return why nobody can pay just after a restore: what was paid since the backup cannot be asked about.

    A payment on a hosted page is not repeated by our request under its key. Nothing is taken then, so that the next
    try has the same key as it had before.
    """
    if is_clear and (not ctx.ask_first or asking.by_key):
        return None
    return NotSent("nobody can tell what was paid after the backup was made")


async def came_back(ctx: Context, link_id: int, *, paid: bool = True) -> int | None:
    """Let the gateway be asked, once, if the customer is back before the news is.

    Where questions are rationed that is soon, since the news is probably on its way, and only where the address
    says `paid`. Where they are not, it is now, whatever the address says, and the attempt to ask about is returned.
    """
    async with ctx.store.write() as session:
        page = select(_page.c.attempt_id).where(_page.c.pay_link_id == link_id)
        waiting = (_attempt.c.state == AttemptState.PENDING) & (_attempt.c.asks == 0)
        mine = select(_attempt.c.id, _attempt.c.gateway_account_id).where(_attempt.c.id.in_(page), waiting)
        row = (await session.execute(mine)).one_or_none()
        if row is None:
            return None
        gateway = (await ctx.gateways.of(session, [row.gateway_account_id]))[row.gateway_account_id]
        rationed = gateway.abilities.asking.budget is not None
        if rationed and not paid:
            return None
        soon = after_s(ASK_AFTER_RETURN_S if rationed else 0)
        later = (_attempt.c.id == row.id) & waiting & (_attempt.c.ask_at > soon)
        await session.execute(update(_attempt).where(later).values(ask_at=soon))
        return None if rationed else int(row.id)


async def send_fresh_link(ctx: Context, link_id: int) -> None:
    """Mail a fresh link to the address the customer's invoices go to, if there is still something to pay.

    Asking again on the same day sends nothing more, so an old link cannot be used to flood anybody.
    """
    async with ctx.store.write() as session:
        seen = await look(ctx, session, link_id, lock=True)
        if seen.standing not in (Standing.EXPIRED, Standing.SUPERSEDED) or not seen.is_owed:
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


# --- opening a page ---------------------------------------------------------


async def take_right(
    ctx: Context, session: AsyncSession, seen: Visit, way: Way, ip: str, consent: Consent | None
) -> Taken | None:
    """Take the charge right of a payable link for the customer, or return nothing where somebody else just has.

    The claim on it is ours until the page is open, or the card's own answer is there. Without a consent
    nothing will be stored.
    """
    if seen.attempt is not None and not await _withdraw(session, seen):
        return None
    attempt = _new_attempt(seen, way)
    attempt_id = (await open_attempts(session, [attempt]))[attempt.key]
    sent = {"sent_at": after_s(), "lease_until": after_s(ctx.lease_s), "asks": int(ctx.ask_first)}
    await session.execute(update(_attempt).where(_attempt.c.id == attempt_id).values(**sent))
    owed = _invoice if seen.invoice is not None else _verification
    owed_id = seen.link["invoice_id"] or seen.link["verification_id"]
    await session.execute(update(owed).where(owed.c.id == owed_id).values(tries=attempt.number))
    store = None
    if consent is not None and way.stores and await _is_theirs(ctx, session, seen, way):
        about = (attempt.merchant_id, attempt.customer_id)
        await record_consent(session, attempt_id, *about, consent, ip, seen.moment.now)
        store = _profile_to_store(ctx, seen, way)
    return Taken(attempt_id, way.account_id, attempt.key, await _what(session, seen, attempt), store)


async def _what(session: AsyncSession, seen: Visit, attempt: NewAttempt) -> Order:
    """Return what is paid for, line by line."""
    if seen.invoice is None:
        return Order(attempt.owed_key, f"{seen.merchant['name']} {attempt.owed_key}")
    number, currency = seen.invoice["number"], seen.invoice["currency"]
    line = table(InvoiceLine)
    rows = await session.execute(select(line).where(line.c.invoice_id == seen.invoice["id"]).order_by(line.c.position))
    lines = tuple(
        OrderLine(
            row["text"],
            row["quantity"],
            Money(row["total_minor"], currency),
            Money(row["tax_minor"], currency),
            row["tax_rate_bp"],
        )
        for row in rows.mappings()
    )
    return Order(number, f"{seen.invoice['title']} {number}", lines)


async def _is_theirs(ctx: Context, session: AsyncSession, seen: Visit, way: Way) -> bool:
    """Answer whether the profile to be made or renewed is stored for nobody else."""
    profile = _profile_to_store(ctx, seen, way)
    stored = is_stored_as(ctx.vault, way.account_id, profile.reference, profile.slot)
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


def _order(ctx: Context, seen: Visit, way: Way, taken: Taken, click: Click) -> CheckoutOrder:
    return CheckoutOrder(
        key=taken.key,
        amount=seen.amount,
        payer=payer_in(seen, click.ip),
        order=taken.order,
        returns=ctx.links.returns(seen.link["id"]),
        notify_url=ctx.links.notify(way.account_id, taken.key),
        ways=_chosen_first(seen, way),
        inputs={each.name: click.inputs.get(each.name, "") for each in way.inputs},
        store=taken.store,
        reserve_only=seen.verification is not None,
    )


def payer_in(seen: Visit, ip: str = "") -> Payer:
    """Return who pays, as far as the visit knows."""
    columns = ("reference", "name", "email", "language", "country")
    return payer_of({f"payer_{name}": seen.customer[name] for name in columns}, ip)


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
    if known := await told_before(ctx, gateway, order.key, order.amount):
        await settle(ctx, [News(attempt_id, known)])
        return Opened(outcome=known)
    try:
        answer = await gateway.open_checkout(order)
    except Exception as error:  # noqa: BLE001 - whatever broke, the customer gets no page
        answer = NotSent(words_for(error), lasting=isinstance(error, MisuseError))
    if not isinstance(answer, Checkout):
        outcome = _without_page(answer)
        await settle(ctx, [News(attempt_id, outcome)])
        return Opened(outcome=outcome)
    if not await _keep_page(ctx, attempt_id, link_id, answer):
        return Opened(outcome=NotSent("the page came so late that somebody else has given it up"))
    return Opened(answer.url, answer.posted)


async def told_before(ctx: Context, gateway: Gateway, key: str, amount: Money) -> Outcome | None:
    """Return what a restored database has forgotten about a customer's key, or nothing where it may be used."""
    if not ctx.ask_first or not gateway.abilities.asking.by_key:
        return None
    try:
        found = found_out(await gateway.find(Question(key, amount)))
    except Exception as error:  # noqa: BLE001 - whatever broke, nothing is known of the key
        return Unknown(words_for(error))
    return None if isinstance(found, NotSent) else found


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
            "sealed_url": ctx.vault.seal(address_of(checkout)),
            "opened_at": after_s(),
            "closes_at": after_s(checkout.life_s),
        }
        await session.execute(insert(_page).values(**row))
        return True


async def open_page(ctx: Context, session: AsyncSession, seen: Visit) -> Opened:
    """Return the page that is open already, or nothing once its life or the link's worth is over."""
    if seen.attempt is None or seen.standing != Standing.CONFIRMING:
        return Opened()
    query = select(_page.c.sealed_url).where(_page.c.attempt_id == seen.attempt["id"], _page.c.closes_at > after_s())
    sealed = (await session.execute(query)).scalar()
    text = ctx.vault.unseal(sealed) if sealed else ""
    return Opened(**json.loads(text)) if text.startswith("{") else Opened(text)
