"""One merchant, one payer, one order: what the tests of Computop send, and answers as Computop spells them."""

from __future__ import annotations

import base64
import json
from typing import Any, Final
from urllib.parse import parse_qs

import httpx

from billing.gateway import (
    Address,
    Booked,
    Charge,
    Checkout,
    CheckoutOrder,
    Mandate,
    Order,
    OrderLine,
    Payer,
    ProfileReference,
    Question,
    RawMessage,
    ReturnUrls,
)
from billing.money import Money
from gateways.computop import Computop, open_account
from gateways.computop_wire import Reply, decrypt, encrypt, mac, read
from tests.gateways.samples import Wire

CREDENTIALS: Final = {
    "endpoint": "https://paygate.example",
    "merchant_id": "DEMO_SHOP",
    "encryption_password": "k3Y-8rTq!mZ0wPx2",
    "hmac_password": "hm4c-DemoSecret-0001",
}
PASSWORD: Final = CREDENTIALS["encryption_password"].encode()
HMAC_PASSWORD: Final = CREDENTIALS["hmac_password"].encode()

KEY: Final = "INV-1001-1"
PAY_ID: Final = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
XID: Final = "a0b1c2d3e4f5061728394a5b6c7d8e9f"
AMOUNT: Final = Money(1990, "EUR")
PAYER: Final = Payer(
    "C-7", "Jenny Müller", "jenny@example.com", "de-DE", Address("Hauptstraße 1", "50667", "Köln", "DE")
)
ORDER: Final = Order("INV-1001", "Abo Plus", (OrderLine("Abo Plus", 1, AMOUNT, Money(318, "EUR"), 1900),))
RETURNS: Final = ReturnUrls(
    "https://shop.example/p/t/ok", "https://shop.example/p/t/no", "https://shop.example/p/t/back"
)
NOTIFY: Final = "https://shop.example/n/3/INV-1001-1/0123456789abcdef"
NUMBER: Final = "2087654321"
CHECKOUT: Final = CheckoutOrder(KEY, AMOUNT, PAYER, ORDER, RETURNS, NOTIFY, inputs={"payback_number": NUMBER})
BOOKED: Final = Booked(KEY, PAY_ID, AMOUNT)
QUESTION: Final = Question(KEY, AMOUNT)

PSEUDO: Final = "0123456789012111"
CARD: Final = {"number": PSEUDO, "expiryDate": "203002", "brand": "MasterCard", "cardholderName": "Jenny Müller"}
SCHEME: Final = "MCC0099887766"
PROFILE: Final = ProfileReference(
    json.dumps(CARD, ensure_ascii=False, separators=(",", ":")), mandate=Mandate("", None, PAY_ID, SCHEME)
)
CHARGE: Final = Charge(KEY, AMOUNT, PAYER, PROFILE, ORDER, NOTIFY)


def gateway(network: httpx.AsyncBaseTransport | None = None, **settings: str) -> Computop:
    return open_account({**CREDENTIALS, **settings}, network or Wire(b""))


def cards(network: httpx.AsyncBaseTransport | None = None, **settings: str) -> Computop:
    return gateway(network, card_on_file="yes", **settings)


# --- answers, and what was sent ---------------------------------------------------------------------


def pairs(**values: str) -> str:
    return "&".join(f"{name}={value}" for name, value in values.items())


def sealed(text: str) -> bytes:
    """Encrypt as the gateway does: the last block is filled with blanks."""
    length = len(text.encode("iso-8859-1"))
    _, data = encrypt("blowfish", PASSWORD, text + " " * (-length % 8))
    return f"Len={length}&Data={data}".encode()


def result(code: str = "00000000", status: str = "OK", key: str = KEY, **more: str) -> str:
    said = {"mid": "DEMO_SHOP", "PayID": PAY_ID, "XID": XID, "TransID": key, "Status": status}
    return pairs(**{**said, "Description": "told", "Code": code, **more})


def answering(text: str) -> Wire:
    return Wire(sealed(text))


def amounts(auth: int = 0, cap: int = 0, cred: int = 0, last: str = "OK", **more: str) -> str:
    """Return the answer to an inquiry."""
    said = {"LastStatus": last, "AmountAuth": str(auth), "AmountCap": str(cap), "AmountCred": str(cred)}
    return result(**{**said, "Currency": "EUR", **more})


def proven(text: str) -> str:
    """Add the MAC a result carries on the browser's way."""
    reply = read(text)
    fields = [reply.text(name) for name in ("PayID", "TransID", "mid", "Status", "Code")]
    return f"{text}&MAC={mac(HMAC_PASSWORD, *fields)}"


def notification(text: str, proven_key: str = KEY) -> RawMessage:
    return RawMessage("POST", "", {}, sealed(text), proven_key)


def coded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def decoded(text: str) -> Any:
    return json.loads(base64.b64decode(text, validate=True))


def opened(fields: dict[str, str]) -> Reply:
    """Return the pairs inside an envelope that we sealed."""
    return read(plain(fields))


def plain(fields: dict[str, str]) -> str:
    return decrypt(PASSWORD, fields["Len"], fields["Data"])


def posted(checkout: object) -> Reply:
    assert isinstance(checkout, Checkout)
    return opened(dict(checkout.posted))


def sent(request: httpx.Request) -> Reply:
    form = parse_qs(request.content.decode(), strict_parsing=True)
    assert set(form) == {"MerchantID", "Len", "Data"}
    return opened({name: values[0] for name, values in form.items()})
