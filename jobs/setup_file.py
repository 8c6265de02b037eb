"""Read a merchant's setup from a TOML file; a secret may be left to the environment as `env:NAME`."""

from __future__ import annotations

import os
import re
import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from billing.mail import BrandError
from billing.money import Money
from billing.periods import Interval, Unit
from billing.pricing import Terms
from billing.services.founding import AccountFacts, MerchantFacts, PlanFacts, PriceFacts, SetupError
from billing.services.showing import accents_of
from billing.web.pages import check_accent


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None
    return name


_ACCENT: Final = r"|#[0-9a-fA-F]{6}(,#[0-9a-fA-F]{6}){2};#[0-9a-fA-F]{6}(,#[0-9a-fA-F]{6}){2}"


def _accent(text: str) -> str:
    if not re.fullmatch(_ACCENT, text):
        raise ValueError("write it like #0b5cad,#ffffff,#e8f1fb;#7cb7f2,#0f151a,#16293b: colour, ink and soft, twice")
    for accent, scheme in zip(accents_of(text), ("light", "dark"), strict=True):
        check_accent(accent, scheme)
    return text


_Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,38}$")]
_Mail = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Price(_Strict):
    reference: _Reference
    title: Annotated[str, Field(min_length=1, max_length=100)]
    amount: str
    currency: str
    every: str = "1 month"
    tax: str = "0%"
    tax_included: bool = True
    trial_days: Annotated[int, Field(ge=0, le=3650)] = 0

    def facts(self) -> PriceFacts:
        unit = Money.parse(self.amount, self.currency)
        terms = Terms(unit, _interval(self.every), _basis_points(self.tax), self.tax_included)
        return PriceFacts(self.reference, self.title, terms, self.trial_days)


class _Plan(_Strict):
    reference: _Reference
    name: Annotated[str, Field(min_length=1, max_length=100)]
    price: list[_Price] = []


class _Account(_Strict):
    reference: _Reference
    gateway: str
    credentials: dict[str, str]


class _Brakes(_Strict):
    """Thresholds of a run; those that are not given are `billing.brakes.Brakes`' own, and 0 switches one off."""

    slice_charges: Annotated[int, Field(ge=1)] | None = None
    least_charges: Annotated[int, Field(ge=1)] | None = None
    declined_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    failed_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    growth_percent: Annotated[int, Field(ge=0)] | None = None
    charges_max: Annotated[int, Field(ge=0)] | None = None
    amount_minor_max: Annotated[int, Field(ge=0)] | None = None


class _Merchant(_Strict):
    reference: _Reference
    name: Annotated[str, Field(min_length=1, max_length=100)]
    legal_name: Annotated[str, Field(min_length=1, max_length=200)]
    number_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,20}$")]
    mail_from: _Mail
    timezone: Annotated[str, AfterValidator(_zone)] = "Europe/Vienna"
    language: Literal["en", "de"] = "en"
    country: Annotated[str, Field(pattern=r"^([A-Z]{2})?$")] = ""
    currency: Annotated[str, Field(pattern=r"^([A-Z]{3})?$")] = ""
    place: str = ""
    legal_line: str = ""
    reply_to: Annotated[str, Field(pattern=r"^([^@\s]+@[^@\s]+)?$")] = ""
    help_url: str = ""
    legal_url: str = ""
    privacy_url: str = ""
    invoice_page: str = ""
    accent: Annotated[str, AfterValidator(_accent)] = ""
    live: bool | None = None
    verification_minor: Annotated[int, Field(ge=1, le=1000)] = 10
    link_days: Annotated[int, Field(ge=1, le=365)] = 14
    catch_up: Literal["each", "approval"] = "each"
    run_approval: bool = False
    brakes: _Brakes | None = None
    surplus: Literal["ask", "refund"] = "ask"


class _File(_Strict):
    merchant: _Merchant
    gateway_account: list[_Account] = []
    plan: list[_Plan] = []


def read_setup(path: Path) -> MerchantFacts:
    """Return the merchant a file describes, or raise `SetupError` with one line naming what is wrong where."""
    try:
        return _facts(path, _File.model_validate(tomllib.loads(path.read_text("utf-8"))))
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: it is not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise SetupError(f"{path}: {_place(first['loc'])}: {first['msg'].removeprefix('Value error, ')}") from None
    except BrandError as error:
        raise SetupError(f"{path}: merchant.accent: {error}") from None


def _place(location: tuple[int | str, ...]) -> str:
    """Write where something stands, as `plan[0].price[1].amount`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")


def _facts(path: Path, file: _File) -> MerchantFacts:
    accounts = tuple(_account(path, place, each) for place, each in enumerate(file.gateway_account))
    plans = tuple(_plan(path, place, each) for place, each in enumerate(file.plan))
    about: dict[str, Any] = file.merchant.model_dump()
    if about["brakes"] is not None:
        about["brakes"] = {name: value for name, value in about["brakes"].items() if value is not None}
    return MerchantFacts(**about, accounts=accounts, plans=plans)


def _account(path: Path, place: int, account: _Account) -> AccountFacts:
    credentials = {}
    for name, value in account.credentials.items():
        if value.startswith("env:") and value[4:] not in os.environ:
            raise SetupError(f"{path}: gateway_account[{place}].credentials.{name}: {value[4:]} is not set")
        credentials[name] = os.environ[value[4:]] if value.startswith("env:") else value
    return AccountFacts(account.reference, account.gateway, credentials)


def _plan(path: Path, place: int, plan: _Plan) -> PlanFacts:
    prices = []
    for number, price in enumerate(plan.price):
        try:
            prices.append(price.facts())
        except ValueError as error:
            raise SetupError(f"{path}: plan[{place}].price[{number}]: {error}") from None
    return PlanFacts(plan.reference, plan.name, tuple(prices))


def _interval(text: str) -> Interval:
    """Read `1 month`, `2 weeks` or `month`."""
    count, _, unit = text.strip().rpartition(" ")
    unit = unit.removesuffix("s")
    if unit not in set(Unit) or not (count or "1").lstrip("-").isdecimal():
        raise ValueError(f"{text!r} is not an interval; write it like '1 month' or '2 weeks'")
    return Interval(Unit(unit), int(count or 1))


def _basis_points(text: str) -> int:
    """Read `20%` or `7.5%` as basis points."""
    try:
        points = Decimal(text.strip().removesuffix("%").strip().replace(",", ".")) * 100
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a tax rate; write it like '20%'") from None
    if points != points.to_integral_value():
        raise ValueError(f"{text!r} has more than two decimals")
    return int(points)
