"""Let what a notification said leave for an archive, once it is settled for good."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "leave_for_the_archive"
down_revision: str | None = "find_failed_mails"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    """Add when it left, which only settled and forged ones may have."""
    with op.batch_alter_table("notification") as notification:
        notification.add_column(sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
        notification.create_check_constraint(
            op.f("ck_notification_archived_is_over"), "archived_at IS NULL OR state IN ('settled', 'forged')"
        )


def downgrade() -> None:
    """Drop it; what left stays in its files."""
    with op.batch_alter_table("notification") as notification:
        notification.drop_constraint(op.f("ck_notification_archived_is_over"), type_="check")
        notification.drop_column("archived_at")
