"""Set up a merchant: who sells, through which gateway accounts, which plans at which prices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import ConfigurationError
from billing.models import AccountState, GatewayAccount, Merchant, Plan, Price, TestClock, table
from billing.pricing import Terms
from billing.services.arranging import no_clock_live
from billing.services.auditing import Actor, audit
from billing.services.connecting import check_lease
from billing.services.context import Context
from billing.services.tasking import end_tasks


class SetupError(ValueError):
    """Something in a setup that cannot be; the message names what and where."""


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """A gateway account to be; the credentials are checked by opening the gateway, and sealed."""

    reference: str
    gateway: str
    credentials: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PriceFacts:
    """A price to be; `terms` were checked when they were made."""

    reference: str
    title: str
    terms: Terms
    trial_days: int = 0


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """A plan to be, with its prices."""

    reference: str
    name: str
    prices: tuple[PriceFacts, ...]


@dataclass(frozen=True, slots=True)
class MerchantFacts:
    """A merchant to be; empty texts are left as they are, and so is whether it is live where nothing is said of it."""

    reference: str
    name: str
    legal_name: str
    number_prefix: str
    mail_from: str
    timezone: str = "Europe/Vienna"
    language: str = "en"
    country: str = ""
    currency: str = ""
    place: str = ""
    legal_line: str = ""
    reply_to: str = ""
    help_url: str = ""
    legal_url: str = ""
    privacy_url: str = ""
    invoice_page: str = ""
    accent: str = ""
    live: bool | None = None
    verification_minor: int = 10
    link_days: int = 14
    catch_up: str = "each"
    run_approval: bool | None = None
    brakes: Mapping[str, int] | None = None
    surplus: str = "ask"
    accounts: tuple[AccountFacts, ...] = ()
    plans: tuple[PlanFacts, ...] = field(default=())


async def found(ctx: Context, facts: MerchantFacts, *, connect: bool = False, actor: Actor | None = None) -> int:
    """Create the merchant with everything it has, or bring what is there up to the facts; return its id.

    A price that was sold is not changed: one with the same reference and other terms is a `SetupError`.
    A gateway account that had stopped is opened again once the gateway takes the credentials. With
    `connect` every gateway is asked whether it does, before anything is changed.
    """
    stopped = await _stopped_accounts(ctx, facts.reference)
    for account in facts.accounts:
        await _check(ctx, account, connect=connect or account.reference in stopped)
    async with ctx.store.write() as session:
        merchant = await _merchant(ctx, session, facts)
        for account in facts.accounts:
            await _account(ctx, session, merchant.id, account)
        for plan in facts.plans:
            await _plan(session, merchant.id, plan)
        about = {"accounts": " ".join(each.reference for each in facts.accounts)}
        about |= {"plans": " ".join(each.reference for each in facts.plans)}
        about |= {} if facts.live is None else {"live": "yes" if facts.live else "no"}
        await audit(ctx, session, [merchant.id], actor, "set_up", facts.reference, **about)
        return merchant.id


async def enter(ctx: Context, session: AsyncSession, facts: MerchantFacts) -> int:
    """Create a merchant, as yet without gateway accounts and plans, in a transaction of the caller's; return its id.

    Raises `SetupError` for a reference that no merchant can have.
    """
    return (await _merchant(ctx, session, facts)).id


async def give_clock(ctx: Context, merchant_reference: str, clock: TestClock) -> None:
    """Put a sandbox merchant under a test clock; a live merchant's time cannot be moved."""
    async with ctx.store.write() as session:
        merchant = await _find(session, Merchant, reference=merchant_reference)
        if merchant is None or merchant.live:
            raise SetupError(
                f"merchant {merchant_reference!r} is live or not there; test clocks are for sandbox merchants"
            )
        session.add(clock)
        await session.flush()
        merchant.test_clock_id = clock.id


async def _stopped_accounts(ctx: Context, merchant_reference: str) -> set[str]:
    account, merchant = table(GatewayAccount), table(Merchant)
    query = select(account.c.reference).join_from(account, merchant)
    mine = (merchant.c.reference == merchant_reference) & (account.c.state == AccountState.STOPPED)
    async with ctx.store.read() as session:
        return set((await session.execute(query.where(mine))).scalars())


async def _check(ctx: Context, account: AccountFacts, *, connect: bool) -> None:
    """Open the gateway with the credentials, and ask it whether they work where it has refused them before."""
    try:
        gateway = ctx.gateways.open(account.gateway, account.credentials)
        try:
            check_lease(ctx, gateway)
            if connect:
                await gateway.check()
        finally:
            await gateway.close()
    except ConfigurationError as error:
        raise SetupError(f"gateway account {account.reference!r}: {error}") from None


async def _find(session: AsyncSession, model: Any, **where: Any) -> Any:
    columns = table(model).c
    query = select(model).where(*(columns[name] == value for name, value in where.items()))
    return (await session.execute(query)).scalar_one_or_none()


async def _merchant(ctx: Context, session: AsyncSession, facts: MerchantFacts) -> Merchant:
    merchant = await _find(session, Merchant, reference=facts.reference)
    values = {name: value for name, value in asdict(facts).items() if name not in {"accounts", "plans"}}
    if facts.live is None:
        del values["live"]
    if merchant is None:
        if facts.reference in ctx.doors:
            raise SetupError(f"no merchant can be called {facts.reference!r}: pages of the console are found by that")
        merchant = Merchant(**{name: value for name, value in values.items() if value != ""})
        session.add(merchant)
    elif facts.live and merchant.test_clock_id is not None:
        raise SetupError(no_clock_live(facts.reference))
    for name, value in values.items():
        if value != "":
            setattr(merchant, name, value)
    await session.flush()
    found_merchant: Merchant = merchant
    return found_merchant


async def _account(ctx: Context, session: AsyncSession, merchant_id: int, facts: AccountFacts) -> None:
    account = await _find(session, GatewayAccount, merchant_id=merchant_id, reference=facts.reference)
    sealed = ctx.vault.seal(json.dumps(dict(facts.credentials)))
    if account is None:
        about: dict[str, Any] = {"merchant_id": merchant_id, "reference": facts.reference, "gateway": facts.gateway}
        session.add(GatewayAccount(**about, sealed_credentials=sealed))
    elif account.gateway != facts.gateway:
        raise SetupError(f"gateway account {facts.reference!r} is at {account.gateway}, not at {facts.gateway}")
    else:
        account.sealed_credentials = sealed
        await _reopen(session, account)


async def _reopen(session: AsyncSession, account: GatewayAccount) -> None:
    """Open an account whose credentials were just found to work, and end the task it had raised."""
    account.state, account.stopped_reason, account.stopped_at = AccountState.OPEN, "", None
    await end_tasks(session, ["account_stopped"], [f"acc_{account.id}"])


async def _plan(session: AsyncSession, merchant_id: int, facts: PlanFacts) -> None:
    plan = await _find(session, Plan, merchant_id=merchant_id, reference=facts.reference)
    if plan is None:
        plan = Plan(merchant_id=merchant_id, reference=facts.reference, name=facts.name)
        session.add(plan)
        await session.flush()
    for price in facts.prices:
        await _price(session, plan, price)


async def _price(session: AsyncSession, plan: Plan, facts: PriceFacts) -> None:
    price = await _find(session, Price, plan_id=plan.id, reference=facts.reference)
    terms = facts.terms
    values: dict[str, Any] = {
        "title": facts.title,
        "amount_minor": terms.unit.minor,
        "currency": terms.unit.currency,
        "interval_unit": terms.interval.unit,
        "interval_count": terms.interval.count,
        "trial_days": facts.trial_days,
        "tax_rate_bp": terms.tax_rate_bp,
        "tax_included": terms.tax_included,
    }
    if price is None:
        session.add(Price(plan_id=plan.id, reference=facts.reference, **values))
    elif changed := [name for name, value in values.items() if getattr(price, name) != value and name != "title"]:
        raise SetupError(
            f"price {plan.reference}/{facts.reference} was sold with another {changed[0]}: add a new price instead"
        )
