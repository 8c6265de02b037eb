"""Deliver queued mails: rendered at sending, leased, and sent only when the server said so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol

from sqlalchemy import RowMapping, Table, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import dunning
from billing.clock import day_in
from billing.gateway import DeclineClass
from billing.invoices import InvoiceState
from billing.mail import (
    Envelope,
    Letter,
    MailAccountError,
    Mailbox,
    MailDelayedError,
    MailError,
    MailKind,
    NextStep,
    Rendered,
    render,
)
from billing.models import (
    Attempt,
    Customer,
    Invoice,
    Merchant,
    Message,
    MessageState,
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
from billing.services.tasking import NewTask, raise_tasks
from billing.store import after_s

_message, _invoice, _attempt = table(Message), table(Invoice), table(Attempt)
_subscription, _price, _profile = table(Subscription), table(Price), table(Profile)
_link, _verification = table(PayLink), table(Verification)

PAGE: Final = 50
RETRY_DELAYS_S: Final = (60, 300, 1800, 7200, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
ACCOUNT_DELAY_S: Final = 60
_ASKS_FOR_MONEY: Final = (MailKind.DECLINED, MailKind.INVOICE, MailKind.REMINDER, MailKind.LAST_STEP)

Fact = RowMapping


class Postman(Protocol):
    """Hands a mail to a server; returns its words after the 250, or raises a `MailError`."""

    async def send(self, mail: Rendered, envelope: Envelope) -> str:
        """Send one mail, once."""
        ...


@dataclass(frozen=True, slots=True)
class _Facts:
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


async def deliver(ctx: Context, postman: Postman) -> Counter[MessageState]:
    """Send what is queued and due; return how many mails came to which state.

    A server that refuses us, and not the mail, ends the delivery: nothing would pass.
    """
    done: Counter[MessageState] = Counter()
    while True:
        deadline = monotonic() + ctx.lease_s / 2
        messages = await _claim(ctx)
        if not messages:
            return done
        async with ctx.store.read() as session:
            facts = await _gather(ctx, session, messages)
        for place, message in enumerate(messages):
            if place and monotonic() > deadline:
                await _give_back(ctx, messages[place:], 0)
                break
            try:
                state, error = await _send(ctx, postman, message, facts)
            except MailAccountError as refusal:
                await _give_back(ctx, messages[place:], ACCOUNT_DELAY_S, str(refusal))
                return done
            await _mark(ctx, message, state, error)
            done[state] += 1


async def _give_back(ctx: Context, messages: Sequence[RowMapping], delay_s: int, error: str = "") -> None:
    """Let go of claimed mails that were not tried, before the claim ends and somebody else sends them as well."""
    mine = _message.c.id.in_([message["id"] for message in messages])
    untried = {"tries": _message.c.tries - 1, "next_try_at": after_s(delay_s), "error": error}
    async with ctx.store.write() as session:
        await session.execute(update(_message).where(mine).values(**untried))


async def _claim(ctx: Context) -> list[RowMapping]:
    """Take a page of mails; the next try is the end of the lease, should we die before marking them."""
    async with ctx.store.write() as session:
        due = select(_message).where(_message.c.state == MessageState.QUEUED, _message.c.next_try_at <= after_s())
        due = due.order_by(_message.c.next_try_at, _message.c.id).limit(PAGE)
        rows = list((await session.execute(ctx.store.claim(due))).mappings())
        mine = _message.c.id.in_([row["id"] for row in rows])
        if rows:
            lease = {"next_try_at": after_s(ctx.lease_s), "tries": _message.c.tries + 1}
            await session.execute(update(_message).where(mine).values(**lease))
        return rows


async def _send(ctx: Context, postman: Postman, message: RowMapping, facts: _Facts) -> tuple[MessageState, str]:
    try:
        kind = MailKind(message["step"].split(" ")[0])
        invoice = facts.invoices.get(message["context"].get("invoice_id") or 0)
        if kind in _ASKS_FOR_MONEY and invoice is not None and invoice["state"] != InvoiceState.OPEN:
            return MessageState.DROPPED, f"the invoice is {invoice['state']} by now"
        await postman.send(render(_letter(ctx, kind, message, facts)), _envelope(ctx, message, facts))
    except MailAccountError:
        raise
    except MailDelayedError as error:
        lasting = message["tries"] >= len(RETRY_DELAYS_S)
        return (MessageState.FAILED if lasting else MessageState.QUEUED), str(error)
    except MailError as error:
        return MessageState.FAILED, str(error)
    except Exception as error:  # noqa: BLE001 - one mail that cannot be written must not hold up the others
        return MessageState.FAILED, f"{type(error).__name__}: {error}"
    return MessageState.SENT, ""


async def _mark(ctx: Context, message: RowMapping, state: MessageState, error: str) -> None:
    """Write what became of a mail; one that failed for good is a person's task."""
    values: dict[str, Any] = {"state": state, "error": error}
    if state == MessageState.SENT:
        values["sent_at"] = after_s()
    if state == MessageState.QUEUED:
        values["next_try_at"] = after_s(RETRY_DELAYS_S[min(message["tries"], len(RETRY_DELAYS_S) - 1)])
    async with ctx.store.write() as session:
        await session.execute(update(_message).where(_message.c.id == message["id"]).values(**values))
        if state == MessageState.FAILED:
            task = NewTask(message["merchant_id"], "mail", f"msg_{message['id']}", f"not delivered: {error}")
            await raise_tasks(session, [task], message["business_at"])


# --- the facts of a page ----------------------------------------------------


async def _gather(ctx: Context, session: AsyncSession, messages: list[RowMapping]) -> _Facts:
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
    return _Facts(
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
    return {row["id"]: row for row in (await session.execute(select(of).where(of.c.id.in_(wanted)))).mappings()}


async def _subscriptions(
    session: AsyncSession, invoices: Iterable[Fact], verifications: Iterable[Fact]
) -> dict[int, Fact]:
    ids = {row["subscription_id"] for row in invoices}
    profiles = {row["profile_id"] for row in verifications}
    price_columns = [column for column in _price.c if column.name not in {"id", "reference", "plan_id"}]
    query = select(*_subscription.c, *price_columns).join_from(_subscription, _price)
    query = query.where(_subscription.c.id.in_(ids) | _subscription.c.profile_id.in_(profiles))
    return {row["id"]: row for row in (await session.execute(query)).mappings()}


async def _links(
    session: AsyncSession, invoices: Iterable[int], verifications: Iterable[int]
) -> dict[tuple[str, int], Fact]:
    mine = _link.c.invoice_id.in_(list(invoices)) | _link.c.verification_id.in_(list(verifications))
    rows = await session.execute(select(_link).where(mine, _link.c.superseded_at.is_(None)))
    return {_thing(row): row for row in rows.mappings()}


def _thing(link: Fact) -> tuple[str, int]:
    return ("inv", link["invoice_id"]) if link["invoice_id"] else ("ver", link["verification_id"])


# --- one mail ---------------------------------------------------------------


def _letter(ctx: Context, kind: MailKind, message: RowMapping, facts: _Facts) -> Letter:
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
        stores=profile is not None and profile["gateway_account_id"] in facts.storing,
        by_link=attempt is not None and attempt["initiator"] == Initiator.CUSTOMER,
        steps=_steps(ctx, invoice, attempt, profile, moment.today),
        next_on=next_on,
        next_amount=next_amount,
        reserved=_reserved(verification),
        **_why(attempt),
        **_link_facts(ctx, merchant, invoice, verification, facts),
    )


def _subscription_of(facts: _Facts, invoice: Fact | None, verification: Fact | None) -> Fact | None:
    if invoice is not None:
        return facts.subscriptions.get(invoice["subscription_id"] or 0)
    profile_id = verification["profile_id"] if verification is not None else None
    mine = (row for row in facts.subscriptions.values() if row["profile_id"] == profile_id)
    return next(mine, None)


def _profile_of(
    facts: _Facts, attempt: Fact | None, verification: Fact | None, subscription: Fact | None
) -> Fact | None:
    """Return the profile a mail speaks of: the one that was tried, else the one that is charged from now on."""
    declined = attempt is not None and attempt["decline_class"]
    source = attempt if declined else subscription or verification or attempt
    return facts.profiles.get(source["profile_id"] or 0) if source is not None else None


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
    ctx: Context, merchant: Fact, invoice: Fact | None, verification: Fact | None, facts: _Facts
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


def _envelope(ctx: Context, message: RowMapping, facts: _Facts) -> Envelope:
    merchant, customer = facts.merchants[message["merchant_id"]], facts.customers[message["customer_id"]]
    host = merchant["mail_from"].rpartition("@")[2]
    return Envelope(
        sender=Mailbox(merchant["mail_from"], merchant["name"]),
        to=Mailbox(message["recipient"], customer["name"]),
        message_id=f"<{message['id']}.{ctx.vault.digest('message', message['id'])[:16]}@{host}>",
        sent_at=ctx.clock.now(),
        reply_to=Mailbox(merchant["reply_to"]) if merchant["reply_to"] else None,
    )
