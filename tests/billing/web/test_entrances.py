"""Every page behind a pay-link, by HTTP: what is shown, what is changed, and what no address can do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from billing.models import (
    Attempt,
    ChargeRight,
    GatewayAccount,
    Invoice,
    Message,
    Notification,
    Run,
    Subscription,
    table,
)
from billing.services.hearing import BODY_BYTES_MAX
from billing.services.verifying import offer_renewal
from billing.web.pages import PAGE_POLICY
from tests.contract.sandbox import Sandbox
from tests.scenarios.conftest import sandbox, simulators
from tests.scenarios.stage import ANNA, DECLINED, GOOD, Stage, at, raised

__all__ = ["sandbox", "simulators"]

DAY = date(2026, 12, 1)


@pytest.fixture
async def stage(lite_url: str, sandbox: Sandbox) -> AsyncIterator[Stage]:
    async with raised(lite_url, sandbox) as stage:
        yield stage


@pytest.fixture
async def link(stage: Stage) -> str:
    """The pay-link of an invoice whose charge was declined; the customer's day has come."""
    await stage.found()
    await stage.enrol(card=DECLINED)
    await stage.night(DAY)
    await stage.heard(1)
    await stage.set_clock(at(DAY, 10))
    [link] = await stage.links()
    return link


async def world(stage: Stage) -> list[Any]:
    """Everything a visit could change."""
    return [
        await stage.attempts(),
        await stage.invoices(),
        await stage.messages(),
        await stage.one(select(func.count()).select_from(table(ChargeRight))),
        stage.booked(),
    ]


# --- looking ----------------------------------------------------------------------


async def test_opening_the_link_shows_the_bill_and_changes_nothing(stage: Stage, link: str) -> None:
    before = await world(stage)
    for _ in range(3):
        look = await stage.browser.open(link)
        assert (look.page, look.answer.status_code) == ("ready", 200)
    for address in (link, link + "/back/success", link + "/back/cancel"):
        head = await stage.browser.http.head(address)
        assert head.content == b""
    assert "TH-2026-00001" in look.words
    assert "€ 25,00" in look.words
    assert "Anna" not in look.words
    assert "anna@example.net" not in look.answer.text
    assert await world(stage) == before


async def test_a_mail_scanner_that_follows_every_address_takes_nothing(stage: Stage, link: str) -> None:
    before = await world(stage)
    look = await stage.browser.open(link)
    for address in re.findall(r'(?:href|action|src)="(/[^"]+)"', look.answer.text):
        answer = await stage.browser.http.get(str(look.answer.url.join(address)))
        assert answer.status_code == 200, address
    assert await world(stage) == before


async def test_a_link_is_asked_for_by_head_as_by_get(stage: Stage, link: str) -> None:
    assert (await stage.browser.http.head(link)).status_code == 200


async def test_every_answer_carries_a_strict_policy(stage: Stage, link: str) -> None:
    base = link.rsplit("/p/", 1)[0]
    for address in (link, link + "x", base + "/nowhere", base + "/healthz", base + "/static/turnus.css"):
        headers = (await stage.browser.http.get(address)).headers
        assert headers["content-security-policy"] == PAGE_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    assert (await stage.browser.http.get(link)).headers["cache-control"] == "no-store"


async def test_no_page_has_anything_inline_or_from_elsewhere(stage: Stage, link: str) -> None:
    text = (await stage.browser.open(link)).answer.text
    assert not re.search(r"<style|style=|onclick|onload|<script(?! src=\"/static/)|https?://(?!127)", text)


async def test_the_language_is_the_customers_until_another_is_clicked(stage: Stage, link: str) -> None:
    german = {"accept-language": "de-DE,de;q=0.9"}
    assert 'lang="en"' in (await stage.browser.http.get(link, headers=german)).text
    assert 'lang="de"' in (await stage.browser.http.get(link + "?lang=de")).text
    assert 'lang="en"' in (await stage.browser.http.get(link + "?lang=xx")).text
    unknown = link.rsplit("/p/", 1)[0] + "/p/abc"
    assert 'lang="de"' in (await stage.browser.http.get(unknown, headers=german)).text


# --- paying -----------------------------------------------------------------------


async def test_a_second_click_leads_to_the_page_that_is_open(stage: Stage, link: str) -> None:
    first = await stage.browser.to_gateway(link)
    assert await stage.browser.to_gateway(link) == first
    twice = await stage.browser.http.post(link, data={"way": "1-ELV"})
    assert (twice.status_code, twice.headers["location"]) == (303, first)
    assert (await stage.attempts())[1:] == ["pay_link 2500 pending"]
    assert (await stage.browser.open(link)).page == "ready"


async def test_two_clicks_at_once_open_one_page(stage: Stage, link: str) -> None:
    answers = await asyncio.gather(*(stage.browser.http.post(link, data={}) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 303}
    assert len({answer.headers["location"] for answer in answers if answer.status_code == 303}) == 1
    assert (await stage.attempts())[1:] == ["pay_link 2500 pending"]


@pytest.mark.parametrize("way", ["", "7-CC", "1-GOLD", "x" * 5000, "1-CC'; DROP TABLE invoice"])
async def test_a_way_that_is_not_offered_leads_to_the_first_that_is(stage: Stage, link: str, way: str) -> None:
    answer = await stage.browser.http.post(link, data={"way": way})
    assert answer.status_code == 303
    assert (await stage.attempts())[1:] == ["pay_link 2500 pending"]


async def test_whoever_comes_back_sees_what_is_true_and_not_what_the_address_says(stage: Stage, link: str) -> None:
    open_ = stage.browser.open
    assert (await open_(link + "/back/success")).page == "ready"
    await stage.browser.to_gateway(link)
    assert (await open_(link + "/back/success")).page == "confirming"
    assert (await open_(link + "/back/cancel")).page == "canceled_back"
    assert (await open_(link + "/back/error")).page == "declined"
    assert (await open_(link + "/back/paid?status=BILLED")).page == "ready"
    assert (await stage.invoices()) == ["TH-2026-00001 2026-12-01 2500 open"]


async def test_a_paid_link_says_so_for_good_and_opens_nothing(stage: Stage, link: str) -> None:
    assert (await stage.browser.pay(link)).page == "paid"
    assert (await stage.browser.open(link)).page == "already_paid"
    before = await world(stage)
    answer = await stage.browser.http.post(link, data={"way": "1-CC"})
    assert (answer.status_code, len(await stage.attempts())) == (200, 2)
    assert await world(stage) == before


async def test_a_charge_under_way_is_not_paid_a_second_time(stage: Stage, link: str) -> None:
    invoice = table(Invoice)
    lost = [{"match": {"operation": "AcceptPayment"}, "fault": f} for f in ("drop_after_booking", "no_notification")]
    stage.sandbox.http.post("/_sandbox/faults", json=lost).raise_for_status()
    async with stage.ctx.store.write() as session:
        await session.execute(update(invoice).values(next_step="retry", next_step_on=DAY))
    await stage.morning(DAY)
    assert (await stage.attempts())[1] == "dunning 2500 unknown"
    look = await stage.browser.open(link)
    assert (look.page, look.answer.status_code) == ("busy", 200)
    before = await world(stage)
    assert (await stage.browser.http.post(link, data={})).status_code == 200
    assert await world(stage) == before


async def test_a_void_invoice_needs_no_money(stage: Stage, link: str) -> None:
    async with stage.ctx.store.write() as session:
        await session.execute(update(table(Invoice)).values(state="void", next_step=None, next_step_on=None))
    assert (await stage.browser.open(link)).page == "void"
    assert (await stage.browser.http.post(link, data={})).status_code == 200
    assert len(await stage.attempts()) == 1


async def test_a_gateway_that_is_down_is_said_calmly_and_the_link_stays_good(stage: Stage, link: str) -> None:
    stage.sandbox.fault("http_500", operation="SelectPayment")
    answer = await stage.browser.http.post(link, data={})
    assert answer.status_code == 503
    assert 'data-page="gateway_down"' in answer.text
    assert (await stage.attempts())[1:] == ["pay_link 2500 not_sent"]
    assert (await stage.browser.pay(link)).page == "paid"


async def test_credentials_that_are_refused_are_our_trouble_and_never_the_customers(stage: Stage, link: str) -> None:
    stage.sandbox.fault("unauthorized", operation="SelectPayment")
    answer = await stage.browser.http.post(link, data={})
    assert (answer.status_code, 'data-page="gateway_down"' in answer.text) == (503, True)
    assert "mPAY24" not in answer.text
    assert await stage.one(select(table(GatewayAccount).c.state)) == "stopped"
    assert await stage.messages() == ["declined queued"]
    look = await stage.browser.open(link)
    assert look.answer.status_code == 200
    assert (await stage.browser.http.post(link, data={})).status_code == 503


# --- links that open nothing ---------------------------------------------------------


async def test_an_expired_link_shows_nothing_and_mails_a_fresh_one_once_a_day(stage: Stage, link: str) -> None:
    await stage.set_clock_to(DAY + timedelta(days=20))
    look = await stage.browser.open(link)
    assert (look.page, look.answer.status_code) == ("expired", 410)
    for secret in ("25,00", "TH-2026", "Anna", "example.net", "Solo"):
        assert secret not in look.answer.text
    assert (await stage.browser.http.post(link, data={})).status_code == 410
    for _ in range(3):
        sent = await stage.browser.http.post(link + "/fresh")
        assert (sent.status_code, 'data-page="fresh_link_sent"' in sent.text) == (200, True)
        assert "25,00" not in sent.text
    assert await stage.messages() == ["declined queued", "fresh_link queued"]
    old, fresh = await stage.links()
    assert (await stage.browser.open(old)).page == "superseded"
    assert (await stage.browser.open(fresh)).page == "ready"


async def test_a_fresh_link_is_sent_to_nobody_while_the_old_one_works(stage: Stage, link: str) -> None:
    before = await world(stage)
    answer = await stage.browser.http.post(link + "/fresh")
    assert 'data-page="fresh_link_sent"' in answer.text
    assert await world(stage) == before


async def test_a_link_expires_at_the_end_of_its_last_day_in_the_merchants_zone(stage: Stage, link: str) -> None:
    last = DAY + timedelta(days=14)
    await stage.set_clock(at(last, 22))
    assert (await stage.browser.open(link)).page == "ready"
    await stage.set_clock(at(last, 23))
    assert (await stage.browser.open(link)).page == "expired"


@pytest.mark.parametrize("tail", ["", "/back", "/back/success", "/fresh"])
async def test_a_forged_link_opens_nothing(stage: Stage, link: str, tail: str) -> None:
    before = await world(stage)
    forged = link[:-1] + ("A" if link[-1] != "A" else "B")
    for send in (stage.browser.http.get, stage.browser.http.post):
        answer = await send(forged + tail)
        assert answer.status_code in (404, 405)
        assert "25,00" not in answer.text
    assert (await stage.browser.http.get(forged.replace("/p/", "/brand/") + ".css")).status_code == 404
    assert await world(stage) == before


async def test_a_token_of_our_own_making_for_a_row_that_never_was_is_unknown(stage: Stage, link: str) -> None:
    for number in (0, 99, 2**63 - 1):
        answer = await stage.browser.http.get(stage.ctx.links.pay(number))
        assert (answer.status_code, 'data-page="unknown_link"' in answer.text) == (404, True)
        for path in ("/fresh", ""):
            assert (await stage.browser.http.post(stage.ctx.links.pay(number) + path)).status_code == 404
        assert (
            await stage.browser.http.get(stage.ctx.links.pay(number).replace("/p/", "/brand/") + ".css")
        ).status_code == 404


TEXTS = st.text(min_size=1, max_size=60).filter(lambda text: text.strip("./") != "")


async def test_no_text_in_the_place_of_a_token_breaks_a_page(stage: Stage, link: str) -> None:
    base = httpx.URL(link.rsplit("/p/", 1)[0])
    for text in sample(TEXTS, 60):
        address = base.copy_with(raw_path=b"/p/" + quoted(text))
        answer = await stage.browser.http.get(address)
        assert answer.status_code == 404, text
        assert (await stage.browser.http.post(address)).status_code in (404, 405), text


async def test_no_query_breaks_a_page(stage: Stage, link: str) -> None:
    for text in sample(TEXTS, 40):
        answer = await stage.browser.http.get(
            f"{link}/back/success?way={quoted(text).decode()}&lang={quoted(text).decode()}"
        )
        assert answer.status_code == 200, text
        answer = await stage.browser.http.get(f"{link}/back/{quoted(text).decode()}")
        assert answer.status_code in (200, 404), text


def quoted(text: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass")).encode()


def sample(texts: st.SearchStrategy[str], count: int) -> list[str]:
    """Let Hypothesis think of texts, outside the loop that serves."""
    found: list[str] = []

    @settings(
        max_examples=count, database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(texts)
    def think(text: str) -> None:
        found.append(text)

    think()
    return [*found, "\0", "..%2f", "A" * 4000, "AAAAAAAAAAE" + "A" * 21]


# --- renewing ---------------------------------------------------------------------------


async def test_a_renewal_says_that_nothing_is_owed_and_what_is_reserved(stage: Stage) -> None:
    await stage.found()
    await stage.enrol()
    address = await offer_renewal(stage.ctx, "S-ANNA", mail=False)
    look = await stage.browser.open(address)
    assert look.page == "renew_ready"
    assert "€ 0,10" in look.words
    assert "€ 25,00" in look.words
    page = await stage.browser.to_gateway(address)
    assert (await stage.browser.open(address + "/back/cancel")).page == "renew_canceled"
    assert (await stage.browser.open(address + "/back/success")).page == "renew_confirming"
    back = await stage.browser.type_card(page, GOOD)
    assert (await stage.browser.wait(back.headers["location"])).page == "renewed"


async def test_a_customer_without_a_profile_is_asked_for_one_by_the_pay_page(stage: Stage) -> None:
    await stage.found()
    await stage.enrol(replace(ANNA, collection="link", account="", profile=""))  # type: ignore[arg-type]
    await stage.night(DAY)
    [link] = await stage.links()
    assert (await stage.browser.open(link)).page == "ready"
    assert (await stage.browser.pay(link)).page == "paid"
    assert await stage.profiles() == ["active"], "it was made by this visit, and not renewed by its second push"
    subscription = table(Subscription)
    assert await stage.rows(select(subscription.c.collection)) == [("charge",)]

    await stage.night(date(2027, 1, 1))
    assert await stage.attempts() == ["pay_link 2500 approved", "night 2500 approved"], "as the customer agreed"


# --- notifications ------------------------------------------------------------------------


@dataclass(frozen=True)
class Pushed:
    """Sends notifications as anybody could."""

    stage: Stage
    base: str

    async def __call__(self, path: str, query: str = "", **more: Any) -> httpx.Response:
        method = more.pop("method", "GET")
        return await self.stage.browser.http.request(method, f"{self.base}{path}?{query}", **more)

    async def states(self) -> list[str]:
        notification = table(Notification)
        return [row[0] for row in await self.stage.rows(select(notification.c.state).order_by(notification.c.id))]


@pytest.fixture
async def pushed(stage: Stage, link: str) -> Pushed:
    return Pushed(stage, link.rsplit("/p/", 1)[0])


def billed(key: str, mpaytid: str = "99999") -> str:
    return (
        f"OPERATION=CONFIRMATION&TID={key}&STATUS=BILLED&PRICE=2500&CURRENCY=EUR&P_TYPE=CC&BRAND=VISA"
        f"&MPAYTID={mpaytid}&PROFILE_STATUS=UPDATED&CUSTOMER_ID=985467_45486"
    )


async def key_of(stage: Stage) -> str:
    return str(await stage.one(select(table(Attempt).c.key)))


async def test_a_forged_notification_is_kept_as_such_and_believed_by_nobody(stage: Stage, pushed: Pushed) -> None:
    key = await key_of(stage)
    good = stage.ctx.links.notify(1, key).removeprefix(pushed.base)
    before = await stage.invoices()
    for path in (
        f"/n/1/{key}/forged",
        good[:-5] + ("A" if good[-5] != "A" else "B") + good[-4:],
        good.replace(key, key[:-1] + "9"),
    ):
        answer = await pushed(path, billed(key))
        assert (answer.status_code, answer.text) == (400, "ERROR: not accepted")
    assert (await pushed(good, billed(key[:-1] + "9"))).status_code == 400
    assert (await pushed(good, billed(key), method="POST")).status_code == 400
    assert await stage.invoices() == before
    assert set((await pushed.states())[1:]) == {"forged"}
    assert stage.booked() == ["sale 2500 declined"]


async def test_a_notification_for_another_account_or_none_changes_nothing(stage: Stage, pushed: Pushed) -> None:
    key = await key_of(stage)
    good = stage.ctx.links.notify(1, key).removeprefix(pushed.base)
    assert (await pushed(good.replace("/n/1/", "/n/2/"), billed(key))).status_code == 404
    assert (await pushed(good.replace("/n/1/", "/n/x/"), billed(key))).status_code == 404
    assert (await pushed(good.replace("/n/1/", f"/n/{2**70}/"), billed(key))).status_code == 404
    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 open"]


async def test_a_proven_notification_of_a_key_we_do_not_have_stays_as_open_work(stage: Stage, pushed: Pushed) -> None:
    path = stage.ctx.links.notify(1, "INV-NEVER-1").removeprefix(pushed.base)
    assert (await pushed(path, billed("INV-NEVER-1"))).text == "OK: received"
    await stage.heard(2)
    assert await pushed.states() == ["settled", "open"]


async def test_an_oversize_notification_is_refused_before_it_is_stored(stage: Stage, pushed: Pushed) -> None:
    key = await key_of(stage)
    path = stage.ctx.links.notify(1, key).removeprefix(pushed.base)
    answer = await pushed(path, method="POST", content=b"x" * (BODY_BYTES_MAX + 1))
    assert answer.status_code == 413
    assert await pushed.states() == ["settled"]


async def test_a_repeated_notification_is_settled_once_and_counted(stage: Stage, pushed: Pushed) -> None:
    key = await key_of(stage)
    path = stage.ctx.links.notify(1, key).removeprefix(pushed.base)
    for _ in range(3):
        assert (await pushed(path, billed(key))).text == "OK: received"
    await stage.heard(2)
    assert await stage.rows(select(table(Notification).c.copies)) == [(1,), (3,)]
    assert await stage.invoices() == ["TH-2026-00001 2026-12-01 2500 paid"]
    assert (await stage.postings()).count("payment gateway 2500") == 1


async def test_noise_at_the_notification_door_is_never_a_failure_of_ours(stage: Stage, pushed: Pushed) -> None:
    key = await key_of(stage)
    path = stage.ctx.links.notify(1, key).removeprefix(pushed.base)
    for text in sample(TEXTS, 40):
        assert (await pushed(path, quoted(text).decode())).status_code == 400
        assert (await pushed(f"/n/1/{quoted(text).decode()}/{quoted(text).decode()}", billed(key))).status_code in (
            400,
            404,
        )
    assert (await pushed(path, "&".join(f"A{number}=1" for number in range(500)))).status_code == 400


# --- the rest -------------------------------------------------------------------------------


async def test_an_unknown_address_is_a_page_and_a_wrong_method_no_failure(stage: Stage, link: str) -> None:
    base = link.rsplit("/p/", 1)[0]
    look = await stage.browser.open(base + "/nowhere")
    assert (look.page, look.answer.status_code) == ("not_found", 404)
    assert (await stage.browser.http.put(link)).status_code == 405
    assert (await stage.browser.http.get(base + "/docs")).status_code == 404
    assert (await stage.browser.http.get(base + "/static/../app.py")).status_code == 404


async def test_a_page_of_one_merchants_colours_is_served_to_its_links_alone(stage: Stage) -> None:
    accent = "#0b5cad,#ffffff,#e8f1fb;#7cb7f2,#0f151a,#16293b"
    await stage.found(accent=accent)
    await stage.enrol(card=DECLINED)
    await stage.night(DAY)
    [link] = await stage.links()
    look = await stage.browser.open(link)
    [style] = re.findall(r'href="(/brand/[^"]+)"', look.answer.text)
    css = await stage.browser.http.get(str(look.answer.url.join(style)))
    assert (css.status_code, css.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "#0b5cad" in css.text
    assert await stage.one(select(func.count()).select_from(table(Run))) == 1
    assert await stage.one(select(func.count()).select_from(table(Message))) == 1
