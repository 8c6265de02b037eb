"""Attempts to collect, what they pay, who may collect, and what follows a payment."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, String, UniqueConstraint, text
from sqlmodel import Field

from billing.gateway import DeclineClass, OperationKind
from billing.models.base import Row, added, identity, instant, minor, one_of, refers, rule, word
from billing.payments import IN_DOUBT, OPEN, AttemptState, Channel, Initiator


class OwedKind(StrEnum):
    """What can be collected."""

    INVOICE = "invoice"
    VERIFICATION = "verification"


class VerificationState(StrEnum):
    """Where the renewal of a profile with nothing owed stands."""

    OPEN = "open"
    AUTHORISED = "authorised"
    RELEASED = "released"
    FAILED = "failed"


_OPEN_STATES = ", ".join(f"'{state}'" for state in OPEN)
_DOUBT_STATES = ", ".join(f"'{state}'" for state in IN_DOUBT)
_UNSENT = text("state = 'created'")
_ASKABLE = text(f"state IN ({_DOUBT_STATES})")


class Attempt(Row, table=True):
    """One try to collect.

    The lease says until when its sender may still be at work on it; `ask_at` when the gateway is
    asked next, `asks` how often it was; `repeat_until` how long the same request under the same key
    is no second charge, where that ends. All are machine time, by the database's clock.
    """

    __table_args__ = (
        UniqueConstraint("owed_key", "number"),
        rule("amount_positive", "amount_minor > 0"),
        one_of("state", AttemptState),
        one_of("initiator", Initiator),
        one_of("channel", Channel),
        one_of("decline_class", DeclineClass),
        Index("ix_attempt_ready", "merchant_id", "id", postgresql_where=_UNSENT, sqlite_where=_UNSENT),
        Index("ix_attempt_askable", "ask_at", "id", postgresql_where=_ASKABLE, sqlite_where=_ASKABLE),
        Index("ix_attempt_run_state", "run_id", "state"),
        Index("ix_attempt_gateway_id", "gateway_account_id", "gateway_id"),
        Index("ix_attempt_profile_id", "profile_id"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    customer_id: int = refers("customer.id", index=True)
    gateway_account_id: int = refers("gateway_account.id")
    profile_id: int | None = refers("profile.id", nullable=True)
    run_id: int | None = refers("run.id", nullable=True)
    initiator: Initiator = word(Initiator.MERCHANT)
    channel: Channel = word(Channel.NIGHT)
    owed_key: str = Field(max_length=24)
    number: int
    key: str = Field(max_length=30, unique=True)
    amount_minor: int = minor()
    currency: str = Field(max_length=3)
    state: AttemptState = word(AttemptState.CREATED)
    gateway_id: str = Field(default="", max_length=64)
    captured: bool = True
    decline_code: str = Field(default="", max_length=60)
    decline_class: DeclineClass | None = word(nullable=True)
    evidence: str = ""
    business_at: datetime = instant(nullable=False)
    created_at: datetime = instant(nullable=False)
    sent_at: datetime | None = instant()
    decided_at: datetime | None = instant()
    lease_until: datetime | None = instant()
    asks: int = Field(default=0)
    ask_at: datetime | None = instant()
    repeat_until: datetime | None = instant()


class Allocation(Row, table=True):
    """What an attempt pays: one row for each invoice, or one for a verification."""

    __table_args__ = (
        rule("one_thing", "(invoice_id IS NULL) <> (verification_id IS NULL)"),
        rule("amount_positive", "amount_minor > 0"),
        Index("ix_allocation_invoice_id", "invoice_id"),
        Index("ix_allocation_verification_id", "verification_id"),
    )

    attempt_id: int = Field(primary_key=True, foreign_key="attempt.id", sa_type=BigInteger)
    position: int = Field(default=0, primary_key=True)
    invoice_id: int | None = refers("invoice.id", nullable=True)
    verification_id: int | None = refers("verification.id", nullable=True)
    amount_minor: int = minor()


class ChargeRight(Row, table=True):
    """The one permission to collect an owed thing; its primary key is the mutex of all channels."""

    __tablename__ = "charge_right"
    __table_args__ = (one_of("owed_kind", OwedKind), Index("ix_charge_right_attempt_id", "attempt_id"))

    owed_kind: OwedKind = Field(primary_key=True, sa_type=String(24))
    owed_id: int = Field(primary_key=True, sa_type=BigInteger)
    attempt_id: int = refers("attempt.id")


class Operation(Row, table=True):
    """A capture, reversal, refund, credit, chargeback or returned debit; at most one is open for an attempt.

    `payment_id` names the payment it is about where that is not the attempt's own but a second one under
    the same key. `reason` is the word of whoever wanted it. `sent_at` is by the database's clock.
    """

    __table_args__ = (
        rule("amount_positive", "amount_minor > 0"),
        one_of("kind", OperationKind),
        one_of("state", AttemptState),
        Index(
            "uq_operation_one_open",
            "attempt_id",
            unique=True,
            postgresql_where=text(f"state IN ({_OPEN_STATES})"),
            sqlite_where=text(f"state IN ({_OPEN_STATES})"),
        ),
        Index("ix_operation_attempt_id", "attempt_id"),
        Index("ix_operation_state", "state", "ask_at"),
    )

    id: int = identity()
    attempt_id: int = refers("attempt.id")
    kind: OperationKind = word()
    key: str = Field(max_length=40, unique=True)
    amount_minor: int = minor()
    currency: str = Field(max_length=3)
    state: AttemptState = word(AttemptState.CREATED)
    gateway_id: str = Field(default="", max_length=64)
    tries: int = Field(default=0)
    evidence: str = ""
    payment_id: str = added("", 64)
    reason: str = added("")
    created_at: datetime = instant(nullable=False)
    sent_at: datetime | None = instant()
    decided_at: datetime | None = instant()
    lease_until: datetime | None = instant()
    asks: int = Field(default=0)
    ask_at: datetime | None = instant()


class PayLink(Row, table=True):
    """The address we mail; its token is made from the id and our secret, so it is stored nowhere."""

    __tablename__ = "pay_link"
    __table_args__ = (
        rule("one_thing", "(invoice_id IS NULL) <> (verification_id IS NULL)"),
        Index("ix_pay_link_invoice_id", "invoice_id"),
        Index("ix_pay_link_verification_id", "verification_id"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    customer_id: int = refers("customer.id")
    invoice_id: int | None = refers("invoice.id", nullable=True)
    verification_id: int | None = refers("verification.id", nullable=True)
    created_at: datetime = instant(nullable=False)
    expires_at: datetime = instant(nullable=False)
    superseded_at: datetime | None = instant()


class Checkout(Row, table=True):
    """Where a customer pays: the gateway's hosted page that an attempt opened, or its card fields on ours.

    The page's address is sealed, since it opens a payment; it is empty while there is none. `sealed_fields`
    is what came out of the card fields: with it the request can be repeated. On a hosted page a failed try
    is not the end; of card fields there is one.
    """

    attempt_id: int = Field(primary_key=True, foreign_key="attempt.id", sa_type=BigInteger)
    pay_link_id: int | None = refers("pay_link.id", nullable=True, index=True)
    sealed_url: str
    sealed_fields: str | None = None
    opened_at: datetime = instant(nullable=False)
    closes_at: datetime = instant(nullable=False)


class Mandate(Row, table=True):
    """The consent a customer gave while paying, word for word, and what the gateway made of it.

    The profile and its references are known once the payment went through.
    """

    attempt_id: int = Field(primary_key=True, foreign_key="attempt.id", sa_type=BigInteger)
    merchant_id: int = refers("merchant.id")
    customer_id: int = refers("customer.id", index=True)
    profile_id: int | None = refers("profile.id", nullable=True, index=True)
    text: str
    text_digest: str = Field(max_length=64)
    language: str = Field(max_length=5)
    address: str = Field(default="", max_length=45)
    given_at: datetime = instant(nullable=False)
    first_transaction: str = Field(default="", max_length=64)
    scheme_reference: str = Field(default="", max_length=250)


class Verification(Row, table=True):
    """A small authorisation that renews a profile; a debt to the customer until its reversal is confirmed."""

    __table_args__ = (
        rule("amount_positive", "amount_minor > 0"),
        one_of("state", VerificationState),
        Index("ix_verification_state", "state"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    customer_id: int = refers("customer.id", index=True)
    gateway_account_id: int = refers("gateway_account.id")
    profile_id: int | None = refers("profile.id", nullable=True)
    key: str = Field(max_length=24, unique=True)
    amount_minor: int = minor()
    currency: str = Field(max_length=3)
    state: VerificationState = word(VerificationState.OPEN)
    tries: int = Field(default=0)
    created_at: datetime = instant(nullable=False)
    authorised_at: datetime | None = instant()
    released_at: datetime | None = instant()
