"""The one door for all news of attempts: lock and re-read, decide, write everything in one transaction.

An answer, a notification, a customer coming back, a question answered, an operator's word: all enter
here, in pages, so hearing a thing twice is harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from billing import dunning, invoices, ledger, subscriptions
from billing.dunning import StepKind
from billing.events import EventType
from billing.gateway import (
    Approved,
    DeclineClass,
    Declined,
    NotSent,
    OperationKind,
    Outcome,
    Pending,
    Refused,
    Unknown,
)
from billing.invoices import InvoiceState
from billing.ledger import Account
from billing.lifecycle import move
from billing.models import Attempt, Invoice, VerificationState, table
from billing.money import Money
from billing.payments import AttemptState, Initiator, absorb
from billing.periods import Interval, Unit
from billing.services import cases
from billing.services.cases import Case, Effects, Record
from billing.services.context import Context
from billing.services.holding import second_payment
from billing.services.messaging import Owed
from billing.services.profiling import fail_profile
from billing.services.tasking import NewTask, raise_tasks
from billing.services.telling import NewEvent
from billing.services.wording import words_for
from billing.store import after_s
from billing.subscriptions import SubscriptionState

# A gateway that was asked so often and is still not sure needs a person, who asks it in another way.
ASKS_BEFORE_A_PERSON = 50
ASK_AGAIN_AFTER_FAILURE_S = 3600
CODE_CHARS_MAX = 60
_DEAD_PROFILE = (DeclineClass.NEEDS_NEW_PROFILE, DeclineClass.NEVER)


@dataclass(frozen=True, slots=True)
class News:
    """What was heard of an attempt, wherever it came from.

    A sender tells how often the attempt had been asked about when it was claimed: where that is another number by
    now, somebody has asked, and perhaps repeated the request, so that "not sent" is true of the first one only.
    """

    attempt_id: int
    outcome: Outcome
    asks_before: int | None = None


async def settle(ctx: Context, news: Sequence[News]) -> Counter[AttemptState]:
    """Take the news into the books and return how many attempts stand where."""
    if not news:
        return Counter()
    try:
        return await _settle_together(ctx, news)
    except Exception:  # noqa: BLE001 - one answer that cannot be settled must not take the others with it
        return sum([await _settle_alone(ctx, each) for each in news], Counter[AttemptState]())


async def settle_within(ctx: Context, session: AsyncSession, news: Sequence[News]) -> Counter[AttemptState]:
    """Do the same inside a transaction that somebody else has opened, and raise where it cannot be done."""
    renewing = [each.attempt_id for each in news if isinstance(each.outcome, Approved) and each.outcome.profile]
    page = await cases.load(ctx, session, {each.attempt_id for each in news}, renewing)
    effects = Effects()
    for each in news:
        _take_in(ctx, page[each.attempt_id], _believed(page[each.attempt_id], each), effects)
    await _fail_profiles(session, news, page, effects)
    await _resume(session, page)
    await cases.save(ctx, session, page.values(), effects)
    return Counter(page[each.attempt_id].state for each in news)


async def _settle_together(ctx: Context, news: Sequence[News]) -> Counter[AttemptState]:
    async with ctx.store.write() as session:
        return await settle_within(ctx, session, news)


async def _settle_alone(ctx: Context, news: News) -> Counter[AttemptState]:
    try:
        return await _settle_together(ctx, [news])
    except Exception as error:  # noqa: BLE001 - whatever it is, a person is told and the money stays in doubt
        reason = words_for(error)
        return Counter([await _set_aside(ctx, news.attempt_id, reason)])


async def _set_aside(ctx: Context, attempt_id: int, reason: str) -> AttemptState:
    """Leave an attempt whose news cannot be taken in: still in doubt where it was, and a task for a person."""
    attempt = table(Attempt)
    mine = attempt.c.id == attempt_id
    doubtful = mine & attempt.c.state.in_((AttemptState.SENT, AttemptState.UNKNOWN))
    doubt = {"state": AttemptState.UNKNOWN, "evidence": reason, "lease_until": None}
    async with ctx.store.write() as session:
        later = update(attempt).values(ask_at=after_s(ASK_AGAIN_AFTER_FAILURE_S))
        await session.execute(later.where(mine, attempt.c.state == AttemptState.PENDING))
        await session.execute(later.where(doubtful).values(**doubt))
        row = (await session.execute(select(attempt).where(mine))).mappings().one()
        task = NewTask(row["merchant_id"], "unsettled", f"att_{attempt_id}", f"news cannot be settled: {reason}")
        await raise_tasks(session, [task], row["business_at"])
        return AttemptState(row["state"])


def _believed(case: Case, news: News) -> Outcome:
    overtaken = news.asks_before is not None and case.attempt["asks"] != news.asks_before
    if overtaken and isinstance(news.outcome, NotSent):
        return Unknown(f"the request may have been repeated meanwhile: {news.outcome.reason}")
    return news.outcome


def _take_in(ctx: Context, case: Case, outcome: Outcome, effects: Effects) -> None:
    """Apply one piece of news to one attempt."""
    held = case.state
    doubted = held in (AttemptState.PENDING, AttemptState.UNKNOWN)
    case.attempt["state"] = absorb(held, outcome, page_open=case.may_be_tried_again)
    case.attempt["gateway_id"] = _gateway_id_after(case, outcome)
    if case.state == held:
        _hear_again(case, outcome, effects)
    else:
        ctx.meters.attempt(case.attempt["gateway_account_id"], case.state)
        _follow(ctx, case, outcome, held, effects)
    if isinstance(outcome, Pending) and case.state == AttemptState.PENDING and outcome.redirect:
        _lead_to_the_bank(case, outcome, effects)
    case.ask_in_s = _ask_in_s(case)
    if case.state in (AttemptState.UNKNOWN, AttemptState.PENDING):
        _despair(case, effects)
    elif doubted:
        effects.known.append(case.name)


def _follow(ctx: Context, case: Case, outcome: Outcome, held: AttemptState, effects: Effects) -> None:
    """Do what the move to a new state asks for."""
    match outcome:
        case Approved():
            _approve(case, outcome, held, effects)
        case Declined():
            _decline(ctx, case, outcome, effects)
        case Refused():
            _refuse(case, outcome, effects)
        case NotSent():
            _give_up(case, outcome.reason, effects)
            if outcome.lasting:
                _ask_about_invoices(case, "unsendable", outcome.reason, effects)
            else:
                _try_again_today(case)
        case Pending() | Unknown():
            case.attempt["sent_at"] = case.heard_at
            _note(case, outcome)


def _lead_to_the_bank(case: Case, outcome: Pending, effects: Effects) -> None:
    """The bank asks the customer, who may take so long; the same answer told again changes nothing."""
    if not case.page_open:
        case.page_closes_in_s = outcome.until_s or 0
        effects.challenges.append((case.attempt["id"], outcome))


def _hear_again(case: Case, outcome: Outcome, effects: Effects) -> None:
    """Take from news that changes no state what is still new in it."""
    if isinstance(outcome, Approved) and case.state == AttemptState.APPROVED:
        _hear_more_of_a_payment(case, outcome, effects)
    elif isinstance(outcome, Refused):
        _stop_account(case, outcome, effects)
    elif isinstance(outcome, Declined) and case.state == AttemptState.APPROVED:
        _hear_a_contradiction(case, outcome, effects)
    elif case.state in (AttemptState.PENDING, AttemptState.UNKNOWN):
        _note(case, outcome)


# --- approved ---------------------------------------------------------------


def _approve(case: Case, outcome: Approved, held: AttemptState, effects: Effects) -> None:
    _decide(case, effects)
    case.attempt["gateway_id"] = outcome.gateway_id
    case.attempt["captured"] = outcome.captured
    if outcome.profile:
        effects.store_profile(case, outcome.profile)
    elif outcome.profile_failed:
        reason = "the card or account that the customer allowed us to keep could not be stored at the gateway"
        effects.ask_a_person(case, "profile", case.name, reason)
    if outcome.amount != case.amount:
        _book_strange_amount(case, outcome, effects)
    elif case.verification:
        _authorise(case, case.verification, outcome, effects)
    elif outcome.undone:
        _book_undone(case, outcome, outcome.undone, effects)
    else:
        _pay(case, outcome, held, effects)


def _pay(case: Case, outcome: Approved, held: AttemptState, effects: Effects) -> None:
    """Pay the invoices; what is already paid or withdrawn makes the money a surplus that must go back."""
    wanted = [_pay_invoice(case, place, *each, effects) for place, each in enumerate(case.invoices)]
    if not outcome.captured:
        effects.owe(case, OperationKind.CAPTURE if any(wanted) else OperationKind.REVERSAL, outcome.amount)
    if held not in (AttemptState.SENT, AttemptState.PENDING):
        effects.paid_late += [invoice["id"] for invoice, _ in case.invoices]


def _pay_invoice(case: Case, place: int, invoice: Record, amount: Money, effects: Effects) -> bool:
    """Book what came in for an invoice, and answer whether it was still wanted."""
    wanted = invoice["state"] in (InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE)
    key = case.attempt["key"] + (f"/{place}" if place else "")
    effects.post(case, ledger.payment(key, amount, amount if wanted else amount * 0), invoice["id"])
    if wanted:
        _close_invoice(case, invoice, effects)
    else:
        what = f"{amount.major} {amount.currency} came in for {invoice['number']}, which is {invoice['state']}"
        reason = f"{what}: payment {case.attempt['gateway_id']} under the key {case.attempt['key']}"
        effects.ask_a_person(case, "surplus", case.name, reason)
    return wanted


def _close_invoice(case: Case, invoice: Record, effects: Effects) -> None:
    invoice["state"] = move(invoices.MOVES, InvoiceState(invoice["state"]), InvoiceState.PAID)
    invoice["paid_at"] = case.moment.now
    invoice["next_step"] = invoice["next_step_on"] = None
    effects.paid.append(f"inv_{invoice['id']}")
    effects.mail(case, "receipt", invoice_id=invoice["id"])


def _authorise(case: Case, verification: Record, outcome: Approved, effects: Effects) -> None:
    """A verification went through: the profile is renewed, and the amount is owed back from this moment."""
    verification["state"] = VerificationState.AUTHORISED
    verification["authorised_at"] = case.moment.now
    if outcome.captured:
        effects.post(case, ledger.held(case.attempt["key"], outcome.amount))
    effects.owe(case, OperationKind.REFUND if outcome.captured else OperationKind.REVERSAL, outcome.amount)


def _book_undone(case: Case, outcome: Approved, undone: OperationKind, effects: Effects) -> None:
    """Book money that came and went before we heard of it: nothing is paid by it, and a person decides."""
    if outcome.captured:
        key = case.attempt["key"]
        effects.post(case, ledger.payment(key, outcome.amount, outcome.amount * 0))
        effects.post(case, ledger.refund(key, outcome.amount, Account.CUSTOMER_CREDIT))
    reason = f"{case.attempt['key']} was paid, and taken back before we heard of it: {undone}"
    _ask_about_invoices(case, undone, reason, effects)
    effects.ask_a_person(case, undone, case.name, reason)


def _ask_about_invoices(case: Case, kind: str, reason: str, effects: Effects) -> None:
    for invoice, _ in case.invoices:
        effects.ask_a_person(case, kind, f"inv_{invoice['id']}", reason)


def _book_strange_amount(case: Case, outcome: Approved, effects: Effects) -> None:
    """Book money that is not what we asked for as the money it is, and let a person look."""
    nothing_owed = Money(0, outcome.amount.currency)
    effects.post(case, ledger.payment(case.attempt["key"], outcome.amount, nothing_owed))
    asked, got = case.amount, outcome.amount
    reason = f"asked for {asked.major} {asked.currency}, but {got.major} {got.currency} was booked"
    effects.ask_a_person(case, "amount", case.name, reason)
    _ask_about_invoices(case, "amount", reason, effects)


def _hear_more_of_a_payment(case: Case, outcome: Approved, effects: Effects) -> None:
    """A payment we know: it may have been captured since, or it may be a second one under the same key."""
    if outcome.gateway_id != case.attempt["gateway_id"]:
        reason = f"a second payment {outcome.gateway_id} was booked beside {case.attempt['gateway_id']}"
        effects.ask_a_person(case, "surplus", f"{case.name}/{outcome.gateway_id}", reason)
        name = second_payment(case.attempt["key"], outcome.gateway_id)
        group = ledger.payment(name, outcome.amount, outcome.amount * 0)
        effects.post_once(case, group)
        return
    if outcome.profile:
        effects.store_profile(case, outcome.profile, again=True)
    if outcome.captured and not case.attempt["captured"]:
        case.attempt["captured"] = True
        if case.verification:
            effects.post(case, ledger.held(case.attempt["key"], outcome.amount))


def _hear_a_contradiction(case: Case, outcome: Declined, effects: Effects) -> None:
    """Some ways to pay fail after they were approved; an older try of the same key that failed is no news."""
    if outcome.gateway_id and outcome.gateway_id == case.attempt["gateway_id"]:
        reason = f"it was approved, and now the gateway says {outcome.code}: look there whether the money is ours"
        effects.ask_a_person(case, "contradiction", case.name, reason)


# --- declined and refused ---------------------------------------------------


def _decline(ctx: Context, case: Case, outcome: Declined, effects: Effects) -> None:
    _decide(case, effects)
    case.attempt["gateway_id"] = outcome.gateway_id or case.attempt["gateway_id"]
    case.attempt["decline_code"] = outcome.code[:CODE_CHARS_MAX]
    case.attempt["decline_class"] = outcome.decline
    case.attempt["evidence"] = outcome.text
    away = case.attempt["initiator"] == Initiator.MERCHANT
    for invoice, _ in case.invoices:
        if invoice["state"] != InvoiceState.OPEN:
            continue
        _dun(ctx, case, invoice, retry=away and dunning.can_retry(outcome.decline), effects=effects)
        if away:
            attempt = case.attempt
            owed = Owed(attempt["merchant_id"], attempt["customer_id"], invoice["id"])
            effects.owed.append((owed, case.moment.now))
            effects.mail(case, "declined", invoice_id=invoice["id"])
        subscription = case.subscriptions.get(invoice["subscription_id"])
        if subscription is not None and subscription["state"] == SubscriptionState.ACTIVE:
            subscription["state"] = SubscriptionState.PAST_DUE


def _dun(ctx: Context, case: Case, invoice: Record, *, retry: bool, effects: Effects) -> None:
    """Set the invoice's next step; a decline while the customer is there leaves the plan as it is."""
    today = case.moment.today
    if invoice["next_step"] and case.attempt["initiator"] == Initiator.CUSTOMER:
        return
    begun_on = invoice["dunned_since"] or today
    step = dunning.next_step(ctx.ladder, begun_on, today, retry=retry)
    invoice["dunned_since"] = begun_on
    invoice["next_step"], invoice["next_step_on"] = (step.kind, step.on) if step else (None, None)
    if step is None:
        effects.ask_a_person(case, "unpaid", f"inv_{invoice['id']}", "declined again after the last step")


def _refuse(case: Case, outcome: Refused, effects: Effects) -> None:
    """We were rejected, not the customer: stop the account, mail nobody, and try again once it is open."""
    _give_up(case, f"{outcome.code}: {outcome.reason}", effects)
    _try_again_today(case)
    _stop_account(case, outcome, effects)


def _stop_account(case: Case, outcome: Refused, effects: Effects) -> None:
    account_id = case.attempt["gateway_account_id"]
    effects.stopped[account_id] = (f"{outcome.code}: {outcome.reason}", case.moment.now)
    effects.ask_a_person(case, "account_stopped", f"acc_{account_id}", f"{outcome.code}: {outcome.reason}")


def _give_up(case: Case, reason: str, effects: Effects) -> None:
    """End an attempt that collected nothing through no fault of the customer."""
    _decide(case, effects)
    case.attempt["evidence"] = reason


def _try_again_today(case: Case) -> None:
    """Let the next run or dunning try an open invoice again, unless the customer started this attempt."""
    if case.attempt["initiator"] == Initiator.CUSTOMER:
        return
    for invoice, _ in case.invoices:
        if invoice["state"] == InvoiceState.OPEN:
            invoice["next_step"], invoice["next_step_on"] = StepKind.RETRY, case.moment.today


def _decide(case: Case, effects: Effects) -> None:
    """The attempt is over: it is dated, and the right to collect is free again."""
    case.attempt["decided_at"] = case.moment.now
    effects.freed.append(case.attempt["id"])


# --- doubt ------------------------------------------------------------------


def _note(case: Case, outcome: Outcome) -> None:
    """Keep what was said as evidence."""
    match outcome:
        case Declined():
            case.attempt["evidence"] = f"a try was declined: {outcome.code} {outcome.text}".strip()
        case Pending():
            case.attempt["evidence"] = outcome.evidence or case.attempt["evidence"]
        case Unknown() | NotSent() | Refused():
            case.attempt["evidence"] = outcome.reason


def _ask_in_s(case: Case) -> float | None:
    """Return when the gateway is asked next: never for what is decided, and not while a page is open."""
    if case.state not in (AttemptState.PENDING, AttemptState.UNKNOWN):
        return None
    if case.page_open:
        return (case.page_closes_in_s or 0) + cases.PAGE_MARGIN_S
    asks: int = case.attempt["asks"]
    asking = case.asking
    if not case.attempt["gateway_id"] and _is_out_of_questions(case, asks):
        return None
    return asking.delays_s[min(asks, len(asking.delays_s) - 1)]


def _is_out_of_questions(case: Case, asks: int) -> bool:
    """Answer whether no question by our key is left: the budget is spent, or the gateway has forgotten the key.

    A page is no request that could be repeated.
    """
    asking, until = case.asking, case.attempt["repeat_until"]
    if asking.by_key:
        return asking.budget is not None and asks >= asking.budget
    return case.hosted or (asking.repeat_s is not None if until is None else bool(until <= case.heard_at))


def _despair(case: Case, effects: Effects) -> None:
    """Ask a person about a doubt that no question will settle, or that none of very many has settled."""
    attempt = case.attempt
    if case.ask_in_s is None:
        outlook = "the gateway cannot be asked again"
    elif attempt["asks"] >= ASKS_BEFORE_A_PERSON:
        outlook = "no answer is final after many questions"
    else:
        return
    what = f"{case.amount.major} {case.amount.currency} under the key {attempt['key']}"
    named = f", which the gateway calls {attempt['gateway_id']}" if attempt["gateway_id"] else ""
    asked = f"asked {attempt['asks']} times, last heard: {attempt['evidence'] or 'nothing'}"
    effects.ask_a_person(case, "doubt", case.name, f"{what}{named}: {asked}; {outlook}")


def _gateway_id_after(case: Case, outcome: Outcome) -> str:
    """Return the gateway's id to hold on to: a page may see several tries, of which the latest counts.

    A declined try on a page does not name the payment.
    """
    held, told = str(case.attempt["gateway_id"]), outcome.gateway_id if isinstance(outcome, Pending | Unknown) else ""
    if case.state == AttemptState.APPROVED or (held and not case.hosted):
        return held
    return told or held


# --- what needs a look at other rows ----------------------------------------


async def _fail_profiles(session: AsyncSession, news: Sequence[News], page: dict[int, Case], effects: Effects) -> None:
    """A profile whose card is gone is not charged again until a visit renews it."""
    dead = {
        page[each.attempt_id].attempt["profile_id"]: page[each.attempt_id]
        for each in news
        if isinstance(each.outcome, Declined)
        and each.outcome.decline in _DEAD_PROFILE
        and page[each.attempt_id].attempt["initiator"] == Initiator.MERCHANT
        and page[each.attempt_id].state == AttemptState.DECLINED
    }
    for profile_id in await fail_profile(session, [profile_id for profile_id in dead if profile_id is not None]):
        about = (dead[profile_id].attempt["merchant_id"], EventType.PROFILE_FAILED, "pro", profile_id)
        effects.news.append(NewEvent(*about, dead[profile_id].moment.now))


async def _resume(session: AsyncSession, page: dict[int, Case]) -> None:
    """Give back access to subscriptions whose last overdue invoice has just been paid."""
    waiting = {
        id_: (subscription, case)
        for case in page.values()
        for id_, subscription in case.subscriptions.items()
        if _waits_for_payment(subscription) and all(invoice["state"] == "paid" for invoice, _ in case.invoices)
    }
    if not waiting:
        return
    still_owing = await _owing(session, waiting, page)
    for id_, (subscription, case) in waiting.items():
        if id_ not in still_owing:
            _reopen(subscription, case)


def _waits_for_payment(subscription: Record) -> bool:
    """Only overdue and paused ones do; one that was canceled meanwhile stays canceled."""
    paused = subscription["state"] == SubscriptionState.PAUSED and bool(subscription["paused_by_dunning"])
    return paused or subscription["state"] == SubscriptionState.PAST_DUE


async def _owing(session: AsyncSession, waiting: dict[int, tuple[Record, Case]], page: dict[int, Case]) -> set[int]:
    """Return the subscriptions that have another invoice overdue."""
    invoice = table(Invoice)
    paid_now = {invoice["id"] for case in page.values() for invoice, _ in case.invoices if invoice["state"] == "paid"}
    query = select(invoice.c.subscription_id).where(
        invoice.c.subscription_id.in_(waiting),
        invoice.c.state == InvoiceState.OPEN,
        invoice.c.dunned_since.is_not(None),
        invoice.c.id.not_in(paid_now),
    )
    return {row.subscription_id for row in await session.execute(query)}


def _reopen(subscription: Record, case: Case) -> None:
    held = SubscriptionState(subscription["state"])
    subscription["state"] = move(subscriptions.MOVES, held, SubscriptionState.ACTIVE)
    if not subscription["paused_by_dunning"]:
        return
    interval = Interval(Unit(subscription["interval_unit"]), subscription["interval_count"])
    anchor_on = subscription["anchor_on"]
    number = subscriptions.period_on_resuming(interval, anchor_on, subscription["next_period"], case.moment.today)
    subscription["skipped_periods"] += number - subscription["next_period"]
    subscription |= {"paused_by_dunning": False, "next_period": number}
    subscription["next_due_on"] = interval.boundary(anchor_on, number)
