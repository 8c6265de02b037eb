"""What is sold: plans and their prices, with a preview of what a customer would be invoiced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Plan, Price, Role, table
from billing.money import Money, MoneyError, exponent
from billing.periods import Interval, Unit
from billing.pricing import Line, Terms, forecast
from billing.services import cataloguing
from billing.services.invoicing import terms_of
from billing.web.console.desk import Desk, Seated, part_of
from billing.web.console.forms import (
    Draft,
    Field,
    Form,
    Option,
    Values,
    amount,
    currency,
    day,
    matching,
    options,
    percent,
    whole,
)
from billing.web.console.gate import Section

router = Section("Plans", "/plans")

Named = Annotated[str, Path(min_length=1, max_length=40)]

_plan, _price = table(Plan), table(Price)

INVOICES_SHOWN: Final = 12
_WHICH: Final = {"": "On sale", "archived": "Archived", "all": "All"}

_KEY: Final = Field(
    "reference",
    "Key",
    hint="For the API. It cannot be changed later.",
    read=matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "Write letters, digits, dots, dashes and underscores."),
    chars_max=40,
)
_NAME: Final = Field("name", "Name", hint="What people here call it.", chars_max=100)
_NEW_PLAN: Final = Form.of(_NAME, _KEY)
_RENAME: Final = Form.of(_NAME)
_TAX: Final = (
    Option("included", "Included", "The amount is what the customer pays."),
    Option("added", "Added", "Tax comes on top of the amount."),
)
_LOOK: Final = Form.of(
    Field("quantity", "A customer with the quantity", "number", read=whole(1, 1_000_000), chars_max=7),
    Field("first_on", "Who begins on", "date", read=day),
)


def _price_form(code: str) -> Form:
    """Return what is asked of a price in a currency."""
    return Form.of(
        Field("title", "Title", hint="What customers read on invoices.", chars_max=100),
        _KEY,
        Field("amount", "Amount", "number", read=_more_than_nothing(code), chars_max=15),
        Field("currency", "Currency", hint="Three letters, like EUR.", read=currency, chars_max=3),
        Field("interval_count", "Every", "number", read=whole(1, 1000), chars_max=4),
        Field("interval_unit", "Unit", "select", options=options((unit, f"{unit}s") for unit in Unit)),
        Field("trial_days", "Trial", "number", read=whole(0, 3650), affix="days", chars_max=4),
        Field("tax_rate", "Tax rate", "number", read=percent, affix="%", chars_max=6),
        Field("tax", "Tax", "choice", options=_TAX),
    )


def _more_than_nothing(code: str) -> Any:
    """Return a reader of amounts that can be a price."""

    def read(text: str) -> Money:
        money = amount(code)(text)
        if money.minor < 1:
            raise ValueError("A price is more than nothing.")
        return money

    return read


@dataclass(frozen=True, slots=True)
class Preview:
    """What a customer would be invoiced; without lines, `missing` says why nothing is known yet."""

    lines: tuple[Line, ...] = ()
    missing: str = ""


@router.page("/plans", Role.VIEWER)
async def list_plans(desk: Seated) -> Response:
    """Show the plans, each with its prices."""
    which = desk.asked("show") if desk.asked("show") in _WHICH else ""
    mine = select(_plan).where(_plan.c.merchant_id == desk.merchant_id)
    if which != "all":
        mine = mine.where(_plan.c.archived_at.is_not(None) if which else _plan.c.archived_at.is_(None))
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, mine, _plan.c.id)
        prices = await _prices_on_sale(session, [row["id"] for row in part.rows])
    return desk.show("plans.html", part=part, prices=prices, which=which, ways=_WHICH)


@router.page("/plans/_new", Role.OPERATOR)
async def ask_plan(desk: Seated) -> Response:
    """Ask what is to be sold."""
    return desk.show("plan_new.html", draft=_NEW_PLAN.blank())


@router.action("/plans/_new", Role.OPERATOR)
async def add_plan(desk: Seated) -> Response:
    """Add a plan, as yet without prices."""

    async def effect(session: AsyncSession, values: Values) -> None:
        reference, name = values["reference"], values["name"]
        await cataloguing.add_plan(session, desk.merchant_id, reference, name)
        await desk.note(session, "add_plan", reference, name=name)

    draft = await desk.attempt(_NEW_PLAN.read(desk.typed), effect)
    if draft.is_wrong:
        return desk.show("plan_new.html", draft=draft)
    return desk.done(f"/plans/{draft.values['reference']}", "The plan is there. Give it a price, and it can be sold.")


@router.page("/plans/{plan}", Role.VIEWER)
async def show_plan(desk: Seated, plan: Named) -> Response:
    """Show a plan with its prices."""
    return await _shown(desk, plan)


@router.action("/plans/{plan}/rename", Role.OPERATOR)
async def rename_plan(desk: Seated, plan: Named) -> Response:
    """Give a plan another name."""

    async def effect(session: AsyncSession, values: Values) -> None:
        row = await cataloguing.find_plan(session, desk.merchant_id, plan, desk.ctx)
        await cataloguing.rename_plan(session, row["id"], values["name"])
        await desk.note(session, "rename_plan", plan, name=values["name"])

    draft = await desk.attempt(_RENAME.read(desk.typed), effect)
    return await _shown(desk, plan, draft) if draft.is_wrong else desk.done(f"/plans/{plan}", "The plan is renamed.")


@router.action("/plans/{plan}/archive", Role.OPERATOR)
async def archive_plan(desk: Seated, plan: Named) -> Response:
    """Sell a plan to nobody new."""
    return await _offer_plan(desk, plan, is_sold=False)


@router.action("/plans/{plan}/offer", Role.OPERATOR)
async def offer_plan(desk: Seated, plan: Named) -> Response:
    """Sell an archived plan again."""
    return await _offer_plan(desk, plan, is_sold=True)


@router.page("/plans/{plan}/prices/_new", Role.OPERATOR)
async def ask_price(desk: Seated, plan: Named) -> Response:
    """Ask for the terms of a price, beginning with what is usual."""
    code = desk.at.merchant["currency"]
    usual = {"currency": code, "interval_count": "1", "interval_unit": Unit.MONTH, "trial_days": "0"}
    draft = _price_form(code).blank(**usual, tax_rate="20", tax="included")
    return await _price_shown(desk, plan, draft)


@router.action("/plans/{plan}/prices/_new", Role.OPERATOR)
async def add_price(desk: Seated, plan: Named) -> Response:
    """Add a price; nobody is charged differently by that."""

    async def effect(session: AsyncSession, values: Values) -> None:
        found = await cataloguing.find_plan(session, desk.merchant_id, plan)
        reference, terms = values["reference"], _terms(values)
        await cataloguing.add_price(session, found, reference, values["title"], terms, values["trial_days"])
        await desk.note(
            session, "add_price", f"{plan}/{reference}", amount=str(terms.unit.major), currency=terms.unit.currency
        )

    draft = await desk.attempt(_read_price(desk), effect)
    if draft.is_wrong:
        return await _price_shown(desk, plan, draft)
    return desk.done(f"/plans/{plan}", f"{draft.values['title']} is on sale.")


@router.action("/plans/{plan}/prices/_preview", Role.OPERATOR)
async def preview_price(desk: Seated, plan: Named) -> Response:
    """Show what a customer would be invoiced, and change nothing."""
    return await _price_shown(desk, plan, _read_price(desk))


@router.page("/plans/{plan}/prices/{price}", Role.VIEWER)
async def show_price(desk: Seated, plan: Named, price: Named) -> Response:
    """Show a price, with what a customer would be invoiced."""
    async with desk.ctx.store.read() as session:
        found = await cataloguing.find_plan(session, desk.merchant_id, plan)
        row = await cataloguing.find_price(session, desk.merchant_id, plan, price)
    asked = {name: desk.asked(name) for name in ("quantity", "first_on")}
    look = _LOOK.read({name: text or _usual_look(desk)[name] for name, text in asked.items()})
    preview = _previewed(look, row["title"], terms_of(row), row["trial_days"])
    return desk.show("price.html", plan=found, row=row, look=look, preview=preview)


@router.action("/plans/{plan}/prices/{price}/retire", Role.OPERATOR)
async def retire_price(desk: Seated, plan: Named, price: Named) -> Response:
    """Sell at a price to nobody new."""
    return await _offer_price(desk, plan, price, is_sold=False)


@router.action("/plans/{plan}/prices/{price}/offer", Role.OPERATOR)
async def offer_price(desk: Seated, plan: Named, price: Named) -> Response:
    """Sell at a retired price again."""
    return await _offer_price(desk, plan, price, is_sold=True)


async def _offer_plan(desk: Desk, plan: str, *, is_sold: bool) -> Response:
    async with desk.ctx.store.write() as session:
        row = await cataloguing.find_plan(session, desk.merchant_id, plan, desk.ctx)
        await cataloguing.archive_plan(session, row["id"], None if is_sold else desk.ctx.clock.now())
        await desk.note(session, "offer_plan" if is_sold else "archive_plan", plan)
    said = "is on sale again" if is_sold else "is archived: nobody new can subscribe to it"
    return desk.done(f"/plans/{plan}", f"{row['name']} {said}.")


async def _offer_price(desk: Desk, plan: str, price: str, *, is_sold: bool) -> Response:
    async with desk.ctx.store.write() as session:
        row = await cataloguing.find_price(session, desk.merchant_id, plan, price)
        await cataloguing.retire_price(session, row["id"], None if is_sold else desk.ctx.clock.now())
        await desk.note(session, "offer_price" if is_sold else "retire_price", f"{plan}/{price}")
    said = "is on sale again" if is_sold else "is retired: subscriptions on it go on, and nobody new gets it"
    return desk.done(f"/plans/{plan}", f"{row['title']} {said}.")


async def _shown(desk: Desk, plan: str, draft: Draft | None = None) -> Response:
    async with desk.ctx.store.read() as session:
        row = await cataloguing.find_plan(session, desk.merchant_id, plan)
        part = await part_of(desk, session, select(_price).where(_price.c.plan_id == row["id"]), _price.c.id)
    return desk.show("plan.html", row=row, part=part, draft=draft or _RENAME.blank(name=row["name"]))


async def _prices_on_sale(session: AsyncSession, plan_ids: Iterable[int]) -> Mapping[int, list[RowMapping]]:
    """Return the prices on sale of some plans, those of each together."""
    query = select(_price).where(_price.c.plan_id.in_(list(plan_ids)), _price.c.retired_at.is_(None))
    prices = defaultdict(list)
    for row in (await session.execute(query.order_by(_price.c.id))).mappings():
        prices[row["plan_id"]].append(row)
    return prices


async def _price_shown(desk: Desk, plan: str, draft: Draft) -> Response:
    """Show the form of a new price beside what it would mean."""
    async with desk.ctx.store.read() as session:
        row = await cataloguing.find_plan(session, desk.merchant_id, plan)
    look = _LOOK.read(_usual_look(desk) | {name: desk.typed[name] for name in _usual_look(desk) if name in desk.typed})
    wanted = ("amount", "currency", "interval_count", "interval_unit", "trial_days", "tax_rate", "tax")
    if not all(name in draft.values for name in wanted):
        preview = Preview(missing="It is shown as soon as amount, interval, trial and tax can be read.")
    else:
        title = draft.typed.get("title") or row["name"]
        preview = _previewed(look, title, _terms(draft.values), draft.values["trial_days"])
    return desk.show("price_new.html", plan=row, draft=draft, look=look, preview=preview)


def _read_price(desk: Desk) -> Draft:
    """Read the form of a price; how its amount is written depends on the currency that was typed."""
    code = desk.typed.get("currency", "").strip().upper()
    try:
        exponent(code)
    except MoneyError:
        code = desk.at.merchant["currency"]
    return _price_form(code).read(desk.typed)


def _terms(values: Values) -> Terms:
    interval = Interval(Unit(values["interval_unit"]), values["interval_count"])
    return Terms(values["amount"], interval, values["tax_rate"], values["tax"] == "included")


def _usual_look(desk: Desk) -> dict[str, str]:
    return {"quantity": "1", "first_on": desk.at.moment.today.isoformat()}


def _previewed(look: Draft, title: str, terms: Terms, trial_days: int) -> Preview:
    if look.is_wrong:
        return Preview(missing="It is shown as soon as quantity and first day can be read.")
    quantity, first_on = look.values["quantity"], look.values["first_on"]
    try:
        return Preview(tuple(forecast(title, terms, quantity, first_on, trial_days, INVOICES_SHOWN)))
    except ValueError as error:
        return Preview(missing=f"{str(error).capitalize()}.")
