"""A customer who reads a mail, follows its link, and pays where it leads, all over HTTP."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import httpx
from lxml import html

from jobs.mailbox import Letter

_LINK: Final = re.compile(r"https?://\S+/p/[A-Za-z0-9_-]+")
_CARDS: Final = ("4444333322221111", "4330264936344675", "4000000000000051")
_TYPED: Final = {"type": "CC", "expiry": "12/30", "cvc": "123", "holder": "Jenny Doe", "payback_number": "1234567890"}
_PRESSED: Final = ("pay", "confirm", "approve")
_OURS_TO_PRESS: Final = ("ready", "declined", "canceled_back", "renew_ready", "renew_declined", "leaving")
_STEPS_MAX: Final = 10
_LOOKS_MAX: Final = 100


class VisitError(Exception):
    """A page that does not lead on; the message says which."""


def link_in(letter: Letter) -> str:
    """Return the pay-link of a mail, or nothing."""
    found = _LINK.search(letter.part("plain"))
    return found[0] if found else ""


async def visit(client: httpx.AsyncClient, link: str, looks: int = _LOOKS_MAX) -> str:
    """Pay by a pay-link with a good card or wallet, and return the name of the page it ends on.

    A customer whose bank has not confirmed yet looks so many times whether it has.
    """
    page = await _get(client, link)
    for _ in range(_STEPS_MAX):
        name = _name(page)
        if name and name not in _OURS_TO_PRESS:
            break
        page = await _type_card(client, page) if _has_card_fields(page) else await _submit(client, page)
    return await _wait(client, page, looks)


async def _wait(client: httpx.AsyncClient, page: httpx.Response, looks: int) -> str:
    """Look at the page again until the bank has confirmed, for some seconds at most."""
    for _ in range(looks):
        if not _name(page).endswith("confirming"):
            break
        await asyncio.sleep(0.05)
        page = await _get(client, str(page.url))
    return _name(page)


def _name(page: httpx.Response) -> str:
    """Return the name of one of our pages, or nothing for a gateway's."""
    found = html.fromstring(page.content).get("data-page")
    return str(found or "")


def _has_card_fields(page: httpx.Response) -> bool:
    """Answer whether the way that is chosen on the page is paid in card fields framed in it."""
    box = _card_fields(page)
    return box is not None and _values(_form(page)).get("way") == box.get("data-card-form")


def _card_fields(page: httpx.Response) -> Any:
    parsed: Any = html.fromstring(page.content)
    return next(iter(parsed.xpath("//*[@data-card-form]")), None)


async def _type_card(client: httpx.AsyncClient, page: httpx.Response) -> httpx.Response:
    """Do as the page's script does: open the fields, let the card be typed there, and bring back their id."""
    box, words = _card_fields(page), _values(_form(page))
    opened = await client.post(page.url.join(box.get("data-fields")), data={"way": words["way"]})
    fields = opened.raise_for_status().json()
    await client.post(fields["url"], data={**_TYPED, "number": _CARDS[1]})
    found = words | {"card_form": fields["id"], "browser_language": "de-AT"}
    return await _follow(client, await client.post(page.url.join(box.get("data-pay")), data=found))


async def _submit(client: httpx.AsyncClient, page: httpx.Response) -> httpx.Response:
    """Fill in the page's form, press its first button that leads on, and follow where it leads."""
    form = _form(page)
    filled = _values(form) | {name: value for name, value in _typed(page).items() if name in form.fields}
    for button in form.xpath(".//button[@name] | .//input[@type='submit'][@name]"):
        if button.get("value") in _PRESSED:
            filled |= {button.get("name"): button.get("value")}
            break
    return await _follow(client, await client.post(page.url.join(form.action or ""), data=filled))


def _typed(page: httpx.Response) -> dict[str, str]:
    """Return what is typed, with a card that the page's own gateway takes for its test."""
    takes = 2 if "/transaction/" in page.url.path else 0
    return {**_TYPED, "number": _CARDS[takes]}


def _form(page: httpx.Response) -> Any:
    form = next(html.fromstring(page.content).iter("form"), None)
    if not isinstance(form, html.FormElement):
        raise VisitError(f"{page.url.path} has no form")
    return form


def _values(form: Any) -> dict[str, str]:
    return {name: value for name, value in form.form_values() if name not in ("action", "outcome")}


async def _get(client: httpx.AsyncClient, address: str) -> httpx.Response:
    return await _follow(client, await client.get(address))


async def _follow(client: httpx.AsyncClient, answer: httpx.Response) -> httpx.Response:
    for _ in range(5):
        if not answer.is_redirect:
            return answer
        answer = await client.get(answer.url.join(answer.headers["location"]))
    raise VisitError(f"{answer.url} leads round in a circle")
