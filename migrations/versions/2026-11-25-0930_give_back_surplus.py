"""Give back surplus: by a merchant's policy or an operator's word, of which payment, why, and since when in doubt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "give_back_surplus"
down_revision: str | None = "pay_in_our_page"
branch_labels: None = None
depends_on: None = None


def upgrade() -> None:
    with op.batch_alter_table("merchant") as merchant:
        merchant.add_column(sa.Column("surplus", sa.String(24), nullable=False, server_default="ask"))
        merchant.create_check_constraint(op.f("ck_merchant_surplus_known"), "surplus IN ('ask', 'refund')")
    op.add_column("operation", sa.Column("payment_id", sa.String(64), nullable=False, server_default=""))
    op.add_column("operation", sa.Column("reason", sa.String(), nullable=False, server_default=""))
    op.add_column("operation", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("operation", "sent_at")
    op.drop_column("operation", "reason")
    op.drop_column("operation", "payment_id")
    with op.batch_alter_table("merchant") as merchant:
        merchant.drop_constraint(op.f("ck_merchant_surplus_known"), type_="check")
        merchant.drop_column("surplus")
