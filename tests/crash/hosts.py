"""`make hosts`: one night shared by four hosts, of which one loses its power and one its way to the database.

Each host is a network namespace with two links, one to the database and one to the gateways; the database and the
gateways have namespaces of their own. The command makes them in a namespace that ends with it, so nothing of this is
left on the machine. It needs Linux and the rights of root; without them it says so and is done.

The gateways are at an address of the loopback's kind, which here leads to another host: adapters carry a password to
no other without TLS.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from time import monotonic
from typing import Any, Final

import httpx
from sqlalchemy import func, select

import migrations
from billing.models import Attempt, TestClock, table
from billing.payments import IN_DOUBT, AttemptState
from billing.services.context import Context
from billing.services.founding import AccountFacts, found, give_clock
from billing.services.subscribing import Subscriber, enrol
from jobs.deliver import deliver_all
from jobs.demo_gateways import GATEWAYS, Fate
from jobs.mailbox import Mailbox, receiving
from jobs.sandbox_process import SandboxGateway
from jobs.settings import Settings
from jobs.wiring import open_context, open_mailer
from tests import postgres
from tests.crash.audit import complaints, read
from tests.scenarios.stage import MERCHANT, PLANS, SECRET, at

SUBSCRIPTIONS: Final = 2000
HOSTS: Final = 4
DAY: Final = date(2026, 12, 1)
NAMES: Final = ("mpay24", "payone", "paymentz")
BAD_IN: Final = 20
LOST_ANSWERS: Final = 3
LEASE_S: Final = 30
PATIENCE: Final = {"timeout_s": "10", "connect_timeout_s": "5", "ask_delays_s": "1,1,1", "settle_s": "1"}
TURNUS: Final = (sys.executable, "-P", "-c", "from jobs.cli import main; main()")
ROUNDS_MAX: Final = 60
TO_DATABASE, TO_GATEWAYS = "db", "net"
NETWORKS: Final = {TO_DATABASE: "10.77.0", TO_GATEWAYS: "127.78.0"}
# Of each network's addresses the first is ours, the second the gateways', and the others the workers'.
FIRST: Final = 2
DRIVER: Final = "postgresql+psycopg"
DATABASE, GATEWAYS_AT = f"{NETWORKS[TO_DATABASE]}.1", f"{NETWORKS[TO_GATEWAYS]}.{FIRST}"
INSIDE: Final = "--inside"

Say = Callable[[str], None]


class FailedError(AssertionError):
    """Something is not as it must be."""


def missing() -> str:
    """Return why no namespaces can be made here, or nothing if they can."""
    lacking = [tool for tool in ("unshare", "nsenter", "ip", "sysctl") if shutil.which(tool) is None]
    if lacking:
        return f"there is no {lacking[0]}"
    bridge = "ip link add name probe type bridge && ip link add name left type veth peer name right"
    tried = subprocess.run(["unshare", "--net", "sh", "-c", bridge], capture_output=True, text=True, check=False)
    return tried.stderr.strip().partition("\n")[0] if tried.returncode else ""


# --- hosts ------------------------------------------------------------------


@dataclass(frozen=True)
class Host:
    """A network namespace, as long as the process that holds it lives."""

    number: int
    holder: subprocess.Popen[bytes]

    def command(self, *words: str) -> list[str]:
        """Return the words of a command that runs on this host."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *words]

    def link(self, network: str) -> None:
        """Plug the host into a network."""
        ours, theirs = self.port(network), f"eth-{network}"
        _do(f"ip link add {ours} type veth peer name {theirs} netns {self.holder.pid}")
        _do(f"ip link set {ours} master {network} up")
        _do(f"ip addr add {NETWORKS[network]}.{self.number}/24 dev {theirs}", self)
        _do(f"ip link set {theirs} up", self)

    def port(self, network: str) -> str:
        """Name the switch's end of the host's link."""
        return f"{network}-{self.number}"

    def unplug(self, network: str) -> None:
        """Take the host off a network, as a pulled cable does: nobody is told."""
        _do(f"ip link set {self.port(network)} down")

    def plug_in(self, network: str) -> None:
        """Put it back."""
        _do(f"ip link set {self.port(network)} up")


def _do(words: str, host: Host | None = None) -> None:
    """Run a command in our namespace, or on a host."""
    subprocess.run(host.command(*words.split()) if host else words.split(), check=True)


def _wake(host: Host | None = None) -> None:
    """Let a namespace speak with itself, and take a loopback's address for another host's but for 127.0.0.1."""
    _do("ip link set lo up", host)
    _do("ip addr del 127.0.0.1/8 dev lo", host)
    _do("ip addr add 127.0.0.1/32 dev lo", host)
    _do("sysctl -qw net.ipv4.conf.all.route_localnet=1", host)


@contextmanager
def hosts(count: int) -> Iterator[tuple[Host, list[Host]]]:
    """Make two networks with the database's end in our own namespace, a host for the gateways, and so many workers."""
    _wake()
    for network, prefix in NETWORKS.items():
        _do(f"ip link add {network} type bridge")
        _do(f"ip addr add {prefix}.1/24 dev {network}")
        _do(f"ip link set {network} up")
    with ExitStack() as stack:
        far, *near = [stack.enter_context(_host(FIRST + number)) for number in range(count + 1)]
        far.link(TO_GATEWAYS)
        for host in near:
            host.link(TO_DATABASE)
            host.link(TO_GATEWAYS)
        yield far, near


@contextmanager
def _host(number: int) -> Iterator[Host]:
    """The holder says when it is in its namespace, and ends when its standard input does."""
    words = ["unshare", "--net", "sh", "-c", "echo ready; read _"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        host = Host(number, holder)
        _wake(host)
        yield host
        holder.communicate()


# --- database, gateways, customers ------------------------------------------


@contextmanager
def _database() -> Iterator[postgres.Cluster]:
    """Run a PostgreSQL that listens at its end of the network, and believes whoever comes from there."""
    with postgres.cluster({"listen_addresses": DATABASE}) as made:
        with (made.folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORKS[TO_DATABASE]}.0/24 trust\n")
        with made.up():
            yield made


@contextmanager
def _gateways(host: Host, folder: Path) -> Iterator[dict[str, SandboxGateway]]:
    words = (sys.executable, "-P", "-m", "gateways.sandbox", "--json", "--exit-with-parent", "--host", GATEWAYS_AT)
    command = host.command(*words, "--state-dir", str(folder))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())["gateways"]
        yield {name: SandboxGateway(**about) for name, about in told.items()}
        process.communicate()


async def _enrol(ctx: Context, gateways: dict[str, SandboxGateway], count: int) -> None:
    """Let so many customers be due, one in twenty with a bad card, and a few answers be lost on their way."""
    accounts = tuple(AccountFacts(name, name, gateways[name].credentials | PATIENCE) for name in NAMES)
    # A busy machine is no reason to hold the run back: what is tried is who goes on, not who brakes.
    brakes = {"failed_percent": 0, "declined_percent": 0}
    merchant_id = await found(ctx, replace(MERCHANT, accounts=accounts, plans=PLANS, brakes=brakes))
    await give_clock(ctx, MERCHANT.reference, TestClock(name="hosts", now_at=at(DAY, 10)))
    people = []
    for place, name in enumerate(NAMES):
        numbers = range(place, count, len(NAMES))
        left = {n: GATEWAYS[name].leave(n * 2, f"C{n}", f"Customer {n}", _fate(n)) for n in numbers}
        await gateways[name].store_profiles([stored.kept for stored in left.values() if stored.kept])
        lost = {"match": {"operation": GATEWAYS[name].charge}, "fault": "drop_after_booking", "times": LOST_ANSWERS}
        await gateways[name].set_faults([lost])
        people += [_subscriber(n, name, stored) for n, stored in left.items()]
    await enrol(ctx, merchant_id, people)


def _fate(number: int) -> Fate:
    return Fate.DECLINED if number // len(NAMES) % BAD_IN == 0 else Fate.GOOD


def _subscriber(number: int, account: str, stored: Any) -> Subscriber:
    return Subscriber(
        customer=f"C{number}",
        name=f"Customer {number}",
        email=f"c{number}@example.net",
        subscription=f"S{number}",
        price="solo/monthly",
        anchor_on=DAY,
        billed_until=DAY,
        country="AT",
        account=account,
        profile=stored.reference,
        profile_brand=stored.brand,
        profile_last4=stored.last4,
        profile_expires_on=stored.expires_on,
        first_transaction=stored.first_transaction,
    )


# --- the night --------------------------------------------------------------


@dataclass
class Night:
    """What is going on, seen from the database's own host."""

    ctx: Context
    settings: Settings
    workers: list[Host]
    say: Say

    def start(self, host: Host, *words: str) -> subprocess.Popen[str]:
        """Start a command of ours on a host."""
        ours = {
            "SECRET_KEY": SECRET,
            "LEASE_S": str(LEASE_S),
            "LOG_LEVEL": "error",
            "DATABASE_URL": f"{DRIVER}://postgres@{DATABASE}/postgres",
        }
        environment = os.environ | {f"TURNUS_{name}": value for name, value in ours.items()}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(host.command(*TURNUS, *words), env=environment, **pipes)

    async def end_of(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Wait until a command ends; return its exit status and what it said."""
        out, err = await asyncio.to_thread(process.communicate)
        return process.returncode, out.strip(), err.strip()

    async def count(self, *states: AttemptState) -> int:
        """Count the attempts in these states."""
        attempt = table(Attempt)
        async with self.ctx.store.read() as session:
            query = select(func.count()).select_from(attempt).where(attempt.c.state.in_(states))
            return int((await session.execute(query)).scalar_one())

    async def until_charged(self, least: int, by: subprocess.Popen[str]) -> None:
        """Wait until so many attempts have their answer; who is to be struck then must still be at work."""
        while await self.count(AttemptState.APPROVED, AttemptState.DECLINED) < least:
            await asyncio.sleep(0.05)
            if by.poll() is not None:
                raise FailedError(f"a host ended before its time: {await self.end_of(by)}")

    async def pass_over(self, subscriptions: int) -> None:
        """Let all hosts work, take the power from the first and the database from the second, and give it back."""
        first, second, *others = self.workers
        begun = monotonic()
        runs = [self.start(host, "run", "--json") for host in self.workers]
        await self.until_charged(subscriptions // 5, runs[0])
        first.unplug(TO_DATABASE)
        first.unplug(TO_GATEWAYS)
        runs[0].kill()
        self.say(f"{monotonic() - begun:.0f} s: host 1 lost its power; {await self._in_hand()}")
        await self.until_charged(subscriptions // 3, runs[1])
        second.unplug(TO_DATABASE)
        self.say(f"{monotonic() - begun:.0f} s: host 2 lost its way to the database; {await self._in_hand()}")
        for host, process in zip(others, runs[2:], strict=True):
            status, out, err = await self.end_of(process)
            number = host.number - FIRST
            self.say(f"{monotonic() - begun:.0f} s: host {number} ended its run with {status}; {err or _of(out)}")
        await self.ask(others[0], 1)
        self.say(f"{monotonic() - begun:.0f} s: host 3 asked the gateways; {await self._in_hand()}")
        second.plug_in(TO_DATABASE)
        status, out, err = await self.end_of(runs[1])
        self.say(f"{monotonic() - begun:.0f} s: host 2 is back and ended with {status}; {err or _of(out)}")
        await self.end_of(runs[0])
        await self.clear_up(others[0])

    async def _in_hand(self) -> str:
        return f"{await self.count(AttemptState.SENT)} charges in somebody's hands"

    async def ask(self, host: Host, wait_s: int) -> None:
        """Let a host ask the gateways about what is in doubt."""
        status, _, err = await self.end_of(self.start(host, "reconcile", "--wait", str(wait_s), "--json"))
        if status not in (0, 1):
            raise FailedError(f"reconcile ended with {status}: {err}")

    async def clear_up(self, host: Host) -> None:
        """Let a host run and ask until nothing is left that time alone will settle."""
        for _ in range(ROUNDS_MAX):
            await self.end_of(self.start(host, "run", "--json"))
            await self.ask(host, 5)
            if not await self.count(*IN_DOUBT, AttemptState.CREATED):
                return
        raise FailedError(f"{await self.count(*IN_DOUBT, AttemptState.CREATED)} attempts are never settled")


def _of(out: str) -> str:
    [*_, last] = json.loads(out)["runs"]
    return f"it charged {last['charged']} of {last['due']} due then, in a run that is {last['state']}"


async def night(subscriptions: int, say: Say) -> int:
    """Make the world, let a night pass over it, and audit what is left; return how many were paid."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="turnus-hosts-")))
        far, workers = stack.enter_context(hosts(HOSTS))
        address = stack.enter_context(_database()).address
        gateways = stack.enter_context(_gateways(far, folder))
        await migrations.upgrade(address)
        mailbox = Mailbox()
        async with receiving(mailbox) as smtp_url, _open(address, smtp_url) as (ctx, settings):
            await _enrol(ctx, gateways, subscriptions)
            passing = Night(ctx, settings, workers, say)
            await passing.pass_over(subscriptions)
            async with open_mailer(settings) as mailer:
                await deliver_all(ctx, mailer)
            async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
                books = await read(ctx, [gateways[n] for n in NAMES], http, today=DAY, letters=mailbox.letters)
            wrong = complaints(books)
            if wrong:
                raise FailedError("\n".join(wrong[:20]))
            return sum(books.sold().values())


@asynccontextmanager
async def _open(address: str, smtp_url: str) -> AsyncIterator[tuple[Context, Settings]]:
    given: dict[str, Any] = {"_env_file": None, "database_url": address, "secret_key": SECRET, "smtp_url": smtp_url}
    settings = Settings(**given, lease_s=LEASE_S)
    async with open_context(settings) as ctx:
        yield ctx, settings


def main(words: Sequence[str]) -> int:
    """Go into a namespace of our own, and there let a night pass; the exit status says whether all is as it must be."""
    reason = "" if INSIDE in words else missing()
    if reason:
        _say(f"make hosts: skipped, no network namespaces can be made here: {reason}")
        return 0
    if INSIDE not in words:
        command = ["unshare", "--net", sys.executable, "-m", "tests.crash.hosts", INSIDE, *words]
        return subprocess.run(command, check=False).returncode
    count = int(words[1]) if len(words) > 1 else SUBSCRIPTIONS
    try:
        paid = asyncio.run(night(count, _say))
    except FailedError as error:
        _say(f"make hosts: BROKEN\n{error}")
        return 1
    _say(
        f"make hosts: {count} invoices on {HOSTS} hosts, {paid} paid, each once by the gateways' ledgers; doctor clean"
    )
    return 0


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
