"""Real processes on one database: one is killed, one is stopped and goes on, and everybody is charged once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from billing.models import Invoice
from tests.billing.services.support import World, context
from tests.crash.worker import bank_with

CUSTOMERS = 30


@contextmanager
def process(url: str, book: Path, end: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Start a night in a process of its own, and let it not outlive the test."""
    command = [sys.executable, "-m", "tests.crash.worker", url, str(book), end]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def has_stopped(process_id: int) -> bool:
    """Answer whether a process of ours stands still."""
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def ended_well(started: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of a process, and show what it said where it ended badly."""
    _, said = started.communicate(timeout=60)
    assert started.returncode == 0, said.decode()
    return True


async def test_of_three_processes_one_is_killed_and_one_stands_still_for_a_while(
    world: World, database_url: str, tmp_path: Path
) -> None:
    await world.subscribe(CUSTOMERS)
    book = tmp_path / "book"
    bank = bank_with(book)
    here = replace(world, bank=bank, ctx=context(world.store, bank, world.clock))
    with ExitStack() as stack:
        killed = stack.enter_context(process(database_url, book, "SIGKILL"))
        await world.until(lambda: killed.poll() is not None)
        stopped = stack.enter_context(process(database_url, book, "SIGSTOP"))
        await world.until(lambda: has_stopped(stopped.pid))
        assert killed.returncode == -signal.SIGKILL
        assert ended_well(stack.enter_context(process(database_url, book)))
        for _ in range(2):
            await here.clear_up(2)
            await here.run()
        assert set(await here.states(Invoice)) == {"paid"}, "nobody waits for who stands still"
        assert len(paid(book)) == CUSTOMERS
        stopped.send_signal(signal.SIGCONT)
        assert ended_well(stopped)

    late = [key for key, times in paid(book).items() if times > 1]
    surplus = [subject for kind, subject in await here.tasks() if kind == "surplus"]
    # What it had claimed comes late, since its own clock says that the claim still holds; and all of it is found.
    assert 1 <= len(late) == len(surplus) <= 8
    assert await here.breaches() == []


def paid(book: Path) -> Counter[str]:
    """How often each owed thing was paid."""
    return Counter(key.rpartition("-")[0] for key in book.read_text().split())
