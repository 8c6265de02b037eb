"""What the demo brings along: invented people, and a mailbox that can be read in the browser."""

from __future__ import annotations

from collections import Counter
from datetime import date
from email.message import EmailMessage
from pathlib import Path

import httpx
from aiosmtplib import send

from billing.web.app import create_app
from billing.web.pages import MAIL_POLICY
from gateways import registry
from jobs.demo_gateways import GATEWAYS, Fate
from jobs.demo_people import people
from jobs.demo_visitor import link_in
from jobs.mailbox import Mailbox, mailbox_router, receiving
from jobs.settings import Settings
from jobs.wiring import open_context
from tests.scenarios.stage import SECRET

DAY = date(2026, 12, 1)


def test_the_same_number_is_always_the_same_person() -> None:
    every = list(people(60, DAY))
    assert every[20:40] == list(people(20, DAY, start=20))
    assert len({person.subscriber.subscription for person in every}) == 60
    assert len({person.subscriber.email for person in every}) == 60


def test_people_are_spread_over_every_gateway_there_is() -> None:
    spread = Counter(person.gateway for person in people(240, DAY))
    assert set(spread) == set(GATEWAYS) == set(registry.GATEWAYS)
    assert min(spread.values()) >= 24


def test_some_people_have_cards_that_will_be_declined_and_some_pay_by_debit_or_by_link() -> None:
    every = list(people(240, DAY))
    assert 20 <= sum(person.fate is not Fate.GOOD for person in every) <= 40
    assert {person.subscriber.profile_kind for person in every if person.gateway == "mpay24"} == {"card", "debit"}
    for person in every:
        assert bool(person.subscriber.profile) == bool(person.stored) == (person.gateway != "computop")
        assert person.subscriber.billed_until == person.subscriber.anchor_on == DAY


async def test_the_mailbox_takes_a_mail_and_shows_it_without_running_it(tmp_path: Path) -> None:
    mailbox = Mailbox()
    settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/x.db", secret_key=SECRET)
    async with receiving(mailbox) as address, open_context(settings) as ctx:
        await send(mail(), hostname="127.0.0.1", port=int(address.rsplit(":", 1)[1]))
        transport = httpx.ASGITransport(create_app(ctx, routers=[mailbox_router(mailbox)]))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as browser:
            listed = (await browser.get("/mailbox")).text
            shown = (await browser.get("/mailbox/1")).text
            framed = await browser.get("/mailbox/1/html")
            for nowhere in ("/mailbox/0", "/mailbox/2", "/mailbox/99999999999999999999", "/mailbox/x"):
                assert (await browser.get(nowhere)).status_code == 404
    assert "Your &lt;b&gt;bill" in listed
    assert "Pay here" in shown
    assert "<script>" not in shown
    assert framed.headers["content-security-policy"] == MAIL_POLICY
    assert link_in(mailbox.letters[0]) == "http://127.0.0.1:8000/p/AbC-1_2"


def mail() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "billing@x.example", "anna@x.example", "Your <b>bill"
    message.set_content("Pay here: http://127.0.0.1:8000/p/AbC-1_2\n")
    message.add_alternative("<html><head></head><body><script>alert(1)</script></body></html>", subtype="html")
    return message
