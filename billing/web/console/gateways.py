"""Accounts at gateways: what they can do, whether they are open, and what was said of them when they were set up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.gateway import Abilities, GatewayKind, Setting
from billing.models import GatewayAccount, Role, table
from billing.services import connecting
from billing.services.refusing import ConflictError, UnfitError
from billing.services.stopping import find_account, open_again, stop
from billing.web.console.desk import Desk, Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Values, matching, options
from billing.web.console.gate import Section

router = Section("Gateways", "/gateways")

Named = Annotated[str, Path(min_length=1, max_length=40)]

_account = table(GatewayAccount)

_KEY: Final = Field(
    "reference",
    "Key",
    hint="For the API and for lists, like mpay24-main. It cannot be changed later.",
    read=matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "Write letters, digits, dots, dashes and underscores."),
    chars_max=40,
)
_STOP: Final = Form.of(Field("reason", "Why", hint="Colleagues read it.", chars_max=150))
_DROP: Final = "drop_"

# What is said of each ability, in the order in which people ask.
_SAID: Final[tuple[tuple[Callable[[Abilities], bool], str], ...]] = (
    (lambda can: can.charge, "charge a stored card or account while the customer is away"),
    (lambda can: can.hosted_page, "let customers pay on its own page"),
    (lambda can: bool(can.card_form), "take cards in fields of its own on our page"),
    (lambda can: can.renews_profile, "renew a stored card or account when a customer pays"),
    (lambda can: can.capture, "capture what was reserved"),
    (lambda can: can.reverse, "let a reservation go"),
    (lambda can: can.refund, "give money back"),
    (lambda can: can.partial_refund, "give a part of it back"),
    (lambda can: can.pay_out, "pay out without an earlier payment"),
    (lambda can: can.forget, "forget a stored card or account"),
)


@router.page("/gateways", Role.VIEWER)
async def list_accounts(desk: Seated) -> Response:
    """Show the accounts, with what each can do."""
    mine = select(_account).where(_account.c.merchant_id == desk.merchant_id)
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, mine, _account.c.id)
        abilities = await connecting.abilities_of(desk.ctx, session, [row["id"] for row in part.rows])
    return desk.show("gateways.html", part=part, abilities=abilities)


@router.page("/gateways/_new", Role.ADMIN)
async def ask_kind(desk: Seated) -> Response:
    """Ask at which gateway the account is."""
    return desk.show("gateway_kind.html", kinds=desk.ctx.gateways.kinds)


@router.page("/gateways/_new/{gateway}", Role.ADMIN)
async def ask_account(desk: Seated, gateway: Named) -> Response:
    """Ask what a gateway wants to know of an account."""
    kind = connecting.kind_of(desk.ctx, gateway)
    usual = {each.name: each.default or "" for each in kind.settings}
    return desk.show("gateway_new.html", gateway=gateway, kind=kind, draft=_form(kind).blank(**usual), **_parts(kind))


@router.action("/gateways/_new/{gateway}", Role.ADMIN)
async def add_account(desk: Seated, gateway: Named) -> Response:
    """Keep an account whose settings can be."""
    kind = connecting.kind_of(desk.ctx, gateway)
    draft = _form(kind).read(desk.typed)
    given = _given(kind, draft, {})
    draft = await _judged(desk, gateway, draft, given, {})

    async def effect(session: AsyncSession, values: Values) -> None:
        about = (desk.merchant_id, values["reference"], gateway, given)
        await connecting.add_account(desk.ctx, session, *about)
        await desk.note(session, "add_account", values["reference"], gateway=gateway)

    draft = await desk.attempt(draft, effect)
    if draft.is_wrong:
        return desk.show("gateway_new.html", gateway=gateway, kind=kind, draft=draft, **_parts(kind))
    return desk.done(f"/gateways/{draft.values['reference']}", "The account is there. Test whether it works.")


@router.page("/gateways/{account}", Role.VIEWER)
async def show_account(desk: Seated, account: Named) -> Response:
    """Show one account: what it can do, and what is known of it."""
    return await _shown(desk, account)


@router.page("/gateways/{account}/edit", Role.ADMIN)
async def ask_settings(desk: Seated, account: Named) -> Response:
    """Show what was said of an account; of a secret only whether there is one."""
    row, kind, kept = await _found(desk, account)
    shown = {each.name: kept.get(each.name, each.default or "") for each in kind.settings if not each.is_secret}
    draft = _form(kind, kept).blank(**shown)
    return desk.show("gateway_edit.html", row=row, kind=kind, draft=draft, **_parts(kind))


@router.action("/gateways/{account}/edit", Role.ADMIN)
async def change_settings(desk: Seated, account: Named) -> Response:
    """Let other settings be used from the next request on."""
    row, kind, kept = await _found(desk, account)
    draft = _form(kind, kept).read(desk.typed)
    given = _given(kind, draft, kept)
    draft = await _judged(desk, row["gateway"], draft, given, kept)
    changed = sorted(name for name in given.keys() | kept.keys() if given.get(name) != kept.get(name))

    async def effect(session: AsyncSession, _: Values) -> None:
        locked = await find_account(session, desk.merchant_id, account, desk.ctx)
        await connecting.change_credentials(desk.ctx, session, locked, given)
        await desk.note(session, "change_account", account, settings=changed)

    draft = await desk.attempt(draft, effect)
    if draft.is_wrong:
        return desk.show("gateway_edit.html", row=row, kind=kind, draft=draft, **_parts(kind))
    return desk.done(f"/gateways/{account}", "Saved. Test whether the gateway takes it.")


@router.action("/gateways/{account}/test", Role.OPERATOR)
async def test_account(desk: Seated, account: Named) -> Response:
    """Ask the gateway whether it takes the credentials, and say what came of it."""
    said = await _asked(desk, account)
    async with desk.ctx.store.write() as session:
        await desk.note(session, "test_account", account, works=not said)
    return await _shown(desk, account, tested=True, said=said)


@router.action("/gateways/{account}/stop", Role.OPERATOR)
async def stop_account(desk: Seated, account: Named) -> Response:
    """Charge nothing more through an account until it is opened again."""

    async def effect(session: AsyncSession, values: Values) -> None:
        row = await find_account(session, desk.merchant_id, account, desk.ctx)
        await stop(desk.ctx, session, row, f"{values['reason']} ({desk.user.name})")
        await desk.note(session, "stop_account", account, reason=values["reason"])

    draft = await desk.attempt(_STOP.read(desk.typed), effect)
    if draft.is_wrong:
        return await _shown(desk, account, draft=draft)
    return desk.done(f"/gateways/{account}", "Nothing more is charged through this account until you open it.")


@router.action("/gateways/{account}/open", Role.OPERATOR)
async def open_account(desk: Seated, account: Named) -> Response:
    """Charge through an account again, once its gateway was asked and takes the credentials."""
    if said := await _asked(desk, account):
        return await _shown(desk, account, tested=True, said=said)
    async with desk.ctx.store.write() as session:
        row = await find_account(session, desk.merchant_id, account, desk.ctx)
        await open_again(session, row)
        await desk.note(session, "open_account", account)
    return desk.done(f"/gateways/{account}", "The gateway takes the credentials, and the account is open again.")


async def _asked(desk: Desk, account: str) -> str:
    """Ask the gateway, though not too often; return what is wrong, or nothing."""
    async with desk.ctx.store.read() as session:
        await find_account(session, desk.merchant_id, account)
    try:
        await connecting.take_a_turn(desk.ctx, desk.merchant_id, account)
    except ConflictError as error:
        return str(error)
    return await connecting.ask_gateway(desk.ctx, desk.merchant_id, account)


async def _shown(
    desk: Desk, account: str, *, tested: bool = False, said: str = "", draft: Draft | None = None
) -> Response:
    async with desk.ctx.store.read() as session:
        row = await find_account(session, desk.merchant_id, account)
        abilities = (await connecting.abilities_of(desk.ctx, session, [row["id"]]))[row["id"]]
    can = [words for has, words in _SAID if has(abilities)]
    cannot = [words for has, words in _SAID if not has(abilities)]
    known: dict[str, Any] = {"can": can, "cannot": cannot, "tested": tested, "said": said}
    known |= {"settings": _told(desk, row), "is_known": row["gateway"] in desk.ctx.gateways.kinds}
    return desk.show("gateway.html", row=row, abilities=abilities, draft=draft or _STOP.blank(), **known)


async def _found(desk: Desk, account: str) -> tuple[RowMapping, GatewayKind, dict[str, str]]:
    async with desk.ctx.store.read() as session:
        row = await find_account(session, desk.merchant_id, account)
    return row, connecting.kind_of(desk.ctx, row["gateway"]), connecting.credentials_of(desk.ctx, row)


async def _judged(desk: Desk, gateway: str, draft: Draft, given: Mapping[str, str], kept: Mapping[str, str]) -> Draft:
    """Let the gateway itself read the settings, without asking anybody; return what it says beside the field."""
    if draft.is_wrong:
        return draft
    try:
        await connecting.check_credentials(desk.ctx, gateway, given, kept)
    except UnfitError as error:
        return draft.refused(error)
    return draft


def _told(desk: Desk, row: RowMapping) -> list[tuple[str, str]]:
    """Return what is known of an account that differs from the usual; of a secret only that it is set."""
    kind, kept = desk.ctx.gateways.kinds.get(row["gateway"]), connecting.credentials_of(desk.ctx, row)
    return [_fact(each, kept) for each in (kind.settings if kind else ()) if each.name in kept or each.default is None]


def _fact(setting: Setting, kept: Mapping[str, str]) -> tuple[str, str]:
    if setting.is_secret:
        return setting.label, "set" if kept.get(setting.name) else "not set"
    return setting.label, kept.get(setting.name, "")


def _form(kind: GatewayKind, kept: Mapping[str, str] | None = None) -> Form:
    """Return what is asked of an account: a new one has no key yet, and one that is there keeps its secrets."""
    fields = [] if kept is not None else [_KEY]
    for setting in kind.settings:
        fields += _fields(setting, kept or {})
    return Form.of(*fields)


def _fields(setting: Setting, kept: Mapping[str, str]) -> Iterable[Field]:
    is_set = setting.is_secret and bool(kept.get(setting.name))
    hint = "It is set. Left empty, it stays." if is_set else setting.hint
    chosen = options(zip(setting.choices, setting.choices, strict=True))
    yield Field(
        setting.name,
        setting.label,
        "password" if setting.is_secret else "select" if chosen else "text",
        hint,
        required=setting.default is None and not is_set,
        options=chosen,
        autocomplete="new-password" if setting.is_secret else "off",
        chars_max=500,
    )
    if is_set and setting.default is not None:
        yield Field(f"{_DROP}{setting.name}", f"Remove: {setting.label}", "check")


def _parts(kind: GatewayKind) -> dict[str, Any]:
    """Return which settings are asked for first, and which only of those who look for them."""
    first = tuple(each.name for each in kind.settings if each.default is None)
    rest = tuple(each.name for each in kind.settings if each.default is not None)
    return {"first": first, "rest": tuple(name for each in rest for name in (each, f"{_DROP}{each}"))}


def _given(kind: GatewayKind, draft: Draft, kept: Mapping[str, str]) -> dict[str, str]:
    """Return what is to be kept: what was said and is not the usual, and secrets that were left as they are."""
    given = {}
    for each in kind.settings:
        text = draft.typed.get(each.name, "")
        is_dropped = draft.typed.get(f"{_DROP}{each.name}") == "yes"
        if each.is_secret and not text and not is_dropped:
            text = kept.get(each.name, "")
        if text and text != each.default:
            given[each.name] = text
    return given
