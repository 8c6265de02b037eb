"""A merchant with any number of customers due today, for benchmarks: made by the database in a few statements."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import CTE, String, Table, case, cast, func, insert, literal, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

import migrations
from billing.models import Customer, GatewayAccount, Merchant, Price, Profile, Subscription, TestClock, new_row, table
from billing.money import Money
from billing.periods import Interval, Unit
from billing.pricing import Terms
from billing.services.context import Context
from billing.services.founding import AccountFacts, MerchantFacts, PlanFacts, PriceFacts, SetupError, found, give_clock
from billing.store import Store, bare_url
from jobs.settings import Settings

MERCHANT: Final = "bench"
TODAY: Final = date(2026, 12, 1)
NOW: Final = datetime.fromisoformat("2026-12-01T02:00:00+00:00")
MONTHS: Final = 24
BAD_IN: Final = 20
QUANTITIES: Final = 3
SECRET_KEY: Final = "benchmarks seal invented customers only"  # noqa: S105 - nothing of it is secret

_customer, _profile, _subscription = table(Customer), table(Profile), table(Subscription)
_account, _price, _merchant = table(GatewayAccount), table(Price), table(Merchant)


@dataclass(frozen=True, slots=True)
class Card:
    """A means of payment that the gateway knows; every customer of a batch has a profile of its own that names it."""

    reference: str
    first_transaction: str = ""
    scheme_reference: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """So many customers due today, whose profiles at one gateway account name one card, or one in twenty a bad one."""

    account: str
    card: Card
    count: int
    bad: Card | None = None


def settings_for(database_url: str, **more: Any) -> Settings:
    """Return the settings of a benchmark, which follow no `.env` file."""
    given: dict[str, Any] = {"_env_file": None, "database_url": database_url, "secret_key": SECRET_KEY}
    return Settings(**given, **more)


@asynccontextmanager
async def database(address: str | None, folder: Path) -> AsyncIterator[str]:
    """Make a migrated database that is gone when the block ends, and give its address.

    It is a file in the folder, or where a PostgreSQL is named a schema of its own in that database.
    """
    if address is None:
        file = folder / f"{secrets.token_hex(4)}.db"
        await migrations.upgrade(f"sqlite+aiosqlite:///{file}")
        yield f"sqlite+aiosqlite:///{file}"
        file.unlink()
        return
    schema = f"turnus_bench_{secrets.token_hex(4)}"
    await _tell(address, f"CREATE SCHEMA {schema}")
    try:
        inside = make_url(address).update_query_dict({"options": f"-csearch_path={schema}"})
        await migrations.upgrade(inside.render_as_string(hide_password=False))
        yield inside.render_as_string(hide_password=False)
    finally:
        await _tell(address, f"DROP SCHEMA {schema} CASCADE")


async def refuse_others_data(address: str) -> None:
    """Raise `SetupError` for a database that has a merchant: benchmarks want one to themselves."""
    if await migrations.current(address) is None:
        return
    store = Store(address)
    try:
        async with store.read() as session:
            merchants = (await session.execute(select(func.count()).select_from(_merchant))).scalar_one()
    finally:
        await store.close()
    if merchants:
        raise SetupError(f"{bare_url(address)} has a merchant already; benchmarks want a database of their own")


async def populate(ctx: Context, accounts: Mapping[str, Mapping[str, str]], batches: Sequence[Batch]) -> int:
    """Found the merchant with its accounts and let every customer of the batches be due today; return its id.

    The gateways are the accounts' names, up to a first hyphen.
    """
    facts = MerchantFacts(
        reference=MERCHANT,
        name="Bench",
        legal_name="Bench GmbH",
        number_prefix="B",
        mail_from="bench@bench.example",
        accounts=tuple(AccountFacts(name, name.partition("-")[0], given) for name, given in accounts.items()),
        plans=(PlanFacts("team", "Team", (PriceFacts("monthly", "Team", _TERMS),)),),
    )
    merchant_id = await found(ctx, facts)
    await give_clock(ctx, MERCHANT, TestClock(name=MERCHANT, now_at=NOW))
    first = 1
    async with ctx.store.write() as session:
        for batch in batches:
            for months, count in enumerate(_shares(batch.count)):
                await _fill(ctx, session, merchant_id, batch, range(first, first + count), months)
                first += count
    await settle_down(ctx.store, "customer, profile, subscription")
    return merchant_id


def _shares(count: int) -> list[int]:
    """Return how many of so many customers began this month, the month before, and so on; nobody is left out."""
    shares = [count // MONTHS] * MONTHS
    shares[0] += count - sum(shares)
    return [share for share in shares if share]


_TERMS: Final = Terms(Money(4900, "EUR"), Interval(Unit.MONTH), tax_rate_bp=2000)


async def settle_down(store: Store, tables: str = "") -> None:
    """Let PostgreSQL look at what it has, all of it or some tables, as it would by itself within a minute."""
    if not store.is_sqlite:
        async with store.engine.connect() as connection:
            alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await alone.exec_driver_sql(f"VACUUM ANALYZE {tables}")


async def _fill(
    ctx: Context, session: AsyncSession, merchant_id: int, batch: Batch, numbers: range, months: int
) -> None:
    """Let customers with the numbers be due today who began so many months ago."""
    account_id = (
        await session.execute(select(_account.c.id).where(_account.c.reference == batch.account))
    ).scalar_one()
    price_id = (await session.execute(select(_price.c.id))).scalar_one()
    counted = _counted(numbers)
    name = literal("C") + cast(counted.c.n, String)
    customer = new_row(Customer, merchant_id=merchant_id, language="en", country="AT")
    called = {"name": literal("Ada Bench ") + cast(counted.c.n, String), "email": name + "@bench.example"}
    await copy_rows(session, _customer, customer, reference=name, **called)
    mine = _customer.c.id.in_(select(_customer.c.id).order_by(_customer.c.id.desc()).limit(len(numbers)))
    profile = new_row(
        Profile,
        gateway_account_id=account_id,
        first_transaction=batch.card.first_transaction,
        scheme_reference=batch.card.scheme_reference,
        created_at=NOW,
    )
    good, bad = (literal(ctx.vault.seal(card.reference)) for card in (batch.card, batch.bad or batch.card))
    sealed = case((_customer.c.id % BAD_IN == 0, bad), else_=good)
    stored = {"customer_id": _customer.c.id, "reference_digest": _customer.c.reference, "sealed_reference": sealed}
    await copy_rows(session, _profile, profile, mine, **stored)
    subscription = new_row(
        Subscription,
        merchant_id=merchant_id,
        price_id=price_id,
        preferred_account_id=account_id,
        anchor_on=Interval(Unit.MONTH).boundary(TODAY, -months),
        next_period=months,
        next_due_on=TODAY,
        created_at=NOW,
    )
    served = (_profile.c.customer_id == _customer.c.id) & mine
    about = {"customer_id": _customer.c.id, "profile_id": _profile.c.id, "quantity": 1 + _customer.c.id % QUANTITIES}
    # The keys of two databases differ, for they may be charged at one gateway.
    names = {"reference": _customer.c.reference, "uid": literal(secrets.token_hex(8)) + _customer.c.reference}
    await copy_rows(session, _subscription, subscription, served, **about, **names)


def _counted(numbers: range) -> CTE:
    first = select(literal(numbers.start).label("n")).cte("numbers", recursive=True)
    return first.union_all(select(first.c.n + 1).where(first.c.n < numbers.stop - 1))


async def copy_rows(session: AsyncSession, into: Table, row: dict[str, Any], *where: Any, **varying: Any) -> None:
    """Insert one row for each that the varying columns come from, in one statement; they go before the row's own."""
    values = {name: literal(value, into.c[name].type) for name, value in row.items()} | varying
    chosen = select(*(value.label(name) for name, value in values.items())).where(*where)
    await session.execute(insert(into).from_select(list(values), chosen))


async def _tell(address: str, command: str) -> None:
    store = Store(address)
    try:
        async with store.engine.begin() as connection:
            await connection.execute(text(command))
    finally:
        await store.close()
