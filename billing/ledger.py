"""Balanced postings: every group of them adds up to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from billing.money import Money


class Account(StrEnum):
    """Where money stands. Assets are posted with a plus, debts and revenue with a minus."""

    RECEIVABLE = "receivable"
    REVENUE = "revenue"
    TAX = "tax"
    GATEWAY = "gateway"
    CUSTOMER_CREDIT = "customer_credit"
    VERIFICATION = "verification"
    OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Entry:
    """One posting: an account and a signed amount."""

    account: Account
    amount: Money


class UnbalancedError(ValueError):
    """A group of postings that does not add up to nothing."""


@dataclass(frozen=True, slots=True)
class Group:
    """Postings that belong together; `key` can be used once, so nothing is posted twice."""

    key: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        totals: dict[str, int] = {}
        for entry in self.entries:
            totals[entry.amount.currency] = totals.get(entry.amount.currency, 0) + entry.amount.minor
        if any(totals.values()):
            raise UnbalancedError(f"{self.key} is off by {totals}")


def issue(key: str, net: Money, tax: Money) -> Group:
    """Post an invoice: the customer owes it, we earned the net, and the tax is the state's."""
    return Group(f"issue:{key}", _earned(net, tax))


@lru_cache(4096)
def _earned(net: Money, tax: Money) -> tuple[Entry, ...]:
    """Return the entries of an invoice; those of a price are the same for everyone who pays it."""
    entries = (Entry(Account.RECEIVABLE, net + tax), Entry(Account.REVENUE, -net), Entry(Account.TAX, -tax))
    return tuple(entry for entry in entries if entry.amount)


def void(key: str, net: Money, tax: Money) -> Group:
    """Take an issued invoice back."""
    return Group(f"void:{key}", tuple(Entry(e.account, -e.amount) for e in issue(key, net, tax).entries))


def payment(key: str, amount: Money, owed: Money) -> Group:
    """Post money that a gateway booked: what is owed is settled, any surplus is the customer's credit."""
    settled = min(amount, max(owed, Money(0, owed.currency))) if amount.currency == owed.currency else amount * 0
    entries = (
        Entry(Account.GATEWAY, amount),
        Entry(Account.RECEIVABLE, -settled),
        Entry(Account.CUSTOMER_CREDIT, settled - amount),
    )
    return Group(payment_key(key), tuple(entry for entry in entries if entry.amount))


def paid_outside(key: str, amount: Money) -> Group:
    """Post an invoice as paid by money that came past every gateway: to the bank, or in cash."""
    return Group(f"outside:{key}", (Entry(Account.OUTSIDE, amount), Entry(Account.RECEIVABLE, -amount)))


def payment_key(key: str) -> str:
    """Return the name of the group that a payment under a key is posted as."""
    return f"payment:{key}"


def held(key: str, amount: Money) -> Group:
    """Post a verification that was booked although nothing is owed: we hold it until it is given back."""
    return Group(f"held:{key}", (Entry(Account.GATEWAY, amount), Entry(Account.VERIFICATION, -amount)))


def released(key: str, amount: Money) -> Group:
    """Post a verification given back."""
    return Group(f"released:{key}", (Entry(Account.GATEWAY, -amount), Entry(Account.VERIFICATION, amount)))


def refund(key: str, amount: Money, source: Account) -> Group:
    """Post money given back, out of the customer's credit or as money owed again."""
    return Group(f"refund:{key}", (Entry(Account.GATEWAY, -amount), Entry(source, amount)))


def taken_back(key: str, amount: Money) -> Group:
    """Post a chargeback or returned debit: the money is gone and owed again."""
    return Group(f"taken-back:{key}", (Entry(Account.GATEWAY, -amount), Entry(Account.RECEIVABLE, amount)))
