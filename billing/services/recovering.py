"""Take the dunning steps that are due: try again, remind, and at last pause the access."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, bindparam, exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from billing import dunning
from billing.dunning import Step, StepKind
from billing.events import EventType
from billing.gateway import DeclineClass
from billing.invoices import InvoiceState
from billing.models import (
    AccountState,
    Attempt,
    ChargeRight,
    GatewayAccount,
    Invoice,
    OwedKind,
    Profile,
    ProfileState,
    Subscription,
    table,
)
from billing.money import Money
from billing.payments import Channel
from billing.services.attempting import NewAttempt, open_attempts
from billing.services.context import Context, Moment
from billing.services.invoicing import is_kept_running
from billing.services.messaging import NewMessage, Owed, give_links, queue
from billing.services.recalling import recall
from billing.services.tasking import NewTask, raise_tasks
from billing.services.telling import NewEvent, tell
from billing.store import PAGE
from billing.subscriptions import Collection, SubscriptionState

_invoice, _subscription, _profile = table(Invoice), table(Subscription), table(Profile)
_attempt, _account, _right = table(Attempt), table(GatewayAccount), table(ChargeRight)

_PAUSABLE = (SubscriptionState.ACTIVE, SubscriptionState.PAST_DUE)


@dataclass(frozen=True, slots=True)
class _Scope:
    """Whose steps are taken, when, and on which account."""

    merchant_id: int
    moment: Moment
    channel: Channel
    run_id: int | None
    where: tuple[ColumnElement[bool], ...]


@dataclass(slots=True)
class _Taken:
    """What the steps of a page lead to."""

    attempts: list[NewAttempt] = field(default_factory=list)
    invoices: list[dict[str, Any]] = field(default_factory=list)
    paused: list[int] = field(default_factory=list)
    messages: list[NewMessage] = field(default_factory=list)
    owed: list[Owed] = field(default_factory=list)
    tasks: list[NewTask] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)


async def take_steps(ctx: Context, merchant_id: int, moment: Moment) -> Counter[str]:
    """Take every step that is due by the merchant's day; return how many of each kind."""
    return await _take_all(ctx, merchant_id, moment, Channel.DUNNING, None)


async def try_unsent_again(ctx: Context, merchant_id: int, moment: Moment, run_id: int | None) -> Counter[str]:
    """Try again what a run could not send, and nobody has declined: it is the run's own business."""
    never_declined = (_invoice.c.dunned_since.is_(None),)
    return await _take_all(ctx, merchant_id, moment, Channel.NIGHT, run_id, *never_declined)


async def _take_all(
    ctx: Context, merchant_id: int, moment: Moment, channel: Channel, run_id: int | None, *where: ColumnElement[bool]
) -> Counter[str]:
    scope = _Scope(merchant_id, moment, channel, run_id, where)
    if ctx.ask_first:
        return await _take_what_nobody_knows_of(ctx, scope)
    done: Counter[str] = Counter()
    while not ctx.leaving and (taken := await _take(ctx, scope)):
        done += taken
    return done


async def _take_what_nobody_knows_of(ctx: Context, scope: _Scope) -> Counter[str]:
    """Take only steps of invoices that nobody has paid since the backup; what is charged is asked about later."""
    async with ctx.store.read() as session:
        rows = (await session.execute(_joined(_invoice.c.id, _invoice.c.next_step).where(*_is_due(scope)))).all()
    done: Counter[str] = Counter()
    for start in range(0, len(rows), PAGE):
        if ctx.leaving:
            break
        page = rows[start : start + PAGE]
        known = await recall(ctx, [row.id for row in page if row.next_step != StepKind.RETRY])
        free = [row.id for row in page if row.next_step == StepKind.RETRY] + known
        done += await _take(ctx, replace(scope, where=(*scope.where, _invoice.c.id.in_(free))))
    return done


async def _take(ctx: Context, scope: _Scope) -> Counter[str]:
    try:
        return await _take_page(ctx, scope)
    except IntegrityError:
        return await _take_one_by_one(ctx, scope)


async def _take_page(ctx: Context, scope: _Scope, *where: ColumnElement[bool]) -> Counter[str]:
    async with ctx.store.write() as session:
        if scope.run_id is not None and not await is_kept_running(ctx, session, scope.run_id):
            return Counter()
        rows = await _due(ctx, session, scope, *where)
        taken = _Taken()
        for row in rows:
            _decide(ctx, row, scope, taken)
        await _write(session, taken, scope.moment)
        about = (scope.merchant_id, EventType.SUBSCRIPTION_PAUSED, "sub")
        await tell(ctx, session, [NewEvent(*about, id_, scope.moment.now) for id_ in taken.paused])
        return taken.done


async def _take_one_by_one(ctx: Context, scope: _Scope) -> Counter[str]:
    """Take each step of a page that failed in a transaction of its own, and leave to a person what fails again."""
    done: Counter[str] = Counter()
    async with ctx.store.read() as session:
        ids = [row.id for row in await session.execute(_due_query(scope))]
    for invoice_id in ids:
        try:
            done += await _take_page(ctx, scope, _invoice.c.id == invoice_id)
        except IntegrityError as error:
            await _set_aside(ctx, scope, invoice_id, str(error.orig))
            done["unstorable"] += 1
    return done


async def _set_aside(ctx: Context, scope: _Scope, invoice_id: int, reason: str) -> None:
    async with ctx.store.write() as session:
        mine = update(_invoice).where(_invoice.c.id == invoice_id)
        await session.execute(mine.values(next_step=None, next_step_on=None))
        task = NewTask(scope.merchant_id, "unstorable", f"inv_{invoice_id}", reason)
        await raise_tasks(session, [task], scope.moment.now)


async def _due(ctx: Context, session: AsyncSession, scope: _Scope, *where: ColumnElement[bool]) -> Sequence[RowMapping]:
    """Lock a page of open invoices whose step is due, behind their subscriptions as everywhere."""
    pairs = await session.execute(_due_query(scope).where(*where))
    mine = {row.id: row.subscription_id for row in pairs}
    behind = select(_subscription.c.id).where(_subscription.c.id.in_(mine.values())).order_by(_subscription.c.id)
    held = {row.id for row in await session.execute(ctx.store.claim(behind))}
    ids = [id_ for id_, subscription_id in mine.items() if subscription_id is None or subscription_id in held]
    query = _joined(*_columns()).where(_invoice.c.id.in_(ids), *_is_due(scope))
    rows: Sequence[RowMapping] = (await session.execute(ctx.store.claim(query, _invoice))).mappings().all()
    return rows


def _due_query(scope: _Scope) -> Select[Any]:
    return _joined(_invoice.c.id, _invoice.c.subscription_id).where(*_is_due(scope)).limit(PAGE)


def _is_due(scope: _Scope) -> list[ColumnElement[bool]]:
    being_collected = exists().where(_right.c.owed_kind == OwedKind.INVOICE, _right.c.owed_id == _invoice.c.id)
    return [
        _invoice.c.merchant_id == scope.merchant_id,
        _invoice.c.state == InvoiceState.OPEN,
        _invoice.c.next_step_on <= scope.moment.today,
        ~being_collected,
        _not_waiting_for_account(),
        *scope.where,
    ]


def _joined(*columns: Any) -> Select[Any]:
    query = select(*columns).join_from(_invoice, _subscription, isouter=True)
    query = query.join(_profile, _profile.c.id == _subscription.c.profile_id, isouter=True)
    return query.order_by(_invoice.c.next_step_on, _invoice.c.id)


def _columns() -> list[Any]:
    latest = select(_attempt.c.decline_class).where(_attempt.c.owed_key == _invoice.c.key)
    return [
        *_invoice.c,
        _subscription.c.state.label("subscription_state"),
        _subscription.c.collection,
        _subscription.c.profile_id,
        _profile.c.state.label("profile_state"),
        _profile.c.gateway_account_id,
        latest.order_by(_attempt.c.number.desc()).limit(1).scalar_subquery().label("last_decline"),
    ]


def _not_waiting_for_account() -> ColumnElement[bool]:
    """A retry waits while its gateway account is stopped; every other step goes on."""
    stopped = exists().where(_account.c.id == _profile.c.gateway_account_id, _account.c.state == AccountState.STOPPED)
    return or_(_invoice.c.next_step != StepKind.RETRY, ~stopped)


def _decide(ctx: Context, row: RowMapping, scope: _Scope, taken: _Taken) -> None:
    kind = StepKind(row["next_step"])
    if kind == StepKind.RETRY and _is_chargeable(row):
        taken.attempts.append(_retry(row, scope))
        taken.invoices.append(_planned(row, None, row["dunned_since"], row["tries"] + 1))
    else:
        _move_on(ctx, row, kind, scope.moment, taken)
    taken.done[kind] += 1


def _is_chargeable(row: RowMapping) -> bool:
    return bool(row["collection"] == Collection.CHARGE and row["profile_state"] == ProfileState.ACTIVE)


def _retry(row: RowMapping, scope: _Scope) -> NewAttempt:
    return NewAttempt(
        merchant_id=row["merchant_id"],
        customer_id=row["customer_id"],
        gateway_account_id=row["gateway_account_id"],
        profile_id=row["profile_id"],
        run_id=scope.run_id,
        channel=scope.channel,
        owed_key=row["key"],
        number=row["tries"] + 1,
        amount=Money(row["total_minor"], row["currency"]),
        invoice_id=row["id"],
        business_at=scope.moment.now,
    )


def _move_on(ctx: Context, row: RowMapping, kind: StepKind, moment: Moment, taken: _Taken) -> None:
    """Write to the customer, and plan the step after this one."""
    planned_on = row["next_step_on"]
    begun_on = moment.today
    if row["dunned_since"] is not None:
        begun_on = dunning.begun_as_if(row["dunned_since"], planned_on, moment.today)
    retry = _is_chargeable(row) and dunning.can_retry(row["last_decline"] and DeclineClass(row["last_decline"]))
    step = dunning.next_step(ctx.ladder, begun_on, moment.today, retry=retry)
    taken.invoices.append(_planned(row, step, begun_on, row["tries"]))
    _write_to_customer(row, kind, moment, taken)
    if kind == StepKind.PAUSE and row["subscription_state"] in _PAUSABLE:
        taken.paused.append(row["subscription_id"])
    if step is None:
        reason = f"{row['number']} was not paid by the last step of dunning"
        taken.tasks.append(NewTask(row["merchant_id"], "unpaid", f"inv_{row['id']}", reason))


_MAILS = {StepKind.RETRY: "invoice", StepKind.REMIND: "reminder", StepKind.PAUSE: "last_step"}


def _write_to_customer(row: RowMapping, kind: StepKind, moment: Moment, taken: _Taken) -> None:
    about = (row["merchant_id"], row["customer_id"])
    step = f"{_MAILS[kind]} {row['next_step_on']}"
    taken.owed.append(Owed(*about, row["id"]))
    taken.messages.append(NewMessage(*about, f"inv_{row['id']}", step, moment.now, {"invoice_id": row["id"]}))


def _planned(row: RowMapping, step: Step | None, begun_on: date | None, tries: int) -> dict[str, Any]:
    return {
        "b_id": row["id"],
        "b_step": step.kind if step else None,
        "b_on": step.on if step else None,
        "b_since": begun_on,
        "b_tries": tries,
    }


async def _write(session: AsyncSession, taken: _Taken, moment: Moment) -> None:
    if not taken.invoices:
        return
    if taken.paused:
        mine = _subscription.c.id.in_(taken.paused)
        change = {"state": SubscriptionState.PAUSED, "paused_by_dunning": True, "next_due_on": None}
        await session.execute(update(_subscription).where(mine).values(**change))
    values: dict[str, Any] = {
        "next_step": bindparam("b_step"),
        "next_step_on": bindparam("b_on"),
        "dunned_since": bindparam("b_since"),
        "tries": bindparam("b_tries"),
    }
    await session.execute(update(_invoice).where(_invoice.c.id == bindparam("b_id")).values(**values), taken.invoices)
    await open_attempts(session, taken.attempts)
    await give_links(session, taken.owed, moment.now)
    await queue(session, taken.messages)
    await raise_tasks(session, taken.tasks, moment.now)
