"""Let a customer pay in card fields on our page, with a consent on record and a request that can be repeated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "pay_in_our_page"
down_revision: str | None = "first_tables"
branch_labels: None = None
depends_on: None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "mandate",
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("profile_id", BIG_ID, nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("text_digest", sa.String(64), nullable=False),
        sa.Column("language", sa.String(5), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_transaction", sa.String(64), nullable=False),
        sa.Column("scheme_reference", sa.String(250), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_mandate_attempt_id")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_mandate_customer_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_mandate_merchant_id")),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_mandate_profile_id")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_mandate")),
    )
    op.create_index("ix_mandate_customer_id", "mandate", ["customer_id"])
    op.create_index("ix_mandate_profile_id", "mandate", ["profile_id"])
    op.add_column("attempt", sa.Column("repeat_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("checkout", sa.Column("sealed_fields", sa.String(), nullable=True))
    with op.batch_alter_table("profile") as profile:
        profile.alter_column("scheme_reference", type_=sa.String(250), existing_nullable=False)
    with op.batch_alter_table("subscription") as subscription:
        subscription.add_column(sa.Column("preferred_account_id", BIG_ID, nullable=True))
        subscription.create_foreign_key(
            op.f("fk_subscription_preferred_account_id"), "gateway_account", ["preferred_account_id"], ["id"]
        )


def downgrade() -> None:
    with op.batch_alter_table("subscription") as subscription:
        subscription.drop_constraint(op.f("fk_subscription_preferred_account_id"), type_="foreignkey")
        subscription.drop_column("preferred_account_id")
    with op.batch_alter_table("profile") as profile:
        profile.alter_column("scheme_reference", type_=sa.String(64), existing_nullable=False)
    op.drop_column("checkout", "sealed_fields")
    op.drop_column("attempt", "repeat_until")
    op.drop_table("mandate")
