"""One merchant, one payer, one order: what the tests of PAYONE send, a clock that stands still, and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from billing.gateway import (
    Booked,
    Charge,
    CheckoutOrder,
    Mandate,
    Order,
    PresentCharge,
    ProfileReference,
    Question,
    RawMessage,
)
from gateways.payone import Payone, open_account
from gateways.payone_signing import signature
from tests.gateways.samples import AMOUNT, BROWSER, NOTIFY, PAYER, RETURNS, Wire

NOW: Final = datetime(2025, 6, 6, 13, 39, 43, tzinfo=UTC)
CREDENTIALS: Final = {
    "endpoint": "https://payment.example",
    "merchant_id": "MyPSPID",
    "api_key_id": "A1B2C3D4E5F60718",
    "api_secret": "zR9kq3Vw7uXn1mT5yB8cD2eF4gH6jK0pLsQaWxNvMrU=",
    "webhook_key_id": "whk-0001",
    "webhook_secret": "wHs-2f9d61c07be84a55",
    "webhook_key_id_2": "whk-0002",
    "webhook_secret_2": "wHs-the-next-one",
}
TOKEN: Final = "0ecbae93-2d5d-4d5c-9d7e-6f6b1f0f5a10"
FORM_ID: Final = "cd08bee64ae64bb78258532f2bf411ac"
ORDER: Final = Order("INV-2025-11", "Abo & Zugaben")
PROFILE: Final = ProfileReference(
    TOKEN, mandate=Mandate(first_transaction="4454000001_0", scheme_reference="123456789012")
)
CHARGE: Final = Charge("T-1", AMOUNT, PAYER, PROFILE, ORDER, NOTIFY)
CHECKOUT: Final = CheckoutOrder("T-1", AMOUNT, PAYER, ORDER, RETURNS, NOTIFY)
PAYMENT_ID: Final = "4454999290_0"
BOOKED: Final = Booked("T-1", PAYMENT_ID, AMOUNT)
QUESTION: Final = Question("T-1", AMOUNT)
KNOWN: Final = replace(QUESTION, gateway_id=PAYMENT_ID)


def gateway(network: httpx.AsyncBaseTransport, **settings: str) -> Payone:
    return open_account({**CREDENTIALS, **settings}, network, now=lambda: NOW)


def present(store: ProfileReference | None = None, **fields: str) -> PresentCharge:
    fields = fields or {"card_form": FORM_ID, **BROWSER}
    return PresentCharge("T-1", AMOUNT, PAYER, ORDER, "card", fields, RETURNS, NOTIFY, store)


# --- answers --------------------------------------------------------------------------------------


def money(minor: int = 2500, currency: str = "EUR") -> dict[str, Any]:
    return {"amount": minor, "currencyCode": currency}


def state(code: int | None, status: str, errors: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    said = {"statusCode": code, "errors": errors}
    return {"status": status, "statusOutput": {name: value for name, value in said.items() if value is not None}}


def made(code: int | None = 9, status: str = "CAPTURED", mark: str = "key=T-1", **more: Any) -> dict[str, Any]:
    """Return a payment as PAYONE shows it; `card` and `errors` are added where they are given."""
    output = {
        "amountOfMoney": money(),
        "references": {"merchantReference": "INV-2025-11", "merchantParameters": mark},
        "cardPaymentMethodSpecificOutput": more.pop("card", {}),
    }
    payment = {"id": PAYMENT_ID, **state(code, status, more.pop("errors", None)), "paymentOutput": output}
    return {**payment, **more}


def created(code: int = 9, status: str = "CAPTURED", **more: Any) -> bytes:
    return body({"payment": made(code, status, **more)})


def operation(number: int, code: int, status: str, minor: int = 1000, key: str = "R-1") -> dict[str, Any]:
    """Return one line of the list of operations."""
    references = {"operationReferences": {"merchantReference": key}} if key else {}
    return {"id": f"4454999290_{number}", "amountOfMoney": money(minor), **state(code, status), **references}


def error(code: str = "", name: str = "", field: str = "", **more: Any) -> dict[str, Any]:
    return {"errorCode": code, "id": name, "propertyName": field, "message": "", "retriable": False, **more}


def failure(*errors: dict[str, Any], **more: Any) -> bytes:
    return body({"errorId": "15eabcd5-30b3-479b-ae03-67bb351c07e6-00000092", "errors": list(errors), **more})


def declined(*codes: str, **more: Any) -> bytes:
    errors = [error(code) for code in codes]
    return failure(*errors, paymentResult={"payment": made(2, "REJECTED", errors=errors, **more)})


def body(values: object) -> bytes:
    return json.dumps(values).encode()


def answering(content: bytes, status: int = 201) -> Wire:
    return Wire(content, status)


# --- events ---------------------------------------------------------------------------------------


def event(kind: str = "payment.captured", **more: Any) -> dict[str, Any]:
    head = {"apiVersion": "v1", "created": "2025-06-06T15:39:00.1234567+02:00", "id": "6f1b7c1e-0001"}
    carried = {} if {"payment", "refund", "token"} & set(more) else {"payment": made()}
    return {**head, "merchantId": "MyPSPID", "type": kind, **carried, **more}


def signed(
    content: bytes | dict[str, Any], proven_key: str = "T-1", key_id: str = "whk-0001", secret: str = ""
) -> RawMessage:
    raw = content if isinstance(content, bytes) else body(content)
    secret = secret or CREDENTIALS["webhook_secret"]
    headers = {"x-gcs-signature": signature(secret, raw), "x-gcs-keyid": key_id, "retry-count": "0"}
    return RawMessage("POST", "", headers, raw, proven_key)
