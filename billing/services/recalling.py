"""Ask what a database that was restored from a backup has forgotten, before anybody is charged or reminded again.

The same keys come up again, so the gateways can be asked about them. A customer may have paid by link meanwhile,
under the number of a later try and at another account: so the next few numbers are asked about at every account.
Where a gateway cannot be asked by our key, whoever had a link may have paid there, and a person has to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from sqlalchemy import RowMapping, and_, exists, insert, literal, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from billing.dunning import StepKind
from billing.gateway import Approved, Declined, Gateway, NotSent, Outcome, Pending, Question, Refused, Unknown
from billing.invoices import InvoiceState
from billing.models import AccountState, Attempt, ChargeRight, GatewayAccount, Invoice, OwedKind, PayLink, table
from billing.money import Money
from billing.payments import AttemptState, Channel, Initiator, attempt_key
from billing.services.attempting import NewAttempt, open_attempts
from billing.services.context import Context, Moment, moments
from billing.services.pacing import Places
from billing.services.settling import News, settle
from billing.services.tasking import NewTask, raise_tasks
from billing.services.wording import words_for
from billing.store import PAGE, after_s

_invoice, _attempt, _right = table(Invoice), table(Attempt), table(ChargeRight)
_link, _account = table(PayLink), table(GatewayAccount)

# So many tries of one invoice may have been made since the backup.
TRIES_AHEAD: Final = 5
# Money that came in says most, and what may still come in more than what did not.
_WEIGHT: Final[Mapping[type[Outcome], int]] = {Approved: 3, Pending: 2, Unknown: 1, Refused: 1, Declined: 0}
_LEAVING: Final = Unknown("the process was told to end before it could ask")


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a gateway knows of a try that the database does not."""

    number: int
    account_id: int
    outcome: Outcome


async def leave_room(ctx: Context) -> None:
    """Let links go on with ids that none had before the restore, or an old mail would open another customer's invoice.

    They go on from the milliseconds of the time of the backup, or of now where that is not known: nobody makes more
    links than that. SQLite counts on from the rows, so there a spare one is made that opens nothing.
    """
    first = int((ctx.backup_at or ctx.clock.now()).timestamp() * 1000)
    async with ctx.store.write() as session:
        if ctx.store.is_sqlite:
            gone = [after_s().label(name) for name in ("created_at", "expires_at", "superseded_at")]
            invoice = [_invoice.c.merchant_id, _invoice.c.customer_id, _invoice.c.id.label("invoice_id")]
            spare = select(literal(first).label("id"), *invoice, *gone).where(~exists().where(_link.c.id >= first))
            await session.execute(insert(_link).from_select(spare.selected_columns.keys(), spare.limit(1)))
        else:
            await session.execute(text("SELECT pg_advisory_xact_lock(hashtext('turnus links'))"))
            await session.execute(text(_GO_ON), {"first": first})


_GO_ON: Final = """
SELECT setval(name, :first) FROM (SELECT CAST(pg_get_serial_sequence('pay_link', 'id') AS regclass) AS name) AS sequence
WHERE COALESCE(pg_sequence_last_value(name), 0) < :first
"""


async def recall(ctx: Context, invoice_ids: Collection[int], *, asking_only: bool = False) -> list[int]:
    """Take in what the gateways know of these open invoices, and return those of which they know nothing.

    What cannot be asked about now is not returned, so that it waits; with `asking_only` it is no person's task,
    since nothing is charged and nobody is reminded. An account is asked as much at once as it takes, in places of its
    own for questions: a customer may have paid at any account, so one whose charges stall would hold up all the others.
    What gets no place for as long as a claim lasts is not known.
    """
    rows = await _standing(ctx, invoice_ids)
    if not rows:
        return []
    async with ctx.store.read() as session:
        merchants = {row["merchant_id"] for row in rows}
        accounts = await _accounts(ctx, session, merchants)
        times = await moments(ctx, session, merchants)
    asked = [row for row in rows if asking_only or not row["had_link"] or not _cannot_ask(accounts[row["merchant_id"]])]
    await _leave_to_a_person(ctx, [row for row in rows if row not in asked], accounts, times)
    until = monotonic() + ctx.lease_s
    found = await asyncio.gather(*(_remember(ctx, row, accounts[row["merchant_id"]], until) for row in asked))
    for row, memory in zip(asked, found, strict=True):
        if memory is not None:
            await _take_in(ctx, row, memory, times[row["merchant_id"]])
    return [row["id"] for row, memory in zip(asked, found, strict=True) if memory is None]


async def recall_issued(ctx: Context, run_id: int) -> None:
    """Take in which invoices of a run, sent out with a link to pay them, were paid by it before."""
    held = exists().where(_right.c.owed_kind == OwedKind.INVOICE, _right.c.owed_id == _invoice.c.id)
    open_ones = select(_invoice.c.id).where(_invoice.c.run_id == run_id, _invoice.c.state == InvoiceState.OPEN, ~held)
    async with ctx.store.read() as session:
        ids = [row.id for row in await session.execute(open_ones.order_by(_invoice.c.id))]
    for start in range(0, len(ids), PAGE):
        if ctx.leaving:
            return
        await recall(ctx, ids[start : start + PAGE], asking_only=True)


async def _standing(ctx: Context, invoice_ids: Collection[int]) -> Sequence[RowMapping]:
    """Return the invoices that are open and are not being collected, with the attempt that only waits to be sent."""
    mine = and_(_right.c.owed_kind == OwedKind.INVOICE, _right.c.owed_id == _invoice.c.id)
    had_link = exists().where(_link.c.invoice_id == _invoice.c.id, _link.c.superseded_at.is_(None))
    query = (
        select(
            _invoice,
            _attempt.c.id.label("waiting_id"),
            _attempt.c.number.label("waiting_number"),
            _attempt.c.gateway_account_id.label("waiting_account_id"),
            had_link.label("had_link"),
        )
        .join_from(_invoice, _right, mine, isouter=True)
        .join(_attempt, _attempt.c.id == _right.c.attempt_id, isouter=True)
        .where(_invoice.c.id.in_(invoice_ids), _invoice.c.state == InvoiceState.OPEN)
        .where(or_(_attempt.c.id.is_(None), _attempt.c.state == AttemptState.CREATED))
        .order_by(_invoice.c.id)
    )
    async with ctx.store.read() as session:
        rows: Sequence[RowMapping] = (await session.execute(query)).mappings().all()
    return rows


async def _accounts(ctx: Context, session: AsyncSession, merchants: Collection[int]) -> dict[int, dict[int, Gateway]]:
    """Return the open accounts of each merchant."""
    query = select(_account.c.id, _account.c.merchant_id).where(_account.c.merchant_id.in_(merchants))
    rows = (await session.execute(query.where(_account.c.state == AccountState.OPEN))).all()
    gateways = await ctx.gateways.of(session, [row.id for row in rows])
    found: dict[int, dict[int, Gateway]] = {merchant: {} for merchant in merchants}
    for row in rows:
        found[row.merchant_id][row.id] = gateways[row.id]
    return found


def _cannot_ask(accounts: Mapping[int, Gateway]) -> list[str]:
    """Name the gateways where a customer can pay and nobody can be asked by our key."""
    can = [gateway.abilities for gateway in accounts.values()]
    return [each.title for each in can if (each.hosted_page or each.card_form) and not each.asking.by_key]


async def _take_in(ctx: Context, row: RowMapping, memory: _Memory, moment: Moment) -> None:
    """Settle what is known; where a gateway could not be asked, say so to a person, unless it is asked soon."""
    if memory.outcome is _LEAVING:
        return
    if not isinstance(memory.outcome, Unknown | Refused):
        await _adopt(ctx, row, memory, moment)
        return
    reason = f"what was charged since the backup cannot be asked about: {memory.outcome.reason}"
    async with ctx.store.write() as session:
        task = NewTask(row["merchant_id"], "restored", f"acc_{memory.account_id}", reason)
        await raise_tasks(session, [task], moment.now)


async def _leave_to_a_person(
    ctx: Context, rows: Sequence[RowMapping], accounts: Mapping[int, Mapping[int, Gateway]], times: Mapping[int, Moment]
) -> None:
    async with ctx.store.write() as session:
        for row in rows:
            where = ", ".join(_cannot_ask(accounts[row["merchant_id"]]))
            reason = (
                f"{row['number']} may have been paid by link since the backup at {where}, where nobody can be asked"
            )
            task = NewTask(row["merchant_id"], "restored", f"inv_{row['id']}", reason)
            await raise_tasks(session, [task], times[row["merchant_id"]].now)


async def _remember(ctx: Context, row: RowMapping, accounts: Mapping[int, Gateway], until: float) -> _Memory | None:
    """Ask about the try at hand and those after it, and return what says most; of several the latest."""
    first = row["waiting_number"] or row["tries"] + 1
    able = {id_: gateway for id_, gateway in accounts.items() if gateway.abilities.asking.by_key}
    tries = [(number, id_) for number in range(first, first + TRIES_AHEAD) for id_ in able]
    answers = await asyncio.gather(
        *(_find_in_turn(ctx, ctx.gateways.asking(id_), able[id_], row, number, until) for number, id_ in tries)
    )
    told = [_Memory(*each, answer) for each, answer in zip(tries, answers, strict=True)]
    known = [each for each in told if not isinstance(each.outcome, NotSent)]
    return max(known, key=lambda each: (_WEIGHT[type(each.outcome)], each.number), default=None)


async def _find_in_turn(
    ctx: Context, places: Places, gateway: Gateway, row: RowMapping, number: int, until: float
) -> Outcome:
    """Ask when there is a place for the question; without one nothing is known."""
    if not await ctx.take_place(places, until):
        return _LEAVING if ctx.leaving else Unknown("the gateway was too busy to be asked in time")
    try:
        return await _find(gateway, row, number)
    finally:
        places.leave()


async def _find(gateway: Gateway, row: RowMapping, number: int) -> Outcome:
    key, amount = attempt_key(row["key"], number), Money(row["total_minor"], row["currency"])
    try:
        return await gateway.find(Question(key, amount, "", 1))
    except Exception as error:  # noqa: BLE001 - an adapter that breaks has said nothing
        return Unknown(words_for(error))


async def _adopt(ctx: Context, row: RowMapping, memory: _Memory, moment: Moment) -> None:
    """Make an attempt of the try that was forgotten, and settle what is known of it, unless somebody is at it."""
    try:
        attempt_id = await _write(ctx, row, memory, moment)
    except IntegrityError:
        return
    if attempt_id is not None:
        await settle(ctx, [News(attempt_id, memory.outcome)])


async def _write(ctx: Context, row: RowMapping, memory: _Memory, moment: Moment) -> int | None:
    """Write the try down as sent by now, under its own name, and return its attempt."""
    async with ctx.store.write() as session:
        await session.execute(ctx.store.lock(select(_invoice.c.id).where(_invoice.c.id == row["id"])))
        if row["waiting_id"] is None:
            attempt = _forgotten(row, memory, moment)
            attempt_id: int | None = (await open_attempts(session, [attempt]))[attempt.key]
        else:
            attempt_id = await _become(session, row, memory, moment)
        if attempt_id is not None:
            claimed = {"sent_at": after_s(), "lease_until": after_s(ctx.lease_s), "asks": 1}
            await session.execute(update(_attempt).where(_attempt.c.id == attempt_id).values(**claimed))
            tries = update(_invoice).where(_invoice.c.id == row["id"]).values(tries=memory.number)
            await session.execute(tries)
        return attempt_id


async def _become(session: AsyncSession, row: RowMapping, memory: _Memory, moment: Moment) -> int | None:
    """Let the attempt that waits be the one that was made; if that was another, what it was to do is planned again."""
    values: dict[str, Any] = {"state": AttemptState.SENT}
    plan: dict[str, Any] = {}
    if (memory.number, memory.account_id) != (row["waiting_number"], row["waiting_account_id"]):
        made = _forgotten(row, memory, moment)
        names = ("gateway_account_id", "number", "key", "initiator", "channel")
        values |= {name: getattr(made, name) for name in names}
        plan = {"next_step": StepKind.RETRY, "next_step_on": moment.today}
    waits = (_attempt.c.id == row["waiting_id"]) & (_attempt.c.state == AttemptState.CREATED)
    became = update(_attempt).where(waits).values(**values).returning(_attempt.c.id)
    attempt_id: int | None = (await session.execute(became)).scalar()
    if plan and attempt_id is not None:
        await session.execute(update(_invoice).where(_invoice.c.id == row["id"]).values(**plan))
    return attempt_id


def _forgotten(row: RowMapping, memory: _Memory, moment: Moment) -> NewAttempt:
    return NewAttempt(
        merchant_id=row["merchant_id"],
        customer_id=row["customer_id"],
        gateway_account_id=memory.account_id,
        owed_key=row["key"],
        number=memory.number,
        amount=Money(row["total_minor"], row["currency"]),
        business_at=moment.now,
        initiator=Initiator.CUSTOMER,
        channel=Channel.PAY_LINK,
        invoice_id=row["id"],
        state=AttemptState.SENT,
    )
