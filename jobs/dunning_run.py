"""Take the dunning steps that are due for every merchant, and send the retries among them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date

from billing.services.charging import charge_ready
from billing.services.context import Context
from billing.services.recovering import take_steps
from jobs.billing_run import merchants_on


@dataclass(slots=True)
class DunningReport:
    """How many steps of each kind were taken, and what became of the charges that were sent."""

    steps: Counter[str] = field(default_factory=Counter)
    settled: Counter[str] = field(default_factory=Counter)


async def dun_all(ctx: Context, on: date | None = None, merchant: str | None = None) -> DunningReport:
    """Take every step due on the day; raises `RunRefusedError` for a future day of a live merchant."""
    report = DunningReport()
    for row, moment in await merchants_on(ctx, on, merchant):
        if ctx.leaving:
            break
        report.steps += await take_steps(ctx, row["id"], moment)
        await charge_ready(ctx, row["id"], report.settled.update)
    return report
