"""Let a run be planned, approved and held back, with the mails it caused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "brake_a_run"
down_revision: str | None = "give_back_surplus"
branch_labels: None = None
depends_on: None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("merchant", sa.Column("run_approval", sa.Boolean(), nullable=True))
    op.add_column("merchant", sa.Column("brakes", sa.JSON(), nullable=True))
    op.add_column("run", sa.Column("plan", sa.JSON(), nullable=True))
    op.add_column("run", sa.Column("approved_by", sa.String(100), nullable=True))
    op.add_column("run", sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("run", sa.Column("slice_passed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("run", sa.Column("stopped_reason", sa.String(), nullable=True))
    with op.batch_alter_table("message") as message:
        message.add_column(sa.Column("run_id", BIG_ID, nullable=True))
        message.create_foreign_key(op.f("fk_message_run_id"), "run", ["run_id"], ["id"])


def downgrade() -> None:
    with op.batch_alter_table("message") as message:
        message.drop_constraint(op.f("fk_message_run_id"), type_="foreignkey")
        message.drop_column("run_id")
    with op.batch_alter_table("run") as run:
        for name in ("stopped_reason", "slice_passed_at", "approved_at", "approved_by", "plan"):
            run.drop_column(name)
    with op.batch_alter_table("merchant") as merchant:
        merchant.drop_column("brakes")
        merchant.drop_column("run_approval")
