"""What bodies are made of: strict input, frozen output, and the few kinds of value there are."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer

from billing.money import Money, MoneyError, exponent

ID_MAX: Final = 2**63 - 1


def example(**values: Any) -> ConfigDict:
    """Return a model's configuration with one example of it."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class Given(BaseModel):
    """What a caller sends: nothing unknown is let pass."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Shown(BaseModel):
    """What a caller gets."""

    model_config = ConfigDict(frozen=True)


def _printable(text: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise ValueError("control characters have no place here")
    return text


def _currency(code: str) -> str:
    try:
        exponent(code)
    except MoneyError as error:
        raise ValueError(str(error)) from None
    return code


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


PLAIN: Final = AfterValidator(_printable)
"""What every text is: without control characters, which no mail and no page should carry."""

Name = Annotated[str, Field(min_length=1, max_length=100), PLAIN]
Reason = Annotated[str, Field(max_length=500), PLAIN]
Instant = Annotated[AwareDatetime, PlainSerializer(_utc, return_type=str)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$"), AfterValidator(_currency)]

_REFERENCE: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Reference = Annotated[str, Field(pattern=_REFERENCE, min_length=1, max_length=40)]
"""A reference the merchant chooses; it is the thing's public name for ever."""

ShortReference = Annotated[str, Field(pattern=_REFERENCE, min_length=1, max_length=32)]

Named = Annotated[str, Path(min_length=1, max_length=40), PLAIN]
"""A reference in an address."""

_NUMBER: Final = "[1-9][0-9]{0,17}$"
ProfileName = Annotated[str, Field(pattern=f"^pro_{_NUMBER}", examples=["pro_3"])]
InvoiceName = Annotated[str, Field(pattern=f"^inv_{_NUMBER}", examples=["inv_12"])]
AttemptName = Annotated[str, Field(pattern=f"^att_{_NUMBER}", examples=["att_12"])]
OperationName = Annotated[str, Field(pattern=f"^op_{_NUMBER}", examples=["op_12"])]
RunName = Annotated[str, Field(pattern=f"^run_{_NUMBER}", examples=["run_3"])]
LinkName = Annotated[str, Field(pattern=f"^link_{_NUMBER}", examples=["link_5"])]
NotificationName = Annotated[str, Field(pattern=f"^not_{_NUMBER}", examples=["not_4"])]
VerificationName = Annotated[str, Field(pattern=f"^ver_{_NUMBER}", examples=["ver_6"])]
EndpointName = Annotated[str, Field(pattern=f"^hook_{_NUMBER}", examples=["hook_3"])]
EventName = Annotated[str, Field(pattern="^evt_[0-9a-f]{32}$", examples=["evt_5f0c7d1e9a3b4c6d8e2f1a0b9c8d7e6f"])]
TaskName = Annotated[str, Field(pattern=f"^task_{_NUMBER}", examples=["task_7"])]


def number_in(name: str) -> int:
    """Return the number in a name such as `inv_12`."""
    return int(name.rpartition("_")[2])


class Amount(BaseModel):
    """Money: whole minor units of a currency (ISO 4217)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"amount_minor": 1990, "currency": "EUR"}]}
    )

    amount_minor: Annotated[int, Field(ge=-ID_MAX, le=ID_MAX)]
    currency: Currency

    @classmethod
    def of(cls, minor: int, currency: str) -> Amount:
        """Return an amount out of a row."""
        return cls(amount_minor=minor, currency=currency)

    @property
    def money(self) -> Money:
        """The amount as the engine knows it."""
        return Money(self.amount_minor, self.currency)


Item = TypeVar("Item", bound=Shown)


class Page(Shown, Generic[Item]):
    """Some of a list: `next` is the address of what follows, and nothing at the end."""

    data: list[Item]
    next: str | None = Field(description="Where the list goes on.", examples=["/api/v1/plans?limit=50&cursor=WyI..."])
