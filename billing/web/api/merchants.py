"""The merchant a key opens, its gateway accounts, and its test clock where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import AccountState, CatchUp, GatewayAccount, Merchant, SurplusPolicy, TestClock, table
from billing.services import arranging, connecting
from billing.services.connecting import ask_gateway
from billing.services.refusing import ConflictError, MissingError, UnfitError
from billing.services.stopping import find_account, open_again, stop
from billing.web.api.bodies import PLAIN, Given, Instant, Named, Page, Reference, Shown, example
from billing.web.api.calls import Answer, Call, Changing, Listing, Making, SettingUp, Showing
from billing.web.api.paging import PlainPaged, list_page

router = APIRouter(tags=["merchant"])

_merchant, _account, _clock = table(Merchant), table(GatewayAccount), table(TestClock)
_MERCHANT: Final[dict[str, Any]] = {
    "reference": "nordlicht",
    "name": "Nordlicht Analytics",
    "legal_name": "Nordlicht Analytics GmbH",
    "country": "AT",
    "language": "de",
    "timezone": "Europe/Vienna",
    "number_prefix": "NA",
    "live": True,
    "mail_from": "rechnung@nordlicht.example",
    "link_days": 14,
    "catch_up": "each",
    "surplus": "ask",
    "run_approval": False,
    "brakes": {"declined_percent": 60},
}
_ACCOUNT: Final[dict[str, Any]] = {
    "reference": "mpay24-main",
    "gateway": "mpay24",
    "state": "open",
    "stopped_reason": "",
    "stopped_at": None,
}


_SETTINGS: Final = {"endpoint": "https://www.mpay24.com/app/bin/etpproxy_v15", "merchant_id": "90001", "password": "x"}

SettingName = Annotated[str, Field(min_length=1, max_length=40, pattern="^[a-z0-9_]+$")]
Settings = Annotated[
    dict[SettingName, Annotated[str, Field(max_length=500), PLAIN]],
    Field(max_length=40, description="By their names in the set-up file, such as `endpoint` and `password`."),
]


class ShownMerchant(Shown):
    """Who sells."""

    model_config = Shown.model_config | example(**_MERCHANT)
    reference: str
    name: str
    legal_name: str
    country: str
    language: str
    timezone: str
    number_prefix: str
    live: bool
    mail_from: str
    link_days: int
    catch_up: CatchUp
    surplus: SurplusPolicy
    run_approval: bool
    brakes: dict[str, int]


class ToBeLive(Given):
    """The merchant by its reference, so that nobody's goes live by mistake."""

    model_config = Given.model_config | example(reference="nordlicht")
    reference: Reference


class ShownAccount(Shown):
    """An account at a gateway. Its credentials are shown to nobody."""

    model_config = Shown.model_config | example(**_ACCOUNT)
    reference: str
    gateway: str
    state: AccountState
    stopped_reason: str
    stopped_at: Instant | None


class NewAccount(Given):
    """A gateway account to be. Settings that are secret are shown to nobody again."""

    model_config = Given.model_config | example(reference="mpay24-main", gateway="mpay24", settings=_SETTINGS)
    reference: Reference
    gateway: Annotated[str, Field(min_length=1, max_length=40), PLAIN]
    settings: Settings


class NewSettings(Given):
    """Settings of an account that are to be others; those left out stay, and an empty one goes back to the usual."""

    model_config = Given.model_config | example(settings={"password": "the new one"})
    settings: Settings


class ConnectionTest(Shown):
    """Whether the gateway takes the credentials, and what it said where it does not."""

    model_config = Shown.model_config | example(works=False, said="mPAY24 refused the password")
    works: bool
    said: str


class StopReason(Given):
    """Why nothing is to be charged through an account."""

    model_config = Given.model_config | example(reason="the contract ends today")
    reason: Annotated[str, Field(min_length=1, max_length=200), PLAIN]


class ShownClock(Shown):
    """Business time of a sandbox merchant."""

    model_config = Shown.model_config | example(now_at="2026-12-01T01:00:00Z")
    now_at: Instant


class NewTime(Given):
    """Where to move the clock to; time does not go back."""

    model_config = Given.model_config | example(now_at="2027-01-01T01:00:00Z")
    now_at: Instant


def _show_account(row: RowMapping) -> ShownAccount:
    return ShownAccount(**{name: row[name] for name in ShownAccount.model_fields})


@router.get("/merchant", response_model=ShownMerchant)
async def get_merchant(call: Showing) -> Response:
    """Show the merchant that the key opens."""
    async with call.ctx.store.read() as session:
        return call.show(await _show_merchant(session, call.merchant_id))


@router.post("/merchant/live", response_model=ShownMerchant)
async def go_live(call: SettingUp, body: ToBeLive) -> Response:
    """Let a sandbox merchant be live: it can have no test clock and no run of a day in the future any more."""

    async def effect(session: AsyncSession) -> Answer:
        shown = await _show_merchant(session, call.merchant_id)
        if body.reference != shown.reference:
            raise UnfitError("reference", f"the key opens {shown.reference}, which is named here to confirm it")
        await arranging.go_live(session, call.merchant_id)
        return Answer(shown.model_copy(update={"live": True}))

    return await call.once(effect)


async def _show_merchant(session: AsyncSession, merchant_id: int) -> ShownMerchant:
    row = (await session.execute(select(_merchant).where(_merchant.c.id == merchant_id))).mappings().one()
    rules = {"run_approval": bool(row["run_approval"]), "brakes": row["brakes"] or {}}
    known = {name: row[name] for name in ShownMerchant.model_fields if name not in rules}
    return ShownMerchant(**known, **rules)


@router.get("/accounts", response_model=Page[ShownAccount])
async def list_accounts(call: Listing, paging: PlainPaged) -> Response:
    """List the gateway accounts."""
    mine = select(_account).where(_account.c.merchant_id == call.merchant_id)
    return await list_page(call, paging, mine, _show_account, _account.c.id)


@router.post("/accounts", status_code=201, response_model=ShownAccount)
async def add_account(call: SettingUp, body: NewAccount) -> Response:
    """Add an account whose settings can be; nothing is charged through it before a customer has stored means there."""

    async def effect(session: AsyncSession) -> Answer:
        given = {name: text for name, text in body.settings.items() if text}
        await _check(call, body.gateway, given, {})
        about = (call.merchant_id, body.reference, body.gateway, given)
        await connecting.add_account(call.ctx, session, *about)
        shown = _show_account(await find_account(session, call.merchant_id, body.reference))
        return Answer(shown, 201, f"/accounts/{body.reference}")

    return await call.once(effect)


@router.patch("/accounts/{account}", response_model=ShownAccount)
async def change_account(call: SettingUp, account: Named, body: NewSettings) -> Response:
    """Let other settings be used from the next request on; what is under way goes on with those it began with."""

    async def effect(session: AsyncSession) -> Answer:
        row = await find_account(session, call.merchant_id, account, call.ctx)
        kept = connecting.credentials_of(call.ctx, row)
        given = {name: text for name, text in (kept | body.settings).items() if text}
        await _check(call, row["gateway"], given, kept)
        await connecting.change_credentials(call.ctx, session, row, given)
        return Answer(_show_account(row))

    return await call.once(effect)


async def _check(call: Call, gateway: str, given: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Raise which setting cannot be; nobody is asked, so that it may be done inside a transaction."""
    try:
        await connecting.check_credentials(call.ctx, gateway, given, kept)
    except MissingError as error:
        raise UnfitError("gateway", str(error)) from None
    except UnfitError as error:
        raise UnfitError(f"settings.{error.field}" if error.field else "settings", str(error)) from None


@router.get("/accounts/{account}", response_model=ShownAccount)
async def get_account(call: Showing, account: Named) -> Response:
    """Show one gateway account."""
    async with call.ctx.store.read() as session:
        return call.show(_show_account(await find_account(session, call.merchant_id, account)))


@router.post("/accounts/{account}/test", response_model=ConnectionTest)
async def test_connection(call: Making, account: Named) -> Response:
    """Ask the gateway whether it takes the credentials; nothing is changed by that."""
    said = await ask_gateway(call.ctx, call.merchant_id, account)

    async def effect(_: AsyncSession) -> Answer:
        return Answer(ConnectionTest(works=not said, said=said))

    return await call.once(effect)


@router.post("/accounts/{account}/stop", response_model=ShownAccount)
async def stop_account(call: Changing, account: Named, body: StopReason) -> Response:
    """Charge nothing more through an account until it is opened; what is under way is settled."""

    async def effect(session: AsyncSession) -> Answer:
        row = await find_account(session, call.merchant_id, account, call.ctx)
        call.expect(_show_account(row))
        await stop(call.ctx, session, row, f"{body.reason} (tk_{call.caller.prefix})")
        return Answer(_show_account(await find_account(session, call.merchant_id, account)))

    return await call.once(effect)


@router.post("/accounts/{account}/open", response_model=ShownAccount)
async def open_account(call: Changing, account: Named) -> Response:
    """Charge through an account again, once its gateway was asked and takes the credentials."""
    if said := await ask_gateway(call.ctx, call.merchant_id, account):
        raise ConflictError(f"the gateway does not take the credentials: {said}")

    async def effect(session: AsyncSession) -> Answer:
        row = await find_account(session, call.merchant_id, account, call.ctx)
        call.expect(_show_account(row))
        await open_again(session, row)
        return Answer(_show_account(await find_account(session, call.merchant_id, account)))

    return await call.once(effect)


@router.get("/test-clock", response_model=ShownClock)
async def get_clock(call: Showing) -> Response:
    """Show the business time of a sandbox merchant that has a test clock."""
    async with call.ctx.store.read() as session:
        return call.show(_show_clock(await _clock_of(call, session)))


@router.post("/test-clock/advance", response_model=ShownClock)
async def advance_clock(call: Changing, body: NewTime) -> Response:
    """Move a sandbox merchant's clock on; what falls due by that is done by the timetable or `turnus run`."""

    async def effect(session: AsyncSession) -> Answer:
        row = await _clock_of(call, session)
        await session.execute(call.ctx.store.lock(select(_clock.c.id).where(_clock.c.id == row["id"])))
        row = await _clock_of(call, session)
        call.expect(_show_clock(row))
        if body.now_at < row["now_at"]:
            raise UnfitError("now_at", f"time does not go back: it is {row['now_at'].isoformat()} there")
        if row["sharers"] > 1:
            raise ConflictError("other merchants live by the same clock")
        await session.execute(update(_clock).where(_clock.c.id == row["id"]).values(now_at=body.now_at))
        return Answer(ShownClock(now_at=body.now_at))

    return await call.once(effect)


def _show_clock(row: RowMapping) -> ShownClock:
    return ShownClock(now_at=row["now_at"])


async def _clock_of(call: Call, session: AsyncSession) -> RowMapping:
    sharers = select(func.count()).where(_merchant.c.test_clock_id == _clock.c.id).scalar_subquery()
    own = select(_merchant.c.test_clock_id).where(_merchant.c.id == call.merchant_id).scalar_subquery()
    query = select(_clock, sharers.label("sharers")).where(_clock.c.id == own)
    row = (await session.execute(query)).mappings().one_or_none()
    if row is None:
        raise MissingError("the merchant has no test clock")
    return row
