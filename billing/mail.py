"""Mails: what they may say, how they are rendered, and how they are handed to a mail server.

A mail is written once per language, in `templates/mail/<language>/`; the same words become the HTML part and the
plain-text part, because two layouts and two sets of macros stand under them.

    MailError
    ├── MailSettingsError       settings that cannot work; the message names the setting
    ├── MailRejectedError       the server refused this mail for good (5xx): sending it again cannot help
    └── MailDelayedError        not accepted now (4xx, no connection, no answer): send the same mail again later
        └── MailAccountError    the server refuses us, not the mail: nothing will pass until a person has looked
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from textwrap import TextWrapper
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel import Locale, localedata
from babel.dates import format_date, format_time
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined, Template

from billing.gateway import DeclineClass
from billing.money import Money
from billing.periods import Period

LANGUAGES: Final = ("en", "de")

# --- what a mail may show ---------------------------------------------------

# Control characters, line separators and direction marks: in a name they can only forge a header or a layout.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class _Tidy:
    """Makes every text of a value a single line, so that no name can forge a header or a paragraph."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if isinstance(value, str):
                object.__setattr__(self, each.name, type(value)(_UNPRINTABLE.sub(" ", value).strip()))
            if each.name.endswith("_url") and value and not value.startswith(("https://", "http://", "/")):
                raise ValueError(f"{each.name} is not a web address: {value!r}")


class BrandError(ValueError):
    """A colour that cannot be read, or that nobody could read text on."""


@dataclass(frozen=True, slots=True)
class Accent:
    """A merchant's colour, the ink that stands on it, and a soft tint of it; all written `#rrggbb`."""

    colour: str
    ink: str
    soft: str

    def __post_init__(self) -> None:
        for each in fields(self):
            if not re.fullmatch("#[0-9a-fA-F]{6}", getattr(self, each.name)):
                raise BrandError(f"{each.name} {getattr(self, each.name)!r} is not a colour: write it like #0b5a85")


LIGHT: Final = Accent("#0b5a85", "#ffffff", "#e4f0f7")
DARK: Final = Accent("#74bde8", "#06202f", "#17364a")


@dataclass(frozen=True, slots=True)
class Brand(_Tidy):
    """How a merchant appears to customers; `legal_line` is the address with register and VAT number."""

    name: str
    legal_name: str
    legal_line: str
    place: str = ""
    timezone: str = "UTC"
    light: Accent = LIGHT
    dark: Accent = DARK
    style_url: str = ""
    help_url: str = ""
    legal_url: str = ""
    privacy_url: str = ""


@dataclass(frozen=True, slots=True)
class Bill(_Tidy):
    """What is owed, or was; `title` is what the customer bought, such as "Team, monthly"."""

    number: str
    title: str
    amount: Money
    period: Period | None = None
    pdf_url: str = ""


@dataclass(frozen=True, slots=True)
class Means(_Tidy):
    """The stored card or account as the customer knows it; `kind` is `card`, `debit`, `paypal` and so on."""

    kind: str
    brand: str = ""
    last4: str = ""
    expires_on: date | None = None

    @property
    def is_card(self) -> bool:
        """Everything that is not a card is called an account."""
        return self.kind == "card"


class Cause(StrEnum):
    """Why a payment did not go through, as far as a customer can use it."""

    EXPIRED = "expired"
    NOT_NOW = "not_now"
    CONFIRM = "confirm"
    UNUSABLE = "unusable"
    BLOCKED = "blocked"
    RETURNED = "returned"


_CAUSES: Final = {
    DeclineClass.RETRY_LATER: Cause.NOT_NOW,
    DeclineClass.NEEDS_CUSTOMER: Cause.CONFIRM,
    DeclineClass.NEEDS_NEW_PROFILE: Cause.UNUSABLE,
    DeclineClass.NEVER: Cause.BLOCKED,
}


def find_cause(decline: DeclineClass, code: str, means: Means | None, today: date) -> Cause:
    """Return the most helpful cause there is evidence for: a past expiry date says more than any code."""
    if "expir" in code.lower() or (means and means.expires_on and means.expires_on < today):
        return Cause.EXPIRED
    return _CAUSES[decline]


class MailKind(StrEnum):
    """Every mail there is; each has a template of this name in every language."""

    DECLINED = "declined"
    INVOICE = "invoice"
    REMINDER = "reminder"
    LAST_STEP = "last_step"
    RECEIPT = "receipt"
    FRESH_LINK = "fresh_link"
    RENEW = "renew"
    RENEWED = "renewed"
    REFUNDED = "refunded"


class StepKind(StrEnum):
    """What we will do by ourselves."""

    RETRY = "retry"
    REMIND = "remind"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class NextStep:
    """One thing that will happen, and its day."""

    kind: StepKind
    on: date


@dataclass(frozen=True, slots=True)
class Letter(_Tidy):
    """Everything one mail shows.

    `greet` is what follows "Hello" and "Guten Tag" (a name, or "Frau Petersen"), empty where unknown.
    `own_login` says that `link_url` leads to the merchant's own invoice page, behind the merchant's own login.
    `stores` says that a visit also stores the means it is paid with. `happened_on` is the day of the try, the
    payment or the refund. `reserved` is the small amount that renewing reserves and releases.
    """

    kind: MailKind
    locale: str
    brand: Brand
    today: date
    greet: str = ""
    bill: Bill | None = None
    means: Means | None = None
    decline: DeclineClass | None = None
    code: str = ""
    cause: Cause | None = None
    happened_on: date | None = None
    link_url: str = ""
    link_until: date | None = None
    own_login: bool = False
    stores: bool = True
    by_link: bool = False
    steps: tuple[NextStep, ...] = ()
    next_on: date | None = None
    next_amount: Money | None = None
    reserved: Money | None = None
    portal_url: str = ""

    @property
    def why(self) -> Cause | None:
        """The cause to tell, found from the decline where none was given."""
        if self.cause or not self.decline:
            return self.cause
        return find_cause(self.decline, self.code, self.means, self.happened_on or self.today)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail ready to be sent: one line of subject, and the same words as HTML and as plain text."""

    subject: str
    html: str
    text: str


# --- how a reader reads -----------------------------------------------------

NBSP: Final = "\N{NO-BREAK SPACE}"
_DAY: Final = {"en": "d MMMM", "de": "d. MMMM"}
_TO: Final = {"en": "to", "de": "bis"}
_ENDING: Final = {"en": "ending", "de": "endet auf"}
_VALID: Final = {"en": "valid until", "de": "gültig bis"}
_KINDS: Final = {
    "en": {"card": "Card", "debit": "Direct debit", "paypal": "PayPal", "payback": "PAYBACK PAY"},
    "de": {"card": "Karte", "debit": "Lastschrift", "paypal": "PayPal", "payback": "PAYBACK PAY"},
}


def choose_locale(tag: str) -> str:
    """Return the nearest locale we have words for: `de-AT` stays, `fr-AT` becomes `en-AT`, nonsense `en`."""
    language, _, territory = tag.replace("_", "-").partition("-")
    language = language.lower() if language.lower() in LANGUAGES else LANGUAGES[0]
    known = territory.isalnum() and localedata.exists(f"{language}_{territory.upper()}")
    return f"{language}-{territory.upper()}" if known else language


@dataclass(frozen=True, slots=True)
class Reader:
    """Writes amounts, days and means the way a reader in the locale expects them."""

    locale: str

    @property
    def language(self) -> str:
        """The language of the words, without the territory."""
        return self.locale[:2]

    def money(self, amount: Money) -> str:
        """Write an amount without a break inside."""
        return amount.show(self.locale)

    def day(self, day: date) -> str:
        """Write a day in full: 1 December 2026."""
        return f"{self._short(day)} {day.year}"

    def soon(self, day: date, today: date) -> str:
        """Write a day without its year where no one can mistake it: 4 December."""
        return self._short(day) if abs((day - today).days) < 300 else self.day(day)

    def month(self, day: date) -> str:
        """Write the name of the month alone."""
        return self._date(day, "LLLL")

    def month_of(self, period: Period | None) -> str:
        """Return the month's name where the period is exactly one calendar month, else nothing."""
        whole = period and period.start.day == period.end.day == 1 and (period.end - period.start).days < 32
        return self.month(period.start) if period and whole else ""

    def span(self, period: Period) -> str:
        """Write a period by its first and last day, saying month and year once where they are the same."""
        start, end = period.start, period.last_day
        if start == end:
            return self.day(end)
        if start.year != end.year:
            first = self.day(start)
        elif start.month != end.month:
            first = self._short(start)
        else:
            first = f"{start.day}." if self.language == "de" else str(start.day)
        return f"{first} {_TO[self.language]} {self.day(end)}"

    def moment(self, at: datetime, timezone: str) -> str:
        """Write a day and a time of day as the clocks in the time zone showed it."""
        there = at.astimezone(ZoneInfo(timezone))
        return f"{self.day(there.date())}, {format_time(there, 'HH:mm', locale=self._babel)}"

    def clock(self, at: datetime, timezone: str) -> str:
        """Write a time of day with its seconds."""
        return format_time(at.astimezone(ZoneInfo(timezone)), "HH:mm:ss", locale=self._babel)

    def means(self, means: Means) -> str:
        """Name a card or an account by what the customer can see of it: Visa, ending 4242."""
        kinds = _KINDS[self.language]
        name = means.brand or kinds.get(means.kind, means.kind.title())
        return f"{name}, {_ENDING[self.language]} {means.last4}" if means.last4 else name

    def means_until(self, means: Means) -> str:
        """Name a card or an account, and until when it is valid."""
        until = f", {_VALID[self.language]} {means.expires_on:%m/%Y}" if means.expires_on else ""
        return self.means(means) + until

    @property
    def _babel(self) -> Locale:
        return _babel(self.locale)

    def _short(self, day: date) -> str:
        return self._date(day, _DAY[self.language]).replace(" ", NBSP)

    def _date(self, day: date, pattern: str) -> str:
        return str(format_date(day, pattern, locale=self._babel))


@cache
def _babel(locale: str) -> Locale:
    return Locale.parse(locale.replace("-", "_"))


# --- rendering --------------------------------------------------------------

_RULE: Final = re.compile(r"\.(m-[a-z0-9]+)\s*\{\s*(.*?)\s*\}\n")
_CLASS: Final = re.compile(r'class="(m-[a-z0-9 -]+)"')
_BREAKS: Final = re.compile(r"\n{3,}")
_SPACES: Final = re.compile(r"[ \t\n]+")


class _InlinedLoader(BaseLoader):
    """Loads mail templates with the rules of `inline.css` moved into style attributes.

    The rules go into the source before any value does, once per process: a general inliner takes 20 ms and more
    for each mail. All rules select by one class, so moving them is exact; a test compares with premailer.
    """

    def __init__(self) -> None:
        self._inner = PackageLoader("templates", "mail")
        sheet = files("templates").joinpath("mail/inline.css").read_text("utf-8")
        self._rules = dict(_RULE.findall(sheet))

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, path, fresh = self._inner.get_source(environment, template)
        return _CLASS.sub(self._style, source), path, fresh

    def list_templates(self) -> list[str]:
        return self._inner.list_templates()

    def _style(self, found: re.Match[str]) -> str:
        rules = " ".join(self._rules[name] for name in found[1].split())
        return f'{found[0]} style="{rules.replace(chr(34), chr(39))}"'


def _flow(text: str, first: str = "", rest: str = "") -> str:
    """Wrap one paragraph at 70 columns, never breaking an address or a no-break space."""
    wrapper = TextWrapper(70, initial_indent=first, subsequent_indent=rest, break_long_words=False)
    wrapper.break_on_hyphens = False
    return wrapper.fill(_SPACES.sub(" ", text).strip())


@cache
def _environment(part: str) -> Environment:
    """Return the environment for the `html` or the `txt` part; templates are compiled once."""
    loader = _InlinedLoader() if part == "html" else PackageLoader("templates", "mail")
    made = Environment(
        loader=loader,
        autoescape=part == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    made.filters["flow"] = _flow
    made.globals["layout"] = f"layout.{part}"
    made.globals |= {
        name: macro for name, macro in vars(made.get_template(f"kit.{part}").module).items() if name[0] != "_"
    }
    return made


def render(letter: Letter) -> Rendered:
    """Turn a letter into its subject, HTML part and text part; raise rather than leave a gap."""
    reader = Reader(choose_locale(letter.locale))
    name = f"{reader.language}/{letter.kind}.jinja"
    seen = {each.name: getattr(letter, each.name) for each in fields(letter)} | {"why": letter.why, "r": reader}
    text = _environment("txt").get_template(name)
    return Rendered(
        subject=_subject(text, seen),
        html=_environment("html").get_template(name).render(seen).strip() + "\n",
        text=_BREAKS.sub("\n\n", text.render(seen)).strip() + "\n",
    )


def _subject(template: Template, seen: dict[str, Any]) -> str:
    block: Iterator[str] = template.blocks["subject"](template.new_context(seen))
    return _SPACES.sub(" ", "".join(block)).strip()
