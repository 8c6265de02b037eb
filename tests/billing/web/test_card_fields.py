"""Card fields framed in our page, by HTTP: what customers, second tabs and anybody with the link can do with them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import httpx
import pytest

from billing.gateway import AfterNothing, Approved, Asking, Outcome, Pending, PresentCharge
from billing.models import Attempt, Invoice, Mandate, PayLink, Subscription
from billing.services.settling import News, settle
from billing.store import Store
from billing.web.app import create_app
from billing.web.pay import WORD_BYTES_MAX
from tests.billing.services.support import PRICE, Bank, World, decline, make_world, stop_account, tell_again

ASKING = Asking((5, 30, 120), 90, None, AfterNothing.SAME_KEY, by_key=False, repeat_s=23 * 3600)
SITE = "https://bank.example"
TYPED = {"way": "1-card", "card_form": "F-1", "lang": "en"}
CHALLENGE = Pending("41", redirect="https://acs.example/1", until_s=1800)


@pytest.fixture
async def world(store: Store) -> World:
    """A declined night at a bank whose card fields can stand in our page."""
    world = await make_world(store, 1)
    world.bank.abilities = replace(
        world.bank.abilities, asking=ASKING, charge_present=True, card_form=SITE, notification_is_truth=False
    )
    world.bank.default = tell_again
    world.bank.on("P1", decline())
    await world.run()
    return world


@dataclass
class Visitor:
    """A browser at one pay-link."""

    http: httpx.AsyncClient
    link: str

    async def look(self, below: str = "") -> httpx.Response:
        return await self.http.get(self.link + below)

    async def post(self, below: str = "", **changed: str) -> httpx.Response:
        return await self.http.post(self.link + below, data=TYPED | changed)


@pytest.fixture
async def visitor(world: World) -> AsyncIterator[Visitor]:
    """A browser at the pay-link of the declined invoice."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(world.ctx))) as http:
        yield Visitor(http, world.ctx.links.pay(await world.link_to(1)))


async def ask_the_customer(world: World) -> None:
    """Let the bank of the next card ask its own question."""

    async def challenge(_: Bank, __: object) -> Pending:
        return CHALLENGE

    world.bank.on(await next_key(world), challenge)


async def next_key(world: World) -> str:
    """Return the key the customer's next try will have."""
    [invoice] = await world.rows(Invoice)
    return f"{invoice['key']}-{invoice['tries'] + 1}"


async def test_while_the_bank_asks_the_page_has_no_fields_and_its_button_leads_back_to_the_question(
    world: World, visitor: Visitor
) -> None:
    """A script whose fields cannot be opened looks at the page again at once, which would never end."""
    assert 'data-card-form="1-card"' in (await visitor.look()).text
    await ask_the_customer(world)
    assert (await visitor.post("/card")).headers["location"] == CHALLENGE.redirect

    assert (await visitor.post("/fields")).status_code == 409
    assert "data-card-form" not in (await visitor.look()).text
    assert (await visitor.post()).headers["location"] == CHALLENGE.redirect
    assert (await visitor.post("/card")).headers["location"] == CHALLENGE.redirect
    assert len(world.bank.presented) == 1


async def test_the_page_says_that_the_card_is_charged_from_now_on_only_where_it_was_stored(
    world: World, visitor: Visitor
) -> None:
    async def paid_and_not_kept(bank: Bank, charge: PresentCharge) -> Outcome:
        return replace(bank.book(charge.key, charge.amount), profile_failed=True)

    world.bank.on(await next_key(world), paid_and_not_kept)
    await visitor.post("/card")

    page = (await visitor.look("/back/success")).text
    assert 'data-page="paid"' in page
    assert "From now on this card is charged by itself" not in page
    assert "you get a link again" in page


async def test_whose_subscription_goes_on_no_more_is_asked_for_no_consent_and_nothing_is_stored(
    world: World, visitor: Visitor
) -> None:
    await world.change(Subscription, 1, state="canceled", next_due_on=None)

    page = (await visitor.look()).text
    assert "Nothing is stored" in page
    assert 'data-stores="no"' in page
    await visitor.post("/card")

    assert [charge.store for charge in world.bank.presented] == [None]
    assert await world.states(Invoice) == ["paid"]
    assert await world.rows(Mandate) == []


async def pay_elsewhere(world: World) -> None:
    await settle(world.ctx, [News(1, Approved("41", PRICE))])


async def void(world: World) -> None:
    await world.change(Invoice, 1, state="void", next_step=None, next_step_on=None)


async def expire(world: World) -> None:
    world.next_day(60)


async def supersede(world: World) -> None:
    await world.change(PayLink, 1, superseded_at=world.clock.now())


@pytest.mark.parametrize(
    ("happens", "page"),
    [
        (pay_elsewhere, "paid"),
        (void, "void"),
        (expire, "expired"),
        (supersede, "superseded"),
        (stop_account, "ready"),
    ],
)
async def test_a_form_that_was_open_before_takes_nothing_after(
    world: World, visitor: Visitor, happens: Callable[[World], Awaitable[None]], page: str
) -> None:
    await visitor.look()
    assert (await visitor.post("/fields")).status_code == 200
    await happens(world)
    before = await world.rows(Attempt)

    assert (await visitor.post("/fields")).status_code == 409
    for below in ("/card", "/card", ""):
        answer = await visitor.post(below)
        if answer.status_code == 303:
            answer = await visitor.http.get(str(answer.url.join(answer.headers["location"])))
        assert re.search(f'data-page="(already_)?{page}"|data-page="gateway_down"', answer.text), answer.text

    assert await world.rows(Attempt) == before
    assert (world.bank.presented, world.bank.pages) == ([], {})


def written(text: str) -> bytes:
    return text.encode("unicode_escape")


BAD = ["\x00", "\ud800", "x" * 5000, "../../etc", "F-1\r\nX: y", "<script>", "{{7*7}}", "%", "1-card"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("below", ["/card", "/fields", "", "/back/success", "/fresh"])
async def test_no_word_in_a_form_breaks_a_page(world: World, visitor: Visitor, below: str, bad: str) -> None:
    """A form may say in which alphabet it is written, and so hold what is no text at all."""
    words = {"way": "1-card"} | dict.fromkeys(("card_form", "lang", "browser_language", "screen_height", bad), bad)
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (written(name), written(word))
        for name, word in words.items()
    )
    kind = {"content-type": "multipart/form-data; boundary=b; charset=unicode_escape"}

    answer = await visitor.http.post(visitor.link + below, content=body + b"--b--\r\n", headers=kind)

    assert answer.status_code in (200, 303, 400, 409, 503), answer.text
    assert await world.breaches() == []


@pytest.mark.parametrize("alphabet", ["undefined", "idna", "hex", "utf-16", "no-such"])
async def test_a_form_in_no_alphabet_of_ours_is_refused_or_read(visitor: Visitor, alphabet: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="way"\r\n\r\n\xff\xd8.\xff\r\n--b--\r\n'
    kind = {"content-type": f"multipart/form-data; boundary=b; charset={alphabet}"}

    answer = await visitor.http.post(visitor.link + "/card", content=body, headers=kind)

    assert answer.status_code in (303, 400), answer.text


async def test_a_form_too_large_to_be_ours_is_refused_and_takes_nothing(world: World, visitor: Visitor) -> None:
    before = await world.rows(Attempt)
    for form in ({"way": "x" * WORD_BYTES_MAX + "x"}, {f"n{number}": "x" for number in range(41)}):
        assert (await visitor.http.post(visitor.link + "/card", data=form)).status_code == 400
    assert await world.rows(Attempt) == before
