"""Customers: who pays, what is stored for them, and everything that happened to them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from billing.models import Customer, GatewayAccount, Invoice, Profile, ProfileState, Role, Subscription, table
from billing.services import changing, forgetting, registering
from billing.services.finding import begins
from billing.services.recounting import Of
from billing.services.refusing import ConflictError, MissingError
from billing.services.verifying import NothingToRenewError, offer_renewal
from billing.subscriptions import SubscriptionState
from billing.web.console.desk import Seated, part_of
from billing.web.console.forms import Draft, Field, Form, Values, email, matching
from billing.web.console.gate import Section
from billing.web.console.stories import profile_in, told

router = Section("Customers", "/customers")

_customer, _profile, _account = table(Customer), table(Profile), table(GatewayAccount)
_subscription, _invoice = table(Subscription), table(Invoice)

SHOWN: Final = 20
REFERENCE: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
Name = Annotated[str, Path(max_length=40)]
Number = Annotated[int, Path(ge=1, le=2**62)]

_LANGUAGES: Final = r"[a-z]{2}(-[A-Z]{2})?"
_REFERENCE: Final = Field(
    "reference",
    "Reference",
    hint="Your own name for them, such as C1001. It stays.",
    read=matching(REFERENCE, "Write letters, digits, dots, dashes and underscores, like C1001."),
    chars_max=32,
)
_KNOWN: Final = (
    Field("name", "Name", chars_max=100),
    Field("email", "E-mail address", "email", "Where invoices and links go.", read=email, chars_max=254),
    Field("salutation", "Salutation", hint="How mails begin, such as Dear Ms Huber.", required=False, chars_max=100),
    Field(
        "language",
        "Language",
        hint="Two letters, such as de or en-IE. Left empty it is yours.",
        required=False,
        read=matching(_LANGUAGES, "Write a language like de or en-IE."),
        chars_max=5,
    ),
    Field(
        "country",
        "Country",
        hint="Two letters, such as AT. Amounts and days are written as there.",
        required=False,
        read=matching("[A-Z]{2}", "Write a country's two capital letters, like AT."),
        chars_max=2,
    ),
)
_NEW: Final = Form((_REFERENCE, *_KNOWN))
_CHANGE: Final = Form(_KNOWN)


@router.page("/customers", Role.VIEWER)
async def list_customers(desk: Seated) -> Response:
    """Show the customers, newest first, or those whose name or address begins so."""
    asked = {name: desk.asked(name) for name in ("name", "email", "reference")}
    query = select(_customer).where(_customer.c.merchant_id == desk.merchant_id)
    if asked["reference"]:
        query = query.where(_customer.c.reference == asked["reference"])
    async with desk.ctx.store.read() as session:
        for name in ("name", "email"):
            query = query.where(begins(session, _customer.c[name], asked[name])) if asked[name] else query
        part = await part_of(desk, session, query, _customer.c.id)
    return desk.show("customers.html", part=part, asked=asked)


@router.page("/customers/new", Role.OPERATOR)
async def ask_customer(desk: Seated) -> Response:
    """Ask who is to pay."""
    return desk.show("customer_edit.html", draft=_NEW.blank(), row=None)


@router.action("/customers/new", Role.OPERATOR)
async def add_customer(desk: Seated) -> Response:
    """Register a customer."""

    async def effect(session: AsyncSession, values: Values) -> None:
        await registering.register(session, desk.merchant_id, values)
        await desk.note(session, "register_customer", values["reference"])

    draft = await desk.attempt(_NEW.read(desk.typed), effect)
    if draft.is_wrong:
        return desk.show("customer_edit.html", draft=draft, row=None)
    return desk.done(f"/customers/{draft.values['reference']}", f"{draft.values['name']} is a customer now.")


@router.page("/customers/{customer}", Role.VIEWER)
async def show_customer(desk: Seated, customer: Name) -> Response:
    """Show one customer with what is stored and sold, and their whole story."""
    return await _shown(desk, customer)


@router.page("/customers/{customer}/edit", Role.OPERATOR)
async def ask_change(desk: Seated, customer: Name) -> Response:
    """Show what is known of a customer, to be changed."""
    async with desk.ctx.store.read() as session:
        row = await registering.find_customer(session, desk.merchant_id, customer)
    draft = _CHANGE.blank(**{field.name: row[field.name] for field in _CHANGE.fields})
    return desk.show("customer_edit.html", draft=draft, row=row)


@router.action("/customers/{customer}/edit", Role.OPERATOR)
async def change_customer(desk: Seated, customer: Name) -> Response:
    """Change what is known of a customer."""
    async with desk.ctx.store.read() as session:
        row = await registering.find_customer(session, desk.merchant_id, customer)

    async def effect(session: AsyncSession, values: Values) -> None:
        held = await registering.find_customer(session, desk.merchant_id, customer, desk.ctx)
        changed = {name: value for name, value in values.items() if value != held[name]}
        await registering.change_customer(session, held["id"], changed)
        # What was and is stands in the customer alone, so that forgetting them leaves nothing behind.
        await desk.note(session, "change_customer", customer, changed=", ".join(changed))

    draft = await desk.attempt(_CHANGE.read(desk.typed), effect)
    if draft.is_wrong:
        return desk.show("customer_edit.html", draft=draft, row=row)
    return desk.done(f"/customers/{customer}", "Saved. Mails that wait go where they were to go.")


@router.action("/customers/{customer}/forget", Role.OPERATOR)
async def forget_customer(desk: Seated, customer: Name) -> Response:
    """Forget who a customer is, here at once and then at the gateways that store something."""
    profiles: list[int] = []

    async def effect(session: AsyncSession, _: Values) -> None:
        row = await registering.find_customer(session, desk.merchant_id, customer, desk.ctx)
        profiles.extend(await forgetting.forget_customer(desk.ctx, session, row))
        await desk.note(session, "forget_customer", customer)

    draft = await desk.attempt(Form.of().blank(), effect)
    if draft.is_wrong:
        return await _shown(desk, customer, draft)
    for profile_id in profiles:
        await forgetting.forget_at_gateway(desk.ctx, desk.merchant_id, profile_id)
    return desk.done(f"/customers/{customer}", "Who it was is forgotten. Invoices and postings stay.")


@router.action("/customers/{customer}/profiles/{profile}/renew", Role.OPERATOR)
async def renew_profile(desk: Seated, customer: Name, profile: Number) -> Response:
    """Make a link on which the customer renews a profile, and mail it to them."""
    async with desk.ctx.store.read() as session:
        row = await _profile_of(desk, session, customer, profile)
        using = (_subscription.c.profile_id == row["id"]) & _subscription.c.state.not_in(_OVER)
        reference = (await session.execute(select(_subscription.c.reference).where(using).limit(1))).scalar()
    if reference is None:
        raise ConflictError("no subscription is charged to this profile, so there is nothing to renew it for")
    try:
        link = await offer_renewal(desk.ctx, reference, merchant_id=desk.merchant_id, actor=desk.actor)
    except NothingToRenewError as error:
        raise ConflictError(str(error)) from None
    crumb = (desk.url(f"/customers/{customer}"), customer)
    return desk.show("link.html", title="Link to renew the profile", link=link, crumb=crumb, is_mailed=True)


@router.action("/customers/{customer}/profiles/{profile}/forget", Role.OPERATOR)
async def forget_profile(desk: Seated, customer: Name, profile: Number) -> Response:
    """Charge a profile no more, and let its gateway delete it."""

    async def effect(session: AsyncSession, _: Values) -> None:
        await _profile_of(desk, session, customer, profile)
        await forgetting.forget(desk.ctx, session, desk.merchant_id, profile)
        await desk.note(session, "forget_profile", f"pro_{profile}", customer=customer)

    draft = await desk.attempt(Form.of().blank(), effect)
    if draft.is_wrong:
        return await _shown(desk, customer, draft)
    await forgetting.forget_at_gateway(desk.ctx, desk.merchant_id, profile)
    return desk.done(f"/customers/{customer}", "The profile is forgotten. What is due next is asked for by link.")


_OVER: Final = (SubscriptionState.CANCELED, SubscriptionState.ENDED)


async def _profile_of(desk: Seated, session: AsyncSession, customer: str, profile: int) -> RowMapping:
    """Return a profile of the very customer whose page it is on."""
    owner = await registering.find_customer(session, desk.merchant_id, customer)
    row = await forgetting.find_profile(session, desk.merchant_id, profile)
    if row["customer_id"] != owner["id"]:
        raise MissingError(f"{customer} has no profile pro_{profile}")
    return row


async def _shown(desk: Seated, customer: str, draft: Draft | None = None) -> Response:
    async with desk.ctx.store.read() as session:
        row = await registering.find_customer(session, desk.merchant_id, customer)
        profiles = (await session.execute(_profiles_of(row["id"]))).mappings().all()
        sold = changing.SUBSCRIPTIONS.where(_subscription.c.customer_id == row["id"])
        subscriptions = await session.execute(sold.order_by(_subscription.c.id.desc()).limit(SHOWN))
        mine = select(_invoice).where(_invoice.c.customer_id == row["id"])
        invoices = await session.execute(mine.order_by(_invoice.c.id.desc()).limit(SHOWN))
        known: dict[str, Any] = {"subscriptions": subscriptions.mappings().all(), "profiles": profiles}
        known |= {
            "invoices": invoices.mappings().all(),
            "means": profile_in,
            "story": await told(desk, session, Of.CUSTOMER, row),
        }
    return desk.show("customer.html", row=row, draft=draft or Form.of().blank(), **known)


def _profiles_of(customer_id: int) -> Select[Any]:
    """Return a query for what is stored of a customer, what can be charged first."""
    query = select(_profile, _account.c.reference.label("account"), _account.c.gateway).join_from(_profile, _account)
    is_gone = _profile.c.state != ProfileState.ACTIVE
    return query.where(_profile.c.customer_id == customer_id).order_by(is_gone, _profile.c.id.desc()).limit(SHOWN)
