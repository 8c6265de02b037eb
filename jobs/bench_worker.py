"""A process that does one thing of a night and measures itself: `python -m jobs.bench_worker`, started by benchmarks.

It says when it is ready, reads one order as a line of JSON, does it, and answers with a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from time import monotonic, process_time
from typing import Any, Final

from sqlalchemy import update

from billing.mail import Envelope, MailAccountError, Rendered
from billing.models import Run, table
from billing.services.charging import charge_ready
from billing.services.context import Context
from billing.services.outbox import Postman
from billing.store import after_s
from jobs.bench_meters import counting, peak_mib
from jobs.bench_world import settings_for
from jobs.billing_run import issue_due, merchants_on, open_scope, run_all
from jobs.deliver import deliver_all
from jobs.doctor import examine
from jobs.logbook import open_logbook
from jobs.memory import little_collecting
from jobs.settings import Settings
from jobs.wiring import open_context, open_mailer


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done, and with what."""

    what: str
    settings: Mapping[str, Any]
    mails_max: int = 0


@dataclass(slots=True)
class Done:
    """How it went, by the process's own measure."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    statements: int = 0
    counts: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Round:
    """A postman who goes home after so many mails."""

    postman: Postman
    left: int

    @property
    def at_once(self) -> int:
        """As many as the other postman carries."""
        return self.postman.at_once

    async def send(self, mail: Rendered, envelope: Envelope) -> str:
        """Send one mail, or leave it for another round."""
        if not self.left:
            raise MailAccountError("enough for a measurement")
        self.left -= 1
        return await self.postman.send(mail, envelope)


async def work(order: Order) -> Done:
    """Do what was ordered and return how it went."""
    settings = settings_for(**order.settings)
    async with open_context(settings) as ctx:
        do = await _WORK[order.what](ctx, settings, order)
        begun, cpu = monotonic(), process_time()
        with counting(ctx.store) as statements, little_collecting():
            counts = await do()
        return Done(monotonic() - begun, process_time() - cpu, peak_mib(), statements[0], dict(counts))


Counts = Mapping[str, float]
Do = Callable[[], Awaitable[Counts]]


async def _issue(ctx: Context, _: Settings, __: Order) -> Do:
    [(merchant, moment)] = await merchants_on(ctx, None, None)
    scope = await open_scope(ctx, merchant, moment)
    pages: list[tuple[float, int]] = [(monotonic(), 0)]

    async def do() -> Counts:
        await issue_due(ctx, scope, lambda count: pages.append((monotonic(), count)))
        return {
            "invoices": sum(count for _, count in pages),
            "first_fifth": _pace(pages, 0),
            "last_fifth": _pace(pages, 4),
        }

    return do


def _pace(pages: list[tuple[float, int]], fifth: int) -> float:
    """Return how many a second there were in one fifth of the pages."""
    size = (len(pages) - 1) // 5
    if not size:
        return 0.0
    part = pages[fifth * size : (fifth + 1) * size + 1]
    return sum(count for _, count in part[1:]) / (part[-1][0] - part[0][0])


async def _charge(ctx: Context, _: Settings, __: Order) -> Do:
    """Charge what was issued; the first slice of the run counts as passed."""
    [(merchant, _moment)] = await merchants_on(ctx, None, None)
    async with ctx.store.write() as session:
        await session.execute(update(table(Run)).values(slice_passed_at=after_s()))
    states: Counter[str] = Counter()

    async def do() -> Counts:
        await charge_ready(ctx, merchant["id"], lambda heard: states.update({str(s): n for s, n in heard.items()}))
        return states

    return do


async def _night(ctx: Context, _: Settings, __: Order) -> Do:
    async def do() -> Counts:
        report = (await run_all(ctx))[-1]
        return {name: getattr(report, name) for name in ("invoiced", "charged", "declined", "unknown", "skipped")}

    return do


async def _deliver(ctx: Context, settings: Settings, order: Order) -> Do:
    async def do() -> Counts:
        async with open_mailer(settings) as mailer:
            return await deliver_all(ctx, _Round(mailer, order.mails_max))

    return do


async def _doctor(ctx: Context, _: Settings, __: Order) -> Do:
    times: dict[str, float] = {}

    async def do() -> Counts:
        breaches = await examine(ctx, lambda check, seconds: times.update({f"{check.promise}: {check.name}": seconds}))
        return times | {"breaches": len(breaches)}

    return do


_WORK: Final[Mapping[str, Callable[[Context, Settings, Order], Awaitable[Do]]]] = {
    "issue": _issue,
    "charge": _charge,
    "night": _night,
    "deliver": _deliver,
    "doctor": _doctor,
}


# --- seen from the outside --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that waits for its order."""

    process: asyncio.subprocess.Process

    async def do(self, what: str, settings: Mapping[str, Any], **more: Any) -> Done:
        """Give the order and wait until it is done."""
        order = json.dumps({"what": what, "settings": dict(settings)} | more).encode()
        answer, _ = await self.process.communicate(order + b"\n")
        if self.process.returncode:
            raise RuntimeError(f"a worker ended with exit status {self.process.returncode}")
        return Done(**json.loads(answer))


@asynccontextmanager
async def worker() -> AsyncIterator[Worker]:
    """Start a process that is ready for an order; it does not outlive the block."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-P", "-m", "jobs.bench_worker")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        if process.stdout is not None:
            await process.stdout.readline()
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def once(what: str, settings: Mapping[str, Any], **more: Any) -> Done:
    """Do one thing in a process of its own."""
    async with worker() as alone:
        return await alone.do(what, settings, **more)


def main() -> None:
    """Do the one order that comes in."""
    open_logbook("error")
    print("ready", flush=True)  # noqa: T201 - what the parent waits for
    order = Order(**json.loads(sys.stdin.readline()))
    print(json.dumps(asdict(asyncio.run(work(order)))))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
