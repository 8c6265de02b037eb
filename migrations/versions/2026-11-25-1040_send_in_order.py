"""Let a merchant's unsent attempts be found in their order, instead of by looking through all there ever were."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "send_in_order"
down_revision: str | None = "open_the_api"
branch_labels: None = None
depends_on: None = None

UNSENT = sa.text("state = 'created'")


def upgrade() -> None:
    op.create_index("ix_attempt_ready", "attempt", ["merchant_id", "id"], postgresql_where=UNSENT, sqlite_where=UNSENT)
    op.drop_index("ix_attempt_unsent", "attempt")


def downgrade() -> None:
    op.create_index("ix_attempt_unsent", "attempt", ["run_id", "id"], postgresql_where=UNSENT, sqlite_where=UNSENT)
    op.drop_index("ix_attempt_ready", "attempt")
