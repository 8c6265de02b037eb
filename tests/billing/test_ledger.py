from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.ledger import (
    Account,
    Entry,
    Group,
    UnbalancedError,
    held,
    issue,
    paid_outside,
    payment,
    refund,
    released,
    taken_back,
    void,
)
from billing.money import Money

positive = st.builds(Money, st.integers(1, 10**12), st.just("EUR"))
owed = st.builds(Money, st.integers(-(10**12), 10**12), st.just("EUR"))
not_negative = st.builds(Money, st.integers(0, 10**12), st.just("EUR"))


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def written(group: Group) -> dict[str, int]:
    return {str(entry.account): entry.amount.minor for entry in group.entries}


def balances(*groups: Group) -> Counter[str]:
    total: Counter[str] = Counter()
    for group in groups:
        for entry in group.entries:
            total[entry.account] += entry.amount.minor
    return total


@pytest.mark.parametrize(
    ("group", "key", "entries"),
    [
        (issue("K", eur(4083), eur(817)), "issue:K", {"receivable": 4900, "revenue": -4083, "tax": -817}),
        (issue("K", eur(4900), eur(0)), "issue:K", {"receivable": 4900, "revenue": -4900}),
        (void("K", eur(4083), eur(817)), "void:K", {"receivable": -4900, "revenue": 4083, "tax": 817}),
        (payment("K", eur(4900), eur(4900)), "payment:K", {"gateway": 4900, "receivable": -4900}),
        (payment("K", eur(3000), eur(4900)), "payment:K", {"gateway": 3000, "receivable": -3000}),
        (
            payment("K", eur(5000), eur(4900)),
            "payment:K",
            {"gateway": 5000, "receivable": -4900, "customer_credit": -100},
        ),
        (payment("K", eur(4900), eur(0)), "payment:K", {"gateway": 4900, "customer_credit": -4900}),
        (payment("K", eur(4900), eur(-300)), "payment:K", {"gateway": 4900, "customer_credit": -4900}),
        (payment("K", Money(4900, "CHF"), eur(4900)), "payment:K", {"gateway": 4900, "customer_credit": -4900}),
        (paid_outside("K", eur(4900)), "outside:K", {"outside": 4900, "receivable": -4900}),
        (held("K", eur(10)), "held:K", {"gateway": 10, "verification": -10}),
        (released("K", eur(10)), "released:K", {"gateway": -10, "verification": 10}),
        (refund("K", eur(100), Account.CUSTOMER_CREDIT), "refund:K", {"gateway": -100, "customer_credit": 100}),
        (refund("K", eur(100), Account.RECEIVABLE), "refund:K", {"gateway": -100, "receivable": 100}),
        (taken_back("K", eur(4900)), "taken-back:K", {"gateway": -4900, "receivable": 4900}),
    ],
)
def test_what_happened_is_posted_to_these_accounts(group: Group, key: str, entries: dict[str, int]) -> None:
    assert group.key == key
    assert written(group) == entries


@pytest.mark.parametrize(
    "amounts",
    [[eur(1)], [eur(1), eur(-2)], [eur(1), Money(-1, "CHF")], [eur(5), eur(-5), Money(1, "CHF"), Money(-2, "CHF")]],
)
def test_a_group_that_does_not_balance_in_every_currency_cannot_be_made(amounts: list[Money]) -> None:
    with pytest.raises(UnbalancedError, match="K is off by"):
        Group("K", tuple(Entry(Account.GATEWAY, amount) for amount in amounts))


def test_a_group_may_balance_in_two_currencies_at_once() -> None:
    amounts = [eur(5), eur(-5), Money(7, "CHF"), Money(-7, "CHF")]

    assert len(Group("K", tuple(Entry(Account.GATEWAY, amount) for amount in amounts)).entries) == 4


@given(positive, owed)
def test_a_payment_settles_no_more_than_is_owed_and_loses_nothing(amount: Money, owing: Money) -> None:
    posted = written(payment("K", amount, owing))
    settled, credit = -posted.get("receivable", 0), -posted.get("customer_credit", 0)

    assert settled + credit == amount.minor == posted["gateway"]
    assert settled == min(amount.minor, max(owing.minor, 0))
    assert 0 not in posted.values()


@given(positive, not_negative)
def test_a_voided_invoice_leaves_nothing_behind(net: Money, tax: Money) -> None:
    assert not any(balances(issue("K", net, tax), void("K", net, tax)).values())


@given(positive, not_negative)
def test_money_taken_back_is_owed_again(net: Money, tax: Money) -> None:
    total = net + tax
    left = balances(issue("K", net, tax), payment("K", total, total), taken_back("K", total))

    assert left == balances(issue("K", net, tax))


@given(positive)
def test_a_verification_given_back_leaves_nothing_behind(amount: Money) -> None:
    assert not any(balances(held("K", amount), released("K", amount)).values())


@given(positive, positive)
def test_a_surplus_given_back_leaves_nothing_behind(owing: Money, surplus: Money) -> None:
    left = balances(payment("K", owing + surplus, owing), refund("R", surplus, Account.CUSTOMER_CREDIT))

    assert left[Account.CUSTOMER_CREDIT] == 0
    assert left[Account.GATEWAY] == owing.minor
