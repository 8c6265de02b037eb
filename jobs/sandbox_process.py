"""The sandbox gateways as a process of its own: started, spoken to over HTTP, and stopped with us."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


class SandboxError(RuntimeError):
    """The sandbox did not start; the message is its own last line."""


@dataclass(frozen=True, slots=True)
class SandboxGateway:
    """One simulator: where it listens, and the test credentials it takes."""

    base_url: str
    credentials: dict[str, str]
    process_id: int = 0

    async def store_profiles(self, profiles: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Store profiles directly, as customers' earlier visits would have, and return what is told of each."""
        told: list[dict[str, Any]] = (await self._post("profiles", profiles)).get("profiles", [])
        return told

    async def set_faults(self, rules: list[dict[str, Any]]) -> None:
        """Break things by rule; an empty list heals them."""
        await self._post("faults", rules)

    async def reset(self) -> None:
        """Empty the simulator: bookings, profiles and faults."""
        await self._post("reset", None)

    async def bookings(self) -> list[dict[str, Any]]:
        """Return every booking, oldest first."""
        async with httpx.AsyncClient(timeout=60) as client:
            answer = (await client.get(f"{self.base_url}/_sandbox/ledger")).raise_for_status().json()
        booked: list[dict[str, Any]] = answer["transactions"]
        return booked

    async def _post(self, what: str, content: Any) -> Any:
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{self.base_url}/_sandbox/{what}", json=content)
        shown = answer.raise_for_status().json()
        return shown if isinstance(shown, dict) else {}


@asynccontextmanager
async def sandbox(folder: Path) -> AsyncIterator[dict[str, SandboxGateway]]:
    """Run the simulators on a folder while the block lasts; they stop by themselves if this process dies."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "gateways.sandbox", "--json", "--exit-with-parent", "--state-dir", str(folder)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    complaints = asyncio.create_task(_last_line(process))
    try:
        yield await _gateways(process, complaints)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await complaints


async def _last_line(process: asyncio.subprocess.Process) -> str:
    """Read what the sandbox complains of, so that it never waits for a reader, and keep its last line."""
    last = b""
    async for line in process.stderr or asyncio.StreamReader():
        last = line
    return last.decode("utf-8", "replace").strip()


async def _gateways(process: asyncio.subprocess.Process, complaints: asyncio.Task[str]) -> dict[str, SandboxGateway]:
    line = await process.stdout.readline() if process.stdout else b""
    if not line:
        raise SandboxError(await complaints or f"the sandbox ended with exit status {await process.wait()}")
    told = json.loads(line)["gateways"]
    return {name: SandboxGateway(**about, process_id=process.pid) for name, about in told.items()}
