"""What is sold, and who is subscribed to it."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field

from billing.models.base import Row, begins, identity, instant, minor, one_of, refers, rule, table, word
from billing.periods import Interval, Unit
from billing.subscriptions import BILLABLE, Collection, SubscriptionState


class Plan(Row, table=True):
    """What is sold, to nobody new once it is archived."""

    __table_args__ = (UniqueConstraint("merchant_id", "reference"),)

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    reference: str = Field(max_length=40)
    name: str = Field(max_length=100)
    archived_at: datetime | None = instant()


class Price(Row, table=True):
    """An amount with its interval and currency; the title is what customers read, such as "Team, monthly".

    One that is retired is billed to those who are on it, and sold to nobody new.
    """

    __table_args__ = (
        UniqueConstraint("plan_id", "reference"),
        rule("amount_positive", "amount_minor > 0"),
        rule("interval_positive", "interval_count > 0"),
        rule("tax_sane", "tax_rate_bp BETWEEN 0 AND 10000"),
        rule("trial_sane", "trial_days >= 0"),
        one_of("interval_unit", Unit),
    )

    id: int = identity()
    plan_id: int = refers("plan.id")
    reference: str = Field(max_length=40)
    title: str = Field(max_length=100)
    amount_minor: int = minor()
    currency: str = Field(max_length=3)
    interval_unit: Unit = word()
    interval_count: int = Field(default=1)
    trial_days: int = Field(default=0)
    tax_rate_bp: int = Field(default=0)
    tax_included: bool = True
    retired_at: datetime | None = instant()

    @property
    def interval(self) -> Interval:
        """How long one period of the price lasts."""
        return Interval(Unit(self.interval_unit), self.interval_count)


class Subscription(Row, table=True):
    """A customer on a price since an anchor day.

    `preferred_account_id` is the gateway account whose ways to pay come first for one who pays by link.
    `next_due_on` is derived from the anchor and the number of the next period, and stored for the
    index alone; it is empty while the subscription is not billed. `uid` names it in derived keys.
    """

    __table_args__ = (
        UniqueConstraint("merchant_id", "reference"),
        rule("quantity_positive", "quantity > 0"),
        rule("period_not_negative", "next_period >= 0"),
        rule("due_while_billable", f"(next_due_on IS NOT NULL) = (state IN {tuple(map(str, BILLABLE))})"),
        rule("charge_has_profile", "collection <> 'charge' OR profile_id IS NOT NULL"),
        one_of("state", SubscriptionState),
        one_of("collection", Collection),
        Index(
            "ix_subscription_due",
            "merchant_id",
            "next_due_on",
            "id",
            postgresql_where=text("next_due_on IS NOT NULL"),
            sqlite_where=text("next_due_on IS NOT NULL"),
        ),
        Index("ix_subscription_profile_id", "profile_id"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    customer_id: int = refers("customer.id", index=True)
    price_id: int = refers("price.id")
    profile_id: int | None = refers("profile.id", nullable=True)
    preferred_account_id: int | None = refers("gateway_account.id", nullable=True)
    reference: str = Field(max_length=40)
    uid: str = Field(max_length=32, unique=True)
    quantity: int = Field(default=1)
    collection: Collection = word(Collection.CHARGE)
    state: SubscriptionState = word(SubscriptionState.ACTIVE)
    anchor_on: date
    next_period: int = Field(default=0)
    next_due_on: date | None = None
    skipped_periods: int = Field(default=0)
    paused_by_dunning: bool = False
    created_at: datetime = instant(nullable=False)
    canceled_at: datetime | None = instant()
    ended_on: date | None = None


begins(table(Subscription), "reference")
