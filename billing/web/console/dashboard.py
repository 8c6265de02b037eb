"""The first page of a merchant: the night ahead, what waits for a person, how the last run went, and how it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.brakes import why_not_begin
from billing.models import (
    AccountState,
    Attempt,
    Customer,
    GatewayAccount,
    Plan,
    Price,
    Role,
    Subscription,
    Task,
    TaskState,
    table,
)
from billing.payments import AttemptState
from billing.services.braking import brakes_of, voice_of
from billing.services.measuring import healths_of, months_of
from billing.services.running import plan_in
from billing.services.watching import (
    Night,
    Share,
    amounts_of,
    by_account,
    charges_of,
    night_ahead,
    standing_of,
)
from billing.web.console.desk import Desk, Seated
from billing.web.console.doubts import title_of
from billing.web.console.gate import Section
from billing.web.console.plots import recovery_plot, recurring_plot
from billing.web.console.runs import segments_of, took

router = Section("Tonight")

_attempt, _customer, _account = table(Attempt), table(Customer), table(GatewayAccount)
_plan, _price, _subscription, _task = table(Plan), table(Price), table(Subscription), table(Task)
SHOWN: Final = 4


@router.page("", Role.VIEWER)
async def show_dashboard(desk: Seated) -> Response:
    """Show what a merchant's operator looks at in the evening."""
    async with desk.ctx.store.read() as session:
        steps = await _steps(desk, session)
        if not all(done for _, done, _, _ in steps):
            return desk.show("dashboard_first.html", steps=steps)
        known = await _known(desk, session)
    return desk.show("dashboard.html", **known)


async def _steps(desk: Desk, session: AsyncSession) -> list[tuple[str, bool, str, str]]:
    """Return what there must be before a night can do anything: what, whether it is there, where, and why."""
    has_price = exists().where(_price.c.plan_id == _plan.c.id)
    there = {
        name: (await session.execute(select(exists().where(of.c.merchant_id == desk.merchant_id, *also)))).scalar()
        for name, of, *also in (("account", _account), ("plan", _plan, has_price), ("subscription", _subscription))
    }
    return [
        ("Connect a gateway account", bool(there["account"]), desk.url("/gateways"), "through which charges go"),
        ("Describe a plan", bool(there["plan"]), desk.url("/plans"), "what is sold, and at which price"),
        ("Add a customer", bool(there["subscription"]), desk.url("/customers"), "with a subscription to a plan"),
    ]


async def _known(desk: Desk, session: AsyncSession) -> dict[str, Any]:
    currency, today = desk.at.merchant["currency"], desk.at.moment.today
    night = await night_ahead(session, desk.merchant_id, today)
    months = await months_of(session, desk.merchant_id, currency, today)
    healths = await healths_of(session, desk.merchant_id)
    standing = await standing_of(session, night.last) if night.last is not None else None
    voice = await voice_of(desk.ctx, session, desk.merchant_id, desk.at.merchant["country"])
    doubts = await _doubts(session, desk.merchant_id)
    return {
        "night": night,
        "lines": _lines(night, [health.account for health in healths]),
        "due": charges_of(night.plan.loads) + night.plan.links,
        "amounts": amounts_of(night.plan.loads),
        "against": _against(night),
        "warning": why_not_begin(brakes_of(desk.at.merchant["brakes"]), night.plan.loads, night.largest, voice),
        "doubts": doubts,
        "title_of": title_of,
        "tasks": await _tasks(session, desk.merchant_id, doubts),
        "standing": standing,
        "segments": segments_of(standing) if standing is not None else [],
        "took": took(standing.run, desk.ctx.clock.now()) if standing is not None else "",
        "months": months,
        "currency": currency,
        "recurring": recurring_plot(months, currency, desk.writer),
        "recovery": recovery_plot(months, currency, desk.writer),
        "healths": healths,
    }


def _lines(night: Night, accounts: Sequence[RowMapping]) -> list[tuple[str, str, Share, int | None, str]]:
    """Return each account with its gateway, share of the night, how many it was last time, and why it would wait."""
    now = by_account(night.plan.loads)
    before = by_account(plan_in(night.before).loads) if night.before is not None else None
    gateways = {each["reference"]: each["gateway"] for each in accounts}
    stopped = {each["reference"]: each["stopped_reason"] for each in accounts if each["state"] == AccountState.STOPPED}
    names = sorted({*now, *(before or {})})
    return [
        (name, gateways.get(name, name), now.get(name, Share()), _count(before, name), stopped.get(name, ""))
        for name in names
    ]


def _count(before: Mapping[str, Share] | None, name: str) -> int | None:
    return None if before is None else before.get(name, Share()).count


def _against(night: Night) -> tuple[Counter[str], int] | None:
    """Return how much more money and how many more charges it is than last time."""
    if night.before is None:
        return None
    then, now = plan_in(night.before), night.plan
    more = amounts_of(now.loads)
    more.subtract(amounts_of(then.loads))
    return more, charges_of(now.loads) + now.links - charges_of(then.loads) - then.links


async def _doubts(session: AsyncSession, merchant_id: int) -> Sequence[RowMapping]:
    """Return some of the charges in doubt, the newest first, by the index of those that are asked about."""
    query = (
        select(_attempt, _customer.c.name, _account.c.gateway)
        .join_from(_attempt, _customer, _customer.c.id == _attempt.c.customer_id)
        .join(_account, _account.c.id == _attempt.c.gateway_account_id)
        .where(_attempt.c.merchant_id == merchant_id, _attempt.c.state == AttemptState.UNKNOWN)
    )
    return (await session.execute(query.order_by(_attempt.c.ask_at, _attempt.c.id).limit(SHOWN))).mappings().all()


async def _tasks(session: AsyncSession, merchant_id: int, doubts: Sequence[RowMapping]) -> Sequence[RowMapping]:
    """Return some of what waits for a person, apart from what is shown as a doubt already."""
    mine = (_task.c.merchant_id == merchant_id) & (_task.c.state == TaskState.OPEN)
    others = _task.c.subject.not_in([f"att_{each['id']}" for each in doubts])
    query = select(_task).where(mine & others).order_by(_task.c.kind, _task.c.subject).limit(SHOWN)
    return (await session.execute(query)).mappings().all()
