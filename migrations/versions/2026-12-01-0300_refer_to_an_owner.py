"""Let a posting refer to its invoice together with whose that is, by one look-up instead of three."""

from __future__ import annotations

from alembic import op

revision: str = "refer_to_an_owner"
down_revision: str | None = "set_up_by_api"
branch_labels: None = None
depends_on: None = None

OWNER = ["customer_id", "merchant_id"]


def upgrade() -> None:
    """Replace the index by customer with a wider one, and the three references with one to its columns."""
    op.create_index("uq_invoice_owner", "invoice", [*OWNER, "id"], unique=True)
    op.drop_index("ix_invoice_customer_id", "invoice")
    with op.batch_alter_table("posting") as posting:
        for column in ("merchant_id", "customer_id", "invoice_id"):
            posting.drop_constraint(op.f(f"fk_posting_{column}"), type_="foreignkey")
        name = op.f("fk_posting_customer_id_merchant_id_invoice_id")
        posting.create_foreign_key(name, "invoice", [*OWNER, "invoice_id"], [*OWNER, "id"])


def downgrade() -> None:
    """Put the three references and the index by customer back."""
    with op.batch_alter_table("posting") as posting:
        posting.drop_constraint(op.f("fk_posting_customer_id_merchant_id_invoice_id"), type_="foreignkey")
        for table in ("merchant", "customer", "invoice"):
            posting.create_foreign_key(op.f(f"fk_posting_{table}_id"), table, [f"{table}_id"], ["id"])
    op.create_index("ix_invoice_customer_id", "invoice", ["customer_id"])
    op.drop_index("uq_invoice_owner", "invoice")
