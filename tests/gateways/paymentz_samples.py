"""One merchant at a brand of PaymentZ: what its tests send, a network that hands out tokens, and answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from hashlib import md5
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx

from billing.gateway import (
    Booked,
    Charge,
    CheckoutOrder,
    Mandate,
    Order,
    Payout,
    PresentCharge,
    ProfileReference,
    Question,
    RawMessage,
)
from gateways.paymentz import Paymentz, open_account
from tests.gateways.samples import AMOUNT, NOTIFY, PAYER, RETURNS

CREDENTIALS: Final = {
    "endpoint": "https://brand.example",
    "member_id": "11344",
    "partner_id": "4",
    "username": "merchant1",
    "secret_key": "SIMKEY-0123456789abcdef",
    "to_type": "brandname",
    "terminal_id": "1001",
}
BASE: Final = "/transactionServices/REST/v1"
JWT: Final = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZXJjaGFudDEifQ.c2lnbmF0dXJl"
TOKEN: Final = "Rg0123456789abcdefRg0123456789ab"
PARENT: Final = "54279"
PAYMENT_ID: Final = "54301"
ORDER: Final = Order("INV-2025-11", "Abo & Zugaben")
PROFILE: Final = ProfileReference(PARENT, mandate=Mandate(first_transaction=PARENT))
STORED: Final = ProfileReference(TOKEN, mandate=Mandate(first_transaction=PARENT))
CHARGE: Final = Charge("T-1", AMOUNT, PAYER, PROFILE, ORDER, NOTIFY)
CHECKOUT: Final = CheckoutOrder("T-1", AMOUNT, PAYER, ORDER, RETURNS, NOTIFY)
BOOKED: Final = Booked("T-1", PAYMENT_ID, AMOUNT)
PAYOUT: Final = Payout("P-1", AMOUNT, PAYER, PROFILE, NOTIFY)
QUESTION: Final = Question("T-1", AMOUNT)
KNOWN: Final = replace(QUESTION, gateway_id=PAYMENT_ID)


class Brand(httpx.AsyncBaseTransport):
    """Hands out tokens, gives its answers in turn (the last one for ever), and remembers what was asked."""

    def __init__(self, *answers: httpx.Response | dict[str, Any] | bytes, token: Any = None) -> None:
        self.logins: list[httpx.Request] = []
        self.requests: list[httpx.Request] = []
        self.answers = list(answers)
        self._token = token

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)  # others get their turn, as they do while a real network is waited for
        if request.url.path.endswith(("/authToken", "/regenerateToken")):
            self.logins.append(request)
            told = self._token(request) if callable(self._token) else self._token
            return response(logged_in() if told is None else told)
        self.requests.append(request)
        return response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    def sent(self) -> dict[str, str]:
        """Return the fields of the one request."""
        [request] = self.requests
        return dict(parse_qsl(request.content.decode(), keep_blank_values=True, strict_parsing=True))

    def path(self) -> str:
        """Return where the one request went."""
        [request] = self.requests
        assert request.method == "POST"
        return request.url.path


def response(answer: httpx.Response | dict[str, Any] | bytes, status: int = 200) -> httpx.Response:
    if isinstance(answer, httpx.Response):
        return httpx.Response(answer.status_code, content=answer.content)
    return httpx.Response(status, content=answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def logged_in(token: str = JWT) -> dict[str, Any]:
    result = {"code": "200", "description": "Token generated successfully"}
    told = {"partnerId": "4", "memberId": "11344", "LoginName": "merchant1", "AuthToken": token}
    return {**told, "result": result, "timestamp": "2018-03-16 18:54:22"}


def result(code: str, description: str = "", **more: str) -> dict[str, Any]:
    return {"result": {"code": code, "description": description, **more}, "timestamp": "not a time"}


def made(short: str = "Y", code: str = "00001", description: str = "", **more: Any) -> dict[str, Any]:
    """Return a synchronous answer to a payment, in the shape that is published."""
    told = {
        "paymentId": PAYMENT_ID,
        "paymentBrand": "VISA",
        "paymentMode": "CC",
        "amount": "25.00",
        "currency": "EUR",
        "card": {"bin": "400000", "last4Digits": "0051", "expiryMonth": "07", "expiryYear": "2032"},
        "transactionStatus": short,
        "merchantTransactionId": "T-1",
    }
    return {**told, **result(code, description), **more}


def inquiry(status: str = "capturesuccess", short: str = "Y", **more: Any) -> dict[str, Any]:
    return made(short, "00026", "Your record found successfully", status=status, **more)


def rejected(code: str, description: str = "", payment_id: str = "-") -> dict[str, Any]:
    return {"paymentId": payment_id, "transactionStatus": "N", **result(code, description)}


def gateway(network: httpx.AsyncBaseTransport, **settings: Any) -> Paymentz:
    clock = settings.pop("monotonic", lambda: 0.0)
    return open_account({**CREDENTIALS, **settings}, network, monotonic=clock)


def present(store: ProfileReference | None = None, **fields: str) -> PresentCharge:
    return PresentCharge("T-1", AMOUNT, PAYER, ORDER, "card", {"token": TOKEN, **fields}, RETURNS, NOTIFY, store)


# --- callbacks ----------------------------------------------------------------------------------------


def proof(*values: str) -> str:
    """Return the checksum of values, worked out here once more."""
    return md5("|".join(values).encode(), usedforsecurity=False).hexdigest()


def callback(status: str = "capturesuccess", short: str = "Y", code: str = "00001", **more: Any) -> dict[str, Any]:
    told = made(short, code, status=status, **more)
    signed = (told["paymentId"], told["merchantTransactionId"], told["amount"], short, CREDENTIALS["secret_key"])
    return {"checksum": proof(*signed), **told}


def message(content: bytes | dict[str, Any], proven_key: str = "T-1", method: str = "POST") -> RawMessage:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return RawMessage(method, "", {"content-type": "application/json"}, raw, proven_key)
