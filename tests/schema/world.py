"""One valid row of every table, and more like them on demand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import Column, Connection, String, Table, TypeDecorator

from billing.models import metadata

Values = dict[str, Any]

_NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
_TODAY = date(2026, 11, 21)

# What cannot be made up from a column's type alone: words of a list, and columns that must agree.
_SPECIAL: Mapping[str, Values] = {
    "merchant": {"catch_up": "each", "surplus": "ask", "live": False},
    "gateway_account": {"state": "open"},
    "profile": {"state": "active"},
    "price": {"interval_unit": "month", "tax_rate_bp": 2000},
    "subscription": {"state": "active", "collection": "charge", "next_due_on": _TODAY},
    "run": {"state": "running"},
    "invoice": {"state": "open", "paid_at": None, "next_step": None, "next_step_on": None},
    "invoice_line": {"net_minor": 100, "tax_minor": 20, "total_minor": 120},
    "attempt": {"state": "created", "initiator": "merchant", "channel": "night", "decline_class": None},
    "allocation": {"verification_id": None},
    "charge_right": {"owed_kind": "invoice"},
    "operation": {"state": "sent", "kind": "reversal"},
    "pay_link": {"verification_id": None},
    "verification": {"state": "open"},
    "posting": {"account": "receivable"},
    "notification": {"state": "received", "archived_at": None},
    "message": {"state": "queued"},
    "task": {"state": "open"},
    "console_user": {"password_hash": "$argon2id$", "totp_step": 1},
    "membership": {"role": "viewer"},
    "console_session": {"expires_at": _NOW + timedelta(hours=1)},
    "audit_entry": {"actor_kind": "user"},
    "webhook_endpoint": {"state": "enabled"},
    "webhook_delivery": {"state": "queued", "delivered_at": None},
    "api_key": {"scopes": "read", "secret_digest": "0" * 64},
}

# What only one of several rows may be.
_SECOND: Mapping[str, Values] = {"run": {"state": "finished"}}


class World:
    """A database with one valid row in every table."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.numbers: Iterator[int] = count(1)
        self.rows: dict[str, Values] = {}
        for table in metadata.sorted_tables:
            self.rows[table.name] = self.another(table)
            self.add(table, self.rows[table.name])

    def another(self, table: Table, **changed: Any) -> Values:
        """Return a row that shares nothing with any other, save what it refers to."""
        number = next(self.numbers)
        made = {column.name: self._made_up(column, number) for column in table.columns}
        return made | _SPECIAL.get(table.name, {}) | changed

    def add(self, table: Table, row: Values) -> None:
        """Insert a row."""
        self.connection.execute(table.insert().values(row))

    def _made_up(self, column: Column[Any], number: int) -> Any:
        for key in column.foreign_keys:
            if not column.primary_key:
                return self.rows[key.column.table.name][key.column.name]
            return self._of_a_new_row(key.column.table) if key.column.table.name in self.rows else None
        kind = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
        if column.name.endswith("_digest"):
            return f"{number:064}"
        if isinstance(kind, String):
            return f"{number:02}"[: kind.length]
        return {int: number, bool: True, date: _TODAY, datetime: _NOW, object: {}, bytes: b"x"}[kind.python_type]

    def _of_a_new_row(self, table: Table) -> int:
        """A primary key that is also a reference needs a row of its own to refer to."""
        row = self.another(table, **_SECOND.get(table.name, {}))
        self.add(table, row)
        return int(row["id"])
