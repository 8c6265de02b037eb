"""What every service is given: the database, the gateways, the clock, and the rules of the house."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.clock import Clock, day_in
from billing.dunning import DEFAULT_LADDER, Ladder
from billing.gateway import Asking, ConfigurationError, Gateway, GatewayKind, OpenGateway, UnusableGateway
from billing.links import Links
from billing.meters import Meters
from billing.models import GatewayAccount, Merchant, TestClock, table
from billing.passwords import Passwords
from billing.services.leaving import Leaving
from billing.services.pacing import Places, Shares
from billing.store import Store
from billing.vault import Vault


@dataclass(slots=True)
class Gateways:
    """The merchants' accounts at their gateways, opened when first needed and again when their credentials change.

    `kinds` is what new accounts can be at; with `private` they may be at addresses that are not public.
    """

    open: OpenGateway
    vault: Vault
    kinds: Mapping[str, GatewayKind] = field(default_factory=dict)
    private: bool = False
    _opened: dict[int, tuple[str, Gateway]] = field(default_factory=dict)
    _places: dict[int, Places] = field(default_factory=dict)
    _asking: dict[int, Places] = field(default_factory=dict)
    _replaced: list[Gateway] = field(default_factory=list)

    async def of(self, session: AsyncSession, account_ids: Collection[int]) -> dict[int, Gateway]:
        """Return the gateway of each account; one whose credentials cannot work refuses everything."""
        account = table(GatewayAccount)
        columns = select(account.c.id, account.c.gateway, account.c.sealed_credentials)
        rows = (await session.execute(columns.where(account.c.id.in_(account_ids)))).all()
        return {row.id: self._gateway(row.id, row.gateway, row.sealed_credentials) for row in rows}

    def title_of(self, gateway: str) -> str:
        """Return the name of a gateway as people know it."""
        kind = self.kinds.get(gateway)
        return kind.title if kind is not None else gateway

    def account_title(self, reference: str, gateway: str) -> str:
        """Return what people call an account: its gateway's name, and its key where that says more."""
        title = self.title_of(gateway)
        return title if reference == gateway else f"{title} ({reference})"

    def places(self, account_id: int) -> Places:
        """Return the places of an account that was opened: the same ones for all that this process asks of it."""
        return self._places[account_id]

    def asking(self, account_id: int) -> Places:
        """Return places of the account for questions alone, at the same pace, which no charge that stalls takes up."""
        return self._asking[account_id]

    def limits(self) -> dict[int, int]:
        """Return how many requests may be under way now at each account that was opened."""
        return {account_id: places.pace.in_flight for account_id, places in self._places.items()}

    async def close(self) -> None:
        """Close every gateway that was opened."""
        for gateway in [*self._replaced, *(opened for _, opened in self._opened.values())]:
            await gateway.close()
        self._opened.clear()
        self._places.clear()
        self._asking.clear()
        self._replaced.clear()

    def _gateway(self, account_id: int, name: str, sealed: str) -> Gateway:
        """Open the gateway anew when its credentials change; charges may still be in flight through the old one."""
        held = self._opened.get(account_id)
        if held and held[0] == sealed:
            return held[1]
        try:
            gateway = self.open(name, json.loads(self.vault.unseal(sealed)))
        except ConfigurationError as error:
            gateway = UnusableGateway(str(error))
        self._opened[account_id] = (sealed, gateway)
        self._places[account_id], self._asking[account_id] = Places(gateway), Places(gateway)
        if held:
            self._replaced.append(held[1])
        return gateway


@dataclass(frozen=True, slots=True)
class Shown:
    """A thing as the API shows it: its public name, and itself as JSON."""

    name: str
    text: str


Shows = Callable[[AsyncSession, str, Collection[int]], Awaitable[dict[int, Shown]]]
"""Shows the things of a kind, such as `inv`, with these ids, in one statement; what is not there is left out."""


@dataclass(frozen=True, slots=True)
class Context:
    """What services work with. `lease_s` is how long a claim lasts; it must outlive a request's time-out.

    `ask_first` is for a database that was restored from a backup: the same keys come up again, so the
    gateway is asked about each before it is sent. `backup_at` is when the backup was made, if that is known.
    Whoever claims work looks at `leaving` first. `in_flight_max` is how many charges are under way at once, shared
    out among the merchants who charge now.
    `shows` is the web's way to show things, which services only pass on; with `webhooks_to_private` an endpoint
    may be anywhere. `doors` are words that no merchant can be called, because pages of the console are found by them.
    """

    store: Store
    vault: Vault
    links: Links
    gateways: Gateways
    clock: Clock
    shows: Shows
    webhooks_to_private: bool = False
    doors: Collection[str] = ()
    ladder: Ladder = DEFAULT_LADDER
    lease_s: int = 120
    in_flight_max: int = 250
    passwords: Passwords = field(default_factory=Passwords)
    ask_first: bool = False
    backup_at: datetime | None = None
    leaving: Leaving = field(default_factory=Leaving)
    shares: Shares = field(default_factory=Shares)
    meters: Meters = field(default_factory=Meters)

    @property
    def share(self) -> int:
        """How many charges one merchant may have under way at an account now."""
        return self.shares.of(self.in_flight_max)

    async def take_place(self, places: Places, until: float) -> bool:
        """Take one of an account's places for a request; answer whether there was one before the instant."""
        return await places.take(lambda: self.share, until, self.leaving)

    async def place_free(self, places: Places) -> None:
        """Wait until one of an account's places could be taken."""
        await places.wait(lambda: self.share, self.leaving)

    def remembers(self, asking: Asking) -> bool:
        """Answer whether a gateway still knows the keys of all that was sent since the backup."""
        if self.backup_at is None or asking.repeat_s is None:
            return asking.repeat_s is None
        return self.clock.now() < self.backup_at + timedelta(seconds=asking.repeat_s)


@dataclass(frozen=True, slots=True)
class Moment:
    """A merchant's business time."""

    timezone: str
    now: datetime

    @property
    def today(self) -> date:
        """The calendar day it is for the merchant."""
        return day_in(self.timezone, self.now)

    def not_before(self, other: datetime) -> Moment:
        """Return the later of this moment and another instant."""
        return self if other <= self.now else Moment(self.timezone, other)


async def moments(ctx: Context, session: AsyncSession, merchant_ids: Collection[int]) -> dict[int, Moment]:
    """Return the business time of each merchant: its test clock's, or the time of day."""
    merchant, clock = table(Merchant), table(TestClock)
    query = select(merchant.c.id, merchant.c.timezone, clock.c.now_at).join_from(merchant, clock, isouter=True)
    rows = (await session.execute(query.where(merchant.c.id.in_(merchant_ids)))).all()
    now = ctx.clock.now()
    return {row.id: Moment(row.timezone, row.now_at or now) for row in rows}
