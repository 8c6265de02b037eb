"""Let a merchant have a currency that new prices are in unless they say otherwise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "know_a_currency"
down_revision: str | None = "let_people_in"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    op.add_column("merchant", sa.Column("currency", sa.String(3), server_default=sa.text("'EUR'"), nullable=False))


def downgrade() -> None:
    op.drop_column("merchant", "currency")
