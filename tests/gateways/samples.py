"""One merchant, one payer, one order: what the tests of mPAY24 send, and a network that is a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import httpx

from billing.gateway import (
    Address,
    Booked,
    Charge,
    CheckoutOrder,
    Order,
    OrderLine,
    Payer,
    Payout,
    PresentCharge,
    ProfileReference,
    Question,
    RawMessage,
    ReturnUrls,
)
from billing.money import Money
from gateways.mpay24 import Mpay24, open_account

CREDENTIALS: Final = {
    "endpoint": "https://gateway.example/app/bin/etpproxy_v15",
    "merchant_id": "92883",
    "password": "pass&word/9",
}
PAYER: Final = Payer(
    reference="985467_45486",
    name="Jenny <Doe> & Söhne",
    email="jenny@example.com",
    language="de-AT",
    address=Address("Hauptstraße 1", "1010", "Wien", "AT"),
    ip="131.130.70.8",
)
AMOUNT: Final = Money(2500, "EUR")
ORDER: Final = Order(
    reference="INV-2016-11",
    description="Abo & Zugaben",
    lines=(
        OrderLine("Abo <Plus>", 1, Money(3000, "EUR"), Money(500, "EUR")),
        OrderLine("Gutschein", 1, Money(-500, "EUR"), Money(-83, "EUR")),
    ),
)
PROFILE: Final = ProfileReference("985467_45486")
RETURNS: Final = ReturnUrls(
    "https://shop.example/ok?o=1&p=2", "https://shop.example/error", "https://shop.example/back"
)
NOTIFY: Final = "https://shop.example/notify?order=T-1&proof=0123456789abcdef"
BROWSER: Final = {
    "accept_header": "text/html",
    "user_agent": "Mozilla/5.0",
    "browser_language": "de-AT",
    "timezone_offset_minutes": "-120",
    "color_depth": "24",
    "java_enabled": "no",
    "screen_height": "1080",
    "screen_width": "1920",
}
CHARGE: Final = Charge("T-1", AMOUNT, PAYER, PROFILE, ORDER, NOTIFY)
CHECKOUT: Final = CheckoutOrder("T-1", AMOUNT, PAYER, ORDER, RETURNS, NOTIFY, store=PROFILE)
BOOKED: Final = Booked("T-1", "1679832", AMOUNT)
PAYOUT: Final = Payout("P-1", AMOUNT, PAYER, PROFILE, NOTIFY)
QUESTION: Final = Question("T-1", AMOUNT)


def present(method: str, store: ProfileReference | None = None, /, **fields: str) -> PresentCharge:
    return PresentCharge("T-1", AMOUNT, PAYER, ORDER, method, fields, RETURNS, NOTIFY, store)


def push(query: str, proven_key: str = "T-1", method: str = "GET") -> RawMessage:
    return RawMessage(method, query, {}, b"", proven_key)


class Wire(httpx.AsyncBaseTransport):
    """Gives one answer to every request and remembers the requests."""

    def __init__(self, answer: bytes | Callable[[httpx.Request], httpx.Response], status: int = 200) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer
        self._status = status

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if callable(self._answer):
            return self._answer(request)
        return httpx.Response(self._status, content=self._answer, headers={"content-type": "text/xml"})


def gateway(network: httpx.AsyncBaseTransport, **settings: str) -> Mpay24:
    return open_account({**CREDENTIALS, **settings}, network)


def soap(operation: str, children: str) -> bytes:
    """Wrap an answer's children the way mPAY24 does."""
    return envelope(f"<etp:{operation}Response>{children}</etp:{operation}Response>")


def envelope(body: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:etp="https://www.mpay24.com/soap/etp/1.5/ETP.wsdl">'
        f"<SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
    ).encode()
