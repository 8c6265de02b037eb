"""The customer's way from the mail's link to "paid", in a real browser, on a phone, and without a mouse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page, expect

from billing.services.verifying import offer_renewal
from tests.browser.conftest import PATIENCE_MS
from tests.scenarios.stage import DECLINED, Stage, at, link_in

DAY: Final = date(2026, 12, 1)
PHONE: Final = {"width": 390, "height": 844}
CARD: Final = {"number": "4444333322221111", "expiry": "05/35", "cvc": "123"}

# Adds up by how much things moved after they were shown (https://web.dev/cls); 0 is a page that stands still.
WATCH_SHIFTS: Final = """
window.shifted = 0;
new PerformanceObserver(list => list.getEntries().forEach(entry => { window.shifted += entry.value }))
  .observe({type: "layout-shift", buffered: true});
"""


async def declined(stage: Stage) -> str:
    """Let a charge be declined, and return the link of the mail about it."""
    await stage.found(legal_line="Turnhalle GmbH, Beispielgasse 12, 1070 Wien. UID ATU12345678", place="Wien")
    await stage.enrol(card=DECLINED)
    await stage.night(DAY)
    [letter] = await stage.morning(DAY)
    return link_in(letter)


async def look(chromium: Browser, width: int = 390, **more: Any) -> Page:
    """Open an empty page; whatever it complains of, such as a policy that was broken, fails the test."""
    page = await chromium.new_page(viewport={"width": width, "height": 844}, **more)
    page.set_default_timeout(PATIENCE_MS)
    await page.add_init_script(WATCH_SHIFTS)
    return page


async def state(page: Page) -> str:
    return str(await page.evaluate("document.documentElement.dataset.page"))


async def until_state(page: Page, name: str) -> None:
    await expect(page.locator(f'html[data-page="{name}"]')).to_have_count(1)


# Between a frame and its page nothing has the focus for a moment: that is the body, whose text is all there is.
WHAT_HAS_THE_FOCUS: Final = "(e => e === document.body ? '' : e.textContent || e.name)(document.activeElement)"


async def press_until(page: Page, wanted: str) -> None:
    """Go from control to control by the tab key until one with these words has the focus."""
    for _ in range(20):
        await page.keyboard.press("Tab")
        if wanted in str(await page.evaluate(WHAT_HAS_THE_FOCUS)):
            return
    raise AssertionError(f"the tab key never comes to {wanted!r}")


async def test_the_link_is_paid_on_a_phone_by_keyboard_alone(stage: Stage, chromium: Browser) -> None:
    link = await declined(stage)
    page = await look(chromium)
    complaints: list[str] = []
    base = stage.settings.public_url
    page.on("console", lambda m: complaints.append(m.text) if m.location["url"].startswith(base) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    await page.goto(link)
    assert await state(page) == "ready"
    await press_until(page, "Pay")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/checkout/payment/**")
    for name, value in CARD.items():
        await press_until(page, name)
        await page.keyboard.type(value)
    await press_until(page, "Pay")
    await page.keyboard.press("Enter")

    await until_state(page, "paid")
    await expect(page.locator("h1")).to_have_text("Paid. Thank you!")
    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 paid"]
    assert await stage.profiles() == ["active renewed"]
    assert complaints == []


async def test_a_page_that_waits_for_the_bank_becomes_paid_by_itself(stage: Stage, chromium: Browser) -> None:
    link = await declined(stage)
    stage.sandbox.fault("late_notification", ms=5000, times=2, operation="PaymentPage")
    page = await look(chromium)
    await page.goto(link)
    await page.get_by_role("button", name="Pay").click()
    for name, value in CARD.items():
        await page.fill(f"input[name={name}]", value)
    await page.click("button[value=pay]")
    await until_state(page, "confirming")
    await until_state(page, "paid")


async def test_everything_works_with_scripts_switched_off(stage: Stage, chromium: Browser) -> None:
    link = await declined(stage)
    page = await look(chromium, java_script_enabled=False)
    await page.goto(link)
    await page.get_by_role("button", name="Pay").click()
    for name, value in CARD.items():
        await page.fill(f"input[name={name}]", value)
    await page.click("button[value=pay]")
    await until_state(page, "paid")


async def test_no_page_scrolls_sideways_or_moves_after_it_is_shown(stage: Stage, chromium: Browser) -> None:
    link = await declined(stage)
    renewal = await offer_renewal(stage.ctx, "S-ANNA", mail=False)
    base = link.rsplit("/p/", 1)[0]
    before = [
        link,
        link + "/back/cancel",
        link + "/back/error",
        link + "?lang=de",
        renewal,
        base + "/p/x",
        base + "/x",
    ]
    await stands_still(chromium, before)
    await stage.browser.to_gateway(link)
    await stands_still(chromium, [link + "/back/success"])
    paid = await stage.browser.pay(link)
    await stands_still(chromium, [str(paid.answer.url), link])
    await stage.set_clock(at(DAY + timedelta(days=30)))
    await stands_still(chromium, [link])


async def stands_still(chromium: Browser, addresses: Sequence[str]) -> None:
    for width in (320, 1280):
        page = await look(chromium, width)
        for address in addresses:
            await page.goto(address)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            shifted = await page.evaluate("window.shifted")
            assert (wide, shifted) == (width, 0), (await state(page), address, width)
        await page.close()


async def test_a_customer_who_gives_up_comes_back_to_the_same_bill(stage: Stage, chromium: Browser) -> None:
    link = await declined(stage)
    page = await look(chromium)
    await page.goto(link)
    await page.get_by_role("button", name="Pay").click()
    await page.click("button[value=cancel]")
    await until_state(page, "canceled_back")
    await expect(page.get_by_role("button", name="Pay")).to_be_enabled()
    assert stage.booked() == ["sale 2500 declined"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_words_can_be_read_in_light_and_in_dark(stage: Stage, chromium: Browser, scheme: str) -> None:
    link = await declined(stage)
    page = await look(chromium, color_scheme=scheme)
    await page.goto(link)
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(243, 245, 247)", "dark": "rgb(15, 21, 26)"}[scheme]
