"""Let pages find among all there ever was what was set aside, asked of a person, recorded, or issued on a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "look_things_up"
down_revision: str | None = "list_deliveries"
branch_labels: None = None
depends_on: None = None

_OPEN = sa.text("state = 'open'")
# SQLite sees that one of several conditions is met, but not that a word is in a list.
_RARE = sa.text("state = 'draft' OR state = 'void' OR state = 'uncollectible'")


def upgrade() -> None:
    """Add indexes to tables that a night hardly writes to, and to invoices one by day and one of rare states alone."""
    op.create_index("ix_decision_subscription_id", "decision", ["subscription_id"])
    # The order by bytes, in which a subject and what begins like it stand together.
    op.create_index("ix_task_subject", "task", ["subject"], postgresql_ops={"subject": "text_pattern_ops"})
    op.create_index("ix_task_open", "task", ["merchant_id", "id"], postgresql_where=_OPEN, sqlite_where=_OPEN)
    op.create_index("ix_audit_entry_verb", "audit_entry", ["merchant_id", "verb", "id"])
    op.create_index("ix_audit_entry_actor", "audit_entry", ["merchant_id", "actor", "id"])
    op.create_index("ix_invoice_day", "invoice", ["merchant_id", "issued_on", "id"])
    op.create_index(
        "ix_invoice_rare", "invoice", ["merchant_id", "state", "id"], postgresql_where=_RARE, sqlite_where=_RARE
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("rare", "day"):
        op.drop_index(f"ix_invoice_{name}", "invoice")
    for name in ("actor", "verb"):
        op.drop_index(f"ix_audit_entry_{name}", "audit_entry")
    for name in ("open", "subject"):
        op.drop_index(f"ix_task_{name}", "task")
    op.drop_index("ix_decision_subscription_id", "decision")
