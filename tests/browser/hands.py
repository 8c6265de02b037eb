"""Two ways to use a page of the console, by what things are called: with a mouse, and by keyboard alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from playwright.async_api import Locator, Page, expect

PATIENCE_MS: Final = 60_000
TABS_MAX: Final = 300


@dataclass
class Hand:
    """Somebody at a page, with a mouse."""

    page: Page

    @property
    def main(self) -> Locator:
        return self.page.locator("main")

    async def open(self, address: str) -> None:
        await self.page.goto(address)

    async def see(self, words: str) -> None:
        """Wait until these words stand on the page."""
        await expect(self.page.locator("body")).to_contain_text(words)

    async def press(self, name: str) -> None:
        """Press a button, and be told by the next `see` where it led."""
        await self._activate(self.main.get_by_role("button", name=name, exact=True).locator("visible=true").first)

    async def follow(self, name: str) -> None:
        """Follow a link of the page itself."""
        await self._activate(self.main.get_by_role("link", name=name, exact=True).first)

    async def go(self, name: str) -> None:
        """Go to a section by the navigation."""
        nav = self.page.get_by_role("navigation", name="Console")
        await self._activate(nav.get_by_role("link", name=re.compile(f"^{name}")))
        await expect(nav.get_by_role("link", name=re.compile(f"^{name}"))).to_have_attribute("aria-current", "page")

    async def unfold(self, name: str) -> None:
        """Open what is folded away under a word."""
        await self._activate(self.main.locator("summary", has_text=name).first)

    async def write(self, label: str, text: str) -> None:
        """Write into the field whose label begins like this."""
        await self._fill(self._labelled(label), text)

    async def choose(self, label: str, option: str) -> None:
        """Choose what begins like this from a list."""
        options = self._labelled(label).locator("option", has_text=re.compile(f"^{re.escape(option)}"))
        await self._labelled(label).select_option(value=await options.first.get_attribute("value"))

    async def tick(self, label: str) -> None:
        """Choose one of a few ways."""
        await self._labelled(label).check()

    def _labelled(self, label: str) -> Locator:
        return self.main.get_by_label(re.compile(f"^{re.escape(label)}")).locator("visible=true").first

    async def _activate(self, thing: Locator) -> None:
        await thing.click()

    async def _fill(self, field: Locator, text: str) -> None:
        await field.fill(text)


@dataclass
class Keys(Hand):
    """The same without a mouse: from control to control by the tab key."""

    async def choose(self, label: str, option: str) -> None:
        await self._reach(self._labelled(label))
        await self.page.keyboard.type(option)

    async def tick(self, label: str) -> None:
        way = self._labelled(label)
        await self._reach(way, "it => document.activeElement.name === it.name")
        for _ in range(TABS_MAX):
            if await way.evaluate("it => it === document.activeElement"):
                break
            await self.page.keyboard.press("ArrowDown")
        await self.page.keyboard.press("Space")
        await expect(way).to_be_checked()

    async def _activate(self, thing: Locator) -> None:
        await self._reach(thing)
        await self.page.keyboard.press("Enter")

    async def _fill(self, field: Locator, text: str) -> None:
        await self._reach(field)
        await self.page.keyboard.press("ControlOrMeta+A")
        await self.page.keyboard.type(text)

    async def _reach(self, thing: Locator, is_there: str = "it => it === document.activeElement") -> None:
        found = await thing.element_handle()
        for _ in range(TABS_MAX):
            if await found.evaluate(is_there):
                return
            await self.page.keyboard.press("Tab")
        raise AssertionError(f"the tab key never comes to {thing}")
