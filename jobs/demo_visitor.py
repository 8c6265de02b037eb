"""A customer who reads a mail, follows its link, and pays on the gateway's page, all over HTTP."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import httpx
from lxml import html

from jobs.mailbox import Letter

_LINK: Final = re.compile(r"https?://\S+/p/[A-Za-z0-9_-]+")
_CARD: Final = {"type": "CC", "number": "4444333322221111", "expiry": "12/30", "cvc": "123"}
_PRESSED: Final = ("pay", "confirm")
_LOOKS_MAX = 100


class VisitError(Exception):
    """A page that does not lead on; the message says which."""


def link_in(letter: Letter) -> str:
    """Return the pay-link of a mail, or nothing."""
    found = _LINK.search(letter.part("plain"))
    return found[0] if found else ""


async def visit(client: httpx.AsyncClient, link: str) -> str:
    """Pay by a pay-link with a good card, and return the name of the page it ends on."""
    page = await _get(client, link)
    for _ in range(6):
        if _name(page):
            if _name(page) not in ("ready", "declined", "canceled_back", "renew_ready", "renew_declined"):
                break
            page = await _submit(client, page, {})
        else:
            page = await _submit(client, page, _CARD)
    return await _wait(client, page)


async def _wait(client: httpx.AsyncClient, page: httpx.Response) -> str:
    """Look at the page again until the bank has confirmed, for some seconds at most."""
    for _ in range(_LOOKS_MAX):
        if not _name(page).endswith("confirming"):
            break
        await asyncio.sleep(0.05)
        page = await _get(client, str(page.url))
    return _name(page)


def _name(page: httpx.Response) -> str:
    """Return the name of one of our pages, or nothing for a gateway's."""
    found = html.fromstring(page.content).get("data-page")
    return str(found or "")


async def _submit(client: httpx.AsyncClient, page: httpx.Response, values: dict[str, str]) -> httpx.Response:
    """Fill in the page's form, press its first button that leads on, and follow where it leads."""
    form = next(html.fromstring(page.content).iter("form"), None)
    if not isinstance(form, html.FormElement):
        raise VisitError(f"{page.url.path} has no form")
    filled = {name: value for name, value in form.form_values() if name != "action"}
    filled |= {name: value for name, value in values.items() if name in form.fields}
    buttons = [button.get("value") for button in form.xpath(".//button[@name='action'] | .//input[@name='action']")]
    filled |= {"action": next(each for each in _PRESSED if each in buttons)} if buttons else {}
    address = page.url.join(form.action or "")
    return await _follow(client, await client.post(address, data=filled))


async def _get(client: httpx.AsyncClient, address: str) -> httpx.Response:
    return await _follow(client, await client.get(address))


async def _follow(client: httpx.AsyncClient, answer: httpx.Response) -> httpx.Response:
    for _ in range(5):
        if not answer.is_redirect:
            return answer
        answer = await client.get(answer.url.join(answer.headers["location"]))
    raise VisitError(f"{answer.url} leads round in a circle")
