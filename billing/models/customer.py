"""The customer and the profiles stored for them at gateways."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from billing.models.base import Row, begins, identity, instant, one_of, refers, table, word


class ProfileState(StrEnum):
    """Whether a profile can be charged."""

    ACTIVE = "active"
    FAILED = "failed"
    REPLACED = "replaced"
    FORGOTTEN = "forgotten"


class Customer(Row, table=True):
    """Who pays."""

    __table_args__ = (UniqueConstraint("merchant_id", "reference"),)

    id: int = identity()
    merchant_id: int = refers("merchant.id")
    reference: str = Field(max_length=32)
    name: str = Field(max_length=100)
    salutation: str = Field(default="", max_length=100)
    email: str = Field(max_length=254)
    language: str = Field(default="", max_length=5)
    country: str = Field(default="", max_length=2)


for _column in ("name", "email", "reference"):
    begins(table(Customer), _column)


class Profile(Row, table=True):
    """A stored credential at one gateway, made with the customer present.

    Its reference is sealed, since some gateways' references are keys to money; the digest finds it.
    """

    __table_args__ = (UniqueConstraint("gateway_account_id", "reference_digest"), one_of("state", ProfileState))

    id: int = identity()
    customer_id: int = refers("customer.id", index=True)
    gateway_account_id: int = refers("gateway_account.id")
    sealed_reference: str
    reference_digest: str = Field(max_length=64)
    slot: str = Field(default="", max_length=20)
    kind: str = Field(default="card", max_length=20)
    brand: str = Field(default="", max_length=30)
    last4: str = Field(default="", max_length=4)
    expires_on: date | None = None
    state: ProfileState = word(ProfileState.ACTIVE)
    mandate_reference: str = Field(default="", max_length=35)
    mandate_signed_on: date | None = None
    first_transaction: str = Field(default="", max_length=64)
    scheme_reference: str = Field(default="", max_length=250)
    created_at: datetime = instant(nullable=False)
    renewed_at: datetime | None = instant()
