"""Money as whole minor units of one currency, and the only home of rounding."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from typing import Final

from babel import Locale
from babel.numbers import NumberPattern

# ISO 4217, active codes. Most have two decimals; the others are listed with theirs.
_CODES: Final = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
    CHF CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK
    LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD
    OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN
    SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYI UYU UYW UZS VED VES VND VUV WST XAF
    XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()
)
_EXPONENTS: Final = (
    dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0)
    | dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)
    | dict.fromkeys("CLF UYW".split(), 4)
)

_WRITTEN: Final = re.compile(r"([+-]?[0-9]+)(?:[.,]([0-9]+))?")
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_LETTER_MEETS_DIGIT: Final = re.compile(r"(?<=[^\W\d_])(?=\d)")


class MoneyError(ValueError):
    """An amount or currency that cannot be what the writer meant."""


def exponent(currency: str) -> int:
    """Return how many decimals the currency has; raise `MoneyError` where ISO 4217 does not list it."""
    if currency not in _CODES:
        raise MoneyError(f"unknown currency {currency!r}: ISO 4217 lists no such code")
    return _EXPONENTS.get(currency, 2)


def round_half_even(value: Decimal) -> int:
    """Round to a whole number of minor units, a half going to the even neighbour."""
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount that never loses a cent and never meets another currency unnoticed."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise MoneyError(f"an amount is a whole number of minor units, not {self.minor!r}")
        exponent(self.currency)

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """Read `49`, `49,00` or `49.00` as major units; raise `MoneyError` for anything less clear.

        A comma and a point both begin the decimals, so `1.000` must not pass for one euro: no more
        decimals are taken than the currency has, not even zeros.
        """
        written = _WRITTEN.fullmatch(text.strip())
        if written is None:
            raise MoneyError(f"{text!r} is not an amount: write it like 49.00")
        decimals = exponent(currency)
        whole, fraction = written[1], written[2] or ""
        if len(fraction) > decimals:
            raise MoneyError(f"{text!r} has more decimals than {currency} knows")
        return cls(int(whole + fraction.ljust(decimals, "0")), currency)

    @property
    def major(self) -> Decimal:
        """The amount in major units, with exactly the currency's decimals."""
        return Decimal(self.minor).scaleb(-exponent(self.currency))

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __mul__(self, count: int) -> Money:
        return Money(self.minor * count, self.currency)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._same(other)

    def split(self, weights: list[int]) -> list[Money]:
        """Divide into shares in proportion to the weights, losing nothing.

        Rounding leaves a few minor units over; they go one each to the first
        shares that have a weight, so the shares always add up to the whole.
        """
        total = sum(weights)
        if total <= 0 or min(weights) < 0:
            raise MoneyError("shares need weights of zero or more, with at least one above zero")
        sign = -1 if self.minor < 0 else 1
        shares = [abs(self.minor) * weight // total for weight in weights]
        left = abs(self.minor) - sum(shares)
        for place in [place for place, weight in enumerate(weights) if weight][:left]:
            shares[place] += 1
        return [Money(sign * share, self.currency) for share in shares]

    def portion(self, numerator: int, denominator: int) -> Money:
        """Return `numerator/denominator` of the amount, rounded half to even."""
        return Money(round_half_even(Decimal(self.minor * numerator) / denominator), self.currency)

    def show(self, locale: str) -> str:
        """Write the amount as a reader in the locale (`de-AT`) expects it, without a break inside."""
        pattern = _pattern(locale, exponent(self.currency))
        text = pattern.apply(self.major, locale.replace("-", "_"), currency=self.currency, currency_digits=False)
        return _LETTER_MEETS_DIGIT.sub(_NO_BREAK, str(text).replace(" ", _NO_BREAK))

    def _same(self, other: Money) -> int:
        if other.currency != self.currency:
            raise MoneyError(f"cannot mix {self.currency} and {other.currency}")
        return other.minor


@cache
def _pattern(locale: str, decimals: int) -> NumberPattern:
    """Return the locale's way to write money, with ISO 4217's decimals instead of the locale's own idea of them."""
    pattern: NumberPattern = copy(Locale.parse(locale.replace("-", "_")).currency_formats["standard"])
    pattern.frac_prec = (decimals, decimals)
    return pattern
