"""What the command shows: tables and progress for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from jobs.bench_meters import Figure, shown
from jobs.billing_run import Progress as RunProgress
from jobs.billing_run import Report
from jobs.doctor import Breach

FIGURES_WIDE: Final = 150
_COLUMNS = ("due", "invoiced", "charged", "declined", "pending", "unknown", "skipped")


class Screen:
    """Results go to standard output, everything else to standard error."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False)

    def result(self, about: Mapping[str, Any], words: str) -> None:
        """Show a result: as one JSON object, or in words."""
        if self.as_json:
            print(json.dumps(about, default=str), flush=True)  # noqa: T201 - the result
        else:
            self.out.print(words.rstrip(), markup=False)

    def say(self, words: str) -> None:
        """Tell a person how it goes."""
        self.err.print(words, markup=False, soft_wrap=True)

    def reports(self, reports: Sequence[Report], *, dry_run: bool) -> None:
        """Show what runs did, or would do."""
        if self.as_json:
            self.result(_joined(reports) | {"dry_run": dry_run}, "")
            return
        if not reports:
            self.out.print("There is no merchant yet: describe one with `turnus setup FILE.toml`.")
            return
        rows = Table(box=None, pad_edge=False, collapse_padding=True)
        rows.add_column("merchant")
        rows.add_column("day", no_wrap=True, min_width=10)
        for name in _COLUMNS:
            rows.add_column(name, justify="right")
        for report in reports:
            numbers = (str(getattr(report, name)) for name in _COLUMNS)
            rows.add_row(report.merchant, str(report.on), *numbers)
        self.out.print(rows)

    def breaches(self, breaches: Sequence[Breach], promises: Mapping[int, str]) -> None:
        """Show which promises are broken, with ids."""
        if self.as_json:
            about = [asdict(breach) | {"title": promises[breach.promise]} for breach in breaches]
            self.result({"breaches": about, "promises": len(promises)}, "")
            return
        for breach in breaches:
            shown = ", ".join(breach.ids) + (", ..." if breach.count > len(breach.ids) else "")
            self.out.print(
                f"Promise {breach.promise} is broken {breach.count} times: {breach.name}: {shown}", markup=False
            )
        kept = len(promises) - len({breach.promise for breach in breaches})
        self.out.print(f"{kept} of {len(promises)} promises kept.")

    def figures(self, figures: Sequence[Figure]) -> None:
        """Show what was measured, each beside its baseline."""
        if self.as_json:
            self.result({"figures": [figure.as_json() for figure in figures]}, "")
        else:
            self.out.print(shown(figures), soft_wrap=False, width=max(self.out.width, FIGURES_WIDE))

    @contextmanager
    def run_progress(self) -> Iterator[RunProgress]:
        """Show bars for issuing and charging while a run goes on, on a terminal only."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal) as bars:
            issued, settled = bars.add_task("invoiced", total=None), bars.add_task("settled", total=None)

            def due(count: int) -> None:
                for task in bars.tasks:
                    bars.update(task.id, total=(task.total or 0) + count)

            yield RunProgress(
                due=due,
                issued=lambda count: bars.advance(issued, count),
                settled=lambda count: bars.advance(settled, count),
            )


def _joined(reports: Sequence[Report]) -> dict[str, Any]:
    """Add several merchants' runs up, and keep each."""
    total = {name: sum(getattr(report, name) for report in reports) for name in (*_COLUMNS, "not_sent", "refused")}
    seconds = round(sum(report.seconds for report in reports), 3)
    run_id = reports[-1].run_id if reports else None
    return {"run_id": run_id} | total | {"seconds": seconds, "runs": [asdict(report) for report in reports]}
