"""Who works here: let in by a link, given another role, let out; and the record of all that."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from billing.models import ActorKind, AuditEntry, Membership, Role, User, table
from billing.services.auditing import Actor, audit
from tests.billing.services.support import World
from tests.billing.web.console.support import Browser, make_user, signed_in, whole_app


async def test_a_user_is_added_and_gets_a_link(admin: Browser) -> None:
    page = await admin.post("/nordlicht/users/new", 200, name="Bo", email="Bo@example.net", role="operator")
    assert "https://pay.example/console/password/2." in page
    page = await admin.get("/nordlicht/users")
    assert "bo@example.net" in page
    assert "invited" in page
    [entry] = await admin.world.rows(AuditEntry, verb="add_user")
    assert (entry["actor_kind"], entry["subject"]) == ("user", "user_2")


async def test_bad_input_stands_beside_its_field_and_what_was_typed_stays(lite_admin: Browser) -> None:
    page = await lite_admin.post("/nordlicht/users/new", 422, name="<b>Bo", email="bo", role="king")
    assert 'value="<b>Bo"' in page
    for name, said in (("email", "like name@example.com"), ("role", "Choose one of these.")):
        assert f'id="f-{name}-error">' in page
        assert f'<a href="#f-{name}">' in page
        assert said in page
    assert 'aria-describedby="f-email-error" aria-invalid="true"' in page
    assert len(await lite_admin.world.rows(User)) == 1
    mine = (await lite_admin.world.rows(User))[0]["email"]
    page = await lite_admin.post("/nordlicht/users/new", 422, name="Bo", email=mine, role="viewer")
    assert "works here already" in page


async def test_who_has_an_account_is_added_without_a_link(lite: World) -> None:
    other = await lite.beside("ostwind")
    await make_user(lite, email="bo@example.net", merchant_id=other.merchant_id)
    who = await signed_in(lite, whole_app(lite))
    page = await who.post("/nordlicht/users/new", 303, name="Bo", email="bo@example.net", role="viewer")
    assert "works here now" in page


async def test_a_role_is_changed_and_a_user_removed_disabled_and_let_in_again(lite: World) -> None:
    who, bo = await signed_in(lite, whole_app(lite)), await make_user(lite, Role.VIEWER, name="Bo")
    assert "The role is changed." in await who.post(f"/nordlicht/users/{bo}/role", role="operator")
    assert "/console/password/" in await who.post(f"/nordlicht/users/{bo}/password", 200)
    assert "cannot sign in any more" in await who.post(f"/nordlicht/users/{bo}/disable")
    assert "Let in again" in await who.get(f"/nordlicht/users/{bo}")
    assert "can sign in again" in await who.post(f"/nordlicht/users/{bo}/enable")
    assert "works here no longer" in await who.post(f"/nordlicht/users/{bo}/remove")
    assert len(await lite.rows(Membership)) == 1
    verbs = [row["verb"] for row in await lite.rows(AuditEntry)]
    assert verbs == ["sign_in", "change_role", "offer_password", "disable_user", "enable_user", "remove_user"]


@pytest.mark.parametrize("doing", ["remove", "disable"])
async def test_the_last_admin_cannot_go(lite_admin: Browser, doing: str) -> None:
    page = await lite_admin.post(f"/nordlicht/users/{lite_admin.user_id}/{doing}", 409)
    assert "last admin" in page
    page = await lite_admin.post(f"/nordlicht/users/{lite_admin.user_id}/role", 422, role="viewer")
    assert "last admin" in page


async def test_the_record_is_read_in_parts_and_by_actor_verb_and_subject(admin: Browser) -> None:
    world = admin.world
    other = await world.beside("ostwind")
    async with world.store.write() as session:
        key = Actor(ActorKind.KEY, "shop (tk_1)")
        for number in range(120):
            await audit(world.ctx, session, [world.merchant_id], key, "refund", f"att_{number}", reason="<i>why")
        await audit(world.ctx, session, [other.merchant_id], key, "theirs", "att_theirs")
    page = await admin.get("/nordlicht/audit")
    seen = subjects_in(page)
    assert "<i>why" in page
    while "Older" in page:
        page = await admin.get(page.partition('rel="next"')[0].rpartition('href="/console')[2].partition('"')[0])
        assert "Newest" in page
        seen += subjects_in(page)
    assert seen == [f"att_{number}" for number in reversed(range(120))] + [f"user_{admin.user_id}"]
    assert subjects_in(await admin.get("/nordlicht/audit?subject=att_7")) == ["att_7"]
    assert subjects_in(await admin.get("/nordlicht/audit?verb=sign_in")) == [f"user_{admin.user_id}"]
    assert "Nothing found" in await admin.get("/nordlicht/audit?actor=nobody")
    assert "theirs" not in await admin.get("/nordlicht/audit?before=nonsense")


async def test_the_record_offers_each_verb_there_is_once(world: World, admin: Browser) -> None:
    who = Actor(ActorKind.KEY, "shop (tk_1)")
    async with world.store.write() as session:
        for verb in ("refund", "add_key", "refund", "void_invoice", "add_key"):
            await audit(world.ctx, session, [world.merchant_id], who, verb)
    page = await admin.get("/nordlicht/audit")
    offered = [part.partition('"')[0] for part in page.split('<option value="')[1:]]
    assert offered == ["", "add_key", "refund", "sign_in", "void_invoice"]


async def test_the_switcher_shows_only_merchants_one_works_for(lite: World) -> None:
    other, hidden = await lite.beside("ostwind"), await lite.beside("suedsee")
    who = await signed_in(lite, whole_app(lite))
    assert "/console/ostwind" not in await who.get("/nordlicht")
    async with lite.store.write() as session:
        about = {"user_id": who.user_id, "merchant_id": other.merchant_id, "role": "viewer"}
        await session.execute(insert(table(Membership)).values(**about, created_at=lite.clock.now()))
    page = await who.get("/nordlicht")
    assert "/console/ostwind" in page
    assert "suedsee" not in page
    assert hidden.merchant_id
    assert "/ostwind/users" not in await who.get("/ostwind")


def subjects_in(page: str) -> list[str]:
    return [
        part.partition("</a>")[0]
        for part in page.split('<a class="id" href="')[1:]
        for part in [part.partition(">")[2]]
    ]
