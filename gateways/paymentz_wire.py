"""PaymentZ's wire: fields go out as a form or JSON, and whatever comes back is read as flat text, or not at all.

Every value on this wire is text, amounts too, and always with two decimals, whatever the currency has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from billing.gateway import MisuseError, NotSent, Unknown
from billing.money import Money, MoneyError, exponent
from gateways.paymentz_codes import UNAUTHENTICATED
from gateways.transport import Transport

Fields = Mapping[str, str]

_AMOUNT: Final = re.compile(r"([0-9]{1,8})\.([0-9]{2})")
_HUNDREDTHS_MAX: Final = 10**10
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_ID: Final = ("", "-", "null")


class UnreadableError(Exception):
    """An answer that is not whole, or contradicts itself; its second word, if any, is the payment it is about."""


# --- amounts --------------------------------------------------------------------------------------------


def written(amount: Money) -> str:
    """Write an amount as the wire wants it; raise `MisuseError` where two decimals cannot say it exactly."""
    hundredths, left = divmod(amount.minor * 100, 10 ** exponent(amount.currency))
    if left or not 0 < hundredths < _HUNDREDTHS_MAX:
        raise MisuseError(f"PaymentZ cannot be asked for {amount.major} {amount.currency}")
    return f"{hundredths // 100}.{hundredths % 100:02}"


def money(text: str, currency: str) -> Money:
    """Read an amount exactly; raise `UnreadableError` for anything that is not one of this currency."""
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise UnreadableError("no amount")
    try:
        minor, left = divmod(int(found[1] + found[2]) * 10 ** exponent(currency), 100)
    except MoneyError:
        raise UnreadableError("no currency we know") from None
    if left:
        raise UnreadableError(f"{text} is no amount of {currency}")
    return Money(minor, currency)


# --- what is told -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """A message as flat text by dotted names; what is absent or null is empty."""

    values: Fields

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def first(self, *names: str) -> str:
        """Return the first of several spellings of one field that is there and not empty."""
        return next(filter(None, map(self.__getitem__, names)), "")

    @property
    def payment_id(self) -> str:
        """The payment's number, empty where none was made; it is text and never counted with."""
        found = self.first("paymentId", "trackingid", "trackingId")
        return found if found not in _NO_ID and _ID.fullmatch(found) else ""

    @property
    def key(self) -> str:
        """Our own number of the payment, as it is echoed."""
        return self.first("merchantTransactionId", "desc")

    @property
    def code(self) -> str:
        """The result code; it speaks of the request."""
        return self.first("result.code", "resultCode")

    @property
    def reason(self) -> str:
        """What people are told about the result."""
        told = (self.first("result.description", "resultDescription"), self.first("result.bankDescription"))
        return " ".join(dict.fromkeys(filter(None, (*told, self["remark"]))))

    @property
    def money(self) -> Money:
        """The amount told; raise `UnreadableError` where it is none."""
        return money(self["amount"], self["currency"])


def parse_json(content: bytes) -> Told:
    """Return the one object that these bytes are; numbers keep their text, so that no digit is lost."""
    try:
        found = json.loads(content, object_pairs_hook=_once, parse_float=str, parse_int=str, parse_constant=_no_number)
        if not isinstance(found, dict):
            raise ValueError("no object")
        return Told(_once(list(_flat("", found))))
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None


def parse_form(content: bytes) -> Told:
    """Return the fields of a form, each of which stands once."""
    try:
        return Told(_once(parse_qsl(content.decode(), keep_blank_values=True, strict_parsing=True, errors="strict")))
    except ValueError:
        raise UnreadableError("no form") from None


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from _flat(f"{name}.{key}" if name else str(key), item)
    elif value is not None:
        text = str(value).lower() if isinstance(value, bool) else value
        text.encode()  # half a character cannot be kept or signed
        yield name, text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice: which of the two would count is anybody's guess."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name stands twice")
    return values


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


# --- sending ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP answer; `unreadable` says why nothing could be read in it."""

    status: int
    told: Told
    clean: Callable[[str], str]
    unreadable: str = ""

    @property
    def is_rejected_token(self) -> bool:
        """Whether we were not let in; that is checked before anything has an effect."""
        said_so = self.told.code == UNAUTHENTICATED and not self.told.payment_id
        return self.status == 401 or (self.status == 200 and said_so)

    @property
    def text(self) -> str:
        """The reason for people, without anything that must not be read."""
        return self.clean(self.told.reason)[:300]

    @property
    def said(self) -> str:
        """The result's code and reason."""
        return " ".join(filter(None, (self.told.code[:30], self.text))) or "no reason"


class Wire:
    """Posts fields to one host and reads what comes back, each of them once."""

    def __init__(self, transport: Transport, endpoint: str, request_format: str) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._format = request_format

    async def post(self, path: str, fields: Fields, token: str = "", hidden: str = "") -> Reply | NotSent | Unknown:
        """Post the fields; `hidden` is a part of the address that no log shows."""
        kind = "x-www-form-urlencoded" if self._format == "form" else "json"
        headers = {"Content-Type": f"application/{kind}", "Accept": "application/json"}
        if token:
            headers["authtoken"] = token
        url = f"{self._endpoint}{path}"
        answer = await self._transport.send("POST", url, headers, encode(fields, self._format), hidden)
        if isinstance(answer, NotSent | Unknown):
            return answer
        clean = self._transport.redaction.clean
        try:
            return Reply(answer.status, parse_json(answer.body), clean)
        except UnreadableError as error:
            return Reply(answer.status, Told({}), clean, f"HTTP {answer.status}: {error}")

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()


def encode(fields: Fields, request_format: str) -> bytes:
    """Write the fields in one of the three shapes the wire takes."""
    if request_format == "form":
        return urlencode(fields).encode()
    body = fields if request_format == "json_flat" else _nested(fields)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _nested(fields: Fields) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        group, _, inner = name.partition(".")
        if inner:
            nested.setdefault(group, {})[inner] = value
        else:
            nested[name] = value
    return nested
