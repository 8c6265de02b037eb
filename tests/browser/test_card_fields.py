"""Card fields of PAYONE in our page, in a real browser: from the mail through the frame and the bank's question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, FrameLocator, Page, expect

from tests.browser.test_customer import look, press_until, state, until_state
from tests.contract.sandbox import Sandbox
from tests.scenarios.conftest import emptied
from tests.scenarios.stage import Stage, raised
from tests.scenarios.test_card_fields import APPROVED, CHALLENGED, DECLINED, declined, typed


@pytest.fixture
def payone(simulators: dict[str, Any]) -> Iterator[Sandbox]:
    with emptied(simulators["payone"], settle_delay_s=0.2) as sandbox:
        yield sandbox


@pytest.fixture
async def stage(lite_url: str, payone: Sandbox) -> AsyncIterator[Stage]:
    async with raised(lite_url, payone, "payone") as stage:
        yield stage


def fields(page: Page) -> FrameLocator:
    return page.frame_locator("#card-fields iframe")


async def type_card(page: Page, card: str) -> None:
    for name, value in typed(card).items():
        await fields(page).locator(f"[name={name}]").fill(value)


async def pay(page: Page, card: str) -> None:
    """Type a card, press the button, and go as far as the bank's own question."""
    await type_card(page, card)
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_selector("button[value=confirm]")


async def test_from_the_mail_through_the_frame_and_the_banks_question_to_paid(stage: Stage, chromium: Browser) -> None:
    link = await declined(stage)
    page = await look(chromium)
    complaints: list[str] = []
    base = stage.settings.public_url
    page.on("console", lambda m: complaints.append(m.text) if m.location["url"].startswith(base) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    await page.goto(link)
    assert await state(page) == "ready"
    await pay(page, CHALLENGED)
    await page.click("button[value=confirm]")

    await until_state(page, "paid")
    assert (await stage.invoices())[0].endswith("paid")
    assert await stage.profiles() == ["replaced", "active"]
    assert complaints == []


async def test_a_declined_card_is_followed_by_a_second_one(stage: Stage, chromium: Browser) -> None:
    page = await look(chromium)
    await page.goto(await declined(stage))
    await pay(page, DECLINED)
    await page.click("button[value=confirm]")
    await until_state(page, "declined")

    await pay(page, APPROVED)
    await page.click("button[value=confirm]")
    await until_state(page, "paid")
    assert stage.booked() == ["sale 2500 declined", "sale 2500 declined", "sale 2500 booked"]


async def test_the_fields_can_be_reached_and_sent_by_keyboard_alone(stage: Stage, chromium: Browser) -> None:
    page = await look(chromium)
    await page.goto(await declined(stage))
    await expect(fields(page).locator("[name=number]")).to_be_visible()
    await fields(page).locator("[name=holder]").focus()
    # The frame lives in a process of its own, and has the keyboard only when its page knows of that too.
    await page.wait_for_function("document.activeElement.tagName === 'IFRAME'")
    await page.keyboard.type("Anna Huber")
    await expect(fields(page).locator("[name=holder]")).to_have_value("Anna Huber")
    for value in (APPROVED, "1235", "123"):
        await page.keyboard.press("Tab")
        await page.keyboard.type(value)
    await press_until(page, "Pay")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("button[value=confirm]")


async def test_what_is_wrong_in_the_fields_is_said_and_nothing_is_charged(stage: Stage, chromium: Browser) -> None:
    page = await look(chromium)
    await page.goto(await declined(stage))
    await type_card(page, "4330264936344676")
    await page.get_by_role("button", name="Pay").click()

    await expect(page.locator("[data-wrong]")).to_be_visible()
    await expect(page.get_by_role("button", name="Pay")).to_be_enabled()
    assert stage.booked() == ["sale 2500 declined"]


@pytest.mark.parametrize("width", [320, 390, 1280])
async def test_the_frame_fills_its_place_and_nothing_moves(stage: Stage, chromium: Browser, width: int) -> None:
    page = await look(chromium, width)
    await page.goto(await declined(stage))
    await expect(fields(page).locator("[name=number]")).to_be_visible()
    await page.wait_for_timeout(300)

    frame, box = page.locator("#card-fields iframe"), page.locator("#card-fields")
    number = fields(page).locator("[name=number]")
    widths = [await each.evaluate("each => each.getBoundingClientRect().width") for each in (frame, box, number)]
    assert widths[0] == widths[1] > 200
    assert widths[2] > widths[0] * 0.9
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    assert await page.evaluate("window.shifted") == 0


async def test_without_scripts_a_word_says_so_and_the_button_leads_to_payones_page(
    stage: Stage, chromium: Browser
) -> None:
    page = await look(chromium, java_script_enabled=False)
    await page.goto(await declined(stage))
    await expect(page.get_by_text("You confirm on PAYONE")).to_be_visible()
    await expect(page.locator("#card-fields")).to_be_hidden()
    await page.get_by_role("button", name="Pay").click()
    for name, value in typed(APPROVED).items():
        if name != "holder":
            await page.fill(f"input[name={name}]", value)
    await page.click("button[value=pay]")
    if await page.locator("button[value=confirm]").count():
        await page.click("button[value=confirm]")
    await until_state(page, "paid")


async def test_fields_that_do_not_open_lead_to_payones_page_instead(stage: Stage, chromium: Browser) -> None:
    link = await declined(stage)
    stage.sandbox.fault("http_500", operation="CreateHostedTokenization", times=5)
    page = await look(chromium)
    await page.goto(link)
    await expect(page.locator("[data-elsewhere]")).to_be_visible()
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_selector("input[name=number]")
