"""Let customers and subscriptions be found by how they begin, and declined invoices by when, however many there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "find_by_name"
down_revision: str | None = "tell_listeners"
branch_labels: None = None
depends_on: None = None

_FOUND = (("customer", "name"), ("customer", "email"), ("customer", "reference"), ("subscription", "reference"))
_DUNNED = sa.text("dunned_since IS NOT NULL")


def upgrade() -> None:
    ops = " text_pattern_ops" if op.get_bind().dialect.name == "postgresql" else ""
    for table, column in _FOUND:
        op.execute(f"CREATE INDEX ix_{table}_{column}_begins ON {table} (merchant_id, lower({column}){ops})")
    op.create_index(
        "ix_invoice_dunned", "invoice", ["merchant_id", "dunned_since"], postgresql_where=_DUNNED, sqlite_where=_DUNNED
    )


def downgrade() -> None:
    op.drop_index("ix_invoice_dunned", "invoice")
    for table, column in _FOUND:
        op.drop_index(f"ix_{table}_{column}_begins", table)
