"""The one place where real things are plugged together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

from billing.clock import Clock, SystemClock
from billing.gateway import Gateway
from billing.links import Links
from billing.mail import Dkim, Mailer, SmtpServer
from billing.meters import Meters
from billing.services.context import Context, Gateways
from billing.services.recalling import leave_room
from billing.store import Store
from billing.vault import Vault
from billing.web.api.shapes import show_things
from billing.web.console.app import doors
from billing.webhooks import Courier, is_public
from gateways.registry import KINDS, open_gateway
from gateways.transport import Network, Redaction, carrier
from jobs.logbook import Redactor
from jobs.metrics import Metrics, timed
from jobs.settings import Settings


@asynccontextmanager
async def open_context(
    settings: Settings, clock: Clock | None = None, redactor: Redactor | None = None, metrics: Metrics | None = None
) -> AsyncIterator[Context]:
    """Plug the engine together as the settings say, and take it apart again at the end.

    `redactor` learns every credential that is used, and `metrics` counts what happens.
    """
    vault = Vault(settings.secret_key, settings.secret_key_old)
    context = Context(
        store=Store(settings.database_url),
        vault=vault,
        links=Links(vault, settings.public_url),
        gateways=Gateways(
            partial(_open, redactor or Redactor(), metrics, _network(settings)),
            vault,
            KINDS,
            private=settings.gateways_at_private_addresses,
        ),
        clock=clock or SystemClock(),
        shows=show_things,
        webhooks_to_private=settings.webhooks_to_private_addresses,
        doors=doors(),
        lease_s=settings.lease_s,
        in_flight_max=settings.in_flight_max,
        ask_first=bool(settings.restored),
        backup_at=settings.restored if isinstance(settings.restored, datetime) else None,
        meters=metrics or Meters(),
    )
    try:
        if context.ask_first:
            await leave_room(context)
        yield context
    finally:
        await context.gateways.close()
        await context.store.close()


def _network(settings: Settings) -> Network | None:
    """Return what carries requests to gateways: to public addresses alone, unless others are allowed."""
    return None if settings.gateways_at_private_addresses else partial(carrier, reaches=is_public)


def _open(
    redactor: Redactor, metrics: Metrics | None, network: Network | None, name: str, credentials: Mapping[str, str]
) -> Gateway:
    redactor.learn_credentials(credentials)
    gateway = open_gateway(name, credentials, network)
    return gateway if metrics is None else timed(gateway, name, metrics)


def open_mailer(settings: Settings) -> Mailer:
    """Return the way to the mail server, signing where the settings say so."""
    dkim = None
    if settings.dkim_domain:
        dkim = Dkim(settings.dkim_domain, settings.dkim_selector, settings.dkim_key)
    return Mailer(SmtpServer.parse(settings.smtp_url), dkim, connections_max=settings.smtp_connections_max)


def open_courier(settings: Settings) -> Courier:
    """Return the way to merchants' own endpoints, which keeps nothing of their answers that looks like a card."""
    return Courier(private=settings.webhooks_to_private_addresses, clean=Redaction().clean)
