"""Every form of the console, found on its pages: what cannot be is said beside its field, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest

from billing.gateway import GatewayKind, Setting
from billing.services.context import Gateways
from billing.services.listening import Wanted, listen
from billing.services.tasking import NewTask, raise_tasks
from gateways.registry import KINDS
from tests.billing.services.support import World, by_link, lose_before
from tests.billing.web.console.support import Browser, signed_in, whole_app
from tests.scenarios.stage import parsed

ROOT: Final = "/console/nordlicht"
# What is typed where anything may be: it fits into the shortest field, and is known again.
TYPED: Final = "q7"
# Forms with fields, by where they are sent; a form that is added or goes must be said here.
FORMS: Final = {
    "account/password",
    "account/second-factor",
    "attempts/*/refund",
    "customers/*/edit",
    "customers/new",
    "doubts/*/settle",
    "gateways/*/edit",
    "gateways/*/stop",
    "gateways/_new/bank",
    "gateways/_new/computop",
    "gateways/_new/mpay24",
    "gateways/_new/paymentz",
    "gateways/_new/payone",
    "invoices/*/paid",
    "keys/_new",
    "plans/*/prices/_new",
    "plans/*/rename",
    "plans/_new",
    "runs/*/abort",
    "runs/*/pause",
    "settings",
    "settings/live",
    "subscriptions/*/cancel",
    "subscriptions/*/change",
    "subscriptions/new",
    "tasks/*/done",
    "users/*/role",
    "users/new",
    "webhooks/*/edit",
    "webhooks/*/rotate",
    "webhooks/new",
}


@dataclass
class Asked:
    """One field of a form: what stands in it, what else could, and what never can."""

    name: str
    kind: str
    value: str = ""
    options: list[str] = field(default_factory=list)
    chars_max: int = 200

    @property
    def bad(self) -> str:
        return "no such thing" if self.options else "x" * (self.chars_max + 1)

    @property
    def good(self) -> str:
        """What is typed: the last of several ways, or else what stands there already, or a word."""
        return self.options[-1] if self.options else self.value or TYPED


@dataclass
class Sheet:
    """One form as a page shows it."""

    action: str
    hidden: dict[str, str]
    fields: list[Asked]
    element: Any

    @property
    def name(self) -> str:
        return named(self.action)

    def typed(self, **instead: str) -> dict[str, str]:
        return self.hidden | {each.name: each.good for each in self.fields} | instead


def named(path: str) -> str:
    """Return where a form is sent, with a star for what the merchant has named or numbered."""
    words = {"new", "_new", "_preview", "edit", "prices"} | set(KINDS)
    parts = path.removeprefix(ROOT).removeprefix("/console").strip("/").split("/")
    sections = ("plans", "gateways", "attempts", "customers", "doubts", "invoices", "runs", "subscriptions")
    things = {at + 1 for at, part in enumerate(parts) if part in (*sections, "tasks", "users", "prices", "webhooks")}
    return "/".join("*" if at in things and part not in words else part for at, part in enumerate(parts))


def sheets_in(page: str) -> Iterator[Sheet]:
    """Find the forms with something to type or to choose; what only a preview asks for is not the form's own."""
    for form in parsed(page).forms:
        fields = [each for name in dict.fromkeys(form.fields) if (each := asked_in(form, name))]
        if form.method == "POST" and fields:
            hidden = {each.name: each.value or "" for each in form.xpath(".//input[@type='hidden']")}
            yield Sheet(str(form.action), hidden, fields, form)


def asked_in(form: Any, name: str) -> Asked | None:
    found = form.xpath(f".//*[@name='{name}'][not(ancestor::aside)]")
    if not found:
        return None
    first = found[0]
    kind = first.get("type", first.tag)
    if kind in ("hidden", "checkbox"):
        return None
    if kind == "radio":
        return Asked(name, kind, "", [each.get("value") for each in found])
    if first.tag == "select":
        ways = [value for value in first.value_options if value]
        return Asked(name, "select", first.value or "", ways) if ways else None
    return Asked(name, kind, first.value or "", [], int(first.get("maxlength", "200")))


def shown_in(form: Any, name: str) -> str:
    """Return what a form has in a field."""
    found = form.xpath(f".//*[@name='{name}']")
    if found[0].get("type") == "radio":
        return next((str(each.get("value")) for each in found if each.get("checked") is not None), "")
    return str(found[0].value or "")


# The bank of the small world, as a kind of gateway that people can set up.
BANK: Final = GatewayKind(
    "Bank",
    (
        Setting("desk", "Desk"),
        Setting("password", "Password", is_secret=True),
        Setting("page", "Page", default="plain"),
    ),
)


async def whole_world(world: World) -> World:
    """Return the world with one of everything that there is a form for."""
    await world.subscribe(2)
    await world.subscribe(1, **by_link(3))
    world.bank.on("P2", lose_before)
    await world.run()
    async with world.store.write() as session:
        await raise_tasks(
            session, [NewTask(world.merchant_id, "profile", "cus_1", "another card is stored there")], world.clock.now()
        )
        await listen(world.ctx, session, world.merchant_id, Wanted(url="https://shop.example/turnus"))
    gateways = Gateways(world.ctx.gateways.open, world.ctx.vault, {**KINDS, "bank": BANK})
    return replace(world, ctx=replace(world.ctx, gateways=gateways))


async def every_sheet(who: Browser) -> dict[str, Sheet]:
    """Follow every link of the console and return its forms, one for each way they are sent."""
    todo, seen = [ROOT, "/console/account"], set()
    found: dict[str, Sheet] = {}
    while todo:
        path = todo.pop(0).partition("#")[0]
        if path in seen:
            continue
        seen.add(path)
        answer = await who.http.get(path, follow_redirects=True)
        page = answer.text
        found |= {sheet.name: sheet for sheet in sheets_in(page) if sheet.name not in found}
        todo += parsed(page).xpath("//a[starts-with(@href, '/console/')]/@href")
    return found


@pytest.fixture
async def who(lite: World) -> Browser:
    """An admin of a merchant that has one of everything."""
    world = await whole_world(lite)
    browser = await signed_in(world, whole_app(world))
    await browser.post("/nordlicht/runs/start")
    return browser


async def test_every_form_of_the_console_says_beside_each_field_what_cannot_be_and_loses_nothing(who: Browser) -> None:
    sheets = await every_sheet(who)
    assert set(sheets) == FORMS
    for sheet in sheets.values():
        for asked in sheet.fields:
            answer = await who.http.post(sheet.action, data=sheet.typed(**{asked.name: asked.bad}))
            assert answer.status_code == 422, (sheet.name, asked)
            check(answer.text, sheet, asked)


def check(page: str, sheet: Sheet, asked: Asked) -> None:
    """Find the form again: the error beside its field and in the list above, and everything else as it was typed."""
    [again] = [each for each in sheets_in(page) if each.name == sheet.name]
    about, form = (sheet.name, asked.name), again.element
    fields = form.xpath(f".//*[@name='{asked.name}']")
    assert all(each.get("aria-invalid") == "true" for each in fields), about
    field_id = next(each.get("id") for each in fields if each.get("id"))
    told = [*fields, *form.xpath(f".//fieldset[.//*[@name='{asked.name}']]")]
    assert f"{field_id}-error" in " ".join(each.get("aria-describedby", "") for each in told), about
    [said] = parsed(page).xpath(f"//*[@id='{field_id}-error']")
    assert said.text_content().strip().endswith("."), about
    assert form.xpath(f".//*[@role='alert']//a[@href='#{field_id}']"), about
    assert len(parsed(page).xpath(f"//*[@id='{field_id}']")) == 1, about
    kept = {each.name: shown_in(form, each.name) for each in sheet.fields if each.kind != "password"}
    typed = sheet.typed(**{asked.name: "" if asked.options else asked.bad})
    assert kept == {name: typed[name] for name in kept}, about
