"""Who may use the API, and the answers that are kept so that a call made twice happens once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from itertools import combinations
from typing import Final

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlmodel import Field

from billing.models.base import Row, identity, instant, one_of, refers, rule


class Scope(StrEnum):
    """What an API key may do; none of them contains another."""

    READ = "read"
    WRITE = "write"
    REFUND = "refund"
    SETUP = "setup"


def write_scopes(scopes: set[Scope]) -> str:
    """Return scopes as they are stored: words in the order above."""
    return " ".join(scope for scope in Scope if scope in scopes)


def read_scopes(stored: str) -> frozenset[Scope]:
    """Return the scopes in a stored text."""
    return frozenset(map(Scope, stored.split()))


SCOPE_SETS: Final = tuple(
    write_scopes(set(some)) for size in range(1, len(Scope) + 1) for some in combinations(Scope, size)
)


class ApiKey(Row, table=True):
    """A key that opens one merchant's API; what is stored of its secret is a digest.

    The prefix is its name, which may be shown. All times are of the machine's clock.
    """

    __tablename__ = "api_key"
    __table_args__ = (
        UniqueConstraint("prefix"),
        rule("secret_is_digest", "LENGTH(secret_digest) = 64"),
        one_of("scopes", SCOPE_SETS),
        Index("ix_api_key_merchant_id", "merchant_id"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    name: str = Field(max_length=100)
    prefix: str = Field(max_length=16)
    secret_digest: str = Field(max_length=64)
    scopes: str = Field(max_length=24)
    created_at: datetime = instant(nullable=False)
    expires_at: datetime | None = instant()
    revoked_at: datetime | None = instant()
    last_used_at: datetime | None = instant()


class Idempotency(Row, table=True):
    """A call under an `Idempotency-Key`: claimed before its effect, and answered in the effect's own transaction.

    So a claim without an answer had no effect, and can be taken over once its lease is over; `claim` tells
    whose it is. The answer is sealed, since it may carry an address that opens a payment. Both times are by
    the database's clock.
    """

    __table_args__ = (
        rule("answer_is_whole", "(status IS NULL) = (sealed_answer IS NULL)"),
        Index("ix_idempotency_created_at", "created_at"),
    )

    merchant_id: int = Field(primary_key=True, foreign_key="merchant.id", sa_type=BigInteger)
    key: str = Field(primary_key=True, max_length=200)
    digest: str = Field(max_length=64)
    claim: str = Field(max_length=32)
    lease_until: datetime = instant(nullable=False)
    status: int | None = None
    sealed_answer: str | None = None
    created_at: datetime = instant(nullable=False)
