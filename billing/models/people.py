"""Who may use the console: users, their roles at merchants and their sessions, and the record of what was done."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, UniqueConstraint
from sqlmodel import Field

from billing.models.base import Row, identity, instant, one_of, refers, rule, word


class Role(StrEnum):
    """What a user may do for a merchant; each may do all that the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Answer whether who has this role may do what wants the other."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class ActorKind(StrEnum):
    """Who did something: a person in the console, an API key, the command, or the engine by itself."""

    USER = "user"
    KEY = "key"
    COMMAND = "command"
    SYSTEM = "system"


class User(Row, table=True):
    """A person who signs in to the console; the address is kept in small letters, so that it is taken once.

    `totp_step` is the last time step whose code was taken, and `recovery` the digests of the recovery codes that
    are left. All times are of the machine's clock.
    """

    __tablename__ = "console_user"
    __table_args__ = (
        UniqueConstraint("email"),
        rule("email_in_small_letters", "email = LOWER(email)"),
        rule("password_is_hashed", "password_hash = '' OR password_hash LIKE '$argon2id$%'"),
        rule("second_factor_is_whole", "sealed_totp IS NOT NULL OR totp_step IS NULL"),
    )

    id: int = identity()
    email: str = Field(max_length=254)
    name: str = Field(max_length=100)
    password_hash: str = Field(default="", max_length=200)
    sealed_totp: str | None = None
    totp_step: int | None = Field(default=None, sa_type=BigInteger)
    recovery: list[str] = Field(default_factory=list, sa_type=JSON)
    created_at: datetime = instant(nullable=False)
    disabled_at: datetime | None = instant()
    last_signed_in_at: datetime | None = instant()


class Membership(Row, table=True):
    """What a user may do for one merchant; without one the merchant is not there for them."""

    __table_args__ = (one_of("role", Role), Index("ix_membership_merchant_id", "merchant_id"))

    user_id: int = Field(primary_key=True, foreign_key="console_user.id", sa_type=BigInteger)
    merchant_id: int = Field(primary_key=True, foreign_key="merchant.id", sa_type=BigInteger)
    role: Role = word()
    created_at: datetime = instant(nullable=False)


class ConsoleSession(Row, table=True):
    """A browser in which a user has signed in; what is stored of its token is a digest.

    One that still waits for the second factor opens nothing but the page that asks for it.
    """

    __tablename__ = "console_session"
    __table_args__ = (
        UniqueConstraint("token_digest"),
        rule("token_is_digest", "LENGTH(token_digest) = 64"),
        rule("ends_after_it_began", "expires_at > created_at"),
        Index("ix_console_session_user_id", "user_id"),
    )

    id: int = identity()
    user_id: int = refers("console_user.id")
    token_digest: str = Field(max_length=64)
    waits_for_code: bool = False
    address: str = Field(default="", max_length=64)
    created_at: datetime = instant(nullable=False)
    last_seen_at: datetime = instant(nullable=False)
    expires_at: datetime = instant(nullable=False)


class SignInFailure(Row, table=True):
    """How often signing in has failed in a row, for one address or from one place; the subject is a digest."""

    __tablename__ = "sign_in_failure"
    __table_args__ = (rule("count_not_negative", "count >= 0"),)

    subject: str = Field(primary_key=True, max_length=64)
    count: int = 0
    last_at: datetime = instant(nullable=False)


class AuditEntry(Row, table=True):
    """What somebody did, to what; only ever added to."""

    __tablename__ = "audit_entry"
    __table_args__ = (
        one_of("actor_kind", ActorKind),
        Index("ix_audit_entry_merchant_id", "merchant_id", "id"),
        Index("ix_audit_entry_subject", "merchant_id", "subject", "id"),
        Index("ix_audit_entry_verb", "merchant_id", "verb", "id"),
        Index("ix_audit_entry_actor", "merchant_id", "actor", "id"),
    )

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    at: datetime = instant(nullable=False)
    actor_kind: ActorKind = word()
    actor: str = Field(max_length=140)
    verb: str = Field(max_length=60)
    subject: str = Field(default="", max_length=140)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
