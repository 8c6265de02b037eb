"""How a merchant does, month by month: recurring revenue, and what was declined and then recovered; nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import ColumnElement, Numeric, RowMapping, case, cast, extract, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.invoices import InvoiceState
from billing.models import Attempt, GatewayAccount, Invoice, Price, Subscription, table
from billing.payments import AttemptState
from billing.periods import Unit
from billing.store import after_s
from billing.subscriptions import SubscriptionState

_subscription, _price, _invoice = table(Subscription), table(Price), table(Invoice)
_attempt, _account = table(Attempt), table(GatewayAccount)

MONTHS: Final = 12
SAMPLE: Final = 20_000
"""So many of the latest attempts of all merchants are looked at for how gateways answer, whatever the table's size."""
_A_MONTH: Final = {Unit.DAY: Fraction(365, 12), Unit.WEEK: Fraction(52, 12), Unit.MONTH: Fraction(1)}
_A_MONTH_OF_YEARS: Final = Fraction(1, 12)
_EARNING: Final = (
    SubscriptionState.ACTIVE,
    SubscriptionState.PAST_DUE,
    SubscriptionState.CANCELED,
    SubscriptionState.ENDED,
)


@dataclass(frozen=True, slots=True)
class Month:
    """One month in one currency, in minor units: what recurs at its end, what was declined in it, what of that came."""

    first_on: date
    recurring_minor: int = 0
    declined_minor: int = 0
    recovered_minor: int = 0


async def months_of(session: AsyncSession, merchant_id: int, currency: str, today: date) -> list[Month]:
    """Return the last twelve months, the present one last.

    What recurs is told at today's prices and quantities: a subscription counts from its anchor until it ended, one
    that is paused or on trial not at all.
    """
    running = await _running(session, merchant_id, currency)
    dunned = await _dunned(session, merchant_id, currency, today - timedelta(days=31 * MONTHS))
    last = _number(today)
    return [
        Month(
            date((month - 1) // 12, (month - 1) % 12 + 1, 1),
            int(sum((_monthly(row) for row in running if _counts_in(row, month)), Fraction())),
            sum(int(row["minor"]) for row in dunned if row["month"] == month),
            sum(int(row["minor"]) for row in dunned if row["month"] == month and row["is_paid"]),
        )
        for month in range(last - MONTHS + 1, last + 1)
    ]


async def _running(session: AsyncSession, merchant_id: int, currency: str) -> Sequence[RowMapping]:
    """Return what subscriptions are worth, by the months in which they began and ended, in one statement.

    Those of the same days and price are counted first, so that months and money are reckoned once for all of them.
    """
    days = (_subscription.c.price_id, _subscription.c.anchor_on, _subscription.c.ended_on)
    over_has_day = (_subscription.c.state != SubscriptionState.ENDED) | _subscription.c.ended_on.is_not(None)
    counted = select(*days, func.sum(_subscription.c.quantity).label("quantity"))
    counted = counted.where(_subscription.c.merchant_id == merchant_id, _subscription.c.state.in_(_EARNING))
    alike = counted.where(over_has_day).group_by(*days).subquery()
    begun, ended = _month(alike.c.anchor_on), _month(alike.c.ended_on)
    keys = (begun, ended, _price.c.interval_unit, _price.c.interval_count)
    worth = func.sum(cast(_price.c.amount_minor, Numeric(38, 0)) * alike.c.quantity).label("minor")
    query = select(begun.label("begun"), ended.label("ended"), *keys[2:], worth)
    query = query.join_from(alike, _price, _price.c.id == alike.c.price_id).where(_price.c.currency == currency)
    return (await session.execute(query.group_by(*keys))).mappings().all()


async def _dunned(session: AsyncSession, merchant_id: int, currency: str, since: date) -> Sequence[RowMapping]:
    """Return the invoices whose charge was declined, by month and whether they were paid after all."""
    month = _month(_invoice.c.dunned_since)
    is_paid = case((_invoice.c.state == InvoiceState.PAID, 1), else_=0)
    query = select(month.label("month"), is_paid.label("is_paid"), func.sum(_invoice.c.total_minor).label("minor"))
    mine = (_invoice.c.merchant_id == merchant_id) & (_invoice.c.dunned_since >= since)
    charged = (_invoice.c.tries > 0) & (_invoice.c.currency == currency)
    return (await session.execute(query.where(mine, charged).group_by(month, is_paid))).mappings().all()


@dataclass(frozen=True, slots=True)
class Health:
    """How one gateway account answered lately."""

    account: RowMapping
    asked: int = 0
    approved: int = 0
    declined: int = 0
    failed: int = 0
    answered_at: Any = None

    @property
    def state(self) -> str:
        """One word for it: stopped, quiet, answering, or not answering where nothing came through."""
        if self.account["state"] != "open":
            return "stopped"
        if not self.asked:
            return "quiet"
        return "not_answering" if self.failed == self.asked else "answering"


async def healths_of(session: AsyncSession, merchant_id: int) -> list[Health]:
    """Return each account with how it answered in the last day, from no more than a bounded number of attempts."""
    accounts = select(_account).where(_account.c.merchant_id == merchant_id).order_by(_account.c.reference)
    rows = (await session.execute(accounts)).mappings().all()
    latest = (await session.execute(select(func.max(_attempt.c.id)))).scalar() or 0
    counts = {row["gateway_account_id"]: row for row in await _answers(session, merchant_id, latest)}
    return [Health(row, **_health(counts.get(row["id"]))) for row in rows]


async def _answers(session: AsyncSession, merchant_id: int, latest: int) -> Sequence[RowMapping]:
    states = {
        "approved": (AttemptState.APPROVED, AttemptState.PENDING),
        "declined": (AttemptState.DECLINED,),
        "failed": (AttemptState.UNKNOWN, AttemptState.NOT_SENT, AttemptState.REFUSED),
    }
    shares = [func.sum(case((_attempt.c.state.in_(of), 1), else_=0)).label(name) for name, of in states.items()]
    mine = (_attempt.c.id > latest - SAMPLE) & (_attempt.c.merchant_id == merchant_id)
    recent = _attempt.c.sent_at >= after_s(-86_400)
    last = func.max(_attempt.c.decided_at).label("answered_at")
    query = select(_attempt.c.gateway_account_id, func.count().label("asked"), *shares, last)
    return (await session.execute(query.where(mine, recent).group_by(_attempt.c.gateway_account_id))).mappings().all()


def _health(row: RowMapping | None) -> dict[str, Any]:
    return (
        {} if row is None else {name: row[name] for name in ("asked", "approved", "declined", "failed", "answered_at")}
    )


def _month(day: ColumnElement[Any]) -> ColumnElement[int]:
    return extract("year", day) * 12 + extract("month", day)


def _number(day: date) -> int:
    return day.year * 12 + day.month


def _monthly(row: RowMapping) -> Fraction:
    """Return what a row is worth in a month."""
    per = _A_MONTH.get(row["interval_unit"], _A_MONTH_OF_YEARS)
    return per * int(row["minor"]) / int(row["interval_count"])


def _counts_in(row: RowMapping, month: int) -> bool:
    return bool(row["begun"] <= month and (row["ended"] is None or row["ended"] > month))
