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

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import Field, dataclass, field, fields
from datetime import date, datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from socket import gethostname
from textwrap import TextWrapper
from typing import Any, ClassVar, Final, Self
from urllib.parse import parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

import aiosmtplib
from babel import Locale, localedata
from babel.dates import format_date, format_time
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from emails.message import Message
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

from billing.dunning import StepKind
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
    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    def __post_init__(self) -> None:
        for each in fields(self):
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


@dataclass(frozen=True, slots=True)
class NextStep:
    """One thing that we will do by ourselves, and its day."""

    kind: StepKind
    on: date


@dataclass(frozen=True, slots=True)
class Letter(_Tidy):
    """Everything one mail shows.

    `greet` is what follows "Hello" and "Guten Tag" (a name, or "Frau Petersen"), empty where unknown.
    `own_login` says that `link_url` leads to the merchant's own invoice page, behind the merchant's own login.
    `stores` says that a visit also stores the means it is paid with. `happened_on` is the day of the try, the
    payment or the refund. `reserved` is the small amount that renewing reserves and releases. `by_link` says that
    the customer paid on a visit; else the payment was charged to the stored means. A refund's amount is the bill's.
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

    def __post_init__(self) -> None:
        _Tidy.__post_init__(self)
        missing = [name for name in _NEEDS[self.kind] if not getattr(self, name)]
        if missing:
            raise ValueError(f"a mail of kind {self.kind} needs {' and '.join(missing)}")

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


_NEEDS: Final[dict[MailKind, tuple[str, ...]]] = {
    MailKind.DECLINED: ("bill", "why", "link_url"),
    MailKind.INVOICE: ("bill", "link_url"),
    MailKind.REMINDER: ("bill", "link_url"),
    MailKind.LAST_STEP: ("bill", "link_url"),
    MailKind.RECEIPT: ("bill",),
    MailKind.FRESH_LINK: ("bill", "link_url"),
    MailKind.RENEW: ("means", "link_url", "reserved"),
    MailKind.RENEWED: ("means",),
    MailKind.REFUNDED: ("bill",),
}


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


def english_in(country: str) -> str:
    """Return the locale of those who read English and write amounts and days as in a country such as `AT`."""
    return choose_locale(f"en-{country}" if country else "en-IE")


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
        return f"{self._short(day)}{NBSP}{day.year}"

    def soon(self, day: date, today: date) -> str:
        """Write a day without its year where no one can mistake it: 4 December."""
        return self._short(day) if abs((day - today).days) < 300 else self.day(day)

    def month(self, day: date) -> str:
        """Write the name of the month alone."""
        return self._date(day, "LLLL")

    def month_year(self, day: date, today: date) -> str:
        """Write the month, with its year only where it is not the same year or the turn of it."""
        return self._date(day, "LLLL" if abs((day - today).days) < 300 else "LLLL y")

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
        gap = " " if NBSP in first else NBSP
        return f"{first}{gap}{_TO[self.language]}{gap}{self.day(end)}"

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


def _line(text: str) -> str:
    """Write a text on one line, keeping the no-break spaces."""
    return _SPACES.sub(" ", text).strip()


def _flow(text: str, first: str = "", rest: str = "") -> str:
    """Wrap one paragraph at 70 columns, never breaking an address or a no-break space."""
    wrapper = TextWrapper(70, initial_indent=first, subsequent_indent=rest, break_long_words=False)
    wrapper.break_on_hyphens = False
    return wrapper.fill(_line(text))


def _tight(text: str) -> str:
    """Leave out the empty lines."""
    return re.sub(r"\n\s*\n", "\n", text).strip()


@cache
def _environment(part: str) -> Environment:
    """Return the environment for the `html` or the `txt` part; templates are compiled once."""
    loader = _InlinedLoader() if part == "html" else PackageLoader("templates", "mail")
    made = Environment(
        loader=loader,
        autoescape=select_autoescape((), (), default=part == "html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    made.filters |= {"flow": _flow, "line": _line, "tight": _tight}
    made.globals["layout"] = f"layout.{part}"
    made.globals |= {
        name: macro for name, macro in vars(made.get_template(f"kit.{part}").module).items() if name[0] != "_"
    }
    return made


def render(letter: Letter) -> Rendered:
    """Turn a letter into its subject, HTML part and text part; raise rather than leave a gap."""
    reader = Reader(choose_locale(letter.locale))
    name = f"{reader.language}/{letter.kind}.jinja"
    seen = {each.name: getattr(letter, each.name) for each in fields(letter)}
    seen |= {"why": letter.why, "r": reader, "accent": letter.brand.light}
    subject, _, text = _environment("txt").get_template(name).render(seen).partition("\n")
    html = _environment("html").get_template(name).render(seen)
    return Rendered(subject, html.strip() + "\n", _BREAKS.sub("\n\n", text).strip() + "\n")


# --- sending ----------------------------------------------------------------


class MailError(Exception):
    """A mail that was not accepted; `code` is the server's own, or 0 where it gave none."""

    permanent: ClassVar[bool] = False

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class MailSettingsError(MailError):
    """Settings that cannot work; the message names the setting and never shows a password."""


class MailRejectedError(MailError):
    """The server refused this mail for good; sending the same again cannot help."""

    permanent = True


class MailDelayedError(MailError):
    """The mail was not accepted now, or nobody knows; the same mail with the same Message-ID goes out again later."""


class MailAccountError(MailDelayedError):
    """The server refuses us, not the mail: wrong credentials, no encryption. Nothing passes until that is put right."""


class StartTls(StrEnum):
    """Whether the connection is encrypted after the greeting."""

    REQUIRED = "required"
    AUTO = "auto"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A mail server and how to reach it; the password is in no text made of this value."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    starttls: StartTls = StartTls.AUTO

    @classmethod
    def parse(cls, url: str) -> SmtpServer:
        """Read `smtp://user:pass@host:587?starttls=required|auto|never` or `smtps://...`, or say what is wrong.

        With a password, and unless told otherwise, encryption is required: a server that does not offer
        it, or someone in between who hides the offer, gets no password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _malformed("the host or the port cannot be read") from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise _malformed("it is written like smtp://user:password@host:587 or smtps://host")
        if parts.path.strip("/") or parts.fragment:
            raise _malformed("nothing but ?starttls=... may follow the host; write @ / # in a password as %40 %2F %23")
        tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=port or (465 if tls else 587 if parts.username else 25),
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            tls=tls,
            starttls=_read_starttls(parts.query, StartTls.REQUIRED if parts.password else StartTls.AUTO),
        )

    @property
    def address(self) -> str:
        """Host and port, for messages to people."""
        return f"{self.host}:{self.port}"


def _read_starttls(query: str, default: StartTls) -> StartTls:
    options = parse_qs(query, keep_blank_values=True)
    wanted = options.pop("starttls", [default])[-1]
    if options or wanted not in set(StartTls):
        raise _malformed("after the ? stands starttls=required, starttls=auto or starttls=never")
    return StartTls(wanted)


def _malformed(reason: str) -> MailSettingsError:
    return MailSettingsError(f"TURNUS_SMTP_URL is malformed: {reason}")


@dataclass(frozen=True, slots=True)
class Dkim:
    """Signs for a domain; `key` is the private key as PEM text and is in no text made of this value."""

    domain: str
    selector: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mail address and the name in front of it."""

    address: str
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", _to_ascii(self.address))
        object.__setattr__(self, "name", _UNPRINTABLE.sub(" ", self.name).strip())


def _to_ascii(address: str) -> str:
    """Return the address as it goes over the wire, or say that no mail can go there."""
    local, _, domain = address.rpartition("@")
    try:
        address = f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        domain = ""
    if not domain or not address.isascii() or not _ADDRESS.fullmatch(address):
        raise MailRejectedError(f"{address!r} is not a mail address we can write to")
    return address


_ADDRESS: Final = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,64}@[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]{1,253}")
_MESSAGE_ID: Final = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+>")


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who a mail is from and for, and its place among other mails.

    `message_id` is the caller's (`<...@...>`) and the same whenever the same mail is sent again;
    `answers` are the ids of earlier mails of the same conversation, oldest first.
    """

    sender: Mailbox
    to: Mailbox
    message_id: str
    sent_at: datetime
    reply_to: Mailbox | None = None
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in (self.message_id, *self.answers):
            if not _MESSAGE_ID.fullmatch(each):
                raise ValueError(f"{each!r} is not a Message-ID: it is written like <id@host>")

    @property
    def headers(self) -> dict[str, str]:
        """The headers that are neither an address nor the subject."""
        thread = {"In-Reply-To": self.answers[-1], "References": " ".join(self.answers)} if self.answers else {}
        return {"Auto-Submitted": "auto-generated", **thread}


class _Carrier:
    """Carries built mails over one kept connection, each of them once.

    `emails` takes any object with `sendmail`. Its own asynchronous one sends a mail again by itself when the
    answer to it was lost, looks up the name of the host while everything else waits, and says a long goodbye
    to a server that hangs; so this one speaks with aiosmtplib directly, as that one does.
    """

    def __init__(self, server: SmtpServer, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._smtp: aiosmtplib.SMTP | None = None

    async def sendmail(self, from_addr: str, to_addrs: list[str], msg: Message, **_options: object) -> str:
        """Return the server's words after its 250, or raise what aiosmtplib raises."""
        smtp = await self._connection()
        _refused, words = await smtp.sendmail(from_addr, to_addrs, msg.as_bytes())
        return words

    async def close(self) -> None:
        """Say goodbye; a server that does not answer is left."""
        with suppress(aiosmtplib.SMTPException):
            if self._smtp is not None:
                await self._smtp.quit(timeout=1)
        self.drop()

    def drop(self) -> None:
        """Let the connection go without a word."""
        if self._smtp is not None:
            self._smtp.close()
        self._smtp = None

    async def _connection(self) -> aiosmtplib.SMTP:
        """Return the kept connection if it still answers, for it may have died while idle, or a new one."""
        if self._smtp is not None:
            try:
                await self._smtp.rset()
            except aiosmtplib.SMTPException:
                self.drop()
        if self._smtp is None:
            smtp = self._new()
            await smtp.connect()
            self._smtp = smtp
        return self._smtp

    def _new(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=server.tls,
            start_tls=False if server.tls else _START_TLS[server.starttls],
            local_hostname=gethostname(),
            timeout=self._timeout_s,
        )


CONNECTIONS_MAX: Final = 8

_START_TLS: Final = {StartTls.REQUIRED: True, StartTls.AUTO: None, StartTls.NEVER: False}


class Mailer:
    """Hands mails to one server, over a few kept connections at most, each of which carries one mail at a time.

    `timeout_s` is the wait for each answer of the server, `deadline_s` the wait for a whole mail.
    """

    def __init__(
        self,
        server: SmtpServer,
        dkim: Dkim | None = None,
        timeout_s: float = 15.0,
        deadline_s: float = 60.0,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self._server = server
        self._dkim = dkim
        self._deadline_s = deadline_s
        self._carriers = [_Carrier(server, timeout_s) for _ in range(connections_max)]
        self._idle = list(self._carriers)
        self._places = asyncio.Semaphore(connections_max)
        if dkim:
            _check_key(dkim)

    @property
    def at_once(self) -> int:
        """How many mails may be on their way at a time."""
        return len(self._carriers)

    async def send(self, mail: Rendered, envelope: Envelope) -> str:
        """Return the server's words once it said 250 to everything; else raise a `MailError`.

        After a `MailDelayedError` the mail may have been accepted all the same, if only the answer was lost:
        sent again with its Message-ID, it is at worst one mail shown twice, never another step.
        """
        message = self._build(mail, envelope)
        async with self._free_carrier() as carrier:
            with _explained(self._server, carrier):
                async with asyncio.timeout(self._deadline_s):
                    return str(await message.send_async(smtp=carrier))

    async def close(self) -> None:
        """Let go of the connections."""
        await asyncio.gather(*(carrier.close() for carrier in self._carriers))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def _free_carrier(self) -> AsyncIterator[_Carrier]:
        """Wait for a carrier that has nothing to do; the one that worked last, whose connection is the freshest."""
        async with self._places:
            carrier = self._idle.pop()
            try:
                yield carrier
            finally:
                self._idle.append(carrier)

    def _build(self, mail: Rendered, envelope: Envelope) -> Message:
        message = Message(
            subject=mail.subject,
            html=mail.html,
            text=mail.text,
            mail_from=_pair(envelope.sender),
            mail_to=[_pair(envelope.to)],
            reply_to=[_pair(envelope.reply_to)] if envelope.reply_to else None,
            headers=envelope.headers,
            message_id=envelope.message_id,
            # As text, because the library takes an instant for local time.
            date=format_datetime(envelope.sent_at),
        )
        message.after_build = _bound
        if self._dkim:
            message.dkim(domain=self._dkim.domain, selector=self._dkim.selector, key=self._dkim.key)
        return message


def _bound(_: Message, built: Any) -> None:
    """Name the borders of the parts, which else are drawn by lot and searched for in them: a fifth of a mail's time.

    No part is sent but as base64, in which `=_` cannot occur.
    """
    for number, part in enumerate(each for each in built.walk() if each.is_multipart()):
        part.set_boundary(f"=_{number}")


def _pair(mailbox: Mailbox) -> tuple[str, str]:
    return mailbox.name, mailbox.address


def _check_key(dkim: Dkim) -> None:
    try:
        key = load_pem_private_key(dkim.key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise MailSettingsError(f"the DKIM key for {dkim.domain} is not an RSA private key in PEM form")


@contextmanager
def _explained(server: SmtpServer, carrier: _Carrier) -> Iterator[None]:
    """Turn whatever goes wrong on the way into a `MailError`; a connection in an unclear state is not kept."""
    try:
        yield
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        if not _left_in_order(error):
            carrier.drop()
        raise _explain(error, server) from None
    except BaseException:
        carrier.drop()
        raise


def _left_in_order(error: Exception) -> bool:
    return isinstance(error, aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPSenderRefused | aiosmtplib.SMTPDataError)


# Answers that are about who we are, wherever in the conversation they are given (RFC 4954).
_ABOUT_US: Final = frozenset({530, 534, 535, 538})


def _explain(error: Exception, server: SmtpServer) -> MailError:
    """Say who answered what, and whether trying again can help; a refused sender is our own doing, not this mail's."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        error = error.recipients[0]
    code = error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 0
    reason = f"{server.address} {_what_happened(error, code)}"
    if server.password:
        reason = reason.replace(server.password, "***")
    if code >= 500 and code not in _ABOUT_US and _is_about_the_mail(error):
        return MailRejectedError(reason, code)
    if code >= 500 or _is_about_encryption(error):
        return MailAccountError(reason, code)
    return MailDelayedError(reason, code)


def _is_about_the_mail(error: Exception) -> bool:
    return isinstance(error, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError)


def _is_about_encryption(error: BaseException) -> bool:
    # aiosmtplib has no class of its own for a server that does not offer encryption.
    if type(error) in (aiosmtplib.SMTPException, aiosmtplib.SMTPNotSupported) or isinstance(error, ssl.SSLError):
        return True
    return error.__cause__ is not None and _is_about_encryption(error.__cause__)


def _what_happened(error: Exception, code: int) -> str:
    words = _line(_UNPRINTABLE.sub(" ", str(getattr(error, "message", error))))[:200]
    if code > 0:
        return f"answered {code} {words}"
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    return f"could not be used: {words or type(error).__name__}"
