"""Attempts: one try to collect each, with what followed it, and money given back."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Allocation, Attempt, Customer, GatewayAccount, Invoice, Operation, Profile, Role, table
from billing.payments import AttemptState
from billing.services.holding import Holding, holding_of
from billing.services.operating import run_operations
from billing.services.recounting import Of
from billing.services.refunding import Payment, RefundAmountError, RefundError, owe_back
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.watching import find_run
from billing.web.console.desk import Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Values, amount
from billing.web.console.gate import Section
from billing.web.console.runs import number_in
from billing.web.console.stories import CHANNELS, STANDS, cause_in, follows_in, heard_in, means_in, told

router = Section()

_attempt, _operation, _allocation, _invoice = table(Attempt), table(Operation), table(Allocation), table(Invoice)
_customer, _account, _profile = table(Customer), table(GatewayAccount), table(Profile)

Key = Annotated[str, Path(max_length=30)]

ATTEMPTS: Final = (
    select(
        _attempt,
        _customer.c.reference.label("customer"),
        _customer.c.name.label("customer_name"),
        _account.c.reference.label("account"),
        _account.c.gateway,
        _profile.c.kind,
        _profile.c.brand,
        _profile.c.last4,
        _profile.c.expires_on,
    )
    .join_from(_attempt, _customer, _customer.c.id == _attempt.c.customer_id)
    .join(_account, _account.c.id == _attempt.c.gateway_account_id)
    .join(_profile, _profile.c.id == _attempt.c.profile_id, isouter=True)
)


@router.page("/attempts", Role.VIEWER)
async def list_attempts(desk: Seated) -> Response:
    """Show the attempts, newest first, of one run and in one state where that is asked for."""
    asked = {"run": desk.asked("run"), "state": desk.asked("state")}
    query = ATTEMPTS.where(_attempt.c.merchant_id == desk.merchant_id)
    if asked["state"] in set(AttemptState):
        query = query.where(_attempt.c.state == asked["state"])
    async with desk.ctx.store.read() as session:
        run = await find_run(session, desk.merchant_id, number_in(asked["run"])) if asked["run"] else None
        if run is not None:
            query = query.where(_attempt.c.run_id == run["id"])
        part = await part_of(desk, session, query, _attempt.c.id)
    known: dict[str, Any] = {"run": run, "asked": asked, "states": list(AttemptState)}
    return desk.show("attempts.html", part=part, means=means_in, why=partial(_why, desk), **known)


def _why(desk: Seated, row: RowMapping) -> str:
    """Return in a few words why an attempt came to nothing, or is in doubt."""
    return cause_in(desk, row) or ("" if row["state"] == AttemptState.APPROVED else heard_in(row))


@router.page("/attempts/{attempt}", Role.VIEWER)
async def show_attempt(desk: Seated, attempt: Key) -> Response:
    """Show one attempt, what it paid, and its whole story."""
    return await _shown(desk, attempt)


@router.action("/attempts/{attempt}/refund", Role.OPERATOR)
async def give_back(desk: Seated, attempt: Key) -> Response:
    """Give back a part of a payment, or all that is left of it; the gateway is told at once."""
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, attempt)

    async def effect(session: AsyncSession, values: Values) -> None:
        try:
            owed = await owe_back(desk.ctx, session, Payment(row["id"]), values["amount"], values["reason"])
        except RefundAmountError as error:
            raise UnfitError("amount", str(error).removeprefix("--amount: ")) from None
        except RefundError as error:
            raise ConflictError(str(error)) from None
        about = {"amount": desk.typed.get("amount", "").strip(), "currency": row["currency"], "key": attempt}
        await desk.note(session, "give_back", f"att_{row['id']}", operation=f"op_{owed}", **about)

    draft = await desk.attempt(_refund_form(row).read(desk.typed), effect)
    if draft.is_wrong:
        return await _shown(desk, attempt, draft)
    await run_operations(desk.ctx, row["id"])
    return desk.done(f"/attempts/{attempt}", "The refund is on its way. What became of it is told below.")


def _refund_form(row: RowMapping) -> Form:
    currency = row["currency"]
    return Form.of(
        Field("amount", "Amount", "number", read=amount(currency), affix=currency, chars_max=20),
        Field("reason", "Why", hint="Such as: returned goods. It stays in the records.", required=False),
    )


async def _found(desk: Seated, session: AsyncSession, key: str) -> RowMapping:
    mine = (_attempt.c.merchant_id == desk.merchant_id) & (_attempt.c.key == key)
    row: RowMapping | None = (await session.execute(ATTEMPTS.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no attempt {key!r}")
    return row


async def _shown(desk: Seated, key: str, draft: Draft | None = None) -> Response:
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, key)
        paid = select(_invoice.c.number, _allocation.c.amount_minor).join_from(_allocation, _invoice)
        mine = paid.where(_allocation.c.attempt_id == row["id"]).order_by(_allocation.c.position)
        known: dict[str, Any] = {"paid": (await session.execute(mine)).mappings().all()}
        known["holding"] = holding = await _holding(session, row)
        known["story"] = await told(desk, session, Of.ATTEMPT, row)
    blank = _refund_form(row).blank(amount=str(holding.left.major) if holding else "")
    known |= {"means": means_in(row), "channel": CHANNELS[row["channel"]], "stands": STANDS[row["state"]]}
    known |= {"cause": cause_in(desk, row), "heard": heard_in(row), "follows": follows_in(row)}
    return desk.show("attempt.html", row=row, draft=draft or blank, **known)


async def _holding(session: AsyncSession, row: RowMapping) -> Holding | None:
    """Return what came in by it and what can still be given back; nothing where none came in, or it was no payment."""
    if row["state"] != AttemptState.APPROVED or not row["captured"]:
        return None
    holding = await holding_of(session, row)
    return holding if holding.came_in else None
