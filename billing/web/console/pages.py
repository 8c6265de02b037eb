"""How pages of the console are written: templates, money and times for the reader, and each state with its tone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import format_decimal

from billing.mail import Reader, english_in
from billing.money import Money
from billing.web.pages import PAGE_POLICY, open_templates, words

# Forms of the console lead to the console. Its pages name their own address to us alone, so that a browser still
# says where a form was sent from.
HEADERS: Final = {
    "Content-Security-Policy": f"{PAGE_POLICY}; form-action 'self'",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

_NBSP: Final = "\N{NO-BREAK SPACE}"

# The table of look: what is not in it has no business beside a name.
_TONES: Final = {
    "is-paid": "paid approved on_sale active finished answering sent_mail settled done released good on enabled "
    "delivered",
    "is-open": "open trialing planned by_pay_link received queued",
    "is-pending": "pending sent authorised paused slow reversal_owed stopped invited",
    "is-failed": "declined past_due uncollectible aborted not_answering failed forged refused",
    "is-doubt": "unknown",
    "is-live": "running",
    "is-quiet": "draft created not_sent void canceled ended withdrawn dropped forgotten replaced disabled revoked over "
    "off quiet archived retired deleted",
}
TONES: Final = {state: tone for tone, states in _TONES.items() for state in states.split()}
_WORDS: Final = {"unknown": "in doubt", "by_pay_link": "by pay-link", "sent_mail": "sent"}


def tone_of(state: str) -> str:
    """Return the tone of a state of the house."""
    return TONES[state]


def word_of(state: str) -> str:
    """Return the word a state is shown by."""
    return _WORDS.get(state, state.replace("_", " "))


def way_of(way: str) -> str:
    """Return what people call a way to pay, as on the pages where it is chosen."""
    return words("en").get(f"way.{way}") or word_of(way).capitalize()


def sentence(text: str) -> str:
    """Return what was said as a sentence; a name such as mPAY24 begins as it always does."""
    is_name = any(map(str.isupper, text.split(" ", 1)[0][1:]))
    begun = text if is_name else text[:1].upper() + text[1:]
    return begun + ("" if not text or text.endswith((".", "!", "?")) else ".")


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes amounts, numbers, days and times for one reader: English words, a country's habits, a merchant's zone."""

    country: str
    timezone: str
    today: date

    def money(self, minor: int, currency: str) -> str:
        """Write an amount without a break inside."""
        return Money(minor, currency).show(self._locale)

    def amounts(self, minors: Mapping[str, int]) -> str:
        """Write amounts of one currency or several, as a sum; none at all is nothing."""
        return " + ".join(self.money(minor, currency) for currency, minor in sorted(minors.items()) if minor)

    def tenths(self, number: int) -> str:
        """Write a number given in tenths, with one decimal where that says more."""
        return str(format_decimal(number / 10, "#,##0.#", locale=self._babel))

    def count(self, number: int) -> str:
        """Write a number with the thousands apart."""
        return str(format_decimal(number, locale=self._babel))

    def times(self, number: int) -> str:
        """Write how often something happened: never, once, 3 times."""
        return {0: "never", 1: "once"}.get(number) or f"{self.count(number)} times"

    def every(self, unit: str, count: int) -> str:
        """Write how often something comes: every month, every 3 months."""
        return f"every {unit}" if count == 1 else f"every {count} {unit}s"

    def share(self, points: int) -> str:
        """Write basis points as a share: 20 %, 7.5 %."""
        return f"{format_decimal(Decimal(points) / 100, '#,##0.##', locale=self._babel)}{_NBSP}%"

    def day(self, day: date) -> str:
        """Write a day in full: 1 December 2026."""
        return Reader(self._locale).day(day)

    def short(self, day: date) -> str:
        """Write a day for a table: 1 Dec, with the year only where it is another."""
        pattern = "d MMM" if day.year == self.today.year else "d MMM y"
        return str(format_date(day, pattern, locale=self._english)).replace(" ", _NBSP)

    def month(self, day: date) -> str:
        """Write the month of a day: Dec."""
        return str(format_date(day, "MMM", locale=Locale("en")))

    def there(self, at: datetime) -> datetime:
        """Return an instant as the clocks in the merchant's zone show it."""
        return at.astimezone(ZoneInfo(self.timezone))

    def time(self, at: datetime, *, seconds: bool = False) -> str:
        """Write a time of day."""
        return str(format_time(self.there(at), "HH:mm:ss" if seconds else "HH:mm", locale=self._english))

    def moment(self, at: datetime, *, seconds: bool = False) -> str:
        """Write an instant: today, 02:00; or 1 Dec, 02:00."""
        day = self.there(at).date()
        name = "today" if day == self.today else self.short(day)
        return f"{name}, {self.time(at, seconds=seconds)}"

    def weekday(self, day: date) -> str:
        """Write a day in full with its name: Monday 30 November 2026."""
        return f"{format_date(day, 'EEEE', locale=self._english)} {self.day(day)}"

    def language(self, code: str) -> str:
        """Write a language such as de-AT by its name; what is none stays as it is."""
        try:
            return str(Locale.parse(code, sep="-").get_display_name(self._english))
        except (ValueError, UnknownLocaleError):
            return code

    def place(self, code: str) -> str:
        """Write a country such as AT by its name; what is none stays as it is."""
        return str(self._english.territories.get(code, code))

    @property
    def zone(self) -> str:
        """The city whose clocks are meant."""
        return self.timezone.rpartition("/")[2].replace("_", " ")

    @property
    def _locale(self) -> str:
        return english_in(self.country)

    @property
    def _babel(self) -> Locale:
        return Locale.parse(self._locale.replace("-", "_"))

    @property
    def _english(self) -> Locale:
        return Locale("en", "GB")


class Sheets:
    """Renders the console's templates."""

    def __init__(self) -> None:
        self._environment = open_templates("console", tone=tone_of, word=word_of)
        self._environment.filters |= {"way": way_of, "sentence": sentence}

    def render(self, name: str, /, **known: Any) -> str:
        """Return a page."""
        return self._environment.get_template(name).render(**known)
