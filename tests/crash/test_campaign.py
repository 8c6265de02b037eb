"""Real processes killed and stopped at every hop, against four simulated gateways, on both kinds of database.

`make crash` does the same at length.
"""

from __future__ import annotations

from pathlib import Path

from jobs.sandbox_process import sandbox
from tests.crash.campaign import Campaign
from tests.crash.trial import trial

SEED = 20261125
STALLS = 1
UNREACHED_MAX = 6


async def test_whoever_is_killed_or_stopped_where_ever_everybody_is_charged_once_and_written_to_once(
    database_url: str, tmp_path: Path
) -> None:
    async with sandbox(tmp_path) as gateways, trial(tmp_path, database_url, gateways) as on_trial:
        campaign = Campaign(on_trial, SEED)
        await campaign.fight(stalls=STALLS)

    done = campaign.result()
    assert len(done.unreached) <= UNREACHED_MAX, done.unreached
    assert done.stalls == STALLS
