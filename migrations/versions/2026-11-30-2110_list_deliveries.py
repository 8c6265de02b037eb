"""List what became of events at one endpoint, newest first, and those alone that it never took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "list_deliveries"
down_revision: str | None = "leave_for_the_archive"
branch_labels: None = None
depends_on: None = None

_FAILED = sa.text("state = 'failed'")


def upgrade() -> None:
    """Add an index by endpoint, and one of failed deliveries alone."""
    about = ("webhook_delivery", ["endpoint_id", "id"])
    op.create_index("ix_webhook_delivery_endpoint", *about)
    op.create_index("ix_webhook_delivery_failed", *about, postgresql_where=_FAILED, sqlite_where=_FAILED)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_webhook_delivery_failed", "webhook_delivery")
    op.drop_index("ix_webhook_delivery_endpoint", "webhook_delivery")
