"""Send what is ready: claim attempts, commit, and only then call the gateways, many at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import (
    Address,
    Charge,
    ConfigurationError,
    Gateway,
    Mandate,
    MisuseError,
    NotSent,
    Order,
    Outcome,
    Payer,
    ProfileReference,
    Question,
    Unknown,
)
from billing.invoices import InvoiceState
from billing.models import (
    AccountState,
    Allocation,
    Attempt,
    ChargeRight,
    Customer,
    GatewayAccount,
    Invoice,
    Profile,
    Run,
    RunState,
    table,
)
from billing.money import Money
from billing.payments import AttemptState, Initiator
from billing.services.context import Context
from billing.services.settling import News, settle
from billing.store import after_s
from billing.vault import VaultError

_attempt, _account, _run = table(Attempt), table(GatewayAccount), table(Run)
_customer, _profile, _invoice, _allocation = table(Customer), table(Profile), table(Invoice), table(Allocation)

# Outcomes are gathered this long, so that settling is one transaction for many of them.
GATHER_S = 0.02
GATHER_MAX = 250

Heard = Callable[[Counter[AttemptState]], None]


@dataclass(frozen=True, slots=True)
class Errand:
    """A claimed attempt, ready to be sent; past its deadline the claim may be somebody else's to resolve."""

    row: RowMapping
    gateway: Gateway
    deadline: float


class _Places:
    """How many requests may be under way at each gateway account: what it takes, and never more than we want."""

    def __init__(self, in_flight_max: int) -> None:
        self._max = in_flight_max
        self._places: dict[int, asyncio.Semaphore] = {}

    def of(self, errand: Errand) -> asyncio.Semaphore:
        """Return the places of the errand's account."""
        limit = min(self._max, errand.gateway.abilities.in_flight_max)
        return self._places.setdefault(errand.row["gateway_account_id"], asyncio.Semaphore(limit))


async def charge_ready(ctx: Context, merchant_id: int, heard: Heard) -> None:
    """Send every unsent attempt of the merchant whose run and gateway account allow it, and settle the answers.

    `heard` is told how many attempts came to which state, as it happens. Several processes may do
    this at once: each claims pages of its own.
    """
    places = _Places(ctx.in_flight_max)
    errands = await _claim(ctx, merchant_id)
    async with _settler(ctx, heard) as answers, asyncio.TaskGroup() as sending:
        while errands:
            for errand in errands:
                place = places.of(errand)
                await place.acquire()
                task = sending.create_task(_send(ctx, errand, answers))
                task.add_done_callback(partial(_leave, place))
            errands = await _claim(ctx, merchant_id)


def _leave(place: asyncio.Semaphore, _: asyncio.Task[None]) -> None:
    place.release()


async def _send(ctx: Context, errand: Errand, answers: asyncio.Queue[News | None]) -> None:
    """Send one charge, once. A claim that came too late is dropped: reconciling finds out about it."""
    if monotonic() > errand.deadline:
        return
    answers.put_nowait(News(errand.row["id"], await _outcome_of(ctx, errand)))


async def _outcome_of(ctx: Context, errand: Errand) -> Outcome:
    """Return the gateway's answer; what an adapter was never meant to raise is a doubt like any other."""
    try:
        charge = _charge(ctx, errand.row)
        if ctx.ask_first:
            question = Question(charge.key, charge.amount, errand.row["gateway_id"], errand.row["asks"])
            found = await errand.gateway.find(question)
            if not isinstance(found, NotSent):
                return found
        return await errand.gateway.charge(charge)
    except (MisuseError, VaultError) as error:
        return NotSent(f"{type(error).__name__}: {error}", lasting=True)
    except Exception as error:  # noqa: BLE001 - money may have moved, so whatever broke is a doubt
        return Unknown(f"{type(error).__name__}: {error}")


@asynccontextmanager
async def _settler(ctx: Context, heard: Heard) -> AsyncIterator[asyncio.Queue[News | None]]:
    """Settle what is put into the queue, in groups, until the block is over and the queue is empty."""
    answers: asyncio.Queue[News | None] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        group.create_task(_settle_all(ctx, answers, heard))
        try:
            yield answers
        finally:
            answers.put_nowait(None)


async def _settle_all(ctx: Context, answers: asyncio.Queue[News | None], heard: Heard) -> None:
    more = True
    while more:
        group = [await answers.get()]
        await asyncio.sleep(GATHER_S)
        while not answers.empty() and len(group) < GATHER_MAX:
            group.append(answers.get_nowait())
        more = None not in group
        heard(await settle(ctx, [news for news in group if news is not None]))


async def _claim(ctx: Context, merchant_id: int) -> list[Errand]:
    """Take a page of unsent attempts for ourselves, and look at each for the last time before it leaves."""
    claimed_at = monotonic()
    async with ctx.store.write() as session:
        ids = await _take(ctx, session, merchant_id)
        rows = await _details(session, ids)
        wanted = [row for row in rows if row["invoice_state"] == InvoiceState.OPEN]
        await _withdraw(session, [row["id"] for row in rows if row["invoice_state"] != InvoiceState.OPEN])
        gateways = await ctx.gateways.of(session, {row["gateway_account_id"] for row in wanted})
        for gateway in gateways.values():
            _check_lease(ctx, gateway)
    return [_errand(ctx, row, gateways[row["gateway_account_id"]], claimed_at) for row in wanted]


def _errand(ctx: Context, row: RowMapping, gateway: Gateway, claimed_at: float) -> Errand:
    return Errand(row, gateway, claimed_at + ctx.lease_s - gateway.abilities.timeout_s)


def _check_lease(ctx: Context, gateway: Gateway) -> None:
    """Refuse a lease that runs out before a request can: every claim would be dropped unsent, night after night."""
    if ctx.lease_s <= gateway.abilities.timeout_s:
        takes = f"a request to {gateway.abilities.title} may take {gateway.abilities.timeout_s:g} s"
        raise ConfigurationError(f"TURNUS_LEASE_S: {ctx.lease_s} s are too short, since {takes}")


async def _take(ctx: Context, session: AsyncSession, merchant_id: int) -> list[int]:
    """Mark a page as sent, under a lease; nothing has left yet, but from here on it may have.

    The invoices are locked with their attempts: whoever is just paying or closing one has it to himself.
    """
    ready = select(_attempt.c.id).join_from(_attempt, _allocation).join(_invoice)
    ready = ready.where(*_ready(merchant_id)).order_by(_attempt.c.id).limit(ctx.in_flight_max)
    ids = [row.id for row in await session.execute(ctx.store.claim(ready, _attempt, _invoice))]
    values: dict[str, Any] = {"state": AttemptState.SENT, "sent_at": after_s(), "lease_until": after_s(ctx.lease_s)}
    if ctx.ask_first:
        values["asks"] = _attempt.c.asks + 1
    if ids:
        await session.execute(update(_attempt).where(_attempt.c.id.in_(ids)).values(**values))
    return ids


def _ready(merchant_id: int) -> list[ColumnElement[bool]]:
    held_back = exists().where(_run.c.id == _attempt.c.run_id, _run.c.state.in_((RunState.PLANNED, RunState.PAUSED)))
    account_open = exists().where(_account.c.id == _attempt.c.gateway_account_id, _account.c.state == AccountState.OPEN)
    return [
        _attempt.c.merchant_id == merchant_id,
        _attempt.c.state == AttemptState.CREATED,
        _allocation.c.position == 0,
        _attempt.c.initiator == Initiator.MERCHANT,
        account_open,
        ~held_back,
    ]


async def _details(session: AsyncSession, ids: list[int]) -> list[RowMapping]:
    if not ids:
        return []
    query = (
        select(
            _attempt.c.id,
            _attempt.c.key,
            _attempt.c.amount_minor,
            _attempt.c.currency,
            _attempt.c.gateway_account_id,
            _attempt.c.gateway_id,
            _attempt.c.asks,
            *_payer_columns,
            *_profile_columns,
            _invoice.c.number.label("invoice_number"),
            _invoice.c.title.label("invoice_title"),
            _invoice.c.state.label("invoice_state"),
        )
        .join_from(_attempt, _allocation)
        .join(_invoice)
        .join(_customer, _customer.c.id == _attempt.c.customer_id)
        .join(_profile, _profile.c.id == _attempt.c.profile_id)
        .where(_attempt.c.id.in_(ids), _allocation.c.position == 0)
        .order_by(_attempt.c.id)
    )
    return list((await session.execute(query)).mappings())


_payer_columns = [
    _customer.c.reference.label("payer_reference"),
    _customer.c.name.label("payer_name"),
    _customer.c.email.label("payer_email"),
    _customer.c.language.label("payer_language"),
    _customer.c.country.label("payer_country"),
]
_profile_columns = [
    _profile.c.sealed_reference,
    _profile.c.slot,
    _profile.c.mandate_reference,
    _profile.c.mandate_signed_on,
    _profile.c.first_transaction,
    _profile.c.scheme_reference,
]


async def _withdraw(session: AsyncSession, ids: list[int]) -> None:
    """Put back attempts whose invoice needs no money any more; nothing has been sent for them."""
    if not ids:
        return
    right = table(ChargeRight)
    nothing_sent = {"state": AttemptState.WITHDRAWN, "sent_at": None, "lease_until": None}
    await session.execute(update(_attempt).where(_attempt.c.id.in_(ids)).values(**nothing_sent))
    await session.execute(right.delete().where(right.c.attempt_id.in_(ids)))


def _charge(ctx: Context, row: RowMapping) -> Charge:
    return Charge(
        key=row["key"],
        amount=Money(row["amount_minor"], row["currency"]),
        payer=payer_of(row),
        profile=profile_of(ctx, row),
        order=Order(row["invoice_number"], f"{row['invoice_title']} {row['invoice_number']}"),
        notify_url=ctx.links.notify(row["gateway_account_id"], row["key"]),
    )


def payer_of(row: RowMapping | dict[str, Any], ip: str = "") -> Payer:
    """Return who pays, from a row with the payer's columns."""
    return Payer(
        reference=row["payer_reference"],
        name=row["payer_name"],
        email=row["payer_email"],
        language=row["payer_language"] or "en",
        address=Address(country=row["payer_country"]),
        ip=ip,
    )


def profile_of(ctx: Context, row: RowMapping) -> ProfileReference:
    """Return the stored profile, from a row with the profile's columns."""
    mandate = Mandate(
        reference=row["mandate_reference"],
        signed_on=row["mandate_signed_on"],
        first_transaction=row["first_transaction"],
        scheme_reference=row["scheme_reference"],
    )
    return ProfileReference(ctx.vault.unseal(row["sealed_reference"]), row["slot"], mandate)
