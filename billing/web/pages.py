"""Pages for customers, and the few of the demo: what each shows, in which language, and how it is rendered.

Every page is a frozen view; its class names the template and the HTTP status. `Pages.render` needs nothing else, so
an entrance decides which view is true and is done. The words are in `templates/pages/<language>.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, partial
from hashlib import sha256
from importlib.resources import files
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.environment import TemplateModule

from billing.mail import LANGUAGES, Bill, Brand, Cause, Means, Reader, choose_locale
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
    """

    value: str
    kind: str
    detail: str = ""
    title: str = ""
    stores: bool = True

    @property
    def is_card(self) -> bool:
        """Everything that is not a card is called an account."""
        return self.kind == "card"


@dataclass(frozen=True, slots=True)
class Consent:
    """What the customer allows by paying: `plan` is charged every `interval`, `amount` at present.

    `keeper` is the gateway that stores the card or account.
    """

    plan: str
    interval: Interval
    next_on: date
    amount: Money
    keeper: str
    portal_url: str = ""

    @property
    def rhythm(self) -> str:
        """The key of the words for how often."""
        if self.interval == Interval(Unit.MONTH) and self.next_on.day <= 28:
            return "rhythm.monthly_on"
        return f"rhythm.{self.interval.unit}" + ("s" if self.interval.count > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Page):
    """An invoice to be paid; the form posts `way` and `lang` to `action`. Without `consent` nothing is stored."""

    name = "ready"
    bill: Bill
    gateway: str
    action: str
    ways: tuple[Way, ...] = ()
    consent: Consent | None = None
    access_until: date | None = None
    link_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CanceledBack(Ready):
    """The customer left the gateway's page; nothing happened, and the way to pay is still here."""

    name = "canceled_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined(Ready):
    """The payment did not go through; another way to pay is offered first."""

    name = "declined"
    cause: Cause | None = None
    means: Means | None = None


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
class Mailbox(Page):
    """The demo's mailbox, newest first; `root` is its path."""

    name = "mailbox"
    mails: tuple[ReceivedMail, ...]
    root: str = "/mailbox"
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxMail(Page):
    """One mail: the headers that matter, its HTML part in a sandboxed frame of its own address, its text part."""

    name = "mailbox_mail"
    mail: ReceivedMail
    headers: tuple[tuple[str, str], ...]
    text: str
    has_html: bool = True
    root: str = "/mailbox"
    timezone: str = "UTC"

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
class Demo(Page):
    """What the demo did: its counts in order, the links that can still be paid, and where to look further."""

    name = "demo"
    merchant: str
    counts: tuple[tuple[str, int], ...]
    links: tuple[OpenLink, ...]
    nights: tuple[date, ...] = ()
    mailbox_url: str = "/mailbox"
    mails: int = 0


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


class Pages:
    """Renders views; templates are compiled once and fail on anything undefined."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("templates", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            cache_size=-1,
        )
        self._sentences: dict[tuple[str, str], Template] = {}
        self._environment.globals |= {"static": static_url, "languages": LANGUAGES, "words": words}

    def render(self, page: Page, locale: str) -> str:
        """Return the page as HTML in the locale's language."""
        reader = Reader(choose_locale(locale))
        template = self._environment.get_template(f"{page.name}.html")
        return template.render(page=page, r=reader, t=partial(self._say, reader.language))

    def _say(self, language: str, key: str, /, **values: object) -> TemplateModule:
        """Write a sentence; values are escaped, the sentence's own emphasis is not."""
        return self._sentence(language, key).make_module(values)

    def _sentence(self, language: str, key: str) -> Template:
        place = language, key
        if place not in self._sentences:
            self._sentences[place] = self._environment.from_string(words(language)[key])
        return self._sentences[place]
