"""The simulated PaymentZ spoken to by hand: requests signed here, callbacks and returns checked here."""

import hashlib
import html
import json
import re
from dataclasses import dataclass
from typing import Any

import httpx

from tests.gateways_sandbox.wire import Sandbox

GOOD, CHALLENGED, DECLINED = "4000000000000051", "4000000000000002", "4000000000000101"
PENDING, CHALLENGED_DECLINED, LOST = "4000000000000200", "4000000000000309", "4000000000000408"
BROKEN = "5101080000000108"
REST = "/transactionServices/REST/v1/"
RETURN_URL = "https://shop.example/back?o=1"
CARD = {"number": GOOD, "expiry": "12/30", "cvc": "745", "holder": "John Doe"}


def md5(*values: str) -> str:
    return hashlib.md5("|".join(values).encode(), usedforsecurity=False).hexdigest()


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
    def code(self) -> str:
        return str(self.json["result"]["code"])

    @property
    def short(self) -> str:
        return str(self.json["transactionStatus"])

    @property
    def id(self) -> str:
        return str(self.json["paymentId"])


class PaymentZ:
    """The simulated PaymentZ of a running simulator process."""

    def __init__(self, sandbox: Sandbox) -> None:
        told = sandbox.told["paymentz"]
        self.base: str = told["base_url"]
        self.credentials: dict[str, str] = told["credentials"]
        self.member, self.key = self.credentials["member_id"], self.credentials["secret_key"]
        self.http = httpx.Client(timeout=60)
        self.token = ""

    def close(self) -> None:
        self.http.close()

    # ---- the wire

    def send(self, path: str, content: bytes, kind: str = "application/x-www-form-urlencoded", **more: str) -> Answer:
        headers = {"Content-Type": kind, "authtoken": self.token, "Accept": "application/json", **more}
        said = self.http.post(
            self.base + (path if path.startswith("/") else REST + path), content=content, headers=headers
        )
        return Answer(said.status_code, said.headers, said.text)

    def post(self, path: str, fields: dict[str, str], **more: str) -> Answer:
        return self.send(path, str(httpx.QueryParams(fields)).encode(), **more)

    def login(self, **changed: str) -> dict[str, str]:
        known = self.credentials
        fields = {"authentication.partnerId": known["partner_id"], "merchant.username": known["username"]}
        return fields | {"authentication.sKey": self.key} | changed

    def log_in(self) -> None:
        self.token = self.post("authToken", self.login()).json["AuthToken"]

    def signed(self, fields: dict[str, str], *subjects: str) -> dict[str, str]:
        """Add member and checksum; the key comes second."""
        checksum = md5(self.member, self.key, *subjects)
        return {"authentication.memberId": self.member, "authentication.checksum": checksum} | fields

    def purchase_fields(self, reference: str, amount: str = "50.00", **more: str) -> dict[str, str]:
        fields = {
            "merchantTransactionId": reference,
            "amount": amount,
            "currency": "EUR",
            "orderDescriptor": "A plan",
            "paymentType": "DB",
            "paymentMode": "CC",
            "paymentBrand": "VISA",
            "card.number": GOOD,
            "card.expiryMonth": "12",
            "card.expiryYear": "2030",
            "card.cvv": "745",
            "customer.email": "a@b.example",
        }
        return self.signed(fields, reference, amount) | more

    def purchase(self, reference: str, amount: str = "50.00", **more: str) -> Answer:
        return self.post("payments", self.purchase_fields(reference, amount, **more))

    def reserve(self, reference: str, amount: str = "50.00") -> str:
        return self.purchase(reference, amount, paymentType="PA").id

    def repeated_fields(self, parent: str, reference: str, amount: str = "9.99", **more: str) -> dict[str, str]:
        fields = {"merchantTransactionId": reference, "amount": amount, "currency": "EUR"}
        fields |= {"paymentType": "DB", "recurringType": "REPEATED"}
        return self.signed(fields, parent, amount) | more

    def repeat(self, parent: str, reference: str, amount: str = "9.99", **more: str) -> Answer:
        return self.post(f"payments/{parent}", self.repeated_fields(parent, reference, amount, **more))

    def token_fields(self, token: str, amount: str = "9.99", **more: str) -> dict[str, str]:
        return self.signed({"amount": amount, "currency": "EUR", "paymentType": "DB"}, token, amount) | more

    def capture(self, payment_id: str, amount: str = "50.00", **more: str) -> Answer:
        return self.post(f"payments/{payment_id}", self.about(payment_id, "CP", amount) | more)

    def refund(self, payment_id: str, amount: str = "50.00", path: str = "payments", **more: str) -> Answer:
        return self.post(f"{path}/{payment_id}", self.about(payment_id, "RF", amount) | more)

    def reverse(self, payment_id: str, **more: str) -> Answer:
        return self.post(f"payments/{payment_id}", self.signed({"paymentType": "RV"}, payment_id) | more)

    def about(self, payment_id: str, kind: str, amount: str) -> dict[str, str]:
        return self.signed({"paymentType": kind, "amount": amount}, payment_id, amount)

    def ask(self, payment_id: str) -> Answer:
        fields = self.signed({"paymentType": "IN", "idType": "PID"}, payment_id)
        return self.post(f"payments/{payment_id}", fields)

    def ask_by_reference(self, reference: str, **more: str) -> Answer:
        fields = {"paymentType": "IN", "idType": "MID", "merchantTransactionId": reference}
        return self.post("inquiry", self.signed(fields, reference) | more)

    def state(self, payment_id: str) -> str:
        return str(self.ask(payment_id).json["status"])

    def payout_fields(self, reference: str, amount: str = "5.00", **more: str) -> dict[str, str]:
        fields = {"authentication.memberId": self.member, "merchantTransactionId": reference, "amount": amount}
        fields["authentication.checksum"] = md5(self.member, reference, amount, self.key)
        return fields | {"currency": "EUR", "paymentType": "PO"} | more

    # ---- the pages

    def checkout_fields(self, reference: str, amount: str = "50.00", **more: str) -> dict[str, str]:
        totype, url = self.credentials["to_type"], more.get("merchantRedirectUrl", RETURN_URL)
        return {
            "memberId": self.member,
            "totype": totype,
            "amount": amount,
            "currency": "EUR",
            "merchantTransactionId": reference,
            "merchantRedirectUrl": url,
            "orderDescription": "A plan",
            "checksum": md5(self.member, totype, amount, reference, url, self.key),
        } | more

    def open(self, reference: str, amount: str = "50.00", **more: str) -> str:
        """Open a hosted page and return its address."""
        said = self.http.post(f"{self.base}/transaction/Checkout", data=self.checkout_fields(reference, amount, **more))
        assert said.status_code == 303, said.text
        return self.base + said.headers["location"]

    def submit(self, page: str, **fields: str) -> httpx.Response:
        """Post a page's form and follow wherever that leads on this host."""
        return self.http.post(page, data=fields, follow_redirects=True)

    def pay(self, page: str, **changed: str) -> httpx.Response:
        return self.submit(page, action="pay", **(CARD | changed))

    # ---- the controls

    def control(self, path: str) -> Any:
        return self.http.get(f"{self.base}/_sandbox/{path}").json()

    def faults(self, *rules: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/faults", json=list(rules))

    def settings(self, **values: Any) -> httpx.Response:
        return self.http.put(f"{self.base}/_sandbox/settings", json=values)

    def profiles(self, *profiles: Any) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/profiles", json=list(profiles))

    def on_file(self, reference: str, card: str = GOOD, **more: str) -> dict[str, Any]:
        """Put a card on file and return by what it is charged."""
        (stored,) = self.profiles({"reference": reference, "card": card, **more}).json()["profiles"]
        found: dict[str, Any] = stored
        return found

    def move(self, payment_id: str, state: str) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/payments/{payment_id}/move", json={"state": state})

    def reset(self) -> None:
        assert self.http.post(f"{self.base}/_sandbox/reset").status_code == 200

    def ledger(self, reference: str = "") -> list[tuple[str, int, str]]:
        """Return kind, amount and state of every booking of a reference."""
        rows = self.control("ledger")["transactions"]
        return [(r["kind"], r["amount_minor"], r["state"]) for r in rows if reference in {"", r["reference"]}]


def sent_back(page: httpx.Response) -> dict[str, str]:
    """Return the form that a page posts to the shop."""
    assert f'action="{RETURN_URL}"' in page.text, page.text
    pairs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
    return {html.unescape(name): html.unescape(value) for name, value in pairs}
