"""Invoices, their lines, and the postings of the ledger."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field

from billing.dunning import StepKind
from billing.invoices import InvoiceState
from billing.ledger import Account
from billing.models.base import BigId, Row, identity, instant, minor, one_of, refers, rule, word

# SQLite sees that one of several conditions is met, but not that a word is in a list.
_RARE = text("state = 'draft' OR state = 'void' OR state = 'uncollectible'")


class Invoice(Row, table=True):
    """What a period owes. `key` names the owed thing in every attempt to collect it."""

    __table_args__ = (
        UniqueConstraint("subscription_id", "period_number", "kind"),
        UniqueConstraint("merchant_id", "number"),
        rule("total_positive", "total_minor > 0"),
        rule("step_has_day", "(next_step IS NULL) = (next_step_on IS NULL)"),
        rule("paid_has_time", "(state = 'paid') = (paid_at IS NOT NULL)"),
        one_of("state", InvoiceState),
        one_of("next_step", StepKind),
        Index(
            "ix_invoice_step",
            "merchant_id",
            "next_step_on",
            "id",
            postgresql_where=text("next_step_on IS NOT NULL"),
            sqlite_where=text("next_step_on IS NOT NULL"),
        ),
        Index("ix_invoice_open", "id", postgresql_where=text("state = 'open'"), sqlite_where=text("state = 'open'")),
        Index(
            "ix_invoice_dunned",
            "merchant_id",
            "dunned_since",
            postgresql_where=text("dunned_since IS NOT NULL"),
            sqlite_where=text("dunned_since IS NOT NULL"),
        ),
        Index("ix_invoice_run_id", "run_id"),
        Index("ix_invoice_day", "merchant_id", "issued_on", "id"),
        Index("ix_invoice_rare", "merchant_id", "state", "id", postgresql_where=_RARE, sqlite_where=_RARE),
        # Unique by the id alone; what the postings refer to, and how a customer's invoices are found.
        Index("uq_invoice_owner", "customer_id", "merchant_id", "id", unique=True),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    customer_id: int = refers("customer.id")
    subscription_id: int | None = refers("subscription.id", nullable=True)
    run_id: int | None = refers("run.id", nullable=True)
    kind: str = Field(default="period", max_length=20)
    period_number: int | None = None
    period_start: date | None = None
    period_end: date | None = None
    key: str = Field(max_length=24, unique=True)
    number: str = Field(max_length=40)
    title: str = Field(max_length=120)
    state: InvoiceState = word(InvoiceState.OPEN)
    currency: str = Field(max_length=3)
    net_minor: int = minor()
    tax_minor: int = minor()
    total_minor: int = minor()
    issued_on: date
    paid_at: datetime | None = instant()
    tries: int = Field(default=0)
    dunned_since: date | None = None
    next_step: StepKind | None = word(nullable=True)
    next_step_on: date | None = None


class InvoiceLine(Row, table=True):
    """One line of an invoice; net and tax make the total."""

    __tablename__ = "invoice_line"
    __table_args__ = (rule("adds_up", "net_minor + tax_minor = total_minor"),)

    invoice_id: int = Field(primary_key=True, foreign_key="invoice.id", sa_type=BigInteger)
    position: int = Field(primary_key=True)
    text: str = Field(max_length=200)
    quantity: int
    unit_minor: int = minor()
    net_minor: int = minor()
    tax_minor: int = minor()
    total_minor: int = minor()
    tax_rate_bp: int


_OF_ATTEMPT = text("attempt_id IS NOT NULL")


class Posting(Row, table=True):
    """One line of the ledger; never changed, and balanced within its group.

    The primary key is what keeps the same news from being posted twice. One for an invoice names the invoice's own
    customer and merchant: that is one reference of three columns, since each costs a look-up for every row.
    """

    __table_args__ = (
        ForeignKeyConstraint(
            ["customer_id", "merchant_id", "invoice_id"], ["invoice.customer_id", "invoice.merchant_id", "invoice.id"]
        ),
        rule("not_zero", "amount_minor <> 0"),
        one_of("account", Account),
        Index("ix_posting_invoice", "invoice_id", "account"),
        Index("ix_posting_customer", "customer_id", "account"),
        Index("ix_posting_attempt", "attempt_id", postgresql_where=_OF_ATTEMPT, sqlite_where=_OF_ATTEMPT),
    )

    group_key: str = Field(primary_key=True, max_length=120)
    position: int = Field(primary_key=True)
    merchant_id: int = Field(sa_type=BigId)
    customer_id: int = Field(sa_type=BigId)
    invoice_id: int | None = Field(default=None, sa_type=BigId)
    attempt_id: int | None = refers("attempt.id", nullable=True)
    account: Account = word()
    amount_minor: int = minor()
    currency: str = Field(max_length=3)
    booked_on: date
    posted_at: datetime = instant(nullable=False)


class ManualPayment(Row, table=True):
    """An invoice paid past every gateway, as somebody said: when, how it is known, and who recorded it."""

    __tablename__ = "manual_payment"

    invoice_id: int = Field(primary_key=True, foreign_key="invoice.id", sa_type=BigInteger)
    merchant_id: int = refers("merchant.id", index=True)
    paid_on: date
    proof: str = Field(max_length=200)
    recorded_by: str = Field(max_length=100)
    recorded_at: datetime = instant(nullable=False)
