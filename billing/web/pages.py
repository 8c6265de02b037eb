"""Pages for customers, and the few of the demo: what each shows, in which language, and how it is rendered.

Every page is a frozen view; its class names the template and the HTTP status. `Pages.render` needs nothing else, so
an entrance decides which view is true and is done. The words are in `templates/pages/<language>.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache, partial
from hashlib import sha256
from importlib.resources import files
from typing import Any, ClassVar, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.environment import TemplateModule
from markupsafe import Markup

from billing.mail import LANGUAGES, Accent, Bill, Brand, BrandError, Cause, Means, Reader, choose_locale
from billing.money import Money
from billing.periods import Interval, Unit

# --- what the pages show ----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What every page knows: whose it is (nobody's, where a link is unknown) and its own path, `here`."""

    name: ClassVar[str]
    status: ClassVar[int] = 200
    brand: Brand | None = None
    here: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to pay: `value` comes back as the form's `way`, `kind` (`card`, `debit`, `paypal` ...) has words.

    `detail` stands beside it, such as "Visa, Mastercard". A way without words is shown by its `title`.
    `gateway` is who is paid through. `card_form` is the origin of card fields that are framed in the page,
    `inputs` what else the way asks for, each with the pattern of what may be typed.
    """

    value: str
    kind: str
    detail: str = ""
    title: str = ""
    stores: bool = True
    gateway: str = ""
    card_form: str = ""
    inputs: tuple[tuple[str, str], ...] = ()

    @property
    def is_card(self) -> bool:
        """Everything that is not a card is called an account."""
        return self.kind == "card"


@dataclass(frozen=True, slots=True)
class Deal:
    """What some of the ways to pay have in common: the gateway, and whether it stores the means for next time."""

    number: int
    gateway: str
    stores: bool
    ways: tuple[Way, ...]


def deals(ways: tuple[Way, ...]) -> tuple[Deal, ...]:
    """Group ways by what a customer has to know about them before paying."""
    groups: dict[tuple[str, bool], list[Way]] = {}
    for way in ways:
        groups.setdefault((way.gateway, way.stores), []).append(way)
    return tuple(Deal(number, *key, tuple(group)) for number, (key, group) in enumerate(groups.items(), start=1))


@dataclass(frozen=True, slots=True)
class Consent:
    """What the customer allows by paying: `plan` is charged every `interval`, `amount` at present."""

    plan: str
    interval: Interval
    next_on: date
    amount: Money
    portal_url: str = ""

    @property
    def rhythm(self) -> str:
        """The key of the words for how often."""
        if self.interval == Interval(Unit.MONTH) and self.next_on.day <= 28:
            return "rhythm.monthly_on"
        return f"rhythm.{self.interval.unit}" + ("s" if self.interval.count > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Page):
    """An invoice to be paid; the form posts `way` and `lang` to `action`. Without `consent` nothing is stored.

    What was `typed` stays, and what is `wrong` of it is said beside the field.
    """

    name = "ready"
    bill: Bill
    gateway: str
    action: str
    ways: tuple[Way, ...] = ()
    chosen: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()
    consent: Consent | None = None
    access_until: date | None = None
    link_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledBack(Ready):
    """The customer left the gateway's page; nothing happened, and the way to pay is still here."""

    name = "canceled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined(Ready):
    """The payment did not go through; another way to pay is offered first. `in_app` says that no bank said no."""

    name = "declined"
    cause: Cause | None = None
    means: Means | None = None
    in_app: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving(Page):
    """On the way to a gateway's page that wants its `fields` posted; the page's script does it at once."""

    name = "leaving"
    gateway: str
    action: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirming(Page):
    """The bank has not answered yet; the page asks again by itself, ever more slowly."""

    name = "confirming"
    amount: Money
    number: str
    gateway: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy(Page):
    """A charge of this invoice that the customer did not start is under way; paying now would be paying twice."""

    name = "busy"
    amount: Money
    number: str
    gateway: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid(Page):
    """It is paid; `stored` says that the means is charged by itself from now on."""

    name = "paid"
    bill: Bill
    paid_at: datetime
    means: Means | None = None
    stored: bool = False
    next_on: date | None = None
    next_amount: Money | None = None
    portal_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyPaid(Page):
    """The link's invoice was paid before; there is nothing to do."""

    name = "already_paid"
    bill: Bill
    paid_on: date | None = None
    portal_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Void(Page):
    """The invoice was withdrawn; there is nothing to pay."""

    name = "void"
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired(Page):
    """The link is too old; it shows neither customer, amount nor address, for it may be in the wrong hands."""

    name = "expired"
    status = 410
    action: str
    days: int = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded(Page):
    """A newer link was mailed; this one opens nothing any more, and shows as little as an expired one."""

    name = "superseded"
    status = 410
    action: str
    mailed_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshLinkSent(Page):
    """A fresh link is on its way, if there is something to pay; which of both is not told."""

    name = "fresh_link_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownLink(Page):
    """The link is mistyped, cut off by a mail program, or forged; it says how to get to a right one."""

    name = "unknown_link"
    status = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewReady(Page):
    """The stored card or account can be renewed; `amount` is reserved and released, and nothing is owed."""

    name = "renew_ready"
    amount: Money
    plan: str
    gateway: str
    action: str
    means: Means | None = None
    ways: tuple[Way, ...] = ()
    chosen: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()
    consent: Consent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewCanceled(RenewReady):
    """The customer left the gateway's page while renewing; nothing was reserved."""

    name = "renew_canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewDeclined(RenewReady):
    """The bank did not approve the new card or account; the stored one stays as it was."""

    name = "renew_declined"
    cause: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewConfirming(Page):
    """The bank has not yet answered the reservation."""

    name = "renew_confirming"
    amount: Money
    gateway: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed(Page):
    """The new card or account is stored; `released` says that the bank has confirmed the release already."""

    name = "renewed"
    amount: Money
    means: Means | None = None
    released: bool = False
    next_on: date | None = None
    next_amount: Money | None = None
    portal_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDown(Page):
    """The gateway's page cannot be opened right now; nothing was charged, and the link stays valid."""

    name = "gateway_down"
    status = 503
    gateway: str
    number: str = ""
    link_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Page):
    """Something of ours broke; `reference` finds it in our log."""

    name = "error"
    status = 500
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound(Page):
    """There is no page at this address."""

    name = "not_found"
    status = 404


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """One mail in the demo's mailbox."""

    number: int
    received_at: datetime
    sender: str
    to: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPage(Page):
    """A page of the demo: `home` is the path of its overview, `root` that of its mailbox."""

    home: str = "/demo"
    root: str = "/mailbox"
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxList(DemoPage):
    """The demo's mailbox; the entrance brings the mails newest first."""

    name = "mailbox"
    mails: tuple[ReceivedMail, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxMail(DemoPage):
    """One mail: the headers that matter, its HTML part in a sandboxed frame of its own address, its text part."""

    name = "mailbox_mail"
    mail: ReceivedMail
    headers: tuple[tuple[str, str], ...]
    text: str
    has_html: bool = True

    @property
    def html_url(self) -> str:
        """Where the HTML part is served by itself."""
        return f"{self.root}/{self.mail.number}/html"


@dataclass(frozen=True, slots=True)
class OpenLink:
    """A pay-link of the demo that can still be paid; `why` is a sentence such as "card expired"."""

    url: str
    customer: str
    number: str
    amount: Money
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo(DemoPage):
    """What the demo did: its counts in order, the links that can still be paid, and where to look further."""

    name = "demo"
    merchant: str
    counts: tuple[tuple[str, int], ...]
    links: tuple[OpenLink, ...]
    nights: tuple[date, ...] = ()
    mails: int = 0
    operator: str = ""
    password: str = field(default="", repr=False)


# --- language ---------------------------------------------------------------


def choose_language(accept_language: str, customer_language: str = "", query: str = "") -> str:
    """Return the locale to write in: what was clicked, else the customer's own, else what the browser asks for.

    A language without a territory takes the customer's, so that amounts look the same in both languages.
    """
    own = choose_locale(customer_language) if customer_language else ""
    if query in LANGUAGES:
        return choose_locale(f"{query}-{own[3:]}")
    return own or choose_locale(next(filter(_is_spoken, _wanted(accept_language)), ""))


def _is_spoken(tag: str) -> bool:
    return tag[:2].lower() in LANGUAGES and tag[2:3] in ("", "-")


def _wanted(accept_language: str) -> list[str]:
    """Return the tags of an Accept-Language header, the dearest first; what is malformed comes last."""
    tags = [part.strip().partition(";") for part in accept_language[:500].split(",")]
    return [tag.strip() for tag, _, rest in sorted(tags, key=lambda each: -_weight(each[2]))]


def _weight(text: str) -> float:
    name, _, value = text.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


# --- rendering --------------------------------------------------------------


@cache
def words(language: str) -> Mapping[str, str]:
    """Return every sentence of the pages in the language, by its dotted key."""
    text = files("templates").joinpath(f"pages/{language}.toml").read_text("utf-8")
    return {f"{group}.{key}": each for group, texts in tomllib.loads(text).items() for key, each in texts.items()}


@cache
def static_url(name: str) -> str:
    """Return the address of a static file; it changes with the content, so browsers may keep the file for ever."""
    return f"/static/{name}?v={sha256(files('templates').joinpath('static', name).read_bytes()).hexdigest()[:12]}"


# Nothing is loaded from elsewhere and nothing is inline. `form-action` is left out on purpose: browsers apply it to
# redirects too, and the form's answer leads to the gateway's page.
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; frame-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def policy_with(origin: str) -> str:
    """Return the policy of a page that frames card fields from another origin, with the script that works them."""
    policy = PAGE_POLICY.replace("script-src 'self'", f"script-src 'self' {origin}")
    return policy.replace("frame-src 'self'", f"frame-src 'self' {origin}")


def framed_origin(page: Page) -> str:
    """Return where the card fields of a page come from, if it has any."""
    ways: tuple[Way, ...] = getattr(page, "ways", ())
    return next((way.card_form for way in ways if way.card_form), "")


# A mail in the demo's frame carries its styles inline, and nothing in it may run or load.
MAIL_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


def framed(html: str) -> str:
    """Return a mail's HTML part for the demo's frame: its links open outside the frame."""
    return html.replace("<head>", '<head><base target="_blank">', 1)


# --- brand ------------------------------------------------------------------

# What text and controls stand on, in turnus.css: surface, ground, ink and second ink.
_GROUNDS: Final = {
    "light": ("#ffffff", "#f3f5f7", "#16212b", "#46545f"),
    "dark": ("#182129", "#0f151a", "#e9eef2", "#b6c2cc"),
}
_READABLE: Final = 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 counts it, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def check_accent(accent: Accent, scheme: str) -> None:
    """Raise `BrandError` where the accent leaves any text below 4.5:1, on light or on dark ground."""
    surface, ground, ink, second = _GROUNDS[scheme]
    pairs = (
        ("the ink on the accent", accent.ink, accent.colour),
        ("the accent as a link on a card", accent.colour, surface),
        ("the accent as a link on the page", accent.colour, ground),
        ("text on the soft accent", ink, accent.soft),
        ("small text on the soft accent", second, accent.soft),
    )
    for what, text, under in pairs:
        if (reached := contrast(text, under)) < _READABLE:
            raise BrandError(f"{scheme}: {what}, {text} on {under}, reaches {reached:.1f}:1; text needs 4.5:1")


def brand_css(brand: Brand) -> str:
    """Return the merchant's stylesheet, or raise `BrandError`; it sets colours and nothing else."""
    check_accent(brand.light, "light")
    check_accent(brand.dark, "dark")
    light, dark = _declare(brand.light), _declare(brand.dark)
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"


def _declare(accent: Accent) -> str:
    strong = _mix(accent.colour, "#000000" if _luminance(accent.ink) > _luminance(accent.colour) else "#ffffff")
    return (
        f"--accent: {accent.colour}; --accent-strong: {strong}; "
        f"--accent-ink: {accent.ink}; --accent-soft: {accent.soft};"
    )


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _mix(colour: str, other: str) -> str:
    """Take a quarter of the other colour; away from the ink, so the contrast only grows."""
    return "#" + "".join(
        f"{(3 * one + two) // 4:02x}" for one, two in zip(_channels(colour), _channels(other), strict=True)
    )


def _luminance(colour: str) -> float:
    parts = [part / 255 for part in _channels(colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# --- the renderer -----------------------------------------------------------


def open_templates(folder: str, **known: Any) -> Environment:
    """Return a folder's templates with what all of them know; they are compiled once and fail on anything undefined."""
    environment = Environment(
        loader=PackageLoader("templates", folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    environment.globals |= {"static": static_url} | known
    return environment


class Pages:
    """Renders views."""

    def __init__(self) -> None:
        self._environment = open_templates("pages", languages=LANGUAGES, words=words, deals=deals)
        self._sentences: dict[tuple[str, str], Template] = {}

    def render(self, page: Page, locale: str) -> str:
        """Return the page as HTML in the locale's language."""
        reader = Reader(choose_locale(locale))
        template = self._environment.get_template(f"{page.name}.html")
        return template.render(page=page, r=reader, t=partial(self._say, reader.language))

    def consent_text(self, brand: Brand, consent: Consent, deal: Deal, locale: str, *, renews: bool) -> str:
        """Return the consent of a page as plain words, the very ones that the customer reads there."""
        reader = Reader(choose_locale(locale))
        known = {"page": Page(brand=brand), "r": reader, "t": partial(self._say, reader.language)}
        parts = self._environment.get_template("parts.html").make_module(known)
        allow = "renew.allow" if renews else "consent.what"
        written: Markup = parts.consent(consent, deal.ways, deal.gateway, allow)  # type: ignore[attr-defined]
        return " ".join(written.striptags().split())

    def _say(self, language: str, key: str, /, **values: object) -> TemplateModule:
        """Write a sentence; values are escaped, the sentence's own emphasis is not."""
        return self._sentence(language, key).make_module(values)

    def _sentence(self, language: str, key: str) -> Template:
        place = language, key
        if place not in self._sentences:
            self._sentences[place] = self._environment.from_string(words(language)[key])
        return self._sentences[place]
