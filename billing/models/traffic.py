"""News from gateways, messages to people, runs with their decisions, and tasks for a person."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field

from billing.models.base import Row, identity, instant, one_of, refers, rule, word


class NotificationState(StrEnum):
    """What has become of a notification."""

    RECEIVED = "received"
    SETTLED = "settled"
    FORGED = "forged"
    OPEN = "open"


class MessageState(StrEnum):
    """Where a message stands; only the server's 250 makes it sent."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


class RunState(StrEnum):
    """Where a run stands."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    ABORTED = "aborted"


OPEN_RUN_STATES: Final = (RunState.PLANNED, RunState.RUNNING, RunState.PAUSED)
"""A merchant has at most one run in these."""


class TaskState(StrEnum):
    """Whether a task still waits for a person."""

    OPEN = "open"
    DONE = "done"


class Notification(Row, table=True):
    """A message from a gateway, stored before it is acted on; the same news is stored once.

    Once it is `archived_at` a time, what it said (query, headers and body) is empty here and stands in a file.
    """

    __table_args__ = (
        UniqueConstraint("gateway_account_id", "digest"),
        one_of("state", NotificationState),
        rule("archived_is_over", "archived_at IS NULL OR state IN ('settled', 'forged')"),
        Index("ix_notification_state", "state", "id"),
        Index("ix_notification_attempt_id", "attempt_id"),
    )

    id: int = identity()
    gateway_account_id: int = refers("gateway_account.id")
    digest: str = Field(max_length=64)
    method: str = Field(max_length=8)
    query: str = ""
    headers: dict[str, str] = Field(default_factory=dict, sa_type=JSON)
    body: bytes = Field(default=b"", sa_type=LargeBinary)
    proven_key: str = Field(default="", max_length=30)
    state: NotificationState = word(NotificationState.RECEIVED)
    reason: str = ""
    attempt_id: int | None = refers("attempt.id", nullable=True)
    received_at: datetime = instant(nullable=False)
    settled_at: datetime | None = instant()
    archived_at: datetime | None = instant()
    copies: int = Field(default=1)


_QUEUED = text("state = 'queued'")
_FAILED = text("state = 'failed'")


class Message(Row, table=True):
    """A mail, written with its cause and sent later; one for each cause, step and recipient.

    Those of a run's charges wait while the run is held back, so that a brake that pulls mails nobody.
    """

    __table_args__ = (
        UniqueConstraint("cause", "step", "recipient"),
        one_of("state", MessageState),
        Index("ix_message_queued", "next_try_at", "id", postgresql_where=_QUEUED, sqlite_where=_QUEUED),
        Index("ix_message_failed", "merchant_id", "id", postgresql_where=_FAILED, sqlite_where=_FAILED),
        Index("ix_message_customer_id", "customer_id"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    customer_id: int = refers("customer.id")
    cause: str = Field(max_length=60)
    step: str = Field(max_length=30)
    recipient: str = Field(max_length=254)
    context: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    state: MessageState = word(MessageState.QUEUED)
    business_at: datetime = instant(nullable=False)
    created_at: datetime = instant(nullable=False)
    next_try_at: datetime = instant(nullable=False)
    lease_until: datetime | None = instant()
    tries: int = Field(default=0)
    sent_at: datetime | None = instant()
    error: str = ""
    run_id: int | None = refers("run.id", nullable=True)


_OPEN_RUN = text("state IN ('planned', 'running', 'paused')")


class Run(Row, table=True):
    """One execution of the billing run for a merchant's day; one at a time is open for a merchant.

    `plan` is what it set out to charge, `planned` runs wait for `approved_by`. `slice_passed_at` says that
    the first charges went well, or that a person let it go on; `stopped_reason` why it is held back.
    """

    __table_args__ = (
        one_of("state", RunState),
        Index("uq_run_one_open", "merchant_id", unique=True, postgresql_where=_OPEN_RUN, sqlite_where=_OPEN_RUN),
        Index("ix_run_merchant_day", "merchant_id", "on_day"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    on_day: date
    state: RunState = word(RunState.RUNNING)
    business_at: datetime = instant(nullable=False)
    started_at: datetime = instant(nullable=False)
    finished_at: datetime | None = instant()
    plan: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    approved_by: str | None = Field(default=None, max_length=100)
    approved_at: datetime | None = instant()
    slice_passed_at: datetime | None = instant()
    stopped_reason: str | None = None


class Decision(Row, table=True):
    """Why a due subscription was not billed in a run; the billed ones explain themselves."""

    __table_args__ = (Index("ix_decision_subscription_id", "subscription_id"),)

    run_id: int = Field(primary_key=True, foreign_key="run.id", sa_type=BigInteger)
    subscription_id: int = Field(primary_key=True, foreign_key="subscription.id", sa_type=BigInteger)
    reason: str = Field(max_length=40)
    detail: str = ""
    decided_at: datetime = instant(nullable=False)


_OPEN_TASK = text("state = 'open'")


class Task(Row, table=True):
    """Something only a person can settle; the same thing is asked for once."""

    __table_args__ = (
        one_of("state", TaskState),
        Index(
            "uq_task_one_open",
            "kind",
            "subject",
            unique=True,
            postgresql_where=_OPEN_TASK,
            sqlite_where=_OPEN_TASK,
        ),
        Index("ix_task_open", "merchant_id", "id", postgresql_where=_OPEN_TASK, sqlite_where=_OPEN_TASK),
        # By bytes, so that it also finds what begins with a subject, such as `att_12/2`.
        Index("ix_task_subject", "subject", postgresql_ops={"subject": "text_pattern_ops"}),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    kind: str = Field(max_length=40)
    subject: str = Field(max_length=60)
    reason: str
    state: TaskState = word(TaskState.OPEN)
    created_at: datetime = instant(nullable=False)
    done_at: datetime | None = instant()
