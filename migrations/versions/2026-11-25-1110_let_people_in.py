"""Let people in: users of the console, their roles and sessions, failed sign-ins, and a record of what was done."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "let_people_in"
down_revision: str | None = "find_postings"
branch_labels: None = None
depends_on: None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "console_user",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("sealed_totp", sa.String(), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), nullable=True),
        sa.Column("recovery", sa.JSON(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("disabled_at", INSTANT, nullable=True),
        sa.Column("last_signed_in_at", INSTANT, nullable=True),
        sa.CheckConstraint("email = LOWER(email)", name=op.f("ck_console_user_email_in_small_letters")),
        sa.CheckConstraint(
            "password_hash = '' OR password_hash LIKE '$argon2id$%'", name=op.f("ck_console_user_password_is_hashed")
        ),
        sa.CheckConstraint(
            "sealed_totp IS NOT NULL OR totp_step IS NULL", name=op.f("ck_console_user_second_factor_is_whole")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_console_user")),
        sa.UniqueConstraint("email", name=op.f("uq_console_user_email")),
    )
    op.create_table(
        "membership",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(24), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_membership_role_known")),
        sa.ForeignKeyConstraint(["user_id"], ["console_user.id"], name=op.f("fk_membership_user_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_membership_merchant_id")),
        sa.PrimaryKeyConstraint("user_id", "merchant_id", name=op.f("pk_membership")),
    )
    op.create_index("ix_membership_merchant_id", "membership", ["merchant_id"])
    op.create_table(
        "console_session",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("token_digest", sa.String(64), nullable=False),
        sa.Column("waits_for_code", sa.Boolean(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("last_seen_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.CheckConstraint("LENGTH(token_digest) = 64", name=op.f("ck_console_session_token_is_digest")),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_console_session_ends_after_it_began")),
        sa.ForeignKeyConstraint(["user_id"], ["console_user.id"], name=op.f("fk_console_session_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_console_session")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_console_session_token_digest")),
    )
    op.create_index("ix_console_session_user_id", "console_session", ["user_id"])
    op.create_table(
        "sign_in_failure",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", INSTANT, nullable=False),
        sa.CheckConstraint("count >= 0", name=op.f("ck_sign_in_failure_count_not_negative")),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_sign_in_failure")),
    )
    op.create_table(
        "audit_entry",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("merchant_id", BIG_ID, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor_kind", sa.String(24), nullable=False),
        sa.Column("actor", sa.String(140), nullable=False),
        sa.Column("verb", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(140), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "actor_kind IN ('user', 'key', 'command', 'system')", name=op.f("ck_audit_entry_actor_kind_known")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_audit_entry_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_index("ix_audit_entry_merchant_id", "audit_entry", ["merchant_id", "id"])
    op.create_index("ix_audit_entry_subject", "audit_entry", ["merchant_id", "subject", "id"])


def downgrade() -> None:
    for name in ("audit_entry", "sign_in_failure", "console_session", "membership", "console_user"):
        op.drop_table(name)
