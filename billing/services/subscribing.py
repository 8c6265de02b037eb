"""Enrol customers with their profiles and subscriptions: all of a list, or none."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing.events import EventType
from billing.models import Customer, GatewayAccount, Plan, Price, Profile, Subscription, new_row, table
from billing.periods import Interval, Unit
from billing.services.auditing import Actor, audit
from billing.services.context import Context, Moment, moments
from billing.services.profiling import profile_digests
from billing.services.telling import NewEvent, listeners, tell
from billing.subscriptions import Collection, SubscriptionState, period_after_import

_customer, _profile, _subscription = table(Customer), table(Profile), table(Subscription)
_price, _plan, _account = table(Price), table(Plan), table(GatewayAccount)

CHUNK = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """One subscription with its customer and, where it is charged by itself, the stored profile.

    `price` is written `plan/price`. `billed_until` is the first day that is not billed yet. Without a
    profile, `account` is where the customer pays by link; a gateway that cannot charge a profile always
    means that. The last two are what a merchant-initiated charge has to cite of the profile's first payment.
    """

    customer: str
    name: str
    email: str
    subscription: str
    price: str
    anchor_on: date
    billed_until: date
    quantity: int = 1
    language: str = ""
    country: str = ""
    salutation: str = ""
    collection: Collection = Collection.CHARGE
    account: str = ""
    profile: str = ""
    profile_kind: str = "card"
    profile_brand: str = ""
    profile_last4: str = ""
    profile_expires_on: date | None = None
    mandate_reference: str = ""
    mandate_signed_on: date | None = None
    first_transaction: str = ""
    scheme_reference: str = ""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why one subscriber cannot be enrolled: which of the list, which of its facts, and what is wrong."""

    place: int
    column: str
    reason: str


class EnrolmentError(ValueError):
    """Subscribers that cannot be enrolled; nothing was changed."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        super().__init__(f"{len(complaints)} subscribers cannot be enrolled")
        self.complaints = complaints


@dataclass(frozen=True, slots=True)
class Enrolled:
    """How many of each were added."""

    customers: int
    profiles: int
    subscriptions: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What is there already, by reference."""

    prices: dict[str, RowMapping]
    accounts: dict[str, int]
    chargeless: frozenset[str]
    customers: dict[str, int]
    subscriptions: frozenset[str]
    profiles: dict[str, tuple[int, int]]


async def enrol(
    ctx: Context,
    merchant_id: int,
    subscribers: Sequence[Subscriber],
    *,
    dry_run: bool = False,
    actor: Actor | None = None,
) -> Enrolled:
    """Add the subscribers, or raise `EnrolmentError` with every reason and change nothing.

    A customer or profile named twice is one. With `dry_run` everything is checked and nothing is written.
    """
    async with ctx.store.write() as session:
        moment = (await moments(ctx, session, [merchant_id]))[merchant_id]
        known = await _known(ctx, session, merchant_id, subscribers)
        complaints = [each for place, one in enumerate(subscribers) for each in _complaints(place, one, known)]
        complaints += [*_contradictions(subscribers), *_strangers(ctx, subscribers, known)]
        if complaints:
            raise EnrolmentError(sorted(complaints, key=lambda each: each.place))
        fresh = _customer_rows(merchant_id, subscribers, known)
        profiles = [one for one in _first(subscribers, "profile") if _digest(ctx, one, known) not in known.profiles]
        if not dry_run:
            await _write(ctx, session, merchant_id, subscribers, known, fresh, profiles, moment)
        done = Enrolled(len(fresh), len(profiles), len(subscribers))
        await audit(ctx, session, [] if dry_run else [merchant_id], actor, "import", **asdict(done))
        return done


# --- what can be wrong ------------------------------------------------------


def _complaints(place: int, one: Subscriber, known: _Known) -> Iterable[Complaint]:
    if one.subscription in known.subscriptions:
        yield Complaint(place, "subscription", f"{one.subscription!r} is there already")
    if one.quantity < 1:
        yield Complaint(place, "quantity", f"a quantity is at least 1, not {one.quantity}")
    price = known.prices.get(one.price)
    if price is None:
        yield Complaint(place, "price", f"there is no price {one.price!r}; it is written plan/price")
    else:
        yield from _date_complaints(place, one, price)
    yield from _profile_complaints(place, one, known)


def _date_complaints(place: int, one: Subscriber, price: RowMapping) -> Iterable[Complaint]:
    try:
        period_after_import(_interval(price), one.anchor_on, one.billed_until)
    except ValueError as error:
        yield Complaint(place, "billed_until", str(error))


def _profile_complaints(place: int, one: Subscriber, known: _Known) -> Iterable[Complaint]:
    if (one.account or one.profile) and one.account not in known.accounts:
        yield Complaint(place, "account", f"there is no gateway account {one.account!r}")
    elif one.profile and one.account in known.chargeless:
        reason = (
            f"the gateway of account {one.account!r} cannot charge a stored profile; leave it empty to collect by link"
        )
        yield Complaint(place, "profile", reason)
    elif not one.profile and _collection(one, known) == Collection.CHARGE:
        yield Complaint(place, "profile", f"customer {one.customer!r} has no stored profile to charge; collect by link")


def _collection(one: Subscriber, known: _Known) -> Collection:
    """Return how money comes in: by link in any case, where the gateway asks the customer every time."""
    return Collection.LINK if one.account in known.chargeless else one.collection


def _contradictions(subscribers: Sequence[Subscriber]) -> list[Complaint]:
    """Find the same reference used for two different things."""
    return [
        *_repeated(subscribers),
        *_differing(subscribers, "customer", ("name", "email", "language", "country", "salutation")),
        *_differing(subscribers, "profile", ("customer", "account")),
    ]


def _repeated(subscribers: Sequence[Subscriber]) -> Iterable[Complaint]:
    seen: set[str] = set()
    for place, one in enumerate(subscribers):
        if one.subscription in seen:
            yield Complaint(place, "subscription", f"{one.subscription!r} stands here twice")
        seen.add(one.subscription)


def _differing(subscribers: Sequence[Subscriber], key: str, columns: tuple[str, ...]) -> Iterable[Complaint]:
    first: dict[str, Subscriber] = {}
    for place, one in enumerate(subscribers):
        reference = getattr(one, key)
        before = first.setdefault(reference, one)
        for column in columns:
            if reference and getattr(before, column) != getattr(one, column):
                yield Complaint(place, column, f"{key} {reference!r} has another {column} further up")


def _strangers(ctx: Context, subscribers: Sequence[Subscriber], known: _Known) -> Iterable[Complaint]:
    """Find profiles that are stored for another customer already."""
    for place, one in enumerate(subscribers):
        _, owner = known.profiles.get(_digest(ctx, one, known), (None, None))
        if owner is not None and owner != known.customers.get(one.customer):
            yield Complaint(place, "profile", "the profile is stored for another customer")


# --- reading and writing ----------------------------------------------------


async def _known(ctx: Context, session: AsyncSession, merchant_id: int, subscribers: Sequence[Subscriber]) -> _Known:
    price_query = select(_price, _plan.c.reference.label("plan")).join_from(_price, _plan)
    prices = (await session.execute(price_query.where(_plan.c.merchant_id == merchant_id))).mappings()
    accounts = await session.execute(
        select(_account.c.reference, _account.c.id).where(_account.c.merchant_id == merchant_id)
    )
    by_account = {row.reference: row.id for row in accounts}
    gateways = await ctx.gateways.of(session, by_account.values())
    known = _Known(
        prices={f"{row['plan']}/{row['reference']}": row for row in prices},
        accounts=by_account,
        chargeless=frozenset(name for name, id_ in by_account.items() if gateways[id_].abilities.asks_every_time),
        customers=await _ids(session, _customer, merchant_id, {one.customer for one in subscribers}),
        subscriptions=frozenset(
            await _ids(session, _subscription, merchant_id, {one.subscription for one in subscribers})
        ),
        profiles={},
    )
    known.profiles.update(await _stored(ctx, session, subscribers, known))
    return known


async def _ids(session: AsyncSession, of: Table, merchant_id: int, references: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in _chunks(sorted(references)):
        query = select(of.c.reference, of.c.id).where(of.c.merchant_id == merchant_id, of.c.reference.in_(chunk))
        found |= {row.reference: row.id for row in await session.execute(query)}
    return found


def _chunks(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _first(subscribers: Sequence[Subscriber], key: str) -> list[Subscriber]:
    """Return the first subscriber of each different reference."""
    by_reference: dict[str, Subscriber] = {}
    for one in subscribers:
        by_reference.setdefault(getattr(one, key), one)
    by_reference.pop("", None)
    return list(by_reference.values())


def _digest(ctx: Context, one: Subscriber, known: _Known) -> str:
    return _digests(ctx, one, known)[0]


def _digests(ctx: Context, one: Subscriber, known: _Known) -> tuple[str, ...]:
    return profile_digests(ctx.vault, known.accounts.get(one.account, 0), one.profile)


def _interval(price: RowMapping) -> Interval:
    return Interval(Unit(price["interval_unit"]), price["interval_count"])


def _customer_rows(merchant_id: int, subscribers: Sequence[Subscriber], known: _Known) -> list[dict[str, Any]]:
    return [
        new_row(
            Customer,
            merchant_id=merchant_id,
            reference=one.customer,
            name=one.name,
            salutation=one.salutation,
            email=one.email,
            language=one.language,
            country=one.country,
        )
        for one in _first(subscribers, "customer")
        if one.customer not in known.customers
    ]


async def _write(
    ctx: Context,
    session: AsyncSession,
    merchant_id: int,
    subscribers: Sequence[Subscriber],
    known: _Known,
    customers: list[dict[str, Any]],
    profiles: list[Subscriber],
    moment: Moment,
) -> None:
    await _insert(session, _customer, customers)
    known.customers.update(await _ids(session, _customer, merchant_id, {one.customer for one in subscribers}))
    await _insert(session, _profile, [_profile_row(ctx, one, known, moment.now) for one in profiles])
    known.profiles.update(await _stored(ctx, session, subscribers, known))
    rows = [_subscription_row(merchant_id, one, known, _profile_id(ctx, one, known), moment) for one in subscribers]
    await _insert(session, _subscription, rows)
    if await listeners(session, [merchant_id]):
        started = await _ids(session, _subscription, merchant_id, {one.subscription for one in subscribers})
        about = (merchant_id, EventType.SUBSCRIPTION_STARTED, "sub")
        await tell(ctx, session, [NewEvent(*about, id_, moment.now) for id_ in started.values()])


async def _insert(session: AsyncSession, into: Table, rows: list[dict[str, Any]]) -> None:
    for chunk in _chunks(rows):
        await session.execute(insert(into), chunk)


async def _stored(
    ctx: Context, session: AsyncSession, subscribers: Sequence[Subscriber], known: _Known
) -> dict[str, tuple[int, int]]:
    """Return the profiles that are stored, and whose, by the digests of now, whichever they are stored under."""
    names = {
        digest: _digest(ctx, one, known) for one in subscribers if one.profile for digest in _digests(ctx, one, known)
    }
    found: dict[str, tuple[int, int]] = {}
    for chunk in _chunks(sorted(names)):
        query = select(_profile.c.reference_digest, _profile.c.id, _profile.c.customer_id)
        for row in await session.execute(query.where(_profile.c.reference_digest.in_(chunk))):
            found[names[row.reference_digest]] = (row.id, row.customer_id)
    return found


def _profile_id(ctx: Context, one: Subscriber, known: _Known) -> int | None:
    profile_id, _ = known.profiles.get(_digest(ctx, one, known), (None, None))
    return profile_id


def _profile_row(ctx: Context, one: Subscriber, known: _Known, now: datetime) -> dict[str, Any]:
    return new_row(
        Profile,
        customer_id=known.customers[one.customer],
        gateway_account_id=known.accounts[one.account],
        sealed_reference=ctx.vault.seal(one.profile),
        reference_digest=_digest(ctx, one, known),
        kind=one.profile_kind,
        brand=one.profile_brand,
        last4=one.profile_last4,
        expires_on=one.profile_expires_on,
        mandate_reference=one.mandate_reference,
        mandate_signed_on=one.mandate_signed_on,
        first_transaction=one.first_transaction,
        scheme_reference=one.scheme_reference,
        created_at=now,
    )


def _subscription_row(
    merchant_id: int, one: Subscriber, known: _Known, profile_id: int | None, moment: Moment
) -> dict[str, Any]:
    price = known.prices[one.price]
    interval = _interval(price)
    anchor_on = one.anchor_on
    number = period_after_import(interval, anchor_on, one.billed_until)
    if number == 0 and price["trial_days"]:
        anchor_on += timedelta(days=price["trial_days"])
    trialing = number == 0 and anchor_on > moment.today
    return new_row(
        Subscription,
        merchant_id=merchant_id,
        customer_id=known.customers[one.customer],
        price_id=price["id"],
        profile_id=profile_id,
        preferred_account_id=known.accounts.get(one.account),
        reference=one.subscription,
        uid=secrets.token_hex(16),
        quantity=one.quantity,
        collection=_collection(one, known),
        state=SubscriptionState.TRIALING if trialing else SubscriptionState.ACTIVE,
        anchor_on=anchor_on,
        next_period=number,
        next_due_on=interval.boundary(anchor_on, number),
        created_at=moment.now,
    )
