"""The simulated Computop spoken to by hand: envelopes sealed and opened here, MACs made and checked here."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from cryptography.hazmat.decrepit.ciphers.algorithms import Blowfish
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from tests.gateways_sandbox.wire import Sandbox

VISA, MASTERCARD = "4111111111111111", "5555555555554444"
DECLINED, EXPIRED, INSUFFICIENT = "4000000001000001", "4000000001100009", "4000000003130004"
ASKS_BANK, WANTS_AUTHENTICATION = "4000000000000010", "4000000002000018"
SHOP = "https://shop.example"
FIRST = {"type": {"recurring": {"recurringFrequency": 30, "recurringExpiryDate": "2031-12-31"}}, "initialPayment": True}
LATER = FIRST | {"initialPayment": False}
ARTICLE = {
    "itemReference": "1",
    "id": "A-1",
    "description": "Monthly plan",
    "quantity": 1,
    "amount": 1990,
    "vatAmount": 318,
    "vatPercent": 19,
    "type": "GOODS",
}


def blowfish(password: str) -> Cipher[modes.ECB]:
    return Cipher(Blowfish(password.encode()), modes.ECB())  # noqa: S305


def encrypted(password: str, text: str, fill: bytes = b"\0") -> str:
    plain = text.encode("latin-1")
    plain += fill * (-len(plain) % 8)
    worker = blowfish(password).encryptor()
    return (worker.update(plain) + worker.finalize()).hex().upper()


def decrypted(password: str, data: str) -> bytes:
    worker = blowfish(password).decryptor()
    return worker.update(bytes.fromhex(data)) + worker.finalize()


def aes_encrypted(password: str, text: str, vector: bytes) -> str:
    left = 16 - len(text) % 16
    worker = Cipher(AES(password.encode()), modes.CBC(vector)).encryptor()
    return f"{vector.hex()}-{(worker.update(text.encode('latin-1') + bytes([left]) * left) + worker.finalize()).hex()}"


def aes_decrypted(password: str, data: str) -> bytes:
    vector, _, rest = data.partition("-")
    worker = Cipher(AES(password.encode()), modes.CBC(bytes.fromhex(vector))).decryptor()
    return worker.update(bytes.fromhex(rest)) + worker.finalize()


def mac(password: str, message: str) -> str:
    return hmac.new(password.encode(), message.encode("latin-1"), hashlib.sha256).hexdigest().upper()


def packed(shape: object) -> str:
    return base64.b64encode(shape if isinstance(shape, bytes) else json.dumps(shape).encode()).decode()


def split(text: str) -> dict[str, str]:
    """Read a plain text; names in small letters."""
    return {name.lower(): value for name, _, value in (pair.partition("=") for pair in text.split("&"))}


@dataclass
class Said:
    """One answer."""

    status: int
    body: str
    pairs: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.pairs[name.lower()]

    @property
    def code(self) -> str:
        return self["Code"]

    @property
    def is_clear(self) -> bool:
        return not self.body.startswith("Len=")


class Computop:
    """The simulated Computop of a running simulator process."""

    def __init__(self, sandbox: Sandbox) -> None:
        told = sandbox.told["computop"]
        self.base: str = told["base_url"]
        self.credentials: dict[str, str] = told["credentials"]
        self.http = httpx.Client(timeout=60)
        self.password = self.credentials["encryption_password"]
        self.merchant = self.credentials["merchant_id"]

    def close(self) -> None:
        self.http.close()

    # ---- the wire

    def mac(self, pairs: Mapping[str, str]) -> str:
        found = {name.lower(): value for name, value in pairs.items()}
        names = ("payid", "transid", "merchantid", "amount", "currency")
        return mac(self.credentials["hmac_password"], "*".join(found.get(name, "") for name in names))

    def text(self, pairs: Mapping[str, str]) -> str:
        """Write a request, with merchant and MAC where it has none; a parameter that is None is left out."""
        full: dict[str, Any] = {"MerchantID": self.merchant, **pairs}
        full.setdefault("MAC", self.mac({name: value for name, value in full.items() if value is not None}))
        return "&".join(f"{name}={value}" for name, value in full.items() if value is not None)

    def envelope(self, text: str) -> dict[str, str]:
        length = str(len(text.encode("latin-1")))
        return {"MerchantID": self.merchant, "Len": length, "Data": encrypted(self.password, text)}

    def post(self, endpoint: str, envelope: Mapping[str, str]) -> Said:
        return self.read(self.http.post(f"{self.base}/{endpoint}", data=dict(envelope)))

    def call(self, endpoint: str, **pairs: Any) -> Said:
        return self.post(f"{endpoint}.aspx", self.envelope(self.text(pairs)))

    def open_data(self, length: str, data: str) -> dict[str, str]:
        plain = aes_decrypted(self.password, data) if "-" in data else decrypted(self.password, data)
        return split(plain[: int(length)].decode("latin-1"))

    def read(self, said: httpx.Response) -> Said:
        assert said.status_code == 200, said.text
        outer = dict(parse_qsl(said.text, keep_blank_values=True))
        pairs = self.open_data(outer["Len"], outer["Data"]) if "Data" in outer else outer
        return Said(said.status_code, said.text, {name.lower(): value for name, value in pairs.items()})

    # ---- the wallet

    def sale(self, **changes: Any) -> dict[str, Any]:
        amount = int(changes["Amount"]) if str(changes.get("Amount", "")).isdecimal() else 1990
        return {
            "TransID": "INV-1",
            "Amount": "1990",
            "Currency": "EUR",
            "URLSuccess": f"{SHOP}/ok",
            "URLFailure": f"{SHOP}/failed",
            "URLNotify": f"{SHOP}/notify",
            "Response": "encrypt",
            "VatList": packed({"vatItems": [{"rate": "19", "amount": amount}]}),
            "ArticleList": packed({"items": [ARTICLE | {"amount": amount}]}),
            "AccountId": "1234567890",
            "IsBound": "false",
            "CustomerGroup": "UNKNOWN",
            "sdCountryCode": "DE",
            **changes,
        }

    def browse(self, endpoint: str, pairs: Mapping[str, Any]) -> httpx.Response:
        """Send a browser to a form."""
        return self.http.post(f"{self.base}/{endpoint}.aspx", data=self.envelope(self.text(pairs)))

    def wallet(self, **changes: Any) -> str:
        """Open a sale in the wallet and return the address of its page."""
        said = self.browse("PaybackPay", self.sale(**changes))
        assert said.status_code == 302, said.text
        assert said.headers["location"].startswith(self.base), said.headers["location"]
        return str(said.headers["location"])

    def press(self, page: str, action: str, **fields: str) -> httpx.Response:
        return self.http.post(page, data={"action": action, **fields})

    def pay(self, **changes: Any) -> Said:
        """Confirm a sale in the wallet and return what the browser carries back."""
        return self.returned(self.press(self.wallet(**changes), "confirm"))

    def returned(self, said: httpx.Response) -> Said:
        """Read what a browser is sent back with, by redirect or by form, and check its MAC."""
        url, outer = way_back(said)
        pairs = self.open_data(outer["Len"], outer["Data"]) if "Data" in outer else outer
        found = Said(said.status_code, url, {name.lower(): value for name, value in pairs.items()})
        signed = "*".join(found[name] for name in ("PayID", "TransID", "mid", "Status", "Code"))
        assert found["MAC"] == mac(self.credentials["hmac_password"], signed)
        return found

    def notified(self, body: bytes) -> dict[str, str]:
        outer = dict(parse_qsl(body.decode()))
        return self.open_data(outer["Len"], outer["Data"])

    # ---- cards

    def form(self, **changes: Any) -> str:
        """Open the card form and return the address of its page."""
        wanted = {"MsgVer": "2.0", "Capture": "AUTO", "credentialOnFile": packed(FIRST)}
        baskets = dict.fromkeys(("VatList", "ArticleList", "AccountId", "IsBound", "CustomerGroup"))
        said = self.browse("payssl", self.sale(**(wanted | baskets | changes)))
        assert said.status_code == 302, said.text
        return str(said.headers["location"])

    def type_card(self, page: str, number: str = VISA, **changes: str) -> httpx.Response:
        typed = {"number": number, "expiry": "12/31", "cvc": "123", "holder": "Erika Beispiel"}
        return self.press(page, "pay", **(typed | changes))

    def on_file(self, number: str = VISA, expiry: str = "203112", **more: str) -> dict[str, str]:
        said = self.cards({"number": number, "expiry": expiry, "holder": "Erika Beispiel", **more})
        assert said.status_code == 200, said.text
        found: dict[str, str] = said.json()["profiles"][0]
        return found

    def charge(self, stored: Mapping[str, str], **changes: Any) -> Said:
        """Charge a card on file without its holder."""
        shape = {"number": stored["PCNr"], "expiryDate": stored["expiryDate"], "brand": stored["brand"]}
        pairs = {
            "MsgVer": "2.0",
            "TransID": "INV-1",
            "Amount": "1990",
            "Currency": "EUR",
            "card": packed(shape | {"cardholderName": stored["cardholderName"]}),
            "credentialOnFile": packed(LATER),
            "schemeReferenceID": stored["schemeReferenceID"],
            "Capture": "AUTO",
        }
        return self.call("direct", **(pairs | changes))

    # ---- what follows

    def follow(self, endpoint: str, pay_id: str, amount: int = 1990, **more: Any) -> Said:
        pairs = {"PayID": pay_id, "TransID": "CRN-1", "Amount": str(amount), "Currency": "EUR"}
        return self.call(endpoint, **(pairs | more))

    def inquire(self, pay_id: str, trans_id: str = "INV-1") -> Said:
        return self.call("inquire", PayID=pay_id, TransID=trans_id)

    def standing(self, pay_id: str) -> tuple[str, str, str, str]:
        """Return the last status and the three amounts."""
        said = self.inquire(pay_id)
        return said["LastStatus"], said["AmountAuth"], said["AmountCap"], said["AmountCred"]

    # ---- the controls

    def control(self, path: str) -> Any:
        return self.http.get(f"{self.base}/_sandbox/{path}").json()

    def faults(self, *rules: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/faults", json=list(rules))

    def settings(self, **values: Any) -> httpx.Response:
        return self.http.put(f"{self.base}/_sandbox/settings", json=values)

    def cards(self, *cards: Any) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/profiles", json=list(cards))

    def move(self, pay_id: str, state: str) -> httpx.Response:
        return self.http.post(f"{self.base}/_sandbox/payments/{pay_id}/move", json={"state": state})

    def reset(self) -> None:
        assert self.http.post(f"{self.base}/_sandbox/reset").status_code == 200

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("ledger")["transactions"]
        return found

    def ledger(self, reference: str = "") -> list[tuple[str, int, str]]:
        """Return kind, amount and state of every booking of a reference."""
        return [(r["kind"], r["amount_minor"], r["state"]) for r in self.rows() if reference in {"", r["reference"]}]

    def tries(self) -> list[tuple[str, int]]:
        """Return status and tries of every notification."""
        return [(push["status"], push["attempts"]) for push in self.control("log")["notifications"]]


def way_back(said: httpx.Response) -> tuple[str, dict[str, str]]:
    """Return where a browser is sent back to, and with what."""
    if said.status_code == 302:
        parts = urlsplit(said.headers["location"])
        return f"{parts.scheme}://{parts.netloc}{parts.path}", dict(parse_qsl(parts.query, keep_blank_values=True))
    form = re.search(r'<form method="post" action="(https?:[^"]*)">', said.text)
    assert form, said.text
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', said.text)
    return form[1], dict(fields)
