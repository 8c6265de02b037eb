"""The operator's way through the console, in a real browser: with a mouse, by keyboard alone, and on a phone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from billing.models import Scope
from billing.services import admitting, staffing
from billing.services.keying import make
from billing.services.listening import Wanted, listen
from billing.services.tasking import NewTask, raise_tasks
from billing.totp import code_at
from billing.web.console.desk import cookie_name
from billing.web.console.gate import SESSION
from gateways.registry import KINDS
from jobs.timetable import work_of_the_hour
from tests.billing.web.console.routes import routes
from tests.browser.conftest import launched
from tests.browser.hands import PATIENCE_MS, Hand, Keys
from tests.browser.test_customer import CARD
from tests.contract.sandbox import Sandbox
from tests.scenarios.stage import ANNA, DECLINED, MERCHANT, Stage, raised

# One browser, and so one loop, for all tests of the module.
pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY: Final = date(2026, 12, 1)
ADMIN: Final = "olga@gym.example"
PASSWORD: Final = "a long and visibly fake password"
DESK: Final = 1280
PHONE: Final = 390
BEN: Final = replace(ANNA, customer="985468_45487", name="Ben Maier", subscription="S-BEN", profile="985468_45487")
CARLA: Final = replace(
    ANNA, customer="985469_45488", name="Carla Novak", subscription="S-CARLA", profile="985469_45488"
)
HANDS: Final = pytest.mark.parametrize("hand", [Hand, Keys], ids=["mouse", "keyboard"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    async with launched() as browser:
        yield browser
    expect.set_options(timeout=None)


@pytest_asyncio.fixture(loop_scope="module")
async def stage(lite_url: str, sandbox: Sandbox) -> AsyncIterator[Stage]:
    async with raised(lite_url, sandbox, gateways_at_private_addresses=True, lease_s=120) as stage:
        yield stage


async def look(chromium: Browser, width: int = DESK) -> Page:
    """Open an empty page in a browser that knows nobody; its clock can be put forward."""
    page = await chromium.new_page(viewport={"width": width, "height": 844}, locale="en-GB")
    page.set_default_timeout(PATIENCE_MS)
    await page.clock.install()
    return page


async def let_in(stage: Stage, chromium: Browser, width: int = DESK) -> Page:
    """Open a page in a browser in which an admin has signed in."""
    hashed = await stage.ctx.passwords.hash(PASSWORD)
    async with stage.ctx.store.write() as session:
        user_id = await staffing.make_first_admin(stage.ctx, session, staffing.Person(ADMIN, "Olga Admin"), hashed)
        token = await admitting.begin(stage.ctx, session, user_id, "127.0.0.1")
    page = await look(chromium, width)
    name = cookie_name(stage.ctx, SESSION)
    await page.context.add_cookies([{"name": name, "value": token, "url": stage.settings.public_url}])
    return page


def here(stage: Stage, path: str = "") -> str:
    return f"{stage.settings.public_url}/console/{MERCHANT.reference}{path}"


# --- from nothing to the first charge ---------------------------------------


async def set_up(stage: Stage, me: Hand) -> None:
    """Make the first admin and the merchant."""
    await me.open(staffing.set_up_url(stage.ctx))
    await me.write("Your name", "Olga Admin")
    await me.write("Your e-mail address", ADMIN)
    await me.write("New password", PASSWORD)
    await me.write("Legal name", MERCHANT.legal_name)
    await me.write("Country", "AT")
    await me.write("Prefix of invoice numbers", "TH")
    await me.press("Set up")
    await me.see("Three steps, and the first night can come.")


async def connect(stage: Stage, me: Hand) -> None:
    """Add an account at the gateway, and test it."""
    await me.follow("Connect a gateway account")
    await me.follow("Add account")
    await me.follow("mPAY24")
    await me.write("Key", "mpay24-main")
    labels = {each.name: each.label for each in KINDS["mpay24"].settings}
    for name, value in stage.sandbox.credentials.items():
        await me.write(labels[name], value)
    await me.press("Add account")
    await me.see("The account is there.")
    await me.press("Test connection")
    await me.see("The connection works.")


async def describe(me: Hand) -> None:
    """Make a plan and its price, which is shown as it is typed and before it is kept."""
    await me.go("Plans")
    await me.follow("Add plan")
    await me.write("Name", "Solo")
    await me.write("Key", "solo")
    await me.press("Add plan")
    await me.see("Give it a price, and it can be sold.")
    await me.follow("Add price")
    await me.write("Title", "Solo, monthly")
    await me.write("Key", "monthly")
    await me.write("Amount", "25,00")
    await expect(me.page.locator("#preview-body tfoot .money")).to_have_text("€\N{NO-BREAK SPACE}25,00")
    await me.write("Amount", "a lot")
    await expect(me.page.locator("[data-stale]")).to_be_visible()
    await me.press("Save price")
    await expect(me.page.locator("#f-amount-error")).to_contain_text("Write an amount in EUR")
    await expect(me.page.get_by_role("alert")).to_be_focused()
    await me.write("Amount", "25")
    await me.press("Save price")
    await me.see("Solo, monthly is on sale.")


async def register(me: Hand) -> None:
    await me.go("Customers")
    await me.follow("Add customer")
    await me.write("Reference", "C1001")
    await me.write("Name", "Anna Huber")
    await me.write("E-mail address", "anna@example.net")
    await me.press("Add customer")
    await me.see("Anna Huber is a customer now.")


async def sell(me: Hand, subscription: str, profile: str = "") -> None:
    """Start a subscription at the price for the customer, once its invoices were seen."""
    await me.go("Customers")
    await me.follow("Anna Huber")
    await me.follow("Start subscription")
    await me.write("Reference", subscription)
    await me.choose("Price", "Solo, monthly")
    if profile:
        await me.choose("Charged to", profile)
    await me.press("Show the first invoices")
    await me.see("The first invoices would be")
    await me.press("Start subscription")
    await me.see("It is started.")


async def run_now(stage: Stage, me: Hand) -> None:
    """Start today's run, which the timetable takes up; its page tells by itself when it is over."""
    await me.go("Runs")
    await me.unfold("Start now")
    await me.press("Start the run")
    await me.see("The run begins within a minute.")
    await work_of_the_hour(stage.ctx, stage.settings)
    await becomes(me, "finished")


async def becomes(me: Hand, state: str) -> None:
    """Wait until the page, which looks again every few seconds, shows a run in another state."""
    await me.page.clock.fast_forward(6_000)
    await expect(me.page.locator("h1 .badge")).to_have_text(state)


async def pay(me: Hand, chromium: Browser) -> None:
    """Take the link that the customer is mailed, and follow it as they do."""
    await me.press("Show and prolong it")
    await me.see("whoever has it can open the page")
    link = await me.main.locator(".id").inner_text()
    customer = await look(chromium, PHONE)
    await customer.goto(link)
    await customer.get_by_role("button", name="Pay").click()
    for name, value in CARD.items():
        await customer.fill(f"input[name={name}]", value)
    await customer.click("button[value=pay]")
    await expect(customer.locator('html[data-page="paid"]')).to_have_count(1)
    await customer.close()


@HANDS
async def test_from_an_empty_database_to_the_first_charge_seen_as_paid(
    stage: Stage, chromium: Browser, hand: type[Hand]
) -> None:
    page = await look(chromium)
    me = hand(page)
    await set_up(stage, me)
    await connect(stage, me)
    await describe(me)
    await register(me)
    await sell(me, "S1001")
    await run_now(stage, me)

    await me.go("Invoices")
    await me.follow("TH-2026-00001")
    await pay(me, chromium)
    await me.follow("Back")
    await expect(page.locator("h1 .badge")).to_have_text("paid")

    await sell(me, "S1002", profile="Visa at mPAY24")
    await run_now(stage, me)
    await me.go("Invoices")
    await me.follow("TH-2026-00002")
    await expect(page.locator("h1 .badge")).to_have_text("paid")
    await me.see("Charged by the nightly run")
    assert stage.booked() == ["sale 2500 booked", "sale 2500 booked"]
    await page.close()


@HANDS
async def test_who_signs_in_is_asked_for_the_second_factor_once_it_is_on(
    stage: Stage, chromium: Browser, hand: type[Hand]
) -> None:
    await stage.found()
    page = await let_in(stage, chromium)
    me = hand(page)
    await me.open(f"{stage.settings.public_url}/console/account")
    await me.follow("Put on…")
    await me.unfold("Or type the secret")
    secret = await page.locator("details code.id").inner_text()
    await me.write("Code", code_at(secret, stage.ctx.clock.now()))
    await me.press("Put on")
    await me.see("Keep these codes on paper")
    recovery = await page.locator(".codes code").first.inner_text()
    await me.follow("I have them")
    await me.press("Sign out everywhere")

    await me.see("signed out everywhere")
    await me.write("E-mail address", ADMIN)
    await me.write("Password", "not the password")
    await me.press("Sign in")
    await expect(page.get_by_role("alert")).to_be_focused()
    await expect(page.locator("#f-email")).to_have_value(ADMIN)
    await me.write("Password", PASSWORD)
    await me.press("Sign in")
    await me.see("One more step")
    await me.write("Code", recovery)
    await me.press("Go on")
    await me.see("Three steps, and the first night can come.")
    await page.close()


# --- what a person decides --------------------------------------------------


def lose(stage: Stage, **match: str) -> None:
    """Let the answer to a charge be lost, and every question about it go unanswered."""
    lost = [("AcceptPayment", "drop_after_booking"), ("AcceptPayment", "no_notification")]
    faults = [{"match": {"operation": operation, **match}, "fault": fault} for operation, fault in lost]
    faults.append({"match": {"operation": "TransactionStatus"}, "fault": "http_500"})
    stage.sandbox.http.post("/_sandbox/faults", json=faults).raise_for_status()


@HANDS
async def test_a_doubt_is_settled_with_what_a_person_knows(stage: Stage, chromium: Browser, hand: type[Hand]) -> None:
    await stage.found()
    await stage.enrol()
    lose(stage)
    await stage.night(DAY)
    page = await let_in(stage, chromium)
    me = hand(page)

    await me.open(here(stage))
    await me.go("Doubts")
    await me.follow("Anna Huber")
    await me.tick("It was booked")
    await me.write("How you know it", "account statement of 1 December")
    await me.press("Settle by my word")
    await expect(page.locator("#f-gateway_id-error")).to_be_visible()
    await expect(page.locator("#f-proof")).to_have_value("account statement of 1 December")
    await me.write("Called there", stage.gateway_id())
    await me.press("Settle by my word")
    await me.see("Settled by your word.")
    await me.follow("TH-2026-00001")
    await expect(page.locator("h1 .badge")).to_have_text("paid")
    assert stage.booked() == ["sale 2500 booked"]
    await page.close()


@HANDS
async def test_a_part_of_a_payment_is_given_back(stage: Stage, chromium: Browser, hand: type[Hand]) -> None:
    await stage.found()
    await stage.enrol()
    await stage.night(DAY)
    page = await let_in(stage, chromium)
    me = hand(page)

    await me.open(here(stage, "/invoices/TH-2026-00001"))
    await me.follow("Give money back")
    await me.write("Amount", "26")
    await me.write("Why", "two days without service")
    await me.press("Give back")
    await expect(page.locator("#f-amount-error")).to_be_visible()
    await expect(page.locator("#f-reason")).to_have_value("two days without service")
    await me.write("Amount", "10")
    await me.press("Give back")
    await me.see("The refund is on its way.")
    await me.see("€\N{NO-BREAK SPACE}15,00 of €\N{NO-BREAK SPACE}25,00 can still be given back")
    assert stage.booked() == ["sale 2500 booked", "refund 1000 booked"]
    await page.close()


@HANDS
async def test_a_run_is_paused_goes_on_and_tells_by_itself_that_it_is_over(
    stage: Stage, chromium: Browser, hand: type[Hand]
) -> None:
    await stage.found()
    await stage.enrol()
    await stage.enrol(BEN, DECLINED)
    await stage.set_clock_to(DAY)
    page = await let_in(stage, chromium)
    me = hand(page)

    await me.open(here(stage, "/runs"))
    await me.unfold("Start now")
    await me.press("Start the run")
    await me.see("0 of 2 done")
    await me.unfold("Pause")
    await me.press("Pause this run")
    await expect(page.locator("#f-pause-reason-error")).to_be_visible()
    await me.write("Why", "The price looks wrong")
    await me.press("Pause this run")
    await me.see("Paused by a person: The price looks wrong")
    await work_of_the_hour(stage.ctx, stage.settings)
    assert await stage.attempts() == []

    await me.press("Go on with this run")
    await me.see("The run goes on within a minute.")
    await work_of_the_hour(stage.ctx, stage.settings)
    await becomes(me, "finished")
    await me.see("What did not go through")
    assert sorted(await stage.attempts()) == ["night 2500 approved", "night 2500 declined retry_later"]
    await page.close()


# --- on a phone -------------------------------------------------------------

# What a browser that is signed in is not led to, or what is no page.
ELSEWHERE: Final = {"/set-up", "/sign-in", "/second-factor", "/password/{token}", "/{merchant}/runs/{run}/live"}


async def test_no_page_of_the_console_scrolls_sideways_on_a_phone(stage: Stage, chromium: Browser) -> None:
    await stage.found()
    await stage.enrol()
    await stage.enrol(BEN, DECLINED)
    await stage.enrol(CARLA)
    lose(stage, profile=CARLA.profile)
    async with stage.ctx.store.write() as session:
        await make(stage.ctx, session, stage.merchant_id, "shop", [Scope.READ])
        await listen(
            stage.ctx,
            session,
            stage.merchant_id,
            Wanted(url="https://shop.example/a/longer/path/to/where/turnus/is/listened/to"),
        )
    await stage.night(DAY)
    async with stage.ctx.store.write() as session:
        about = NewTask(stage.merchant_id, "profile", "cus_1", "another card is stored there")
        await raise_tasks(session, [about], stage.ctx.clock.now())
    page = await let_in(stage, chromium, PHONE)
    todo = [here(stage), here(stage, "/find?q=an"), f"{stage.settings.public_url}/console/account"]
    looked_at: set[str] = set()
    seen: set[str] = set()
    while todo:
        address = todo.pop(0)
        if (path := re.sub("[?#].*", "", address)) in looked_at:
            continue
        looked_at.add(path)
        seen.add(path_of(path))
        await page.goto(address)
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE, address
        links = await page.eval_on_selector_all("a[href^='/console/']", "all => all.map(each => each.href)")
        todo += links
    assert {route.path for route in routes() if route.verb == "GET"} - seen == ELSEWHERE
    await page.close()


async def test_on_a_phone_the_menu_shows_where_one_is(stage: Stage, chromium: Browser) -> None:
    await stage.found()
    page = await let_in(stage, chromium, PHONE)
    nav = page.get_by_role("navigation", name="Console")
    for path in ("", "/customers", "/settings"):
        await page.goto(here(stage, path))
        at = await nav.locator("[aria-current=page]").bounding_box()
        assert at is not None
        assert at["x"] >= 0
        assert at["x"] + at["width"] <= PHONE
    await page.close()


def path_of(address: str) -> str:
    """Return the path that an address of the console was declared under."""
    path = re.sub("^.*?/console", "", address)
    return next((route.path for route in routes() if route.verb == "GET" and fits(route.path, path)), "/")


def fits(declared: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", declared), path) is not None
