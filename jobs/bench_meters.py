"""What a benchmark is measured with: statements, processor time and memory of processes, and figures to show."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from sqlalchemy import event, text

from billing.store import Store

_PROC: Final = Path("/proc")
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement beside its baseline from the same run; `target` is what their ratio, or the value, should be.

    A limit is reached from below where `at_most`, else from above. `more` is told with it; a detail is for programs.
    """

    part: str
    name: str
    value: float
    unit: str
    baseline: float | None = None
    beside: str = ""
    target: float | None = None
    of_ratio: bool = False
    at_most: bool = False
    more: Mapping[str, float | str] = field(default_factory=dict)
    is_detail: bool = False

    @property
    def ratio(self) -> float | None:
        """The value in parts of the baseline."""
        return self.value / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; nothing where there is none."""
        judged = self.ratio if self.of_ratio else self.value
        if self.target is None or judged is None:
            return None
        return judged <= self.target if self.at_most else judged >= self.target

    def as_json(self) -> dict[str, Any]:
        """Return everything about it."""
        return asdict(self) | {"ratio": self.ratio, "met": self.met}


def shown(figures: Iterable[Figure]) -> Table:
    """Return the figures as a table."""
    rows = Table(box=None, pad_edge=False, collapse_padding=True)
    for name, justify in _COLUMNS.items():
        rows.add_column(name, justify="right" if justify else "left", overflow="fold")
    for each in (figure for figure in figures if not figure.is_detail):
        rows.add_row(*_cells(each))
    return rows


_COLUMNS: Final = {"part": 0, "what": 0, "measured": 1, "beside": 0, "ratio": 1, "target": 1, "": 0, "also": 0}


def _cells(figure: Figure) -> tuple[str, ...]:
    beside = "" if figure.baseline is None else f"{figure.beside} {_number(figure.baseline)}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    sign = "at most " if figure.at_most else ""
    target = "" if figure.target is None else f"{sign}{_number(figure.target)}{'x' if figure.of_ratio else ''}"
    verdict = {True: "yes", False: "NO", None: ""}[figure.met]
    more = ", ".join(
        f"{name} {value if isinstance(value, str) else _number(value)}" for name, value in figure.more.items()
    )
    return figure.part, figure.name, f"{_number(figure.value)} {figure.unit}", beside, ratio, target, verdict, more


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


@contextmanager
def counting(store: Store) -> Iterator[list[int]]:
    """Count the statements that are sent to the database, in a list of one; one for many rows is one."""
    count = [0]

    def note(*_: Any) -> None:
        count[0] += 1

    event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield count
    finally:
        event.remove(store.engine.sync_engine, "before_cursor_execute", note)


def peak_mib() -> float:
    """Return the most memory this process ever had."""
    for line in _lines(_PROC / "self" / "status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_s(process_id: int) -> float:
    """Return the processor time of a process of this machine and of the children it has waited for; 0 if unknown."""
    times = _stat(process_id)[11:15]
    return sum(map(int, times)) / _TICKS_A_SECOND


def family_cpu_s(parent_id: int | None) -> float:
    """Return the processor time of a process and of all its children, living or not; 0 if unknown."""
    if parent_id is None:
        return 0.0
    return cpu_s(parent_id) + sum(cpu_s(child) for child in _children(parent_id))


async def postmaster_of(store: Store) -> int | None:
    """Return the process of the PostgreSQL server, where it runs on this machine and can be seen."""
    if store.is_sqlite:
        return None
    async with store.read() as session:
        backend: int = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        named: str = (await session.execute(text("SELECT current_setting('server_version')"))).scalar_one()
    stat = _stat(backend)
    return int(stat[1]) if stat and named else None


def _children(parent_id: int) -> list[int]:
    found = (int(each.name) for each in _PROC.glob("[0-9]*"))
    return [child for child in found if (stat := _stat(child)) and int(stat[1]) == parent_id]


def _stat(process_id: int) -> list[str]:
    """Return what the kernel tells of a process after its name, or nothing."""
    lines = _lines(_PROC / str(process_id) / "stat")
    return lines[0].rpartition(")")[2].split() if lines else []


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
