"""Open an API: keys to one merchant each, answers kept so that a call happens once, payments recorded by hand."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "open_the_api"
down_revision: str | None = "brake_a_run"
branch_labels: None = None
depends_on: None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)

SCOPES = "'read', 'write', 'refund', 'read write', 'read refund', 'write refund', 'read write refund'"
ACCOUNTS = "'receivable', 'revenue', 'tax', 'gateway', 'customer_credit', 'verification'"


def upgrade() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("secret_digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(24), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.Column("revoked_at", INSTANT, nullable=True),
        sa.Column("last_used_at", INSTANT, nullable=True),
        sa.CheckConstraint("LENGTH(secret_digest) = 64", name=op.f("ck_api_key_secret_is_digest")),
        sa.CheckConstraint(f"scopes IN ({SCOPES})", name=op.f("ck_api_key_scopes_known")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_api_key_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_key_prefix")),
    )
    op.create_index("ix_api_key_merchant_id", "api_key", ["merchant_id"])
    op.create_table(
        "idempotency",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("claim", sa.String(32), nullable=False),
        sa.Column("lease_until", INSTANT, nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("sealed_answer", sa.String(), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("(status IS NULL) = (sealed_answer IS NULL)", name=op.f("ck_idempotency_answer_is_whole")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_idempotency_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "key", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "manual_payment",
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("paid_on", sa.Date(), nullable=False),
        sa.Column("proof", sa.String(200), nullable=False),
        sa.Column("recorded_by", sa.String(100), nullable=False),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_manual_payment_invoice_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_manual_payment_merchant_id")),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_manual_payment")),
    )
    op.create_index("ix_manual_payment_merchant_id", "manual_payment", ["merchant_id"])
    _know_accounts(f"{ACCOUNTS}, 'outside'")


def downgrade() -> None:
    _know_accounts(ACCOUNTS)
    op.drop_table("manual_payment")
    op.drop_table("idempotency")
    op.drop_table("api_key")


def _know_accounts(names: str) -> None:
    with op.batch_alter_table("posting") as posting:
        posting.drop_constraint(op.f("ck_posting_account_known"), type_="check")
        posting.create_check_constraint(op.f("ck_posting_account_known"), f"account IN ({names})")
