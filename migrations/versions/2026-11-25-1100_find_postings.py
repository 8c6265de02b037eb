"""Find what a payment was posted as without reading the whole ledger: an index of the postings that name an attempt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "find_postings"
down_revision: str | None = "send_in_order"
branch_labels: None = None
depends_on: None = None

OF_ATTEMPT = sa.text("attempt_id IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_posting_attempt", "posting", ["attempt_id"], postgresql_where=OF_ATTEMPT, sqlite_where=OF_ATTEMPT
    )


def downgrade() -> None:
    op.drop_index("ix_posting_attempt", table_name="posting")
