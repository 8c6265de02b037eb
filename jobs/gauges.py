"""Figures that are read from the database when somebody asks: the same in every process, and cheap at any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, Select, String, cast, exists, func, literal, null, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.invoices import InvoiceState
from billing.models import (
    Attempt,
    ChargeRight,
    GatewayAccount,
    Invoice,
    Merchant,
    Message,
    MessageState,
    OwedKind,
    Run,
    RunState,
    Task,
    TaskState,
    Verification,
    VerificationState,
    table,
)
from billing.payments import IN_DOUBT, AttemptState
from billing.store import after_s

_attempt, _invoice, _right, _message = table(Attempt), table(Invoice), table(ChargeRight), table(Message)
_run, _task, _verification = table(Run), table(Task), table(Verification)
_account, _merchant = table(GatewayAccount), table(Merchant)

COUNTED_MAX: Final = 10_000
"""Nothing is counted further: so many of anything that should be few is an alarm, and a count must stay cheap."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure, by its labels; nothing is known of an age where there is nothing that has one."""

    name: str
    about: str
    labels: tuple[str, ...]
    values: Sequence[tuple[tuple[str, ...], float]]


async def read_gauges(session: AsyncSession) -> list[Reading]:
    """Read every figure, each in a statement that an index bounds."""
    doubts = await _look(session, _of(_attempt.c.sent_at, _attempt.c.state.in_(IN_DOUBT), _attempt.c.ask_at))
    queued = _message.c.state == MessageState.QUEUED
    mails = await _look(session, _of(_message.c.created_at, queued, _message.c.next_try_at))
    owed = _verification.c.state == VerificationState.AUTHORISED
    reversals = await _look(session, _of(_verification.c.authorised_at, owed, _verification.c.id))
    expired = (_attempt.c.state == AttemptState.SENT) & (_attempt.c.lease_until < after_s())
    leases = await _look(session, _of(_attempt.c.lease_until, expired, _attempt.c.ask_at))
    stuck = await _look(session, _of(null(), _is_stuck(), _invoice.c.id))
    return [
        _count("doubts", "Attempts whose outcome is not known.", doubts),
        _age("oldest_doubt_age_seconds", "Since the oldest of them was sent.", doubts),
        _count("mails_queued", "Mails that wait to be sent.", mails),
        _age("oldest_mail_age_seconds", "Since the oldest of them was written.", mails),
        _count("reversals_owed", "Verifications that are to be reversed.", reversals),
        _count("leases_expired", "Claims whose sender did not come back.", leases),
        _count("invoices_stuck", "Open invoices for which nobody will do anything.", stuck),
        await _tasks(session),
        await _last_runs(session),
    ]


async def read_accounts(session: AsyncSession) -> dict[int, str]:
    """Return what each gateway account is called, with its merchant."""
    columns = select(_account.c.id, _account.c.reference, _merchant.c.reference.label("merchant"))
    rows = await session.execute(columns.join_from(_account, _merchant))
    return {row.id: f"{row.merchant}/{row.reference}" for row in rows}


def _of(at: ColumnElement[Any], where: ColumnElement[bool], order: ColumnElement[Any]) -> Select[int, Any, datetime]:
    few = select(at.label("at")).where(where).order_by(order).limit(COUNTED_MAX).subquery()
    return select(func.count().label("n"), func.min(few.c.at).label("oldest"), after_s().label("now")).select_from(few)


def _is_stuck() -> ColumnElement[bool]:
    """Say which open invoices have neither a charge, nor a next step, nor a task for a person."""
    held = exists().where(_right.c.owed_kind == OwedKind.INVOICE, _right.c.owed_id == _invoice.c.id)
    subject = literal("inv_") + cast(_invoice.c.id, String)
    asked = exists().where(_task.c.state == TaskState.OPEN, _task.c.subject == subject)
    return (_invoice.c.state == InvoiceState.OPEN) & _invoice.c.next_step.is_(None) & ~or_(held, asked)


async def _look(session: AsyncSession, query: Select[int, Any, datetime]) -> RowMapping:
    row: RowMapping = (await session.execute(query)).mappings().one()
    return row


def _count(name: str, about: str, row: RowMapping) -> Reading:
    return Reading(name, f"{about} At most {COUNTED_MAX} are counted.", (), [((), float(row["n"]))])


def _age(name: str, about: str, row: RowMapping) -> Reading:
    known = row["oldest"] is not None
    return Reading(name, about, (), [((), max(0.0, (row["now"] - row["oldest"]).total_seconds()) if known else 0.0)])


async def _tasks(session: AsyncSession) -> Reading:
    open_ones = select(_task.c.kind, func.count().label("n")).where(_task.c.state == TaskState.OPEN)
    rows = (await session.execute(open_ones.group_by(_task.c.kind))).all()
    values = [((row.kind,), float(row.n)) for row in rows]
    return Reading("tasks_open", "Tasks that wait for a person.", ("kind",), values)


async def _last_runs(session: AsyncSession) -> Reading:
    last = func.max(_run.c.finished_at).label("at")
    query = select(_merchant.c.reference, last, after_s().label("now")).join_from(_run, _merchant)
    query = query.where(_run.c.state == RunState.FINISHED).group_by(_merchant.c.reference)
    rows = (await session.execute(query)).all()
    values = [((row.reference,), (row.now - row.at).total_seconds()) for row in rows]
    return Reading("last_run_age_seconds", "Since a merchant's latest finished run ended.", ("merchant",), values)
