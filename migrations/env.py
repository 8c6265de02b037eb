"""What Alembic runs, from the command line of the source tree and from `migrations.upgrade`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Literal

from alembic import context
from sqlalchemy import Connection, String
from sqlmodel.sql.sqltypes import AutoString

from billing.models import metadata
from billing.models.base import Instant
from migrations import connected

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ARG001
    """Write columns in SQLAlchemy's own types, so that a migration needs nothing of ours to run."""
    if kind == "type" and isinstance(item, Instant):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and type(item) in (AutoString, String):
        return f"sa.String({item.length or ''})"
    return False


def migrate(connection: Connection) -> None:
    """Run what Alembic was asked for within the connection's transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        render_item=render,
        compare_type=True,
        compare_server_default=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_from_command_line() -> None:
    """Open the database that the environment names, and migrate."""
    async with connected(os.environ["TURNUS_DATABASE_URL"]) as connection:
        await connection.run_sync(migrate)


given: Connection | None = context.config.attributes.get("connection")
if given is None:
    asyncio.run(migrate_from_command_line())
else:
    migrate(given)
