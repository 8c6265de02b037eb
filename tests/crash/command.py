"""`make crash`: kill processes of ours hundreds of times on both kinds of database, and say in one line how it went.

Without a seed of yours it makes one up. The line names the seeds; a complaint says what had been done before it.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import migrations
from jobs.sandbox_process import sandbox
from tests import postgres
from tests.conftest import DIALECTS
from tests.crash.audit import AUDITED
from tests.crash.campaign import Campaign, FailedError, Result
from tests.crash.trial import trial

KILLS_MIN = 260
STALLS = 2
BY_CHANCE = 10


def main() -> int:
    """Fight on both databases at once; the exit status says whether every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.command", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS_MIN, help="at least so many on each database")
    parser.add_argument("--stalls", type=int, default=STALLS, help="so many processes stand still on each database")
    parser.add_argument("--seed", type=int, help="the seed of the first database; the second has the next one")
    words = parser.parse_args()
    first = secrets.randbelow(10**6) if words.seed is None else words.seed
    jobs = [(dialect, first + number, words.kills, words.stalls) for number, dialect in enumerate(DIALECTS)]
    with ProcessPoolExecutor(len(jobs), get_context("spawn")) as pool:
        results = list(pool.map(_fight, *zip(*jobs, strict=True)))
    sys.stdout.write("".join(f"{result.complaint}\n" for result in results if result.complaint))
    sys.stdout.write(_summary(results) + "\n")
    return int(any(result.complaint for result in results))


def _fight(dialect: str, seed: int, kills_min: int, stalls: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="turnus-crash-") as name, _database(dialect, Path(name)) as address:
        return asyncio.run(_fight_on(Path(name), address, seed, kills_min, stalls))


@contextmanager
def _database(dialect: str, folder: Path) -> Iterator[str]:
    if dialect == "sqlite":
        yield f"sqlite+aiosqlite:///{folder}/turnus.db"
        return
    with postgres.running() as address:
        yield address


async def _fight_on(folder: Path, address: str, seed: int, kills_min: int, stalls: int) -> Result:
    await migrations.upgrade(address)
    async with sandbox(folder) as gateways, trial(folder, address, gateways) as on_trial:
        campaign = Campaign(on_trial, seed, BY_CHANCE, _tell)
        try:
            await campaign.fight(kills_min=kills_min, stalls=stalls)
        except FailedError as error:
            return campaign.result(str(error))
        except Exception:  # noqa: BLE001 - whatever it was, what was done until then is told
            return campaign.result(traceback.format_exc())
        return campaign.result()


def _tell(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def _summary(results: list[Result]) -> str:
    kept = "all kept" if not any(result.complaint for result in results) else "BROKEN"
    return (
        f"make crash: {sum(each.kills for each in results)} kills and {sum(each.stalls for each in results)} stalls "
        f"at {len(set().union(*(each.hops for each in results)))} hops in {sum(each.days for each in results)} days "
        f"of billing on SQLite and PostgreSQL; audited after each day: {AUDITED}; "
        f"{sum(each.left_to_a_person for each in results)} doubts left to a person; "
        f"{kept}; seeds {', '.join(str(each.seed) for each in results)}"
    )


if __name__ == "__main__":
    sys.exit(main())
