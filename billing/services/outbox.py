"""Deliver queued mails: composed at sending, leased, several at a time, and sent only when the server said so."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, RowMapping, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing.bulk import among
from billing.invoices import InvoiceState
from billing.mail import (
    Envelope,
    MailAccountError,
    MailDelayedError,
    MailError,
    MailKind,
    Rendered,
    render,
)
from billing.models import Message, MessageState, Run, RunState, table
from billing.services.composing import Facts, envelope_of, gather, letter_of
from billing.services.context import Context
from billing.services.gathering import Gathering, Group, in_groups
from billing.services.refusing import ConflictError
from billing.services.tasking import NewTask, end_tasks, raise_tasks
from billing.services.wording import words_for
from billing.store import after_s

_message, _run = table(Message), table(Run)

PAGE: Final = 100
RETRY_DELAYS_S: Final = (60, 300, 1800, 7200, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
ACCOUNT_DELAY_S: Final = 60
# Mails leave in this part of a claim's time: half of it may pass until the answer, and the rest is for marking.
LEAVING_PART: Final = 0.4
# A server's 250 is written down so much later at most; who dies in between sends those mails again, under their ids.
GROUP: Final = Group(wait_s=0.1, size_max=PAGE)
# While mails are under way, new ones are looked for so often.
LOOK_EVERY_S: Final = 1.0
# A domain that leaves so many waiting gets no more for now, so that what is in hand is never all for one that is slow.
CROWD: Final = PAGE // 2
_ASKS_FOR_MONEY: Final = (MailKind.DECLINED, MailKind.INVOICE, MailKind.REMINDER, MailKind.LAST_STEP)


class Postman(Protocol):
    """Hands mails to a server; returns its words after the 250, or raises a `MailError`."""

    @property
    def at_once(self) -> int:
        """How many mails may be on their way at a time."""
        ...

    async def send(self, mail: Rendered, envelope: Envelope) -> str:
        """Send one mail, once."""
        ...


@dataclass(frozen=True, slots=True)
class Errand:
    """A claimed mail; past its deadline it does not leave any more, since the claim could end before the answer."""

    row: RowMapping
    domain: str
    facts: Facts
    deadline: float


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a mail: its state, why, and when a queued one is due again; one not tried keeps its tries."""

    state: MessageState
    error: str = ""
    delay_s: int = 0
    tried: bool = True


@dataclass(slots=True)
class Hand:
    """Mails in hand: those that wait, in order, and how many are on their way to each domain.

    A domain takes another place only while more places are free than it has, so that however slow it
    is, and however much there is for it, half of what it finds is left for others.
    """

    at_once: int
    waiting: list[Errand] = field(default_factory=list)
    away: Counter[str] = field(default_factory=Counter)

    def take(self) -> Errand | None:
        """Return the first mail that may leave now."""
        free = self.at_once - self.away.total()
        for place, errand in enumerate(self.waiting):
            if free > self.away[errand.domain]:
                self.away[errand.domain] += 1
                return self.waiting.pop(place)
        return None

    def come_back(self, errand: Errand) -> None:
        """Free the place of a mail that was on its way."""
        self.away[errand.domain] -= 1

    def crowded(self) -> frozenset[str]:
        """Return the domains that have enough waiting."""
        counts = Counter(errand.domain for errand in self.waiting)
        return frozenset(domain for domain, count in counts.items() if count >= CROWD)

    def is_low(self) -> bool:
        """Answer whether more mails should be claimed before long, those of crowded domains aside."""
        crowded = self.crowded()
        return sum(errand.domain not in crowded for errand in self.waiting) < CROWD

    def is_empty(self) -> bool:
        """Answer whether nothing waits and nothing is on its way."""
        return not self.waiting and not self.away.total()


async def deliver(ctx: Context, postman: Postman) -> Counter[MessageState]:
    """Send what is queued and due; return how many mails came to which state.

    A server that refuses us, and not the mail, ends the delivery: nothing would pass.
    """
    done: Counter[MessageState] = Counter()
    async with in_groups(partial(_mark, ctx, done), GROUP) as fates:
        await _Delivery(ctx, postman, fates, Hand(postman.at_once)).work()
    return done


@dataclass(slots=True)
class _Delivery:
    """One deliverer at work; others may be at work beside it, each with mails of its own."""

    ctx: Context
    postman: Postman
    fates: Gathering[tuple[RowMapping, Fate]]
    hand: Hand
    refusal: str = ""
    left_out: frozenset[str] = frozenset()
    look_at: float = 0.0
    returned: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self) -> None:
        """Claim and send until nothing is due, the server refuses us, or this process is told to leave."""
        async with asyncio.TaskGroup() as sending:
            while not self.refusal and not self.ctx.leaving and await self._has_some():
                self.returned.clear()
                while (errand := self._next()) is not None:
                    sending.create_task(self._carry(errand))
                await self._wait()
        for errand in self.hand.waiting:
            self._give_back(errand)

    async def _has_some(self) -> bool:
        """Claim what there is room for; answer whether any mail is in hand."""
        crowded = self.hand.crowded()
        news = crowded != self.left_out or monotonic() >= self.look_at
        if self.hand.is_empty() or (self.hand.is_low() and news):
            claimed = await _claim(self.ctx, crowded)
            self.hand.waiting += claimed
            self.left_out, self.look_at = crowded, 0.0 if claimed else monotonic() + LOOK_EVERY_S
        return not self.hand.is_empty()

    def _next(self) -> Errand | None:
        """Return the next mail that may leave; one whose claim may soon be over is let go, and others send it."""
        while (errand := self.hand.take()) is not None and monotonic() > errand.deadline:
            self.hand.come_back(errand)
            self._give_back(errand)
        return errand

    async def _wait(self) -> None:
        """Wait until a mail came back, or it is time to look for others."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self.returned.wait()

    async def _carry(self, errand: Errand) -> None:
        try:
            self.fates.put((errand.row, await _send(self.ctx, self.postman, errand)))
        except MailAccountError as refusal:
            self.refusal = str(refusal)
            self._give_back(errand)
        finally:
            self.hand.come_back(errand)
            self.returned.set()

    def _give_back(self, errand: Errand) -> None:
        delay_s = ACCOUNT_DELAY_S if self.refusal else 0
        self.fates.put((errand.row, Fate(MessageState.QUEUED, self.refusal, delay_s, tried=False)))


async def _claim(ctx: Context, crowded: Collection[str]) -> list[Errand]:
    """Take a page of mails; the next try is the end of the lease, should we die before marking them."""
    deadline = monotonic() + ctx.lease_s * LEAVING_PART
    due = select(_message).where(_message.c.state == MessageState.QUEUED, _message.c.next_try_at <= after_s())
    due = due.where(~_is_held_back(), *(~_goes_to(domain) for domain in crowded))
    due = due.order_by(_message.c.next_try_at, _message.c.id).limit(PAGE)
    async with ctx.store.write() as session:
        rows = list((await session.execute(ctx.store.claim(due))).mappings())
        if not rows:
            return []
        lease = {"next_try_at": after_s(ctx.lease_s), "tries": _message.c.tries + 1}
        await session.execute(update(_message).where(among(_message.c.id, _ids(rows))).values(**lease))
    async with ctx.store.read() as session:
        facts = await gather(ctx, session, rows)
    return [Errand(row, _domain(row["recipient"]), facts, deadline) for row in rows]


def _domain(recipient: str) -> str:
    return recipient.rpartition("@")[2].lower()


def _goes_to(domain: str) -> ColumnElement[bool]:
    return func.lower(_message.c.recipient).endswith(f"@{domain}", autoescape=True)


def _is_held_back() -> ColumnElement[bool]:
    """Answer whether a mail's run has not yet shown that it goes well, or was stopped because it does not."""
    on_trial = (_run.c.state == RunState.RUNNING) & _run.c.slice_passed_at.is_(None)
    stopped = (_run.c.state == RunState.PAUSED) & _run.c.stopped_reason.is_not(None)
    return exists().where(_run.c.id == _message.c.run_id, on_trial | stopped)


async def _send(ctx: Context, postman: Postman, errand: Errand) -> Fate:
    """Compose and send a mail, and say what became of it; a server that refuses us is the caller's."""
    message, facts = errand.row, errand.facts
    try:
        kind = MailKind(message["step"].split(" ")[0])
        invoice = facts.invoices.get(message["context"].get("invoice_id") or 0)
        if kind in _ASKS_FOR_MONEY and invoice is not None and invoice["state"] != InvoiceState.OPEN:
            return Fate(MessageState.DROPPED, f"the invoice is {invoice['state']} by now")
        await postman.send(render(letter_of(ctx, kind, message, facts)), envelope_of(ctx, message, facts))
    except MailAccountError:
        raise
    except MailDelayedError as error:
        return _delayed(message["tries"], str(error))
    except MailError as error:
        return Fate(MessageState.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - one mail that cannot be written must not hold up the others
        return Fate(MessageState.FAILED, words_for(error))
    return Fate(MessageState.SENT)


def _delayed(tries: int, error: str) -> Fate:
    if tries >= len(RETRY_DELAYS_S):
        return Fate(MessageState.FAILED, error)
    return Fate(MessageState.QUEUED, error, RETRY_DELAYS_S[tries])


async def _mark(ctx: Context, done: Counter[MessageState], fates: list[tuple[RowMapping, Fate]]) -> None:
    """Write what became of mails, those of one fate in one statement; one that failed for good is a person's task."""
    alike: defaultdict[tuple[Fate, int], list[RowMapping]] = defaultdict(list)
    for row, fate in fates:
        alike[fate, row["tries"] + 1].append(row)
        if fate.tried:
            done[fate.state] += 1
            ctx.meters.mail(fate.state)
    async with ctx.store.write() as session:
        for (fate, tries), rows in alike.items():
            # Whoever has claimed a mail since, or has sent it or taken it back, has the word about it, unless it left.
            ours = (_message.c.state == MessageState.QUEUED) & (_message.c.tries == tries)
            mine = among(_message.c.id, _ids(rows)) & (ours | (fate.state == MessageState.SENT))
            said = await session.execute(update(_message).where(mine).values(**_values(fate)).returning(_message.c.id))
            if fate.state == MessageState.FAILED:
                await _tell_of(session, set(said.scalars()), rows, fate.error)


async def queue_again(session: AsyncSession, merchant_id: int, message_id: int) -> None:
    """Let a mail that failed be sent as if it were new, and end the task about it; raise `ConflictError` for others."""
    mine = (_message.c.id == message_id) & (_message.c.merchant_id == merchant_id)
    again: dict[str, Any] = {"state": MessageState.QUEUED, "next_try_at": after_s(), "tries": 0, "error": ""}
    failed = update(_message).where(mine, _message.c.state == MessageState.FAILED).values(**again)
    if (await session.execute(failed.returning(_message.c.id))).scalar() is None:
        raise ConflictError("only a mail that could not be delivered is sent again")
    await end_tasks(session, ["mail"], [f"msg_{message_id}"])


def _values(fate: Fate) -> dict[str, Any]:
    values: dict[str, Any] = {"state": fate.state, "error": fate.error}
    if fate.state == MessageState.SENT:
        values["sent_at"] = after_s()
    if fate.state == MessageState.QUEUED:
        values["next_try_at"] = after_s(fate.delay_s)
    return values if fate.tried else values | {"tries": _message.c.tries - 1}


async def _tell_of(session: AsyncSession, failed: Collection[int], rows: list[RowMapping], error: str) -> None:
    for row in rows:
        if row["id"] in failed:
            task = NewTask(row["merchant_id"], "mail", f"msg_{row['id']}", f"not delivered: {error}")
            await raise_tasks(session, [task], row["business_at"])


def _ids(rows: Iterable[RowMapping]) -> list[int]:
    return [row["id"] for row in rows]
