"""Give money back: at an operator's word, or a surplus by itself where the merchant wants that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import RowMapping, Select, func, select
from sqlalchemy import case as choose
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import Abilities, OperationKind
from billing.models import Attempt, Customer, Merchant, Operation, SurplusPolicy, Task, TaskState, table
from billing.money import Money, MoneyError
from billing.payments import OPEN, AttemptState
from billing.services import cases
from billing.services.auditing import Actor, audit_about
from billing.services.cases import Case
from billing.services.context import Context
from billing.services.holding import Holding, credit_of, holding_of
from billing.services.operating import owe, run_operations
from billing.store import PAGE

_attempt, _operation, _task, _merchant = table(Attempt), table(Operation), table(Task), table(Merchant)

_NAME: Final = re.compile(r"att_(\d{1,18})(?:/(.{1,64}))?")
_BACK: Final = (OperationKind.REFUND, OperationKind.CREDIT, OperationKind.REVERSAL)


class RefundError(ValueError):
    """Money that is not given back; the message says why. Nothing was changed and nothing was sent."""


class RefundAmountError(RefundError):
    """An amount that cannot be given back."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment by its public name: `att_12`, or `att_12/5001` for a second one under the same key."""

    attempt_id: int
    payment_id: str = ""

    @classmethod
    def named(cls, name: str) -> Payment:
        """Read a name, or raise `RefundError`."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise RefundError(f"{name!r} names no payment: give att_12, or att_12/ID for a second one under its key")
        return cls(int(match[1]), match[2] or "")


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What was given back, and how the latest try to do so stands."""

    operation_id: int
    amount: Money
    state: AttemptState
    evidence: str


async def give_back(
    ctx: Context, name: str, amount: str = "", reason: str = "", actor: Actor | None = None
) -> GivenBack:
    """Give back an amount of a payment, or all that is left of it, and return how that went.

    Never more goes back than came in and has not gone back yet; what is under way counts as gone. Raises
    `RefundError` before anything is changed or sent.
    """
    payment = Payment.named(name)
    async with ctx.store.write() as session:
        owed = await owe_back(ctx, session, payment, amount or None, reason)
        about = {"operation": f"op_{owed}", "amount": amount or "all that is left", "reason": reason}
        await audit_about(ctx, session, actor, "give_back", name, **about)
    await run_operations(ctx, payment.attempt_id)
    return await _latest(ctx, payment.attempt_id)


async def owe_back(
    ctx: Context, session: AsyncSession, payment: Payment, amount: Money | str | None, reason: str
) -> int:
    """Owe an amount of a payment back, or all that is left of it, and return the operation's id; nothing is sent yet.

    Whoever does what is owed (`run_operations`) sends it. Raises `RefundError` where it cannot be given back.
    """
    case = await _locked(ctx, session, payment)
    holding = await _check(session, case, payment)
    wanted = _wanted(amount, holding)
    _check_ability(await _abilities(ctx, session, case), wanted, holding)
    return await _owe(session, case, payment, wanted, reason)


async def give_back_surplus(ctx: Context) -> int:
    """Give back every surplus of merchants who want that, each once, and return how many are on their way.

    What fails is tried again like everything owed, and at last a person is asked; the surplus stays a task
    until it is gone.
    """
    begun = 0
    for payment in await _surpluses(ctx):
        async with ctx.store.write() as session:
            begun += await _give_back_surplus(ctx, session, payment)
    return begun


async def _give_back_surplus(ctx: Context, session: AsyncSession, payment: Payment) -> bool:
    """Owe a surplus back, as far as the customer's credit goes: what was given back elsewhere is no surplus."""
    case = await _locked(ctx, session, payment)
    if await _was_tried(session, payment):
        return False
    try:
        holding = await _check(session, case, payment)
        amount = min(holding.left, await _surplus(session, case))
        _check_ability(await _abilities(ctx, session, case), amount, holding)
    except RefundError:
        return False
    if amount > amount * 0:
        await _owe(session, case, payment, amount, "a surplus goes back by the merchant's rule")
    return amount > amount * 0


async def _surpluses(ctx: Context) -> Sequence[Payment]:
    """Return the surpluses that wait, oldest first, of merchants who want them given back and nobody has tried to."""
    query = select(_task.c.subject).join_from(_task, _merchant, _merchant.c.id == _task.c.merchant_id)
    waiting = [_task.c.state == TaskState.OPEN, _task.c.kind == "surplus", _merchant.c.surplus == SurplusPolicy.REFUND]
    async with ctx.store.read() as session:
        names = (await session.execute(query.where(*waiting).order_by(_task.c.id))).scalars()
        found = [Payment.named(name) for name in names]
        tried = {
            Payment(row.attempt_id, row.payment_id)
            for first in range(0, len(found), PAGE)
            for row in await session.execute(_tried(found[first : first + PAGE]))
        }
    return [payment for payment in found if payment not in tried]


def _tried(payments: Sequence[Payment]) -> Select[tuple[int, str]]:
    mine = _operation.c.attempt_id.in_([payment.attempt_id for payment in payments])
    return select(_operation.c.attempt_id, _operation.c.payment_id).where(mine, _operation.c.kind.in_(_BACK))


async def _was_tried(session: AsyncSession, payment: Payment) -> bool:
    rows = (await session.execute(_tried([payment]))).all()
    return any(row.payment_id == payment.payment_id for row in rows)


async def _surplus(session: AsyncSession, case: Case) -> Money:
    """Return what the attempt and its customer have too much, without what is on its way back to them."""
    currency, customer_id = case.attempt["currency"], case.attempt["customer_id"]
    of_attempt = await credit_of(session, currency, attempt_id=case.attempt["id"])
    of_customer = await credit_of(session, currency, customer_id=customer_id)
    under_way = select(func.sum(_operation.c.amount_minor)).join_from(
        _operation, _attempt, _attempt.c.id == _operation.c.attempt_id
    )
    theirs = [_attempt.c.customer_id == customer_id, _operation.c.currency == currency]
    going = [_operation.c.state.in_(OPEN), _operation.c.kind.in_(_BACK)]
    minor = int((await session.execute(under_way.where(*theirs, *going))).scalar() or 0)
    return max(Money(0, currency), min(of_attempt, of_customer - Money(minor, currency)))


async def _locked(ctx: Context, session: AsyncSession, payment: Payment) -> Case:
    """Lock the payment behind its customer, whose credit is one pot for all of their payments."""
    query = select(_attempt.c.customer_id).where(_attempt.c.id == payment.attempt_id)
    customer_id = (await session.execute(query)).scalar()
    if customer_id is None:
        raise RefundError(f"there is no att_{payment.attempt_id}")
    customer = table(Customer)
    await session.execute(ctx.store.lock(select(customer.c.id).where(customer.c.id == customer_id)))
    return (await cases.load(ctx, session, [payment.attempt_id]))[payment.attempt_id]


async def _check(session: AsyncSession, case: Case, payment: Payment) -> Holding:
    """Return what is held of the payment, or raise why nothing of it can be given back now."""
    if case.verification is not None:
        raise RefundError(f"{case.name} verifies a profile: what it took goes back by itself")
    if case.state != AttemptState.APPROVED:
        raise RefundError(f"{case.name} is {case.state}: only money that came in can be given back")
    if not case.attempt["captured"]:
        raise RefundError(f"{case.name} is only reserved: there is nothing to give back yet")
    if (under_way := await _under_way(session, payment.attempt_id)) is not None:
        raise RefundError(f"the {under_way['kind']} op_{under_way['id']} of {case.name} is still under way")
    holding = await holding_of(session, case.attempt, payment.payment_id)
    if not holding.left:
        known = f"nothing of {case.name} is left to give back"
        raise RefundError(known if holding.came_in else f"{case.name} brought in no {holding.came_in.currency} as that")
    return holding


async def _under_way(session: AsyncSession, attempt_id: int) -> RowMapping | None:
    mine = (_operation.c.attempt_id == attempt_id) & _operation.c.state.in_(OPEN)
    return (await session.execute(select(_operation).where(mine))).mappings().one_or_none()


def _wanted(amount: Money | str | None, holding: Holding) -> Money:
    wanted = _read(amount, holding.left.currency) if isinstance(amount, str) else amount
    if wanted is None:
        return holding.left
    left, said = f"{holding.left.major} {holding.left.currency}", f"{wanted.major} {wanted.currency}"
    if wanted.currency != holding.left.currency:
        raise RefundAmountError(f"--amount: {said} cannot be a part of the {left} that are left of it")
    if not wanted > wanted * 0:
        raise RefundAmountError(f"--amount: {wanted.major} is nothing that could be given back")
    if wanted > holding.left:
        raise RefundAmountError(f"--amount: {wanted.major} is more than the {left} that are left of it")
    return wanted


def _read(amount: str, currency: str) -> Money:
    try:
        return Money.parse(amount, currency)
    except MoneyError as error:
        raise RefundAmountError(f"--amount: {error}") from None


def _check_ability(can: Abilities, wanted: Money, holding: Holding) -> None:
    if not can.refund:
        raise RefundError(f"{can.title} gives nothing back by itself: do it there")
    if wanted < holding.came_in and not can.partial_refund:
        raise RefundError(f"{can.title} gives back payments as a whole only")


async def _abilities(ctx: Context, session: AsyncSession, case: Case) -> Abilities:
    account_id = case.attempt["gateway_account_id"]
    return (await ctx.gateways.of(session, [account_id]))[account_id].abilities


async def _owe(session: AsyncSession, case: Case, payment: Payment, amount: Money, reason: str) -> int:
    more = {"payment_id": payment.payment_id, "reason": reason, "created_at": case.moment.now}
    key, attempt_id = case.attempt["key"], payment.attempt_id
    return await owe(session, key, OperationKind.REFUND, amount, 0, attempt_id=attempt_id, **more)


async def _latest(ctx: Context, attempt_id: int) -> GivenBack:
    waits_last = choose((_operation.c.state == AttemptState.CREATED, 1), else_=0)
    query = select(_operation).where(_operation.c.attempt_id == attempt_id)
    query = query.order_by(waits_last, _operation.c.id.desc()).limit(1)
    async with ctx.store.read() as session:
        row = (await session.execute(query)).mappings().one()
    amount = Money(row["amount_minor"], row["currency"])
    return GivenBack(row["id"], amount, AttemptState(row["state"]), row["evidence"])
