"""Doubts: what no gateway has answered yet, what is not confirmed yet, and what only a person can settle."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import ColumnElement, RowMapping, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.gateway import OperationKind
from billing.models import (
    Allocation,
    Attempt,
    Customer,
    GatewayAccount,
    Invoice,
    Operation,
    Role,
    Subscription,
    Task,
    TaskState,
    table,
)
from billing.money import Money
from billing.payments import IN_DOUBT, OPEN, AttemptState
from billing.services import operating, reconciling
from billing.services.deciding import PROOF_CHARS_MAX, DecisionError, Word, decide_within
from billing.services.recounting import Of
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.tasking import ENDS_BY_ITSELF, find_task, finish_task
from billing.web.console.attempts import ATTEMPTS
from billing.web.console.desk import PART, Desk, Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Option, Values, amount
from billing.web.console.gate import Section
from billing.web.console.pages import word_of
from billing.web.console.places import place_of
from billing.web.console.stories import CHANNELS, STANDS, means_in, told

_attempt, _operation, _allocation = table(Attempt), table(Operation), table(Allocation)
_customer, _account, _invoice = table(Customer), table(GatewayAccount), table(Invoice)
_subscription, _task = table(Subscription), table(Task)

Named = Annotated[str, Path(pattern=r"^(att|op)_[0-9]{1,18}$")]
TaskNamed = Annotated[str, Path(pattern=r"^task_[0-9]{1,18}$")]

FIRST: Final = 10


def _one_of(column: ColumnElement[Any], words: Sequence[str]) -> ColumnElement[bool]:
    """Name states in the statement itself, so that the indexes of what is open, and of nothing else, serve it."""
    return column.in_([literal_column(f"'{each}'") for each in words])


async def count_waiting(session: AsyncSession, merchant_id: int) -> int:
    """Count what waits for a person, by the index of what is open."""
    mine = (_task.c.merchant_id == merchant_id) & _one_of(_task.c.state, [TaskState.OPEN])
    return int((await session.execute(select(func.count()).where(mine))).scalar_one())


router = Section("Doubts", "/doubts", count=count_waiting)

_OPERATIONS: Final = (
    select(
        _operation,
        _attempt.c.key.label("attempt"),
        _customer.c.reference.label("customer"),
        _customer.c.name.label("customer_name"),
        _account.c.reference.label("account"),
        _account.c.gateway,
    )
    .join_from(_operation, _attempt, _attempt.c.id == _operation.c.attempt_id)
    .join(_customer, _customer.c.id == _attempt.c.customer_id)
    .join(_account, _account.c.id == _attempt.c.gateway_account_id)
)
# Each list, with what its rows are counted by and whose they are; the first three are on the first page.
_LISTS: Final[Mapping[str, tuple[Select[Any], ColumnElement[int], ColumnElement[int]]]] = {
    "tasks": (select(_task).where(_one_of(_task.c.state, [TaskState.OPEN])), _task.c.id, _task.c.merchant_id),
    "charges": (
        ATTEMPTS.where(_one_of(_attempt.c.state, [AttemptState.UNKNOWN])),
        _attempt.c.id,
        _attempt.c.merchant_id,
    ),
    "owed": (_OPERATIONS.where(_one_of(_operation.c.state, OPEN)), _operation.c.id, _attempt.c.merchant_id),
    "pending": (
        ATTEMPTS.where(_one_of(_attempt.c.state, [AttemptState.PENDING])),
        _attempt.c.id,
        _attempt.c.merchant_id,
    ),
    "done": (select(_task).where(_task.c.state == TaskState.DONE), _task.c.id, _task.c.merchant_id),
}
_FIRST_PAGE: Final = ("tasks", "charges", "owed")
TITLES: Final[Mapping[str, str]] = {
    "account_stopped": "Account stopped",
    "amount": "Another amount was booked",
    "doubt": "Still in doubt",
    "forget": "Stored means not forgotten",
    "mail": "Mail not delivered",
    "needs_approval": "More than one period is due",
    "notification": "Notification not understood",
    "operation": "Giving back fails",
    "profile": "Stored means changed",
    "restored": "After a restore",
    "run": "Run held back",
    "surplus": "Paid more than once",
    "unpaid": "Not paid",
    "unpriceable": "No invoice can be made",
    "unsendable": "Charge cannot be sent",
    "unsettled": "News cannot be settled",
    "unstorable": "Invoice cannot be stored",
    "webhook": "Webhook endpoint does not answer",
    "webhook_event": "Event not delivered",
}


def title_of(kind: str) -> str:
    """Return what a task is called."""
    return TITLES.get(kind) or word_of(kind).capitalize()


@router.page("/doubts", Role.VIEWER)
async def list_doubts(desk: Seated) -> Response:
    """Show what waits for a person, what is in doubt, and what is not confirmed; or one of these lists in full."""
    only = desk.asked("list") if desk.asked("list") in _LISTS else ""
    parts = {}
    async with desk.ctx.store.read() as session:
        for name in [only] if only else _FIRST_PAGE:
            query, id_column, whose = _LISTS[name]
            mine = query.where(whose == desk.merchant_id)
            parts[name] = await part_of(desk, session, mine, id_column, PART if only else FIRST)
        asked = [row["subject"] for name in {"tasks", "done"} & set(parts) for row in parts[name].rows]
        places = await _places(desk, session, asked)
    return desk.show("doubts.html", parts=parts, places=places, only=only, title_of=title_of)


# --- one doubt --------------------------------------------------------------


@router.page("/doubts/{doubt}", Role.VIEWER)
async def show_doubt(desk: Seated, doubt: Named) -> Response:
    """Show what was sent, what was heard, and what can be done about it."""
    return await _shown(desk, doubt)


@router.action("/doubts/{doubt}/ask", Role.OPERATOR)
async def ask_gateway(desk: Seated, doubt: Named) -> Response:
    """Ask the gateway now instead of later, and say what came of it."""
    async with desk.ctx.store.read() as session:
        await _found(desk, session, doubt)
    ask = reconciling.ask_now if doubt.startswith("att") else operating.ask_now
    await ask(desk.ctx, _number(doubt))
    async with desk.ctx.store.write() as session:
        row = await _found(desk, session, doubt)
        await desk.note(session, "ask_gateway", doubt, state=row["state"])
    return desk.done(f"/doubts/{doubt}", f"The gateway was asked. It is {STANDS[row['state']]}.")


@router.action("/doubts/{doubt}/settle", Role.OPERATOR)
async def settle_doubt(desk: Seated, doubt: Named) -> Response:
    """Settle a doubt by a person's word, with proof; what the gateway says later still corrects it."""
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, doubt)
        form = _form(desk, doubt, row, await _paid_by(session, doubt, row))

    async def effect(session: AsyncSession, values: Values) -> None:
        word = _word(desk, values)
        try:
            state = await decide_within(desk.ctx, session, doubt, word)
        except DecisionError as error:
            raise _refused(error) from None
        await desk.note(session, "settle_doubt", doubt, state=state, word=str(word))

    draft = await desk.attempt(form.read(desk.typed), effect)
    if draft.is_wrong:
        return await _shown(desk, doubt, draft)
    return desk.done(f"/doubts/{doubt}", "Settled by your word.")


def _word(desk: Desk, values: Values) -> Word:
    """Return what a person says; raise `UnfitError` where one part of it contradicts another."""
    is_booked = values["found"] == "booked"
    if is_booked and not values["gateway_id"]:
        raise UnfitError("gateway_id", "Write what the gateway calls it: it is on the statement.")
    if not is_booked and values["gateway_id"]:
        raise UnfitError("gateway_id", "What was not booked has no id: leave this empty.")
    booked = values.get("amount", "")
    text = str(booked.major) if isinstance(booked, Money) else ""
    return Word(values["proof"], desk.actor.name, values["gateway_id"], text, values.get("reserved", False))


_FIELDS: Final = {"--approved": "gateway_id", "--amount": "amount", "--proof": "proof", "--not-booked": "found"}


def _refused(error: DecisionError) -> UnfitError | ConflictError:
    """Say beside the field what a decision says of the option that stands for it."""
    option, _, said = str(error).partition(": ")
    return UnfitError(_FIELDS[option], said) if option in _FIELDS else ConflictError(str(error))


def _form(desk: Desk, doubt: str, row: RowMapping, paid: Sequence[RowMapping]) -> Form:
    booked, nothing = _consequences(desk, row, paid) if doubt.startswith("att") else _consequences_of(desk, row)
    found = (Option("booked", "It was booked", booked), Option("nothing", "Nothing was booked", nothing))
    fields = [
        Field("found", "What did you find out?", "choice", options=found),
        Field("gateway_id", "Called there", hint="The gateway's id of it, if it was booked.", required=False),
        Field("proof", "How you know it", hint="A statement, a name, a case number.", chars_max=PROOF_CHARS_MAX),
    ]
    if doubt.startswith("att"):
        only = "Only if it is not what was asked for. The invoice then stays open, and the money is the customer's."
        read = amount(row["currency"])
        fields[2:2] = [
            Field("amount", "Amount", "number", only, required=False, read=read, affix=row["currency"], chars_max=20),
            Field("reserved", "It is only reserved there", "check", "It is captured then."),
        ]
    return Form.of(*fields)


def _consequences(desk: Desk, row: RowMapping, paid: Sequence[RowMapping]) -> tuple[str, str]:
    """Say what either word on a charge does, with day and amount."""
    today, total = desk.writer.day(desk.at.moment.today), desk.writer.money(row["amount_minor"], row["currency"])
    numbers = ", ".join(each["number"] for each in paid)
    if not numbers:
        what = "the customer's card or account is renewed, and the amount is owed back"
        return f"{total} count as taken on {today}: {what}.", "The renewal has failed, and nothing is owed back."
    booked = f"{total} are booked on {today}, which pays {numbers}. {row['customer_name']} gets a receipt."
    again = f"{numbers} stays open, and {total} may be charged again from today on, {today}."
    return booked, f"{again} If it was booked after all, the customer pays twice until that is noticed."


_DONE: Final[Mapping[str, str]] = {
    OperationKind.CAPTURE: "{amount} count as captured on {today}.",
    OperationKind.REVERSAL: "{amount} count as released to {name} on {today}.",
}
_AGAIN: Final = "It is owed still, and goes to the gateway once more today, {today}, over {amount}."


def _consequences_of(desk: Desk, row: RowMapping) -> tuple[str, str]:
    """Say what either word on an operation does, with day and amount."""
    known = {"amount": desk.writer.money(row["amount_minor"], row["currency"]), "name": row["customer_name"]}
    known["today"] = desk.writer.day(desk.at.moment.today)
    done = _DONE.get(row["kind"], "{amount} count as given back to {name} on {today}, and are booked.")
    return done.format(**known), _AGAIN.format(**known)


async def _shown(desk: Desk, doubt: str, draft: Draft | None = None) -> Response:
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, doubt)
        paid = await _paid_by(session, doubt, row)
        about = (_task.c.subject == doubt) & (_task.c.merchant_id == desk.merchant_id)
        tasks = await session.execute(select(_task).where(about, _one_of(_task.c.state, [TaskState.OPEN])))
        known: dict[str, Any] = {"tasks": tasks.mappings().all(), "paid": paid}
        known["attempt"] = attempt = await _attempt_of(desk, session, doubt, row)
        known["story"] = await told(desk, session, Of.ATTEMPT, attempt)
    known |= {"means": means_in(attempt), "channel": CHANNELS[attempt["channel"]], "stands": STANDS[row["state"]]}
    known |= {"what": "Charge" if doubt.startswith("att") else word_of(row["kind"]).capitalize()}
    known |= {"can_ask": _can_ask(row), "in_doubt": row["state"] in IN_DOUBT, "title_of": title_of}
    blank = _form(desk, doubt, row, paid).blank()
    return desk.show("doubt.html", row=row, name=doubt, draft=draft or blank, **known)


def _can_ask(row: RowMapping) -> bool:
    return row["state"] in (AttemptState.PENDING, AttemptState.UNKNOWN) and row["ask_at"] is not None


async def _found(desk: Desk, session: AsyncSession, doubt: str) -> RowMapping:
    query, of = (ATTEMPTS, _attempt) if doubt.startswith("att") else (_OPERATIONS, _operation)
    mine = (of.c.id == _number(doubt)) & (_attempt.c.merchant_id == desk.merchant_id)
    row: RowMapping | None = (await session.execute(query.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no {doubt}")
    return row


async def _attempt_of(desk: Desk, session: AsyncSession, doubt: str, row: RowMapping) -> RowMapping:
    return row if doubt.startswith("att") else await _found(desk, session, f"att_{row['attempt_id']}")


async def _paid_by(session: AsyncSession, doubt: str, row: RowMapping) -> Sequence[RowMapping]:
    """Return the invoices that a charge pays, or the one whose payment an operation follows."""
    query = select(_invoice.c.number).join_from(_allocation, _invoice)
    attempt_id = row["id"] if doubt.startswith("att") else row["attempt_id"]
    mine = query.where(_allocation.c.attempt_id == attempt_id).order_by(_allocation.c.position)
    return (await session.execute(mine)).mappings().all()


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])


# --- one task ---------------------------------------------------------------

_FINISH: Final = Form.of(Field("word", "What was done", hint="It stays in the audit log.", chars_max=500))
# Where the thing that a task is about has its page, which of its words names it there, and what people call it.
_PLACES: Final = {
    "inv": (_invoice, "/invoices/", _invoice.c.number, _invoice.c.number),
    "sub": (_subscription, "/subscriptions/", _subscription.c.reference, _subscription.c.reference),
    "cus": (_customer, "/customers/", _customer.c.reference, _customer.c.name),
    "acc": (_account, "/gateways/", _account.c.reference, _account.c.reference),
}
_SUBJECT: Final = re.compile(r"([a-z]+)_([0-9]{1,18})(/.*)?")


@router.page("/tasks/{task}", Role.VIEWER)
async def show_task(desk: Seated, task: TaskNamed) -> Response:
    """Show what a person is asked, and where it is settled."""
    return await _task_shown(desk, task)


@router.action("/tasks/{task}/done", Role.OPERATOR)
async def finish(desk: Seated, task: TaskNamed) -> Response:
    """Take a person's word that a task is done."""
    async with desk.ctx.store.read() as session:
        row = await find_task(session, desk.merchant_id, _number(task))

    async def effect(session: AsyncSession, values: Values) -> None:
        await finish_task(session, desk.merchant_id, row["id"])
        await desk.note(session, "finish_task", task, about=row["subject"], word=values["word"])

    draft = await desk.attempt(_FINISH.read(desk.typed), effect)
    if draft.is_wrong:
        return await _task_shown(desk, task, draft)
    return desk.done("/doubts", "Done, and out of the way.")


async def _task_shown(desk: Desk, task: str, draft: Draft | None = None) -> Response:
    async with desk.ctx.store.read() as session:
        row = await find_task(session, desk.merchant_id, _number(task))
        label, path = (await _places(desk, session, [row["subject"]]))[row["subject"]]
    known: dict[str, Any] = {"label": label, "path": path, "title": title_of(row["kind"])}
    known["ends_by_itself"] = row["kind"] in ENDS_BY_ITSELF
    return desk.show("task.html", row=row, draft=draft or _FINISH.blank(), **known)


async def _places(desk: Desk, session: AsyncSession, subjects: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return what each of these things is called, and the path of its page if it has one."""
    places = {each: (each, place_of(each.partition("/")[0])) for each in subjects}
    matches = [match for each in subjects if (match := _SUBJECT.fullmatch(each))]
    for kind in {match[1] for match in matches} & set(_PLACES):
        of, path, key, label = _PLACES[kind]
        wanted = {match[0]: int(match[2]) for match in matches if match[1] == kind}
        mine = of.c.id.in_(wanted.values()) & (of.c.merchant_id == desk.merchant_id)
        rows = await session.execute(select(of.c.id, key, label).where(mine))
        found = {id_: (called, path + named) for id_, named, called in rows}
        places |= {subject: found[id_] for subject, id_ in wanted.items() if id_ in found}
    return places
