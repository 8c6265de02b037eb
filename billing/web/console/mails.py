"""Mails: to whom, about what, and what became of each; those that failed are sent again."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import ColumnElement, RowMapping, Select, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.mail import MailError, MailKind, render
from billing.models import Customer, Message, MessageState, Role, table
from billing.services.composing import gather, letter_of
from billing.services.outbox import queue_again
from billing.services.refusing import MissingError
from billing.web.console.desk import Desk, Seated, part_of
from billing.web.console.gate import Section
from billing.web.console.pages import word_of
from billing.web.console.stories import MAILS
from billing.web.console.subjects import subjects_of

router = Section("Mails", "/mails")

_message, _customer = table(Message), table(Customer)

Named = Annotated[str, Path(pattern=r"^msg_[0-9]{1,18}$")]
# What can be asked for: of the others there are so many that they are found by their customer.
STATES: Final = (MessageState.QUEUED, MessageState.FAILED)
HIDDEN_LINK: Final = "(the customer's own link)"

_MESSAGES: Final = select(
    _message, _customer.c.name.label("customer_name"), _customer.c.reference.label("customer")
).join_from(_message, _customer, _customer.c.id == _message.c.customer_id)


@router.page("/mails", Role.VIEWER)
async def list_mails(desk: Seated) -> Response:
    """Show the mails, newest first."""
    asked = {"state": desk.asked("state"), "recipient": desk.asked("recipient")}
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, _filtered(desk, **asked), _message.c.id)
    return desk.show("mails.html", part=part, asked=asked, states=STATES, title_of=title_of)


def _filtered(desk: Desk, state: str, recipient: str) -> Select[Any]:
    mine = _MESSAGES.where(_message.c.merchant_id == desk.merchant_id)
    if state in STATES:
        # Named in the statement itself, so that the indexes of these states alone serve it.
        mine = mine.where(_message.c.state == literal_column(f"'{state}'"))
    return mine.where(_message.c.customer_id.in_(_called(desk, recipient))) if recipient else mine


def _called(desk: Desk, text: str) -> Select[Any]:
    """Return the customers with a reference or an address."""
    is_called: ColumnElement[bool] = or_(
        func.lower(_customer.c.reference) == text.lower(), func.lower(_customer.c.email) == text.lower()
    )
    return select(_customer.c.id).where(_customer.c.merchant_id == desk.merchant_id, is_called)


def title_of(step: str) -> str:
    """Return what a mail of a step is called."""
    kind = step.partition(" ")[0]
    return MAILS.get(kind) or word_of(kind).capitalize()


@router.page("/mails/{mail}", Role.VIEWER)
async def show_mail(desk: Seated, mail: Named) -> Response:
    """Show one mail in its words; the link in it is for its customer alone."""
    async with desk.ctx.store.read() as session:
        row = await _found(desk, session, mail)
        subject, text = await _written(desk, session, row)
        about = (await subjects_of(desk, session, [row["cause"]]))[row["cause"]]
    return desk.show("mail.html", row=row, title=title_of(row["step"]), subject=subject, text=text, about=about)


@router.action("/mails/{mail}/again", Role.OPERATOR)
async def send_again(desk: Seated, mail: Named) -> Response:
    """Let a mail that could not be delivered be sent again."""
    async with desk.ctx.store.write() as session:
        row = await _found(desk, session, mail)
        await queue_again(session, desk.merchant_id, row["id"])
        await desk.note(session, "send_mail_again", mail, recipient=row["recipient"])
    return desk.done(f"/mails/{mail}", f"It goes to {row['recipient']} once more within a minute.")


async def _written(desk: Desk, session: AsyncSession, row: RowMapping) -> tuple[str, str]:
    """Return a mail's subject and plain text, without the address that lets whoever has it pay as the customer."""
    facts = await gather(desk.ctx, session, [row])
    try:
        letter = letter_of(desk.ctx, MailKind(row["step"].partition(" ")[0]), row, facts)
        written = render(letter)
    except (MailError, ValueError, LookupError):
        return "", ""
    return written.subject, written.text.replace(letter.link_url, HIDDEN_LINK) if letter.link_url else written.text


async def _found(desk: Desk, session: AsyncSession, name: str) -> RowMapping:
    mine = (_message.c.id == int(name.rpartition("_")[2])) & (_message.c.merchant_id == desk.merchant_id)
    row: RowMapping | None = (await session.execute(_MESSAGES.where(mine))).mappings().one_or_none()
    if row is None:
        raise MissingError(f"there is no mail {name}")
    return row
