"""Let an API key have the scope `setup`, with which gateway accounts are set up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "set_up_by_api"
down_revision: str | None = "look_things_up"
branch_labels: None = None
depends_on: None = None

NAME = "ck_api_key_scopes_known"
BEFORE = "'read', 'write', 'refund', 'read write', 'read refund', 'write refund', 'read write refund'"
NOW = (
    "'read', 'write', 'refund', 'setup', 'read write', 'read refund', 'read setup', 'write refund', 'write setup', "
    "'refund setup', 'read write refund', 'read write setup', 'read refund setup', 'write refund setup', "
    "'read write refund setup'"
)


def upgrade() -> None:
    """Know the scope."""
    _know(NOW)


def downgrade() -> None:
    """Know it no more: keys lose it, and those that have no other are revoked."""
    op.execute("UPDATE api_key SET scopes = 'read', revoked_at = CURRENT_TIMESTAMP WHERE scopes = 'setup'")
    op.execute("UPDATE api_key SET scopes = REPLACE(scopes, ' setup', '')")
    _know(BEFORE)


def _know(scopes: str) -> None:
    with op.batch_alter_table("api_key") as api_key:
        api_key.drop_constraint(op.f(NAME), type_="check")
        api_key.create_check_constraint(op.f(NAME), sa.text(f"scopes IN ({scopes})"))
