"""Subscriptions: where each stands, what it bills next, and what people do with one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.invoices import InvoiceState
from billing.models import Customer, GatewayAccount, Invoice, Profile, ProfileState, Role, Subscription, table
from billing.pricing import Line
from billing.services import cataloguing, changing, registering
from billing.services.changing import SUBSCRIPTIONS, Held, When
from billing.services.recounting import Of
from billing.services.showing import lines_ahead
from billing.services.starting import NewSubscription, start
from billing.subscriptions import SubscriptionState
from billing.web.console.customers import REFERENCE
from billing.web.console.desk import Effect, Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Option, Values, day, day_in, matching, options, whole
from billing.web.console.gate import Section
from billing.web.console.outlook import AHEAD, Outlook, lines_of, outlook, price_in, strip
from billing.web.console.stories import period_in, profile_in, told

router = Section("Subscriptions", "/subscriptions")

_subscription, _customer, _invoice = table(Subscription), table(Customer), table(Invoice)
_profile, _account = table(Profile), table(GatewayAccount)

Name = Annotated[str, Path(max_length=40)]
PRICES_MAX: Final = 300
PREVIEWED: Final = 3
_S = SubscriptionState
_SURE: Final = Field("sure", "", "hidden", required=False)
_QUANTITY: Final = Field("quantity", "Quantity", "number", read=whole(1, 1_000_000), chars_max=7)


# --- lists ------------------------------------------------------------------


@router.page("/subscriptions", Role.VIEWER)
async def list_subscriptions(desk: Seated) -> Response:
    """Show the subscriptions, newest first, by state, day on which they are due, customer or reference."""
    asked = {name: desk.asked(name) for name in ("state", "due", "customer", "reference")}
    query = SUBSCRIPTIONS.where(_subscription.c.merchant_id == desk.merchant_id)
    if asked["state"] in set(_S):
        query = query.where(_subscription.c.state == asked["state"])
    if due_on := day_in(asked["due"]):
        query = query.where(_subscription.c.next_due_on <= due_on)
    if asked["customer"]:
        theirs = (_customer.c.merchant_id == desk.merchant_id) & (_customer.c.reference == asked["customer"])
        query = query.where(theirs)
    if asked["reference"]:
        query = query.where(_subscription.c.reference == asked["reference"])
    async with desk.ctx.store.read() as session:
        part = await part_of(desk, session, query, _subscription.c.id)
    return desk.show("subscriptions.html", part=part, asked=asked, states=list(_S), next_of=next_of)


def next_of(row: RowMapping) -> Line | None:
    """Return what a subscription bills next, or nothing for one that is not billed."""
    return lines_ahead(row, 1)[0] if row["next_due_on"] else None


# --- starting ---------------------------------------------------------------


@router.page("/subscriptions/new", Role.OPERATOR)
async def ask_subscription(desk: Seated) -> Response:
    """Ask for whom, and then what is to be sold."""
    reference = desk.asked("customer")
    if not reference:
        return desk.show("subscription_new.html", draft=Form.of().blank(), customer=None, lines=())
    async with desk.ctx.store.read() as session:
        customer = await registering.find_customer(session, desk.merchant_id, reference)
        form = await _start_form(desk, session, customer)
    return desk.show("subscription_new.html", draft=form.blank(quantity="1"), customer=customer, lines=())


@router.action("/subscriptions/new", Role.OPERATOR)
async def start_subscription(desk: Seated) -> Response:
    """Show what the first invoices would be, and start the subscription once that was seen."""
    async with desk.ctx.store.read() as session:
        customer = await registering.find_customer(session, desk.merchant_id, desk.typed.get("customer", ""))
        form = await _start_form(desk, session, customer)

    async def effect(session: AsyncSession, values: Values) -> None:
        await start(desk.ctx, session, desk.merchant_id, _wanted(customer["reference"], values))
        await desk.note(session, "start_subscription", values["reference"], customer=customer["reference"])

    draft = form.read(desk.typed)
    if draft.typed.get("sure") != "yes":
        draft, lines = await _rehearsed(desk, draft, effect, draft.typed.get("reference", ""))
        return desk.show("subscription_new.html", draft=draft, customer=customer, lines=lines)
    draft = await desk.attempt(draft, effect)
    if draft.is_wrong:
        return desk.show("subscription_new.html", draft=draft, customer=customer, lines=())
    reference = draft.values["reference"]
    return desk.done(f"/subscriptions/{reference}", "It is started. The next run that finds it due bills it.")


def _wanted(customer: str, values: Values) -> NewSubscription:
    return NewSubscription(
        reference=values["reference"],
        customer=customer,
        price=values["price"],
        quantity=values["quantity"],
        profile_id=int(values["profile"]) if values["profile"] else None,
        begins_on=values["begins_on"] or None,
    )


async def _start_form(desk: Seated, session: AsyncSession, customer: RowMapping) -> Form:
    """Return the form, with the prices there are and what the customer has stored."""
    profiles = select(_profile, _account.c.reference.label("account"), _account.c.gateway).join_from(_profile, _account)
    usable = (_profile.c.customer_id == customer["id"]) & (_profile.c.state == ProfileState.ACTIVE)
    rows = (await session.execute(profiles.where(usable).order_by(_profile.c.id.desc()).limit(20))).mappings()
    stored = [(str(row["id"]), f"{profile_in(row)} at {desk.title_of(row['gateway'])}") for row in rows]
    return Form.of(
        Field(
            "reference",
            "Reference",
            hint="Your own name for it, such as S1001. It stays.",
            read=matching(REFERENCE, "Write letters, digits, dots, dashes and underscores, like S1001."),
            chars_max=40,
        ),
        Field("price", "Price", "select", options=await _prices(desk, session)),
        _QUANTITY,
        Field(
            "profile", "Charged to", "select", "Left empty it is paid by link.", required=False, options=options(stored)
        ),
        Field("begins_on", "First day", "date", "Left empty it is today.", required=False, read=day),
        _SURE,
    )


async def _prices(desk: Seated, session: AsyncSession, like: RowMapping | None = None) -> tuple[Option, ...]:
    """Return the merchant's prices as options: all, or those that may take the place of a subscription's own."""
    query = cataloguing.PRICES.where(cataloguing.PRICES.selected_columns.merchant_id == desk.merchant_id)
    rows = (await session.execute(query.limit(PRICES_MAX))).mappings().all()
    same = ("interval_unit", "interval_count", "currency")
    fit = [row for row in rows if like is None or all(row[name] == like[name] for name in same)]
    return options((f"{row['plan']}/{row['reference']}", f"{row['title']}: {price_in(desk, row)}") for row in fit)


# --- one of them ------------------------------------------------------------


@router.page("/subscriptions/{subscription}", Role.VIEWER)
async def show_subscription(desk: Seated, subscription: Name) -> Response:
    """Show one subscription: what is next, a year of periods, and everything that happened."""
    return await _shown(desk, subscription)


@router.page("/subscriptions/{subscription}/change", Role.OPERATOR)
async def ask_change(desk: Seated, subscription: Name) -> Response:
    """Ask what the next invoice is to bill."""
    async with desk.ctx.store.read() as session:
        row = await changing.find_subscription(session, desk.merchant_id, subscription)
        form = await _change_form(desk, session, row)
    draft = form.blank(price=row["price"], quantity=str(row["quantity"]))
    return desk.show("subscription_change.html", draft=draft, row=row, lines=(), before=lines_of(row, PREVIEWED))


@router.action("/subscriptions/{subscription}/change", Role.OPERATOR)
async def change_subscription(desk: Seated, subscription: Name) -> Response:
    """Show what the next invoices would be, and let them be so once that was seen."""
    async with desk.ctx.store.read() as session:
        row = await changing.find_subscription(session, desk.merchant_id, subscription)
        form = await _change_form(desk, session, row)

    async def effect(session: AsyncSession, values: Values) -> None:
        held = await changing.locked(desk.ctx, session, desk.merchant_id, subscription)
        await changing.change_quantity(session, held, values["quantity"])
        await changing.change_price(session, held, values["price"])
        was = {"price_before": held.row["price"], "quantity_before": held.row["quantity"]}
        about = {"price": values["price"], "quantity": values["quantity"]}
        await desk.note(session, "change_subscription", subscription, **about, **was)

    draft = form.read(desk.typed)
    lines: Sequence[Line] = ()
    is_sure = draft.typed.get("sure") == "yes"
    if is_sure:
        draft = await desk.attempt(draft, effect)
    else:
        draft, lines = await _rehearsed(desk, draft, effect, subscription)
    if draft.is_wrong or not is_sure:
        known: dict[str, Any] = {"row": row, "lines": lines, "before": lines_of(row, PREVIEWED)}
        return desk.show("subscription_change.html", draft=draft, **known)
    return desk.done(f"/subscriptions/{subscription}", "Changed. The next invoice bills it.")


async def _change_form(desk: Seated, session: AsyncSession, row: RowMapping) -> Form:
    prices = await _prices(desk, session, row)
    return Form.of(Field("price", "Price", "select", options=prices), _QUANTITY, _SURE)


# --- verbs ------------------------------------------------------------------

Verb = Callable[[AsyncSession, Held], Awaitable[None]]


@router.action("/subscriptions/{subscription}/pause", Role.OPERATOR)
async def pause_subscription(desk: Seated, subscription: Name) -> Response:
    """Bill no further period until it is resumed."""
    return await _do(
        desk, subscription, "pause_subscription", changing.pause, "Paused. Nothing is billed until it is resumed."
    )


@router.action("/subscriptions/{subscription}/resume", Role.OPERATOR)
async def resume_subscription(desk: Seated, subscription: Name) -> Response:
    """Bill again, from the first period that begins today or later."""
    return await _do(desk, subscription, "resume_subscription", changing.resume, "Resumed. It is billed again.")


@router.action("/subscriptions/{subscription}/cancel", Role.OPERATOR)
async def cancel_subscription(desk: Seated, subscription: Name) -> Response:
    """Renew it no more, and end it when its billed days are over, or now."""
    async with desk.ctx.store.read() as session:
        row = await changing.find_subscription(session, desk.merchant_id, subscription)
    draft = _cancel_form(outlook(desk, row)).read(desk.typed)
    if draft.is_wrong:
        return await _shown(desk, subscription, cancel=draft)
    when = When(draft.values["when"])

    async def verb(session: AsyncSession, held: Held) -> None:
        await changing.cancel(session, held, when)

    said = "Ended." if when == When.NOW else "Canceled. It is not renewed."
    return await _do(desk, subscription, "cancel_subscription", verb, said, when=str(when))


@router.action("/subscriptions/{subscription}/undo", Role.OPERATOR)
async def undo_cancellation(desk: Seated, subscription: Name) -> Response:
    """Renew a canceled one again, while its billed days last."""
    return await _do(desk, subscription, "undo_cancellation", changing.undo_cancellation, "It is renewed again.")


def _cancel_form(out: Outlook) -> Form:
    """Return what is asked of a cancellation: the ways there are as things stand, each with what it does."""
    ways = (
        Option(When.PERIOD_END, "At the end of the billed days", out.at_period_end),
        Option(When.NOW, "Now", out.now),
    )
    return Form.of(Field("when", "When", "choice", options=tuple(way for way in ways if way.hint) or ways))


async def _do(desk: Seated, reference: str, name: str, verb: Verb, said: str, **detail: Any) -> Response:
    """Do something with one subscription while it is locked."""

    async def effect(session: AsyncSession, _: Values) -> None:
        held = await changing.locked(desk.ctx, session, desk.merchant_id, reference)
        await verb(session, held)
        await desk.note(session, name, reference, **detail)

    draft = await desk.attempt(Form.of().blank(), effect)
    return await _shown(desk, reference, draft) if draft.is_wrong else desk.done(f"/subscriptions/{reference}", said)


class _Rehearsal(Exception):  # noqa: N818 - it is no error: it takes back what was only to be looked at
    """What the next invoices would be."""

    def __init__(self, lines: Sequence[Line]) -> None:
        super().__init__("it was only to be looked at")
        self.lines = lines


async def _rehearsed(desk: Seated, draft: Draft, effect: Effect, reference: str) -> tuple[Draft, Sequence[Line]]:
    """Do the effect, look at the next invoices, and take it back: whatever would be refused is refused now."""

    async def seen(session: AsyncSession, values: Values) -> None:
        await effect(session, values)
        row = await changing.find_subscription(session, desk.merchant_id, reference)
        raise _Rehearsal(lines_of(row, PREVIEWED))

    try:
        return await desk.attempt(draft, seen), ()
    except _Rehearsal as rehearsal:
        return draft, rehearsal.lines


# --- how one is shown -------------------------------------------------------


async def _shown(desk: Seated, reference: str, draft: Draft | None = None, *, cancel: Draft | None = None) -> Response:
    async with desk.ctx.store.read() as session:
        row = await changing.find_subscription(session, desk.merchant_id, reference)
        invoices = (await session.execute(_invoices_of(row))).mappings().all()
        profile = (await session.execute(_profile_of(row))).mappings().one_or_none()
        story = await told(desk, session, Of.SUBSCRIPTION, row)
    past, ahead = strip(desk, row, invoices)
    out = outlook(desk, row)
    known: dict[str, Any] = {"past": past, "ahead": ahead, "outlook": out, "lines": lines_of(row, AHEAD)}
    known["cancel"] = cancel or _cancel_form(out).blank(when=When.PERIOD_END if out.at_period_end else When.NOW)
    known |= {"open": [each for each in invoices if each["state"] == InvoiceState.OPEN]}
    known |= {"profile": profile, "means": profile_in, "price": price_in(desk, row), "story": story}
    status = 200 if cancel is None else 422
    return desk.show("subscription.html", status, row=row, draft=draft or Form.of().blank(), period=_period, **known)


def _period(desk: Seated, line: Line) -> str:
    return period_in(desk, line.period.start, line.period.end)


def _invoices_of(row: RowMapping) -> Select[Any]:
    """Return a query for the invoices of the last periods."""
    mine = select(_invoice).where(_invoice.c.subscription_id == row["id"], _invoice.c.period_number.is_not(None))
    return mine.order_by(_invoice.c.period_number.desc()).limit(2 * AHEAD)


def _profile_of(row: RowMapping) -> Select[Any]:
    query = select(_profile, _account.c.reference.label("account"), _account.c.gateway).join_from(_profile, _account)
    return query.where(_profile.c.id == row["profile_id"])
