"""Let plans and prices be taken off sale; whoever is on them goes on being billed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "take_off_sale"
down_revision: str | None = "find_by_name"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    op.add_column("plan", sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("price", sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("price", "retired_at")
    op.drop_column("plan", "archived_at")
