"""Everything a night needs: who owes what, who may collect it, and what was said about it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "first_tables"
down_revision: str | None = None
branch_labels: None = None
depends_on: None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "test_clock",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("now_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_test_clock")),
        sa.UniqueConstraint("name", name=op.f("uq_test_clock_name")),
    )
    op.create_table(
        "merchant",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("reference", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("legal_name", sa.String(200), nullable=False),
        sa.Column("place", sa.String(200), nullable=False),
        sa.Column("legal_line", sa.String(400), nullable=False),
        sa.Column("country", sa.String(2), nullable=False),
        sa.Column("number_prefix", sa.String(20), nullable=False),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("language", sa.String(5), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("mail_from", sa.String(254), nullable=False),
        sa.Column("reply_to", sa.String(254), nullable=False),
        sa.Column("help_url", sa.String(500), nullable=False),
        sa.Column("legal_url", sa.String(500), nullable=False),
        sa.Column("privacy_url", sa.String(500), nullable=False),
        sa.Column("invoice_page", sa.String(500), nullable=False),
        sa.Column("accent", sa.String(60), nullable=False),
        sa.Column("verification_minor", sa.BigInteger(), nullable=False),
        sa.Column("link_days", sa.Integer(), nullable=False),
        sa.Column("catch_up", sa.String(24), nullable=False),
        sa.Column("test_clock_id", BIG_ID, nullable=True),
        sa.CheckConstraint("catch_up IN ('each', 'approval')", name=op.f("ck_merchant_catch_up_known")),
        sa.CheckConstraint("link_days > 0", name=op.f("ck_merchant_link_days_positive")),
        sa.CheckConstraint("test_clock_id IS NULL OR NOT live", name=op.f("ck_merchant_sandbox_has_clock")),
        sa.CheckConstraint("verification_minor > 0", name=op.f("ck_merchant_verification_positive")),
        sa.ForeignKeyConstraint(["test_clock_id"], ["test_clock.id"], name=op.f("fk_merchant_test_clock_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchant")),
        sa.UniqueConstraint("reference", name=op.f("uq_merchant_reference")),
    )
    op.create_table(
        "customer",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("reference", sa.String(32), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("salutation", sa.String(100), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("language", sa.String(5), nullable=False),
        sa.Column("country", sa.String(2), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_customer_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("merchant_id", "reference", name=op.f("uq_customer_merchant_id_reference")),
    )
    op.create_table(
        "gateway_account",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("reference", sa.String(40), nullable=False),
        sa.Column("gateway", sa.String(20), nullable=False),
        sa.Column("sealed_credentials", sa.String(), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("stopped_reason", sa.String(), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('open', 'stopped')", name=op.f("ck_gateway_account_state_known")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_gateway_account_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_account")),
        sa.UniqueConstraint("merchant_id", "reference", name=op.f("uq_gateway_account_merchant_id_reference")),
    )
    op.create_table(
        "number_series",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("prefix", sa.String(30), nullable=False),
        sa.Column("next_value", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("next_value > 0", name=op.f("ck_number_series_next_positive")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_number_series_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_number_series")),
        sa.UniqueConstraint("merchant_id", "prefix", name=op.f("uq_number_series_merchant_id_prefix")),
    )
    op.create_table(
        "plan",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("reference", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_plan_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan")),
        sa.UniqueConstraint("merchant_id", "reference", name=op.f("uq_plan_merchant_id_reference")),
    )
    op.create_table(
        "run",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("on_day", sa.Date(), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("business_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('planned', 'running', 'paused', 'finished', 'aborted')", name=op.f("ck_run_state_known")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_run_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index("ix_run_merchant_day", "run", ["merchant_id", "on_day"], unique=False)
    op.create_index(
        "uq_run_one_open",
        "run",
        ["merchant_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('planned', 'running', 'paused')"),
        sqlite_where=sa.text("state IN ('planned', 'running', 'paused')"),
    )

    op.create_table(
        "task",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(60), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('open', 'done')", name=op.f("ck_task_state_known")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_task_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
    )
    op.create_index(
        "uq_task_one_open",
        "task",
        ["kind", "subject"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )

    op.create_table(
        "message",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("cause", sa.String(60), nullable=False),
        sa.Column("step", sa.String(30), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("context", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("business_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=False),
        sa.CheckConstraint("state IN ('queued', 'sent', 'failed', 'dropped')", name=op.f("ck_message_state_known")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_message_customer_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_message_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint("cause", "step", "recipient", name=op.f("uq_message_cause_step_recipient")),
    )
    op.create_index("ix_message_customer_id", "message", ["customer_id"], unique=False)
    op.create_index(
        "ix_message_queued",
        "message",
        ["next_try_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )

    op.create_table(
        "price",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("plan_id", BIG_ID, nullable=False),
        sa.Column("reference", sa.String(40), nullable=False),
        sa.Column("title", sa.String(100), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("interval_unit", sa.String(24), nullable=False),
        sa.Column("interval_count", sa.Integer(), nullable=False),
        sa.Column("trial_days", sa.Integer(), nullable=False),
        sa.Column("tax_rate_bp", sa.Integer(), nullable=False),
        sa.Column("tax_included", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "interval_unit IN ('day', 'week', 'month', 'year')", name=op.f("ck_price_interval_unit_known")
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_price_amount_positive")),
        sa.CheckConstraint("interval_count > 0", name=op.f("ck_price_interval_positive")),
        sa.CheckConstraint("tax_rate_bp BETWEEN 0 AND 10000", name=op.f("ck_price_tax_sane")),
        sa.CheckConstraint("trial_days >= 0", name=op.f("ck_price_trial_sane")),
        sa.ForeignKeyConstraint(["plan_id"], ["plan.id"], name=op.f("fk_price_plan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price")),
        sa.UniqueConstraint("plan_id", "reference", name=op.f("uq_price_plan_id_reference")),
    )
    op.create_table(
        "profile",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("gateway_account_id", BIG_ID, nullable=False),
        sa.Column("sealed_reference", sa.String(), nullable=False),
        sa.Column("reference_digest", sa.String(64), nullable=False),
        sa.Column("slot", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("brand", sa.String(30), nullable=False),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("mandate_reference", sa.String(35), nullable=False),
        sa.Column("mandate_signed_on", sa.Date(), nullable=True),
        sa.Column("first_transaction", sa.String(64), nullable=False),
        sa.Column("scheme_reference", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('active', 'failed', 'replaced', 'forgotten')", name=op.f("ck_profile_state_known")
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_profile_customer_id")),
        sa.ForeignKeyConstraint(
            ["gateway_account_id"], ["gateway_account.id"], name=op.f("fk_profile_gateway_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile")),
        sa.UniqueConstraint(
            "gateway_account_id", "reference_digest", name=op.f("uq_profile_gateway_account_id_reference_digest")
        ),
    )
    op.create_index(op.f("ix_profile_customer_id"), "profile", ["customer_id"], unique=False)

    op.create_table(
        "attempt",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("gateway_account_id", BIG_ID, nullable=False),
        sa.Column("profile_id", BIG_ID, nullable=True),
        sa.Column("run_id", BIG_ID, nullable=True),
        sa.Column("initiator", sa.String(24), nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("owed_key", sa.String(24), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(30), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("gateway_id", sa.String(64), nullable=False),
        sa.Column("captured", sa.Boolean(), nullable=False),
        sa.Column("decline_code", sa.String(60), nullable=False),
        sa.Column("decline_class", sa.String(24), nullable=True),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("business_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("ask_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "channel IN ('night', 'dunning', 'pay_link', 'portal', 'console', 'api')",
            name=op.f("ck_attempt_channel_known"),
        ),
        sa.CheckConstraint(
            "decline_class IN ('retry_later', 'needs_customer', 'needs_new_profile', 'never')",
            name=op.f("ck_attempt_decline_class_known"),
        ),
        sa.CheckConstraint("initiator IN ('customer', 'merchant')", name=op.f("ck_attempt_initiator_known")),
        sa.CheckConstraint(
            "state IN ('created', 'sent', 'approved', 'declined', 'refused', "
            "'pending', 'unknown', 'not_sent', 'withdrawn')",
            name=op.f("ck_attempt_state_known"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_attempt_amount_positive")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_attempt_customer_id")),
        sa.ForeignKeyConstraint(
            ["gateway_account_id"], ["gateway_account.id"], name=op.f("fk_attempt_gateway_account_id")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_attempt_merchant_id")),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_attempt_profile_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_attempt_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("key", name=op.f("uq_attempt_key")),
        sa.UniqueConstraint("owed_key", "number", name=op.f("uq_attempt_owed_key_number")),
    )
    op.create_index(
        "ix_attempt_askable",
        "attempt",
        ["ask_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('sent', 'pending', 'unknown')"),
        sqlite_where=sa.text("state IN ('sent', 'pending', 'unknown')"),
    )
    op.create_index(op.f("ix_attempt_customer_id"), "attempt", ["customer_id"], unique=False)
    op.create_index("ix_attempt_gateway_id", "attempt", ["gateway_account_id", "gateway_id"], unique=False)
    op.create_index("ix_attempt_profile_id", "attempt", ["profile_id"], unique=False)
    op.create_index("ix_attempt_run_state", "attempt", ["run_id", "state"], unique=False)
    op.create_index(
        "ix_attempt_unsent",
        "attempt",
        ["run_id", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'created'"),
        sqlite_where=sa.text("state = 'created'"),
    )

    op.create_table(
        "subscription",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("price_id", BIG_ID, nullable=False),
        sa.Column("profile_id", BIG_ID, nullable=True),
        sa.Column("reference", sa.String(40), nullable=False),
        sa.Column("uid", sa.String(32), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("collection", sa.String(24), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("anchor_on", sa.Date(), nullable=False),
        sa.Column("next_period", sa.Integer(), nullable=False),
        sa.Column("next_due_on", sa.Date(), nullable=True),
        sa.Column("skipped_periods", sa.Integer(), nullable=False),
        sa.Column("paused_by_dunning", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("canceled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "(next_due_on IS NOT NULL) = (state IN ('trialing', 'active', 'past_due'))",
            name=op.f("ck_subscription_due_while_billable"),
        ),
        sa.CheckConstraint(
            "collection <> 'charge' OR profile_id IS NOT NULL", name=op.f("ck_subscription_charge_has_profile")
        ),
        sa.CheckConstraint("collection IN ('charge', 'link')", name=op.f("ck_subscription_collection_known")),
        sa.CheckConstraint(
            "state IN ('trialing', 'active', 'past_due', 'paused', 'canceled', 'ended')",
            name=op.f("ck_subscription_state_known"),
        ),
        sa.CheckConstraint("next_period >= 0", name=op.f("ck_subscription_period_not_negative")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_subscription_quantity_positive")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_subscription_customer_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_subscription_merchant_id")),
        sa.ForeignKeyConstraint(["price_id"], ["price.id"], name=op.f("fk_subscription_price_id")),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_subscription_profile_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription")),
        sa.UniqueConstraint("merchant_id", "reference", name=op.f("uq_subscription_merchant_id_reference")),
        sa.UniqueConstraint("uid", name=op.f("uq_subscription_uid")),
    )
    op.create_index(op.f("ix_subscription_customer_id"), "subscription", ["customer_id"], unique=False)
    op.create_index(
        "ix_subscription_due",
        "subscription",
        ["merchant_id", "next_due_on", "id"],
        unique=False,
        postgresql_where=sa.text("next_due_on IS NOT NULL"),
        sqlite_where=sa.text("next_due_on IS NOT NULL"),
    )
    op.create_index("ix_subscription_profile_id", "subscription", ["profile_id"], unique=False)

    op.create_table(
        "verification",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("gateway_account_id", BIG_ID, nullable=False),
        sa.Column("profile_id", BIG_ID, nullable=True),
        sa.Column("key", sa.String(24), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("authorised_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'authorised', 'released', 'failed')", name=op.f("ck_verification_state_known")
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_verification_amount_positive")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_verification_customer_id")),
        sa.ForeignKeyConstraint(
            ["gateway_account_id"], ["gateway_account.id"], name=op.f("fk_verification_gateway_account_id")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_verification_merchant_id")),
        sa.ForeignKeyConstraint(["profile_id"], ["profile.id"], name=op.f("fk_verification_profile_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
        sa.UniqueConstraint("key", name=op.f("uq_verification_key")),
    )
    op.create_index(op.f("ix_verification_customer_id"), "verification", ["customer_id"], unique=False)
    op.create_index("ix_verification_state", "verification", ["state"], unique=False)

    op.create_table(
        "charge_right",
        sa.Column("owed_kind", sa.String(24), nullable=False),
        sa.Column("owed_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt_id", BIG_ID, nullable=False),
        sa.CheckConstraint("owed_kind IN ('invoice', 'verification')", name=op.f("ck_charge_right_owed_kind_known")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_charge_right_attempt_id")),
        sa.PrimaryKeyConstraint("owed_kind", "owed_id", name=op.f("pk_charge_right")),
    )
    op.create_index("ix_charge_right_attempt_id", "charge_right", ["attempt_id"], unique=False)

    op.create_table(
        "decision",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("subscription_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(40), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_decision_run_id")),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscription.id"], name=op.f("fk_decision_subscription_id")),
        sa.PrimaryKeyConstraint("run_id", "subscription_id", name=op.f("pk_decision")),
    )
    op.create_table(
        "invoice",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("subscription_id", BIG_ID, nullable=True),
        sa.Column("run_id", BIG_ID, nullable=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("period_number", sa.Integer(), nullable=True),
        sa.Column("period_start", sa.Date(), nullable=True),
        sa.Column("period_end", sa.Date(), nullable=True),
        sa.Column("key", sa.String(24), nullable=False),
        sa.Column("number", sa.String(40), nullable=False),
        sa.Column("title", sa.String(120), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("dunned_since", sa.Date(), nullable=True),
        sa.Column("next_step", sa.String(24), nullable=True),
        sa.Column("next_step_on", sa.Date(), nullable=True),
        sa.CheckConstraint("(state = 'paid') = (paid_at IS NOT NULL)", name=op.f("ck_invoice_paid_has_time")),
        sa.CheckConstraint("next_step IN ('retry', 'remind', 'pause')", name=op.f("ck_invoice_next_step_known")),
        sa.CheckConstraint(
            "state IN ('draft', 'open', 'paid', 'void', 'uncollectible')", name=op.f("ck_invoice_state_known")
        ),
        sa.CheckConstraint("(next_step IS NULL) = (next_step_on IS NULL)", name=op.f("ck_invoice_step_has_day")),
        sa.CheckConstraint("total_minor > 0", name=op.f("ck_invoice_total_positive")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_invoice_customer_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_invoice_merchant_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_invoice_run_id")),
        sa.ForeignKeyConstraint(["subscription_id"], ["subscription.id"], name=op.f("fk_invoice_subscription_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
        sa.UniqueConstraint("key", name=op.f("uq_invoice_key")),
        sa.UniqueConstraint("merchant_id", "number", name=op.f("uq_invoice_merchant_id_number")),
        sa.UniqueConstraint(
            "subscription_id", "period_number", "kind", name=op.f("uq_invoice_subscription_id_period_number_kind")
        ),
    )
    op.create_index(op.f("ix_invoice_customer_id"), "invoice", ["customer_id"], unique=False)
    op.create_index(
        "ix_invoice_open",
        "invoice",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_invoice_run_id", "invoice", ["run_id"], unique=False)
    op.create_index(
        "ix_invoice_step",
        "invoice",
        ["merchant_id", "next_step_on", "id"],
        unique=False,
        postgresql_where=sa.text("next_step_on IS NOT NULL"),
        sqlite_where=sa.text("next_step_on IS NOT NULL"),
    )

    op.create_table(
        "notification",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("gateway_account_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("method", sa.String(8), nullable=False),
        sa.Column("query", sa.String(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("proven_key", sa.String(30), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("attempt_id", BIG_ID, nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('received', 'settled', 'forged', 'open')", name=op.f("ck_notification_state_known")
        ),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_notification_attempt_id")),
        sa.ForeignKeyConstraint(
            ["gateway_account_id"], ["gateway_account.id"], name=op.f("fk_notification_gateway_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
        sa.UniqueConstraint("gateway_account_id", "digest", name=op.f("uq_notification_gateway_account_id_digest")),
    )
    op.create_index("ix_notification_attempt_id", "notification", ["attempt_id"], unique=False)
    op.create_index("ix_notification_state", "notification", ["state", "id"], unique=False)

    op.create_table(
        "operation",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("attempt_id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("key", sa.String(40), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("gateway_id", sa.String(64), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("ask_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('capture', 'reversal', 'refund', 'credit', 'chargeback', 'returned_debit')",
            name=op.f("ck_operation_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('created', 'sent', 'approved', 'declined', 'refused', "
            "'pending', 'unknown', 'not_sent', 'withdrawn')",
            name=op.f("ck_operation_state_known"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_operation_amount_positive")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_operation_attempt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation")),
        sa.UniqueConstraint("key", name=op.f("uq_operation_key")),
    )
    op.create_index("ix_operation_attempt_id", "operation", ["attempt_id"], unique=False)
    op.create_index("ix_operation_state", "operation", ["state", "ask_at"], unique=False)
    op.create_index(
        "uq_operation_one_open",
        "operation",
        ["attempt_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('created', 'sent', 'pending', 'unknown')"),
        sqlite_where=sa.text("state IN ('created', 'sent', 'pending', 'unknown')"),
    )

    op.create_table(
        "allocation",
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("invoice_id", BIG_ID, nullable=True),
        sa.Column("verification_id", BIG_ID, nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(invoice_id IS NULL) <> (verification_id IS NULL)", name=op.f("ck_allocation_one_thing")),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_allocation_amount_positive")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_allocation_attempt_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_allocation_invoice_id")),
        sa.ForeignKeyConstraint(["verification_id"], ["verification.id"], name=op.f("fk_allocation_verification_id")),
        sa.PrimaryKeyConstraint("attempt_id", "position", name=op.f("pk_allocation")),
    )
    op.create_index("ix_allocation_invoice_id", "allocation", ["invoice_id"], unique=False)
    op.create_index("ix_allocation_verification_id", "allocation", ["verification_id"], unique=False)

    op.create_table(
        "invoice_line",
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("text", sa.String(200), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_minor", sa.BigInteger(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_rate_bp", sa.Integer(), nullable=False),
        sa.CheckConstraint("net_minor + tax_minor = total_minor", name=op.f("ck_invoice_line_adds_up")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_invoice_line_invoice_id")),
        sa.PrimaryKeyConstraint("invoice_id", "position", name=op.f("pk_invoice_line")),
    )
    op.create_table(
        "pay_link",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("invoice_id", BIG_ID, nullable=True),
        sa.Column("verification_id", BIG_ID, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(invoice_id IS NULL) <> (verification_id IS NULL)", name=op.f("ck_pay_link_one_thing")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_pay_link_customer_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_pay_link_invoice_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_pay_link_merchant_id")),
        sa.ForeignKeyConstraint(["verification_id"], ["verification.id"], name=op.f("fk_pay_link_verification_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pay_link")),
    )
    op.create_index("ix_pay_link_invoice_id", "pay_link", ["invoice_id"], unique=False)
    op.create_index("ix_pay_link_verification_id", "pay_link", ["verification_id"], unique=False)

    op.create_table(
        "posting",
        sa.Column("group_key", sa.String(120), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("customer_id", BIG_ID, nullable=False),
        sa.Column("invoice_id", BIG_ID, nullable=True),
        sa.Column("attempt_id", BIG_ID, nullable=True),
        sa.Column("account", sa.String(24), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("posted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "account IN ('receivable', 'revenue', 'tax', 'gateway', 'customer_credit', 'verification')",
            name=op.f("ck_posting_account_known"),
        ),
        sa.CheckConstraint("amount_minor <> 0", name=op.f("ck_posting_not_zero")),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_posting_attempt_id")),
        sa.ForeignKeyConstraint(["customer_id"], ["customer.id"], name=op.f("fk_posting_customer_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_posting_invoice_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_posting_merchant_id")),
        sa.PrimaryKeyConstraint("group_key", "position", name=op.f("pk_posting")),
    )
    op.create_index("ix_posting_customer", "posting", ["customer_id", "account"], unique=False)
    op.create_index("ix_posting_invoice", "posting", ["invoice_id", "account"], unique=False)

    op.create_table(
        "checkout",
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("pay_link_id", BIG_ID, nullable=True),
        sa.Column("sealed_url", sa.String(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_checkout_attempt_id")),
        sa.ForeignKeyConstraint(["pay_link_id"], ["pay_link.id"], name=op.f("fk_checkout_pay_link_id")),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_checkout")),
    )
    op.create_index(op.f("ix_checkout_pay_link_id"), "checkout", ["pay_link_id"], unique=False)


def downgrade() -> None:
    op.drop_table("checkout")
    op.drop_table("posting")
    op.drop_table("pay_link")
    op.drop_table("invoice_line")
    op.drop_table("allocation")
    op.drop_table("operation")
    op.drop_table("notification")
    op.drop_table("invoice")
    op.drop_table("decision")
    op.drop_table("charge_right")
    op.drop_table("verification")
    op.drop_table("subscription")
    op.drop_table("attempt")
    op.drop_table("profile")
    op.drop_table("price")
    op.drop_table("message")
    op.drop_table("task")
    op.drop_table("run")
    op.drop_table("plan")
    op.drop_table("number_series")
    op.drop_table("gateway_account")
    op.drop_table("customer")
    op.drop_table("merchant")
    op.drop_table("test_clock")
