"""The simulated PAYONE spoken to by hand: requests signed here, webhooks checked here."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.gateways_sandbox.wire import Sandbox

CARD = "4012000033330026"
CHALLENGED = "4874970686672022"
DECLINED = "4321456998744563"
RETURN_URL = "https://shop.example/back?o=1"


def signed(secret: str, text: str) -> str:
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def http_date(offset_s: float = 0) -> str:
    return formatdate(time.time() + offset_s, usegmt=True)  # noqa: TID251


def order(amount: Any = 1999, reference: str = "order-1", **more: Any) -> dict[str, Any]:
    money = {"amount": amount, "currencyCode": "EUR"}
    return {"amountOfMoney": money, "references": {"merchantReference": reference}, **more}


def payment(amount: Any = 1999, reference: str = "order-1", more: dict[str, Any] | None = None, **card: Any) -> Any:
    return {"order": order(amount, reference), "cardPaymentMethodSpecificInput": card, **(more or {})}


@dataclass
class Answer:
    """One answer of the API."""

    status: int
    headers: httpx.Headers
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> tuple[int, str, str]:
        """Return status, id and property of the first error."""
        first = self.json["errors"][0]
        return self.status, first["id"], first.get("propertyName", "")

    @property
    def code(self) -> str:
        return str(self.json["errors"][0]["errorCode"])

    @property
    def payment(self) -> Any:
        found = self.json
        found = found.get("paymentResult", found)
        return found.get("payment", found)

    @property
    def id(self) -> str:
        return str(self.payment["id"])

    @property
    def status_code(self) -> int:
        return int(self.payment["statusOutput"]["statusCode"])


class Payone:
    """The simulated PAYONE of a running simulator process."""

    def __init__(self, sandbox: Sandbox) -> None:
        told = sandbox.told["payone"]
        self.base: str = told["base_url"]
        self.credentials: dict[str, str] = told["credentials"]
        self.http = httpx.Client(timeout=60)
        self.merchant = self.credentials["merchant_id"]

    def close(self) -> None:
        self.http.close()

    # ---- the wire

    def headers(self, method: str, target: str, more: dict[str, str], **wanted: Any) -> dict[str, str]:
        """Sign as the reference says; `wanted` may change what is signed."""
        date = wanted.get("date", http_date(wanted.get("offset_s", 0)))
        kind = wanted.get("content_type", "application/json" if method == "POST" else "")
        own = sorted((name.lower(), value) for name, value in more.items() if name.lower().startswith("x-gcs"))
        lines = [method, wanted.get("signed_type", kind), date, *(f"{n}:{v}" for n, v in own)]
        text = "".join(f"{line}\n" for line in [*lines, wanted.get("signed_target", target)])
        key_id = wanted.get("key_id", self.credentials["api_key_id"])
        mac = signed(wanted.get("secret", self.credentials["api_secret"]), text)
        found = {"Date": date, "Authorization": f"GCS v1HMAC:{key_id}:{mac}", **more}
        return found | ({"Content-Type": kind} if kind else {})

    def call(self, method: str, path: str, body: Any = None, key: str = "", **wanted: Any) -> Answer:
        target = f"/v2/{wanted.pop('merchant', self.merchant)}/{path}"
        more = wanted.pop("more", {}) | ({"X-GCS-Idempotence-Key": key} if key else {})
        headers = self.headers(method, target, more, **wanted)
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = self.http.build_request(method, f"{self.base}{target}", content=content)
        request.headers.update(headers)
        for name in wanted.get("drop", ()):
            del request.headers[name]
        said = self.http.send(request)
        return Answer(said.status_code, said.headers, said.text)

    def get(self, path: str, **wanted: Any) -> Answer:
        return self.call("GET", path, **wanted)

    def post(self, path: str, body: Any = None, key: str = "", **wanted: Any) -> Answer:
        return self.call("POST", path, body, key, **wanted)

    def pay(self, token: str, amount: int = 1999, key: str = "", **card: Any) -> Answer:
        """Charge a stored card without the customer."""
        series = {"unscheduledCardOnFileRequestor": "merchantInitiated"}
        series |= {"unscheduledCardOnFileSequenceIndicator": "subsequent"}
        return self.post("payments", payment(amount, token=token, **(series | card)), key)

    def reserve(self, amount: int = 1999, **card: Any) -> str:
        """Reserve an amount on a plain card and return the payment's id."""
        self.tokens({"token": "r", "card": CARD, "expiry": "1230"})
        said = self.pay("r", amount, **card)
        assert said.status == 201, said.text
        return said.id

    def operate(self, payment_id: str, what: str, body: Any = None, key: str = "") -> Answer:
        return self.post(f"payments/{payment_id}/{what}", body if body is not None else {}, key)

    def code_of(self, payment_id: str) -> int:
        return self.get(f"payments/{payment_id}").status_code

    # ---- the controls

    def control(self, path: str) -> Any:
        return self.http.get(f"{self.base}/_sandbox/{path}").json()

    def faults(self, *rules: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/faults", json=list(rules))

    def settings(self, **values: Any) -> httpx.Response:
        return self.http.put(f"{self.base}/_sandbox/settings", json=values)

    def tokens(self, *tokens: Any) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/profiles", json=list(tokens))

    def move(self, payment_id: str, state: str) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/payments/{payment_id}/move", json={"state": state})

    def reset(self) -> None:
        assert self.http.post(f"{self.base}/_sandbox/reset").status_code == 200

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("ledger")["transactions"]
        return found

    def ledger(self, reference: str = "") -> list[tuple[str, int, str]]:
        """Return kind, amount and state of every booking of a reference."""
        return [(r["kind"], r["amount_minor"], r["state"]) for r in self.rows() if reference in {"", r["reference"]}]


def location(said: httpx.Response) -> dict[str, str]:
    """Return the parameters of the address that a page sends its customer to."""
    assert said.status_code == 303, said.text
    return dict(httpx.QueryParams(urlsplit(said.headers["location"]).query))
