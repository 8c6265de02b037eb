"""What a database says of its own schema, as lines that can be compared."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

_POSTGRESQL = (
    "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default"
    " FROM information_schema.columns WHERE table_schema = 'public'",
)


def facts(connection: Connection) -> set[str]:
    """Return every table, column, constraint and index with its definition, but none of Alembic's own."""
    found = _postgresql(connection) if connection.dialect.name == "postgresql" else _sqlite(connection)
    return {fact for fact in found if "alembic_version" not in fact}


def _postgresql(connection: Connection) -> set[str]:
    return {" ".join(map(str, row)) for query in _POSTGRESQL for row in connection.execute(text(query))}


def _sqlite(connection: Connection) -> set[str]:
    inspector = inspect(connection)
    indexes = connection.execute(text("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))
    found = {str(row.sql) for row in indexes}
    for table in inspector.get_table_names():
        kinds = (
            inspector.get_columns(table),
            inspector.get_check_constraints(table),
            inspector.get_unique_constraints(table),
            inspector.get_foreign_keys(table),
            [inspector.get_pk_constraint(table)],
        )
        found |= {f"{table} {item}" for items in kinds for item in items}
    return found
