"""What runs set out to do and did, counted from the rows themselves; watching changes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from sqlalchemy import RowMapping, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.brakes import Load
from billing.models import (
    OPEN_RUN_STATES,
    Attempt,
    Customer,
    Decision,
    GatewayAccount,
    Invoice,
    Profile,
    Run,
    RunState,
    Subscription,
    Task,
    TaskState,
    table,
)
from billing.payments import AttemptState
from billing.services.refusing import MissingError
from billing.services.running import Plan, is_open, largest_recently, make_plan, plan_in

_run, _attempt, _invoice, _decision = table(Run), table(Attempt), table(Invoice), table(Decision)
_subscription, _customer, _account, _task = table(Subscription), table(Customer), table(GatewayAccount), table(Task)
_profile = table(Profile)

SHOWN: Final = 10
_S: Final = AttemptState
# What a run's attempts are told as, in this order; whoever is being asked at this moment is pending.
TOLD: Final[Mapping[str, tuple[AttemptState, ...]]] = {
    "approved": (_S.APPROVED,),
    "declined": (_S.DECLINED,),
    "pending": (_S.PENDING, _S.SENT),
    "unknown": (_S.UNKNOWN,),
    "not_sent": (_S.NOT_SENT, _S.REFUSED),
    "withdrawn": (_S.WITHDRAWN,),
    "to_go": (_S.CREATED,),
}
_TOLD_AS: Final = {state: told for told, states in TOLD.items() for state in states}


@dataclass(slots=True)
class Share:
    """So many things, and how much money they are, by currency."""

    count: int = 0
    amounts: Counter[str] = field(default_factory=Counter)

    def add(self, count: int, currency: str, minor: int) -> None:
        """Add more of them."""
        self.count += count
        self.amounts[currency] += minor


Shares = dict[str, Share]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run has come.

    `accounts` holds each account's shares by what they are told as, `left` how many subscriptions are due and not
    yet decided about, `by_link` how many invoices wait for a click, `skipped` what was set aside, by reason.
    """

    run: RowMapping
    plan: Plan
    accounts: Mapping[str, Shares]
    by_link: Share
    skipped: Counter[str]
    left: int
    reason_is_ours: bool

    @property
    def total(self) -> Shares:
        """The shares of all accounts together."""
        return _sum(self.accounts.values())

    @property
    def done(self) -> int:
        """How many of the due are through."""
        shares = self.total
        return sum(shares[told].count for told in TOLD if told not in ("withdrawn", "to_go")) + self.by_link.count

    @property
    def to_go(self) -> int:
        """How many of the due are not through yet."""
        return self.total["to_go"].count + self.left


async def find_run(session: AsyncSession, merchant_id: int, run_id: int) -> RowMapping:
    """Return a run of the merchant; raise `MissingError` where there is none."""
    mine = select(_run).where(_run.c.id == run_id, _run.c.merchant_id == merchant_id)
    row: RowMapping | None = (await session.execute(mine)).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no run run_{run_id}")
    return row


async def standing_of(session: AsyncSession, run: RowMapping) -> Standing:
    """Return how far a run has come, in a handful of statements whatever its size."""
    accounts = await _accounts(session, run)
    asked = exists().where(
        _task.c.kind == "run", _task.c.subject == f"run_{run['id']}", _task.c.state == TaskState.OPEN
    )
    return Standing(
        run=run,
        plan=plan_in(run),
        accounts=accounts,
        by_link=await _by_link(session, run["id"]),
        skipped=await _skipped(session, run["id"]),
        left=await _left(session, run) if run["state"] in OPEN_RUN_STATES else 0,
        reason_is_ours=run["state"] == RunState.PAUSED and bool((await session.execute(select(asked))).scalar()),
    )


async def _accounts(session: AsyncSession, run: RowMapping) -> dict[str, Shares]:
    """Return the shares of the run's attempts by account; those that only the plan knows have none yet."""
    amount = func.sum(_attempt.c.amount_minor).label("minor")
    key = (_account.c.reference, _attempt.c.state, _attempt.c.currency)
    query = select(*key, func.count().label("count"), amount).join_from(_attempt, _account)
    rows = (await session.execute(query.where(_attempt.c.run_id == run["id"]).group_by(*key))).mappings()
    planned = sorted({name.rpartition(" ")[0] for name in plan_in(run).loads})
    found: dict[str, Shares] = {name: _none() for name in planned}
    for row in rows:
        shares = found.setdefault(row["reference"], _none())
        shares[_TOLD_AS[AttemptState(row["state"])]].add(row["count"], row["currency"], int(row["minor"]))
    return found


async def _by_link(session: AsyncSession, run_id: int) -> Share:
    """Return the run's invoices that nobody tried to charge."""
    total = func.sum(_invoice.c.total_minor).label("minor")
    query = select(_invoice.c.currency, func.count().label("count"), total).group_by(_invoice.c.currency)
    untried = ~exists().where(_attempt.c.owed_key == _invoice.c.key, _attempt.c.number == 1)
    mailed = (_invoice.c.run_id == run_id) & _invoice.c.dunned_since.is_not(None) & untried
    share = Share()
    for row in (await session.execute(query.where(mailed))).mappings():
        share.add(row["count"], row["currency"], int(row["minor"]))
    return share


async def _skipped(session: AsyncSession, run_id: int) -> Counter[str]:
    query = select(_decision.c.reason, func.count().label("count")).where(_decision.c.run_id == run_id)
    rows = await session.execute(query.group_by(_decision.c.reason))
    return Counter({row["reason"]: row["count"] for row in rows.mappings()})


async def _left(session: AsyncSession, run: RowMapping) -> int:
    decided = exists().where(_decision.c.run_id == run["id"], _decision.c.subscription_id == _subscription.c.id)
    mine = (_subscription.c.merchant_id == run["merchant_id"]) & (_subscription.c.next_due_on <= run["on_day"])
    count: int = (await session.execute(select(func.count()).where(mine, ~decided))).scalar_one()
    return count


async def gateways_of(session: AsyncSession, merchant_id: int) -> dict[str, str]:
    """Return at which gateway each of the merchant's accounts is, by the account's reference."""
    mine = select(_account.c.reference, _account.c.gateway).where(_account.c.merchant_id == merchant_id)
    return {row.reference: row.gateway for row in await session.execute(mine)}


async def troubles_of(session: AsyncSession, run_id: int) -> Sequence[RowMapping]:
    """Return some of the run's attempts that did not go through, newest first, with customer, account and profile."""
    bad = (_S.DECLINED, _S.UNKNOWN, _S.NOT_SENT, _S.REFUSED)
    of_account = (_account.c.reference.label("account"), _account.c.gateway)
    of_profile = (_profile.c.kind, _profile.c.brand, _profile.c.last4, _profile.c.expires_on)
    query = (
        select(_attempt, _customer.c.name, _customer.c.reference, *of_account, *of_profile)
        .join_from(_attempt, _customer, _customer.c.id == _attempt.c.customer_id)
        .join(_account, _account.c.id == _attempt.c.gateway_account_id)
        .join(_profile, _profile.c.id == _attempt.c.profile_id, isouter=True)
        .where(_attempt.c.run_id == run_id, _attempt.c.state.in_(bad))
    )
    return (await session.execute(query.order_by(_attempt.c.id.desc()).limit(SHOWN))).mappings().all()


async def skipped_in(session: AsyncSession, run_id: int) -> Sequence[RowMapping]:
    """Return some of the subscriptions the run set aside, each with its customer and the reason."""
    query = (
        select(_decision, _subscription.c.reference.label("subscription"), _customer.c.name, _customer.c.reference)
        .join_from(_decision, _subscription, _subscription.c.id == _decision.c.subscription_id)
        .join(_customer, _customer.c.id == _subscription.c.customer_id)
        .where(_decision.c.run_id == run_id)
    )
    return (await session.execute(query.order_by(_decision.c.subscription_id).limit(SHOWN))).mappings().all()


@dataclass(frozen=True, slots=True)
class Night:
    """The night that comes: on which day, what it would charge and mail, and what the one it is like charged.

    `run` is the day's own where there is one already; `before` is compared with, `largest` what brakes go by.
    """

    on: date
    plan: Plan
    run: RowMapping | None
    before: RowMapping | None
    last: RowMapping | None
    largest: Mapping[str, Load]


async def night_ahead(session: AsyncSession, merchant_id: int, today: date) -> Night:
    """Return the open run, or what the next would do: today's, or tomorrow's where today had its own."""
    mine = select(_run).where(_run.c.merchant_id == merchant_id)
    run = (await session.execute(mine.where(is_open()))).mappings().one_or_none()
    over = mine.where(_run.c.on_day >= today - timedelta(days=100), _run.c.state.not_in(OPEN_RUN_STATES))
    earlier = (await session.execute(over.order_by(_run.c.on_day.desc(), _run.c.id.desc()))).mappings().all()
    last = earlier[0] if earlier else None
    had_today = last is not None and last["on_day"] >= today
    on = run["on_day"] if run is not None else today + timedelta(days=1 if had_today else 0)
    plan = plan_in(run) if run is not None and run["plan"] else await make_plan(session, merchant_id, on)
    largest = await largest_recently(session, merchant_id, on, run["id"] if run is not None else 0)
    return Night(on, plan, run, like(earlier, on), last, largest)


def like(earlier: Sequence[RowMapping], on: date) -> RowMapping | None:
    """Return the finished run of a month before, to within three days; where there is none, the last with charges."""
    finished = [run for run in earlier if run["state"] == RunState.FINISHED and run["on_day"] < on]
    month = on - timedelta(days=30)
    near = sorted(finished, key=lambda run: abs((run["on_day"] - month).days))
    if near and abs((near[0]["on_day"] - month).days) <= 3:
        return near[0]
    return next((run for run in finished if plan_in(run).loads), None)


def amounts_of(loads: Mapping[str, Load]) -> Counter[str]:
    """Return how much money loads are, by currency."""
    found: Counter[str] = Counter()
    for name, load in loads.items():
        found[name.rpartition(" ")[2]] += load.amount_minor
    return found


def charges_of(loads: Mapping[str, Load]) -> int:
    """Return how many charges loads are."""
    return sum(load.charges for load in loads.values())


def by_account(loads: Mapping[str, Load]) -> dict[str, Share]:
    """Return loads by account, all currencies together."""
    found: dict[str, Share] = defaultdict(Share)
    for name, load in loads.items():
        account, _, currency = name.rpartition(" ")
        found[account].add(load.charges, currency, load.amount_minor)
    return dict(found)


def _none() -> Shares:
    return {told: Share() for told in TOLD}


def _sum(parts: Iterable[Shares]) -> Shares:
    whole = _none()
    for shares in parts:
        for told, share in shares.items():
            whole[told].count += share.count
            whole[told].amounts += share.amounts
    return whole
