"""Mails say what is true in both languages and both parts, and are handed over or not, never something in between."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from importlib import import_module
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Session
from aiosmtpd.smtp import Envelope as Received
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from lxml import html as lxml_html
from premailer import Premailer

from billing.dunning import StepKind
from billing.gateway import DeclineClass
from billing.mail import (
    LANGUAGES,
    LIGHT,
    NBSP,
    Accent,
    Bill,
    Brand,
    BrandError,
    Cause,
    Dkim,
    Envelope,
    Letter,
    MailAccountError,
    Mailbox,
    MailDelayedError,
    Mailer,
    MailError,
    MailKind,
    MailRejectedError,
    MailSettingsError,
    Means,
    NextStep,
    Reader,
    Rendered,
    SmtpServer,
    StartTls,
    choose_locale,
    render,
)
from billing.money import Money
from billing.periods import Period

# The library has no types.
dkim: Any = import_module("dkim")

LINK = "https://pay.example/p/Xk72mVqT9rB4wLdN"
PDF = LINK + "/invoice.pdf"
PORTAL = "https://pay.example/portal"
TODAY = date(2026, 12, 1)
NEW_YEAR = date(2027, 1, 1)
BRAND = Brand("Nordlicht", "Nordlicht GmbH", "Nordlicht GmbH, Beispielgasse 12, 1070 Wien. UID ATU12345678")
BILL = Bill("NA-2026-11873", "Team", Money(4900, "EUR"), Period(TODAY, NEW_YEAR), PDF)
CARD = Means("card", "Mastercard", "5517", date(2028, 4, 30))
OLD_CARD = Means("card", "Visa", "0931", date(2026, 11, 30))
DEBIT = Means("debit", last4="3201")
RETRY = NextStep(StepKind.RETRY, date(2026, 12, 4))
REMIND = NextStep(StepKind.REMIND, date(2026, 12, 8))
PAUSE = NextStep(StepKind.PAUSE, date(2026, 12, 15))


def _letter(kind: MailKind, **changes: Any) -> Letter:
    given: dict[str, Any] = {
        "locale": "en-IE",
        "brand": BRAND,
        "today": TODAY,
        "greet": "Mr Byrne",
        "bill": BILL,
        "means": CARD,
        "link_url": LINK,
        "link_until": PAUSE.on,
        "next_on": NEW_YEAR,
        "next_amount": BILL.amount,
    }
    return Letter(kind, **(given | changes))


def _decline(**changes: Any) -> Letter:
    return _letter(
        MailKind.DECLINED, **({"decline": DeclineClass.RETRY_LATER, "steps": (RETRY, REMIND, PAUSE)} | changes)
    )


LETTERS = {
    "retry": _decline(),
    "customer": _decline(decline=DeclineClass.NEEDS_CUSTOMER, steps=(REMIND, PAUSE)),
    "expired": _decline(decline=DeclineClass.NEEDS_NEW_PROFILE, means=OLD_CARD, steps=(REMIND, PAUSE)),
    "expired, says the code": _decline(decline=DeclineClass.NEEDS_NEW_PROFILE, code="CARD_EXPIRED", steps=(PAUSE,)),
    "unusable account": _decline(decline=DeclineClass.NEEDS_NEW_PROFILE, means=DEBIT, steps=(PAUSE,)),
    "unusable card": _decline(decline=DeclineClass.NEEDS_NEW_PROFILE, steps=()),
    "never": _decline(decline=DeclineClass.NEVER, steps=(REMIND,), happened_on=date(2026, 11, 30)),
    "returned": _decline(decline=None, cause=Cause.RETURNED, means=DEBIT, steps=(REMIND, PAUSE)),
    "returned earlier": _decline(cause=Cause.RETURNED, means=DEBIT, happened_on=date(2026, 11, 27)),
    "own login": _decline(own_login=True, link_url="https://app.example/invoices/1", link_until=None),
    "bare": _decline(means=None, greet="", bill=replace(BILL, period=None, pdf_url=""), next_on=None, link_until=None),
    "nothing stored": _decline(decline=DeclineClass.NEVER, stores=False, link_until=date(2028, 1, 1)),
    "invoice": _letter(MailKind.INVOICE, means=Means("payback"), stores=False),
    "invoice, own login": _letter(MailKind.INVOICE, means=None, own_login=True),
    "reminder": _letter(MailKind.REMINDER, steps=(PAUSE,)),
    "reminder, no month": _letter(MailKind.REMINDER, bill=replace(BILL, period=Period(TODAY, date(2027, 12, 1)))),
    "last step": _letter(MailKind.LAST_STEP),
    "last step, later": _letter(MailKind.LAST_STEP, happened_on=date(2026, 11, 28), stores=False),
    "receipt": _letter(MailKind.RECEIPT, link_url=""),
    "receipt by link": _letter(MailKind.RECEIPT, link_url="", by_link=True, portal_url=PORTAL),
    "receipt, nothing stored": _letter(MailKind.RECEIPT, link_url="", by_link=True, stores=False, means=None),
    "receipt, bare": _letter(MailKind.RECEIPT, link_url="", next_on=None, means=None),
    "fresh link": _letter(MailKind.FRESH_LINK, means=None),
    "renew": _letter(MailKind.RENEW, bill=None, means=OLD_CARD, reserved=Money(10, "EUR")),
    "renew account": _letter(MailKind.RENEW, bill=None, means=DEBIT, reserved=Money(100, "EUR"), next_on=None),
    "renewed": _letter(MailKind.RENEWED, bill=None, link_url="", reserved=Money(10, "EUR")),
    "renewed, bare": _letter(MailKind.RENEWED, bill=None, link_url="", means=DEBIT, next_amount=None),
    "refunded": _letter(MailKind.REFUNDED, link_url=""),
    "refunded, bare": _letter(MailKind.REFUNDED, link_url="", means=None, bill=replace(BILL, amount=Money(100, "EUR"))),
}


def _page(html: str) -> Any:
    return lxml_html.fromstring(html)


every_letter = pytest.mark.parametrize("name", LETTERS)
every_language = pytest.mark.parametrize("locale", ["en-IE", "de-AT"])


def _render(name: str, locale: str) -> Rendered:
    return render(replace(LETTERS[name], locale=locale))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


# --- words and templates ----------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_mail_has_its_words_in_every_language(language: str) -> None:
    names = {each.name for each in files("templates").joinpath("mail", language).iterdir()}
    assert names == {f"{kind}.jinja" for kind in MailKind} | {"base.jinja"}


def test_every_kind_of_mail_is_among_the_samples() -> None:
    assert {letter.kind for letter in LETTERS.values()} == set(MailKind)


@every_language
@every_letter
def test_nothing_of_the_machinery_shows(name: str, locale: str) -> None:
    mail = _render(name, locale)
    for part in (mail.subject, mail.html, mail.text):
        assert not re.search(r"\{[{%#]|[}%#]\}|\bNone\b|[Uu]ndefined|Money\(|StepKind", part), part
    for part in (mail.subject, mail.text, _page(mail.html).xpath("string(//body)")):
        assert not re.search(r"\w +[.,;:!?]|\.\.|,,|“ ?”", part), part


@every_language
@every_letter
def test_the_subject_is_one_line_that_says_what_it_is(name: str, locale: str) -> None:
    subject = _render(name, locale).subject
    assert len(subject.splitlines()) == 1
    assert 10 < len(subject) < 80


@every_language
@every_letter
def test_plain_text_stays_within_78_columns_except_for_addresses(name: str, locale: str) -> None:
    for line in _render(name, locale).text.splitlines():
        assert len(line) <= 78 or line.startswith("https://"), line
        assert line == line.rstrip()


@every_language
@every_letter
def test_both_parts_say_the_same(name: str, locale: str) -> None:
    mail = _render(name, locale)
    page = _page(mail.html)
    text = _squeezed(mail.text)
    for part in page.xpath("//*[contains(@class, 'm-p') and not(contains(@class, 'm-pre')) or @class='m-step']"):
        assert _squeezed(part.text_content()) in text


@every_language
@every_letter
def test_a_mail_leads_nowhere_but_to_the_given_links(name: str, locale: str) -> None:
    letter = LETTERS[name]
    page = _page(_render(name, locale).html)
    allowed = {letter.link_url, letter.portal_url, letter.bill.pdf_url if letter.bill else ""}
    assert {link for _, _, link, _ in page.iterlinks()} <= allowed
    assert not page.xpath("//img | //script | //link | //iframe | //form")


@every_language
@every_letter
def test_the_link_is_a_button_and_stands_in_full_in_both_parts(name: str, locale: str) -> None:
    letter, mail = LETTERS[name], _render(name, locale)
    buttons = _page(mail.html).xpath("//a[@class='m-btn']")
    assert [each.get("href") for each in buttons] == ([letter.link_url] if letter.link_url else [])
    if letter.link_url:
        assert letter.link_url in mail.text.splitlines()
        assert f">{letter.link_url}</a>" in mail.html


def test_what_a_customer_wrote_is_never_markup() -> None:
    evil = "<script>alert('1')</script>\"{{ 7 * 7 }}&"
    for letter in LETTERS.values():
        mail = render(_filled(letter, evil))
        assert "<script" not in mail.html
        assert "49" not in mail.html.replace("49.00", "").replace("#46545f", "")
        assert not [each for each in _page(mail.html).iter() if each.tag == "script"]


def _filled(value: Any, text: str) -> Any:
    """Return the value with the text in every field that takes any text."""
    changes: dict[str, Any] = {}
    for each in fields(value):
        given = getattr(value, each.name)
        if is_dataclass(given) and not isinstance(given, Money | Period | Accent | type):
            changes[each.name] = _filled(given, text)
        elif type(given) is str and each.name not in ("locale", "timezone", "kind") and not each.name.endswith("_url"):
            changes[each.name] = text
    return replace(value, **changes)


def test_a_name_with_line_breaks_makes_neither_a_header_nor_a_paragraph() -> None:
    bill = replace(BILL, number="1\r\nBcc: all@example.com", title="Team\n\nPay here: http://evil.example", period=None)
    mail = render(_decline(bill=bill, greet="Anna\u2028\u202eMoria"))
    assert mail.subject == "Your invoice 1 Bcc: all@example.com: €49.00 is still open"
    assert not [line for line in mail.text.splitlines() if line.startswith(("Bcc", "Pay here", "Moria"))]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "pay.example"])
def test_a_link_that_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="link_url is not a web address"):
        _decline(link_url=url)


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [
        (MailKind.DECLINED, "why"),
        (MailKind.RENEW, "reserved"),
        (MailKind.RECEIPT, "bill"),
        (MailKind.INVOICE, "link_url"),
    ],
)
def test_a_letter_that_lacks_what_its_kind_shows_is_refused(kind: MailKind, lacking: str) -> None:
    with pytest.raises(ValueError, match=f"{kind} needs .*{lacking}"):
        _letter(kind, bill=None, link_url="")


@pytest.mark.parametrize(
    ("name", "locale", "sentence"),
    [
        ("retry", "en-IE", "Nothing was charged, and your access goes on as usual."),
        ("retry", "de-DE", "Es wurde nichts abgebucht, und Ihr Zugang läuft wie gewohnt weiter."),
        ("retry", "en-IE", f"On 4{NBSP}December we try the same card once more. If you pay before, we do not."),
        ("retry", "de-DE", f"Am 4.{NBSP}Dezember versuchen wir es noch einmal mit derselben Karte, außer Sie haben"),
        ("customer", "en-IE", "your bank wants you to confirm it yourself"),
        ("expired", "en-IE", "the stored card was valid until November. One visit with a new card is enough."),
        ("expired", "de-DE", "weil die hinterlegte Karte nur bis November gültig war"),
        ("expired, says the code", "en-IE", "the stored card has expired"),
        ("unusable account", "de-DE", "weil Ihre Bank das hinterlegte Konto nicht mehr annimmt"),
        ("never", "en-IE", f"the payment of 30{NBSP}November"),
        ("returned", "en-IE", "The amount is back in your account"),
        ("own login", "en-IE", "Sign in and pay €49.00: https://app.example/invoices/1"),
        ("invoice", "de-DE", "PAYBACK PAY fragt Sie jedes Mal"),
        ("last step", "de-DE", "seit heute pausiert Ihr Zugang"),
        ("nothing stored", "en-IE", f"The link works until 1{NBSP}January{NBSP}2028."),
        ("receipt", "de-AT", f"Am 1.{NBSP}Jänner{NBSP}2027 buchen wir von derselben Karte ab: €{NBSP}49,00."),
        ("renew", "en-IE", "€0.10 is reserved and released at once. Nothing is charged, and nothing is owed."),
        ("renew", "de-DE", f"Zum Erneuern werden 0,10{NBSP}€ reserviert und gleich wieder freigegeben."),
        ("renew account", "de-DE", f"Zum Erneuern wird 1,00{NBSP}€ reserviert und gleich wieder freigegeben."),
    ],
)
def test_a_mail_says_the_sentence_its_reader_needs(name: str, locale: str, sentence: str) -> None:
    assert sentence in _squeezed_plain(_render(name, locale).text)


def _squeezed_plain(text: str) -> str:
    return re.sub(r"[ \n]+", " ", text)


def test_a_visit_that_stores_nothing_promises_nothing_for_next_time() -> None:
    assert "stored. " not in _render("nothing stored", "en-IE").text.partition("What happens next")[2]


def test_a_mail_that_tells_of_a_retry_does_not_promise_a_new_card() -> None:
    assert "As soon as you have paid" not in _render("retry", "en-IE").text


# --- styles -----------------------------------------------------------------


@every_letter
def test_inlined_styles_are_those_a_general_inliner_would_write(name: str) -> None:
    ours = _page(_render(name, "en-IE").html)
    theirs = _page(_inlined_by_premailer(ours))
    mine, other = (
        {each.getroottree().getpath(each): _declared(each) for each in page.xpath("//body//*[@class]")}
        for page in (ours, theirs)
    )
    assert mine == other


def _inlined_by_premailer(page: Any) -> str:
    sheet = files("templates").joinpath("mail/inline.css").read_text("utf-8")
    sheet = sheet.replace("{{ accent.colour }}", LIGHT.colour).replace("{{ accent.ink }}", LIGHT.ink)
    bare = re.sub(r' style="[^"]*"', "", lxml_html.tostring(page, encoding="unicode"))
    made: str = Premailer(
        html=bare,
        css_text=sheet,
        disable_validation=True,
        allow_network=False,
        disable_basic_attributes=["bgcolor", "align", "width", "height"],
        cssutils_logging_level="CRITICAL",
    ).transform()
    return made


def _declared(element: Any) -> dict[str, str]:
    rules = (rule.split(":", 1) for rule in element.get("style", "").split(";") if rule.strip())
    return {name.strip(): _usual(value) for name, value in rules}


def _usual(value: str) -> str:
    """Write a value as we do: premailer shortens white and sets no space after a comma."""
    return re.sub(r"\s*,\s*", ",", re.sub("#fff$", "#ffffff", value.strip())).replace('"', "'")


def test_the_rules_for_dark_and_narrow_screens_stay_in_the_head() -> None:
    mail = _render("retry", "de-AT").html
    head = mail.partition("</head>")[0]
    for rule in ("prefers-color-scheme: dark", "[data-ogsc] .m-btn", "[data-ogsc] .m-a", "max-width: 480px"):
        assert rule in head
    assert mail.count("<style>") == 1


def test_every_rule_has_an_element_to_apply_to() -> None:
    used = {name for each in LETTERS for name in re.findall(r"m-[a-z0-9]+", _body(_render(each, "en-IE").html))}
    written = set(
        re.findall(r"^\.(m-[a-z0-9]+)", files("templates").joinpath("mail/inline.css").read_text("utf-8"), re.M)
    )
    assert written == used


def _body(html: str) -> str:
    return " ".join(_page(html).xpath("//body/@class | //body//@class"))


def test_a_merchants_colours_reach_button_and_links_in_both_schemes() -> None:
    brand = replace(BRAND, light=Accent("#7a1f5c", "#fffffe", "#f6e6f1"), dark=Accent("#f2a6d6", "#2b0a20", "#4a1c3a"))
    mail = render(_decline(brand=brand)).html
    for colour in ("#7a1f5c", "#fffffe", "#f2a6d6", "#2b0a20"):
        assert colour in mail
    assert LIGHT.colour not in mail


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "#123456;x", "url(x)"])
def test_a_colour_that_is_not_six_hex_digits_is_refused(colour: str) -> None:
    with pytest.raises(BrandError, match="is not a colour"):
        Accent(colour, "#ffffff", "#ffffff")


# --- how a reader reads -----------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "locale"),
    [
        ("de-AT", "de-AT"),
        ("de_at", "de-AT"),
        ("DE", "de"),
        ("en-IE", "en-IE"),
        ("en-DE", "en-DE"),
        ("fr-AT", "en-AT"),
        ("fr-XX", "en"),
        ("", "en"),
        ("../../x", "en"),
        ("de-AT/../x", "de"),
    ],
)
def test_a_locale_without_words_becomes_the_nearest_that_has_some(tag: str, locale: str) -> None:
    assert choose_locale(tag) == locale


@pytest.mark.parametrize(
    ("locale", "start", "end", "shown"),
    [
        ("en", date(2026, 12, 1), date(2027, 1, 1), "1 to 31 December 2026"),
        ("de", date(2026, 12, 1), date(2027, 1, 1), "1. bis 31. Dezember 2026"),
        ("de-AT", date(2027, 1, 1), date(2027, 2, 1), "1. bis 31. Jänner 2027"),
        ("en", date(2026, 11, 15), date(2026, 12, 15), "15 November to 14 December 2026"),
        ("de", date(2026, 12, 15), date(2027, 1, 15), "15. Dezember 2026 bis 14. Januar 2027"),
        ("en", date(2026, 12, 1), date(2026, 12, 2), "1 December 2026"),
    ],
)
def test_a_period_is_written_by_its_first_and_last_day(locale: str, start: date, end: date, shown: str) -> None:
    assert Reader(locale).span(Period(start, end)).replace(NBSP, " ") == shown


def test_a_time_of_day_is_that_of_the_merchants_clocks() -> None:
    at = datetime(2026, 12, 31, 23, 30, 5, tzinfo=UTC)
    assert Reader("de").moment(at, "Europe/Vienna").replace(NBSP, " ") == "1. Januar 2027, 00:30"
    assert Reader("en").clock(at, "Europe/Vienna") == "00:30:05"


@pytest.mark.parametrize(
    ("means", "shown"),
    [
        (CARD, "Mastercard, ending 5517, valid until 04/2028"),
        (DEBIT, "Direct debit, ending 3201"),
        (Means("paypal"), "PayPal"),
        (Means("eps"), "Eps"),
    ],
)
def test_a_card_is_named_by_what_the_customer_sees_of_it(means: Means, shown: str) -> None:
    assert Reader("en").means_until(means) == shown


# --- settings ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 25)),
        ("smtp://mail.example:2525", SmtpServer("mail.example", 2525)),
        ("smtp://127.0.0.1:1025?starttls=never", SmtpServer("127.0.0.1", 1025, starttls=StartTls.NEVER)),
        ("smtp://u:p@mail.example", SmtpServer("mail.example", 587, "u", "p", starttls=StartTls.REQUIRED)),
        ("smtp://u%40x:p%2F%23@[::1]:99?starttls=auto", SmtpServer("::1", 99, "u@x", "p/#")),
        ("smtps://u:p@mail.example", SmtpServer("mail.example", 465, "u", "p", True, StartTls.REQUIRED)),
    ],
)
def test_a_server_is_read_from_its_address(url: str, server: SmtpServer) -> None:
    assert SmtpServer.parse(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example:25",
        "http://u:hunter2@mail.example",
        "smtp://",
        "smtp://u:hunter2@mail.example:port",
        "smtp://u:hunter2@mail.example:99999",
        "smtp://u:hunter2@[::1",
        "smtp://u:hunter2/x@mail.example",
        "smtp://u:hunter2@mail.example/x",
        "smtp://u:hunter2@mail.example?starttls=perhaps",
        "smtp://u:hunter2@mail.example?tls=yes",
    ],
)
def test_a_malformed_address_is_one_clear_line_that_shows_no_password(url: str) -> None:
    with pytest.raises(MailSettingsError, match=r"^TURNUS_SMTP_URL is malformed: [^\n]+$") as caught:
        SmtpServer.parse(url)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_in_no_text_made_of_the_settings() -> None:
    shown = repr(SmtpServer.parse("smtp://u:hunter2@mail.example")) + repr(Dkim("x.example", "s", "hunter2"))
    assert "hunter2" not in shown


def test_a_dkim_key_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(MailSettingsError, match=r"the DKIM key for x\.example"):
        Mailer(SmtpServer("127.0.0.1", 25), Dkim("x.example", "s", "not a key"))


@pytest.mark.parametrize(
    "address", ["", "anna", "a@b@c.example", "a b@c.example", "a@c.example\nBcc: x", "ä@c.example", "@c", "a@"]
)
def test_an_address_that_cannot_be_written_to_is_refused_for_good(address: str) -> None:
    with pytest.raises(MailRejectedError):
        Mailbox(address)


def test_a_domain_with_umlauts_goes_over_the_wire_as_ascii() -> None:
    assert Mailbox("anna@bücher.example").address == "anna@xn--bcher-kva.example"


@pytest.mark.parametrize("message_id", ["", "x@y", "<x>", "<x@y>\r\nBcc: all@example.com"])
def test_a_message_id_that_is_none_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="not a Message-ID"):
        _envelope(message_id=message_id)


# --- sending ----------------------------------------------------------------


class Server:
    """A mail server on loopback that answers what the test told it and remembers what it was told."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.connections: list[SMTP] = []
        self.mails: list[bytes] = []
        self.port = 0

    def listen(self) -> SMTP:
        taking = SimpleNamespace(
            handle_MAIL=self._take_sender, handle_RCPT=self._take_recipient, handle_DATA=self._take_mail
        )
        made = SMTP(taking, hostname="test", auth_require_tls=False, authenticator=self._authenticate)
        self.connections.append(made)
        return made

    async def _take_sender(self, _smtp: SMTP, _session: Session, envelope: Received, address: str, *_: object) -> str:
        envelope.mail_from = address
        return self.answers.get("MAIL", "250 OK")

    async def _take_recipient(
        self, _smtp: SMTP, _session: Session, envelope: Received, address: str, *_: object
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def _take_mail(self, _smtp: SMTP, _session: Session, envelope: Received) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(envelope.content)
        return self.answers.get("DATA", "250 queued as 1")

    def _authenticate(self, *_: object) -> AuthResult:
        return AuthResult(success=False, handled=False)

    def hang_up(self) -> None:
        for each in self.connections:
            if each.transport is not None:
                each.transport.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.get_running_loop().create_server(made.listen, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    made.hang_up()
    listening.close()
    await listening.wait_closed()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _raw(talk: Talk) -> AsyncIterator[int]:
    """Serve a conversation of the test's own making."""

    talks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task() or asyncio.create_task(asyncio.sleep(0)))
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()
        await asyncio.gather(*talks)


def _envelope(**changes: Any) -> Envelope:
    given: dict[str, Any] = {
        "sender": Mailbox("billing@nordlicht.example", "Nordlicht"),
        "to": Mailbox("anna@example.com", "Änna, Petersen"),
        "message_id": "<m.1@nordlicht.example>",
        "sent_at": datetime(2026, 12, 1, 2, 13, tzinfo=UTC),
    }
    return Envelope(**(given | changes))


def _mailer(port: int, url: str = "smtp://127.0.0.1:{}?starttls=never", **given: Any) -> Mailer:
    return Mailer(SmtpServer.parse(url.format(port)), **({"timeout_s": 60.0} | given))


MAIL = render(LETTERS["retry"])


def _read(raw: bytes) -> EmailMessage:
    made = message_from_bytes(raw, policy=default)
    assert isinstance(made, EmailMessage)
    return made


async def test_an_accepted_mail_arrives_with_both_parts_and_its_own_id(server: Server) -> None:
    async with _mailer(server.port) as mailer:
        words = await mailer.send(
            MAIL, _envelope(reply_to=Mailbox("help@nordlicht.example"), answers=("<a@x>", "<b@x>"))
        )
    mail = _read(server.mails[0])
    assert words == "queued as 1"
    assert mail["Message-ID"] == "<m.1@nordlicht.example>"
    assert mail["Subject"] == MAIL.subject
    assert mail["From"] == "Nordlicht <billing@nordlicht.example>"
    assert mail["To"].addresses[0].display_name == "Änna, Petersen"
    assert mail["Reply-To"] == "help@nordlicht.example"
    assert (mail["In-Reply-To"], mail["References"]) == ("<b@x>", "<a@x> <b@x>")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime == datetime(2026, 12, 1, 2, 13, tzinfo=UTC)
    for kind, part in (("plain", MAIL.text), ("html", MAIL.html)):
        body = mail.get_body((kind,))
        assert body is not None
        assert body.get_content().replace("\r\n", "\n").rstrip("\n") == part.rstrip("\n")


async def test_a_name_with_a_line_break_adds_no_header(server: Server) -> None:
    async with _mailer(server.port) as mailer:
        await mailer.send(MAIL, _envelope(to=Mailbox("anna@example.com", "Anna\r\nBcc: all@example.com")))
    assert "Bcc" not in _read(server.mails[0])


async def test_mails_one_after_the_other_share_a_connection(server: Server) -> None:
    async with _mailer(server.port) as mailer:
        for number in range(5):
            await mailer.send(MAIL, _envelope(message_id=f"<{number}@x>"))
    assert len(server.mails) == 5
    assert len(server.connections) == 1


async def test_a_hundred_mails_at_once_take_no_more_connections_than_allowed(server: Server) -> None:
    async with _mailer(server.port, connections_max=3) as mailer:
        await asyncio.gather(*(mailer.send(MAIL, _envelope(message_id=f"<{n}@x>")) for n in range(100)))
    assert mailer.at_once == len(server.connections) == 3
    assert len({_read(raw)["Message-ID"] for raw in server.mails}) == len(server.mails) == 100


async def test_a_server_that_takes_leave_in_the_middle_delays_one_mail_and_gets_a_new_connection(
    server: Server,
) -> None:
    server.answers["RCPT"] = "421 Closing for maintenance"
    async with _mailer(server.port) as mailer:
        with pytest.raises(MailDelayedError, match="answered 421 Closing"):
            await mailer.send(MAIL, _envelope())
        server.answers.clear()
        await mailer.send(MAIL, _envelope())
    assert len(server.mails) == 1
    assert len(server.connections) == 2


async def test_the_same_mail_is_the_same_bytes_whenever_it_is_sent(server: Server) -> None:
    async with _mailer(server.port) as mailer:
        await mailer.send(MAIL, _envelope())
        await mailer.send(MAIL, _envelope())
    assert server.mails[0] == server.mails[1]


async def test_a_connection_that_died_while_idle_is_replaced_and_the_mail_sent_once(server: Server) -> None:
    async with _mailer(server.port) as mailer:
        await mailer.send(MAIL, _envelope())
        server.hang_up()
        await mailer.send(MAIL, _envelope(message_id="<m.2@x>"))
    assert len(server.mails) == 2
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("at", "answer", "error"),
    [
        ("RCPT", "550 No such user", MailRejectedError),
        ("DATA", "554 We do not take this", MailRejectedError),
        ("RCPT", "451 Greylisted", MailDelayedError),
        ("DATA", "452 Disk full", MailDelayedError),
        ("MAIL", "451 Not now", MailDelayedError),
        ("MAIL", "553 Not your address", MailAccountError),
        ("RCPT", "530 Authentication required", MailAccountError),
    ],
)
async def test_a_refusal_says_who_answered_what_and_whether_to_try_again(
    server: Server, at: str, answer: str, error: type[MailError]
) -> None:
    server.answers[at] = answer
    async with _mailer(server.port) as mailer:
        with pytest.raises(error, match=re.escape(f"127.0.0.1:{server.port} answered {answer}")) as caught:
            await mailer.send(MAIL, _envelope())
        assert type(caught.value) is error
        assert caught.value.code == int(answer[:3])
        assert caught.value.permanent is (error is MailRejectedError)
        server.answers.clear()
        assert await mailer.send(MAIL, _envelope()) == "queued as 1"


async def test_a_server_that_is_not_there_delays_the_mail() -> None:
    async with _raw(_say_nothing) as port:
        pass
    async with _mailer(port) as mailer:
        with pytest.raises(MailDelayedError, match="could not be used"):
            await mailer.send(MAIL, _envelope())


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_server_that_does_not_greet_is_given_up_in_time() -> None:
    async with _raw(_say_nothing) as port, _mailer(port, timeout_s=0.5) as mailer:
        async with asyncio.timeout(60):
            with pytest.raises(MailDelayedError, match="did not answer in time"):
                await mailer.send(MAIL, _envelope())


async def test_a_server_that_drips_is_given_up_at_the_deadline() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while await reader.readline():
            await asyncio.sleep(0.2)
            writer.write(b"250 slowly\r\n")

    async with _raw(drip) as port, _mailer(port, deadline_s=0.3) as mailer:
        with pytest.raises(MailDelayedError, match="did not answer in time"):
            await mailer.send(MAIL, _envelope())


async def test_a_mail_whose_answer_was_lost_is_not_sent_twice() -> None:
    taken: list[bytes] = []

    async def take_and_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            writer.write(b"354 go on\r\n" if line.startswith(b"DATA") else b"250 fine\r\n")
            if line.startswith(b"DATA"):
                taken.append(await reader.readuntil(b"\r\n.\r\n"))
                return

    async with _raw(take_and_hang_up) as port, _mailer(port) as mailer:
        with pytest.raises(MailDelayedError):
            await mailer.send(MAIL, _envelope())
    assert len(taken) == 1


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 200 OK\r\n\r\n", b"\xff\xfe\r\n", b"554 go away\r\n", b""])
async def test_a_server_that_speaks_something_else_loses_no_mail(greeting: bytes) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with _raw(babble) as port, _mailer(port) as mailer:
        with pytest.raises(MailDelayedError):
            await mailer.send(MAIL, _envelope())


async def test_a_wrong_password_is_our_trouble_and_shows_nowhere(server: Server) -> None:
    async with _mailer(server.port, "smtp://anna:hunter2@127.0.0.1:{}?starttls=never") as mailer:
        with pytest.raises(MailAccountError, match="answered 535") as caught:
            await mailer.send(MAIL, _envelope())
    assert "hunter2" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert not server.mails


async def test_a_password_never_travels_unencrypted_unless_told_to() -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"250-test\r\n250 AUTH PLAIN LOGIN\r\n")

    async with _raw(listen) as port, _mailer(port, "smtp://anna:hunter2@127.0.0.1:{}") as mailer:
        with pytest.raises(MailAccountError):
            await mailer.send(MAIL, _envelope())
    assert not [line for line in heard if line.startswith(b"AUTH")]


async def test_a_canceled_sender_leaves_no_connection_behind() -> None:
    async with _raw(_say_nothing) as port, _mailer(port) as mailer:
        sending = asyncio.create_task(mailer.send(MAIL, _envelope()))
        await asyncio.sleep(0.1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


async def test_a_signed_mail_verifies_and_a_changed_one_does_not(server: Server, key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    async with _mailer(server.port, dkim=Dkim("nordlicht.example", "turnus", pem)) as mailer:
        await mailer.send(MAIL, _envelope())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    record = b"v=DKIM1; k=rsa; p=" + "".join(public.splitlines()[1:-1]).encode()
    names: list[bytes] = []

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        names.append(name)
        return record

    assert dkim.verify(server.mails[0], dnsfunc=look_up)
    assert names == [b"turnus._domainkey.nordlicht.example."]
    assert not dkim.verify(server.mails[0].replace(b"Subject: ", b"Subject: Re: ", 1), dnsfunc=look_up)
