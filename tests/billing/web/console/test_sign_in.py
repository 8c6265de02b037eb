"""The doors of the console: set-up, signing in and out, the second factor, and links to choose a password."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import delete

from billing import totp
from billing.models import (
    AuditEntry,
    ConsoleSession,
    GatewayAccount,
    Membership,
    Merchant,
    NumberSeries,
    Plan,
    Price,
    User,
    table,
)
from billing.services.staffing import password_url, set_up_url
from billing.web.console.app import doors
from tests.billing.services.support import World
from tests.billing.web.console.support import (
    PASSWORD,
    PUBLIC,
    Browser,
    browser,
    csrf_in,
    make_user,
    signed_in,
    whole_app,
)


async def try_to_sign_in(who: Browser, email: str, password: str = PASSWORD, **more: str) -> tuple[int, str, str]:
    """Type an address and a password; return status, where it leads, and what is said."""
    csrf = csrf_in(await who.get("/sign-in"))
    answer = await who.http.post("/console/sign-in", data={"csrf": csrf, "email": email, "password": password} | more)
    return answer.status_code, answer.headers.get("location", ""), answer.text


async def test_a_user_signs_in_with_any_spelling_of_the_address_and_lands_at_the_merchant(world: World) -> None:
    await make_user(world, email="anna@example.net")
    who = browser(whole_app(world), world)
    assert (await try_to_sign_in(who, " Anna@Example.net "))[:2] == (303, "/console/")
    assert (await who.http.get("/console/")).headers["location"] == "/console/nordlicht"
    assert "Tonight" in await who.get("/nordlicht")


@pytest.mark.parametrize(("email", "password"), [("anna@example.net", "wrong"), ("nobody@example.net", PASSWORD)])
async def test_what_was_wrong_is_not_told(lite: World, email: str, password: str) -> None:
    await make_user(lite, email="anna@example.net")
    who = browser(whole_app(lite), lite)
    status, _, page = await try_to_sign_in(who, email, password)
    assert status == 422
    assert "The address or the password is not right." in page
    assert f'value="{email}"' in page
    assert PASSWORD not in page


async def test_too_many_tries_are_told_to_wait(lite: World) -> None:
    who = browser(whole_app(lite), lite)
    said = [await try_to_sign_in(who, "anna@example.net", "wrong") for _ in range(6)]
    assert [status for status, _, _ in said] == [422] * 5 + [429]
    assert "Try again in a second" in said[-1][2]


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [("/console/nordlicht/audit?verb=x", "/console/nordlicht/audit?verb=x"), ("https://evil.example/", "/console/")],
)
async def test_one_is_led_to_the_page_that_was_asked_for_and_never_out(lite: World, asked: str, led_to: str) -> None:
    await make_user(lite, email="anna@example.net")
    who = browser(whole_app(lite), lite)
    assert (await try_to_sign_in(who, "anna@example.net", next=asked))[1] == led_to
    assert (await who.http.get("/console/sign-in", params={"next": asked})).headers["location"] == led_to


async def test_who_is_sent_to_sign_in_comes_back_to_where_they_were(lite: World) -> None:
    who = browser(whole_app(lite), lite)
    sent = await who.http.get("/console/nordlicht/audit?verb=sign_in&actor=a@b")
    page = (await who.http.get(sent.headers["location"])).text
    assert 'name="next" value="/console/nordlicht/audit?verb=sign_in&amp;actor=a@b"' in page


async def test_a_new_session_replaces_the_one_of_this_browser(lite: World) -> None:
    who = await signed_in(lite, whole_app(lite), email="anna@example.net")
    typed = {"email": "anna@example.net", "password": PASSWORD}
    assert (await who.send("/sign-in", **typed)).status_code == 303
    assert len(await lite.rows(ConsoleSession)) == 1


async def test_signing_out_ends_the_session_and_says_so_once(lite_admin: Browser) -> None:
    page = await lite_admin.post("/sign-out")
    assert "You are signed out." in page
    assert "You are signed out." not in await lite_admin.get("/sign-in")
    assert await lite_admin.world.rows(ConsoleSession) == []


async def test_the_second_factor_is_put_on_asked_for_and_taken_off(lite: World) -> None:
    who = await signed_in(lite, whole_app(lite), email="anna@example.net")
    page = await who.get("/account/second-factor")
    [sealed] = re.findall(r'name="sealed" value="([^"]+)"', page)
    [secret] = re.findall(r'<code class="id">([A-Z2-7]{32})</code>', page)
    assert "<svg" in page
    assert "style=" not in page
    wrong = await who.send("/account/second-factor", sealed=sealed, code="000000")
    assert wrong.status_code == 422
    assert secret in wrong.text
    assert 'aria-invalid="true"' in wrong.text
    code = totp.code_at(secret, lite.clock.now())
    codes = re.findall(
        r"<li><code>(.{17})</code>", await who.post("/account/second-factor", 200, sealed=sealed, code=code)
    )
    assert len(codes) == 10

    other = browser(whole_app(lite), lite)
    await try_to_sign_in(other, "anna@example.net")
    sent = await other.http.get("/console/nordlicht")
    assert sent.headers["location"] == "/console/second-factor?next=%2Fconsole%2Fnordlicht"
    csrf = csrf_in(await other.get("/second-factor"))
    refused = await other.http.post("/console/second-factor", data={"csrf": csrf, "code": code, "next": ""})
    assert refused.status_code == 422
    done = await other.http.post("/console/second-factor", data={"csrf": csrf, "code": codes[0], "next": ""})
    assert done.headers["location"] == "/console/"
    await other.get("/nordlicht")

    assert "This is not your present password." in await who.post("/account/second-factor/off", 422, proof="wrong")
    assert "The second factor is off." in await who.post("/account/second-factor/off", proof=PASSWORD)
    verbs = [entry["verb"] for entry in await lite.rows(AuditEntry)]
    assert verbs == ["sign_in", "second_factor_on", "sign_in", "second_factor_off"]


async def test_an_account_changes_its_password_and_signs_out_everywhere(lite: World) -> None:
    who = await signed_in(lite, whole_app(lite))
    await signed_in(lite, whole_app(lite), user_id=who.user_id)
    page = await who.post("/account/password", 422, present="wrong", password="another long and fake one")
    assert "This is not your present password." in page
    assert "another long and fake one" not in page
    page = await who.post("/account/password", 303, present=PASSWORD, password="another long and fake one")
    assert "The password is changed." in page
    assert len(await lite.rows(ConsoleSession)) == 1
    assert "signed out everywhere" in await who.post("/account/sign-out-everywhere")


async def test_whoever_reads_the_log_becomes_the_first_admin_of_the_first_merchant(world: World) -> None:
    app = whole_app(world)
    who = browser(app, world)
    assert "turnus serve" in await who.get("/sign-in")
    url = set_up_url(world.ctx).removeprefix(f"{PUBLIC}/console")
    assert "no such" not in await who.get(url)
    await who.get("/set-up?token=" + "0" * 32, 404)
    await who.get("/set-up", 404)
    csrf = csrf_in(await who.get(url))
    typed = {"csrf": csrf, "token": url.rpartition("=")[2], "name": "Anna", "email": "anna@example.net"}
    weak = await who.http.post("/console/set-up", data=typed | {"password": "anna@example.net"})
    assert weak.status_code == 422
    assert "that nobody knows of you" in weak.text
    assert (await who.http.post("/console/set-up", data=typed | {"password": PASSWORD})).status_code == 303
    assert "Tonight" in await who.get("/nordlicht")
    assert [row["role"] for row in await world.rows(Membership)] == ["admin"]
    await who.get(url, 404)
    again = await who.http.post(
        "/console/set-up", data=typed | {"password": PASSWORD, "csrf": csrf_in(await who.get("/account"))}
    )
    assert again.status_code == 404


async def test_where_nobody_sells_yet_the_set_up_asks_who_does(lite: World) -> None:
    async with lite.store.write() as session:
        for model in (Price, Plan, GatewayAccount, NumberSeries, Merchant):
            await session.execute(delete(table(model)))
    who = browser(whole_app(lite.with_context(doors=doors())), lite)
    url = set_up_url(lite.ctx).removeprefix(f"{PUBLIC}/console")
    csrf = csrf_in(await who.get(url))
    typed = {"csrf": csrf, "token": url.rpartition("=")[2], "name": "Anna", "email": "anna@example.net"}
    typed |= {"password": PASSWORD, "legal_name": "Müller & Söhne GmbH", "country": "Austria", "currency": "EURO"}
    typed |= {"timezone": "Europe/Atlantis", "number_prefix": "M S", "mail_from": "nobody"}
    answer = await who.http.post("/console/set-up", data=typed)
    assert answer.status_code == 422
    for name in ("country", "currency", "timezone", "number_prefix", "mail_from"):
        assert f'id="f-{name}-error"' in answer.text
        assert f'<a href="#f-{name}">' in answer.text
    assert 'value="Müller &amp; Söhne GmbH"' in answer.text
    assert await lite.rows(User) == await lite.rows(Merchant) == []
    typed |= {"country": "at", "currency": "chf", "timezone": "Europe/Zurich", "number_prefix": "MS", "mail_from": ""}
    hidden = await who.http.post("/console/set-up", data=typed | {"legal_name": "Account!"})
    assert hidden.status_code == 422
    assert "pages of the console are found by that" in hidden.text.partition('id="f-legal_name-error">')[2][:200]
    assert await lite.rows(User) == await lite.rows(Merchant) == []
    assert (await who.http.post("/console/set-up", data=typed)).status_code == 303
    [merchant] = await lite.rows(Merchant)
    told = {
        name: merchant[name] for name in ("reference", "name", "country", "currency", "timezone", "mail_from", "live")
    }
    assert told == {
        "reference": "muller-sohne-gmbh",
        "name": "Müller & Söhne GmbH",
        "country": "AT",
        "currency": "CHF",
        "timezone": "Europe/Zurich",
        "mail_from": "anna@example.net",
        "live": False,
    }
    assert "Müller & Söhne GmbH" in await who.get("/muller-sohne-gmbh")


async def test_a_link_lets_its_holder_choose_a_password_once(lite: World) -> None:
    user_id = await make_user(lite, email="anna@example.net", password_hash="")
    async with lite.store.read() as session:
        url = (await password_url(lite.ctx, session, user_id)).removeprefix(f"{PUBLIC}/console")
    who = browser(whole_app(lite), lite)
    csrf = csrf_in(await who.get(url))
    short = await who.http.post(f"/console{url}", data={"csrf": csrf, "password": "short"})
    assert short.status_code == 422
    assert "at least 12 characters" in short.text
    done = await who.http.post(f"/console{url}", data={"csrf": csrf, "password": PASSWORD})
    assert done.headers["location"] == "/console/sign-in"
    assert "has been used" in await who.get(url, 404)
    assert (await try_to_sign_in(who, "anna@example.net"))[0] == 303


async def test_who_works_for_nobody_is_told_so(lite: World) -> None:
    who = await signed_in(lite, whole_app(lite), None)
    assert "work for no merchant" in await who.get("/")
