"""Take the dunning steps that are due for every merchant, and send the retries among them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from math import inf

from billing.services.charging import charge_ready
from billing.services.context import Context, Moment
from billing.services.recovering import take_steps
from jobs.abreast import abreast
from jobs.billing_run import merchants_on


@dataclass(slots=True)
class DunningReport:
    """How many steps of each kind were taken, and what became of the charges that were sent."""

    steps: Counter[str] = field(default_factory=Counter)
    settled: Counter[str] = field(default_factory=Counter)


async def dun_all(
    ctx: Context, on: date | None = None, merchant: str | None = None, *, at_most_s: float = inf
) -> DunningReport:
    """Take every step due on the day; raises `RunRefusedError` for a future day of a live merchant.

    Whoever comes again sends for `at_most_s` for each merchant, and leaves the rest for then.
    """
    report = DunningReport()
    days = await merchants_on(ctx, on, merchant)
    await abreast(partial(_dun, ctx, report, at_most_s, row["id"], moment) for row, moment in days)
    return report


async def _dun(ctx: Context, report: DunningReport, at_most_s: float, merchant_id: int, moment: Moment) -> None:
    if not ctx.leaving:
        report.steps.update(await take_steps(ctx, merchant_id, moment))
        await charge_ready(ctx, merchant_id, report.settled.update, at_most_s=at_most_s)
