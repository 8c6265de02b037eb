"""Rows by the page: written and changed by the fastest way that each database has.

SQLAlchemy prepares every value of every row by itself, which for a page of a night costs more than the database's own
work. Here a column is looked at once: PostgreSQL is sent a page with COPY or as arrays, SQLite as plain tuples.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Integer,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine

Rows = Sequence[dict[str, Any]]
Value = Callable[[Any], Any]


async def next_ids(session: AsyncSession, of: Table, count: int) -> list[int]:
    """Return ids that no row of the table has, for rows that this transaction will insert."""
    if session.get_bind().dialect.name == "sqlite":
        last: int = (await session.execute(select(func.coalesce(func.max(of.c.id), 0)))).scalar_one()
        return list(range(last + 1, last + 1 + count))
    sequence = text("SELECT nextval(pg_get_serial_sequence(:of, 'id')) FROM generate_series(1, :count)")
    return list((await session.execute(sequence, {"of": of.name, "count": count})).scalars())


async def insert_many(session: AsyncSession, into: Table, rows: Rows) -> None:
    """Insert the rows, which all have the same columns; raises what a plain insert of them would."""
    if not rows:
        return
    connection = await session.connection()
    names = tuple(rows[0])
    tuples = _tuples(connection.dialect, into, names, rows)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(names))
        await connection.exec_driver_sql(f"INSERT INTO {into.name} ({', '.join(names)}) VALUES ({marks})", tuples)  # noqa: S608 - our names
    else:
        await _copy(connection, f"COPY {into.name} ({', '.join(names)}) FROM STDIN", tuples)


async def update_many(session: AsyncSession, of: Table, rows: Rows, extra: str = "") -> None:
    """Change the row that each `id` names to the other values, which are of the same columns in all.

    `extra` is more that is set in every row, in SQL.
    """
    if not rows:
        return
    connection = await session.connection()
    names = tuple(rows[0])
    changed = [name for name in names if name != "id"]
    if connection.dialect.name == "sqlite":
        names = (*changed, "id")
        values = ", ".join(f"{name} = ?" for name in changed) + extra
        statement = f"UPDATE {of.name} SET {values} WHERE id = ?"  # noqa: S608 - our names
        await connection.exec_driver_sql(statement, _tuples(connection.dialect, of, names, rows))
        return
    values = ", ".join(f"{name} = v.{name}" for name in changed) + extra
    statement = (
        f"UPDATE {of.name} SET {values} FROM {_unnested(connection.dialect, of, names)} WHERE {of.name}.id = v.id"  # noqa: S608
    )
    columns = [list(column) for column in zip(*_tuples(connection.dialect, of, names, rows), strict=True)]
    await connection.exec_driver_sql(statement, tuple(columns))


class _Among(TypeDecorator[Any]):
    """A list as one value: an array, or JSON where there are no arrays."""

    impl = Text()
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else self._array())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return json.dumps(value) if dialect.name == "sqlite" else value

    def _array(self) -> ARRAY[Any]:
        return ARRAY(Text())


class _AmongIds(_Among):
    cache_ok = True

    def _array(self) -> ARRAY[Any]:
        return ARRAY(BigInteger())


class among(ColumnElement[bool]):  # noqa: N801
    """Say that a column holds one of many values: one parameter and one statement, however many they are."""

    type = Boolean()
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy declares it
        ("column", InternalTraversal.dp_clauseelement),
        ("values", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[Any], values: Iterable[Any]) -> None:
        kind = _AmongIds() if isinstance(column.type, BigInteger | Integer) else _Among()
        self.column = column
        self.values = bindparam("among", list(values), type_=kind, unique=True)


@compiles(among, "postgresql")
def _postgresql_among(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)} = ANY({compiler.process(element.values, **kw)})"


@compiles(among, "sqlite")
def _sqlite_among(element: among, compiler: SQLCompiler, **kw: Any) -> str:
    values = compiler.process(element.values, **kw)
    return f"{compiler.process(element.column, **kw)} IN (SELECT value FROM json_each({values}))"  # noqa: S608


def _tuples(dialect: Dialect, of: Table, names: tuple[str, ...], rows: Rows) -> list[tuple[Any, ...]]:
    """Return the rows' values in the order of the names, as the driver wants them."""
    pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    tuples = [pick(row) for row in rows]
    prepared = _prepared(dialect, of, names)
    if not any(prepared):
        return tuples
    columns = list(zip(*tuples, strict=True))
    return list(zip(*map(_column, prepared, columns), strict=True))


def _column(prepare: Value | None, values: Sequence[Any]) -> Iterable[Any]:
    """Prepare a column's values, each different one once."""
    if prepare is None:
        return values
    made = {value: prepare(value) for value in set(values)}
    return map(made.__getitem__, values)


@cache
def _prepared(dialect: Dialect, of: Table, names: tuple[str, ...]) -> list[Value | None]:
    return [of.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]


@cache
def _unnested(dialect: Dialect, of: Table, names: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%s::{of.c[name].type.compile(dialect)}[]" for name in names)
    return f"unnest({arrays}) AS v({', '.join(names)})"


async def _copy(connection: AsyncConnection, statement: str, tuples: list[tuple[Any, ...]]) -> None:
    """Send the rows with COPY, and let whoever listens to statements hear of it."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    synchronous: Any = connection.sync_connection
    async with driver.cursor() as cursor:
        synchronous.dispatch.before_cursor_execute(synchronous, cursor, statement, tuples, None, True)
        try:
            async with cursor.copy(statement) as copy:
                for row in tuples:
                    await copy.write_row(row)
        except psycopg.Error as error:
            raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=connection.dialect) from error
