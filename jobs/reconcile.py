"""Find out what became of charges in doubt, and settle what is still owed to customers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from billing.payments import AttemptState
from billing.services.charging import charge_ready
from billing.services.context import Context, Moment
from billing.services.hearing import settle_waiting
from billing.services.operating import run_operations
from billing.services.reconciling import ask_about_doubts, doubts_left
from billing.services.recovering import try_unsent_again
from billing.services.refunding import give_back_surplus
from jobs.abreast import SENDING_S, abreast
from jobs.billing_run import merchants_on


@dataclass(slots=True)
class ReconcileReport:
    """What was found out: attempts by their state now, operations by kind and state, and what is left in doubt."""

    notifications: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    in_doubt: int = 0
    next_ask_in_s: float | None = None


async def reconcile(ctx: Context, wait_s: float = 0, *, send: bool = False) -> ReconcileReport:
    """Ask about everything whose question is due; keep on while doubts are left and `wait_s` is not over.

    With `send`, what turns out never to have left is charged at once instead of by the next run or dunning.
    """
    report = ReconcileReport()
    until = monotonic() + wait_s
    while True:
        await _once(ctx, report, send=send)
        report.in_doubt, report.next_ask_in_s = await doubts_left(ctx)
        left_s = until - monotonic()
        if ctx.leaving or not report.in_doubt or report.next_ask_in_s is None or report.next_ask_in_s > left_s:
            return report
        await ctx.leaving.wait(max(0.2, report.next_ask_in_s))


async def _once(ctx: Context, report: ReconcileReport, *, send: bool) -> None:
    report.notifications += await settle_waiting(ctx)
    found = await ask_about_doubts(ctx)
    report.attempts.update(found)
    if send and found[AttemptState.NOT_SENT]:
        await _send_what_never_left(ctx, report)
    await give_back_surplus(ctx)
    report.operations += await run_operations(ctx)


async def _send_what_never_left(ctx: Context, report: ReconcileReport) -> None:
    """Charge at once what a night had claimed and never sent: the gateway has just said that it knows nothing."""

    async def send(merchant_id: int, moment: Moment) -> None:
        if await try_unsent_again(ctx, merchant_id, moment, None):
            await charge_ready(ctx, merchant_id, report.attempts.update, at_most_s=SENDING_S)

    await abreast(partial(send, merchant["id"], moment) for merchant, moment in await merchants_on(ctx, None, None))
