"""Play the demo and photograph it: `python -m tests.browser.pictures FOLDER`. What the README shows is made by this."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright

from jobs.demo import MERCHANT, OPERATOR, OPERATOR_PASSWORD
from tests.browser.conftest import FLAGS, NAMES

COMMAND: Final = (sys.executable, "-P", "-c", "from jobs.cli import main; main()", "demo", "--customers", "60")
_SERVED_AT: Final = re.compile(r"http://127\.0\.0\.1:\d+(?=/demo)")
DESK: Final = ViewportSize(width=1280, height=900)
PHONE: Final = ViewportSize(width=390, height=844)
# Pages of the console, each by the name of its picture.
PAGES: Final = {
    "dashboard": "",
    "runs": "/runs",
    "subscriptions": "/subscriptions",
    "customers": "/customers",
    "invoices": "/invoices",
    "plans": "/plans",
    "gateways": "/gateways",
}


@contextmanager
def demo() -> Iterator[str]:
    """Play the demo to its end, and serve it at the address while the block lasts."""
    process = subprocess.Popen(COMMAND, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if found := _SERVED_AT.search(line):
                yield found[0]
                return
        raise RuntimeError(f"the demo ended early: {said}")
    finally:
        process.terminate()
        process.wait(30)


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """Open a browser; raise where none is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise RuntimeError(f"no browser is installed: looked for {', '.join(NAMES)}")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        await browser.close()


async def sign_in(page: Page, address: str) -> None:
    """Sign in as the demo's operator."""
    await page.goto(f"{address}/console")
    await page.fill("input[name=email]", OPERATOR)
    await page.fill("input[name=password]", OPERATOR_PASSWORD)
    await page.click("button.btn-primary")
    await page.wait_for_url(re.compile("/console/(?!sign-in)"))


async def photograph(address: str, browser: Browser, folder: Path, pages: dict[str, str]) -> None:
    """Take a picture of each page of the console, of a mail after a decline, and of the page it leads to."""
    desk = await browser.new_context(viewport=DESK, locale="en-GB", color_scheme="light")
    page = await desk.new_page()
    await sign_in(page, address)
    for name, path in pages.items():
        await page.goto(f"{address}/console/{MERCHANT}{path}")
        await page.screenshot(path=folder / f"{name}.png", full_page=True)
    mail = await declined_mail(page, address)
    await page.goto(f"{address}{mail}/html")
    await page.set_viewport_size(ViewportSize(width=680, height=900))
    await page.screenshot(path=folder / "mail-declined.png", full_page=True)
    await desk.close()
    await photograph_pay_page(await browser.new_context(viewport=PHONE, locale="en-GB"), address, folder)


async def declined_mail(page: Page, address: str) -> str:
    """Return where the first mail about a declined charge is, in English."""
    await page.goto(f"{address}/mailbox")
    return str(await page.get_by_role("link", name=re.compile("is still open")).last.get_attribute("href"))


async def photograph_pay_page(phone: BrowserContext, address: str, folder: Path) -> None:
    """Take a picture of a pay page that is still open."""
    page = await phone.new_page()
    await page.goto(f"{address}/demo")
    await page.goto(str(await page.locator("a[href*='/p/']").first.get_attribute("href")))
    await page.screenshot(path=folder / "pay-page.png", full_page=True)


async def make(folder: Path, pages: dict[str, str]) -> None:
    """Make the pictures in a folder that is there."""
    with demo() as address:
        async with browsing() as browser:
            await photograph(address, browser, folder, pages)


def main(name: str, *options: str) -> None:
    """Make what the README shows; with `--all` a picture of each page of the console."""
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(make(folder, PAGES if "--all" in options else {"dashboard": PAGES["dashboard"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
