"""What every service is given: the database, the gateways, the clock, and the rules of the house."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.clock import Clock, day_in
from billing.dunning import DEFAULT_LADDER, Ladder
from billing.gateway import Gateway, OpenGateway
from billing.links import Links
from billing.models import GatewayAccount, Merchant, TestClock, table
from billing.store import Store
from billing.vault import Vault


@dataclass(slots=True)
class Gateways:
    """The merchants' accounts at their gateways, opened when first needed and again when their credentials change."""

    open: OpenGateway
    vault: Vault
    _opened: dict[int, tuple[str, Gateway]] = field(default_factory=dict)

    async def of(self, session: AsyncSession, account_ids: Collection[int]) -> dict[int, Gateway]:
        """Return the gateway of each account; raise `ConfigurationError` where credentials cannot work."""
        account = table(GatewayAccount)
        columns = select(account.c.id, account.c.gateway, account.c.sealed_credentials)
        rows = (await session.execute(columns.where(account.c.id.in_(account_ids)))).all()
        return {row.id: await self._gateway(row.id, row.gateway, row.sealed_credentials) for row in rows}

    async def close(self) -> None:
        """Close every gateway that was opened."""
        for _, gateway in self._opened.values():
            await gateway.close()
        self._opened.clear()

    async def _gateway(self, account_id: int, name: str, sealed: str) -> Gateway:
        held = self._opened.get(account_id)
        if held and held[0] == sealed:
            return held[1]
        gateway = self.open(name, json.loads(self.vault.unseal(sealed)))
        self._opened[account_id] = (sealed, gateway)
        if held:
            await held[1].close()
        return gateway


@dataclass(frozen=True, slots=True)
class Context:
    """What services work with. `lease_s` is how long a claim lasts; it must outlive a request's time-out."""

    store: Store
    vault: Vault
    links: Links
    gateways: Gateways
    clock: Clock
    ladder: Ladder = DEFAULT_LADDER
    lease_s: int = 120
    in_flight_max: int = 250


@dataclass(frozen=True, slots=True)
class Moment:
    """A merchant's business time."""

    now: datetime
    today: date


async def moments(ctx: Context, session: AsyncSession, merchant_ids: Collection[int]) -> dict[int, Moment]:
    """Return the business time of each merchant: its test clock's, or the time of day."""
    merchant, clock = table(Merchant), table(TestClock)
    query = select(merchant.c.id, merchant.c.timezone, clock.c.now_at).join_from(merchant, clock, isouter=True)
    rows = (await session.execute(query.where(merchant.c.id.in_(merchant_ids)))).all()
    now = ctx.clock.now()
    return {row.id: moment(row.timezone, row.now_at or now) for row in rows}


def moment(timezone: str, now: datetime) -> Moment:
    """Return an instant with the calendar day it is for the merchant."""
    return Moment(now, day_in(timezone, now))
