"""Send what is ready: claim attempts, commit, and only then call the gateways, many at a time."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from math import inf
from time import monotonic
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, exists, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import among
from billing.gateway import (
    Address,
    Asking,
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
from billing.services.braking import Verdict, Watch
from billing.services.context import Context
from billing.services.gathering import Gathering, Group, in_groups
from billing.services.pacing import Places
from billing.services.recalling import recall
from billing.services.running import withdraw_unsent
from billing.services.settling import News, settle
from billing.services.wording import words_for
from billing.store import after_s
from billing.vault import VaultError

_attempt, _account, _run = table(Attempt), table(GatewayAccount), table(Run)
_customer, _profile, _invoice, _allocation = table(Customer), table(Profile), table(Invoice), table(Allocation)

# Whoever waited this long for a place is looked at once more before it leaves.
LOOK_AGAIN_AFTER_S = 1.0
_OVERTAKEN = "while it waited it was paid, or its account was stopped"
# Outcomes are gathered this long, so that settling is one transaction for many of them.
GROUP = Group(wait_s=0.02, size_max=250, wait_s_max=0.5)
# A run's first slice is answered before anything else is sent; this is how often that is looked at.
SLICE_LOOK_S = 0.05
NO_RUN = 0
# Written into the statement, since a plan for any value cannot use an index of the unsent alone.
_UNSENT: ColumnElement[str] = literal_column(f"'{AttemptState.CREATED}'")

Heard = Callable[[Counter[AttemptState]], None]


@dataclass(frozen=True, slots=True)
class Errand:
    """A claimed attempt, ready to be sent; past its deadline the claim may be somebody else's to resolve."""

    row: RowMapping
    gateway: Gateway
    claimed_at: float
    deadline: float


@dataclass(frozen=True, slots=True)
class _Scope:
    """What may be claimed: a merchant's attempts, perhaps under a watch on one run, or for these invoices only.

    It may be only what goes to one account, after the attempt `after_id`, or with `slice_only` only the first slice
    of the watched run. Past the instant `claim_until` nothing more is claimed.
    """

    merchant_id: int
    watch: Watch | None
    invoice_ids: list[int] | None = None
    account_id: int | None = None
    after_id: int = 0
    slice_only: bool = False
    claim_until: float = inf

    @property
    def is_over(self) -> bool:
        """Answer whether it was for the first slice only, and that has passed."""
        return self.slice_only and self.watch is not None and not self.watch.on_trial

    def ready(self) -> Select[int]:
        """Return the attempts that may be sent now."""
        watched = self.watch.run_id if self.watch is not None else NO_RUN
        # Looked up for each attempt: joined, PostgreSQL would read what all that went before was for.
        first = select(_allocation.c.invoice_id).where(_allocation.c.attempt_id == _attempt.c.id)
        paid = first.where(_allocation.c.position == 0).correlate(_attempt).scalar_subquery()
        found = select(_attempt.c.id).join_from(_attempt, _invoice, _invoice.c.id == paid)
        found = found.where(*_ready(self.merchant_id, watched))
        if self.account_id is not None:
            mine = (_attempt.c.gateway_account_id == self.account_id) & (_attempt.c.id > self.after_id)
            found = found.where(mine)
        return found if self.invoice_ids is None else found.where(_invoice.c.id.in_(self.invoice_ids))


@dataclass(frozen=True, slots=True)
class _Sender:
    """Sends what is claimed, each charge when its account has a place for it."""

    ctx: Context
    watch: Watch | None
    answers: Gathering[News]
    sending: asyncio.TaskGroup
    misfits: list[ConfigurationError]
    until: float

    async def work_off(self, scope: _Scope) -> None:
        """Claim and send until there is nothing more that may be sent; no account waits for another's places.

        Nothing is claimed under settings that cannot work, and what is under way to other accounts is not cut off.
        """
        try:
            async for errands in _pages(self.ctx, scope):
                async with asyncio.TaskGroup() as accounts:
                    work = [
                        accounts.create_task(self._hand_out(self.ctx.gateways.places(account_id), mine))
                        for account_id, mine in _by_account(errands).items()
                    ]
                if not all(task.result() for task in work):
                    return
        except ConfigurationError as error:
            self.misfits.append(error)

    async def _hand_out(self, places: Places, errands: Sequence[Errand]) -> bool:
        """Send each errand of an account when there is a place for it, and hand back those for which there is none.

        Those that wait long are looked at again, all together. Answer whether to go on.
        """
        waiting, seen_at = deque(errands), errands[0].claimed_at
        while waiting and await self.ctx.take_place(places, min(self.until, waiting[0].deadline)):
            with ExitStack() as place:
                place.callback(places.leave)
                if monotonic() > seen_at + LOOK_AGAIN_AFTER_S:
                    seen_at, waiting = monotonic(), await self._look_again(waiting)
                if waiting:
                    self._set_off(waiting.popleft(), place)
        await _hand_back(self.ctx, waiting)
        if waiting and monotonic() <= self.until:
            # Nothing is claimed again for an account that has no place.
            await self.ctx.place_free(places)
        return monotonic() <= self.until

    def _set_off(self, errand: Errand, place: ExitStack) -> None:
        """Send in a task of its own, which leaves its place however it ends."""
        task = self.sending.create_task(_send(self.ctx, errand, self.answers, self.watch))
        leave = place.pop_all().close
        task.add_done_callback(lambda _: leave())

    async def _look_again(self, waiting: Iterable[Errand]) -> deque[Errand]:
        """Return those that are still wanted; what is of a run that was held back meanwhile waits with it.

        Of one whose claim is over nothing is said: others may have repeated its request, and it may be booked.
        """
        wanted, held_back = await _still_wanted(self.ctx, waiting), await _held_back(self.ctx, waiting)
        await _hand_back(self.ctx, [each for each in waiting if each.row["id"] in held_back])
        going_on = [each for each in waiting if each.row["id"] not in held_back]
        for errand in [each for each in going_on if each.row["id"] not in wanted]:
            if monotonic() <= errand.deadline:
                self.answers.put(News(errand.row["id"], NotSent(_OVERTAKEN), errand.row["asks"]))
        return deque(each for each in going_on if each.row["id"] in wanted)


async def charge_ready(
    ctx: Context, merchant_id: int, heard: Heard, watch: Watch | None = None, *, at_most_s: float = inf
) -> None:
    """Send every unsent attempt of the merchant whose run and gateway account allow it, and settle the answers.

    `heard` is told how many attempts came to which state, as it happens. Several processes may do
    this at once: each claims pages of its own, and for an account no more than it can send soon. A process that is
    told to leave claims no more, hands back what it has claimed and not begun to send, and waits for the rest.
    With a `watch` on a run its first slice is sent and judged before the rest, and strange answers end the sending.
    Whoever comes again sends for `at_most_s`: what was not claimed, or had no place, in that time is left for then.
    """
    scope = _Scope(merchant_id, watch)
    accounts = await _open_accounts(ctx, merchant_id)
    misfits: list[ConfigurationError] = []
    with ctx.shares.one(merchant_id):
        async with _settler(ctx, heard) as answers, asyncio.TaskGroup() as sending:
            sender = _Sender(ctx, watch, answers, sending, misfits, monotonic() + at_most_s)
            if watch is not None:
                watch.begin(ctx, accounts)
                await sender.work_off(replace(scope, slice_only=True))
            if watch is None or not watch.on_trial:
                async with asyncio.TaskGroup() as working:
                    for account_id in accounts:
                        working.create_task(sender.work_off(replace(scope, account_id=account_id)))
    if misfits:
        raise misfits[0]
    if watch is not None:
        await watch.look(ctx)


async def is_unsent(session: AsyncSession, watch: Watch) -> bool:
    """Answer whether a charge of the run may still be sent; what was set aside is not waited for."""
    mine = [_attempt.c.run_id == watch.run_id, *_ready(watch.merchant_id, watch.run_id)]
    found = await session.execute(select(_attempt.c.id).where(*mine).limit(len(watch.aside) + 1))
    return not watch.aside.issuperset(found.scalars())


async def _pages(ctx: Context, scope: _Scope) -> AsyncIterator[list[Errand]]:
    """Claim page after page; a restored database first asks what it has forgotten, and claims what nobody knows of.

    What the gateways said is good for as long as a claim: whoever got no place until then is asked about again.
    """
    if not ctx.ask_first:
        async for errands in _claims(ctx, scope):
            yield errands
        return
    last, aside = 0, scope.watch.aside if scope.watch is not None else set[int]()
    while not ctx.leaving and not scope.is_over and (waiting := await _waiting(ctx, scope, last)):
        unknown = await _recall(ctx, waiting, aside)
        good_until = monotonic() + ctx.lease_s
        async for errands in _claims(ctx, replace(scope, invoice_ids=unknown, claim_until=good_until)):
            yield errands
        last = max(waiting) if monotonic() <= good_until else 0


async def _recall(ctx: Context, waiting: dict[int, int], aside: set[int]) -> list[int]:
    """Return the invoices of which no gateway knows anything; what it did not come to know of is set aside."""
    new = {attempt_id: invoice_id for attempt_id, invoice_id in waiting.items() if attempt_id not in aside}
    unknown = await recall(ctx, new.values())
    aside.update(attempt_id for attempt_id, invoice_id in new.items() if invoice_id not in unknown)
    return unknown


async def _claims(ctx: Context, scope: _Scope) -> AsyncIterator[list[Errand]]:
    """Claim until there is nothing more that may be sent.

    One account's are taken in order, or what waits for the others would be passed over again for each page; at the
    end it is looked whether some were handed back.
    """
    more, last = True, 0
    while more and not ctx.leaving and monotonic() <= scope.claim_until:
        errands, claimed_to = await _claim(ctx, replace(scope, after_id=last))
        yield errands
        begins_again = last and not claimed_to
        last = claimed_to if scope.account_id is not None else 0
        more = begins_again or await _may_go_on(ctx, scope, claimed_to > 0)


async def _may_go_on(ctx: Context, scope: _Scope, claimed: bool) -> bool:
    """Answer whether there is more to claim; while a run's first slice is under way, after waiting for it."""
    watch = scope.watch
    if watch is None or (claimed and not watch.is_due()):
        return claimed
    if scope.is_over:
        return False
    verdict = await watch.look(ctx)
    if claimed or verdict is Verdict.STOP:
        return verdict is not Verdict.STOP
    async with ctx.store.read() as session:
        more = (await session.execute(scope.ready().limit(1))).scalar() is not None
    if more and verdict is Verdict.WAIT:
        await asyncio.sleep(SLICE_LOOK_S)
    return more


async def _waiting(ctx: Context, scope: _Scope, after: int) -> dict[int, int]:
    """Return the next attempts that may be sent, each with its invoice; for a first slice no more than it takes."""
    ready = scope.ready().add_columns(_invoice.c.id.label("invoice_id")).where(_attempt.c.id > after)
    slice_charges = scope.watch.brakes.slice_charges if scope.watch is not None else 0
    page = min(ctx.in_flight_max, max(slice_charges, 1)) if scope.slice_only else ctx.in_flight_max
    async with ctx.store.read() as session:
        rows = await session.execute(ready.order_by(_attempt.c.id).limit(page))
        return {row.id: row.invoice_id for row in rows}


async def _hand_back(ctx: Context, errands: Iterable[Errand]) -> None:
    """Let others claim at once what this process has claimed and will not send.

    Nothing has left for these: each was still waiting for a place. No claim is undone that is
    over or that somebody else has asked about since, for then they may have repeated the request. The runs are locked,
    so that nobody finishes one in between; to one that was aborted meanwhile nothing is handed back.
    """
    claims: defaultdict[int, list[int]] = defaultdict(list)
    for errand in errands:
        claims[errand.row["asks"]].append(errand.row["id"])
    if not claims:
        return
    held = (_attempt.c.state == AttemptState.SENT) & (_attempt.c.lease_until > after_s())
    waits = {"state": AttemptState.CREATED, "sent_at": None, "lease_until": None, "repeat_until": None}
    async with ctx.store.write() as session:
        runs = await _locked_runs(ctx, session, [errand.row["id"] for errand in errands])
        for asks, ids in claims.items():
            ours = among(_attempt.c.id, ids) & (_attempt.c.asks == asks)
            await session.execute(update(_attempt).where(ours, held).values(**waits))
        for run in runs:
            if run["state"] == RunState.ABORTED:
                await withdraw_unsent(ctx, session, run)


async def _locked_runs(ctx: Context, session: AsyncSession, ids: Iterable[int]) -> Sequence[RowMapping]:
    """Lock the runs that the attempts are of."""
    of_these = select(_attempt.c.run_id).where(among(_attempt.c.id, ids))
    locked = ctx.store.lock(select(_run).where(_run.c.id.in_(of_these)).order_by(_run.c.id))
    runs: Sequence[RowMapping] = (await session.execute(locked)).mappings().all()
    return runs


async def _send(ctx: Context, errand: Errand, answers: Gathering[News], watch: Watch | None = None) -> None:
    """Send one charge, once. A claim that came too late is dropped: reconciling finds out about it.

    The place is kept until the books have caught up, or answers would come in faster than they are settled, and a
    process that dies would leave ever more of them in doubt.
    """
    if monotonic() > errand.deadline:
        return
    outcome = await _outcome_of(ctx, errand)
    answers.put(News(errand.row["id"], outcome, errand.row["asks"]))
    if watch is not None:
        watch.note(errand.row["gateway_account_id"], outcome)
    await answers.caught_up()


async def _still_wanted(ctx: Context, errands: Iterable[Errand]) -> set[int]:
    """Return whose charge is still owed and whose account still open, after they had to wait for a place."""
    query = select(_attempt.c.id).join_from(_attempt, _account, _account.c.id == _attempt.c.gateway_account_id)
    query = query.join(_allocation, _allocation.c.attempt_id == _attempt.c.id).join(_invoice)
    query = query.where(among(_attempt.c.id, (each.row["id"] for each in errands)), _allocation.c.position == 0)
    query = query.where(_invoice.c.state == InvoiceState.OPEN, _account.c.state == AccountState.OPEN)
    async with ctx.store.read() as session:
        return set((await session.execute(query)).scalars())


async def _held_back(ctx: Context, errands: Iterable[Errand]) -> set[int]:
    """Return whose run was paused or aborted while they waited for a place."""
    query = select(_attempt.c.id).join(_run, _run.c.id == _attempt.c.run_id)
    query = query.where(among(_attempt.c.id, (each.row["id"] for each in errands)))
    async with ctx.store.read() as session:
        found = await session.execute(query.where(_run.c.state.in_((RunState.PAUSED, RunState.ABORTED))))
        return set(found.scalars())


async def _outcome_of(ctx: Context, errand: Errand) -> Outcome:
    """Return the gateway's answer; what an adapter was never meant to raise is a doubt like any other.

    Nothing outlives the claim: a process that was stopped after its last look at the clock and goes on when others
    have taken over is cut off before it has a connection.
    """
    claim_lasts_s = errand.deadline + errand.gateway.abilities.timeout_s - monotonic()
    try:
        async with asyncio.timeout(claim_lasts_s):
            return _forgotten(ctx, errand) or await errand.gateway.charge(charge_of(ctx, errand.row))
    except TimeoutError:
        return Unknown("the claim was over before the answer was in")
    except (MisuseError, VaultError) as error:
        return NotSent(words_for(error), lasting=True)
    except Exception as error:  # noqa: BLE001 - money may have moved, so whatever broke is a doubt
        return Unknown(words_for(error))


def _forgotten(ctx: Context, errand: Errand) -> Outcome | None:
    """Return the doubt about a charge of a restored database that nobody can be asked about, or nothing.

    A gateway that cannot be asked by our key answers the same request under the same key with what became
    of the first, for as long as it remembers it.
    """
    asking = errand.gateway.abilities.asking
    if not ctx.ask_first or asking.by_key or ctx.remembers(asking):
        return None
    return Unknown("it may have been sent after the backup was made")


async def _open_accounts(ctx: Context, merchant_id: int) -> list[int]:
    """Return the merchant's accounts that may be charged, opened."""
    mine = (_account.c.merchant_id == merchant_id) & (_account.c.state == AccountState.OPEN)
    async with ctx.store.read() as session:
        ids = list((await session.execute(select(_account.c.id).where(mine).order_by(_account.c.id))).scalars())
        await ctx.gateways.of(session, ids)
    return ids


def _by_account(errands: Iterable[Errand]) -> dict[int, list[Errand]]:
    found: defaultdict[int, list[Errand]] = defaultdict(list)
    for errand in errands:
        found[errand.row["gateway_account_id"]].append(errand)
    return found


def _settler(ctx: Context, heard: Heard) -> AbstractAsyncContextManager[Gathering[News]]:
    """Settle what is gathered, until the block is over."""

    async def settle_group(group: list[News]) -> None:
        heard(await settle(ctx, group))

    return in_groups(settle_group, GROUP)


async def _claim(ctx: Context, scope: _Scope) -> tuple[list[Errand], int]:
    """Take a page of unsent attempts for ourselves, and look at each for the last time before it leaves.

    Return the last id of the page as well, 0 for an empty one: all of it may turn out to be owed no more.
    """
    claimed_at = monotonic()
    async with ctx.store.write() as session:
        ids = await _take(ctx, session, scope)
        rows = await charge_details(session, ids)
        wanted = [row for row in rows if row["invoice_state"] == InvoiceState.OPEN]
        await _withdraw(session, [row["id"] for row in rows if row["invoice_state"] != InvoiceState.OPEN])
        gateways = await ctx.gateways.of(session, {row["gateway_account_id"] for row in wanted})
        for account_id, gateway in gateways.items():
            _check_lease(ctx, gateway)
            mine = [row["id"] for row in wanted if row["gateway_account_id"] == account_id]
            await limit_repeats(ctx, session, mine, gateway.abilities.asking)
    errands = [_errand(ctx, row, gateways[row["gateway_account_id"]], claimed_at) for row in wanted]
    return errands, max(ids, default=0)


async def limit_repeats(ctx: Context, session: AsyncSession, ids: list[int], asking: Asking) -> None:
    """Write down until when these requests may be repeated under their keys, where their wire forgets keys."""
    if asking.repeat_s is None:
        return
    until: Any = after_s(asking.repeat_s)
    if ctx.ask_first:
        until = ctx.backup_at + timedelta(seconds=asking.repeat_s) if ctx.backup_at else after_s()
    await session.execute(update(_attempt).where(among(_attempt.c.id, ids)).values(repeat_until=until))


def _errand(ctx: Context, row: RowMapping, gateway: Gateway, claimed_at: float) -> Errand:
    return Errand(row, gateway, claimed_at, claimed_at + ctx.lease_s - gateway.abilities.timeout_s)


def _check_lease(ctx: Context, gateway: Gateway) -> None:
    """Refuse a lease that runs out before a request can: every claim would be dropped unsent, night after night."""
    if ctx.lease_s <= gateway.abilities.timeout_s:
        takes = f"a request to {gateway.abilities.title} may take {gateway.abilities.timeout_s:g} s"
        raise ConfigurationError(f"TURNUS_LEASE_S: {ctx.lease_s} s are too short, since {takes}")


async def _take(ctx: Context, session: AsyncSession, scope: _Scope) -> list[int]:
    """Mark a page as sent, under a lease; nothing has left yet, but from here on it may have.

    The invoices are locked with their attempts: whoever is just paying or closing one has it to himself.
    """
    ready = scope.ready().order_by(_attempt.c.id).limit(await _page(ctx, session, scope))
    ids = [row.id for row in await session.execute(ctx.store.claim(ready, _attempt, _invoice))]
    values: dict[str, Any] = {"state": AttemptState.SENT, "sent_at": after_s(), "lease_until": after_s(ctx.lease_s)}
    if ctx.ask_first:
        values["asks"] = _attempt.c.asks + 1
    if ids:
        await session.execute(update(_attempt).where(among(_attempt.c.id, ids)).values(**values))
    return ids


async def _page(ctx: Context, session: AsyncSession, scope: _Scope) -> int:
    """Return how many may be claimed: a watched run says how many more, and an account how many it can take soon."""
    allowed = await scope.watch.allowance(ctx, session) if scope.watch is not None else None
    if allowed is None and scope.slice_only:
        return 0
    page = ctx.share if allowed is None else min(allowed, ctx.share)
    return page if scope.account_id is None else min(page, ctx.gateways.places(scope.account_id).pace.in_flight)


def _ready(merchant_id: int, watched_run_id: int) -> list[ColumnElement[bool]]:
    """Say what may be sent: the first slice of a run goes out only under a watch on it."""
    on_trial = _run.c.slice_passed_at.is_(None) & (_run.c.state == RunState.RUNNING) & (_run.c.id != watched_run_id)
    waits = _run.c.state.in_((RunState.PLANNED, RunState.PAUSED))
    # Not a join: then the unsent are read in order, and no more of them than are taken.
    held_back = _attempt.c.run_id.in_(select(_run.c.id).where(_run.c.merchant_id == merchant_id, waits | on_trial))
    account_open = exists().where(_account.c.id == _attempt.c.gateway_account_id, _account.c.state == AccountState.OPEN)
    return [
        _attempt.c.merchant_id == merchant_id,
        _attempt.c.state == _UNSENT,
        _attempt.c.initiator == Initiator.MERCHANT,
        account_open,
        _attempt.c.run_id.is_(None) | ~held_back,
    ]


async def charge_details(session: AsyncSession, ids: list[int]) -> list[RowMapping]:
    """Return what a charge is made of, for each attempt that a profile is to pay an invoice by."""
    if not ids:
        return []
    query = (
        select(
            _attempt.c.id,
            _attempt.c.key,
            _attempt.c.number,
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
        .where(among(_attempt.c.id, ids), _allocation.c.position == 0)
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
    await session.execute(update(_attempt).where(among(_attempt.c.id, ids)).values(**nothing_sent))
    await session.execute(right.delete().where(among(right.c.attempt_id, ids)))


def charge_of(ctx: Context, row: RowMapping) -> Charge:
    """Return the charge of an attempt, the same whenever it is made from the same row of `charge_details`."""
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
