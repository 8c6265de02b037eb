"""The merchant, its gateway accounts and its number series."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, UniqueConstraint
from sqlmodel import Field

from billing.models.base import Row, added, identity, instant, minor, one_of, refers, rule, word


class AccountState(StrEnum):
    """Whether charges may go through a gateway account."""

    OPEN = "open"
    STOPPED = "stopped"


class CatchUp(StrEnum):
    """What happens to more than one missed period at once."""

    EACH = "each"
    APPROVAL = "approval"


class SurplusPolicy(StrEnum):
    """What happens to money beyond what was owed: a person is asked, or it goes back by itself."""

    ASK = "ask"
    REFUND = "refund"


class TestClock(Row, table=True):
    """Business time of sandbox merchants, moved by hand."""

    __tablename__ = "test_clock"
    __test__ = False

    id: int = identity()
    name: str = Field(max_length=100, unique=True)
    now_at: datetime = instant(nullable=False)


class Merchant(Row, table=True):
    """Who sells: legal seller, owner of plans, customers, number series, gateway accounts, brand.

    New prices are in `currency` unless they say otherwise. With `run_approval` a run waits for a person's word;
    `brakes` are the thresholds that differ from ours.
    """

    __table_args__ = (
        rule("sandbox_has_clock", "test_clock_id IS NULL OR NOT live"),
        rule("verification_positive", "verification_minor > 0"),
        rule("link_days_positive", "link_days > 0"),
        one_of("catch_up", CatchUp),
        one_of("surplus", SurplusPolicy),
    )

    id: int = identity()
    reference: str = Field(max_length=40, unique=True)
    name: str = Field(max_length=100)
    legal_name: str = Field(max_length=200)
    place: str = Field(default="", max_length=200)
    legal_line: str = Field(default="", max_length=400)
    country: str = Field(default="", max_length=2)
    currency: str = added("EUR", 3)
    number_prefix: str = Field(max_length=20)
    timezone: str = Field(default="Europe/Vienna", max_length=64)
    language: str = Field(default="en", max_length=5)
    live: bool = False
    mail_from: str = Field(max_length=254)
    reply_to: str = Field(default="", max_length=254)
    help_url: str = Field(default="", max_length=500)
    legal_url: str = Field(default="", max_length=500)
    privacy_url: str = Field(default="", max_length=500)
    invoice_page: str = Field(default="", max_length=500)
    accent: str = Field(default="", max_length=60)
    verification_minor: int = Field(default=10, sa_type=BigInteger)
    link_days: int = Field(default=14)
    catch_up: CatchUp = word(CatchUp.EACH)
    run_approval: bool | None = None
    brakes: dict[str, int] | None = Field(default=None, sa_type=JSON)
    surplus: SurplusPolicy = added(SurplusPolicy.ASK, 24)
    test_clock_id: int | None = refers("test_clock.id", nullable=True)


class GatewayAccount(Row, table=True):
    """One merchant's credentials and switches at one gateway; credentials are sealed."""

    __tablename__ = "gateway_account"
    __table_args__ = (UniqueConstraint("merchant_id", "reference"), one_of("state", AccountState))

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    reference: str = Field(max_length=40)
    gateway: str = Field(max_length=20)
    sealed_credentials: str
    state: AccountState = word(AccountState.OPEN)
    stopped_reason: str = ""
    stopped_at: datetime | None = instant()


class NumberSeries(Row, table=True):
    """Invoice numbers without gap or repeat: the next value is taken in the transaction that uses it."""

    __tablename__ = "number_series"
    __table_args__ = (UniqueConstraint("merchant_id", "prefix"), rule("next_positive", "next_value > 0"))

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    prefix: str = Field(max_length=30)
    next_value: int = minor()
