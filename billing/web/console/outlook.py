"""What is next for a subscription: a year of its periods, and what each verb would do, with day and amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import RowMapping

from billing.invoices import InvoiceState
from billing.money import Money
from billing.periods import Interval, Unit
from billing.pricing import Line
from billing.services.showing import lines_ahead
from billing.subscriptions import SubscriptionState, ends_on, period_on_resuming
from billing.web.console.desk import Desk

AHEAD: Final = 12
_S = SubscriptionState


@dataclass(frozen=True, slots=True)
class Cell:
    """One period in the strip: its tone, and what is said of it."""

    tone: str
    said: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What each verb would do, in words, with day and amount; empty where it cannot be done now."""

    glance: str
    pause: str = ""
    resume: str = ""
    at_period_end: str = ""
    now: str = ""
    undo: str = ""


def lines_of(row: RowMapping, count: int) -> Sequence[Line]:
    """Return the next lines of a subscription that is billed; one that is not has none."""
    return lines_ahead(row, count) if row["next_due_on"] else ()


def price_in(desk: Desk, row: RowMapping) -> str:
    """Return what a price asks, in words: 49,00 € each month."""
    unit, count = row["interval_unit"], row["interval_count"]
    each = f"each {unit}" if count == 1 else f"every {count} {unit}s"
    return f"{desk.writer.money(row['amount_minor'], row['currency'])} {each}"


def strip(desk: Desk, row: RowMapping, invoices: Sequence[RowMapping]) -> tuple[list[Cell], list[Cell]]:
    """Return the last twelve periods up to the present one, and the twelve after it."""
    interval, anchor, today = _interval(row), row["anchor_on"], desk.writer.today
    present = max(0, interval.number_on(anchor, today))
    billed = {each["period_number"]: each for each in invoices}
    numbers = range(max(0, present - AHEAD + 1), present + AHEAD + 1)
    cells = {n: _cell(desk, row, n, billed.get(n), interval.period(anchor, n).start, n == present) for n in numbers}
    return [cells[n] for n in numbers if n <= present], [cells[n] for n in numbers if n > present]


_CELLS: Final[Mapping[str, tuple[str, str]]] = {
    InvoiceState.PAID: ("is-paid", "paid"),
    InvoiceState.OPEN: ("is-open", "open"),
    InvoiceState.VOID: ("is-quiet", "taken back"),
    InvoiceState.UNCOLLECTIBLE: ("is-failed", "uncollectible"),
    InvoiceState.DRAFT: ("is-quiet", "draft"),
}


def _cell(desk: Desk, row: RowMapping, number: int, invoice: RowMapping | None, begins: date, is_now: bool) -> Cell:
    tone, said = _tone_of(row, number, invoice)
    now = (" now", ", the present period") if is_now else ("", "")
    return Cell(tone + now[0], f"{desk.writer.day(begins)}: {said}{now[1]}")


def _tone_of(row: RowMapping, number: int, invoice: RowMapping | None) -> tuple[str, str]:
    if invoice is None:
        if number < row["next_period"]:
            return "is-quiet", "not billed"
        return ("ahead", "planned") if row["next_due_on"] else ("is-quiet", "not billed as things stand")
    tone, said = _CELLS[invoice["state"]]
    if invoice["state"] == InvoiceState.PAID and invoice["tries"] > 1:
        return f"{tone} late", "paid after a decline"
    if invoice["state"] == InvoiceState.OPEN and invoice["dunned_since"] and invoice["tries"]:
        return "is-failed", "declined and open"
    return tone, said


def _interval(row: RowMapping) -> Interval:
    return Interval(Unit(row["interval_unit"]), row["interval_count"])


def outlook(desk: Desk, row: RowMapping) -> Outlook:
    """Say what is next, and what each verb would do now."""
    match row["state"]:
        case _S.PAUSED:
            return _of_paused(desk, row)
        case _S.CANCELED:
            return _of_canceled(desk, row)
        case _S.ENDED:
            return Outlook(f"Ended on {desk.writer.day(row['ended_on'])}")
    line = lines_ahead(row, 1)[0]
    following = _said(desk, line)
    stays = "What is invoiced stays owed."
    return Outlook(
        f"Next: {following}",
        pause=f"The invoice of {following} is not issued, nor any after it, until you resume. Days of the pause are "
        f"never billed. {stays}",
        at_period_end=_at_period_end(desk, row, following),
        now=_now(desk, following),
    )


def _of_paused(desk: Desk, row: RowMapping) -> Outlook:
    number = period_on_resuming(_interval(row), row["anchor_on"], row["next_period"], desk.writer.today)
    first = _said(desk, lines_ahead(dict(row) | {"next_period": number}, 1)[0])
    return Outlook(
        "Paused because of an unpaid invoice" if row["paused_by_dunning"] else "Paused: nothing is billed",
        resume=f"The first invoice is {first}. Days before that are not billed.",
        at_period_end=_at_period_end(desk, row, ""),
        now=_now(desk, ""),
    )


def _of_canceled(desk: Desk, row: RowMapping) -> Outlook:
    end = desk.writer.day(row["ended_on"])
    first = _said(desk, lines_ahead(row, 1)[0])
    undo = f"It goes on as before: the next invoice is {first}." if row["ended_on"] > desk.writer.today else ""
    return Outlook(f"Canceled: it ends on {end}", undo=undo, now=_now(desk, ""))


def _said(desk: Desk, line: Line) -> str:
    return f"{_money(desk, line.total)} on {desk.writer.day(line.period.start)}"


def _money(desk: Desk, amount: Money) -> str:
    return desk.writer.money(amount.minor, amount.currency)


def _end(desk: Desk, row: RowMapping) -> date:
    return ends_on(_interval(row), row["anchor_on"], row["next_period"], desk.writer.today)


def _at_period_end(desk: Desk, row: RowMapping, following: str) -> str:
    end = _end(desk, row)
    ends = "It ends today" if end <= desk.writer.today else f"It ends on {desk.writer.day(end)}"
    return f"{ends}, when its billed days are over. " + (
        f"The invoice of {following} is not issued." if following else ""
    )


def _now(desk: Desk, following: str) -> str:
    """Say what ending now does; days that were billed are not given back by it."""
    issued = f" The invoice of {following} is not issued." if following else ""
    return f"It ends today, {desk.writer.day(desk.writer.today)}.{issued} Billed days are not given back by this."
