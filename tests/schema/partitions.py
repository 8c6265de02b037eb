"""The models' tables divided by merchant, as a distributed PostgreSQL would have them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint, text

from billing.models import metadata

BY: Final = "merchant_id"
PARTS: Final = 4
DIVIDED: Final = frozenset(name for name, each in metadata.tables.items() if BY in each.c)


def keys_without_merchant() -> dict[str, set[tuple[str, ...]]]:
    """Return, of each table, what it holds unique without the merchant: a divided table cannot promise that."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for name, each in metadata.tables.items():
        keys = {tuple(column.name for column in key.columns) for key in _unique(each)}
        found[name] = {key for key in keys if BY not in key}
    return {name: keys for name, keys in found.items() if keys}


def _unique(of: Table) -> list[PrimaryKeyConstraint | UniqueConstraint | Index]:
    held = [each for each in of.constraints if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)]
    return [*held, *(each for each in of.indexes if each.unique)]


def create_divided(connection: Connection) -> None:
    """Create every table, those that name a merchant in parts by its hash."""
    divided = MetaData(naming_convention=metadata.naming_convention)
    for each in metadata.sorted_tables:
        _copy(each, divided)
    for each in divided.sorted_tables:
        each.create(connection)
        for part in range(PARTS if each.name in DIVIDED else 0):
            of = f"PARTITION OF {each.name} FOR VALUES WITH (MODULUS {PARTS}, REMAINDER {part})"
            connection.execute(text(f"CREATE TABLE {each.name}_{part} {of}"))


def _copy(of: Table, into: MetaData) -> None:
    """Copy a table; a divided one has the merchant in each key, and nothing refers to one by its id alone."""
    made = of.to_metadata(into)
    for key in list(made.foreign_key_constraints):
        if key.referred_table.name in DIVIDED:
            made.constraints.remove(key)
            for column in key.columns:
                column.foreign_keys.clear()
    if of.name in DIVIDED:
        made.dialect_options["postgresql"]["partition_by"] = f"HASH ({BY})"
        for unique in _unique(made):
            _widen(made, unique)


def _widen(of: Table, key: PrimaryKeyConstraint | UniqueConstraint | Index) -> None:
    names = [column.name for column in key.columns]
    if BY in names:
        return
    if isinstance(key, Index):
        of.indexes.remove(key)
        where = key.dialect_options["postgresql"]["where"]
        Index(key.name, *(of.c[name] for name in (*names, BY)), unique=True, postgresql_where=where)
        return
    of.constraints.remove(key)
    if isinstance(key, PrimaryKeyConstraint):
        of.c[BY].primary_key = True
    if names == ["id"]:
        of.c["id"].autoincrement = True
    # The naming convention gives it the name it had.
    of.append_constraint(type(key)(*(of.c[name] for name in (*names, BY))))
