"""Which change is called what, and what an answer to an event means."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.events import (
    RETRY_DELAYS_S,
    WAIT_S_MAX,
    EventType,
    Verdict,
    judge,
    of_attempt,
    of_invoice,
    of_operation,
    of_subscription,
)
from billing.gateway import OperationKind
from billing.invoices import MOVES as INVOICE_MOVES
from billing.invoices import InvoiceState
from billing.payments import AttemptState
from billing.subscriptions import MOVES, SubscriptionState

S = SubscriptionState


@pytest.mark.parametrize(
    ("held", "now", "name"),
    [
        (S.ACTIVE, S.ACTIVE, "subscription.changed"),
        (S.TRIALING, S.ACTIVE, "subscription.activated"),
        (S.PAST_DUE, S.ACTIVE, "subscription.activated"),
        (S.ACTIVE, S.PAST_DUE, "subscription.past_due"),
        (S.PAST_DUE, S.PAUSED, "subscription.paused"),
        (S.PAUSED, S.ACTIVE, "subscription.resumed"),
        (S.PAUSED, S.PAST_DUE, "subscription.resumed"),
        (S.PAUSED, S.TRIALING, "subscription.resumed"),
        (S.PAUSED, S.CANCELED, "subscription.canceled"),
        (S.ACTIVE, S.CANCELED, "subscription.canceled"),
        (S.CANCELED, S.TRIALING, "subscription.reinstated"),
        (S.CANCELED, S.ACTIVE, "subscription.reinstated"),
        (S.CANCELED, S.ENDED, "subscription.ended"),
        (S.ACTIVE, S.ENDED, "subscription.ended"),
    ],
)
def test_a_move_of_a_subscription_has_a_name(held: S, now: S, name: str) -> None:
    assert of_subscription(held, now) == name


def test_every_move_that_can_be_made_of_a_subscription_or_an_invoice_has_a_name() -> None:
    moves = [(held, now) for held, all_ in MOVES.items() for now in all_]
    assert all(of_subscription(*move) != EventType.SUBSCRIPTION_CHANGED for move in moves)
    billed = [(held, now) for held, all_ in INVOICE_MOVES.items() for now in all_ if held != InvoiceState.DRAFT]
    assert all(of_invoice(*move) is not None for move in billed)


@pytest.mark.parametrize("state", InvoiceState)
def test_an_invoice_that_stands_as_it_stood_is_no_news(state: InvoiceState) -> None:
    assert of_invoice(state, state) is None


def test_only_a_yes_or_a_no_about_the_customers_money_is_told_of_an_attempt() -> None:
    told = {(held, now): of_attempt(held, now) for held, now in product(AttemptState, repeat=2) if held != now}
    assert {news for (_, now), news in told.items() if now == AttemptState.APPROVED} == {EventType.ATTEMPT_APPROVED}
    assert {news for (_, now), news in told.items() if now == AttemptState.DECLINED} == {EventType.ATTEMPT_DECLINED}
    others = {news for (_, now), news in told.items() if now not in (AttemptState.APPROVED, AttemptState.DECLINED)}
    assert others == {None}
    assert of_attempt(AttemptState.APPROVED, AttemptState.APPROVED) is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (OperationKind.REFUND, "refund.made"),
        (OperationKind.CREDIT, "refund.made"),
        (OperationKind.CHARGEBACK, "chargeback.received"),
        (OperationKind.RETURNED_DEBIT, "debit.returned"),
        (OperationKind.CAPTURE, None),
        (OperationKind.REVERSAL, None),
    ],
)
def test_what_gives_or_takes_money_back_is_told_and_what_is_our_own_business_is_not(
    kind: OperationKind, name: str | None
) -> None:
    assert of_operation(kind) == name


def test_names_are_a_noun_and_a_word_about_it() -> None:
    assert all(each.count(".") == 1 and each == each.lower() for each in EventType)


# --- what an answer means ---------------------------------------------------

LAST = len(RETRY_DELAYS_S) + 1


@pytest.mark.parametrize(
    ("status", "tries", "retry_after_s", "verdict"),
    [
        (200, 1, None, Verdict(delivered=True)),
        (204, LAST, None, Verdict(delivered=True)),
        (500, 1, None, Verdict(wait_s=5)),
        (400, 2, None, Verdict(wait_s=300)),
        (302, 3, None, Verdict(wait_s=1800)),
        (404, LAST - 1, None, Verdict(wait_s=24 * 3600)),
        (500, LAST, None, Verdict()),
        (500, 1, 3600, Verdict(wait_s=5)),
        (None, 1, None, Verdict(wait_s=5, rest_s=5)),
        (None, 2, None, Verdict(wait_s=300, rest_s=60)),
        (None, LAST, None, Verdict()),
        (429, 1, 120, Verdict(wait_s=120, rest_s=120)),
        (503, 2, 120, Verdict(wait_s=300, rest_s=120)),
        (503, 1, None, Verdict(wait_s=5, rest_s=5)),
        (429, 1, 10**9, Verdict(wait_s=WAIT_S_MAX, rest_s=WAIT_S_MAX)),
        (429, LAST, 120, Verdict(rest_s=120)),
        (410, 1, None, Verdict(wait_s=5, gone=True)),
        (410, LAST, None, Verdict(wait_s=5, gone=True)),
    ],
)
def test_an_answer_is_judged(status: int | None, tries: int, retry_after_s: int | None, verdict: Verdict) -> None:
    assert judge(status, tries, retry_after_s) == verdict


STATUSES = st.none() | st.integers(100, 599)


@given(status=STATUSES, tries=st.integers(1, LAST), asked_s=st.none() | st.integers(0, 10**9))
def test_nothing_is_sent_sooner_than_was_asked_nor_waits_longer_than_a_day(
    status: int | None, tries: int, asked_s: int | None
) -> None:
    verdict = judge(status, tries, asked_s)
    waits = [verdict.rest_s] + ([] if verdict.wait_s is None else [verdict.wait_s])
    assert all(0 <= wait <= WAIT_S_MAX for wait in waits)
    if status in (429, 503) and asked_s is not None:
        assert min(waits) >= min(asked_s, WAIT_S_MAX)


@given(status=STATUSES, asked_s=st.none() | st.integers(0, 10**9))
def test_a_delivery_comes_to_an_end_after_so_many_tries(status: int | None, asked_s: int | None) -> None:
    verdict = judge(status, LAST, asked_s)
    assert verdict.delivered or verdict.gone or verdict.wait_s is None


def test_it_is_tried_for_more_than_three_days() -> None:
    assert sum(RETRY_DELAYS_S) > 3 * 24 * 3600
    assert list(RETRY_DELAYS_S) == sorted(RETRY_DELAYS_S)
