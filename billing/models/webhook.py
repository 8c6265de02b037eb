"""Who listens to what happens, what happened, and what became of telling it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field

from billing.models.base import Row, identity, instant, one_of, refers, rule, word


class EndpointState(StrEnum):
    """Whether an endpoint is told; `failed` is one that was switched off because it took nothing for days."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    FAILED = "failed"
    DELETED = "deleted"


class DeliveryState(StrEnum):
    """Where a delivery stands; only a 2xx makes it delivered."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookEndpoint(Row, table=True):
    """An address of the merchant's that is told what happens; `types` are words, and none of them means all.

    The secrets are sealed; the old one signs as well until its time is over. All times are of the database's clock.
    A deleted one stays as a row, so that whoever is just writing to it never fails for it.
    """

    __tablename__ = "webhook_endpoint"
    __table_args__ = (
        one_of("state", EndpointState),
        rule("old_secret_ends", "(sealed_old_secret IS NULL) = (old_secret_until IS NULL)"),
        Index("ix_webhook_endpoint_merchant_id", "merchant_id"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    url: str = Field(max_length=500)
    types: str = ""
    sealed_secret: str
    sealed_old_secret: str | None = None
    old_secret_until: datetime | None = instant()
    state: EndpointState = word(EndpointState.ENABLED)
    reason: str = ""
    failing_since: datetime | None = instant()
    rest_until: datetime | None = instant()
    created_at: datetime = instant(nullable=False)


class Event(Row, table=True):
    """Something that happened, written in the transaction in which it did, as the API showed it at that moment.

    `uid` names it to those who listen, and stays the same however often it is told.
    """

    __table_args__ = (
        UniqueConstraint("uid"),
        Index("ix_event_merchant_subject", "merchant_id", "subject"),
        Index("ix_event_created_at", "created_at"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    uid: str = Field(max_length=40)
    type: str = Field(max_length=40)
    subject: str = Field(max_length=60)
    data: str
    happened_at: datetime = instant(nullable=False)
    created_at: datetime = instant(nullable=False)


_QUEUED, _FAILED = text("state = 'queued'"), text("state = 'failed'")


class WebhookDelivery(Row, table=True):
    """One event for one endpoint, and what became of telling it; the next try is also the end of a claim."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        one_of("state", DeliveryState),
        rule("delivered_has_time", "(state = 'delivered') = (delivered_at IS NOT NULL)"),
        Index(
            "ix_webhook_delivery_queued",
            "endpoint_id",
            "next_try_at",
            "id",
            postgresql_where=_QUEUED,
            sqlite_where=_QUEUED,
        ),
        Index("ix_webhook_delivery_endpoint", "endpoint_id", "id"),
        Index("ix_webhook_delivery_failed", "endpoint_id", "id", postgresql_where=_FAILED, sqlite_where=_FAILED),
    )

    id: int = identity()
    event_id: int = refers("event.id")
    endpoint_id: int = refers("webhook_endpoint.id")
    state: DeliveryState = word(DeliveryState.QUEUED)
    tries: int = Field(default=0)
    next_try_at: datetime = instant(nullable=False)
    tried_at: datetime | None = instant()
    status: int | None = None
    answer: str = ""
    delivered_at: datetime | None = instant()
