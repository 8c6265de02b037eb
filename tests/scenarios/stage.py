"""Everything on stage at once: a database, the sandbox process, our web application, a mailbox, and a movable clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Final

import httpx
from lxml import html
from sqlalchemy import Select, func, select, update

from billing.models import (
    Attempt,
    Checkout,
    Customer,
    Invoice,
    Message,
    Notification,
    Operation,
    PayLink,
    Posting,
    Profile,
    Subscription,
    Task,
    TestClock,
    Verification,
    table,
)
from billing.money import Money
from billing.periods import Interval, Unit
from billing.pricing import Terms
from billing.services.cases import PAGE_MARGIN_S
from billing.services.context import Context
from billing.services.founding import AccountFacts, MerchantFacts, PlanFacts, PriceFacts, found, give_clock
from billing.services.subscribing import Subscriber, enrol
from billing.store import after_s
from jobs.billing_run import Report, run_all
from jobs.deliver import deliver_all
from jobs.doctor import Breach, examine
from jobs.dunning_run import dun_all
from jobs.mailbox import Letter, Mailbox, receiving
from jobs.reconcile import reconcile
from jobs.serving import listen, serving
from jobs.settings import Settings
from jobs.wiring import open_context, open_mailer
from tests.contract.sandbox import Sandbox, fill_in, submit

SECRET: Final = "a secret key that is only good for tests"
PATIENCE_S: Final = 60
SWIFT: Final = {"timeout_s": "5", "connect_timeout_s": "2.5", "ask_delays_s": "1,1,1", "settle_s": "1"}

GOOD: Final = {"type": "CC", "number": "4444333322221111", "expiry": "05/35", "cvc": "123"}
CHALLENGED: Final = GOOD | {"expiry": "07/35"}
DECLINED: Final = GOOD | {"expiry": "01/35"}
EXPIRED: Final = GOOD | {"expiry": "02/35"}
BANK_BUTTONS: Final = {"yes": ("confirm", "approve"), "no": ("refuse", "decline")}

MERCHANT: Final = MerchantFacts(
    reference="gym",
    name="Turnhalle",
    legal_name="Turnhalle GmbH",
    number_prefix="TH",
    mail_from="billing@gym.example",
    timezone="Europe/Vienna",
    country="AT",
)
PLANS: Final = (
    PlanFacts(
        "solo",
        "Solo",
        (PriceFacts("monthly", "Solo, monthly", Terms(Money(2500, "EUR"), Interval(Unit.MONTH), tax_rate_bp=2000)),),
    ),
)
ANNA: Final = Subscriber(
    customer="985467_45486",
    name="Anna Huber",
    email="anna@example.net",
    subscription="S-ANNA",
    price="solo/monthly",
    anchor_on=date(2026, 12, 1),
    billed_until=date(2026, 12, 1),
    language="en",
    country="AT",
    account="main",
    profile="985467_45486",
    profile_kind="card",
    profile_brand="Visa",
    profile_last4="1111",
)


@dataclass
class Browser:
    """A customer's browser: it follows links and forms, and knows the name of each of our pages."""

    http: httpx.AsyncClient

    async def open(self, address: str) -> Look:
        return Look(await self.http.get(address))

    async def press(self, look: Look, typed: Mapping[str, str] | None = None) -> httpx.Response:
        """Send the form of one of our pages with what is typed into it, and follow nothing."""
        form = parsed(look.answer.text).forms[0]
        filled = dict(form.form_values()) | dict(typed or {})
        return await self.http.post(look.answer.url.join(str(form.action)), data=filled)

    async def to_gateway(self, link: str, typed: Mapping[str, str] | None = None) -> str:
        """Open a pay-link, press its one button, and return the address of the gateway's page.

        Where a gateway wants a form posted, our page of leaving has it, and its button is pressed as well.
        """
        answer = await self.press(await self.open(link), typed)
        if not answer.is_redirect:
            assert Look(answer).page == "leaving", answer.text
            answer = await self.press(Look(answer))
        assert answer.status_code in (302, 303), answer.text
        return str(answer.url.join(answer.headers["location"]))

    async def type_card(self, page: str, card: Mapping[str, str], answer: str = "yes") -> httpx.Response:
        """Fill in the gateway's page and answer what the bank asks for, up to where the gateway is done."""
        typed = await self.stay(await fill_in(self.http, page, {**card, "action": "pay"}))
        for button in parsed(typed.text).xpath("//button") if typed.text else ():
            if button.get("value") in BANK_BUTTONS[answer]:
                return await self.stay(await submit(self.http, typed, {button.get("name"): button.get("value")}))
        return typed

    async def stay(self, answer: httpx.Response) -> httpx.Response:
        """Go from one of the gateway's pages to the next, and not back to ours."""
        while answer.is_redirect and (there := answer.url.join(answer.headers["location"])).port == answer.url.port:
            answer = await self.http.get(there)
        return answer

    async def come_back(self, answer: httpx.Response) -> Look:
        """Go where the gateway's last page leads, by a redirect or by the form that it posts by itself."""
        if not answer.is_redirect:
            answer = await submit(self.http, answer, {})
        return await self.wait(str(answer.url.join(answer.headers["location"])))

    async def type_into_fields(self, link: str, card: Mapping[str, str]) -> httpx.Response:
        """Do as the page's script does: open the gateway's card fields, type, and bring back what they give."""
        form = parsed((await self.open(link)).answer.text).forms[0]
        way = dict(form.form_values())["way"]
        fields = (await self.http.post(f"{link}/fields", data={"way": way})).raise_for_status().json()
        assert (await self.http.post(fields["url"], data=card)).json()["success"]
        found = {"way": way, "card_form": fields["id"], "lang": "en", "browser_language": "en-IE"}
        return await self.http.post(f"{link}/card", data=found)

    async def pay_in_fields(self, link: str, card: Mapping[str, str], action: str = "confirm") -> Look:
        """Pay in the gateway's card fields, answer the bank's own question, and come back."""
        answer = await self.type_into_fields(link, card)
        where = answer.url.join(answer.headers["location"])
        if str(where).startswith(link):
            return await self.wait(str(where))
        back = await fill_in(self.http, str(where), {"action": action})
        return await self.wait(back.headers["location"])

    async def pay(self, link: str, card: Mapping[str, str] = GOOD) -> Look:
        """Go all the way from the mail's link to the page that says it is done."""
        return await self.come_back(await self.type_card(await self.to_gateway(link), card))

    async def wait(self, address: str) -> Look:
        """Look at a page again and again, as its script does, until the bank has confirmed."""
        look = await self.open(address)
        async with asyncio.timeout(PATIENCE_S):
            while look.page.endswith("confirming"):
                await asyncio.sleep(0.05)
                look = await self.open(address)
        return look


@dataclass(frozen=True)
class Look:
    """One page as the customer sees it."""

    answer: httpx.Response

    @property
    def page(self) -> str:
        return str(parsed(self.answer.text).get("data-page") or "")

    @property
    def words(self) -> str:
        """The page's text with its spaces as one each."""
        return " ".join(parsed(self.answer.text).text_content().split())


@dataclass
class Stage:
    """What a scenario plays on, and what it compares at the end."""

    gateway: str
    ctx: Context
    settings: Settings
    sandbox: Sandbox
    mailbox: Mailbox
    browser: Browser
    merchant_id: int = 0
    read: int = field(default=0)

    # --- setting the scene

    async def found(self, *more: AccountFacts, **merchant: Any) -> None:
        """Set the merchant up under a test clock; `settings` go to its own gateway account, the first of all."""
        await self.set_up(*more, **merchant)
        await give_clock(self.ctx, MERCHANT.reference, TestClock(name="stage", now_at=at(date(2026, 11, 30))))

    async def set_up(self, *more: AccountFacts, **merchant: Any) -> None:
        """Set the merchant up, or bring what is there up to these facts."""
        account = {**self.sandbox.credentials, **SWIFT, **merchant.pop("settings", {})}
        accounts = (AccountFacts("main", self.gateway, account), *more)
        self.merchant_id = await found(self.ctx, replace(MERCHANT, accounts=accounts, plans=PLANS, **merchant))

    async def enrol(self, subscriber: Subscriber = ANNA, card: Mapping[str, str] = GOOD) -> None:
        """Enrol a subscriber whose card is stored at the gateway already."""
        month, year = card["expiry"].split("/")
        stored = {"kind": "CC", "brand": "VISA", "identifier": card["number"], "expiry": year + month}
        if subscriber.profile:
            self.sandbox.store(stored | {"customer_id": subscriber.profile, "name": subscriber.name})
        await self.enrol_only(subscriber)

    async def enrol_only(self, *subscribers: Subscriber) -> None:
        """Enrol subscribers whose profiles are at the gateway already, or who have none."""
        await enrol(self.ctx, self.merchant_id, subscribers)

    # --- time

    async def night(self, day: date) -> Report:
        """Let the night of a day come: the run, and what there is to ask about."""
        await self.set_clock(at(day, 1))
        report = (await run_all(self.ctx))[-1]
        await reconcile(self.ctx)
        return report

    async def morning(self, day: date) -> list[Letter]:
        """Let the morning of a day come: dunning, then the mails; return those that arrived."""
        await self.set_clock(at(day, 8))
        await dun_all(self.ctx)
        return await self.deliver()

    async def deliver(self) -> list[Letter]:
        """Send what is queued, and return what the mail server took."""
        async with open_mailer(self.settings) as mailer:
            await deliver_all(self.ctx, mailer)
        fresh, self.read = self.mailbox.letters[self.read :], len(self.mailbox.letters)
        return fresh

    async def reconcile(self, wait_s: float = 0) -> None:
        await reconcile(self.ctx, wait_s)

    async def set_clock_to(self, day: date) -> None:
        await self.set_clock(at(day))

    async def set_clock(self, now: datetime) -> None:
        async with self.ctx.store.write() as session:
            await session.execute(update(table(TestClock)).values(now_at=now))

    async def wait_over(self) -> None:
        """Let the time be over until the gateway is asked again about an operation; that is machine time."""
        operation = table(Operation)
        async with self.ctx.store.write() as session:
            await session.execute(update(operation).where(operation.c.ask_at.is_not(None)).values(ask_at=after_s()))

    async def pages_over(self) -> None:
        """Let the life of every page be over, and the time to ask what became of it come; that is machine time."""
        page, attempt = table(Checkout), table(Attempt)
        async with self.ctx.store.write() as session:
            await session.execute(update(page).values(closes_at=after_s(-PAGE_MARGIN_S)))
            await session.execute(update(attempt).where(attempt.c.ask_at.is_not(None)).values(ask_at=after_s()))

    # --- waiting for what comes by itself

    async def heard(self, count: int) -> None:
        """Wait until so many different notifications have been taken in."""
        notification = table(Notification)
        taken = select(func.count()).where(notification.c.state != "received")
        await until(lambda: self.one(taken), lambda found: found >= count)

    async def confirm_at_the_bank(self, page: httpx.Response) -> None:
        """Answer the bank's own question, and never come back."""
        await submit(self.browser.http, page, {"action": "confirm"})

    # --- what to compare

    async def rows(self, query: Select[Any]) -> list[tuple[Any, ...]]:
        async with self.ctx.store.read() as session:
            return [tuple(row) for row in await session.execute(query)]

    async def one(self, query: Select[Any]) -> Any:
        return (await self.rows(query))[0][0]

    async def invoices(self) -> list[str]:
        """Every invoice, oldest first: `TH-2026-00001 2026-12-01 2500 paid`."""
        invoice = table(Invoice)
        columns = select(invoice.c.number, invoice.c.period_start, invoice.c.total_minor, invoice.c.state)
        return [" ".join(map(str, row)) for row in await self.rows(columns.order_by(invoice.c.id))]

    async def attempts(self) -> list[str]:
        """Every attempt, oldest first: `night 2500 declined retry_later`."""
        attempt = table(Attempt)
        columns = select(attempt.c.channel, attempt.c.amount_minor, attempt.c.state, attempt.c.decline_class)
        return [" ".join(map(str, filter(None, row))) for row in await self.rows(columns.order_by(attempt.c.id))]

    async def postings(self) -> list[str]:
        """Every posting, in groups as they were made: `payment gateway 2500`."""
        posting = table(Posting)
        order = (posting.c.posted_at, posting.c.group_key, posting.c.position)
        found = await self.rows(
            select(posting.c.group_key, posting.c.account, posting.c.amount_minor, posting.c.currency).order_by(*order)
        )
        return [f"{key.split(':')[0]} {account} {minor}" for key, account, minor, _ in found]

    async def messages(self) -> list[str]:
        """Every message, oldest first: `declined sent`."""
        message = table(Message)
        return [
            f"{step.split(' ')[0]} {state}"
            for step, state in await self.rows(select(message.c.step, message.c.state).order_by(message.c.id))
        ]

    async def operations(self) -> list[str]:
        """Every reversal, refund and the like: `reversal 10 approved`."""
        operation = table(Operation)
        columns = select(operation.c.kind, operation.c.amount_minor, operation.c.state)
        return [" ".join(map(str, row)) for row in await self.rows(columns.order_by(operation.c.id))]

    async def tasks(self) -> list[str]:
        """Every task for a person: `chargeback inv_1 open`."""
        task = table(Task)
        columns = select(task.c.kind, task.c.subject, task.c.state)
        return [" ".join(row) for row in await self.rows(columns.order_by(task.c.id))]

    async def subscription(self) -> tuple[str, date | None]:
        """The one subscription's state, and when it is due next."""
        mine = table(Subscription)
        [(state, due_on)] = await self.rows(select(mine.c.state, mine.c.next_due_on))
        return state, due_on

    async def profiles(self) -> list[str]:
        profile = table(Profile)
        columns = select(profile.c.state, profile.c.renewed_at.is_not(None)).order_by(profile.c.id)
        return [f"{state} renewed" if renewed else state for state, renewed in await self.rows(columns)]

    async def verifications(self) -> list[str]:
        verification = table(Verification)
        columns = select(verification.c.amount_minor, verification.c.state).order_by(verification.c.id)
        return [f"{minor} {state}" for minor, state in await self.rows(columns)]

    async def notifications(self) -> list[str]:
        """The state of every notification, oldest first."""
        notification = table(Notification)
        return [row[0] for row in await self.rows(select(notification.c.state).order_by(notification.c.id))]

    async def keys(self) -> list[str]:
        """The key of every attempt, oldest first."""
        attempt = table(Attempt)
        return [row[0] for row in await self.rows(select(attempt.c.key).order_by(attempt.c.id))]

    async def links(self) -> list[str]:
        """Every pay-link's address, oldest first."""
        link = table(PayLink)
        return [self.ctx.links.pay(id_) for (id_,) in await self.rows(select(link.c.id).order_by(link.c.id))]

    async def customers(self) -> list[str]:
        return [row[0] for row in await self.rows(select(table(Customer).c.reference))]

    def ledger(self) -> list[dict[str, Any]]:
        """The gateway's own ledger, oldest first."""
        rows: list[dict[str, Any]] = self.sandbox.http.get("/_sandbox/ledger").raise_for_status().json()["transactions"]
        return rows

    def booked(self) -> list[str]:
        """Everything on the gateway's own ledger: `sale 2500 declined`."""
        return [f"{row['kind']} {row['amount_minor']} {row['state']}" for row in self.ledger()]

    def gateway_id(self, place: int = -1) -> str:
        """The gateway's own number of a booking."""
        return str(self.ledger()[place]["gateway_id"])

    async def doctor(self) -> list[Breach]:
        return await examine(self.ctx)


def at(day: date, hour: int = 1) -> datetime:
    """Return an instant of a day, in UTC: early enough to be the same day in Vienna."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def link_in(letter: Letter) -> str:
    """Return the address of a mail's one button; its text part has the same."""
    [button] = parsed(letter.part("html")).xpath("//a[@class='m-btn']/@href")
    assert str(button) in letter.part("plain")
    return str(button)


def parsed(text: str) -> Any:
    return html.fromstring(text)


def subjects(letters: list[Letter]) -> list[str]:
    return [str(letter.message["Subject"]) for letter in letters]


async def until(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], bool]) -> Any:
    """Ask again and again until it is enough, for some seconds at most."""
    found = await ask()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not enough(found):
                await asyncio.sleep(0.03)
                found = await ask()
    except TimeoutError:
        raise AssertionError(f"after {PATIENCE_S} s it is still {found!r}") from None
    return found


@asynccontextmanager
async def raised(
    database_url: str, sandbox: Sandbox, gateway: str = "mpay24", **settings_more: Any
) -> AsyncIterator[Stage]:
    """Raise the curtain: serve the web, take mails, and clear it all away at the end."""
    mailbox, listening = Mailbox(), listen("127.0.0.1", 0)
    async with receiving(mailbox) as smtp_url:
        settings = Settings(
            _env_file=None,
            database_url=database_url,
            secret_key=SECRET,
            smtp_url=smtp_url,
            public_url=f"http://127.0.0.1:{listening.getsockname()[1]}",
            **{"lease_s": 15, **settings_more},
        )
        async with (
            open_context(settings) as ctx,
            serving(ctx, listening),
            httpx.AsyncClient(trust_env=False, timeout=60) as http,
        ):
            yield Stage(gateway, ctx, settings, sandbox, mailbox, Browser(http))
