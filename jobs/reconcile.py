"""Find out what became of charges in doubt, and settle what is still owed to customers."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

from billing.services.context import Context
from billing.services.hearing import settle_waiting
from billing.services.operating import run_operations
from billing.services.reconciling import ask_about_doubts, doubts_left


@dataclass(slots=True)
class ReconcileReport:
    """What was found out: attempts by their state now, operations by kind and state, and what is left in doubt."""

    notifications: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    in_doubt: int = 0
    next_ask_in_s: float | None = None


async def reconcile(ctx: Context, wait_s: float = 0) -> ReconcileReport:
    """Ask about everything whose question is due; keep on while doubts are left and `wait_s` is not over."""
    report = ReconcileReport()
    until = monotonic() + wait_s
    while True:
        await _once(ctx, report)
        report.in_doubt, report.next_ask_in_s = await doubts_left(ctx)
        left_s = until - monotonic()
        if not report.in_doubt or report.next_ask_in_s is None or report.next_ask_in_s > left_s:
            return report
        await asyncio.sleep(max(0.2, report.next_ask_in_s))


async def _once(ctx: Context, report: ReconcileReport) -> None:
    report.notifications += await settle_waiting(ctx)
    report.attempts.update(await ask_about_doubts(ctx))
    report.operations += await run_operations(ctx)
