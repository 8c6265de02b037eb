"""Pages say what is true in both languages, work without script, and let nothing in that a customer wrote."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any

import pytest
from jinja2 import UndefinedError
from lxml import html as lxml_html

from billing.mail import DARK, LANGUAGES, LIGHT, NBSP, Accent, Bill, Brand, BrandError, Cause, Means
from billing.money import Money
from billing.periods import Interval, Period, Unit
from billing.web.pages import (
    PAGE_POLICY,
    AlreadyPaid,
    Busy,
    CanceledBack,
    Confirming,
    Consent,
    Declined,
    Demo,
    DemoPage,
    Expired,
    Failure,
    FreshLinkSent,
    GatewayDown,
    Leaving,
    MailboxList,
    MailboxMail,
    NotFound,
    OpenLink,
    Page,
    Pages,
    Paid,
    Ready,
    ReceivedMail,
    RenewCanceled,
    RenewConfirming,
    RenewDeclined,
    Renewed,
    RenewReady,
    Superseded,
    UnknownLink,
    Void,
    Way,
    brand_css,
    check_accent,
    choose_language,
    contrast,
    framed,
    static_url,
    words,
)

HERE = "/p/Xk72mVqT9rB4wLdN"
NEW_YEAR = date(2027, 1, 1)
AT = datetime(2026, 12, 2, 8, 15, 40, tzinfo=UTC)
UNTIL = date(2026, 12, 15)
BRAND = Brand(
    "Nordlicht",
    "Nordlicht GmbH",
    "Nordlicht GmbH, 1070 Wien",
    place="Wien",
    timezone="Europe/Vienna",
    style_url="/brand/1.css",
    help_url="https://nordlicht.example/help",
    legal_url="https://nordlicht.example/legal",
    privacy_url="https://nordlicht.example/privacy",
)
PLAIN = Brand("Nordlicht", "Nordlicht GmbH", "Nordlicht GmbH, 1070 Wien")
BILL = Bill("NA-2026-11873", "Team", Money(4900, "EUR"), Period(date(2026, 12, 1), NEW_YEAR), HERE + "/invoice.pdf")
CARD = Means("card", "Visa", "4242", date(2029, 8, 31))
DEBIT = Means("debit", last4="3201")
WAYS = (
    Way("card", "card", "Visa, Mastercard", gateway="mPAY24"),
    Way("debit", "debit", "SEPA", gateway="mPAY24"),
    Way("app", "payback_pay", stores=False, gateway="Computop"),
    Way("new", "brand_new", title="Brand New", gateway="mPAY24"),
)
FRAMED = Way("framed", "card", "Visa, Mastercard", gateway="PAYONE", card_form="https://pay.example")
ASKING = Way("app", "payback_pay", stores=False, gateway="Computop", inputs=(("payback_number", "[0-9]{10}"),))
WRONG = frozenset({"payback_number"})
POSTED = (("MerchantID", "DEMO_SHOP"), ("Data", "0A1B"))
CONSENT = Consent("Team", Interval(Unit.MONTH), NEW_YEAR, Money(4900, "EUR"), "https://pay.example/portal")
PAYABLE: dict[str, Any] = {
    "brand": BRAND,
    "here": HERE,
    "bill": BILL,
    "gateway": "mPAY24",
    "action": HERE + "/pay",
    "ways": WAYS,
    "consent": CONSENT,
    "access_until": UNTIL,
    "link_until": UNTIL,
}
RENEWABLE: dict[str, Any] = {
    "brand": BRAND,
    "here": HERE,
    "amount": Money(10, "EUR"),
    "plan": "Team",
    "gateway": "mPAY24",
    "action": HERE + "/pay",
    "means": CARD,
    "ways": WAYS[:2],
    "consent": CONSENT,
}
FLIGHT: dict[str, Any] = {"brand": BRAND, "here": HERE, "amount": BILL.amount, "gateway": "mPAY24", "sent_at": AT}
MAILS = (ReceivedMail(2, AT, "Nordlicht <a@x>", "Anna <b@x>", "Zwei"), ReceivedMail(1, AT, "a@x", "b@x", "Eins"))
DEMO: dict[str, Any] = {"merchant": "Nordlicht GmbH", "counts": (("customers", 60), ("other_things", 0))}
DEMO |= {"operator": "olga@nordlicht.example", "password": "a fake password"}
ALL_COUNTS = tuple((key.removeprefix("count."), 1) for key in words("en") if key.startswith("count."))

PAGES: dict[str, Page] = {
    "ready": Ready(**PAYABLE),
    "ready, one way": Ready(**PAYABLE | {"ways": WAYS[1:2], "link_until": None}),
    "ready, ways on the other side": Ready(
        **PAYABLE | {"ways": (), "brand": PLAIN, "consent": replace(CONSENT, portal_url="")}
    ),
    "ready, card only": Ready(**PAYABLE | {"ways": WAYS[:1]}),
    "ready, nothing stored": Ready(**PAYABLE | {"ways": WAYS[2:3], "consent": None, "bill": replace(BILL, pdf_url="")}),
    "canceled": CanceledBack(**PAYABLE),
    "canceled, no end": CanceledBack(**PAYABLE | {"access_until": None, "link_until": None}),
    "canceled, two ends": CanceledBack(**PAYABLE | {"access_until": NEW_YEAR}),
    "canceled, access ends": CanceledBack(**PAYABLE | {"link_until": None}),
    "declined": Declined(**PAYABLE),
    **{f"declined, {each}, in an app": Declined(**PAYABLE, cause=each, in_app=True) for each in Cause},
    "declined, link ends": Declined(**PAYABLE | {"access_until": None}),
    **{f"declined, {each}, card": Declined(**PAYABLE, cause=each, means=CARD) for each in Cause},
    **{f"declined, {each}, account": Declined(**PAYABLE, cause=each, means=DEBIT) for each in Cause},
    "ready, card fields": Ready(**PAYABLE | {"ways": (FRAMED, *WAYS[1:])}),
    "ready, card fields only": Ready(**PAYABLE | {"ways": (FRAMED,)}),
    "ready, asked for a number": Ready(**PAYABLE | {"ways": (ASKING,)}),
    "ready, number is wrong": Ready(
        **PAYABLE | {"ways": (*WAYS[:2], ASKING)}, chosen="app", typed={"payback_number": "12"}, wrong=WRONG
    ),
    "leaving": Leaving(brand=BRAND, here=HERE, gateway="Computop", action="https://pay.example/x", fields=POSTED),
    "confirming": Confirming(number=BILL.number, **FLIGHT),
    "busy": Busy(number=BILL.number, **FLIGHT),
    "paid": Paid(
        brand=BRAND, bill=BILL, paid_at=AT, means=CARD, stored=True, next_on=NEW_YEAR, next_amount=BILL.amount
    ),
    "paid by account": Paid(
        brand=BRAND, bill=BILL, paid_at=AT, means=DEBIT, stored=True, next_on=NEW_YEAR, portal_url="/x"
    ),
    "paid, nothing stored": Paid(bill=replace(BILL, pdf_url=""), paid_at=AT, next_on=NEW_YEAR),
    "already paid": AlreadyPaid(brand=BRAND, bill=BILL, paid_on=UNTIL, portal_url="/portal"),
    "already paid, some day": AlreadyPaid(brand=BRAND, bill=BILL),
    "void": Void(brand=BRAND, here=HERE, number=BILL.number),
    "expired": Expired(brand=BRAND, here=HERE, action=HERE + "/fresh"),
    "superseded": Superseded(brand=BRAND, here=HERE, action=HERE + "/fresh", mailed_on=UNTIL),
    "superseded, some day": Superseded(brand=BRAND, here=HERE, action=HERE + "/fresh"),
    "fresh link sent": FreshLinkSent(brand=BRAND, here=HERE),
    "unknown": UnknownLink(here=HERE),
    "renew": RenewReady(**RENEWABLE),
    "renew account": RenewReady(**RENEWABLE | {"means": DEBIT, "amount": Money(100, "EUR")}),
    "renew, nothing known": RenewReady(**RENEWABLE | {"means": None, "ways": (), "consent": None}),
    "renew canceled": RenewCanceled(**RENEWABLE),
    "renew declined": RenewDeclined(**RENEWABLE, cause=Cause.NOT_NOW),
    "renew confirming": RenewConfirming(**FLIGHT),
    "renewed": Renewed(
        brand=BRAND, amount=Money(10, "EUR"), means=CARD, released=True, next_on=NEW_YEAR, portal_url="/x"
    ),
    "renewed account": Renewed(
        brand=BRAND, amount=Money(10, "EUR"), means=DEBIT, next_on=NEW_YEAR, next_amount=BILL.amount
    ),
    "renewed, nothing known": Renewed(brand=BRAND, amount=Money(10, "EUR")),
    "gateway down": GatewayDown(brand=BRAND, here=HERE, gateway="mPAY24", number=BILL.number, link_until=UNTIL),
    "gateway down, renewing": GatewayDown(brand=BRAND, here=HERE, gateway="mPAY24"),
    "error": Failure(brand=BRAND, here=HERE, reference="01JE7Q2K8H"),
    "error, nowhere": Failure(),
    "not found": NotFound(here="/x"),
    "mailbox": MailboxList(mails=MAILS),
    "mailbox, empty": MailboxList(mails=()),
    "mail": MailboxMail(
        mail=MAILS[0], headers=(("Message-ID", "<1@x>"),), text=f"Pay:\n{HERE}\nhttps://pay.example/p/1\n"
    ),
    "mail, text only": MailboxMail(mail=MAILS[0], headers=(), text="Hello", has_html=False),
    "demo": Demo(
        **DEMO, links=(OpenLink(HERE, "Anna", "NA-1", Money(4900, "EUR")),), nights=(UNTIL, NEW_YEAR), mails=3
    ),
    "demo, all paid": Demo(**DEMO | {"counts": ALL_COUNTS}, links=()),
}
EVERY_RHYTHM = tuple(
    Ready(**PAYABLE | {"consent": replace(CONSENT, interval=Interval(unit, count), next_on=date(2027, 1, day))})
    for unit in Unit
    for count in (1, 3)
    for day in (1, 2, 3, 4, 21, 22, 23, 31)
)
EVERY_WAY = Ready(
    **PAYABLE | {"ways": tuple(Way(key, key.removeprefix("way.")) for key in words("en") if key.startswith("way."))}
)

every_page = pytest.mark.parametrize("name", PAGES)
every_language = pytest.mark.parametrize("locale", ["en-IE", "de-AT"])
SHARED = Pages()


def _render(page: Page, locale: str = "en-IE") -> str:
    return SHARED.render(page, locale)


def _tree(html: str) -> Any:
    return lxml_html.fromstring(html)


def _text(html: str) -> str:
    return re.sub(r"[ \n]+", " ", str(_tree(html).xpath("string(//body)")))


# --- templates and words ----------------------------------------------------


def test_every_template_has_its_view_and_every_view_its_template() -> None:
    folder = files("templates").joinpath("pages")
    templates = {each.name.removesuffix(".html") for each in folder.iterdir() if each.name.endswith(".html")}
    assert {page.name for page in PAGES.values()} == templates - {"base", "parts", "console"}


def test_every_sentence_exists_in_every_language_with_the_same_gaps() -> None:
    gaps = [
        {key: set(re.findall(r"{{ (\w+) }}", each)) for key, each in words(language).items()} for language in LANGUAGES
    ]
    assert all(other == gaps[0] for other in gaps)


def test_no_sentence_is_written_for_nobody() -> None:
    said: set[str] = set()

    class Listening(Pages):
        def _say(self, language: str, key: str, /, **values: object) -> Any:
            said.add(key)
            return super()._say(language, key, **values)

    pages = Listening()
    for page in (*PAGES.values(), *EVERY_RHYTHM, EVERY_WAY):
        pages.render(page, "de")
    assert set(words("de")) - said == {"page.language"}


def test_a_sentence_with_a_gap_that_nobody_fills_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        SHARED._say("en", "pay.button")


@every_language
@every_page
def test_nothing_of_the_machinery_shows(name: str, locale: str) -> None:
    html = _render(PAGES[name], locale)
    assert not re.search(
        r"\{[{%#]|[}%#]\}|\bNone\b|[Uu]ndefined|Money\(|TemplateModule|&lt;",
        html.replace("&lt;a@x", "").replace("&lt;b@x", "").replace("&lt;1@x", ""),
    )
    assert not re.search(r"\w +[.,;:!?]|\.\.|,,", _text(html)), _text(html)


@every_language
@every_page
def test_a_page_names_its_language_and_has_one_heading_and_one_advice_at_most(name: str, locale: str) -> None:
    page = _tree(_render(PAGES[name], locale))
    assert page.get("lang") == locale[:2]
    assert page.get("data-page") == PAGES[name].name
    assert len(page.xpath("//h1")) == 1
    assert len(page.xpath("//*[contains(@class, 'btn-primary')]")) <= 1
    assert len(page.xpath("//main[@id='main']")) == 1
    assert page.xpath("//title")[0].text.strip()
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))


@every_language
@every_page
def test_a_strict_content_policy_finds_nothing_to_forbid(name: str, locale: str) -> None:
    page = _tree(_render(PAGES[name], locale))
    assert not page.xpath("//@style | //style | //*[@*[starts-with(name(), 'on')]]")
    assert not [each for each in page.xpath("//script") if each.text or not each.get("src").startswith("/static/")]
    for link in page.xpath("//link/@href | //script/@src | //iframe/@src | //img/@src"):
        assert link.startswith("/")
    assert "unsafe" not in PAGE_POLICY


@every_language
@every_page
def test_a_page_leads_only_where_its_view_says(name: str, locale: str) -> None:
    links = _tree(_render(PAGES[name], locale)).xpath("//a/@href | //form/@action")
    for link in links:
        assert link.startswith(("/", "#", "?", "https://nordlicht.example/", "https://pay.example/")), link


@every_language
@every_page
def test_marks_are_silent_and_controls_have_names(name: str, locale: str) -> None:
    page = _tree(_render(PAGES[name], locale))
    assert not page.xpath(
        "//*[@class='mark' or @class='spin' or @class='tile'][not(@aria-hidden)] | //svg[not(@aria-hidden)]"
    )
    for each in page.xpath("//input[@type='radio']"):
        assert each.getparent().text_content().strip()
    for each in page.xpath("//a | //button"):
        assert each.text_content().strip()
    for each in page.xpath("//table//td[not(@data-label)]"):
        pytest.fail(f"a cell without its label: {each.text_content()}")


@every_page
def test_every_form_posts_and_brings_the_language_along(name: str) -> None:
    for form in _tree(_render(PAGES[name], "de")).xpath("//form"):
        ours = form.get("action").startswith("/")
        assert form.get("method") == "post"
        assert form.xpath(".//input[@name='lang']/@value") == (["de"] if ours else [])
        assert len(form.xpath(".//button")) == 1


def test_what_a_gateway_wants_posted_is_all_that_its_form_brings() -> None:
    [form] = _tree(_render(PAGES["leaving"])).xpath("//form")
    assert form.get("action") == "https://pay.example/x"
    assert tuple(form.form_values()) == POSTED


@every_page
def test_every_page_for_customers_offers_the_other_language(name: str) -> None:
    page = PAGES[name]
    links = _tree(_render(page, "de")).xpath("//a[@hreflang='en']")
    assert [each.get("href") for each in links] == ([] if isinstance(page, DemoPage) else [f"{page.here}?lang=en"])


def test_what_anybody_wrote_is_never_markup() -> None:
    evil = "<script>alert(1)</script>\"'{{ 7 * 7 }}"
    for page in PAGES.values():
        for locale in ("en", "de"):
            html = _render(_filled(page, evil), locale)
            assert "<script>" not in html
            assert "49" not in re.sub(r"49[.,]00|\?v=[0-9a-f]+", "", html)
            assert not _tree(html).xpath("//@*[name() = 'alert(1)']")


def _filled(value: Any, text: str) -> Any:
    """Return the value with the text in every field that takes any text."""
    if isinstance(value, tuple):
        return tuple(_filled(each, text) for each in value)
    if not is_dataclass(value) or isinstance(value, Money | Period | Accent | Interval | type):
        return text if type(value) is str else value
    keep = ("kind", "timezone", "here", "action", "root", "home", "url")
    changes = {
        each.name: _filled(getattr(value, each.name), text)
        for each in fields(value)
        if each.name not in keep and not each.name.endswith("_url")
    }
    return replace(value, **changes)


# --- what each page says ----------------------------------------------------


@pytest.mark.parametrize("name", ["expired", "superseded", "fresh link sent", "unknown", "not found"])
def test_a_link_that_may_be_in_the_wrong_hands_shows_neither_number_nor_amount(name: str) -> None:
    text = _text(_render(PAGES[name]))
    assert BILL.number not in text
    assert "49" not in text


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ready", 200),
        ("declined", 200),
        ("expired", 410),
        ("superseded", 410),
        ("unknown", 404),
        ("gateway down", 503),
        ("error", 500),
    ],
)
def test_a_page_knows_its_status(name: str, status: int) -> None:
    assert PAGES[name].status == status


@pytest.mark.parametrize(
    ("name", "locale", "sentence"),
    [
        ("ready", "en-IE", "You confirm on mPAY24\N{RIGHT SINGLE QUOTATION MARK}s page and come back here."),
        ("ready", "en-IE", "on the 1st of each month, at present €49.00. It is stored at mPAY24, not with us."),
        ("ready", "de-DE", f"1.{NBSP}bis{NBSP}31.{NBSP}Dezember{NBSP}2026"),
        ("ready, nothing stored", "de-DE", "Es wird nichts gespeichert"),
        ("canceled", "en-IE", "Nothing was charged You left the payment page"),
        ("declined", "en-IE", f"Your access goes on until 15{NBSP}December{NBSP}2026, and this link works until then."),
        ("declined, expired, card", "en-IE", "The card is no longer valid"),
        ("confirming", "en-IE", "Sent to mPAY2409:15:40"),
        ("confirming", "de-DE", "Es wird nichts doppelt abgebucht"),
        ("busy", "en-IE", "you need not pay again"),
        ("paid", "en-IE", f"2{NBSP}December{NBSP}2026, 09:15"),
        ("paid", "de-AT", f"das nächste Mal am 1.{NBSP}Jänner{NBSP}2027, €{NBSP}49,00."),
        ("paid, nothing stored", "en-IE", "For the next invoice you get a link again"),
        ("void", "en-IE", "Nothing to pay"),
        ("expired", "en-IE", "Pay-links work for 14 days"),
        ("unknown", "en-IE", "Please copy the whole address"),
        ("renew", "de-DE", f"Zum Erneuern werden 0,10{NBSP}€ reserviert und gleich wieder freigegeben."),
        ("renew account", "de-DE", f"Zum Erneuern wird 1,00{NBSP}€ reserviert und gleich wieder freigegeben."),
        ("gateway down", "en-IE", "Nothing was charged."),
        ("mailbox", "en-IE", "2 mails"),
    ],
)
def test_a_page_says_the_sentence_its_reader_needs(name: str, locale: str, sentence: str) -> None:
    assert sentence in _text(_render(PAGES[name], locale))


@pytest.mark.parametrize(
    ("interval", "next_on", "rhythm"),
    [
        (Interval(Unit.MONTH), date(2027, 1, 1), "on the 1st of each month"),
        (Interval(Unit.MONTH), date(2027, 1, 22), "on the 22nd of each month"),
        (Interval(Unit.MONTH), date(2027, 1, 13), "on the 13th of each month"),
        (Interval(Unit.MONTH), date(2027, 1, 31), "every month, next on 31 January 2027"),
        (Interval(Unit.MONTH, 3), date(2027, 1, 1), "every 3 months, next on 1 January 2027"),
        (Interval(Unit.YEAR), date(2027, 1, 1), "every year, next on 1 January 2027"),
        (Interval(Unit.WEEK, 2), date(2027, 1, 1), "every 2 weeks, next on 1 January 2027"),
    ],
)
def test_the_consent_says_how_often(interval: Interval, next_on: date, rhythm: str) -> None:
    page = Ready(**PAYABLE | {"consent": replace(CONSENT, interval=interval, next_on=next_on)})
    assert rhythm in _text(_render(page)).replace(NBSP, " ")


def test_the_consent_names_just_what_can_be_stored() -> None:
    assert "charge the card or account you pay with" in _text(_render(PAGES["ready"]))
    assert "charge this card" in _text(_render(PAGES["ready, card only"]))
    assert "charge this account" in _text(_render(PAGES["ready, one way"]))


def test_a_way_that_stores_nothing_says_so_beside_those_that_do() -> None:
    choices = _tree(_render(PAGES["ready"])).xpath("//label[@class='choice']")
    assert [("Nothing is stored" in each.text_content()) for each in choices] == [False, False, True, False]


def test_a_way_without_words_is_shown_by_its_own_title() -> None:
    assert "Brand New" in _text(_render(PAGES["ready"], "de"))


def test_a_card_number_is_promised_to_nobody_where_no_card_is_asked_for() -> None:
    assert "card number" not in _text(_render(PAGES["ready, one way"]))
    assert "card number" in _text(_render(PAGES["ready, ways on the other side"]))


def test_footer_links_appear_only_where_the_merchant_has_them() -> None:
    def links(page: Page) -> list[str]:
        return [str(each) for each in _tree(_render(page)).xpath("//footer//a/text()")]

    assert links(PAGES["ready"]) == ["Deutsch", "Help", "Legal notice", "Privacy"]
    assert links(PAGES["ready, ways on the other side"]) == ["Deutsch"]


def test_only_pages_that_wait_lead_on_or_frame_fields_have_a_script_and_do_without_it_too() -> None:
    scripted = {name for name, page in PAGES.items() if "<script" in _render(page)}
    waiting = {"confirming", "busy", "renew confirming"}
    assert scripted - waiting == {"leaving", "ready, card fields", "ready, card fields only"}
    for name in scripted - waiting:
        assert _tree(_render(PAGES[name])).xpath("//form[@method='post'][@action]//button[not(@disabled)]")
    for name in waiting:
        page = _tree(_render(PAGES[name]))
        assert page.xpath("//noscript/meta[@http-equiv='refresh']")
        assert page.xpath("//*[@role='status']//*[@data-over][@hidden]//a/@href") == [HERE]


@pytest.mark.parametrize(
    ("name", "role"), [("declined", "alert"), ("renew declined", "alert"), ("paid", "status"), ("confirming", "status")]
)
def test_what_changed_is_said_aloud_once(name: str, role: str) -> None:
    assert _tree(_render(PAGES[name])).xpath("//@role") == [role]


def test_a_mail_is_shown_in_a_frame_that_runs_nothing_and_its_links_open_outside() -> None:
    frame = _tree(_render(PAGES["mail"])).xpath("//iframe")[0]
    assert frame.get("src") == "/mailbox/2/html"
    assert "allow-scripts" not in frame.get("sandbox")
    assert "allow-same-origin" not in frame.get("sandbox")
    assert framed("<html><head><title>x") == '<html><head><base target="_blank"><title>x'


def test_addresses_in_a_plain_text_mail_can_be_clicked() -> None:
    assert _tree(_render(PAGES["mail"])).xpath("//pre/a/@href") == ["https://pay.example/p/1"]


# --- language ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "customer", "clicked", "locale"),
    [
        ("", "", "", "en"),
        ("de-AT,de;q=0.9,en;q=0.5", "", "", "de-AT"),
        ("fr;q=0.9, de;q=0.4, en;q=0.3", "", "", "de"),
        ("en;q=0.3,de;q=0.8", "", "", "de"),
        ("fr-CH", "", "", "en"),
        ("den,deutsch", "", "", "en"),
        ("de;q=often,en", "", "", "en"),
        ("*", "", "", "en"),
        ("en", "de-AT", "", "de-AT"),
        ("de", "de-AT", "en", "en-AT"),
        ("", "en-IE", "de", "de"),
        ("", "", "de", "de"),
        ("", "de-DE", "../../etc", "de-DE"),
    ],
)
def test_the_language_is_what_was_clicked_then_the_customers_then_the_browsers(
    accepted: str, customer: str, clicked: str, locale: str
) -> None:
    assert choose_language(accepted, customer, clicked) == locale


# --- colours and files ------------------------------------------------------


def _scheme(scheme: str) -> dict[str, str]:
    css = files("templates").joinpath("static/turnus.css").read_text("utf-8")
    light, _, dark = css.partition("prefers-color-scheme: dark")
    return dict(
        re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", light if scheme == "light" else dark.partition("/* A tone")[0])
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_of_the_stylesheet_reaches_the_contrast_law(scheme: str) -> None:
    colour = _scheme(scheme)
    pairs = [(ink, on) for ink in ("ink", "ink-2", "ink-3", "accent") for on in ("surface", "bg", "sunken")]
    pairs += [(tone, f"{tone}-soft") for tone in ("paid", "open", "failed", "pending", "doubt")]
    pairs += [
        ("accent-ink", "accent"),
        ("accent-ink", "accent-strong"),
        ("ink", "accent-soft"),
        ("ink-2", "accent-soft"),
    ]
    for ink, on in pairs:
        assert contrast(colour[ink], colour[on]) >= 4.5, (ink, on)
    for control in ("line-control", "focus"):
        assert contrast(colour[control], colour["surface"]) >= 3


@pytest.mark.parametrize(("scheme", "accent"), [("light", LIGHT), ("dark", DARK)])
def test_our_own_accent_keeps_the_law_and_is_that_of_the_stylesheet(scheme: str, accent: Accent) -> None:
    check_accent(accent, scheme)
    colour = _scheme(scheme)
    assert (accent.colour, accent.ink, accent.soft) == (colour["accent"], colour["accent-ink"], colour["accent-soft"])


def test_a_brand_stylesheet_sets_both_schemes_and_nothing_but_colours() -> None:
    css = brand_css(
        replace(BRAND, light=Accent("#7a1f5c", "#ffffff", "#f6e6f1"), dark=Accent("#f2a6d6", "#2b0a20", "#4a1c3a"))
    )
    assert "--accent: #7a1f5c;" in css
    assert css.index("prefers-color-scheme: dark") < css.index("--accent: #f2a6d6;")
    assert set(re.findall(r"([a-z-]+): #", css)) == {"--accent", "--accent-strong", "--accent-ink", "--accent-soft"}


@pytest.mark.parametrize(
    ("light", "reason"),
    [
        (Accent("#ffcc00", "#ffffff", "#fff8e0"), "the ink on the accent, #ffffff on #ffcc00, reaches 1.5:1"),
        (Accent("#ffcc00", "#000000", "#fff8e0"), "the accent as a link on a card"),
        (Accent("#7a1f5c", "#ffffff", "#808080"), "text on the soft accent"),
    ],
)
def test_an_accent_that_nobody_could_read_is_refused_with_its_contrast(light: Accent, reason: str) -> None:
    with pytest.raises(BrandError, match=re.escape(reason)):
        brand_css(replace(BRAND, light=light))


def test_the_stylesheet_loads_nothing_and_selects_no_id() -> None:
    css = files("templates").joinpath("static/turnus.css").read_text("utf-8")
    assert "url(" not in css
    assert "@import" not in css
    assert not re.search(r"(^|[\s,>~+])#[a-zA-Z][\w-]*\s*[{,]", css)


def test_every_class_of_a_page_exists_in_the_stylesheet() -> None:
    css = files("templates").joinpath("static/turnus.css").read_text("utf-8")
    known = set(re.findall(r"\.([a-z][a-z0-9-]*)", css)) | {"console", "crumb"}
    used = {name for page in PAGES.values() for each in _tree(_render(page)).xpath("//@class") for name in each.split()}
    assert used <= known


def test_the_address_of_a_static_file_changes_with_its_content() -> None:
    assert re.fullmatch(r"/static/turnus\.css\?v=[0-9a-f]{12}", static_url("turnus.css"))
    assert static_url("turnus.css").partition("v=")[2] != static_url("wait.js").partition("v=")[2]
