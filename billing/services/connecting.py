"""Gateway accounts as people set them up: checked before they are kept, and their gateway asked about them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.gateway import Abilities, ConfigurationError, Gateway, GatewayKind
from billing.models import GatewayAccount, new_row, table
from billing.services.context import Context
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.stopping import find_account
from billing.services.throttling import Subject, TooSoonError, begin_try
from billing.webhooks import BadUrlError, check_url

_account = table(GatewayAccount)

ASKING_S: Final = 20.0
"""So long a gateway may take to say whether it takes the credentials."""
_WAIT_S_MAX: Final = 60


def kind_of(ctx: Context, gateway: str) -> GatewayKind:
    """Return what accounts at a gateway are like; raise `MissingError` for one that nobody can have an account at."""
    if gateway not in ctx.gateways.kinds:
        raise MissingError(f"there is no gateway {gateway!r}")
    return ctx.gateways.kinds[gateway]


def credentials_of(ctx: Context, account: RowMapping) -> dict[str, str]:
    """Return what is kept of an account, secrets included: nothing of it may be shown that is one."""
    kept: dict[str, str] = json.loads(ctx.vault.unseal(account["sealed_credentials"]))
    return kept


async def abilities_of(ctx: Context, session: AsyncSession, account_ids: list[int]) -> dict[int, Abilities]:
    """Return what each account's gateway can do."""
    return {id_: each.abilities for id_, each in (await ctx.gateways.of(session, account_ids)).items()}


async def check_credentials(ctx: Context, gateway: str, given: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Raise `UnfitError` naming the setting that cannot be; an address that was kept before is not judged again."""
    for setting in kind_of(ctx, gateway).settings:
        address = given.get(setting.name, "")
        if setting.is_address and address != kept.get(setting.name):
            _check_address(ctx, setting.name, address)
    try:
        opened = ctx.gateways.open(gateway, given)
        await opened.close()
        check_lease(ctx, opened)
    except ConfigurationError as error:
        raise UnfitError(error.setting, str(error)) from None


def check_lease(ctx: Context, gateway: Gateway) -> None:
    """Raise `ConfigurationError` for a gateway whose exchanges may outlast a claim: every night would refuse it."""
    timeout_s = gateway.abilities.timeout_s
    if timeout_s >= ctx.lease_s:
        said = f"timeout_s cannot be {timeout_s:g}: an exchange has to end within the {ctx.lease_s} s of TURNUS_LEASE_S"
        raise ConfigurationError(f"{said}, else nothing is charged any more", "timeout_s")


def _check_address(ctx: Context, name: str, address: str) -> None:
    try:
        check_url(address, private=ctx.gateways.private)
    except BadUrlError as error:
        raise UnfitError(name, str(error)) from None


async def add_account(
    ctx: Context, session: AsyncSession, merchant_id: int, reference: str, gateway: str, given: Mapping[str, str]
) -> None:
    """Add an account whose credentials were checked; raise `ConflictError` where the reference is taken."""
    mine = (_account.c.merchant_id == merchant_id) & (_account.c.reference == reference)
    if (await session.execute(select(_account.c.id).where(mine))).scalar() is not None:
        raise ConflictError(f"there is a gateway account {reference!r} already")
    about = {"merchant_id": merchant_id, "reference": reference, "gateway": gateway}
    row = new_row(GatewayAccount, **about, sealed_credentials=ctx.vault.seal(json.dumps(dict(given))))
    await session.execute(insert(_account).values(row))


async def change_credentials(
    ctx: Context, session: AsyncSession, account: RowMapping, given: Mapping[str, str]
) -> None:
    """Let other credentials be used from the next request on; they were checked."""
    sealed = ctx.vault.seal(json.dumps(dict(given)))
    await session.execute(update(_account).where(_account.c.id == account["id"]).values(sealed_credentials=sealed))


async def ask_gateway(ctx: Context, merchant_id: int, reference: str) -> str:
    """Ask the gateway, outside any transaction; return why it does not take the credentials, or nothing."""
    async with ctx.store.read() as session:
        row = await find_account(session, merchant_id, reference)
        gateway = (await ctx.gateways.of(session, [row["id"]]))[row["id"]]
    try:
        async with asyncio.timeout(ASKING_S):
            await gateway.check()
    except ConfigurationError as error:
        return str(error)
    except TimeoutError:
        return f"the gateway did not answer within {ASKING_S:.0f} seconds"
    return ""


async def take_a_turn(ctx: Context, merchant_id: int, reference: str) -> None:
    """Let an account's gateway be asked now and then by hand; raise `ConflictError` where it was asked too often."""
    subject = Subject(ctx.vault.digest("connection test", f"{merchant_id} {reference}"), _WAIT_S_MAX)
    try:
        await begin_try(ctx, [subject])
    except TooSoonError as error:
        raise ConflictError(f"the gateway was asked often just now: ask again in {error.wait_s} seconds") from None
