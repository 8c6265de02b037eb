"""A bank that does as it is told and keeps its own book, and a small world of customers around it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import Select, Table, event, insert, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.compiler import SQLCompiler

from billing.clock import ManualClock
from billing.gateway import (
    Abilities,
    AfterNothing,
    Approved,
    Asking,
    Booked,
    CardForm,
    Charge,
    Checkout,
    CheckoutOrder,
    ConfigurationError,
    DeclineClass,
    Declined,
    ForgeryError,
    Mandate,
    MisuseError,
    Notice,
    NotSent,
    OperationKind,
    Outcome,
    Payer,
    Payout,
    Pending,
    PresentCharge,
    ProfileNews,
    ProfileReference,
    Question,
    RawMessage,
    Refused,
    Unknown,
)
from billing.links import Links
from billing.models import (
    Attempt,
    CatchUp,
    Event,
    GatewayAccount,
    Merchant,
    Message,
    Notification,
    NumberSeries,
    Operation,
    PayLink,
    Profile,
    Run,
    Task,
    TestClock,
    WebhookDelivery,
    WebhookEndpoint,
    metadata,
    table,
)
from billing.models import Checkout as CheckoutRow
from billing.money import Money
from billing.pace import Pace
from billing.periods import Interval, Unit
from billing.pricing import Terms
from billing.services.consenting import Consent
from billing.services.context import Context, Gateways, Moment
from billing.services.founding import AccountFacts, MerchantFacts, PlanFacts, PriceFacts, found, give_clock
from billing.services.hearing import receive, settle_notification
from billing.services.invoicing import RunScope, issue_page
from billing.services.messaging import Owed, give_links
from billing.services.paying import Click, Opened, pay
from billing.services.recovering import take_steps, try_unsent_again
from billing.services.running import Word
from billing.services.subscribing import Subscriber, enrol
from billing.store import Store, after_s, insert_unless
from billing.subscriptions import Collection
from billing.vault import Vault
from billing.web.api.shapes import show_things
from jobs.billing_run import Report, run_all
from jobs.doctor import examine
from jobs.dunning_run import dun_all
from jobs.reconcile import ReconcileReport, reconcile

START = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
TODAY = date(2026, 11, 21)
PRICE = Money(2500, "EUR")
SECRET = "a secret key that is long enough for tests"
PAGE_LIFE_S = 1800
CONSENT = Consent("By paying you allow Nordlicht to charge this card.", "en")


class Crash(BaseException):
    """The process dies here; nothing of ours catches it."""


# --- the bank ---------------------------------------------------------------


@dataclass
class Booking:
    """One line of the bank's own book: what was really taken, or given back."""

    key: str
    gateway_id: str
    kind: str
    amount: Money
    profile: str = ""

    @property
    def owed(self) -> str:
        """The key of what it pays, without the number of the try."""
        return self.key.rpartition("-")[0]


Act = Callable[["Bank", Any], Awaitable[Outcome]]


async def approve(bank: Bank, charge: Charge) -> Outcome:
    """Book the charge and say so."""
    return bank.book(charge.key, charge.amount, charge.profile.reference)


async def reserve(bank: Bank, charge: Charge) -> Outcome:
    """Reserve only: a capture or a reversal is owed."""
    return replace(bank.book(charge.key, charge.amount, charge.profile.reference, kind="reservation"), captured=False)


async def lose_after(bank: Bank, charge: Charge) -> Outcome:
    """Book the charge, and lose the answer."""
    bank.book(charge.key, charge.amount, charge.profile.reference)
    return Unknown("the answer was lost")


async def lose_before(bank: Bank, charge: Charge) -> Outcome:
    """Lose the request."""
    return Unknown("the request was lost")


async def tell_again(bank: Bank, charge: Charge) -> Outcome:
    """Answer a request by what was booked under its key, and book only what is new."""
    return bank.told_again(charge.key) or await approve(bank, charge)


async def not_sent(bank: Bank, charge: Charge) -> Outcome:
    """Fail to connect."""
    return NotSent("connection refused")


async def refuse(bank: Bank, charge: Charge) -> Outcome:
    """Reject us."""
    return Refused("ACCESS_DENIED", "wrong password")


async def explode(bank: Bank, charge: Charge) -> Outcome:
    """Break in the middle of it."""
    raise RuntimeError("the adapter is broken")


async def forbid(bank: Bank, charge: Charge) -> Outcome:
    """Find out before sending that it must not be sent."""
    raise MisuseError("no contract for this currency")


async def crash_before(bank: Bank, charge: Charge) -> Outcome:
    """Die before the request leaves."""
    raise Crash


async def crash_after(bank: Bank, charge: Charge) -> Outcome:
    """Die when the bank has booked and before its answer is read."""
    bank.book(charge.key, charge.amount, charge.profile.reference)
    raise Crash


async def pend(bank: Bank, charge: Charge) -> Outcome:
    """Take it, and not be sure yet."""
    return Pending(bank.next_id())


def decline(decline_class: DeclineClass = DeclineClass.RETRY_LATER, code: str = "DECLINED") -> Act:
    """Say no about the customer's means."""

    async def act(bank: Bank, charge: Charge) -> Outcome:
        return Declined(code, decline_class, "not today")

    return act


def book_other(amount: Money) -> Act:
    """Book another amount than was asked for."""

    async def act(bank: Bank, charge: Charge) -> Outcome:
        return bank.book(charge.key, amount, charge.profile.reference)

    return act


def wait_for(gate: asyncio.Event, then: Act = approve) -> Act:
    """Answer only when the gate opens."""

    async def act(bank: Bank, charge: Charge) -> Outcome:
        await gate.wait()
        return await then(bank, charge)

    return act


@dataclass(eq=False)
class Bank:
    """A gateway that answers by script, for each profile or key, and keeps its own book of what it took."""

    abilities: Abilities = field(
        default_factory=lambda: Abilities(
            title="Bank",
            charge=True,
            charge_present=False,
            hosted_page=True,
            renews_profile=True,
            capture=True,
            reverse=True,
            refund=True,
            partial_refund=True,
            pay_out=False,
            forget=False,
            ways=("card", "debit"),
            asking=Asking(delays_s=(10, 120, 1800), settle_s=90, budget=3, after_nothing=AfterNothing.NEW_KEY),
            timeout_s=30,
            notification_is_truth=True,
        )
    )
    pace: Pace = field(default_factory=Pace)
    default: Act = approve
    acts: dict[str, list[Act]] = field(default_factory=dict)
    answers: dict[str, list[Outcome | BaseException]] = field(default_factory=dict)
    answers_held: asyncio.Event | None = None
    after: dict[str, list[Outcome | BaseException]] = field(default_factory=dict)
    pages: dict[str, CheckoutOrder] = field(default_factory=dict)
    page_answers: list[Any] = field(default_factory=list)
    sent: list[Charge] = field(default_factory=list)
    presented: list[PresentCharge] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    did: list[tuple[str, str]] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)
    broken: str = ""

    # What a test says.

    def on(self, name: str, *acts: Act) -> None:
        """Do these, one after the other, when the profile or key is charged; afterwards the default again."""
        self.acts.setdefault(name, []).extend(acts)

    def tell(self, key: str, *answers: Outcome | BaseException) -> None:
        """Answer these to the next questions about a key, instead of the truth."""
        self.answers.setdefault(key, []).extend(answers)

    def then(self, kind: str, *answers: Outcome | BaseException) -> None:
        """Answer these to the next operations of a kind, booking only what is approved."""
        self.after.setdefault(kind, []).extend(answers)

    # What a test reads.

    def told_again(self, key: str) -> Approved | None:
        """Return what was booked under a key, as a bank does that remembers keys."""
        found = [each for each in self.bookings if each.key == key and each.kind in ("sale", "reservation")]
        return Approved(found[0].gateway_id, found[0].amount) if found else None

    def sales(self) -> Counter[str]:
        """How often each owed thing was really paid."""
        return Counter(each.owed for each in self.bookings if each.kind in ("sale", "reservation"))

    def taken(self) -> int:
        """What the bank holds for us in the end, in minor units."""
        sign = {"sale": 1, "reservation": 1, "capture": 0, "reversal": -1, "refund": -1}
        return sum(sign[each.kind] * each.amount.minor for each in self.bookings)

    # The book.

    def next_id(self) -> str:
        """A new id of a transaction."""
        return str(1000 + len(self.bookings) + len(self.sent) + len(self.pages))

    def book(self, key: str, amount: Money, profile: str = "", kind: str = "sale") -> Approved:
        """Take the money."""
        booking = Booking(key, str(5000 + len(self.bookings)), kind, amount, profile)
        self.bookings.append(booking)
        return Approved(booking.gateway_id, amount)

    def customer_pays(
        self, key: str, *, kind: str = "sale", profile: str = "", amount: Money | None = None
    ) -> RawMessage:
        """Let the customer pay on the page, and return the push that tells of it."""
        order = self.pages[key]
        stored = order.store.reference if order.store is not None else ""
        done = self.book(key, amount or order.amount, profile or stored, kind)
        return self.push(key, "paid" if kind == "sale" else "reserved", done.gateway_id, done.amount, profile or stored)

    def push(
        self, key: str, status: str, gateway_id: str = "", amount: Money = PRICE, profile: str = "", serial: str = ""
    ) -> RawMessage:
        """Return the notification that tells of a state."""
        said = {"key": key, "status": status, "id": gateway_id, "minor": amount.minor, "currency": amount.currency}
        return RawMessage("GET", urlencode(said | {"profile": profile, "serial": serial}), {}, b"", key)

    # The port.

    async def charge(self, charge: Charge) -> Outcome:
        """Do what the script says."""
        self.sent.append(charge)
        for name in (charge.key, charge.profile.reference):
            if self.acts.get(name):
                return await self.acts[name].pop(0)(self, charge)
        return await self.default(self, charge)

    async def charge_present(self, charge: PresentCharge) -> Outcome:
        """Do what the script says; what was booked under the key before is told again."""
        self.presented.append(charge)
        if self.acts.get(charge.key):
            return await self.acts[charge.key].pop(0)(self, charge)
        stored = charge.store is not None
        kind = "reservation" if charge.reserve_only else "sale"
        done = self.told_again(charge.key) or self.book(charge.key, charge.amount, "", kind)
        news = ProfileNews(f"T-{charge.key}", mandate=Mandate(first_transaction=done.gateway_id)) if stored else None
        return replace(done, profile=news, captured=not charge.reserve_only)

    async def open_checkout(self, order: CheckoutOrder) -> Checkout | Declined | Refused | NotSent | Unknown:
        """Open a page."""
        self.pages[order.key] = order
        if self.page_answers:
            answer = self.page_answers.pop(0)
            if callable(answer):
                answer = await answer(order)
            if isinstance(answer, BaseException):
                raise answer
            if answer is not None:
                return answer  # type: ignore[no-any-return]
        return Checkout(f"https://bank.example/{order.key}", PAGE_LIFE_S)

    async def open_card_form(self, payer: Payer) -> CardForm | Declined | Refused | NotSent | Unknown:  # noqa: ARG002
        """Open fields, where the bank has some."""
        if not self.abilities.card_form:
            raise MisuseError("no card form here")
        return CardForm(
            f"F-{len(self.presented)}", "https://bank.example/fields", "https://bank.example/t.js", "tokenizer"
        )

    async def find(self, question: Question) -> Outcome:
        """Tell the truth, or what the script says."""
        self.asked.append(question)
        name = question.operation_key or question.key
        answer = self.answers[name].pop(0) if self.answers.get(name) else self._truth(question)
        if self.answers_held is not None:
            await self.answers_held.wait()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _truth(self, question: Question) -> Outcome:
        kinds = ("sale", "reservation") if question.operation is None else (str(question.operation),)
        found = [each for each in self.bookings if each.key == question.key and each.kind in kinds]
        if not found:
            return NotSent("nothing there")
        captured = found[-1].kind != "reservation" or any(
            each.kind == "capture" and each.key == question.key for each in self.bookings
        )
        return Approved(found[-1].gateway_id, found[-1].amount, captured=captured)

    async def capture(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Capture."""
        return self._operate("capture", booked, amount, key)

    async def reverse(self, booked: Booked, key: str) -> Outcome:
        """Reverse."""
        return self._operate("reversal", booked, booked.amount, key)

    async def refund(self, booked: Booked, amount: Money, key: str) -> Outcome:
        """Refund."""
        return self._operate("refund", booked, amount, key)

    def _operate(self, kind: str, booked: Booked, amount: Money, key: str) -> Outcome:
        self.did.append((kind, key))
        answer = self.after.get(kind) and self.after[kind].pop(0)
        if isinstance(answer, BaseException):
            raise answer
        if answer and not isinstance(answer, Approved):
            return answer
        self.bookings.append(Booking(booked.key, booked.gateway_id, kind, amount))
        return Approved(booked.gateway_id, amount)

    async def pay_out(self, payout: Payout) -> Outcome:  # noqa: ARG002
        """Refuse: not a verb of this bank."""
        raise MisuseError("no payouts here")

    async def forget(self, profile: ProfileReference) -> Outcome:  # noqa: ARG002
        """Refuse: not a verb of this bank."""
        raise MisuseError("no forgetting here")

    async def check(self) -> None:
        """Return if the credentials work."""
        if self.broken:
            raise ConfigurationError(self.broken)

    def read_notification(self, message: RawMessage) -> Notice:
        """Read a push; only the key in the address proves it."""
        said = dict(parse_qsl(message.query, keep_blank_values=True))
        if not message.proven_key or said.get("key") != message.proven_key:
            raise ForgeryError("the address does not prove the key")
        amount = Money(int(said["minor"]), said["currency"])
        identity = f"{said['id']}/{said['status']}/{said['minor']}/{said['serial']}"
        outcome, operation = _news(said, amount)
        return Notice(identity, said["key"], said["id"], outcome, operation)

    def acknowledge(self, accepted: bool) -> str:
        """Say whether it was believed."""
        return "OK" if accepted else "ERROR"

    def answer_challenge(self, message: RawMessage) -> str | None:  # noqa: ARG002
        """Answer none."""
        return None

    async def close(self) -> None:
        """Keep everything: it is the same bank when it is opened again."""


def _news(said: Mapping[str, str], amount: Money) -> tuple[Outcome | None, OperationKind | None]:
    profile = ProfileNews(said["profile"], brand="VISA", last4="1111") if said["profile"] else None
    plain: dict[str, Outcome] = {
        "paid": Approved(said["id"], amount, profile=profile),
        "reserved": Approved(said["id"], amount, captured=False, profile=profile),
        "failed": Declined("ERROR", DeclineClass.NEEDS_CUSTOMER, "a try failed", said["id"]),
        "pending": Pending(said["id"]),
    }
    operations = {kind.value: kind for kind in OperationKind}
    if said["status"] in operations:
        return Approved(said["id"], amount), operations[said["status"]]
    return plain.get(said["status"]), None


# --- the world --------------------------------------------------------------

# Everything that is ruled by the database's clock.
MACHINE_TIMES: Mapping[Table, Sequence[str]] = {
    table(Attempt): ("sent_at", "lease_until", "ask_at", "repeat_until"),
    table(Operation): ("sent_at", "lease_until", "ask_at"),
    table(CheckoutRow): ("opened_at", "closes_at"),
    table(Notification): ("received_at",),
    table(WebhookDelivery): ("next_try_at",),
    table(WebhookEndpoint): ("rest_until", "failing_since", "old_secret_until"),
    table(Event): ("created_at",),
}


async def let_time_pass(store: Store, seconds: float, times: Mapping[Table, Sequence[str]] = MACHINE_TIMES) -> None:
    """Let time pass for the database's clock, by putting what it rules back by as much.

    A transaction for each table, so that nobody at work waits for us while we wait for him.
    """
    earlier = "{} - interval '{} seconds'"
    if store.is_sqlite:
        earlier, seconds = "strftime('%Y-%m-%d %H:%M:%f000', {}, '{} seconds')", -seconds
    for of, names in times.items():
        values: dict[str, Any] = {name: literal_column(earlier.format(name, seconds)) for name in names}
        async with store.write() as session:
            await session.execute(update(of).values(values))


@dataclass
class World:
    """A merchant with customers, at one bank."""

    ctx: Context
    bank: Bank
    clock: ManualClock
    merchant_id: int = 0

    @property
    def store(self) -> Store:
        """Its database."""
        return self.ctx.store

    # Building.

    async def subscribe(self, count: int = 1, **changed: Any) -> None:
        """Enrol customers K1, K2, ... with profiles P1, P2, ... and subscriptions S1, S2, ..., due today."""
        had = len(await self.rows(metadata.tables["subscription"]))
        await enrol(self.ctx, self.merchant_id, [subscriber(had + number + 1, **changed) for number in range(count)])

    async def link_to(self, invoice_id: int = 1) -> int:
        """Give the invoice a pay-link and return its id."""
        invoice = (await self.rows(metadata.tables["invoice"]))[invoice_id - 1]
        async with self.store.write() as session:
            owed = Owed(self.merchant_id, invoice["customer_id"], invoice["id"])
            await give_links(session, [owed], self.clock.now())
        links = await self.rows(table(PayLink))
        return int(
            next(link["id"] for link in links if link["invoice_id"] == invoice["id"] and not link["superseded_at"])
        )

    # Working.

    async def run(self) -> Report:
        """Run the night and return the report of its last day."""
        return (await run_all(self.ctx))[-1]

    async def dun(self) -> Counter[str]:
        """Take the steps that are due."""
        return (await dun_all(self.ctx)).steps

    async def reconcile(self) -> ReconcileReport:
        """Ask about what is due now."""
        return await reconcile(self.ctx)

    async def clear_up(self, rounds: int = 4) -> None:
        """Let hours pass and reconcile again and again, as the timetable would."""
        for _ in range(rounds):
            await self.pass_time(3600)
            await self.reconcile()

    async def pay(self, link_id: int) -> Opened:
        """Click on "Pay now", under the words that allow the next charges."""
        return await pay(self.ctx, link_id, Click("", "", consent=CONSENT))

    async def hear(self, message: RawMessage, *, settle: bool = True) -> int | None:
        """Let a push arrive at the address that proves its key."""
        links, key = self.ctx.links, message.proven_key
        proof = links.notify(1, key).rpartition("/")[2]
        heard = await receive(self.ctx, 1, proof, message)
        if settle and heard.notification_id is not None:
            await settle_notification(self.ctx, heard.notification_id)
        return heard.notification_id

    async def pass_time(self, seconds: float) -> None:
        """Let time pass for the database's clock."""
        await let_time_pass(self.store, seconds)

    def next_day(self, days: int = 1) -> None:
        """Let business time go on."""
        self.clock.advance(timedelta(days=days))

    async def until(self, happened: Callable[[], bool]) -> None:
        """Let others work until something has happened, but not for ever."""
        async with asyncio.timeout(60):
            while not happened():  # noqa: ASYNC110 - what happens is the engine's business, which knows no event of ours
                await asyncio.sleep(0.005)

    async def let_mails_be_due(self) -> None:
        """Let the wait for the next try of every queued mail be over."""
        async with self.store.write() as session:
            await session.execute(update(table(Message)).values(next_try_at=after_s()))

    # Reading.

    async def rows(self, of: Any, **where: Any) -> list[dict[str, Any]]:
        """Return the rows of a table, in order, that have these values."""
        found = of if isinstance(of, Table) else table(of)
        query = select(found).order_by(*found.primary_key)
        for name, value in where.items():
            query = query.where(found.c[name] == value)
        async with self.store.read() as session:
            return [dict(row) for row in (await session.execute(query)).mappings()]

    async def everything(self, *apart: str) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row there is as the database holds it, save those of some tables."""
        names = [each.name for each in metadata.sorted_tables if each.name not in apart]
        async with self.store.read() as session:
            connection = await session.connection()
            found = {name: await connection.exec_driver_sql(f"SELECT * FROM {name}") for name in names}  # noqa: S608
            return {name: [tuple(row) for row in rows] for name, rows in found.items()}

    async def states(self, of: Any) -> list[str]:
        """Return the states of all rows, in order."""
        return [str(row["state"]) for row in await self.rows(of)]

    async def say(self, word: Word, run_id: int, said: str) -> Any:
        """Let a person say a word on a run."""
        async with self.store.write() as session:
            return await word(self.ctx, session, run_id, said)

    async def tasks(self) -> list[tuple[str, str]]:
        """Return what people are asked, by kind and subject."""
        return [(row["kind"], row["subject"]) for row in await self.rows(Task, state="open")]

    async def mails(self) -> list[tuple[str, str]]:
        """Return what was written to customers, by cause and step."""
        return [(row["cause"], row["step"]) for row in await self.rows(Message)]

    async def balances(self) -> dict[str, int]:
        """Return what each account of the ledger comes to."""
        sums: Counter[str] = Counter()
        for row in await self.rows(metadata.tables["posting"]):
            sums[row["account"]] += row["amount_minor"]
        return {account: minor for account, minor in sorted(sums.items()) if minor}

    async def breaches(self) -> list[tuple[int, tuple[str, ...]]]:
        """Return what the doctor finds."""
        return [(breach.promise, breach.ids) for breach in await examine(self.ctx)]

    async def change(self, of: Any, id_: int, **values: Any) -> None:
        """Change one row behind the engine's back."""
        found = table(of)
        async with self.store.write() as session:
            await session.execute(update(found).where(next(iter(found.primary_key)) == id_).values(**values))

    async def change_merchant(self, **values: Any) -> None:
        """Change the merchant behind the engine's back."""
        await self.change(Merchant, self.merchant_id, **values)

    async def change_profile(self, id_: int, **values: Any) -> None:
        """Change a stored profile behind the engine's back."""
        await self.change(Profile, id_, **values)

    async def issue_again(self) -> None:
        """Do the first half of a night: what is due and what could not be sent is ready, and nothing has left."""
        scope = await self.begin_run()
        moment = Moment("Europe/Vienna", scope.now)
        await try_unsent_again(self.ctx, self.merchant_id, moment, scope.run_id)
        while await issue_page(self.ctx, scope):
            pass
        await self.change(Run, scope.run_id, state="finished")

    async def issue_dunning(self) -> None:
        """Do the first half of a day's dunning: what is to be charged is ready, and nothing has left."""
        await take_steps(self.ctx, self.merchant_id, Moment("Europe/Vienna", self.clock.now()))

    async def beside(self, reference: str) -> World:
        """Return a second merchant's world in the same database, with another bank's customers."""
        other = replace(self)
        other.merchant_id = await found(self.ctx, facts(reference=reference, number_prefix=reference))
        return other

    async def begin_run(self) -> RunScope:
        """Begin a run as the job does, whose first slice has gone well, and take no work for it yet."""
        on = self.clock.now().date()
        row: dict[str, Any] = {"merchant_id": self.merchant_id, "on_day": on, "state": "running"}
        row |= {"business_at": self.clock.now(), "started_at": self.clock.now(), "slice_passed_at": self.clock.now()}
        series = {"merchant_id": self.merchant_id, "prefix": f"NA-{on.year}-", "next_value": 1}
        async with self.store.write() as session:
            made = await session.execute(insert(table(Run)).values(**row).returning(table(Run).c.id))
            run_id = made.scalar_one()
            await session.execute(
                insert_unless(session, table(NumberSeries), ["merchant_id", "prefix"]).values(**series)
            )
        return RunScope(run_id, self.merchant_id, on, self.clock.now(), f"NA-{on.year}-", CatchUp.EACH)

    async def open_account_again(self) -> None:
        """Say that the operator has mended the credentials."""
        await found(self.ctx, facts())

    def with_context(self, **changed: Any) -> World:
        """Return the same world with other rules of the house."""
        return replace(self, ctx=replace(self.ctx, **changed))

    async def twin(self) -> World:
        """Return the same world as another process sees it."""
        return replace(self, ctx=context(Store(self._url()), self.bank, self.clock))

    def _url(self) -> str:
        return self.store.engine.url.render_as_string(hide_password=False)


def subscriber(number: int, **changed: Any) -> Subscriber:
    """Return a subscriber who is due today."""
    values: dict[str, Any] = {
        "customer": f"K{number}",
        "name": f"Customer {number}",
        "email": f"k{number}@example.org",
        "subscription": f"S{number}",
        "price": "team/monthly",
        "anchor_on": TODAY,
        "billed_until": TODAY,
        "account": "bank",
        "profile": f"P{number}",
        "profile_last4": "4242",
    }
    return Subscriber(**(values | changed))


def by_link(number: int, **changed: Any) -> dict[str, Any]:
    """Return what makes a subscriber pay by link each time."""
    return {"collection": Collection.LINK, "account": "", "profile": "", "profile_last4": ""} | changed


def facts(**changed: Any) -> MerchantFacts:
    """Return a merchant with one account and one plan."""
    terms = Terms(PRICE, Interval(Unit.MONTH), 2000)
    yearly = Terms(Money(25000, "EUR"), Interval(Unit.YEAR), 2000)
    prices = (PriceFacts("monthly", "Team, monthly", terms), PriceFacts("yearly", "Team, yearly", yearly))
    trial = PriceFacts("trial", "Team, after a trial", terms, trial_days=14)
    values: dict[str, Any] = {
        "reference": "nordlicht",
        "name": "Nordlicht",
        "legal_name": "Nordlicht GmbH",
        "number_prefix": "NA",
        "mail_from": "billing@nordlicht.example",
        "accounts": (AccountFacts("bank", "bank", {"password": "sesame"}),),
        "plans": (PlanFacts("team", "Team", (*prices, trial)),),
    }
    return MerchantFacts(**(values | changed))


def context(store: Store, bank: Bank, clock: ManualClock, **changed: Any) -> Context:
    """Return what services work with, at the bank."""
    vault = Vault(SECRET)
    gateways = Gateways(lambda *_: bank, vault)
    links = Links(vault, "https://pay.example")
    given: dict[str, Any] = {"clock": clock, "shows": show_things} | changed
    return Context(store=store, vault=vault, links=links, gateways=gateways, **given)


async def make_world(store: Store, customers: int = 0, **changed: Any) -> World:
    """Found the merchant and enrol customers who are due today."""
    bank, clock = Bank(), ManualClock(START)
    world = World(context(store, bank, clock), bank, clock)
    world.merchant_id = await found(world.ctx, facts(**changed))
    if customers:
        await world.subscribe(customers)
    return world


async def under_test_clock(world: World, now: datetime) -> None:
    """Give the merchant business time of its own."""
    await give_clock(world.ctx, "nordlicht", TestClock(name="test", now_at=now))


async def stop_account(world: World) -> None:
    """Stop the account as an operator would."""
    await world.change(GatewayAccount, 1, state="stopped", stopped_at=START, stopped_reason="by hand")


async def plan_of(session: AsyncSession, query: Select[Any]) -> str:
    """Return how the database would find what a query asks for."""
    connection = await session.connection()
    asked = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    assert isinstance(asked, SQLCompiler)
    given = tuple(asked.params[name] for name in asked.positiontup) if asked.positiontup else asked.params
    verb = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return str((await connection.exec_driver_sql(f"{verb} {asked}", given)).all())


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    """Collect the statements that are sent to the database; one for many rows is one."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(store.engine.sync_engine, "before_cursor_execute", note)
