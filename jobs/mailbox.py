"""The demo's mail server: takes every mail, keeps it in memory, and shows it in the browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Protocol

from aiosmtpd.smtp import SMTP, Envelope, Session
from fastapi import APIRouter, HTTPException, Request
from starlette.responses import HTMLResponse, Response

from billing.clock import SystemClock
from billing.web.pages import MAIL_POLICY, MailboxList, MailboxMail, Page, ReceivedMail, choose_language, framed

_SHOWN = ("Date", "Message-ID", "Reply-To", "Auto-Submitted")


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail as it came in."""

    received_at: datetime
    message: EmailMessage

    def part(self, kind: str) -> str:
        """Return the `html` or the `plain` part, or nothing."""
        body = self.message.get_body((kind,))
        return str(body.get_content()) if body is not None else ""


@dataclass
class Mailbox:
    """Every mail that was taken, oldest first.

    Without slots: aiosmtpd looks at every attribute of its handler, and Python before 3.11.3 cannot
    look at the weak reference of a class with slots.
    """

    letters: list[Letter] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
        """Take a mail: aiosmtpd calls this after the last line."""
        content = envelope.original_content or b""
        self.letters.append(Letter(SystemClock().now(), message_from_bytes(content, policy=default)))
        return "250 taken"


class MailHandler(Protocol):
    """Takes mails."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail and return what the server says."""
        ...


@asynccontextmanager
async def receiving(mailbox: MailHandler) -> AsyncIterator[str]:
    """Take mails on a free port of this machine while the block lasts, and give the address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="localhost", loop=loop), "127.0.0.1", 0)
    try:
        yield f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def mailbox_router(mailbox: Mailbox) -> APIRouter:
    """Return the pages that show the mailbox."""
    router = APIRouter()

    @router.get("/mailbox")
    async def list_mails(request: Request) -> Response:
        mails = tuple(_received(number, letter) for number, letter in enumerate(mailbox.letters, 1))
        return render(request, MailboxList(mails=mails[::-1]))

    @router.get("/mailbox/{number}")
    async def show_mail(request: Request, number: int) -> Response:
        letter = _find(mailbox, number)
        headers = tuple((name, str(letter.message[name])) for name in _SHOWN if letter.message[name])
        mail = _received(number, letter)
        has_html = bool(letter.part("html"))
        return render(request, MailboxMail(mail=mail, headers=headers, text=letter.part("plain"), has_html=has_html))

    @router.get("/mailbox/{number}/html")
    async def show_html(number: int) -> Response:
        html = framed(_find(mailbox, number).part("html"))
        return HTMLResponse(html, headers={"Content-Security-Policy": MAIL_POLICY})

    return router


def render(request: Request, page: Page) -> Response:
    """Return a page of the demo in the browser's language."""
    locale = choose_language(request.headers.get("accept-language", ""), query=request.query_params.get("lang", ""))
    return HTMLResponse(request.app.state.pages.render(page, locale), page.status)


def _find(mailbox: Mailbox, number: int) -> Letter:
    if not 1 <= number <= len(mailbox.letters):
        raise HTTPException(404)
    return mailbox.letters[number - 1]


def _received(number: int, letter: Letter) -> ReceivedMail:
    message = letter.message
    return ReceivedMail(number, letter.received_at, str(message["From"]), str(message["To"]), str(message["Subject"]))
