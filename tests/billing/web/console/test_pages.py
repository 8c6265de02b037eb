"""How the console writes states, amounts and times, and how its forms read what is typed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from importlib.resources import files
from typing import Any

import pytest

from billing.invoices import InvoiceState
from billing.models import (
    AccountState,
    DeliveryState,
    EndpointState,
    MessageState,
    NotificationState,
    ProfileState,
    RunState,
    TaskState,
    VerificationState,
)
from billing.money import Money
from billing.payments import AttemptState
from billing.subscriptions import SubscriptionState
from billing.web.console import forms
from billing.web.console.forms import Field, Form, Option
from billing.web.console.pages import TONES, Writer, sentence, tone_of, way_of, word_of

STATES: tuple[type[StrEnum], ...] = (
    AttemptState,
    InvoiceState,
    SubscriptionState,
    RunState,
    AccountState,
    EndpointState,
    DeliveryState,
    MessageState,
    NotificationState,
    ProfileState,
    TaskState,
    VerificationState,
)


@pytest.mark.parametrize("state", [state for states in STATES for state in states], ids=str)
def test_every_state_of_the_house_has_a_tone_that_the_stylesheet_knows(state: str) -> None:
    assert f".{tone_of(state)} " in files("templates").joinpath("static/turnus.css").read_text("utf-8")
    assert "_" not in word_of(state)


def test_what_nobody_knows_is_in_doubt() -> None:
    assert (word_of("unknown"), TONES["unknown"]) == ("in doubt", "is-doubt")


@pytest.mark.parametrize(("country", "written"), [("DE", "1.234,50\xa0€"), ("IE", "€1,234.50"), ("", "€1,234.50")])
def test_amounts_are_written_as_in_the_merchants_country(country: str, written: str) -> None:
    assert Writer(country, "Europe/Vienna", date(2026, 11, 30)).money(123450, "EUR") == written


def test_times_are_those_of_the_merchants_zone() -> None:
    writer = Writer("DE", "Europe/Vienna", date(2026, 12, 1))
    at = datetime(2026, 11, 30, 23, 30, 5, tzinfo=UTC)
    assert writer.moment(at) == "today, 00:30"
    assert writer.moment(at.replace(day=29), seconds=True) == "30\xa0Nov, 00:30:05"
    assert writer.short(date(2025, 1, 2)) == "2\xa0Jan\xa02025"
    assert writer.weekday(date(2026, 11, 30)) == "Monday 30\xa0November\xa02026"
    assert (writer.zone, writer.count(1284)) == ("Vienna", "1.284")


def test_ways_to_pay_are_called_as_on_the_pages_of_customers() -> None:
    assert [way_of(way) for way in ("payback_pay", "debit", "new_way")] == ["PAYBACK PAY", "Direct debit", "New way"]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("the line went dead", "The line went dead."),
        ("Write an amount in EUR.", "Write an amount in EUR."),
        ("mPAY24 could not be asked", "mPAY24 could not be asked."),
        ("", ""),
    ],
)
def test_what_was_said_is_written_as_a_sentence_in_which_a_name_keeps_its_small_letter(said: str, written: str) -> None:
    assert sentence(said) == written


def test_what_happened_never_or_once_is_said_in_words() -> None:
    writer = Writer("DE", "Europe/Vienna", date(2026, 12, 1))
    assert [writer.times(number) for number in (0, 1, 2, 1284)] == ["never", "once", "2 times", "1.284 times"]


def test_languages_and_countries_are_called_by_their_names_where_they_have_one() -> None:
    writer = Writer("DE", "Europe/Vienna", date(2026, 12, 1))
    assert [writer.language(code) for code in ("de", "de-AT", "xx", "")] == ["German", "German (Austria)", "xx", ""]
    assert [writer.place(code) for code in ("AT", "XX", "")] == ["Austria", "XX", ""]
    assert [writer.share(points) for points in (2000, 750, 5)] == ["20\xa0%", "7,5\xa0%", "0,05\xa0%"]


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (forms.email, "a@b.example", "a@b.example"),
        (forms.email, "a@b", None),
        (forms.day, "2026-12-31", date(2026, 12, 31)),
        (forms.day, "2027-02-31", None),
        (forms.whole(1, 10), "10", 10),
        (forms.whole(1, 10), "11", None),
        (forms.whole(-5, 10), "-5", -5),
        (forms.whole(1, 10), "²", None),
        (forms.amount("EUR"), "49,00", Money(4900, "EUR")),
        (forms.amount("EUR"), "4.900,00", None),
        (forms.currency, "chf", "CHF"),
        (forms.currency, "XXX", None),
        (forms.time_zone, "Europe/Vienna", "Europe/Vienna"),
        (forms.time_zone, "../etc/passwd", None),
        (forms.time_zone, "Europe/Atlantis", None),
        (forms.matching("[a-z]+", "Write letters."), "abc", "abc"),
        (forms.matching("[a-z]+", "Write letters."), "abc\n", None),
    ],
)
def test_a_field_reads_what_is_meant_or_says_how_to_write_it(read: Any, text: str, value: Any) -> None:
    if value is not None:
        assert read(text) == value
    else:
        with pytest.raises(ValueError, match="Write"):
            read(text)


def test_a_form_tells_what_is_missing_too_long_unprintable_or_no_choice() -> None:
    form = Form.of(
        Field("name", "Name", chars_max=5),
        Field("note", "Note", "area", required=False),
        Field("way", "Way", "choice", options=(Option("a", "A"),)),
        Field("sure", "Sure", "check"),
    )
    draft = form.read({"name": " Anna ", "note": "one\ntwo", "way": "a", "sure": "yes"})
    assert dict(draft.values) == {"name": "Anna", "note": "one\ntwo", "way": "a", "sure": True}
    assert not draft.is_wrong
    draft = form.read({"name": "Annabel", "note": "a\x00b", "way": "b"})
    assert dict(draft.errors) == {
        "name": "Write at most 5 characters.",
        "note": "Leave out what cannot be printed.",
        "way": "Choose one of these.",
    }
    assert dict(form.read({}).errors) == {"name": "This is needed.", "way": "Choose one of these."}
    assert draft.wrong("nothing", "Not now.").refusal == "Not now."
