"""The one place where real things are plugged together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from billing.clock import Clock, SystemClock
from billing.links import Links
from billing.mail import Dkim, Mailer, SmtpServer
from billing.services.context import Context, Gateways
from billing.store import Store
from billing.vault import Vault
from gateways.registry import open_gateway
from jobs.settings import Settings


@asynccontextmanager
async def open_context(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Context]:
    """Plug the engine together as the settings say, and take it apart again at the end."""
    vault = Vault(settings.secret_key)
    context = Context(
        store=Store(settings.database_url),
        vault=vault,
        links=Links(vault, settings.public_url),
        gateways=Gateways(open_gateway, vault),
        clock=clock or SystemClock(),
        lease_s=settings.lease_s,
        in_flight_max=settings.in_flight_max,
        ask_first=settings.restored,
    )
    try:
        yield context
    finally:
        await context.gateways.close()
        await context.store.close()


def open_mailer(settings: Settings) -> Mailer:
    """Return the way to the mail server, signing where the settings say so."""
    dkim = None
    if settings.dkim_domain:
        dkim = Dkim(settings.dkim_domain, settings.dkim_selector, settings.dkim_key)
    return Mailer(SmtpServer.parse(settings.smtp_url), dkim)
