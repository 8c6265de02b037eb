"""What a simulator has booked stays on disk: one SQLite file per gateway, written before the answer leaves.

SQLite rather than a journal replayed at start: memory stays flat however many
bookings a benchmark makes, a restart costs nothing, and the questions a
provider is asked (the latest transaction of a key, what has not been cleared)
are answered by an index. The file is in WAL mode without fsync: a commit is in
the kernel's hands when it returns, so it survives SIGKILL of this process,
which is what is promised; it is not meant to survive a power cut. The file is
locked for as long as the simulator lives, so two cannot share a folder.

The rows of ``GET /_sandbox/ledger``
------------------------------------
One row for each booking of money or reservation, and one for each declined try.
A row is never removed; its ``state`` says how things stand now.

================ ========================================== ==================
kind             means                                      states
================ ========================================== ==================
authorisation    money reserved, not taken                  reserved, captured, reversed, declined
sale             reserved and taken in one step             booked, pending, declined, reversed (undone)
capture          a reservation taken, whole or in part      booked, pending, declined, reversed (undone)
reversal         a reservation given up; no money moved     reversed, pending, declined
refund           money given back                           booked, pending, declined, reversed (it came back)
payout           money paid to the customer                 booked, pending, declined
chargeback       money fetched back by the customer's bank  booked
================ ========================================== ==================

``booked`` is the only state in which money moved. For any reference: taken is
the sum of booked sales and captures; given back is the sum of booked refunds,
payouts and chargebacks. ``pending`` was accepted and not yet settled,
``reserved`` is a reservation still open.
"""

import contextlib
import dataclasses
import json
import sqlite3
import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

# Raised by one whenever a table changes shape; a folder of another version is refused, not guessed at.
SCHEMA_VERSION = 1


class DataclassRow(Protocol):
    """A row is any dataclass whose fields are whole numbers, floats, texts and truths; its first field is the key."""

    __dataclass_fields__: typing.ClassVar[dict[str, Any]]


Row = TypeVar("Row", bound=DataclassRow)
COLUMN_TYPES: dict[object, str] = {int: "INTEGER", float: "REAL", str: "TEXT", bool: "INTEGER"}


class UnusableStateError(Exception):
    """The state folder cannot be used; the message is one sentence for a person."""


def utc_text(moment: datetime | None = None) -> str:
    """Write an instant, by default the present one, as UTC with milliseconds and a Z."""
    return (moment or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclasses.dataclass(slots=True)
class Booking:
    """One row of the ledger, in the words of the table above."""

    id: int
    gateway: str
    reference: str
    gateway_id: str
    kind: str
    amount_minor: int
    currency: str
    state: str
    profile: str
    at: str

    def shown(self) -> dict[str, object]:
        """Give the row as auditors see it, without our own number for it."""
        return {name: getattr(self, name) for name in BOOKING_SHOWN}


BOOKING_SHOWN = [field.name for field in dataclasses.fields(Booking) if field.name != "id"]


class Table(Generic[Row]):
    """Rows of one dataclass are kept in one table named after it, with an ending that no word of SQL has."""

    def __init__(self, database: sqlite3.Connection, row_type: type[Row], *indexed: str) -> None:
        self._database = database
        self._row_type = row_type
        self.name = f"{row_type.__name__.lower()}_row"
        hints = typing.get_type_hints(row_type)
        self._columns = [field.name for field in dataclasses.fields(row_type)]
        self._truths = [index for index, name in enumerate(self._columns) if hints[name] is bool]
        self._key = self._columns[0]
        self._numbered = hints[self._key] is int
        self._prepare_statements()
        self._create(hints, indexed)

    def _prepare_statements(self) -> None:
        # The names come from our own dataclasses, never from a request.
        names, marks = ", ".join(self._columns), ", ".join("?" * len(self._columns))
        sets = ", ".join(f"{name} = ?" for name in self._columns[1:])
        self._insert = " ".join(["INSERT INTO", self.name, "(", names, ") VALUES (", marks, ")"])
        self._update = " ".join(["UPDATE", self.name, "SET", sets, "WHERE", self._key, "= ?"])
        self._select = " ".join(["SELECT", names, "FROM", self.name, ""])
        self._delete = " ".join(["DELETE FROM", self.name, ""])
        self._count = " ".join(["SELECT count(*) FROM", self.name, ""])

    def _create(self, hints: dict[str, Any], indexed: tuple[str, ...]) -> None:
        key = f"{self._key} " + ("INTEGER PRIMARY KEY AUTOINCREMENT" if self._numbered else "TEXT PRIMARY KEY")
        others = [f"{name} {COLUMN_TYPES[hints[name]]} NOT NULL" for name in self._columns[1:]]
        self._database.execute(f"CREATE TABLE IF NOT EXISTS {self.name} ({', '.join([key, *others])})")
        for number, expression in enumerate(indexed):
            self._database.execute(
                f"CREATE INDEX IF NOT EXISTS {self.name}_index_{number} ON {self.name} ({expression})"
            )

    def _values(self, row: Row) -> list[Any]:
        return [getattr(row, name) for name in self._columns]

    def _row(self, values: tuple[Any, ...]) -> Row:
        if not self._truths:
            return self._row_type(*values)
        kept = list(values)
        for index in self._truths:
            kept[index] = bool(kept[index])
        return self._row_type(*kept)

    def start_numbers_at(self, first: int) -> None:
        """Make the first row ever added carry this number; numbers already given out stay given out."""
        found = self._database.execute("SELECT 1 FROM sqlite_sequence WHERE name = ?", [self.name]).fetchone()
        if found is None:
            self._database.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", [self.name, first - 1])

    def add(self, row: Row) -> int:
        """Keep a new row; a numbered one with the key 0 is given the next number, never one used before."""
        values = self._values(row)
        if self._numbered and not values[0]:
            values[0] = None
        number = self._database.execute(self._insert, values).lastrowid
        if self._numbered and number:
            setattr(row, self._key, number)
        return number or 0

    def add_all(self, rows: list[Row]) -> None:
        """Keep many new rows at once."""
        numbered = self._numbered
        every = (
            [None if numbered and index == 0 else value for index, value in enumerate(self._values(r))] for r in rows
        )
        self._database.executemany(self._insert, every)

    def save(self, row: Row) -> None:
        """Keep what has changed in a row that was added before."""
        values = self._values(row)
        self._database.execute(self._update, [*values[1:], values[0]])

    def all(self, clause: str = "", *values: object) -> list[Row]:
        """Return the rows that fit a WHERE, ORDER or LIMIT clause."""
        return [self._row(found) for found in self._database.execute(self._select + clause, values)]

    def first(self, clause: str, *values: object) -> Row | None:
        """Return the first row that fits a clause, if any does."""
        found = self._database.execute(self._select + clause + " LIMIT 1", values).fetchone()
        return self._row(found) if found else None

    def get(self, key: int | str) -> Row | None:
        """Return the row with this key; a number no table could hold has none."""
        if isinstance(key, int) and not 0 <= key < 2**63:
            return None
        return self.first(f"WHERE {self._key} = ?", key)

    def count(self, clause: str = "", *values: object) -> int:
        """Count the rows that fit a WHERE clause."""
        return int(self._database.execute(self._count + clause, values).fetchone()[0])

    def remove(self, clause: str = "", *values: object) -> int:
        """Remove the rows that fit a WHERE clause and say how many there were."""
        return self._database.execute(self._delete + clause, values).rowcount


@dataclasses.dataclass(slots=True)
class Note:
    """Something small that a simulator remembers under a name."""

    name: str
    body: str


class Ledger:
    """Everything one simulator has booked, and whatever else it must remember."""

    def __init__(self, folder: Path, gateway: str) -> None:
        self.gateway = gateway
        try:
            self._database = open_database(folder / f"{gateway}.db")
        except sqlite3.Error as problem:
            raise UnusableStateError(f"the state of {gateway} in {folder} cannot be used: {problem}") from problem
        self._tables: list[Table[Any]] = []
        self.bookings = self.table(Booking, "gateway_id")
        self._notes = self.table(Note)

    def table(self, row_type: type[Row], *indexed: str) -> Table[Row]:
        """Open the table of a dataclass, with an index for each expression named."""
        table = Table(self._database, row_type, *indexed)
        self._tables.append(table)
        return table

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Keep everything done inside, or nothing of it; on leaving, it is on disk."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def book(
        self, reference: str, gateway_id: str, kind: str, amount: int, currency: str, state: str, who: str
    ) -> None:
        """Write one row of the ledger."""
        at = utc_text()
        self.bookings.add(Booking(0, self.gateway, reference, gateway_id, kind, amount, currency, state, who, at))

    def restate(
        self, gateway_id: str, kind: str, old: str, new: str, *, as_kind: str = "", amount: int | None = None
    ) -> None:
        """Say how things stand now with the rows of this kind that were in the old state."""
        for row in self.bookings.all("WHERE gateway_id = ? AND kind = ? AND state = ?", gateway_id, kind, old):
            row.state, row.kind = new, as_kind or kind
            row.amount_minor = row.amount_minor if amount is None else amount
            self.bookings.save(row)

    def pages(self, size: int = 2000) -> Iterator[list[Booking]]:
        """Walk through all rows, oldest first, a page at a time, so that a long ledger needs little memory."""
        last = 0
        while page := self.bookings.all("WHERE id > ? ORDER BY id LIMIT ?", last, size):
            yield page
            last = page[-1].id

    def note(self, name: str) -> Any:
        """Return what was remembered under a name, or None."""
        found = self._notes.get(name)
        return json.loads(found.body) if found else None

    def remember(self, name: str, value: object) -> None:
        """Remember a value under a name."""
        self._notes.remove("WHERE name = ?", name)
        self._notes.add(Note(name, json.dumps(value)))

    def empty(self, *kept_notes: str) -> None:
        """Forget everything but the notes named; numbers given out are not given out again."""
        kept = [(name, self.note(name)) for name in kept_notes]
        for table in self._tables:
            table.remove()
        for name, value in kept:
            self.remember(name, value)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def open_database(path: Path) -> sqlite3.Connection:
    """Open a simulator's file, alone, and refuse one of another version."""
    database = sqlite3.connect(path, isolation_level=None, timeout=2.0, cached_statements=256)
    for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = OFF", "cache_size = -32000"):
        database.execute(f"PRAGMA {pragma}")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, SCHEMA_VERSION}:
        raise sqlite3.DatabaseError(f"it was written by another version ({version})")
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return database
