from __future__ import annotations

from alembic import command

import migrations


async def test_migrations_from_empty_agree_with_the_models(database_url: str) -> None:
    async with migrations.connected(database_url) as connection:
        await connection.run_sync(lambda sync: command.check(migrations.configuration(sync)))
