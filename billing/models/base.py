"""What all tables share: naming, column kinds, and instants that are always aware and in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    func,
    text,
)
from sqlmodel import AutoString, Field, SQLModel

BigId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """An aware instant in UTC, on engines that know time zones and on those that do not."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a naive instant, which nobody can place."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive instant cannot be stored: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the instant aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Row(SQLModel):
    """The base of all tables."""

    metadata = metadata


def identity() -> Any:
    """Return a 64-bit primary key that the database counts up."""
    return Field(default=None, primary_key=True, sa_type=BigId)


def refers(target: str, *, nullable: bool = False, index: bool = False) -> Any:
    """Return a foreign key to `table.column`."""
    return Field(default=None, foreign_key=target, nullable=nullable, index=index, sa_type=BigId)


def minor(*, nullable: bool = False) -> Any:
    """Return an amount column in minor units."""
    return Field(default=None if nullable else 0, sa_type=BigInteger, nullable=nullable)


def instant(*, nullable: bool = True, index: bool = False) -> Any:
    """Return an instant column."""
    return Field(default=None, sa_type=Instant, nullable=nullable, index=index)


def word(default: StrEnum | str | None = None, *, nullable: bool = False) -> Any:
    """Return a column for a short word; pair it with `one_of` in the table's constraints."""
    return Field(default=default, sa_type=String(24), nullable=nullable)


def added(default: str, size: int | None = None) -> Any:
    """Return a text column that a later migration added: code of before, which does not know it, leaves the default."""
    said = {"server_default": text(f"'{default}'")}
    return Field(default=default, sa_type=AutoString(size), nullable=False, sa_column_kwargs=said)


def one_of(column: str, words: Iterable[str]) -> CheckConstraint:
    """Return the constraint that lets a column hold only the words."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(w)) for w in words)})", name=f"{column}_known")


def rule(name: str, sql: str) -> CheckConstraint:
    """Return a named constraint."""
    return CheckConstraint(sql, name=name)


def begins(of: Table, column: str) -> Index:
    """Add the index that finds a merchant's rows by how a text begins, whatever its capitals."""
    small = func.lower(of.c[column]).label("small")
    return Index(f"ix_{of.name}_{column}_begins", of.c.merchant_id, small, postgresql_ops={"small": "text_pattern_ops"})


def table(model: type[SQLModel]) -> Table:
    """Return the table behind a model, for statements over whole pages."""
    found: Table = model.__table__  # type: ignore[attr-defined]
    return found


def new_row(model: type[SQLModel], **values: Any) -> dict[str, Any]:
    """Return a row for a bulk insert: the values, and the model's defaults for all other columns."""
    return _defaults(model) | values


@cache
def _defaults(model: type[SQLModel]) -> dict[str, Any]:
    fields = [(name, each) for name, each in model.model_fields.items() if name != "id" and not each.is_required()]
    return {name: each.get_default(call_default_factory=True, validated_data={}) for name, each in fields}
