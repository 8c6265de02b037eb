"""Find the mails that could not be delivered, among all that were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "find_failed_mails"
down_revision: str | None = "take_off_sale"
branch_labels: None = None
depends_on: None = None

_FAILED = sa.text("state = 'failed'")


def upgrade() -> None:
    """Add an index of failed mails alone."""
    op.create_index(
        "ix_message_failed", "message", ["merchant_id", "id"], postgresql_where=_FAILED, sqlite_where=_FAILED
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_message_failed", "message")
