"""The gateways' own ledgers against our books, and the mails that arrived against those we owed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import httpx
from sqlalchemy import Table, select

from billing.ledger import Account
from billing.models import (
    Attempt,
    Invoice,
    Message,
    Operation,
    Posting,
    Subscription,
    Task,
    Verification,
    table,
)
from billing.payments import IN_DOUBT
from billing.services.context import Context
from jobs.doctor import examine
from jobs.mailbox import Letter
from jobs.sandbox_process import SandboxGateway

Row = dict[str, Any]

GIVEN_BACK: Final = ("refund", "payout", "chargeback")
AUDITED: Final = (
    "periods, invoices, payments, surpluses, doubts, verifications and mails against the gateways' own ledgers"
)


@dataclass
class Books:
    """Everything that is on record, on both sides, at one moment."""

    today: date
    booked: list[Row]
    letters: list[Letter]
    ours: dict[str, list[Row]]
    breaches: list[str] = field(default_factory=list)

    def __getitem__(self, of: Any) -> list[Row]:
        return self.ours[table(of).name]

    def sold(self) -> Counter[str]:
        """How often each thing that is owed was really paid or reserved, by the key of what is owed."""
        money = [row for row in self.booked if row["kind"] in ("sale", "capture") and row["state"] == "booked"]
        held = [row for row in self.booked if row["kind"] == "authorisation" and row["state"] == "reserved"]
        return Counter(_owed(row) for row in money + held)

    def kept(self) -> Counter[str]:
        """How much money the gateways hold for us under each of our keys, in minor units."""
        kept: Counter[str] = Counter()
        for row in self.booked:
            sign = {"sale": 1, "capture": 1} | dict.fromkeys(GIVEN_BACK, -1)
            if row["state"] == "booked":
                kept[row["reference"]] += sign.get(row["kind"], 0) * row["amount_minor"]
        return +kept

    def left_to_a_person(self) -> set[str]:
        """The keys of doubts that no question will settle any more, of which a person has been told.

        Each question is counted before it is asked, so a process that dies in asking has spent it.
        """
        doubts = [row for row in self[Attempt] if row["state"] in IN_DOUBT and not row["ask_at"]]
        return {row["key"] for row in doubts if f"att_{row['id']}" in self.tasks()}

    def tasks(self) -> set[str]:
        """Of what a person is asked to look at something."""
        return {row["subject"] for row in self[Task] if row["state"] == "open"}


def _owed(row: Row) -> str:
    return str(row["reference"].rpartition("-")[0])


async def read(ctx: Context, gateways: Iterable[SandboxGateway], http: httpx.AsyncClient, **known: Any) -> Books:
    """Read both sides."""
    booked: list[Row] = []
    breaches: list[str] = []
    for gateway in gateways:
        booked += await _ask(http, gateway, "ledger", "transactions")
        breaches += [f"asked too often: {each}" for each in await _ask(http, gateway, "log", "over_budget")]
    ours: dict[str, list[Row]] = {}
    async with ctx.store.read() as session:
        for of in _OURS:
            ours[of.name] = [dict(row) for row in (await session.execute(select(of))).mappings()]
    breaches += [f"doctor: {each.name}: {each.ids}" for each in await examine(ctx)]
    return Books(booked=booked, ours=ours, breaches=breaches, **known)


async def _ask(http: httpx.AsyncClient, gateway: SandboxGateway, what: str, name: str) -> list[Any]:
    answer = await http.get(f"{gateway.base_url}/_sandbox/{what}")
    found: list[Any] = answer.raise_for_status().json().get(name, [])
    return found


_OURS: Final[tuple[Table, ...]] = tuple(
    table(of) for of in (Attempt, Invoice, Message, Operation, Posting, Subscription, Task, Verification)
)


def complaints(books: Books) -> list[str]:
    """Return everything that is not as it must be, each in one line."""
    return [*books.breaches, *(said for check in _CHECKS for said in check(books))]


def _every_due_period_is_invoiced_once(books: Books) -> Iterable[str]:
    made = Counter(row["subscription_id"] for row in books[Invoice] if row["kind"] == "period")
    for row in books[Subscription]:
        if row["anchor_on"] <= books.today and made[row["id"]] != 1:
            yield f"subscription {row['id']} was invoiced {made[row['id']]} times"


def _nothing_is_paid_twice(books: Books) -> Iterable[str]:
    """A second payment is the outside world's doing only where a sender stood still in the middle of sending."""
    for key, times in books.sold().items():
        if times > 1:
            yield f"{key} was paid {times} times"


def _what_is_paid_is_paid_in_our_books(books: Books) -> Iterable[str]:
    sold, left = books.sold(), books.left_to_a_person()
    asked_about = {key.rpartition("-")[0] for key in left}
    for row in books[Invoice]:
        if (row["state"] == "paid") != bool(sold[row["key"]]) and row["key"] not in asked_about:
            yield f"{row['key']} is {row['state']} and was paid {sold[row['key']]} times"
    states = {row["key"]: f"{row['state']}: {row['evidence']}" for row in books[Attempt]}
    for key in books.kept().keys() - left:
        if not states[key].startswith("approved"):
            yield f"{key} was paid, and its attempt is {states[key]}"


def _the_money_is_in_our_books_once(books: Books) -> Iterable[str]:
    keys = {row["id"]: row["key"] for row in books[Attempt]}
    ours: Counter[str] = Counter()
    for row in books[Posting]:
        if row["account"] == Account.GATEWAY:
            ours[keys[row["attempt_id"]]] += row["amount_minor"]
    theirs = books.kept()
    for key in {*ours, *theirs} - books.left_to_a_person():
        if ours[key] != theirs[key]:
            yield f"{key}: {ours[key]} in our books, {theirs[key]} at the gateway"


def _no_doubt_is_forgotten(books: Books) -> Iterable[str]:
    tasks = books.tasks()
    for row in books[Attempt]:
        looks = row["ask_at"] or row["lease_until"]
        if row["state"] in IN_DOUBT and not looks and f"att_{row['id']}" not in tasks:
            yield f"{row['key']} is {row['state']} for ever: {row['evidence']}"


def _every_verification_is_reversed_or_owed(books: Books) -> Iterable[str]:
    held = books.sold()
    kept = books.kept()
    keys = {row["id"]: row["key"] for row in books[Attempt]}
    owed = {keys[row["attempt_id"]] for row in books[Operation] if row["state"] in ("created", *IN_DOUBT)}
    for row in books.booked:
        key = row["reference"]
        is_held = kept[key] > 0 or (row["kind"] == "authorisation" and row["state"] == "reserved")
        if key.startswith("VER-") and held[_owed(row)] and is_held and key not in owed:
            yield f"{key} holds the customer's money and owes nothing"


def _no_mail_is_lost_or_made_up(books: Books) -> Iterable[str]:
    arrived = {str(letter.message["Message-ID"]) for letter in books.letters}
    sent = {row["id"] for row in books[Message] if row["state"] == "sent"}
    known = {int(name.removeprefix("<").partition(".")[0]) for name in arrived}
    for row in books[Message]:
        if row["state"] not in ("sent", "dropped"):
            yield f"message {row['id']} is {row['state']}: {row['error']}"
    yield from (f"message {id_} never arrived" for id_ in sent - known)
    yield from (f"message {id_} arrived and is not marked" for id_ in known - sent)
    if len(known) != len(arrived):
        yield "a mail that was sent again had another Message-ID"


_CHECKS: Final[tuple[Callable[[Books], Iterable[str]], ...]] = (
    _every_due_period_is_invoiced_once,
    _nothing_is_paid_twice,
    _what_is_paid_is_paid_in_our_books,
    _the_money_is_in_our_books_once,
    _no_doubt_is_forgotten,
    _every_verification_is_reversed_or_owed,
    _no_mail_is_lost_or_made_up,
)
