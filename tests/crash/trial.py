"""A merchant at four gateways whose processes are killed and stopped: customers, days, and what happens to whom."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from multiprocessing.connection import Connection, Listener, wait
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import httpx
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import func, select, update

from billing.models import (
    Attempt,
    Message,
    MessageState,
    Notification,
    NotificationState,
    Operation,
    TestClock,
    table,
)
from billing.payments import OPEN, AttemptState
from billing.services.context import Context
from billing.services.founding import AccountFacts, found, give_clock
from billing.services.subscribing import Subscriber, enrol
from billing.services.verifying import offer_renewal
from jobs.demo_gateways import GATEWAYS, Fate
from jobs.demo_visitor import VisitError, link_in, visit
from jobs.mailbox import Mailbox, receiving
from jobs.sandbox_process import SandboxGateway
from jobs.serving import listen
from jobs.settings import Settings
from jobs.wiring import open_context
from tests.billing.services.support import MACHINE_TIMES, let_time_pass
from tests.contract.sandbox import ROOT
from tests.crash.hops import TAKEN, Cue
from tests.crash.worker import ROUND, Part
from tests.scenarios.stage import MERCHANT, PLANS, SECRET, at

# A request may take two seconds and a claim lasts five, so that a stall outlives a claim in truth and not by our clock.
LEASE_S: Final = 5
SWIFT: Final = {"timeout_s": "2", "connect_timeout_s": "1", "ask_delays_s": "1,1,1", "settle_s": "1"}
PATIENCE_S: Final = 60
VISIT_S: Final = 8
VISITORS: Final = 3
LOOKS: Final = 10
NOT_DONE: Final = ("", "error", "busy")
ROUNDS_MAX: Final = 10
ASKS_MAX: Final = 3
BEGINS_ON: Final = date(2026, 12, 1)

# Who is due each day: a good and a bad card wherever one can be stored, and a wallet that is asked every time.
CAST: Final = (
    ("mpay24", Fate.GOOD),
    ("mpay24", Fate.DECLINED),
    ("payone", Fate.GOOD),
    ("payone", Fate.DECLINED),
    ("paymentz", Fate.GOOD),
    ("paymentz", Fate.DECLINED),
    ("computop", Fate.GOOD),
)
RENEWED: Final = (0, 2, 4)


@dataclass(frozen=True, slots=True)
class Instant:
    """Be killed so many seconds after beginning to work, wherever that is."""

    name: ClassVar[str] = "an instant"
    seconds: float


class DiedError(Exception):
    """The process that was at work is no more."""


@dataclass
class PostOffice(Mailbox):
    """A mailbox that can kill who has just handed over a mail, before it says 250."""

    cue: Cue | None = None
    taken: int = 0
    engine: Engine | None = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = await super().handle_DATA(server, session, envelope)
        self.taken += 1
        if self.cue and self.engine and self.taken >= self.cue.nth:
            self.cue = None
            self.engine.die()
        return answer


@dataclass
class Engine:
    """One process of ours that is at work, or stands still, or is dead."""

    line: Connection
    pid: int
    passed: list[str] = field(default_factory=list)

    async def hear(self) -> None:
        """Wait for its word that it is done; raise `DiedError` if it will never say so."""
        try:
            said = await asyncio.to_thread(self.line.recv)
        except (EOFError, OSError):
            raise DiedError from None
        assert isinstance(said, list), said
        self.passed = said

    async def round(self) -> None:
        """Let it do a round of work."""
        with suppress(OSError):
            self.line.send(ROUND)
        await self.hear()

    def is_stopped(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def die(self) -> None:
        """Let it be dead, whatever it is doing."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Let it be dead, and wait until it is gone with all it held."""
        with suppress(ProcessLookupError), os.fdopen(os.pidfd_open(self.pid)) as handle:
            self.die()
            wait([handle.fileno()])
        self.line.close()


@dataclass
class Trial:
    """Everything on trial, and what has been done to it so far."""

    settings: Settings
    ctx: Context
    gateways: dict[str, SandboxGateway]
    post: PostOffice
    http: httpx.AsyncClient
    mother: Connection
    listener: Listener
    merchant_id: int = 0
    day: date = BEGINS_ON - timedelta(days=1)
    customers: int = 0
    read: int = 0
    links: dict[str, str] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    history: list[object] = field(default_factory=list)

    # --- a day

    async def begin_day(self) -> None:
        """Let a day begin on which new customers are due, one is to renew a card, and one answer will be lost."""
        self.day += timedelta(days=1)
        async with self.ctx.store.write() as session:
            await session.execute(update(table(TestClock)).values(now_at=at(self.day, 10)))
        first = self.customers
        for gateway, fate in CAST:
            await self._enrol(gateway, fate)
        names = list(GATEWAYS)
        await offer_renewal(self.ctx, f"S{first + RENEWED[self.day.toordinal() % len(RENEWED)]}")
        unlucky = names[self.day.toordinal() % len(names)]
        fault = {"match": {"operation": GATEWAYS[unlucky].charge}, "fault": "drop_after_booking", "times": 1}
        await self.gateways[unlucky].set_faults([fault])

    async def _enrol(self, gateway: str, fate: Fate) -> None:
        number, reference = self.customers, f"C{self.customers}"
        left = GATEWAYS[gateway].leave(number * 2, reference, f"Customer {number}", fate)
        if left.kept:
            await self.gateways[gateway].store_profiles([left.kept])
        profile: dict[str, Any] = {}
        if left.reference:
            profile = {"profile": left.reference, "profile_brand": left.brand, "profile_last4": left.last4}
            profile |= {"profile_expires_on": left.expires_on, "first_transaction": left.first_transaction}
        subscriber = Subscriber(
            customer=reference,
            name=f"Customer {number}",
            email=f"{reference.lower()}@example.net",
            subscription=f"S{number}",
            price="solo/monthly",
            anchor_on=self.day,
            billed_until=self.day,
            country="AT",
            account=gateway,
            **profile,
        )
        await enrol(self.ctx, self.merchant_id, [subscriber])
        self.customers += 1

    async def visits(self, count: int | None = None) -> None:
        """Let people with an unread mail follow its link and pay; who meets an error comes back another time."""
        letters, self.read = self.post.letters[self.read :], len(self.post.letters)
        self.links |= {link: "" for link in map(link_in, letters) if link}
        waiting = [link for link, page in self.links.items() if page in NOT_DONE or page.endswith("confirming")]
        await asyncio.gather(*map(self._visit, waiting[:count]))

    async def _visit(self, link: str) -> None:
        """Visit once; whoever must come back lets the others go first."""
        del self.links[link]
        self.links[link] = "error"
        with suppress(httpx.HTTPError, VisitError, TimeoutError):
            async with asyncio.timeout(VISIT_S):
                self.links[link] = await visit(self.http, link, LOOKS)

    # --- processes

    async def start(self, end: Cue | Instant | None = None, *, serves: bool = True) -> Engine:
        """Start a process of ours that waits for its end."""
        self.history.append(end)
        cue = end if isinstance(end, Cue) else None
        self.post.taken, self.post.cue = 0, cue if cue and cue.name == TAKEN else None
        self.mother.send(self._part(cue, serves=serves))
        line = await asyncio.to_thread(self.listener.accept)
        engine = Engine(line, await asyncio.to_thread(line.recv))
        if cue == self.post.cue:
            self.post.engine = engine
        return engine

    def _part(self, cue: Cue | None, *, serves: bool = True) -> Part:
        names = {urlsplit(gateway.base_url).netloc: name for name, gateway in self.gateways.items()}
        return Part(self.settings, cue, names, serves)

    async def rehearse(self) -> tuple[list[str], list[str]]:
        """Let the mother of all processes work through a day; return what hops a night and a noon have."""
        await self.begin_day()
        self.mother.send(self._part(None))
        mother = Engine(self.mother, self.mother.recv())
        await mother.hear()
        await mother.round()
        night = mother.passed
        await self.visits()
        await mother.round()
        self.mother.send("")
        return night, mother.passed[len(night) :]

    @asynccontextmanager
    async def engine(self, end: Cue | Instant | None = None, *, serves: bool = True) -> AsyncIterator[Engine]:
        """Have a process of ours at work while the block lasts; its death ends the block, and its claims run out."""
        engine = await self.start(end, serves=serves)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await engine.hear()
                if isinstance(end, Instant):
                    asyncio.get_running_loop().call_later(end.seconds, engine.die)
                yield engine
        except DiedError:
            assert end, "a process died that nobody has killed"
            self.killed[end.name] += 1
        finally:
            engine.kill()
            await let_time_pass(self.ctx.store, LEASE_S + 1, MAIL_TIMES)

    async def night(self, end: Cue | Instant | None = None) -> None:
        """Let a process work through what is due."""
        async with self.engine(end) as engine:
            await engine.round()

    async def noon(self, end: Cue | Instant | None = None) -> None:
        """Let a process ask about what is open, customers pay, and what they did be taken to its end."""
        async with self.engine(end) as engine:
            await engine.round()
            await self.visits(VISITORS if end and not self._is_at_a_gateway(end) else None)
            await engine.round()

    def _is_at_a_gateway(self, end: Cue | Instant) -> bool:
        """Answer whether it takes the customers of one gateway to come to this end."""
        return end.name.partition(":")[0] in self.gateways

    async def stand_still(self, cue: Cue, *, by_day: bool) -> None:
        """Let a process stand still at its cue beyond its claims, another overtake it, and then let it go on."""
        engine = await self.start(cue)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await engine.hear()
                part = asyncio.create_task(self._part_of_a_day(engine, by_day=by_day))
                await self._until(lambda: engine.is_stopped() or part.done())
                if engine.is_stopped():
                    self.stopped[cue.name] += 1
                    await self._overtake()
                    os.kill(engine.pid, signal.SIGCONT)
                await part
        finally:
            engine.kill()
            await let_time_pass(self.ctx.store, LEASE_S + 1, MAIL_TIMES)

    async def _part_of_a_day(self, engine: Engine, *, by_day: bool) -> None:
        if by_day:
            await self.visits()
        await engine.round()

    async def _overtake(self) -> None:
        """Let the claims of who stands still run out in truth, and another process take all that is left lying."""
        await asyncio.sleep(LEASE_S + 0.5)
        async with self.engine(serves=False) as other:
            for _ in range(4):
                await other.round()
                await let_time_pass(self.ctx.store, LEASE_S + 1, MAIL_TIMES)

    async def _until(self, happened: Callable[[], bool]) -> None:
        while not happened():  # noqa: ASYNC110 - another process does it, and tells nobody
            await asyncio.sleep(0.01)

    async def clear_up(self) -> None:
        """Let hours pass and a process work, until nothing is left that time alone will settle."""
        async with self.engine() as engine:
            await engine.round()
            for _ in range(ROUNDS_MAX):
                if await self._is_at_rest():
                    return
                await let_time_pass(self.ctx.store, 3600, MAIL_TIMES)
                await engine.round()

    async def _is_at_rest(self) -> bool:
        """Answer whether nothing more will happen today; who has left the bank's question may never answer it."""
        attempt = table(Attempt)
        left_alone = (attempt.c.state == AttemptState.PENDING) & (attempt.c.asks > ASKS_MAX)
        wheres = [
            attempt.c.state.in_(OPEN) & ~left_alone,
            table(Operation).c.state.in_(OPEN),
            table(Message).c.state == MessageState.QUEUED,
            table(Notification).c.state == NotificationState.RECEIVED,
        ]
        async with self.ctx.store.read() as session:
            found = [(await session.execute(select(func.count()).where(where))).scalar_one() for where in wheres]
        return not any(found)


MAIL_TIMES: Final = {**MACHINE_TIMES, table(Message): ("next_try_at",)}


@asynccontextmanager
async def trial(folder: Path, database_url: str, gateways: dict[str, SandboxGateway]) -> AsyncIterator[Trial]:
    """Found the merchant and open the post office; the processes come later."""
    post = PostOffice()
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    async with receiving(post) as smtp_url, _mother(folder) as (mother, listener):
        settings = Settings(
            _env_file=None,
            database_url=database_url,
            secret_key=SECRET,
            smtp_url=smtp_url,
            public_url=f"http://127.0.0.1:{port}",
            lease_s=LEASE_S,
        )
        async with open_context(settings) as ctx, httpx.AsyncClient(trust_env=False, timeout=60) as http:
            accounts = tuple(AccountFacts(name, name, gateways[name].credentials | SWIFT) for name in GATEWAYS)
            made = Trial(settings, ctx, gateways, post, http, mother, listener)
            made.merchant_id = await found(ctx, replace(MERCHANT, accounts=accounts, plans=PLANS))
            await give_clock(ctx, MERCHANT.reference, TestClock(name="trial", now_at=at(BEGINS_ON)))
            yield made


@asynccontextmanager
async def _mother(folder: Path) -> AsyncIterator[tuple[Connection, Listener]]:
    """Start the process that all others come from; it ends when its line does."""
    address = str(folder / "line")
    with Listener(address, "AF_UNIX") as listener:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.crash.worker", address, cwd=ROOT)
        with await asyncio.to_thread(listener.accept) as line:
            yield line, listener
        await process.wait()
